"""What a model's files hold: in a folder, with the promise that it stays as it was first seen."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from ocimlpack.errors import ConflictError, UnsafeSourceError


class Content(Protocol):
    """What one file of a model holds, wherever that lies."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def place(self) -> str:
        """Where it lies, for messages."""
        ...

    @property
    def identity(self) -> str:
        """Tells this content from any other."""
        ...

    def open(self, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """Read from `offset` bytes on, to the end."""
        ...

    def browse(self) -> AbstractContextManager[BinaryIO]:
        """Read here and there, by seeking; content that is far away moves only what is read."""
        ...

    def head(self, length: int) -> bytes:
        """The first bytes, at most so many."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What the file system said of a file; another file or other content says something else.

    Attributes:
        size: bytes.
        modified: when its content was last changed, in nanoseconds.
        changed: when anything of it was last changed, in nanoseconds; no program can set that back.
        links: how many names it has.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int
    links: int

    @classmethod
    def of(cls, status: os.stat_result) -> Seen:
        """What a `stat` call said."""
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_nlink,
        )

    def still(self, status: os.stat_result) -> bool:
        """Whether this is the same file, unchanged."""
        now = Seen.of(status)
        if now == self:
            return True
        # Linking a file into some store moves its ctime, and nothing else than its link count.
        linked = now.links != self.links
        return linked and _identity(now) == _identity(self)


def _identity(seen: Seen) -> tuple[int, int, int, int]:
    return seen.device, seen.inode, seen.size, seen.modified


@runtime_checkable
class Recognisable(Protocol):
    """Content that the cache of digests can know again."""

    @property
    def source(self) -> Path:
        """Its name there, which may be that of no file."""
        ...

    @property
    def seen(self) -> Seen:
        """What it was."""
        ...


@dataclass(frozen=True, slots=True)
class SourceBlob:
    """A file's content, as long as the file stays what it was when the packing was planned.

    Attributes:
        source: the file.
        seen: what it was.
    """

    source: Path
    seen: Seen

    @property
    def size(self) -> int:
        """Bytes."""
        return self.seen.size

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self.source)

    @property
    def path(self) -> Path:
        """The file, for a store that clones files instead of reading them.

        Raises:
            ConflictError: it is no longer the file that it was.
        """
        self._check(self._status())
        return self.source

    @property
    def identity(self) -> str:
        """Tells this content from any other as well as the file system can."""
        seen = self.seen
        path = os.path.abspath(self.source)
        return f"{seen.device}:{seen.inode}:{seen.size}:{seen.modified}:{seen.changed}:{path}"

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on.

        Whoever leaves the context without an error knows that the file was the same before and
        after, by its inode, size and times. The digest is checked elsewhere; this is what tells a
        changed file from a broken transfer.

        Raises:
            ConflictError: the file was changed or replaced, before or meanwhile.
            UnsafeSourceError: it can't be read.
        """
        with self._opened() as stream:
            self._check(os.fstat(stream.fileno()))
            stream.seek(offset)
            try:
                yield stream
            except Exception as error:
                # A digest that is wrong because the file was changed is the change's fault.
                if not self._unchanged():
                    raise self._conflict() from error
                raise
            self._check(self._status())

    def browse(self) -> AbstractContextManager[BinaryIO]:
        """Read here and there, by seeking."""
        return self.open()

    def head(self, length: int) -> bytes:
        """The first bytes, at most so many."""
        with self.open() as stream:
            return stream.read(length)

    def _opened(self) -> BinaryIO:
        # O_NONBLOCK: a fifo that was put in the file's place must not hang us before it is seen.
        try:
            handle = os.open(self.source, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            raise self._conflict() from None
        except OSError as error:
            raise unreadable(self.source, error) from error
        return os.fdopen(handle, "rb")

    def _status(self) -> os.stat_result:
        try:
            return self.source.stat()
        except OSError as error:
            raise self._conflict() from error

    def _unchanged(self) -> bool:
        try:
            return self.seen.still(self.source.stat())
        except OSError:
            return False

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or not self.seen.still(status):
            raise self._conflict()

    def _conflict(self) -> ConflictError:
        return ConflictError(
            f"{self.source} changed while it was being read",
            hint="wait until whatever writes to it has finished, then run it again",
            side="source",
        )


def unreadable(path: Path | str, error: OSError) -> UnsafeSourceError:
    """The error for a file or folder that the system does not let us read."""
    return UnsafeSourceError(
        f"can't read {path}: {error.strerror or error}",
        hint="make it readable, or leave it out with --exclude or .ocimlpackignore",
        side="source",
    )
