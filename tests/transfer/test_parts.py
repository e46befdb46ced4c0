"""Who brings which part, by a clock that a test turns."""

from __future__ import annotations

import random

import pytest

from ocimlpack.transfer.parts import Part, Parts, cut

MIB = 1024 * 1024
GIB = 1024 * MIB


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Stream:
    def __init__(self) -> None:
        self.aborted = False

    def read(self, size: int) -> bytes:
        raise AssertionError("nobody reads here")

    def abort(self) -> None:
        self.aborted = True


def bring(parts: Parts, part: Part, count: int) -> int:
    """Some bytes of a part arrive; returns how many of them were taken."""
    parts.came(part)
    taken = parts.claim(part, count)
    parts.written(part)
    return taken


def taken(parts: Parts) -> Part:
    part = parts.take()
    assert part
    part.stream = Stream()
    return part


@pytest.mark.parametrize(
    ("size", "length"),
    [(32 * MIB, 8), (511 * MIB, 8), (512 * MIB, 16), (4 * GIB, 32), (64 * GIB, 64)],
)
def test_larger_blobs_have_larger_parts(size: int, length: int) -> None:
    assert next(cut([(0, size)], size)) == (0, length * MIB)


def test_what_is_missing_is_cut_at_a_grid() -> None:
    gaps = [(5, 6), (8 * MIB - 1, 17 * MIB), (40 * MIB, 40 * MIB + 3)]
    assert list(cut(gaps, 41 * MIB)) == [
        (5, 6),
        (8 * MIB - 1, 8 * MIB),
        (8 * MIB, 16 * MIB),
        (16 * MIB, 17 * MIB),
        (40 * MIB, 40 * MIB + 3),
    ]


def test_parts_are_taken_in_order_and_each_once() -> None:
    parts = Parts(20 * MIB, [(MIB, 8 * MIB)])
    found = []
    while part := parts.take():
        found.append((part.at, part.end))
    assert found == [(0, MIB), (8 * MIB, 16 * MIB), (16 * MIB, 20 * MIB)]
    assert not parts.more()


def test_one_that_is_alone_goes_on_into_what_follows() -> None:
    parts = Parts(30 * MIB, [(20 * MIB, 21 * MIB)])
    part = taken(parts)
    reach = parts.reach(part)
    assert (part.end, reach) == (8 * MIB, 20 * MIB)
    assert parts.extend(part, reach)
    assert parts.extend(part, reach)
    assert part.end == 20 * MIB
    assert not parts.extend(part, reach)


def test_nobody_goes_on_into_what_somebody_else_has() -> None:
    parts = Parts(30 * MIB, [])
    first = taken(parts)
    reach = parts.reach(first)
    taken(parts)
    assert not parts.extend(first, reach)


def test_half_of_a_slow_part_is_taken() -> None:
    clock = Clock()
    parts = Parts(8 * MIB, [], clock)
    slow = taken(parts)
    clock.now = 1.0
    bring(parts, slow, MIB)
    assert parts.more()
    thief = taken(parts)
    assert thief.end == 8 * MIB
    assert slow.end == thief.at
    assert thief.at == MIB + 7 * MIB // 2
    assert isinstance(slow.stream, Stream)
    assert not slow.stream.aborted
    # What comes of it all the same is nobody's.
    assert bring(parts, slow, 8 * MIB) == slow.end - MIB


def test_what_will_soon_be_there_is_left_alone() -> None:
    clock = Clock()
    parts = Parts(8 * MIB, [], clock)
    fast = taken(parts)
    clock.now = 0.01
    bring(parts, fast, 4 * MIB)
    assert not parts.more()
    assert parts.take() is None


def test_what_takes_no_longer_than_an_answer_is_left_alone() -> None:
    clock = Clock()
    parts = Parts(8 * MIB, [], clock)
    distant = taken(parts)
    clock.now = 2.0  # the first byte took as long
    bring(parts, distant, 4 * MIB)
    assert not parts.more()


def test_all_of_a_stalled_part_is_taken_and_its_connection_ended() -> None:
    clock = Clock()
    parts = Parts(8 * MIB, [], clock)
    stalled = taken(parts)
    bring(parts, stalled, 5)
    clock.now = 2.9
    stalled_end = stalled.end
    assert stalled.left > 0
    clock.now = 3.1
    thief = taken(parts)
    assert (thief.at, thief.end) == (5, stalled_end)
    assert stalled.end == 5
    assert isinstance(stalled.stream, Stream)
    assert stalled.stream.aborted


def test_what_was_taken_once_is_left_alone_for_longer() -> None:
    clock = Clock()
    parts = Parts(MIB, [], clock)
    taken(parts)
    clock.now = 3.1
    thief = taken(parts)
    clock.now = 6.5
    assert parts.take() is None
    clock.now = 9.5
    assert taken(parts).end == MIB
    assert thief.left == 0


def test_what_drips_is_taken_by_those_who_are_faster() -> None:
    clock = Clock()
    parts = Parts(16 * MIB, [], clock)
    dripping, fast = taken(parts), taken(parts)
    for step in range(8):
        clock.now = step / 2 + 0.5
        bring(parts, dripping, 100)
        if step == 1:
            bring(parts, fast, 8 * MIB)
            parts.leave(fast)
    assert taken(parts).at == 800
    assert dripping.left == 0


def test_bytes_that_are_being_written_are_not_taken() -> None:
    clock = Clock()
    parts = Parts(8 * MIB, [], clock)
    part = taken(parts)
    parts.came(part)
    assert parts.claim(part, 1000) == 1000
    clock.now = 10.0  # the disk is slow
    assert taken(parts).at == 1000
    assert parts.written(part) == 1000


def test_however_parts_are_taken_each_byte_is_somebodys_once() -> None:
    chance = random.Random(3)
    for _ in range(10):
        clock = Clock()
        size = chance.randrange(2, 40) * MIB + chance.randrange(3)
        parts = Parts(size, [(MIB, 2 * MIB)], clock)
        seen = bytearray(size)
        seen[MIB : 2 * MIB] = b"\x01" * MIB
        running: list[Part] = []
        while not parts.complete:
            clock.now += chance.random()
            if len(running) < 5 and (part := parts.take()):
                running.append(part)
            for part in list(running):
                at = part.at
                count = bring(parts, part, chance.randrange(0, 3 * MIB))
                assert not any(seen[at : at + count])
                seen[at : at + count] = b"\x01" * count
                if part.at >= part.end:
                    parts.leave(part)
                    running.remove(part)
        assert all(seen)
        assert parts.total == size
