from __future__ import annotations

import json

import pytest

from ocimlpack.app.diagnosis import Diagnosis, Fact, Finding, Section
from tests.cli.conftest import App, Run

PAGE = Diagnosis(
    reference="r.example/team/minilm:1.0",
    made="2026-01-31T12:00:00Z",
    sections=(
        Section("versions", (Fact("ocimlpack", "1.0"), Fact("oci", "not installed"))),
        Section(
            "abilities",
            (
                Fact("list of tags", "", "ok"),
                Fact("parts of blobs", "all of the blob comes", "no", "one connection"),
                Fact("uploads", "not tried", "unknown"),
                Fact("uploads in parts", "not tried", "unknown"),
                Fact("mounts", "not tried", "unknown"),
                Fact("deletion", "\x1b[31m" + "word " * 30, "unknown"),
            ),
            "r.example/team/minilm",
        ),
    ),
    findings=(Finding("it is late", "sleep"), Finding("nothing helps")),
)
TEXT = """\
ocimlpack doctor r.example/team/minilm:1.0, 2026-01-31 12:00:00 UTC

Versions
      ocimlpack  1.0
      oci        not installed

Abilities: r.example/team/minilm
  ok  list of tags
  no  parts of blobs      all of the blob comes; instead: one connection
  ?   uploads and 2 more  not tried
  ?   deletion            \\x1b[31mword word word word word word word word word word word word word
                          word word word word word word word word word word word word word word
                          word word word

Findings
  1. it is late
     sleep
  2. nothing helps
"""


def test_the_page_is_plain_text(app: App, run: Run) -> None:
    app.answers["doctor"] = PAGE
    ran = run("doctor", "r.example/team/minilm:1.0")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout == TEXT
    assert app.call.args == ("r.example/team/minilm:1.0",)
    assert app.call.options == {"jobs": 4}


def test_without_findings_that_is_said(app: App, run: Run) -> None:
    app.answers["doctor"] = Diagnosis("", "2026-01-31T12:00:00Z", (), ())
    ran = run("doctor")
    assert ran.stdout == "ocimlpack doctor, 2026-01-31 12:00:00 UTC\n\nFindings: none\n"
    assert app.call.args == (None,)


@pytest.mark.parametrize("code", [2, 4, 6])
@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_what_stops_transfers_is_the_exit_code_and_the_page_is_there(
    app: App, run: Run, code: int, extra: tuple[str, ...]
) -> None:
    app.answers["doctor"] = Diagnosis("r.example", "2026-01-31T12:00:00Z", (), (), code)
    ran = run("doctor", "r.example", *extra)
    assert (ran.code, ran.stderr) == (code, "")
    if extra:
        assert json.loads(ran.stdout)["exit_code"] == code
    else:
        assert ran.stdout.startswith("ocimlpack doctor r.example, ")


def test_the_page_is_json(app: App, run: Run) -> None:
    app.answers["doctor"] = PAGE
    found = json.loads(run("doctor", "r.example/team/minilm:1.0", "--json").stdout)
    assert found["sections"][1]["facts"][1] == {
        "name": "parts of blobs",
        "value": "all of the blob comes",
        "state": "no",
        "instead": "one connection",
    }
    assert found["findings"][1] == {"problem": "nothing helps", "help": ""}


@pytest.mark.parametrize(("option", "write"), [("--write", True), ("--read-only", False)])
def test_whether_it_may_write_is_passed_on(app: App, run: Run, option: str, write: bool) -> None:
    app.answers["doctor"] = PAGE
    run("doctor", "r.example/team/minilm", option)
    assert app.call.options["write"] is write
