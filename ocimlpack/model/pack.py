"""A model's folder as an artifact: layers that are its files, a config and a manifest in memory.

Nothing is copied: the files themselves are the blobs, and what comes out is a store to copy from.
The same paths and bytes give the same digest on every machine; docs/format.md has the rules.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocimlpack.errors import InputError, NotFoundError
from ocimlpack.model import facts, metadata, times
from ocimlpack.model.config import Fields, Value, check, encode_config, encode_image_config
from ocimlpack.model.detect import Item, detect
from ocimlpack.model.digests import DigestCache
from ocimlpack.model.formats import HEAD, Role, classify, mode, weight_rank
from ocimlpack.model.hashing import hash_sources
from ocimlpack.model.layers import PlannedBundle, PlannedFile, PlannedLayer, arrange
from ocimlpack.model.names import selector
from ocimlpack.model.options import (
    DEFAULTS,
    CustomConfig,
    Form,
    Options,
    Said,
    artifact_type,
    custom_config,
    platforms,
    read_metadata,
)
from ocimlpack.model.recipe import choose, selecting
from ocimlpack.model.tree import Entry, walk
from ocimlpack.progress import Reporter, ignore
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor, Platform
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest, build
from ocimlpack.stores.base import Blob, BytesBlob, ReadableStore
from ocimlpack.transfer.ahead import Source

if TYPE_CHECKING:
    from ocimlpack.model.image_base import Bases

__all__ = ["Options", "Packed", "Plan", "PlannedFile", "pack", "plan", "seal"]

_ORDER: Final = {kind: place for place, kind in enumerate(mediatypes.KINDS)}
_KEPT_HEAD: Final = 64
"""Bytes of each file that are kept: enough to know a pointer of Git LFS by."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is known of the artifact before a byte is hashed.

    Attributes:
        layers: in the manifest's order.
        fields: fields of the config.
        annotations: annotations of the manifest.
        artifact_type: the manifest's artifactType, or None for none.
        config: the config blob, if it is not to be made of the fields.
        image_config: whether the fields become the config of a container image.
        form: what the model is written as; for an image, the layers are `PlannedTar`s.
        platforms: what an image is for.
        warnings: what a person should know.
        base: the location of the model that this one was made from, or None; what it stands for is
            to be found out, and put among the annotations.
    """

    layers: tuple[PlannedLayer, ...]
    fields: Fields
    annotations: Mapping[str, str]
    artifact_type: str | None
    config: CustomConfig | None
    image_config: bool
    warnings: tuple[str, ...]
    form: Form = "modelpack"
    platforms: tuple[Platform, ...] = ()
    base: str | None = None

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        """The files in all layers."""
        return tuple(file for layer in self.layers for file in layer.files)

    @property
    def sources(self) -> list[Source]:
        """The content whose digests are wanted, under the names that `seal` knows it by."""
        return [
            Source(layer.name, layer.size, layer.blob)
            for layer in self.layers
            if layer.digest is None
        ]

    @property
    def known(self) -> dict[str, Digest]:
        """The digests that are known beforehand, by the layers' names."""
        return {layer.name: layer.digest for layer in self.layers if layer.digest}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed model: a store that holds one artifact, to be copied from.

    Attributes:
        root: what is packed: the manifest's descriptor, or that of an index which lists it.
        manifest: the manifest.
        config: its config's bytes.
        files: the files in all layers.
        warnings: what a person should know.
        origin: the store that content comes from, if that is no folder.
    """

    root: Descriptor
    manifest: Manifest
    config: bytes
    files: tuple[PlannedFile, ...]
    warnings: tuple[str, ...]
    _blobs: Mapping[Digest, Blob] = field(repr=False)
    origin: ReadableStore | None = None

    def resolve(self, name: str) -> Descriptor:
        """The manifest's descriptor, by its digest: there are no tags here.

        Raises:
            NotFoundError: any other name.
        """
        if name != str(self.root.digest):
            raise NotFoundError(f"the packed model is {self.root.digest}, not {name}")
        return self.root

    def exists(self, desc: Descriptor) -> bool:
        """Whether the content is part of the artifact."""
        return desc.digest in self._blobs

    def fetch(self, desc: Descriptor) -> Blob:
        """The content: a file, or a few bytes in memory.

        Raises:
            NotFoundError: it is not part of the artifact.
        """
        try:
            return self._blobs[desc.digest]
        except KeyError:
            raise NotFoundError(
                f"no {desc.digest} in the packed model", digest=str(desc.digest)
            ) from None

    def read(self, desc: Descriptor, offset: int, length: int) -> bytes:
        """Exactly the bytes from `offset` on, fewer only at the content's end."""
        with self.fetch(desc).open(offset) as stream:
            return stream.read(length)

    def close(self) -> None:
        """Nothing is kept open."""


def plan(folder: Path, options: Options = DEFAULTS) -> Plan:
    """Find out what a folder holds: its files are listed, and headers and small ones read.

    Raises:
        InputError: the folder, an option or the metadata file can't be used as it is.
        UnsafeSourceError: a file that can't be packed.
        ConflictError: a file is being changed.
    """
    wanted = selector(options.include, options.exclude)
    terms = Terms.of(options)
    said, path = read_metadata(folder, options)
    wanted = selecting(said.about.recipe, wanted)
    entries = walk(folder, wanted, skip=path, dereference=options.dereference)
    return compose(entries, said, options, terms, str(folder))


@dataclass(frozen=True, slots=True)
class Terms:
    """What options ask for, checked before anything is read.

    Attributes:
        config: the config blob, if it is not to be made of fields.
        artifact_type: the manifest's artifactType, or None for none.
        created: the time to record, or None for none.
        platforms: what an image is for.
    """

    config: CustomConfig | None
    artifact_type: str | None
    created: str | None
    platforms: tuple[Platform, ...]

    @classmethod
    def of(cls, options: Options) -> Terms:
        """Check the options.

        Raises:
            InputError: one can't be used as it is.
        """
        return cls(
            custom_config(options),
            artifact_type(options),
            times.recorded(options.created, os.environ),
            platforms(options),
        )


def compose(
    entries: Sequence[Entry], said: Said, options: Options, terms: Terms, place: str
) -> Plan:
    """What becomes of a model's files, wherever they are.

    Args:
        entries: the files, in the order of their paths.
        said: what a metadata file says.
        options: how.
        terms: the options, checked.
        place: where the files are, for messages.

    Raises:
        InputError: there are none, or the metadata file does not fit them.
        ConflictError: a file is being changed.
    """
    filtered = bool(options.include or options.exclude)
    about, notes = said.about, said.notes
    chosen = choose(about.recipe, entries, filtered=filtered) if about.recipe else None
    if chosen:
        entries, notes = chosen.entries, (*notes, *chosen.notes)
    if not entries:
        raise InputError(
            f"{place} has no files to pack",
            hint="see what --include, --exclude and .ocimlpackignore leave" if filtered else None,
            side="source",
        )
    items, unmatched = _classify(entries, about, chosen.kinds if chosen else {})
    detected = detect(items)
    created = terms.created
    items.sort(key=_place)
    given = {**about.fields, **_given(options, created)}
    fields = _merge(detected.fields, given)
    annotations = {mediatypes.CREATED: created} if created else {}
    annotations |= {**about.annotations, **options.annotations}
    if terms.config is None:
        # A config that somebody brought along says what it says, and needs nothing from here.
        annotations = facts.write(
            fields, detected.facts, annotations, given=given.keys(), guessed=detected.guessed
        )
    if "" in annotations:
        raise InputError("an annotation has no name")
    layers = layers_of([_planned(item) for item in items], options.form)
    return Plan(
        layers=layers,
        fields=fields,
        annotations=annotations,
        artifact_type=terms.artifact_type,
        config=terms.config,
        image_config=options.image_config,
        base=options.base or about.base,
        warnings=(*notes, *unmatched, *detected.warnings, *_bundled(layers)),
        form=options.form,
        platforms=terms.platforms,
    )


def layers_of(files: Sequence[PlannedFile], form: Form) -> tuple[PlannedLayer, ...]:
    """What becomes of files.

    Args:
        files: in the order of the layers that they would be.
        form: what the model is written as.
    """
    if form == "modelpack":
        return arrange(files)
    from ocimlpack.model import image  # late: most models are no images

    return image.arrange(files)


def seal(
    plan: Plan,
    digests: Mapping[str, Digest],
    origin: ReadableStore | None = None,
    base: Bases | None = None,
) -> Packed:
    """Write config and manifest, now that the files' digests are known.

    Args:
        plan: what to pack.
        digests: each layer's digest by its name, if the plan does not know it.
        origin: the store that the content comes from, if that is no folder.
        base: an image that the model is put on, for an image.

    Raises:
        InvalidContentError: so many files that the manifest is too large for registries.
    """
    digests = {**digests, **plan.known}
    if plan.form != "modelpack":
        return _seal_image(plan, digests, origin, base)
    layers = [layer.layer(digests[layer.name]) for layer in plan.layers]
    diff_ids = [layer.digest for layer in layers]
    if plan.config:
        config, media_type = plan.config.content, plan.config.media_type
    elif plan.image_config:
        config, media_type = encode_image_config(plan.fields, diff_ids), mediatypes.OCI_CONFIG
    else:
        config, media_type = encode_config(plan.fields, diff_ids), mediatypes.MODEL_CONFIG
    manifest = build(
        Descriptor.of(config, media_type),
        layers,
        artifact_type=plan.artifact_type,
        annotations=plan.annotations,
    )
    blobs: dict[Digest, Blob] = {
        layer.digest: planned.taken or planned.blob
        for layer, planned in zip(layers, plan.layers, strict=True)
    }
    blobs[manifest.config.digest] = BytesBlob(config)
    blobs[manifest.descriptor.digest] = BytesBlob(manifest.raw)
    return Packed(manifest.descriptor, manifest, config, plan.files, plan.warnings, blobs, origin)


def _seal_image(
    plan: Plan,
    digests: Mapping[str, Digest],
    origin: ReadableStore | None,
    base: Bases | None,
) -> Packed:
    from ocimlpack.model import image

    tars = [layer for layer in plan.layers if isinstance(layer, image.PlannedTar)]
    both = plan.form == "both"
    sealed = image.seal(
        tars,
        digests,
        plan.fields,
        plan.annotations,
        plan.platforms,
        both=both,
        bases=base.images if base else None,
    )
    blobs: dict[Digest, Blob] = {digests[tar.name]: tar.taken or tar.blob for tar in tars}
    if base:
        for layer in (layer for each in base.images.values() for layer in each.layers):
            blobs[layer.digest] = base.store.fetch(layer.plain)
    blobs |= {digest: BytesBlob(config) for digest, config in sealed.configs.items()}
    blobs |= {node.descriptor.digest: BytesBlob(node.raw) for node in sealed.manifests}
    config = sealed.configs[sealed.manifest.config.digest]
    root = sealed.root.descriptor
    return Packed(root, sealed.manifest, config, plan.files, plan.warnings, blobs, origin)


def pack(
    folder: Path,
    options: Options = DEFAULTS,
    *,
    jobs: int = 4,
    report: Reporter = ignore,
    cache: DigestCache | None = None,
) -> Packed:
    """Make an artifact of a folder: plan it, hash its files, seal it.

    Args:
        folder: the model.
        options: how.
        jobs: how many files are hashed at a time.
        report: gets the progress events.
        cache: knows the digests of files that are unchanged since; they are not read.

    Raises:
        InputError: the folder, an option or the metadata file can't be used as it is.
        UnsafeSourceError: a file that can't be packed.
        ConflictError: a file was changed meanwhile.
        InvalidContentError: so many files that the manifest is too large for registries.
    """
    planned = plan(folder, options)
    hashed = hash_sources(planned.sources, jobs=jobs, report=report, cache=cache)
    return seal(planned, hashed.digests)


def _classify(
    entries: Sequence[Entry], about: metadata.Metadata, kinds: Mapping[str, mediatypes.Kind]
) -> tuple[list[Item], tuple[str, ...]]:
    """A role for each file, and warnings of patterns that match none.

    Raises:
        InputError: two kinds' patterns match the same file.
    """
    items = []
    for entry in entries:
        head = entry.blob.head(HEAD)
        # Of very many files, whole heads would fill the memory.
        role, kind = classify(entry.path, head), kinds.get(entry.path)
        if kind:
            role = Role(kind, role.format)
        items.append(Item(entry, role, mode(head), head[:_KEPT_HEAD], fixed=kind is not None))
    unmatched = []
    for kind, globs in about.files.items():
        for glob in globs:
            matches = selector((glob,), ())
            if not any(matches(item.path) for item in items):
                unmatched.append(f"files: {kind}: no file matches {glob!r:.120}")
        matches = selector(globs, ()) if globs else lambda _: False
        for item in items:
            if not matches(item.path):
                continue
            if item.fixed and item.role.kind != kind:
                raise InputError(
                    f"{item.path} is both {item.role.kind} and {kind} by the metadata's `files:`"
                )
            item.role, item.fixed = Role(kind, item.role.format), True
    return items, tuple(unmatched)


def _place(item: Item) -> tuple[int, int, bytes]:
    """Where a file stands among the layers."""
    kind = item.role.kind
    rank = weight_rank(item.role.format) if kind == "weight" else 0
    return _ORDER[kind], rank, item.path.encode()


def _planned(item: Item) -> PlannedFile:
    entry = item.entry
    return PlannedFile(item.path, item.role.kind, entry.size, item.mode, entry.blob, entry.digest)


def _bundled(layers: Sequence[PlannedLayer]) -> tuple[str, ...]:
    bundles = [layer for layer in layers if isinstance(layer, PlannedBundle)]
    if not bundles:
        return ()
    count = sum(len(bundle.files) for bundle in bundles)
    return (
        f"{count:,} small files are bundled into {len(bundles):,} archives, "
        "as a manifest has no room for so many; some other programs don't unpack them",
    )


def _given(options: Options, created: str | None) -> dict[str, Value]:
    """The fields that options set."""
    given: dict[str, Value | None] = {
        "createdAt": created,
        "name": options.name,
        "version": options.version,
        "licenses": None if options.license is None else (options.license,),
    }
    return {name: check(name, value) for name, value in given.items() if value is not None}


def _merge(detected: Fields, given: Mapping[str, Value | None]) -> dict[str, Value]:
    """What is detected, but where a person has said something, that."""
    merged = {**detected, **given}
    return {name: value for name, value in merged.items() if value is not None}
