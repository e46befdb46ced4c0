from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ocimlpack.app.diff import Difference
from ocimlpack.cli.diff import DIFFERS
from ocimlpack.model.difference import (
    FieldDifference,
    File,
    FileDifference,
    Place,
    TensorState,
)
from ocimlpack.model.headers import Tensor
from ocimlpack.model.tensor_difference import TensorDifference
from ocimlpack.model.values import Apart
from tests.cli.conftest import DIGEST, App, Run

SAME = Difference(
    a=f"minilm@{DIGEST}",
    b=f"minilm@{DIGEST}",
    digest_a=DIGEST,
    digest_b=DIGEST,
    differs=False,
    files=(),
    same_files=3,
    metadata=(),
    annotations=(),
    tensors=(),
    same_tensors=0,
    size_a=2048,
    size_b=2048,
    shared=2048,
)


def file(path: str, size: int | None, *, archive: bool = False) -> File:
    return File(path, size, None if size is None else DIGEST, DIGEST, archive)


def place(kind: str, *shape: int) -> Place:
    return Place("m.safetensors", Tensor(kind, 1, shape))


def tensor(
    state: TensorState, name: str, a: Place | None, b: Place | None, values: Apart | None = None
) -> TensorDifference:
    return TensorDifference(state, name, a, b, values)


FOUND = replace(
    SAME,
    b="localhost:5000/team/minilm@sha256:00",
    digest_b="sha256:00",
    differs=True,
    files=(
        FileDifference(
            "changed", "config.json", file("config.json", 611), file("config.json", 612)
        ),
        FileDifference("unknown", "in.tar/x", file("in.tar/x", 5), file("in.tar/x", None)),
        FileDifference("removed", "docs.tar", file("docs.tar", 9, archive=True), None),
        FileDifference("renamed", "new\x1b.txt", file("old.txt", 7), file("new\x1b.txt", 7)),
    ),
    metadata=(
        FieldDifference("added", "version", None, "1.1"),
        FieldDifference("changed", "licenses", ("MIT",), ("Apache-2.0", "MIT")),
        FieldDifference("removed", "description", "x" * 100, None),
    ),
    annotations=(FieldDifference("added", "org.example.a", None, "1"),),
    tensors=(
        tensor("unknown", "a.weight", place("float32", 2), place("float32", 2)),
        tensor("reshaped", "b.weight", place("float32", 2, 3), place("float16", 3, 3)),
        tensor("removed", "c.bias", place("float32"), None),
    ),
    same_tensors=1200,
    size_b=4096,
    shared=1024,
    notes=("B: nothing is known of x",),
)

TEXT = f"""\
A:        minilm@{DIGEST}  (2.0 KiB)
B:        localhost:5000/team/minilm@sha256:00  (4.0 KiB)
Files:    1 removed, 1 renamed, 1 changed, 1 not compared, 3 same \
(--archives compares those in archives)
Metadata: 2 added, 1 removed, 1 changed
Tensors:  1 removed, 1 reshaped, 1 not compared, 1,200 same in the files that differ \
(--stats compares the values)
Sharing:  1.0 KiB of B (25%) is in A already; 3.0 KiB is new

Files
  CHANGE                  SIZE  PATH
  changed       611 B -> 612 B  config.json
  not compared        5 B -> ?  in.tar/x (in an archive)
  removed                  9 B  docs.tar (an archive, which was not read)
  renamed                  7 B  old.txt -> new\\x1b.txt

Metadata
  CHANGE   NAME         VALUE
  added    Version      1.1
  changed  License      MIT -> Apache-2.0, MIT
  removed  Description  {"x" * 59}…

Annotations
  CHANGE  NAME           VALUE
  added   org.example.a  1

Tensors
  CHANGE    TYPE                SHAPE       TENSOR
  removed   float32             scalar      c.bias
  reshaped  float32 -> float16  2x3 -> 3x3  b.weight
"""


def test_text_begins_with_the_difference_in_short(app: App, run: Run) -> None:
    app.answers["diff"] = FOUND
    ran = run("diff", "a", "b")
    assert ran.stdout == TEXT
    assert ran.stderr == "warning: B: nothing is known of x\n"
    assert ran.code == 0
    assert app.call.args == ("a", "b")
    assert app.call.options["stats"] is False


def test_values_are_shown_beside_the_tensors_the_largest_first(app: App, run: Run) -> None:
    one = place("float32", 2)
    tensors = (
        tensor("changed", "little", one, one, Apart(1e-5, 0.001, 0.0001)),
        tensor("changed", "much", one, one, Apart(0.25, 12345.678, 0.99999)),
        tensor("changed", "all", one, one, Apart(0.001, 1, 1)),
        tensor("added", "new", None, one),
    )
    app.answers["diff"] = replace(FOUND, tensors=tensors)
    ran = run("diff", "a", "b", "--stats")
    assert app.call.options["stats"] is True
    assert [" ".join(line.split()) for line in ran.stdout.splitlines()[-5:]] == [
        "CHANGE TYPE SHAPE MEAN MAX DIFFER TENSOR",
        "added float32 2 new",
        "changed float32 2 0.25 1.23e+04 > 99.9% much",
        "changed float32 2 0.001 1 100.0% all",
        "changed float32 2 1e-05 0.001 < 0.1% little",
    ]


def test_very_long_names_and_shapes_are_cut(app: App, run: Run) -> None:
    long = tensor("added", "t" * 5000, None, place("float32", *(1,) * 5000))
    app.answers["diff"] = replace(FOUND, tensors=(long,))
    assert len(run("diff", "a", "b").stdout.splitlines()[-1]) < 400


def test_of_very_many_tensors_the_first_are_shown(app: App, run: Run) -> None:
    many = tuple(tensor("added", f"t{n}", None, place("float32", 2)) for n in range(50))
    app.answers["diff"] = replace(FOUND, tensors=many)
    lines = run("diff", "a", "b").stdout.splitlines()
    assert lines[-1] == "  and 10 more; --json has them all"
    assert len(json.loads(run("diff", "a", "b", "--json").stdout)["tensors"]) == 50


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (SAME, "all of it"),
        (replace(SAME, digest_b="x"), "files and metadata; only the manifests differ"),
    ],
)
def test_what_is_the_same_is_said_in_a_line(
    app: App, run: Run, found: Difference, words: str
) -> None:
    app.answers["diff"] = found
    lines = run("diff", "a", "b").stdout.splitlines()
    assert len(lines) == 3
    assert lines[2] == f"Same: {words}"


@pytest.mark.parametrize(
    ("found", "options", "code"),
    [
        (FOUND, [], 0),
        (SAME, ["--exit-code"], 0),
        (FOUND, ["--exit-code"], DIFFERS),
        (FOUND, ["--exit-code", "--json"], DIFFERS),
        (FOUND, ["--exit-code", "-q"], DIFFERS),
    ],
)
def test_the_exit_code_says_it_where_that_is_asked_for(
    app: App, run: Run, found: Difference, options: list[str], code: int
) -> None:
    app.answers["diff"] = found
    ran = run("diff", "a", "b", *options)
    assert ran.code == code
    if "--json" in options:
        assert json.loads(ran.stdout)["differs"] is True
    if "-q" in options:
        assert (ran.stdout, ran.stderr) == (TEXT, "")
