"""Imports by the command itself, into real registries and an S3 bucket."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.registries import Registry
from tests.live.s3 import S3Server
from tests.live.test_everyday import COMMAND, MIB, run
from tests.model.weights import model, safetensors
from tests.scripted.hub import COMMIT, TOKEN, Hub

SOURCE = "hf:team/tiny"
SIZE = 40
SHOWN = 12 * MIB
"""Bytes after which the import is killed."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    header = safetensors({"w": ("F32", (SIZE * MIB // 4,))})[: -SIZE * MIB]
    weights = header + random.Random(1).randbytes(SIZE * MIB)
    server.add("team/tiny", {**model(), "model.safetensors": weights})
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    with server:
        yield server


def test_an_import_is_what_a_downloaded_copy_makes(
    hub: Hub, registry: Registry, tmp_path: Path
) -> None:
    repository = registry.repository()
    done = run("import", SOURCE, f"{repository}:1.0", "-t", "latest")
    assert done.stdout.startswith(f"{repository}@sha256:")
    assert f"from {hub.url}/team/tiny at {COMMIT}" in done.stderr
    folder = tmp_path / "copy"
    for path, content in hub.models["team/tiny"].files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    origin = tmp_path / "origin.yaml"
    origin.write_text(f"sourceURL: {hub.url}/team/tiny\nrevision: '{COMMIT}'\n")
    pushed = run("push", folder, f"{repository}:2.0", "--file", origin, "--json").json
    assert pushed["digest"] in done.stdout
    assert pushed["moved"] == 0


def test_an_import_that_is_killed_goes_on_where_it_was(
    hub: Hub, distribution3: Registry, tmp_path: Path
) -> None:
    repository = distribution3.repository()
    slow = hub.cdn.fault("GET", "", nth=4, times=1, rate=60 * MIB)
    with (tmp_path / "log").open("wb") as log:
        command = [*COMMAND, "import", SOURCE, f"{repository}:1.0", "-j", "2"]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            deadline = time.monotonic() + 60
            # What was sent lies in buffers for a while; only what has arrived is gone on with.
            while hub.cdn.sent < SHOWN or arrived(distribution3, repository) < SHOWN // 3:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, "it brings nothing"
                time.sleep(0.005)
            process.kill()
    assert slow.hits == 1
    hub.cdn.hang_up()
    assert run("tags", repository, expect=3).stdout == ""
    hub.cdn.forget()
    done = run("import", SOURCE, f"{repository}:1.0", "--json").json
    # The weights; a small file may have been left over as well, and be asked for before or after.
    asked = [request.header("range") for request in hub.cdn.requests]
    (rest,) = [each for each in asked if each.endswith("-")]
    there = int(rest.removeprefix("bytes=").removesuffix("-"))
    assert there > MIB
    assert hub.cdn.sent < SIZE * MIB - there + MIB
    assert run("inspect", f"{repository}:1.0", "--json").json["digest"] == done["digest"]
    pulled = run("pull", f"{repository}:1.0", "-o", tmp_path / "out")
    assert pulled.stdout.strip() == str(tmp_path / "out")
    content = (tmp_path / "out/model.safetensors").read_bytes()
    assert content == hub.models["team/tiny"].files["model.safetensors"]


def arrived(registry: Registry, repository: str) -> int:
    """Bytes of a repository's unfinished uploads that the registry has on disk."""
    assert registry.storage
    name = repository.removeprefix(f"{registry.host}/")
    uploads = registry.storage / "docker/registry/v2/repositories" / name / "_uploads"
    return sum(each.stat().st_size for each in uploads.glob("*/data"))


def test_an_import_goes_to_a_bucket(hub: Hub, s3: S3Server) -> None:
    there = f"s3://{s3.bucket()}/team/tiny:1.0"
    done = run("import", SOURCE, there, "--json").json
    assert run("inspect", there, "--json").json["digest"] == done["digest"]
    assert run("import", SOURCE, there, "--json").json["moved"] == 0


def test_a_gated_model_is_one_sentence_and_the_token_is_in_none(
    hub: Hub, distribution3: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models["team/tiny"].gated = True
    refused = run("import", SOURCE, distribution3.repository(), expect=4)
    assert len(refused.stderr.splitlines()) <= 4
    assert "only to those whose access was granted" in refused.stderr
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = run("import", SOURCE, distribution3.repository(), "-v")
    assert TOKEN not in done.stdout + done.stderr
