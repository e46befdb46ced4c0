from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ocimlpack.errors import IntegrityError, UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import files
from ocimlpack.stores.base import BytesBlob, FileBlob

CONTENT = b"weights" * 1000
DESC = Descriptor.of(CONTENT, "application/octet-stream")


def names(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*"))


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A blob of a store."""
    path = tmp_path / "theirs/blob"
    files.write_verified(BytesBlob(CONTENT), DESC, path, tmp_path / "theirs")
    return path


def test_a_blob_of_another_store_is_not_held_twice(tmp_path: Path, original: Path) -> None:
    path = tmp_path / "ours/blob"
    blob = FileBlob(original, immutable=True)
    for _ in range(2):  # and once more over itself
        files.write_verified(blob, DESC, path, tmp_path / "ours/ingest")
        assert path.read_bytes() == CONTENT
        assert names(tmp_path / "ours") == ["blob", "ingest"]
    linked = path.stat().st_ino == original.stat().st_ino
    assert linked or path.stat().st_nlink == 1  # a file system with shared extents needs no link
    original.unlink()
    assert path.read_bytes() == CONTENT


def test_a_blob_that_has_rotted_is_not_passed_on(tmp_path: Path, original: Path) -> None:
    original.write_bytes(b"W" + CONTENT[1:])
    path = tmp_path / "ours/blob"
    with pytest.raises(IntegrityError):
        files.write_verified(FileBlob(original, immutable=True), DESC, path, path.parent)
    assert names(tmp_path / "ours") == []
    assert original.stat().st_nlink == 1


def test_a_file_of_the_user_is_taken_over_as_it_is_now(tmp_path: Path) -> None:
    source = tmp_path / "weights.bin"
    source.write_bytes(CONTENT)
    path = tmp_path / "ours/blob"
    files.write_verified(FileBlob(source), DESC, path, path.parent)
    assert source.stat().st_nlink == path.stat().st_nlink == 1
    with source.open("r+b") as stream:
        stream.write(b"changed")
    assert path.read_bytes() == CONTENT


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    source = tmp_path / "weights.bin"
    source.write_bytes(CONTENT)
    path = tmp_path / "ours/blob"
    for name in ("ftruncate", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(UnavailableError, match="no room left"):
                files.write_verified(FileBlob(source), DESC, path, path.parent)
        assert names(tmp_path / "ours") == []


def test_what_was_left_long_ago_is_removed_and_nothing_else(tmp_path: Path, original: Path) -> None:
    old, new = (tmp_path / f"{files.TEMPORARY}{name}" for name in ("old", "new"))
    for path in (old, new, original):
        path.write_bytes(CONTENT)
    long_ago = time.time() - 7200
    for path in (old, original):
        os.utime(path, (long_ago, long_ago))
    # Linked a moment ago, by somebody who is still looking whether it is right.
    linked = tmp_path / f"{files.TEMPORARY}linked"
    linked.hardlink_to(original)
    assert files.remove_stale(tmp_path, 3600, dry_run=True) == [(str(old), len(CONTENT))]
    assert old.exists()
    assert files.remove_stale(tmp_path, 3600, dry_run=False) == [(str(old), len(CONTENT))]
    assert not old.exists()
    assert new.exists()
    assert linked.exists()
