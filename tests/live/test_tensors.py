"""The tensors of a model in a real registry and a real bucket: only headers move."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tests.live.forwarder import forwarded
from tests.live.registries import Registry
from tests.live.s3 import S3Server
from tests.live.test_everyday import MIB, run

LARGE = 64 * MIB


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A model of one large file of zeros, which takes no room on the disk."""
    folder = tmp_path / "large"
    folder.mkdir()
    tensor = {"dtype": "F16", "shape": [LARGE // 2048, 1024], "data_offsets": [0, LARGE]}
    header = json.dumps({"embed.weight": tensor}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + LARGE)
    return folder


def test_the_tensors_of_a_model_in_a_registry_are_listed_by_its_header(
    registry: Registry, large: Path
) -> None:
    run("push", large, f"{registry.host}/team/large:1.0")
    with forwarded(registry.host) as way:
        done = run("inspect", f"{way.host}/team/large:1.0", "--tensors")
        assert way.rest(10)
        assert way.received < 64 * 1024
    assert done.stdout.splitlines()[1].split() == [
        "model.safetensors",
        "embed.weight",
        "float16",
        "[32768,",
        "1024]",
        "67,108,864",
    ]
    listed = run("inspect", f"{registry.host}/team/large:1.0", "--tensors", "--json").json
    assert listed == run("inspect", large, "--tensors", "--json").json
    assert listed[0]["parameters"] == LARGE // 2


def test_the_tensors_of_a_model_in_a_bucket_are_listed(s3: S3Server, large: Path) -> None:
    place = f"s3://{s3.bucket()}/team/large:1.0"
    run("push", large, place)
    listed = run("inspect", place, "--tensors", "--json").json
    assert listed == run("inspect", large, "--tensors", "--json").json
