"""Headers of Keras, NumPy, pickled objects, TensorFlow and TensorFlow Lite."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import (
    Header,
    Tensor,
    Tensors,
    UnknownFormError,
    hdf5,
    keras,
    npy,
    objects,
    saved_model,
    tflite,
)
from ocimlpack.model.headers.table import READERS, has_header, read_header
from tests.model import flatbuffer
from tests.model.weights import message, varint


def read(reader: Any, content: bytes) -> Header:
    found = reader.read(io.BytesIO(content), len(content))
    assert isinstance(found, Header)
    return found


def refused(reader: Any, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidContentError, match=reason):
        read(reader, content)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return content.getvalue()


def array(header: str, data: bytes = b"", version: int = 1) -> bytes:
    raw = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(raw))
    return b"\x93NUMPY" + bytes([version, 0]) + length + raw + data


FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_numpy_arrays_say_what_they_are(version: int) -> None:
    content = array(FLOATS, bytes(48), version)
    header = read(npy, content)
    assert header.tensors == {"array": Tensor("float32", 12, (3, 4), len(content) - 48, 48)}
    assert header.facts == {"numpy.order": "C", "numpy.dtype": "<f4"}


@pytest.mark.parametrize(
    ("descr", "name", "placed"),
    [
        ("'<f8'", "float64", True),
        ("'>f8'", "float64", False),
        ("'|b1'", "bool", True),
        ("'>i1'", "int8", True),
        ("'<c16'", "complex128", True),
        ("'<U5'", "text", False),
        ("'|O'", "object", False),
        ("'<V2'", "v2", False),
        ("[('a', '<f4'), ('b', '<i8')]", "structured", False),
    ],
)
def test_numpy_s_types_have_names(descr: str, name: str, placed: bool) -> None:
    header = f"{{'descr': {descr}, 'fortran_order': True, 'shape': (2,), }}"
    found = read(npy, array(header, bytes(32))).tensors["array"]
    assert (found.type, found.shape, found.start is not None) == (name, (2,), placed)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x93NUMPY", "does not begin as an array"),
        (b"\x93NUMPX" + bytes(40), "does not begin as an array"),
        (array(FLOATS, bytes(47)), "ends before its data do"),
        (array(FLOATS)[:-20], "header is longer than the file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100), "header is longer than the file"),
        (array("{}"), "no type or no shape"),
        (array(FLOATS.replace("(3, 4)", "(3, -4)")), "no type or no shape"),
        (array(FLOATS.replace("(3, 4)", "(__import__('os'),)")), "no type or no shape"),
        (array(FLOATS.replace("(3, 4)", "(99999999999999999999,)")), "shape can't be read"),
        (array(FLOATS.replace("(3, 4)", f"({'1,' * 65})")), "shape can't be read"),
        (array(FLOATS.replace("(3, 4)", "(4611686018427387904, 4)")), "more numbers than can be"),
        (zipped({"a.txt": b""}), "has no arrays"),
        (zipped({"a.npy": b"???"}), "its array 'a.npy': it does not begin"),
        (zipped({"a.npy": array(FLOATS)}), "its array 'a.npy': it ends before"),
    ],
)
def test_numpy_files_that_are_wrong_are_refused(content: bytes, reason: str) -> None:
    refused(npy, content, reason)


class Estimator:
    def __init__(self) -> None:
        self.names = ["a", "b"]
        self._sklearn_version = "1.9.9"


PICKLE = pickle.dumps(Estimator())


def test_pickled_objects_say_their_class_and_what_they_would_import() -> None:
    header = read(objects, PICKLE)
    assert header.tensors == {}
    assert header.fields == {}
    assert header.facts["class"] == f"{__name__}.Estimator"
    assert header.facts["imports"].startswith(f"{__name__}.Estimator")
    assert header.facts["sklearn.version"] == "1.9.9"


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda raw: lzma.compress(raw, lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("name", PACKERS)
def test_compressed_objects_are_read_as_they_unpack(name: str) -> None:
    packed = PACKERS[name](PICKLE)
    assert read(objects, packed).facts == read(objects, PICKLE).facts
    for length in range(1, len(packed) // 2):
        with pytest.raises(InvalidContentError):
            read(objects, packed[:length])


@pytest.mark.parametrize("name", PACKERS)
def test_bombs_in_objects_are_not_unpacked_to_the_end(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_MAX_UNPACKED", 1_000_000)
    bomb = PACKERS[name](b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + bytes(5_000_000))
    texts = PACKERS[name](b"\x80\x04" + (b"X\x00\x08\x00\x00" + b"x" * 2048) * 10_000)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidContentError, match="breaks off"):
            read(objects, bomb)
        # As much is unpacked as is allowed, and the file is not called damaged for that.
        header = read(objects, texts)
        assert header.facts == {"not followed": "it unpacks to more than 1,000,000 bytes"}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20  # most of it the dictionary that xz wants


def wrapper(shape: str, dtype: str, data: bytes = b"") -> bytes:
    """An array as joblib writes it: what would be made, its state, and the bytes behind that."""
    return (
        b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}("
        + b"Vshape\n"
        + shape.encode()
        + b"Vdtype\ncnumpy\ndtype\n(V"
        + dtype.encode()
        + b"\n\x89\x88tRu"
        + b"b"
        + data
        + b"."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (wrapper("N", "f4"), "an array in it has no shape"),
        (wrapper("(I3\nt", "?!"), "has a type that isn't known"),
        (wrapper("(I9223372036854775807\nI9\nt", "f4"), "has a type that isn't known"),
        (wrapper("(I3\nt", "f4", bytes(5)), "breaks off"),
        (b"cx\ny\n" * 3, "breaks off"),
        (b"\x80\x04", "breaks off"),
    ],
)
def test_objects_that_are_wrong_are_refused(content: bytes, reason: str) -> None:
    refused(objects, content, reason)


def test_an_array_of_objects_is_a_pickle_in_the_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = b"\x80\x02](cos\nsystem\nI1\nI2\nI3\ne."
    content = wrapper("(I3\nt", "O8", inner)
    header = read(objects, content)
    assert header.facts["imports"] == (
        "os.system, joblib.numpy_pickle.NumpyArrayWrapper, numpy.dtype"
    )
    assert header.tensors == {"array": Tensor("object", 3, (3,))}
    refused(objects, wrapper("(I3\nt", "O8", content), "nested too deep")
    # Its steps count with those around it.
    monkeypatch.setattr("ocimlpack.model.headers.pickles._MAX_STEPS", 25)
    assert "more than 25 steps" in read(objects, content).facts["not followed"]


def test_arrays_of_joblib_are_stepped_over() -> None:
    content = wrapper("(I3\nt", "f4", bytes(12))
    tensor = Tensor("float32", 3, (3,), len(content) - 13, 12)
    assert read(objects, content).tensors == {"array": tensor}


def superblock(version: int = 0, root: int = 96, size: int = 400) -> bytes:
    return (
        hdf5.MAGIC
        + bytes([version, 0, 0, 0, 0, 8, 8, 0])
        + struct.pack("<HHI", 4, 16, 0)
        + struct.pack("<QQQQ", 0, 2**64 - 1, size, 2**64 - 1)
        + struct.pack("<QQII16x", 0, root, 0, 0)
    )


def h5(messages: bytes, number: int = 1) -> bytes:
    """A file whose object at the top has these messages."""
    header = struct.pack("<BxHII4x", 1, number, 1, len(messages))
    return superblock() + header + messages + bytes(400)


def h5_message(kind: int, content: bytes) -> bytes:
    content += bytes(-len(content) % 8)
    return struct.pack("<HHB3x", kind, len(content), 0) + content


FLOAT = struct.pack("<B3BI", 0x11, 0x20, 0x1F, 0, 4) + struct.pack(
    "<HHBBBBI", 0, 32, 23, 8, 0, 23, 127
)


def dataset(shape: tuple[int, ...] = (2, 3), at: int = 200, size: int = 24) -> bytes:
    space = struct.pack(f"<BBBB4x{len(shape)}Q", 1, len(shape), 0, 0, *shape)
    layout = struct.pack("<BBQQ", 3, 1, at, size)
    return h5_message(1, space) + h5_message(3, FLOAT) + h5_message(8, layout)


def objects_of(content: bytes) -> list[hdf5.Object]:
    return list(hdf5.Hdf5(io.BytesIO(content), len(content)).objects())


def test_a_dataset_of_hdf5_has_a_shape_and_a_place() -> None:
    [top] = objects_of(h5(dataset(), 3))
    assert top.tensor == Tensor("float32", 6, (2, 3), 200, 24)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends too early|not in it"),
        (b"x" * 600, "does not begin as an HDF5 file"),
        (h5(dataset(at=10_000), 3), "lies outside the file"),
        (h5(dataset(size=23), 3), "lies outside the file"),
        (h5(dataset(shape=(2**40, 2**40)), 3), "more numbers than can be"),
        (h5(h5_message(1, b"\x01\x20"), 1), "its part '' is damaged"),
        (h5(h5_message(17, struct.pack("<QQ", 8, 8))), "a group's names are damaged"),
        (h5(h5_message(17, struct.pack("<QQ", 2**62, 2**62))), "refers to what is not in it"),
        (h5(h5_message(16, struct.pack("<QQ", 112, 24)), 9), "header is damaged"),
        (h5(h5_message(16, struct.pack("<QQ", 112, 2**40)), 9), "header is damaged"),
        (superblock(root=2**60) + bytes(400), "refers to what is not in it"),
        (superblock(root=500) + bytes(400), "refers to what is not in it"),
    ],
)
def test_hdf5_that_is_wrong_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidContentError, match=reason):
        objects_of(content)


def test_a_group_of_hdf5_that_holds_itself_ends() -> None:
    heap = b"HEAP\0\0\0\0" + struct.pack("<QQQ", 16, 0, 0)
    raw = bytearray(h5(h5_message(17, struct.pack("<QQ", 200, 300))) + bytes(100))
    raw[200:248] = b"TREE\0\0" + struct.pack("<HQQQQQ", 1, 0, 0, 0, 250, 0)
    raw[250:298] = b"SNOD\x01\0" + struct.pack("<HQQ24x", 1, 0, 96)
    raw[300:332] = heap
    assert [each.path for each in objects_of(bytes(raw))] == [""]


def test_newer_forms_of_hdf5_are_not_called_damaged() -> None:
    content = superblock(version=2) + bytes(100)
    with pytest.raises(UnknownFormError, match="superblock is of version 2"):
        read(keras, content)
    assert read_header("m.h5", "keras", io.BytesIO(content), len(content)) is None


CONFIG = {
    "class_name": "Functional",
    "config": {"name": "net", "layers": [{"class_name": "Dense"}, {"class_name": "Lambda"}]},
}


def test_a_keras_archive_without_weights_says_what_it_is() -> None:
    content = zipped(
        {
            "config.json": json.dumps(CONFIG).encode(),
            "metadata.json": b'{"keras_version": "3.1", "date_saved": "today"}',
        }
    )
    header = read(keras, content)
    assert header.tensors == {}
    assert header.fields == {"architecture": "Functional"}
    assert header.facts == {
        "keras.version": "3.1",
        "keras.saved": "today",
        "keras.name": "net",
        "keras.layers": "Dense 1, Lambda 1",
    }


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a": b""}, "no config.json"),
        ({"config.json": b"[]"}, "config.json is not a JSON object"),
        ({"config.json": b"{"}, "config.json is not valid JSON"),
        ({"config.json": b'{"a":' + b"[" * 100_000}, "config.json is not valid JSON"),
        ({"config.json": b"{}" + b" " * 5_000_000}, "no more than 4,194,304 are read"),
        ({"config.json": b"{}", "metadata.json": b"1"}, "no config.json|not a JSON object"),
        ({"config.json": b'{"a":1}', "model.weights.h5": b"x" * 99}, "does not begin as an HDF5"),
    ],
)
def test_keras_archives_that_are_wrong_are_refused(files: dict[str, bytes], reason: str) -> None:
    refused(keras, zipped(files), reason)
    if "model.weights.h5" not in files:
        refused(keras, zipped(files, zipfile.ZIP_DEFLATED), reason)


def lite(tensors: list[Any], buffers: list[Any], behind: bytes = b"") -> bytes:
    return flatbuffer.build(
        {0: ("<I", 3), 2: [{0: tensors}], 3: "a test", 4: buffers}, behind=behind
    )


WEIGHT = {0: [2, 3], 1: ("<b", 9), 2: ("<I", 1), 3: "w"}
FLOWING = {0: [1, 3], 2: ("<I", 0), 3: "input"}
BUFFERS = [{}, {0: b"abcdef"}]


def test_tensorflow_lite_says_which_tensors_have_data() -> None:
    content = lite([WEIGHT, FLOWING, {**WEIGHT, 1: ("<b", 5)}], BUFFERS)
    header = read(tflite, content)
    start = content.index(b"abcdef")
    assert header.tensors == {
        "w": Tensor("int8", 6, (2, 3), start, 6),
        "w#1": Tensor("string", 6, (2, 3)),
    }
    assert header.facts == {
        "tflite.version": "3",
        "tflite.description": "a test",
        "tflite.graphs": "1",
    }


def test_tensorflow_lite_with_data_behind_the_flatbuffer_is_read() -> None:
    content = lite([WEIGHT], [{}, {1: ("<Q", 1000), 2: ("<Q", 6)}])
    content += bytes(1000 - len(content)) + b"abcdef"
    assert read(tflite, content).tensors["w"] == Tensor("int8", 6, (2, 3), 1000, 6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "refers to what is not in it"),
        (b"\0\0\0\0TFL4", "does not begin as a TensorFlow Lite"),
        (b"\xff\xff\xff\xffTFL3", "refers to what is not in it"),
        (lite([{**WEIGHT, 2: ("<I", 7)}], BUFFERS), "in a buffer that is not there"),
        (lite([{**WEIGHT, 0: [-2, 3]}], BUFFERS), "more numbers than can be"),
        (lite([{**WEIGHT, 0: [2**31 - 1] * 3}], BUFFERS), "more numbers than can be"),
        (lite([{**WEIGHT, 0: [1] * 65}], BUFFERS), "has 65 dimensions"),
        (lite([WEIGHT], [{}, {1: ("<Q", 2**60), 2: ("<Q", 6)}]), "ends before its last tensor"),
    ],
)
def test_tensorflow_lite_that_is_wrong_is_refused(content: bytes, reason: str) -> None:
    refused(tflite, content, reason)


def test_tensorflow_lite_cut_anywhere_is_refused_or_complete() -> None:
    content = lite([WEIGHT], BUFFERS)
    for length in range(len(content) - 1):
        try:
            read(tflite, content[:length])
        except InvalidContentError:
            continue
        assert length > content.index(b"abcdef")


def text_field(number: int, content: str) -> bytes:
    return message(number, content.encode())


def graph() -> bytes:
    info = text_field(4, "serve") + text_field(5, "2.21.0")
    tensor = text_field(1, "x:0") + varint(2 << 3) + varint(1)
    inputs = message(1, text_field(1, "x") + message(2, tensor))
    outputs = message(2, text_field(1, "y") + message(2, tensor))
    signature = text_field(1, "serving_default") + message(2, inputs + outputs)
    return message(1, info) + message(2, bytes(5000)) + message(5, signature)


def test_a_saved_model_says_its_tags_its_version_and_its_signatures() -> None:
    header = read(saved_model, varint(1 << 3) + varint(1) + message(2, graph()))
    assert header.facts == {
        "tensorflow.version": "2.21.0",
        "tensorflow.tags": "serve",
        "signature.serving_default": "x -> y",
    }
    refused(saved_model, b"", "no graph")
    refused(saved_model, b"\x08\x01", "no graph")
    refused(saved_model, message(2, graph())[:-5], "longer than what it is in")


def entries(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """A block of a sorted table, each key whole but for what it shares with the one before."""
    raw, last = b"", b""
    for key, value in pairs:
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        raw += varint(shared) + varint(len(key) - shared) + varint(len(value))
        raw += key[shared:] + value
        last = key
    return raw + struct.pack("<II", 0, 1)


def variable(kind: int, *shape: int) -> bytes:
    dims = b"".join(message(2, varint(1 << 3) + varint(each)) for each in shape)
    return varint(1 << 3) + varint(kind) + message(2, dims)


def index(pairs: list[tuple[bytes, bytes]], kind: bytes = b"\0") -> bytes:
    data = entries(pairs)
    handle = varint(0) + varint(len(data))
    block = entries([(b"~", handle)])
    footer = varint(0) + varint(0) + varint(len(data) + 5) + varint(len(block))
    raw = data + kind + bytes(4) + block + b"\0" + bytes(4)
    return raw + footer + bytes(40 - len(footer)) + struct.pack("<Q", 0xDB4775248B80FB57)


VARIABLES = [
    (b"", b"\x08\x01"),
    (b"_CHECKPOINTABLE_OBJECT_GRAPH", variable(7)),
    (b"layer/bias/.ATTRIBUTES/VARIABLE_VALUE", variable(1, 4)),
    (b"layer/kernel/.ATTRIBUTES/VARIABLE_VALUE", variable(1, 3, 4)),
    (b"layer/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE", variable(1, 3, 4)),
    (b"save_counter/.ATTRIBUTES/VARIABLE_VALUE", variable(9)),
]


def test_the_index_of_variables_says_their_shapes() -> None:
    header = read(saved_model, index(VARIABLES))
    assert header.tensors == {
        "layer/bias/.ATTRIBUTES/VARIABLE_VALUE": Tensor("float32", 4, (4,)),
        "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE": Tensor("float32", 12, (3, 4)),
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (index([(b"a", variable(1, 2**40, 2**40))]), "more numbers than can be"),
        (index(VARIABLES, kind=b"\1"), "index is compressed"),
        (b"\xff" * 40 + index([])[-8:], "index is damaged"),
        (varint(2**40) * 6 + index([])[-20:], "index is damaged"),
    ],
)
def test_an_index_that_is_wrong_is_refused(content: bytes, reason: str) -> None:
    refused(saved_model, content.rjust(48, b"\xff"), reason)


def test_tensors_are_bounded_in_number_and_in_the_length_of_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Tensor("float32", 1)
    tensors = Tensors()
    for name in ("a", "", "a"):
        tensors.add(name, one)
    assert list(tensors) == ["a", "#1", "a#2"]
    with pytest.raises(InvalidContentError, match="more than 100,000 tensors, or names of"):
        tensors.add("x" * 20_000_000, one)
    monkeypatch.setattr("ocimlpack.model.headers.MAX_TENSORS", 3)
    with pytest.raises(InvalidContentError, match="more than 3 tensors"):
        tensors.add("b", one)


def test_names_that_begin_alike_do_not_fill_memory() -> None:
    value = variable(1, 4)
    first = varint(0) + varint(4000) + varint(len(value)) + b"x" * 4000 + value
    more = b"".join(
        varint(4000) + varint(5) + varint(len(value)) + b"%05d" % n + value for n in range(5000)
    )
    data = first + more + struct.pack("<II", 0, 1)
    block = entries([(b"~", varint(0) + varint(len(data)))])
    footer = varint(0) + varint(0) + varint(len(data) + 5) + varint(len(block))
    content = data + bytes(5) + block + bytes(5) + footer + bytes(40 - len(footer))
    tracemalloc.start()
    try:
        refused(saved_model, content + index([])[-8:], "names of more than 16,777,216 characters")
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_files_that_begin_as_something_else_have_no_header() -> None:
    for format in ("pt", "pickle", "joblib", "numpy", "keras"):
        for content in (b"", b"plain text", b"\x7fELF" + bytes(100)):
            assert read_header("x", format, io.BytesIO(content), len(content)) is None


def test_only_some_files_of_a_format_have_a_header() -> None:
    assert has_header("a/saved_model.pb", "tensorflow")
    assert has_header("a/variables/variables.index", "tensorflow")
    assert not has_header("a/variables/variables.data-00000-of-00001", "tensorflow")
    assert not has_header("model.onnx_data", "onnx")
    assert not has_header("a.mlmodel", "coreml")
    assert not has_header("a", None)
    assert set(READERS) == {
        "safetensors",
        "gguf",
        "onnx",
        "pt",
        "pickle",
        "joblib",
        "numpy",
        "keras",
        "tensorflow",
        "tflite",
    }
