from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

import ocimlpack.app
from ocimlpack.cli.main import main
from ocimlpack.progress import Event, Reporter

DIGEST = "sha256:" + "0123456789abcdef" * 4


@dataclass(frozen=True)
class Call:
    """One call of a function of the app."""

    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]


@dataclass
class App:
    """Stands in for the app: remembers its calls and answers as told."""

    answers: dict[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    calls: list[Call] = field(default_factory=list)

    @property
    def call(self) -> Call:
        """The only call."""
        (call,) = self.calls
        return call

    def function(self, name: str) -> Callable[..., Any]:
        def answer(*args: Any, **options: Any) -> Any:
            report: Reporter | None = options.pop("report", None)
            self.calls.append(Call(name, args, options))
            for event in self.events:
                assert report is not None
                report(event)
            found = self.answers[name]
            if isinstance(found, BaseException):
                raise found
            return found(*args) if callable(found) else found

        return answer


FUNCTIONS = {
    "moving": ("pack", "push", "copy"),
    "pulling": ("pull", "read_file"),
    "naming": ("tag", "tags", "ls", "repos", "rm", "prune"),
    "looking": ("inspect", "verify"),
    "accounts": ("login", "logout"),
    "doctor": ("doctor",),
    "importing": ("import_model",),
    "archives": ("save", "load"),
    "diff": ("diff",),
}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    stand_in = App()
    for module, names in FUNCTIONS.items():
        fake = ModuleType(f"ocimlpack.app.{module}")
        for name in names:
            setattr(fake, name, stand_in.function(name))
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
        monkeypatch.setattr(ocimlpack.app, module, fake, raising=False)
    return stand_in


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run_it(*args: str) -> Ran:
        code = main(args)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run_it


class Terminal:
    """A standard stream that says it is a terminal."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    def pretend(names: Sequence[str]) -> None:
        monkeypatch.setenv("TERM", "xterm")
        for name in names:
            monkeypatch.setattr(sys, name, Terminal(getattr(sys, name)))

    return pretend
