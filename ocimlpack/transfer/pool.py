"""The only module that starts threads: so many tasks at a time, and the first failure stops all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

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


class Crew:
    """Tasks, each in a thread of its own, that may begin others.

    When one fails, the others are told through their `Stop`. The threads are daemons: one that
    hangs in the network does not keep an interrupted program alive.
    """

    def __init__(self, within: Stop | None = None) -> None:
        """Nothing runs yet.

        Args:
            within: tells the task that this is a part of to stop.
        """
        self._stop = Stop(within)
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, task: Task[object]) -> None:
        """Begin a task."""
        thread = threading.Thread(target=self._run, args=(task,), name="ocimlpack", daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait for all of them, and for those that they begin.

        Raises:
            BaseException: what the first that failed has raised.
        """
        try:
            for thread in self._threads:  # which gets longer only while one of them runs
                thread.join()
        except BaseException:
            self._stop.set()
            for thread in self._threads:
                thread.join(_GRACE)
            raise
        if self._failure is not None:
            raise self._failure

    def _run(self, task: Task[object]) -> None:
        try:
            self._stop.check()
            task(self._stop)
        except BaseException as error:  # noqa: BLE001 - raised again by join(), in its thread
            with self._lock:
                if self._failure is None or isinstance(self._failure, StoppedError):
                    self._failure = error
            self._stop.set()


def run(tasks: Iterable[Task[Result]], jobs: int, within: Stop | None = None) -> list[Result]:
    """Run tasks, so many at a time, and return their results in the tasks' order.

    A task may itself run tasks, and gives them its own `Stop` as `within`.

    Tasks begin in the order given. When one fails, or on Ctrl-C, none begins any more and those
    under way are told through their `Stop`. Then the first failure is raised.
    """
    waiting = deque(enumerate(tasks))
    count = len(waiting)
    results: dict[int, Result] = {}

    def work(stop: Stop) -> None:
        while waiting:
            try:
                number, task = waiting.popleft()
            except IndexError:
                return  # another one has just taken the last
            stop.check()
            results[number] = task(stop)

    crew = Crew(within)
    for _ in range(max(1, min(jobs, count))):
        crew.start(work)
    crew.join()
    return [results[number] for number in range(count)]
