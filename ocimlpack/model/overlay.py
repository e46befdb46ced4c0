"""Layers of an image laid over one another: what a later one holds covers what earlier ones do.

https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#applying-changesets
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.archive import TAKING, Item, takes_away

_OPAQUE: Final = ".wh..wh..opq"
_UNION: Final = ".wh..wh."
"""How names begin that union file systems kept for themselves."""

_MAX_LINKS: Final = 40
"""Links that lead to links: MAXSYMLINKS of Linux."""


class Named(Protocol):
    """A file of a layer."""

    @property
    def path(self) -> str:
        """Where it is."""
        ...


File = TypeVar("File", bound=Named)


@dataclass(slots=True)
class Changes:
    """What a layer does beside adding files and folders.

    Attributes:
        gone: paths of earlier layers that are no longer there.
        opaque: folders of which nothing from earlier layers is there; "" is all there is.
        links: paths that are links, and where each leads.
    """

    gone: list[str] = field(default_factory=list)
    opaque: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)

    def take(self, item: Item) -> bool:
        """Note an item that is no file or folder; False for one that is."""
        folder, _, name = item.path.rpartition("/")
        if not item.path or name == _OPAQUE:
            self.opaque.append(folder)
        elif item.hard:
            return False
        elif item.link is not None:
            self.links[item.path] = item.link
        elif takes_away(item.path):
            if not name.startswith(_UNION):
                self.gone.append(f"{folder}/{name[len(TAKING) :]}".lstrip("/"))
        else:
            return False
        return True

    def __bool__(self) -> bool:
        """Whether it does anything."""
        return bool(self.gone or self.opaque or self.links)


@dataclass(frozen=True, slots=True)
class Layer(Generic[File]):
    """One layer, read.

    Attributes:
        files: its files.
        folders: its folders.
        changes: what else it does.
    """

    files: tuple[File, ...]
    folders: tuple[str, ...]
    changes: Changes


@dataclass(frozen=True, slots=True)
class Merged(Generic[File]):
    """What is seen in the end.

    Attributes:
        files: each path, with the layer's number and the file that is seen there. A link is the
            file that it leads to.
        folders: every folder that is there.
    """

    files: Mapping[str, tuple[int, File]]
    folders: tuple[str, ...]


class _Folder(dict[str, "_Folder | object"]):
    """A folder's names."""


@dataclass(frozen=True, slots=True)
class _Link:
    target: str


def merge(layers: Iterable[Layer[File]]) -> Merged[File]:
    """Lay layers over one another, the first one at the bottom.

    Raises:
        InvalidContentError: a link leads to what is no file, or round in a circle.
    """
    top = _Folder()
    for number, layer in enumerate(layers):
        for path in layer.changes.opaque:
            _clear(top, path)
        for path in layer.changes.gone:
            _remove(top, path)
        for path in layer.folders:
            _folder(top, path)
        for each in layer.files:
            _put(top, each.path, (number, each))
        for path, target in layer.changes.links.items():
            _put(top, path, _Link(target))
    files: dict[str, tuple[int, File]] = {}
    folders: list[str] = []
    for path, found in _walk(top):
        if isinstance(found, _Folder):
            folders.append(path)
        else:
            files[path] = _followed(top, path, found)
    return Merged(files, tuple(folders))


def _followed(top: _Folder, path: str, found: object) -> tuple[int, File]:
    for _ in range(_MAX_LINKS):
        if not isinstance(found, _Link):
            break
        target = found.target
        found = _at(top, target)
        if found is None or isinstance(found, _Folder):
            what = "a folder" if found is not None else "nothing"
            raise InvalidContentError(
                f"{path!r:.150} is a link to {target!r:.150}, where {what} is, not a file"
            )
    if isinstance(found, tuple):
        return found
    raise InvalidContentError(f"{path!r:.150} is a link that leads round in a circle")


def _put(top: _Folder, path: str, what: object) -> None:
    above, _, name = path.rpartition("/")
    _folder(top, above)[name] = what


def _folder(top: _Folder, path: str) -> _Folder:
    """The folder at a path; what is in its way is covered."""
    for name in filter(None, path.split("/")):
        inner = top.get(name)
        if not isinstance(inner, _Folder):
            inner = top[name] = _Folder()
        top = inner
    return top


def _at(top: _Folder, path: str) -> object | None:
    found: object | None = top
    for name in filter(None, path.split("/")):
        found = found.get(name) if isinstance(found, _Folder) else None
    return found


def _clear(top: _Folder, path: str) -> None:
    found = _at(top, path)
    if isinstance(found, _Folder):
        found.clear()


def _remove(top: _Folder, path: str) -> None:
    above, _, name = path.rpartition("/")
    found = _at(top, above)
    if isinstance(found, _Folder):
        found.pop(name, None)


def _walk(top: _Folder) -> Iterator[tuple[str, object]]:
    """Everything below, without recursion: a path may have thousands of parts."""
    waiting: list[tuple[str, _Folder]] = [("", top)]
    while waiting:
        above, folder = waiting.pop()
        for name, found in folder.items():
            path = f"{above}/{name}" if above else name
            yield path, found
            if isinstance(found, _Folder):
                waiting.append((path, found))
