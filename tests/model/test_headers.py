from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import BinaryIO

import pytest

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import Header, Tensor, gguf, onnx, safetensors
from tests.model import weights
from tests.model.weights import framed, initializer, message, text, value, varint

Read = Callable[[BinaryIO, int], Header]


def read(reader: Read, content: bytes, size: int | None = None) -> Header:
    return reader(io.BytesIO(content), len(content) if size is None else size)


def refused(reader: Read, content: bytes, reason: str, size: int | None = None) -> None:
    with pytest.raises(InvalidContentError, match=reason):
        read(reader, content, size)


def test_safetensors_tensors_are_counted_by_type() -> None:
    tensors = {
        "a": ("BF16", (2, 3)),
        "b": ("F32", ()),
        "c": ("F8_E4M3", (0, 4)),
        "d": ("I64", (5,)),
    }
    content = weights.safetensors(tensors)
    header = read(safetensors.read, content)
    data = len(content) - 56
    assert header.tensors == {
        "a": Tensor("bfloat16", 6, (2, 3), data, 12),
        "b": Tensor("float32", 1, (), data + 12, 4),
        "c": Tensor("float8_e4m3", 0, (0, 4), data + 16, 0),
        "d": Tensor("int64", 5, (5,), data + 16, 40),
    }
    assert header.facts == {"format": "pt"}


def test_safetensors_of_half_byte_numbers_are_counted() -> None:
    header = json.dumps({"a": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}).encode()
    found = read(safetensors.read, framed(header, bytes(2))).tensors
    assert found == {"a": Tensor("f4", 4, (4,), 8 + len(header), 2)}


def test_safetensors_types_of_the_future_are_counted() -> None:
    header = json.dumps({"a": {"dtype": "F3_X", "shape": [8], "data_offsets": [0, 3]}}).encode()
    found = read(safetensors.read, framed(header, bytes(3))).tensors
    assert found == {"a": Tensor("f3_x", 8, (8,), 8 + len(header), 3)}


def test_safetensors_need_only_the_header_of_a_large_file() -> None:
    header = json.dumps({"a": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}})
    content = framed(header.encode())
    found = read(safetensors.read, content, len(content) + 2**40)
    assert found.tensors["a"].count == 2**40


def tensor(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ([], "not described by an object"),
        (tensor(dtype=None), "lacks a type"),
        (tensor(dtype=32), "lacks a type"),
        (tensor(shape=None), "lacks a type"),
        (tensor(shape=[1.0]), "lacks a type"),
        (tensor(shape=[True]), "lacks a type"),
        (tensor(shape=[-1]), "lacks a type"),
        (tensor(shape="1"), "lacks a type"),
        (tensor(data_offsets=[0]), "lacks a type"),
        (tensor(data_offsets=[0, -4]), "lacks a type"),
        (tensor(data_offsets=[0, 4, 8]), "lacks a type"),
        (tensor(data_offsets=[4, 0]), "more or less room"),
        (tensor(shape=[2]), "more or less room"),
        (tensor(shape=[2**40, 2**40]), "more numbers than can be"),
        (tensor(shape=[2**63], dtype="X"), "more numbers than can be"),
        (tensor(data_offsets=[4, 8]), "overlap or leave gaps"),
        (tensor(shape=[2], data_offsets=[0, 8]), "lacks its last 4 bytes; was it downloaded whole"),
        (tensor(shape=[0], data_offsets=[0, 0]), "4 bytes follow after its last tensor"),
    ],
)
def test_safetensors_with_a_wrong_tensor_are_refused(item: object, reason: str) -> None:
    refused(safetensors.read, framed(json.dumps({"a": item}).encode(), bytes(4)), reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too short"),
        (b"1234567", "too short"),
        (struct.pack("<Q", 2**63), "more than 100,000,000"),
        (struct.pack("<Q", 100_000_001), "more than 100,000,000"),
        (struct.pack("<Q", 100), "longer than the file"),
        (framed(b""), "not a JSON object"),
        (framed(b"[]"), "not a JSON object"),
        (framed(b"  {}"), "not a JSON object"),
        (framed(b"\xef\xbb\xbf{}"), "not a JSON object"),
        (framed(b"{"), "not valid JSON"),
        (framed(b"{\xff}"), "not valid JSON"),
        (framed(b'{"a":NaN}'), "not valid JSON"),
        (framed(b'{"a":1,"a":1}'), "given twice"),
        (framed(b'{"a":' + b"[" * 200_000), "not valid JSON"),
        (framed(b'{"a":' + b"9" * 10_000 + b"}"), "not valid JSON"),
        (bytes(4096), "not a JSON object"),
    ],
)
def test_safetensors_with_a_wrong_header_are_refused(content: bytes, reason: str) -> None:
    refused(safetensors.read, content, reason)


def test_safetensors_with_a_header_that_would_fill_memory_are_refused() -> None:
    content = framed(b'{"a":[' + b"[],[{}]," * 400_000 + b"[]]}")
    tracemalloc.start()
    try:
        refused(safetensors.read, content, "its header has more than 1,000,000 parts")
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_safetensors_that_overlap_are_refused() -> None:
    items = {"a": tensor(shape=[2], data_offsets=[0, 8]), "b": tensor(data_offsets=[4, 8])}
    refused(safetensors.read, framed(json.dumps(items).encode(), bytes(8)), "overlap or leave gaps")


LLAMA: dict[str, str | int | list[str]] = {
    "general.architecture": "llama",
    "general.name": "Tiny Llama",
    "general.license": "apache-2.0",
    "general.author": "Somebody",
    "general.file_type": 15,
    "llama.attention.head_count": 8,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}


@pytest.mark.parametrize(("order", "version"), [("<", 2), ("<", 3), (">", 3)])
def test_gguf_says_what_it_is(order: str, version: int) -> None:
    content = weights.gguf(
        LLAMA, [("a", 12, (256, 4)), ("b", 0, (3,))], order=order, version=version
    )
    header = read(gguf.read, content)
    data = len(content) - 608  # four blocks of 144 bytes, and three numbers filled up to 32
    assert header.tensors == {
        "a": Tensor("q4_k", 1024, (4, 256), data, 576),
        "b": Tensor("float32", 3, (3,), data + 576, 12),
    }
    assert header.fields == {
        "name": "Tiny Llama",
        "family": "llama",
        "authors": "Somebody",
        "licenses": "apache-2.0",
        "quantization": "Q4_K_M",
        "architecture": "transformer",
    }
    assert header.role is None
    assert header.facts == {
        "gguf.version": str(version),
        "general.file_type": "15",
        "llama.attention.head_count": "8",
        "tokenizer.ggml.tokens": "3 values",
        **({"gguf.byteorder": "big"} if order == ">" else {}),
    }


def test_gguf_of_a_recurrent_model_is_no_transformer() -> None:
    pairs: dict[str, str | int | list[str]] = {
        "general.architecture": "mamba",
        "mamba.attention.head_count": 0,
        "mamba.ssm.conv_kernel": 4,
    }
    assert read(gguf.read, weights.gguf(pairs)).fields == {"family": "mamba"}


@pytest.mark.parametrize(
    ("pairs", "role"),
    [
        ({"general.type": "mmproj"}, "projector"),
        ({"general.architecture": "clip"}, "projector"),
        ({"general.type": "adapter"}, "adapter"),
        ({"general.type": "model"}, None),
    ],
)
def test_gguf_says_what_it_is_a_part_of(pairs: dict[str, str], role: str | None) -> None:
    assert read(gguf.read, weights.gguf(pairs)).role == role


def start(tensors: int, pairs: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs)


KEY = text("key")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "longer than the file"),
        (b"GGML" + bytes(40), "does not begin"),
        (b"GGUF" + struct.pack("<I", 0x0100) + bytes(40), "version is 256"),
        (b"GGUF" + struct.pack("<I", 99) + bytes(40), "version is 99"),
        (start(2**60, 0), "claims to have 1,152,921,504,606,846,976 tensors"),
        (start(0, 2**63), "claims to have 9,223,372,036,854,775,808 keys"),
        (start(0, 9), "longer than the file"),
        (start(0, 1) + struct.pack("<Q", 2**64 - 1), "18,446,744,073,709,551,615 bytes"),
        (start(0, 1) + KEY + struct.pack("<IQ", 8, 2**63), "longer than the file"),
        (start(0, 1) + KEY + struct.pack("<I", 13), "unknown type 13"),
        (start(0, 1) + KEY + struct.pack("<IIQ", 9, 9, 1), "array of the unknown type 9"),
        (start(0, 1) + KEY + struct.pack("<IIQ", 9, 4, 2**61), "longer than the file"),
        (start(0, 1) + KEY + struct.pack("<IIQ", 9, 8, 2**61), "longer than the file"),
        (start(0, 2) + 2 * (KEY + value("x")), "'key' is given twice"),
        (start(1, 0) + KEY + struct.pack("<I", 9), "9 dimensions"),
        (start(1, 0) + KEY + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0), "more numbers than"),
        (start(1, 0) + KEY + struct.pack("<IQIQ", 1, 100, 12, 0), "whole blocks of 256 numbers"),
        (start(0, 1) + text("general.alignment") + value(0), "alignment is 0"),
        (start(0, 1) + text("general.alignment") + value("x"), "alignment is 'x'"),
        (start(1, 0) + KEY + struct.pack("<IQIQ", 1, 4, 0, 0), "ends before its last tensor"),
        (
            start(2, 0)
            + text("a")
            + struct.pack("<IQIQ", 1, 4, 0, 0)
            + text("b")
            + struct.pack("<IQIQ", 1, 4, 0, 8)
            + bytes(99),
            "its tensors overlap",
        ),
        (start(1, 0) + KEY + struct.pack("<IQIQ", 1, 4, 0, 2**63) + bytes(9), "ends before"),
        (start(2, 0) + 2 * (KEY + struct.pack("<IQIQ", 1, 4, 0, 0)), "'key' is given twice"),
    ],
)
def test_gguf_that_is_wrong_is_refused(content: bytes, reason: str) -> None:
    refused(gguf.read, content, reason)


def test_gguf_cut_anywhere_is_refused() -> None:
    content = weights.gguf(LLAMA, [("a", 12, (256, 4))])[:-576]
    for length in range(len(content)):
        with pytest.raises(InvalidContentError):
            read(gguf.read, content[:length])


def test_gguf_with_a_large_vocabulary_is_read_without_keeping_it() -> None:
    content = weights.gguf({"tokenizer.ggml.tokens": [f"token-{n}" for n in range(150_000)]})
    stream = io.BytesIO(content)
    began = time.perf_counter()
    tracemalloc.start()
    try:
        gguf.read(stream, len(content))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000
    assert time.perf_counter() - began < 30  # 0.2 s without the tracing; this only stops a blow-up


SHORT = varint(1 << 3) + varint(5) + varint(2 << 3) + varint(1) + message(9, bytes(19))


def test_onnx_initializers_are_counted_by_type() -> None:
    content = weights.onnx(
        initializer("w", 1, (3, 4)),
        initializer("h", 10, (2, 2), packed=True),
        initializer("s", 7, ()),
        initializer("odd", 77, (8,)),
    )
    assert read(onnx.read, content).tensors == {
        "w": Tensor("float32", 12, (3, 4), 35, 48),
        "h": Tensor("float16", 4, (2, 2), 96, 8),
        "s": Tensor("int64", 1, (), 113, 8),
        "odd": Tensor("onnx-77", 8, (8,), 134, 8),
    }


def test_onnx_names_the_files_that_hold_its_data() -> None:
    content = weights.onnx(
        initializer("a", 1, (1024,), location="model.onnx_data"),
        initializer("b", 1, (1024,), location="./parts/b..data"),
    )
    header = read(onnx.read, content)
    assert header.external == {"model.onnx_data", "./parts/b..data"}
    assert header.tensors["a"] == Tensor("float32", 1024, (1024,))


@pytest.mark.parametrize(
    "location",
    ["../../etc/passwd", "..", "a/../../b", "/etc/passwd", "C:/x", "c:x", "..\\x", "a\0b", ""],
)
def test_onnx_with_data_outside_its_folder_is_refused(location: str) -> None:
    content = weights.onnx(initializer("b", 1, (1024,), location=location))
    refused(onnx.read, content, "its data are outside its folder")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no graph"),
        (b"\x08\x08", "no graph"),
        (b"just some text", "protobuf|longer than what it is in|number"),
        (b"\x0b", "not a sequence of protobuf fields"),
        (b"\x00\x00", "longer than what it is in"),
        (varint(7 << 3 | 2) + varint(2**62), "longer than what it is in"),
        (varint(7 << 3 | 2) + b"\xff" * 11, "more than ten bytes"),
        (b"\x08", "ends in the middle"),
        (message(7, varint(5 << 3 | 2) + varint(100)), "longer than what it is in"),
        (weights.onnx(initializer("w", 1, (2**40, 2**40))), "more numbers than can be"),
        (weights.onnx(initializer("w", 1, [1] * 70_000, packed=True)), "more dimensions"),
        (weights.onnx(message(5, message(8, bytes(70_000)))), "too long"),
        (weights.onnx(2 * initializer("w", 1, (1,))), "'w' is given twice"),
        (weights.onnx(message(5, SHORT)), "more or less data than its shape"),
    ],
)
def test_onnx_that_is_wrong_is_refused(content: bytes, reason: str) -> None:
    refused(onnx.read, content, reason)


def test_onnx_cut_in_a_header_is_refused() -> None:
    content = weights.onnx(initializer("w", 1, (3, 4)))
    for length in range(1, len(content)):
        with pytest.raises(InvalidContentError):
            read(onnx.read, content[:length])
