"""Blobs on their way into a bucket, in parts."""

from __future__ import annotations

import hashlib
import weakref
from pathlib import Path
from typing import BinaryIO

import pytest

from ocimlpack.errors import IntegrityError, NotAllowedError, UnavailableError, UnsupportedError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import bucket_upload, home, sessions
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.bucket_lease import AGE
from ocimlpack.stores.bucket_upload import WHOLE, part_size
from ocimlpack.stores.objects.base import GoneError, Label
from tests.contract import WEIGHT, WatchedBlob, take
from tests.objects.memory import Bucket, Call, MemoryObjects
from tests.stores.test_bucket import FAST, opened

MIB = 1024 * 1024
PART = 8 * MIB
SIZE = 35 * MIB + 7
# Blocks of which none is like another, so that a part in a wrong place is seen.
CONTENT = b"".join(hashlib.sha256(bytes([n // 256, n % 256])).digest() * 2048 for n in range(561))[
    :SIZE
]
DESC = Descriptor.of(CONTENT, WEIGHT)
KEY = f"blobs/sha256/{DESC.digest.hex}"


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_parts_are_of_a_size_that_services_take() -> None:
    assert part_size(WHOLE + 1) == PART
    assert part_size(10_000 * PART) == PART
    for size in (10_000 * PART + 1, 10**12, 5 * 1024**4):
        assert part_size(size) % MIB == 0
        assert 8_000 < -(-size // part_size(size)) <= 10_000
    assert part_size(5 * 1024**4) < 5 * 1024**3


def test_a_large_blob_goes_in_parts(bucket: Bucket) -> None:
    store = opened(bucket)
    store.push(DESC, BytesBlob(CONTENT))
    assert bucket.objects[KEY].content == CONTENT
    assert bucket.objects[KEY].label.metadata == {"oci-digest": str(DESC.digest)}
    sizes = [call.size for call in bucket.calls if call.verb == "put_part"]
    assert sizes == [PART] * 4 + [SIZE - 4 * PART]
    assert bucket.uploads == {}
    assert take(opened(bucket).fetch(DESC)) == CONTENT
    assert list(home.uploads().glob("*")) == []


@pytest.mark.parametrize("size", [WHOLE, WHOLE + 1, 2 * PART, 2 * PART + 1])
def test_no_byte_is_lost_where_sizes_fit(bucket: Bucket, size: int) -> None:
    content = CONTENT[:size]
    desc = Descriptor.of(content, WEIGHT)
    opened(bucket).push(desc, BytesBlob(content))
    assert take(opened(bucket).fetch(desc)) == content
    assert bucket.count("put_part") == (0 if size <= WHOLE else -(-size // PART))


class TestGoingOn:
    """What was brought is not brought again, by whichever run."""

    def interrupted(self, bucket: Bucket, nth: int) -> None:
        """A run that ends at a part, as if it had been killed."""
        fault = bucket.fault("put_part", nth=nth, times=None, error=KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            opened(bucket).push(DESC, BytesBlob(CONTENT))
        bucket.faults.remove(fault)

    def test_after_two_interruptions(self, bucket: Bucket) -> None:
        self.interrupted(bucket, 3)
        self.interrupted(bucket, 2)
        assert KEY not in bucket.objects
        (upload,) = bucket.uploads
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT
        # Two parts of the first run, one of the second; the two on which they ended count, too.
        assert bucket.count("begin") == 1
        assert bucket.count("put_part") == 5 + 2
        assert upload not in bucket.uploads

    def test_by_md5_where_the_service_tells_nothing_else(self, bucket: Bucket) -> None:
        bucket.tells_checksums = False
        self.interrupted(bucket, 4)
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.count("put_part") == 5 + 1
        assert bucket.objects[KEY].content == CONTENT

    def test_a_part_that_is_not_right_is_brought_again(self, bucket: Bucket) -> None:
        self.interrupted(bucket, 4)
        (upload,) = bucket.uploads.values()
        upload.pieces[2] = b"x" * PART
        upload.pieces[3] = upload.pieces[3][:-1]
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT
        assert bucket.count("put_part") == 4 + 4

    def test_an_upload_that_is_gone_is_begun_anew(self, bucket: Bucket) -> None:
        self.interrupted(bucket, 4)
        bucket.uploads.clear()
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT
        assert bucket.count("begin") == 2

    def test_one_that_somebody_ends_in_the_middle_is_begun_anew_by_the_next_run(
        self, bucket: Bucket
    ) -> None:
        def end(call: Call) -> None:
            if call.verb == "put_part" and bucket.count("put_part") == 3:
                bucket.uploads.clear()

        bucket.before = end
        with pytest.raises(UnavailableError, match="was ended by somebody else"):
            opened(bucket).push(DESC, BytesBlob(CONTENT))
        bucket.before = lambda _: None
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT

    def test_two_at_once_do_not_share_an_upload(self, bucket: Bucket) -> None:
        first, second = opened(bucket), opened(bucket)
        with first.dividing(DESC, BytesBlob(CONTENT)) as parts:
            assert parts is not None
            next(parts)()
            second.push(DESC, BytesBlob(CONTENT))
            assert bucket.count("begin") == 2
            for bring in parts:
                bring()
        assert bucket.objects[KEY].content == CONTENT
        assert bucket.uploads == {}  # who came too late has cleared up

    def test_a_small_one_is_not_worth_it(self, bucket: Bucket) -> None:
        content = CONTENT[: sessions.WORTHWHILE - 1]
        desc = Descriptor.of(content, WEIGHT)
        bucket.fault("put_part", nth=2, times=None, error=lambda: NotAllowedError("no"))
        with pytest.raises(NotAllowedError):
            opened(bucket).push(desc, BytesBlob(content))
        assert bucket.uploads == {}

    def test_the_rest_is_read_to_be_verified_and_not_sent(self, bucket: Bucket) -> None:
        self.interrupted(bucket, 5)
        blob = WatchedBlob(CONTENT)
        opened(bucket).push(DESC, blob)
        assert blob.opened == 1
        assert blob.read == SIZE
        assert bucket.count("put_part") == 4 + 1 + 1

    def test_a_failed_source_leaves_what_it_brought(self, bucket: Bucket) -> None:
        with pytest.raises(UnavailableError, match="the source is gone"):
            opened(bucket).push(DESC, WatchedBlob(CONTENT, 20 * MIB))
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.count("put_part") == 5
        assert bucket.objects[KEY].content == CONTENT


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        "sent",
        [CONTENT[:-1] + b"\xff", CONTENT[: 2 * PART], CONTENT[:-1], CONTENT + b"x", b""],
        ids=["wrong", "short", "one byte short", "one byte long", "nothing"],
    )
    def test_is_refused_and_not_kept(self, bucket: Bucket, sent: bytes) -> None:
        store = opened(bucket)
        with pytest.raises(IntegrityError):
            store.push(DESC, BytesBlob(sent))
        assert KEY not in bucket.objects
        assert bucket.uploads == {}
        assert list(home.uploads().glob("*")) == []
        store.push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT

    def test_is_not_gone_on_with(self, bucket: Bucket) -> None:
        """A source that changed under its digest: nothing of it stays in the way."""
        changed = CONTENT[:100] + b"!" + CONTENT[101:]
        bucket.fault("put_part", nth=3, times=None, error=KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            opened(bucket).push(DESC, BytesBlob(changed))
        bucket.faults.clear()
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT


class TestFaults:
    @pytest.mark.parametrize("after", [False, True], ids=["refused", "answer lost"])
    @pytest.mark.parametrize("verb", ["begin", "put_part", "complete"])
    def test_once(self, bucket: Bucket, verb: str, after: bool) -> None:
        fault = bucket.fault(verb, after=after)
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert fault.hits == 1
        assert bucket.objects[KEY].content == CONTENT

    @pytest.mark.parametrize("verb", ["begin", "put_part", "complete"])
    def test_for_ever(self, bucket: Bucket, verb: str) -> None:
        fault = bucket.fault(verb, times=None)
        with pytest.raises(UnavailableError, match="the service fails"):
            opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert fault.hits == FAST.attempts
        bucket.faults.clear()
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT

    def test_parts_that_the_service_does_not_accept_after_all_are_thrown_away(
        self, bucket: Bucket
    ) -> None:
        bucket.fault("complete", error=lambda: UnsupportedError("InvalidPart", status=400))
        with pytest.raises(UnsupportedError):
            opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.uploads == {}
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT

    def test_an_upload_that_is_gone_when_it_is_completed(self, bucket: Bucket) -> None:
        bucket.fault("complete", error=lambda: GoneError("no such upload"))
        with pytest.raises(UnavailableError, match="was ended by somebody else"):
            opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert list(home.uploads().glob("*")) == []

    def test_what_lies_there_in_another_size_is_replaced(self, bucket: Bucket) -> None:
        MemoryObjects(bucket).put(KEY, b"cut", Label("application/octet-stream", {}))
        opened(bucket).push(DESC, BytesBlob(CONTENT))
        assert bucket.objects[KEY].content == CONTENT

    def test_an_error_is_raised_though_the_clearing_up_fails_too(self, bucket: Bucket) -> None:
        bucket.fault("cancel", times=None)
        with pytest.raises(IntegrityError):
            opened(bucket).push(DESC, BytesBlob(CONTENT[:-1]))


def test_a_push_says_that_it_is_at_work_before_a_blob_appears_that_may_look_old(
    bucket: Bucket,
) -> None:
    """Services date an object that came in parts by the upload's beginning."""
    seen: list[set[str]] = []

    def look(call: Call) -> None:
        if call.verb == "complete":
            bucket.age(2 * AGE)
            seen.append({key for key in bucket.objects if key.startswith(".ocimlpack/pushes/")})

    bucket.before = look
    store = opened(bucket)
    store.push(DESC, BytesBlob(CONTENT))
    assert len(seen[0]) == 1
    store.close()
    assert not any(key.startswith(".ocimlpack/") for key in bucket.objects)


def test_a_part_is_in_memory_only_while_it_is_on_its_way(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the next part has let go of the one before."""

    class Reading(bytearray):
        """One that can be referred to weakly."""

    references: list[weakref.ref[Reading]] = []
    alive: list[int] = []
    real = bucket_upload._Upload._read

    def read(upload: bucket_upload._Upload, stream: BinaryIO) -> bytearray:
        alive.append(sum(each() is not None for each in references))
        content = Reading(real(upload, stream))
        references.append(weakref.ref(content))
        return content

    monkeypatch.setattr(bucket_upload._Upload, "_read", read)
    opened(bucket).push(DESC, BytesBlob(CONTENT))
    assert len(alive) == 5
    assert max(alive) == 1  # the loop's own name for what it has just sent


def test_records_are_kept_where_other_uploads_are(bucket: Bucket) -> None:
    with pytest.raises(UnavailableError):
        opened(bucket).push(DESC, WatchedBlob(CONTENT, 20 * MIB))
    (record,) = home.uploads().iterdir()
    assert isinstance(record, Path)
    assert record.stat().st_mode & 0o077 == 0
