"""The header of a GGUF file: typed keys and values, then where each tensor lies.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Arrays, which hold whole vocabularies,
are stepped over: reading them would cost seconds and hundreds of megabytes.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import Header, Tensor, count

_MAX_HEADER: Final = 100_000_000
_MAX_TENSORS: Final = 1_000_000
_MAX_TEXT: Final = 1_000_000
_MAX_DIMENSIONS: Final = 8

_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}

# ggml's tensor types that have a name in ModelPack; all others are quantised or rare.
_TYPES: Final = {
    0: "float32",
    1: "float16",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    30: "bfloat16",
}

# `llama_ftype`, https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h, without those
# that stand for plain numbers (0, 1 and 32).
_QUANTIZATIONS: Final = {
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}

_TEXTS: Final = {
    "general.name": "name",
    "general.architecture": "family",
    "general.version": "version",
    "general.description": "description",
    "general.organization": "vendor",
    "general.author": "authors",
    "general.license": "licenses",
}

Scalar = int | float | bool | str


def read(stream: BinaryIO, size: int) -> Header:
    """Read the header of a file that has `size` bytes.

    Raises:
        InvalidContentError: it is malformed, or of a version that isn't known.
    """
    reader = _Reader(stream, size)
    tensors, pairs = reader.count("tensors"), reader.number("Q")
    values: dict[str, Scalar] = {}
    for _ in range(pairs):
        key = reader.text()
        value = reader.value()
        if key in values:
            raise InvalidContentError(f"its key {key!r:.80} is given twice")
        if value is not None:
            values[key] = value
    found: dict[str, Tensor] = {}
    last = 0
    for _ in range(tensors):
        name, tensor, offset = _tensor(reader)
        if name in found:
            raise InvalidContentError(f"its tensor {name!r:.80} is given twice")
        found[name] = tensor
        last = max(last, offset)
    if found and reader.at + last >= size:
        raise InvalidContentError("it ends before its last tensor; was it downloaded whole?")
    return Header(found, _fields(values), role=_role(values))


def _tensor(reader: _Reader) -> tuple[str, Tensor, int]:
    name = reader.text()
    dimensions = reader.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise InvalidContentError(f"its tensor {name!r:.80} has {dimensions:,} dimensions")
    numbers = count([reader.number("Q") for _ in range(dimensions)])
    if numbers is None:
        raise InvalidContentError(f"its tensor {name!r:.80} has more numbers than can be")
    kind = reader.number("I")
    return name, Tensor(_TYPES.get(kind, f"ggml-{kind}"), numbers), reader.number("Q")


def _fields(values: dict[str, Scalar]) -> dict[str, str]:
    fields = {
        name: value
        for key, name in _TEXTS.items()
        if isinstance(value := values.get(key), str) and value
    }
    quantization = values.get("general.file_type")
    if isinstance(quantization, int) and quantization in _QUANTIZATIONS:
        fields["quantization"] = _QUANTIZATIONS[quantization]
    if _is_transformer(values, fields.get("family", "")):
        fields["architecture"] = "transformer"
    return fields


def _is_transformer(values: dict[str, Scalar], family: str) -> bool:
    """It has attention heads, and no state-space or recurrent layers between them."""
    heads = values.get(f"{family}.attention.head_count")
    recurrent = any(key.startswith((f"{family}.ssm.", f"{family}.wkv.")) for key in values)
    return isinstance(heads, int) and heads > 0 and not recurrent


def _role(values: dict[str, Scalar]) -> str | None:
    kind = values.get("general.type")
    if kind == "adapter":
        return "adapter"
    # `clip` is what projectors of images and sound were called before they had a type.
    return "projector" if kind == "mmproj" or values.get("general.architecture") == "clip" else None


class _Reader:
    """Numbers and text in order, none of them beyond the file's end or the header's limit."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._limit = min(size, _MAX_HEADER)
        self._order = "<"
        self.at = 0
        if self._bytes(4) != b"GGUF":
            raise InvalidContentError("it does not begin as a GGUF file")
        version = self._bytes(4)
        if version[:2] == b"\0\0":
            self._order = ">"  # since version 3, for machines that count the other way
        number = struct.unpack(f"{self._order}I", version)[0]
        if number not in {2, 3}:
            raise InvalidContentError(f"its GGUF version is {number}; 2 and 3 are known")

    def number(self, form: str) -> int:
        value = self._scalar(form)
        return value if isinstance(value, int) else 0

    def count(self, what: str) -> int:
        number = self.number("Q")
        if number > _MAX_TENSORS:
            raise InvalidContentError(f"it claims to have {number:,} {what}")
        return number

    def text(self) -> str:
        length = self.number("Q")
        if length > _MAX_TEXT:
            raise InvalidContentError(f"a text in its header has {length:,} bytes")
        return self._bytes(length).decode("utf-8", "replace")

    def value(self) -> Scalar | None:
        """The next typed value; None for an array, which is stepped over."""
        kind = self.number("I")
        if kind == _ARRAY:
            self._skip_array()
            return None
        if kind == _STRING:
            length = self.number("Q")
            if length > _MAX_TEXT:
                self._skip(length)  # a chat template may be long, and is not wanted
                return None
            return self._bytes(length).decode("utf-8", "replace")
        if kind not in _SCALARS:
            raise InvalidContentError(f"its header has a value of the unknown type {kind}")
        return self._scalar(_SCALARS[kind])

    def _skip_array(self) -> None:
        kind, length = self.number("I"), self.number("Q")
        if kind == _STRING:
            for _ in range(length):
                self._skip(self.number("Q"))
        elif kind in _SCALARS:
            self._skip(length * struct.calcsize(f"={_SCALARS[kind]}"))
        else:
            raise InvalidContentError(f"its header has an array of the unknown type {kind}")

    def _scalar(self, form: str) -> int | float | bool:
        (value,) = struct.unpack(self._order + form, self._bytes(struct.calcsize(f"={form}")))
        if not isinstance(value, int | float):
            raise AssertionError(f"{form} is no number")
        return value

    def _bytes(self, length: int) -> bytes:
        self._advance(length)
        content = self._stream.read(length)
        if len(content) != length:
            raise InvalidContentError("its header is longer than the file")
        return content

    def _skip(self, length: int) -> None:
        self._advance(length)
        self._stream.seek(length, 1)

    def _advance(self, length: int) -> None:
        self.at += length
        if self.at > self._limit:
            raise InvalidContentError(
                f"its header is longer than the file or than {_MAX_HEADER:,} bytes"
            )
