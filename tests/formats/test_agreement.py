"""What we read of real files is what the formats' own libraries say of them."""

from __future__ import annotations

import math
import time
import tracemalloc
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.model import parameters
from ocimlpack.model.formats import classify
from ocimlpack.model.headers import Header, Tensor, ggml
from ocimlpack.model.headers import parameters as counted
from ocimlpack.model.headers.safetensors import _TYPES as SAFETENSORS
from ocimlpack.model.headers.table import read_header
from tests.formats.conftest import Written

PIPELINES = [
    *(f"{kind}.joblib" for kind in ("plain", "zlib", "gzip", "bz2", "xz", "lzma")),
    *(f"{protocol}.pkl" for protocol in (2, 4, 5)),
]
REAL = [
    "model.safetensors",
    "silero_vad_16k.safetensors",
    "silero_vad.onnx",
    "silero_vad.jit",
    "magika.onnx",
    "pitch.onnx",
    "pitch.tflite",
    "saved_model.pb",
    "variables.index",
    "vocabulary.gguf",
    "digits.keras",
    "digits.h5",
    "forest.joblib",
    *PIPELINES,
]


def read(path: Path) -> Header:
    with path.open("rb") as stream:
        format = classify(path.name, stream.read(4096)).format
        stream.seek(0)
        header = read_header(path.name, format, stream, path.stat().st_size)
    assert header is not None
    return header


def total(header: Header) -> int:
    return sum(each.count for each in counted(header))


def data(path: Path, tensor: Tensor) -> bytes:
    assert tensor.start is not None
    assert tensor.size is not None
    return path.read_bytes()[tensor.start : tensor.start + tensor.size]


@pytest.mark.parametrize("name", REAL)
def test_a_header_is_read_in_little_memory_and_at_once(name: str, written: Written) -> None:
    path = written.path(name)
    began = time.perf_counter()
    read(path)
    seconds = time.perf_counter() - began
    tracemalloc.start()
    try:
        read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50 * 2**20
    assert seconds < 5  # less than 50 ms on an idle machine; this only stops a blow-up


@pytest.mark.parametrize("name", ["model.safetensors", "silero_vad_16k.safetensors"])
def test_safetensors(name: str, written: Written) -> None:
    header = read(written.path(name))
    said = written.said[name]
    assert {key: [each.type, list(each.shape)] for key, each in header.tensors.items()} == {
        key: [SAFETENSORS[kind][0], shape] for key, (kind, shape) in said.items()
    }
    assert total(header) == sum(math.prod(shape) for _, shape in said.values())


@pytest.mark.parametrize("name", ["silero_vad.onnx", "magika.onnx", "pitch.onnx"])
def test_onnx(name: str, written: Written) -> None:
    path = written.path(name)
    header, said = read(path), written.said[name]
    assert total(header) == said["parameters"]
    assert sorted(list(each.shape) for each in header.tensors.values()) == said["shapes"]
    assert header.facts["opset"].split(",")[0] == str(said["opset"])
    assert header.facts["ir_version"] == str(said["ir"])
    assert header.facts["producer"] == said["producer"]
    raw = path.read_bytes()
    begins = [
        raw[each.start : (each.start or 0) + min(each.size or 0, 32)].hex()
        for each in header.tensors.values()
    ]
    assert sorted(begins) == said["data"]


def test_torchscript_has_the_numbers_that_its_other_forms_have(written: Written) -> None:
    path = written.path("silero_vad.jit")
    header = read(path)
    assert total(header) == written.said["silero_vad.onnx"]["parameters"]
    other = written.path("silero_vad_16k.safetensors")
    weights = read(other)
    half = {name: each for name, each in header.tensors.items() if name.startswith("_model.")}
    assert sum(each.count for each in half.values()) == total(weights)
    assert {each.type for each in half.values()} == {"float32"}
    # The same networks, exported twice: the weights are the same bytes.
    begins = [data(path, each)[:32].hex() for each in header.tensors.values() if each.count]
    assert sorted(begins) == written.said["silero_vad.onnx"]["data"]


def test_tensorflow_s_forms_of_one_model_agree(written: Written) -> None:
    variables = read(written.path("variables.index"))
    assert total(variables) == 16_864
    exported = read(written.path("pitch.onnx"))
    kernels = [each.shape for each in variables.tensors.values() if len(each.shape) == 4]
    shapes = {each.shape for each in exported.tensors.values()}
    # ONNX has channels first, and the kernel's height and width last.
    assert len(kernels) == 6
    assert {(to, of, high, wide) for high, wide, of, to in kernels} <= shapes
    lite = read(written.path("pitch.tflite"))
    assert {each.type for each in lite.tensors.values()} == {"float32", "int32"}
    same = {(to, high, wide, of) for high, wide, of, to in kernels}
    assert same <= {each.shape for each in lite.tensors.values()}
    assert read(written.path("saved_model.pb")).facts == {
        "tensorflow.version": "2.4.1",
        "tensorflow.tags": "serve",
        "signature.__saved_model_init_op": " -> __saved_model_init_op",
        "signature.serving_default": "input_2 -> contour, note, onset",
    }


def test_gguf(written: Written) -> None:
    path = written.path("vocabulary.gguf")
    header, said = read(path), written.said["vocabulary.gguf"]
    assert {name: (each.type, each.shape) for name, each in header.tensors.items()} == {
        "token_embd.weight": ("float16", (64, 96)),
        "output_norm.weight": ("float32", (96,)),
        "ffn.weight": ("q8_0", (32, 64)),
    }
    assert data(path, header.tensors["output_norm.weight"]).hex() == said["norm"]
    assert data(path, header.tensors["ffn.weight"]).hex() == said["packed"]
    assert header.fields == {
        "name": "Tiny",
        "family": "llama",
        "quantization": "Q8_0",
        "architecture": "transformer",
    }
    assert header.facts["llama.context_length"] == "4096"
    assert header.facts["tokenizer.ggml.tokens"] == "150,000 values"


def test_ggml_s_types_are_those_of_its_own_library(written: Written) -> None:
    said = written.said["vocabulary.gguf"]
    known = {**ggml.PLAIN, **ggml.QUANTIZED}
    sizes = {int(kind): tuple(size) for kind, size in said["sizes"].items()}
    assert {kind: (each.block, each.size) for kind, each in known.items()} == sizes
    names = {int(kind): name for kind, name in said["names"].items()}
    assert {kind: each.name for kind, each in ggml.QUANTIZED.items()} == {
        kind: names[kind] for kind in ggml.QUANTIZED
    }
    mixes = {int(kind): name for kind, name in said["mixes"].items()}
    plain = {0, 1, 32, 1024}
    assert {kind: name for kind, name in mixes.items() if kind not in plain} == ggml.MIXES


@pytest.mark.parametrize("name", ["digits.keras", "digits.h5"])
def test_keras(name: str, written: Written) -> None:
    path = written.path(name)
    header, said = read(path), written.said[name]
    assert total(header) == said["parameters"]
    assert sorted(list(each.shape) for each in header.tensors.values()) == said["shapes"]
    assert {each.type for each in header.tensors.values()} == {"float32"}
    assert header.fields == {"architecture": "Sequential"}
    assert header.facts["keras.version"] == said["version"]
    assert header.facts["keras.name"] == "digits"
    assert header.facts["keras.layers"].startswith("InputLayer 1, Conv2D 1, BatchNormalization 1")
    first = next(each for each in header.tensors.values() if each.shape == (3, 3, 1, 8))
    assert data(path, first).hex() == said["first"]


@pytest.mark.parametrize("name", PIPELINES)
def test_scikit_learn(name: str, written: Written) -> None:
    path = written.path(name)
    header, said = read(path), written.said[name]
    counts = parameters.count({name: header}, "joblib")
    assert counts == {"float64": said["parameters"]}
    assert header.fields == {"architecture": "Pipeline"}
    assert header.facts["sklearn.version"] == said["version"]
    assert "sklearn.linear_model._logistic.LogisticRegression" in header.facts["classes"]
    coef = header.tensors["steps.1.1.coef_"]
    assert [coef.type, list(coef.shape)] == ["float64", said["coef"]]
    if name == "plain.joblib":
        assert data(path, coef).hex() == said["coef_bytes"]
    else:
        assert coef.start is None  # compressed, or short enough to be kept in the pickle


def test_a_forest_of_scikit_learn(written: Written) -> None:
    header, said = read(written.path("forest.joblib")), written.said["forest.joblib"]
    assert header.fields == {"architecture": "RandomForestClassifier"}
    assert sum(name.endswith(".tree_.nodes") for name in header.tensors) == said["trees"]


@pytest.mark.parametrize("name", ["arrays.npz", "packed.npz", "one.npy"])
def test_numpy(name: str, written: Written) -> None:
    header = read(written.path(name))
    said = written.said[name]
    found = {key: [each.type, each.count, list(each.shape)] for key, each in header.tensors.items()}
    if "large" in said:
        assert found.pop("large")[1:] == said.pop("large")[1:]
    assert found == said
    placed = {key for key, each in header.tensors.items() if each.start is not None}
    assert placed == (set() if name == "packed.npz" else set(found))


def test_inspect_shows_what_a_folder_of_real_models_is(written: Written, tmp_path: Path) -> None:
    for name, size, precision in (
        ("silero_vad_16k.safetensors", "309.6K", "float32"),
        ("silero_vad.onnx", "545.3K", "float32"),
        ("silero_vad.jit", "545.3K", "float32"),
        ("magika.onnx", "784.5K", "float32,int32,int64"),
        ("pitch.tflite", "35.9K", "float32,int32"),
        ("variables.index", "16.9K", "float32"),
        ("digits.h5", "54.2K", "float32"),
        ("digits.keras", "54.2K", "float32"),
        ("plain.joblib", "0.1K", "float64"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(written.path(name).read_bytes())
        model = ocimlpack.inspect(str(folder)).model
        assert (model["paramSize"], model["precision"]) == (size, precision)
        if name in {"digits.keras", "digits.h5", "plain.joblib"}:
            kind = "Pipeline" if name == "plain.joblib" else "Sequential"
            assert model["architecture"] == kind
    (folder / "m.gguf").write_bytes(written.path("vocabulary.gguf").read_bytes())
    (folder / "plain.joblib").unlink()
    model = ocimlpack.inspect(str(folder)).model
    assert (model["family"], model["paramSize"]) == ("llama", "8.3K")
    assert (model["architecture"], model["quantization"]) == ("transformer", "Q8_0")
