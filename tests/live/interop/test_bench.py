from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.live.interop.bench import (
    BELOW,
    BELOW_UNPACKED,
    NONE,
    PLAIN,
    SAME,
    UNPACKED,
    Written,
    compare,
)

FILES = {"a": b"1", "b/c": b"2", "run.sh": b"#!/bin/sh\n"}
WRITTEN = Written("registry.example/model", FILES, frozenset({"run.sh"}), "sha256:0")


def archive(*names: str, below: str = "") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in names:
            entry = tarfile.TarInfo(below + name)
            entry.size = len(FILES[name])
            tar.addfile(entry, io.BytesIO(FILES[name]))
    return data.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("files", "outcome"),
    [
        ({}, NONE),
        (FILES, PLAIN),
        ({f"models/{name}": data for name, data in FILES.items() if "/" not in name}, None),
        ({"a": b"1", "rest.tar": archive("b/c", "run.sh")}, UNPACKED),
        (
            {"1f": archive("a", "b/c", below="models/"), "2e": archive("run.sh", below="models/")},
            BELOW_UNPACKED,
        ),
        ({**FILES, "a": b"2"}, "without [], and [], and other bytes in ['a']"),
        ({**FILES, "more": b""}, "without [], and ['more'], and other bytes in []"),
        ({"a": b"1", "rest.tar": archive("b/c")}, None),
        ({"a": b"1", "rest.tar": archive("b/c", "run.sh"), "more": b""}, None),
    ],
)
def test_what_a_folder_has_is_told_by_its_bytes(
    tmp_path: Path, files: dict[str, bytes], outcome: str | None
) -> None:
    seen = compare(write(tmp_path, files), WRITTEN)
    assert seen == outcome if outcome else seen.startswith("without ")


def test_what_can_be_executed_counts(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "run.sh").chmod(0o755)
    assert compare(tmp_path, WRITTEN) == SAME
    (tmp_path / "a").chmod(0o755)
    assert compare(tmp_path, WRITTEN) == "same files, but ['a', 'run.sh'] executable"


def test_an_image_s_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write(tmp_path / "models", FILES)
    assert compare(tmp_path, WRITTEN) == BELOW
    assert compare(tmp_path / "models", WRITTEN) == PLAIN
    assert compare(tmp_path / "nowhere", WRITTEN) == NONE
