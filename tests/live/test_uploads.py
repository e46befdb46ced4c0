"""Uploads to real registries that break off, and that somebody else goes on with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from ocimlpack.errors import UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import sessions
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.registry import RegistryStore
from tests.contract import WEIGHT, WatchedBlob, take
from tests.contract_ingest import IngestContract, IngestingStore
from tests.live.registries import Registry

CONTENT = bytes(range(256)) * (24 * 4096)
SIZE = len(CONTENT)
DESC = Descriptor.of(CONTENT, WEIGHT)
CUT = 10_000_000


class KnownBlob(WatchedBlob):
    """A source that is known again, and that notes from where it is read."""

    identity = "a file and its times"

    def __init__(self, content: bytes, fail_at: int | None = None) -> None:
        super().__init__(content, fail_at)
        self.offsets: list[int] = []

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        self.offsets.append(offset)
        with super().open(offset) as stream:
            yield stream


@contextmanager
def opened(repository: str) -> Iterator[RegistryStore]:
    """A store with a session of its own, as in another process."""
    host, _, name = repository.partition("/")
    session = Session(host)
    yield RegistryStore(session, name)
    session.close()


def break_off(registry: Registry, repository: str, blob: WatchedBlob, known: bool) -> None:
    """A first run that ends on the way, and is known to be at its end to the registry as well."""
    with opened(repository) as store:
        send = store.push if known else store.begin(SIZE, KnownBlob.identity).write
        with pytest.raises(UnavailableError, match="the source is gone"):
            send(*(DESC, blob) if known else (blob,))
    for _ in range(500):
        if any(each.method == "PATCH" for each in registry.requests(repository)):
            return
        time.sleep(0.01)


def uploading(registry: Registry, repository: str) -> list[str]:
    return [each.method for each in registry.requests(repository) if "/uploads/" in each.path]


class TestIngest(IngestContract):
    @pytest.fixture(autouse=True)
    def recorded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sessions, "WORTHWHILE", 1)

    @pytest.fixture
    def store(self, registry: Registry) -> Iterator[IngestingStore]:
        with opened(registry.repository()) as store:
            yield store

    def reopen(self, store: IngestingStore) -> IngestingStore:
        assert isinstance(store, RegistryStore)
        return RegistryStore(store.session, store.repository)


@pytest.mark.parametrize("known", [True, False], ids=["digest known", "digest not known"])
def test_what_breaks_off_is_finished_by_another(registry: Registry, known: bool) -> None:
    repository = registry.repository()
    break_off(registry, repository, KnownBlob(CONTENT, fail_at=CUT), not known)
    with opened(repository) as store:
        assert not store.exists(DESC)
        if known:
            store.push(DESC, KnownBlob(CONTENT))
        else:
            ingest = store.begin(SIZE, KnownBlob.identity)
            ingest.write(KnownBlob(CONTENT))
            ingest.commit(DESC)
    with opened(repository) as store:
        assert store.exists(DESC)
        assert take(store.fetch(DESC)) == CONTENT


def test_only_the_rest_is_sent(distribution3: Registry) -> None:
    repository = distribution3.repository()
    break_off(distribution3, repository, KnownBlob(CONTENT, fail_at=CUT), known=False)
    blob = KnownBlob(CONTENT)
    with opened(repository) as store:
        ingest = store.begin(SIZE, blob.identity)
        ingest.write(blob)
        ingest.commit(DESC)
        assert take(store.fetch(DESC)) == CONTENT
    (offset,) = blob.offsets
    # What was on its way when the connection ended may be lost: at most what sockets hold.
    assert CUT - 8 * 1024 * 1024 < offset <= CUT
    assert blob.read == SIZE - offset
    assert uploading(distribution3, repository) == ["POST", "PATCH", "GET", "PATCH", "PUT"]


def test_the_first_bytes_are_hashed_again_where_only_the_digest_is_known(
    distribution3: Registry,
) -> None:
    repository = distribution3.repository()
    break_off(distribution3, repository, WatchedBlob(CONTENT, fail_at=CUT), known=True)
    blob = WatchedBlob(CONTENT)
    with opened(repository) as store:
        store.push(DESC, blob)
        assert take(store.fetch(DESC)) == CONTENT
    assert blob.read == SIZE
    assert uploading(distribution3, repository) == ["POST", "PATCH", "GET", "PATCH", "PUT"]


def test_what_is_abandoned_is_cleared_away(registry: Registry) -> None:
    repository = registry.repository()
    with opened(repository) as store:
        ingest = store.begin(SIZE, "one")
        ingest.write(BytesBlob(CONTENT))
        ingest.abandon()
        assert not store.exists(DESC)
    found = [each for each in registry.requests(repository) if each.method == "DELETE"]
    assert [each.status for each in found] == [204]
