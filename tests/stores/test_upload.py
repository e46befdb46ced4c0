"""Uploads that go on where they were: after failures, and after the end of the program."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import ocimlpack
from ocimlpack.errors import ConflictError, IntegrityError, UnavailableError
from ocimlpack.progress import Event, Warned
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import home, sessions
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import CHUNK, Blob, BytesBlob, FileBlob
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.transfer.watched import Watched
from tests.contract import LARGE, WEIGHT, WatchedBlob, take
from tests.contract_ingest import IngestContract, IngestingStore
from tests.scripted.fixtures import QUICK, REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

DESC = Descriptor.of(LARGE, WEIGHT)
SIZE = len(LARGE)
HALF = 300_001


class KnownBlob(WatchedBlob):
    """A source that is known again."""

    identity = "a file and its times"


class OffsetBlob:
    """Bytes that note from where they are read."""

    def __init__(self, content: bytes, identity: str | None = None) -> None:
        self.content = content
        self.offsets: list[int] = []
        self.identity = identity

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        self.offsets.append(offset)
        with BytesBlob(self.content).open(offset) as stream:
            yield stream


@pytest.fixture(autouse=True)
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small content goes the way of large content."""
    monkeypatch.setattr(sessions, "WORTHWHILE", 1)


@pytest.fixture
def reopened(scripted: ScriptedRegistry) -> Iterator[RegistryStore]:
    """The same repository, as another process sees it."""
    session = connect(scripted)
    yield RegistryStore(session, REPOSITORY)
    session.close()


def records() -> list[Path]:
    """What the journal holds."""
    return list(home.uploads().glob("*")) if home.uploads().exists() else []


def sent(scripted: ScriptedRegistry) -> list[int]:
    return [each.length for each in scripted.uploads]


def stored(scripted: ScriptedRegistry, desc: Descriptor = DESC) -> bytes | None:
    return scripted.content[REPOSITORY].blobs.get(str(desc.digest))


def break_off(
    store: RegistryStore, scripted: ScriptedRegistry, at: int = HALF, blob: Blob | None = None
) -> None:
    """A first run that ends when so many bytes are there."""
    scripted.fault("PATCH", "/uploads/", swallow=at, keep=True)
    down = scripted.fault("", "/uploads/", nth=2, times=None, status=503)
    with pytest.raises(UnavailableError):
        store.push(DESC, blob or KnownBlob(LARGE))
    assert down.hits == QUICK.attempts
    scripted.faults.clear()
    scripted.forget()


class TestIngest(IngestContract):
    @pytest.fixture
    def store(self, session: Session) -> IngestingStore:
        return RegistryStore(session, REPOSITORY)

    def reopen(self, store: IngestingStore) -> IngestingStore:
        assert isinstance(store, RegistryStore)
        return RegistryStore(store.session, store.repository)


# What is sent


def test_an_upload_is_one_request_with_all_the_bytes_and_one_with_the_digest(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    store.push(DESC, BytesBlob(LARGE))
    assert [(each.method, each.length) for each in scripted.requests] == [
        ("HEAD", 0),
        ("POST", 0),
        ("PATCH", SIZE),
        ("PUT", 0),
    ]
    assert scripted.asked("PATCH")[0].header("content-range") == ""
    assert stored(scripted) == LARGE


def test_an_empty_blob_needs_no_part(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    ingest = store.begin(0, "nothing")
    ingest.write(BytesBlob(b""))
    ingest.commit(Descriptor.of(b"", WEIGHT))
    assert [each.method for each in scripted.requests] == ["POST", "PUT"]


def test_what_was_just_brought_is_not_asked_for(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    ingest = store.begin(SIZE, "one")
    ingest.write(BytesBlob(LARGE))
    ingest.commit(DESC)
    scripted.forget()
    assert store.exists(DESC)
    store.push(DESC, BytesBlob(LARGE))
    assert scripted.requests == []


def test_a_file_is_sent_by_its_parts(
    scripted: ScriptedRegistry, store: RegistryStore, tmp_path: Path
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(LARGE * 4)
    offsets: list[int] = []
    blob = Watched(FileBlob(path), offsets.append)
    ingest = store.begin(SIZE * 4, "one")
    ingest.write(blob)
    ingest.commit(Descriptor.of(LARGE * 4, WEIGHT))
    assert stored(scripted, Descriptor.of(LARGE * 4, WEIGHT)) == LARGE * 4
    # Named, not read: reads are of CHUNK at most.
    assert offsets[0] > CHUNK


def test_a_file_that_grows_is_sent_as_far_as_it_was_announced(
    scripted: ScriptedRegistry, store: RegistryStore, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    path.write_bytes(LARGE + b"and more")
    ingest = store.begin(SIZE, "one")
    ingest.write(Watched(FileBlob(path), lambda _: None))
    ingest.commit(DESC)
    assert stored(scripted) == LARGE


# A registry that does not compare digests


@pytest.mark.parametrize(
    "content", [LARGE[:-1] + b"\x00", LARGE[:-1], LARGE + b"x", LARGE + LARGE], ids=len
)
def test_wrong_bytes_get_no_name_even_where_nobody_else_looks(
    scripted: ScriptedRegistry, store: RegistryStore, content: bytes
) -> None:
    scripted.quirks.verifies = False
    with pytest.raises(IntegrityError):
        store.push(DESC, BytesBlob(content))
    assert stored(scripted) is None
    assert scripted.count("PUT") == 0


def test_more_than_nothing_is_not_nothing(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    scripted.quirks.verifies = False
    with pytest.raises(IntegrityError):
        store.push(Descriptor.of(b"", WEIGHT), BytesBlob(b"x"))
    assert stored(scripted, Descriptor.of(b"", WEIGHT)) is None


def test_another_size_gets_no_name_even_where_nobody_else_looks(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.quirks.verifies = False
    ingest = store.begin(SIZE, "one")
    ingest.write(BytesBlob(LARGE))
    with pytest.raises(IntegrityError):
        ingest.commit(Descriptor.of(LARGE[:-1], WEIGHT))
    assert scripted.count("PUT") == 0


def test_bytes_are_verified_though_an_earlier_run_sent_the_first_of_them(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore
) -> None:
    scripted.quirks.verifies = False
    with pytest.raises(UnavailableError):
        store.push(DESC, WatchedBlob(LARGE, fail_at=SIZE - 1))
    with pytest.raises(IntegrityError):
        reopened.push(DESC, BytesBlob(b"\x01" + LARGE[1:]))
    assert stored(scripted) is None


# Failures on the way


@pytest.mark.parametrize("kept", [0, 2, CHUNK, HALF, SIZE - 1, SIZE])
def test_an_upload_that_breaks_off_goes_on_where_it_was(
    scripted: ScriptedRegistry, store: RegistryStore, kept: int
) -> None:
    scripted.fault("PATCH", "/uploads/", swallow=kept, keep=True)
    store.push(DESC, BytesBlob(LARGE))
    assert stored(scripted) == LARGE
    assert sum(sent(scripted)) == SIZE
    # A session that has nothing is not worth going on with.
    assert scripted.count("POST") == (1 if kept else 2)
    if 0 < kept < SIZE:
        assert scripted.asked("PATCH")[1].header("content-range") == f"{kept}-{SIZE - 1}"


def test_a_session_of_which_it_can_not_be_told_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    """Of one byte a registry says what it says of none."""
    scripted.fault("PATCH", "/uploads/", swallow=1, keep=True)
    store.push(DESC, BytesBlob(LARGE))
    assert stored(scripted) == LARGE


def test_an_upload_that_breaks_off_again_and_again_is_finished_while_bytes_arrive(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    step = 70_000
    fault = scripted.fault("PATCH", "/uploads/", times=10, swallow=step, keep=True)
    store.push(DESC, BytesBlob(LARGE))
    assert fault.hits == 10
    assert sent(scripted) == [step] * 10 + [SIZE - 10 * step]


def test_a_part_that_is_sent_again_is_not_hashed_from_the_start(
    scripted: ScriptedRegistry, store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocimlpack.stores.outgoing._MARK", CHUNK)
    scripted.quirks.verifies = False
    scripted.fault("PATCH", "/uploads/", swallow=CHUNK * 2 + 5, keep=True)
    blob = OffsetBlob(LARGE)
    store.push(DESC, blob)
    assert blob.offsets == [0, CHUNK * 2]
    assert stored(scripted) == LARGE


def test_bytes_that_differ_the_second_time_are_found(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    class Changing(OffsetBlob):
        @contextmanager
        def open(self, offset: int = 0) -> Iterator[BinaryIO]:
            with super().open(offset) as stream:
                yield stream
            self.content = LARGE[:-1] + b"\x00"

    scripted.quirks.verifies = False
    scripted.fault("PATCH", "/uploads/", swallow=HALF, keep=True)
    with pytest.raises(IntegrityError):
        store.push(DESC, Changing(LARGE))
    assert scripted.count("PUT") == 0


def test_a_session_that_is_gone_is_begun_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.quirks.forgetful = True
    scripted.fault("PATCH", "/uploads/", swallow=HALF, keep=True)
    store.push(DESC, BytesBlob(LARGE))
    assert sent(scripted) == [HALF, SIZE]
    assert scripted.count("POST") == 2


@pytest.mark.parametrize("known_digest", [True, False])
def test_a_session_that_is_gone_at_the_end_is_begun_again(
    scripted: ScriptedRegistry, store: RegistryStore, known_digest: bool
) -> None:
    scripted.fault("PUT", "/uploads/", status=404, body=b'{"errors":[]}')
    if known_digest:
        store.push(DESC, BytesBlob(LARGE))
    else:
        ingest = store.begin(SIZE, "one")
        ingest.write(BytesBlob(LARGE))
        scripted.content.uploads.clear()
        ingest.commit(DESC)
    assert stored(scripted) == LARGE


def test_a_commit_whose_answer_got_lost_is_done(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.fault("PUT", "/uploads/", drop="after")
    store.push(DESC, BytesBlob(LARGE))
    assert sent(scripted) == [SIZE]
    assert (scripted.count("POST"), scripted.count("PUT")) == (1, 1)


def test_a_commit_that_is_denied_for_having_succeeded_is_done(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.fault("PUT", "/uploads/", keep=True, status=404)
    store.push(DESC, BytesBlob(LARGE))
    assert sent(scripted) == [SIZE]


def test_a_part_whose_answer_got_lost_is_not_sent_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.fault("PATCH", "/uploads/", drop="after")
    store.push(DESC, BytesBlob(LARGE))
    assert sent(scripted) == [SIZE]


def test_wrong_bytes_after_a_break_are_thrown_away_once_and_that_is_said(
    scripted: ScriptedRegistry,
) -> None:
    events: list[Event] = []
    session = connect(scripted, report=events.append)
    scripted.fault("PATCH", "/uploads/", swallow=HALF, keep=True)

    def damage() -> None:
        # The registry answers the question how far it is with bytes that are not ours.
        for each in scripted.content.uploads.values():
            each[:4] = b"????"

    class Damaging(OffsetBlob):
        @contextmanager
        def open(self, offset: int = 0) -> Iterator[BinaryIO]:
            if len(self.offsets) == 1:
                damage()
            with super().open(offset) as stream:
                yield stream

    RegistryStore(session, REPOSITORY).push(DESC, Damaging(LARGE))
    assert stored(scripted) == LARGE
    assert [type(each) for each in events if isinstance(each, Warned)] == [Warned]
    session.close()


def test_what_was_sent_in_one_piece_is_not_sent_again_for_being_wrong(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    said = b'{"errors":[{"code":"DIGEST_INVALID","message":"other bytes"}]}'
    scripted.fault("PUT", "/uploads/", times=None, status=400, body=said)
    with pytest.raises(IntegrityError):
        store.push(DESC, BytesBlob(LARGE))
    assert sent(scripted) == [SIZE]


def test_a_registry_that_names_another_digest_is_not_believed(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    headers = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    scripted.fault("PUT", "/uploads/", status=201, headers=headers)
    with pytest.raises(IntegrityError):
        store.push(DESC, BytesBlob(LARGE))


def test_wrong_bytes_are_not_thrown_away_a_second_time(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    said = b'{"errors":[{"code":"DIGEST_INVALID","message":"other bytes"}]}'
    scripted.fault("PATCH", "/uploads/", swallow=HALF, keep=True)
    fault = scripted.fault("PUT", "/uploads/", times=None, status=400, body=said)
    with pytest.raises(IntegrityError):
        store.push(DESC, BytesBlob(LARGE))
    assert fault.hits == 2
    assert records() == []


# Another process goes on


@pytest.mark.parametrize("kept", [2, HALF, SIZE])
def test_another_process_goes_on_where_the_first_was(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore, kept: int
) -> None:
    break_off(store, scripted, kept)
    blob = KnownBlob(LARGE)
    reopened.push(DESC, blob)
    assert stored(scripted) == LARGE
    assert sum(sent(scripted)) == SIZE - kept
    assert blob.read == SIZE - kept
    assert scripted.count("POST") == 0
    assert records() == []


def test_another_process_goes_on_though_no_digest_is_known(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore
) -> None:
    break_off(store, scripted)
    ingest = reopened.begin(SIZE, KnownBlob.identity)
    ingest.write(BytesBlob(LARGE))
    ingest.commit(DESC)
    assert stored(scripted) == LARGE
    assert sum(sent(scripted)) == SIZE - HALF


def test_a_source_that_has_only_its_digest_is_read_from_its_start_and_sent_from_the_middle(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore
) -> None:
    break_off(store, scripted, blob=WatchedBlob(LARGE))
    blob = WatchedBlob(LARGE)
    reopened.push(DESC, blob)
    assert sum(sent(scripted)) == SIZE - HALF
    assert blob.read == SIZE


def test_bytes_of_an_earlier_run_that_are_wrong_are_thrown_away_once(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    break_off(store, scripted)
    for each in scripted.content.uploads.values():
        each[:4] = b"????"
    events: list[Event] = []
    session = connect(scripted, report=events.append)
    RegistryStore(session, REPOSITORY).push(DESC, KnownBlob(LARGE))
    assert stored(scripted) == LARGE
    assert sent(scripted) == [SIZE - HALF, SIZE]
    assert len([each for each in events if isinstance(each, Warned)]) == 1
    assert records() == []
    session.close()


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 501])
def test_a_session_of_an_earlier_run_that_is_gone_costs_one_question(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore, status: int
) -> None:
    break_off(store, scripted)
    scripted.fault("GET", "/uploads/", status=status)
    reopened.push(DESC, KnownBlob(LARGE))
    assert sent(scripted) == [SIZE]
    assert scripted.count("GET") == 1


@pytest.mark.parametrize("claim", ["0-999999999", "0-99999999999999999999999", "5-9", "all", ""])
def test_nonsense_about_how_far_it_is_does_no_harm(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore, claim: str
) -> None:
    break_off(store, scripted)
    (upload,) = scripted.content.uploads
    location = f"/v2/{REPOSITORY}/blobs/uploads/{upload}?_state={upload}-{HALF}"
    headers = {"Range": claim, "Location": location}
    scripted.fault("GET", "/uploads/", status=204, headers=headers)
    reopened.push(DESC, KnownBlob(LARGE))
    assert stored(scripted) == LARGE


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"size":%d}' % SIZE, b'{"location":3,"size":%d}' % SIZE, b"\xff"],
)
def test_a_damaged_record_is_as_if_it_were_not_there(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore, content: bytes
) -> None:
    break_off(store, scripted)
    (record,) = records()
    record.write_bytes(content)
    reopened.push(DESC, KnownBlob(LARGE))
    assert stored(scripted) == LARGE
    assert sent(scripted) == [SIZE]
    assert records() == []


@pytest.mark.parametrize("location", ["file:///etc/passwd", "//", "ftp://127.0.0.1/x", "nowhere"])
def test_a_record_that_leads_nowhere_does_no_harm(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore, location: str
) -> None:
    break_off(store, scripted)
    (record,) = records()
    record.write_text(f'{{"location":"{location}","size":{SIZE}}}')
    reopened.push(DESC, KnownBlob(LARGE))
    assert stored(scripted) == LARGE


def test_a_record_is_of_one_repository_and_one_registry(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore
) -> None:
    break_off(store, scripted)
    RegistryStore(reopened.session, "team/other").push(DESC, KnownBlob(LARGE))
    assert sent(scripted) == [SIZE]
    with ScriptedRegistry("127.0.0.2") as other:
        session = connect(other)
        RegistryStore(session, REPOSITORY).push(DESC, KnownBlob(LARGE))
        assert sent(other) == [SIZE]
        session.close()
    assert len(records()) == 1


def test_a_record_is_of_content_of_one_size(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore
) -> None:
    break_off(store, scripted)
    ingest = reopened.begin(SIZE - 1, KnownBlob.identity)
    ingest.write(BytesBlob(LARGE[:-1]))
    ingest.commit(Descriptor.of(LARGE[:-1], WEIGHT))
    assert sent(scripted) == [SIZE - 1]


def test_a_record_can_be_read_by_its_owner_only(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    break_off(store, scripted)
    (record,) = records()
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o077 == 0


def test_two_at_the_same_content_have_a_session_each(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore
) -> None:
    class Meanwhile(KnownBlob):
        def count(self, size: int, position: int) -> None:
            super().count(size, position)
            if position >= CHUNK and not scripted.asked("PUT"):
                reopened.push(DESC, KnownBlob(LARGE))
                assert len(records()) == 1  # of the one that is still at it

    store.push(DESC, Meanwhile(LARGE))
    assert scripted.count("POST") == 2
    assert stored(scripted) == LARGE
    assert records() == []


def test_without_locks_two_may_share_a_session_and_nothing_is_damaged(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    reopened: RegistryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "_lock", lambda _: True)
    break_off(store, scripted)

    class Meanwhile(KnownBlob):
        def count(self, size: int, position: int) -> None:
            super().count(size, position)
            if not scripted.asked("PUT"):
                reopened.push(DESC, KnownBlob(LARGE))

    RegistryStore(store.session, REPOSITORY).push(DESC, Meanwhile(LARGE))
    assert stored(scripted) == LARGE


def test_a_cache_that_is_no_folder_stops_nothing(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    home.uploads().parent.parent.mkdir(parents=True)
    home.uploads().parent.write_text("in the way")
    scripted.fault("PATCH", "/uploads/", swallow=HALF, keep=True)
    store.push(DESC, KnownBlob(LARGE))
    assert sum(sent(scripted)) == SIZE


def test_small_content_is_not_recorded(
    scripted: ScriptedRegistry, store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "WORTHWHILE", SIZE + 1)
    with pytest.raises(UnavailableError):
        store.begin(SIZE, "one").write(WatchedBlob(LARGE, fail_at=CHUNK))
    assert records() == []


# Abandoning


def test_what_is_abandoned_is_cleared_away(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    ingest = store.begin(SIZE, "one")
    ingest.write(BytesBlob(LARGE))
    assert len(records()) == 1
    ingest.abandon()
    assert scripted.count("DELETE") == 1
    assert scripted.content.uploads == {}
    assert records() == []


def test_what_an_earlier_run_left_is_forgotten_too(
    scripted: ScriptedRegistry, store: RegistryStore, reopened: RegistryStore
) -> None:
    break_off(store, scripted)
    ingest = reopened.begin(SIZE, KnownBlob.identity)
    ingest.abandon()
    with pytest.raises(ConflictError):
        ingest.write(KnownBlob(LARGE))
    assert records() == []


@pytest.mark.parametrize("fault", [{"status": 405}, {"status": 503}, {"drop": "before"}])
def test_a_registry_that_clears_nothing_away_is_left_alone(
    scripted: ScriptedRegistry, store: RegistryStore, fault: dict[str, Any]
) -> None:
    rule = scripted.fault("DELETE", times=None, **fault)
    ingest = store.begin(SIZE, "one")
    ingest.write(BytesBlob(LARGE))
    ingest.abandon()
    assert rule.hits == 1
    assert records() == []


# What is left behind


@pytest.mark.parametrize("days", [6, 8])
@pytest.mark.parametrize("dry_run", [True, False])
def test_records_of_last_week_are_pruned(
    scripted: ScriptedRegistry, store: RegistryStore, days: int, dry_run: bool
) -> None:
    break_off(store, scripted)
    (record,) = records()
    long_ago = record.stat().st_mtime - days * 24 * 3600
    os.utime(record, (long_ago, long_ago))
    size = record.stat().st_size
    found = sessions.prune(home.uploads(), sessions.STALE, dry_run=dry_run)
    assert found == ([(str(record), size)] if days > 7 else [])
    assert record.exists() == (days < 7 or dry_run)
    assert scripted.requests == []


def test_prune_names_them(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    break_off(store, scripted)
    (record,) = records()
    os.utime(record, (1, 1))
    assert ocimlpack.prune(dry_run=True).removed == (str(record),)
    assert ocimlpack.prune().removed == (str(record),)
    assert records() == []


def test_a_record_that_somebody_is_at_is_not_pruned(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    found: list[object] = []

    class Pruning(KnownBlob):
        def count(self, size: int, position: int) -> None:
            found.extend(sessions.prune(home.uploads(), -1.0, dry_run=False))

    store.push(DESC, Pruning(LARGE))
    assert found == []


def test_nothing_is_found_where_there_was_never_an_upload() -> None:
    assert sessions.prune(home.uploads(), 0.0, dry_run=False) == []


# The digest before the bytes, and after them


@pytest.mark.parametrize("push", ["known", "unknown"])
def test_a_mount_that_was_declined_has_begun_the_upload(
    scripted: ScriptedRegistry, store: RegistryStore, session: Session, push: str
) -> None:
    neighbour = RegistryStore(session, "team/neighbour")
    neighbour.push(DESC, BytesBlob(LARGE))
    scripted.quirks.mount = 202
    scripted.forget()
    assert not store.mount(DESC, neighbour)
    if push == "known":
        store.push(DESC, BytesBlob(LARGE))
        assert scripted.count("POST") == 1
    else:
        assert not store.exists(DESC)
    assert (stored(scripted) == LARGE) == (push == "known")


def test_other_content_is_found_by_its_name(
    store: RegistryStore, open_store: Callable[..., RegistryStore]
) -> None:
    """Two sources that happen to be equal, sent by two processes."""
    for name in ("one", "another"):
        ingest = open_store().begin(SIZE, name)
        ingest.write(BytesBlob(LARGE))
        ingest.commit(DESC)
    assert take(store.fetch(DESC)) == LARGE
