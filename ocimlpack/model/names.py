"""Names of files in an artifact: which are safe to write anywhere, which clash, which are wanted.

A name is either written by ourselves while packing or supplied by a stranger. Both go through the
same door, so that what is packed here can be unpacked on every system.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from ocimlpack.errors import InputError, InvalidContentError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MAX_PART: Final = 255
"""Bytes of one part of a path: NAME_MAX of the common file systems, Linux's <linux/limits.h>."""

MAX_PATH: Final = 4096
"""Bytes of a path: PATH_MAX in Linux's <linux/limits.h>."""

MAX_DEPTH: Final = 256
"""Parts of a path. Nobody's model has so many, and what makes, lists and removes folders, here and
in other programs, holds one open for each or calls itself."""

OWN_FOLDER: Final = ".ocimlpack"
"""What a pulled folder's receipt lies in; nothing in an artifact may have this name."""

# Line and paragraph separators and the controls that turn text around: they change what a person
# sees of a name without being part of it. https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing
_DECEPTIVE: Final = re.compile("[\u2028\u2029\u202a-\u202e\u2066-\u2069]")

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: also with an extension, and the
# superscript digits count as digits.
_DEVICE: Final = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])\Z", re.IGNORECASE
)

# `git~1` is how NTFS also calls a `.git`: https://nvd.nist.gov/vuln/detail/CVE-2019-1352. A file
# in there would be run by the next git command.
_RESERVED: Final = frozenset({".git", "git~1", OWN_FOLDER})

_PLAIN_PART: Final = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
_PLAIN: Final = re.compile(rf"{_PLAIN_PART}(?:/{_PLAIN_PART})*")
"""What nearly every path looks like. Of such a one only devices have to be looked for, and that
saves most of the time that folders of very many files take."""


def check_path(path: str) -> str:
    """The path, if it can be created below a folder on every system and nowhere else.

    It has parts joined by `/`. Refused are: an empty path or part, `.` and `..`, absolute paths,
    drive letters and any other colon, backslashes, control characters and those that turn text
    around, text that is no Unicode, a dot or a space at a part's end, Windows' device names, more
    than 255 bytes in a part, 4096 in all or 256 parts, and `.git` and `.ocimlpack` as any of them.

    Raises:
        InvalidContentError: says what is wrong with it.
    """
    plain = len(path) <= MAX_PART and _PLAIN.fullmatch(path)
    if plain and not any(_DEVICE.match(part.partition(".")[0]) for part in path.split("/")):
        return path
    if reason := _problem(path):
        shown = path if len(path) <= 120 else path[:117] + "..."
        raise InvalidContentError(f"unsafe file name {shown!r}: {reason}")
    return path


def collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of files that can't be side by side in one folder on every system.

    That is: the same path twice, paths that differ only in case or in how Unicode spells them, and
    a file where another path needs a folder (also only up to case and spelling).

    Returns:
        For each path that clashes, the path that it clashes with and itself, in the order given; a
        file that is another's folder comes first in its pair.
    """
    first: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    folders: dict[str, str] = {}
    for path in paths:
        key = _key(path)
        if key in first:
            found.append((first[key], path))
            continue
        first[key] = path
        end = key.find("/")
        while end != -1:
            folders.setdefault(key[:end], path)
            end = key.find("/", end + 1)
    found += [(first[key], path) for key, path in folders.items() if key in first]
    return found


def selector(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path is wanted: one to include matches, if there are any, and none to exclude.

    Patterns are those of `.gitignore` (https://git-scm.com/docs/gitignore#_pattern_format): one
    without a slash matches a name in any folder, one that matches a folder matches all within.

    Raises:
        InputError: a pattern that can't be read.
    """
    if not include and not exclude:
        return lambda _: True
    wanted, unwanted = _patterns(include), _patterns(exclude)

    def selected(path: str) -> bool:
        return (not include or wanted.match_file(path)) and not unwanted.match_file(path)

    return selected


def _problem(path: str) -> str | None:
    if not path:
        return "it is empty"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > MAX_PATH:
        return f"{size:,} bytes, more than {MAX_PATH:,}"
    if (parts := path.count("/") + 1) > MAX_DEPTH:
        return f"{parts:,} parts, more than {MAX_DEPTH}"
    if any(unicodedata.category(char) == "Cc" for char in path):
        return "it has a control character"
    if _DECEPTIVE.search(path):
        return "it has a character that hides or turns around text"
    if "\\" in path:
        return "it has a backslash"
    if path.startswith("/"):
        return "it is absolute"
    if re.match(r"[A-Za-z]:", path):
        return "it begins with a drive letter"
    if ":" in path:
        return "it has a colon"
    return next(filter(None, map(_part_problem, path.split("/"))), None)


def _part_problem(part: str) -> str | None:
    if not part:
        return "a part of it is empty"
    if part in {".", ".."}:
        return f"{part!r} is no name"
    if part.endswith((".", " ")):
        return f"a dot or a space ends {part!r:.60}"
    if (size := len(part.encode())) > MAX_PART:
        return f"a part of it has {size} bytes, more than {MAX_PART}"
    if _DEVICE.match(part.partition(".")[0].rstrip(" ")):
        return f"{part!r:.60} is a device on Windows"
    # macOS leaves characters of category Cf out of account when it compares names:
    # https://nvd.nist.gov/vuln/detail/CVE-2014-9390
    bare = "".join(char for char in part if unicodedata.category(char) != "Cf")
    if bare.casefold() in _RESERVED:
        return f"the name {bare} is reserved"
    return None


def _key(path: str) -> str:
    """Equal for paths that some file system takes for the same one.

    Canonical caseless matching: https://www.unicode.org/versions/Unicode15.0.0/ch03.pdf, D145.
    """
    if path.isascii():
        return path.lower()
    folded = unicodedata.normalize("NFD", path).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded))


def _patterns(globs: Sequence[str]) -> GitIgnoreSpec:
    # Loaded late: most transfers select nothing, and it takes a tenth of a small one's time.
    from pathspec import GitIgnoreSpec

    for glob in globs:
        if not glob.strip():
            raise InputError("a pattern to select files by is empty")
    try:
        # In a file, `#` begins a comment; given one by one, patterns have none.
        return GitIgnoreSpec.from_lines(
            f"\\{glob}" if glob.startswith("#") else glob for glob in globs
        )
    except ValueError as error:
        raise InputError(f"not a pattern to select files by: {error}") from error
