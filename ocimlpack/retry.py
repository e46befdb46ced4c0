"""When a failed request is worth another try, and how long to wait before it.

The statuses are those that RFC 9110 and RFC 6585 call temporary, and the gateway errors that a
registry's front end answers while something behind it restarts.
"""

from __future__ import annotations

import email.utils
import math
import random
import time
from dataclasses import dataclass
from datetime import UTC
from typing import Final, TypeGuard

from ocimlpack.errors import OcimlpackError, UnavailableError, UnreachableError
from ocimlpack.progress import Reporter, Retried, Warned

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

_STEP: Final = 64 * 1024
"""Bytes that count as progress."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and for how long one request is tried.

    Attributes:
        attempts: tries in all, the first among them.
        base: seconds before the second try; doubled before each further one.
        cap: the longest single delay in seconds, also for what `Retry-After` asks.
        total: seconds after which no further try begins.
        stall: seconds in which a connection has to bring something worth waiting for.
        patience: seconds of delays in all, however much the work got further between them.
    """

    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0
    total: float = 120.0
    stall: float = 30.0
    patience: float = 1800.0

    def delay(self, attempt: int, retry_after: str | None = None) -> float:
        """Seconds to wait after the failed try number `attempt`, which counts from 1.

        A server's `Retry-After` is obeyed up to the cap, as seconds, fractions or a date. Else the
        delay is drawn between half and the whole of base·2^(attempt-1), so that many clients that
        failed together do not come back together.
        """
        asked = parse_retry_after(retry_after)
        if asked is not None:
            return min(asked, self.cap)
        whole = min(self.base * 2.0 ** (attempt - 1), self.cap)
        return whole * (0.5 + random.random() / 2)  # noqa: S311 - a delay is no secret


DEFAULT: Final = Policy()


class Tries:
    """The tries of one piece of work: counts failures, waits, and knows when it was enough."""

    def __init__(self, policy: Policy, report: Reporter) -> None:
        self._policy = policy
        self._report = report
        self._waited = 0.0
        self._reached = 0
        self.progressed()

    def progressed(self) -> None:
        """The work got further: what failed before no longer counts."""
        self._failures = 0
        self._began = time.monotonic()

    def reached(self, offset: int) -> None:
        """So many bytes are done for good. A few more than ever before are no progress yet.

        Else a server that takes one byte at a time would be tried for ever.
        """
        if offset >= self._reached + _STEP:
            self._reached = offset
            self.progressed()

    def flowed(self, seconds: float) -> None:
        """Bytes went over for so long. A try may last; only what is spent in vain is counted."""
        self._began += seconds

    def warn(self, message: str) -> None:
        """Say something of this work that a person should know, and that stops nothing."""
        self._report(Warned(message))

    def pause(self, error: OcimlpackError) -> None:
        """Wait before the next try, if there is to be one.

        Raises:
            OcimlpackError: the given one, where another try would not help, or was one too many.
        """
        self._failures += 1
        if not is_passing(error):
            raise error
        delay = self._policy.delay(self._failures, error.retry_after)
        self._waited += delay
        late = time.monotonic() + delay - self._began > self._policy.total
        late = late or self._waited > self._policy.patience
        if late or self._failures >= self._policy.attempts:
            error.final = True
            raise error
        self._report(Retried(error.message, delay))
        time.sleep(delay)


def is_passing(error: OcimlpackError) -> TypeGuard[UnavailableError]:
    """Whether what failed may succeed when it is tried again.

    A source that failed while it was read has been tried as often as it may already.
    """
    if not isinstance(error, UnavailableError) or isinstance(error, UnreachableError):
        return False
    return not error.final and error.side != "source"


def parse_retry_after(value: str | None) -> float | None:
    """Seconds from now that a `Retry-After` header asks for; None if it can't be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            # The form without a zone is to be understood as GMT: RFC 9110, section 5.6.7.
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
