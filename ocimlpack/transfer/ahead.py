"""Uploads that begin before the digest is known.

Hashing a file of 100 GB before its first byte leaves costs a minute and more. So each large file
is worked on by two tasks: one hashes it, the other sends it, from the same pages of the system's
cache. Hashing is mostly faster. As soon as the digest is known, the destination is asked whether it
has that content; if so, the rest is not sent.

What comes out is the digests. The manifest can then be written, and the ordinary copy finds these
leaves done.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Protocol

from ocimlpack.errors import ConflictError, IntegrityError, OcimlpackError, blaming
from ocimlpack.progress import Began, Ended, Moved, Outcome, Planned, Reporter, Warned
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import CHUNK, Blob, Ingester, Sink, identity
from ocimlpack.stores.verify import Passage
from ocimlpack.transfer import pool
from ocimlpack.transfer.watched import Watched

WORTHWHILE: Final = 4 * 1024 * 1024
"""Bytes from which on a file is sent ahead of its digest: a smaller one is hashed in less time than
a request takes."""

_ANY_TYPE: Final = "application/octet-stream"


class Destination(Sink, Ingester, Protocol):
    """A store that bytes can be sent to before their digest is known."""


@dataclass(frozen=True, slots=True)
class Source:
    """Content whose digest isn't known.

    Attributes:
        name: what progress calls it.
        size: its bytes.
        blob: the content; it has an identity.
    """

    name: str
    size: int
    blob: Blob


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a source.

    Attributes:
        digest: its digest.
        outcome: "moved" or "skipped"; None if it could not be sent this way.
    """

    digest: Digest
    outcome: Outcome | None


def send(
    sources: Sequence[Source],
    dst: Destination,
    *,
    jobs: int,
    report: Reporter,
    action: str = "pushing",
    hashed: Callable[[Source, Digest], None] = lambda *_: None,
) -> list[Sent]:
    """Hash and send at the same time.

    Args:
        sources: what to send.
        dst: where to.
        jobs: how many are sent at a time; as many are hashed.
        report: gets the progress events.
        action: the verb that progress shows.
        hashed: is told each digest when it is known, from any thread.

    Returns:
        What became of each, in the order given. Nothing refers to the content yet.

    Raises:
        OcimlpackError: what failed first, on either side.
    """
    if not sources:
        return []
    report(Planned(action, len(sources), sum(source.size for source in sources)))
    flights = [_Flight(source, dst, report, _window(jobs), hashed) for source in sources]
    # Large ones first: begun last, one of them would be sent alone while the other jobs idle.
    ordered = sorted(flights, key=lambda flight: -flight.source.size)
    pool.run([flight.run for flight in ordered], jobs)
    return [Sent(flight.digest, flight.outcome) for flight in flights]


class _EnoughError(OcimlpackError):
    """The destination has it: the rest need not be sent."""


@dataclass(eq=False)
class _Flight:
    """One source under way."""

    source: Source
    dst: Destination
    report: Reporter
    window: int
    hashed: Callable[[Source, Digest], None]
    sent: pool.Gauge = field(default_factory=pool.Gauge)
    known: pool.Gauge = field(default_factory=pool.Gauge)
    there: bool = False
    outcome: Outcome | None = None
    _digest: Digest | None = None

    @property
    def digest(self) -> Digest:
        if self._digest is None:
            raise AssertionError(f"{self.source.name} was not hashed")
        return self._digest

    @property
    def desc(self) -> Descriptor:
        return Descriptor(_ANY_TYPE, self.digest, self.source.size)

    def run(self, stop: pool.Stop) -> None:
        """Hash it and send it."""
        pool.run([self.hash, self.send], 2, within=stop)

    def hash(self, stop: pool.Stop) -> None:
        """Compute the digest, never so far ahead that the pages are gone when they are sent."""

        def advance(done: int) -> None:
            stop.check()
            if done - self.window > self.sent.value:
                self.sent.wait(done - self.window, stop)

        with blaming("source"):
            self._digest = hash_source(self.source, advance)
        self.hashed(self.source, self._digest)
        with blaming("destination"):
            unsent = self.source.size - self.sent.value
            self.there = unsent > WORTHWHILE and self.dst.exists(self.desc)
        self.known.set(1)

    def send(self, stop: pool.Stop) -> None:
        """Send it, and give it its name when that is known."""
        self.report(Began(self.source.name, self.source.size))
        try:
            with blaming("destination"):
                self._send(stop)
        except IntegrityError as error:
            # What an earlier run had sent of it was not right. The copy that follows finds the
            # content missing, and sends it anew.
            self.report(Warned(f"{self.source.name} has to be sent again: {error.message}"))
            self.known.wait(1, stop)
            return
        self.outcome = "skipped" if self.there else "moved"
        self.report(Ended(self.source.name, self.source.size, self.outcome))

    def _send(self, stop: pool.Stop) -> None:
        def reached(offset: int) -> None:
            stop.check()
            if self.there:
                raise _EnoughError("the destination has it already")
            self.sent.set(offset)
            self.report(Moved(self.source.name, offset))

        ingest = self.dst.begin(self.source.size, identity(self.source.blob) or "")
        with suppress(_EnoughError):
            ingest.write(Watched(self.source.blob, reached))
        self.sent.set(self.source.size)  # also where it ended early: nobody is waited for
        self.known.wait(1, stop)
        if self.there:
            ingest.abandon()
        else:
            ingest.commit(self.desc)


def hash_source(source: Source, advance: Callable[[int], None]) -> Digest:
    """The SHA-256 digest of a source.

    Args:
        source: the content.
        advance: is told after each piece how many bytes are done.

    Raises:
        ConflictError: it was changed meanwhile.
        IntegrityError: a part whose digest is known has other bytes.
    """
    size, done, hasher = source.size, 0, Passage(source.blob)
    buffer = memoryview(bytearray(CHUNK))
    with source.blob.open() as stream:
        # One that somebody keeps appending to must not be followed for ever.
        while done <= size and (count := _read_into(stream, buffer)):
            hasher.update(buffer[:count])
            done += count
            advance(done)
    if done != size:
        # Its size was the same before and after: content that is made up when it is read.
        raise ConflictError(
            f"{source.name} has {size:,} bytes by its size, but other ones were read", side="source"
        )
    return Digest("sha256", hasher.hexdigest())


def _read_into(stream: BinaryIO, buffer: memoryview) -> int:
    if isinstance(stream, io.BufferedReader | io.FileIO):
        return stream.readinto(buffer) or 0
    chunk = stream.read(len(buffer))
    buffer[: len(chunk)] = chunk
    return len(chunk)


def _window(jobs: int) -> int:
    """Bytes that hashing may be ahead of sending: half of the memory, shared by all files."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(memory // 2 // jobs, 16 * WORTHWHILE)
