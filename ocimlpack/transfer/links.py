"""How many connections a copy uses: as many as bring more than half as many would.

One connection fills a local network, and is a small part of what an object store can send. So it is
tried: twice as many connections, and if the bytes don't come faster by a good deal, back again.
Where connections hardly wait for bytes, this machine is what is slow, and gets no more to do.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ocimlpack.transfer.pool import Stop

MOST: Final = 16
"""Connections in all, unless more jobs are asked for. Object stores advise 8 to 16 for one client:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-design-patterns.html"""

_WINDOW_SECONDS: Final = 0.25
_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""What is measured lasts so long at least, and is so much."""

_GAIN: Final = 1.3
"""Twice as many connections have to bring so many times as much."""

_REST_SECONDS: Final = 10.0
"""After how long it is tried again: others on the same link may have gone."""

_WAITING: Final = 0.75
"""The share of their time that connections wait for bytes, from which on more may bring more."""

_SPARE: Final = 0.3
"""So may they if less is waited for, where so much of all processors' time is spare."""

_SETTLING: Final = 3.0
_MAX_SETTLING: Final = 1.0
"""A new connection is slow at first. It is left alone for some times as long as its first byte
took, and for no more than so many seconds."""

_TELLING: Final = 0.02
"""Seconds between two times that a connection says what it brought: at each piece, all would wait
for each other."""

_GLANCE: Final = 0.2
_LONG_GLANCE: Final = 5.0
"""Seconds after which one that waits looks again, told or not."""


class Links:
    """The connections of one copy, shared by all its blobs that come in parts.

    Attributes:
        limit: how many there may be now.
    """

    def __init__(
        self, jobs: int, blobs: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is open yet.

        Args:
            jobs: how many to begin with; so many blobs are moved at a time.
            blobs: how many blobs there are; for each, there is one `share`.
            clock: seconds, from any start.
        """
        self.limit = self._jobs = max(1, jobs)
        self.most = max(MOST, jobs)
        self._clock = clock
        self._changed = threading.Condition()
        self._open = 0
        self._coming = blobs
        self._shares = 0
        self._idle = 0
        self._flowing = 0
        self._began = clock()
        self._brought = 0
        self._waited = 0.0
        self._used = _processors_used()
        self._before: tuple[int, float] | None = None
        self._rest_until = self._began

    @contextmanager
    def share(self) -> Iterator[Share]:
        """The part of one blob in them."""
        with self._changed:
            self._coming -= 1
            self._shares += 1
            self._idle += 1
        try:
            yield Share(self, self._changed)
        finally:
            with self._changed:
                self._shares -= 1
                self._idle -= 1
                self._changed.notify_all()

    @property
    def _full(self) -> bool:
        """Whether there is none left but for blobs that have none yet."""
        beginning = max(0, min(self._coming, self._jobs - self._shares))
        return self._open + self._idle + beginning >= self.limit

    def _flows(self, change: int, delay: float = 0.0) -> None:
        """A connection brings its first bytes, or has ended: what was measured no longer holds."""
        self._flowing += change
        self._measure_from(self._clock() + min(_SETTLING * delay, _MAX_SETTLING))

    def _measure_from(self, moment: float) -> None:
        self._began = moment
        self._brought = 0
        self._waited = 0.0
        self._used = _processors_used()

    def _moved(self, count: int, waited: float) -> None:
        now = self._clock()
        if now < self._began:
            return
        self._brought += count
        self._waited += waited
        passed = now - self._began
        if passed >= _WINDOW_SECONDS and self._brought >= _WINDOW_BYTES:
            if self._flowing >= self.limit:
                waiting = self._waited / passed / self._flowing
                useful = waiting >= _WAITING or self._spare() >= _SPARE
                self._judge(self._brought / passed, now, useful=useful)
            self._measure_from(now)

    def _spare(self) -> float:
        """The share of the processors' time that nobody has used since the measure began."""
        used, total = (
            now - before for now, before in zip(_processors_used(), self._used, strict=True)
        )
        return 1 - used / total if total else 0.0

    def _judge(self, rate: float, now: float, *, useful: bool) -> None:
        """So many bytes a second came while all connections were in use."""
        if self._before and rate < self._before[1] * _GAIN:
            self.limit = self._before[0]
            self._before = None
            self._rest_until = now + _REST_SECONDS
        elif now >= self._rest_until and self.limit < self.most and useful:
            self._before = self.limit, rate
            self.limit = min(self.limit * 2, self.most)
        else:
            self._before = None
        self._changed.notify_all()


class Share:
    """The connections of one blob. It may always have one, and more as long as there are.

    Attributes:
        single: whether it may have no more than one.
    """

    def __init__(self, links: Links, changed: threading.Condition) -> None:
        self._links = links
        self._changed = changed
        self._open = 0
        self.single = True

    @property
    def most(self) -> int:
        """How many it may ever have."""
        return self._links.most

    @property
    def alone(self) -> bool:
        """Whether the blob has one connection, and will not get another one soon."""
        with self._changed:
            return self._open <= 1 and self._links._full

    def get(self, wanted: Callable[[], bool], over: Callable[[], bool], stop: Stop) -> Link | None:
        """Wait for a connection.

        Args:
            wanted: whether there is a use for it now.
            over: whether there will never be.
            stop: ends the waiting.

        Returns:
            What stands for it; None when it is over.
        """
        with self._changed:
            while not over():
                stop.check()
                free = self._free()
                if free and wanted():
                    self._change(1)
                    return Link(self, self._links, self._changed)
                # That there is one is told; that there is use for it comes with time.
                self._changed.wait(_GLANCE if free else _LONG_GLANCE)
        return None

    def wake(self) -> None:
        """Let those that wait look again."""
        with self._changed:
            self._changed.notify_all()

    def _free(self) -> bool:
        if not self._open:
            return True
        return not self.single and not self._links._full

    def _surplus(self) -> bool:
        return self._open > 1 and (self.single or self._links._open > self._links.limit)

    def _change(self, count: int) -> None:
        self._links._idle -= not self._open
        self._open += count
        self._links._open += count
        self._links._idle += not self._open
        self._changed.notify_all()


class Link:
    """The permission for one connection."""

    def __init__(self, share: Share, links: Links, changed: threading.Condition) -> None:
        self._share = share
        self._links = links
        self._changed = changed
        self._began = links._clock()
        self._flows = False
        self._count = 0
        self._waited = 0.0
        self._due = self._began

    @property
    def surplus(self) -> bool:
        """Whether there are too many: this one should end as soon as it can."""
        with self._changed:
            return self._share._surplus()

    def moved(self, count: int, waited: float) -> None:
        """So many bytes came, and were waited for so many seconds."""
        self._count += count
        self._waited += waited
        now = self._links._clock()
        if now < self._due:
            return
        self._due = now + _TELLING
        with self._changed:
            if not self._flows:
                self._flows = True
                self._links._flows(1, now - self._began)
            self._links._moved(self._count, self._waited)
        self._count, self._waited = 0, 0.0

    def close(self) -> None:
        """It is no longer used."""
        with self._changed:
            if self._flows:
                self._links._flows(-1)
            self._share._change(-1)


def _processors_used() -> tuple[float, float]:
    """What time all processors have worked, and how much there was, in any unit.

    https://man7.org/linux/man-pages/man5/proc_stat.5.html
    """
    try:
        with open("/proc/stat", "rb") as stream:
            times = [int(each) for each in stream.readline().split()[1:9]]
    except (OSError, ValueError):
        # Elsewhere only of this program is it known, which is enough where it works alone.
        return time.process_time(), time.monotonic() * (os.cpu_count() or 1)
    return float(sum(times) - sum(times[3:5])), float(sum(times))
