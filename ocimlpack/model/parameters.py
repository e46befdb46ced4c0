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
    if format == "safetensors":
        return _in_folders(headers)
    counts = _agreed(headers)
    if format in _OBJECTS:
        return Counter({name: n for name, n in counts.items() if name.startswith(_LEARNED)})
    return counts


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


def _in_folders(headers: Mapping[str, Header]) -> Counter[str]:
    """Numbers by type over all shards.

    In one folder, a tensor is counted once by its name: variants of the same weights lie side by
    side. Folders are parts of one model, as in a pipeline of several networks.
    """
    folders: dict[str, dict[str, Tensor]] = {}
    for path, header in headers.items():
        known = folders.setdefault(path.rpartition("/")[0], {})
        for name, tensor in header.tensors.items():
            known.setdefault(name, tensor)
    return _sum(tensor for folder in folders.values() for tensor in folder.values())


def _agreed(headers: Mapping[str, Header]) -> Counter[str]:
    """Numbers by type of the one model that the files hold; none if they hold different ones.

    A file is a whole model here, or one of the parts that `-00001-of-00003` marks.
    """
    models: dict[str, list[Tensor]] = {}
    for path, header in headers.items():
        if header.role is None and header.tensors:
            models.setdefault(_SPLIT.sub("", path), []).extend(parameters(header))
    counts = [_sum(tensors) for tensors in models.values()]
    return counts[0] if counts and all(each == counts[0] for each in counts) else Counter()


def _sum(tensors: Iterable[Tensor]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.type] += tensor.count
    return counts
