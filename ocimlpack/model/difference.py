"""What differs between two models, from what is known of them: files, fields, tables of tensors.

Nothing is read here. Where only bytes could tell whether two things are equal, that is said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ocimlpack.model.headers import Header, Tensor

FileState = Literal["added", "removed", "changed", "renamed", "unknown"]
"""`renamed` is the same content under another path; `unknown` a file that is, or may be, in an
archive which was not read, on one side at least."""

TensorState = Literal["added", "removed", "reshaped", "retyped", "changed", "unknown", "same"]
"""`reshaped` wins over `retyped`; `unknown` is one of the same type and shape whose bytes nobody
has compared."""

FieldState = Literal["added", "removed", "changed"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a model, or an archive that nobody looked into.

    Attributes:
        path: where it is in the model; for an archive, what it is called.
        size: its bytes; None where that is not known.
        digest: the digest of its bytes as text, None where that is not known.
        layer: the digest of the layer that holds it, as text.
        archive: whether this stands for all the files in an archive.
        folder: of an archive, the folder that they are in; `.` is the model's own.
    """

    path: str
    size: int | None
    digest: str | None
    layer: str
    archive: bool = False
    folder: str = ""


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A file that is not the same on both sides.

    Attributes:
        state: what is different.
        path: its path, in B where it is there.
        a: the file in A, or None.
        b: the file in B, or None.
    """

    state: FileState
    path: str
    a: File | None
    b: File | None


@dataclass(frozen=True, slots=True)
class FieldDifference(Generic[Value]):
    """A field or an annotation that is not the same on both sides.

    Attributes:
        state: what is different.
        name: its name.
        a: what A says, or None.
        b: what B says, or None.
    """

    state: FieldState
    name: str
    a: Value | None
    b: Value | None


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor in a file.

    Attributes:
        path: the file.
        tensor: the tensor.
    """

    path: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class TensorPair:
    """A tensor of one name, where each side has it; on one side at least.

    Attributes:
        name: its name.
        a: where A has it, or None.
        b: where B has it, or None.
    """

    name: str
    a: Place | None
    b: Place | None

    @property
    def state(self) -> TensorState:
        """What the headers tell: `same` and `changed` are never among it."""
        if self.a is None:
            return "added"
        if self.b is None:
            return "removed"
        if self.a.tensor.shape != self.b.tensor.shape:
            return "reshaped"
        return "retyped" if self.a.tensor.type != self.b.tensor.type else "unknown"


def compare_files(a: Iterable[File], b: Iterable[File]) -> tuple[list[FileDifference], int]:
    """The files that differ, in the order of their paths, and how many are the same.

    A file that is gone from A and has come up elsewhere in B is one that was renamed; empty files
    are all alike, so they never are.
    """
    left, right = {each.path: each for each in a}, {each.path: each for each in b}
    found = [
        FileDifference(state, path, left[path], right[path])
        for path in left.keys() & right.keys()
        if (state := _state(left[path], right[path])) is not None
    ]
    same = len(left.keys() & right.keys()) - len(found)
    gone = {path: left[path] for path in sorted(left.keys() - right.keys())}
    come = {path: right[path] for path in sorted(right.keys() - left.keys())}
    found += _renamed(gone, come)
    unread = [each for each in found if each.a and each.b and each.a.archive and each.b.archive]
    ours = _folders([*gone.values(), *(each.a for each in unread if each.a)])
    theirs = _folders([*come.values(), *(each.b for each in unread if each.b)])
    for path, file in gone.items():
        hidden = not file.archive and _may_be_in(theirs, path)
        found.append(FileDifference("unknown" if hidden else "removed", path, file, None))
    for path, file in come.items():
        hidden = not file.archive and _may_be_in(ours, path)
        found.append(FileDifference("unknown" if hidden else "added", path, None, file))
    return sorted(found, key=lambda each: each.path.encode()), same


def _folders(files: Iterable[File]) -> set[str]:
    """The folders that the archives among these fill."""
    return {each.folder for each in files if each.archive}


def _may_be_in(folders: Set[str], path: str) -> bool:
    """Whether a file of that path may be in one of the archives that fill these folders."""
    if not folders:
        return False
    parts = path.split("/")
    return "." in folders or any(
        "/".join(parts[:number]) in folders for number in range(1, len(parts))
    )


def _state(a: File, b: File) -> FileState | None:
    """What differs between two files of one path; None if nothing does."""
    if a.archive != b.archive:
        return "changed"
    if a.digest is not None and b.digest is not None:
        return None if a.digest == b.digest else "changed"
    if a.size is not None and b.size is not None and a.size != b.size:
        return "changed"
    return None if a.layer == b.layer else "unknown"


def _renamed(gone: dict[str, File], come: dict[str, File]) -> Iterator[FileDifference]:
    """Pairs of the same content, taken out of both."""
    by_content: dict[tuple[str, bool], deque[str]] = {}
    for path, file in gone.items():
        if file.digest is not None and file.size:
            by_content.setdefault((file.digest, file.archive), deque()).append(path)
    for path, file in list(come.items()):
        before = by_content.get((file.digest, file.archive)) if file.digest else None
        if before:
            old = gone.pop(before.popleft())
            yield FileDifference("renamed", path, old, come.pop(path))


def compare_fields(
    a: Mapping[str, Value], b: Mapping[str, Value], order: Sequence[str] = ()
) -> list[FieldDifference[Value]]:
    """The fields that differ: those of `order` first, in that order, then the others by name."""
    found: list[FieldDifference[Value]] = []
    named = [name for name in order if name in a or name in b]
    for name in [*named, *sorted((a.keys() | b.keys()).difference(named))]:
        before, after = a.get(name), b.get(name)
        if before == after:
            continue
        state: FieldState = "added" if name not in a else "removed" if name not in b else "changed"
        found.append(FieldDifference(state, name, before, after))
    return found


def pair_tensors(a: Mapping[str, Header], b: Mapping[str, Header]) -> list[TensorPair]:
    """Each tensor of A with the one of B that has its name.

    Those of files with the same path belong together first. What is left is looked for in other
    files of the same folder, as a model that is sharded anew, or written in another format, has the
    same tensors in other files.

    Args:
        a: headers of files of A, by their paths.
        b: the same of B.

    Returns:
        Every tensor once, by file and name.
    """
    pairs: list[TensorPair] = []
    left, right = _Pool(), _Pool()
    for path in sorted(a.keys() | b.keys(), key=str.encode):
        ours = a[path].tensors if path in a else {}
        theirs = b[path].tensors if path in b else {}
        for name, tensor in ours.items():
            if name in theirs:
                places = Place(path, tensor), Place(path, theirs[name])
                pairs.append(TensorPair(name, *places))
            else:
                left.add(name, Place(path, tensor))
        for name, tensor in theirs.items():
            if name not in ours:
                right.add(name, Place(path, tensor))
    pairs += [TensorPair(name, place, right.take(name, place)) for name, place in left.all()]
    pairs += [TensorPair(name, None, place) for name, place in right.all()]
    return sorted(pairs, key=_by_file)


class _Pool:
    """Tensors that have no counterpart yet."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], list[Place]] = {}

    def add(self, name: str, place: Place) -> None:
        self._places.setdefault((_folder(place.path), name), []).append(place)

    def take(self, name: str, like: Place) -> Place | None:
        """One of that name in the same folder, which is then no longer here."""
        places = self._places.get((_folder(like.path), name))
        return places.pop(0) if places else None

    def all(self) -> Iterator[tuple[str, Place]]:
        for (_, name), places in self._places.items():
            for place in places:
                yield name, place


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _by_file(pair: TensorPair) -> tuple[bytes, bytes]:
    place = pair.b or pair.a
    return (place.path if place else "").encode(), pair.name.encode("utf-8", "surrogatepass")
