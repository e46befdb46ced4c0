"""Large files from real registries: in parts, over as many connections as bring something."""

from __future__ import annotations

from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.progress import Event, Retried, Warned
from tests.live.conftest import read_tree
from tests.live.registries import Registry
from tests.live.toxiproxy import shaped

MIB = 1024 * 1024


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of 72 MiB, which is eight parts and a half, and a small one."""
    folder = tmp_path / "model"
    folder.mkdir()
    with (folder / "model.bin").open("wb") as file:
        for number in range(72):
            file.write(number.to_bytes(1, "little") * (MIB - 1) + b"\n")
        file.write(b"and a half" * 50_000)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


def bring(reference: str, out: Path, jobs: int) -> list[Event]:
    events: list[Event] = []
    ocimlpack.pull(reference, out, jobs=jobs, report=events.append)
    return [event for event in events if isinstance(event, Warned | Retried)]


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_large_file_comes_in_parts(
    registry: Registry, large: Path, tmp_path: Path, jobs: int
) -> None:
    repository = registry.repository()
    ocimlpack.push(large, f"{repository}:v1")
    assert bring(f"{repository}:v1", tmp_path / "out", jobs) == []
    assert read_tree(tmp_path / "out") == read_tree(large)
    got = [each for each in registry.requests(repository) if each.method == "GET"]
    in_parts = [each for each in got if each.status == 206]
    assert in_parts
    assert len(in_parts) >= 9 or jobs == 1


def test_a_large_file_comes_in_parts_into_a_layout(
    registry: Registry, large: Path, tmp_path: Path
) -> None:
    repository = registry.repository()
    ocimlpack.push(large, f"{repository}:v1")
    layout = f"oci:{tmp_path / 'layout'}:v1"
    ocimlpack.copy(f"{repository}:v1", layout)
    assert any(each.status == 206 for each in registry.requests(repository))
    ocimlpack.pull(layout, tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(large)
    assert not list((tmp_path / "layout" / "ingest").iterdir())


def test_through_a_link_on_which_each_connection_is_slow_it_comes_over_many(
    distribution3: Registry, large: Path, tmp_path: Path
) -> None:
    repository = distribution3.repository()
    ocimlpack.push(large, f"{repository}:v1")
    name = repository.partition("/")[2]
    with shaped(distribution3.host, kilobytes_per_second=10_000, latency_ms=10) as link:
        assert bring(f"{link.host}/{name}:v1", tmp_path / "out", 4) == []
    assert read_tree(tmp_path / "out") == read_tree(large)
    # Halves of slow parts are asked for, too, so that no connection is left alone at the end.
    assert [each.status for each in distribution3.requests(repository)].count(206) >= 9
