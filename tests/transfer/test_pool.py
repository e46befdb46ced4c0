from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ocimlpack.errors import UnavailableError
from ocimlpack.transfer import pool

WAIT = 30.0
"""Seconds after which an event that never comes fails the test, rather than hanging it."""


def returning(value: int) -> pool.Task[int]:
    return lambda _: value


def failing(error: BaseException) -> pool.Task[int]:
    def task(_: pool.Stop) -> int:
        raise error

    return task


def wait_for(event: threading.Event) -> None:
    assert event.wait(WAIT), "the event never came"


def stopped(stop: pool.Stop) -> int:
    """A task that works until it is told to stop."""
    idle = threading.Event()
    for _ in range(int(WAIT / 0.001)):
        stop.check()
        idle.wait(0.001)
    raise AssertionError("it was never told to stop")


@pytest.mark.parametrize("jobs", [-1, 0, 1, 3, 100])
def test_results_come_in_the_order_of_the_tasks(jobs: int) -> None:
    assert pool.run([returning(number) for number in range(20)], jobs) == list(range(20))


def test_nothing_to_do_is_done_at_once() -> None:
    assert pool.run([], 4) == []


def test_results_keep_their_order_when_the_first_task_ends_last() -> None:
    second_ended = threading.Event()

    def first(_: pool.Stop) -> int:
        wait_for(second_ended)
        return 1

    def second(_: pool.Stop) -> int:
        second_ended.set()
        return 2

    assert pool.run([first, second], 2) == [1, 2]


def test_as_many_tasks_run_at_a_time_as_there_are_jobs() -> None:
    together = threading.Barrier(3, timeout=WAIT)

    def meet(_: pool.Stop) -> int:
        return together.wait()

    assert sorted(pool.run([meet] * 3, 3)) == [0, 1, 2]


def test_no_more_tasks_run_at_a_time_than_there_are_jobs() -> None:
    lock = threading.Lock()
    running = peak = 0

    def task(_: pool.Stop) -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1

    pool.run([task] * 40, 2)
    assert peak <= 2


def test_tasks_begin_in_their_order() -> None:
    begun: list[int] = []

    def beginning(number: int) -> pool.Task[None]:
        return lambda _: begun.append(number)

    pool.run([beginning(number) for number in range(10)], 1)
    assert begun == list(range(10))


def test_the_first_failure_is_what_is_raised() -> None:
    error = UnavailableError("gone")
    with pytest.raises(UnavailableError) as caught:
        pool.run([returning(1), failing(error), returning(3)], 1)
    assert caught.value is error


def test_after_a_failure_no_task_begins() -> None:
    begun = threading.Event()

    def later(_: pool.Stop) -> int:
        begun.set()
        return 0

    with pytest.raises(UnavailableError):
        pool.run([failing(UnavailableError("gone")), later], 1)
    assert not begun.is_set()


def test_a_failure_stops_the_tasks_under_way_and_is_the_one_that_is_raised() -> None:
    begun = threading.Event()

    def working(stop: pool.Stop) -> int:
        begun.set()
        return stopped(stop)

    def fails_meanwhile(_: pool.Stop) -> int:
        wait_for(begun)
        raise UnavailableError("gone")

    with pytest.raises(UnavailableError, match="gone"):
        pool.run([working, fails_meanwhile], 2)


def test_of_two_failures_the_first_one_counts() -> None:
    first_failed = threading.Event()

    def first(_: pool.Stop) -> int:
        raise UnavailableError("first")

    def second(stop: pool.Stop) -> int:
        try:
            stopped(stop)
        except pool.StoppedError:
            first_failed.set()
        raise ValueError("second")

    with pytest.raises(UnavailableError, match="first"):
        pool.run([second, first], 2)
    assert first_failed.is_set()


@pytest.mark.parametrize("make", [lambda: ValueError("bug"), KeyboardInterrupt, SystemExit])
def test_any_kind_of_failure_gets_out(make: Callable[[], BaseException]) -> None:
    error = make()
    with pytest.raises(type(error)) as caught:
        pool.run([failing(error)], 2)
    assert caught.value is error


def test_no_thread_is_left_when_it_is_done() -> None:
    before = threading.active_count()
    pool.run([returning(1)] * 8, 4)
    with pytest.raises(UnavailableError):
        pool.run([failing(UnavailableError("gone")), *[stopped] * 3], 4)
    assert threading.active_count() == before


def test_an_interrupt_stops_the_tasks_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()

    def working(stop: pool.Stop) -> int:
        begun.set()
        try:
            return stopped(stop)
        finally:
            ended.set()

    join = threading.Thread.join
    interrupts = iter([KeyboardInterrupt()])

    def interrupted_join(thread: threading.Thread, timeout: float | None = None) -> None:
        wait_for(begun)
        for interrupt in interrupts:
            raise interrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted_join)
    with pytest.raises(KeyboardInterrupt):
        pool.run([working], 1)
    wait_for(ended)


def test_a_stop_is_only_noticed_once_it_is_set() -> None:
    stop = pool.Stop()
    stop.check()
    stop.set()
    with pytest.raises(pool.StoppedError):
        stop.check()


def test_tasks_of_a_task_stop_with_all_others() -> None:
    inner_runs = threading.Event()

    def inner(stop: pool.Stop) -> int:
        inner_runs.set()
        return stopped(stop)

    def outer(stop: pool.Stop) -> list[int]:
        return pool.run([inner], 1, within=stop)

    def fails(_: pool.Stop) -> list[int]:
        wait_for(inner_runs)
        raise UnavailableError("gone")

    with pytest.raises(UnavailableError, match="gone"):
        pool.run([outer, fails], 2)


def test_a_failed_task_of_a_task_stops_the_others_of_both() -> None:
    others_run = threading.Event()

    def other(stop: pool.Stop) -> int:
        others_run.set()
        return stopped(stop)

    def fails(_: pool.Stop) -> int:
        wait_for(others_run)
        raise UnavailableError("gone")

    def outer(stop: pool.Stop) -> int:
        pool.run([other, fails], 2, within=stop)
        return 0

    with pytest.raises(UnavailableError, match="gone"):
        pool.run([outer, stopped], 2)
