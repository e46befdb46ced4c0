"""Files below a folder, reached part by part from an open folder and never through a link.

A path is not looked up as a whole: each of its folders is opened in the one before it and must be
a real folder. So a link that lies in the way, however late it was put there, ends the walk instead
of leading out of the folder. https://man7.org/linux/man-pages/man2/open.2.html (O_NOFOLLOW, dir_fd)
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from ocimlpack.errors import InputError
from ocimlpack.stores.files import refused

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe waits until somebody writes to it.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
UNFINISHED: Final = ".new"
"""How a name ends that `replace` writes to first."""

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Say in one sentence what the operating system refused while something was changed.

    Raises:
        UnavailableError: the disk or the quota is full.
        InputError: anything else, such as missing permissions or a name that is too long.
    """
    try:
        yield
    except OSError as error:
        raise refused(error, Path(path)) from error


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """The same while something was read.

    Raises:
        InputError: missing permissions, or a disk that fails.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error


class Root(AbstractContextManager["Root"]):
    """An open folder. All paths given to it are below it, their parts joined by `/`.

    Attributes:
        fd: the folder's file descriptor.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def at(cls, path: Path, *, follow: bool = True) -> Root:
        """Open a folder that the user named; links on the way to it are the user's own.

        Args:
            path: the folder.
            follow: whether it may be a link itself.
        """
        return cls(os.open(path, _FOLDER & ~os.O_NOFOLLOW if follow else _FOLDER))

    def __exit__(self, *_: object) -> None:
        # The number may soon stand for something else, and a thread that is late may still ask.
        fd, self.fd = self.fd, -1
        os.close(fd)

    def folder(self, path: str, *, make: bool = False) -> Root:
        """Open a folder below this one, if asked after making it and those above it."""
        with self._parent(f"{path}/.", make=make) as (fd, name):
            return Root(os.open(name, _FOLDER, dir_fd=fd))

    def look(self, path: str) -> os.stat_result | None:
        """What is at the path, a link as itself; None if nothing is, or no folder leads there."""
        try:
            with self._parent(path) as (fd, name):
                return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def open(self, path: str) -> BinaryIO | None:
        """A file to read, unbuffered; None if there is no regular file or no folder leads to it."""
        try:
            with self._parent(path) as (fd, name):
                file = os.open(name, _READ, dir_fd=fd)
        except OSError as error:
            if error.errno in _NOT_THERE or error.errno == errno.ENXIO:
                return None
            raise
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            return None
        return os.fdopen(file, "rb", buffering=0)

    def create(self, path: str, *, executable: bool = False) -> BinaryIO:
        """A new file to write, unbuffered, its folders made. There must be nothing at the path."""
        with self._parent(path, make=True) as (fd, name):
            file = os.open(name, _CREATE, 0o755 if executable else 0o644, dir_fd=fd)
        return os.fdopen(file, "wb", buffering=0)

    def replace(self, path: str, content: bytes) -> None:
        """Let a small file have this content, in one step that survives a power failure."""
        temporary = f"{path}.{os.getpid()}{UNFINISHED}"
        with suppress(FileNotFoundError):
            self.remove(temporary)
        try:
            with self.create(temporary) as file:
                write_all(file, content)
                os.fsync(file.fileno())
            self.move(temporary, self, path)
        except BaseException:
            with suppress(OSError):
                self.remove(temporary)
            raise
        self.sync(path.rpartition("/")[0])

    def move(self, path: str, target: Root, target_path: str) -> None:
        """Rename a file, also to below another root, where its folders are made."""
        with (
            self._parent(path) as (fd, name),
            target._parent(target_path, make=True) as (target_fd, target_name),
        ):
            os.rename(name, target_name, src_dir_fd=fd, dst_dir_fd=target_fd)

    @contextmanager
    def place(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder of a path, open and made if need be, and the last part of the path."""
        with self._parent(path, make=True) as found:
            yield found

    def remove(self, path: str) -> None:
        """Remove a file or a link."""
        with self._parent(path) as (fd, name):
            os.unlink(name, dir_fd=fd)

    def remove_all(self, path: str) -> None:
        """Remove whatever is at the path, if anything is, with all below it."""
        found = self.look(path)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            self.remove(path)
            return
        with self._parent(path) as (fd, name):
            shutil.rmtree(name, dir_fd=fd)

    def remove_empty(self, path: str) -> None:
        """Remove a folder and those above it, as far as they are empty; never the root itself."""
        while path:
            try:
                with self._parent(path) as (fd, name):
                    os.rmdir(name, dir_fd=fd)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST, *_NOT_THERE}:
                    return
                raise
            path = path.rpartition("/")[0]

    def sync(self, path: str = "") -> None:
        """Let the names in a folder survive a power failure."""
        with self.folder(path) as folder, suppress(OSError):
            # Some network file systems can't do it for folders and need no asking.
            os.fsync(folder.fd)

    def walk(self, path: str = "") -> Iterator[tuple[str, bool]]:
        """All that is below, sorted: each path and whether it is a folder, its content before it.

        Links are listed and not followed.
        """
        with self.folder(path) as folder, os.scandir(folder.fd) as entries:
            found = sorted((each.name, each.is_dir(follow_symlinks=False)) for each in entries)
        for name, is_folder in found:
            below = f"{path}/{name}" if path else name
            if is_folder:
                yield from self.walk(below)
            yield below, is_folder

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        *folders, name = path.split("/")
        own = fd = self.fd
        try:
            for folder in filter(None, folders):
                inner = _open_folder(folder, fd, make=make)
                if fd != own:
                    os.close(fd)
                fd = inner
            yield fd, name
        finally:
            if fd != own:
                os.close(fd)


def _open_folder(name: str, parent: int, *, make: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another thread was faster
        os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def write_all(file: BinaryIO, content: bytes) -> None:
    """Write to an unbuffered file until nothing is left: one write may take only a part."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
