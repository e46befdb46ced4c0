"""Bringing content into a file as cheaply as the file system allows, verified like everything else.

Where the content is a file, its bytes need not pass through this program: file systems can let two
files share what they hold (reflink), and some servers copy between their own files by themselves.
Whichever way it was, what is in the new file then is read and held against the digest: a clone of a
blob that has rotted is rotten.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final

from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import CHUNK, Blob, FileSlice, SlicedStream, linkable
from ocimlpack.stores.verify import Verifier, chunks

_FICLONE: Final = 0x40049409
"""The ioctl that shares a file's extents: https://man7.org/linux/man-pages/man2/FICLONE.2const.html"""

_CLONED: Final = 4096
"""Bytes of a file that is cloned to see whether that works: a block, below which some don't."""

_SLICE: Final = 1024 * 1024
"""Bytes that are copied before they are verified: still in the processor's cache then."""


class _Way(Enum):
    """How the bytes come into the file."""

    CLONE = "the file shares the source's extents"
    LINK = "the file is the source under another name"
    RANGES = "the system copies"
    BYTES = "read here, and written"


def fill(target: BinaryIO, blob: Blob, desc: Descriptor, *, name: Path | None = None) -> None:
    """Bring content into an empty file.

    Args:
        target: the file, open for reading and writing.
        blob: the content.
        desc: what it has to be.
        name: where the target is, if it is a store's blob in the making. Then a blob of another
            store may take its place there, as a link. Never given for a file that its owner will
            write to.

    Raises:
        IntegrityError: it is something else. What was written by then is of no use.
        OSError: from the target's file system.
    """
    with blob.open() as content:
        slices = _slices(content)
        if slices is None:
            for chunk in chunks(content, desc):
                _write(target, chunk)
            return
        filling = _Filling(target.fileno(), desc, linkable(blob), name)
        for piece in slices:
            filling.take(piece)
        # Before the source is left: if it was changed meanwhile, it says so itself then.
        filling.verifier.finish()


def can_clone(source: Path, folder: int) -> bool:
    """Whether copies of files like this one take no room in a folder.

    Args:
        source: a file.
        folder: an open folder's file descriptor; nothing is left in it.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        target = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600, dir_fd=folder)
    except OSError:
        return False  # a file system without nameless files has no shared extents either
    try:
        with source.open("rb") as stream:
            return _clone(stream.fileno(), target)
    except OSError:
        return False
    finally:
        os.close(target)


def shares(folder: Path) -> bool:
    """Whether a copy of a file in a folder takes no room, tried with files that have no name."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    handles = []
    try:
        handles.append(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
        handles.append(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
        os.write(handles[0], b"\0" * _CLONED)
        return _clone(*handles)
    except OSError:
        return False
    finally:
        for handle in handles:
            os.close(handle)


class _Filling:
    """A file that is being filled from another one, slice by slice in order.

    Attributes:
        verifier: has seen what the file holds by now.
    """

    def __init__(self, target: int, desc: Descriptor, blob: Path | None, name: Path | None) -> None:
        self.verifier = Verifier(desc)
        self._target = target
        self._size = desc.size
        self._blob = blob
        self._name = name
        self._way = _Way.BYTES
        self._whole = False
        self._at = 0
        self._buffer = memoryview(bytearray(CHUNK))

    def take(self, piece: FileSlice) -> None:
        """The next bytes."""
        if not self._at:
            self._way = self._begin(piece)
        if self._way is _Way.RANGES and not self._copy(piece):
            self._way = _Way.BYTES
        # What is hashed is what the file holds; but bytes in memory, before they are written.
        ours = self._way in {_Way.CLONE, _Way.RANGES}
        handle, offset = (self._target, self._at) if ours else (piece.handle, piece.offset)
        end = offset + piece.length
        while offset < end:
            chunk = self._buffer[: min(CHUNK, end - offset)]
            count = os.preadv(handle, [chunk], offset)
            if not count:
                break  # it has become shorter, which the verifier notices
            self.verifier.update(chunk[:count])
            if self._way is _Way.BYTES:
                _write_at(self._target, chunk[:count], self._at)
            offset += count
            self._at += count

    def _begin(self, piece: FileSlice) -> _Way:
        self._whole = piece.offset == 0 and os.fstat(piece.handle).st_size == self._size
        if self._whole:
            if _clone(piece.handle, self._target):
                return _Way.CLONE
            if self._link(piece.handle):
                return _Way.LINK
            os.ftruncate(self._target, self._size)
        return _Way.RANGES

    def _link(self, source: int) -> bool:
        """Put the source in the target's place, if it can as well be ours.

        Whoever owns a file can write to it, whatever store it belongs to. So the owner and the
        permissions have to be those that a file of our own has.
        """
        if self._blob is None or self._name is None:
            return False
        theirs, ours = os.fstat(source), os.fstat(self._target)
        if (theirs.st_uid, theirs.st_mode) != (ours.st_uid, ours.st_mode):
            return False
        beside = self._name.with_name(f"{self._name.name}-link")
        try:
            os.link(self._blob, beside)
            if not os.path.samestat(theirs, beside.lstat()):
                return False  # another file has taken its place since it was opened
            os.fsync(source)  # who wrote it may not have waited for the disk
            beside.replace(self._name)
        except OSError:
            return False  # another file system, or one without links, or too many of them
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
        return True

    def _copy(self, piece: FileSlice) -> bool:
        """Let the system copy a slice; False if it can't, or not all of it."""
        if sys.platform != "linux":
            return False
        if self._whole and _is_hole(piece):
            return True  # as it is in the target, whose size is set
        done = 0
        try:
            while done < piece.length:
                count = os.copy_file_range(
                    piece.handle,
                    self._target,
                    piece.length - done,
                    piece.offset + done,
                    self._at + done,
                )
                if not count:
                    return False
                done += count
        except OSError:
            # Between file systems mostly. Where something is really wrong, writing will say what.
            return False
        return True


def _slices(stream: BinaryIO) -> Iterator[FileSlice] | None:
    """The stream as parts of the file behind it; None if there is no file."""
    if isinstance(stream, SlicedStream):
        return iter(lambda: stream.take(_SLICE), None)
    if isinstance(stream, io.FileIO | io.BufferedReader):
        handle, start = stream.fileno(), stream.tell()
        size = os.fstat(handle).st_size
        return (
            FileSlice(handle, offset, min(_SLICE, size - offset))
            for offset in range(start, size, _SLICE)
        )
    return None


def _clone(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False  # another file system, or one that can't
    return True


def _is_hole(piece: FileSlice) -> bool:
    """Whether nothing was ever written there.

    https://man7.org/linux/man-pages/man2/lseek.2.html
    """
    try:
        return os.lseek(piece.handle, piece.offset, os.SEEK_DATA) >= piece.offset + piece.length
    except OSError as error:
        return error.errno == errno.ENXIO  # nor anywhere behind it


def _write(target: BinaryIO, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[target.write(view) :]


def _write_at(target: int, content: memoryview, offset: int) -> None:
    while content:
        count = os.pwrite(target, content, offset)
        content = content[count:]
        offset += count
