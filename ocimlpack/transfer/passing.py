"""Uploads of content that is read once: it is hashed while it passes by.

`ahead` reads a file twice, from the pages of the system's cache. What comes from another place, a
part of an archive in a registry, would be moved here twice. So this sends it as it comes, and
knows the digest when the last byte is gone; that the destination has it already is noticed too
late to spare anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final, cast

from ocimlpack.errors import ConflictError, IntegrityError, blaming
from ocimlpack.progress import Began, Ended, Moved, Planned, Reporter, Warned
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import CHUNK, Blob, identity
from ocimlpack.stores.verify import Passage
from ocimlpack.transfer import pool
from ocimlpack.transfer.ahead import Destination, Sent, Source
from ocimlpack.transfer.watched import Watched

_ANY_TYPE: Final = "application/octet-stream"


def send(
    sources: Sequence[Source],
    dst: Destination,
    *,
    jobs: int,
    report: Reporter,
    action: str = "copying",
    hashed: Callable[[Source, Digest], None] = lambda *_: None,
) -> list[Sent]:
    """Send and hash in one reading.

    Args:
        sources: what to send.
        dst: where to.
        jobs: how many are sent at a time.
        report: gets the progress events.
        action: the verb that progress shows.
        hashed: is told each digest when it is known, from any thread.

    Returns:
        What became of each, in the order given. Nothing refers to the content yet.

    Raises:
        OcimlpackError: what failed first, on either side.
        IntegrityError: a part of the content, whose digest is known, is not what it should be.
    """
    if not sources:
        return []
    report(Planned(action, len(sources), sum(source.size for source in sources)))
    ordered = sorted(sources, key=lambda source: -source.size)
    found = pool.run([_sending(source, dst, report, hashed) for source in ordered], jobs)
    sent = {source.name: each for source, each in zip(ordered, found, strict=True)}
    return [sent[source.name] for source in sources]


def _sending(
    source: Source,
    dst: Destination,
    report: Reporter,
    hashed: Callable[[Source, Digest], None],
) -> pool.Task[Sent]:
    def task(stop: pool.Stop) -> Sent:
        def reached(offset: int) -> None:
            stop.check()
            report(Moved(source.name, offset))

        report(Began(source.name, source.size))
        passing = _Passing(source, stop)
        with blaming("destination"):
            ingest = dst.begin(source.size, identity(source.blob) or "")
            ingest.write(Watched(passing, reached))
        with blaming("source"):
            digest = passing.digest()
        hashed(source, digest)
        try:
            with blaming("destination"):
                ingest.commit(Descriptor(_ANY_TYPE, digest, source.size))
        except IntegrityError as error:
            # What an earlier run had sent of it was not right. The copy that follows finds the
            # content missing, and sends it anew.
            report(Warned(f"{source.name} has to be sent again: {error.message}"))
            return Sent(digest, None)
        report(Ended(source.name, source.size, "moved"))
        return Sent(digest, "moved")

    return task


class _Passing:
    """A blob whose bytes are hashed when they are first read, wherever reading begins."""

    def __init__(self, source: Source, stop: pool.Stop) -> None:
        self._source = source
        self._stop = stop
        self._passage = Passage(source.blob)
        self._done = 0

    @property
    def identity(self) -> str | None:
        """What tells the source from others."""
        return identity(self._blob)

    @property
    def _blob(self) -> Blob:
        return self._source.blob

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on; what is before that and was never read is read now."""
        self._reach(offset)
        with self._blob.open(offset) as stream:
            yield cast(BinaryIO, _Stream(stream, offset, self._take))

    def digest(self) -> Digest:
        """The digest of all of it.

        Raises:
            ConflictError: there are not as many bytes as the source has by its size.
        """
        self._reach(self._source.size)
        return Digest("sha256", self._passage.hexdigest())

    def _reach(self, offset: int) -> None:
        """Hash what an earlier run has sent already, and so nobody reads."""
        if self._done >= offset:
            return
        with self._blob.open(self._done) as stream:
            while self._done < offset:
                self._stop.check()
                if not (chunk := stream.read(min(CHUNK, offset - self._done))):
                    raise ConflictError(
                        f"{self._source.name} ends after {self._done:,} of {self._source.size:,} "
                        "bytes",
                        side="source",
                    )
                self._take(self._done, chunk)

    def _take(self, offset: int, chunk: bytes) -> None:
        known = self._done - offset
        if known < len(chunk):
            self._passage.update(memoryview(chunk)[known:])
            self._done = offset + len(chunk)


class _Stream:
    def __init__(self, stream: BinaryIO, offset: int, take: Callable[[int, bytes], None]) -> None:
        self._stream = stream
        self._offset = offset
        self._take = take

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._take(self._offset, chunk)
        self._offset += len(chunk)
        return chunk
