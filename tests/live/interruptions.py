"""A model to interrupt the transfers of, and commands that are ended at a moment of their own."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from tests.live.forwarder import Forwarder
from tests.live.registries import Registry
from tests.live.test_everyday import COMMAND, MIB

# The most that a connection may have brought without a note of it, of a file below 512 MiB.
PART = 8 * MIB
# The most that may be on its way in sockets: whatever else was sent, the registry has.
UNDERWAY = 4 * MIB
# Requests, answers, the config and the manifest of one run.
SMALL_THINGS = 256 * 1024
# As of FAT's times, the coarsest: a file that is younger is hashed each time.
GRAIN = 2.1
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def write_distinct(path: Path, size: int, seed: int) -> None:
    """Content in which no MiB is like another, so that a piece in a wrong place is seen."""
    block = random.Random(seed).randbytes(MIB)
    with path.open("wb") as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "big") + block[8:])


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of all files by their path; our own folder is not the model's."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".ocimlpack" not in path.parts:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found


def make_model(folder: Path, seed: int, sizes: Mapping[str, int]) -> dict[str, str]:
    """Weights of so many MiB, and something small; returns the digests."""
    folder.mkdir(parents=True)
    for number, (name, size) in enumerate(sizes.items()):
        write_distinct(folder / name, size * MIB, 1000 * seed + number)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "version": seed}))
    return digests(folder)


def start(*arguments: str | Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def through(link: Forwarder, registry: Registry, repository: str) -> str:
    """The repository, by way of the forwarder."""
    return repository.replace(registry.host, link.host, 1)


def settle(forwarder: Forwarder) -> None:
    """Wait until both sides have let go of all connections."""
    deadline = time.monotonic() + 30
    while forwarder.connections:
        assert time.monotonic() < deadline, "a connection is still open"
        time.sleep(0.005)


@dataclass(frozen=True)
class Moment:
    """When to kill: so many bytes after the beginning, and so many seconds after these."""

    moved: int
    late: float = 0.0


@dataclass
class Interrupted:
    """Runs of one command, most of them killed, until one gets to its end.

    Attributes:
        part: bytes that each connection may have moved in vain when it is killed.
        moved: bytes that all of its runs moved, both ways.
        allowed: bytes in vain that their kills excuse.
    """

    forwarder: Forwarder
    log: Path
    part: int
    moved: int = 0
    allowed: int = 0
    said: list[str] = field(default_factory=list)

    def run(self, *arguments: str | Path, kill: Moment | None = None) -> bool:
        """Whether it got to its end."""
        before = self.forwarder.passed
        connections = 0
        with self.log.open("wb") as log, start(*arguments, log=log) as process:
            try:
                if kill is None:
                    process.wait(120)
                else:
                    self._wait(process, before + kill.moved)
                    time.sleep(kill.late)
                    connections = self.forwarder.connections
            finally:
                process.kill()
        settle(self.forwarder)
        moved = self.forwarder.passed - before
        self.moved += moved
        self.allowed += SMALL_THINGS + min(moved, connections * self.part)
        self.said.append(f"{moved / MIB:.1f} MiB, {connections} connections: {process.returncode}")
        assert process.returncode in (0, -9), self.log.read_text()
        return process.returncode == 0

    def _wait(self, process: subprocess.Popen[bytes], passed: int) -> None:
        while process.poll() is None and not self.forwarder.wait(passed, 0.01):
            pass


def manifest_of(host: str, repository: str, tag: str) -> dict[str, Any] | None:
    """What a tag stands for, asked of the registry itself; None for nothing."""
    name = repository.partition("/")[2]
    with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request("GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": MANIFEST})
        answer = connection.getresponse()
        content = answer.read()
    if answer.status == 404:
        return None
    assert answer.status == 200
    manifest: dict[str, Any] = json.loads(content)
    return manifest


def has_blob(host: str, repository: str, digest: str, size: int | None = None) -> bool:
    """Whether the registry says so itself; of that size, where one is given."""
    name = repository.partition("/")[2]
    digest = digest if ":" in digest else f"sha256:{digest}"
    with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request("HEAD", f"/v2/{name}/blobs/{digest}")
        answer = connection.getresponse()
    found = answer.headers.get("Content-Length")
    return answer.status == 200 and (size is None or found == str(size))


def check_whole(host: str, repository: str, tag: str) -> None:
    """What the tag stands for, if it is there, is there with all that it names."""
    manifest = manifest_of(host, repository, tag)
    for desc in [*manifest["layers"], manifest["config"]] if manifest else []:
        assert has_blob(host, repository, desc["digest"], desc["size"])


def left_behind(folder: Path, *known: str) -> list[Path]:
    """Files in a folder that are not among those known, which may be folders."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and not any(path.is_relative_to(folder / each) for each in known)
    ]


def age(folder: Path, days: float = 30) -> None:
    """Let everything in a folder have been written long ago."""
    then = time.time() - days * 24 * 3600
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def cache() -> Path:
    """Where the command keeps what it may lose."""
    return Path(os.environ["OCIMLPACK_HOME"]) / "cache"


def chance_of(request: pytest.FixtureRequest) -> random.Random:
    """A new seed for each run; pytest shows it with a failure, because it is printed."""
    seed = int(os.environ.get("KILL_SEED") or random.SystemRandom().getrandbits(32))
    print(f"KILL_SEED={seed} repeats the moments of {request.node.name}")
    return random.Random(seed)
