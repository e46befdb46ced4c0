"""A private folder in which an artifact's files are completed before anybody sees them.

One process has it at a time, by a lock on the folder itself, which ends with the process. What a
process left behind when it died is taken over by the next one: files under their final names are
complete there (and are hashed before they are trusted), all others are thrown away.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError, InvalidDigestError, UnavailableError
from ocimlpack.model.beneath import Root, reading, write_all, writing
from ocimlpack.model.names import OWN_FOLDER
from ocimlpack.model.receipt import Entry
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode, encode
from ocimlpack.stores.base import CHUNK
from ocimlpack.stores.files import refused

PARTIAL: Final = "partial-"
"""How a staging folder's name begins that is in a pulled folder's own one."""

_WINDOW: Final = 16 * 1024 * 1024
"""Bytes after which the disk is told to begin with them."""

_SCRATCH: Final = f"{OWN_FOLDER}/scratch"
_ARCHIVES: Final = f"{OWN_FOLDER}/archives"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive, all of it: files, and folders that may be empty."""

    files: tuple[Entry, ...]
    folders: tuple[str, ...]


class Staging:
    """The folder, locked.

    Attributes:
        name: what it is called.
        root: it, open.
        parent: the folder that it is in, open.
        inherited: whether an earlier run may have left files in it.
    """

    def __init__(self, name: str, root: Root, parent: Root, *, inherited: bool) -> None:
        self.name = name
        self.root = root
        self.parent = parent.folder("")
        self.inherited = inherited
        self._scratch = root.folder(_SCRATCH, make=True)
        self._numbers = itertools.count()

    @classmethod
    def claim(cls, parent: Root, name: str) -> Staging:
        """Take over a folder of this name that nobody has any more, or make one.

        Args:
            parent: the folder that it is in.
            name: how it is called; a suffix makes it another, where somebody has this one.

        Raises:
            InputError: the parent can't be written to.
            UnavailableError: the disk is full.
        """
        with writing(name):
            for left in sorted(os.listdir(parent.fd)):
                if left == name or left.startswith(f"{name}-"):
                    root = _lock(parent, left, made=False)
                    if root:
                        root.remove_all(_SCRATCH)
                        return cls(left, root, parent, inherited=True)
            path = name
            while True:
                with suppress(FileExistsError):
                    os.mkdir(path, 0o755, dir_fd=parent.fd)
                    root = _lock(parent, path, made=True)
                    if root:
                        return cls(path, root, parent, inherited=False)
                path = f"{name}-{secrets.token_hex(4)}"

    def close(self) -> None:
        """Leave it: only complete files stay, and if there are none, nothing does."""
        # What can't be removed now is hidden, and the next run removes it.
        with self.parent, self.root, self._scratch, suppress(OSError):
            self.root.remove_all(_SCRATCH)
            if all(is_folder for _, is_folder in self.root.walk()):
                self.parent.remove_all(self.name)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        # What can't be removed is hidden and in nobody's way.
        with self.parent, self.root, self._scratch, suppress(OSError):
            self.parent.remove_all(self.name)

    def release(self) -> None:
        """Let go of it after it was renamed."""
        with self.parent, self.root, self._scratch:
            pass

    def settle(self, files: Iterable[str], folders: Iterable[str]) -> None:
        """Leave nothing in it but these files and folders, their names safe on disk."""
        wanted = set(files)
        with writing(self.name):
            for path, is_folder in list(self.root.walk()):
                if path not in wanted and not is_folder:
                    self.root.remove(path)
            for path, is_folder in list(self.root.walk()):
                if is_folder:
                    self.root.remove_empty(path)
            for path in folders:
                self.root.folder(path, make=True).__exit__()
            for path, is_folder in self.root.walk():
                if is_folder:
                    self.root.sync(path)

    def require(self, size: int, what: str) -> None:
        """See to it that there is room.

        Raises:
            UnavailableError: there isn't; it says how much is missing.
        """
        status = os.fstatvfs(self.root.fd)
        free = status.f_bavail * status.f_frsize
        if size > free:
            raise UnavailableError(
                f"no room left: {what} needs {size:,} bytes, the disk has {free:,}, "
                f"{size - free:,} are missing",
                hint="free space and run it again: what is complete is kept",
            )

    def write(self, pieces: Iterable[bytes], *, executable: bool, name: str) -> str:
        """Write a file that has no name yet and wait until it is on disk.

        Args:
            pieces: its content. What getting it raises is passed on.
            executable: whether it may be run.
            name: what an error calls it.

        Returns:
            What `place` or `discard` have to be given.

        Raises:
            UnavailableError: the disk is full.
            InputError: the system refuses it.
        """
        nameless = str(next(self._numbers))
        with writing(name):
            file = self._scratch.create(nameless, executable=executable)
        try:
            with file:
                self._fill(file, pieces, name)
        except BaseException:
            self.discard((nameless,))
            raise
        return nameless

    def place(self, nameless: str, path: str) -> None:
        """Give a file that is complete and right its name.

        Raises:
            InvalidContentError: another file of the artifact is in the way.
        """
        try:
            self._scratch.move(nameless, self.root, path)
        except OSError as error:
            self.discard((nameless,))
            if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
                raise InvalidContentError(
                    f"the artifact's {path!r} and another of its files can't be side by side"
                ) from error
            raise refused(error, Path(path)) from error

    def discard(self, nameless: Iterable[str]) -> None:
        """Remove files that were written and not placed."""
        for each in nameless:
            with suppress(OSError):  # what stays, `close` removes, or the next run
                self._scratch.remove(each)

    @staticmethod
    def _fill(file: BinaryIO, pieces: Iterable[bytes], name: str) -> None:
        written = begun = 0
        for piece in pieces:
            with writing(name):
                write_all(file, piece)
            written += len(piece)
            if written - begun >= _WINDOW:
                _begin_writeback(file, begun, written - begun)
                begun = written
        with writing(name):
            os.fsync(file.fileno())

    def read(self, path: str) -> Iterator[bytes]:
        """A file's content; it must be there."""
        with reading(path):
            file = self.root.open(path)
        if file is None:
            raise InvalidContentError(f"{path} was removed meanwhile")
        with file:
            while True:
                with reading(path):
                    piece = file.read(CHUNK)
                if not piece:
                    return
                yield piece

    def note(self, layer: Digest, unpacked: Unpacked) -> None:
        """Write down for a later run that all of an archive's files are here."""
        value = {
            "files": [entry.to_json() for entry in unpacked.files],
            "folders": list(unpacked.folders),
        }
        with writing(self.name):
            self.root.replace(f"{_ARCHIVES}/{layer.hex}.json", encode(value))

    def noted(self, layer: Digest) -> Unpacked | None:
        """What an earlier run wrote down; None if it was nothing, or can't be used."""
        path = f"{_ARCHIVES}/{layer.hex}.json"
        with reading(path):
            if self.root.look(path) is None:
                return None
        try:
            value = decode(b"".join(self.read(path)), "it")
            files = tuple(map(Entry.from_json, value["files"]))
            return Unpacked(files, tuple(map(str, value["folders"])))
        except (InvalidContentError, InvalidDigestError, KeyError, TypeError):
            return None


def prune(
    parent: Root, prefix: str, spared: tuple[str, ...], *, dry_run: bool
) -> list[tuple[str, int]]:
    """Remove staging folders that nobody has any more.

    Args:
        parent: the folder that they are in.
        prefix: how their names begin.
        spared: how names begin that are left alone.
        dry_run: only say what would be removed.

    Returns:
        Their names, each with the bytes in its files.
    """
    found = []
    for name in sorted(os.listdir(parent.fd)):
        ours = name.startswith(prefix) and not name.startswith(spared)
        root = _lock(parent, name, made=False) if ours else None
        if root:
            with root:
                status = [root.look(path) for path, is_folder in root.walk() if not is_folder]
                found.append((name, sum(each.st_size for each in status if each)))
                if not dry_run:
                    with writing(name):
                        parent.remove_all(name)
    return found


def _begin_writeback(file: BinaryIO, offset: int, length: int) -> None:
    """Let the disk begin with what was written, so that the last fsync has little to wait for.

    Linux starts writing a range back when told that it is not needed any more, and drops only what
    is on disk by then: https://man7.org/linux/man-pages/man2/posix_fadvise.2.html
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # it is advice
            os.posix_fadvise(file.fileno(), offset, length, os.POSIX_FADV_DONTNEED)


def _lock(parent: Root, name: str, *, made: bool) -> Root | None:
    """Open a folder and have it alone; None if it is somebody else's, or gone by now.

    Args:
        parent: the folder that it is in.
        name: its name there.
        made: whether this process made it a moment ago.
    """
    try:
        root = parent.folder(name)
    except OSError:
        return None
    if _have(root, parent, name, made=made):
        return root
    root.__exit__()
    return None


def _have(root: Root, parent: Root, name: str, *, made: bool) -> bool:
    status = os.fstat(root.fd)
    if not made and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        # The name can be guessed: in a folder that others can write to, somebody else may have
        # laid something there.
        return False
    try:
        fcntl.flock(root.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return made  # a file system without locks, on which nothing is taken over
    # Whoever had it until now may have renamed or removed it.
    now = parent.look(name)
    return now is not None and os.path.samestat(status, now)
