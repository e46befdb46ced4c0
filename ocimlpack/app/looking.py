"""Looking without changing: what a model is, and whether it is whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

from ocimlpack.app import fallback, lineage, places
from ocimlpack.app.fallback import Known
from ocimlpack.app.moving import pack_folder
from ocimlpack.app.options import Connection, Moving
from ocimlpack.app.results import (
    Inspected,
    InspectedFile,
    InspectedTensor,
    InspectedWeights,
    Verified,
)
from ocimlpack.errors import InputError, InvalidContentError, NotFoundError, UnsupportedError
from ocimlpack.model import facts, listing, parameters, readers, receipt
from ocimlpack.model.headers import Header
from ocimlpack.model.readers import Content
from ocimlpack.progress import Began, Ended, Moved, Planned, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores import open as stores
from ocimlpack.stores.base import ReadableStore
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.verify import chunks
from ocimlpack.transfer import copy as transfer
from ocimlpack.transfer import pool

if TYPE_CHECKING:
    from ocimlpack.model.tensors import Weights

_MAX_TAGS = 64
"""Tags of a registry that are looked up to say which of them stand for a digest: a request each."""


def inspect(
    reference: str,
    *,
    archives: bool = False,
    tensors: bool = False,
    **options: Unpack[Connection],
) -> Inspected:
    """What a model is. For a folder: what it would be, packed.

    Args:
        reference: the model.
        archives: list the files in archives, too; the archives have to be read for that.
        tensors: read the headers of its weights. Only they move; and they are not held against a
            digest, which is always that of a whole file.
        **options: see `Connection`.
    """
    at_a_time = places.jobs(options) if tensors else 0
    ref = places.locate(reference, options)
    if ref.kind is Kind.FOLDER:
        packed = pack_folder(places.folder(ref), cast(Moving, options))
        return _inspected(str(ref), packed, packed.root, (), archives, at_a_time)

    def work(place: Reference, known: Known, how: Connection) -> Inspected:
        with places.found(place, how) as (store, root):
            known.digest = root.digest
            tags = places.tags_of(store, root, _MAX_TAGS, options.get("report", ignore))
            return _inspected(places.pinned(place, root), store, root, tags, archives, at_a_time)

    return fallback.reading(ref, options, work)


def verify(target: str, **options: Unpack[Connection]) -> Verified:
    """Read everything through and compare it with its digest.

    Args:
        target: a pulled folder, which is held against its receipt; a model, of which every blob is
            read; or a layout without a tag: all that it holds.
        **options: see `Connection`.

    Raises:
        IntegrityError: names what is missing or wrong.
        InputError: a folder without a receipt.
    """
    ref = places.locate(target, options)
    if ref.kind is Kind.LOCAL and (Path(target) / receipt.PATH).is_file():
        # A bare name is a model of the local store, but a receipt leaves no doubt what is meant.
        ref = Reference(Kind.FOLDER, "", target)
    if ref.kind is Kind.FOLDER:
        checked = receipt.verify(
            places.folder(ref),
            jobs=places.jobs(options),
            report=options.get("report", ignore),
        )
        return Verified(
            target=str(ref),
            digest=str(checked.digest),
            checked=checked.checked,
            size=checked.size,
            extra=checked.extra,
        )
    if ref.kind is Kind.LAYOUT and ref.tag is None and ref.digest is None:
        with stores.reading(ref, places.access(options)) as layout:
            if not isinstance(layout, LayoutStore):
                raise AssertionError("a layout was opened as something else")
            for entry in layout.entries():
                transfer.plan(layout, entry.desc)
            blobs = list(layout.blobs())
            _read_through(layout, blobs, options)
        return Verified(str(ref), "", len(blobs), sum(blob.size for blob in blobs))
    # What a mirror has says nothing of what is stored there.
    with places.found(ref, options, mirrored=False) as (store, root):
        plan = transfer.plan(store, root)
        _read_through(store, list(plan.leaves), options)
        count = len(plan.leaves) + len(plan.manifests)
        return Verified(places.pinned(ref, root), str(root.digest), count, plan.total)


def _read_through(store: ReadableStore, blobs: list[Descriptor], options: Connection) -> None:
    report = options.get("report", ignore)
    report(Planned("verifying", len(blobs), sum(blob.size for blob in blobs)))

    def task(desc: Descriptor) -> pool.Task[None]:
        def read(stop: pool.Stop) -> None:
            name, done = transfer.label(desc), 0
            report(Began(name, desc.size))
            with store.fetch(desc).open() as stream:
                for chunk in chunks(stream, desc):
                    stop.check()
                    done += len(chunk)
                    report(Moved(name, done))
            report(Ended(name, desc.size, "hashed"))

        return read

    pool.run([task(blob) for blob in blobs], places.jobs(options))


def _inspected(
    reference: str,
    store: ReadableStore,
    root: Descriptor,
    tags: tuple[str, ...],
    archives: bool,
    weights: int,
) -> Inspected:
    """The same of what is opened; `weights` are read so many at a time, or not at all."""
    node = read_manifest(store, root)
    manifest = model_in(store, node)
    found = Inspected(
        reference=reference,
        digest=str(root.digest),
        artifact_type=node.artifact_type or root.media_type,
        size=transfer.plan(store, root).total,
        model={},
        files=(),
        tags=tags,
        annotations=dict(node.annotations),
        manifest=node.raw.decode(),
        config="",
    )
    if manifest is None:
        return found
    config = readers.config_of(store, manifest).decode("utf-8", "surrogateescape")
    if isinstance(node, Manifest):
        found = replace(found, artifact_type=node.artifact_type or node.config.media_type)
    # Shown all the same, whatever it is: who inspects wants to see what is wrong with it.
    try:
        found = replace(found, config=config, model=dict(readers.fields_of(store, manifest)))
    except InvalidContentError as error:
        found = replace(found, config=config, notes=(error.message,))
    try:
        content = readers.understand(store, manifest)
    except (InvalidContentError, UnsupportedError) as error:
        problem = f"({error.message})"
        return replace(
            found,
            files=tuple(
                InspectedFile(problem, "", each.size, str(each.digest), each.media_type)
                for each in manifest.layers
            ),
        )
    found = replace(
        found,
        files=_files(store, content, archives),
        format=content.format,
        notes=(*content.notes, *found.notes),
        facts=facts.facts_in(manifest.annotations),
        origins=facts.origins_in(manifest.annotations),
        base=lineage.named(manifest.annotations),
    )
    return _with_tensors(found, store, content, weights) if weights else found


def _with_tensors(found: Inspected, store: ReadableStore, content: Content, jobs: int) -> Inspected:
    """The same with what its weights say, also of the model where the config says nothing."""
    from ocimlpack.model import tensors

    weights, notes = tensors.weights(store, content.members, jobs)
    return replace(
        found,
        model={**tensors.said(weights), **found.model},
        notes=found.notes + notes,
        weights=tuple(map(_weights, weights)),
    )


def _weights(found: Weights) -> InspectedWeights:
    header = found.header or Header({})
    types = parameters.within(header, found.format)
    return InspectedWeights(
        path=found.path,
        format=found.format,
        size=found.size,
        parameters=sum(types.values()),
        types=dict(types.most_common()),
        facts={**header.fields, **header.facts},
        tensors=tuple(
            InspectedTensor(name, each.type, each.shape, each.count, each.size)
            for name, each in header.tensors.items()
        ),
        problem=found.problem,
    )


def model_in(store: ReadableStore, node: Manifest | Index) -> Manifest | None:
    """The manifest that is the model; None for an index that is of nothing in particular."""
    if isinstance(node, Manifest):
        return node
    try:
        return readers.manifest_in(store, readers.choose(store, node))
    except (InputError, NotFoundError):
        return None


def _files(store: ReadableStore, content: Content, archives: bool) -> tuple[InspectedFile, ...]:
    if archives:
        return tuple(
            InspectedFile(
                entry.path, each.kind, entry.size, str(entry.digest), each.desc.media_type
            )
            for each, entry in listing.tree(content.members, store.fetch)
        )
    return tuple(
        InspectedFile(
            each.shown or each.path,
            each.kind,
            each.desc.size,
            str(each.desc.digest),
            each.desc.media_type,
        )
        for each in content.members
    )
