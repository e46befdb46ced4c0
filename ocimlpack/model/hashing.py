"""Digests of a model's files: computed in the pool, or known from an earlier time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

from ocimlpack.errors import ConflictError
from ocimlpack.model.digests import DigestCache
from ocimlpack.model.source import SourceBlob
from ocimlpack.progress import Began, Ended, Moved, Planned, Reporter
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import CHUNK
from ocimlpack.transfer import pool


def hash_blobs(
    blobs: Mapping[str, SourceBlob], *, jobs: int, report: Reporter, cache: DigestCache | None
) -> dict[str, Digest]:
    """The SHA-256 digest of each file.

    Args:
        blobs: the files, by their paths in the model.
        jobs: how many are hashed at a time.
        report: gets the progress events, of the files that have to be read.
        cache: knows the digests of files that are unchanged since; those are not read.

    Raises:
        ConflictError: a file was changed meanwhile.
        UnsafeSourceError: one can't be read.
    """
    known = cache.find((blob.source, blob.seen) for blob in blobs.values()) if cache else {}
    digests = {path: known[blob.source] for path, blob in blobs.items() if blob.source in known}
    unread = [path for path in blobs if path not in digests]
    if not unread:
        return digests
    # The largest first: begun last, one of them would be hashed alone while the other jobs idle.
    unread.sort(key=lambda path: -blobs[path].seen.size)
    report(Planned("hashing", len(unread), sum(blobs[path].seen.size for path in unread)))
    began = time.time_ns()
    tasks = [_hashing(path, blobs[path], report) for path in unread]
    digests |= zip(unread, pool.run(tasks, jobs), strict=True)
    if cache is not None:
        cache.remember(((blobs[p].source, blobs[p].seen, digests[p]) for p in unread), began)
    return digests


def _hashing(path: str, blob: SourceBlob, report: Reporter) -> pool.Task[Digest]:
    def task(stop: pool.Stop) -> Digest:
        size = blob.seen.size
        report(Began(path, size))
        hasher, done = hashlib.sha256(), 0
        with blob.open() as stream:
            # One that somebody keeps appending to must not be followed for ever.
            while done <= size and (chunk := stream.read(CHUNK)):
                stop.check()
                hasher.update(chunk)
                done += len(chunk)
                report(Moved(path, done))
        if done != size:
            # Its size was the same before and after: content that is made up when it is read.
            raise ConflictError(
                f"{blob.source} has {size:,} bytes by its size, but other ones were read",
                side="source",
            )
        report(Ended(path, size, "hashed"))
        return Digest("sha256", hasher.hexdigest())

    return task
