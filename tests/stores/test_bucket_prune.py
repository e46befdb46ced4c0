"""Cleaning a bucket up, and pushes that are at work meanwhile."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from ocimlpack.errors import ConflictError, UnavailableError
from ocimlpack.progress import Event, Warned
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import bucket_lease, bucket_prune, sessions
from ocimlpack.stores import bucket_names as names
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.bucket_lease import AGE, Turn
from ocimlpack.stores.objects.base import Label
from ocimlpack.stores.objects.persistent import PersistentObjects
from tests.contract import LARGE, WEIGHT, index_of, put, put_artifact, take
from tests.objects.memory import Bucket, Call, MemoryObjects
from tests.stores.test_bucket import FAST, opened

OLD = AGE + 60


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def objects_of(bucket: Bucket) -> PersistentObjects:
    return PersistentObjects(MemoryObjects(bucket), FAST)


class Cleaned:
    def __init__(self, bucket: Bucket, *, dry_run: bool = False) -> None:
        self.events: list[Event] = []
        found = bucket_prune.prune(objects_of(bucket), dry_run=dry_run, report=self.events.append)
        self.removed = {name for name, _ in found}
        self.freed = sum(size for _, size in found)

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


def blobs(bucket: Bucket) -> set[str]:
    return {str(names.digest_of(key)) for key in bucket.objects if key.startswith(names.BLOBS)}


class TestRepositories:
    def test_are_listed_without_the_blobs(self, bucket: Bucket) -> None:
        for name in ("b", "team/a", "team/a/deeper", "old-models"):
            put_artifact(opened(bucket, name), name.encode())
        before = len(bucket.calls)
        found = bucket_prune.repositories(objects_of(bucket))
        assert found == ["b", "old-models", "team/a", "team/a/deeper"]
        assert all(not call.key.startswith(names.BLOBS) for call in bucket.calls[before:])

    def test_of_an_empty_bucket_are_none(self, bucket: Bucket) -> None:
        assert bucket_prune.repositories(objects_of(bucket)) == []


class TestWhatGoes:
    def test_what_no_repository_names(self, bucket: Bucket) -> None:
        store = opened(bucket)
        manifest = put_artifact(store, b"weights", b"shared")
        other = put_artifact(opened(bucket, "other"), b"shared")
        store.delete(manifest.descriptor)
        bucket.age(OLD)
        cleaned = Cleaned(bucket)
        assert cleaned.removed == {
            str(manifest.descriptor.digest),
            str(Descriptor.of(b"weights", WEIGHT).digest),
        }
        assert cleaned.freed == manifest.descriptor.size + len(b"weights")
        assert cleaned.warnings == []
        kept = {other.descriptor, other.config, *other.layers}
        assert blobs(bucket) == {str(each.digest) for each in kept}
        assert take(opened(bucket, "other").fetch(other.layers[0])) == b"shared"
        assert Cleaned(bucket).removed == set()

    def test_what_an_index_lists_stays(self, bucket: Bucket) -> None:
        store = opened(bucket)
        one = put_artifact(store, b"one").descriptor
        index = put(store, index_of(one), mediatypes.OCI_INDEX)
        store.tag(index, "all")
        bucket.age(OLD)
        assert Cleaned(bucket).removed == set()

    def test_what_has_no_tag_but_was_pushed_so_stays(self, bucket: Bucket) -> None:
        put_artifact(opened(bucket), b"weights")
        bucket.age(10 * OLD)
        assert Cleaned(bucket).removed == set()

    def test_what_is_young_stays_and_is_mentioned(self, bucket: Bucket) -> None:
        put(opened(bucket), b"about to be named")
        cleaned = Cleaned(bucket)
        assert cleaned.removed == set()
        assert "1 blobs that nothing names are left" in cleaned.warnings[0]

    def test_what_lost_its_tag_a_day_ago(self, bucket: Bucket) -> None:
        then = time.time() - OLD
        store = opened(bucket, clock=lambda: then)
        one, two = (put_artifact(store, each).descriptor for each in (b"one", b"two"))
        store.tag(one, "latest")
        store.tag(two, "latest")
        bucket.age(OLD)
        assert str(one.digest) in Cleaned(bucket, dry_run=True).removed
        assert opened(bucket, to_write=False).exists(one)
        assert str(one.digest) in Cleaned(bucket).removed
        assert not opened(bucket).exists(one)
        assert opened(bucket).resolve("latest") == two

    def test_what_lost_its_tag_today_stays(self, bucket: Bucket) -> None:
        store = opened(bucket)
        one, two = (put_artifact(store, each).descriptor for each in (b"one", b"two"))
        store.tag(one, "latest")
        store.tag(two, "latest")
        bucket.age(OLD)
        assert Cleaned(bucket).removed == set()
        assert opened(bucket).resolve(str(one.digest)) == one

    def test_uploads_that_nobody_goes_on_with(self, bucket: Bucket) -> None:
        objects = MemoryObjects(bucket)
        old = objects.begin("blobs/sha256/" + "a" * 64, Label("", {}))
        bucket.age(sessions.STALE + 60)
        young = objects.begin("blobs/sha256/" + "b" * 64, Label("", {}))
        foreign = objects.begin("somebody/else", Label("", {}))
        bucket.uploads[foreign].began -= 10 * sessions.STALE
        assert len(Cleaned(bucket, dry_run=True).removed) == 1
        assert old in bucket.uploads
        assert Cleaned(bucket).removed == {f"an upload of sha256:{'a' * 64}"}
        assert set(bucket.uploads) == {young, foreign}

    def test_what_is_no_blob_is_left_alone(self, bucket: Bucket) -> None:
        objects = MemoryObjects(bucket)
        for key in ("blobs/README", "blobs/sha256/short", "somebody/else.txt", "top.txt"):
            objects.put(key, b"x", Label("text/plain", {}))
        bucket.age(OLD)
        assert Cleaned(bucket).removed == set()
        assert len(bucket.objects) == 4

    def test_a_rehearsal_changes_nothing(self, bucket: Bucket) -> None:
        put(opened(bucket), b"weights")
        bucket.age(OLD)
        before = dict(bucket.objects)
        cleaned = Cleaned(bucket, dry_run=True)
        assert cleaned.freed == len(b"weights")
        assert bucket.objects == before
        assert bucket.count("put", ".ocimlpack/") == 0

    def test_nothing_is_left_of_it_itself(self, bucket: Bucket) -> None:
        put_artifact(opened(bucket), b"weights")
        before = dict(bucket.objects)
        Cleaned(bucket)
        assert bucket.objects == before

    def test_more_than_one_request_can_remove(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bucket_prune, "_BATCH", 3)
        for number in range(8):
            put(opened(bucket), bytes([number]))
        bucket.age(OLD)
        assert len(Cleaned(bucket).removed) == 8
        assert bucket.count("delete", names.BLOBS) == 3
        assert blobs(bucket) == set()

    def test_a_manifest_that_can_not_be_read_stops_it(self, bucket: Bucket) -> None:
        """What it needs must not be taken for garbage."""
        store = opened(bucket)
        manifest = put_artifact(store, b"weights").descriptor
        put(store, b"garbage")
        key = names.blob(manifest.digest)
        MemoryObjects(bucket).put(key, b"{}", bucket.objects[key].label)
        bucket.age(OLD)
        before = blobs(bucket)
        with pytest.raises(Exception, match=str(manifest.digest)):
            Cleaned(bucket)
        assert blobs(bucket) == before
        assert names.PRUNE not in bucket.objects

    @pytest.mark.parametrize("verb", ["list", "folders", "read", "delete", "uploads"])
    def test_a_failure_that_passes_is_not_noticed(self, bucket: Bucket, verb: str) -> None:
        put_artifact(opened(bucket), b"weights")
        garbage = put(opened(bucket), b"garbage")
        bucket.age(OLD)
        bucket.fault(verb, after=True)
        assert Cleaned(bucket).removed == {str(garbage.digest)}


class TestPushesAtWork:
    """A blob that a push relies on is not removed under its feet."""

    def test_a_push_that_relies_on_an_old_blob_says_so(self, bucket: Bucket) -> None:
        garbage = put(opened(bucket), b"weights")
        bucket.age(OLD)
        store = opened(bucket)
        assert store.exists(garbage)
        cleaned = Cleaned(bucket)
        assert cleaned.removed == set()
        assert "no blobs are removed: 1 may be pushing" in cleaned.warnings[0]
        manifest = put_artifact(store, b"weights").descriptor
        store.close()
        assert Cleaned(bucket).removed == set()
        assert opened(bucket).exists(manifest)
        assert opened(bucket).exists(garbage)

    def test_whoever_only_reads_writes_nothing(self, bucket: Bucket) -> None:
        garbage = put(opened(bucket), b"weights")
        bucket.age(OLD)
        before = dict(bucket.objects)
        store = opened(bucket, to_write=False)
        assert store.exists(garbage)
        store.close()
        assert bucket.objects == before
        assert Cleaned(bucket).removed == {str(garbage.digest)}

    def test_one_that_relies_on_young_ones_costs_nothing_more(self, bucket: Bucket) -> None:
        put(opened(bucket), b"weights")
        store = opened(bucket)
        put_artifact(store, b"weights", b"more")
        store.close()
        assert bucket.count("put", ".ocimlpack/") == 0
        assert bucket.count("stat", ".ocimlpack/") == 0
        assert bucket.count("delete") == 0

    def test_a_long_one_says_so(self, bucket: Bucket) -> None:
        now = time.time()
        store = opened(bucket, clock=lambda: now)
        put(store, b"first")
        assert bucket.count("put", names.PUSHES) == 0
        now += AGE / 4
        put(store, b"second")
        put(store, b"third")
        assert bucket.count("put", names.PUSHES) == 1
        now += AGE / 3
        put(store, b"fourth")
        assert bucket.count("put", names.PUSHES) == 2  # it is said again in time
        store.close()
        assert not any(key.startswith(names.PUSHES) for key in bucket.objects)

    def test_one_that_died_is_believed_for_a_day(self, bucket: Bucket) -> None:
        garbage = put(opened(bucket), b"weights")
        bucket.age(OLD)
        assert opened(bucket).exists(garbage)  # and is never closed
        assert Cleaned(bucket).removed == set()
        bucket.age(OLD)
        assert Cleaned(bucket).removed == {str(garbage.digest)}
        assert not any(key.startswith(names.PUSHES) for key in bucket.objects)

    @pytest.mark.parametrize(
        ("verb", "key"),
        [("list", names.PUSHES), ("folders", ""), ("list", names.BLOBS), ("delete", names.BLOBS)],
    )
    def test_whenever_a_push_begins_nothing_it_relies_on_is_missing(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, verb: str, key: str
    ) -> None:
        """The clean-up is held at each of its steps while a push looks for a blob."""
        monkeypatch.setattr(bucket_lease, "_GLANCE", 0.01)
        garbage = put(opened(bucket), LARGE)
        bucket.age(OLD)
        outcome: list[bool] = []

        def push() -> None:
            store = opened(bucket)
            outcome.append(store.exists(garbage))
            put_artifact(store, LARGE)
            store.close()

        pushing = threading.Thread(target=push)

        def begin(call: Call) -> None:
            if call.verb == verb and call.key.startswith(key):
                bucket.before = lambda _: None
                pushing.start()
                pushing.join(0.1)  # it may get to its end, or wait for us

        bucket.before = begin
        Cleaned(bucket)
        pushing.join(10)
        assert len(outcome) == 1
        store = opened(bucket)
        (entry,) = store.entries()
        assert store.exists(entry.desc)
        assert take(store.fetch(garbage)) == LARGE

    def test_a_clean_up_that_never_ends_is_not_waited_for_for_ever(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        garbage = put(opened(bucket), b"weights")
        bucket.age(OLD)
        Turn(objects_of(bucket))
        now = time.time()
        events: list[Event] = []

        def pass_by(seconds: float) -> None:
            nonlocal now
            now += 100 * seconds
            bucket.age(-100 * seconds, names.PRUNE)  # it says so again and again

        monkeypatch.setattr(time, "sleep", pass_by)
        store = opened(bucket, clock=lambda: now, report=events.append)
        with pytest.raises(UnavailableError, match="is being pruned"):
            store.exists(garbage)
        assert len([event for event in events if isinstance(event, Warned)]) == 1


class TestTurns:
    """One clean-up at a time."""

    def test_another_one_is_told(self, bucket: Bucket) -> None:
        turn = Turn(objects_of(bucket))
        with pytest.raises(ConflictError, match="is being pruned already"):
            Cleaned(bucket)
        turn.close()
        Cleaned(bucket)

    def test_of_two_that_begin_at_once_one_is_told(self, bucket: Bucket) -> None:
        def begin(call: Call) -> None:
            if call.verb == "put" and call.key == names.PRUNE:
                bucket.before = lambda _: None
                Turn(objects_of(bucket))

        bucket.before = begin
        with pytest.raises(ConflictError, match="is being pruned already"):
            Turn(objects_of(bucket))

    def test_one_that_died_is_replaced(self, bucket: Bucket) -> None:
        Turn(objects_of(bucket))
        bucket.age(1000, names.PRUNE)
        Turn(objects_of(bucket)).close()
        assert bucket.objects == {}

    def test_one_that_slept_stops(self, bucket: Bucket) -> None:
        now = time.time()
        turn = Turn(objects_of(bucket), lambda: now)
        now += 100
        turn.renew()
        assert bucket.count("put", names.PRUNE) == 2
        turn.renew()
        assert bucket.count("put", names.PRUNE) == 2
        now += 700
        with pytest.raises(ConflictError, match="stood still for 700 s"):
            turn.renew()

    def test_one_whose_turn_was_taken_stops(self, bucket: Bucket) -> None:
        now = time.time()
        turn = Turn(objects_of(bucket), lambda: now)
        bucket.age(1000, names.PRUNE)
        Turn(objects_of(bucket))
        now += 100
        with pytest.raises(ConflictError, match="is being pruned already"):
            turn.renew()

    def test_one_that_fails_gives_its_turn_back(self, bucket: Bucket) -> None:
        put_artifact(opened(bucket), b"weights")
        bucket.fault("list", names.BLOBS, times=None)
        with pytest.raises(UnavailableError):
            Cleaned(bucket)
        assert names.PRUNE not in bucket.objects


def test_a_clean_up_and_many_pushes_at_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens to come first, what a tag stands for is whole."""
    monkeypatch.setattr(bucket_lease, "_GLANCE", 0.01)
    contents = [bytes([number]) * 1000 for number in range(12)]
    for content in contents:
        put(opened(bucket), content)
    bucket.age(OLD)
    over = threading.Event()

    def clean() -> None:
        while not over.is_set():
            Cleaned(bucket)

    def push(number: int) -> None:
        time.sleep(0.005 * number)
        store = opened(bucket, f"repository-{number % 3}")
        desc = Descriptor.of(contents[number], WEIGHT)
        if not store.exists(desc):
            store.push(desc, BytesBlob(contents[number]))
        store.tag(put_artifact(store, contents[number]).descriptor, f"v{number}")
        store.close()

    cleaning = threading.Thread(target=clean)
    cleaning.start()
    pushing = [threading.Thread(target=partial(push, number)) for number in range(12)]
    for thread in pushing:
        thread.start()
    for thread in pushing:
        thread.join()
    over.set()
    cleaning.join()
    for number, content in enumerate(contents):
        store = opened(bucket, f"repository-{number % 3}")
        assert store.exists(store.resolve(f"v{number}"))
        assert take(store.fetch(Descriptor.of(content, WEIGHT))) == content
