"""Cleaning a bucket up: what no index names, and uploads that nobody went on with.

The blobs of a bucket are shared, so all of its repositories are looked at. Their number is what it
costs: one request for each index and one for each manifest, and a list of the blobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain
from typing import Final

from ocimlpack.errors import NotFoundError
from ocimlpack.progress import Reporter, Warned, ignore
from ocimlpack.spec.digest import Digest
from ocimlpack.stores import bucket_names as names
from ocimlpack.stores import sessions
from ocimlpack.stores.bucket import BucketStore
from ocimlpack.stores.bucket_lease import AGE, Turn
from ocimlpack.stores.graph import reachable
from ocimlpack.stores.objects.base import Stat
from ocimlpack.stores.objects.persistent import PersistentObjects

_BATCH: Final = 1000
"""Objects that services remove by one request."""


def repositories(objects: PersistentObjects) -> list[str]:
    """The repositories of a bucket, sorted. Its blobs are not listed for that."""
    found = []
    for folder in objects.folders():
        if folder.rstrip("/") not in names.RESERVED and not folder.startswith("."):
            found += [names.repository_of(stat.key) for stat in objects.list(folder)]
    return sorted(repository for repository in found if repository is not None)


def prune(
    objects: PersistentObjects,
    *,
    dry_run: bool = False,
    report: Reporter = ignore,
    clock: Callable[[], float] = time.time,
) -> list[tuple[str, int]]:
    """Remove what no index names for a day or longer, and uploads that nobody goes on with.

    Args:
        objects: the bucket.
        dry_run: change nothing.
        report: gets a warning where pushes that are at work keep blobs from being removed.
        clock: seconds since 1970.

    Returns:
        What was removed, or would be, each with its bytes as far as they are known.

    Raises:
        ConflictError: another clean-up is at work.
    """
    found = _end_uploads(objects, clock() - sessions.STALE, dry_run=dry_run)
    if dry_run:
        garbage = _garbage(objects, clock(), lambda: None, report, dry_run=True)
        return found + [_named(stat) for stat in garbage]
    turn = Turn(objects, clock)
    try:
        if pushes := turn.pushes():
            since = names.moment(min(each.modified for each in pushes))
            report(
                Warned(
                    f"no blobs are removed: {len(pushes)} may be pushing to {objects.place}, the "
                    f"first since {since} (what a push has left that was killed counts for a day)"
                )
            )
            return found
        garbage = _garbage(objects, clock(), turn.renew, report, dry_run=False)
        for start in range(0, len(garbage), _BATCH):
            batch = garbage[start : start + _BATCH]
            turn.renew()
            objects.delete([stat.key for stat in batch])
            found += [_named(stat) for stat in batch]
    finally:
        turn.close()
    return found


def _garbage(
    objects: PersistentObjects,
    now: float,
    renew: Callable[[], None],
    report: Reporter,
    *,
    dry_run: bool,
) -> list[Stat]:
    """Blobs that are old enough and that no repository needs."""
    before = now - AGE
    needed: set[Digest] = set()
    for repository in repositories(objects):
        renew()
        needed |= _needed(BucketStore(objects, repository, to_write=False), before, dry_run=dry_run)
    garbage, young = [], 0
    blobs = chain.from_iterable(objects.list(names.prefix(stage)) for stage in names.STAGES)
    for stat in blobs:
        renew()
        digest = names.digest_of(stat.key)
        if digest is None or digest in needed:
            continue
        if stat.modified < before:
            garbage.append(stat)
        else:
            young += 1
    if young:
        report(
            Warned(
                f"{young:,} blobs that nothing names are left: they are younger than a day, and "
                "somebody may be about to push what names them"
            )
        )
    return garbage


def _needed(store: BucketStore, before: float, *, dry_run: bool) -> set[Digest]:
    """What a repository needs, once it lists no more what has been without a tag for so long."""
    try:
        gone = store.forget_untagged(names.moment(before), dry_run=dry_run)
        # What it lists now: one of these may have got a tag again at this moment.
        roots = [
            each.desc for each in store.entries() if not dry_run or each.desc.digest not in gone
        ]
    except NotFoundError:
        return set()  # it has just been removed
    return reachable(store, roots)


def _end_uploads(
    objects: PersistentObjects, before: float, *, dry_run: bool
) -> list[tuple[str, int]]:
    found = []
    for upload in list(objects.uploads(names.BLOBS)):
        if upload.began < before:
            if not dry_run:
                objects.cancel(upload.key, upload.upload)
            found.append((f"an upload of {_name(upload.key)}", 0))
    return found


def _named(stat: Stat) -> tuple[str, int]:
    return _name(stat.key), stat.size


def _name(key: str) -> str:
    return str(names.digest_of(key) or key)
