"""TensorFlow Lite's files: a walk over the tables of a flatbuffer, by their offsets.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
and https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import MAX_DIMENSIONS, Header, Tensor, Tensors, count, short_facts

_MAX_TABLES: Final = 500_000
_MAX_TEXT: Final = 4096

# Model, SubGraph, Tensor and Buffer: the number of a field in its table.
_VERSION, _OPERATORS, _SUBGRAPHS, _DESCRIPTION, _BUFFERS = 0, 1, 2, 3, 4
_TENSORS: Final = 0
_SHAPE, _TYPE, _BUFFER, _NAME = 0, 1, 2, 3
_DATA, _OFFSET, _SIZE = 0, 1, 2

# TensorType, with ModelPack's name where it has one, and the bits that a number takes.
_TYPES: Final = (
    ("float32", 32),
    ("float16", 16),
    ("int32", 32),
    ("uint8", 8),
    ("int64", 64),
    ("string", None),
    ("bool", 8),
    ("int16", 16),
    ("complex64", 64),
    ("int8", 8),
    ("float64", 64),
    ("complex128", 128),
    ("uint64", 64),
    ("resource", None),
    ("variant", None),
    ("uint32", 32),
    ("uint16", 16),
    ("int4", 4),
    ("bfloat16", 16),
)


def read(stream: BinaryIO, size: int) -> Header:
    """Read what a file of `size` bytes says of the tensors whose data are in it.

    Raises:
        InvalidContentError: it is damaged.
    """
    tables = _Tables(stream, size)
    model = tables.root()
    version = tables.number(model, _VERSION, "<I")
    buffers = list(tables.vector(model, _BUFFERS))
    tensors = Tensors()
    graphs = 0
    for graph in tables.vector(model, _SUBGRAPHS):
        graphs += 1
        for table in tables.vector(graph, _TENSORS):
            found = _tensor(tables, table, buffers)
            if found is not None:
                tensors.add(tables.text(table, _NAME), found)
    facts = [
        ("tflite.version", version),
        ("tflite.description", tables.text(model, _DESCRIPTION)),
        ("tflite.graphs", graphs),
    ]
    return Header(tensors, facts=short_facts(facts))


def _tensor(tables: _Tables, table: int, buffers: list[int]) -> Tensor | None:
    """A tensor, if it has data: the others are what flows through the model."""
    index = tables.number(table, _BUFFER, "<I")
    if index == 0:
        return None  # by convention the buffer of all that have no data
    if index >= len(buffers):
        raise InvalidContentError("a tensor's data are in a buffer that is not there")
    start, size = tables.data(buffers[index])
    if not size:
        return None
    shape = tables.numbers(table, _SHAPE)
    numbers = count(shape)
    kind = tables.number(table, _TYPE, "<b")
    if numbers is None or any(each < 0 for each in shape):
        raise InvalidContentError("a tensor has more numbers than can be")
    name, bits = _TYPES[kind] if 0 <= kind < len(_TYPES) else (f"tflite-{kind}", None)
    if bits is not None and size == (numbers * bits + 7) // 8:
        return Tensor(name, numbers, shape, start, size)
    return Tensor(name, numbers, shape)  # a sparse one, or text


class _Tables:
    """Tables, vectors and texts, none of which lie beyond the file's end."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._left = _MAX_TABLES

    def root(self) -> int:
        if self._exactly(4, 4) != b"TFL3":
            raise InvalidContentError("it does not begin as a TensorFlow Lite file")
        return self._number(0, "<I")

    def number(self, table: int, field: int, form: str) -> int:
        """A field that is a number; 0 where it isn't written."""
        at = self._field(table, field)
        return self._number(at, form) if at else 0

    def text(self, table: int, field: int) -> str:
        at = self._field(table, field)
        if not at:
            return ""
        at += self._number(at, "<I")
        return self._exactly(at + 4, min(self._number(at, "<I"), _MAX_TEXT)).decode(
            "utf-8", "replace"
        )

    def numbers(self, table: int, field: int) -> tuple[int, ...]:
        at = self._field(table, field)
        if not at:
            return ()
        at += self._number(at, "<I")
        length = self._number(at, "<I")
        if length > MAX_DIMENSIONS:
            raise InvalidContentError(f"a tensor has {length:,} dimensions")
        return struct.unpack(f"<{length}i", self._exactly(at + 4, 4 * length))

    def vector(self, table: int, field: int) -> Iterator[int]:
        """The tables that a field is a vector of."""
        at = self._field(table, field)
        if not at:
            return
        at += self._number(at, "<I")
        for index in range(self._number(at, "<I")):
            self._left -= 1
            if self._left < 0:
                raise InvalidContentError(f"it has more than {_MAX_TABLES:,} tables")
            place = at + 4 + 4 * index
            yield place + self._number(place, "<I")

    def data(self, buffer: int) -> tuple[int, int]:
        """Where the bytes of a buffer begin, and how many they are."""
        at = self._field(buffer, _DATA)
        if at:
            at += self._number(at, "<I")
            start, size = at + 4, self._number(at, "<I")
        else:
            # Of large models they lie behind the flatbuffer, whose offsets have 32 bits.
            start = self.number(buffer, _OFFSET, "<Q")
            size = self.number(buffer, _SIZE, "<Q") if start > 1 else 0
        if start + size > self._size:
            raise InvalidContentError("it ends before its last tensor; was it downloaded whole?")
        return start, size

    def _field(self, table: int, field: int) -> int:
        """Where a field of a table is; 0 where it isn't written."""
        fields = table - self._number(table, "<i")
        if 4 + 2 * field >= self._number(fields, "<H"):
            return 0
        offset = self._number(fields + 4 + 2 * field, "<H")
        return table + offset if offset else 0

    def _number(self, at: int, form: str) -> int:
        return int(struct.unpack(form, self._exactly(at, struct.calcsize(form)))[0])

    def _exactly(self, at: int, length: int) -> bytes:
        if at < 0 or at + length > self._size:
            raise InvalidContentError("it refers to what is not in it; was it downloaded whole?")
        self._stream.seek(at)
        content = self._stream.read(length)
        if len(content) != length:
            raise InvalidContentError("it ends too early; was it downloaded whole?")
        return content
