from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ocimlpack.app.results import LoggedIn
from tests.cli.conftest import App, Run

DONE = LoggedIn("registry.example.com", "alice", "/home/alice/.docker/config.json")
HOST = "registry.example.com"


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def feed(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return feed


@pytest.mark.parametrize(
    ("sent", "password"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b" se cr\xc3\xa9t \n", " se crét "),
    ],
)
def test_the_password_comes_from_standard_input_less_one_newline(
    app: App, run: Run, stdin: Callable[[bytes], None], sent: bytes, password: str
) -> None:
    app.answers["login"] = DONE
    stdin(sent)
    ran = run("login", HOST, "-u", "alice", "--password-stdin")
    assert (ran.code, ran.stdout) == (0, "")
    assert ran.stderr.splitlines() == [
        "Login succeeded",
        "credentials for alice at registry.example.com are in /home/alice/.docker/config.json",
    ]
    assert app.call.args == (HOST, "alice", password)


def test_login_in_json_says_where_the_credentials_are(
    app: App, run: Run, stdin: Callable[[bytes], None]
) -> None:
    app.answers["login"] = DONE
    stdin(b"secret")
    ran = run("login", HOST, "-u", "alice", "--password-stdin", "--json")
    assert json.loads(ran.stdout)["stored"] == DONE.stored
    assert ran.stderr == ""


def test_a_password_in_the_arguments_is_warned_about(app: App, run: Run) -> None:
    app.answers["login"] = DONE
    ran = run("login", HOST, "-u", "alice", "-p", "secret")
    assert ran.code == 0
    assert ran.stderr.startswith("warning: --password shows in the list of processes")
    assert "secret" not in ran.stderr
    assert app.call.args == (HOST, "alice", "secret")


@pytest.mark.parametrize("args", [[], ["-u", "alice"], ["-p", "secret", "-q"]])
def test_without_a_terminal_login_asks_nothing(
    app: App, run: Run, stdin: Callable[[bytes], None], args: list[str]
) -> None:
    stdin(b"")
    ran = run("login", HOST, *args)
    assert ran.code == 2
    assert "no terminal" in ran.stderr
    assert "hint: " in ran.stderr
    assert app.calls == []


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_password_that_is_none_is_refused(
    app: App, run: Run, stdin: Callable[[bytes], None], content: bytes
) -> None:
    stdin(content)
    ran = run("login", HOST, "-u", "alice", "--password-stdin")
    assert ran.code == 2
    assert app.calls == []


def test_two_passwords_are_bad_usage(app: App, run: Run) -> None:
    ran = run("login", HOST, "-u", "alice", "-p", "secret", "--password-stdin")
    assert ran.code == 2
    assert "secret" not in ran.stderr + ran.stdout


def test_on_a_terminal_login_asks_and_hides_the_password(
    app: App,
    run: Run,
    on_terminal: Callable[[list[str]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app.answers["login"] = DONE
    asked: list[tuple[str, bool]] = []

    def prompt(text: str, hide_input: bool = False, **_: Any) -> str:
        asked.append((text, hide_input))
        return "secret" if hide_input else "alice"

    monkeypatch.setattr("click.prompt", prompt)
    on_terminal(["stdin"])
    assert run("login", HOST).code == 0
    assert asked == [(f"Username for {HOST}", False), ("Password", True)]
    assert app.call.args == (HOST, "alice", "secret")


def test_logout_says_whether_there_was_anything(app: App, run: Run) -> None:
    app.answers["logout"] = True
    assert run("logout", HOST).stderr == f"logged out of {HOST}\n"
    app.answers["logout"] = False
    assert run("logout", HOST).stderr == f"not logged in to {HOST}\n"
    assert json.loads(run("logout", HOST, "--json").stdout) == {"host": HOST, "removed": False}
