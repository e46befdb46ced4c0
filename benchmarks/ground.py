"""Where the contenders meet: a registry, a place for files, and a stopwatch."""

from __future__ import annotations

import http.client
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Command
from benchmarks.figures import MIB, Usage
from tests.live.registries import Registry, find_distribution, run_distribution

MEMORY = Path("/dev/shm")
# What could send a contender elsewhere or make it slower than it is for its users. Without compiled
# files a Python program is compiled anew at each start.
FOREIGN_PREFIXES = ("OCIMLPACK_", "XDG_", "DOCKER_", "REGISTRY_", "KITOPS_", "MODCTL_", "PYTHON")
FOREIGN_SUFFIXES = ("_PROXY",)


class FailedError(Exception):
    """A contender did not do its job; the text says what it said."""


@dataclass(frozen=True)
class Ground:
    """A registry of its own, and a folder for everything else, both gone afterwards.

    Attributes:
        registry: distribution 3, on loopback.
        scratch: an empty folder.
        in_memory: whether the scratch folder lies in memory, and whether the registry does.
    """

    registry: Registry
    scratch: Path
    in_memory: tuple[bool, bool]

    def fresh(self, name: str) -> Path:
        """An empty folder of that name; what it held is removed."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def wipe(self) -> None:
        """Let the registry forget everything.

        distribution keeps a blob once for all repositories: an upload of what another repository
        has already is received and then thrown away, which is other work than keeping it. The
        registry has no memory beside its files, as it is configured here.
        """
        shutil.rmtree(self._storage, ignore_errors=True)

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Afterwards the registry has no more content than before."""
        before = self._blobs()
        yield
        for blob in self._blobs() - before:
            shutil.rmtree(blob)

    def manifest_size(self, reference: str) -> int:
        """Bytes of the manifest that stands behind HOST/NAME:TAG."""
        name, _, tag = reference.partition("/")[2].rpartition(":")
        accept = "application/vnd.oci.image.manifest.v1+json"
        with closing(http.client.HTTPConnection(self.registry.host, timeout=10)) as connection:
            path = f"/v2/{name}/manifests/{tag}"
            connection.request("HEAD", path, headers={"Accept": accept})
            response = connection.getresponse()
        if response.status != 200:
            raise FailedError(f"{reference}: {response.status} {response.reason}")
        return int(response.headers["Content-Length"])

    @property
    def _storage(self) -> Path:
        assert self.registry.storage is not None, "the registry's files are on this machine"
        return self.registry.storage / "docker"

    def _blobs(self) -> set[Path]:
        return set(self._storage.glob("registry/v2/blobs/sha256/*/*"))


@contextmanager
def prepare(scratch_room: int, registry_room: int) -> Iterator[Ground]:
    """A new ground, each half of it in memory where that leaves as much memory free.

    Args:
        scratch_room: bytes that the scratch folder will hold at the most.
        registry_room: bytes that the registry will hold at the most.
    """
    server = find_distribution(3)
    if server is None:
        sys.exit("There is no distribution 3: benchmarks/README.md says how to get it.")
    served = MEMORY if fits_memory(registry_room) else None
    # Counted together, although the registry's files are not there yet.
    place = MEMORY if served and fits_memory(scratch_room + registry_room) else None
    with (
        tempfile.TemporaryDirectory(prefix="ocimlpack-bench-", dir=served) as storage,
        tempfile.TemporaryDirectory(prefix="ocimlpack-bench-", dir=place) as scratch,
        run_distribution(server, Path(storage)) as registry,
    ):
        yield Ground(registry, Path(scratch), (place is not None, served is not None))


def fits_memory(room: int) -> bool:
    """Whether so many bytes of files may lie in memory."""
    if not MEMORY.is_dir():
        return False
    return 2 * room < _available_memory() and room < shutil.disk_usage(MEMORY).free


def _available_memory() -> int:
    """Bytes that programs can still have; 0 where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0
    found = (line.split() for line in lines if line.startswith("MemAvailable:"))
    return next((int(words[1]) * 1024 for words in found), 0)


def environment(home: Path) -> dict[str, str]:
    """What a contender sees: this process's variables, but for those that are about somebody."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(FOREIGN_PREFIXES)
        and not name.upper().endswith(FOREIGN_SUFFIXES)
    }
    return {**kept, "HOME": str(home)}


def touch_memory(room: int) -> None:
    """Take so many bytes of free memory into use, and give them back at once.

    A virtual machine's free memory may be given back to its host, page by page after a few seconds
    of rest (https://docs.kernel.org/mm/free_page_reporting.html), and to get it again takes several
    times as long as to write to it. Who runs first would pay for all others.
    """
    available = _available_memory()
    if available and hasattr(mmap, "MAP_POPULATE"):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        mmap.mmap(-1, min(room, available // 2), flags=flags).close()


def run(commands: list[Command], folder: Path, home: Path) -> tuple[Usage, str]:
    """Run commands one after the other in a folder; returns what they used and their stdout.

    Raises:
        FailedError: one of them ended with another exit code than 0.
    """
    total, said = Usage(0.0, 0.0, 0), ""
    for command in commands:
        used, output = _run_one(command, folder, home)
        total, said = total + used, said + output
    return total, said


def _run_one(command: Command, folder: Path, home: Path) -> tuple[Usage, str]:
    launcher = Path(__file__).with_name("launch.py")
    # As much as a program, its result and the registry's copy may need, and a rest.
    touch_memory(3 * sum(path.stat().st_blocks for path in folder.iterdir()) * 512 + 256 * MIB)
    with tempfile.NamedTemporaryFile("r", encoding="ascii") as report:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(launcher), report.name, *command],
            cwd=folder,
            env=environment(home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout}{done.stderr}".strip()[-2000:]
            raise FailedError(f"{' '.join(command)[:300]} exited {done.returncode}:\n{said}")
        wall, cpu, peak = report.read().split()
    # Linux counts kibibytes, macOS bytes (getrusage(2)).
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(float(wall), float(cpu), int(peak) * unit), done.stdout


def describe_memory() -> str:
    """How much this machine has, in GiB."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return "?"
    return f"{total / (1024 * MIB):.0f} GiB"
