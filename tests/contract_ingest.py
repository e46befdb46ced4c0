"""What every store keeps to that takes bytes before their digest is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

import pytest

from ocimlpack.errors import IntegrityError, OcimlpackError, UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import CHUNK, BytesBlob, Ingester, Store, capability
from tests.contract import LARGE, WEIGHT, WatchedBlob, at_once, put, take


class IngestingStore(Store, Ingester, Protocol):
    pass


class CallingBlob:
    """Bytes whose reader makes something else happen at some point."""

    def __init__(self, content: bytes, at: int, call: Callable[[], None]) -> None:
        self._content = content
        self._at = at
        self._call = call
        self.reached = 0

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        class Stream:
            position = offset

            def read(stream, size: int = -1) -> bytes:  # noqa: N805 - `self` is the blob
                if stream.position >= self._at:
                    self._call()
                chunk = self._content[stream.position : stream.position + min(size, CHUNK)]
                stream.position += len(chunk)
                self.reached = max(self.reached, stream.position)
                return chunk

        yield Stream()  # type: ignore[misc]


class IngestContract:
    """Subclass it, supply the fixture `store`, and say how to open the same place again."""

    def reopen(self, store: IngestingStore) -> IngestingStore:
        """The same place, as another process would see it."""
        return store

    def test_it_is_an_ingester(self, store: IngestingStore) -> None:
        assert capability(store, Ingester) is store

    @pytest.mark.parametrize("content", [b"", b"x", b"weights", LARGE], ids=len)
    def test_what_is_committed_is_there(self, store: IngestingStore, content: bytes) -> None:
        desc = Descriptor.of(content, WEIGHT)
        ingest = store.begin(len(content), "one")
        ingest.write(BytesBlob(content))
        ingest.commit(desc)
        assert store.exists(desc)
        assert self.reopen(store).exists(desc)
        assert take(self.reopen(store).fetch(desc)) == content

    def test_nothing_is_seen_before_the_commit(self, store: IngestingStore) -> None:
        desc = Descriptor.of(LARGE, WEIGHT)
        ingest = store.begin(len(LARGE), "one")
        ingest.write(BytesBlob(LARGE))
        assert not self.reopen(store).exists(desc)

    def test_other_bytes_than_announced_are_refused(self, store: IngestingStore) -> None:
        desc = Descriptor.of(LARGE, WEIGHT)
        ingest = store.begin(len(LARGE), "one")
        ingest.write(BytesBlob(LARGE[:-1] + b"\x00"))
        with pytest.raises(IntegrityError):
            ingest.commit(desc)
        assert not self.reopen(store).exists(desc)

    def test_another_size_than_announced_is_refused(self, store: IngestingStore) -> None:
        ingest = store.begin(len(LARGE), "one")
        ingest.write(BytesBlob(LARGE))
        with pytest.raises(IntegrityError):
            ingest.commit(Descriptor.of(LARGE[:-1], WEIGHT))

    def test_a_source_that_ends_early_is_refused(self, store: IngestingStore) -> None:
        ingest = store.begin(len(LARGE), "one")
        with pytest.raises(IntegrityError):
            ingest.write(BytesBlob(LARGE[:-1]))

    def test_what_is_wrong_is_not_gone_on_with(self, store: IngestingStore) -> None:
        desc = Descriptor.of(LARGE, WEIGHT)
        ingest = store.begin(len(LARGE), "one")
        ingest.write(BytesBlob(LARGE[:-1] + b"\x00"))
        with pytest.raises(IntegrityError):
            ingest.commit(desc)
        again = self.reopen(store).begin(len(LARGE), "one")
        again.write(BytesBlob(LARGE))
        again.commit(desc)
        assert take(store.fetch(desc)) == LARGE

    def test_what_is_abandoned_is_not_there(self, store: IngestingStore) -> None:
        desc = Descriptor.of(LARGE, WEIGHT)
        ingest = store.begin(len(LARGE), "one")
        ingest.write(BytesBlob(LARGE))
        ingest.abandon()
        assert not store.exists(desc)
        put(store, LARGE)
        assert take(store.fetch(desc)) == LARGE

    def test_what_was_not_even_begun_can_be_abandoned(self, store: IngestingStore) -> None:
        store.begin(len(LARGE), "one").abandon()

    def test_who_writes_ends_when_it_is_abandoned(self, store: IngestingStore) -> None:
        ingest = store.begin(len(LARGE), "one")
        blob = CallingBlob(LARGE, CHUNK, ingest.abandon)
        with pytest.raises(OcimlpackError):
            ingest.write(blob)
        assert blob.reached <= 2 * CHUNK
        assert not store.exists(Descriptor.of(LARGE, WEIGHT))

    @pytest.mark.parametrize("fail_at", [1, CHUNK + 1, len(LARGE)])
    def test_after_a_failure_of_the_source_another_run_finishes(
        self, store: IngestingStore, fail_at: int
    ) -> None:
        desc = Descriptor.of(LARGE, WEIGHT)
        with pytest.raises(UnavailableError, match="the source is gone"):
            store.begin(len(LARGE), "one").write(WatchedBlob(LARGE, fail_at))
        assert not store.exists(desc)
        ingest = self.reopen(store).begin(len(LARGE), "one")
        ingest.write(WatchedBlob(LARGE))
        ingest.commit(desc)
        assert take(self.reopen(store).fetch(desc)) == LARGE

    def test_another_source_of_the_same_size_is_another_source(self, store: IngestingStore) -> None:
        with pytest.raises(UnavailableError):
            store.begin(len(LARGE), "one").write(WatchedBlob(LARGE, CHUNK + 1))
        other = LARGE[::-1]
        ingest = self.reopen(store).begin(len(other), "another")
        ingest.write(WatchedBlob(other))
        ingest.commit(Descriptor.of(other, WEIGHT))
        assert take(store.fetch(Descriptor.of(other, WEIGHT))) == other

    def test_content_that_is_there_already_is_taken_again(self, store: IngestingStore) -> None:
        desc = put(store, LARGE)
        ingest = store.begin(len(LARGE), "one")
        ingest.write(BytesBlob(LARGE))
        ingest.commit(desc)
        assert take(store.fetch(desc)) == LARGE

    def test_many_at_once_and_two_of_one_source(self, store: IngestingStore) -> None:
        contents = [bytes([number]) * CHUNK * 2 for number in range(6)]

        def bring(content: bytes) -> None:
            ingest = store.begin(len(content), f"source {content[0]}")
            ingest.write(BytesBlob(content))
            ingest.commit(Descriptor.of(content, WEIGHT))

        at_once(*[lambda each=each: bring(each) for each in contents * 2])
        for content in contents:
            assert take(store.fetch(Descriptor.of(content, WEIGHT))) == content
