"""Pulls that are killed, that run out of what the system gives them, and that meet each other."""

from __future__ import annotations

import errno
import fcntl
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import ocimlpack
from ocimlpack.errors import OcimlpackError
from ocimlpack.model import receipt, staging, unpack
from ocimlpack.progress import Event, Moved, Warned, ignore
from ocimlpack.spec import mediatypes
from ocimlpack.stores import partial
from ocimlpack.transfer import parts, ranges
from tests.model.artifacts import Artifact, Layer, artifact, member, metadata, pull, tar, tree
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

PACKED = mediatypes.model_layer("dataset", "tar+gzip")

ENDLESSLY = """
import sys
from pathlib import Path
from tests.model.artifacts import pull
from tests.model.test_interrupted import versions
print("ready", flush=True)
while True:
    for source, _ in versions():
        pull(source, Path(sys.argv[1]))
"""

LIMITED = """
import resource, sys
from pathlib import Path
from ocimlpack.errors import OcimlpackError
from tests.model.artifacts import files, pull
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    pull(files({"small": b"x" * 10_000, "large": b"y" * 3_000_000}), Path(sys.argv[1]))
except OcimlpackError as error:
    print(type(error).__name__, error.message)
"""


def versions() -> list[tuple[Artifact, dict[str, bytes]]]:
    """Two artifacts with some files the same, some changed, some only in one."""
    found = []
    for version in (1, 2):
        chance = random.Random(version)
        plain = {f"{n}.bin": chance.randbytes(150_000) for n in range(4)}
        plain |= {"same/kept": b"kept" * 10_000, f"only/{version}": b"x" * version}
        inside = {f"data/{n}": chance.randbytes(20_000) for n in range(5)} | {f"v{version}": b"v"}
        layers = [Layer(path, content) for path, content in plain.items()]
        packed = tar(*(member(path, content) for path, content in inside.items()), gz=True)
        found.append((artifact(*layers, Layer("data", packed, PACKED)), plain | inside))
    return found


def run(script: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("stands", [False, True])
def test_a_pull_that_is_killed_leaves_only_whole_files_and_the_next_one_goes_on(
    tmp_path: Path, stands: bool
) -> None:
    out = tmp_path / "out"
    both = versions()
    if stands:
        pull(both[0][0], out)
    allowed: dict[str, set[bytes]] = {}
    for _, content in both:
        for path, each in content.items():
            allowed.setdefault(path, set()).add(each)
    for delay in (0.0, 0.002, 0.01, 0.02, 0.04, 0.07, 0.11):
        with run(ENDLESSLY, str(out)) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.kill()
        if out.exists():
            found = tree(out)
            assert found.keys() <= allowed.keys()
            assert all(content in allowed[path] for path, content in found.items())
    for source, content in reversed(both):
        pull(source, out)
        assert tree(out) == content
        assert receipt.verify(out).extra == ()
    unpack.prune(out, dry_run=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (out / ".ocimlpack").iterdir()] == ["receipt.json"]


def test_two_processes_at_once_both_end_with_the_same_whole_folder(tmp_path: Path) -> None:
    script = ENDLESSLY.replace("while True:", "if True:").replace("versions():", "versions()[:1]:")
    (_, content) = versions()[0]
    processes = [run(script, str(tmp_path / "out")) for _ in range(3)]
    for process in processes:
        with process:
            process.communicate(timeout=30)
        assert process.returncode == 0
    assert tree(tmp_path / "out") == content
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_the_system_lets_nobody_write_whole_is_not_left(tmp_path: Path) -> None:
    with run(LIMITED, str(tmp_path / "out")) as process:
        said, _ = process.communicate(timeout=30)
    assert "UnavailableError" in said or "InputError" in said
    assert "large" in said
    assert not (tmp_path / "out").exists()
    (left,) = tmp_path.iterdir()
    assert tree(left) == {"small": b"x" * 10_000}


# Files that come in parts

MIB = 1024 * 1024
PART = MIB // 4
LARGE = random.Random(5).randbytes(4 * MIB)

FROM_REGISTRY = """
import sys
import ocimlpack
from ocimlpack.transfer import links
links.MOST = 2
ocimlpack.pull(sys.argv[1], sys.argv[2], jobs=2)
"""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "WORTHWHILE", MIB)
    monkeypatch.setattr(ranges, "_NOTED", PART // 4)
    monkeypatch.setattr(parts, "_LENGTHS", ())
    monkeypatch.setattr(parts, "_LONGEST", PART)


def offered(scripted: ScriptedRegistry, *layers: Layer) -> str:
    """Puts an artifact into the registry; returns where it is."""
    made = artifact(*layers)
    for content in made.blobs.values():
        scripted.content.add_blob(REPOSITORY, content)
    scripted.content.add_manifest(REPOSITORY, made.manifest, "v1")
    return f"{scripted.host}/{REPOSITORY}:v1"


class EnoughError(OcimlpackError):
    """What a test ends a pull with."""


def enough_at(size: int) -> Callable[[Event], None]:
    def report(event: Event) -> None:
        if isinstance(event, Moved) and event.offset >= size:
            raise EnoughError("enough")

    return report


def bring(reference: str, out: Path, report: Callable[[Event], None] = ignore) -> None:
    ocimlpack.pull(reference, out, jobs=2, report=report)


def test_a_large_file_that_was_killed_in_the_middle_goes_on(
    scripted: ScriptedRegistry, tmp_path: Path
) -> None:
    content = random.Random(6).randbytes(64 * MIB)
    reference = offered(scripted, Layer("model.bin", content))
    out = tmp_path / "out"
    scripted.fault("GET", "/blobs/", times=None, rate=40 * MIB)
    with run(FROM_REGISTRY, reference, str(out)) as process:
        while scripted.sent < 40 * MIB and process.poll() is None:
            time.sleep(0.005)
        process.kill()
    first = scripted.sent
    assert 40 * MIB <= first < len(content)
    assert not out.exists()
    (left,) = tmp_path.iterdir()
    assert tree(left) == {}
    scripted.faults.clear()
    scripted.forget()
    bring(reference, out)
    assert tree(out) == {"model.bin": content}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    # Of each of the two connections what it had not noted, and what was on its way.
    assert scripted.sent <= len(content) - first + 2 * (8 + 1) * MIB


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("stands", [False, True])
def test_a_large_file_goes_on_where_the_last_pull_ended(
    scripted: ScriptedRegistry, tmp_path: Path, stands: bool
) -> None:
    out = tmp_path / "out"
    if stands:
        bring(offered(scripted, Layer("model.bin", b"old"), Layer("same", b"same")), out)
    before = tree(out) if stands else {}
    reference = offered(scripted, Layer("model.bin", LARGE), Layer("same", b"same"))
    with pytest.raises(EnoughError):
        bring(reference, out, enough_at(3 * MIB))
    assert (tree(out) if stands else {}) == before
    scripted.forget()
    events: list[Event] = []
    bring(reference, out, events.append)
    assert tree(out) == {"model.bin": LARGE, "same": b"same"}
    assert receipt.verify(out).extra == ()
    assert scripted.sent <= MIB + 4 * PART
    assert not [event for event in events if isinstance(event, Warned)]
    unpack.prune(out, dry_run=False)
    assert [path.name for path in (out / ".ocimlpack").iterdir()] == ["receipt.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("small_parts")
def test_parts_that_nobody_goes_on_with_are_pruned(
    scripted: ScriptedRegistry, tmp_path: Path
) -> None:
    reference = offered(scripted, Layer("model.bin", LARGE))
    with pytest.raises(EnoughError):
        bring(reference, tmp_path / "out", enough_at(2 * MIB))
    ((_, size),) = unpack.prune(tmp_path / "out", dry_run=False)
    assert size >= len(LARGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_parts")
def test_nothing_is_left_of_a_pull_that_brought_nothing(
    scripted: ScriptedRegistry, tmp_path: Path
) -> None:
    reference = offered(scripted, Layer("model.bin", LARGE))
    scripted.fault("GET", "/blobs/", times=None, status=404)
    with pytest.raises(OcimlpackError):
        bring(reference, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_with_several_names_comes_once(
    scripted: ScriptedRegistry, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    layers = [Layer("a.bin", LARGE), Layer("b/c.bin", LARGE), Layer("d.bin", LARGE)]
    bring(offered(scripted, *layers), out)
    assert tree(out) == {"a.bin": LARGE, "b/c.bin": LARGE, "d.bin": LARGE}
    assert len({(out / path).stat().st_ino for path in tree(out)}) == 3
    assert scripted.sent <= len(LARGE) + 4 * PART


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_has_the_mode_that_it_should_have(
    scripted: ScriptedRegistry, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    runs = Layer("run", LARGE, annotations=metadata(0o755))
    bring(offered(scripted, runs, Layer("data", LARGE[:-1])), out)
    assert (out / "run").stat().st_mode & 0o111
    assert not (out / "data").stat().st_mode & 0o111


@pytest.mark.usefixtures("small_parts")
def test_a_large_archive_is_unpacked_as_it_comes(
    scripted: ScriptedRegistry, tmp_path: Path
) -> None:
    packed = tar(member("data/a", LARGE), member("data/b", b"b"), gz=True)
    bring(offered(scripted, Layer("data", packed, PACKED)), tmp_path / "out")
    assert tree(tmp_path / "out") == {"data/a": LARGE, "data/b": b"b"}


@pytest.mark.usefixtures("small_parts")
def test_without_locks_a_large_file_goes_on_all_the_same(
    scripted: ScriptedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    locks = SimpleNamespace(flock=refuse, LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB)
    monkeypatch.setattr(staging, "fcntl", locks)
    monkeypatch.setattr(partial, "fcntl", locks)
    monkeypatch.setattr(partial, "_QUIET_SECONDS", 0.0)
    reference = offered(scripted, Layer("model.bin", LARGE))
    out = tmp_path / "out"
    with pytest.raises(EnoughError):
        bring(reference, out, enough_at(3 * MIB))
    scripted.forget()
    bring(reference, out)
    assert tree(out) == {"model.bin": LARGE}
    assert scripted.sent <= MIB + 4 * PART
