"""Who brings which part of a blob: in order, and at the end whatever is left of the slowest."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ocimlpack.stores.base import PartStream
from ocimlpack.stores.partial import Extents

_MIB: Final = 1024 * 1024

_LENGTHS: Final = ((512 * _MIB, 8 * _MIB), (4096 * _MIB, 16 * _MIB), (65536 * _MIB, 32 * _MIB))
"""Below so many bytes, parts of so many. A part has to be long beside the time that asking for it
takes, and short beside what may be lost or waited for."""
_LONGEST: Final = 64 * _MIB

WORTH_TAKING: Final = _MIB
"""Bytes that are worth a request of their own, when they are taken from a part under way."""

_WORTH_SECONDS: Final = 0.25
_WORTH_WAITS: Final = 4.0
"""And that would take so long, and so many times what an answer took: what is on its way already
comes twice then."""

_STALLED_SECONDS: Final = 3.0
_STALLED_WAITS: Final = 5.0
"""A part that brought nothing for so long, or for so many times what an answer took before, is
given to somebody else."""

_DRIPPING: Final = 8
"""So is one that is so many times slower than the fastest was."""

_MARK_SECONDS: Final = 0.5
"""The pace of a part is that of at least so long."""


def cut(gaps: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """What is missing of a blob, cut at a grid.

    Args:
        gaps: what is missing: where each begins and ends.
        size: the whole blob's bytes.
    """
    length = next((length for limit, length in _LENGTHS if size < limit), _LONGEST)
    for start, end in gaps:
        while start < end:
            until = min(end, (start // length + 1) * length)
            yield start, until
            start = until


class Part:
    """A part under way.

    Attributes:
        at: how far it is written.
        end: where it ends; others may take what lies behind `claimed`.
        claimed: how far it is written, or is being written now.
        noted: how far it is in the journal.
        stream: what brings it.
        begun: whether it has brought anything.
        seen: when it last did.
    """

    def __init__(self, start: int, end: int, patience: float, now: float) -> None:
        self.at = self.claimed = self.noted = self._start = start
        self.end = end
        self.stream: PartStream | None = None
        self.begun = False
        self.seen = self.asked = now
        # Seconds without a byte after which it is given to somebody else.
        self.patience = patience
        self._old = self._new = (now, start)

    @property
    def left(self) -> int:
        """Bytes that nobody has claimed."""
        return self.end - self.claimed

    @property
    def mean(self) -> float:
        """Bytes a second since it was asked for."""
        return (self.at - self._start) / max(self.seen - self.asked, 0.001)

    def pace(self, now: float) -> float:
        """Bytes a second of late."""
        return (self.at - self._old[1]) / max(now - self._old[0], 0.001)

    def moved(self, count: int) -> None:
        """So many bytes more are written."""
        self.at += count
        if self.seen - self._new[0] >= _MARK_SECONDS:
            self._old, self._new = self._new, (self.seen, self.at)


class Parts:
    """The parts of one blob. Safe to use from many threads."""

    def __init__(
        self,
        size: int,
        present: Iterable[tuple[int, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is taken yet.

        Args:
            size: the blob's bytes.
            present: what of it is there: where each piece begins and ends.
            clock: seconds, from any start.
        """
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._there = Extents()
        for start, end in present:
            self._there.add(start, end)
        self._free = deque(cut(self._there.gaps(size), size))
        self._running: set[Part] = set()
        self._waited = 0.0
        self._best = 0.0

    @property
    def total(self) -> int:
        """Bytes that are there."""
        return self._there.total

    @property
    def complete(self) -> bool:
        """Whether all is there."""
        return self._there.total >= self._size

    def end_of(self, offset: int) -> int:
        """How far all is there from `offset` on."""
        with self._lock:
            return self._there.end_of(offset)

    def more(self) -> bool:
        """Whether there is a part to take."""
        with self._lock:
            return bool(self._free) or self._find_slow() is not None

    def take(self) -> Part | None:
        """The next part; else some of one that others would be at for long, or None."""
        with self._lock:
            now = self._clock()
            if self._free:
                patience = max(_STALLED_SECONDS, _STALLED_WAITS * self._waited)
                part = Part(*self._free.popleft(), patience, now)
                self._running.add(part)
                return part
            slow = self._find_slow()
            if slow is None:
                return None
            stalled = self._is_stalled(slow, now)
            start = slow.claimed if stalled else slow.claimed + slow.left // 2
            # What was given away once may be slow by nature: it is left alone for longer then.
            part = Part(start, slow.end, slow.patience * 2, now)
            slow.end = start
            self._running.add(part)
        if stalled and slow.stream:
            slow.stream.abort()
        return part

    def reach(self, part: Part) -> int:
        """Where the part would end with all that could follow it."""
        with self._lock:
            end = part.end
            for start, until in self._free:
                if start != end:
                    break
                end = until
            return end

    def extend(self, part: Part, reach: int) -> bool:
        """Add what follows to a part, unless that would lead beyond `reach` or is taken."""
        with self._lock:
            if part.end < reach and self._free and self._free[0][0] == part.end:
                part.end = self._free.popleft()[1]
                return True
            return False

    def came(self, part: Part) -> bool:
        """Bytes of a part came; returns whether they are its first."""
        part.seen = self._clock()
        if part.begun:
            return False
        part.begun = True
        with self._lock:
            self._waited = max(self._waited, part.seen - part.asked)
        return True

    def claim(self, part: Part, count: int) -> int:
        """Of the next bytes of a part, how many it may write: others may have taken the rest."""
        with self._lock:
            part.claimed = min(part.at + count, part.end)
            return part.claimed - part.at

    def written(self, part: Part) -> int:
        """What was claimed is written; returns how many bytes are there now."""
        with self._lock:
            self._there.add(part.at, part.claimed)
            part.moved(part.claimed - part.at)
            return self._there.total

    def leave(self, part: Part) -> None:
        """Nobody is at the part any more."""
        with self._lock:
            self._running.discard(part)
            self._best = max(self._best, part.mean)

    def abort(self) -> None:
        """End all that are under way."""
        with self._lock:
            streams = [part.stream for part in self._running]
        for stream in streams:
            if stream:
                stream.abort()

    def _find_slow(self) -> Part | None:
        """The part that will take longest, if it takes longer than asking for some of it anew."""
        now = self._clock()
        long = max(_WORTH_SECONDS, _WORTH_WAITS * self._waited)
        worth = [
            part
            for part in self._running
            if self._is_stalled(part, now)
            or (part.begun and part.left >= 2 * WORTH_TAKING and part.left > long * part.pace(now))
        ]
        return max(worth, key=lambda part: part.left / (part.pace(now) + 1), default=None)

    def _is_stalled(self, part: Part, now: float) -> bool:
        """Whether it brings nothing, or so little that somebody else would long be done with it."""
        if not part.left:
            return False
        waits = now - part.seen > part.patience
        drips = now - part.asked > part.patience and part.pace(now) * _DRIPPING < self._best
        return waits or drips
