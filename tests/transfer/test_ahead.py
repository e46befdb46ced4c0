from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from ocimlpack.errors import ConflictError, InputError, IntegrityError, UnavailableError
from ocimlpack.model.source import Seen, SourceBlob
from ocimlpack.progress import Began, Ended, Event, Moved, Planned, Warned, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import CHUNK, Blob, BytesBlob, FileSlice, SlicedStream, identity
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.transfer import ahead, pool
from ocimlpack.transfer.ahead import Sent, Source, send

LARGE = bytes(range(256)) * (ahead.WORTHWHILE // 256 * 3)


class Slow(MemoryStore):
    """A store that takes bytes before their digest is known, and no faster than it is told to.

    Attributes:
        gate: nothing is taken behind the first piece until it is set.
        begun: the identities that uploads were begun with.
        taken: the bytes that were taken.
        abandoned: how many uploads were thrown away.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.begun: list[str] = []
        self.taken = 0
        self.abandoned = 0
        self.asked: list[Digest] = []
        self.wrong_once = False
        self.fail: Exception | None = None

    def begin(self, size: int, identity: str) -> Arriving:
        self.begun.append(identity)
        return Arriving(self)

    def exists(self, desc: Descriptor) -> bool:
        self.asked.append(desc.digest)
        found = super().exists(desc)
        self.gate.set()
        return found


@dataclass
class Arriving:
    store: Slow
    content: bytes = b""

    def write(self, blob: Blob) -> None:
        parts: list[bytes] = []
        with blob.open() as stream:
            while piece := _next(stream):
                if parts and not self.store.gate.wait(10):
                    raise AssertionError("nobody asked whether the content is there")
                if self.store.fail:
                    raise self.store.fail
                parts.append(piece)
                self.store.taken += len(piece)
        self.content = b"".join(parts)

    def commit(self, desc: Descriptor) -> None:
        if self.store.wrong_once:
            self.store.wrong_once = False
            raise IntegrityError("what was sent before was something else")
        self.store.push(desc, BytesBlob(self.content))

    def abandon(self) -> None:
        self.store.abandoned += 1


def _next(stream: BinaryIO) -> bytes:
    if not isinstance(stream, SlicedStream):
        return stream.read(CHUNK)
    found = stream.take(CHUNK)
    if found is None:
        return b""
    assert isinstance(found, FileSlice)
    return os.pread(found.handle, found.length, found.offset)


def sources(folder: Path, *contents: bytes) -> list[Source]:
    found = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.bin"
        path.write_bytes(content)
        blob = SourceBlob(path, Seen.of(path.stat()))
        found.append(Source(path.name, len(content), blob))
    return found


@pytest.fixture
def store() -> Slow:
    return Slow()


def test_content_arrives_under_the_digest_that_was_computed_meanwhile(
    store: Slow, tmp_path: Path
) -> None:
    contents = (LARGE, LARGE[::-1], LARGE[7:])
    given = sources(tmp_path, *contents)
    sent = send(given, store, jobs=2, report=ignore)
    assert sent == [Sent(Digest.of(content), "moved") for content in contents]
    for content in contents:
        desc = Descriptor.of(content, "application/octet-stream")
        with store.fetch(desc).open() as stream:
            assert stream.read() == content
    assert sorted(store.begun) == sorted(identity(each.blob) or "" for each in given)


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_the_destination_has_is_not_sent_to_its_end(
    store: Slow, tmp_path: Path, jobs: int
) -> None:
    store.push(Descriptor.of(LARGE, "application/octet-stream"), BytesBlob(LARGE))
    store.gate.clear()
    given = sources(tmp_path, LARGE)
    events: list[Event] = []
    assert send(given, store, jobs=jobs, report=events.append) == [
        Sent(Digest.of(LARGE), "skipped")
    ]
    assert store.taken <= 2 * CHUNK
    assert store.abandoned == 1
    assert events[-1] == Ended("0.bin", len(LARGE), "skipped")


def test_nobody_is_asked_about_what_is_nearly_sent(store: Slow, tmp_path: Path) -> None:
    send(sources(tmp_path, LARGE[: ahead.WORTHWHILE]), store, jobs=1, report=ignore)
    assert store.asked == [Digest.of(LARGE[: ahead.WORTHWHILE])]  # by push, not by the hashing


def test_no_more_are_sent_at_a_time_than_there_are_jobs(store: Slow, tmp_path: Path) -> None:
    store.gate.clear()
    events: list[Event] = []

    def note(event: Event) -> None:
        events.append(event)
        if sum(isinstance(each, Began) for each in events) == 2:
            # Hashed by now or not: a third one would begin while nothing moves.
            threading.Timer(0.1, store.gate.set).start()

    send(sources(tmp_path, *(LARGE[n:] for n in range(4))), store, jobs=2, report=note)
    first_end = next(n for n, event in enumerate(events) if isinstance(event, Ended))
    assert sum(isinstance(event, Began) for event in events[:first_end]) == 2


def test_progress_tells_how_much_is_sent(store: Slow, tmp_path: Path) -> None:
    events: list[Event] = []
    send(sources(tmp_path, LARGE), store, jobs=1, report=events.append, action="pushing")
    assert events[:2] == [Planned("pushing", 1, len(LARGE)), Began("0.bin", len(LARGE))]
    offsets = [event.offset for event in events if isinstance(event, Moved)]
    assert offsets == sorted(offsets)
    assert offsets[-1] == len(LARGE)


def test_hashing_does_not_run_away_from_a_slow_sender(
    store: Slow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_window", lambda _: 2 * CHUNK)
    waits: list[int] = []
    plain = pool.Gauge.wait

    def wait(self: pool.Gauge, value: int, stop: pool.Stop) -> None:
        waits.append(value)
        store.gate.set()
        plain(self, value, stop)

    monkeypatch.setattr(pool.Gauge, "wait", wait)
    store.gate.clear()
    sent = send(sources(tmp_path, LARGE), store, jobs=1, report=ignore)
    assert sent[0].outcome == "moved"
    # The sender stood at its second piece until the hashing waited, two pieces further on.
    assert waits[0] <= 3 * CHUNK


def test_a_failed_sender_ends_the_hashing(store: Slow, tmp_path: Path) -> None:
    store.fail = UnavailableError("gone")
    with pytest.raises(UnavailableError, match="gone") as caught:
        send(sources(tmp_path, LARGE, LARGE[1:]), store, jobs=2, report=ignore)
    assert caught.value.side == "destination"


def test_a_file_that_is_changed_meanwhile_ends_it(store: Slow, tmp_path: Path) -> None:
    given = sources(tmp_path, LARGE)
    (tmp_path / "0.bin").write_bytes(LARGE[::-1])
    with pytest.raises(ConflictError, match="changed") as caught:
        send(given, store, jobs=1, report=ignore)
    assert caught.value.side == "source"


def test_what_was_sent_wrong_is_left_to_the_copy_that_follows(store: Slow, tmp_path: Path) -> None:
    store.wrong_once = True
    events: list[Event] = []
    sent = send(sources(tmp_path, LARGE), store, jobs=1, report=events.append)
    assert sent == [Sent(Digest.of(LARGE), None)]
    assert [type(event) for event in events if isinstance(event, Warned | Ended)] == [Warned]


def test_digests_are_told_as_soon_as_they_are_known(store: Slow, tmp_path: Path) -> None:
    told: dict[str, Digest] = {}
    store.fail = InputError("refused")
    with pytest.raises(InputError):
        send(
            sources(tmp_path, LARGE),
            store,
            jobs=1,
            report=ignore,
            hashed=lambda source, digest: told.update({source.name: digest}),
        )
    assert told in ({}, {"0.bin": Digest.of(LARGE)})


@dataclass(frozen=True)
class Made:
    """Content that is no file."""

    content: bytes
    identity: str = "made"

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        with BytesBlob(self.content).open(offset) as stream:
            yield stream


def test_content_that_is_no_file_goes_the_same_way(store: Slow) -> None:
    sent = send([Source("made", len(LARGE), Made(LARGE))], store, jobs=1, report=ignore)
    assert sent == [Sent(Digest.of(LARGE), "moved")]
    assert store.begun == ["made"]


def test_no_sources_need_no_destination(store: Slow) -> None:
    events: list[Event] = []
    assert send([], store, jobs=1, report=events.append) == []
    assert events == []
