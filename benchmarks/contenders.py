"""Who is compared, and how each is told to push a folder of files and to pull it again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from tests.live.registries import find_program

OURS = "ocimlpack"
ORAS = "oras CLI"
ORAS_PY = "oras-py"

Command = list[str]


@dataclass(frozen=True)
class Job:
    """A model and the reference that it has or is to have.

    Attributes:
        model: the folder; commands are run in it. It has no folders in it.
        reference: HOST/NAME:TAG; the host speaks plain http.
        home: the user's home, for what a contender keeps.
    """

    model: Path
    reference: str
    home: Path

    @property
    def names(self) -> list[str]:
        """The model's files."""
        return sorted(path.name for path in self.model.iterdir())

    def at(self, host: str, tag: str = "1") -> Job:
        """The same model under another tag, or by another way to the same registry."""
        name = self.reference.partition("/")[2].rpartition(":")[0]
        return replace(self, reference=f"{host}/{name}:{tag}")


class Contender(Protocol):
    """One of those that are compared. `version` is what it says of itself."""

    name: str
    version: str

    def push(self, job: Job) -> list[Command]:
        """The commands, one after the other, that bring the folder as it is now to the registry."""
        ...

    def pull(self, job: Job, folder: Path) -> dict[str, list[Command]]:
        """The commands that bring the files to `folder`; under one name for each way of doing it.

        `folder` is not there yet, and the home is not the one from which was pushed.
        """
        ...


class Ocimlpack:
    """The program of this repository, started anew for each job as a user would."""

    name = OURS

    def __init__(self, jobs: int | None = None) -> None:
        self.program = str(Path(sys.executable).with_name("ocimlpack"))
        self.version = version("ocimlpack")
        self._options = ["--quiet"] if jobs is None else ["--quiet", "--jobs", str(jobs)]

    def push(self, job: Job) -> list[Command]:
        return [[self.program, "push", str(job.model), job.reference, *self._options]]

    def pull(self, job: Job, folder: Path) -> dict[str, list[Command]]:
        command = [self.program, "pull", job.reference, "-o", str(folder), *self._options]
        return {self.name: [command]}


class OrasCli:
    """The oras CLI: pushes with its default, and pulls both with its default and with more.

    With `jobs` given, it pushes and pulls with that many at a time and no other way.
    """

    name = ORAS
    PULLS = (3, 8)

    def __init__(self, program: str, jobs: int | None = None) -> None:
        self.program = program
        self.version = _ask(program, "version").partition("\n")[0].split()[-1]
        self._jobs = jobs

    def push(self, job: Job) -> list[Command]:
        options = [] if self._jobs is None else ["--concurrency", str(self._jobs)]
        return [[*self._command("push"), *options, job.reference, *job.names]]

    def pull(self, job: Job, folder: Path) -> dict[str, list[Command]]:
        # One file is one connection's work, however many are allowed.
        ways = self.PULLS[: len(job.names)] if self._jobs is None else (self._jobs,)
        return {
            f"{self.name}, {jobs} at a time": [
                [
                    *self._command("pull"),
                    *("--concurrency", str(jobs), job.reference, "-o", str(folder)),
                ]
            ]
            for jobs in ways
        }

    def _command(self, job: str) -> Command:
        return [self.program, job, "--plain-http", "--no-tty"]


class OrasPy:
    """The client of the `oras` package, in a Python of its own."""

    name = ORAS_PY

    def __init__(self) -> None:
        self.version = version("oras")
        script = str(Path(__file__).with_name("oras_py.py"))
        # -P: what lies beside the script is no library.
        self._command = [sys.executable, "-P", script]

    def push(self, job: Job) -> list[Command]:
        return [[*self._command, "push", job.reference, *job.names]]

    def pull(self, job: Job, folder: Path) -> dict[str, list[Command]]:
        return {self.name: [[*self._command, "pull", job.reference, str(folder)]]}


class Modctl:
    """modctl, which builds straight into the registry and extracts straight from it."""

    name = "modctl"

    def __init__(self, program: str) -> None:
        self.program = program
        self.version = _field(_ask(program, "version"), "Version:")

    def push(self, job: Job) -> list[Command]:
        modelfile = job.home / "Modelfile"
        modelfile.write_text("NAME bench\nMODEL *.safetensors\nDOC *.txt\n")
        build = [self.program, "build", "--output-remote", "--plain-http", "--no-progress"]
        return [[*build, "-t", job.reference, "-f", str(modelfile), "."]]

    def pull(self, job: Job, folder: Path) -> dict[str, list[Command]]:
        pull = [self.program, "pull", "--plain-http", "--no-progress", "--extract-from-remote"]
        return {self.name: [[*pull, "--extract-dir", str(folder), job.reference]]}


class Kit:
    """KitOps, which packs into a store of its own before it pushes."""

    name = "KitOps"

    def __init__(self, program: str) -> None:
        self.program = program
        self.version = _field(_ask(program, "version"), "Version:")

    def push(self, job: Job) -> list[Command]:
        first, *others = job.names
        kitfile = job.home / "Kitfile"
        kitfile.write_text(
            # JSON is YAML.
            json.dumps(
                {
                    "manifestVersion": "1.0.0",
                    "package": {"name": "bench"},
                    "model": {
                        "name": "bench",
                        "path": first,
                        "parts": [{"path": other} for other in others],
                    },
                }
            )
        )
        quiet = ["--progress", "none"]
        return [
            [self.program, "pack", ".", "-f", str(kitfile), "-t", job.reference, *quiet],
            [self.program, "push", job.reference, "--plain-http", *quiet],
        ]

    def pull(self, job: Job, folder: Path) -> dict[str, list[Command]]:
        unpack = [self.program, "unpack", job.reference, "-d", str(folder), "--plain-http"]
        return {self.name: [[*unpack, "--progress", "none"]]}


def find_contenders(jobs: int | None = None) -> list[Contender]:
    """Those that are on this machine; ours is always one, and the oras CLI the first of the others.

    Args:
        jobs: files that ours and the oras CLI move at a time; None for what each does by itself.
    """
    found: list[Contender] = [Ocimlpack(jobs)]
    oras = find_program("oras")
    if oras is not None:
        found.append(OrasCli(oras, jobs))
    found.append(OrasPy())
    for name, kind in (("modctl", Modctl), ("kit", Kit)):
        program = find_program(name)
        if program is not None:
            found.append(kind(program))
    return found


def _ask(program: str, *arguments: str) -> str:
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def _field(text: str, name: str) -> str:
    return next((line.split()[-1] for line in text.splitlines() if line.startswith(name)), "?")
