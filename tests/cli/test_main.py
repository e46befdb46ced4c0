from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from ocimlpack import errors
from ocimlpack.cli import main as program
from tests.cli.conftest import DIGEST, App, Run

PYTHON = [sys.executable, "-m", "ocimlpack"]
ROOT = Path(__file__).parents[2]
HEAVY = {"oras", "requests", "urllib3", "rich", "yaml", "oci", "pathspec", "filelock"}


def environment(**extra: str) -> dict[str, str]:
    # Where the environment takes the buffers away, their leftovers can't be tested.
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**inherited, "PYTHONPATH": str(ROOT), **extra}


def ocimlpack(
    *args: str, code: str | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args] if code else [*PYTHON, *args]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(**extra), timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (errors.OcimlpackError("m"), 1, "error"),
        (errors.InvalidReferenceError("m"), 2, "invalid_reference"),
        (errors.NotFoundError("m"), 3, "not_found"),
        (errors.NotAllowedError("m"), 4, "not_allowed"),
        (errors.IntegrityError("m"), 5, "integrity"),
        (errors.UnavailableError("m"), 6, "unavailable"),
        (errors.ConflictError("m"), 7, "conflict"),
        (errors.UnsupportedError("m"), 8, "unsupported"),
        (errors.RefusedError("m"), 9, "refused"),
    ],
)
def test_each_error_has_its_exit_code(
    app: App, run: Run, error: errors.OcimlpackError, code: int, kind: str
) -> None:
    app.answers["tags"] = error
    ran = run("tags", "minilm", "--json")
    assert ran.code == code
    assert json.loads(ran.stdout) == {"error": {"kind": kind, "message": "m"}}


def test_an_error_is_a_sentence_and_a_hint_on_standard_error(app: App, run: Run) -> None:
    app.answers["tags"] = errors.NotFoundError("no tag 2.0", hint="there is 1.0")
    ran = run("tags", "minilm")
    assert ran.stderr == "ocimlpack: no tag 2.0\nhint: there is 1.0\n"
    assert ran.stdout == ""


def test_an_error_in_json_has_all_that_is_known_and_no_nulls(app: App, run: Run) -> None:
    app.answers["tags"] = errors.UnavailableError(
        "the registry is failing", hint="try later", side="source", digest=DIGEST, status=503
    )
    ran = run("tags", "minilm", "--json")
    assert json.loads(ran.stdout)["error"] == {
        "kind": "unavailable",
        "message": "the registry is failing",
        "hint": "try later",
        "side": "source",
        "digest": DIGEST,
        "status": 503,
    }
    assert ran.stderr == "ocimlpack: the registry is failing\nhint: try later\n"


def test_what_a_registry_says_can_not_steer_the_terminal(app: App, run: Run) -> None:
    app.answers["tags"] = errors.NotFoundError("\x1b]0;owned\x07\nok", hint="\u202egnp")
    ran = run("tags", "minilm")
    assert ran.stderr == "ocimlpack: \\x1b]0;owned\\x07\\x0aok\nhint: \\u202egnp\n"


@pytest.mark.parametrize("args", [("push", "./m"), ("push", "--nmae", "x"), ("tags", "a", "b")])
def test_bad_usage_has_the_form_of_every_error(app: App, run: Run, args: tuple[str, ...]) -> None:
    ran = run(*args)
    assert ran.code == 2
    first, second = ran.stderr.splitlines()
    assert first.startswith("ocimlpack: ")
    assert second == f"hint: see `ocimlpack {args[0]} --help`"
    assert ran.stdout == ""
    assert app.calls == []
    as_json = run(*args, "--json")
    assert json.loads(as_json.stdout)["error"]["kind"] == "usage"
    assert as_json.code == 2


def test_json_after_a_double_dash_is_no_option(app: App, run: Run) -> None:
    assert run("tags", "a", "--", "--json").stdout == ""


def test_an_unknown_command_says_which_one_may_have_been_meant(run: Run) -> None:
    ran = run("psuh")
    assert ran.code == 2
    assert ran.stderr.startswith("ocimlpack: there is no command 'psuh'; did you mean push?\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupted_run_exits_130(app: App, run: Run, error: BaseException) -> None:
    app.answers["tags"] = error
    ran = run("tags", "minilm")
    assert ran.code == 130
    assert ran.stderr == "ocimlpack: interrupted; what is complete is kept\n"


def test_any_other_exception_is_a_bug_with_a_traceback(app: App, run: Run) -> None:
    app.answers["tags"] = ValueError("odd \x1b[0m")
    ran = run("tags", "minilm", "--json")
    assert ran.code == 70
    assert "Traceback (most recent call last):" in ran.stderr
    assert "report" in ran.stderr.splitlines()[-1]
    assert "\x1b" not in ran.stderr
    assert json.loads(ran.stdout)["error"]["kind"] == "bug"


def test_a_full_disk_is_no_bug(app: App, run: Run) -> None:
    app.answers["tags"] = OSError(errno.ENOSPC, "No space left on device", "/data/blob")
    ran = run("tags", "minilm")
    assert ran.code == 1
    assert ran.stderr == "ocimlpack: No space left on device: /data/blob\n"


@pytest.mark.parametrize("args", [("--json", "tags", "m"), ("tags", "m", "--json")])
def test_output_options_work_on_both_sides_of_the_command(
    app: App, run: Run, args: tuple[str, ...]
) -> None:
    app.answers["tags"] = ("1.0",)
    assert json.loads(run(*args).stdout) == ["1.0"]


def test_insecure_warns_and_quiet_does_not(app: App, run: Run) -> None:
    app.answers["tags"] = ()
    assert run("tags", "m", "--insecure").stderr.startswith("warning: --insecure")
    assert run("tags", "m", "--insecure", "-q").stderr == ""
    assert [call.options["insecure"] for call in app.calls] == [True, True]


def test_only_the_connection_options_given_are_handed_on(app: App, run: Run) -> None:
    app.answers["tags"] = ()
    run("tags", "m")
    run("tags", "m", "--no-plain-http", "--ca-file", "ca.pem", "-j", "64")
    assert [call.options for call in app.calls] == [
        {"jobs": 4},
        {"jobs": 64, "plain_http": False, "ca_file": "ca.pem"},
    ]


@pytest.mark.parametrize("jobs", ["0", "65", "x"])
def test_the_number_of_jobs_has_limits(app: App, run: Run, jobs: str) -> None:
    assert run("tags", "m", "--jobs", jobs).code == 2


def test_the_version_needs_nothing_heavy() -> None:
    code = (
        "import sys; from ocimlpack.cli.main import main; main(['--version']); print(*sys.modules)"
    )
    ran = ocimlpack(code=code)
    version, modules = ran.stdout.splitlines()
    assert version == "ocimlpack 0.1.0"
    loaded = {name.partition(".")[0] for name in modules.split()}
    assert loaded & HEAVY == set()
    assert "ocimlpack.cli.moving" not in modules.split()


@pytest.mark.parametrize("args", [["--help"], ["push", "--help"], ["help", "pull"]])
def test_help_needs_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from ocimlpack.cli.main import main; main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr)"
    )
    loaded = {name.partition(".")[0] for name in ocimlpack(*args, code=code).stderr.split()}
    assert "click" in loaded
    assert loaded & HEAVY == set()


def test_the_module_runs_as_a_program() -> None:
    ran = ocimlpack("--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ocimlpack 0.1.0\n", "")


def test_a_reader_that_has_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [*PYTHON, "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (program.READER_GONE, b"")


def test_a_full_disk_behind_standard_output_is_an_error() -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [*PYTHON, "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (1, "ocimlpack: No space left on device\n")


def test_a_closed_standard_output_is_an_error() -> None:
    ran = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *PYTHON, "version"],
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "standard output is closed" in ran.stderr


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, program.TERMINATED)]
)
def test_a_signal_lets_the_command_clean_up(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    marker = tmp_path / "cleaned"
    script = f"""
import sys, time, types, pathlib
import ocimlpack.app
def tags(*args, **options):
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        pathlib.Path({str(marker)!r}).touch()
fake = types.ModuleType("ocimlpack.app.naming")
fake.tags = tags
sys.modules[fake.__name__] = ocimlpack.app.naming = fake
sys.argv = ["ocimlpack", "tags", "minilm"]
from ocimlpack.cli.main import run
run()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert stderr == "ocimlpack: interrupted; what is complete is kept\n"
    assert marker.exists()


def test_completion_offers_the_commands() -> None:
    ran = ocimlpack(_OCIMLPACK_COMPLETE="bash_complete", COMP_WORDS="ocimlpack pu", COMP_CWORD="1")
    assert ran.returncode == 0
    assert ran.stdout.split() == ["plain,push", "plain,pull"]
