"""TensorFlow's SavedModel: what `saved_model.pb` says, and the index of its variables.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/meta_graph.proto for
the first. The index is a sorted table as LevelDB has them, of messages of
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import (
    MAX_DIMENSIONS,
    Header,
    Tensor,
    Tensors,
    UnknownFormError,
    count,
    listed,
    short_facts,
)
from ocimlpack.model.headers.protobuf import LENGTH, VARINT, Fields

_MAX_BLOCK: Final = 16 * 1024 * 1024
_MAX_ENTRIES: Final = 1_000_000
_MAX_NAME: Final = 4096
_MAX_LISTED: Final = 64

# In SavedModel, MetaGraphDef, MetaInfoDef and SignatureDef.
_META_GRAPH: Final = 2
_INFO, _SIGNATURE = 1, 5
_TAG, _VERSION = 4, 5
_INPUTS, _OUTPUTS = 1, 2

_FOOTER: Final = 48
_MAGIC: Final = struct.pack("<Q", 0xDB4775248B80FB57)
_TRAILER: Final = 5
_DIM: Final = 2

# What training goes on with, and a description of the objects: no part of the model.
_STATES: Final = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|save_counter/|optimizer/|keras_api/|.*/\.OPTIMIZER_SLOT/"
)

# DataType, https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/types.proto
_TYPES: Final = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
    24: "float8_e5m2",
    25: "float8_e4m3",
}


def read(stream: BinaryIO, size: int) -> Header:
    """Read what a `saved_model.pb`, or an index of variables, of `size` bytes says.

    Raises:
        InvalidContentError: it is damaged.
    """
    if size >= _FOOTER:
        stream.seek(size - 8)
        ending = stream.read(8)
        stream.seek(0)
        if ending == _MAGIC:
            return _from_index(stream, size)
    return _from_model(stream, size)


def _from_model(stream: BinaryIO, size: int) -> Header:
    fields = Fields(stream, size)
    tags: dict[str, None] = {}
    versions: dict[str, None] = {}
    signatures: dict[str, str] = {}
    graphs = 0
    for number, wire, end in fields.walk(size):
        if number != _META_GRAPH or wire != LENGTH:
            continue
        graphs += 1
        for inner, way, stop in fields.walk(end):
            if inner == _INFO and way == LENGTH:
                for each, kind, to in fields.walk(stop):
                    into = {_TAG: tags, _VERSION: versions}.get(each)
                    if into is not None and kind == LENGTH and len(into) < _MAX_LISTED:
                        into[fields.text(to)] = None
            elif inner == _SIGNATURE and way == LENGTH and len(signatures) < _MAX_LISTED:
                name, said = _signature(fields, stop)
                signatures[name] = said
    if not graphs:
        raise InvalidContentError("it has no graph; it does not seem to be a SavedModel")
    facts: list[tuple[str, object]] = [
        ("tensorflow.version", listed(versions)),
        ("tensorflow.tags", listed(tags)),
        *((f"signature.{name}", said) for name, said in signatures.items()),
    ]
    return Header({}, facts=short_facts(facts))


def _signature(fields: Fields, end: int) -> tuple[str, str]:
    """A signature's name, and the names of what goes in and comes out."""
    name = ""
    names: dict[int, list[str]] = {_INPUTS: [], _OUTPUTS: []}
    for number, wire, stop in fields.walk(end):
        if number == 1 and wire == LENGTH:
            name = fields.text(stop)
        elif number == 2 and wire == LENGTH:
            for inner, way, to in fields.walk(stop):
                if inner in names and way == LENGTH and len(names[inner]) < _MAX_LISTED:
                    names[inner].append(fields.texts(to).get(1, ""))
    return name, f"{listed(names[_INPUTS])} -> {listed(names[_OUTPUTS])}"


def _from_index(stream: BinaryIO, size: int) -> Header:
    stream.seek(size - _FOOTER)
    footer = stream.read(_FOOTER)
    _, _, at = _handle(footer, 0)
    offset, length, _ = _handle(footer, at)
    tensors = Tensors()
    left, end = _MAX_ENTRIES, 0
    for _, handle in _entries(_block(stream, size, offset, length)):
        begin, extent, _ = _handle(handle, 0)
        # They lie one after the other. One that is named twice might be named a million times.
        if begin < end:
            raise InvalidContentError("its index is damaged")
        end = begin + extent
        for key, value in _entries(_block(stream, size, begin, extent)):
            left -= 1
            if left < 0:
                raise InvalidContentError(f"its index has more than {_MAX_ENTRIES:,} entries")
            name = key.decode("utf-8", "replace")
            # The first key is the table's own.
            if not name or _STATES.match(name):
                continue
            tensors.add(name, _variable(name, value))
    return Header(tensors)


def _variable(name: str, message: bytes) -> Tensor:
    """A variable by its BundleEntryProto; its bytes are in another file."""
    fields = Fields(cast(BinaryIO, io.BytesIO(message)), len(message))
    kind, shape = 0, []
    for number, wire, end in fields.walk(len(message)):
        if number == 1 and wire == VARINT:
            kind = fields.varint()
        elif number == 2 and wire == LENGTH:
            for inner, way, stop in fields.walk(end):
                if inner == _DIM and way == LENGTH:
                    shape.append(_extent(fields, stop))
                    if len(shape) > MAX_DIMENSIONS:
                        raise InvalidContentError("a variable has more dimensions than can be")
    numbers = count(shape)
    if numbers is None:
        raise InvalidContentError(f"its variable {name!r:.80} has more numbers than can be")
    return Tensor(_TYPES.get(kind, f"tensorflow-{kind}"), numbers, tuple(shape))


def _extent(fields: Fields, end: int) -> int:
    extent = 0
    for number, wire, _ in fields.walk(end):
        if number == 1 and wire == VARINT:
            extent = fields.varint()
    return extent


def _block(stream: BinaryIO, size: int, offset: int, length: int) -> bytes:
    if length > _MAX_BLOCK or offset + length + _TRAILER > size:
        raise InvalidContentError("its index is damaged")
    stream.seek(offset)
    block = stream.read(length + _TRAILER)
    if block[length : length + 1] != b"\0":
        raise UnknownFormError("its index is compressed")
    return block[:length]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block; each key begins as the one before it does."""
    if len(block) < 4:
        raise InvalidContentError("its index is damaged")
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * restarts
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or own > _MAX_BLOCK or at + own + length > end:
            raise InvalidContentError("its index is damaged")
        key = key[:shared] + block[at : at + own]
        if len(key) > _MAX_NAME:
            raise InvalidContentError("a name in it is too long")
        yield key, block[at + own : at + own + length]
        at += own + length


def _handle(content: bytes, at: int) -> tuple[int, int, int]:
    """Where a block begins, its bytes, and where the handle ends."""
    offset, at = _varint(content, at)
    length, at = _varint(content, at)
    return offset, length, at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise InvalidContentError("its index is damaged")
