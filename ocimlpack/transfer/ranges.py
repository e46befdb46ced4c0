"""One blob over several connections, each part of it written to its place in a file.

The parts are taken in order, so that what has to be hashed lies close behind what is written, and
is hashed while it is still in memory. A connection that is at the place where the hash is has its
bytes hashed on their way to the file; what lies behind it is read back as soon as there is no gap
before it. When no part is left, who is idle takes half of the slowest one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from ocimlpack.errors import InputError, IntegrityError, OcimlpackError, UnavailableError, blaming
from ocimlpack.progress import Reporter, Warned
from ocimlpack.stores.base import (
    CHUNK,
    Blob,
    Divisible,
    PartStream,
    RangeIgnoredError,
    doubt,
)
from ocimlpack.stores.partial import PartialFile
from ocimlpack.stores.verify import Verifier
from ocimlpack.transfer import pool
from ocimlpack.transfer.links import Link, Share
from ocimlpack.transfer.parts import WORTH_TAKING, Part, Parts

WORTHWHILE: Final = 32 * 1024 * 1024
"""Bytes from which on a blob is fetched in parts."""

_PIECE: Final = 2 * CHUNK
"""Bytes of a part that are handled at a time. Each piece costs some bookkeeping, also with others;
twice as many at once would be out of the cache before they are hashed."""

_NOTED: Final = 4 * 1024 * 1024
"""Bytes of a part after which they are written down, so that a slow link loses little."""

_GATHERING_SECONDS: Final = 0.25
"""For how long small pieces are gathered, to be written at once."""


class DivisibleBlob(Blob, Divisible, Protocol):
    """A blob that can be read in parts and as a whole."""


def fetch(
    blob: DivisibleBlob,
    file: PartialFile,
    share: Share,
    *,
    name: str,
    stop: pool.Stop,
    reached: Callable[[int], None],
    report: Reporter,
) -> None:
    """Bring what is missing of a blob into its file, and see that all of it is right.

    What turns out to be wrong is thrown away and fetched again once: the first time it may be what
    an earlier run left, or one of the parts.

    Args:
        blob: where it comes from.
        file: where it goes.
        share: the connections that may be used.
        name: what a warning calls it.
        stop: ends it early.
        reached: gets the bytes that are there, each time that more are.
        report: gets a warning for bytes that are thrown away.

    Raises:
        IntegrityError: it was wrong twice. Nothing is kept.
        TakenError: another process goes on with the file.
        OcimlpackError: the blob's own error, or the file's. What came by then is kept.
    """
    divided, last = True, False
    if file.instead:
        report(Warned(f"what an earlier run kept of {name} can't be used: it is fetched anew"))
    while True:
        try:
            if divided:
                _Assembly(blob, file, share, reached).run(stop)
            else:
                _bring_whole(blob, file, reached)
            return
        except RangeIgnoredError:
            divided = False
        except IntegrityError:
            inherited = file.inherited
            file.reset()
            if doubt(blob):
                continue
            if last:
                raise
            last = True
            divided = divided and inherited > 0
            kept = "kept by an earlier run was" if inherited else "that came was"
            report(Warned(f"what of {name} {kept} wrong: all of it is fetched again"))


def _bring_whole(blob: Blob, file: PartialFile, reached: Callable[[int], None]) -> None:
    """All of it in order, over one connection."""
    verifier = Verifier(file.desc)
    at = noted = 0
    with blob.open() as stream:
        while True:
            with blaming("source"):
                chunk = stream.read(CHUNK)
            reached(at + len(chunk))
            if not chunk:
                break
            verifier.update(chunk)
            file.write(at, chunk)
            at += len(chunk)
            if at - noted >= _NOTED:
                file.note(noted, at)
                noted = at
    verifier.finish()
    file.note(noted, at)


class _Assembly:
    """One run at the parts of a file that are missing."""

    def __init__(
        self,
        blob: DivisibleBlob,
        file: PartialFile,
        share: Share,
        reached: Callable[[int], None],
    ) -> None:
        self._blob = blob
        self._file = file
        self._share = share
        self._reached = reached
        self._size = file.desc.size
        self._parts = Parts(self._size, file.present())
        self._telling = threading.Lock()
        self._noting = threading.Lock()
        self._hashing = threading.Lock()
        self._verifier = Verifier(file.desc)
        self._buffer = memoryview(bytearray(_PIECE))
        self._over = pool.Gauge()
        self._to_come = 0
        self._failed = False

    def run(self, stop: pool.Stop) -> None:
        self._reached(self._parts.total)
        useful = (self._size - self._parts.total) // WORTH_TAKING
        self._to_come = max(1, min(self._share.most, useful))
        crew = pool.Crew(stop)
        self._add_worker(crew)
        try:
            # What earlier runs brought. Then only this thread notices at once when all of it is
            # not wanted any more: the others look between two chunks, and one may take long.
            self._hash_on(stop)
            if not self._is_over():
                self._over.wait(1, stop)
        finally:
            self._end()
            crew.join()
        self._hash_on(stop)
        self._verifier.finish()

    def _add_worker(self, crew: pool.Crew) -> None:
        """One more that waits for a connection: there are as many threads as that, and one more."""
        with self._telling:
            if not self._to_come:
                return
            self._to_come -= 1
        crew.start(partial(self._work, crew))

    def _work(self, crew: pool.Crew, stop: pool.Stop) -> None:
        """Bring parts as long as there are any, and a connection for them."""
        has_follower = False
        try:
            while link := self._share.get(self._parts.more, self._is_over, stop):
                if not has_follower:
                    has_follower = True
                    self._add_worker(crew)
                try:
                    while not link.surplus and (part := self._parts.take()):
                        self._bring(part, link, stop)
                        self._hash_on(stop)
                finally:
                    link.close()
        except BaseException:
            self._failed = True
            self._end()
            raise

    def _end(self) -> None:
        """Nobody shall wait any more: all is there, or the rest is not wanted."""
        if not self._parts.complete:
            self._failed = True
        self._over.set(1)
        self._share.wake()
        if self._failed:
            self._parts.abort()

    def _is_over(self) -> bool:
        return self._failed or self._parts.complete

    # Bytes

    def _bring(self, part: Part, link: Link, stop: pool.Stop) -> None:
        try:
            reach = self._parts.reach(part) if self._share.alone else part.end
            with self._blob.part(part.at, reach - part.at) as stream:
                part.stream = stream
                while part.at < part.end or (not link.surplus and self._parts.extend(part, reach)):
                    if chunk := self._read(part, stream, link, stop):
                        self._put(part, chunk)
        except BaseException:
            with suppress(OcimlpackError):  # the first error is the one that counts
                self._note(part)
            raise
        finally:
            self._parts.leave(part)
        self._note(part)

    def _read(self, part: Part, stream: PartStream, link: Link, stop: pool.Stop) -> bytes:
        """The next bytes: as many as are handled at a time, unless they come slowly."""
        pieces: list[bytes] = []
        size, waited = 0, 0.0
        # Not a byte more than the part: what follows may be wanted from the same stream.
        wanted = min(_PIECE, part.end - part.at)
        until = part.seen + _GATHERING_SECONDS
        while size < wanted:
            stop.check()
            asked = time.monotonic()
            piece = self._receive(part, stream, wanted - size)
            waited += time.monotonic() - asked
            if not piece:
                break
            if self._parts.came(part) and self._share.single:
                # There are parts to be had: now others may ask for some, too.
                self._share.single = False
                self._share.wake()
            pieces.append(piece)
            size += len(piece)
            if part.seen > until:
                break
        link.moved(size, waited)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _receive(self, part: Part, stream: PartStream, size: int) -> bytes:
        try:
            with blaming("source"):
                piece = stream.read(size)
        except UnavailableError as error:
            if self._failed:
                raise pool.StoppedError("stopped because another part of it failed") from error
            if part.at >= part.end:
                return b""  # somebody else has taken the rest, and ended this
            raise
        if not piece and part.at < part.end:
            raise IntegrityError(
                f"{self._file.desc.digest} ends before its {self._size:,} bytes",
                digest=str(self._file.desc.digest),
                side="source",
            )
        return piece

    def _put(self, part: Part, chunk: bytes) -> None:
        content = memoryview(chunk)[: self._parts.claim(part, len(chunk))]
        if not content:
            return
        self._hash_directly(part.at, content)
        self._file.write(part.at, content)
        with self._telling:  # so that the numbers only rise
            self._reached(self._parts.written(part))
        if part.at - part.noted >= _NOTED:
            self._note(part)
        if self._parts.complete:
            self._end()

    def _note(self, part: Part) -> None:
        with self._noting:
            if part.noted < part.at:
                self._file.note(part.noted, part.at)
                part.noted = part.at

    # The hash

    def _hash_directly(self, offset: int, content: memoryview) -> None:
        """Hash bytes that are about to be written, if it is their turn."""
        if not self._hashing.acquire(blocking=False):
            return
        try:
            if self._verifier.seen == offset:
                self._verifier.update(content)
        finally:
            self._hashing.release()

    def _hash_on(self, stop: pool.Stop) -> None:
        """Hash what is in the file as far as there is no gap, unless somebody is at it."""
        if not self._hashing.acquire(blocking=False):
            return
        try:
            while True:
                at = self._verifier.seen
                end = self._parts.end_of(at)
                if at >= end:
                    return
                while at < end:
                    stop.check()
                    count = self._file.read(at, self._buffer[: min(_PIECE, end - at)])
                    if not count:
                        raise InputError("a file was cut short while it was written")
                    self._verifier.update(self._buffer[:count])
                    at += count
        finally:
            self._hashing.release()
