"""A file that is filled in parts, in any order, and that knows after a crash which parts it has.

The content has its final extent from the beginning. What is known of it is written behind its end:
a line that says whose content this is, then a record for each part that is there. So file and
journal can't be parted: one rename claims both, and cutting the file to its size ends the journal.

Nothing here depends on a lock, a process id or a clock. A lock that works spares two processes from
doing the same; where there is none, whoever renames the file has it, and who had it before finds
that out at the next record.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
import time
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ocimlpack.errors import ConflictError, InputError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.files import refused

_RECORD: Final = struct.Struct("<QQI")
"""Offset, length, and a checksum over both and the line before the records."""

_MAX_RECORDS: Final = 64 * 1024 * 1024
"""Bytes of records that are read; a file of 1 TiB has some 6 MB of them."""

_QUIET_SECONDS: Final = 1.0
"""For how long a file is watched that may be somebody's, where locks don't tell."""

_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class TakenError(ConflictError):
    """Another process has the file now."""


class Extents:
    """The parts that are there: sorted, apart from each other."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.total = 0

    def add(self, start: int, end: int) -> None:
        """A part is there. It may touch others, or lie over them."""
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if last - first == 1 and self._ends[first] == start:  # mostly: a part gets longer
            self._ends[first] = end
            self.total += end - start
            return
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
            self.total -= sum(self._ends[first:last]) - sum(self._starts[first:last])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        self.total += end - start

    def end_of(self, offset: int) -> int:
        """How far all is there from `offset` on; `offset` itself if nothing is."""
        found = bisect_right(self._starts, offset) - 1
        return max(offset, self._ends[found]) if found >= 0 else offset

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Where each begins and ends."""
        return zip(self._starts, self._ends, strict=True)

    def gaps(self, size: int) -> Iterator[tuple[int, int]]:
        """What is missing of so many bytes: where it begins and ends."""
        begin = 0
        for start, end in self:
            if begin < start:
                yield begin, start
            begin = end
        if begin < size:
            yield begin, size


class PartialFile:
    """The file, open. Reading and writing are for many threads; what changes the journal is not.

    Attributes:
        desc: the content that it gets.
        inherited: bytes that earlier runs brought, as far as they said.
        usable: whether it can be gone on with.
        instead: whether it takes the place of one that could not.
    """

    def __init__(self, handle: int, folder: int, name: str, desc: Descriptor, label: str) -> None:
        """Read the journal, if there is one.

        Args:
            handle: the file, open for reading and writing; it is closed by `close`.
            folder: the folder that it is in, open; it is not closed.
            name: what it is called there.
            desc: the content that it gets.
            label: what errors call it.
        """
        self.desc = desc
        self._handle = handle
        self._folder = folder
        self._name = name
        self._label = label
        self._extents = Extents()
        self._head = f"ocimlpack partial 1 {desc.digest} {desc.size}\n".encode()
        self._end = desc.size
        self.instead = False
        self.usable = self._load()
        self.inherited = self._extents.total

    def present(self) -> list[tuple[int, int]]:
        """What is there: where each part begins and ends."""
        return list(self._extents)

    def gaps(self) -> list[tuple[int, int]]:
        """What is missing."""
        return list(self._extents.gaps(self.desc.size))

    def write(self, offset: int, content: bytes | memoryview) -> None:
        """Put bytes in their place.

        Raises:
            UnavailableError: the disk is full.
            InputError: the system refuses it.
        """
        try:
            count = os.pwrite(self._handle, content, offset)
            while count < len(content):
                content, offset = memoryview(content)[count:], offset + count
                count = os.pwrite(self._handle, content, offset)
        except OSError as error:
            raise refused(error, Path(self._label)) from error

    def read(self, offset: int, buffer: memoryview) -> int:
        """Get bytes that are there into the buffer; returns how many, 0 behind the end."""
        try:
            return os.preadv(self._handle, [buffer], offset)
        except OSError as error:
            raise InputError(f"can't read {self._label}: {error.strerror}") from error

    def note(self, start: int, end: int) -> None:
        """Write down that a part is there.

        Raises:
            TakenError: another process has taken the file over.
            UnavailableError: the disk is full.
        """
        self._require_ours()
        self._extents.add(start, end)
        self.write(self._end, self._record(start, end - start))
        self._end += _RECORD.size

    def reset(self) -> None:
        """Throw away what is there.

        Raises:
            TakenError: another process has taken the file over.
            UnavailableError: the disk is full.
        """
        self._require_ours()
        self._extents = Extents()
        self.inherited = 0
        size = self.desc.size
        with self._writing():
            # Not a new one: ext4 takes that for a file that is replaced, and writes all of it out
            # when it is closed. https://man7.org/linux/man-pages/man5/ext4.5.html, auto_da_alloc
            if os.fstat(self._handle).st_size:
                os.ftruncate(self._handle, 0)
        self.write(size, self._head)  # which gives the file its extent, too
        self._end = size + len(self._head)
        self.usable = True

    def finish(self, *, durable: bool) -> None:
        """All of the content is there and right: end the journal.

        Args:
            durable: wait until it is on disk.
        """
        with self._writing():
            os.ftruncate(self._handle, self.desc.size)
            if durable:
                os.fsync(self._handle)

    def move(self, folder: int, name: str) -> None:
        """Give it its final name.

        Args:
            folder: where; a folder's file descriptor.
            name: its name there.

        Raises:
            TakenError: another process has taken the file over.
            OSError: as the system says.
        """
        self._require_ours()
        try:
            os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=folder)
        except FileNotFoundError:
            self._require_ours()
            raise
        self._name = ""

    def close(self) -> None:
        """Let go of it. A file without a part in it is removed."""
        if self._extents.total:
            os.close(self._handle)
        else:
            self.discard()

    def discard(self) -> None:
        """Let go of it and remove it, unless it is somebody else's by now."""
        with suppress(OSError):  # what stays is hidden, and `prune` finds it
            if self._is_ours():
                os.unlink(self._name, dir_fd=self._folder)
        os.close(self._handle)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise refused(error, Path(self._label)) from error

    def _require_ours(self) -> None:
        if not self._is_ours():
            raise TakenError(f"another process has taken over what was kept of {self._label}")

    def _is_ours(self) -> bool:
        if not self._name:
            return False
        try:
            there = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._handle))

    def _record(self, start: int, length: int) -> bytes:
        check = zlib.crc32(_RECORD.pack(start, length, 0), zlib.crc32(self._head))
        return _RECORD.pack(start, length, check)

    def _load(self) -> bool:
        size = os.fstat(self._handle).st_size
        if size == self.desc.size:
            # Cut to its size, but not moved any more: all may be there. The digest will tell.
            self._extents.add(0, size)
            return True
        return size > self.desc.size and self._load_journal()

    def _load_journal(self) -> bool:
        found = os.pread(self._handle, len(self._head) + _MAX_RECORDS, self.desc.size)
        if not found.startswith(self._head):
            return False
        self._end += len(self._head)
        for at in range(len(self._head), len(found) - _RECORD.size + 1, _RECORD.size):
            start, length, _ = _RECORD.unpack_from(found, at)
            record = found[at : at + _RECORD.size]
            if record != self._record(start, length) or start + length > self.desc.size:
                break  # torn when the process or the machine died: the next one goes over it
            self._extents.add(start, start + length)
            self._end += _RECORD.size
        return True


def name_of(desc: Descriptor, prefix: str = "") -> str:
    """How the names of a content's partial files begin."""
    return f"{prefix}{desc.digest.algorithm}-{desc.digest.hex}-"


@contextmanager
def claimed(
    folder: int,
    desc: Descriptor,
    *,
    label: str,
    prefix: str = "",
    mode: int = 0o666,
    others: Sequence[int] = (),
) -> Iterator[PartialFile]:
    """A content's partial file: one that an earlier run left, or a new one.

    Args:
        folder: where it is; an open folder's file descriptor.
        desc: the content.
        label: what errors call the file.
        prefix: how its name begins.
        mode: the permissions of a new one, less the umask.
        others: more folders, on the same file system, in which it may have been left.

    Raises:
        UnavailableError: the disk is full.
        InputError: the folder can't be written to.
    """
    begin = name_of(desc, prefix)
    try:
        name = _unique(begin)
        left = _Left(folder, begin, desc, label)
        for each in (folder, *others):
            left.look_into(each)
        file = left.best
        if file is None:
            handle = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, mode, dir_fd=folder)
            file = PartialFile(handle, folder, name, desc, label)
            file.instead = left.spoilt
            _lock(handle)
    except OSError as error:
        raise refused(error, Path(label)) from error
    try:
        if not file.usable:
            file.reset()
        yield file
    finally:
        file.close()


class _Left:
    """What earlier runs left of a content.

    Attributes:
        best: the file that has most, claimed. Others that nobody has are removed.
        spoilt: whether there was one that can't be used.
    """

    def __init__(self, folder: int, begin: str, desc: Descriptor, label: str) -> None:
        self.best: PartialFile | None = None
        self.spoilt = False
        self._folder = folder
        self._begin = begin
        self._desc = desc
        self._label = label

    def look_into(self, folder: int) -> None:
        for name in sorted(os.listdir(folder)):
            file = self._claim(folder, name) if name.startswith(self._begin) else None
            if file is None:
                continue
            if not file.usable:
                self.spoilt = True
                file.discard()
            elif self.best is None:
                self.best = file
            else:
                self.best, worse = sorted((self.best, file), key=lambda each: -each.inherited)
                worse.discard()

    def _claim(self, folder: int, name: str) -> PartialFile | None:
        """Take over one file; None if it is somebody else's."""
        try:
            handle = os.open(name, _OPEN, dir_fd=folder)
        except OSError:
            return None  # it is gone by now, or no file
        try:
            status = os.fstat(handle)
            if status.st_uid == os.geteuid() and status.st_nlink == 1 and _lock(handle):
                new = _unique(self._begin)
                # Only one of those who get here finds it under the name that it had.
                os.rename(name, new, src_dir_fd=folder, dst_dir_fd=self._folder)
                return PartialFile(handle, self._folder, new, self._desc, self._label)
        except FileNotFoundError:
            pass  # somebody else was faster
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        return None


def _unique(begin: str) -> str:
    return f"{begin}{secrets.token_hex(4)}"


def _lock(handle: int) -> bool:
    """Whether nobody else seems to have the file. It is a hint, and ends with the process."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: somebody who has the file would be writing to it.
        before = os.fstat(handle)
        if before.st_size:
            time.sleep(_QUIET_SECONDS)
        after = os.fstat(handle)
        return (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    return True
