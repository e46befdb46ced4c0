"""The page that `doctor` makes, and the case that its sections look at."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ocimlpack.app.options import Connection
from ocimlpack.errors import OcimlpackError
from ocimlpack.stores.open import Access

if TYPE_CHECKING:
    from ocimlpack.stores._oras import Session

State = Literal["", "ok", "no", "unknown"]
"""Whether a fact is as it should be, or an ability there; empty where that is no question."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the page. There is no secret in it.

    Attributes:
        name: what it is about.
        value: what was found.
        state: whether that is as it should be.
        instead: what is done where an ability is missing.
    """

    name: str
    value: str
    state: State = ""
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Facts that belong together.

    Attributes:
        name: what they are about, in one word.
        facts: the facts, always in the same order.
        about: the place that they are about, where it is not this machine.
    """

    name: str
    facts: tuple[Fact, ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or could be better.

    Attributes:
        problem: what, in a sentence.
        help: what to do about it; empty where nothing is known.
    """

    problem: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What doctor found. It holds no secret: a person may show it to anybody.

    Attributes:
        reference: what was asked about; empty for this machine alone.
        made: when, by this machine's clock, in UTC.
        sections: what was found.
        findings: what is wrong.
        exit_code: 0, or that of the error with which every transfer would end.
    """

    reference: str
    made: str
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]
    exit_code: int = 0


@dataclass(slots=True)
class Case:
    """What is asked about, and what the sections have found by now.

    Attributes:
        host: the registry; empty where none is meant.
        repository: a repository there; may be empty.
        name: a tag or digest there, or None.
        options: what the caller has asked for.
        access: how registries are reached.
        write: whether what writes is tried; None for: if the repository is there.
        opened: what is to be closed in the end.
        oracle: whether a repository of Oracle Cloud is meant, by a location of its own kind.
        findings: what is wrong.
        failure: the error with which every transfer would end.
        session: the registry, once it has answered.
    """

    host: str
    repository: str
    name: str | None
    options: Connection
    access: Access
    write: bool | None
    opened: ExitStack
    oracle: bool = False
    findings: list[Finding] = field(default_factory=list)
    failure: OcimlpackError | None = None
    session: Session | None = None

    @property
    def place(self) -> str:
        """The registry, with the repository if one is meant."""
        return f"{self.host}/{self.repository}" if self.repository else self.host

    def note(self, problem: str, help_: str | None = None) -> None:
        """Say, once, that something is wrong."""
        finding = Finding(problem, help_ or "")
        if finding not in self.findings:
            self.findings.append(finding)

    def fail(self, error: OcimlpackError) -> None:
        """Say that every transfer would end with such an error; the first one counts."""
        self.note(error.message, error.hint)
        self.failure = self.failure or error
