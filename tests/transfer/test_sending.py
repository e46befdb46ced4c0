from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ocimlpack.errors import IntegrityError, UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import BytesBlob, Sending
from ocimlpack.stores.bucket import BucketStore
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.objects.persistent import PersistentObjects
from ocimlpack.transfer import copy as transfer
from ocimlpack.transfer import pool
from ocimlpack.transfer.sending import MOST, Senders
from tests.contract import WEIGHT, put_artifact, take
from tests.objects.memory import Bucket, Call, MemoryObjects

MIB = 1024 * 1024
CONTENT = bytes(range(251)) * (40 * MIB // 251)


class Parts:
    """Parts that note how many of them are under way at once, and how many are read at once."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds
        self.brought: list[int] = []
        self.under_way = self.most = self.reading = self.most_reading = 0
        self.lock = threading.Lock()

    def __call__(self, count: int, fail_at: int | None = None) -> Iterator[Sending]:
        for number in range(count):
            with self.lock:
                self.reading += 1
                self.most_reading = max(self.most_reading, self.reading)
            time.sleep(0.001)
            with self.lock:
                self.reading -= 1
            yield self.part(number, number == fail_at)

    def part(self, number: int, fail: bool) -> Sending:
        def bring() -> None:
            with self.lock:
                self.under_way += 1
                self.most = max(self.most, self.under_way)
            time.sleep(self.seconds)
            with self.lock:
                self.under_way -= 1
                self.brought.append(number)
            if fail:
                raise UnavailableError("no way")

        return bring


def test_all_parts_are_brought_side_by_side() -> None:
    parts = Parts()
    Senders(4).send(parts(20), pool.Stop())
    assert sorted(parts.brought) == list(range(20))
    assert parts.most == 4
    assert parts.most_reading == 1


def test_many_jobs_do_not_fill_the_memory() -> None:
    parts = Parts()
    Senders(64).send(parts(40), pool.Stop())
    assert parts.most <= MOST


def test_of_several_blobs_there_are_no_more_at_once() -> None:
    parts = [Parts(), Parts(), Parts()]
    senders = Senders(3)
    seen: list[int] = []

    def task(each: Parts) -> pool.Task[None]:
        def run(stop: pool.Stop) -> None:
            senders.send(each(12), stop)
            seen.append(sum(one.under_way for one in parts))

        return run

    pool.run([task(each) for each in parts], 3)
    assert all(sorted(each.brought) == list(range(12)) for each in parts)
    assert all(each.most <= 3 for each in parts)
    assert all(count <= 3 for count in seen)


def test_one_that_fails_ends_the_others() -> None:
    parts = Parts()
    with pytest.raises(UnavailableError, match="no way"):
        Senders(4).send(parts(1000, fail_at=3), pool.Stop())
    assert len(parts.brought) < 50


def test_who_waits_for_a_turn_is_told_to_stop() -> None:
    senders, stop = Senders(1), pool.Stop()
    begun = threading.Event()

    def hold() -> None:
        begun.set()
        time.sleep(0.5)

    holder = threading.Thread(target=senders.send, args=(iter([hold]), pool.Stop()))
    holder.start()
    begun.wait()
    stop.set()
    with pytest.raises(pool.StoppedError):
        senders.send(Parts()(3), stop)
    holder.join()


def test_the_source_s_error_gets_through() -> None:
    def parts() -> Iterator[Sending]:
        yield lambda: None
        raise IntegrityError("other bytes")

    with pytest.raises(IntegrityError, match="other bytes"):
        Senders(4).send(parts(), pool.Stop())


class TestACopy:
    def source(self) -> tuple[MemoryStore, Descriptor]:
        source = MemoryStore()
        return source, put_artifact(source, CONTENT, CONTENT[::-1], b"small").descriptor

    def test_brings_large_blobs_in_parts(self) -> None:
        source, root = self.source()
        bucket = Bucket()
        under_way: list[int] = []
        count = 0
        lock = threading.Lock()

        def watch(call: Call) -> None:
            nonlocal count
            if call.verb == "put_part":
                with lock:
                    count += 1
                    under_way.append(count)
                time.sleep(0.2)  # long beside the reading of a part
                with lock:
                    count -= 1

        bucket.before = watch
        store = BucketStore(PersistentObjects(MemoryObjects(bucket)), "team/minilm")
        done = transfer.copy(source, root, store, ["1.0"], jobs=3)
        assert done.moved == 2 * len(CONTENT) + len(b"small") + 2
        assert max(under_way) == 3
        assert bucket.count("put_part") == 10
        assert store.resolve("1.0") == root
        assert take(store.fetch(Descriptor.of(CONTENT, WEIGHT))) == CONTENT

    def test_moves_nothing_twice(self) -> None:
        source, root = self.source()
        bucket = Bucket()
        fault = bucket.fault("put_part", nth=6, times=None, error=lambda: OSError("killed"))
        with pytest.raises(OSError, match="killed"):
            transfer.copy(source, root, self.store(bucket), ["1.0"], jobs=2)
        bucket.faults.remove(fault)
        before = bucket.brought()
        done = transfer.copy(source, root, self.store(bucket), ["1.0"], jobs=2)
        assert self.store(bucket).resolve("1.0") == root
        assert bucket.count("put_part") <= 10 + 2  # those on which the first run ended
        assert bucket.brought() - before < len(CONTENT) * 2
        assert done.plan.total > 0

    def test_sees_that_the_bytes_are_right(self) -> None:
        source, root = self.source()
        bucket = Bucket()
        desc = Descriptor.of(CONTENT, WEIGHT)
        source._blobs[desc.digest] = CONTENT[:-1] + b"?"
        with pytest.raises(IntegrityError):
            transfer.copy(source, root, self.store(bucket), ["1.0"], jobs=2)
        assert not any(upload.key.endswith(desc.digest.hex) for upload in bucket.uploads.values())
        assert f"blobs/sha256/{desc.digest.hex}" not in bucket.objects
        assert "team/minilm/index.json" not in bucket.objects

    def test_comes_back_in_parts(self) -> None:
        source, root = self.source()
        bucket = Bucket()
        transfer.copy(source, root, self.store(bucket), ["1.0"])
        back = MemoryStore()
        bucket.fault("stream", "blobs/", nth=3, cut=1 * MIB)
        transfer.copy(self.store(bucket), root, back, ["1.0"])
        assert take(back.fetch(Descriptor.of(CONTENT, WEIGHT))) == CONTENT
        assert back.resolve("1.0") == root

    def store(self, bucket: Bucket) -> BucketStore:
        return BucketStore(PersistentObjects(MemoryObjects(bucket)), "team/minilm")


def test_nothing_else_is_needed_of_a_blob() -> None:
    bucket = Bucket()
    store = BucketStore(PersistentObjects(MemoryObjects(bucket)), "a")
    desc = Descriptor.of(CONTENT, WEIGHT)
    with store.dividing(desc, BytesBlob(CONTENT)) as parts:
        assert parts is not None
        Senders(2).send(parts, pool.Stop())
    assert store.exists(desc)
