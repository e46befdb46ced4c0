from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ocimlpack.app.results import (
    Inspected,
    InspectedFile,
    InspectedTensor,
    InspectedWeights,
    Verified,
)
from ocimlpack.cli.main import main
from tests.cli.conftest import DIGEST, App, Run

FOUND = Inspected(
    reference=f"minilm@{DIGEST}",
    digest=DIGEST,
    artifact_type="x/y",
    size=1024,
    model={"name": "minilm"},
    files=(InspectedFile("a b.bin", "weight", 1024, DIGEST, "x/w"),),
    tags=("1.0",),
    annotations={},
    manifest='{"a":"\x1b é"}',
    config=b'{"b":\xff}'.decode("utf-8", "surrogateescape"),
)


def test_inspect_prints_text(app: App, run: Run) -> None:
    app.answers["inspect"] = FOUND
    ran = run("inspect", "minilm:1.0")
    assert ran.stdout.startswith("Name:      minilm\n")
    assert ran.stdout.endswith("weight  1.0 KiB  a b.bin\n")
    assert app.call.args == ("minilm:1.0",)


def test_inspect_says_how_each_thing_is_known(app: App, run: Run) -> None:
    app.answers["inspect"] = replace(
        FOUND,
        model={"name": "minilm", "capabilities": {"inputTypes": ["text"], "languages": ["en"]}},
        annotations={"ocimlpack.parameters": "1234", "org.example.a": "1"},
        facts={"parameters": "1234", "opset": "17"},
        origins={"name": "given", "inputTypes": "guessed", "parameters": "found"},
        base=f"team/base@{DIGEST}",
    )
    lines = run("inspect", "minilm:1.0").stdout.splitlines()
    assert lines[:5] == [
        "Name:         minilm (given)",
        "Capabilities: input types: text (guessed); languages: en",
        "Exact count:  1,234",
        "Opset:        17",
        f"Base:         team/base@{DIGEST}",
    ]
    assert [line for line in lines if line.startswith("Annotation")] == [
        "Annotation:   org.example.a=1"
    ]


WEIGHTS = (
    InspectedWeights(
        path="a.onnx",
        format="onnx",
        size=2048,
        parameters=1236,
        types={"float32": 1234, "int64": 2},
        facts={"opset": "17", "producer": "x" * 200},
        tensors=(
            InspectedTensor("layer.w", "float32", (2, 617), 1234, 4936),
            InspectedTensor("tied\x1b", "float32", (2, 617), 1234, 4936),
            InspectedTensor("axes", "int64", (2,), 2, None),
        ),
    ),
    InspectedWeights("b.onnx", "onnx", 10, 0, {}, {}, (), problem="it has no graph"),
)


def test_inspect_lists_tensors_then_facts_then_totals(app: App, run: Run) -> None:
    app.answers["inspect"] = replace(FOUND, weights=WEIGHTS, notes=("one layer is compressed",))
    ran = run("inspect", "m", "--tensors")
    assert app.call.options["tensors"] is True
    assert ran.stdout.splitlines() == [
        "FILE    TENSOR    TYPE     SHAPE     BYTES",
        "a.onnx  layer.w   float32  [2, 617]  4,936",
        "a.onnx  tied\\x1b  float32  [2, 617]  4,936",
        "a.onnx  axes      int64    [2]           -",
        "",
        "a.onnx: onnx, 2.0 KiB, 1,236 parameters",
        "  opset: 17",
        f"  producer: {'x' * 160}…",
        "b.onnx: onnx, 10 B, damaged",
        "",
        "TYPE     TENSORS  PARAMETERS  BYTES",
        "float32        2       1,234  9,872",
        "int64          1           2      0",
    ]
    assert "one layer is compressed" in ran.stderr
    assert "b.onnx seems to be damaged: it has no graph" in ran.stderr


def test_one_long_name_does_not_make_all_lines_long(app: App, run: Run) -> None:
    tensors = tuple(
        InspectedTensor("t" * 60_000 if n == 0 else f"t{n}", "float32", (1,) * 30_000, 1, 4)
        for n in range(20)
    )
    long = replace(WEIGHTS[0], path="p" * 60_000, tensors=tensors, types={"float32": 20})
    app.answers["inspect"] = replace(FOUND, weights=(long,))
    lines = run("inspect", "m", "--tensors").stdout.splitlines()
    assert max(map(len, lines[:21])) < 600
    assert lines[1].split("  ")[1] == "t" * 160 + "…"


def test_numbers_that_are_too_long_for_a_number_are_text(app: App, run: Run) -> None:
    digits = "9" * 5000
    app.answers["inspect"] = replace(FOUND, facts={"parameters": digits, "tensors": "1234"})
    ran = run("inspect", "m")
    assert ran.code == 0
    assert digits in ran.stdout
    assert "1,234" in ran.stdout


def test_inspect_prints_tensors_as_json(app: App, run: Run) -> None:
    app.answers["inspect"] = replace(FOUND, weights=WEIGHTS)
    found = json.loads(run("inspect", "m", "--tensors", "--json").stdout)
    assert found[0]["tensors"][2] == {
        "name": "axes",
        "type": "int64",
        "shape": [2],
        "count": 2,
        "size": None,
    }
    assert found[1]["problem"] == "it has no graph"


def test_inspect_says_that_there_are_no_weights(app: App, run: Run) -> None:
    app.answers["inspect"] = replace(FOUND, weights=())
    assert run("inspect", "m", "--tensors").stdout == "no weights with a header that can be read\n"
    assert run("inspect", "m", "--tensors", "--files").code == 2


def test_inspect_prints_json(app: App, run: Run) -> None:
    app.answers["inspect"] = FOUND
    found = json.loads(run("inspect", "minilm:1.0", "--json").stdout)
    assert found["model"] == {"name": "minilm"}
    assert found["files"][0]["path"] == "a b.bin"
    assert found["manifest"] == FOUND.manifest


@pytest.mark.parametrize("extra", [[], ["--json"]])
@pytest.mark.parametrize(
    ("option", "raw"), [("--manifest", b'{"a":"\x1b \xc3\xa9"}'), ("--config", b'{"b":\xff}')]
)
def test_inspect_prints_raw_bytes_untouched(
    app: App, capfdbinary: pytest.CaptureFixture[bytes], option: str, raw: bytes, extra: list[str]
) -> None:
    app.answers["inspect"] = FOUND
    assert main(["inspect", "minilm:1.0", option, *extra]) == 0
    assert capfdbinary.readouterr().out == raw


def test_inspect_lists_the_files_with_whole_digests(app: App, run: Run) -> None:
    app.answers["inspect"] = FOUND
    assert run("inspect", "m", "--files").stdout.splitlines()[1] == (
        f"weight  1.0 KiB  {DIGEST}  a b.bin"
    )
    listed = json.loads(run("inspect", "m", "--files", "--json").stdout)
    assert [item["path"] for item in listed] == ["a b.bin"]


def test_inspect_prints_one_thing_at_a_time(app: App, run: Run) -> None:
    ran = run("inspect", "m", "--files", "--config")
    assert ran.code == 2
    assert app.calls == []


def test_verify_says_what_was_checked(app: App, run: Run) -> None:
    app.answers["verify"] = Verified("./minilm", DIGEST, 2, 2048, ("notes.txt",))
    ran = run("verify", "./minilm")
    assert ran.stdout == f"./minilm: verified 2 items, 2.0 KiB against {DIGEST}\n"
    assert ran.stderr == "warning: not part of the model: notes.txt\n"
    assert json.loads(run("verify", "./minilm", "--json").stdout)["extra"] == ["notes.txt"]


def test_verify_of_a_whole_store_has_no_digest(app: App, run: Run) -> None:
    app.answers["verify"] = Verified("oci:x", "", 1, 12)
    assert run("verify", "oci:x").stdout == "oci:x: verified 1 item, 12 B\n"


def test_many_extra_files_are_summed_up(app: App, run: Run) -> None:
    app.answers["verify"] = Verified(".", DIGEST, 1, 1, tuple(f"f{n}" for n in range(13)))
    lines = run("verify", ".").stderr.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "warning: not part of the model: 3 files more"
