"""NumPy's files: one array with a short header, or a zip archive of such files.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. The header is a literal of
Python's; it is matched, never evaluated.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import MAX_DIMENSIONS, Header, Tensor, Tensors, count, short_facts
from ocimlpack.model.headers.zip_archive import Member, ZipArchive

_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER: Final = 10_000
"""Bytes; numpy's own limit, `max_header_size` of `numpy.load`."""

_TYPE: Final = re.compile(r"""['"]descr['"]\s*:\s*(?:['"]([^'"]{1,80})['"]|(\[))""")
_SHAPE: Final = re.compile(r"""['"]shape['"]\s*:\s*\(([0-9L,\s]*)\)""")
_DTYPE: Final = re.compile(r"([<>|=]?)([a-zA-Z])(\d{0,9})")

_OTHERS: Final = {"U": "text", "S": "bytes", "O": "object"}
_KINDS: Final = {"f": "float", "i": "int", "u": "uint", "c": "complex"}


def read(stream: BinaryIO, size: int) -> Header:
    """Read what a file of `size` bytes says of its arrays.

    Raises:
        InvalidContentError: it is damaged.
    """
    begin = stream.read(len(_MAGIC))
    if begin.startswith(b"PK"):
        return _from_archive(ZipArchive(stream, size))
    stream.seek(0)
    facts, tensor = _array(stream.read(_MAX_HEADER), size, 0)
    return Header({"array": tensor}, facts=facts)


def _from_archive(archive: ZipArchive) -> Header:
    tensors = Tensors()
    facts: dict[str, str] = {}
    for name, member in archive.members.items():
        if name.endswith(".npy"):
            start = archive.start(member) if member.is_stored else None
            try:
                said, tensor = _array(_head(archive, member), member.size, start)
            except InvalidContentError as error:
                raise InvalidContentError(f"its array {name!r:.80}: {error.message}") from error
            tensors.add(name.removesuffix(".npy"), tensor)
            # Of one dimension there is one order only.
            if said["numpy.order"] != "C" and len(tensor.shape) > 1:
                facts = {"numpy.order": said["numpy.order"]}
    if not tensors:
        raise InvalidContentError("it has no arrays")
    return Header(tensors, facts=facts)


def _head(archive: ZipArchive, member: Member) -> bytes:
    """The member's header: most are short, and a long one is asked for when it is met."""
    short = archive.head(member, 256)
    return short if _length(short) <= len(short) else archive.head(member, _MAX_HEADER)


def _length(head: bytes) -> int:
    """Where the data begin."""
    if not head.startswith(_MAGIC) or len(head) < 12:
        raise InvalidContentError("it does not begin as an array of NumPy")
    if head[6] == 1:
        return 10 + int(struct.unpack_from("<H", head, 8)[0])
    return 12 + int(struct.unpack_from("<I", head, 8)[0])


def _array(head: bytes, size: int, start: int | None) -> tuple[dict[str, str], Tensor]:
    """An array by the beginning of its file, and facts about it.

    Args:
        head: its first bytes.
        size: the bytes of its file.
        start: where that begins in what is read; None where it is compressed.
    """
    data = _length(head)
    if data > len(head):
        raise InvalidContentError("its header is longer than the file, or than headers may be")
    text = head[10:data].decode("latin-1")
    kind, shape = _TYPE.search(text), _SHAPE.search(text)
    if kind is None or shape is None:
        raise InvalidContentError("its header has no type or no shape")
    parts = [each.strip().rstrip("L") for each in shape[1].split(",") if each.strip()]
    if len(parts) > MAX_DIMENSIONS or any(not each.isdigit() or len(each) > 19 for each in parts):
        raise InvalidContentError("its shape can't be read")
    sizes = tuple(int(each) for each in parts)
    numbers = count(sizes)
    if numbers is None:
        raise InvalidContentError("it has more numbers than can be")
    order = "Fortran" if re.search(r"fortran_order['\"]\s*:\s*True", text) else "C"
    facts = short_facts([("numpy.order", order), ("numpy.dtype", kind[1] or "structured")])
    name, width, is_native = dtype(kind[1] or "")
    if width is None:
        return facts, Tensor(name, numbers, sizes)
    if data + numbers * width > size:
        raise InvalidContentError("it ends before its data do; was it downloaded whole?")
    if start is None or not is_native:
        return facts, Tensor(name, numbers, sizes)
    return facts, Tensor(name, numbers, sizes, start + data, numbers * width)


def dtype(text: str) -> tuple[str, int | None, bool]:
    """ModelPack's name for a type of NumPy's, the bytes of a number, and whether little end first.

    Types that it has no name for keep their own; for those that are no plain numbers, there are no
    bytes.
    """
    match = _DTYPE.fullmatch(text)
    if match is None:
        return ("structured" if not text else text.lower()[:40]), None, False
    order, kind, digits = match.groups()
    width = int(digits or 0)
    is_native = order != ">" or width == 1
    if kind == "b" and width == 1:
        return "bool", 1, True
    if kind in _KINDS and 0 < width <= 32:
        return f"{_KINDS[kind]}{width * 8}", width, is_native
    return _OTHERS.get(kind, f"{kind.lower()}{digits}"), None, False
