"""What a diff of two versions in a registry moves."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

import ocimlpack
from tests.live.conftest import Program
from tests.live.forwarder import forwarded
from tests.live.registries import Registry
from tests.live.s3 import S3Server

MIB = 1024 * 1024
SHARD = 8 * MIB
"""Bytes of each of the four shards: four tensors of 2 MiB."""


@dataclass(frozen=True)
class Versions:
    """Two versions of a model in a registry; the second has another third shard."""

    registry: Registry
    repository: str

    @property
    def path(self) -> str:
        return self.repository.partition("/")[2]


@pytest.fixture(scope="module")
def versions(distribution3: Registry, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    folder = tmp_path_factory.mktemp("sharded")
    repository = distribution3.repository()
    for number in range(1, 5):
        write_shard(folder / shard(number), number)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    ocimlpack.push(folder, f"{repository}:1")
    write_shard(folder / shard(3), 3, changed=1.5)
    ocimlpack.push(folder, f"{repository}:2")
    return Versions(distribution3, repository)


def shard(number: int) -> str:
    return f"model-0000{number}-of-00004.safetensors"


def write_shard(path: Path, number: int, changed: float = 1.0, size: int = SHARD) -> None:
    """Four tensors of one number each, the second of which may have one that is another."""
    size //= 4
    header = {
        f"layer.{number}.{tensor}": {
            "dtype": "F32",
            "shape": [size // 4],
            "data_offsets": [tensor * size, (tensor + 1) * size],
        }
        for tensor in range(4)
    }
    raw = json.dumps(header).encode()
    one = struct.pack("<f", 1.0 + number)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for tensor in range(4):
            first = struct.pack("<f", number + changed) if tensor == 1 else one
            file.write(first + one * (size // 4 - 1))


def diff(versions: Versions, *, stats: bool = False) -> tuple[ocimlpack.Difference, int]:
    """The difference, and the bytes that came from the registry for it."""
    with forwarded(versions.registry.host) as way:
        place = f"{way.host}/{versions.path}"
        found = ocimlpack.diff(f"{place}:1", f"{place}:2", stats=stats, plain_http=True)
        return found, way.received


def test_headers_are_all_that_moves(versions: Versions) -> None:
    found, moved = diff(versions)
    assert [(each.path, each.state) for each in found.files] == [(shard(3), "changed")]
    assert [(each.name, each.state) for each in found.tensors] == [
        (f"layer.3.{number}", "unknown") for number in range(4)
    ]
    assert found.shared > 3 * SHARD
    assert moved < 2 * MIB
    assert moved < SHARD / 8


def test_statistics_read_the_shards_that_differ(versions: Versions) -> None:
    found, moved = diff(versions, stats=True)
    (changed,) = found.tensors
    assert (changed.name, changed.state) == ("layer.3.1", "changed")
    assert changed.values is not None
    assert changed.values.max == 0.5
    assert changed.values.share == 1 / (SHARD / 16)
    assert found.same_tensors == 3
    assert 2 * SHARD < moved < 2.5 * SHARD


def test_a_folder_is_compared_with_what_is_in_a_registry(
    versions: Versions, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    ocimlpack.pull(f"{versions.repository}:1", folder)
    assert not ocimlpack.diff(folder, f"{versions.repository}:1").differs
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    found = ocimlpack.diff(f"{versions.repository}:1", folder)
    assert [each.path for each in found.files] == ["config.json"]
    assert [each.name for each in found.metadata] == ["family"]


@pytest.fixture(scope="module")
def images(distribution3: Registry, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """The same two versions as container images, of smaller shards."""
    folder = tmp_path_factory.mktemp("images")
    repository = distribution3.repository()
    for number in range(1, 5):
        write_shard(folder / shard(number), number, size=MIB)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    ocimlpack.push(folder, f"{repository}:1", format="image")
    write_shard(folder / shard(3), 3, changed=1.5, size=MIB)
    ocimlpack.push(folder, f"{repository}:2", format="image")
    return Versions(distribution3, repository)


def test_into_layers_of_images_it_looks_by_their_headers(images: Versions) -> None:
    found, moved = diff(images)
    assert shard(3) in {each.path for each in found.files}
    assert {each.state for each in found.files} == {"unknown"}
    assert {each.state for each in found.tensors} == {"unknown"}
    assert moved < MIB
    found, _ = diff(images, stats=True)
    assert [(each.name, each.state) for each in found.tensors] == [("layer.3.1", "changed")]


def test_archives_that_are_read_tell_all_of_it(images: Versions) -> None:
    one, other = f"{images.repository}:1", f"{images.repository}:2"
    found = ocimlpack.diff(one, other, archives=True)
    assert [(each.path, each.state) for each in found.files] == [(shard(3), "changed")]
    assert found.same_files == 4


def test_what_oras_pushed_is_compared_as_well(
    distribution3: Registry, tmp_path: Path, oras: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = distribution3.repository()
    write_shard(tmp_path / shard(1), 1, size=MIB)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/words.txt").write_text("words")
    ocimlpack.push(tmp_path, f"{repository}:ours")
    monkeypatch.chdir(tmp_path)
    layers = [f"{shard(1)}:application/octet-stream", "docs"]
    oras("push", "--plain-http", "--artifact-type", "x/y", f"{repository}:theirs", *layers)
    found = ocimlpack.diff(f"{repository}:ours", f"{repository}:theirs")
    assert {each.path: each.state for each in found.files} == {
        "docs": "added",
        "docs/words.txt": "unknown",
    }
    assert found.same_files == 1
    assert found.tensors == ()
    found = ocimlpack.diff(f"{repository}:ours", f"{repository}:theirs", archives=True)
    assert found.files == ()
    assert found.same_files == 2


def test_a_bucket_is_compared_with_a_registry(versions: Versions, s3: S3Server) -> None:
    place = f"s3://{s3.bucket()}/team/model:1"
    ocimlpack.copy(f"{versions.repository}:1", place)
    found = ocimlpack.diff(place, f"{versions.repository}:2")
    assert [(each.path, each.state) for each in found.files] == [(shard(3), "changed")]
    assert {each.state for each in found.tensors} == {"unknown"}
    (changed,) = ocimlpack.diff(place, f"{versions.repository}:2", stats=True).tensors
    assert changed.name == "layer.3.1"
