"""Two at once: pulls into one place, pushes of one model, and tags that move under a pull."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.forwarder import Forwarder, forwarded
from tests.live.interruptions import (
    check_whole,
    digests,
    left_behind,
    make_model,
    manifest_of,
    start,
    through,
)
from tests.live.registries import Registry
from tests.live.test_everyday import MIB, digest_of, push, run

SIZES = {"large.bin": 40, "middle.bin": 8, "small.bin": 1}
CONFLICT = 7

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def link(distribution3: Registry) -> Iterator[Forwarder]:
    with forwarded(distribution3.host) as forwarder:
        yield forwarder


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Starts commands, which are gone when the test is."""
    running: list[subprocess.Popen[bytes]] = []
    with (tmp_path / "log").open("wb") as log:

        def started(*arguments: str | Path) -> subprocess.Popen[bytes]:
            running.append(start(*arguments, log=log))
            return running[-1]

        yield started
        for each in running:
            each.kill()
            each.wait()


def stop_in_the_middle(link: Forwarder, process: subprocess.Popen[bytes]) -> None:
    """Until something of the model has moved; the rest waits for `reopen`."""
    deadline = time.monotonic() + 60
    while not link.is_shut:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def join(link: Forwarder, process: subprocess.Popen[bytes], connections: int) -> None:
    """Until another process is connected as well, or has found that it has nothing to do."""
    deadline = time.monotonic() + 60
    while link.connections <= connections and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def end(*processes: subprocess.Popen[bytes]) -> list[int]:
    return [process.wait(120) for process in processes]


def test_two_pulls_into_one_place(
    distribution3: Registry, link: Forwarder, begin: Start, tmp_path: Path
) -> None:
    expected = make_model(tmp_path / "model", 1, SIZES)
    repository = distribution3.repository()
    push(tmp_path / "model", repository, "1.0")
    out = tmp_path / "place" / "out"
    pulling = ("pull", f"{through(link, distribution3, repository)}:1.0", "-o", out)
    link.shut(10 * MIB)
    first = begin(*pulling)
    stop_in_the_middle(link, first)
    connected = link.connections
    second = begin(*pulling)
    join(link, second, connected)
    link.reopen()
    codes = end(first, second)
    assert codes == [0, 0], (tmp_path / "log").read_text()
    assert digests(out) == expected
    run("verify", out)
    known = [f"out/{name}" for name in expected]
    assert left_behind(tmp_path / "place", *known) == [out / ".ocimlpack/receipt.json"]


def test_two_pulls_of_different_models_into_one_place(
    distribution3: Registry, link: Forwarder, begin: Start, tmp_path: Path
) -> None:
    repository = distribution3.repository()
    versions = []
    for number in (1, 2):
        versions.append(make_model(tmp_path / "models" / str(number), number, SIZES))
        push(tmp_path / "models" / str(number), repository, str(number))
    out = tmp_path / "out"
    link.shut(10 * MIB)
    source = through(link, distribution3, repository)
    first = begin("pull", f"{source}:1", "-o", out)
    stop_in_the_middle(link, first)
    connected = link.connections
    second = begin("pull", f"{source}:2", "-o", out)
    join(link, second, connected)
    link.reopen()
    codes = end(first, second)
    assert sorted(codes) in ([0, 0], [0, CONFLICT]), (tmp_path / "log").read_text()
    assert digests(out) in versions
    if CONFLICT in codes:
        assert digests(out) == versions[codes.index(0)]
    run("verify", out)


def test_a_pull_whose_tag_moves_brings_what_it_stood_for(
    distribution3: Registry, link: Forwarder, begin: Start, tmp_path: Path
) -> None:
    repository, out = distribution3.repository(), tmp_path / "out"
    expected = make_model(tmp_path / "old", 1, SIZES)
    newer = make_model(tmp_path / "new", 2, SIZES)
    old = push(tmp_path / "old", repository, "latest")
    pulling = ("pull", f"{through(link, distribution3, repository)}:latest", "-o", out)
    link.shut(10 * MIB)
    process = begin(*pulling)
    stop_in_the_middle(link, process)
    new = push(tmp_path / "new", repository, "latest")
    assert new != old
    link.reopen()
    assert end(process) == [0], (tmp_path / "log").read_text()
    assert digests(out) == expected
    assert run("verify", out, "--json").json["digest"] == old
    run(*pulling)
    assert digests(out) == newer


def test_two_pushes_of_one_model(registry: Registry, begin: Start, tmp_path: Path) -> None:
    make_model(tmp_path / "model", 1, SIZES)
    repository = registry.repository()
    with forwarded(registry.host) as link:
        pushing = ("push", tmp_path / "model", f"{through(link, registry, repository)}:1.0")
        link.shut(10 * MIB)
        first = begin(*pushing)
        stop_in_the_middle(link, first)
        assert manifest_of(registry.host, repository, "1.0") is None
        connected = link.connections
        second = begin(*pushing)
        join(link, second, connected)
        link.reopen()
        assert end(first, second) == [0, 0], (tmp_path / "log").read_text()
        assert manifest_of(registry.host, repository, "1.0")
        check_whole(registry.host, repository, "1.0")


def test_two_pushes_of_different_models_under_one_tag(
    distribution3: Registry, link: Forwarder, begin: Start, tmp_path: Path
) -> None:
    repository = distribution3.repository()
    shared = {"large.bin": 40}
    for number in (1, 2):
        make_model(tmp_path / str(number), number, {"small.bin": 8})
        make_model(tmp_path / str(number) / "same", 3, shared)
    target = f"{through(link, distribution3, repository)}:latest"
    link.shut(10 * MIB)
    first = begin("push", tmp_path / "1", target, "-t", "first")
    stop_in_the_middle(link, first)
    connected = link.connections
    second = begin("push", tmp_path / "2", target, "-t", "second")
    join(link, second, connected)
    link.reopen()
    codes = end(first, second)
    assert sorted(codes) in ([0, 0], [0, CONFLICT]), (tmp_path / "log").read_text()
    for tag in ("latest", "first", "second"):
        check_whole(distribution3.host, repository, tag)
    pushed = [
        digest_of(f"{repository}:{tag}")
        for tag, code in zip(("first", "second"), codes, strict=True)
        if code == 0
    ]
    assert digest_of(f"{repository}:latest") in pushed


def test_two_copies_into_one_layout(
    distribution3: Registry, link: Forwarder, begin: Start, tmp_path: Path
) -> None:
    make_model(tmp_path / "model", 1, SIZES)
    repository = distribution3.repository()
    digest = push(tmp_path / "model", repository, "1.0")
    layout = f"oci:{tmp_path / 'layout'}"
    source = f"{through(link, distribution3, repository)}:1.0"
    link.shut(10 * MIB)
    first = begin("copy", source, f"{layout}:1.0")
    stop_in_the_middle(link, first)
    connected = link.connections
    second = begin("copy", source, f"{layout}:2.0")
    join(link, second, connected)
    link.reopen()
    assert end(first, second) == [0, 0], (tmp_path / "log").read_text()
    assert digest_of(f"{layout}:1.0") == digest_of(f"{layout}:2.0") == digest
    run("verify", layout)
