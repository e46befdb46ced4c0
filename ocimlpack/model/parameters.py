"""How many parameters a model has, and of which types, by the headers of its files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from ocimlpack.model.headers import Header, Tensor, parameters

_SPLIT: Final = re.compile(r"-\d{5}-of-\d{5}(?=\.)")

# With weights packed several to a number, as 4-bit methods do, shapes say nothing about how many
# parameters there are. From this share on, whole numbers are taken for packed ones.
_PACKED_SHARE: Final = 0.05
_PACKED: Final = frozenset({"uint8", "int32", "uint32"})

# In these formats a model is any object, with arrays of labels and counts among its parameters.
_OBJECTS: Final = frozenset({"pickle", "joblib"})
_LEARNED: Final = ("float", "bfloat", "complex")


def count(headers: Mapping[str, Header], format: str | None) -> Counter[str]:
    """Numbers by their type in the model that files of one format are; none if they are several.

    Args:
        headers: the headers by the files' paths.
        format: the format of all of them.
    """
    return _sum(tensors(headers, format), format)


def within(header: Header, format: str) -> Counter[str]:
    """Numbers by their type in one file, those that two tensors share counted once."""
    return _sum(parameters(header), format)


def tensors(headers: Mapping[str, Header], format: str | None) -> list[Tensor]:
    """The tensors of the model that files of one format are, each once; none if they are several.

    Args:
        headers: the headers by the files' paths.
        format: the format of all of them.
    """
    return _in_folders(headers) if format == "safetensors" else _agreed(headers)


def is_countable(counts: Mapping[str, int], quantization: object, format: str | None) -> bool:
    """Whether these numbers are parameters, and not several parameters in each.

    Args:
        counts: numbers by their type.
        quantization: the method by which the model was quantized, if any.
        format: how it is stored.
    """
    if not quantization or format == "gguf":
        return True
    packed = sum(number for name, number in counts.items() if name in _PACKED)
    return packed < _PACKED_SHARE * sum(counts.values())


def _in_folders(headers: Mapping[str, Header]) -> list[Tensor]:
    """The tensors of all shards.

    In one folder, a tensor is counted once by its name: variants of the same weights lie side by
    side. Folders are parts of one model, as in a pipeline of several networks.
    """
    folders: dict[str, dict[str, Tensor]] = {}
    for path, header in headers.items():
        known = folders.setdefault(path.rpartition("/")[0], {})
        for name, tensor in header.tensors.items():
            known.setdefault(name, tensor)
    return [tensor for folder in folders.values() for tensor in folder.values()]


def _agreed(headers: Mapping[str, Header]) -> list[Tensor]:
    """The tensors of the one model that the files hold; none if they hold different ones.

    A file is a whole model here, or one of the parts that `-00001-of-00003` marks.
    """
    models: dict[str, list[Tensor]] = {}
    for path, header in headers.items():
        if header.role is None and header.tensors:
            models.setdefault(_SPLIT.sub("", path), []).extend(parameters(header))
    first, *others = models.values() or [[]]
    counts = _sum(first)
    return first if all(_sum(each) == counts for each in others) else []


def _sum(tensors: Iterable[Tensor], format: str | None = None) -> Counter[str]:
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if format not in _OBJECTS or tensor.type.startswith(_LEARNED):
            counts[tensor.type] += tensor.count
    return counts
