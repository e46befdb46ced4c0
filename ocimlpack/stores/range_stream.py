"""A blob as a file to seek in, of which only what is read moves."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Final, cast

from ocimlpack.errors import IntegrityError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import RangeReader, ReadableStore, capability
from ocimlpack.stores.files import read_exactly

_LEAST: Final = 2048
"""Bytes that are asked for after a jump: a header between the data of two tensors is short."""

_MOST: Final = 1024 * 1024
"""Bytes that are asked for at a time, once it was read on and on."""

_KEPT: Final = 4
"""So many answers are kept: readers go back to what they have just seen, and not further."""

Read = Callable[[int, int], bytes]
"""Brings so many bytes from an offset on, fewer only at the end."""


class RangeStream(io.RawIOBase):
    """Bytes that are asked for when they are read: few after a jump, ever more when read on.

    None of them is verified: the digest is that of the whole.

    Attributes:
        moved: how many bytes were brought.
    """

    def __init__(self, read: Read, size: int) -> None:
        """Prepare; nothing is asked.

        Args:
            read: brings a part.
            size: bytes of the whole.
        """
        self._read = read
        self._size = size
        self._at = 0
        self._ahead = _LEAST
        self._end = 0
        self._answers: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self.moved = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere; nothing moves by that."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer, or its beginning.

        Returns:
            How many bytes; 0 only at the end.

        Raises:
            IntegrityError: the blob ends before its size.
        """
        if self._at >= self._size or not len(buffer):
            return 0
        begin, content = self._answer() or self._ask(len(buffer))
        part = content[self._at - begin : self._at - begin + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _answer(self) -> tuple[int, bytes] | None:
        return next(
            (each for each in self._answers if each[0] <= self._at < each[0] + len(each[1])), None
        )

    def _ask(self, wanted: int) -> tuple[int, bytes]:
        reads_on = 0 <= self._at - self._end <= self._ahead
        self._ahead = min(2 * self._ahead, _MOST) if reads_on else _LEAST
        length = min(max(wanted, self._ahead), _MOST, self._size - self._at)
        content = self._read(self._at, length)
        if not content:
            raise IntegrityError(f"it ends after {self._at:,} of {self._size:,} bytes")
        self.moved += len(content)
        self._end = self._at + len(content)
        self._answers.append((self._at, content))
        return self._answers[-1]


def buffered(read: Read, size: int) -> BinaryIO:
    """A stream to seek in, for bytes that are brought by a function."""
    return cast(BinaryIO, io.BufferedReader(RangeStream(read, size), _LEAST))


def part(stream: BinaryIO, start: int, size: int) -> BinaryIO:
    """A part of a stream as a stream of its own. The two move each other's place."""

    def read(offset: int, length: int) -> bytes:
        stream.seek(start + offset)
        return read_exactly(stream, length)

    return buffered(read, size)


def seekable(store: ReadableStore, desc: Descriptor) -> BinaryIO:
    """A store's content as a stream to seek in.

    Only what is read moves, where the store can read a part; nothing of it is verified.

    Raises:
        NotFoundError: here or when it is read, where the content is not there.
    """
    ranges = capability(store, RangeReader)
    if ranges is not None:
        return buffered(lambda offset, length: ranges.read(desc, offset, length), desc.size)
    blob = store.fetch(desc)

    def read(offset: int, length: int) -> bytes:
        with blob.open(offset) as stream:
            return read_exactly(stream, length)

    return buffered(read, desc.size)
