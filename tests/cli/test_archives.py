from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ocimlpack.app.archives import Loaded, Saved, SavedArtifact
from ocimlpack.app.importing import Imported
from tests.cli.conftest import DIGEST, App, Run
from tests.cli.test_moving import DEST, MIB, transferred

SAVED = Saved("x.tar", 3 * MIB, (SavedArtifact("t:1", DIGEST, 2), SavedArtifact("t:2", DIGEST, 0)))


def test_save_prints_the_file_and_says_what_is_in_it(app: App, run: Run) -> None:
    app.answers["save"] = SAVED
    ran = run("save", "t:1", "t:2", "-o", "x.tar", "--no-referrers")
    assert (ran.code, ran.stdout) == (0, "x.tar\n")
    assert ran.stderr == (
        "saved t:1 (sha256:0123456789ab) with 2 referrers\n"
        "saved t:2 (sha256:0123456789ab)\n"
        "2 artifacts, 3.0 MiB\n"
    )
    assert app.call.args == (("t:1", "t:2"), "x.tar")
    assert app.call.options == {"referrers": False, "jobs": 4}


def test_saved_to_standard_output_there_is_nothing_else(app: App, run: Run) -> None:
    def write(_: Any, stream: Any) -> Saved:
        stream.write(b"tar\xff")
        return SAVED

    app.answers["save"] = write
    assert run("save", "t:1", "-o", "-", "-q").code == 0
    assert app.call.args[0] == ("t:1",)


def test_a_terminal_gets_no_archive(
    app: App, run: Run, on_terminal: Callable[[Sequence[str]], None]
) -> None:
    on_terminal(["stdout"])
    ran = run("save", "t:1", "-o", "-")
    assert ran.code == 2
    assert "nothing for a terminal" in ran.stderr


def test_standard_output_is_not_for_two(app: App, run: Run) -> None:
    assert "carries the archive" in run("save", "t:1", "-o", "-", "--json").stderr


@pytest.mark.parametrize("args", [("save", "t:1"), ("save", "-o", "x"), ("load",)])
def test_what_has_to_be_given(app: App, run: Run, args: tuple[str, ...]) -> None:
    assert run(*args).code == 2


def test_load_prints_a_line_for_each(app: App, run: Run) -> None:
    app.answers["load"] = Loaded("x.tar", (transferred(tags=("1",)), transferred()))
    ran = run("load", "x.tar", "localhost:5000/team")
    assert ran.stdout == f"{DEST}\n{DEST}\n"
    assert ran.stderr.splitlines()[0] == (
        f"loaded {DEST}, tagged 1, 3.0 MiB (1.0 MiB already there)"
    )
    assert app.call.args == ("x.tar", "localhost:5000/team")
    assert json.loads(run("load", "x.tar", "--json").stdout)["artifacts"][0]["tags"] == ["1"]
    assert app.calls[-1].args == ("x.tar", None)


@pytest.mark.parametrize(
    ("reason", "said"), [("it is down", "it is only in"), (None, "it is also in")]
)
def test_load_says_what_went_to_a_fallback(
    app: App, run: Run, reason: str | None, said: str
) -> None:
    app.answers["load"] = Loaded("x.tar", (transferred(fallback="oci:/f", reason=reason),))
    assert f"{said} the fallback: oci:/f\n" in run("load", "x.tar").stderr


def test_load_reads_standard_input(app: App, run: Run) -> None:
    app.answers["load"] = Loaded("-", (transferred(dry_run=True),))
    ran = run("load", "-", "--dry-run")
    assert ran.stderr.startswith(f"nothing changed; would have loaded {DEST}")
    assert not isinstance(app.call.args[0], str)


def test_import_says_where_it_is_from(app: App, run: Run) -> None:
    values = {name: getattr(transferred(), name) for name in transferred().__dataclass_fields__}
    app.answers["import_model"] = Imported(**values, source="https://h/a/b", revision="f" * 40)
    ran = run("import", "hf:a/b@v1", DEST, "-t", "x", "--endpoint", "https://h", "--name", "n")
    assert ran.stdout == f"{DEST}\n"
    assert ran.stderr.endswith(f"from https://h/a/b at {'f' * 40}\n")
    assert app.call.args == ("hf:a/b@v1", DEST)
    assert app.call.options == {
        "tags": ("x",),
        "endpoint": "https://h",
        "dry_run": False,
        "name": "n",
        "jobs": 4,
    }
    assert json.loads(run("import", "hf:a/b", DEST, "--json").stdout)["revision"] == "f" * 40
