"""One blob's parts on their way out, side by side.

A part is in memory while it is on its way. So there are no more than there are jobs, for all blobs
together, and not many in any case: the last blob gets all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from ocimlpack.stores.base import Sending
from ocimlpack.transfer import pool

MOST: Final = 8
"""Parts that are under way at a time, however many jobs there are: so many connections fill most
links, and so many parts fit into little memory."""

_GLANCE: Final = 0.2
"""Seconds after which one that waits for its turn looks whether it is to stop."""


class Senders:
    """Those who bring parts, shared by all blobs of one copy."""

    def __init__(self, jobs: int) -> None:
        """Nothing is under way.

        Args:
            jobs: how many parts may be under way at a time, up to `MOST`.
        """
        self._jobs = max(1, min(jobs, MOST))
        self._turns = threading.Semaphore(self._jobs)

    def send(self, parts: Iterator[Sending], stop: pool.Stop) -> None:
        """Bring all parts of a blob.

        Raises:
            OcimlpackError: what failed first, in reading the blob or in bringing a part.
        """
        crew = pool.Crew(stop)
        crew.start(_Bringing(self, parts, crew).work)
        crew.join()

    @property
    def jobs(self) -> int:
        """How many parts may be under way at a time."""
        return self._jobs

    def wait(self, stop: pool.Stop) -> None:
        """Wait for one's turn."""
        while not self._turns.acquire(timeout=_GLANCE):
            stop.check()

    def leave(self) -> None:
        """Let somebody else have the turn."""
        self._turns.release()


class _Bringing:
    """One blob's parts: as many threads as are at work on it, and one that waits for its turn."""

    def __init__(self, senders: Senders, parts: Iterator[Sending], crew: pool.Crew) -> None:
        self._senders = senders
        self._parts = parts
        self._crew = crew
        self._taking = threading.Lock()
        self._to_come = senders.jobs - 1

    def work(self, stop: pool.Stop) -> None:
        """Bring parts as long as there are any."""
        has_follower = False
        while True:
            self._senders.wait(stop)
            try:
                # One reads at a time: the bytes are hashed in order.
                with self._taking:
                    stop.check()
                    bring = next(self._parts, None)
                    if bring is None:
                        return
                    follows = not has_follower and self._to_come > 0
                    self._to_come -= follows
                if follows:
                    has_follower = True
                    self._crew.start(self.work)
                bring()
                del bring  # with its bytes, before somebody else reads some
            finally:
                self._senders.leave()
