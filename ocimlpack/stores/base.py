"""What a store is: a few small protocols, so that all places are copied to and from alike."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Final,
    Protocol,
    TypeVar,
    cast,
    runtime_checkable,
)

from ocimlpack.errors import InputError, UnsupportedError
from ocimlpack.spec.descriptor import Descriptor

if TYPE_CHECKING:
    from ocimlpack.stores.partial import PartialFile

CHUNK: Final = 256 * 1024
"""Bytes moved at a time: so many stay in a core's own cache on their way from the socket through
the hash to the file. What a transfer holds in memory is a few of these a connection."""


class Blob(Protocol):
    """Content that is asked for, never handed over: so it can be asked for again, further on."""

    def open(self, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """Read from `offset` bytes on."""
        ...


@dataclass(frozen=True, slots=True)
class BytesBlob:
    """Content in memory: manifests, configs and other small things."""

    content: bytes

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on."""
        yield io.BytesIO(self.content[offset:])


@dataclass(frozen=True, slots=True)
class FileBlob:
    """Content that is the whole of a file.

    Attributes:
        path: the file.
        immutable: whether it is a store's blob, which nobody ever writes to.
    """

    path: Path
    immutable: bool = False

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on.

        Raises:
            InputError: the file is gone or can't be read.
        """
        try:
            stream = self.path.open("rb", buffering=0)
        except OSError as error:
            raise InputError(f"can't read {self.path}: {error.strerror}") from error
        with stream:
            stream.seek(offset)
            yield stream


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes to send that lie in a file: the system may move them without showing them to us.

    Attributes:
        handle: the open file's descriptor.
        offset: where they begin.
        length: how many.
    """

    handle: int
    offset: int
    length: int


@runtime_checkable
class SlicedStream(Protocol):
    """A stream over a file that can name its next bytes instead of reading them."""

    def take(self, limit: int) -> FileSlice | None:
        """The next bytes, at most so many, and go on behind them; None at the end."""
        ...


def identity(blob: Blob) -> str | None:
    """What tells this source from any other and from its own earlier content, without its digest.

    So an upload that was broken off is known again. None for content that has only its digest.
    """
    found = getattr(blob, "identity", None)
    return found if isinstance(found, str) else None


def local_path(blob: Blob) -> Path | None:
    """The file whose whole content the blob is, if it is one."""
    path = getattr(blob, "path", None)
    return path if isinstance(path, Path) else None


def linkable(blob: Blob) -> Path | None:
    """The file, if it is a store's blob: another store may let a name of its own stand for it."""
    return local_path(blob) if getattr(blob, "immutable", False) is True else None


def origin(store: ReadableStore) -> ReadableStore:
    """Where a store's content lies: for what is made out of another store's content, that one."""
    found = getattr(store, "origin", None)
    return store if found is None else cast(ReadableStore, found)


@runtime_checkable
class Doubtable(Protocol):
    """A blob that several places may have brought, some of which may be wrong."""

    def doubt(self) -> bool:
        """What was read is wrong: never ask those again that sent it.

        Returns:
            Whether somebody else is left to ask.
        """
        ...


def doubt(blob: Blob) -> bool:
    """Say of a blob that its bytes are wrong; True if reading it again may bring other ones."""
    return isinstance(blob, Doubtable) and blob.doubt()


class RangeIgnoredError(UnsupportedError):
    """The other side sends this blob only as a whole."""


class PartStream(Protocol):
    """A part of a blob on its way here."""

    def read(self, size: int) -> bytes:
        """The next bytes as they come, at most `size`; none at the part's end.

        Raises:
            RangeIgnoredError: the blob comes only as a whole.
            IntegrityError: another part came than was asked for.
            UnavailableError: it was aborted, or could not be had within the tries that there are.
        """
        ...

    def abort(self) -> None:
        """End it, from any thread: a `read` that waits fails, and is not tried again."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A blob whose parts can be read side by side."""

    def part(self, offset: int, length: int) -> AbstractContextManager[PartStream]:
        """Read so many bytes from `offset` on. Nothing is asked for before the first `read`."""
        ...


class ReadableStore(Protocol):
    """A place to copy from."""

    def resolve(self, name: str) -> Descriptor:
        """The descriptor that a tag, or a digest in text, stands for.

        Raises:
            NotFoundError: there is none.
        """
        ...

    def exists(self, desc: Descriptor) -> bool:
        """Whether the content is there, whole."""
        ...

    def fetch(self, desc: Descriptor) -> Blob:
        """The content. What is read from it is not yet verified: whoever reads it does that.

        Raises:
            NotFoundError: from here or from `open`, where the content is not there.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class Sink(Protocol):
    """The least that content can be moved into: a folder of files is one, and every store."""

    def exists(self, desc: Descriptor) -> bool:
        """Whether the content is there, whole."""
        ...

    def push(self, desc: Descriptor, blob: Blob) -> None:
        """Take content in. Content that is there already is left as it is.

        Raises:
            IntegrityError: the blob's bytes are not what the descriptor says; nothing is kept.
            NotFoundError: a manifest that names content which is not here.
        """
        ...


class Store(ReadableStore, Sink, Protocol):
    """A place to copy from and to, with names for what it holds."""

    def tag(self, desc: Descriptor, name: str) -> None:
        """Let the tag stand for this manifest, whatever it stood for before."""
        ...

    def untag(self, name: str) -> None:
        """Take the tag away and leave the content.

        Raises:
            NotFoundError: there is no such tag.
            UnsupportedError: a registry that only deletes whole manifests.
        """
        ...

    def delete(self, desc: Descriptor) -> int:
        """Remove a manifest, its tags, and the content that nothing else needs.

        Returns:
            The bytes freed, as far as this store frees them itself.
        """
        ...


@runtime_checkable
class TagLister(Protocol):
    """A store that can list its tags."""

    def tags(self) -> list[str]:
        """Every tag, sorted."""
        ...


@runtime_checkable
class Freer(Protocol):
    """A store in which a manifest goes with its last tag."""

    def free(self, desc: Descriptor) -> int:
        """Remove a manifest that no tag stands for any more; leave one that has others.

        Returns:
            The bytes freed at once.
        """
        ...


@runtime_checkable
class Presumer(Protocol):
    """A store that can tell from what it was asked before what it most likely has not."""

    def presume_absent(self, desc: Descriptor) -> bool:
        """Whether it is better to bring the content than to ask for it first."""
        ...


@runtime_checkable
class Mountable(Protocol):
    """A store that can take a blob over from another repository without its bytes moving."""

    def mount(self, desc: Descriptor, source: ReadableStore) -> bool:
        """Try it; False where the other store is not next to this one or the registry declines."""
        ...


@runtime_checkable
class RangeReader(Protocol):
    """A store that can read a part of a blob. The part can't be verified against the digest."""

    def read(self, desc: Descriptor, offset: int, length: int) -> bytes:
        """Exactly the bytes from `offset` on, fewer only at the content's end."""
        ...


class Ingest(Protocol):
    """Content on its way into a store, under no name yet."""

    def write(self, blob: Blob) -> None:
        """Bring all of the blob's bytes; what an earlier run brought of them is not sent again.

        Raises:
            OcimlpackError: the blob's own error, or the store's once its tries are used up. What
                arrived is kept for the next run as far as the store can.
        """
        ...

    def commit(self, desc: Descriptor) -> None:
        """Give the content its name. Only then does anybody see it.

        Raises:
            IntegrityError: the bytes that were written are not what the descriptor says.
        """
        ...

    def abandon(self) -> None:
        """Throw away what was written: it is not wanted any more. Safe from another thread."""
        ...


@runtime_checkable
class Ingester(Protocol):
    """A store that can take bytes in before their digest is known."""

    def begin(self, size: int, identity: str) -> Ingest:
        """Begin with content of so many bytes, or go on with what an earlier run began.

        Args:
            size: bytes in all.
            identity: tells the source from others and from its own earlier content.
        """
        ...


@runtime_checkable
class Assembler(Protocol):
    """A place that can take a blob in parts, in any order and over several runs."""

    def assembling(self, desc: Descriptor) -> AbstractContextManager[PartialFile | None]:
        """A file for the parts, with those in it that earlier runs brought.

        Whoever asks has to see to it that the file's content is right. Then, if the block ends
        well, the content is in its place; else the parts are kept for the next run.

        Yields:
            The file, or None where this content can't be taken like that.
        """
        ...


Sending = Callable[[], None]
"""What brings one part of a blob to where it goes."""


@runtime_checkable
class Divider(Protocol):
    """A store that takes large blobs in parts, which may be brought side by side."""

    def dividing(
        self, desc: Descriptor, blob: Blob
    ) -> AbstractContextManager[Iterator[Sending] | None]:
        """The parts of a blob that are to be brought: those that an earlier run brought are not.

        The blob is read when the next part is asked for, by one thread at a time; any thread may
        then bring the part, which is in memory until that is done. When the block ends well, and
        the bytes were right, the blob is there. Else what was brought is kept for another run, as
        far as the store can.

        Yields:
            The parts, all of which have to be brought; or None for a blob that is better pushed.

        Raises:
            IntegrityError: the bytes are not what the descriptor says; nothing is kept.
        """
        ...


@runtime_checkable
class ReferrerLister(Protocol):
    """A store that knows which manifests name another as their subject."""

    def referrers(self, desc: Descriptor) -> list[Descriptor]:
        """Descriptors of the manifests whose subject this is."""
        ...


Capability = TypeVar("Capability")


def capability(store: Any, protocol: type[Capability]) -> Capability | None:
    """The store as the optional protocol, or None: the one place where that is asked."""
    return store if isinstance(store, protocol) else None
