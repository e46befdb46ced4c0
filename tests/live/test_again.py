"""The same once more: what is there already is neither read nor moved."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.live.interruptions import GRAIN, digests, make_model
from tests.live.registries import Registry, lack
from tests.live.test_everyday import COMMAND, MIB, push, run

# Bytes that a command, once it has ended, has read from files, sockets and all else; also those
# that came from the system's cache, or were sent without being shown to it.
READ = """
import subprocess, sys
def count():
    with open("/proc/self/io") as io:
        return int(io.readline().split()[1])
code = subprocess.call(sys.argv[1:])
print("read", count())
sys.exit(code)
"""


def read_by(*arguments: str | Path) -> int:
    if not Path("/proc/self/io").exists():
        lack("only Linux counts what a process reads")
    command = [sys.executable, "-c", READ, *COMMAND, *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_a_push_of_unchanged_files_reads_none_of_them_and_asks_the_same_of_any_size(
    distribution3: Registry, tmp_path: Path
) -> None:
    models = {size: tmp_path / str(size) for size in (8, 512)}
    for size, folder in models.items():
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "bert"}')
        for name in ("a.bin", "b.bin"):
            with (folder / name).open("wb") as sparse:
                sparse.truncate(size * MIB // 2 + (name == "b.bin"))
    time.sleep(GRAIN)
    read, asked = [], []
    for folder in models.values():
        repository = distribution3.repository()
        push(folder, repository, "1.0")
        before = len(distribution3.requests(repository))
        read.append(read_by("push", folder, repository, "-t", "1.0"))
        again = distribution3.requests(repository)[before:]
        asked.append(sorted((each.method, each.path.split("/")[-2]) for each in again))
        assert {method for method, _ in asked[-1]} <= {"HEAD", "GET", "PUT"}
        assert not [each for each in again if each.method == "GET" and "/blobs/" in each.path]
        assert not [each for each in again if "/uploads/" in each.path]
        assert len([each for each in again if each.method == "PUT"]) == 1  # the tag
    assert asked[0] == asked[1]
    assert abs(read[1] - read[0]) < MIB


def test_a_pull_into_a_complete_folder_asks_for_the_manifest_and_nothing_else(
    registry: Registry, tmp_path: Path
) -> None:
    expected = make_model(tmp_path / "model", 1, {"large.bin": 40, "small.bin": 1})
    repository, out = registry.repository(), tmp_path / "out"
    push(tmp_path / "model", repository, "1.0")
    run("pull", f"{repository}:1.0", "-o", out)
    before = len(registry.requests(repository))
    run("pull", f"{repository}:1.0", "-o", out)
    again = registry.requests(repository)[before:]
    assert again
    assert {each.method for each in again} <= {"HEAD", "GET"}
    assert {each.path.split("/")[-2] for each in again} == {"manifests"}
    assert digests(out) == expected
    # The same from elsewhere: nothing in a complete folder depends on where it came from.
    shutil.move(out, tmp_path / "moved")
    run("verify", tmp_path / "moved")
