"""How many connections there are, by a clock that a test turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from ocimlpack.transfer import links as module
from ocimlpack.transfer import pool
from ocimlpack.transfer.links import MOST, Link, Links, Share

MIB = 1024 * 1024
REAL = module._processors_used


class Road:
    """A way over which bytes come: so many a second for a connection, and in all.

    They are waited for that share of the time.
    """

    def __init__(self, *, each: int, most: int = 10**12, waiting: float = 0.9) -> None:
        self.now = 0.0
        self.waiting = waiting
        self.each = each
        self.most = most
        self.open: list[Link] = []

    def run(self, links: Links, share: Share, seconds: float) -> None:
        """Let bytes come over as many connections as there may be."""
        until = self.now + seconds
        while self.now < until:
            for link in [each for each in self.open if each.surplus]:
                link.close()
                self.open.remove(link)
            while len(self.open) < links.limit:
                link_or_none = share.get(lambda: True, lambda: False, pool.Stop())
                assert link_or_none
                self.open.append(link_or_none)
            self.now += 0.02
            rate = min(self.each, self.most / len(self.open))
            for link in self.open:
                link.moved(int(rate * 0.02), 0.02 * self.waiting)


Spare = Callable[[float], None]


@pytest.fixture(autouse=True)
def spare(monkeypatch: pytest.MonkeyPatch) -> Spare:
    """Sets the share of the processors' time that is spare; at first there is none."""
    ticks = itertools.count()
    share = [0.0]

    def used() -> tuple[float, float]:
        tick = float(next(ticks))
        return tick * (1 - share[0]), tick

    monkeypatch.setattr(module, "_processors_used", used)
    return lambda now: share.__setitem__(0, now)


def shared(stack: ExitStack, links: Links) -> Share:
    share = stack.enter_context(links.share())
    share.single = False
    return share


@pytest.mark.parametrize("jobs", [1, 2, 3, 4, 8, 16])
def test_where_each_connection_is_slow_there_are_many(jobs: int) -> None:
    road = Road(each=50_000_000)
    links = Links(jobs, clock=lambda: road.now)
    with ExitStack() as stack:
        road.run(links, shared(stack, links), 3)
    assert links.limit == MOST


def test_more_jobs_than_that_are_all_used() -> None:
    road = Road(each=50_000_000)
    links = Links(40, clock=lambda: road.now)
    with ExitStack() as stack:
        road.run(links, shared(stack, links), 3)
    assert links.limit == 40


def test_where_the_link_is_full_no_more_are_opened_for_long() -> None:
    road = Road(each=10**9, most=10**9)
    links = Links(4, clock=lambda: road.now)
    limits = set()
    with ExitStack() as stack:
        share = shared(stack, links)
        for _ in range(400):
            road.run(links, share, 0.02)
            limits.add(links.limit)
    assert limits == {4, 8}
    assert links.limit == 4


def test_after_a_while_it_is_tried_again() -> None:
    road = Road(each=50_000_000, most=200_000_000)
    links = Links(4, clock=lambda: road.now)
    with ExitStack() as stack:
        share = shared(stack, links)
        road.run(links, share, 3)
        assert links.limit == 4
        road.most = 10**12  # those who shared the link have gone
        road.run(links, share, 3)
        assert links.limit == 4
        road.run(links, share, 12)
    assert links.limit == MOST


def test_as_many_as_bring_more_and_no_further() -> None:
    road = Road(each=50_000_000, most=400_000_000)
    links = Links(2, clock=lambda: road.now)
    with ExitStack() as stack:
        road.run(links, shared(stack, links), 5)
    assert links.limit == 8


@pytest.mark.parametrize(("spare_share", "limit"), [(0.1, 4), (0.6, MOST)])
def test_where_bytes_are_not_waited_for_the_processors_decide(
    spare: Spare, spare_share: float, limit: int
) -> None:
    spare(spare_share)
    road = Road(each=50_000_000, waiting=0.4)
    links = Links(4, clock=lambda: road.now)
    with ExitStack() as stack:
        road.run(links, shared(stack, links), 3)
    assert links.limit == limit


def test_the_processors_are_asked_for_their_time() -> None:
    before = REAL()
    sum(range(2_000_000))
    used, total = (now - then for now, then in zip(REAL(), before, strict=True))
    assert 0 <= used <= total


def take(share: Share) -> Link | None:
    """A connection if there is one at once."""
    over = iter([False, True])
    return share.get(lambda: True, lambda: next(over), STOP)


STOP = pool.Stop()


def test_each_blob_has_one_and_who_comes_first_takes_none_that_others_will_need() -> None:
    links = Links(3, blobs=3)
    with ExitStack() as stack:
        first = shared(stack, links)
        assert take(first)
        assert first.alone
        second, third = shared(stack, links), shared(stack, links)
        assert take(second)
        assert take(third)
        assert first.alone


def test_what_is_left_over_goes_to_whoever_wants_it() -> None:
    links = Links(4, blobs=1)
    with ExitStack() as stack:
        share = shared(stack, links)
        found = [take(share) for _ in range(4)]
        assert all(found)
        assert not share.alone
        links.limit = 2
        first = found[0]
        assert first
        assert first.surplus


def test_a_blob_keeps_its_one_where_there_are_too_many() -> None:
    links = Links(1, blobs=2)
    with ExitStack() as stack:
        shares = [shared(stack, links), shared(stack, links)]
        found = [take(share) for share in shares]
        assert all(link and not link.surplus for link in found)


def test_until_it_is_known_to_be_divisible_a_blob_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONG_GLANCE", 0.01)
    links = Links(4)
    with links.share() as share:
        assert take(share)
        over = iter([False, False, True])
        assert share.get(lambda: True, lambda: next(over), STOP) is None
        share.single = False
        assert take(share)


def test_who_waits_for_one_is_stopped() -> None:
    links = Links(1)
    stop = pool.Stop()
    stop.set()
    with links.share() as share, pytest.raises(pool.StoppedError):
        share.get(lambda: False, lambda: False, stop)
