from __future__ import annotations

from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.mediatypes import OCI_INDEX
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.layout import LayoutStore


def blobs(layout: str) -> int:
    return sum(1 for path in Path(layout.removeprefix("oci:")).glob("blobs/*/*") if path.is_file())


def test_a_tag_is_added_and_moved(model: Path, layout: str) -> None:
    first = ocimlpack.pack(model, f"{layout}:1")
    tagged = ocimlpack.tag(f"{layout}:1", "stable", "stable", "prod")
    assert tagged.references == (f"{layout}:stable", f"{layout}:prod")
    (model / "README.md").unlink()
    second = ocimlpack.pack(model, f"{layout}:2")
    ocimlpack.tag(f"{layout}:2", "prod")
    assert ocimlpack.inspect(f"{layout}:prod").digest == second.digest
    assert ocimlpack.inspect(f"{layout}:stable").digest == first.digest


@pytest.mark.parametrize("names", [(), ("a/b",), ("",), ("ok", "-bad")])
def test_bad_tags_change_nothing(model: Path, layout: str, names: tuple[str, ...]) -> None:
    ocimlpack.pack(model, f"{layout}:1")
    with pytest.raises(ocimlpack.InputError):
        ocimlpack.tag(f"{layout}:1", *names)
    assert ocimlpack.tags(layout) == ("1",)


def test_the_local_store_keeps_models_apart(model: Path) -> None:
    one = ocimlpack.pack(model, "one:1")
    ocimlpack.pack(model, "two:1", tags=["2"])
    assert ocimlpack.tags("two") == ("1", "2")
    assert {(each.name, each.tag) for each in ocimlpack.ls()} == {
        ("one", "1"),
        ("two", "1"),
        ("two", "2"),
    }
    assert [each.size for each in ocimlpack.ls("one")] == [one.size]
    ocimlpack.rm(f"one@{one.digest}")
    assert ocimlpack.tags("two") == ("1", "2")
    with pytest.raises(ocimlpack.NotFoundError):
        ocimlpack.tags("one")
    assert ocimlpack.verify("two:1").checked > 0


def test_an_empty_local_store_is_not_made_by_looking() -> None:
    assert ocimlpack.ls() == ()
    with pytest.raises(ocimlpack.NotFoundError, match="no model in the local store"):
        ocimlpack.inspect("model")
    assert ocimlpack.ls() == ()


def test_content_goes_with_its_last_tag(model: Path, layout: str) -> None:
    packed = ocimlpack.pack(model, f"{layout}:1", tags=["2"])
    assert ocimlpack.rm(f"{layout}:1").freed == 0
    assert ocimlpack.inspect(f"{layout}:2").digest == packed.digest
    assert ocimlpack.rm(f"{layout}:2").freed == packed.size
    assert blobs(layout) == 0


def test_content_that_another_model_needs_stays(model: Path, layout: str, tmp_path: Path) -> None:
    first = ocimlpack.pack(model, f"{layout}:1")
    (model / "README.md").write_bytes(b"other")
    ocimlpack.pack(model, f"{layout}:2")
    assert 0 < ocimlpack.rm(f"{layout}@{first.digest}").freed < first.size
    ocimlpack.pull(f"{layout}:2", tmp_path / "out")
    assert ocimlpack.verify(layout).checked == blobs(layout)


@pytest.mark.parametrize("ending", ["", ":1@DIGEST"])
def test_rm_wants_to_know_what(model: Path, layout: str, ending: str) -> None:
    digest = ocimlpack.pack(model, f"{layout}:1").digest
    with pytest.raises(ocimlpack.InputError):
        ocimlpack.rm(layout + ending.replace("DIGEST", digest))
    assert ocimlpack.tags(layout) == ("1",)


def test_prune_removes_what_lost_its_tag_and_nothing_else(
    model: Path, layout: str, tmp_path: Path
) -> None:
    ocimlpack.pack(model, f"{layout}:1")
    (model / "README.md").write_bytes(b"second version")
    ocimlpack.pack(model, f"{layout}:1")
    before = blobs(layout)
    planned = ocimlpack.prune(layout, dry_run=True)
    assert blobs(layout) == before
    done = ocimlpack.prune(layout)
    assert done.removed == planned.removed
    assert done.freed == planned.freed > 0
    assert blobs(layout) == before - len(done.removed)
    assert ocimlpack.prune(layout).removed == ()
    assert ocimlpack.pull(f"{layout}:1", tmp_path / "out").files == 6


def test_prune_keeps_what_an_index_with_gaps_still_lists(
    model: Path, layout: str, tmp_path: Path
) -> None:
    ocimlpack.pack(model, f"{layout}:1")
    (model / "README.md").write_bytes(b"second version")
    ocimlpack.pack(model, f"{layout}:2")
    store = LayoutStore(Path(layout.removeprefix("oci:")))
    first, second = store.resolve("1"), store.resolve("2")
    listed = [first.to_json(), second.to_json()]
    raw = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
    index = Descriptor.of(raw, OCI_INDEX)
    store.push(index, BytesBlob(raw))
    for name in ("1", "2"):
        store.untag(name)
    # As other tools copy an index: not with all that it lists.
    (store.path / "blobs/sha256" / first.digest.hex).unlink()
    assert all(not what.endswith(second.digest.hex) for what in ocimlpack.prune(layout).removed)
    assert ocimlpack.pull(f"{layout}@{second.digest}", tmp_path / "out").files == 6


def test_prune_removes_what_interrupted_writers_left(model: Path, layout: str) -> None:
    import os

    ocimlpack.pack(model, layout)
    folder = Path(layout.removeprefix("oci:"))
    old, new = folder / "ingest/.ocimlpack-old", folder / "ingest/.ocimlpack-new"
    for path in (old, new):
        path.write_bytes(b"12345")
    os.utime(old, (0, 0))
    assert ocimlpack.prune(layout).removed == (str(old),)
    assert new.exists()


def test_prune_of_a_folder_removes_partial_pulls(model: Path, layout: str, tmp_path: Path) -> None:
    packed = ocimlpack.pack(model, layout)
    blob = Path(layout.removeprefix("oci:")) / "blobs"
    [digest] = [f.digest for f in ocimlpack.inspect(layout).files if f.path == "weights/b.bin"]
    (blob / digest.replace(":", "/")).write_bytes(b"x" * 3000)
    with pytest.raises(ocimlpack.IntegrityError):
        ocimlpack.pull(packed.reference, tmp_path / "out", jobs=1)  # a.bin is whole by then
    assert not (tmp_path / "out").exists()
    pruned = ocimlpack.prune(str(tmp_path / "out"))
    assert len(pruned.removed) == 1
    assert pruned.freed > 0
    assert {path.name for path in tmp_path.iterdir()} == {"tiny", "layout"}


def test_places_that_are_not_on_disk_are_not_listed_or_pruned() -> None:
    for function in (ocimlpack.ls, ocimlpack.prune):
        with pytest.raises(ocimlpack.InputError, match="places on disk"):
            function("reg.example/team/model")
