"""Small files of weights, made by hand so that a test can spoil any byte of them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "U8": 8, "F8_E4M3": 8}
"""Types of safetensors that the tests use, with the bits that a number takes."""

GGML = {0: (1, 4), 1: (1, 2), 8: (32, 34), 12: (256, 144), 14: (256, 210)}
"""Types of ggml that the tests use: how many numbers a block has, and how many bytes."""

ONNX_BITS = {1: 32, 7: 64, 10: 16, 22: 4, 77: 8}

Tensors = Mapping[str, tuple[str, Sequence[int]]]


def safetensors(tensors: Tensors, **changes: Any) -> bytes:
    """A file with tensors of zeros; `changes` go into the header as they are."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (kind, shape) in tensors.items():
        size = BITS[kind] // 8
        for each in shape:
            size *= each
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header.update(changes)
    return framed(json.dumps(header).encode(), bytes(at))


def framed(header: bytes, body: bytes = b"") -> bytes:
    """A header of any bytes, with its length before it."""
    return struct.pack("<Q", len(header)) + header + body


def text(value: str | bytes, order: str = "<") -> bytes:
    """A GGUF string."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(f"{order}Q", len(raw)) + raw


def value(content: str | int | Sequence[str], order: str = "<") -> bytes:
    """A GGUF value: its type, then itself."""
    if isinstance(content, str):
        return struct.pack(f"{order}I", 8) + text(content, order)
    if isinstance(content, int):
        return struct.pack(f"{order}II", 4, content)
    items = b"".join(text(each, order) for each in content)
    return struct.pack(f"{order}IIQ", 9, 8, len(content)) + items


def gguf(
    pairs: Mapping[str, Any],
    tensors: Iterable[tuple[str, int, Sequence[int]]] = (),
    *,
    order: str = "<",
    version: int = 3,
) -> bytes:
    """A GGUF file; tensors are (name, ggml type, shape as in the file), and all of zeros."""
    rows = list(tensors)
    raw = b"GGUF" + struct.pack(f"{order}IQQ", version, len(rows), len(pairs))
    for key, content in pairs.items():
        raw += text(key, order) + value(content, order)
    at = 0
    for name, kind, shape in rows:
        raw += text(name, order) + struct.pack(f"{order}I", len(shape))
        raw += struct.pack(f"{order}{len(shape)}Q", *shape)
        raw += struct.pack(f"{order}IQ", kind, at)
        block, size = GGML[kind]
        at += math.prod(shape) // block * size
        at += -at % 32
    return raw + bytes(-len(raw) % 32) + bytes(at)


def varint(number: int) -> bytes:
    """A protobuf number."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def message(number: int, content: bytes) -> bytes:
    """A protobuf field with a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def initializer(
    name: str, kind: int, shape: Sequence[int], *, location: str | None = None, packed: bool = False
) -> bytes:
    """A TensorProto as an initializer of a graph."""
    if packed:
        raw = message(1, b"".join(varint(each) for each in shape))
    else:
        raw = b"".join(varint(1 << 3) + varint(each) for each in shape)
    raw += varint(2 << 3) + varint(kind) + message(8, name.encode())
    if location is None:
        raw += message(9, bytes(min(math.prod(shape), 65536) * ONNX_BITS[kind] // 8))
    else:
        raw += message(13, message(1, b"location") + message(2, location.encode()))
        raw += message(13, message(1, b"length") + message(2, b"4096"))
        raw += varint(14 << 3) + varint(1)
    return message(5, raw)


def onnx(*initializers: bytes) -> bytes:
    """A ModelProto with one graph: a node, then the initializers."""
    graph = message(1, message(4, b"Add")) + b"".join(initializers) + message(2, b"graph")
    return varint(1 << 3) + varint(8) + message(2, b"exporter") + message(7, graph)


def write(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files below a folder, with the folders that they need."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


CARD = """---
language:
- en
- multilingual
- no
license: apache-2.0
datasets:
- s2orc
pipeline_tag: sentence-similarity
---
# Tiny
"""


def model() -> dict[str, bytes | str]:
    """The files of a small model: two shards, settings, a tokenizer, code, a card."""
    return {
        "model-00001-of-00002.safetensors": safetensors(
            {"a": ("BF16", (100, 300)), "b": ("F32", (10,))}
        ),
        "model-00002-of-00002.safetensors": safetensors({"c": ("BF16", (47900,))}),
        "model.safetensors.index.json": json.dumps(
            {
                "weight_map": {
                    "a": "model-00001-of-00002.safetensors",
                    "b": "model-00001-of-00002.safetensors",
                    "c": "model-00002-of-00002.safetensors",
                }
            }
        ),
        "config.json": json.dumps(
            {"model_type": "llama", "num_attention_heads": 4, "torch_dtype": "float16"}
        ),
        "tokenizer/vocab.txt": "a\nb\n",
        "modeling_tiny.py": "print()\n",
        "convert.sh": "#!/bin/sh\n",
        "README.md": CARD,
        "empty.json": "",
    }
