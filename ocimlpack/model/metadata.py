"""What a person says of a model, in a file beside its files; it counts more than what is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ocimlpack.errors import InputError
from ocimlpack.model.config import Value
from ocimlpack.spec.mediatypes import Kind

FILE_NAME: Final = "model.yaml"
"""In the model's folder, this file is read as metadata unless another one is named."""

_MAX_SIZE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a `model.yaml` says.

    Attributes:
        fields: fields of the config; None for one that is to be left out whatever is detected.
        annotations: annotations of the manifest.
        files: which kind the files have that a glob pattern matches.
        base: the location of the model that this one was made from.
    """

    fields: Mapping[str, Value | None] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    base: str | None = None


def read(path: Path) -> Metadata:
    """Read a metadata file. An empty one says nothing.

    Raises:
        InputError: it is not there, not YAML, or says something that has no meaning here.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_SIZE + 1)
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    if len(raw) > _MAX_SIZE:
        raise InputError(f"{path} is larger than {_MAX_SIZE:,} bytes")
    from ocimlpack.model import metadata_yaml  # here: most models have no such file

    return metadata_yaml.parse(path, raw)
