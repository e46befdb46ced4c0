"""Names and what they stand for: tags, listings, removal."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from ocimlpack.app import audit, places
from ocimlpack.app.options import Connection
from ocimlpack.app.results import Listed, Removed, Tagged
from ocimlpack.errors import InputError, NotFoundError, UnsupportedError
from ocimlpack.model import unpack
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest
from ocimlpack.spec.mediatypes import is_manifest
from ocimlpack.spec.reference import Kind, check_host, check_tag, is_bucket
from ocimlpack.stores import home, sessions
from ocimlpack.stores import open as stores
from ocimlpack.stores.base import Freer, TagLister, capability
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.layout_reader import Entry, LayoutReader
from ocimlpack.transfer import copy as transfer


def tag(reference: str, *names: str, **options: Unpack[Connection]) -> Tagged:
    """Let further tags stand for a model; no content moves.

    Args:
        reference: the model.
        *names: the tags.
        **options: see `Connection`.

    Raises:
        ConflictError: a tag, read back, stands for something else.
    """
    ref = places.locate(reference, options)
    if not names:
        raise InputError("name at least one tag")
    for name in names:
        check_tag(name)
    with (
        audit.recording("tag", ref, options) as (entry, how),
        places.changing(ref, how) as (store, root),
    ):
        entry.digest = str(root.digest)
        for name in dict.fromkeys(names):
            transfer.set_tag(store, root, name)
            entry.tags += (name,)
    return Tagged(str(root.digest), tuple(str(ref.tagged(name)) for name in dict.fromkeys(names)))


def tags(repository: str, **options: Unpack[Connection]) -> tuple[str, ...]:
    """The tags of a repository, a layout, an archive or a model of the local store, sorted.

    Raises:
        NotFoundError: there is no such repository.
    """
    ref = places.locate(repository, options)
    if ref.tag or ref.digest:
        raise InputError(f"{repository} names one artifact; tags are listed for {ref.place}")
    if ref.kind is Kind.LOCAL:
        found = tuple(listed.tag for listed in ls(ref.repository))
        if not found:
            raise NotFoundError(f"no {ref} in the local store")
        return tuple(sorted(found))
    with places.reading(ref, options) as store:
        lister = capability(store, TagLister)
        if lister is None:
            raise UnsupportedError(f"{ref.place} can't list tags")
        return tuple(lister.tags())


def ls(place: str | None = None) -> tuple[Listed, ...]:
    """What the local store holds, or a layout or an archive.

    Args:
        place: `oci:DIR`, `oci-archive:FILE` or a model's name; default is all of the local store.
    """
    ref = stores.locate(place) if place is not None else None
    if ref is None or ref.kind is Kind.LOCAL:
        try:
            store = stores.local_store()
        except NotFoundError:
            return ()  # nothing was ever packed here
        listed = tuple(_listed(store, entry, "") for entry in store.entries())
        return listed if ref is None else tuple(i for i in listed if i.name == ref.repository)
    if ref.kind not in {Kind.LAYOUT, Kind.ARCHIVE}:
        raise InputError(
            f"ls lists places on disk, which {ref.place} is not",
            hint=f"ocimlpack tags {ref.place}"
            if ref.kind in {Kind.REGISTRY, Kind.S3, Kind.BUCKET}
            else None,
        )
    with stores.reading(ref, stores.Access()) as opened:
        if not isinstance(opened, LayoutReader):
            raise AssertionError(f"{ref.kind} is read by something else than a layout reader")
        return tuple(_listed(opened, entry, ref.repository) for entry in opened.entries())


def repos(host: str, **options: Unpack[Connection]) -> tuple[str, ...]:
    """The repositories that a registry lists to these credentials, or those of a bucket, sorted.

    Args:
        host: `HOST[:PORT]`, `s3://BUCKET` or `ocios://BUCKET@NAMESPACE`.
        **options: see `Connection`.

    Raises:
        UnsupportedError: it has no such list.
    """
    if (found := _bucket_of(host)) is not None:
        from ocimlpack.stores import bucket_prune

        with stores.bucket(*found, places.access(options)) as objects:
            return tuple(bucket_prune.repositories(objects))
    from ocimlpack.stores.registry import list_repositories

    session = stores.session(check_host(host.removeprefix("oci://"), host), places.access(options))
    try:
        return tuple(list_repositories(session))
    finally:
        session.close()


def rm(reference: str, **options: Unpack[Connection]) -> Removed:
    """Remove a tag, or with a digest the manifest and all its tags.

    On disk, content that nothing needs any more is removed with the last tag; in a bucket, `prune`
    removes it.

    Raises:
        NotFoundError: there is no such tag or digest.
        UnsupportedError: the registry can't do that.
    """
    ref = places.locate(reference, options)
    if ref.tag is None and ref.digest is None:
        raise InputError(
            f"{reference} names neither a tag nor a digest", hint=f"for a tag: {reference}:TAG"
        )
    if ref.tag and ref.digest:
        raise InputError(f"{reference} names both a tag and a digest; which is to go?")
    if ref.kind is Kind.FOLDER:
        raise InputError(f"{reference} is a folder; rm removes artifacts")
    with (
        audit.recording("rm", ref, options) as (entry, how),
        places.changing(ref, how) as (store, root),
    ):
        entry.digest = str(root.digest)
        if ref.tag is None:
            freed = store.delete(root)
        else:
            store.untag(ref.tag)
            freer = capability(store, Freer)
            freed = freer.free(root) if freer else 0
    return Removed((str(ref),), freed)


def prune(
    place: str | None = None, *, dry_run: bool = False, **options: Unpack[Connection]
) -> Removed:
    """Remove what nothing refers to, and what interrupted work left behind.

    Args:
        place: a layout; a bucket; or a folder, to remove partial pulls into it and
            beside it. Default is the local store, and what is remembered of uploads that nobody
            goes on with.
        dry_run: only say what would be removed.
        **options: see `Connection`.

    Raises:
        ConflictError: somebody else prunes the bucket.
    """
    bucket = _bucket_of(place) if place is not None else None
    ref = stores.locate(place) if place is not None and bucket is None else None
    if bucket is not None:
        found = _prune_bucket(*bucket, dry_run, options)
    elif ref is not None and ref.kind in {Kind.S3, Kind.BUCKET}:
        # Its blobs are those of all repositories.
        found = _prune_bucket(ref.kind, ref.host, dry_run, options)
    elif ref is not None and ref.kind is Kind.FOLDER:
        found = unpack.prune(Path(ref.repository).expanduser(), dry_run=dry_run)
    elif ref is not None and ref.kind is Kind.LAYOUT:
        found = LayoutStore(Path(ref.repository).expanduser()).prune(dry_run=dry_run)
    elif ref is None:
        found = stores.local_store(create=True).prune(dry_run=dry_run)
        found += sessions.prune(home.uploads(), sessions.STALE, dry_run=dry_run)
    else:
        raise InputError(f"prune cleans places on disk and buckets, and {ref.place} is neither")
    return Removed(tuple(what for what, _ in found), sum(size for _, size in found), dry_run)


def _prune_bucket(
    kind: Kind, name: str, dry_run: bool, options: Connection
) -> list[tuple[str, int]]:
    from ocimlpack.stores import bucket_prune

    if dry_run:
        return _look_through(kind, name, options)
    place = f"{'s3' if kind is Kind.S3 else 'ocios'}://{name}"
    with audit.recording("prune", place, options) as (_, how):
        access = places.access(how)
        with stores.bucket(kind, name, access) as objects:
            return bucket_prune.prune(objects, dry_run=False, report=access.report)


def _look_through(kind: Kind, name: str, options: Connection) -> list[tuple[str, int]]:
    from ocimlpack.stores import bucket_prune

    access = places.access(options)
    with stores.bucket(kind, name, access) as objects:
        return bucket_prune.prune(objects, dry_run=True, report=access.report)


def _bucket_of(place: str) -> tuple[Kind, str] | None:
    """Kind and name of a bucket, where a location is all of one; else None."""
    for kind, prefix in ((Kind.S3, "s3://"), (Kind.BUCKET, "ocios://")):
        name = place.removeprefix(prefix).removesuffix("/")
        bucket, at, namespace = name.partition("@")
        whole = is_bucket(bucket) and bool(at) == (kind is Kind.BUCKET)
        if place.startswith(prefix) and whole and (not at or is_bucket(namespace)):
            return kind, name
    return None


def _listed(store: LayoutReader, entry: Entry, place: str) -> Listed:
    name, _, tag = (place, "", entry.name) if place else entry.name.rpartition(":")
    try:
        node = read_manifest(store, entry.desc)
        size = _size(store, entry.desc)
        artifact_type = node.artifact_type or (
            node.config.media_type if isinstance(node, Manifest) else entry.desc.media_type
        )
    except NotFoundError:
        size, artifact_type = 0, ""  # the entry outlived its manifest; it is listed to be removed
    return Listed(name, tag, str(entry.desc.digest), size, artifact_type)


def _size(store: LayoutReader, root: Descriptor) -> int:
    """Bytes of a manifest and of all that it needs, each piece counted once."""
    known: dict[Digest, int] = {root.digest: root.size}
    waiting = [root]
    while waiting:
        try:
            node = read_manifest(store, waiting.pop())
        except NotFoundError:
            continue  # an index may list what was never brought here
        new = [each for each in node.children if each.digest not in known]
        known.update((each.digest, each.size) for each in new)
        waiting += [each for each in new if is_manifest(each.media_type)]
    return sum(known.values())
