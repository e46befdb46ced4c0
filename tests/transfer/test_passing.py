from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import pytest

from ocimlpack.errors import ConflictError, IntegrityError
from ocimlpack.progress import Ended, Event, Warned
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import Blob
from ocimlpack.stores.verify import Stretch, Verifier
from ocimlpack.transfer import passing
from ocimlpack.transfer.ahead import Sent, Source

CONTENT = random.Random(1).randbytes(700_001)
DIGEST = Digest.of(CONTENT)


@dataclass
class Content:
    """A blob that counts what is read of it."""

    content: bytes = CONTENT
    identity: str = "content"
    read: int = 0
    parts: tuple[tuple[int, bytes], ...] = ()

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        stream = io.BytesIO(self.content)
        stream.seek(offset)
        yield stream
        self.read += stream.tell() - offset

    def stretches(self) -> Iterator[Stretch]:
        for start, part in self.parts:
            yield Stretch(start, len(part), Verifier(Descriptor.of(part, "a/b")))


@dataclass
class Place:
    """A destination that takes content in, some of it before and some of it twice.

    Attributes:
        has: bytes that an earlier run brought.
        again: offsets at which reading begins anew, once each.
        wrong: whether it finds the digest wrong.
    """

    has: int = 0
    again: tuple[tuple[int, int], ...] = ()
    wrong: bool = False
    taken: bytearray = field(default_factory=bytearray)
    committed: list[Descriptor] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)

    def exists(self, desc: Descriptor) -> bool:
        return False

    def push(self, desc: Descriptor, blob: Blob) -> None:
        raise AssertionError("the content is sent as it passes")

    def begin(self, size: int, identity: str) -> Place:
        self.identities.append(identity)
        self.taken = bytearray(CONTENT[: self.has])
        return self

    def write(self, blob: Blob) -> None:
        todo = [*self.again, (len(CONTENT), 0)]
        at = self.has
        for until, back in todo:
            del self.taken[at:]
            with blob.open(at) as stream:
                while len(self.taken) < until and (piece := stream.read(10_007)):
                    self.taken += piece
            at = len(self.taken) - back

    def commit(self, desc: Descriptor) -> None:
        if self.wrong:
            raise IntegrityError("other bytes", side="destination")
        self.committed.append(desc)

    def abandon(self) -> None:
        raise AssertionError("it is wanted")


def send(blob: Content, place: Place, size: int = len(CONTENT)) -> tuple[Sent, list[Event]]:
    events: list[Event] = []
    (sent,) = passing.send([Source("x", size, blob)], place, jobs=2, report=events.append)
    return sent, events


def test_content_is_read_once_and_its_digest_is_right() -> None:
    blob, place = Content(), Place()
    sent, events = send(blob, place)
    assert (sent.digest, sent.outcome) == (DIGEST, "moved")
    assert [desc.digest for desc in place.committed] == [DIGEST]
    assert place.identities == ["content"]
    assert bytes(place.taken) == CONTENT
    assert blob.read == len(CONTENT)
    assert events[-1] == Ended("x", len(CONTENT), "moved")


@pytest.mark.parametrize("has", [1, 300_000, len(CONTENT) - 1, len(CONTENT)])
def test_what_an_earlier_run_sent_is_hashed_all_the_same(has: int) -> None:
    blob, place = Content(), Place(has=has)
    assert send(blob, place)[0].digest == DIGEST
    assert blob.read == len(CONTENT)


def test_what_is_sent_twice_is_hashed_once() -> None:
    place = Place(again=((200_000, 150_000), (400_000, 400_000), (500_000, 3)))
    assert send(Content(), place)[0].digest == DIGEST
    assert bytes(place.taken) == CONTENT


def test_a_part_that_is_not_what_it_should_be_ends_it() -> None:
    parts = ((0, CONTENT[:5000]), (5000, CONTENT[5000:600_000]), (600_000, CONTENT[600_000:]))
    assert send(Content(parts=parts), Place(has=70_000))[0].outcome == "moved"
    for at in (0, 4999, 5000, 599_999, 600_000, len(CONTENT) - 1):
        wrong = bytearray(CONTENT)
        wrong[at] ^= 1
        place = Place()
        with pytest.raises(IntegrityError) as caught:
            send(Content(bytes(wrong), parts=parts), place)
        assert caught.value.side == "source"
        assert place.committed == []


def test_what_the_destination_finds_wrong_is_left_to_the_copy() -> None:
    sent, events = send(Content(), Place(wrong=True))
    assert (sent.digest, sent.outcome) == (DIGEST, None)
    assert any(isinstance(event, Warned) and "sent again" in event.message for event in events)


def test_content_that_is_too_short_is_an_error() -> None:
    with pytest.raises(ConflictError, match=r"ends after 700,001 of 700,002 bytes"):
        send(Content(), Place(), len(CONTENT) + 1)
