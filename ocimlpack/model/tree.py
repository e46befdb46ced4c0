"""The files of a model's folder: which belong to the model, and that each can be packed safely.

The result depends on names and content alone: not on the order in which the system lists a folder,
not on its locale, not on what the folder itself is called.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocimlpack.errors import InputError, InvalidContentError, UnsafeSourceError
from ocimlpack.model.names import OWN_FOLDER, check_path, collisions
from ocimlpack.model.source import Content, Seen, SourceBlob, unreadable
from ocimlpack.spec.digest import Digest

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE: Final = ".ocimlpackignore"
"""Patterns of files to leave out, as in a `.gitignore`; in any folder of the model."""

IGNORED: Final = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        OWN_FOLDER,
        IGNORE_FILE,
        ".DS_Store",
        "Thumbs.db",
        "__pycache__",
        ".ipynb_checkpoints",
    }
)
"""Names that are never packed, in any folder: they belong to tools, and differ between machines."""

# Where the hub's client keeps the state of its downloads:
# https://huggingface.co/docs/huggingface_hub/guides/download#download-files-to-a-local-folder
_HUB_CACHE: Final = ".cache/huggingface"

MAX_RULES: Final = 1024 * 1024
"""Bytes of an ignore file."""

_LEAVE_OUT: Final = "rename it, or leave it out with --exclude or .ocimlpackignore"

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the model.

    Attributes:
        path: where it is in the model: relative, with `/`, in Unicode's composed form (NFC).
        blob: its content.
        digest: the content's digest, if that is known beforehand.
    """

    path: str
    blob: Content
    digest: Digest | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.blob.size


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder still to be looked into, with the ignore rules and the real folders above it."""

    path: str
    place: Path
    rules: tuple[tuple[str, GitIgnoreSpec], ...]
    above: frozenset[Identity]


def walk(
    folder: Path,
    wanted: Callable[[str], bool],
    *,
    skip: Path | None = None,
    dereference: bool = False,
) -> list[Entry]:
    """The files that make up the model, in the order of their paths' UTF-8 bytes.

    Args:
        folder: the model's folder.
        wanted: whether a file is to be packed, by its path in the model.
        skip: one file that is left out wherever it lies.
        dereference: take what links point to as if it were in their place, folders too.

    Raises:
        InputError: no such folder.
        UnsafeSourceError: a file that can't be packed; it says which and why.
    """
    walker = _Walker(_real_root(folder), wanted, _identity_of(skip), dereference)
    entries = sorted(walker.run(folder), key=lambda entry: entry.path.encode())
    for one, other in collisions(entry.path for entry in entries):
        raise UnsafeSourceError(
            f"{one!r} and {other!r} can't be in one folder on every system",
            hint="rename one, or leave it out with --exclude or .ocimlpackignore",
            side="source",
        )
    return entries


class _Walker:
    def __init__(
        self,
        root: Path,
        wanted: Callable[[str], bool],
        skip: Identity | None,
        dereference: bool,
    ) -> None:
        self._root = root
        self._wanted = wanted
        self._skip = skip
        self._dereference = dereference
        self._found: list[Entry] = []
        self._pending: list[_Folder] = []

    def run(self, folder: Path) -> list[Entry]:
        self._enter("", folder, (), frozenset())
        while self._pending:
            # Not a recursion: paths of 4096 bytes nest deeper than Python's stack.
            self._list(self._pending.pop())
        return self._found

    def _enter(
        self,
        path: str,
        place: Path,
        rules: tuple[tuple[str, GitIgnoreSpec], ...],
        above: frozenset[Identity],
    ) -> None:
        status = place.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise UnsafeSourceError(f"{path} is a link to a folder that it lies in", side="source")
        self._pending.append(_Folder(path, place, rules, above | {identity}))

    def _list(self, folder: _Folder) -> None:
        try:
            if rules := _read_rules(folder.place):
                prefix = f"{folder.path}/" if folder.path else ""
                folder = replace(folder, rules=((prefix, rules), *folder.rules))
            with os.scandir(folder.place) as entries:
                for entry in entries:
                    self._look(entry, folder)
        except OSError as error:
            raise unreadable(folder.path or folder.place, error) from error

    def _look(self, entry: os.DirEntry[str], folder: _Folder) -> None:
        name = _text(entry.name, folder.path)
        path = f"{folder.path}/{name}" if folder.path else name
        if is_ignored(name, path):
            return
        is_link = entry.is_symlink()
        status = self._status(entry, path) if is_link else entry.stat(follow_symlinks=False)
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        if ignored_by(folder.rules, f"{path}/" if is_folder else path):
            return
        if is_folder and (self._dereference or not is_link):
            self._enter(path, Path(entry.path), folder.rules, folder.above)
        elif self._wanted(path):
            self._take(Path(entry.path), path, status, is_link=is_link)

    def _status(self, entry: os.DirEntry[str], path: str) -> os.stat_result | None:
        """What a link leads to; None if nothing is there."""
        try:
            return entry.stat()
        except OSError:
            return None

    def _take(
        self, place: Path, path: str, status: os.stat_result | None, *, is_link: bool
    ) -> None:
        if status is None:
            raise UnsafeSourceError(
                f"{path} is a link to nothing: {os.readlink(place)}", hint=_LEAVE_OUT, side="source"
            )
        if is_link and not self._dereference:
            self._check_link(place, path, status)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeSourceError(
                f"{path} is a {_what(status.st_mode)}, not a file",
                hint="leave it out with --exclude or .ocimlpackignore",
                side="source",
            )
        if (status.st_dev, status.st_ino) == self._skip:
            return
        try:
            check_path(path)
        except InvalidContentError as error:
            raise UnsafeSourceError(error.message, hint=_LEAVE_OUT, side="source") from error
        self._found.append(Entry(path, SourceBlob(place, Seen.of(status))))

    def _check_link(self, place: Path, path: str, status: os.stat_result) -> None:
        """Refuse a link that would bring in what the person may not know to be in the model."""
        hint = "--dereference packs what it points to; --exclude leaves it out"
        if stat.S_ISDIR(status.st_mode):
            raise UnsafeSourceError(f"{path} is a link to a folder", hint=hint, side="source")
        target = place.resolve()
        if not target.is_relative_to(self._root):
            raise UnsafeSourceError(
                f"{path} is a link out of the model's folder: {target}", hint=hint, side="source"
            )


def _real_root(folder: Path) -> Path:
    try:
        status = folder.stat()
    except FileNotFoundError:
        raise InputError(f"there is no folder {folder}", side="source") from None
    except OSError as error:
        raise unreadable(folder, error) from error
    if not stat.S_ISDIR(status.st_mode):
        raise InputError(
            f"{folder} is not a folder",
            hint="give the folder that holds the model; --include packs one file of it",
            side="source",
        )
    return folder.resolve()


def _identity_of(path: Path | None) -> Identity | None:
    if path is None:
        return None
    status = path.stat()
    return status.st_dev, status.st_ino


def _text(name: str, folder: str) -> str:
    """The name by its UTF-8 bytes, composed, whatever the locale takes those bytes for."""
    raw = os.fsencode(name)
    try:
        return unicodedata.normalize("NFC", raw.decode())
    except UnicodeDecodeError:
        where = f" in {folder}" if folder else ""
        raise UnsafeSourceError(
            f"the file name {raw!r}{where} is not UTF-8", hint="rename it", side="source"
        ) from None


def is_ignored(name: str, path: str) -> bool:
    """Whether a file or folder is never packed.

    Args:
        name: its name.
        path: its path in the model.
    """
    return (
        name in IGNORED
        or name.endswith(".pyc")
        or path == _HUB_CACHE
        or path.endswith(f"/{_HUB_CACHE}")
    )


def _read_rules(place: Path) -> GitIgnoreSpec | None:
    path = place / IGNORE_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            return parse_rules(stream.read(MAX_RULES + 1), path)
    except OSError as error:
        raise unreadable(path, error) from error


def parse_rules(raw: bytes, path: Path | str, written: Callable[[str], str] = str) -> GitIgnoreSpec:
    """The rules of an ignore file.

    Args:
        raw: its content.
        path: what messages call it.
        written: writes a line as it would be in a `.gitignore`, for files of another syntax.

    Raises:
        InputError: it can't be understood.
    """
    from pathspec import GitIgnoreSpec  # late, as in `names`

    if len(raw) > MAX_RULES:
        raise InputError(f"{path} is larger than {MAX_RULES:,} bytes", side="source")
    try:
        text = unicodedata.normalize("NFC", raw.decode("utf-8-sig"))
        return GitIgnoreSpec.from_lines(map(written, text.replace("\r\n", "\n").split("\n")))
    except ValueError as error:
        raise InputError(f"{path} can't be understood: {error}", side="source") from error


def ignored_by(rules: tuple[tuple[str, GitIgnoreSpec], ...], path: str) -> bool:
    """Whether a path is ignored: the nearest folder whose rules speak of it decides, as in git.

    Args:
        rules: what each folder's ignore file says, by the folder's path with a slash behind it; the
            nearest first.
        path: a path in the model, with a slash behind it for a folder.
    """
    for prefix, spec in rules:
        verdict = spec.check_file(path.removeprefix(prefix)).include
        if verdict is not None:
            return verdict
    return False


def _what(mode: int) -> str:
    kinds = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "device")
