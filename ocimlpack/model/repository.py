"""The files of a model's repository somewhere else, chosen as if they lay in a folder here.

What `tree.walk` leaves out of a folder is left out here, and what it refuses is refused, so that an
import and the packing of a downloaded copy are of the same files.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ocimlpack.errors import InvalidContentError, UnsafeSourceError
from ocimlpack.model.names import MAX_PATH, check_path, collisions
from ocimlpack.model.tree import IGNORE_FILE, ignored_by, is_ignored, parse_rules

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_LEAVE_OUT = "leave it out with --exclude"


def select(
    names: Iterable[str], wanted: Callable[[str], bool], read: Callable[[str], bytes]
) -> dict[str, str]:
    """The files that make up the model, in the order of their paths' UTF-8 bytes.

    Args:
        names: the files' names in the repository.
        wanted: whether a file is to be packed, by its path in the model.
        read: the content of an ignore file.

    Returns:
        The names in the repository, by the paths in the model.

    Raises:
        UnsafeSourceError: a file that can't be packed; it says which and why.
    """
    pairs = [(_text(name), name) for name in names]
    named = dict(pairs)
    rules = {
        path.removesuffix(IGNORE_FILE): parse_rules(read(name), path)
        for path, name in named.items()
        if path == IGNORE_FILE or path.endswith(f"/{IGNORE_FILE}")
    }
    found = {}
    for path in sorted(named, key=str.encode):
        if _is_left_out(path, rules) or not wanted(path):
            continue
        _check(path)
        found[path] = named[path]
    for one, other in collisions(path for path, _ in pairs if path in found):
        raise UnsafeSourceError(
            f"{one!r} and {other!r} can't be in one folder on every system",
            hint=_LEAVE_OUT,
            side="source",
        )
    return found


def _text(name: str) -> str:
    """The name, composed as those of a folder's files are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnsafeSourceError(
            f"the file name {name!r:.120} is not valid Unicode", side="source"
        ) from None
    text = unicodedata.normalize("NFC", name)
    if len(text) > MAX_PATH:
        _check(text, hint=None)  # now: to look at each of a million folders in it would take hours
    return text


def _check(path: str, hint: str | None = _LEAVE_OUT) -> None:
    try:
        check_path(path)
    except InvalidContentError as error:
        raise UnsafeSourceError(error.message, hint=hint, side="source") from error


def _is_left_out(path: str, rules: Mapping[str, GitIgnoreSpec]) -> bool:
    """Whether a file, or a folder that it is in, is ignored."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        inner = "/".join(parts[:depth])
        if is_ignored(parts[depth - 1], inner):
            return True
        # The nearest folder's rules come first.
        above = ["/".join([*parts[:count], ""]) for count in range(depth - 1, -1, -1)]
        known = tuple((prefix, rules[prefix]) for prefix in above if prefix in rules)
        if ignored_by(known, f"{inner}/" if depth < len(parts) else inner):
            return True
    return False
