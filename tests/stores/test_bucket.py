from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from ocimlpack.errors import (
    ConflictError,
    InputError,
    InvalidContentError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.progress import Event, Warned
from ocimlpack.retry import Policy
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import bucket as bucket_module
from ocimlpack.stores.base import BytesBlob, Divider, Divisible, Freer, Store, capability
from ocimlpack.stores.bucket import BucketStore
from ocimlpack.stores.layout_index import UNTAGGED
from ocimlpack.stores.layout_reader import MAX_INDEX
from ocimlpack.stores.objects.persistent import PersistentObjects
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
from tests.objects.memory import Bucket, Call, MemoryObjects

FAST = Policy(attempts=3, base=0.001, cap=0.01, total=5.0)
REPOSITORY = "team/minilm"
INDEX = f"{REPOSITORY}/index.json"


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def opened(bucket: Bucket, repository: str = REPOSITORY, **options: Any) -> BucketStore:
    objects = PersistentObjects(MemoryObjects(bucket), FAST, options.get("report", lambda _: None))
    return BucketStore(objects, repository, **options)


class TestContract(ReferrersContract, StoreContract):
    frees_at_once = False

    @pytest.fixture
    def store(self, bucket: Bucket) -> Store:
        self.bucket = bucket
        return opened(bucket)

    def reopen(self, store: Store) -> Store:
        return opened(self.bucket)

    def leftovers(self, store: Store) -> set[str]:
        return {*self.bucket.objects, *self.bucket.uploads}


def index_in(bucket: Bucket, repository: str = REPOSITORY) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bucket.objects[f"{repository}/index.json"].content)
    return found


def test_it_has_the_abilities_that_a_copy_asks_for(bucket: Bucket) -> None:
    store = opened(bucket)
    assert capability(store, Divider) is store
    assert capability(store, Freer) is store
    assert isinstance(store.fetch(Descriptor.of(b"x", WEIGHT)), Divisible)


def test_what_lies_in_the_bucket_is_an_image_layout_with_shared_blobs(bucket: Bucket) -> None:
    store = opened(bucket)
    manifest = put_artifact(store, b"weights")
    store.tag(manifest.descriptor, "1.0")
    digests = [manifest.descriptor.digest, manifest.config.digest, manifest.layers[0].digest]
    assert set(bucket.objects) == {
        INDEX,
        f"{REPOSITORY}/oci-layout",
        *(f"blobs/sha256/{digest.hex}" for digest in digests),
    }
    assert json.loads(bucket.objects[f"{REPOSITORY}/oci-layout"].content) == {
        "imageLayoutVersion": "1.0.0"
    }
    (entry,) = index_in(bucket)["manifests"]
    assert entry["digest"] == str(manifest.descriptor.digest)
    assert entry["annotations"] == {mediatypes.REF_NAME: "1.0"}


def test_the_digest_lies_beside_the_bytes(bucket: Bucket) -> None:
    manifest = put_artifact(opened(bucket), b"weights").descriptor
    blob = bucket.objects[f"blobs/sha256/{Descriptor.of(b'weights', WEIGHT).digest.hex}"].label
    assert blob.metadata == {"oci-digest": str(Descriptor.of(b"weights", WEIGHT).digest)}
    assert blob.media_type == "application/octet-stream"
    # So a web server that shows the bucket says what a manifest is.
    found = bucket.objects[f"blobs/sha256/{manifest.digest.hex}"].label
    assert found.media_type == mediatypes.OCI_MANIFEST


def test_repositories_share_their_blobs(bucket: Bucket) -> None:
    put_artifact(opened(bucket, "a"), b"weights")
    brought = bucket.brought()
    blob = WatchedBlob(b"weights")
    opened(bucket, "b").push(Descriptor.of(b"weights", WEIGHT), blob)
    assert blob.opened == 0
    assert bucket.brought() == brought


def test_a_manifest_belongs_to_its_repository_alone(bucket: Bucket) -> None:
    manifest = put_artifact(opened(bucket, "a"), b"weights").descriptor
    other = opened(bucket, "b")
    put_artifact(other, b"other")
    assert not other.exists(manifest)
    with pytest.raises(NotFoundError):
        other.resolve(str(manifest.digest))
    with pytest.raises(NotFoundError):
        other.tag(manifest, "1.0")
    assert other.tags() == []


def test_what_is_removed_from_one_repository_stays_in_the_other(bucket: Bucket) -> None:
    for name in ("a", "b"):
        manifest = put_artifact(opened(bucket, name), b"weights").descriptor
    opened(bucket, "a").delete(manifest)
    assert opened(bucket, "b").exists(manifest)
    assert not opened(bucket, "a").exists(manifest)


def test_a_digest_can_be_had_after_its_tag_moved_on(bucket: Bucket) -> None:
    store = opened(bucket, clock=lambda: 1.8e9)
    one = put_artifact(store, b"one").descriptor
    store.tag(one, "latest")
    two = put_artifact(store, b"two").descriptor
    store.tag(two, "latest")
    assert opened(bucket).resolve(str(one.digest)) == one
    (entry,) = (each for each in index_in(bucket)["manifests"] if each["digest"] == str(one.digest))
    assert entry["annotations"] == {UNTAGGED: "2027-01-15T08:00:00Z"}
    # What is pushed or tagged again is wanted again.
    put_artifact(store, b"one")
    entries = index_in(bucket)["manifests"]
    assert all(UNTAGGED not in each.get("annotations", {}) for each in entries)
    store.tag(one, "old")
    assert [each["digest"] for each in index_in(bucket)["manifests"]].count(str(one.digest)) == 1


def test_freeing_leaves_what_has_a_tag(bucket: Bucket) -> None:
    store = opened(bucket)
    manifest = put_artifact(store, b"weights").descriptor
    for name in ("1.0", "2.0"):
        store.tag(manifest, name)
    store.untag("1.0")
    store.free(manifest)
    assert store.resolve("2.0") == manifest
    store.untag("2.0")
    assert store.resolve(str(manifest.digest)) == manifest
    store.free(manifest)
    assert not store.exists(manifest)


def test_what_an_index_lists_is_not_deleted_alone(bucket: Bucket) -> None:
    store = opened(bucket)
    one = put_artifact(store, b"one").descriptor
    index = put(store, index_of(one), mediatypes.OCI_INDEX)
    store.tag(index, "all")
    with pytest.raises(ConflictError, match="is part of an index"):
        store.delete(one)
    assert store.resolve(str(one.digest)) == one
    store.delete(index)
    assert not store.exists(one)


@pytest.mark.parametrize(
    "name", ["blobs", "blobs/x", "old/x", "expired", "a/index.json/b", "oci-layout"]
)
def test_names_that_would_be_taken_for_something_else_are_refused(
    bucket: Bucket, name: str
) -> None:
    with pytest.raises(InputError, match="in a bucket can't"):
        opened(bucket, name)


@pytest.mark.parametrize("name", ["old-models", "blobs2/x", "a/blobs", "a/old"])
def test_names_that_only_look_like_it_are_fine(bucket: Bucket, name: str) -> None:
    put_artifact(opened(bucket, name), b"weights")


def test_an_empty_bucket_has_no_repository(bucket: Bucket) -> None:
    store = opened(bucket)
    for ask in (store.tags, partial(store.resolve, "latest"), store.entries):
        with pytest.raises(NotFoundError, match="no repository team/minilm in memory://models"):
            ask()
    for change in (
        partial(store.untag, "latest"),
        partial(store.delete, Descriptor.of(b"{}", mediatypes.OCI_MANIFEST)),
    ):
        with pytest.raises(NotFoundError):
            change()
    assert bucket.objects == {}


def test_what_others_wrote_into_the_index_stays(bucket: Bucket) -> None:
    store = opened(bucket)
    manifest = put_artifact(store, b"weights").descriptor
    index = index_in(bucket)
    index["annotations"] = {"org.example": "kept"}
    index["manifests"][0]["platform"] = {"os": "linux"}
    objects = MemoryObjects(bucket)
    label = bucket.objects[INDEX].label
    objects.put(INDEX, json.dumps(index).encode(), label)
    put_artifact(store, b"more")
    assert index_in(bucket)["annotations"] == {"org.example": "kept"}
    assert index_in(bucket)["manifests"][0]["platform"] == {"os": "linux"}
    assert store.resolve(str(manifest.digest)) == manifest


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"manifests": 1}'])
def test_an_index_that_is_none_is_said_to_be_so_and_left_alone(
    bucket: Bucket, content: bytes
) -> None:
    store = opened(bucket)
    manifest = put_artifact(store, b"weights").descriptor
    MemoryObjects(bucket).put(INDEX, content, bucket.objects[INDEX].label)
    for call in (store.tags, partial(store.tag, manifest, "1.0"), partial(store.delete, manifest)):
        with pytest.raises(InvalidContentError):
            call()
    assert bucket.objects[INDEX].content == content


def test_an_index_without_end_is_not_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(bucket)
    put_artifact(store, b"weights")
    monkeypatch.setattr(bucket_module, "MAX_INDEX", 10)
    assert MAX_INDEX > 10
    with pytest.raises(InvalidContentError):
        store.tags()


class TestWriters:
    """Of those who change one index at once, nobody loses anything."""

    def test_all_tags_of_many_are_there(self, bucket: Bucket) -> None:
        manifest = put_artifact(opened(bucket), b"weights").descriptor
        at_once(*(partial(opened(bucket).tag, manifest, f"v{number}") for number in range(16)))
        assert opened(bucket).tags() == sorted(f"v{number}" for number in range(16))

    def test_all_manifests_of_many_are_there(self, bucket: Bucket) -> None:
        def push(number: int) -> None:
            store = opened(bucket)
            store.tag(put_artifact(store, f"weights {number}".encode()).descriptor, f"v{number}")

        at_once(*(partial(push, number) for number in range(8)))
        store = opened(bucket)
        assert store.tags() == sorted(f"v{number}" for number in range(8))
        for number in range(8):
            desc = store.resolve(f"v{number}")
            assert json.loads(take(store.fetch(desc)))["schemaVersion"] == 2

    def test_a_change_in_between_is_taken_up(self, bucket: Bucket) -> None:
        store = opened(bucket)
        manifest = put_artifact(store, b"weights").descriptor
        other = opened(bucket)

        def interfere(call: Call) -> None:
            if call == Call("put", INDEX, call.size):
                bucket.before = lambda _: None
                other.tag(manifest, "theirs")

        bucket.before = interfere
        store.tag(manifest, "ours")
        assert store.tags() == ["ours", "theirs"]

    def test_a_tag_is_not_set_for_what_was_removed_in_between(self, bucket: Bucket) -> None:
        store = opened(bucket)
        manifest = put_artifact(store, b"weights").descriptor

        def interfere(call: Call) -> None:
            if call.verb == "put" and call.key == INDEX:
                bucket.before = lambda _: None
                opened(bucket).delete(manifest)

        bucket.before = interfere
        with pytest.raises(NotFoundError):
            store.tag(manifest, "1.0")
        assert store.tags() == []

    def test_an_index_that_never_rests_is_given_up(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bucket_module, "_WRITERS", FAST)
        store = opened(bucket)
        manifest = put_artifact(store, b"weights").descriptor
        numbers = itertools.count()

        def interfere(call: Call) -> None:
            if call.verb == "put" and call.key == INDEX:
                stored = bucket.objects[INDEX]
                changed = {**json.loads(stored.content), "change": next(numbers)}
                bucket.objects[INDEX] = replace(stored, content=json.dumps(changed).encode())

        bucket.before = interfere
        with pytest.raises(UnavailableError, match="others keep changing the index"):
            store.tag(manifest, "1.0")

    def test_a_service_that_knows_no_conditions_is_written_to_with_a_warning(
        self, bucket: Bucket
    ) -> None:
        bucket.heeds_conditions = False
        warnings: list[Event] = []

        def unknown() -> Exception:
            return UnsupportedError("what is that?", status=501)

        class Unconditional(MemoryObjects):
            def put(self, key: str, content: bytes, label: Any, condition: Any = None) -> str:
                if condition is not None:
                    raise unknown()
                return super().put(key, content, label)

        objects = PersistentObjects(Unconditional(bucket), FAST, warnings.append)
        store = BucketStore(objects, REPOSITORY, report=warnings.append)
        manifest = put_artifact(store, b"weights").descriptor
        store.tag(manifest, "1.0")
        assert store.resolve("1.0") == manifest
        (warning,) = warnings
        assert isinstance(warning, Warned)
        assert "knows no conditional writes" in warning.message

    def test_a_service_that_ignores_conditions_is_noticed(self, bucket: Bucket) -> None:
        bucket.heeds_conditions = False
        warnings: list[Event] = []
        store = opened(bucket, report=warnings.append)
        put_artifact(store, b"weights")
        (warning,) = warnings
        assert isinstance(warning, Warned)
        assert "ignores the conditions of writes" in warning.message

    def test_one_that_heeds_them_is_not_complained_about(self, bucket: Bucket) -> None:
        warnings: list[Event] = []
        put_artifact(opened(bucket, report=warnings.append), b"weights")
        assert warnings == []


class TestFaults:
    """A failure that passes is not noticed; one that does not ends in an error, in time."""

    VERBS = ("stat", "read", "put", "stream")

    @staticmethod
    def work(bucket: Bucket) -> None:
        store = opened(bucket)
        manifest = put_artifact(store, b"weights", LARGE).descriptor
        store.tag(manifest, "1.0")
        assert store.resolve("1.0") == manifest
        assert take(store.fetch(Descriptor.of(LARGE, WEIGHT))) == LARGE
        store.close()

    @pytest.mark.parametrize("after", [False, True], ids=["refused", "answer lost"])
    @pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6])
    @pytest.mark.parametrize("verb", VERBS)
    def test_once(self, bucket: Bucket, verb: str, nth: int, after: bool) -> None:
        fault = bucket.fault(verb, nth=nth, after=after)
        self.work(bucket)
        assert fault.hits == 1 or bucket.count(verb) < nth
        store = opened(bucket)
        assert store.tags() == ["1.0"]
        assert len(index_in(bucket)["manifests"]) == 1

    @pytest.mark.parametrize(
        ("verb", "nth"),
        [("stat", 1), ("stat", 3), ("read", 1), ("read", 3), ("put", 1), ("put", 3), ("stream", 1)],
    )
    def test_for_ever(self, bucket: Bucket, verb: str, nth: int) -> None:
        fault = bucket.fault(verb, nth=nth, times=None)
        with pytest.raises(UnavailableError, match="the service fails"):
            self.work(bucket)
        assert fault.hits == FAST.attempts

    def test_the_index_is_right_though_its_answer_got_lost_and_others_wrote(
        self, bucket: Bucket
    ) -> None:
        """What was written and then changed by others is not taken for our own."""
        store = opened(bucket)
        manifest = put_artifact(store, b"weights").descriptor
        bucket.fault("put", INDEX, after=True)
        other = opened(bucket)
        real = bucket.before

        def interfere(call: Call) -> None:
            # The second try of the write whose answer was lost.
            if call.verb == "put" and call.key == INDEX and bucket.faults[-1].hits:
                bucket.before = real
                other.tag(manifest, "theirs")

        bucket.before = interfere
        store.tag(manifest, "ours")
        assert store.tags() == ["ours", "theirs"]

    def test_a_blob_of_another_size_is_replaced(self, bucket: Bucket) -> None:
        desc = Descriptor.of(b"weights", WEIGHT)
        key = f"blobs/sha256/{desc.digest.hex}"
        MemoryObjects(bucket).put(key, b"cut", bucket_module._INDEX_LABEL)
        store = opened(bucket)
        assert not store.exists(desc)
        store.push(desc, BytesBlob(b"weights"))
        assert bucket.objects[key].content == b"weights"


class TestReading:
    def test_a_stream_that_breaks_goes_on_where_it_was(self, bucket: Bucket) -> None:
        store = opened(bucket)
        desc = put(store, LARGE)
        for cut in (100_000, 50_000, 200_000):
            bucket.fault("stream", cut=cut)
        assert take(store.fetch(desc)) == LARGE
        asked = [call.size for call in bucket.calls if call.verb == "stream"]
        assert asked == [len(LARGE) - at for at in (0, 100_000, 150_000, 350_000)]

    def test_one_that_brings_next_to_nothing_is_given_up(self, bucket: Bucket) -> None:
        store = opened(bucket)
        desc = put(store, LARGE)
        bucket.fault("stream", cut=100, times=None)
        with pytest.raises(UnavailableError, match="the connection broke"):
            take(store.fetch(desc))
        assert bucket.count("stream") == FAST.attempts

    def test_a_part_can_be_ended_from_elsewhere(self, bucket: Bucket) -> None:
        store = opened(bucket)
        blob = store.fetch(put(store, LARGE))
        assert isinstance(blob, Divisible)
        with blob.part(10, 1000) as part:
            assert part.read(5) == LARGE[10:15]
            part.abort()
            with pytest.raises(UnavailableError):
                part.read(5)
        assert bucket.count("stream") == 1

    def test_nothing_is_asked_for_before_a_part_is_read(self, bucket: Bucket) -> None:
        store = opened(bucket)
        blob = store.fetch(put(store, LARGE))
        before = len(bucket.calls)
        assert isinstance(blob, Divisible)
        with blob.part(0, 10):
            assert len(bucket.calls) == before

    def test_a_part_ends_where_it_ends(self, bucket: Bucket) -> None:
        store = opened(bucket)
        blob = store.fetch(put(store, LARGE))
        assert isinstance(blob, Divisible)
        with blob.part(1000, 2000) as part:
            got = b""
            while chunk := part.read(700):
                got += chunk
        assert got == LARGE[1000:3000]

    def test_a_pull_asks_little(self, bucket: Bucket) -> None:
        """Blobs are not looked for before they are read."""
        store = opened(bucket)
        desc = put(store, b"weights")
        before = len(bucket.calls)
        take(opened(bucket).fetch(desc))
        assert len(bucket.calls) == before + 1
