"""Pushes and clean-ups that share a bucket: neither pulls the ground from under the other.

A clean-up removes blobs that no index names. A push may rely on such a blob: it finds it there, and
will only later write the index that names it. Blobs that are young are left alone, but what lies
there for long can be relied on, too, and an upload in parts that took long looks old.

So each says what it is about to do, and then looks whether the other has said so. Whatever the
order, at least one of them sees the other: a clean-up then leaves blobs alone, a push waits.
What a process has left that died is believed for a while only.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from ocimlpack.errors import ConflictError, UnavailableError
from ocimlpack.progress import Reporter, Warned, ignore
from ocimlpack.spec.gojson import encode
from ocimlpack.stores import bucket_names as names
from ocimlpack.stores.objects.base import ABSENT, ConditionError, Label, Stat
from ocimlpack.stores.objects.persistent import PersistentObjects

AGE: Final = 24 * 3600.0
"""Seconds for which a blob that nothing names is left alone."""

OLD: Final = AGE / 2
"""Seconds after which a push that relies on a blob says that it is at work. The rest is for clocks
that differ."""

_PUSH_SECONDS: Final = 24 * 3600.0
"""For how long a push is believed to be at work."""
_PUSH_RENEWED: Final = 6 * 3600.0

_PRUNE_SECONDS: Final = 900.0
"""For how long a clean-up is believed to be at work."""
_PRUNE_RENEWED: Final = 60.0
_PRUNE_CERTAIN: Final = 600.0
"""And for how long it may rely on being believed. The rest is for clocks that differ."""

_GLANCE: Final = 1.0
_JSON: Final = Label("application/json", {})


class Lease:
    """A push that may be at work. Safe to use from many threads."""

    def __init__(
        self,
        objects: PersistentObjects,
        repository: str,
        report: Reporter = ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is said yet.

        Args:
            objects: the bucket.
            repository: where the push goes.
            report: gets a warning where it has to wait.
            clock: seconds since 1970.
        """
        self._objects = objects
        self._content = encode({"repository": repository})
        self._key = names.PUSHES + secrets.token_hex(8)
        self._report = report
        self._clock = clock
        self._began = clock()
        self._said = 0.0

    @property
    def held(self) -> bool:
        """Whether every clean-up knows of the push."""
        return self._clock() - self._said < _PUSH_RENEWED

    def hold_if_long(self) -> None:
        """Say that a push is at work, if it has been so for long: what it brought may look old."""
        if self._clock() - self._began > OLD / 4:
            self.hold()

    def hold(self) -> None:
        """Say that a push is at work, and wait for a clean-up that may not have seen it.

        Raises:
            UnavailableError: one is at work for too long.
        """
        if self.held:
            return
        now = self._clock()
        self._objects.put(self._key, self._content, _JSON)
        self._wait()
        self._said = now

    def release(self) -> None:
        """The push is over."""
        if self._said:
            self._said = 0.0
            self._objects.delete([self._key])

    def _wait(self) -> None:
        until = self._clock() + _PRUNE_SECONDS
        warned = False
        while _is_fresh(self._objects.stat(names.PRUNE), _PRUNE_SECONDS, self._clock()):
            if self._clock() > until:
                raise UnavailableError(
                    f"{self._objects.place} is being pruned", hint="try again when that is over"
                )
            if not warned:
                self._report(Warned(f"{self._objects.place} is being pruned; waiting for that"))
                warned = True
            time.sleep(_GLANCE)


class Turn:
    """A clean-up that is at work: the only one in its bucket."""

    def __init__(self, objects: PersistentObjects, clock: Callable[[], float] = time.time) -> None:
        """Say so.

        Raises:
            ConflictError: another one is at work.
        """
        self._objects = objects
        self._clock = clock
        found = objects.stat(names.PRUNE)
        if found is not None and _is_fresh(found, _PRUNE_SECONDS, clock()):
            raise self._taken()
        self._etag = found.etag if found else ABSENT
        self._said = 0.0
        self._say()

    def renew(self) -> None:
        """Say it again, if that was a while ago. To be called before each thing that is removed.

        Raises:
            ConflictError: this one was asleep for so long that others may have begun.
        """
        idle = self._clock() - self._said
        if idle > _PRUNE_CERTAIN:
            raise ConflictError(
                f"the clean-up of {self._objects.place} stood still for {idle:.0f} s",
                hint="nothing more is removed; run it again",
            )
        if idle > _PRUNE_RENEWED:
            self._say()

    def pushes(self) -> list[Stat]:
        """Pushes that are, or may be, at work. Forgotten ones are cleared away."""
        found = list(self._objects.list(names.PUSHES))
        fresh = [each for each in found if _is_fresh(each, _PUSH_SECONDS, self._clock())]
        stale = [each.key for each in found if each not in fresh]
        if stale:
            self._objects.delete(stale[:1000])
        return fresh

    def close(self) -> None:
        """The clean-up is over."""
        self._objects.delete([names.PRUNE])

    def _say(self) -> None:
        now = self._clock()
        content = encode({"began": int(now), "name": secrets.token_hex(8)})
        try:
            self._etag = self._objects.put(names.PRUNE, content, _JSON, self._etag)
        except ConditionError as error:
            raise self._taken() from error
        self._said = now

    def _taken(self) -> ConflictError:
        return ConflictError(
            f"{self._objects.place} is being pruned already", hint="try again when that is over"
        )


def _is_fresh(stat: Stat | None, seconds: float, now: float) -> bool:
    return stat is not None and now - stat.modified < seconds
