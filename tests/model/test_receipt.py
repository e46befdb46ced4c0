from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import InputError, IntegrityError, InvalidContentError
from ocimlpack.model import receipt
from ocimlpack.model.beneath import Root
from ocimlpack.progress import Event, Planned
from ocimlpack.spec.digest import Digest
from tests.model.artifacts import (
    REFERENCE,
    TAR,
    Artifact,
    Layer,
    artifact,
    files,
    member,
    pull,
    tar,
)

CONTENT = {"config.json": b"{}", "model.safetensors": b"weights", "sub/README.md": b"words"}


@pytest.fixture
def source() -> Artifact:
    return files(CONTENT)


@pytest.fixture
def folder(tmp_path: Path, source: Artifact) -> Path:
    return pull(source, tmp_path / "out").path


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / receipt.PATH
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_text(json.dumps(value))


def test_a_receipt_says_what_was_pulled_and_proves_it(folder: Path, source: Artifact) -> None:
    with Root.at(folder) as root:
        found = receipt.read(root)
    assert found is not None
    assert found.reference == REFERENCE
    assert found.manifest == source.manifest
    assert [(each.path, each.size, each.digest, each.mode) for each in found.files] == [
        (path, len(content), Digest.of(content), 0o644) for path, content in CONTENT.items()
    ]


def test_the_same_pull_writes_the_same_receipt(tmp_path: Path, source: Artifact) -> None:
    written = [(pull(source, tmp_path / name).path / receipt.PATH).read_bytes() for name in "ab"]
    assert written[0] == written[1]
    assert b"tmp" not in written[0]


def test_a_folder_as_pulled_is_right_and_foreign_files_are_listed(
    folder: Path, source: Artifact
) -> None:
    (folder / "sub" / "mine.txt").write_text("x")
    (folder / "also").symlink_to("nowhere")
    seen: list[Event] = []
    found = receipt.verify(folder, report=seen.append)
    assert (found.digest, found.reference, found.checked) == (source.digest, REFERENCE, 3)
    assert found.size == sum(map(len, CONTENT.values()))
    assert found.extra == ("also", "sub/mine.txt")
    assert seen[0] == Planned("verifying", 3, found.size)


def test_missing_and_changed_files_are_named(folder: Path) -> None:
    (folder / "config.json").write_text("[]")
    (folder / "model.safetensors").unlink()
    (folder / "sub/README.md").unlink()
    (folder / "sub/README.md").mkdir()
    with pytest.raises(IntegrityError) as caught:
        receipt.verify(folder)
    assert "3 of 3 files" in caught.value.message
    assert "config.json is changed, model.safetensors is missing, sub/README.md is no file" in (
        caught.value.message
    )
    assert caught.value.hint


def test_of_many_damaged_files_the_first_are_named(tmp_path: Path) -> None:
    folder = pull(files({f"{n}.bin": bytes([n]) for n in range(9)}), tmp_path / "out").path
    for path in folder.glob("*.bin"):
        path.unlink()
    with pytest.raises(IntegrityError, match=r"9 of 9 .*4\.bin is missing and 4 more"):
        receipt.verify(folder)


@pytest.mark.parametrize("kind", ["file", "folder", "pipe"])
def test_nothing_is_read_through_links_and_no_pipe_is_waited_for(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "folder":
        (folder / "sub").rename(tmp_path / "elsewhere")
        (folder / "sub").symlink_to(tmp_path / "elsewhere")
    else:
        (folder / "sub/README.md").unlink()
        (tmp_path / "same").write_bytes(b"words")
        if kind == "file":
            (folder / "sub/README.md").symlink_to(tmp_path / "same")
        else:
            os.mkfifo(folder / "sub/README.md")
    with pytest.raises(IntegrityError, match=r"sub/README.md is"):
        receipt.verify(folder)


def test_the_folder_itself_may_be_reached_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert receipt.verify(tmp_path / "link").checked == 3


def test_without_a_receipt_there_is_nothing_to_verify_against(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no receipt") as caught:
        receipt.verify(tmp_path)
    assert "pull" in str(caught.value.hint)
    with pytest.raises(InputError, match="can't read"):
        receipt.verify(tmp_path / "absent")


def test_a_folder_whose_update_was_interrupted_is_not_right(folder: Path, source: Artifact) -> None:
    (folder / receipt.INCOMING).write_bytes((folder / receipt.PATH).read_bytes())
    with pytest.raises(IntegrityError, match="interrupted"):
        receipt.verify(folder)
    assert not receipt.holds(folder, source.digest)


def test_what_was_pulled_is_known_without_reading_files(
    folder: Path, source: Artifact, tmp_path: Path
) -> None:
    assert receipt.holds(folder, source.digest)
    assert not receipt.holds(folder, Digest.of(b"another"))
    assert not receipt.holds(tmp_path / "absent", source.digest)
    assert not receipt.holds(tmp_path, source.digest)


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value.update(version=2),
        lambda value: value.pop("reference"),
        lambda value: value.pop("files"),
        lambda value: value.update(files=[1]),
        lambda value: value.update(manifest="%%%"),
        lambda value: value.update(manifest="e30="),
        lambda value: value.update(digest="sha256:" + "0" * 64),
        lambda value: value["files"][0].update(path="../out"),
        lambda value: value["files"][0].update(path="sub/README.md"),
        lambda value: value["files"][0].update(size=-1),
        lambda value: value["files"][0].update(size="1"),
        lambda value: value["files"][0].update(digest="md5:00"),
        lambda value: value["files"][0].update(digest="sha256:" + "0" * 64),
        lambda value: value["files"][0].update(layer="x"),
        lambda value: value["files"].append(value["files"][0]),
    ],
)
def test_a_receipt_that_contradicts_itself_is_refused(
    folder: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    change(folder, edit)
    with pytest.raises(InvalidContentError, match=r"receipt .* can't be used"):
        receipt.verify(folder)


def test_a_receipt_can_not_make_a_changed_file_right(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"[]")
    digest = str(Digest.of(b"[]"))
    change(folder, lambda value: value["files"][0].update(digest=digest, size=2))
    with pytest.raises(InvalidContentError, match=r"something else of config.json"):
        receipt.verify(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"version": 1}'])
def test_a_receipt_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / receipt.PATH).write_bytes(content)
    with pytest.raises(InvalidContentError, match="can't be used"):
        receipt.verify(folder)


def test_files_from_archives_are_verified_too(tmp_path: Path) -> None:
    packed = tar(member("a/b", b"x"), member("c", b"y"))
    folder = pull(artifact(Layer("data", packed, TAR)), tmp_path / "out").path
    assert receipt.verify(folder).checked == 2
    (folder / "a/b").write_bytes(b"z")
    with pytest.raises(IntegrityError, match="a/b is changed"):
        receipt.verify(folder)
