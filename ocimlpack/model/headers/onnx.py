"""The parts of an ONNX file that say what it is: a walk over its protobuf fields.

Messages: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, encoding:
https://protobuf.dev/programming-guides/encoding/. Nodes and the data of tensors are stepped over,
and files that hold external data are named, never opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import Header, Tensor, count

_MAX_FIELDS: Final = 5_000_000
_MAX_TEXT: Final = 65536

_VARINT: Final = 0
_LENGTH: Final = 2
_FIXED: Final = {1: 8, 5: 4}

_GRAPH: Final = 7  # in ModelProto
_INITIALIZER: Final = 5  # in GraphProto
_DIMS, _DATA_TYPE, _NAME, _EXTERNAL_DATA = 1, 2, 8, 13  # in TensorProto
_KEY, _VALUE = 1, 2  # in StringStringEntryProto

# TensorProto.DataType, with ModelPack's name where it has one.
_TYPES: Final = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3",
    19: "float8_e5m2",
}


def read(stream: BinaryIO, size: int) -> Header:
    """Read what a file of `size` bytes says of its initializers, which are its parameters.

    Raises:
        InvalidContentError: it is malformed.
    """
    reader = _Reader(stream, size)
    tensors: dict[str, Tensor] = {}
    external: set[str] = set()
    graphs = 0
    for field, wire, end in reader.fields(size):
        if field == _GRAPH and wire == _LENGTH:
            graphs += 1
            for inner, inner_wire, inner_end in reader.fields(end):
                if inner == _INITIALIZER and inner_wire == _LENGTH:
                    name, tensor = _tensor(reader, inner_end, external)
                    tensors[name or f"#{len(tensors)}"] = tensor
    if not graphs:
        raise InvalidContentError("it has no graph; it does not seem to be an ONNX file")
    return Header(tensors, external=frozenset(external))


def _tensor(reader: _Reader, end: int, external: set[str]) -> tuple[str, Tensor]:
    shape: list[int] = []
    name, kind = "", 0
    for field, wire, stop in reader.fields(end):
        if field == _DIMS and wire == _VARINT:
            shape.append(reader.varint())
        elif field == _DIMS and wire == _LENGTH:
            while reader.at < stop:
                shape.append(reader.varint())
        elif field == _DATA_TYPE and wire == _VARINT:
            kind = reader.varint()
        elif field == _NAME and wire == _LENGTH:
            name = reader.text(stop)
        elif field == _EXTERNAL_DATA and wire == _LENGTH:
            pair = {key: reader.text(to) for key, way, to in reader.fields(stop) if way == _LENGTH}
            if pair.get(_KEY) == "location":
                external.add(pair.get(_VALUE, ""))
        if len(shape) > _MAX_TEXT:
            raise InvalidContentError("a tensor has more dimensions than can be")
    numbers = count(shape)
    if numbers is None:
        raise InvalidContentError(f"its tensor {name!r:.80} has more numbers than can be")
    return name, Tensor(_TYPES.get(kind, f"onnx-{kind}"), numbers)


class _Reader:
    """Protobuf fields in order, none of them beyond the end of the message that it is in."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._left = _MAX_FIELDS
        self.at = 0

    def fields(self, end: int) -> Iterator[tuple[int, int, int]]:
        """Each field's number, wire type and, for one with a length, where it ends.

        What the caller has not read of a field by the next turn is stepped over.
        """
        while self.at < end:
            self._left -= 1
            if self._left < 0:
                raise InvalidContentError(f"it has more than {_MAX_FIELDS:,} fields")
            tag = self.varint()
            number, wire = tag >> 3, tag & 7
            if wire == _LENGTH:
                stop = self.varint() + self.at
            elif wire in _FIXED:
                stop = self.at + _FIXED[wire]
            elif wire == _VARINT:
                stop = -1
            else:
                raise InvalidContentError("it is not a sequence of protobuf fields")
            if number == 0 or stop > end:
                raise InvalidContentError("a field is longer than what it is in")
            before = self.at
            yield number, wire, stop
            if wire == _VARINT:
                if self.at == before:
                    self.varint()
            else:
                self._seek(stop)
        if self.at != end:
            raise InvalidContentError("a field is longer than what it is in")

    def varint(self) -> int:
        result = 0
        for shift in range(0, 70, 7):
            byte = self._stream.read(1)
            if not byte:
                raise InvalidContentError("it ends in the middle of a number")
            self.at += 1
            result |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return result & (2**64 - 1)
        raise InvalidContentError("it has a number of more than ten bytes")

    def text(self, end: int) -> str:
        if end - self.at > _MAX_TEXT:
            raise InvalidContentError("a name in it is too long")
        raw = self._stream.read(end - self.at)
        self.at += len(raw)
        return raw.decode("utf-8", "replace")

    def _seek(self, place: int) -> None:
        if place > self._size:
            raise InvalidContentError("it ends before its last field")
        self._stream.seek(place - self.at, 1)
        self.at = place
