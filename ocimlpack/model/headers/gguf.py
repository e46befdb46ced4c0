"""The header of a GGUF file: typed keys and values, then where each tensor lies.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Arrays, which hold whole vocabularies,
are stepped over: reading them would cost seconds and hundreds of megabytes.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final, NamedTuple

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import (
    MAX_LETTERS,
    MAX_TENSORS,
    Header,
    Tensor,
    count,
    ggml,
    short_facts,
)

_MAX_HEADER: Final = 100_000_000
_MAX_PAIRS: Final = 100_000
_KEPT_TEXT: Final = 65_536
"""Characters: templates may be long, and nothing is made of them."""

_MAX_NAME: Final = 65_535
_MAX_DIMENSIONS: Final = 8
_MAX_ALIGNMENT: Final = 2**30
_CHUNK: Final = 64 * 1024

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


class _Array(NamedTuple):
    length: int


def read(stream: BinaryIO, size: int) -> Header:
    """Read the header of a file that has `size` bytes.

    Raises:
        InvalidContentError: it is malformed, or of a version that isn't known.
    """
    reader = _Reader(stream, size)
    tensors, pairs = reader.count("tensors", MAX_TENSORS), reader.count("keys", _MAX_PAIRS)
    values: dict[str, Scalar] = {}
    arrays: dict[str, int] = {}
    for _ in range(pairs):
        key = reader.text("key")
        if key in values or key in arrays:
            raise InvalidContentError(f"its key {key!r:.80} is given twice")
        value = reader.value()
        if isinstance(value, _Array):
            arrays[key] = value.length
        else:
            values[key] = value
    described = [_described(reader) for _ in range(tensors)]
    found = _placed(described, _data_start(values, reader.at), size)
    facts = short_facts(
        [("gguf.version", reader.version), ("gguf.byteorder", reader.byteorder)]
        + [(key, value) for key, value in values.items() if key not in _TEXTS]
        + [(key, f"{length:,} values") for key, length in arrays.items()]
    )
    return Header(found, _fields(values), role=_role(values), facts=facts)


def _described(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    """A tensor's name, shape, type, and where it begins among the data."""
    name = reader.text("tensor's name")
    dimensions = reader.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise InvalidContentError(f"its tensor {name!r:.80} has {dimensions:,} dimensions")
    # The innermost comes first in the file.
    shape = tuple(reversed([reader.length() for _ in range(dimensions)]))
    return name, shape, reader.number("I"), reader.number("Q")


def _placed(
    described: list[tuple[str, tuple[int, ...], int, int]], data: int, size: int
) -> dict[str, Tensor]:
    """The tensors with their places, none of which overlap or lie beyond the file's end."""
    found: dict[str, Tensor] = {}
    spans = []
    for name, shape, kind, offset in described:
        if name in found:
            raise InvalidContentError(f"its tensor {name!r:.80} is given twice")
        numbers = count(shape)
        if numbers is None:
            raise InvalidContentError(f"its tensor {name!r:.80} has more numbers than can be")
        type_name, form = ggml.named(kind)
        begin = data + offset
        if form is None:
            found[name] = Tensor(type_name, numbers, shape)
            spans.append((begin, begin + 1))
            continue
        if numbers % form.block:
            raise InvalidContentError(
                f"its tensor {name!r:.80} does not fill whole blocks of {form.block} numbers"
            )
        length = numbers // form.block * form.size
        found[name] = Tensor(type_name, numbers, shape, begin, length)
        spans.append((begin, begin + length))
    end = 0
    for begin, stop in sorted(spans):
        if begin < end:
            raise InvalidContentError("its tensors overlap")
        end = stop
    if end > size:
        raise InvalidContentError("it ends before its last tensor does; was it downloaded whole?")
    return found


def _data_start(values: dict[str, Scalar], at: int) -> int:
    """Where the data begin: at the next multiple of the alignment."""
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT:
        raise InvalidContentError(f"its alignment is {alignment!r:.40}")
    return at + -at % alignment


def _fields(values: dict[str, Scalar]) -> dict[str, str]:
    fields = {
        name: value
        for key, name in _TEXTS.items()
        if isinstance(value := values.get(key), str) and value
    }
    quantization = values.get("general.file_type")
    if isinstance(quantization, int) and quantization in ggml.MIXES:
        fields["quantization"] = ggml.MIXES[quantization]
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
        self._letters = MAX_LETTERS
        self._order = "<"
        self.at = 0
        if self._bytes(4) != b"GGUF":
            raise InvalidContentError("it does not begin as a GGUF file")
        version = self._bytes(4)
        if version[:2] == b"\0\0":
            self._order = ">"  # since version 3, for machines that count the other way
        self.version = struct.unpack(f"{self._order}I", version)[0]
        if self.version not in {1, 2, 3}:
            raise InvalidContentError(f"its GGUF version is {self.version}; 1 to 3 are known")
        # Version 1 counted in 32 bits.
        self.byteorder = "big" if self._order == ">" else None
        self._length = struct.Struct(self._order + ("I" if self.version == 1 else "Q"))

    def number(self, form: str) -> int:
        value = self._scalar(form)
        return value if isinstance(value, int) else 0

    def length(self) -> int:
        (value,) = self._length.unpack(self._bytes(self._length.size))
        return int(value)

    def count(self, what: str, most: int) -> int:
        number = self.length()
        if number > most:
            raise InvalidContentError(f"it claims to have {number:,} {what}")
        return number

    def text(self, what: str) -> str:
        length = self.length()
        if length > _MAX_NAME:
            raise InvalidContentError(f"a {what} in its header has {length:,} bytes")
        return self._kept(length)

    def value(self) -> Scalar | _Array:
        """The next typed value; of an array, which is stepped over, its length."""
        kind = self.number("I")
        if kind == _ARRAY:
            return self._skip_array()
        if kind == _STRING:
            length = self.length()
            kept = min(length, _KEPT_TEXT)
            text = self._kept(kept)
            self._skip(length - kept)
            return text
        if kind not in _SCALARS:
            raise InvalidContentError(f"its header has a value of the unknown type {kind}")
        return self._scalar(_SCALARS[kind])

    def _kept(self, length: int) -> str:
        self._letters -= length
        if self._letters < 0:
            raise InvalidContentError(f"its header has more than {MAX_LETTERS:,} bytes of text")
        return self._bytes(length).decode("utf-8", "replace")

    def _skip_array(self) -> _Array:
        kind, length = self.number("I"), self.length()
        if kind == _STRING:
            self._skip_texts(length)
        elif kind in _SCALARS:
            self._skip(length * struct.calcsize(f"={_SCALARS[kind]}"))
        else:
            raise InvalidContentError(f"its header has an array of the unknown type {kind}")
        return _Array(length)

    def _skip_texts(self, left: int) -> None:
        """Step over texts, many at a time: a vocabulary has hundreds of thousands."""
        unpack, width = self._length.unpack_from, self._length.size
        while left:
            chunk = self._stream.read(min(_CHUNK, self._limit - self.at))
            if len(chunk) < width:
                raise InvalidContentError("its header is longer than the file")
            place = done = 0
            try:
                for done in range(left):  # noqa: B007 - how many there were before the chunk's end
                    (length,) = unpack(chunk, place)
                    place += length + width
                left = 0
            except (struct.error, OverflowError):
                left -= done
            self._advance(place)
            self._stream.seek(self.at)

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
