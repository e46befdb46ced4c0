"""Little room: a disk that is full in the middle, a cache that can't be written, little memory."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.forwarder import forwarded
from tests.live.interruptions import (
    PART,
    SMALL_THINGS,
    cache,
    check_whole,
    digests,
    make_model,
    manifest_of,
    settle,
    start,
    through,
)
from tests.live.registries import Registry, lack, run_distribution3
from tests.live.test_everyday import COMMAND, MEASURE, MIB, push, run
from tests.live.test_pairs import stop_in_the_middle

UNAVAILABLE = 6

# No file of this process, and of the command that it becomes, can grow.
NO_ROOM = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 192 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=192m,mode=0777", "tmpfs", str(place)]
    try:
        done = subprocess.run([*as_root, *mount], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        lack(f"a small file system can't be mounted: {error}")
    if done.returncode:
        lack(f"a small file system can't be mounted (root may): {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run([*as_root, "umount", str(place)], check=True)


def fill_up(place: Path) -> Path:
    """A file that takes all the room that is left."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return filler


def test_a_disk_that_gets_full_ends_a_pull_which_goes_on_when_there_is_room(
    distribution3: Registry, small_disk: Path, tmp_path: Path
) -> None:
    expected = make_model(tmp_path / "model", 1, {"one.bin": 40, "three.bin": 48, "two.bin": 40})
    repository = distribution3.repository()
    push(tmp_path / "model", repository, "1.0")
    out = small_disk / "out"
    with forwarded(distribution3.host) as link:
        source = f"{through(link, distribution3, repository)}:1.0"
        pulling = ("pull", source, "-o", out, "-j", "1")
        link.shut(32 * MIB)
        with (tmp_path / "log").open("wb") as log, start(*pulling, log=log) as process:
            stop_in_the_middle(link, process)
            filler = fill_up(small_disk)
            link.reopen()
            assert process.wait(60) == UNAVAILABLE
        said = (tmp_path / "log").read_text()
        assert "no room left" in said
        assert "Traceback" not in said
        assert not out.exists()
        settle(link)
        brought = link.received
        filler.unlink()
        run(*pulling)
        assert link.received <= 128 * MIB + 2 * PART + 2 * SMALL_THINGS
        assert link.received - brought < 128 * MIB - 2 * PART
    assert digests(out) == expected
    run("verify", out)
    assert sorted(each.name for each in small_disk.iterdir()) == ["out"]


def test_a_push_needs_no_room_at_all(distribution3: Registry, tmp_path: Path) -> None:
    make_model(tmp_path / "model", 1, {"large.bin": 24, "small.bin": 1})
    for number in (1, 2):
        repository = distribution3.repository()
        command = [*COMMAND, "push", str(tmp_path / "model"), f"{repository}:{number}"]
        done = subprocess.run(
            [sys.executable, "-c", NO_ROOM, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert manifest_of(distribution3.host, repository, str(number))
        check_whole(distribution3.host, repository, str(number))
    # It was tried, and what could not be written is not there in part.
    assert [each for each in cache().rglob("*") if each.is_file() and each.stat().st_size] == []


def peak(*arguments: str | Path) -> int:
    """Bytes of memory that the command had at most."""
    command = [sys.executable, "-c", MEASURE, *COMMAND, *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_memory_is_small_and_the_same_for_any_size(tmp_path: Path) -> None:
    peaks: dict[str, list[int]] = {"push": [], "pull": []}
    folder = tmp_path / "registry"
    folder.mkdir()
    with run_distribution3(folder) as registry:
        for size in (512, 2048):
            model, out = tmp_path / f"model{size}", tmp_path / "out"
            model.mkdir()
            with (model / "model.bin").open("wb") as sparse:
                sparse.truncate(size * MIB)
            target = f"{registry.repository()}:1.0"
            peaks["push"].append(peak("push", model, target))
            peaks["pull"].append(peak("pull", target, "-o", out))
            assert (out / "model.bin").stat().st_size == size * MIB
            shutil.rmtree(out)
    shutil.rmtree(folder)
    for small, large in peaks.values():
        assert max(small, large) <= 150 * MIB, peaks
        assert abs(large - small) < 20 * MIB, peaks
