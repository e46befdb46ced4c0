"""Docker Model Runner's own formats: v0.1, whose files may have no names, and v0.2.

https://github.com/docker/model-runner: pkg/distribution/types/config.go and
pkg/distribution/internal/bundle/unpack.go. Names for files that have none are those that it gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ocimlpack.model.artifact import Member
from ocimlpack.model.formats import classify
from ocimlpack.model.readers import annotated
from ocimlpack.model.readers.content import Fields
from ocimlpack.model.readers.naming import numbered, sharded
from ocimlpack.model.readers.source import Source
from ocimlpack.model.readers.table import Found
from ocimlpack.spec.descriptor import Descriptor

_PREFIX: Final = "application/vnd.docker.ai."
_CONFIG: Final = "application/vnd.docker.ai.model.config."

_WEIGHTS: Final = {"gguf.v3": ".gguf", "safetensors": ".safetensors", "dduf": ".dduf"}
_OTHERS: Final = {
    "mmproj": ("model.mmproj", "weight"),
    "license": ("LICENSE", "doc"),
    "chat.template.jinja": ("template.jinja", "weight.config"),
}

_FIELDS: Final = {
    "format": "format",
    "architecture": "architecture",
    "parameters": "paramSize",
    "quantization": "quantization",
    "context_size": "contextSize",
}
"""The config's fields, and what ModelPack calls them."""


def read_members(source: Source) -> Found | None:
    """Every layer as a file or an archive; those without a name get one by their kind and order."""
    layers = source.manifest.layers
    members, guessed = [], 0
    for layer, name in zip(layers, _names(layers), strict=True):
        kind = layer.media_type.removeprefix(_PREFIX)
        encoding = annotated.encoding_of(layer.media_type)
        named = annotated.member(layer, _purpose(kind, name), encoding)
        if named is None:
            guessed += 1
            path = "." if encoding != "raw" else name
            single = encoding == "raw"
            named = Member(path, layer, _purpose(kind, name), encoding, single=single)
        members.append(named)
    if not members:
        return None
    note = f"{guessed:,} of {len(layers):,} layers have no file name: named by their kind and order"
    return Found(tuple(members), (note,) if guessed else ())


def read_fields(source: Source) -> Fields:
    """What the config says, under ModelPack's names.

    Raises:
        InvalidContentError: it is not what its type says.
    """
    if not source.manifest.config.media_type.startswith(_CONFIG):
        return {}
    document = source.document()
    config, descriptor = document.get("config"), document.get("descriptor")
    said: dict[str, object] = {}
    if isinstance(config, dict):
        said.update({name: config[key] for key, name in _FIELDS.items() if config.get(key)})
    if isinstance(descriptor, dict) and descriptor.get("created"):
        said["createdAt"] = descriptor["created"]
    return said


def _names(layers: tuple[Descriptor, ...]) -> Iterator[str]:
    """A name for each layer: its own, or what Docker Model Runner would call it."""
    kinds = [layer.media_type.removeprefix(_PREFIX) for layer in layers]
    weights = {
        kind: iter(sharded("model", ending, kinds.count(kind))) for kind, ending in _WEIGHTS.items()
    }
    others = iter(
        numbered(
            [
                _OTHERS[kind][0] if kind in _OTHERS else layer.digest.hex[:12]
                for kind, layer in zip(kinds, layers, strict=True)
                if kind not in weights
            ]
        )
    )
    for kind, layer in zip(kinds, layers, strict=True):
        name = next(weights.get(kind, others))
        yield annotated.name_of(layer) or name


def _purpose(kind: str, name: str) -> str:
    if kind in _WEIGHTS:
        return "weight"
    return _OTHERS[kind][1] if kind in _OTHERS else classify(name, b"").kind
