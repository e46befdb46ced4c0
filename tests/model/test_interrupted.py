"""Pulls that are killed, that run out of what the system gives them, and that meet each other."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ocimlpack.model import receipt, unpack
from ocimlpack.spec import mediatypes
from tests.model.artifacts import Artifact, Layer, artifact, member, pull, tar, tree

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
