from __future__ import annotations

import email.utils
import time

import pytest

from ocimlpack.errors import UnavailableError
from ocimlpack.progress import ignore
from ocimlpack.retry import DEFAULT, RETRYABLE_STATUSES, Policy, Tries, parse_retry_after


def http_date(offset: float) -> str:
    return email.utils.formatdate(time.time() + offset, usegmt=True)


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_the_delay_doubles_and_is_scattered_over_its_upper_half(attempt: int) -> None:
    whole = 0.5 * 2 ** (attempt - 1)
    delays = [Policy(base=0.5).delay(attempt) for _ in range(200)]
    assert whole / 2 <= min(delays)
    assert max(delays) <= whole
    assert max(delays) - min(delays) > whole / 4


def test_no_delay_is_longer_than_the_cap() -> None:
    policy = Policy(base=1, cap=5)
    assert all(policy.delay(attempt) <= 5 for attempt in (1, 5, 50, 1000))


@pytest.mark.parametrize("asked", ["0", "0.0", "2", "0.25", " 3 "])
def test_seconds_that_a_server_asks_for_are_obeyed(asked: str) -> None:
    assert Policy().delay(1, asked) == float(asked)


def test_a_date_that_a_server_asks_for_is_obeyed() -> None:
    assert 900 < Policy(cap=2000).delay(1, http_date(1000)) <= 1000


def test_a_date_in_the_past_means_now() -> None:
    assert Policy().delay(1, http_date(-3600)) == 0
    assert Policy().delay(1, "-5") == 0


@pytest.mark.parametrize("asked", ["86400", "1e30", http_date(86400)])
def test_a_server_can_not_ask_for_more_than_the_cap(asked: str) -> None:
    assert Policy(cap=7).delay(1, asked) == 7


@pytest.mark.parametrize(
    "asked",
    [
        None,
        "",
        "soon",
        "nan",
        "inf",
        "1 s",
        "Mon, 99 Nov 2026 99:99:99 GMT",
        "Mon, 23 Nov 99999999999999999999 18:00:00 GMT",
        "\x00",
    ],
)
def test_what_can_not_be_read_is_as_if_it_were_not_there(asked: str | None) -> None:
    assert parse_retry_after(asked) is None
    assert 0.25 <= Policy(base=0.5).delay(1, asked) <= 0.5


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone can't be set here")
def test_the_old_form_of_a_date_is_gmt_wherever_this_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX+11")
        time.tzset()
        # https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7
        asked = parse_retry_after(time.asctime(time.gmtime(time.time() + 1000)))
    time.tzset()
    assert asked is not None
    assert 900 < asked <= 1000


def test_the_default_gives_up_in_time_for_a_person_to_wait_for_it() -> None:
    assert sum(DEFAULT.cap for _ in range(DEFAULT.attempts)) >= DEFAULT.total
    assert DEFAULT.total <= 120


def test_only_what_may_pass_is_tried_again() -> None:
    assert {429, 500, 502, 503, 504} <= RETRYABLE_STATUSES
    assert not RETRYABLE_STATUSES & {200, 201, 400, 401, 403, 404, 405, 409, 412, 413, 416, 501}


def failures(tries: Tries, most: int = 100) -> int:
    """How many failures in a row are borne, the last one counted."""
    for number in range(1, most + 1):
        try:
            tries.pause(UnavailableError("busy"))
        except UnavailableError:
            return number
    return most


def test_so_many_failures_are_enough() -> None:
    assert failures(Tries(Policy(attempts=4, base=0), ignore)) == 4


def test_what_gets_further_begins_to_count_anew() -> None:
    tries = Tries(Policy(attempts=3, base=0), ignore)
    for offset in (100_000, 200_000, 300_000):
        tries.pause(UnavailableError("busy"))
        tries.pause(UnavailableError("busy"))
        tries.reached(offset)
    assert failures(tries) == 3


@pytest.mark.parametrize("offsets", [(1, 2, 3), (100_000, 100_001), (100_000, 50, 100_000)])
def test_what_hardly_gets_further_does_not(offsets: tuple[int, ...]) -> None:
    tries = Tries(Policy(attempts=10, base=0), ignore)
    tries.reached(offsets[0])
    for offset in offsets[1:]:
        tries.pause(UnavailableError("busy"))
        tries.reached(offset)
    assert failures(tries) == 10 - len(offsets[1:])


def test_delays_are_bounded_in_all_however_far_it_gets() -> None:
    tries = Tries(Policy(base=0.004, cap=0.004, patience=0.02), ignore)
    for _ in range(5):
        tries.pause(UnavailableError("busy", retry_after="0.004"))
        tries.progressed()
    with pytest.raises(UnavailableError):
        tries.pause(UnavailableError("busy", retry_after="0.004"))


@pytest.mark.parametrize(("flowed", "borne"), [(0.0, 1), (100.0, 5)])
def test_time_in_which_bytes_flowed_is_not_counted(flowed: float, borne: int) -> None:
    tries = Tries(Policy(attempts=5, base=0, total=50), ignore)
    tries._began -= 100  # as if that long had passed
    tries.flowed(flowed)
    assert failures(tries) == borne
