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
from ocimlpack.spec.manifest import Manifest
from ocimlpack.spec.reference import Kind, check_host, check_tag
from ocimlpack.stores import home, sessions
from ocimlpack.stores import open as stores
from ocimlpack.stores.base import TagLister, capability
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
            f"ls lists places on disk, not a {ref.kind}",
            hint=f"ocimlpack tags {ref.place}" if ref.kind is Kind.REGISTRY else None,
        )
    with stores.reading(ref, stores.Access()) as opened:
        if not isinstance(opened, LayoutReader):
            raise AssertionError(f"{ref.kind} is read by something else than a layout reader")
        return tuple(_listed(opened, entry, ref.repository) for entry in opened.entries())


def repos(host: str, **options: Unpack[Connection]) -> tuple[str, ...]:
    """The repositories that a registry lists to these credentials, sorted.

    Raises:
        UnsupportedError: it has no such list.
    """
    from ocimlpack.stores.registry import list_repositories

    session = stores.session(check_host(host.removeprefix("oci://"), host), places.access(options))
    try:
        return tuple(list_repositories(session))
    finally:
        session.close()


def rm(reference: str, **options: Unpack[Connection]) -> Removed:
    """Remove a tag, or with a digest the manifest and all its tags.

    On disk, content that nothing needs any more is removed with the last tag.

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
            freed = _free(store, root) if isinstance(store, LayoutStore) else 0
    return Removed((str(ref),), freed)


def prune(place: str | None = None, *, dry_run: bool = False) -> Removed:
    """Remove what nothing refers to, and what interrupted work left behind.

    Args:
        place: a layout; or a folder, to remove partial pulls into it and beside it. Default is the
            local store, and what is remembered of uploads that nobody goes on with.
        dry_run: only say what would be removed.
    """
    ref = stores.locate(place) if place is not None else None
    if ref is not None and ref.kind is Kind.FOLDER:
        found = unpack.prune(Path(ref.repository).expanduser(), dry_run=dry_run)
    elif ref is not None and ref.kind is Kind.LAYOUT:
        found = LayoutStore(Path(ref.repository).expanduser()).prune(dry_run=dry_run)
    elif ref is None:
        found = stores.local_store(create=True).prune(dry_run=dry_run)
        found += sessions.prune(home.uploads(), sessions.STALE, dry_run=dry_run)
    else:
        raise InputError(f"prune cleans places on disk, not a {ref.kind}")
    return Removed(tuple(what for what, _ in found), sum(size for _, size in found), dry_run)


def _free(store: LayoutStore, desc: Descriptor) -> int:
    """Remove what only the manifest needed that has just lost a tag, unless it has others."""
    if any(entry.desc.digest == desc.digest for entry in store.entries()):
        return 0
    return store.delete(desc)


def _listed(store: LayoutReader, entry: Entry, place: str) -> Listed:
    name, _, tag = (place, "", entry.name) if place else entry.name.rpartition(":")
    try:
        node = read_manifest(store, entry.desc)
        known = {each.digest: each.size for each in node.children}
        size = sum(known.values()) + entry.desc.size
        artifact_type = node.artifact_type or (
            node.config.media_type if isinstance(node, Manifest) else entry.desc.media_type
        )
    except NotFoundError:
        size, artifact_type = 0, ""  # the entry outlived its manifest; it is listed to be removed
    return Listed(name, tag, str(entry.desc.digest), size, artifact_type)
