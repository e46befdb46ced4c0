"""Models on their way to a store: pack, push, copy. Each is one call of `transfer.copy`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Unpack, cast

from ocimlpack.app import audit, fallback, lineage, places
from ocimlpack.app.options import Connection, Describing, Moving, Packing, StrPath
from ocimlpack.app.transfers import Content, Transferred
from ocimlpack.errors import InputError, NotFoundError
from ocimlpack.model import hashing
from ocimlpack.model import pack as packing
from ocimlpack.model.digests import DigestCache
from ocimlpack.model.options import Form
from ocimlpack.model.pack import Packed
from ocimlpack.progress import Outcome, Warned, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores import home
from ocimlpack.stores import open as stores
from ocimlpack.stores.base import Ingester, ReadableStore, Store, capability
from ocimlpack.stores.referrers import referring_to
from ocimlpack.transfer import copy as transfer
from ocimlpack.transfer import pool
from ocimlpack.transfer.ahead import Destination

if TYPE_CHECKING:
    from ocimlpack.app.converting import Format
    from ocimlpack.model.image_base import Bases

CARDS: Final = ("README.md", "readme.md")
"""What a model's card may be called."""

_WRITTEN: Final = ("format", "platforms", "image_base")
"""Options that say what a model is written as, be it packed already or not."""


def pack(
    source: StrPath,
    target: str,
    *,
    tags: Sequence[str] = (),
    dry_run: bool = False,
    **options: Unpack[Moving],
) -> Transferred:
    """Pack a model's folder into an image layout, an archive or the local store.

    Args:
        source: the folder.
        target: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `NAME[:TAG]` in the local store.
        tags: further tags for it.
        dry_run: only say what would be done.
        **options: see `Packing` and `Connection`.

    Raises:
        InputError: the folder can't be packed, or the target is no such place.
    """
    ref = stores.locate(target)
    if ref.kind not in {Kind.LAYOUT, Kind.ARCHIVE, Kind.LOCAL, Kind.FOLDER}:
        raise InputError(
            f"pack writes to an image layout or the local store; {target} is neither",
            hint=f"ocimlpack push {os.fspath(source)} {target}",
        )
    origin = Reference(Kind.FOLDER, "", os.fspath(source))
    return _send_folder(origin, ref, tuple(tags), dry_run, options, "packing")


def push(
    source: StrPath,
    destination: str,
    *,
    tags: Sequence[str] = (),
    dry_run: bool = False,
    **options: Unpack[Moving],
) -> Transferred:
    """Send a model to a registry or any other place. A folder is packed on the way, not copied.

    Args:
        source: a folder, or the location of a packed model.
        destination: where to; `latest` if it has neither tag nor digest and `tags` is empty.
        tags: further tags for it.
        dry_run: only say what would be done.
        **options: see `Packing` and `Connection`.

    Raises:
        ConflictError: a file changed meanwhile; no tag was set. Or the destination is pinned to
            another digest.
    """
    ref = places.locate(destination, options)
    origin = places.source(source, options)
    if origin.kind is Kind.FOLDER:

        def work(place: Reference, how: Connection) -> Transferred:
            moving = cast(Moving, {**options, **how})
            return _send_folder(origin, place, tuple(tags), dry_run, moving, "pushing")

        return work(ref, options) if dry_run else recorded("push", ref, options, work)
    written = written_as(options)
    for name in _WRITTEN:
        options.pop(name, None)  # type: ignore[misc]
    if unused := sorted(Packing.__annotations__.keys() & options.keys()):
        raise InputError(f"{', '.join(unused)}: only for a folder, and {origin} is packed already")
    with places.found(origin, options) as (store, root):

        def resend(place: Reference, how: Connection) -> Transferred:
            if written and written.form:
                from ocimlpack.app import converting

                return converting.convert(
                    store, root, place, tuple(tags), written, dry_run, how, "pushing"
                )
            return send(store, root, place, tuple(tags), dry_run, how, "pushing")

        return resend(ref, options) if dry_run else recorded("push", ref, options, resend)


def copy(
    source: str,
    destination: str,
    *,
    tags: Sequence[str] = (),
    referrers: bool = False,
    format: Form | None = None,
    platforms: Sequence[str] = (),
    image_base: str | None = None,
    dry_run: bool = False,
    **options: Unpack[Connection],
) -> Transferred:
    """Copy an artifact from any location to any other, digests unchanged unless it is converted.

    Args:
        source: where it is.
        destination: where to; without a tag it gets the source's.
        tags: further tags for it.
        referrers: copy what refers to it as well: signatures, attestations and the like.
        format: write it anew as `modelpack`, `image` or `both`, as `pack` would write its files;
            whatever format it has, if that can be read.
        platforms: what an image is for, such as `linux/arm64`; see `Packing`.
        image_base: an image that it is put on; see `Packing`.
        dry_run: only say what would be done. A conversion reads the source for that.
        **options: see `Connection`.

    Raises:
        InputError: the artifact is to be converted, and what refers to it copied: that would refer
            to something else.
    """
    from ocimlpack.app import converting

    written = converting.Format(format, tuple(platforms), image_base)
    if format and referrers:
        raise InputError(
            "what refers to a model can't go with its conversion, which has another digest",
            hint="copy it as it is, or sign the converted one",
        )
    origin, ref = places.locate(source, options), places.locate(destination, options)
    names = tuple(tags)
    if not names and ref.tag is None and ref.digest is None and origin.tag:
        if format and str(ref.place) == str(origin.place):
            raise InputError(
                f"the conversion would take the tag {origin.tag} away from what it is made of",
                hint=f"give it a tag of its own: {ref.place}:{origin.tag}-{format}",
            )
        names = (origin.tag,)
    with places.found(origin, options) as (store, root):

        def work(how: Connection) -> Transferred:
            if format:
                return converting.convert(store, root, ref, names, written, dry_run, how, "copying")
            return send(store, root, ref, names, dry_run, how, "copying", referrers)

        if dry_run:
            return work(options)
        with audit.recording("copy", ref, options) as (entry, how):
            entry.digest = str(root.digest)
            done = work(how)
            entry.digest, entry.tags = done.digest, done.tags
        return done


def recorded(
    action: str,
    ref: Reference,
    options: Connection,
    work: Callable[[Reference, Connection], Transferred],
) -> Transferred:
    """Push, with the fallback's help where that is needed, and write it down.

    Args:
        action: the command's name.
        ref: the destination.
        options: those of the caller.
        work: pushes to the location that it is given, with these options.
    """
    with audit.recording(action, ref, options) as (entry, how):

        def noting(place: Reference, how: Connection) -> Transferred:
            # Now, and not at the end: the registry may have it and a mirror fail.
            done = work(place, how)
            entry.digest, entry.tags = done.digest, done.tags
            return done

        done = fallback.writing(ref, how, noting)
        entry.fallback, entry.reason = done.fallback, done.reason
    return done


def _send_folder(
    origin: Reference,
    ref: Reference,
    tags: tuple[str, ...],
    dry_run: bool,
    options: Moving,
    action: str,
) -> Transferred:
    targets = places.targets(ref, tags)  # a bad destination is said before hours of hashing
    folder = places.folder(origin)
    written = written_as(options)
    with written.opened(options) if written else nullcontext() as base:
        if dry_run or ref.digest or ref.kind is not Kind.REGISTRY:
            packed = pack_folder(folder, options, base)
            return send(packed, packed.root, ref, tags, dry_run, options, action)
        planned = _plan(folder, options)
        with places.writing(ref, options, partial(_readme, folder)) as dst:
            ahead = cast(Destination | None, capability(dst, Ingester))
            hashed = hash_layers(planned, options, ahead)
            packed = packing.seal(planned, hashed.digests, base=base)
            names = [str(target.tag) for target in targets]
            done = move(packed, packed.root, dst, names, options, action, hashed.sent)
        return transferred(ref, packed, packed.root, names, done)


def written_as(options: Describing) -> Format | None:
    """What a model is to become; None where nobody says.

    Raises:
        InputError: no such format, or options that don't go together.
    """
    if not any(options.get(name) for name in _WRITTEN):
        return None
    from ocimlpack.app import converting

    platforms = tuple(options.get("platforms", ()))
    return converting.Format(options.get("format"), platforms, options.get("image_base"))


def _readme(folder: Path) -> str | None:
    """The model card, to be shown with a repository that is made for the model."""
    for name in CARDS:
        with suppress(OSError):
            return (folder / name).read_text("utf-8", errors="replace")
    return None


def pack_folder(folder: Path, options: Moving, base: Bases | None = None) -> Packed:
    """A folder as an artifact whose blobs are the folder's own files.

    Args:
        folder: the model.
        options: how.
        base: an image that it is put on.
    """
    planned = _plan(folder, options)
    return packing.seal(planned, hash_layers(planned, options).digests, base=base)


def _plan(folder: Path, options: Moving) -> packing.Plan:
    """What a folder becomes; nothing is hashed yet."""
    report = options.get("report", ignore)
    given = replace(described(options), dereference=options.get("dereference", False))
    planned = packing.plan(folder, given)
    for warning in planned.warnings:
        report(Warned(warning))
    return lineage.recorded(planned, options)


def described(options: Describing) -> packing.Options:
    """How a caller wants a model's files to become an artifact."""
    file = options.get("file")
    return packing.Options(
        file=Path(file) if file is not None else None,
        name=options.get("name"),
        version=options.get("version"),
        license=options.get("license"),
        base=options.get("base"),
        annotations=dict(options.get("annotations", {})),
        include=tuple(options.get("include", ())),
        exclude=tuple(options.get("exclude", ())),
        artifact_type=options.get("artifact_type"),
        config=options.get("config"),
        created=options.get("created"),
        image_config=options.get("image_config", False),
        form=options.get("format") or "modelpack",
        platforms=tuple(options.get("platforms", ())),
    )


def hash_layers(
    planned: packing.Plan,
    options: Moving,
    destination: Destination | None = None,
    once: bool = False,
) -> hashing.Hashed:
    """The digests of layers, large ones sent to a destination meanwhile.

    Args:
        planned: what the layers are made of.
        options: how much is done at a time.
        destination: where large ones are sent.
        once: whether each is read only once.
    """
    return hashing.hash_sources(
        planned.sources,
        jobs=places.jobs(options),
        report=options.get("report", ignore),
        cache=None if options.get("rehash", False) else DigestCache(home.digests()),
        destination=destination,
        once=once,
    )


def send(
    src: ReadableStore,
    root: Descriptor,
    ref: Reference,
    tags: tuple[str, ...],
    dry_run: bool,
    options: Connection,
    action: str,
    with_referrers: bool = False,
) -> Transferred:
    """Move an artifact from a store to a location.

    Args:
        src: where it is.
        root: its manifest or index.
        ref: where to.
        tags: further tags for it.
        dry_run: only say what would be done.
        options: how the location is reached.
        action: the verb that progress shows.
        with_referrers: move what refers to it as well.

    Raises:
        ConflictError: the location is pinned to another digest.
    """
    names = [str(target.tag) for target in places.targets(ref, tags)]
    places.check_pin(ref, root)
    if dry_run:
        plan, contents = _rehearse(src, root, ref, options)
        rehearsed = transfer.Summary(plan, 0, 0, 0)
        return replace(transferred(ref, src, root, names, rehearsed), plan=contents, dry_run=True)
    with places.writing(ref, options) as dst:
        done = move(src, root, dst, names, options, action)
        if with_referrers:
            _copy_referrers(src, root, dst, options)
    return transferred(ref, src, root, names, done)


def transferred(
    ref: Reference,
    src: ReadableStore,
    root: Descriptor,
    names: Sequence[str],
    done: transfer.Summary,
) -> Transferred:
    """What a move did, for the caller.

    Args:
        ref: where it went.
        src: where it came from.
        root: what it was.
        names: the tags that it got.
        done: what was moved.
    """
    return Transferred(
        reference=places.pinned(ref, root),
        digest=str(root.digest),
        size=done.plan.total,
        # An image's layers hold several files each, and several manifests have the same.
        files=len(src.files) if isinstance(src, Packed) else done.plan.layers,
        tags=tuple(names),
        moved=done.moved,
        skipped=done.skipped,
        mounted=done.mounted,
        warnings=src.warnings if isinstance(src, Packed) else (),
    )


def move(
    src: ReadableStore,
    root: Descriptor,
    dst: Store,
    tags: Sequence[str],
    options: Connection,
    action: str,
    sent: Mapping[Digest, Outcome] = MappingProxyType({}),
) -> transfer.Summary:
    """Copy from a store to a store, as the options say.

    Args:
        src: where it is.
        root: what to copy.
        dst: where to.
        tags: the tags that it gets.
        options: how much is done at a time, and who is told.
        action: the verb that progress shows.
        sent: content that was dealt with before.
    """
    return transfer.copy(
        src,
        root,
        dst,
        tags,
        jobs=places.jobs(options),
        report=options.get("report", ignore),
        action=action,
        done=sent,
    )


def _copy_referrers(src: ReadableStore, root: Descriptor, dst: Store, options: Connection) -> None:
    for found in referring_to(src, root):
        move(src, found, dst, (), options, "copying referrers")


def _rehearse(
    src: ReadableStore, root: Descriptor, ref: Reference, options: Connection
) -> tuple[transfer.Plan, tuple[Content, ...]]:
    """Look at the destination without changing it, not even making it."""
    plan = transfer.plan(src, root)
    try:
        with places.reading(ref, options) as dst:
            here = pool.run([_asking(dst, leaf) for leaf in plan.leaves], places.jobs(options))
    except NotFoundError:
        here = [False] * len(plan.leaves)
    return plan, tuple(
        Content(
            path=transfer.label(leaf),
            media_type=leaf.media_type,
            digest=str(leaf.digest),
            size=leaf.size,
            fate="skip" if there else "upload",
        )
        for leaf, there in zip(plan.leaves, here, strict=True)
    )


def _asking(store: ReadableStore, desc: Descriptor) -> pool.Task[bool]:
    return lambda _: store.exists(desc)
