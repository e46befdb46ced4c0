"""Large blobs that come in parts, and everything that can go wrong with a part."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocimlpack.errors import (
    IntegrityError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.progress import Event, Moved, Retried, Warned
from ocimlpack.retry import Policy
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores import download, partial
from ocimlpack.stores._oras import Session
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.transfer import parts, ranges
from ocimlpack.transfer.copy import copy
from tests.contract import at_once, take
from tests.scripted.blobs import BlobServer
from tests.scripted.exchange import Request
from tests.scripted.fixtures import QUICK, REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

KIB = 1024
PART = 200 * KIB  # no multiple of what is read at a time
COUNT = 20
BLOB = random.Random(4).randbytes(COUNT * PART)
SLOW = 2000
"""Bytes a second at which a part would take minutes."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with hundreds of MiB, only smaller."""
    monkeypatch.setattr(ranges, "WORTHWHILE", 1024 * KIB)
    monkeypatch.setattr(ranges, "_NOTED", 64 * KIB)
    monkeypatch.setattr(parts, "_LENGTHS", ())
    monkeypatch.setattr(parts, "_LONGEST", PART)
    monkeypatch.setattr(parts, "_STALLED_SECONDS", 0.2)
    monkeypatch.setattr(partial, "_QUIET_SECONDS", 0.0)
    for module in (parts, ranges):
        monkeypatch.setattr(module, "WORTH_TAKING", 32 * KIB)


class Place:
    """A layout that is being filled, and what was said of it."""

    def __init__(self, path: Path, scripted: ScriptedRegistry, manifest: Manifest) -> None:
        self.store = LayoutStore(path, create=True)
        self.events: list[Event] = []
        self.watch: Callable[[Event], None] = lambda _: None
        self.manifest = manifest
        self._scripted = scripted

    @property
    def blob(self) -> Descriptor:
        return self.manifest.layers[0]

    def report(self, event: Event) -> None:
        self.events.append(event)
        self.watch(event)

    def fill(self, *, jobs: int = 4, policy: Policy = QUICK, **access: Any) -> None:
        session = connect(self._scripted, policy=policy, report=self.report, **access)
        try:
            source = RegistryStore(session, REPOSITORY)
            copy(source, self.manifest.descriptor, self.store, jobs=jobs, report=self.report)
        finally:
            session.close()

    def said(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def offsets(self) -> list[int]:
        """How far the large blob was said to be."""
        name = str(self.blob.digest)
        return [e.offset for e in self.events if isinstance(e, Moved) and e.name == name]

    def check(self, *, kept: int = 0) -> None:
        """All is there and right, and nothing of it is left elsewhere but so many files."""
        assert take(self.store.fetch(self.blob)) == BLOB
        assert len(self.leftovers) == kept

    @property
    def leftovers(self) -> list[Path]:
        return list((self.store.path / "ingest").glob(f"*{self.blob.digest.hex}*"))

    @property
    def inherited(self) -> int:
        """Bytes that the next run finds."""
        handle = os.open(self.store.path / "ingest", os.O_RDONLY)
        try:
            with partial.claimed(handle, self.blob, label="x", prefix=".ocimlpack-") as file:
                return file.inherited
        finally:
            os.close(handle)


@pytest.fixture
def place(tmp_path: Path, scripted: ScriptedRegistry) -> Place:
    manifest = scripted.content.add_artifact(REPOSITORY, BLOB)
    return Place(tmp_path / "layout", scripted, manifest)


def asked(server: ScriptedRegistry | BlobServer, place: Place) -> list[Request]:
    return server.asked("GET", place.blob.digest.hex)


def spans(requests: list[Request]) -> list[tuple[int, int]]:
    found = [re.fullmatch(r"bytes=(\d+)-(\d+)", each.header("range")) for each in requests]
    return sorted((int(each[1]), int(each[2]) + 1) for each in found if each)


# How it comes


def test_a_large_blob_comes_in_parts_over_several_connections(
    scripted: ScriptedRegistry, place: Place
) -> None:
    scripted.fault("GET", place.blob.digest.hex, times=None, rate=4_000_000)
    place.fill(jobs=4)
    place.check()
    assert scripted.connections >= 4
    starts = {start for start, _ in spans(asked(scripted, place))}
    assert starts >= {number * PART for number in range(COUNT)}
    assert scripted.sent <= len(BLOB) + 4 * PART


def test_a_small_blob_comes_in_one(scripted: ScriptedRegistry, tmp_path: Path) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, BLOB[: 1024 * KIB - 1])
    place = Place(tmp_path / "layout", scripted, manifest)
    place.fill()
    assert [each.header("range") for each in asked(scripted, place)] == [""]


def test_over_one_connection_it_is_asked_for_once(scripted: ScriptedRegistry, place: Place) -> None:
    place.fill(jobs=1)
    place.check()
    assert spans(asked(scripted, place)) == [(0, len(BLOB))]


def test_connections_are_used_again(scripted: ScriptedRegistry, place: Place) -> None:
    place.fill(jobs=2)
    assert len(asked(scripted, place)) >= COUNT
    # Two for the parts; one that was ended early, as somebody took half of its part, is made anew.
    assert scripted.connections <= 8


def test_progress_only_rises_and_ends_with_all(scripted: ScriptedRegistry, place: Place) -> None:
    place.fill()
    assert place.offsets == sorted(place.offsets)
    assert place.offsets[0] == 0
    assert place.offsets[-1] == len(BLOB)


def test_several_blobs_share_the_connections(scripted: ScriptedRegistry, tmp_path: Path) -> None:
    blobs = [random.Random(each).randbytes(5 * PART) for each in range(6)]
    manifest = scripted.content.add_artifact(REPOSITORY, *blobs)
    place = Place(tmp_path / "layout", scripted, manifest)
    place.fill(jobs=3)
    for desc, blob in zip(manifest.layers, blobs, strict=True):
        assert take(place.store.fetch(desc)) == blob
    assert scripted.sent <= sum(map(len, blobs)) + len(manifest.raw) + 6 * PART


# Answers to a range that are none


@pytest.mark.parametrize("kind", ["ignored", "refused"])
@pytest.mark.parametrize("jobs", [1, 4])
def test_where_ranges_are_not_honoured_it_comes_in_one(
    scripted: ScriptedRegistry, place: Place, kind: Any, jobs: int
) -> None:
    scripted.quirks.ranges = kind
    place.fill(jobs=jobs)
    place.check()
    assert [each.header("range") != "" for each in asked(scripted, place)] == [True, False]
    assert not place.said(Warned)


def test_where_ranges_are_no_longer_honoured_it_comes_in_one(
    scripted: ScriptedRegistry, place: Place
) -> None:
    def ignore_from_now_on(event: Event) -> None:
        if isinstance(event, Moved) and event.offset > len(BLOB) // 2:
            scripted.quirks.ranges = "ignored"

    place.watch = ignore_from_now_on
    place.fill()
    place.check()
    assert asked(scripted, place)[-1].header("range") == ""


@pytest.mark.parametrize("kind", ["wrong offset", "multipart"])
def test_another_part_than_asked_for_is_not_taken_and_the_whole_comes_in_one(
    scripted: ScriptedRegistry, place: Place, kind: Any
) -> None:
    scripted.quirks.ranges = kind
    place.fill()
    place.check()
    assert asked(scripted, place)[-1].header("range") == ""


def test_parts_that_are_shorter_than_asked_for_are_completed(
    scripted: ScriptedRegistry, place: Place
) -> None:
    scripted.quirks.ranges = "short"
    place.fill()
    place.check()
    assert not place.said(Warned)
    assert scripted.sent <= len(BLOB) + 4 * PART


def test_content_in_another_encoding_is_refused(scripted: ScriptedRegistry, place: Place) -> None:
    scripted.quirks.gzip = True
    with pytest.raises(UnsupportedError):
        place.fill()
    assert not place.leftovers


# Wrong bytes


@pytest.mark.parametrize("number", [1, 2, COUNT // 2, COUNT])
def test_wrong_bytes_in_one_part_are_noticed_and_all_is_fetched_again(
    scripted: ScriptedRegistry, place: Place, number: int
) -> None:
    fault = scripted.fault("GET", place.blob.digest.hex, nth=number, flip=100)
    place.fill()
    place.check()
    assert fault.hits == 1
    (warning,) = place.said(Warned)
    assert "wrong" in str(warning)
    assert scripted.sent <= 2 * (len(BLOB) + PART)


@pytest.mark.parametrize("wrong", [BLOB[:-1] + b"x", BLOB + b"x"], ids=["other", "longer"])
def test_what_is_wrong_twice_is_refused_and_nothing_is_kept(
    scripted: ScriptedRegistry, place: Place, wrong: bytes
) -> None:
    scripted.quirks.blobs = {str(place.blob.digest): wrong}
    with pytest.raises(IntegrityError) as caught:
        place.fill()
    assert caught.value.digest == str(place.blob.digest)
    assert not place.leftovers
    assert not place.store.exists(place.blob)


def test_a_blob_that_ends_early_is_refused(scripted: ScriptedRegistry, place: Place) -> None:
    scripted.quirks.blobs = {str(place.blob.digest): BLOB[:-PART]}
    with pytest.raises(IntegrityError):
        place.fill()
    assert not place.leftovers


# Addresses that the registry leads to


@contextmanager
def led_away(scripted: ScriptedRegistry, to: BlobServer) -> Iterator[None]:
    scripted.quirks.redirect = to.url + "/{digest}"
    yield
    assert not any(each.carries_credentials for each in to.requests)


def test_where_the_registry_leads_is_remembered(
    scripted: ScriptedRegistry, place: Place, blob_server: BlobServer
) -> None:
    scripted.auth.mode = "basic"
    with led_away(scripted, blob_server):
        place.fill(username=scripted.auth.username, secret=scripted.auth.password)
    place.check()
    assert len([each for each in asked(scripted, place) if each.status == 307]) == 1
    assert len(asked(blob_server, place)) >= COUNT


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 503])
@pytest.mark.parametrize("number", [2, 3, COUNT])
def test_an_address_that_has_expired_is_asked_for_again(
    scripted: ScriptedRegistry, place: Place, blob_server: BlobServer, number: int, status: int
) -> None:
    large = place.blob.digest.hex
    blob_server.fault("GET", large, nth=number, status=status, body=b"<html>expired</html>")
    with led_away(scripted, blob_server):
        place.fill()
    place.check()
    assert 2 <= len(asked(scripted, place)) <= 6
    assert blob_server.sent <= len(BLOB) + 2 * PART


def test_an_address_that_always_expires_ends_in_an_error(
    scripted: ScriptedRegistry, place: Place, blob_server: BlobServer
) -> None:
    blob_server.fault("GET", place.blob.digest.hex, nth=3, times=None, status=403)
    with led_away(scripted, blob_server), pytest.raises(UnavailableError):
        place.fill()
    assert place.inherited > 0


# Connections that break, and others that bring nothing


@pytest.mark.parametrize("number", range(1, COUNT + 1))
def test_a_connection_that_breaks_in_a_part_goes_on_where_it_was(
    scripted: ScriptedRegistry, place: Place, number: int
) -> None:
    fault = scripted.fault("GET", place.blob.digest.hex, nth=number, cut=100_000)
    place.fill()
    place.check()
    assert fault.hits == 1
    assert len(place.said(Retried)) == 1
    assert scripted.sent <= len(BLOB) + 4 * PART


def test_connections_that_break_each_time_get_there(
    scripted: ScriptedRegistry, place: Place
) -> None:
    scripted.fault("GET", place.blob.digest.hex, times=None, cut=50_000)
    place.fill()
    place.check()
    assert not place.said(Warned)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_part_that_is_refused_for_a_moment_is_asked_for_again(
    scripted: ScriptedRegistry, place: Place, status: int
) -> None:
    scripted.fault("GET", place.blob.digest.hex, nth=3, times=3, status=status)
    place.fill()
    place.check()


def test_a_registry_that_stops_answering_ends_it_and_what_came_is_kept(
    scripted: ScriptedRegistry, place: Place
) -> None:
    rule = scripted.fault("GET", place.blob.digest.hex, nth=8, times=None, drop="before")
    with pytest.raises(UnavailableError) as caught:
        place.fill()
    assert caught.value.side == "source"
    assert place.inherited >= 4 * PART
    rule.times = 0
    before, scripted.sent = place.inherited, 0
    place.fill()
    place.check()
    assert scripted.sent <= len(BLOB) - before + 4 * PART


def test_a_part_that_comes_in_drops_is_taken_over_by_others(
    scripted: ScriptedRegistry, place: Place
) -> None:
    patient = Policy(attempts=4, base=0.001, cap=0.01, total=60.0, stall=600.0)
    slow = scripted.fault("GET", place.blob.digest.hex, nth=3, rate=SLOW)
    place.fill(policy=patient)
    place.check()
    assert slow.hits == 1
    assert not place.said(Retried)


def test_the_slow_end_of_a_part_is_divided(scripted: ScriptedRegistry, place: Place) -> None:
    # Four seconds in all: a machine that is busy may take one to answer, and what would come
    # sooner than a few answers is not worth dividing.
    scripted.fault("GET", place.blob.digest.hex, nth=COUNT - 1, rate=50_000)
    place.fill()
    place.check()
    begun_within = [start for start, _ in spans(asked(scripted, place)) if start % PART]
    assert begun_within


def test_with_one_connection_a_stalled_one_is_replaced(
    scripted: ScriptedRegistry, place: Place
) -> None:
    hasty = Policy(attempts=4, base=0.001, cap=0.01, total=60.0, stall=0.3)
    scripted.fault("GET", place.blob.digest.hex, nth=1, rate=100)
    place.fill(jobs=1, policy=hasty)
    place.check()
    assert place.said(Retried)


def test_an_answer_that_does_not_come_is_not_waited_for_long(
    scripted: ScriptedRegistry, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_ANSWER_SECONDS", 0.3)
    waits: list[float] = []
    real = Session.request

    def request(self: Session, *args: Any, timeout: float = 60.0, **options: Any) -> Any:
        waits.append(timeout)
        return real(self, *args, timeout=timeout, **options)

    monkeypatch.setattr(Session, "request", request)
    never = threading.Event()
    scripted.fault("GET", place.blob.digest.hex, nth=4, hold=never)
    place.fill()
    place.check()
    assert max(waits) == 60.0
    assert waits[-1] < 60.0


def test_the_first_failure_ends_the_others_at_once(
    scripted: ScriptedRegistry, place: Place
) -> None:
    """They would wait for minutes before they call a connection stalled."""
    scripted.fault("GET", place.blob.digest.hex, nth=5, status=404)
    scripted.fault("GET", place.blob.digest.hex, nth=2, times=3, rate=0)
    with pytest.raises(NotFoundError):
        place.fill(policy=Policy(stall=600.0))


def test_a_failure_elsewhere_ends_it_at_once(scripted: ScriptedRegistry, tmp_path: Path) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, BLOB, b"small")
    place = Place(tmp_path / "layout", scripted, manifest)
    scripted.fault("GET", place.blob.digest.hex, times=None, rate=0)
    scripted.fault("GET", manifest.layers[1].digest.hex, status=404)
    with pytest.raises(NotFoundError):
        place.fill(jobs=2, policy=Policy(stall=600.0))


# Runs that end early


class EnoughError(OcimlpackError):
    """What a test ends a run with."""


def enough_at(size: int) -> Callable[[Event], None]:
    def watch(event: Event) -> None:
        if isinstance(event, Moved) and event.offset >= size:
            raise EnoughError("enough")

    return watch


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_run_goes_on_where_the_last_one_ended(
    scripted: ScriptedRegistry, place: Place, share: float, jobs: int
) -> None:
    place.watch = enough_at(int(len(BLOB) * share))
    with pytest.raises(EnoughError):
        place.fill(jobs=jobs)
    kept = place.inherited
    assert kept >= len(BLOB) * share - 64 * KIB
    place.watch = lambda _: None
    place.events.clear()
    scripted.forget()
    place.fill(jobs=jobs)
    place.check()
    assert not place.said(Warned)
    assert min(place.offsets) == kept
    assert scripted.sent <= len(BLOB) - kept + jobs * PART


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_long_part_is_noted_on_its_way(
    scripted: ScriptedRegistry,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
) -> None:
    """A copy of the file is what a process would have left that is killed at that moment."""
    monkeypatch.setattr(parts, "_LONGEST", 1024 * KIB)
    monkeypatch.setattr(ranges, "_GATHERING_SECONDS", 0.0)
    scripted.fault("GET", place.blob.digest.hex, times=None, rate=1024 * KIB)
    (tmp_path / "copy").mkdir()
    reached: list[int] = []

    def copied(event: Event) -> None:
        if isinstance(event, Moved) and event.offset >= 700 * KIB and not reached:
            reached.append(event.offset)
            (left,) = place.leftovers
            shutil.copy(left, tmp_path / "copy")

    place.watch = copied
    place.fill(jobs=jobs)
    handle = os.open(tmp_path / "copy", os.O_RDONLY)
    with partial.claimed(handle, place.blob, label="x", prefix=".ocimlpack-") as file:
        assert file.inherited >= reached[0] - jobs * (64 + 60) * KIB
    os.close(handle)


@pytest.mark.parametrize("where", [0, PART + 5])
def test_what_was_kept_and_is_wrong_is_thrown_away_once(
    scripted: ScriptedRegistry, place: Place, where: int
) -> None:
    place.watch = enough_at(len(BLOB) // 2)
    with pytest.raises(EnoughError):
        place.fill()
    (left,) = place.leftovers
    with left.open("r+b") as file:
        file.seek(where)
        file.write(b"wrong")
    place.watch = lambda _: None
    place.fill()
    place.check()
    (warning,) = place.said(Warned)
    assert "earlier run" in str(warning)


def test_what_was_kept_and_can_not_be_read_is_thrown_away_once(
    scripted: ScriptedRegistry, place: Place
) -> None:
    place.watch = enough_at(len(BLOB) // 2)
    with pytest.raises(EnoughError):
        place.fill()
    (left,) = place.leftovers
    left.write_bytes(BLOB[:1000])
    place.watch = lambda _: None
    place.fill()
    place.check()
    (warning,) = place.said(Warned)
    assert "can't be used" in str(warning)


def test_a_full_disk_ends_it_and_it_goes_on_when_there_is_room(
    scripted: ScriptedRegistry, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    room = [5 * PART]

    def full(handle: int, data: Any, offset: int) -> int:
        room[0] -= len(data)
        if room[0] < 0 and len(data) > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(UnavailableError, match="no room left") as caught:
            place.fill()
    assert caught.value.side == "destination"
    assert caught.value.hint
    kept = place.inherited
    assert kept > 0
    scripted.forget()
    place.fill()
    place.check()
    assert scripted.sent <= len(BLOB) - kept + 4 * PART


# Several at once


def test_two_that_fill_one_place_both_end_well(scripted: ScriptedRegistry, place: Place) -> None:
    at_once(place.fill, place.fill, place.fill)
    place.check()


def test_without_locks_two_that_fill_one_place_both_end_well(
    scripted: ScriptedRegistry, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    locks = SimpleNamespace(flock=refuse, LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB)
    monkeypatch.setattr(partial, "fcntl", locks)  # the layout's index has locks of its own
    at_once(place.fill, place.fill, place.fill)
    assert take(place.store.fetch(place.blob)) == BLOB


def test_who_loses_the_file_to_another_process_goes_its_own_way(
    scripted: ScriptedRegistry, place: Place
) -> None:
    taken: list[Path] = []

    def take_over(event: Event) -> None:
        if isinstance(event, Moved) and event.offset > len(BLOB) // 2 and not taken:
            (left,) = place.leftovers
            taken.append(left.rename(left.with_name(left.name + "-elsewhere")))

    place.watch = take_over
    place.fill()
    place.check(kept=1)


def test_the_library_of_threads_is_left_with_none(scripted: ScriptedRegistry, place: Place) -> None:
    before = threading.active_count()
    place.fill()
    names = [each.name for each in threading.enumerate() if each.name.startswith("ocimlpack")]
    assert names == []
    assert threading.active_count() <= before + scripted.connections
