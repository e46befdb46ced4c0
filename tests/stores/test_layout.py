from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    InvalidContentError,
    NotFoundError,
    UnsupportedError,
)
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores.base import CHUNK, BytesBlob, FileBlob, Store
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.verify import check
from tests.contract import (
    LARGE,
    WEIGHT,
    ReferrersContract,
    StoreContract,
    WatchedBlob,
    at_once,
    index_of,
    put,
    put_artifact,
    take,
)


class TestContract(ReferrersContract, StoreContract):
    @pytest.fixture(params=["", "minilm"], ids=["one model", "several models"])
    def store(self, tmp_path: Path, request: pytest.FixtureRequest) -> Store:
        self.name = request.param
        return LayoutStore(tmp_path / "layout", name=request.param, create=True)

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, LayoutStore)
        return LayoutStore(store.path, name=self.name)

    def leftovers(self, store: Store) -> set[str]:
        assert isinstance(store, LayoutStore)
        return {str(path) for path in store.path.rglob("*") if path.is_file()} - {
            str(store.path / "index.json.lock")
        }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def layout(path: Path) -> LayoutStore:
    return LayoutStore(path, create=True)


def read_index(path: Path) -> dict[str, Any]:
    value = json.loads((path / "index.json").read_bytes())
    assert isinstance(value, dict)
    return value


def write_index(path: Path, *entries: dict[str, Any], **fields: Any) -> None:
    value = {"schemaVersion": 2, "manifests": list(entries), **fields}
    (path / "index.json").write_text(json.dumps(value))


def entry(desc: Descriptor, name: str = "", **fields: Any) -> dict[str, Any]:
    annotations = {mediatypes.REF_NAME: name} if name else {}
    return {**desc.to_json(), "annotations": annotations, **fields}


def blob_path(path: Path, desc: Descriptor) -> Path:
    return path / "blobs" / desc.digest.algorithm / desc.digest.hex


# As the specification has it


def test_a_layout_has_the_files_of_the_specification(path: Path, layout: LayoutStore) -> None:
    manifest = put_artifact(layout, b"weights")
    layout.tag(manifest.descriptor, "v1")
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = read_index(path)
    assert index["schemaVersion"] == 2
    assert index["mediaType"] == mediatypes.OCI_INDEX
    (listed,) = index["manifests"]
    assert Descriptor.from_json(listed).plain == manifest.descriptor
    assert listed["annotations"] == {mediatypes.REF_NAME: "v1"}
    assert listed["artifactType"] == manifest.artifact_type
    for content in (manifest.raw, b"weights", b"{}"):
        assert blob_path(path, Descriptor.of(content, WEIGHT)).read_bytes() == content


def test_an_empty_layout_is_a_layout(path: Path, layout: LayoutStore) -> None:
    assert layout.tags() == []
    assert read_index(path)["manifests"] == []
    assert (path / "blobs").is_dir()


def test_a_manifest_without_a_tag_is_in_the_index_once(path: Path, layout: LayoutStore) -> None:
    manifest = put_artifact(layout, b"weights")
    layout.push(manifest.descriptor, BytesBlob(manifest.raw))
    assert [each["digest"] for each in read_index(path)["manifests"]] == [
        str(manifest.descriptor.digest)
    ]


def test_a_tag_takes_the_place_of_the_entry_without_one(path: Path, layout: LayoutStore) -> None:
    desc = put_artifact(layout, b"weights").descriptor
    for name in ("v1", "v2", "v1"):
        layout.tag(desc, name)
    names = [each["annotations"][mediatypes.REF_NAME] for each in read_index(path)["manifests"]]
    assert sorted(names) == ["v1", "v2"]


def test_what_an_index_lists_has_no_entry_of_its_own(path: Path, layout: LayoutStore) -> None:
    one, two = (put_artifact(layout, content).descriptor for content in (b"one", b"two"))
    layout.tag(two, "two")
    root = put(layout, index_of(one, two), mediatypes.OCI_INDEX)
    listed = {each["digest"] for each in read_index(path)["manifests"]}
    assert listed == {str(root.digest), str(two.digest)}


def test_files_can_be_read_by_others_as_the_umask_allows(path: Path, layout: LayoutStore) -> None:
    desc = put(layout, b"weights")
    ours = (path / "made").open("w")
    ours.close()
    expected = (path / "made").stat().st_mode & 0o777
    for each in (blob_path(path, desc), path / "index.json", path / "oci-layout"):
        assert each.stat().st_mode & 0o777 == expected


# As other programs write it


def test_what_others_wrote_is_read(path: Path, layout: LayoutStore) -> None:
    manifest = put_artifact(layout, b"weights")
    write_index(
        path,
        entry(manifest.descriptor, "v1", platform={"os": "linux", "architecture": "amd64"}),
        entry(manifest.descriptor, "registry.example/team/model:v2"),
        manifest.descriptor.to_json(),
    )
    assert layout.resolve("v1") == manifest.descriptor
    assert layout.resolve(str(manifest.descriptor.digest)) == manifest.descriptor


def test_what_others_wrote_beside_it_is_kept(path: Path, layout: LayoutStore) -> None:
    one, two = (put_artifact(layout, content).descriptor for content in (b"one", b"two"))
    theirs = entry(one, "theirs", platform={"os": "linux"}, urls=["https://example.com"])
    write_index(path, theirs, annotations={"made.by": "another"}, **{"x-future": [1]})
    layout.tag(two, "ours")
    layout.untag("ours")
    index = read_index(path)
    assert index["annotations"] == {"made.by": "another"}
    assert index["x-future"] == [1]
    assert theirs in index["manifests"]


def test_an_index_without_a_media_type_is_read(path: Path, layout: LayoutStore) -> None:
    desc = put_artifact(layout, b"weights").descriptor
    write_index(path, entry(desc, "v1"))
    assert "mediaType" not in read_index(path)
    assert LayoutStore(path).resolve("v1") == desc


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"manifests":null}',
        b'{"manifests":{}}',
        b'{"manifests":[null]}',
        b'{"manifests":["sha256:"]}',
        b'{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:../x","size":1}]}',
        b'{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":1}]}',
        b'{"manifests":[],"manifests":[]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:40]),
)
def test_an_index_that_is_malformed_is_refused_and_left_as_it_is(
    path: Path, layout: LayoutStore, content: bytes
) -> None:
    put(layout, b"weights")
    (path / "index.json").write_bytes(content)
    with pytest.raises(InvalidContentError):
        layout.resolve("v1")
    with pytest.raises(InvalidContentError):
        layout.tags()
    assert (path / "index.json").read_bytes() == content


def test_a_layout_without_an_index_is_refused(path: Path, layout: LayoutStore) -> None:
    (path / "index.json").unlink()
    with pytest.raises(InvalidContentError):
        layout.tags()


# Opening


def test_what_is_not_there_is_not_opened(path: Path) -> None:
    with pytest.raises(NotFoundError):
        LayoutStore(path)
    assert not path.exists()


def test_a_folder_that_is_no_layout_is_not_opened(path: Path) -> None:
    path.mkdir()
    with pytest.raises(NotFoundError):
        LayoutStore(path)
    assert list(path.iterdir()) == []


def test_a_folder_with_something_else_in_it_does_not_become_a_layout(path: Path) -> None:
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ConflictError):
        LayoutStore(path, create=True)
    assert [each.name for each in path.iterdir()] == ["model.safetensors"]


def test_a_file_does_not_become_a_layout(path: Path) -> None:
    path.write_bytes(b"weights")
    with pytest.raises(InputError):
        LayoutStore(path, create=True)
    with pytest.raises((InputError, NotFoundError)):
        LayoutStore(path)
    assert path.read_bytes() == b"weights"


def test_a_layout_that_is_there_is_opened_and_not_made_anew(
    path: Path, layout: LayoutStore
) -> None:
    desc = put_artifact(layout, b"weights").descriptor
    layout.tag(desc, "v1")
    assert LayoutStore(path, create=True).resolve("v1") == desc


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b'{"imageLayoutVersion":"2.0.0"}', UnsupportedError),
        (b'{"imageLayoutVersion":1}', UnsupportedError),
        (b"{}", UnsupportedError),
        (b"[]", UnsupportedError),
        (b"", InvalidContentError),
        (b"layout", InvalidContentError),
    ],
)
def test_a_layout_of_another_version_is_not_opened(
    path: Path, layout: LayoutStore, content: bytes, error: type[Exception]
) -> None:
    (path / "oci-layout").write_bytes(content)
    for create in (False, True):
        with pytest.raises(error):
            LayoutStore(path, create=create)


# Several models in one layout


def test_models_in_one_layout_have_tags_of_their_own(path: Path) -> None:
    one = LayoutStore(path, name="one", create=True)
    two = LayoutStore(path, name="team/two")
    first, second = put_artifact(one, b"one").descriptor, put_artifact(two, b"two").descriptor
    one.tag(first, "v1")
    two.tag(second, "v1")
    assert one.resolve("v1") == first
    assert two.resolve("v1") == second
    assert (one.tags(), two.tags()) == (["v1"], ["v1"])
    with pytest.raises(NotFoundError):
        one.untag("v2")
    one.untag("v1")
    assert (one.tags(), two.tags()) == ([], ["v1"])


def test_deleting_one_model_leaves_what_another_one_needs(path: Path) -> None:
    one = LayoutStore(path, name="one", create=True)
    two = LayoutStore(path, name="two")
    artifact = put_artifact(one, b"weights")
    for store in (one, two):
        store.tag(artifact.descriptor, "v1")
    assert one.delete(artifact.descriptor) == 0
    assert one.tags() == []
    for child in artifact.children:
        check(two.fetch(child), child)
    assert two.delete(artifact.descriptor) == len(artifact.raw) + len(b"weights{}")


# Content that is not what it should be


@pytest.fixture
def artifact(layout: LayoutStore) -> Manifest:
    made = put_artifact(layout, LARGE, b"small")
    layout.tag(made.descriptor, "v1")
    return made


def test_a_blob_that_was_changed_on_disk_is_noticed(
    path: Path, layout: LayoutStore, artifact: Manifest
) -> None:
    target = blob_path(path, artifact.layers[0])
    target.write_bytes(LARGE[:-1] + b"\x00")
    with pytest.raises(IntegrityError):
        check(layout.fetch(artifact.layers[0]), artifact.layers[0])


@pytest.mark.parametrize("kept", [0, 1, len(LARGE) - 1])
def test_a_blob_that_was_cut_short_is_not_there_and_is_replaced(
    path: Path, layout: LayoutStore, artifact: Manifest, kept: int
) -> None:
    desc = artifact.layers[0]
    blob_path(path, desc).write_bytes(LARGE[:kept])
    assert not layout.exists(desc)
    layout.push(desc, BytesBlob(LARGE))
    assert take(layout.fetch(desc)) == LARGE


def test_a_manifest_that_was_changed_on_disk_is_noticed(
    path: Path, layout: LayoutStore, artifact: Manifest
) -> None:
    raw = artifact.raw.replace(b"example", b"elpmaxe")
    assert raw != artifact.raw
    blob_path(path, artifact.descriptor).write_bytes(raw)
    with pytest.raises(IntegrityError):
        layout.tag(artifact.descriptor, "v2")
    assert layout.tags() == ["v1"]


def test_a_blob_can_not_be_resolved_as_a_manifest(layout: LayoutStore, artifact: Manifest) -> None:
    for layer in artifact.layers:
        with pytest.raises((InvalidContentError, NotFoundError)):
            layout.resolve(str(layer.digest))


# Interrupted writers


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_whatever_interrupts_a_push_nothing_is_left(
    path: Path, layout: LayoutStore, error: type[BaseException]
) -> None:
    class Interrupted(WatchedBlob):
        def count(self, size: int, position: int) -> None:
            if position > CHUNK:
                raise error

    before = sorted(path.rglob("*"))
    with pytest.raises(error):
        layout.push(Descriptor.of(LARGE, WEIGHT), Interrupted(LARGE))
    assert [each for each in path.rglob("*") if each.is_file() and each not in before] == []


def test_a_blob_is_not_seen_before_all_of_it_is_there(path: Path, layout: LayoutStore) -> None:
    desc = Descriptor.of(LARGE, WEIGHT)
    seen = []

    class Watching(WatchedBlob):
        def count(self, size: int, position: int) -> None:
            seen.append(layout.exists(desc) or blob_path(path, desc).exists())

    layout.push(desc, Watching(LARGE))
    assert len(seen) > 3
    assert not any(seen)
    assert layout.exists(desc)


def test_pruning_removes_what_nothing_needs(path: Path, layout: LayoutStore) -> None:
    kept = put_artifact(layout, b"kept", b"shared")
    layout.tag(kept.descriptor, "kept")
    loose = put(layout, b"loose")
    untagged = put_artifact(layout, b"shared", b"untagged")
    layout.tag(untagged.descriptor, "gone")
    layout.untag("gone")
    planned = layout.prune(dry_run=True)
    assert layout.exists(loose)
    removed = layout.prune()
    assert removed == planned
    assert {name for name, _ in removed} == {
        str(loose.digest),
        str(untagged.descriptor.digest),
        str(untagged.layers[1].digest),
    }
    assert sum(size for _, size in removed) == len(b"loose" + b"untagged") + len(untagged.raw)
    for child in kept.children:
        check(layout.fetch(child), child)
    assert layout.prune() == []


def test_pruning_removes_what_interrupted_writers_left_long_ago(
    path: Path, layout: LayoutStore
) -> None:
    put(layout, b"weights")  # so that the folder for beginnings is there
    folder = path / "ingest"
    old, new = folder / ".ocimlpack-old", folder / ".ocimlpack-new"
    for each in (old, new):
        each.write_bytes(b"half")
    long_ago = time.time() - 7 * 86400
    os.utime(old, (long_ago, long_ago))
    layout.prune()
    assert not old.exists()
    assert new.exists()


def test_pruning_keeps_what_it_can_not_judge(
    path: Path, layout: LayoutStore, artifact: Manifest
) -> None:
    blob_path(path, artifact.descriptor).write_bytes(b"{}")
    loose = put(layout, b"loose")
    with pytest.raises(IntegrityError):
        layout.prune()
    assert layout.exists(loose)
    assert layout.exists(artifact.layers[0])


def test_pruning_leaves_names_alone_that_are_no_digests(path: Path, layout: LayoutStore) -> None:
    theirs = path / "blobs" / "sha256" / "README"
    theirs.write_text("not ours")
    layout.prune()
    assert theirs.exists()


# Several writers


WRITER = """
import sys
from pathlib import Path
from ocimlpack.stores.layout import LayoutStore
from tests.contract import put_artifact
store = LayoutStore(Path(sys.argv[1]), create=True)
for number in range(8):
    artifact = put_artifact(store, b"shared", f"{sys.argv[2]}-{number}".encode())
    store.tag(artifact.descriptor, f"{sys.argv[2]}-{number}")
    store.tag(artifact.descriptor, "latest")
"""


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], env=env)
        for name in "abcd"
    ]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    store = LayoutStore(path)
    names = sorted(f"{name}-{number}" for name in "abcd" for number in range(8))
    assert store.tags() == [*names, "latest"]
    for name in names:
        assert store.exists(store.resolve(name))
    assert [each.name for each in path.iterdir() if each.name.startswith(".")] == []


def test_a_reader_never_sees_half_an_index(layout: LayoutStore, artifact: Manifest) -> None:
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            layout.tags()

    def write() -> None:
        try:
            for number in range(40):
                layout.tag(artifact.descriptor, f"v{number}")
        finally:
            done.set()

    at_once(read, write)


def test_a_blob_from_a_file_is_taken_over_whole(tmp_path: Path, layout: LayoutStore) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(LARGE)
    desc = Descriptor.of(LARGE, WEIGHT)
    layout.push(desc, FileBlob(file))
    file.write_bytes(b"changed afterwards")
    assert take(layout.fetch(desc)) == LARGE


def test_a_layout_that_can_not_be_written_says_so(
    path: Path, layout: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The tests may run as a user whom no file mode keeps from writing.
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        put(layout, b"weights")
    monkeypatch.undo()
    assert not layout.exists(Descriptor.of(b"weights", WEIGHT))


def test_a_full_disk_is_said_to_be_full(
    path: Path, layout: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = {each for each in path.rglob("*") if each.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Exception, match="no room left") as caught:
            put(layout, b"weights")
    assert getattr(caught.value, "exit_code", None) == 6
    assert {each for each in path.rglob("*") if each.is_file()} == before
    put(layout, b"weights")
