from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ocimlpack.errors import UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import partial
from ocimlpack.stores.partial import Extents, PartialFile, TakenError, claimed
from tests.contract import WEIGHT

CONTENT = random.Random(1).randbytes(100_000)
DESC = Descriptor.of(CONTENT, WEIGHT)


@contextmanager
def opened(folder: Path, desc: Descriptor = DESC, *others: Path) -> Iterator[PartialFile]:
    handles = [os.open(each, os.O_RDONLY) for each in (folder, *others)]
    try:
        with claimed(handles[0], desc, label="model.bin", others=handles[1:]) as file:
            yield file
    finally:
        for handle in handles:
            os.close(handle)


def bring(file: PartialFile, start: int, end: int) -> None:
    file.write(start, CONTENT[start:end])
    file.note(start, end)


def kept(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


# Extents


def test_extents_are_what_a_set_of_bytes_would_be() -> None:
    chance = random.Random(2)
    for _ in range(200):
        extents, expected = Extents(), set[int]()
        for _ in range(chance.randrange(12)):
            start = chance.randrange(40)
            end = start + chance.randrange(1, 10)
            extents.add(start, end)
            expected |= set(range(start, end))
            assert extents.total == len(expected)
            assert {byte for span in extents for byte in range(*span)} == expected
            gaps = {byte for gap in extents.gaps(50) for byte in range(*gap)}
            assert gaps == set(range(50)) - expected
            for offset in range(50):
                end_of = next(each for each in range(offset, 60) if each not in expected)
                assert extents.end_of(offset) == end_of
        spans = list(extents)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))


# What is kept


def test_what_was_noted_is_there_the_next_time(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        assert file.inherited == 0
        bring(file, 0, 1000)
        bring(file, 50_000, 60_000)
        file.write(2000, CONTENT[2000:3000])  # not noted
    with opened(tmp_path) as file:
        assert file.inherited == 11_000
        assert file.present() == [(0, 1000), (50_000, 60_000)]
        assert file.gaps() == [(1000, 50_000), (60_000, 100_000)]
        buffer = memoryview(bytearray(1000))
        assert file.read(50_000, buffer) == 1000
        assert buffer == CONTENT[50_000:51_000]
        assert not file.instead


def test_a_file_of_nothing_is_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_whole_file_has_its_size_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "done"
    target.mkdir()
    parts = tmp_path / "parts"
    parts.mkdir()
    with opened(parts) as file:
        bring(file, 0, len(CONTENT))
        file.finish(durable=True)
        handle = os.open(target, os.O_RDONLY)
        file.move(handle, "model.bin")
        os.close(handle)
    assert (target / "model.bin").read_bytes() == CONTENT
    assert list(parts.iterdir()) == []


def test_what_was_whole_and_had_not_moved_yet_is_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, len(CONTENT))
        file.finish(durable=False)
    with opened(tmp_path) as file:
        assert file.gaps() == []


def test_what_is_thrown_away_is_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, 1000)
        file.reset()
        assert file.gaps() == [(0, len(CONTENT))]
        bring(file, 5000, 6000)
    with opened(tmp_path) as file:
        assert file.present() == [(5000, 6000)]
        file.reset()
    assert list(tmp_path.iterdir()) == []


# Journals that can't be trusted


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_torn_record_is_ignored_and_written_over(tmp_path: Path, cut: int) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, 1000)
        bring(file, 2000, 3000)
    path = kept(tmp_path)
    with path.open("r+b") as raw:
        raw.truncate(path.stat().st_size - cut)
    with opened(tmp_path) as file:
        assert file.present() == [(0, 1000)]
        bring(file, 4000, 5000)
    with opened(tmp_path) as file:
        assert file.present() == [(0, 1000), (4000, 5000)]


@pytest.mark.parametrize("at", [0, 8, 16])
def test_a_damaged_record_is_not_believed(tmp_path: Path, at: int) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, 1000)
        bring(file, 2000, 3000)
    path = kept(tmp_path)
    with path.open("r+b") as raw:
        raw.seek(path.stat().st_size - 20 + at)
        raw.write(b"\x01")
    with opened(tmp_path) as file:
        assert file.present() == [(0, 1000)]


def test_a_record_beyond_the_content_is_not_believed(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, 1000)
        file.note(len(CONTENT) - 10, len(CONTENT) + 10)
    with opened(tmp_path) as file:
        assert file.present() == [(0, 1000)]


@pytest.mark.parametrize(
    "content",
    [b"x", CONTENT[:5000], CONTENT + b"x", CONTENT + b"\0" * 200, CONTENT * 2],
    ids=["a byte", "short", "a byte more", "zeros behind", "twice"],
)
def test_a_file_without_a_journal_is_thrown_away(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{partial.name_of(DESC)}0").write_bytes(content)
    with opened(tmp_path) as file:
        assert file.instead
        assert file.inherited == 0
        bring(file, 0, 10)
    with opened(tmp_path) as file:
        assert not file.instead
        assert file.inherited == 10


def test_a_journal_of_other_content_is_thrown_away(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, 1000)
    other = Descriptor(WEIGHT, DESC.digest, DESC.size - 1)
    with opened(tmp_path, other) as file:
        assert file.instead
        assert file.gaps() == [(0, DESC.size - 1)]


def test_files_of_other_content_are_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, 1000)
        with opened(tmp_path, Descriptor.of(b"else", WEIGHT)) as other:
            other.write(0, b"else")
            other.note(0, 4)
    assert len(list(tmp_path.iterdir())) == 2


# Several at once


def test_who_comes_second_begins_a_file_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        bring(first, 0, 1000)
        with opened(tmp_path) as second:
            assert second.inherited == 0
            bring(second, 0, 10)
        bring(first, 1000, 2000)
    # The one that has most goes on, and the other one goes.
    with opened(tmp_path) as file:
        assert file.inherited == 2000
        assert len(list(tmp_path.iterdir())) == 1


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(CONTENT)
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / f"{partial.name_of(DESC)}0").symlink_to(mine)
    os.link(mine, parts / f"{partial.name_of(DESC)}1")
    with opened(parts) as file:
        assert file.inherited == 0
        file.write(0, b"other")
    assert mine.read_bytes() == CONTENT


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(partial, "_QUIET_SECONDS", 0.0)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_what_was_left_is_gone_on_with(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, 1000)
    with opened(tmp_path) as file:
        assert file.inherited == 1000


@pytest.mark.usefixtures("no_locks")
def test_without_locks_who_has_lost_the_file_notices_before_the_next_note(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        bring(first, 0, 1000)
        with opened(tmp_path) as second:
            assert second.inherited == 1000
            with pytest.raises(TakenError):
                first.note(1000, 2000)
            with pytest.raises(TakenError):
                first.move(-1, "model.bin")
            with pytest.raises(TakenError):
                first.reset()
            bring(second, 2000, 3000)
    with opened(tmp_path) as file:
        assert file.present() == [(0, 1000), (2000, 3000)]


def test_what_is_written_to_is_nobodys_to_take_where_locks_do_not_tell(
    tmp_path: Path, no_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as first:
        bring(first, 0, 1000)
        monkeypatch.setattr(time, "sleep", lambda _: bring(first, 1000, 2000))
        with opened(tmp_path) as second:
            assert second.inherited == 0
        bring(first, 2000, 3000)


@pytest.mark.usefixtures("no_locks")
def test_what_was_left_elsewhere_is_brought_here(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with opened(there) as file:
        bring(file, 0, 1000)
    with opened(here, DESC, there) as file:
        assert file.inherited == 1000
        assert list(there.iterdir()) == []


# The disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_clear_error_and_what_was_noted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with opened(tmp_path) as file:
        bring(file, 0, 1000)

        def full(*_: object) -> int:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(UnavailableError, match=r"no room left for model\.bin") as caught:
                file.write(1000, b"more")
        assert caught.value.hint
    with opened(tmp_path) as file:
        assert file.inherited == 1000


def test_a_write_that_takes_only_some_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:7], at))
    with opened(tmp_path) as file:
        bring(file, 100, 200)
    with closing(kept(tmp_path).open("rb")) as raw:
        raw.seek(100)
        assert raw.read(100) == CONTENT[100:200]
