"""HDF5 files as Keras writes them: groups, the shapes and places of datasets, and attributes.

https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html. Read is the older form of
groups, which the library writes unless it is told otherwise; nothing that is compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import Tensor, UnknownFormError, count

MAGIC: Final = b"\x89HDF\r\n\x1a\n"

_MAX_OBJECTS: Final = 100_000
_MAX_MESSAGES: Final = 1_000_000
_MAX_READ: Final = 512 * 1024 * 1024
"""Bytes: the same ones may be a part of everything that is in the file."""

_MAX_RANK: Final = 32
"""H5S_MAX_RANK of the library."""

_MAX_IN_HEAP: Final = 65536
_MAX_BLOCK: Final = 4 * 1024 * 1024
_MAX_DEPTH: Final = 32
_MAX_NAME: Final = 4096
_UNDEFINED: Final = 2**64 - 1

_DATASPACE, _DATATYPE, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _TABLE = 1, 3, 8, 12, 16, 17
_CONTIGUOUS: Final = 1
_INTEGER, _FLOAT, _STRING, _VARIABLE = 0, 1, 3, 9


class Attribute(NamedTuple):
    """A value that is attached to a group or dataset, still as it lies in the file."""

    type: bytes
    data: bytes


class Object(NamedTuple):
    """A group or a dataset.

    Attributes:
        path: its names from the top, with slashes between them.
        tensor: the dataset; None for a group.
        attributes: its attributes.
    """

    path: str
    tensor: Tensor | None
    attributes: dict[str, Attribute]


class Hdf5:
    """A file, of which as much is read as is asked for."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        """Read the file's first block.

        Raises:
            InvalidContentError: here and below, that it is damaged, or of a form that isn't known.
        """
        self._stream = stream
        self._size = size
        self._left = _MAX_OBJECTS
        self._messages_left = _MAX_MESSAGES
        self._bytes_left = _MAX_READ
        begin = self._exactly(0, 16)
        if not begin.startswith(MAGIC):
            raise InvalidContentError("it does not begin as an HDF5 file")
        version = begin[8]
        if version > 1:
            raise UnknownFormError(
                f"its HDF5 superblock is of version {version}; 0 and 1 are known"
            )
        if begin[13] != 8 or begin[14] != 8:
            raise UnknownFormError("its addresses do not have eight bytes")
        at = 24 if version == 0 else 28
        (self._base,) = struct.unpack("<Q", self._exactly(at, 8))
        (self._root,) = struct.unpack("<Q", self._exactly(at + 40, 8))

    def objects(self) -> Iterator[Object]:
        """All groups and datasets, the top one first."""
        # Addresses, not objects: of a wide group one is looked at at a time.
        waiting: list[Iterator[tuple[str, int]]] = [iter([("", self._root)])]
        seen: set[int] = set()
        while waiting:
            path, address = next(waiting[-1], (None, 0))
            if path is None:
                waiting.pop()
                continue
            self._left -= 1
            if self._left < 0:
                raise InvalidContentError(f"it has more than {_MAX_OBJECTS:,} parts")
            if address in seen:
                continue  # a name that leads to what has another name as well
            seen.add(address)
            found, table = self._object(path, address)
            yield found
            if table is not None:
                if len(waiting) >= _MAX_DEPTH:
                    raise InvalidContentError("its groups are nested too deep")
                waiting.append(self._children(path, *table))

    def text(self, attribute: Attribute, limit: int) -> str | None:
        """An attribute that is one text; None for any other, and for one longer than `limit`."""
        kind = attribute.type[0] & 15 if attribute.type else None
        content = attribute.data
        if kind == _VARIABLE and len(content) == 16:
            length, address, index = struct.unpack("<IQI", content)
            content = self._from_heap(address, index, limit) if length <= limit else b""
        elif kind != _STRING:
            return None
        return content.rstrip(b"\0").decode("utf-8", "replace") or None

    def _object(self, path: str, address: int) -> tuple[Object, tuple[int, int] | None]:
        shape: tuple[int, ...] | None = None
        kind: tuple[str, int, bool] | None = None
        place: tuple[int, int] | None = None
        table: tuple[int, int] | None = None
        attributes: dict[str, Attribute] = {}
        for type, content in self._messages(address):
            try:
                if type == _DATASPACE:
                    shape = _shape(content)
                elif type == _DATATYPE:
                    kind = _type(content)
                elif type == _LAYOUT and content[0] in {3, 4} and content[1] == _CONTIGUOUS:
                    place = struct.unpack_from("<QQ", content, 2)
                elif type == _ATTRIBUTE:
                    name, attribute = _attribute(content)
                    attributes[name] = attribute
                elif type == _TABLE:
                    table = struct.unpack_from("<QQ", content)
            except (struct.error, IndexError) as error:
                raise InvalidContentError(f"its part {path!r:.80} is damaged") from error
        tensor = None
        if table is None and shape is not None and kind is not None:
            tensor = self._tensor(path, shape, kind, place)
        return Object(path, tensor, attributes), table

    def _tensor(
        self,
        path: str,
        shape: tuple[int, ...],
        kind: tuple[str, int, bool],
        place: tuple[int, int] | None,
    ) -> Tensor:
        name, width, is_native = kind
        numbers = count(shape)
        if numbers is None:
            raise InvalidContentError(f"its tensor {path!r:.80} has more numbers than can be")
        if place is None or place[0] == _UNDEFINED or not is_native:
            return Tensor(name, numbers, shape)
        start, size = self._base + place[0], place[1]
        if size != numbers * width or start + size > self._size:
            raise InvalidContentError(f"its tensor {path!r:.80} lies outside the file")
        return Tensor(name, numbers, shape, start, size)

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """The messages of an object's header, over all the blocks that it has."""
        version, number, length = struct.unpack("<BxHxxxxI", self._at(address, 12))
        if version != 1:
            raise UnknownFormError("an object's header is of a form that isn't known")
        blocks = [(address + 16, length)]
        left = number
        seen = set()
        while blocks and left:
            at, length = blocks.pop(0)
            if length > _MAX_BLOCK or at in seen:
                raise InvalidContentError("an object's header is damaged")
            seen.add(at)
            block = self._at(at, length)
            place = 0
            while place + 8 <= length and left:
                type, size = struct.unpack_from("<HH", block, place)
                content = block[place + 8 : place + 8 + size]
                if len(content) != size:
                    raise InvalidContentError("an object's header is damaged")
                if type == _CONTINUATION and size >= 16:
                    blocks.append(struct.unpack_from("<QQ", content))
                elif type:
                    yield type, content
                place += 8 + size
                left -= 1
                self._messages_left -= 1
                if self._messages_left < 0:
                    raise InvalidContentError("its parts say more than can be")

    def _children(self, path: str, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """The names in a group, and where their objects are."""
        signature, _, _, names = struct.unpack("<4s4xQQQ", self._at(heap, 32))
        if signature != b"HEAP":
            raise InvalidContentError("a group's names are damaged")
        for node in self._leaves(tree, set(), 0):
            signature, number = struct.unpack("<4sxxH", self._at(node, 8))
            if signature != b"SNOD":
                raise InvalidContentError("a group is damaged")
            entries = self._at(node + 8, 40 * number)
            for place in range(0, len(entries), 40):
                name, address = struct.unpack_from("<QQ", entries, place)
                text = self._name(names + name)
                if len(path) + len(text) >= _MAX_NAME:
                    raise InvalidContentError("a name in it is too long")
                yield (f"{path}/{text}" if path else text), address

    def _leaves(self, address: int, seen: set[int], depth: int) -> Iterator[int]:
        signature, type, level, used = struct.unpack("<4sBBH", self._at(address, 8))
        if signature != b"TREE" or type or address in seen or depth > _MAX_DEPTH:
            raise InvalidContentError("a group is damaged")
        seen.add(address)
        children = self._at(address + 24, 16 * used + 8)
        for place in range(8, 16 * used + 8, 16):
            (child,) = struct.unpack_from("<Q", children, place)
            if level:
                yield from self._leaves(child, seen, depth + 1)
            else:
                yield child

    def _name(self, address: int) -> str:
        at = self._base + address
        raw = self._exactly(at, max(0, min(_MAX_NAME, self._size - at)))
        name, end, _ = raw.partition(b"\0")
        if not end:
            raise InvalidContentError("a name in it is too long")
        return name.decode("utf-8", "replace")

    def _from_heap(self, address: int, index: int, limit: int) -> bytes:
        """A text that is kept apart, in a heap that is for all of the file."""
        signature, size = struct.unpack("<4s4xQ", self._at(address, 16))
        if signature != b"GCOL":
            raise InvalidContentError("an attribute is damaged")
        at, end = address + 16, address + size
        for _ in range(_MAX_IN_HEAP):
            if at + 16 > end:
                break
            number, length = struct.unpack("<HxxxxxxQ", self._at(at, 16))
            if number == index:
                return self._at(at + 16, length) if length <= limit else b""
            if number == 0:
                break
            at += 16 + length + -length % 8
        raise InvalidContentError("an attribute is damaged")

    def _at(self, address: int, length: int) -> bytes:
        return self._exactly(self._base + address, length)

    def _exactly(self, at: int, length: int) -> bytes:
        if length > _MAX_BLOCK or at + length > self._size:
            raise InvalidContentError("it refers to what is not in it; was it downloaded whole?")
        self._bytes_left -= length
        if self._bytes_left < 0:
            raise InvalidContentError("its parts say more than can be")
        self._stream.seek(at)
        content = self._stream.read(length)
        if len(content) != length:
            raise InvalidContentError("it ends too early; was it downloaded whole?")
        return content


def _shape(content: bytes) -> tuple[int, ...]:
    version, rank = content[0], content[1]
    if rank > _MAX_RANK:
        raise InvalidContentError(f"a tensor has {rank} dimensions")
    return tuple(struct.unpack_from(f"<{rank}Q", content, 8 if version == 1 else 4))


def _type(content: bytes) -> tuple[str, int, bool]:
    """The name of a type, the bytes of a number, and whether the little end is first."""
    kind, bits = content[0] & 15, content[1]
    (size,) = struct.unpack_from("<I", content, 4)
    is_native = not bits & 1 or size == 1
    if kind == _FLOAT:
        exponent = content[13]
        if size == 2 and exponent == 8:
            return "bfloat16", size, is_native
        return f"float{size * 8}", size, is_native
    if kind == _INTEGER:
        return f"{'' if bits & 8 else 'u'}int{size * 8}", size, is_native
    return f"hdf5-{kind}", size, False


def _attribute(content: bytes) -> tuple[str, Attribute]:
    version = content[0]
    name, type, space = struct.unpack_from("<HHH", content, 2)
    at = 9 if version == 3 else 8
    parts = []
    for size in (name, type, space):
        parts.append(content[at : at + size])
        at += size + (-size % 8 if version == 1 else 0)
    return parts[0].rstrip(b"\0").decode("utf-8", "replace"), Attribute(parts[1], content[at:])
