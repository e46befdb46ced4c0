"""What omlmd writes: a model file and what is known of it, as JSON and as YAML.

https://github.com/containers/omlmd
"""

from __future__ import annotations

from typing import Final

from ocimlpack.model.formats import classify
from ocimlpack.model.readers import annotated
from ocimlpack.model.readers.content import Fields
from ocimlpack.model.readers.source import Source
from ocimlpack.model.readers.table import Found

_MODEL: Final = "application/x-mlmodel"
_CONFIG: Final = "application/x-config"

_FIELDS: Final = {
    "name": "name",
    "description": "description",
    "author": "authors",
    "uri": "sourceURL",
    "model_format_name": "format",
    "model_format_version": "formatVersion",
    "customProperties": "customProperties",
}
"""The config's fields, and what ModelPack calls them where it has a name for it."""


def read_members(source: Source) -> Found | None:
    """Every layer with a title as a file."""
    layers = source.manifest.layers
    if not any(layer.media_type in {_MODEL, _CONFIG} for layer in layers):
        return None
    found = []
    for layer in layers:
        name = annotated.name_of(layer) or ""
        kind = "weight" if layer.media_type == _MODEL else classify(name, b"").kind
        if member := annotated.member(layer, kind, "raw"):
            found.append(member)
    if not found:
        return None
    return Found(tuple(found), annotated.left_out(len(layers) - len(found)))


def read_fields(source: Source) -> Fields:
    """What the config says, under ModelPack's names.

    Raises:
        InvalidContentError: it is not JSON.
    """
    if source.manifest.config.media_type != _CONFIG:
        return {}
    document = source.document()
    said = {name: document[key] for key, name in _FIELDS.items() if document.get(key)}
    if isinstance(said.get("authors"), str):
        said["authors"] = [said["authors"]]
    return said
