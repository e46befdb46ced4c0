"""What is at the place that a pull shall fill, and whether it can be filled by one rename."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path

from ocimlpack.errors import ConflictError, InputError, InvalidContentError
from ocimlpack.model import receipt
from ocimlpack.model.beneath import Root, reading, writing
from ocimlpack.model.names import OWN_FOLDER


class Situation(Enum):
    """What is at the destination: nothing, an empty folder, a pull or its beginning, or else."""

    ABSENT = auto()
    EMPTY = auto()
    OURS = auto()
    FOREIGN = auto()


def locate(destination: Path) -> Path:
    """Where a destination really is: links that lead to it followed, itself not.

    Raises:
        InputError: it has a NUL byte.
    """
    try:
        if destination.name in {"", ".."}:
            return Path(os.path.realpath(destination))
        return Path(os.path.realpath(destination.parent)) / destination.name
    except ValueError as error:
        raise InputError(f"not a path: {str(destination)!r}") from error


def examine(path: Path, *, force: bool) -> Situation:
    """Look at the destination.

    Args:
        path: as `locate` gave it.
        force: take a folder whose receipt can't be used for somebody else's.

    Raises:
        InputError: it is a link or a file, or can't be read.
        InvalidContentError: it has a receipt that can't be used.
        ConflictError: it is not empty and not from a pull, and `force` is not given.
    """
    with reading(path):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return Situation.ABSENT
    if stat.S_ISLNK(status.st_mode):
        raise InputError(
            f"{path} is a link, and nothing is written through links",
            hint=f"name the folder itself: {os.path.realpath(path)}",
        )
    if not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is not a folder", hint="name a folder for the model's files")
    situation = _inside(path, force=force)
    if situation is Situation.FOREIGN:
        _refuse_precious(path)
        if not force:
            raise ConflictError(
                f"{path} is not empty, and what is in it was not pulled",
                hint="name another folder, or let --force replace all that is in it",
            )
    return situation


def swappable(path: Path) -> bool:
    """Whether an existing folder can be replaced by a new one, nobody noticing any difference.

    Not so for a mount point, for somebody else's folder, and for one in which this process runs:
    the shell that started it would be left in a folder that is gone.
    """
    with suppress(OSError):
        here = Path(os.path.realpath(Path.cwd()))
        return (
            path != path.parent
            and not os.path.ismount(path)
            and path.stat().st_uid == os.geteuid()
            and os.access(path.parent, os.W_OK | os.X_OK)
            and not here.is_relative_to(path)
        )
    return False


@contextmanager
def parents(path: Path) -> Iterator[None]:
    """Make the folders above; those that are still empty in the end are removed again."""
    missing = [each for each in path.parents if not each.exists()]
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for each in missing:
            with suppress(OSError):
                each.rmdir()


def _inside(path: Path, *, force: bool) -> Situation:
    with reading(path), Root.at(path, follow=False) as root:
        names = os.listdir(root.fd)
        try:
            found = [receipt.read(root), receipt.read(root, receipt.INCOMING)]
        except InvalidContentError as error:
            if force:
                return Situation.FOREIGN
            error.hint = error.hint or "let --force replace the folder"
            raise
        own = root.look(OWN_FOLDER)
    begun = own is not None and stat.S_ISDIR(own.st_mode) and names == [OWN_FOLDER]
    if any(found) or begun:
        return Situation.OURS
    return Situation.FOREIGN if names else Situation.EMPTY


def _refuse_precious(path: Path) -> None:
    """Nobody means to lose these, not even with --force.

    Raises:
        InputError: the file system's root, the user's home, or a folder that one of these or the
            current folder is in.
    """
    with suppress(RuntimeError, OSError):  # no home, or the current folder is gone
        home, here = (Path(os.path.realpath(each)) for each in (Path.home(), Path.cwd()))
        if home.is_relative_to(path) or here.parent.is_relative_to(path):
            raise InputError(
                f"{path} is not replaced: other things are in it", hint="name a folder of its own"
            )
