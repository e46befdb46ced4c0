"""Other people's programs: where they are, which version they have, and what they said."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

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
        origin: where it comes from: as source there is no telling CI how to get it.
        known: the version that the page is about.
    """

    program: str
    name: str
    url: str
    install: str
    origin: Literal["go", "pypi", "system", "source"]
    known: str

    @property
    def path(self) -> Path | None:
        """Where it is."""
        if self.origin != "pypi":
            found = find_program(self.program)
            return Path(found) if found else None
        path = VENV / "bin" / self.program
        return path if path.exists() else None

    def demand(self) -> None:
        """Skip the test where it is missing; in CI fail."""
        if self.path is None:
            what = self.name if self.origin == "pypi" else self.program
            lack(f"there is no {what}: {self.install}")

    @property
    def is_due(self) -> bool:
        """Whether it is to be tried here: always, unless nobody can be told how to get it."""
        return self.origin != "source" or self.path is not None

    @property
    def is_known(self) -> bool:
        """Whether it has to do what the page says, as its version is the one on the page.

        What CI installs itself has to have that version.
        """
        pinned = bool(os.environ.get("CI")) and self.origin in ("go", "pypi")
        return pinned or self.path is None or self.seen_version == self.known

    @property
    def seen_version(self) -> str:
        """Such as `1.3.6`."""
        return _version(self)

    def run(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> Done:
        """Run it to its end, whatever that is; `before` are words before its name."""
        assert self.path is not None, self.install
        done = subprocess.run(
            [*before, str(self.path), *map(str, arguments)],
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
    if tool.origin != "pypi":
        said = tool.run("--version" if tool.origin == "system" else "version").said
        found = re.search(r"\d+(?:\.\d+)+(?:\+\d+)?", said)
        assert found, f"{tool.program} says no version: {said}"
        return found[0]
    package = tool.url.strip("/").rpartition("/")[2]
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.check_output([VENV / "bin" / "python", "-c", asked], text=True).strip()


ORAS = Tool(
    "oras", "oras", "https://oras.land", "go install oras.land/oras/cmd/oras@v1.3.6", "go", "1.3.6"
)
CRANE = Tool(
    "crane",
    "crane",
    "https://github.com/google/go-containerregistry",
    "go install github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    "go",
    "0.22.1",
)
REGCTL = Tool(
    "regctl",
    "regctl",
    "https://github.com/regclient/regclient",
    "go install github.com/regclient/regclient/cmd/regctl@v0.11.7",
    "go",
    "0.11.7",
)
SKOPEO = Tool(
    "skopeo",
    "skopeo",
    "https://github.com/containers/skopeo",
    "apt-get install skopeo (or your system's way)",
    "system",
    "1.9.3",
)
CONTAINERD = Tool(
    "ctr",
    "containerd",
    "https://containerd.io",
    "apt-get install containerd (or your system's way)",
    "system",
    "1.6.20",
)
MODCTL = Tool(
    "modctl",
    "modctl",
    "https://github.com/modelpack/modctl",
    "build it from its source",
    "source",
    "0.2.1+59",
)
KIT = Tool("kit", "KitOps", "https://kitops.org", "build it from its source", "source", "1.7.0+19")
ORAS_PY = Tool("python", "oras-py", "https://pypi.org/project/oras/", IN_VENV, "pypi", "0.2.43")
MODELPACK_CLIENT = Tool(
    "modelpack",
    "modelpack-client",
    "https://pypi.org/project/modelpack-client/",
    IN_VENV,
    "pypi",
    "0.1.0",
)
OMLMD = Tool("omlmd", "omlmd", "https://pypi.org/project/omlmd/", IN_VENV, "pypi", "0.1.6")
OLOT = Tool("olot", "olot", "https://pypi.org/project/olot/", IN_VENV, "pypi", "1.2.1")
MODELCAR = Tool(
    "oci-modelcar",
    "oci-modelcar",
    "https://pypi.org/project/oci-modelcar/",
    IN_VENV,
    "pypi",
    "1.3.0",
)
MODELPACK_LIBRARY = replace(MODELPACK_CLIENT, program="python")

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
