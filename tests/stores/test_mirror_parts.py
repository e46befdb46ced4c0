"""Parts of a blob that are read side by side from whoever has them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

import pytest

from ocimlpack.errors import OcimlpackError, UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import mirrors
from ocimlpack.stores.base import (
    Blob,
    BytesBlob,
    Divisible,
    PartStream,
    RangeIgnoredError,
    capability,
    doubt,
)
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.mirrors import MirroredBlob, Place
from ocimlpack.stores.verify import check
from tests.contract import WEIGHT

HUGE = bytes(range(251)) * (2 * mirrors._SMALL // 251)


class Parts:
    """A blob of which parts are read, and that fails as it is told."""

    def __init__(self, content: bytes, fail_at: int | None = None) -> None:
        self.content = content
        self.fail_at = fail_at
        self.error: OcimlpackError = UnavailableError("the connection broke")
        self.asked: list[tuple[int, int]] = []
        self.aborted = threading.Event()

    def open(self, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        return BytesBlob(self.content).open(offset)

    @contextmanager
    def part(self, offset: int, length: int) -> Iterator[PartStream]:
        self.asked.append((offset, length))
        yield _Part(self, offset, offset + length)


class _Part:
    def __init__(self, blob: Parts, offset: int, end: int) -> None:
        self._blob = blob
        self._offset = offset
        self._end = end

    def read(self, size: int) -> bytes:
        end = min(self._offset + size, self._end)
        if self._blob.fail_at is not None:
            if self._offset >= self._blob.fail_at:
                raise self._blob.error
            end = min(end, self._blob.fail_at)
        chunk = self._blob.content[self._offset : end]
        self._offset += len(chunk)
        return chunk

    def abort(self) -> None:
        self._blob.aborted.set()


class Holder(MemoryStore):
    """A store that has one blob."""

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        self._blob = blob

    def fetch(self, desc: Descriptor) -> Blob:
        return self._blob


def divided(origin: Blob, *blobs: Blob) -> tuple[MirroredBlob, list[Place]]:
    places = [Place(f"http://mirror{number}", Holder(each)) for number, each in enumerate(blobs)]
    return MirroredBlob(Descriptor.of(HUGE, WEIGHT), places, origin), places


def take_part(blob: MirroredBlob, offset: int, length: int) -> bytes:
    with blob.part(offset, length) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


def test_parts_come_from_the_first_that_has_them() -> None:
    origin, first, second = Parts(HUGE), Parts(HUGE), Parts(HUGE)
    blob, _ = divided(origin, first, second)
    assert capability(blob, Divisible)
    for offset in range(0, len(HUGE), 100_000):
        assert take_part(blob, offset, 100_000) == HUGE[offset : offset + 100_000]
    assert len(first.asked) == -(-len(HUGE) // 100_000)
    assert first.asked[-1][1] == len(HUGE) % 100_000
    assert origin.asked == second.asked == []


def test_a_part_that_breaks_off_goes_on_elsewhere_and_so_do_the_others() -> None:
    origin, first, second = Parts(HUGE), Parts(HUGE, fail_at=2500), Parts(HUGE)
    blob, places = divided(origin, first, second)
    assert take_part(blob, 1000, 5000) == HUGE[1000:6000]
    assert take_part(blob, 0, 1000) == HUGE[:1000]
    assert first.asked == [(1000, 5000)]
    assert second.asked == [(2500, 3500), (0, 1000)]
    assert origin.asked == []
    assert places[0].usable  # for other content


def test_a_part_that_ends_early_goes_on_elsewhere() -> None:
    origin = Parts(HUGE)
    blob, _ = divided(origin, Parts(HUGE[:2000]))
    assert take_part(blob, 1000, 5000) == HUGE[1000:6000]
    assert origin.asked == [(2000, 4000)]


def test_a_mirror_that_sends_only_the_whole_is_asked_for_that() -> None:
    whole = Parts(HUGE, fail_at=0)
    whole.error = RangeIgnoredError("only as a whole")
    for mirror in (whole, BytesBlob(HUGE)):
        origin = Parts(HUGE)
        blob, places = divided(origin, mirror)
        with pytest.raises(RangeIgnoredError):
            take_part(blob, 0, 1000)
        assert places[0].usable
        check(blob, Descriptor.of(HUGE, WEIGHT))
        assert doubt(blob)  # so it came from the mirror
        assert origin.asked == []


def test_the_registrys_failure_at_a_part_is_raised() -> None:
    origin = Parts(HUGE, fail_at=0)
    blob, _ = divided(origin, Parts(HUGE, fail_at=0))
    with pytest.raises(UnavailableError) as caught:
        take_part(blob, 0, 1000)
    assert caught.value is origin.error


def test_all_who_sent_a_part_of_wrong_bytes_are_left_out() -> None:
    blob, places = divided(Parts(HUGE), Parts(HUGE, fail_at=2500), Parts(HUGE), Parts(HUGE))
    take_part(blob, 1000, 5000)
    assert doubt(blob)
    assert [place.usable for place in places] == [False, False, True]
    take_part(blob, 0, 1000)
    assert doubt(blob)
    take_part(blob, 0, 1000)
    assert not doubt(blob)


def test_a_part_that_is_aborted_is_no_mirrors_failure() -> None:
    mirror, origin = Parts(HUGE, fail_at=1000), Parts(HUGE)
    blob, places = divided(origin, mirror)
    with blob.part(0, 5000) as stream:
        assert stream.read(1000)
        stream.abort()
        assert mirror.aborted.is_set()
        with pytest.raises(UnavailableError):
            stream.read(1000)
    with blob.part(0, 5000) as stream:
        stream.abort()  # before anything was asked
        with pytest.raises(UnavailableError):
            stream.read(1000)
    assert places[0].usable
    assert origin.asked == []
