"""The parts of an ONNX file that say what it is: a walk over its protobuf fields.

Messages: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. The data of tensors are stepped
over, and files that hold external data are named, never opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import (
    MAX_DIMENSIONS,
    Header,
    Tensor,
    Tensors,
    count,
    listed,
    short_facts,
)
from ocimlpack.model.headers.protobuf import LENGTH, VARINT, Fields

_MAX_LISTED: Final = 256
_MAX_FILES: Final = 10_000
_MAX_PATH: Final = 4096
_MAX_DEPTH: Final = 32

# In ModelProto.
_IR_VERSION, _OPSET, _GRAPH, _METADATA = 1, 8, 7, 14
_SAID: Final = {2: "producer", 3: "producer_version", 4: "domain"}
# In GraphProto.
_NODE, _GRAPH_NAME, _INITIALIZER, _INPUT, _OUTPUT = 1, 2, 5, 11, 12
# In NodeProto and AttributeProto.
_RESULT, _OPERATOR, _ATTRIBUTE = 2, 4, 5
_TENSOR_VALUE, _GRAPH_VALUE, _GRAPHS = 5, 6, 11
# In TensorProto.
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA = 1, 2, 8, 9, 13
_KEY, _VALUE = 1, 2  # in StringStringEntryProto

# TensorProto.DataType: ModelPack's name where it has one, and the bits that a number takes.
_TYPES: Final = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8_e4m3", 8),
    18: ("float8e4m3fnuz", 8),
    19: ("float8_e5m2", 8),
    20: ("float8e5m2fnuz", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
    23: ("float4e2m1", 4),
    24: ("float8e8m0", 8),
}
_FLOATING: Final = frozenset({1, 10, 11, 16, 17, 18, 19, 20})
_OUTSIDE: Final = re.compile(r"/|[A-Za-z]:|(?:.*/)?\.\.(?:/|\Z)|.*[\\\0]|\Z", re.DOTALL)


def read(stream: BinaryIO, size: int) -> Header:
    """Read what a file of `size` bytes says of itself and of its parameters.

    These are the initializers of its graph and of the graphs in that, and the tensors of floating
    numbers that a node is there to bring: some exporters write weights as such constants.

    Raises:
        InvalidContentError: it is malformed, or wants data from outside its folder.
    """
    fields = Fields(stream, size)
    walk = _Walk(fields)
    opsets: list[str] = []
    said: dict[str, object] = {}
    graphs = 0
    for number, wire, end in fields.walk(size):
        if number == _GRAPH and wire == LENGTH:
            graphs += 1
            said |= walk.graph(end)
        elif number == _IR_VERSION and wire == VARINT:
            said["ir_version"] = fields.varint()
        elif number in _SAID and wire == LENGTH:
            said[_SAID[number]] = fields.text(end)
        elif number == _OPSET and wire == LENGTH and len(opsets) < _MAX_LISTED:
            opsets.append(_opset(fields, end))
        elif number == _METADATA and wire == LENGTH and len(said) < _MAX_LISTED:
            pair = fields.texts(end)
            said[f"metadata.{pair.get(_KEY, '')}"] = pair.get(_VALUE)
    if not graphs:
        raise InvalidContentError("it has no graph; it does not seem to be an ONNX file")
    facts = short_facts([("opset", listed(opsets)), *said.items()])
    return Header(walk.tensors, external=frozenset(walk.external), facts=facts)


def _opset(fields: Fields, end: int) -> str:
    """The version of a set of operators, with the set's name unless it is ONNX's own."""
    domain, version = "", 0
    for number, wire, stop in fields.walk(end):
        if number == 1 and wire == LENGTH:
            domain = fields.text(stop)
        elif number == 2 and wire == VARINT:
            version = fields.varint()
    return f"{domain} {version}" if domain else f"{version}"


@dataclass(slots=True)
class _Described:
    """What a TensorProto says, as far as it was read."""

    name: str = ""
    kind: int = 0
    shape: list[int] = field(default_factory=list)
    start: int | None = None
    size: int | None = None

    def tensor(self) -> Tensor:
        numbers = count(self.shape)
        if numbers is None:
            raise InvalidContentError(f"its tensor {self.name!r:.80} has more numbers than can be")
        kind, bits = _TYPES.get(self.kind, (f"onnx-{self.kind}", None))
        if bits and self.size is not None and self.size != (numbers * bits + 7) // 8:
            raise InvalidContentError(
                f"its tensor {self.name!r:.80} has more or less data than its shape"
            )
        return Tensor(kind, numbers, tuple(self.shape), self.start, self.size)


class _Walk:
    """The tensors and the names of files that were found on the way through graphs."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.tensors = Tensors()
        self.external: set[str] = set()

    def graph(self, end: int, depth: int = 0) -> dict[str, object]:
        """Go through a graph.

        Returns:
            Facts about it.
        """
        if depth > _MAX_DEPTH:
            raise InvalidContentError("its graphs are nested too deep")
        fields = self._fields
        said: dict[int, list[str]] = {_GRAPH_NAME: [], _INPUT: [], _OUTPUT: []}
        own: set[str] = set()
        for number, wire, stop in fields.walk(end):
            if wire != LENGTH:
                continue
            if number == _INITIALIZER:
                found = self._tensor(stop)
                if found.name in own:
                    raise InvalidContentError(f"its tensor {found.name!r:.80} is given twice")
                own |= {found.name} - {""}
                self.tensors.add(found.name, found.tensor())
            elif number == _NODE:
                self._node(stop, depth)
            elif depth or len(said.get(number, ())) >= _MAX_LISTED:
                continue
            elif number == _GRAPH_NAME:
                said[number].append(fields.text(stop))
            elif number in {_INPUT, _OUTPUT}:
                said[number].append(fields.texts(stop).get(1, ""))
        inputs = [name for name in said[_INPUT] if name not in own]
        return {
            "graph": "".join(said[_GRAPH_NAME][:1]),
            "inputs": listed(inputs),
            "outputs": listed(said[_OUTPUT]),
        }

    def _node(self, end: int, depth: int) -> None:
        fields = self._fields
        name = operator = ""
        for number, wire, stop in fields.walk(end):
            if wire != LENGTH:
                continue
            if number == _RESULT:
                name = name or fields.text(stop)
            elif number == _OPERATOR:
                operator = fields.text(stop)
            elif number == _ATTRIBUTE:
                for inner, way, to in fields.walk(stop):
                    if way != LENGTH:
                        continue
                    if inner in {_GRAPH_VALUE, _GRAPHS}:
                        self.graph(to, depth + 1)
                    elif inner == _TENSOR_VALUE and operator == "Constant":
                        found = self._tensor(to)
                        if found.kind in _FLOATING and found.shape:
                            self.tensors.add(name, found.tensor())

    def _tensor(self, end: int) -> _Described:
        fields = self._fields
        found = _Described()
        for number, wire, stop in fields.walk(end):
            if number == _DIMS and wire == VARINT:
                found.shape.append(fields.varint())
            elif number == _DIMS and wire == LENGTH:
                while fields.at < stop and len(found.shape) <= MAX_DIMENSIONS:
                    found.shape.append(fields.varint())
            elif number == _DATA_TYPE and wire == VARINT:
                found.kind = fields.varint()
            elif number == _NAME and wire == LENGTH:
                found.name = fields.text(stop)
            elif number == _RAW_DATA and wire == LENGTH:
                found.start, found.size = fields.at, stop - fields.at
            elif number == _EXTERNAL_DATA and wire == LENGTH:
                pair = fields.texts(stop)
                if pair.get(_KEY) == "location":
                    self.external.add(_inside(pair.get(_VALUE, "")))
                    if len(self.external) > _MAX_FILES:
                        raise InvalidContentError(f"its data are in more than {_MAX_FILES:,} files")
            if len(found.shape) > MAX_DIMENSIONS:
                raise InvalidContentError("a tensor has more dimensions than can be")
        return found


def _inside(location: str) -> str:
    """The name of a file beside the model, or below that.

    Raises:
        InvalidContentError: it leads anywhere else.
    """
    if len(location) > _MAX_PATH or _OUTSIDE.match(location):
        raise InvalidContentError(f"its data are outside its folder, in {location!r:.80}")
    return location
