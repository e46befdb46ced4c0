"""Images: what makes and mounts them takes ours; a conversion reads once and can be killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ocimlpack
from tests.live.conftest import Program, read_tree
from tests.live.forwarder import Forwarder, forwarded
from tests.live.interop.bench import Containerd, run_containerd
from tests.live.interop.tools import CONTAINERD
from tests.live.interruptions import (
    GRAIN,
    SMALL_THINGS,
    UNDERWAY,
    Interrupted,
    Moment,
    chance_of,
    check_whole,
    digests,
    make_model,
    manifest_of,
    through,
    write_distinct,
)
from tests.live.registries import Registry
from tests.live.test_everyday import COMMAND, MEASURE, MIB, run

KILLS = 4
SIZES = {"large.bin": 40, "small.bin": 16}
SIZE = sum(SIZES.values()) * MIB
SHARDS = 70
ONE_PLATFORM = ("--format", "image", "--platform", "linux/amd64")


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return chance_of(request)


@pytest.fixture
def link(distribution3: Registry) -> Iterator[Forwarder]:
    with forwarded(distribution3.host) as forwarder:
        yield forwarder


@pytest.fixture(scope="module")
def containerd() -> Iterator[Containerd]:
    CONTAINERD.demand()
    with run_containerd() as subject:
        yield subject


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """More large files than an image may have layers."""
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    for number in range(SHARDS):
        write_distinct(folder / f"model-{number:05}.bin", MIB, number)
    (folder / "config.json").write_text("{}")
    (folder / "onnx/run.sh").write_text("#!/bin/sh\n")
    (folder / "empty.txt").touch()
    return folder


def mounted(containerd: Containerd, reference: str, out: Path) -> dict[str, bytes]:
    """The files that a container sees, and that anybody may read them."""
    out.mkdir()
    containerd("images", "mount", reference, out)
    try:
        for path in (out / "models").rglob("*"):
            assert path.stat().st_mode & 0o7777 in {0o644, 0o755}
        assert (out / "models").stat().st_mode & 0o7777 == 0o755
        assert os.access(out / "models/onnx/run.sh", os.X_OK)
        return read_tree(out / "models")
    finally:
        containerd("images", "unmount", "--rm", out)


def test_containerd_mounts_a_model_of_many_shards(
    distribution3: Registry, containerd: Containerd, sharded: Path, tmp_path: Path
) -> None:
    reference = f"{distribution3.repository()}:1.0"
    run("push", sharded, reference, "--format", "both")
    pulled = containerd("images", "pull", "--plain-http", reference)
    assert "unpacking linux/" in pulled
    assert mounted(containerd, reference, tmp_path / "mounted") == read_tree(sharded)
    manifest = json.loads(ocimlpack.inspect(reference).manifest)
    assert len(manifest.get("manifests", ())) == 3
    run("pull", reference, "-o", tmp_path / "out")
    assert digests(tmp_path / "out") == digests(sharded)


def test_containerd_imports_an_archive(
    containerd: Containerd, sharded: Path, tmp_path: Path
) -> None:
    archive, name = tmp_path / "model.tar", f"registry.example/{os.getpid()}:1.0"
    run("pack", sharded, "-t", f"oci-archive:{archive}:1.0", "--format", "image")
    containerd("images", "import", "--index-name", name, archive)
    assert mounted(containerd, name, tmp_path / "mounted") == read_tree(sharded)


@pytest.mark.parametrize("form", ["image", "both"])
def test_crane_finds_images_valid(
    registry: Registry, crane: Program, model: Path, form: str
) -> None:
    reference = f"{registry.repository()}:1.0"
    ocimlpack.push(model, reference, format=form)  # type: ignore[arg-type]
    # Without --fast it wants every layer to be compressed.
    crane("validate", "--fast", "--insecure", "--remote", reference)


def test_skopeo_keeps_an_image_only_if_it_is_told_to(
    distribution3: Registry, registry2: Registry, skopeo: Program, model: Path, tmp_path: Path
) -> None:
    source = f"{distribution3.repository()}:1.0"
    digest = ocimlpack.push(model, source, format="both").digest
    copying = (
        *("--insecure-policy", "copy", "--all", "--preserve-digests", "--quiet"),
        *("--src-tls-verify=false", f"docker://{source}"),
    )
    target = f"{registry2.repository()}:1.0"
    skopeo(*copying, "--dest-tls-verify=false", f"docker://{target}")
    skopeo(*copying, f"oci:{tmp_path / 'layout'}:1.0")
    for place in (target, f"oci:{tmp_path / 'layout'}:1.0"):
        assert ocimlpack.inspect(place).digest == digest
        ocimlpack.pull(place, tmp_path / place.partition(":")[0])
        assert read_tree(tmp_path / place.partition(":")[0]) == read_tree(model)


def test_a_second_push_of_an_image_reads_and_sends_nothing(
    distribution3: Registry, link: Forwarder, tmp_path: Path
) -> None:
    make_model(tmp_path / "model", 1, SIZES)
    time.sleep(GRAIN)
    reference = f"{through(link, distribution3, distribution3.repository())}:1.0"
    first = run("push", tmp_path / "model", reference, *ONE_PLATFORM).stdout
    before = link.passed
    again = run("push", tmp_path / "model", reference, *ONE_PLATFORM)
    assert again.stdout == first
    assert "hashing" not in again.stderr
    assert link.passed - before < SMALL_THINGS


# Killed


@pytest.mark.parametrize("converted", [False, True])
def test_an_image_is_gone_on_with_after_a_kill(
    distribution3: Registry,
    link: Forwarder,
    chance: random.Random,
    tmp_path: Path,
    converted: bool,
) -> None:
    expected = make_model(tmp_path / "model", 1, SIZES)
    time.sleep(GRAIN)
    repository = distribution3.repository()
    target = f"{through(link, distribution3, repository)}:1.0"
    command: list[str | Path] = ["push", tmp_path / "model", target, *ONE_PLATFORM, "-j", "2"]
    if converted:
        raw = f"{distribution3.repository()}:raw"
        run("push", tmp_path / "model", raw)
        command[:2] = ["copy", raw]
    pushes = Interrupted(link, tmp_path / "log", UNDERWAY)
    for _ in range(KILLS):
        moment = Moment(int(chance.uniform(0, SIZE // KILLS)), chance.uniform(0, 0.02))
        if pushes.run(*command, kill=moment):
            break
        check_whole(distribution3.host, repository, "1.0")
    assert pushes.run(*command)
    print(*pushes.said, sep="\n")
    assert pushes.moved <= SIZE + pushes.allowed
    assert manifest_of(distribution3.host, repository, "1.0")
    check_whole(distribution3.host, repository, "1.0")
    run("pull", f"{repository}:1.0", "-o", tmp_path / "out")
    assert digests(tmp_path / "out") == expected


# Converted


@pytest.mark.parametrize(("origin", "form"), [("modelpack", "image"), ("image", "modelpack")])
def test_a_conversion_reads_each_byte_once_and_keeps_few(
    distribution3: Registry,
    registry2: Registry,
    link: Forwarder,
    tmp_path: Path,
    origin: str,
    form: str,
) -> None:
    size = 120 * MIB
    expected = make_model(tmp_path / "model", 1, {"one.bin": 80, "two.bin": 40})
    repository = distribution3.repository()
    run("push", tmp_path / "model", f"{repository}:1.0", "--format", origin)
    source = f"{through(link, distribution3, repository)}:1.0"
    target = registry2.repository()
    command = [*COMMAND, "copy", source, f"{target}:1.0", "--format", form]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split()[-1])
    assert link.received < size + 4 * MIB
    assert peak < 112 * MIB
    run("pull", f"{target}:1.0", "-o", tmp_path / "out")
    assert digests(tmp_path / "out") == expected
    # Once more: digests are known by now, so nothing but requests goes either way.
    before = link.passed
    run("copy", source, f"{target}:again", "--format", form)
    assert link.passed - before < SMALL_THINGS
