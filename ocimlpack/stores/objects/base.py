"""What a bucket store needs of an object store: few verbs, each a single try.

Whoever implements them maps the service's answers to our errors and does nothing else: what is
tried again, and what a lost answer means, is the matter of `persistent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ocimlpack.errors import ConflictError

ABSENT: Final = "*"
"""In place of an entity tag: write only if there is no such object."""


class ConditionError(ConflictError):
    """The object is not, or no longer, what the request was made for; nothing was written."""


class GoneError(ConflictError):
    """The upload in parts has ended, one way or the other: its parts are no longer known."""


@dataclass(frozen=True, slots=True)
class Stat:
    """An object.

    Attributes:
        key: its name in the bucket.
        size: its bytes.
        etag: what tells this content from any other under that name.
        modified: when it was written, in seconds since 1970 by the service's clock. Of one that
            was uploaded in parts, some services say when that was begun.
    """

    key: str
    size: int
    etag: str
    modified: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an object that the service has got.

    Attributes:
        number: its place, from 1.
        size: its bytes.
        etag: by which it is named when the upload is completed.
        sha256: what the service has computed of it, in hex; empty where it says nothing.
        md5: the same, for services that know only that.
    """

    number: int
    size: int
    etag: str
    sha256: str = ""
    md5: str = ""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload in parts that was neither completed nor aborted.

    Attributes:
        key: what the object would be called.
        upload: the service's name for it.
        began: when, in seconds since 1970.
    """

    key: str
    upload: str
    began: float


@dataclass(frozen=True, slots=True)
class Label:
    """What is stored beside an object's bytes.

    Attributes:
        media_type: its content type.
        metadata: names and values of one's own, in lower-case ASCII.
    """

    media_type: str
    metadata: Mapping[str, str]


class ObjectStream(Protocol):
    """An object's bytes on their way here."""

    def read(self, size: int) -> bytes:
        """The next bytes as they come, at most `size`; none at the end.

        Raises:
            UnavailableError: the connection broke or stalled.
        """
        ...

    def abort(self) -> None:
        """End a `read` that waits, from any thread."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Objects(Protocol):
    """One bucket. Safe to use from many threads.

    All methods raise `UnavailableError` for what may pass, and other errors of ours for what does
    not: no such bucket, not allowed, not supported there.

    Attributes:
        place: how errors name it: `s3://models`.
        origin: tells it from every bucket of every other service, for records that are kept.
    """

    place: str
    origin: str

    def stat(self, key: str) -> Stat | None:
        """What there is under that name."""
        ...

    def read(self, key: str, limit: int) -> tuple[bytes, Stat] | None:
        """A small object, all of it.

        Raises:
            InvalidContentError: it has more bytes than the limit.
        """
        ...

    def stream(self, key: str, start: int, end: int, *, lasting: bool) -> ObjectStream:
        """An object's bytes from `start` up to `end`, which is behind the last.

        Args:
            key: its name.
            start: the first byte.
            end: behind the last; at `start`, the object has no bytes and is only looked for.
            lasting: whether somebody may want to `abort` it from another thread. Then nothing is
                asked for before the first `read`, which raises what is raised here else.

        Raises:
            NotFoundError: there is none.
            IntegrityError: it is shorter than that.
        """
        ...

    def put(self, key: str, content: bytes, label: Label, condition: str | None = None) -> str:
        """Write a small object.

        Args:
            key: its name.
            content: all of it.
            label: what is stored beside it.
            condition: the entity tag of what is to be replaced, or `ABSENT`.

        Returns:
            Its entity tag.

        Raises:
            ConditionError: the condition does not hold.
            UnsupportedError: with the status 501, conditions are not known there.
        """
        ...

    def list(self, prefix: str) -> Iterator[Stat]:
        """All objects below a prefix, which ends with a slash or is empty, in order."""
        ...

    def folders(self, prefix: str = "") -> Sequence[str]:
        """What follows a prefix up to the next slash, the slash included."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, at most a thousand. What is not there is no error."""
        ...

    def begin(self, key: str, label: Label) -> str:
        """Begin an upload in parts; returns its name."""
        ...

    def put_part(
        self, key: str, upload: str, number: int, content: bytes | memoryview, sha256: bytes
    ) -> Piece:
        """Bring a part. One that is there under that number is replaced.

        Args:
            key: what the object will be called.
            upload: the upload.
            number: the part's place, from 1.
            content: its bytes.
            sha256: their digest, which the service compares where it can.

        Raises:
            GoneError: there is no such upload any more.
        """
        ...

    def pieces(self, key: str, upload: str) -> Sequence[Piece] | None:
        """The parts that are there, or None where there is no such upload any more."""
        ...

    def complete(
        self, key: str, upload: str, pieces: Sequence[Piece], condition: str | None = None
    ) -> None:
        """Make an object of the parts.

        Raises:
            ConditionError, UnsupportedError: as `put` says.
            GoneError: there is no such upload any more.
        """
        ...

    def cancel(self, key: str, upload: str) -> None:
        """Throw an upload's parts away. What is not there is no error."""
        ...

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Uploads in parts that are not finished, of objects below a prefix."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
