"""Flatbuffers by hand, their parts in the order in which they are named."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

Table = Mapping[int, Any]
"""Fields by number: ("<form", number), text, bytes, numbers of 32 bits, or tables."""


def build(root: Table, identifier: bytes = b"TFL3", behind: bytes = b"") -> bytes:
    """The bytes of a buffer with this table at its root, and what follows after it."""
    raw = bytearray(4) + identifier
    _refer(raw, 0, _table(raw, root))
    return bytes(raw) + behind


def _refer(raw: bytearray, at: int, target: int) -> None:
    struct.pack_into("<I", raw, at, target - at)


def _table(raw: bytearray, fields: Table) -> int:
    raw += bytes(-len(raw) % 8)
    names = len(raw)
    number = max(fields, default=-1) + 1
    raw += struct.pack("<HH", 4 + 2 * number, 4 + 8 * len(fields)) + bytes(2 * number)
    start = len(raw)
    raw += struct.pack("<i", start - names) + bytes(8 * len(fields))
    for index, (field, value) in enumerate(fields.items()):
        at = start + 4 + 8 * index
        struct.pack_into("<H", raw, names + 4 + 2 * field, at - start)
        if isinstance(value, tuple):
            struct.pack_into(value[0], raw, at, value[1])
        else:
            _refer(raw, at, _value(raw, value))
    return start


def _value(raw: bytearray, value: Any) -> int:
    raw += bytes(-len(raw) % 4)
    at = len(raw)
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        raw += struct.pack("<I", len(content)) + content + b"\0"
    elif value and isinstance(value[0], int):
        raw += struct.pack(f"<I{len(value)}i", len(value), *value)
    else:
        tables: Sequence[Table] = value
        raw += struct.pack("<I", len(tables)) + bytes(4 * len(tables))
        for index, table in enumerate(tables):
            _refer(raw, at + 4 + 4 * index, _table(raw, table))
    return at
