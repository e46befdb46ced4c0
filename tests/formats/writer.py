"""Writes models with the formats' own libraries, and prints as JSON what these say of them.

It runs in a process of its own: some of the libraries warn when they are imported, all are slow to
import, and Keras's NumPy backend wants jax, of which it uses nothing here.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import math
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

VOCABULARY = 150_000


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules of jax that can do nothing."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in {"jax", "jaxlib"}:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__version__ = [], spec, "0.0.0"
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


def write_keras(folder: Path) -> dict[str, Any]:
    os.environ["KERAS_BACKEND"] = "numpy"
    sys.meta_path.insert(0, StandIns())
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10),
        ],
        name="digits",
    )
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    model.save(folder / "digits.keras")
    model.save(folder / "digits.h5")
    said = {
        "parameters": model.count_params(),
        "shapes": sorted(list(each.shape) for each in model.weights),
        "version": keras.__version__,
        "first": model.weights[0].numpy().tobytes().hex(),
    }
    return {"digits.keras": said, "digits.h5": said}


def write_sklearn(folder: Path) -> dict[str, Any]:
    import joblib
    import numpy as np
    import sklearn
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chance = np.random.default_rng(1)
    x, y = chance.random((300, 12)), chance.integers(0, 3, 300)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    forest = RandomForestClassifier(n_estimators=10).fit(x, np.array(["a", "b", "c"])[y])
    files = {}
    for name, options in (
        ("plain.joblib", {}),
        ("zlib.joblib", {"compress": 3}),
        ("gzip.joblib", {"compress": ("gzip", 3)}),
        ("bz2.joblib", {"compress": ("bz2", 3)}),
        ("xz.joblib", {"compress": ("xz", 3)}),
        ("lzma.joblib", {"compress": ("lzma", 3)}),
    ):
        joblib.dump(model, folder / name, **options)
        files[name] = model
    for protocol in (2, 4, 5):
        (folder / f"{protocol}.pkl").write_bytes(pickle.dumps(model, protocol))
        files[f"{protocol}.pkl"] = model
    joblib.dump(forest, folder / "forest.joblib")
    scaler, regression = model[0], model[1]
    learned = [scaler.mean_, scaler.var_, scaler.scale_, regression.coef_, regression.intercept_]
    said = {
        "parameters": sum(each.size for each in learned),
        "coef": list(regression.coef_.shape),
        "coef_bytes": regression.coef_.tobytes("A").hex(),  # as it lies in memory
        "version": sklearn.__version__,
    }
    return dict.fromkeys(files, said) | {
        "forest.joblib": {"version": sklearn.__version__, "trees": len(forest.estimators_)}
    }


def write_numpy(folder: Path) -> dict[str, Any]:
    import numpy as np

    arrays: dict[str, Any] = {
        "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "turned": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "half": np.zeros((2, 2), dtype=np.float16),
        "scalar": np.array(1.5),
        "flags": np.array([True, False]),
        "large": np.zeros(70, dtype=[(f"field_{n}", "<f4") for n in range(30)]),
    }
    np.savez(folder / "arrays.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays)
    np.save(folder / "one.npy", arrays["weight"])
    said = {name: [each.dtype.name, each.size, list(each.shape)] for name, each in arrays.items()}
    return {"arrays.npz": said, "packed.npz": said, "one.npy": {"array": said["weight"]}}


def write_gguf(folder: Path) -> dict[str, Any]:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(folder / "vocabulary.gguf", "llama")
    writer.add_name("Tiny")
    writer.add_context_length(4096)
    writer.add_head_count(8)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token-{n}" for n in range(VOCABULARY)])
    writer.add_token_scores([0.5] * VOCABULARY)
    writer.add_token_types([1] * VOCABULARY)
    writer.add_token_merges([f"a{n} b{n}" for n in range(VOCABULARY)])
    tensors: dict[str, Any] = {
        "token_embd.weight": np.ones((64, 96), dtype=np.float16),
        "output_norm.weight": np.full(96, 0.25, dtype=np.float32),
    }
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    packed = gguf.quantize(np.ones((32, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("ffn.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    sizes = {
        int(kind): list(size)
        for kind, size in gguf.GGML_QUANT_SIZES.items()
        if kind.name != "Q8_1"  # never in a file; the library and ggml differ on it
    }
    names = {int(kind): kind.name.lower() for kind in gguf.GGMLQuantizationType}
    mixes = {int(kind): kind.name.removeprefix("MOSTLY_") for kind in gguf.LlamaFileType}
    return {
        "vocabulary.gguf": {
            "norm": tensors["output_norm.weight"].tobytes().hex(),
            "packed": packed.tobytes().hex(),
            "sizes": sizes,
            "names": names,
            "mixes": mixes,
        }
    }


def read_onnx(models: Path) -> dict[str, Any]:
    import onnx

    def graphs(graph: Any) -> Iterator[Any]:
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from graphs(attribute.g)

    said = {}
    for path in sorted(models.glob("*.onnx")):
        model = onnx.load(path)
        tensors = [each for graph in graphs(model.graph) for each in graph.initializer]
        tensors += [
            attribute.t
            for graph in graphs(model.graph)
            for node in graph.node
            if node.op_type == "Constant"
            for attribute in node.attribute
            if attribute.HasField("t") and attribute.t.data_type == 1 and attribute.t.dims
        ]
        said[path.name] = {
            "parameters": sum(math.prod(each.dims) for each in tensors),
            "shapes": sorted(list(each.dims) for each in tensors),
            "opset": model.opset_import[0].version,
            "ir": model.ir_version,
            "producer": model.producer_name,
            "data": sorted(each.raw_data.hex()[:64] for each in tensors),
        }
    return said


def read_safetensors(paths: list[Path]) -> dict[str, Any]:
    from safetensors import safe_open

    said = {}
    for path in paths:
        with safe_open(path, "np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
            said[path.name] = {
                name: [each.get_dtype(), list(each.get_shape())] for name, each in slices.items()
            }
    return said


def main() -> None:
    folder, models, demo = map(Path, sys.argv[1:])
    said: dict[str, Any] = {}
    for write in (write_keras, write_sklearn, write_numpy, write_gguf):
        said |= write(folder)
    said |= read_onnx(models)
    said |= read_safetensors([models / "silero_vad_16k.safetensors", demo / "model.safetensors"])
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
