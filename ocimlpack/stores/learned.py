"""What a registry takes, as far as uploads have shown, remembered between runs.

Registries, and the proxies before them, limit requests in ways that the API can't tell. Each limit
is found by a refusal, and a refusal may come after a hundred megabytes.
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.parse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from ocimlpack.errors import OcimlpackError
from ocimlpack.stores.files import write_atomically

_FRESH: Final = 30 * 24 * 3600
"""Seconds for which it is believed: whoever runs a registry may raise a limit."""

_FIRST: Final = 100 * 1024 * 1024
"""Bytes to go down to first: a limit that is common where a content network stands before it.

https://developers.cloudflare.com/workers/platform/limits/#request-limits
"""

FLOOR: Final = 1024 * 1024
"""Bytes. What takes no request of so many can't be sent a model."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a host takes.

    Attributes:
        whole: it refuses parts of a blob: each goes in one request.
        largest: the most bytes that one request may carry, 0 while no limit is known.
        smallest: the fewest bytes that a part may have, unless it is the last.
    """

    whole: bool = False
    largest: int = 0
    smallest: int = 0

    def allows(self, length: int) -> bool:
        """Whether a request of so many bytes may pass, as far as is known."""
        return not self.largest or length <= self.largest

    def part(self, left: int) -> int:
        """How many of the bytes that are left the next request carries."""
        if self.allows(left):
            return left
        part = max(self.largest, self.smallest)
        if 0 < left - part < self.smallest <= left - self.smallest:
            part = left - self.smallest  # else the last would be too short
        return min(part, left)


class Host:
    """What one host takes. Safe to use from many threads: the worst is a limit found twice."""

    def __init__(self, folder: Path, host: str) -> None:
        """Read what an earlier run has learned.

        Args:
            folder: where it is remembered.
            host: `host[:port]`.
        """
        self._path = folder / f"{urllib.parse.quote(host, safe='')}.json"
        self._kept = self.limits = _read(self._path)

    def refused(self, length: int) -> bool:
        """A request of so many bytes was too large; False if a smaller one is no use either."""
        floor = max(FLOOR, self.limits.smallest)
        if length <= floor:
            return False
        next_lower = _FIRST if length > _FIRST else length // 2
        known = self.limits.largest or next_lower
        self.limits = replace(self.limits, largest=max(floor, min(next_lower, known)))
        return True

    def requires(self, smallest: int) -> None:
        """The host says how short a part may be."""
        if smallest != self.limits.smallest:
            self.limits = replace(self.limits, smallest=smallest)

    def takes_whole(self) -> None:
        """The host knows no parts, and has just taken a blob as a whole."""
        self.limits = replace(self.limits, whole=True)
        self.confirm()

    def confirm(self) -> None:
        """An upload has passed: what was learned on the way is worth remembering."""
        if self.limits == self._kept:
            return
        self._kept = self.limits
        said = {**asdict(self.limits), "learned": int(time.time())}
        with contextlib.suppress(OcimlpackError):  # without it, the next run learns it again
            write_atomically(self._path, json.dumps(said).encode())


def _read(path: Path) -> Limits:
    try:
        said: Any = json.loads(path.read_bytes())
        age = time.time() - said["learned"]
        limits = Limits(said["whole"] is True, int(said["largest"]), int(said["smallest"]))
    except (OSError, ValueError, RecursionError, LookupError, TypeError, OverflowError):
        return Limits()
    if not 0 <= age < _FRESH or limits.largest < 0 or limits.smallest < 0:
        return Limits()
    return limits
