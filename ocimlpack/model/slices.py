"""Files that lie in an archive in some store, as content that can be read one by one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from ocimlpack.errors import IntegrityError
from ocimlpack.model import archive
from ocimlpack.model.source import Seen
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.mediatypes import Encoding
from ocimlpack.stores.base import CHUNK, RangeReader, ReadableStore, capability
from ocimlpack.stores.verify import Stretch, Verifier

_AT_ONCE: Final = 1024 * 1024
"""Bytes up to which a file is asked for in one piece: more of the archive would be on its way
before anybody could say that it is enough."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A file's content, as a part of a layer.

    Attributes:
        store: where the layer is.
        layer: the archive.
        encoding: how it is compressed. A compressed one is read from its beginning each time.
        start: where the content begins in the archive, unpacked.
        size: its bytes.
        lone: whether nothing else in the archive matters: then reading the content is how the
            archive is verified. Else the content's own digest has to be known.
    """

    store: ReadableStore
    layer: Descriptor
    encoding: Encoding
    start: int
    size: int
    lone: bool = False

    @property
    def identity(self) -> str:
        """Tells this content from any other."""
        return f"slice:{self.layer.digest}:{self.start}:{self.size}"

    @property
    def source(self) -> Path:
        """A name for it, by which a cache of digests knows it; there is no such file."""
        return Path("/", self.identity)

    @property
    def seen(self) -> Seen:
        """What a file system would say of content that never changes."""
        return Seen(0, 0, self.size, 0, 0, 1)

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on.

        Raises:
            OcimlpackError: from the store.
        """
        left = self.size - offset
        if left <= 0:
            yield io.BytesIO()
        elif self.encoding != "tar":
            with self.store.fetch(self.layer).open() as stream:
                unpacked = archive.unpacked(stream, self.layer, self.encoding)
                yield cast(BinaryIO, _Unpacked(unpacked, self.start + offset, left))
        elif left <= _AT_ONCE and capability(self.store, RangeReader) is not None:
            yield io.BytesIO(self.around(self.start + offset, left))
        else:
            with self.store.fetch(self.layer).open(self.start + offset) as stream:
                yield cast(BinaryIO, _Limited(stream, left))

    def around(self, offset: int, length: int) -> bytes:
        """Bytes of the archive, from an offset in it."""
        return read(self.store, self.layer, offset, length)

    def stretches(self) -> Iterator[Stretch]:
        """All of it, if reading it verifies the archive."""
        if self.lone and self.size:
            yield Stretch(0, self.size, _Whole(self))


class _Whole:
    """Holds an archive against its digest while the one file in it is read."""

    def __init__(self, subject: Slice) -> None:
        self._slice = subject
        self._verifier = Verifier(subject.layer)

    def update(self, chunk: bytes | memoryview, /) -> None:
        if not self._verifier.seen:
            self._verifier.update(self._slice.around(0, self._slice.start))
        self._verifier.update(chunk)

    def finish(self) -> None:
        end = self._slice.start + self._slice.size
        self._verifier.update(self._slice.around(end, self._slice.layer.size - end))
        self._verifier.finish()


def read(store: ReadableStore, desc: Descriptor, offset: int, length: int) -> bytes:
    """A few bytes of a blob, which has to have them. Nothing has verified them.

    Raises:
        IntegrityError: it is shorter than its descriptor says.
    """
    reader = capability(store, RangeReader)
    if reader is not None:
        found = reader.read(desc, offset, length)
        if len(found) != length:
            raise _cut_short()
        return found
    with store.fetch(desc).open(offset) as stream:
        return _Limited(stream, length).read()


def _cut_short() -> IntegrityError:
    return IntegrityError("an archive ends before a file in it does", side="source")


class _Limited:
    """The beginning of a stream."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream = stream
        self._left = left

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        wanted = min(size, self._left)
        chunk = self._stream.read(wanted)
        if wanted and not chunk:
            raise _cut_short()
        self._left -= len(chunk)
        return chunk


class _Unpacked:
    """A part of what an archive unpacks to."""

    def __init__(self, pieces: Iterator[bytes], skip: int, left: int) -> None:
        self._pieces = pieces
        self._skip = skip
        self._left = left
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        while not self._rest and self._left:
            piece = next(self._pieces, None)
            if piece is None:
                raise _cut_short()
            skipped = min(self._skip, len(piece))
            self._skip -= skipped
            self._rest = memoryview(piece)[skipped:]
        taken = self._rest[: min(size, self._left)]
        self._rest = self._rest[len(taken) :]
        self._left -= len(taken)
        return bytes(taken)
