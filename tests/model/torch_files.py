"""PyTorch's files, written step by step as PyTorch writes them: no test needs the library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence

from tests.model.sparse import Piece, Sparse

STORAGES = {"Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Byte": 1}


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def numbers(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module: str, called: str) -> bytes:
    return f"c{module}\n{called}\n".encode()


def call(what: bytes, *arguments: bytes) -> bytes:
    return what + b"(" + b"".join(arguments) + b"tR"


def strides(shape: Sequence[int]) -> list[int]:
    found: list[int] = []
    step = 1
    for size in reversed(shape):
        found.insert(0, step)
        step *= size
    return found


def count(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def storage(key: str, kind: str, length: int, *, legacy: bool = False) -> bytes:
    parts = [text("storage"), name("torch", f"{kind}Storage"), text(key), text("cpu")]
    parts += [number(length), *([b"N"] if legacy else [])]
    return b"(" + b"".join(parts) + b"tQ"


def tensor(
    key: str,
    shape: Sequence[int],
    kind: str = "Float",
    *,
    offset: int = 0,
    steps: Sequence[int] | None = None,
    legacy: bool = False,
) -> bytes:
    """The opcodes for a tensor in the storage of that key, by default one that fills it."""
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage(key, kind, count(shape), legacy=legacy),
        number(offset),
        numbers(shape),
        numbers(strides(shape) if steps is None else steps),
        b"\x89",
        call(name("collections", "OrderedDict")),
    )


def parameter(inner: bytes) -> bytes:
    return call(
        name("torch._utils", "_rebuild_parameter"),
        inner,
        b"\x88",
        call(name("collections", "OrderedDict")),
    )


def dictionary(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def archive(members: Mapping[str, Piece], *, method: int = 0, alignment: int = 64) -> Sparse:
    """A zip archive as PyTorch writes it: contents aligned, their sizes repeated behind them."""
    pieces: list[Piece] = []
    directory = b""
    at = 0
    for path, content in members.items():
        raw = path.encode()
        size = content if isinstance(content, int) else len(content)
        crc = 0 if isinstance(content, int) else zlib.crc32(content)
        if method and isinstance(content, bytes):
            packer = zlib.compressobj(wbits=-15)
            content = packer.compress(content) + packer.flush()
        packed = content if isinstance(content, int) else len(content)
        fill = -(at + 30 + len(raw) + 4) % alignment
        extra = struct.pack("<HH", 0x4246, fill) + b"Z" * fill
        about = struct.pack("<HHHHIII", 0x0808, method, 0, 0, crc, packed, size)
        head = b"PK\x03\x04\0\0" + about + struct.pack("<HH", len(raw), len(extra)) + raw + extra
        tail = b"PK\x07\x08" + struct.pack("<III", crc, packed, size)
        directory += b"PK\x01\x02\0\0\0\0" + about
        directory += struct.pack("<HHHHHII", len(raw), 0, 0, 0, 0, 0, at) + raw
        pieces += [head, content, tail]
        at += len(head) + packed + len(tail)
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), at, 0)
    return Sparse([*pieces, directory, b"PK\x05\x06" + end])


def checkpoint(value: bytes, storages: Mapping[str, Piece], **others: Piece) -> Sparse:
    """What `torch.save` writes: the pickle of a value, and the storages that it refers to."""
    members: dict[str, Piece] = {"model/data.pkl": pickled(value), "model/byteorder": b"little"}
    members |= {f"model/{path}": content for path, content in others.items()}
    members |= {f"model/data/{key}": content for key, content in storages.items()}
    return archive(members | {"model/version": b"3\n"})


def legacy(value: bytes, storages: Mapping[str, tuple[str, int]]) -> bytes:
    """What `torch.save` wrote before version 1.6; of each storage its kind and length."""
    magic = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    start = b"\x80\x02\x8a\x0a" + magic + b"." + pickled(b"M\xe9\x03")
    machine = pickled(dictionary({"protocol_version": b"M\xe9\x03", "little_endian": b"\x88"}))
    keys = pickled(b"](" + b"".join(map(text, storages)) + b"e")
    data = b"".join(
        struct.pack("<q", length) + bytes(STORAGES[kind] * length)
        for kind, length in storages.values()
    )
    return start + machine + pickled(value) + keys + data
