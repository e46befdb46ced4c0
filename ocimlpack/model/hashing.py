"""Digests of a model's files: known from an earlier time, or computed, or found while sending."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ocimlpack.errors import blaming
from ocimlpack.model.digests import DigestCache
from ocimlpack.model.source import Recognisable
from ocimlpack.progress import Began, Ended, Moved, Outcome, Planned, Reporter
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import CHUNK
from ocimlpack.transfer import ahead, pool
from ocimlpack.transfer.ahead import Destination, Source

_TINY: Final = CHUNK
"""Bytes below which files are hashed one after the other: with so little to do between two calls of
the system, threads only wait for each other."""


@dataclass(slots=True)
class Hashed:
    """Digests of sources.

    Attributes:
        digests: by the sources' names.
        sent: what became of those that were sent meanwhile, by their digests.
    """

    digests: dict[str, Digest] = field(default_factory=dict)
    sent: dict[Digest, Outcome] = field(default_factory=dict)


def hash_sources(
    sources: Sequence[Source],
    *,
    jobs: int,
    report: Reporter,
    cache: DigestCache | None,
    destination: Destination | None = None,
    once: bool = False,
) -> Hashed:
    """The SHA-256 digest of each source.

    Args:
        sources: the content, under the paths that it has in the model.
        jobs: how many are hashed at a time.
        report: gets the progress events, of what has to be read.
        cache: knows the digests of files that are unchanged since; those are not read.
        destination: where large ones are sent while they are hashed.
        once: whether reading costs as much as sending does, so that each is read only once.

    Raises:
        ConflictError: a file was changed meanwhile.
        UnsafeSourceError: one can't be read.
        OcimlpackError: from the destination.
    """
    found = Hashed(_known(sources, cache))
    unread = [source for source in sources if source.name not in found.digests]
    if not unread:
        return found
    memory = _Memory(cache, time.time_ns())
    at_once = [each for each in unread if destination and each.size >= ahead.WORTHWHILE]
    # The small ones first: they take no time, and their digests may spare the user an error in the
    # middle of the large ones.
    first = [source for source in unread if source not in at_once]
    found.digests |= _hash(first, jobs, report, memory)
    if destination and at_once:
        sending = ahead.send
        if once:
            from ocimlpack.transfer import passing  # late: folders are sent by the other way

            sending = passing.send
        sent = sending(
            at_once,
            destination,
            jobs=jobs,
            report=report,
            hashed=lambda source, digest: memory.keep({source: digest}),
        )
        for source, each in zip(at_once, sent, strict=True):
            found.digests[source.name] = each.digest
            if each.outcome:
                found.sent[each.digest] = each.outcome
    return found


@dataclass(frozen=True, slots=True)
class _Memory:
    """Where digests go as soon as they are known: a run that is killed need not begin again."""

    cache: DigestCache | None
    began: int

    def keep(self, digests: Mapping[Source, Digest]) -> None:
        if self.cache is not None:
            self.cache.remember(
                (
                    (source.blob.source, source.blob.seen, digest)
                    for source, digest in digests.items()
                    if isinstance(source.blob, Recognisable)
                ),
                self.began,
            )


def _known(sources: Sequence[Source], cache: DigestCache | None) -> dict[str, Digest]:
    if cache is None:
        return {}
    blobs = {each.name: each.blob for each in sources if isinstance(each.blob, Recognisable)}
    known = cache.find((blob.source, blob.seen) for blob in blobs.values())
    return {name: known[blob.source] for name, blob in blobs.items() if blob.source in known}


def _hash(
    sources: Sequence[Source], jobs: int, report: Reporter, memory: _Memory
) -> dict[str, Digest]:
    if not sources:
        return {}
    # The largest first: begun last, one of them would be hashed alone while the other jobs idle.
    ordered = sorted(sources, key=lambda source: -source.size)
    report(Planned("hashing", len(ordered), sum(source.size for source in ordered)))
    large = [source for source in ordered if source.size >= _TINY]
    tiny = ordered[len(large) :]
    groups = [[source] for source in large] + ([tiny] if tiny else [])
    found = pool.run([_hashing(group, report, memory) for group in groups], jobs)
    return {source.name: digest for digests in found for source, digest in digests.items()}


def _hashing(
    sources: Sequence[Source], report: Reporter, memory: _Memory
) -> pool.Task[dict[Source, Digest]]:
    def task(stop: pool.Stop) -> dict[Source, Digest]:
        digests = {}
        for source in sources:

            def advance(done: int, name: str = source.name) -> None:
                stop.check()
                report(Moved(name, done))

            report(Began(source.name, source.size))
            with blaming("source"):
                digests[source] = ahead.hash_source(source, advance)
            report(Ended(source.name, source.size, "hashed"))
        memory.keep(digests)
        return digests

    return task
