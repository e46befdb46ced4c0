"""Many small files as one tar archive that exists nowhere: its bytes are made while they are read.

The format is that of https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html: ustar,
and an extended header where a path is too long for that or not ASCII. Nothing in it depends on
where, when or by whom it is made; docs/format.md has the bytes.
"""

from __future__ import annotations

import hashlib
import sys
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Final, cast

from ocimlpack.errors import ConflictError, IntegrityError
from ocimlpack.model.source import Content, Seen, SourceBlob
from ocimlpack.stores.base import CHUNK

_BLOCK: Final = 512
_MAX_NAME: Final = 100
_MAX_PREFIX: Final = 155

# Two blocks and no more. Go's archive/tar ends there; of padding behind them, readers that hash
# what they were given would see nothing, and find the digest wrong.
_END: Final = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Part:
    """A file in the archive.

    Attributes:
        path: its path there.
        mode: its permission bits.
        blob: its content.
    """

    path: str
    mode: int
    blob: Content

    def header(self) -> bytes:
        """What stands before the content."""
        raw = self.path.encode()
        size = self.blob.size
        if (split := _split(raw)) is not None:
            return _block(*split, self.mode, size, b"0")
        record = _record(raw)
        plain = self.path.encode("ascii", "replace")[:_MAX_NAME]
        return b"".join(
            (
                _block(b"", b"././@PaxHeader", 0, len(record), b"x"),
                record,
                bytes(-len(record) % _BLOCK),
                _block(b"", plain, self.mode, size, b"0"),
            )
        )


class BundleBlob:
    """The archive's bytes.

    Attributes:
        size: how many.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """Nothing is read yet.

        Args:
            parts: the files, in order; at least one.
        """
        self._parts = tuple(parts)
        lengths = (len(part.header()) + _padded(part.blob.size) for part in self._parts)
        self._starts = list(accumulate(lengths, initial=0))
        self.size = self._starts[-1] + len(_END)

    @cached_property
    def identity(self) -> str:
        """Tells these bytes from any other as well as the file system can."""
        hasher = hashlib.sha256()
        for part in self._parts:
            hasher.update(f"{part.mode:o} {part.path}\n{part.blob.identity}\n".encode())
        return f"bundle:{hasher.hexdigest()}"

    @property
    def source(self) -> Path:
        """A name for the files, by which a cache of digests knows them; there is no such file."""
        first = self._files[0].source.absolute()
        return first.with_name(f"{first.name[:80]}:{self.identity}")

    @property
    def seen(self) -> Seen:
        """Its size, and when the last of the files was changed."""
        seen = [file.seen for file in self._files]
        modified, changed = max(s.modified for s in seen), max(s.changed for s in seen)
        return Seen(seen[0].device, 0, self.size, modified, changed, 1)

    @property
    def _files(self) -> list[SourceBlob]:
        return [part.blob for part in self._parts if isinstance(part.blob, SourceBlob)]

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on.

        Raises:
            ConflictError: a file was changed or replaced, before or while it was read.
            UnsafeSourceError: one can't be read.
        """
        with closing(self._pieces(offset)) as pieces:
            try:
                yield cast(BinaryIO, _Stream(pieces))
            except IntegrityError:
                # A digest that is wrong because a file was changed is the change's fault.
                for part in self._parts:
                    part.blob.head(0)
                raise

    def _pieces(self, offset: int) -> Generator[bytes, None, None]:
        first = bisect_right(self._starts, offset) - 1
        skip = offset - self._starts[first]
        for part in self._parts[first:]:
            yield from _read(part, skip)
            skip = 0
        yield _END[skip:]


class _Stream:
    """Pieces of any size, read in the sizes that are asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        left = sys.maxsize if size < 0 else size
        taken = []
        while left and (self._rest or self._advance()):
            taken.append(self._rest[:left])
            self._rest = self._rest[left:]
            left -= len(taken[-1])
        return b"".join(taken)

    def _advance(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._rest = memoryview(piece)
                return True
        return False


def _read(part: Part, skip: int) -> Iterator[bytes]:
    """A file's part of the archive, without its first bytes."""
    header, size = part.header(), part.blob.size
    if skip < len(header):
        yield header[skip:]
    skip = max(skip - len(header), 0)
    if skip <= size:
        left = size - skip
        with part.blob.open(skip) as stream:
            while left >= 0 and (piece := stream.read(CHUNK)):
                left -= len(piece)
                if left >= 0:
                    yield piece
        if left:
            # Its size was the same before and after: content that is made up when it is read.
            raise ConflictError(
                f"{part.blob.place} has {size:,} bytes by its size, but other ones were read",
                side="source",
            )
    yield bytes(_padded(size) - max(size, skip))


def _padded(size: int) -> int:
    return size + -size % _BLOCK


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """The path as ustar's prefix and name; None if it does not fit.

    It is cut at the last slash that leaves a prefix of at most 155 bytes, as Go does it.
    """
    if not path.isascii():
        return None
    if len(path) <= _MAX_NAME:
        return b"", path
    prefix, slash, name = path[: _MAX_PREFIX + 1].rpartition(b"/")
    name += path[_MAX_PREFIX + 1 :]
    return (prefix, name) if slash and len(name) <= _MAX_NAME else None


def _record(path: bytes) -> bytes:
    """An extended header's record, which begins with its own length."""
    rest = b" path=" + path + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _block(prefix: bytes, name: bytes, mode: int, size: int, kind: bytes) -> bytes:
    """A ustar header without owner and time."""
    block = b"".join(
        (
            name.ljust(_MAX_NAME, b"\0"),
            b"%07o\0" % mode,
            b"0000000\0" * 2,  # owner and group
            b"%011o\0" % size,
            b"00000000000\0",  # time
            b" " * 8,
            kind,
            bytes(100),
            b"ustar\00000",
            bytes(64),
            b"0000000\0" * 2,  # device
            prefix.ljust(_MAX_PREFIX, b"\0"),
            bytes(12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
