from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import ocimlpack
from tests.app.conftest import FILES


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[int]]:
    """The inodes of everything that was waited for."""
    seen: set[int] = set()
    real = os.fsync

    def fsync(handle: int) -> None:
        seen.add(os.fstat(handle).st_ino)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen.copy


def inodes(folder: Path) -> set[int]:
    return {(folder / name).stat().st_ino for name in FILES}


@pytest.mark.parametrize("durable", [True, False])
def test_a_pull_waits_for_the_disk_where_it_is_told_to(
    model: Path, layout: str, tmp_path: Path, synced: Callable[[], set[int]], durable: bool
) -> None:
    packed = ocimlpack.pack(model, layout)
    ocimlpack.pull(packed.reference, tmp_path / "out", durable=durable)
    assert (inodes(tmp_path / "out") <= synced()) is durable


def test_what_is_handed_out_is_on_disk(
    model: Path, layout: str, tmp_path: Path, synced: Callable[[], set[int]]
) -> None:
    packed = ocimlpack.pack(model, layout)
    assert inodes(ocimlpack.resolve(packed.reference, cache=tmp_path / "cache")) <= synced()
