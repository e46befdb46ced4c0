"""Which files of a folder belong to the model, where another tool's file names them one by one.

A `model.yaml` describes a folder, all of which is packed. A Kitfile and a Modelfile say what is
packed, and as what; the rest of the folder is not the model's.
"""

from __future__ import annotations

import fnmatch
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ocimlpack.errors import InputError
from ocimlpack.model.tree import MAX_RULES, Entry, parse_rules
from ocimlpack.spec.mediatypes import Kind

WHOLE: Final = "."
"""The path that means the folder itself."""

_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class Pick:
    """Files that a recipe names, by a path or by a pattern.

    Attributes:
        path: as `inner_path` gives it; a file, a folder with all in it, or `.` for all there is.
        kind: what a file of that path is for; None leaves it to what is detected.
        within: what files in a folder of that path are for; None leaves it to what is detected.
        where: the file and the line, for messages.
        is_glob: whether `*`, `?` and `[…]` in the path stand for other characters; none of them
            stands for `/`.
    """

    path: str
    kind: Kind | None
    within: Kind | None
    where: str
    is_glob: bool = False

    @property
    def rank(self) -> tuple[bool, int]:
        """How exactly it names a file: of several that do, the highest counts."""
        return not self.is_glob, 0 if self.path == WHOLE else self.path.count("/") + 1

    def kind_of(self, path: str) -> Kind | None:
        """What it takes a file for that it names."""
        whole = self.path.count("/") == path.count("/") and self.path != WHOLE
        return self.kind if whole else self.within

    def matches(self, path: str) -> bool:
        """Whether it names a file by its pattern."""
        parts, wanted = path.split("/"), self.path.split("/")
        if len(parts) < len(wanted):
            return False
        # Go, which these patterns are written for, has [^…] where Python has [!…].
        globs = [each.replace("[^", "[!") for each in wanted]
        return all(map(fnmatch.fnmatchcase, parts, globs))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a Kitfile or a Modelfile says of files.

    Attributes:
        name: what it is called.
        picks: the files that it names; none if it names none, which means all.
        ignore: the name of a file beside it whose patterns leave files out, or None.
    """

    name: str
    picks: tuple[Pick, ...] = ()
    ignore: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a recipe makes of a folder.

    Attributes:
        entries: the files to pack.
        kinds: what they are for, as far as the recipe says it.
        notes: what a person should know.
    """

    entries: tuple[Entry, ...]
    kinds: dict[str, Kind]
    notes: tuple[str, ...]


def inner_path(text: str) -> str | None:
    """A path as those of a model's files are written; None for one that leads out of its folder."""
    path = unicodedata.normalize("NFC", posixpath.normpath(text))
    return None if path.startswith("/") or path.split("/")[0] == ".." else path


def selecting(recipe: Recipe | None, wanted: Callable[[str], bool]) -> Callable[[str], bool]:
    """A selection of files, with the recipe's ignore file beside them.

    Its rules hold whatever else is left out. `choose` then takes it away.
    """
    ignore = recipe.ignore if recipe else None
    return lambda path: path == ignore or wanted(path)


def choose(recipe: Recipe, entries: Sequence[Entry], *, filtered: bool) -> Chosen:
    """Select a folder's files as a recipe says.

    Args:
        recipe: the recipe.
        entries: the folder's files.
        filtered: whether a person has left files out beside that, so that some may be missing.

    Raises:
        InputError: a file that it names is not there, or is named as two different things.
    """
    entries = _unignored(recipe, entries)
    if not recipe.picks:
        return Chosen(tuple(entries), {}, ())
    picked: list[Entry] = []
    kinds: dict[str, Kind] = {}
    used: set[Pick] = set()
    globs = [pick for pick in recipe.picks if pick.is_glob]
    exact: dict[str, list[Pick]] = defaultdict(list)
    for pick in recipe.picks:
        if not pick.is_glob:
            exact[pick.path].append(pick)
    for entry in entries:
        naming = [pick for path in _around(entry.path) for pick in exact.get(path, ())]
        naming += [pick for pick in globs if pick.matches(entry.path)]
        used.update(naming)
        if not naming:
            continue
        picked.append(entry)
        highest = max(pick.rank for pick in naming)
        closest = [pick for pick in naming if pick.rank == highest]
        if kind := _agreed(entry.path, closest):
            kinds[entry.path] = kind
    notes = _missing((pick for pick in recipe.picks if pick not in used), filtered)
    taken = {entry.path for entry in picked}
    if left := [entry.path for entry in entries if entry.path not in taken]:
        notes.append(f"{recipe.name} does not name {_listed(left)}: not packed")
    return Chosen(tuple(picked), kinds, tuple(notes))


def _around(path: str) -> list[str]:
    """A file's path, and those of all folders that it is in."""
    parts = path.split("/")
    return [WHOLE, *("/".join(parts[:count]) for count in range(1, len(parts) + 1))]


def _agreed(path: str, picks: Sequence[Pick]) -> Kind | None:
    found = {kind: pick for pick in picks if (kind := pick.kind_of(path))}
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise InputError(f"{path} is {one} by {first.where}, and {other} by {second.where}")
    return next(iter(found), None)


def _missing(unused: Iterable[Pick], filtered: bool) -> list[str]:
    notes = []
    for pick in unused:
        said = f"{pick.where}: no file matches {pick.path!r:.120}"
        # A name without a pattern is a promise; a model without that file would be half of one.
        if not (pick.is_glob or filtered or pick.path == WHOLE):
            raise InputError(
                f"{pick.where}: there is no {pick.path!r:.120}",
                hint="it may be left out by an ignore file; else correct the path",
            )
        notes.append(said)
    return notes


def _unignored(recipe: Recipe, entries: Sequence[Entry]) -> Sequence[Entry]:
    """What is left by the recipe's own ignore file, which is not packed either."""
    found = next((entry for entry in entries if entry.path == recipe.ignore), None)
    if found is None:
        return entries
    rules = parse_rules(found.blob.head(MAX_RULES + 1), found.path, _of_docker)
    return [entry for entry in entries if entry is not found and not rules.match_file(entry.path)]


def _of_docker(line: str) -> str:
    """A line of an ignore file in the syntax of `.dockerignore`: a pattern begins at the top.

    https://docs.docker.com/build/concepts/context/#dockerignore-files
    """
    text = line.strip()
    if not text or text.startswith("#"):
        return ""
    mark, pattern = ("!", text[1:].strip()) if text.startswith("!") else ("", text)
    pattern = pattern.removeprefix("./").strip("/")
    return mark + (pattern if pattern.startswith("**/") else f"/{pattern}")


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_SHOWN])
    more = len(paths) - _SHOWN
    return f"{shown} and {more:,} more files" if more > 0 else shown
