"""What a registry takes and can do, as transfers and `doctor` have found, remembered between runs.

Registries, and the proxies before them, have limits and gaps that the API can't tell. Each is found
by a refusal, and a refusal may come after a hundred megabytes. What is remembered only ever saves
such a try: whoever goes by it notices when it is no longer so, and says it here.
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
    """What a host takes and can do; by default, whatever is asked of it.

    Attributes:
        whole: it refuses parts of a blob: each goes in one request.
        largest: the most bytes that one request may carry, 0 while no limit is known.
        smallest: the fewest bytes that a part may have, unless it is the last.
        ranges: it sends parts of blobs, where a part is asked for.
        referrers: it lists what refers to a manifest.
    """

    whole: bool = False
    largest: int = 0
    smallest: int = 0
    ranges: bool = True
    referrers: bool = True

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
    """What one host takes and can do. Safe from many threads: at worst it is found out twice."""

    def __init__(self, folder: Path, host: str) -> None:
        """Prepare; what an earlier run has learned is read when it is wanted.

        Args:
            folder: where it is remembered.
            host: `host[:port]`.
        """
        self._path = folder / f"{urllib.parse.quote(host, safe='')}.json"
        self._limits: Limits | None = None
        self._kept = Limits()
        self._since: int | None = None
        self._seen_whole = False

    @property
    def limits(self) -> Limits:
        """What is known by now."""
        if self._limits is None:
            self._kept, self._since = _read(self._path)
            self._limits = self._kept
        return self._limits

    def refused(self, length: int) -> bool:
        """A request of so many bytes was too large; False if a smaller one is no use either."""
        floor = max(FLOOR, self.limits.smallest)
        if length <= floor:
            return False
        next_lower = _FIRST if length > _FIRST else length // 2
        known = self.limits.largest or next_lower
        self._set(largest=max(floor, min(next_lower, known)))
        return True

    def requires(self, smallest: int) -> None:
        """The host says how short a part may be."""
        self._set(smallest=smallest)

    def takes_whole(self) -> None:
        """The host knows no parts, and has just taken a blob as a whole."""
        self._seen_whole = True
        self._set(whole=True)
        self.confirm()

    def doubts_whole(self) -> bool:
        """A whole blob was too large. Whether parts are worth a try: this run has made none."""
        if self._seen_whole or not self.limits.whole:
            return False
        self._set(whole=False)
        return True

    def sends_parts(self, does: bool) -> None:
        """The host has, or has not, sent the part of a blob that was asked for."""
        self._set(ranges=does)
        self.confirm()

    def lists_referrers(self, does: bool) -> None:
        """The host has, or has not, a list of what refers to a manifest."""
        self._set(referrers=does)
        self.confirm()

    def learn(self, **found: Any) -> None:
        """Take over what was found out on purpose, by the names that `Limits` has for it."""
        self._set(**found)
        self._since = None
        self._keep()

    def confirm(self) -> None:
        """A transfer has passed: what was learned on the way is worth remembering."""
        if self.limits != self._kept:
            self._keep()

    def _set(self, **found: Any) -> None:
        self._limits = replace(self.limits, **found)

    def _keep(self) -> None:
        self._kept = self.limits
        # One time for all of it, that of the oldest: nothing is believed for longer than it may.
        self._since = self._since or int(time.time())
        said = {**asdict(self._kept), "learned": self._since}
        with contextlib.suppress(OcimlpackError):  # without it, the next run learns it again
            write_atomically(self._path, json.dumps(said).encode())


def _read(path: Path) -> tuple[Limits, int | None]:
    """What is remembered, and since when."""
    try:
        said: Any = json.loads(path.read_bytes())
        learned = int(said["learned"])
        limits = Limits(
            said["whole"] is True,
            int(said["largest"]),
            int(said["smallest"]),
            said.get("ranges") is not False,
            said.get("referrers") is not False,
        )
    except (OSError, ValueError, RecursionError, LookupError, TypeError, OverflowError):
        return Limits(), None
    fresh = 0 <= time.time() - learned < _FRESH
    if not fresh or limits.largest < 0 or limits.smallest < 0 or limits == Limits():
        return Limits(), None
    return limits, learned
