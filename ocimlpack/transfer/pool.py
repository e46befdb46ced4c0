"""The only module that starts threads: so many tasks at a time, and the first failure stops all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from ocimlpack.errors import OcimlpackError

Result = TypeVar("Result")

_GRACE: Final = 2.0
"""Seconds that an interrupted run waits for its threads to notice."""

_GLANCE: Final = 0.2
"""Seconds after which one that waits looks whether it is to stop."""


class StoppedError(OcimlpackError):
    """This task ended early because another one failed; that one's error is what is raised."""


class Stop:
    """Tells running tasks that their work is no longer wanted."""

    def __init__(self, outer: Stop | None = None) -> None:
        """Prepare.

        Args:
            outer: tells those that this one's work is a part of.
        """
        self._outer = outer
        self._event = threading.Event()

    def set(self) -> None:
        """From now on, `check` raises."""
        self._event.set()

    def check(self) -> None:
        """Call between two pieces of work.

        Raises:
            StoppedError: another task has failed, or the user interrupted.
        """
        if self._outer is not None:
            self._outer.check()
        if self._event.is_set():
            raise StoppedError("stopped because another part of the work failed")


class Gauge:
    """A number that one task raises and another one waits for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._value = 0

    @property
    def value(self) -> int:
        """How far it is."""
        return self._value

    def set(self, value: int) -> None:
        """Say how far it is now; it may go back, where something has to be done again."""
        with self._changed:
            self._value = value
            self._changed.notify_all()

    def wait(self, value: int, stop: Stop) -> None:
        """Wait until it is as far as that.

        Raises:
            StoppedError: another task has failed: nobody will raise it any more.
        """
        with self._changed:
            while self._value < value:
                stop.check()
                self._changed.wait(_GLANCE)


Task = Callable[[Stop], Result]


def run(tasks: Iterable[Task[Result]], jobs: int, within: Stop | None = None) -> list[Result]:
    """Run tasks, so many at a time, and return their results in the tasks' order.

    A task may itself run tasks, and gives them its own `Stop` as `within`.

    Tasks begin in the order given. When one fails, or on Ctrl-C, none begins any more and those
    under way are told through their `Stop`. Then the first failure is raised. The threads are
    daemons: one that hangs in the network does not keep an interrupted program alive.
    """
    work = _Run(tasks, within)
    threads = [
        threading.Thread(target=work.loop, name=f"ocimlpack-{number}", daemon=True)
        for number in range(max(1, min(jobs, work.count)))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        work.stop.set()
        for thread in threads:
            thread.join(_GRACE)
        raise
    if work.failure is not None:
        raise work.failure
    return [work.results[number] for number in range(work.count)]


class _Run(Generic[Result]):
    def __init__(self, tasks: Iterable[Task[Result]], within: Stop | None) -> None:
        self._queue: queue.SimpleQueue[tuple[int, Task[Result]]] = queue.SimpleQueue()
        self.count = 0
        for self.count, task in enumerate(tasks, 1):
            self._queue.put((self.count - 1, task))
        self.stop = Stop(within)
        self.results: dict[int, Result] = {}
        self.failure: BaseException | None = None
        self._lock = threading.Lock()

    def loop(self) -> None:
        while self.failure is None:
            try:
                number, task = self._queue.get_nowait()
            except queue.Empty:
                return
            try:
                self.stop.check()
                self.results[number] = task(self.stop)
            except BaseException as error:  # noqa: BLE001 - raised again by run(), in its thread
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        with self._lock:
            if self.failure is None or isinstance(self.failure, StoppedError):
                self.failure = error
        self.stop.set()
