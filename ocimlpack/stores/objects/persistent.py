"""An object store that is asked again, and that finds out what became of a request without answer.

A request that writes may have been carried out though its answer got lost. Asked again, the service
then says that the condition no longer holds, or that the upload is unknown: so what stands there is
looked at before that is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from ocimlpack import retry
from ocimlpack.errors import UnavailableError, UnsupportedError
from ocimlpack.progress import Reporter, Warned, ignore
from ocimlpack.stores.objects.base import (
    ABSENT,
    ConditionError,
    GoneError,
    Label,
    Objects,
    ObjectStream,
    Piece,
    Stat,
    Unfinished,
)

Result = TypeVar("Result")

_NOT_IMPLEMENTED: Final = 501


class PersistentObjects:
    """An `Objects` over one that tries once.

    Attributes:
        place: how errors name it.
        origin: tells it from every bucket of every other service.
    """

    def __init__(
        self, once: Objects, policy: retry.Policy = retry.DEFAULT, report: Reporter = ignore
    ) -> None:
        """Prepare.

        Args:
            once: the bucket, asked once each time.
            policy: how requests are retried.
            report: gets an event for each retry.
        """
        self.place = once.place
        self.origin = once.origin
        self._once = once
        self._policy = policy
        self._report = report
        self._conditions = True

    def tries(self) -> retry.Tries:
        """A count of failures for one piece of work with this bucket."""
        return retry.Tries(self._policy, self._report)

    def stat(self, key: str) -> Stat | None:
        """What there is under that name."""
        return self._again(lambda: self._once.stat(key))

    def read(self, key: str, limit: int) -> tuple[bytes, Stat] | None:
        """A small object, all of it."""
        return self._again(lambda: self._once.read(key, limit))

    def stream(self, key: str, start: int, end: int, *, lasting: bool) -> ObjectStream:
        """An object's bytes, tried once: who reads them knows best from where to ask again."""
        return self._once.stream(key, start, end, lasting=lasting)

    def put(self, key: str, content: bytes, label: Label, condition: str | None = None) -> str:
        """Write a small object."""
        tries = self.tries()
        unsure = False
        while True:
            try:
                if condition and not self._conditions:
                    self._check(key, condition)
                    return self._once.put(key, content, label)
                return self._once.put(key, content, label, condition)
            except UnavailableError as error:
                unsure = True
                tries.pause(error)
            except UnsupportedError as error:
                self._do_without(error, condition)
            except ConditionError:
                etag = self._etag_of(key, content) if unsure else None
                if etag is None:
                    raise
                return etag

    def _do_without(self, error: UnsupportedError, condition: str | None) -> None:
        """Go on without conditions, where the service says that it knows none.

        Raises:
            UnsupportedError: the given one, where it means something else.
        """
        if error.status != _NOT_IMPLEMENTED or condition is None or not self._conditions:
            raise error
        self._conditions = False
        self._report(
            Warned(
                f"{self.place} knows no conditional writes: of two who change the same tags at "
                "the same moment, one may be lost"
            )
        )

    def _check(self, key: str, condition: str) -> None:
        """Look whether a condition holds, which may be otherwise a moment later."""
        stat = self.stat(key)
        if (stat.etag if stat else ABSENT) != condition:
            raise ConditionError(f"{key} in {self.place} was changed meanwhile")

    def _etag_of(self, key: str, content: bytes) -> str | None:
        """The entity tag of an object that has this content, or None."""
        stat = self.stat(key)
        if stat is None or stat.size != len(content):
            return None
        found = self.read(key, len(content))
        return found[1].etag if found is not None and found[0] == content else None

    def list(self, prefix: str) -> Iterator[Stat]:
        """All objects below a prefix, in order; a list that breaks off is begun again."""
        tries = self.tries()
        last = ""
        while True:
            try:
                for stat in self._once.list(prefix):
                    if stat.key > last:
                        last = stat.key
                        tries.progressed()
                        yield stat
                return
            except UnavailableError as error:
                tries.pause(error)

    def folders(self, prefix: str = "") -> Sequence[str]:
        """What follows a prefix up to the next slash, the slash included."""
        return self._again(lambda: self._once.folders(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, at most a thousand."""
        self._again(lambda: self._once.delete(keys))

    def begin(self, key: str, label: Label) -> str:
        """Begin an upload in parts. One whose answer got lost is left to `prune`."""
        return self._again(lambda: self._once.begin(key, label))

    def put_part(
        self, key: str, upload: str, number: int, content: bytes | memoryview, sha256: bytes
    ) -> Piece:
        """Bring a part."""
        return self._again(lambda: self._once.put_part(key, upload, number, content, sha256))

    def pieces(self, key: str, upload: str) -> Sequence[Piece] | None:
        """The parts that are there, or None where there is no such upload any more."""
        return self._again(lambda: self._once.pieces(key, upload))

    def complete(
        self, key: str, upload: str, pieces: Sequence[Piece], condition: str | None = None
    ) -> None:
        """Make an object of the parts."""
        size = sum(piece.size for piece in pieces)
        tries = self.tries()
        unsure = False
        while True:
            try:
                # A blob that is there already is replaced by its equal: no harm where there are no
                # conditions.
                needed = condition if self._conditions else None
                self._once.complete(key, upload, pieces, needed)
                return
            except UnavailableError as error:
                unsure = True
                tries.pause(error)
            except UnsupportedError as error:
                self._do_without(error, condition)
            except (ConditionError, GoneError):
                stat = self.stat(key) if unsure else None
                if stat is None or stat.size != size:
                    raise
                return

    def cancel(self, key: str, upload: str) -> None:
        """Throw an upload's parts away."""
        self._again(lambda: self._once.cancel(key, upload))

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Uploads in parts that are not finished."""
        yield from self._again(lambda: list(self._once.uploads(prefix)))

    def close(self) -> None:
        """Let go of connections."""
        self._once.close()

    def _again(self, call: Callable[[], Result]) -> Result:
        tries = self.tries()
        while True:
            try:
                return call()
            except UnavailableError as error:
                tries.pause(error)
