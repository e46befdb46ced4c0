from __future__ import annotations

import json

import pytest

from ocimlpack.app.results import Listed, Removed, Tagged
from tests.cli.conftest import DIGEST, App, Run

TYPE = "application/vnd.cncf.model.manifest.v1+json"


def test_tag_prints_a_line_for_each_tag(app: App, run: Run) -> None:
    app.answers["tag"] = Tagged(DIGEST, ("h/r:a", "h/r:b"))
    assert run("tag", "h/r:1", "a", "b").stdout == "h/r:a\nh/r:b\n"
    assert app.call.args == ("h/r:1", "a", "b")


def test_tag_needs_a_tag(app: App, run: Run) -> None:
    assert run("tag", "h/r:1").code == 2


@pytest.mark.parametrize("command", ["tags", "repos"])
def test_names_are_listed_a_line_each(app: App, run: Run, command: str) -> None:
    app.answers[command] = ("1.0", "evil\x1b[2J\nname")
    assert run(command, "h").stdout == "1.0\nevil\\x1b[2J\\x0aname\n"
    assert json.loads(run(command, "h", "--json").stdout) == ["1.0", "evil\x1b[2J\nname"]


@pytest.mark.parametrize("command", ["tags", "repos"])
def test_no_names_print_nothing_on_standard_output(app: App, run: Run, command: str) -> None:
    app.answers[command] = ()
    ran = run(command, "h")
    assert ran.stdout == ""
    assert ran.stderr.startswith("no ")
    assert run(command, "h", "--json").stdout == "[]\n"


def test_ls_prints_a_table(app: App, run: Run) -> None:
    app.answers["ls"] = (
        Listed("minilm", "1.0", DIGEST, 1024, TYPE),
        Listed("minilm", "", DIGEST, 12, TYPE),
    )
    assert run("ls").stdout.splitlines() == [
        "NAME    TAG  DIGEST                  SIZE  TYPE",
        f"minilm  1.0  sha256:0123456789ab  1.0 KiB  {TYPE}",
        f"minilm  -    sha256:0123456789ab     12 B  {TYPE}",
    ]
    assert f"  {DIGEST}  " in run("ls", "oci:x", "--no-trunc").stdout
    assert [call.args for call in app.calls] == [(None,), ("oci:x",)]


def test_ls_of_nothing_says_what_to_do(app: App, run: Run) -> None:
    app.answers["ls"] = ()
    ran = run("ls")
    assert ran.stdout == ""
    assert "ocimlpack pack" in ran.stderr
    assert run("ls", "--json").stdout == "[]\n"


def test_rm_says_what_is_gone_and_how_much_that_freed(app: App, run: Run) -> None:
    app.answers["rm"] = Removed(("minilm:1.0",), 1536)
    assert run("rm", "minilm:1.0").stdout == "removed minilm:1.0\nfreed 1.5 KiB\n"


def test_prune_can_be_tried_first(app: App, run: Run) -> None:
    app.answers["prune"] = Removed((DIGEST,), 1536, dry_run=True)
    ran = run("prune", "--dry-run")
    assert ran.stdout == f"would remove {DIGEST}\nwould free 1.5 KiB\n"
    assert app.call.args == (None,)
    assert app.call.options["dry_run"] is True
    assert json.loads(run("prune", "oci:x", "--json").stdout) == {
        "removed": [DIGEST],
        "freed": 1536,
        "dry_run": True,
    }
