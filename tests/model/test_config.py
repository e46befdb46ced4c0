from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model import card, metadata, metadata_yaml, times
from ocimlpack.model.config import (
    CAPABILITIES,
    DESCRIPTOR,
    FORMS,
    MODEL,
    PRECISIONS,
    Value,
    check,
    encode_config,
    param_size,
    precisions,
)
from ocimlpack.model.licenses import recognise, spell
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.mediatypes import KINDS

ROOT = Path(__file__).parents[2]
CONFIG_SCHEMA: Any = json.loads(
    (ROOT / "manifests/schema/modelpack-config.schema.json").read_text("utf-8")
)
MODEL_SCHEMA: Any = json.loads((ROOT / "manifests/schema/model.schema.json").read_text("utf-8"))

FULL: dict[str, Value] = {
    "languages": ("en",),
    "reward": False,
    "toolUsage": True,
    "reasoning": False,
    "knowledgeCutoff": "2025-06-30T00:00:00Z",
    "outputTypes": ("text",),
    "inputTypes": ("text", "image"),
    "quantization": "awq",
    "precision": "bfloat16",
    "paramSize": "6.7B",
    "format": "safetensors",
    "architecture": "transformer",
    "description": "a <b> & c",
    "title": "Tiny",
    "licenses": ("MIT",),
    "vendor": "V",
    "revision": "1a2b",
    "version": "1.0",
    "datasetsURL": ("https://example.org/d",),
    "sourceURL": "https://example.org/s",
    "docURL": "https://example.org/",
    "name": "tiny",
    "family": "llama",
    "authors": ("A", "B"),
    "createdAt": "2026-01-31T12:00:00Z",
}


def test_the_bytes_are_what_go_writes() -> None:
    digest = Digest.of(b"")
    assert encode_config(FULL, [digest, digest]).decode() == (
        '{"descriptor":{"createdAt":"2026-01-31T12:00:00Z","authors":["A","B"],"family":"llama",'
        '"name":"tiny","docURL":"https://example.org/","sourceURL":"https://example.org/s",'
        '"datasetsURL":["https://example.org/d"],"version":"1.0","revision":"1a2b","vendor":"V",'
        '"licenses":["MIT"],"title":"Tiny","description":"a \\u003cb\\u003e \\u0026 c"},'
        f'"modelfs":{{"type":"layers","diffIds":["{digest}","{digest}"]}},'
        '"config":{"architecture":"transformer","format":"safetensors","paramSize":"6.7B",'
        '"precision":"bfloat16","quantization":"awq","capabilities":{"inputTypes":["text","image"],'
        '"outputTypes":["text"],"knowledgeCutoff":"2025-06-30T00:00:00Z","reasoning":false,'
        '"toolUsage":true,"reward":false,"languages":["en"]}}}'
    )


def test_what_is_not_known_is_not_written() -> None:
    raw = encode_config({"name": "", "authors": (), "languages": ()}, [Digest.of(b"")])
    value = json.loads(raw)
    assert value["descriptor"] == value["config"] == {}


def test_full_and_empty_configs_satisfy_the_schema() -> None:
    for fields in (FULL, {}):
        raw = encode_config(fields, [Digest.of(b"")])
        jsonschema.Draft202012Validator(CONFIG_SCHEMA).validate(json.loads(raw))


def test_the_schema_allows_nothing_else() -> None:
    validator = jsonschema.Draft202012Validator(CONFIG_SCHEMA)
    for part in ("", "descriptor", "config", "modelfs"):
        value = json.loads(encode_config(FULL, [Digest.of(b"")]))
        (value[part] if part else value)["extra"] = "x"
        assert not validator.is_valid(value)
    value["config"]["capabilities"]["extra"] = "x"
    assert not validator.is_valid(value)
    assert not validator.is_valid(json.loads(encode_config(FULL, [])))


def test_schema_and_code_know_the_same_fields() -> None:
    properties = CONFIG_SCHEMA["properties"]
    capabilities = properties["config"]["properties"]["capabilities"]["properties"]
    assert set(properties["descriptor"]["properties"]) == set(DESCRIPTOR)
    assert set(properties["config"]["properties"]) == {*MODEL, "capabilities"}
    assert set(capabilities) == set(CAPABILITIES)
    assert set(MODEL_SCHEMA["properties"]) == set(metadata_yaml.KEYS)
    assert set(MODEL_SCHEMA["properties"]["capabilities"]["properties"]) == set(CAPABILITIES)
    assert set(MODEL_SCHEMA["properties"]["files"]["properties"]) == set(KINDS)
    assert len(FORMS) == len(DESCRIPTOR) + len(MODEL) + len(CAPABILITIES)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, None),
        (49, None),
        (50, "0.1K"),
        (999, "1K"),
        (1_000, "1K"),
        (1_049, "1K"),
        (1_050, "1.1K"),
        (77_910, "77.9K"),
        (999_949, "999.9K"),
        (999_950, "1M"),
        (22_713_728, "22.7M"),
        (6_738_415_616, "6.7B"),
        (7_000_000_000, "7B"),
        (999_999_999_999, "1T"),
        (1_000_000_000_000, "1T"),
        (12_345_000_000_000_000, "12345T"),
    ],
)
def test_numbers_of_parameters_are_rounded_to_one_decimal(count: int, text: str | None) -> None:
    assert param_size(count) == text
    if text:
        assert check("paramSize", text) == text


def test_precisions_come_by_their_share() -> None:
    assert precisions({"int64": 512, "float32": 22_713_216}) == "float32,int64"
    assert precisions({"float32": 5, "bfloat16": 5}) == "bfloat16,float32"
    assert precisions({"f4": 100, "float16": 1}) == "float16"
    assert precisions({"f4": 100, "float32": 0}) is None
    assert precisions({}) is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("name", "", "name is empty"),
        ("name", "  ", "name is empty"),
        ("name", "a\0b", "control character"),
        ("name", "a\x1b[31m", "control character"),
        ("name", "\ud800", "control character"),
        ("name", True, "name is a text"),
        ("name", ("a",), "name is a text"),
        ("authors", "a", "authors is a list of texts"),
        ("authors", ("",), "authors is empty"),
        ("reasoning", "yes", "reasoning is true or false"),
        ("inputTypes", ("smell",), "it takes text, image, audio, video, embedding, other"),
        ("languages", ("eng",), "two-letter codes"),
        ("languages", ("EN",), "two-letter codes"),
        ("paramSize", "7", "like 6.7B"),
        ("paramSize", "7.25B", "like 6.7B"),
        ("paramSize", "7G", "like 6.7B"),
        ("knowledgeCutoff", "2025-06", "knowledgeCutoff is not a time"),
    ],
)
def test_values_that_a_field_does_not_take_are_refused(
    name: str, value: Value, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        check(name, value)


def test_lists_name_everything_once() -> None:
    assert check("languages", ("en", "de", "en")) == ("en", "de")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00Z"),
        ("2026-01-31 12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31T12:00:00-00:30", "2026-01-31T12:30:00Z"),
        ("2026-01-31T12:00:00.120Z", "2026-01-31T12:00:00.12Z"),
        ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456789Z"),
        ("0999-01-01T00:00:00Z", "0999-01-01T00:00:00Z"),
    ],
)
def test_times_have_one_spelling(text: str, written: str) -> None:
    assert times.parse(text, "time") == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:01Z",
        "2026-01-31T12:00:60Z",
        "2026-01-31T12:00:00+25:00",
        "2026-01-31T12:00:00+02:60",
        "2026-01-31T12:00:00+0200",
        "2026-01-31T12:00:00.1234567890Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-01-31T12:00:00Z\n",
        "२०२६-01-31T12:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a time"):
        times.parse(text, "the time")


@pytest.mark.parametrize(
    ("created", "epoch", "written"),
    [
        (None, None, None),
        (None, "", None),
        (None, "0", "1970-01-01T00:00:00Z"),
        (None, "1767225600", "2026-01-01T00:00:00Z"),
        (None, "253402300799", "9999-12-31T23:59:59Z"),
        ("2026-01-31T12:00:00Z", "0", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00Z", "nonsense", "2026-01-31T12:00:00Z"),
    ],
)
def test_a_time_is_recorded_only_when_asked_for(
    created: str | None, epoch: str | None, written: str | None
) -> None:
    environ = {} if epoch is None else {"SOURCE_DATE_EPOCH": epoch}
    assert times.recorded(created, environ) == written


@pytest.mark.parametrize("epoch", ["x", "-1", "1.5", " 1", "253402300800", "9" * 400, "१"])
def test_an_epoch_that_is_none_is_refused(epoch: str) -> None:
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH is not a number"):
        times.recorded(None, {"SOURCE_DATE_EPOCH": epoch})


def said(tmp_path: Path, text: str) -> metadata.Metadata:
    path = tmp_path / "model.yaml"
    path.write_text(text, "utf-8")
    return metadata.read(path)


def test_a_metadata_file_says_everything(tmp_path: Path) -> None:
    about = said(
        tmp_path,
        """\
name: tiny
version: 1.10
family: llama
title: Tiny
description: |
  Two
  lines
authors: [A, B]
vendor: V
licenses: MIT
docURL: https://example.org/
sourceURL: https://example.org/s
datasetsURL:
  - https://example.org/d
revision: 0123
architecture: transformer
format: safetensors
paramSize: 6.7B
precision: bfloat16
quantization: null
capabilities:
  inputTypes: [text, image]
  outputTypes: text
  knowledgeCutoff: 2025-06-30T00:00:00Z
  reasoning: true
  toolUsage: false
  reward:
  languages: [no, en]
annotations:
  org.example.n: 1
files:
  code: tools/*
  dataset: ["*.txt"]
""",
    )
    assert about.fields == {
        "name": "tiny",
        "version": "1.10",
        "family": "llama",
        "title": "Tiny",
        "description": "Two\nlines",
        "authors": ("A", "B"),
        "vendor": "V",
        "licenses": ("MIT",),
        "docURL": "https://example.org/",
        "sourceURL": "https://example.org/s",
        "datasetsURL": ("https://example.org/d",),
        "revision": "0123",
        "architecture": "transformer",
        "format": "safetensors",
        "paramSize": "6.7B",
        "precision": "bfloat16",
        "quantization": None,
        "inputTypes": ("text", "image"),
        "outputTypes": ("text",),
        "knowledgeCutoff": "2025-06-30T00:00:00Z",
        "reasoning": True,
        "toolUsage": False,
        "reward": None,
        "languages": ("no", "en"),
    }
    assert about.annotations == {"org.example.n": "1"}
    assert about.files == {"code": ("tools/*",), "dataset": ("*.txt",)}


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "null\n", "\ufeff"])
def test_an_empty_metadata_file_says_nothing(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) == metadata.Metadata()


@pytest.mark.parametrize(
    ("text", "line", "reason", "hint"),
    [
        ("name: a\nnmae: b\n", 2, "'nmae' is not known", "did you mean name?"),
        ("\nlicense: MIT\n", 2, "'license' is not known", "did you mean licenses?"),
        ("doc_url: x\n", 1, "'doc_url' is not known", "did you mean docURL?"),
        ("createdAt: x\n", 1, "'createdAt' is not known", "known are "),
        ("zzz: x\n", 1, "'zzz' is not known", "known are "),
        ("name: a\nname: b\n", 2, "'name' is given twice", ""),
        ("name: [a]\n", 1, "name is a single text", ""),
        ("name: {a: b}\n", 1, "name is a single text", ""),
        ("authors: {a: b}\n", 1, "authors is a list of texts", ""),
        ("authors: [[a]]\n", 1, "an item of authors is a single text", ""),
        ("authors: [a, null]\n", 1, "an item of authors is a single text", ""),
        ("authors: &a [*a]\n", 1, "an item of authors is a single text", ""),
        ("name: ''\n", 1, "name is empty", ""),
        ("paramSize: huge\n", 1, "paramSize", ""),
        ("capabilities: text\n", 1, "capabilities is not made of keys", ""),
        ("capabilities:\n  resoning: true\n", 2, "'resoning' is not known", "mean reasoning?"),
        ("capabilities:\n  reasoning: yes\n", 2, "reasoning is true or false", ""),
        ("capabilities:\n  languages: [english]\n", 2, "two-letter", ""),
        ("files:\n  weights: x\n", 2, "'weights' is not known", "did you mean weight?"),
        ("files: [a]\n", 1, "files is not made of keys", ""),
        ("annotations:\n  a: [b]\n", 2, "annotation 'a' is a single text", ""),
        ("- a\n", 1, "the file is not made of keys", ""),
        ("just text\n", 1, "the file is not made of keys", ""),
        ("name: !!python/name:os.system x\n", 1, "which means nothing here", ""),
        ("name: !mine x\n", 1, "which means nothing here", ""),
        ("name: !!binary aGk=\n", 1, "which means nothing here", ""),
        ("? [a]\n: b\n", 1, "a key is a single text", ""),
        ("<<: {name: a}\n", 1, "'<<' is not known", ""),
    ],
)
def test_a_mistake_in_the_metadata_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, reason: str, hint: str
) -> None:
    with pytest.raises(InputError, match=f"model.yaml, line {line}: .*{reason}") as caught:
        said(tmp_path, text)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [a\n", "line 2: "),
        ("name: a\n\tversion: b\n", "line 2: "),
        ("name: *nobody\n", "line 1: "),
        ("a: 1\n---\nb: 2\n", "line 2: "),
        ("name: '\x07'\n", "special characters"),
        ("authors: " + "[" * 5000 + "\n", "nested too deep"),
    ],
)
def test_metadata_that_is_not_yaml_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"model.yaml is not YAML: .*{reason}"):
        said(tmp_path, text)


def test_metadata_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(InputError, match="is not YAML"):
        metadata.read(tmp_path / "model.yaml")


def test_metadata_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="larger than 1,048,576 bytes"):
        metadata.read(Path("/dev/zero"))


def test_the_documented_schema_accepts_what_is_accepted() -> None:
    validator = jsonschema.Draft202012Validator(MODEL_SCHEMA)
    validator.validate(
        {
            "name": "tiny",
            "version": 1.1,
            "authors": "A",
            "licenses": ["MIT"],
            "precision": None,
            "capabilities": {"inputTypes": ["text"], "languages": "en", "reward": None},
            "annotations": {"a": 1},
            "files": {"weight": ["*.bin"], "code": "x"},
        }
    )
    mistakes: tuple[Any, ...] = (
        {"nmae": "x"},
        {"capabilities": {"inputTypes": ["smell"]}},
        {"files": {"x": []}},
    )
    for wrong in mistakes:
        assert not validator.is_valid(wrong)


def test_a_card_says_what_a_model_is_for() -> None:
    text = (
        "---\nlanguage:\n- en\n- no\n- multilingual\n- zh-hans\nlicense: apache-2.0\n"
        "datasets:\n- s2orc\n- org/set\npipeline_tag: image-text-to-text\n"
        "model_name: Tiny\n---\n# x"
    )
    expected = {
        "languages": ("en", "no"),
        "licenses": ("Apache-2.0",),
        "datasetsURL": ("s2orc", "org/set"),
        "inputTypes": ("image", "text"),
        "outputTypes": ("text",),
        "name": "Tiny",
    }
    assert card.read_card(text) == expected
    assert card.read_card("\ufeff" + text.replace("\n", "\r\n")) == expected


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        ("license: mit", ("MIT",)),
        ("license: [mit, cc-by-nc-4.0]", ("MIT", "CC-BY-NC-4.0")),
        ("license: llama3.1", ("llama3.1",)),
        ("license: other\nlicense_name: tiny-license", ("tiny-license",)),
        ("license: other", None),
        ("license: unknown", None),
        ("license: {a: b}", None),
        ("license: ''", None),
        ('license: "a\\u0007"', None),
    ],
)
def test_the_cards_licence_is_spelled_as_spdx_does(
    license: str, expected: tuple[str, ...] | None
) -> None:
    assert card.read_card(f"---\n{license}\n---\n").get("licenses") == expected


@pytest.mark.parametrize(
    "text",
    ["", "# Title\n---\nlicense: mit\n---\n", "---\n", "---\nlicense: mit\n", "---\n- a\n---\n"],
)
def test_a_card_without_front_matter_says_nothing(text: str) -> None:
    assert card.read_card(text) == {}


def test_a_card_tells_of_results() -> None:
    text = """---
model-index:
- name: tiny
  results:
  - dataset: {name: SQuAD, type: squad, config: default}
    metrics:
    - {type: f1, value: 0.910}
    - {type: exact, name: Exact match, value: "80 %"}
  - dataset: {type: mteb/counterfactual, config: en}
    metrics: [{type: accuracy, value: 1e-3}]
  - dataset: {type: mteb/counterfactual, config: de}
    metrics: [{type: accuracy, value: 2}]
  - metrics: [{name: loss, value: "0.1\\n 0.2"}]
---
"""
    assert card.read_metrics(text) == {
        "squad/f1": "0.910",
        "squad/exact": "80 %",
        "mteb/counterfactual/en/accuracy": "1e-3",
        "mteb/counterfactual/de/accuracy": "2",
        "loss": "0.1 0.2",
    }


@pytest.mark.parametrize(
    "index",
    [
        "x",
        "[x]",
        "[{results: x}]",
        "[{results: [x]}]",
        "[{results: [{metrics: x}]}]",
        "[{results: [{metrics: [x]}]}]",
        "[{results: [{metrics: [{type: f1}, {value: 1}, {type: f1, value: ''}]}]}]",
        "[{results: [{metrics: [{type: [f1], value: {a: b}}]}]}]",
    ],
)
def test_a_card_whose_results_are_not_in_the_form_tells_of_none(index: str) -> None:
    assert card.read_metrics(f"---\nmodel-index: {index}\n---\n") == {}


def test_a_card_names_a_library_and_a_task() -> None:
    text = "---\nlibrary_name: transformers\npipeline_tag: fill-mask\n---\n"
    assert card.read_taxonomy(text) == ("transformers", "fill-mask")
    assert card.read_taxonomy("---\nlibrary_name: [a]\npipeline_tag: ''\n---\n") == (None, None)
    assert card.read_taxonomy("# Tiny") == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "---\nlicense: [mit\n---\n",
        "---\n" + "[" * 5000 + "\n---\n",
        '---\nlicense: "\\UFFFFFFFF"\n---\n',
        '---\nlicense: "\\U00110000"\n---\n',
    ],
)
def test_front_matter_that_is_not_yaml_is_refused(text: str) -> None:
    with pytest.raises(InvalidContentError, match="front matter is not YAML"):
        card.read_card(text)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        (
            {"model_type": "bert", "num_attention_heads": 12},
            {"family": "bert", "architecture": "transformer"},
        ),
        ({"model_type": "gpt2", "n_head": 2}, {"family": "gpt2", "architecture": "transformer"}),
        (
            {"model_type": "clip", "text_config": {"num_attention_heads": 8}},
            {"family": "clip", "architecture": "transformer"},
        ),
        ({"model_type": "resnet", "depths": [3]}, {"family": "resnet"}),
        ({"model_type": "mamba2", "num_heads": 8}, {"family": "mamba2"}),
        ({"model_type": "jamba", "num_attention_heads": 8}, {"family": "jamba"}),
        ({"num_attention_heads": 8}, {}),
        ({"dtype": "bfloat16"}, {"precision": "bfloat16"}),
        ({"torch_dtype": "float16"}, {"precision": "float16"}),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, {"precision": "bfloat16"}),
        ({"text_config": {"dtype": "bfloat16"}}, {"precision": "bfloat16"}),
        ({"torch_dtype": "float8_e4m3fn"}, {"precision": "float8_e4m3"}),
        ({"torch_dtype": "auto"}, {}),
        ({"quantization_config": {"quant_method": "AWQ"}}, {"quantization": "awq"}),
        ({"quantization_config": []}, {}),
        ({"model_type": 7, "dtype": [], "quantization_config": {"quant_method": 1}}, {}),
        ({"model_type": "\ud800"}, {}),
        ({"model_type": "a\nb\0"}, {}),
        ({"_name_or_path": "/home/me/model"}, {}),
    ],
)
def test_a_config_json_says_what_a_model_is(config: Any, expected: dict[str, Value]) -> None:
    assert card.read_config(json.dumps(config).encode()) == expected


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_config_json_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidContentError):
        card.read_config(raw)


def test_the_hubs_names_of_precisions_are_the_specifications() -> None:
    assert {"bfloat16", "float16", "float32", "float64", "int8", "uint8", "bool"} <= PRECISIONS


def test_licences_are_spelled_as_spdx_does_where_only_case_differs() -> None:
    assert spell("apache-2.0") == "Apache-2.0"
    assert spell("cc-by-nc-sa-4.0") == "CC-BY-NC-SA-4.0"
    assert spell("gpl-3.0") == "GPL-3.0"
    assert spell("bsd") == "bsd"
    assert spell("OpenRAIL++") == "OpenRAIL++"


MIT = """MIT License

Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
BSD = """Copyright (c) 2020, Somebody
All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted
provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions
   and the following disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of
   conditions and the following disclaimer in the documentation and/or other materials provided
   with the distribution.
{third}
THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT OWNER OR
CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE,
DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER
IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT
OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""
BSD3 = BSD.format(
    third="3. Neither the name of Some Company nor the names of its contributors may be used to\n"
    "   endorse or promote products derived from this software without specific prior written\n"
    "   permission.\n"
)


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ((ROOT / "LICENSE").read_text("utf-8"), "Apache-2.0"),
        (MIT, "MIT"),
        (MIT.replace("MIT License", "The MIT License (MIT)"), "MIT"),
        (MIT.removeprefix("MIT License\n"), "MIT"),
        (" ".join(MIT.split("\n")[4:]), "MIT"),
        (BSD.format(third=""), "BSD-2-Clause"),
        (BSD3, "BSD-3-Clause"),
        (BSD3.replace("1.", "*").replace("2.", "*").replace("3.", "*"), "BSD-3-Clause"),
        (MIT + "\nThe Software shall be used for Good, not Evil.\n", None),
        (MIT.replace("free of charge", "for a fee"), None),
        ("This model is under the MIT License.", None),
        ("MIT", None),
        ("", None),
    ],
)
def test_licence_texts_are_recognised_only_with_certainty(
    text: str, identifier: str | None
) -> None:
    assert recognise(text) == identifier
