from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest

from ocimlpack.app.transfers import Content, Pulled, Transferred
from ocimlpack.cli.main import main
from ocimlpack.progress import Began, Ended, Planned, Retried, Warned
from tests.cli.conftest import DIGEST, App, Run

MIB = 1024 * 1024
DEST = f"localhost:5000/team/minilm@{DIGEST}"


def transferred(**changes: Any) -> Transferred:
    values: dict[str, Any] = {
        "reference": DEST,
        "digest": DIGEST,
        "size": 3 * MIB,
        "files": 2,
        "moved": 2 * MIB,
        "skipped": MIB,
    }
    return Transferred(**(values | changes))


def pulled(path: str = "minilm") -> Pulled:
    return Pulled(path, DEST, DIGEST, files=2, size=3 * MIB, moved=2 * MIB, kept=MIB)


@pytest.mark.parametrize(
    "args", [("pack", "./m", "-t", "x"), ("push", "./m", "x"), ("copy", "a", "b")]
)
def test_standard_output_is_the_pinned_reference_alone(
    app: App, run: Run, args: tuple[str, ...]
) -> None:
    app.answers[args[0]] = transferred(tags=("1.0",))
    ran = run(*args)
    assert (ran.code, ran.stdout) == (0, f"{DEST}\n")
    verb = {"pack": "packed", "push": "pushed", "copy": "copied"}[args[0]]
    assert ran.stderr == (f"{verb} 2 files, 3.0 MiB (1.0 MiB already there)\ntagged 1.0\n")
    assert run(*args, "-q").stderr == ""


def test_json_is_the_result_as_it_is(app: App, run: Run) -> None:
    app.answers["push"] = transferred(tags=("1.0", "latest"), warnings=("no weights",))
    ran = run("push", "./m", "x", "--json")
    assert json.loads(ran.stdout) == {
        "reference": DEST,
        "digest": DIGEST,
        "size": 3 * MIB,
        "files": 2,
        "tags": ["1.0", "latest"],
        "moved": 2 * MIB,
        "skipped": MIB,
        "mounted": 0,
        "warnings": ["no weights"],
        "plan": [],
        "dry_run": False,
        "fallback": None,
        "reason": None,
    }
    assert ran.stderr == "warning: no weights\n"


def test_a_warning_is_said_once_though_event_and_result_hold_it(app: App, run: Run) -> None:
    app.answers["push"] = transferred(warnings=("no weights",))
    app.events = (Warned("no weights"),)
    assert run("push", "./m", "x").stderr.count("warning: no weights\n") == 1
    assert "no weights" not in run("push", "./m", "x", "-q").stderr


def test_push_hands_on_every_option(app: App, run: Run) -> None:
    app.answers["push"] = transferred()
    ran = run(
        *("push", "./m", "localhost:5000/m:1.0", "-t", "a", "--tag", "b", "--dry-run"),
        *("--name", "n", "--version", "2", "--license", "MIT", "--file", "m.yaml"),
        *("--annotation", "k=v=w", "--annotation", "e=", "--include", "*.a", "--include", "*.b"),
        *("--exclude", "*.c", "--artifact-type", "x/y", "--config", "c.json:x/z"),
        *("--created", "2024-01-01T00:00:00Z", "--dereference", "--plain-http", "-j", "8"),
    )
    assert ran.code == 0
    assert app.call.args == ("./m", "localhost:5000/m:1.0")
    assert app.call.options == {
        "tags": ("a", "b"),
        "dry_run": True,
        "name": "n",
        "version": "2",
        "license": "MIT",
        "file": "m.yaml",
        "annotations": {"k": "v=w", "e": ""},
        "include": ("*.a", "*.b"),
        "exclude": ("*.c",),
        "artifact_type": "x/y",
        "config": "c.json:x/z",
        "created": "2024-01-01T00:00:00Z",
        "dereference": True,
        "plain_http": True,
        "jobs": 8,
    }


def test_what_is_not_given_is_not_handed_on(app: App, run: Run) -> None:
    app.answers["push"] = transferred()
    run("push", "./m", "x")
    assert app.call.options == {"tags": (), "dry_run": False, "jobs": 4}


@pytest.mark.parametrize("text", ["novalue", "=v"])
def test_an_annotation_without_key_or_value_is_bad_usage(app: App, run: Run, text: str) -> None:
    ran = run("push", "./m", "x", "--annotation", text)
    assert ran.code == 2
    assert "KEY=VALUE" in ran.stderr
    assert app.calls == []


def test_packs_first_tag_is_the_location_and_the_others_are_tags(app: App, run: Run) -> None:
    app.answers["pack"] = transferred()
    assert run("pack", "./m", "-t", "oci:out:1.0", "-t", "latest").code == 0
    assert app.call.args == ("./m", "oci:out:1.0")
    assert app.call.options["tags"] == ["latest"]


@pytest.mark.parametrize("second", ["oci:other", "minilm:2.0", "a/b"])
def test_packs_second_tag_can_not_be_a_location(app: App, run: Run, second: str) -> None:
    ran = run("pack", "./m", "-t", "oci:out:1.0", "-t", second)
    assert ran.code == 2
    assert "bare TAG" in ran.stderr
    assert app.calls == []


def test_pack_needs_a_target(app: App, run: Run) -> None:
    ran = run("pack", "./m")
    assert ran.code == 2
    assert "--tag" in ran.stderr


def test_a_dry_run_lists_the_fate_of_each_piece(app: App, run: Run) -> None:
    plan = (
        Content("model\x1b.bin", "x/y", DIGEST, 2 * MIB, "upload"),
        Content("config", "x/y", DIGEST, 12, "skip"),
    )
    app.answers["push"] = transferred(dry_run=True, plan=plan)
    ran = run("push", "./m", "x", "--dry-run")
    assert ran.stdout.splitlines() == [
        "ACTION     SIZE  DIGEST               PATH",
        r"upload  2.0 MiB  sha256:0123456789ab  model\x1b.bin",
        "skip       12 B  sha256:0123456789ab  config",
        DEST,
    ]
    assert ran.stderr.startswith("nothing changed; would have pushed 2 files")
    as_json = json.loads(run("push", "./m", "x", "--dry-run", "--json").stdout)
    assert as_json["plan"][1] == {
        "path": "config",
        "media_type": "x/y",
        "digest": DIGEST,
        "size": 12,
        "fate": "skip",
    }


def test_copy_hands_on_its_options(app: App, run: Run) -> None:
    app.answers["copy"] = transferred()
    run("copy", "a:1", "oci:b:1", "--referrers", "-t", "x", "--dry-run")
    assert app.call.args == ("a:1", "oci:b:1")
    assert app.call.options == {"tags": ("x",), "referrers": True, "dry_run": True, "jobs": 4}


def test_pull_prints_the_folder(app: App, run: Run) -> None:
    app.answers["pull"] = pulled()
    ran = run("pull", "minilm:1.0", "-o", "out", "--include", "a", "--exclude", "b", "--force")
    assert ran.stdout == "minilm\n"
    assert ran.stderr == f"pulled 2 files, 3.0 MiB (1.0 MiB kept as they were), from {DEST}\n"
    assert app.call.args == ("minilm:1.0", "out")
    assert app.call.options == {"include": ("a",), "exclude": ("b",), "force": True, "jobs": 4}


def test_a_folder_is_printed_exactly_to_a_program_and_escaped_to_a_terminal(
    app: App,
    capfdbinary: pytest.CaptureFixture[bytes],
    on_terminal: Callable[[list[str]], None],
) -> None:
    name = b"caf\xc3\xa9\xe9\x1b"
    app.answers["pull"] = pulled(os.fsdecode(name))
    assert main(["pull", "x", "-q"]) == 0
    assert capfdbinary.readouterr().out == name + b"\n"
    on_terminal(["stdout"])
    assert main(["pull", "x", "-q"]) == 0
    assert capfdbinary.readouterr().out == b"caf\xc3\xa9\\udce9\\x1b\n"


def test_pull_to_standard_output_is_the_files_bytes_alone(
    app: App, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    content = b"\x00\x1b[31m\xff\r\n"

    def read(_: str, stream: BinaryIO) -> Pulled:
        stream.write(content)
        return pulled()

    app.answers["read_file"] = read
    assert main(["pull", "minilm:1.0", "-o", "-", "--include", "model.bin", "-q"]) == 0
    assert capfdbinary.readouterr().out == content
    assert app.call.args[0] == "minilm:1.0"
    assert app.call.options == {"include": ("model.bin",), "exclude": (), "jobs": 4}


@pytest.mark.parametrize("extra", ["--json", "--force"])
def test_what_can_not_go_with_standard_output_is_refused(app: App, run: Run, extra: str) -> None:
    ran = run("pull", "minilm:1.0", "-o", "-", extra)
    assert ran.code == 2
    assert f"{extra} does not go with -o -" in ran.stderr
    assert "hint: see `ocimlpack pull --help`" in ran.stderr
    assert app.calls == []


def test_piped_progress_is_plain_lines(app: App, run: Run) -> None:
    app.answers["push"] = transferred()
    app.events = (
        Planned("pushing", 2, 3 * MIB),
        Began("model.bin", 3 * MIB),
        Ended("model.bin", 3 * MIB, "moved"),
    )
    assert run("push", "./m", "x").stderr.splitlines()[:2] == [
        "pushing 2 blobs, 3.0 MiB",
        "uploaded model.bin 3.0 MiB",
    ]
    for silent in ("--no-progress", "-q", "--json"):
        assert "model.bin" not in run("push", "./m", "x", silent).stderr


def test_verbose_says_what_is_tried_again(app: App, run: Run) -> None:
    app.answers["push"] = transferred()
    app.events = (Retried("503 from \x1bhost", 1.5),)
    assert "trying again" not in run("push", "./m", "x").stderr
    for options in (["-v"], ["-v", "--json"], ["-v", "--no-progress"]):
        stderr = run("push", "./m", "x", *options).stderr
        assert "trying again in 1.5 s: 503 from \\x1bhost\n" in stderr
