"""Wheels, made again of what is installed, so that an image can be built without an index."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def required(requirements: Iterable[str]) -> dict[str, Distribution]:
    """The installed distributions that fulfil these requirements, with all that they require."""
    found: dict[str, Distribution] = {}
    seen = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        wanted, extra = todo.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        for chosen in ("", *wanted.extras):
            if (wanted.name, chosen) not in seen:
                seen.add((wanted.name, chosen))
                found[wanted.name] = distribution(wanted.name)
                needs = found[wanted.name].requires or ()
                todo += [(Requirement(text), chosen) for text in needs]
    return found


def write(one: Distribution, folder: Path) -> Path:
    """The wheel, not compressed. Scripts are left out: installers write them by the metadata."""
    name = one.name.replace("-", "_")
    path = folder / f"{name}-{one.version}-{_tags(one)}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in one.files or ():
            kept = ".." not in file.parts and file.suffix != ".pyc"
            if kept and file.name not in {"INSTALLER", "REQUESTED", "direct_url.json"}:
                archive.write(file.locate(), file.as_posix())
    return path


def _tags(one: Distribution) -> str:
    """As in the name of the wheel that it was: https://peps.python.org/pep-0425/#compressed-tag-sets"""
    text = one.read_text("WHEEL") or ""
    tags = re.findall(r"^Tag: (\S+)-(\S+)-(\S+)$", text, re.M)
    return "-".join(".".join(sorted(set(part))) for part in zip(*tags, strict=True))
