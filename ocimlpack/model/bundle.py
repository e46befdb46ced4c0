"""Files as one tar archive that exists nowhere: its bytes are made while they are read.

The format is that of https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html: ustar,
and an extended header where a path is too long for that or not ASCII, or a file too large. Nothing
in it depends on where, when or by whom it is made; docs/format.md has the bytes.
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
from ocimlpack.model.source import Seen, SourceBlob
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import CHUNK, Blob, BytesBlob, identity
from ocimlpack.stores.verify import Checkable, Stretch, Verifier

_BLOCK: Final = 512
_MAX_NAME: Final = 100
_MAX_PREFIX: Final = 155
_MAX_SIZE: Final = 8**11 - 1
_ANY_TYPE: Final = "application/octet-stream"

# Two blocks and no more. Go's archive/tar ends there; of padding behind them, readers that hash
# what they were given would see nothing, and find the digest wrong.
_END: Final = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Part:
    """A file or a folder in the archive.

    Attributes:
        path: its path there; a folder's ends with a slash.
        mode: its permission bits.
        size: its bytes.
        blob: its content.
        digest: what its content has to be, if that is known.
    """

    path: str
    mode: int
    size: int
    blob: Blob
    digest: Digest | None = None

    @classmethod
    def folder(cls, path: str) -> Part:
        """A folder that everybody may read.

        Args:
            path: without a slash at its end.
        """
        return cls(f"{path}/", 0o755, 0, BytesBlob(b""))

    def header(self) -> bytes:
        """What stands before the content."""
        raw = self.path.encode()
        kind = b"5" if self.path.endswith("/") else b"0"
        split = _split(raw)
        records = _record(b"path", raw) if split is None else b""
        if self.size > _MAX_SIZE:
            records += _record(b"size", b"%d" % self.size)
        # Where a record has the size, Go writes a zero here.
        size = self.size if self.size <= _MAX_SIZE else 0
        prefix, name = split or (b"", self.path.encode("ascii", "replace")[:_MAX_NAME])
        block = _block(prefix, name, self.mode, size, kind)
        if not records:
            return block
        return b"".join(
            (
                _block(b"", b"././@PaxHeader", 0, len(records), b"x"),
                records,
                bytes(-len(records) % _BLOCK),
                block,
            )
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """What an archive of one file says of it.

    Attributes:
        start: where its content begins.
        size: its bytes.
        mode: its permission bits.
    """

    start: int
    size: int
    mode: int


def frame(path: str, head: bytes, total: int) -> Frame | None:
    """Read an archive that holds one file and the folders that it is in, as they are made here.

    Args:
        path: the file's path in the archive.
        head: the archive's first bytes.
        total: the archive's size.

    Returns:
        None if it is no such archive, or not one whose bytes would be made here for that file.
    """
    for large in (False, True):
        # Both numbers are in the last header; whether there is one before it, the size decides.
        probe = Part(path, 0, _MAX_SIZE + 1 if large else 0, BytesBlob(b""))
        before = b"".join(part.header() for part in folders(path))
        start = len(before) + len(probe.header())
        block = head[start - _BLOCK : start]
        try:
            mode, size = int(block[100:107], 8), int(block[124:135], 8)
        except ValueError:
            continue
        # The rest is content, zeros up to a block, and the end.
        room = total - start - len(_END)
        sizes = range(max(room - _BLOCK + 1, _MAX_SIZE + 1), room + 1) if large else (size,)
        for each in sizes:
            part = Part(path, mode, each, BytesBlob(b""))
            if _padded(each) == room and before + part.header() == head[:start]:
                return Frame(start, each, mode)
    return None


def folders(path: str) -> Iterator[Part]:
    """The folders that a path is in, the uppermost first."""
    for end, letter in enumerate(path):
        if letter == "/":
            yield Part.folder(path[:end])


class BundleBlob:
    """The archive's bytes.

    Attributes:
        size: how many.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """Nothing is read yet.

        Args:
            parts: the files and folders, in order; at least one.
        """
        self._parts = tuple(parts)
        lengths = (len(part.header()) + _padded(part.size) for part in self._parts)
        self._starts = list(accumulate(lengths, initial=0))
        self.size = self._starts[-1] + len(_END)

    @property
    def starts(self) -> dict[str, int]:
        """Where the content of each file and folder begins, by its path."""
        pairs = zip(self._starts, self._parts, strict=False)
        return {part.path: start + len(part.header()) for start, part in pairs}

    @cached_property
    def identity(self) -> str:
        """Tells these bytes from any other as well as the contents' own identities can."""
        hasher = hashlib.sha256()
        for part in self._parts:
            content = str(part.digest) if part.digest else identity(part.blob) or ""
            if part.size and not content:
                raise AssertionError(f"{part.path} has no identity")
            hasher.update(b"%b\n%b\n" % (part.header(), content.encode()))
        return f"bundle:{hasher.hexdigest()}"

    @property
    def source(self) -> Path:
        """A name for the files, by which a cache of digests knows them; there is no such file."""
        first = next(iter(self._files), None)
        if first is None:
            return Path("/", self.identity)
        place = first.source.absolute()
        return place.with_name(f"{place.name[:80]}:{self.identity}")

    @property
    def seen(self) -> Seen:
        """Its size, and when the last of the files was changed."""
        seen = [file.seen for file in self._files]
        if not seen:  # what comes out of a store never changes
            return Seen(0, 0, self.size, 0, 0, 1)
        modified, changed = max(s.modified for s in seen), max(s.changed for s in seen)
        return Seen(seen[0].device, 0, self.size, modified, changed, 1)

    @property
    def _files(self) -> Iterator[SourceBlob]:
        return (part.blob for part in self._parts if isinstance(part.blob, SourceBlob))

    def stretches(self) -> Iterator[Stretch]:
        """The contents whose digests are known."""
        for start, part in zip(self._starts, self._parts, strict=False):
            begin = start + len(part.header())
            if part.digest and part.size:
                content = Descriptor(_ANY_TYPE, part.digest, part.size)
                yield Stretch(begin, part.size, Verifier(content))
            elif isinstance(part.blob, Checkable):
                for each in part.blob.stretches():
                    yield Stretch(begin + each.start, each.size, each.checker)

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
                for file in self._files:
                    file.head(0)
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
    header, size = part.header(), part.size
    if skip < len(header):
        yield header[skip:]
    skip = max(skip - len(header), 0)
    if skip <= size and not part.path.endswith("/"):
        left = size - skip
        with part.blob.open(skip) as stream:
            while left >= 0 and (piece := stream.read(CHUNK)):
                left -= len(piece)
                if left >= 0:
                    yield piece
        if left:
            # Its size was the same before and after: content that is made up when it is read.
            raise ConflictError(
                f"{part.path} has {size:,} bytes by its size, but other ones were read",
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
    # A folder's own slash is no place to cut at: nothing would be left for the name.
    end = min(_MAX_PREFIX + 1, len(path.removesuffix(b"/")))
    prefix, slash, _ = path[:end].rpartition(b"/")
    name = path[len(prefix) + 1 :]
    return (prefix, name) if slash and len(name) <= _MAX_NAME else None


def _record(key: bytes, value: bytes) -> bytes:
    """An extended header's record, which begins with its own length."""
    rest = b" %b=%b\n" % (key, value)
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
