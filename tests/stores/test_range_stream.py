from __future__ import annotations

import io
import random

import pytest

from ocimlpack.errors import IntegrityError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import Blob, BytesBlob
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.range_stream import RangeStream, buffered, part, seekable

CONTENT = random.Random(1).randbytes(3_000_000)
DESC = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))


class Source:
    """Brings parts of the content, and remembers which."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []

    def __call__(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.content[offset : offset + length]

    @property
    def moved(self) -> int:
        return sum(length for _, length in self.asked)


def test_it_reads_what_a_file_would() -> None:
    stream, file = buffered(Source(), len(CONTENT)), io.BytesIO(CONTENT)
    chance = random.Random(2)
    for _ in range(500):
        if chance.random() < 0.3:
            place = chance.randrange(len(CONTENT) + 100)
            assert stream.seek(place) == file.seek(place)
        length = chance.choice([1, 8, 4096, 70_000, 1_500_000])
        assert stream.read(length) == file.read(length)
        assert stream.tell() == file.tell()


def test_nothing_moves_before_it_is_read() -> None:
    source = Source()
    stream = buffered(source, len(CONTENT))
    stream.seek(1_000_000)
    assert source.asked == []
    assert stream.read(8) == CONTENT[1_000_000:1_000_008]
    assert source.moved <= 8192


def test_a_jump_brings_little() -> None:
    source = Source()
    stream = buffered(source, len(CONTENT))
    for place in range(0, len(CONTENT), 100_000):
        stream.seek(place)
        stream.read(8)
    assert source.moved <= 30 * 8192


def test_reading_on_brings_more_each_time() -> None:
    source = Source()
    stream = buffered(source, len(CONTENT))
    while stream.read(100):
        pass
    assert source.moved == len(CONTENT)
    assert len(source.asked) < 14
    assert max(length for _, length in source.asked) <= 1024 * 1024


def test_going_back_a_little_asks_for_nothing() -> None:
    source = Source()
    stream = buffered(source, len(CONTENT))
    stream.read(50_000)
    asked = len(source.asked)
    stream.seek(10)
    assert stream.read(1000) == CONTENT[10:1010]
    assert len(source.asked) == asked


def test_what_is_kept_is_bounded() -> None:
    stream = RangeStream(Source(), len(CONTENT))
    buffer = bytearray(4096)
    for place in (0, 1_000_000, 2_000_000, 500_000, 1_500_000, 2_500_000):
        stream.seek(place)
        stream.readinto(buffer)
    assert sum(len(content) for _, content in stream._answers) <= 4 * 8192


def test_content_that_ends_too_early_is_an_error() -> None:
    stream = buffered(Source(), len(CONTENT) + 1)
    stream.seek(len(CONTENT) - 1)
    with pytest.raises(IntegrityError, match="it ends after 3,000,000 of 3,000,001 bytes"):
        stream.read()


def test_a_part_is_a_stream_of_its_own() -> None:
    inner = part(buffered(Source(), len(CONTENT)), 1000, 50)
    assert inner.read() == CONTENT[1000:1050]
    assert inner.seek(-10, 2) == 40
    assert inner.read(100) == CONTENT[1040:1050]


def test_a_store_s_content_is_read_by_range() -> None:
    store = MemoryStore()
    store.push(DESC, BytesBlob(CONTENT))
    stream = seekable(store, DESC)
    stream.seek(-5, 2)
    assert stream.read() == CONTENT[-5:]


class Whole:
    """A store that can't read a part."""

    def resolve(self, name: str) -> Descriptor:
        raise AssertionError(name)

    def exists(self, desc: Descriptor) -> bool:
        return True

    def fetch(self, desc: Descriptor) -> Blob:
        return BytesBlob(CONTENT)

    def close(self) -> None: ...


def test_a_store_without_ranges_is_read_from_an_offset_on() -> None:
    stream = seekable(Whole(), DESC)
    stream.seek(2_999_000)
    assert stream.read(10) == CONTENT[2_999_000:2_999_010]
