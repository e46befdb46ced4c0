"""Ollama's models: a GGUF and texts about it, or a file for each tensor.

https://github.com/ollama/ollama: manifest/layer.go, server/images.go and x/create. What a layer is,
its media type alone says; only tensors and their JSON files have a name, which is a field of the
descriptor.
"""

from __future__ import annotations

from typing import Final

from ocimlpack.model.artifact import Member
from ocimlpack.model.formats import classify
from ocimlpack.model.readers.content import Fields
from ocimlpack.model.readers.naming import numbered
from ocimlpack.model.readers.source import Source
from ocimlpack.model.readers.table import Found
from ocimlpack.spec.descriptor import Descriptor

_PREFIX: Final = "application/vnd.ollama.image."

_NAMES: Final = {
    "model": ("model.gguf", "weight"),
    "projector": ("projector.gguf", "weight"),
    "adapter": ("adapter.gguf", "weight"),
    "draft": ("draft.gguf", "weight"),
    "embed": ("embeddings.bin", "weight"),
    "template": ("template.txt", "weight.config"),
    "prompt": ("template.txt", "weight.config"),
    "system": ("system.txt", "weight.config"),
    "params": ("params.json", "weight.config"),
    "messages": ("messages.json", "weight.config"),
    "license": ("LICENSE", "doc"),
}

_FIELDS: Final = {
    "base_name": "name",
    "model_format": "format",
    "model_family": "family",
    "model_type": "paramSize",
    "file_type": "quantization",
    "context_length": "contextLength",
    "embedding_length": "embeddingLength",
    "capabilities": "capabilities",
    "renderer": "renderer",
    "parser": "parser",
    "requires": "requires",
}
"""The config's fields, and what ModelPack calls them where it has a name for it."""

_PRECISIONS: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def read_members(source: Source) -> Found | None:
    """Every layer as a file, named after what it is.

    Tensors stay apart, each a small safetensors file, as they are stored: that is what their
    digests are of.
    """
    layers = source.manifest.layers
    if not layers:
        return None
    names = numbered([_name(layer) for layer in layers])
    members = tuple(
        Member(name, layer, _purpose(layer, name))
        for layer, name in zip(layers, names, strict=True)
    )
    tensors = sum(_what(layer) == "tensor" for layer in layers)
    if not tensors:
        return Found(members, ("files are named after what they are, as Ollama gives no names",))
    note = f"the model is stored tensor by tensor: {tensors:,} files of one tensor or a few each"
    return Found(members, (note,))


def read_fields(source: Source) -> Fields:
    """What the config says, under ModelPack's names.

    Raises:
        InvalidContentError: it is not JSON.
    """
    document = source.document()
    said = {name: document[key] for key, name in _FIELDS.items() if document.get(key)}
    if precision := _PRECISIONS.get(str(said.get("quantization")).upper()):
        del said["quantization"]
        said["precision"] = precision
    return said


def _what(layer: Descriptor) -> str:
    return layer.media_type.removeprefix(_PREFIX)


def _name(layer: Descriptor) -> str:
    what = _what(layer)
    if layer.name:
        return f"{layer.name}.safetensors" if what == "tensor" else layer.name
    if what in _NAMES:
        return _NAMES[what][0]
    return layer.digest.hex[:12] + {"tensor": ".safetensors", "json": ".json"}.get(what, "")


def _purpose(layer: Descriptor, name: str) -> str:
    what = _what(layer)
    return _NAMES[what][1] if what in _NAMES else classify(name, b"").kind
