"""Wheels, made again of what is installed here: an image is built without an index."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePath

from packaging.requirements import Requirement

MADE_BY_INSTALLERS = {"INSTALLER", "REQUESTED", "direct_url.json"}


def required(requirements: Iterable[str]) -> list[Distribution]:
    """The installed distributions that fulfil these requirements, with all that they require."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        wanted, asked_by = todo.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": asked_by}):
            continue
        for extra in ("", *wanted.extras):
            if (wanted.name, extra) not in seen:
                seen.add((wanted.name, extra))
                found[wanted.name] = distribution(wanted.name)
                needs = found[wanted.name].requires or ()
                todo += [(Requirement(text), extra) for text in needs]
    return list(found.values())


def write(one: Distribution, folder: Path, wanted: Callable[[PurePath], bool]) -> None:
    """One wheel, not compressed, of those of its files that are wanted.

    Scripts are not in it: who installs it writes them.
    """
    name = f"{one.name.replace('-', '_')}-{one.version}-{_tags(one)}.whl"
    with zipfile.ZipFile(folder / name, "w", strict_timestamps=False) as archive:
        for file in one.files or ():
            is_content = ".." not in file.parts and file.suffix != ".pyc"
            if is_content and file.name not in MADE_BY_INSTALLERS and wanted(file):
                archive.write(str(file.locate()), file.as_posix())


def _tags(one: Distribution) -> str:
    """As in the name of the wheel that it was.

    https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/
    """
    text = one.read_text("WHEEL") or ""
    tags = re.findall(r"^Tag: (\S+)-(\S+)-(\S+)$", text, re.M)
    return "-".join(".".join(sorted(set(part))) for part in zip(*tags, strict=True))
