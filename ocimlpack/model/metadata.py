"""What a person says of a model, in a file beside its files; it counts more than what is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ocimlpack.errors import InputError
from ocimlpack.model.config import Value
from ocimlpack.model.recipe import Recipe
from ocimlpack.spec.mediatypes import Kind

FILE_NAME: Final = "model.yaml"
"""In the model's folder, this file is read as metadata unless another one is named."""

RECIPES: Final = ("Kitfile", "kitfile", ".kitfile", "Modelfile")
"""Other tools' files, of which the first that is there is read where there is no `model.yaml`."""

MAX_SIZE: Final = 1024 * 1024
"""Bytes of such a file."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a `model.yaml` says, or another tool's file that does as much.

    Attributes:
        fields: fields of the config; None for one that is to be left out whatever is detected.
        annotations: annotations of the manifest.
        files: which kind the files have that a glob pattern matches.
        base: the location of the model that this one was made from.
        recipe: which files are packed at all, where the file names them.
        notes: what it says and is not taken over.
        foreign: why the file is none of that in spite of its name; None if it is.
    """

    fields: Mapping[str, Value | None] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    base: str | None = None
    recipe: Recipe | None = None
    notes: tuple[str, ...] = ()
    foreign: str | None = None


NOTHING: Final = Metadata()
"""What no file says."""


def read(path: Path) -> Metadata:
    """Read a metadata file. An empty one says nothing.

    Raises:
        InputError: it is not there, can't be read as what its name says, or says something that has
            no meaning here.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    return parse(path, raw)


def parse(path: Path, raw: bytes) -> Metadata:
    """What the content of a metadata file says.

    Args:
        path: tells by its name whose file it is; and what errors call it.
        raw: the content.

    Raises:
        InputError: as `read` says.
    """
    if len(raw) > MAX_SIZE:
        raise InputError(f"{path} is larger than {MAX_SIZE:,} bytes")
    name = path.name.lower()
    # Loaded here: most models have no such file.
    if _is_called(name, "kitfile"):
        from ocimlpack.model import kitfile

        return kitfile.parse(path, raw)
    if _is_called(name, "modelfile"):
        from ocimlpack.model import modelfile

        return modelfile.parse(path, raw)
    from ocimlpack.model import metadata_yaml

    return metadata_yaml.parse(path, raw)


def _is_called(name: str, kind: str) -> bool:
    """Whether a file is one of a kind by its name: `Kitfile`, `Kitfile.dev`, `tiny.kitfile`."""
    return name == kind or name.startswith(f"{kind}.") or name.endswith(f".{kind}")
