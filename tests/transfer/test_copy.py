from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ocimlpack.errors import (
    ConflictError,
    IntegrityError,
    InvalidContentError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
)
from ocimlpack.progress import Began, Ended, Event, Moved, Planned
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.manifest import Manifest, build
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import Blob, BytesBlob
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.stores.verify import check
from ocimlpack.transfer.copy import Summary, copy, label, plan
from tests.contract import LARGE, WEIGHT, WatchedBlob, index_of, put, put_artifact, take
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

LAYERS = (LARGE, b"one", b"two", b"")
Failing = Callable[[Descriptor], OcimlpackError | None]
SIZE = sum(map(len, LAYERS)) + len(b"{}")


@pytest.fixture
def source() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def artifact(source: MemoryStore) -> Manifest:
    return put_artifact(source, *LAYERS)


@pytest.fixture
def into() -> MemoryStore:
    return MemoryStore()


class Diary(MemoryStore):
    """A store that notes the order in which content arrives, and lets some of it fail."""

    def __init__(
        self, fail: Callable[[Descriptor], OcimlpackError | None] = lambda _: None
    ) -> None:
        super().__init__()
        self.arrived: list[Descriptor] = []
        self._fail = fail
        self._lock = threading.Lock()

    def push(self, desc: Descriptor, blob: Blob) -> None:
        if error := self._fail(desc):
            raise error
        super().push(desc, blob)
        with self._lock:
            self.arrived.append(desc)


class Replacing(MemoryStore):
    """A source that hands out other bytes for some content."""

    def __init__(self) -> None:
        super().__init__()
        self.others: dict[Digest, Blob] = {}

    def fetch(self, desc: Descriptor) -> Blob:
        return self.others.get(desc.digest) or super().fetch(desc)


def sizes(summary: Summary) -> tuple[int, int, int]:
    return summary.moved, summary.skipped, summary.mounted


# What arrives


@pytest.mark.parametrize("jobs", [1, 4, 100])
def test_all_of_an_artifact_arrives(
    source: MemoryStore, artifact: Manifest, into: MemoryStore, jobs: int
) -> None:
    summary = copy(source, artifact.descriptor, into, ["v1", "latest"], jobs=jobs)
    assert sizes(summary) == (SIZE, 0, 0)
    assert into.tags() == ["latest", "v1"]
    assert into.resolve("v1") == into.resolve("latest") == artifact.descriptor
    for child in artifact.children:
        check(into.fetch(child), child)
    assert take(into.fetch(artifact.descriptor)) == artifact.raw


def test_without_tags_none_are_set(
    source: MemoryStore, artifact: Manifest, into: MemoryStore
) -> None:
    copy(source, artifact.descriptor, into)
    assert into.tags() == []
    assert into.resolve(str(artifact.descriptor.digest)) == artifact.descriptor


def test_what_is_there_is_left_alone(
    source: MemoryStore, artifact: Manifest, into: MemoryStore
) -> None:
    put(into, LARGE)
    summary = copy(source, artifact.descriptor, into)
    assert sizes(summary) == (SIZE - len(LARGE), len(LARGE), 0)
    assert sizes(copy(source, artifact.descriptor, into)) == (0, SIZE, 0)


def test_an_index_arrives_with_all_that_it_lists(source: MemoryStore, into: MemoryStore) -> None:
    one, two = put_artifact(source, b"shared", b"one"), put_artifact(source, b"shared", b"two")
    inner = put(source, index_of(one.descriptor), mediatypes.OCI_INDEX)
    root = put(source, index_of(inner, two.descriptor), mediatypes.OCI_INDEX)
    summary = copy(source, root, into, ["all"])
    assert into.resolve("all") == root
    for artifact in (one, two):
        assert into.resolve(str(artifact.descriptor.digest)) == artifact.descriptor
        for child in artifact.children:
            check(into.fetch(child), child)
    assert summary.moved == len(b"shared" + b"one" + b"two" + b"{}")


def test_children_arrive_before_what_names_them(source: MemoryStore) -> None:
    one, two = put_artifact(source, b"one"), put_artifact(source, b"two")
    inner = put(source, index_of(one.descriptor), mediatypes.OCI_INDEX)
    root = put(source, index_of(inner, two.descriptor), mediatypes.OCI_INDEX)
    into = Diary()
    copy(source, root, into)
    kinds = [mediatypes.is_manifest(desc.media_type) for desc in into.arrived]
    assert kinds == sorted(kinds)
    assert into.arrived[-1] == root
    digests = [desc.digest for desc in into.arrived]
    assert digests.index(one.descriptor.digest) < digests.index(inner.digest)


def test_of_the_same_content_one_piece_is_moved(source: MemoryStore) -> None:
    artifact = put_artifact(source, b"same", b"same", b"{}", b"same")
    into = Diary()
    summary = copy(source, artifact.descriptor, into)
    assert summary.moved == len(b"same" + b"{}")
    assert len(into.arrived) == 3


def test_what_is_not_wanted_is_not_moved(source: MemoryStore) -> None:
    artifact = put_artifact(source, b"one", b"two")

    class Folder(Diary):
        """Takes leaves only, as a folder of files does."""

        def push(self, desc: Descriptor, blob: Blob) -> None:
            if not mediatypes.is_manifest(desc.media_type):
                super().push(desc, blob)

    into = Folder()
    summary = copy(
        source, artifact.descriptor, into, wanted=lambda desc: desc == artifact.layers[1]
    )
    assert into.arrived == [artifact.layers[1]]
    assert sizes(summary) == (3, 0, 0)


def test_the_plan_has_each_leaf_once_and_the_root_last(source: MemoryStore) -> None:
    one, two = put_artifact(source, b"a", b"bb"), put_artifact(source, b"a", b"ccc")
    root = put(source, index_of(one.descriptor, two.descriptor), mediatypes.OCI_INDEX)
    made = plan(source, root)
    assert [node.descriptor for node in made.manifests] == [one.descriptor, two.descriptor, root]
    assert {leaf.digest for leaf in made.leaves} == {
        Digest.of(content) for content in (b"a", b"bb", b"ccc", b"{}")
    }
    assert len(made.leaves) == 4
    assert made.size == len(b"abbccc{}")


def test_from_a_layout_to_a_registry_and_back(
    source: MemoryStore,
    artifact: Manifest,
    store: RegistryStore,
    tmp_path: Path,
) -> None:
    first = LayoutStore(tmp_path / "first", create=True)
    second = LayoutStore(tmp_path / "second", create=True)
    copy(source, artifact.descriptor, first, ["v1"])
    copy(first, first.resolve("v1"), store, ["v1"])
    copy(store, store.resolve("v1"), second, ["v1"])
    blobs = {
        path.relative_to(second.path): path.read_bytes()
        for path in (second.path / "blobs").rglob("*")
        if path.is_file()
    }
    assert len(blobs) == len(artifact.children) + 1
    for path, content in blobs.items():
        assert (first.path / path).read_bytes() == content
    assert second.resolve("v1") == artifact.descriptor


# What is asked of a registry


def test_the_first_push_sends_each_piece_once(
    scripted: ScriptedRegistry, source: MemoryStore, store: RegistryStore
) -> None:
    artifact = put_artifact(source, LARGE, b"same", b"same", b"")
    copy(source, artifact.descriptor, store, ["v1"])
    sent = [each.arguments()["digest"] for each in scripted.asked("PUT", "/blobs/uploads/")]
    assert sorted(sent) == sorted({str(child.digest) for child in artifact.children})
    assert scripted.count("POST", "/blobs/uploads/") == len(sent)
    assert scripted.count("HEAD", "/blobs/") == len(sent)
    assert scripted.count("PUT", "/manifests/") == 2  # under its digest, and the tag
    assert scripted.count("GET") == 0


def test_a_push_of_what_is_there_sends_nothing_but_the_tag(
    scripted: ScriptedRegistry, source: MemoryStore, artifact: Manifest, store: RegistryStore
) -> None:
    copy(source, artifact.descriptor, store, ["v1"])
    scripted.forget()
    summary = copy(source, artifact.descriptor, store, ["v1"])
    assert sizes(summary) == (0, SIZE, 0)
    assert scripted.uploads == []
    assert {each.method for each in scripted.requests} == {"HEAD", "PUT"}
    assert [each.path for each in scripted.asked("PUT")] == [f"/v2/{REPOSITORY}/manifests/v1"]
    assert scripted.count("HEAD", "/blobs/") == len(artifact.children)


def test_a_pull_reads_each_piece_once(
    scripted: ScriptedRegistry, source: MemoryStore, store: RegistryStore, into: MemoryStore
) -> None:
    artifact = put_artifact(source, LARGE, b"same", b"same")
    copy(source, artifact.descriptor, store, ["v1"])
    scripted.forget()
    copy(store, RegistryStore(store.session, REPOSITORY).resolve("v1"), into)
    assert scripted.count("GET", "/blobs/") == 3
    assert scripted.count("GET", "/manifests/") <= 1
    assert scripted.count() <= 5


def test_within_a_registry_no_bytes_are_moved(
    scripted: ScriptedRegistry,
    source: MemoryStore,
    artifact: Manifest,
    session: Session,
    store: RegistryStore,
) -> None:
    there = RegistryStore(session, "team/there")
    copy(source, artifact.descriptor, there, ["v1"])
    scripted.forget()
    summary = copy(there, artifact.descriptor, store, ["v1"])
    assert sizes(summary) == (0, 0, SIZE)
    assert scripted.uploads == []
    assert scripted.count("GET", "/blobs/") == 0
    assert store.resolve("v1") == artifact.descriptor


def test_a_tag_that_the_registry_does_not_move_is_noticed(
    scripted: ScriptedRegistry, source: MemoryStore, artifact: Manifest, store: RegistryStore
) -> None:
    scripted.quirks.moves_tags = False
    other = put_artifact(source, b"other")
    copy(source, other.descriptor, store, ["v1"])
    with pytest.raises(ConflictError) as caught:
        copy(source, artifact.descriptor, store, ["v1"])
    assert caught.value.side == "destination"
    assert str(other.descriptor.digest) in caught.value.message
    assert store.resolve("v1") == other.descriptor


def test_a_tag_is_set_again_though_it_stands_for_the_same(
    scripted: ScriptedRegistry, source: MemoryStore, artifact: Manifest, store: RegistryStore
) -> None:
    """Somebody else may move it between the look and the end of the push."""
    for _ in range(2):
        copy(source, artifact.descriptor, store, ["v1"])
    assert scripted.count("PUT", "/manifests/v1") == 2


# Interrupted copies


@pytest.mark.parametrize("missing", ["layer", "config"])
def test_what_an_interrupted_copy_has_left_out_is_brought(
    scripted: ScriptedRegistry,
    source: MemoryStore,
    artifact: Manifest,
    store: RegistryStore,
    missing: str,
) -> None:
    copy(source, artifact.descriptor, store, ["v1"])
    child = artifact.layers[1] if missing == "layer" else artifact.config
    del scripted.content[REPOSITORY].blobs[str(child.digest)]
    assert store.exists(artifact.descriptor)
    scripted.forget()
    summary = copy(source, artifact.descriptor, store, ["v1"])
    assert sizes(summary) == (child.size, SIZE - child.size, 0)
    assert len(scripted.asked("PUT", "/blobs/uploads/")) == 1
    check(store.fetch(child), child)


def test_a_manifest_that_an_index_lists_and_that_is_missing_is_brought(
    scripted: ScriptedRegistry, source: MemoryStore, artifact: Manifest, store: RegistryStore
) -> None:
    root = put(source, index_of(artifact.descriptor), mediatypes.OCI_INDEX)
    copy(source, root, store, ["v1"])
    del scripted.content[REPOSITORY].manifests[str(artifact.descriptor.digest)]
    copy(source, root, store, ["v1"])
    assert take(store.fetch(artifact.descriptor)) == artifact.raw


def test_a_copy_that_failed_goes_on_where_it_was(source: MemoryStore, artifact: Manifest) -> None:
    failing = [artifact.layers[1]]
    into = Diary(lambda desc: UnavailableError("full") if desc in failing else None)
    with pytest.raises(UnavailableError):
        copy(source, artifact.descriptor, into, ["v1"], jobs=1)
    arrived = sum(desc.size for desc in into.arrived)
    assert arrived
    failing.clear()
    summary = copy(source, artifact.descriptor, into, ["v1"])
    assert sizes(summary) == (SIZE - arrived, arrived, 0)


# Failures


@pytest.mark.parametrize("jobs", [1, 4])
def test_after_a_failure_there_is_no_manifest_and_no_tag(
    source: MemoryStore, artifact: Manifest, jobs: int
) -> None:
    into = Diary(lambda desc: UnavailableError("full") if desc == artifact.layers[2] else None)
    with pytest.raises(UnavailableError, match="full") as caught:
        copy(source, artifact.descriptor, into, ["v1"], jobs=jobs)
    assert caught.value.side == "destination"
    assert into.tags() == []
    assert not into.exists(artifact.descriptor)


def test_after_a_failure_of_the_manifest_there_is_no_tag(
    source: MemoryStore, artifact: Manifest
) -> None:
    into = Diary(lambda desc: UnavailableError("no") if desc == artifact.descriptor else None)
    put_artifact(into, b"old")
    old = into.arrived[-1]
    into.tag(old, "v1")
    with pytest.raises(UnavailableError):
        copy(source, artifact.descriptor, into, ["v1"])
    assert into.resolve("v1") == old


@pytest.mark.parametrize("sent", [b"ONE", b"on", b"ones", b""], ids=repr)
def test_wrong_bytes_from_the_source_do_not_arrive(into: MemoryStore, sent: bytes) -> None:
    source = Replacing()
    artifact = put_artifact(source, b"one", b"two")
    source.others[artifact.layers[0].digest] = BytesBlob(sent)
    with pytest.raises(IntegrityError) as caught:
        copy(source, artifact.descriptor, into, ["v1"])
    assert caught.value.digest == str(artifact.layers[0].digest)
    assert not into.exists(artifact.layers[0])
    assert into.tags() == []


def test_a_wrong_manifest_from_the_source_is_refused_before_anything_moves() -> None:
    source = Replacing()
    artifact, other = put_artifact(source, b"one"), put_artifact(source, b"two")
    source.others[artifact.descriptor.digest] = BytesBlob(other.raw)
    into = Diary()
    with pytest.raises(IntegrityError):
        copy(source, artifact.descriptor, into, ["v1"])
    assert into.arrived == []


def test_what_the_source_lacks_is_said_to_be_missing_there(into: MemoryStore) -> None:
    class Lossy(Replacing):
        def fetch(self, desc: Descriptor) -> Blob:
            if desc.media_type == WEIGHT:
                raise NotFoundError(f"no {desc.digest}")
            return super().fetch(desc)

    source = Lossy()
    artifact = put_artifact(source, b"one")
    with pytest.raises(NotFoundError) as caught:
        copy(source, artifact.descriptor, into)
    assert caught.value.side == "source"


def test_a_source_that_fails_while_it_is_read_is_named(into: MemoryStore) -> None:
    source = Replacing()
    artifact = put_artifact(source, LARGE)
    source.others[artifact.layers[0].digest] = WatchedBlob(LARGE, fail_at=1)
    with pytest.raises(UnavailableError, match="the source is gone") as caught:
        copy(source, artifact.descriptor, into)
    assert caught.value.side == "source"


def test_a_root_that_is_not_there_is_named(source: MemoryStore, into: MemoryStore) -> None:
    with pytest.raises(NotFoundError) as caught:
        copy(source, Descriptor.of(b"absent", mediatypes.OCI_MANIFEST), into)
    assert caught.value.side == "source"


def test_a_failure_stops_the_other_transfers(source: MemoryStore) -> None:
    """The first job fails while the second one is under way; it must not go on to its end."""
    artifact = put_artifact(source, LARGE, LARGE[:-1])
    slow, failing = artifact.layers
    begun, stopped = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def push(self, desc: Descriptor, blob: Blob) -> None:
            if desc == failing:
                assert begun.wait(30)
                raise UnavailableError("full")
            if desc == slow:
                self._read_again_and_again(blob)
            super().push(desc, blob)

        def _read_again_and_again(self, blob: Blob) -> None:
            try:
                for _ in range(100_000):
                    with blob.open() as stream:
                        stream.read(1)
                        begun.set()
            except OcimlpackError:
                stopped.set()
                raise

    with pytest.raises(UnavailableError, match="full"):
        copy(source, artifact.descriptor, Slow(), jobs=2)
    assert stopped.is_set()


def test_indexes_nested_without_end_are_refused(source: MemoryStore, into: MemoryStore) -> None:
    root = put_artifact(source, b"one").descriptor
    for _ in range(40):
        root = put(source, index_of(root), mediatypes.OCI_INDEX)
    with pytest.raises(InvalidContentError, match="nested"):
        copy(source, root, into)
    assert not into.exists(root)


def test_a_leaf_that_poses_as_a_manifest_is_moved_as_what_it_is(into: MemoryStore) -> None:
    """A layer may have any media type, also that of a manifest, and need not be one."""
    source = MemoryStore()
    inner = put_artifact(source, b"one")
    config = put(source, b"{}", mediatypes.OCI_EMPTY)
    outer = build(config, [inner.descriptor])
    source.push(outer.descriptor, BytesBlob(outer.raw))
    with pytest.raises(OcimlpackError):
        copy(source, outer.descriptor, into, ["v1"])
    assert into.tags() == []


def test_a_manifest_whose_index_lies_about_its_size_is_refused(into: MemoryStore) -> None:
    source = MemoryStore()
    artifact = put_artifact(source, b"one")
    lie = Descriptor(mediatypes.OCI_MANIFEST, artifact.descriptor.digest, 5)
    raw = encode(
        {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [lie.to_json()]}
    )
    root = put(source, raw, mediatypes.OCI_INDEX)
    with pytest.raises(IntegrityError):
        copy(source, root, into)


# Progress


def test_progress_tells_what_becomes_of_each_piece(
    source: MemoryStore, artifact: Manifest, into: MemoryStore
) -> None:
    put(into, b"one")
    events: list[Event] = []
    copy(source, artifact.descriptor, into, report=events.append, jobs=1, action="pushing")
    assert events[0] == Planned("pushing", 5, SIZE)
    outcomes = {each.name: (each.size, each.outcome) for each in events if isinstance(each, Ended)}
    assert outcomes == {
        str(child.digest): (child.size, "skipped" if child.size == 3 and index == 1 else "moved")
        for index, child in enumerate(artifact.children)
    }
    assert sum(isinstance(each, Began) for each in events) == 5
    offsets = [
        each.offset
        for each in events
        if isinstance(each, Moved) and each.name == str(artifact.layers[0].digest)
    ]
    assert offsets == sorted(offsets)
    assert offsets[-1] == len(LARGE)


def test_a_piece_is_called_by_its_path(source: MemoryStore, into: MemoryStore) -> None:
    plain = put(source, b"weights")
    both = {mediatypes.FILEPATH: "a/model.bin", mediatypes.TITLE: "model.bin"}
    named = Descriptor(plain.media_type, plain.digest, plain.size, both)
    titled = Descriptor(plain.media_type, plain.digest, plain.size, {mediatypes.TITLE: "m"})
    assert [label(each) for each in (named, titled, plain)] == [
        "a/model.bin",
        "m",
        str(plain.digest),
    ]
    manifest = build(put(source, b"{}", mediatypes.OCI_EMPTY), [named])
    source.push(manifest.descriptor, BytesBlob(manifest.raw))
    events: list[Event] = []
    copy(source, manifest.descriptor, into, report=events.append)
    assert Ended("a/model.bin", 7, "moved") in events


def test_a_retry_shows_as_a_step_back(
    scripted: ScriptedRegistry, source: MemoryStore, store: RegistryStore
) -> None:
    artifact = put_artifact(source, LARGE)
    scripted.fault("PUT", "/blobs/uploads/", swallow=len(LARGE) - 1)
    events: list[Event] = []
    copy(source, artifact.descriptor, store, report=events.append, jobs=1)
    name = str(artifact.layers[0].digest)
    offsets = [each.offset for each in events if isinstance(each, Moved) and each.name == name]
    assert offsets != sorted(offsets)
    assert offsets[-1] == len(LARGE)
    assert [each.outcome for each in events if isinstance(each, Ended) and each.name == name] == [
        "moved"
    ]
