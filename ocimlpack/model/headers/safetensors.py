"""The header of a safetensors file: eight bytes of length, then JSON.

https://github.com/huggingface/safetensors/blob/main/README.md#format
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO, Final, TypeGuard

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import MAX_PARAMETERS, Header, Tensor, count, short_facts
from ocimlpack.spec.gojson import decode

MAX_HEADER: Final = 100_000_000
"""Bytes; the limit of the format's own reader, safetensors/src/tensor.rs."""

_MAX_PARTS: Final = 1_000_000
"""Lists, objects and what is in them: each becomes some hundred bytes. A tensor has nine."""

# The format's names, with the name that ModelPack has for them and the bits that one takes.
_TYPES: Final = {
    "BOOL": ("bool", 8),
    "U8": ("uint8", 8),
    "I8": ("int8", 8),
    "U16": ("uint16", 16),
    "I16": ("int16", 16),
    "U32": ("uint32", 32),
    "I32": ("int32", 32),
    "U64": ("uint64", 64),
    "I64": ("int64", 64),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F32": ("float32", 32),
    "F64": ("float64", 64),
    "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E8M0": ("f8_e8m0", 8),
    "F6_E2M3": ("f6_e2m3", 6),
    "F6_E3M2": ("f6_e3m2", 6),
    "F4": ("f4", 4),
}


def read(stream: BinaryIO, size: int) -> Header:
    """Read the header of a file that has `size` bytes.

    Raises:
        InvalidContentError: it is malformed, or the file is longer or shorter than it says.
    """
    start = stream.read(8)
    if len(start) < 8:
        raise InvalidContentError("it is too short for a safetensors file")
    (length,) = struct.unpack("<Q", start)
    if length > MAX_HEADER:
        raise InvalidContentError(f"its header has {length:,} bytes, more than {MAX_HEADER:,}")
    if 8 + length > size:
        raise InvalidContentError("its header is longer than the file")
    raw = stream.read(length)
    if sum(map(raw.count, (b",", b"[", b"{"))) > _MAX_PARTS:
        raise InvalidContentError(f"its header has more than {_MAX_PARTS:,} parts")
    value = decode(raw, "its header") if raw.startswith(b"{") else None
    if len(raw) != length or not isinstance(value, dict):
        raise InvalidContentError("its header is not a JSON object")
    said = value.pop("__metadata__", None)
    spans: list[tuple[int, int]] = []
    tensors = {}
    for name, item in value.items():
        tensor, span = _tensor(name, item, 8 + length)
        tensors[name] = tensor
        spans.append(span)
    _check_spans(spans, size - 8 - length)
    pairs = said.items() if isinstance(said, dict) else ()
    return Header(tensors, facts=short_facts(pair for pair in pairs if isinstance(pair[1], str)))


def _tensor(name: str, item: Any, data: int) -> tuple[Tensor, tuple[int, int]]:
    if not isinstance(item, dict):
        raise InvalidContentError(f"tensor {name!r:.80} is not described by an object")
    kind, shape, span = item.get("dtype"), item.get("shape"), item.get("data_offsets")
    if not isinstance(kind, str) or not _is_list(shape) or not _is_list(span) or len(span) != 2:
        raise InvalidContentError(f"tensor {name!r:.80} lacks a type, a shape or its place")
    numbers = count(shape)
    if numbers is None or max(*shape, *span) > MAX_PARAMETERS:
        raise InvalidContentError(f"tensor {name!r:.80} has more numbers than can be")
    precision, bits = _TYPES.get(kind, (kind.lower()[:40], None))
    if bits is not None and (span[1] - span[0]) * 8 != numbers * bits:
        raise InvalidContentError(f"tensor {name!r:.80} takes more or less room than its shape")
    begin, end = span
    return Tensor(precision, numbers, tuple(shape), data + begin, end - begin), (begin, end)


def _is_list(value: Any) -> TypeGuard[list[int]]:
    # `type` instead of `isinstance`: true and false are whole numbers to Python.
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _check_spans(spans: list[tuple[int, int]], size: int) -> None:
    """Tensors fill the file's rest without a gap, which nothing but them could be hidden in."""
    at = 0
    for begin, end in sorted(spans):
        if begin != at or end < begin:
            raise InvalidContentError("its tensors overlap or leave gaps")
        at = end
    if at > size:
        raise InvalidContentError(
            f"it lacks its last {at - size:,} bytes; was it downloaded whole?"
        )
    if at < size:
        raise InvalidContentError(f"{size - at:,} bytes follow after its last tensor")
