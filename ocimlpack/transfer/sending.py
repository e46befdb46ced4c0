"""One blob's parts on their way out, side by side.

A part is in memory while it is on its way. So there are as many as there are jobs, for all blobs
together: the last blob gets all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from ocimlpack.stores.base import Sending
from ocimlpack.transfer import pool

_GLANCE: Final = 0.2
"""Seconds after which one that waits for its turn looks whether it is to stop."""


class Senders:
    """Those who bring parts, shared by all blobs of one copy."""

    def __init__(self, jobs: int) -> None:
        """Nothing is under way.

        Args:
            jobs: how many parts may be under way at a time.
        """
        self._jobs = max(1, jobs)
        self._turns = threading.Semaphore(self._jobs)

    def send(self, parts: Iterator[Sending], stop: pool.Stop) -> None:
        """Bring all parts of a blob.

        Raises:
            OcimlpackError: what failed first, in reading the blob or in bringing a part.
        """
        taking = threading.Lock()

        def work(stop: pool.Stop) -> None:
            while True:
                self._wait(stop)
                try:
                    # One reads at a time: the bytes are hashed in order.
                    with taking:
                        stop.check()
                        bring = next(parts, None)
                    if bring is None:
                        return
                    bring()
                    del bring  # with its bytes, before somebody else reads some
                finally:
                    self._turns.release()

        pool.run([work] * self._jobs, self._jobs, within=stop)

    def _wait(self, stop: pool.Stop) -> None:
        while not self._turns.acquire(timeout=_GLANCE):
            stop.check()
