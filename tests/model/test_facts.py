from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model import facts
from ocimlpack.model.config import FORMS
from ocimlpack.model.headers import Header
from ocimlpack.model.options import Options
from ocimlpack.model.pack import pack
from tests.model.weights import gguf, initializer, message, onnx, safetensors, varint, write

ROOT = Path(__file__).parents[2]
SCHEMA: Any = json.loads((ROOT / "manifests/schema/annotations.schema.json").read_text("utf-8"))
CONFIG = {
    "architectures": ["LlamaForCausalLM", 7],
    "model_type": "llama",
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "transformers_version": "4.57.1",
}
CARD = """---
pipeline_tag: text-generation
library_name: transformers
base_model: [org/one, org/two]
---
"""


def written(folder: Path, options: Options | None = None) -> dict[str, str]:
    found = dict(pack(folder, options or Options()).manifest.annotations)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found


def test_everything_that_is_known_is_written(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "model.safetensors": safetensors({"a": ("F32", (100,)), "b": ("F32", (2, 10))}),
            "config.json": json.dumps(CONFIG),
            "README.md": CARD,
        },
    )
    assert written(tmp_path, Options(name="tiny")) == {
        "ocimlpack.architectures": "LlamaForCausalLM",
        "ocimlpack.parameters": "120",
        "ocimlpack.tensors": "2",
        "ocimlpack.contextLength": "4096",
        "ocimlpack.frameworks": "transformers 4.57.1",
        "ocimlpack.task": "text-generation",
        "ocimlpack.library": "transformers",
        "ocimlpack.baseModel": "org/one, org/two",
        "ocimlpack.found": "family,format,paramSize,precision,architectures,parameters,tensors,"
        "contextLength,frameworks,task,library,baseModel",
        "ocimlpack.given": "name",
        "ocimlpack.guessed": "architecture,inputTypes,outputTypes",
    }


def test_a_gguf_says_how_much_it_takes(tmp_path: Path) -> None:
    pairs = {"general.architecture": "llama", "llama.context_length": 2048}
    write(tmp_path, {"m.gguf": gguf(pairs, [("x", 0, (64,))])})
    found = written(tmp_path)
    assert found["ocimlpack.contextLength"] == "2048"
    assert found["ocimlpack.parameters"] == "64"


def test_an_onnx_says_its_operators_and_who_wrote_it(tmp_path: Path) -> None:
    raw = onnx(initializer("w", 1, [8, 8]))
    opset = message(8, varint(2 << 3) + varint(17))
    write(tmp_path, {"m.onnx": raw + opset + message(3, b"1.2")})
    found = written(tmp_path)
    assert found["ocimlpack.opset"] == "17"
    assert found["ocimlpack.frameworks"] == "exporter 1.2"


def test_a_format_that_only_the_name_tells_is_a_guess(tmp_path: Path) -> None:
    write(tmp_path, {"model.mlmodel": "weights"})
    assert written(tmp_path) == {"ocimlpack.guessed": "format"}


def test_what_is_given_wins_and_is_marked(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "model.safetensors": safetensors({"a": ("F32", (100,))}),
            "model.yaml": "paramSize: 7B\narchitecture: cnn\nannotations: {ocimlpack.task: mine}\n",
        },
    )
    assert written(tmp_path) == {
        "ocimlpack.parameters": "100",
        "ocimlpack.tensors": "1",
        "ocimlpack.task": "mine",
        "ocimlpack.found": "format,precision,parameters,tensors",
        "ocimlpack.given": "architecture,paramSize,task",
    }


@pytest.mark.parametrize(
    "key", ["ocimlpack.found", "ocimlpack.untagged", "ocimlpack.", "ocimlpack.x"]
)
def test_others_of_the_domain_cant_be_given(tmp_path: Path, key: str) -> None:
    write(tmp_path, {"a.bin": "x"})
    with pytest.raises(InputError, match="in the domain of this program"):
        pack(tmp_path, Options(annotations={key: "1"}))


def test_a_custom_artifact_has_none(tmp_path: Path) -> None:
    write(tmp_path / "m", {"model.safetensors": safetensors({"a": ("F32", (100,))})})
    write(tmp_path, {"c.json": "{}"})
    options = Options(config=f"{tmp_path / 'c.json'}:application/vnd.example.v1+json")
    assert written(tmp_path / "m", options) == {}


@pytest.mark.parametrize(
    ("facts_", "kept"),
    [
        ({"opset": " 17 \n", "tensors": 3}, {"opset": "17", "tensors": "3"}),
        ({"task": "a\x1bb", "library": "x" * 1001, "opset": ""}, {}),
        ({"tensors": 0, "parameters": True, "contextLength": -1, "other": "x"}, {}),
        ({"contextLength": 10**4000}, {}),
        ({"task": ["x"], "library": None, "baseModel": 1.5}, {}),
    ],
)
def test_what_a_stranger_wrote_may_be_anything(
    facts_: dict[str, object], kept: dict[str, str]
) -> None:
    assert facts.usable(facts_) == kept


def test_headers_have_to_agree() -> None:
    one, other = Header({}, facts={"opset": "17"}), Header({}, facts={"opset": "18"})
    assert facts.from_headers([one, one]) == {"opset": "17"}
    assert facts.from_headers([one, other]) == {}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("keras.version", "keras 3.1"),
        ("tensorflow.version", "tensorflow 3.1"),
        ("sklearn.version", "scikit-learn 3.1"),
    ],
)
def test_files_name_the_framework_that_wrote_them(key: str, said: str) -> None:
    assert facts.from_headers([Header({}, facts={key: "3.1"})]) == {"frameworks": said}


def test_a_class_that_the_file_names_is_found(tmp_path: Path) -> None:
    estimator = b"csklearn.linear_model\nRidge\n(tR}(X\x10\0\0\0_sklearn_versionX\x03\0\0\x001.6ub."
    write(tmp_path, {"model.pkl": b"\x80\x02" + estimator})
    found = written(tmp_path)
    assert "architecture" in found["ocimlpack.found"].split(",")
    assert found["ocimlpack.frameworks"] == "scikit-learn 1.6"


def test_a_config_of_another_form_says_nothing() -> None:
    assert facts.from_config(b'{"architectures": "x", "text_config": [], "n_ctx": "8"}') == {}
    assert facts.from_config(b'{"text_config": {"n_positions": 8}}') == {"contextLength": 8}
    with pytest.raises(InvalidContentError):
        facts.from_config(b"[]")


def test_annotations_of_others_say_nothing_of_origins() -> None:
    said = {"ocimlpack.found": "name,nonsense,,tensors", "ocimlpack.tensors": "1", "x": "y"}
    assert facts.origins_in(said) == {"name": "found", "tensors": "found"}
    assert facts.facts_in(said) == {"tensors": "1"}
    assert facts.others_in(said) == {"x": "y"}
    assert facts.origins_in({}) == {}


def test_schema_documentation_and_code_know_the_same_names() -> None:
    named = {f"ocimlpack.{name}" for name in (*facts.FACTS, *facts.ORIGINS)}
    assert {key for key in SCHEMA["properties"] if key.startswith("ocimlpack.")} == named
    text = (ROOT / "docs/format.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(ocimlpack\.\w+)`", text, re.MULTILINE)) >= named


def test_the_schema_takes_no_others() -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid({"org.example.a": "", "ocimlpack.tensors": "3"})
    for wrong in (
        {"ocimlpack.tensors": "three"},
        {"ocimlpack.x": "1"},
        {"ocimlpack.found": "name;format"},
        {"ocimlpack.found": "nonsense"},
        {"org.example.a": 1},
    ):
        assert not validator.is_valid(wrong), wrong
    every = ",".join((*FORMS, *facts.FACTS))
    assert validator.is_valid(dict.fromkeys((f"ocimlpack.{each}" for each in facts.ORIGINS), every))
