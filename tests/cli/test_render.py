from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import pytest

from ocimlpack.app.results import Inspected, InspectedFile
from ocimlpack.cli import render
from tests.cli.conftest import DIGEST


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("model-é-模型 v1.0", "model-é-模型 v1.0"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\r\nb\tc", r"a\x0d\x0ab\x09c"),
        ("\x7f\x9b31m", r"\x7f\x9b31m"),
        ("a\u202etxt.exe", r"a\u202etxt.exe"),
        ("\u2066x\u2069\u200b\u2028", r"\u2066x\u2069\u200b\u2028"),
        ("caf\udce9", r"caf\udce9"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_could_steer_a_terminal_is_written_out(raw: str, shown: str) -> None:
    assert render.escape(raw) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (90_868_376, "86.7 MiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**6, "3072.0 PiB"),
    ],
)
def test_sizes_are_in_binary_units(count: int, shown: str) -> None:
    assert render.size(count) == shown


def test_a_tables_columns_line_up_also_with_wide_characters() -> None:
    lines = render.table(("NAME", "SIZE", "TAG"), [("模型", "1.0 KiB", "a"), ("m", "12 B", "b")])
    assert lines == [
        "NAME     SIZE  TAG",
        "模型  1.0 KiB  a",
        "m        12 B  b",
    ]


def test_a_tables_cells_are_escaped() -> None:
    assert render.table(("A",), [("x\x1b[2J\n",)])[1] == r"x\x1b[2J\x0a"


def test_json_is_made_of_any_result() -> None:
    text = render.document({"path": Path("a"), "found": (MappingProxyType({"k": None}),)})
    assert json.loads(text) == {"path": "a", "found": [{"k": None}]}


def test_json_holds_no_byte_that_a_terminal_obeys() -> None:
    text = render.document(["\x1b\x7f\x9b\u202e\udce9é"])
    assert text.isascii()
    assert "\x1b" not in text
    assert "\x7f" not in text
    assert json.loads(text) == ["\x1b\x7f\x9b\u202e\udce9é"]


def inspected(**changes: object) -> Inspected:
    values: dict[str, object] = {
        "reference": f"minilm@{DIGEST}",
        "digest": DIGEST,
        "artifact_type": "application/vnd.cncf.model.manifest.v1+json",
        "size": 90_868_376,
        "model": {
            "architecture": "bert",
            "name": "minilm",
            "paramSize": "22.7M",
            "licenses": ["Apache-2.0", "MIT"],
            "capabilities": {"inputTypes": ["text"], "toolUsage": False, "cutoff": 3},
            "datasetsURL": [f"d{number}" for number in range(9)],
            "family": "",
        },
        "files": (InspectedFile("model.safetensors", "weight", 90_868_376, DIGEST, "x/y"),),
        "tags": ("1.0", "latest"),
        "annotations": {"org.example": "a\x1b[0m"},
        "manifest": "{}",
        "config": "{}",
    }
    return Inspected(**(values | changes))  # type: ignore[arg-type]


def test_inspect_shows_the_facts_in_order_and_the_files() -> None:
    assert render.inspected(inspected()) == [
        "Name:         minilm",
        "Architecture: bert",
        "Parameters:   22.7M",
        "License:      Apache-2.0, MIT",
        "Datasets:     d0, d1, d2, d3, d4, d5 and 3 more",
        "Capabilities: input types: text; tool usage: no; cutoff: 3",
        "Size:         86.7 MiB",
        "Files:        1",
        "Tags:         1.0, latest",
        f"Digest:       {DIGEST}",
        "Type:         application/vnd.cncf.model.manifest.v1+json",
        f"Reference:    minilm@{DIGEST}",
        r"Annotation:   org.example=a\x1b[0m",
        "",
        "KIND        SIZE  PATH",
        "weight  86.7 MiB  model.safetensors",
    ]


def test_inspect_copes_with_an_artifact_that_says_nothing() -> None:
    lines = render.inspected(
        inspected(model={}, files=(), tags=(), annotations={}, artifact_type="")
    )
    assert [line.partition(":")[0] for line in lines] == ["Size", "Files", "Digest", "Reference"]
