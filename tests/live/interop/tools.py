"""Other people's programs: where they are, which version they have, and what they said."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tests.live.registries import find_program, lack

ROOT = Path(__file__).parents[3]
VENV = ROOT / ".cache" / "interop-venv"
IN_VENV = "make interop installs it from PyPI"


@dataclass(frozen=True)
class Done:
    """A program that has ended.

    Attributes:
        code: its exit code.
        stdout: what it printed.
        said: that, and what it said besides.
    """

    code: int
    stdout: str
    said: str


@dataclass(frozen=True)
class Tool:
    """A program that somebody else wrote.

    Attributes:
        program: its name.
        name: what it is called, for the page.
        url: what it is.
        install: how one gets it.
        version: the arguments that make it say its version; none for packages of Python.
        optional: on no package registry, so that it is used only where it happens to be.
    """

    program: str
    name: str
    url: str
    install: str
    version: tuple[str, ...] = ()
    optional: bool = False

    @property
    def path(self) -> Path | None:
        """Where it is."""
        if self.version:
            found = find_program(self.program)
            return Path(found) if found else None
        path = VENV / "bin" / self.program
        return path if path.exists() else None

    def demand(self) -> None:
        """Skip the test where it is missing; in CI fail."""
        if self.path is None:
            lack(f"there is no {self.program}: {self.install}")

    @property
    def is_due(self) -> bool:
        """Whether it is to be tried here: always, unless nobody can be told how to get it."""
        return not self.optional or self.path is not None

    @property
    def seen_version(self) -> str:
        """Such as `1.3.6`."""
        return _version(self)

    def run(
        self, *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Done:
        """Run it to its end, whatever that is."""
        assert self.path is not None, self.install
        done = subprocess.run(
            [str(self.path), *map(str, arguments)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=120,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )
        return Done(done.returncode, done.stdout, done.stdout + done.stderr)

    def __call__(
        self, *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> str:
        """Its stdout; its failure is one of the test, with all that it said."""
        done = self.run(*arguments, cwd=cwd, env=env)
        assert done.code == 0, f"{self.program} {arguments} exited {done.code}:\n{done.said}"
        return done.stdout


@cache
def _version(tool: Tool) -> str:
    if tool.version:
        said = tool.run(*tool.version).said
        found = re.search(r"\d+(?:\.\d+)+(?:\+\d+)?", said)
        assert found, f"{tool.program} says no version: {said}"
        return found[0]
    package = tool.url.strip("/").rpartition("/")[2]
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.check_output([VENV / "bin" / "python", "-c", asked], text=True).strip()


ORAS = Tool(
    "oras", "oras", "https://oras.land", "go install oras.land/oras/cmd/oras@v1.3.6", ("version",)
)
CRANE = Tool(
    "crane",
    "crane",
    "https://github.com/google/go-containerregistry",
    "go install github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    ("version",),
)
REGCTL = Tool(
    "regctl",
    "regctl",
    "https://github.com/regclient/regclient",
    "go install github.com/regclient/regclient/cmd/regctl@v0.11.7",
    ("version",),
)
SKOPEO = Tool(
    "skopeo",
    "skopeo",
    "https://github.com/containers/skopeo",
    "apt-get install skopeo (or your system's way)",
    ("--version",),
)
CONTAINERD = Tool(
    "ctr",
    "containerd",
    "https://containerd.io",
    "apt-get install containerd (or your system's way)",
    ("--version",),
)
MODCTL = Tool(
    "modctl",
    "modctl",
    "https://github.com/modelpack/modctl",
    "build it from its source",
    ("version",),
    optional=True,
)
KIT = Tool(
    "kit", "KitOps", "https://kitops.org", "build it from its source", ("version",), optional=True
)
ORAS_PY = Tool("python", "oras-py", "https://pypi.org/project/oras/", IN_VENV)
MODELPACK_CLIENT = Tool(
    "modelpack", "modelpack-client", "https://pypi.org/project/modelpack-client/", IN_VENV
)
MODELPACK_LIBRARY = replace(MODELPACK_CLIENT, program="python")
OMLMD = Tool("omlmd", "omlmd", "https://pypi.org/project/omlmd/", IN_VENV)
OLOT = Tool("olot", "olot", "https://pypi.org/project/olot/", IN_VENV)
MODELCAR = Tool("oci-modelcar", "oci-modelcar", "https://pypi.org/project/oci-modelcar/", IN_VENV)

TOOLS = (
    ORAS,
    ORAS_PY,
    MODELPACK_CLIENT,
    OMLMD,
    OLOT,
    MODELCAR,
    CRANE,
    REGCTL,
    SKOPEO,
    CONTAINERD,
    MODCTL,
    KIT,
)
