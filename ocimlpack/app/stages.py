"""Versions in a bucket of OCI Object Storage: put into stages, brought back, counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Unpack

from ocimlpack.app import audit, oracle, places
from ocimlpack.app.options import Connection
from ocimlpack.errors import InputError, UnavailableError
from ocimlpack.progress import Noted, ignore
from ocimlpack.spec.reference import Kind, Reference, is_bucket
from ocimlpack.stores import open as stores
from ocimlpack.stores.bucket import BucketStore
from ocimlpack.stores.bucket_names import STAGES, Stage

if TYPE_CHECKING:
    from ocimlpack.stores.bucket_stages import ColdObjects
    from ocimlpack.stores.objects.persistent import PersistentObjects

_ABOUT: Final = 3600.0
"""Seconds that a restore takes: https://www.oracle.com/cloud/storage/archive-storage/faq/"""
_PAUSE: Final = 30.0
_LONGEST: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Staged:
    """What stage did.

    Attributes:
        reference: the version, pinned.
        stage: the stage that it is in now.
        moved: bytes that were given other names.
    """

    reference: str
    stage: Stage
    moved: int


@dataclass(frozen=True, slots=True)
class Restored:
    """How far the restore of a version is.

    Attributes:
        reference: the version, pinned.
        layers: how many layers are `available`, and how many `restoring`.
        is_ready: whether it can be pulled now.
        expected: seconds until it can, about; 0 if it can now.
    """

    reference: str
    layers: Mapping[str, int]
    is_ready: bool
    expected: float


@dataclass(frozen=True, slots=True)
class BucketUse:
    """Bytes in a bucket, each counted once.

    Attributes:
        stage: the stage.
        repository: the repository whose they are; empty for what several share or none names.
        kind: `own`, `shared` or `unnamed`.
        size: bytes.
        objects: how many objects.
    """

    stage: str
    repository: str
    kind: str
    size: int
    objects: int


def bucket_stage(reference: str, stage: str, **options: Unpack[Connection]) -> Staged:
    """Put a version into the part of its bucket that the lifecycle archives, or deletes, or leaves.

    Args:
        reference: `ocios://BUCKET@NAMESPACE/REPO:TAG`, or with a digest.
        stage: `active`, `old` or `expired`.
        **options: see `Connection`.

    Raises:
        ConflictError: somebody else cleans the bucket up, or pushes to it.
        UnavailableError: it is to be active again and has to be restored from the archive first.
    """
    found = next((each for each in STAGES if each == stage), None)
    if found is None:
        raise InputError(f"there is no stage {stage!r}", hint=f"there are {', '.join(STAGES)}")
    from ocimlpack.stores import bucket_stages

    ref = _version(reference)
    with (
        audit.recording(f"bucket stage {stage}", ref, options) as (entry, how),
        _opened(ref, how) as (objects, cold, store),
    ):
        desc = store.resolve(ref.name)
        entry.digest = str(desc.digest)
        report = options.get("report", ignore)
        moved = bucket_stages.stage(objects, cold, store, desc, found, report=report)
    return Staged(places.pinned(ref, desc), found, moved)


def bucket_restore(
    reference: str, *, wait: bool = False, **options: Unpack[Connection]
) -> Restored:
    """Bring a version's archived layers back for a day, so that it can be pulled.

    Args:
        reference: the version.
        wait: return when it can be pulled, which takes about an hour.
        **options: see `Connection`.

    Raises:
        NotFoundError: the lifecycle has deleted some of it.
        UnavailableError: it was waited for in vain.
    """
    from ocimlpack.stores import bucket_stages

    ref = _version(reference)
    deadline = time.monotonic() + _LONGEST
    with (
        audit.recording("bucket restore", ref, options) as (entry, how),
        _opened(ref, how) as (objects, cold, store),
    ):
        desc = store.resolve(ref.name)
        entry.digest = str(desc.digest)
        layers = bucket_stages.restore(objects, cold, store, desc)
        while wait and layers.get("restoring"):
            if time.monotonic() > deadline:
                raise UnavailableError(f"{ref} is not restored after {_LONGEST / 3600:.0f} h")
            _tell(layers["restoring"], sum(layers.values()), options)
            time.sleep(_PAUSE)
            layers = bucket_stages.restore(objects, cold, store, desc)
    ready = not layers.get("restoring")
    counts = {str(state): count for state, count in layers.items()}
    return Restored(places.pinned(ref, desc), counts, ready, 0.0 if ready else _ABOUT)


def bucket_undelete(reference: str, **options: Unpack[Connection]) -> str:
    """Bring a tag, or with a digest a model, back that was removed; the location, pinned.

    Args:
        reference: what was removed.
        **options: see `Connection`.

    Raises:
        NotFoundError: no version that the bucket keeps has it, or not all of it.
        ConflictError: the tag stands for something else now.
    """
    from ocimlpack.stores import bucket_stages

    ref = _version(reference)
    with (
        audit.recording("bucket undelete", ref, options) as (entry, how),
        _opened(ref, how) as (objects, cold, _),
    ):
        desc = bucket_stages.undelete(objects, cold, ref.repository, ref.name)
        entry.digest = str(desc.digest)
    return places.pinned(ref, desc)


def bucket_du(place: str, **options: Unpack[Connection]) -> tuple[BucketUse, ...]:
    """Bytes in a bucket by stage and repository, each object counted once.

    Args:
        place: `ocios://BUCKET@NAMESPACE` or `s3://BUCKET`.
        **options: see `Connection`.
    """
    from ocimlpack.stores import bucket_stages

    kind, name = _bucket(place)
    with stores.bucket(kind, name, places.access(options)) as objects:
        found = bucket_stages.usage(objects)
    return tuple(
        BucketUse(each.stage, each.repository, each.kind, each.size, each.objects) for each in found
    )


def _version(reference: str) -> Reference:
    ref = stores.locate(reference)
    if ref.kind is not Kind.BUCKET:
        raise InputError(
            f"{reference} is in no bucket of OCI Object Storage",
            hint="write ocios://BUCKET@NAMESPACE/REPO:TAG",
        )
    return ref


def _bucket(place: str) -> tuple[Kind, str]:
    for kind, prefix in ((Kind.BUCKET, "ocios://"), (Kind.S3, "s3://")):
        if place.startswith(prefix):
            name = place.removeprefix(prefix).partition("/")[0]
            if is_bucket(name.partition("@")[0]) and ("@" in name) == (kind is Kind.BUCKET):
                return kind, name
    raise InputError(f"{place} is no bucket", hint="write ocios://BUCKET@NAMESPACE or s3://BUCKET")


@contextmanager
def _opened(
    ref: Reference, options: Connection
) -> Iterator[tuple[PersistentObjects, ColdObjects, BucketStore]]:
    from ocimlpack.stores.objects.persistent import PersistentObjects

    report = options.get("report", ignore)
    once = oracle.objects(ref.host, options)
    objects = PersistentObjects(once, report=report)
    store = BucketStore(objects, ref.repository, report=report)
    try:
        yield objects, once, store
    finally:
        store.close()
        objects.close()


def _tell(count: int, total: int, options: Connection) -> None:
    options.get("report", ignore)(Noted(f"waiting for {count} of {total} layers"))
