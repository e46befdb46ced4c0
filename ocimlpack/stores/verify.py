"""The only place where bytes are held against a digest and a size."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from ocimlpack.errors import IntegrityError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import CHUNK, Blob


class Verifier:
    """Takes bytes in order and knows, at the end, whether they were the right ones.

    Attributes:
        seen: how many bytes were taken.
    """

    def __init__(self, desc: Descriptor) -> None:
        self._desc = desc
        self._hash = desc.digest.hasher()
        self.seen = 0

    def copy(self) -> Verifier:
        """Another one that has taken the same bytes: what follows can be given a second time."""
        twin = Verifier(self._desc)
        twin._hash, twin.seen = self._hash.copy(), self.seen
        return twin

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            IntegrityError: more than the descriptor's size; nothing of an endless answer is kept.
        """
        self.seen += len(chunk)
        if self.seen > self._desc.size:
            raise IntegrityError(
                f"{self._desc.digest} is longer than the {self._desc.size:,} bytes announced",
                digest=str(self._desc.digest),
            )
        self._hash.update(chunk)

    def finish(self) -> None:
        """All bytes were given.

        Raises:
            IntegrityError: too few, or the wrong ones.
        """
        if self.seen != self._desc.size:
            raise IntegrityError(
                f"{self._desc.digest} ends after {self.seen:,} of {self._desc.size:,} bytes",
                digest=str(self._desc.digest),
            )
        if self._hash.hexdigest() != self._desc.digest.hex:
            raise IntegrityError(
                f"content announced as {self._desc.digest} has the digest "
                f"{self._desc.digest.algorithm}:{self._hash.hexdigest()}",
                digest=str(self._desc.digest),
            )


class Checker(Protocol):
    """Takes bytes in order and knows, at the end, whether they were the right ones."""

    def update(self, chunk: bytes | memoryview, /) -> None:
        """Take the next bytes."""
        ...

    def finish(self) -> None:
        """All bytes were given.

        Raises:
            IntegrityError: too few, or the wrong ones.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a whole that have to be the right ones, though the whole's digest isn't known.

    Attributes:
        start: where they begin.
        size: how many; at least one.
        checker: knows which they are.
    """

    start: int
    size: int
    checker: Checker


@runtime_checkable
class Checkable(Protocol):
    """A blob without a digest, of which parts have one."""

    def stretches(self) -> Iterable[Stretch]:
        """Those parts, in order, for one reading of the whole."""
        ...


class Passage:
    """The SHA-256 of a blob that passes by, while stretches of it are held against digests."""

    def __init__(self, blob: Blob) -> None:
        self._hash = hashlib.sha256()
        self._at = 0
        stretches = blob.stretches() if isinstance(blob, Checkable) else ()
        self._stretches = deque(stretches)

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            IntegrityError: a stretch ended, and its bytes were not the right ones.
        """
        self._hash.update(chunk)
        view, begin = memoryview(chunk), self._at
        self._at = end = begin + len(view)
        while self._stretches and self._stretches[0].start < end:
            stretch = self._stretches[0]
            stop = stretch.start + stretch.size
            stretch.checker.update(view[max(stretch.start - begin, 0) : min(stop, end) - begin])
            if stop > end:
                return
            stretch.checker.finish()
            self._stretches.popleft()

    def hexdigest(self) -> str:
        """The digest of what was taken."""
        return self._hash.hexdigest()


def chunks(stream: BinaryIO, desc: Descriptor) -> Iterator[bytes]:
    """The stream's bytes, piece by piece; the end only comes if all of them were right.

    Whoever writes them somewhere must not make that visible before the iteration has ended.

    Raises:
        IntegrityError: as the verifier says.
    """
    verifier = Verifier(desc)
    while chunk := stream.read(CHUNK):
        verifier.update(chunk)
        yield chunk
    verifier.finish()


def read_all(blob: Blob, desc: Descriptor) -> bytes:
    """The whole of a small blob, verified.

    Raises:
        IntegrityError: as the verifier says.
    """
    with blob.open() as stream:
        return b"".join(chunks(stream, desc))


def check(blob: Blob, desc: Descriptor) -> None:
    """Read a blob through for no other purpose than to verify it.

    Raises:
        IntegrityError: as the verifier says.
    """
    with blob.open() as stream:
        for _ in chunks(stream, desc):
            pass
