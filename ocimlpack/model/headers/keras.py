"""Keras's files: `.keras`, a zip archive with the weights as HDF5 in it, and the older `.h5`.

https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py. Layers are only
named here: a config may hold code, and making a layer of it would run that.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import Header, Tensor, Tensors, short_facts
from ocimlpack.model.headers.hdf5 import Hdf5, Object
from ocimlpack.model.headers.zip_archive import ZipArchive
from ocimlpack.spec.gojson import decode

_MAX_CONFIG: Final = 4 * 1024 * 1024
_MAX_METADATA: Final = 65536
_MAX_LAYERS: Final = 100_000

_WEIGHTS: Final = "model.weights.h5"
# What training goes on with, which is no part of the model.
_STATES: Final = ("optimizer/", "optimizer_weights/", "metrics/", "_metrics/")
_SEEDS: Final = "seed_generator"


def read(stream: BinaryIO, size: int) -> Header:
    """Read what a file of `size` bytes says of the model.

    Raises:
        InvalidContentError: it is damaged.
    """
    if stream.read(2) == b"PK":
        return _from_archive(ZipArchive(stream, size))
    file = Hdf5(stream, size)
    top, tensors, left_out = _tensors(file, 0)
    said = {
        name: file.text(top.attributes[name], _MAX_CONFIG)
        for name in ("keras_version", "backend", "model_config")
        if name in top.attributes
    }
    text = said.get("model_config")
    config = decode(text.encode(), "its config") if text else {}
    facts = [
        ("keras.version", said.get("keras_version")),
        ("keras.backend", said.get("backend")),
        *_about(config),
        *left_out,
    ]
    return Header(tensors, _fields(config), facts=short_facts(facts))


def _from_archive(archive: ZipArchive) -> Header:
    config = _json(archive, "config.json", _MAX_CONFIG)
    metadata = _json(archive, "metadata.json", _MAX_METADATA)
    if not config and not metadata:
        raise InvalidContentError("it has no config.json; it is not Keras's")
    tensors: dict[str, Tensor] = {}
    left_out: list[tuple[str, object]] = []
    weights = archive.members.get(_WEIGHTS)
    if weights is not None and weights.is_stored:
        file = Hdf5(archive.opened(weights), weights.packed)
        _, tensors, left_out = _tensors(file, archive.start(weights))
    facts = [
        ("keras.version", metadata.get("keras_version")),
        ("keras.saved", metadata.get("date_saved")),
        *_about(config),
        *left_out,
    ]
    return Header(tensors, _fields(config), facts=short_facts(facts))


def _json(archive: ZipArchive, name: str, limit: int) -> dict[str, Any]:
    member = archive.members.get(name)
    if member is None:
        return {}
    value = decode(archive.content(member, limit), f"its {name}")
    if not isinstance(value, dict):
        raise InvalidContentError(f"its {name} is not a JSON object")
    return value


def _tensors(file: Hdf5, offset: int) -> tuple[Object, dict[str, Tensor], list[tuple[str, object]]]:
    """The object at the top, the tensors of the model, and a fact about those that are not its.

    Args:
        file: the weights.
        offset: where that file begins in what is read.
    """
    objects = file.objects()
    top = next(objects)
    tensors = Tensors()
    left_out = 0
    for each in objects:
        tensor = each.tensor
        if tensor is None:
            continue
        if each.path.startswith(_STATES) or _SEEDS in each.path:
            left_out += 1
            continue
        start = None if tensor.start is None else tensor.start + offset
        tensors.add(
            each.path.removeprefix("model_weights/"),
            Tensor(tensor.type, tensor.count, tensor.shape, start, tensor.size),
        )
    facts: list[tuple[str, object]] = [("keras.states", left_out or None)]
    return top, tensors, facts


def _fields(config: Any) -> dict[str, str]:
    name = config.get("class_name") if isinstance(config, dict) else None
    return {"architecture": name} if isinstance(name, str) and name else {}


def _about(config: Any) -> list[tuple[str, object]]:
    """Facts from a model's config: what it is called, and which layers it has."""
    if not isinstance(config, dict):
        return []
    inner = config.get("config")
    said = inner if isinstance(inner, dict) else {}
    layers = said.get("layers")
    counts: dict[str, int] = {}
    for layer in layers[:_MAX_LAYERS] if isinstance(layers, list) else ():
        kind = layer.get("class_name") if isinstance(layer, dict) else None
        if isinstance(kind, str):
            counts[kind] = counts.get(kind, 0) + 1
    name = said.get("name")
    return [
        ("keras.name", name if isinstance(name, str) else None),
        ("keras.layers", ", ".join(f"{kind} {number}" for kind, number in counts.items())),
    ]
