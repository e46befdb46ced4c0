"""Every reader of headers on small files that are cut short and have bits turned."""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Mapping

import pytest
from hypothesis import given

from ocimlpack.model.headers.table import READERS
from tests.model import test_other_headers as others
from tests.model import torch_files, weights
from tests.model.damage import Damage, check, damages, often

STATE = torch_files.dictionary(
    {"w": torch_files.tensor("0", (3, 4)), "h": torch_files.tensor("1", (10,), "Half")}
)
TORCH = torch_files.checkpoint(STATE, {"0": bytes(48), "1": bytes(20)})
SEEDS: Mapping[str, tuple[str, str, bytes]] = {
    "safetensors": (
        "m.safetensors",
        "safetensors",
        weights.safetensors({"a": ("BF16", (2, 3)), "b": ("F32", ()), "c": ("U8", (0, 4))}),
    ),
    "gguf": (
        "m.gguf",
        "gguf",
        weights.gguf(
            {"general.architecture": "llama", "general.file_type": 15, "t": ["a", "b"]},
            [("a", 12, (256, 4)), ("b", 0, (3,))],
        ),
    ),
    "onnx": (
        "m.onnx",
        "onnx",
        weights.onnx(
            weights.initializer("w", 1, (3, 4)),
            weights.initializer("x", 10, (2, 2), packed=True),
            weights.initializer("y", 1, (2, 2), location="more.data"),
        ),
    ),
    "pt": ("m.pt", "pt", TORCH[0 : len(TORCH)]),
    "legacy pt": (
        "m.pt",
        "pt",
        torch_files.legacy(
            torch_files.dictionary({"w": torch_files.tensor("0", (3, 4), legacy=True)}),
            {"0": ("Float", 12)},
        ),
    ),
    "pickle": ("m.pkl", "pickle", pickle.dumps(others.Estimator())),
    "joblib": ("m.joblib", "joblib", others.wrapper("(I3\nt", "f4", bytes(12))),
    "packed joblib": ("m.joblib", "joblib", zlib.compress(others.PICKLE)),
    "npy": ("m.npy", "numpy", others.array(others.FLOATS, bytes(48))),
    "npz": ("m.npz", "numpy", others.zipped({"a.npy": others.array(others.FLOATS, bytes(48))})),
    "h5": ("m.h5", "keras", others.h5(others.dataset(), 3)),
    "keras": (
        "m.keras",
        "keras",
        others.zipped(
            {
                "metadata.json": b'{"keras_version": "3.1"}',
                "config.json": json.dumps(others.CONFIG).encode(),
                "model.weights.h5": others.h5(others.dataset(), 3),
            }
        ),
    ),
    "tflite": ("m.tflite", "tflite", others.lite([others.WEIGHT], others.BUFFERS)),
    "saved model": ("saved_model.pb", "tensorflow", weights.message(2, others.graph())),
    "variables": ("variables.index", "tensorflow", others.index(others.VARIABLES)),
}


def test_every_reader_is_tried() -> None:
    assert {format for _, format, _ in SEEDS.values()} == set(READERS)


@pytest.mark.parametrize("seed", SEEDS)
@often(40)
@given(damage=damages)
def test_a_damaged_file_is_read_or_refused(seed: str, damage: Damage) -> None:
    path, format, content = SEEDS[seed]
    check(path, format, damage.do(content))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_file_cut_anywhere_is_read_or_refused(seed: str) -> None:
    path, format, content = SEEDS[seed]
    for length in range(0, len(content), max(1, len(content) // 100)):
        check(path, format, content[:length])
