"""What differs between two models, wherever they are, with as few bytes moved as can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Unpack, cast

from ocimlpack.app import lineage, places
from ocimlpack.app.moving import pack_folder
from ocimlpack.app.options import Connection, Moving, StrPath
from ocimlpack.errors import InvalidContentError
from ocimlpack.model import facts, listing, tensor_difference, tensors
from ocimlpack.model.archive import takes_away
from ocimlpack.model.artifact import Member
from ocimlpack.model.config import FORMS
from ocimlpack.model.difference import (
    FieldDifference,
    File,
    FileDifference,
    compare_fields,
    compare_files,
    pair_tensors,
)
from ocimlpack.model.inside import places as places_in
from ocimlpack.model.readers import manifest_in, understand
from ocimlpack.model.tensor_difference import TensorDifference
from ocimlpack.model.tensors import Weights
from ocimlpack.progress import ignore
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest
from ocimlpack.spec.mediatypes import TITLE
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores.base import ReadableStore
from ocimlpack.stores.range_stream import seekable
from ocimlpack.transfer import pool

_Looked = tuple[tuple[Weights, ...], tuple[str, ...]]

_MAX_GLIMPSED: Final = 64
"""Files of an archive far away, each of which takes a request."""

_LOCAL: Final = frozenset({Kind.FOLDER, Kind.LAYOUT, Kind.ARCHIVE, Kind.LOCAL})


@dataclass(frozen=True, slots=True)
class Difference:
    """What diff found.

    Attributes:
        a: the first model, pinned to its digest; a folder as it was named.
        b: the second one.
        digest_a: the digest of the first one's manifest; of a folder's, were it packed.
        digest_b: that of the second one's.
        differs: whether a file, a field or an annotation does.
        files: the files that differ, by their paths.
        same_files: how many are the same.
        metadata: the fields of the config that differ.
        annotations: the annotations of the manifest that differ.
        tensors: the tensors that are not known to be the same, in files of weights that differ.
        same_tensors: how many in those files are the same.
        size_a: bytes of all content of the first one, each piece counted once.
        size_b: those of the second one.
        shared: how many bytes of the second one's content are in the first one, too.
        notes: what could not be compared, and why.
    """

    a: str
    b: str
    digest_a: str
    digest_b: str
    differs: bool
    files: tuple[FileDifference, ...]
    same_files: int
    metadata: tuple[FieldDifference[object], ...]
    annotations: tuple[FieldDifference[str], ...]
    tensors: tuple[TensorDifference, ...]
    same_tensors: int
    size_a: int
    size_b: int
    shared: int
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Side:
    """One of the two models.

    Attributes:
        letter: `A` or `B`.
        reference: what it is called in the result.
        store: where its content is.
        manifest: what it consists of.
        members: its layers, as files and archives.
        fields: what its config says.
        kind: the kind of place that it is in.
        notes: what could not be understood.
    """

    letter: str
    reference: str
    store: ReadableStore
    manifest: Manifest
    members: tuple[Member, ...]
    fields: Mapping[str, object]
    kind: Kind
    notes: list[str] = field(default_factory=list)

    @property
    def is_local(self) -> bool:
        """Whether reading it moves no bytes."""
        return self.kind in _LOCAL

    @property
    def archives(self) -> dict[Digest, Member]:
        """The layers that are archives."""
        return {each.desc.digest: each for each in self.members if each.encoding != "raw"}

    @property
    def blobs(self) -> dict[Digest, int]:
        """The sizes of all content."""
        content = (*self.manifest.children, self.manifest.descriptor)
        return {each.digest: each.size for each in content}


def diff(
    a: StrPath,
    b: StrPath | None = None,
    *,
    stats: bool = False,
    archives: bool = False,
    **options: Unpack[Connection],
) -> Difference:
    """What differs between two models.

    Of files whose digests differ, only the headers of weights are read. Where both models are on
    this machine, the bytes of tensors of the same type and shape are compared as well.

    Args:
        a: a folder, or a location.
        b: another one. Without it, `a` is compared with the base that it records: the base is A in
            the result, and `a` is B.
        stats: read these tensors wherever they are, and say how far their numbers are apart.
        archives: read archives wherever they are, to compare the files in them. Those on this
            machine are read anyway.
        **options: see `Connection`.

    Raises:
        NotFoundError: one of them is not there.
        InputError: there is no `b`, and `a` records no base.
        InvalidContentError: one of them is damaged.
    """
    with ExitStack() as stack:
        first = places.source(a, options)
        if b is None:
            right = _open(stack, "B", first, options)
            base = lineage.base_of(first, right.manifest.annotations, options)
            left = _open(stack, "A", base, options)
        else:
            left = _open(stack, "A", first, options)
            right = _open(stack, "B", places.source(b, options), options)
        return _compare(left, right, stats, archives, options)


def _open(stack: ExitStack, letter: str, ref: Reference, options: Connection) -> _Side:
    """One of the two models, its content not yet looked at."""
    if ref.kind is Kind.FOLDER:
        packed = pack_folder(places.folder(ref), cast(Moving, options))
        store: ReadableStore = packed
        manifest, reference = packed.manifest, str(ref)
    else:
        store, root = stack.enter_context(places.found(ref, options))
        manifest, reference = manifest_in(store, root), places.pinned(ref, root)
    content = understand(store, manifest)
    side = _Side(letter, reference, store, manifest, content.members, {}, ref.kind)
    side.notes += [f"{letter}: {note}" for note in content.notes]
    try:
        side.fields = _flat(content.fields)
    except InvalidContentError as error:
        side.notes.append(f"{letter}: its metadata can't be read: {error.message}")
    return side


def _flat(fields: Mapping[str, Any]) -> dict[str, object]:
    """The fields with those of `capabilities` beside the others; other objects are not of it."""
    capabilities = fields.get("capabilities")
    nested = capabilities if isinstance(capabilities, Mapping) else {}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (*fields.items(), *nested.items())
        if not isinstance(value, Mapping)
    }


def _compare(a: _Side, b: _Side, stats: bool, archives: bool, options: Connection) -> Difference:
    files, same_files = compare_files(*_files(a, b, archives))
    metadata, annotations = _metadata(a, b), _annotations(a, b)
    found = _tensors(a, b, files, stats, options)
    blobs = b.blobs
    return Difference(
        a=a.reference,
        b=b.reference,
        digest_a=str(a.manifest.descriptor.digest),
        digest_b=str(b.manifest.descriptor.digest),
        differs=bool(files or metadata or annotations),
        files=tuple(files),
        same_files=same_files,
        metadata=tuple(metadata),
        annotations=tuple(annotations),
        tensors=tuple(each for each in found if each.state != "same"),
        same_tensors=sum(each.state == "same" for each in found),
        size_a=sum(a.blobs.values()),
        size_b=sum(blobs.values()),
        shared=sum(blobs[digest] for digest in blobs.keys() & a.blobs.keys()),
        notes=(*a.notes, *b.notes),
    )


def _metadata(a: _Side, b: _Side) -> list[FieldDifference[object]]:
    """Fields of the config, and facts: the latter only where whoever packed it knew of facts."""
    ours, theirs = (_said(side, other) for side, other in ((a, b), (b, a)))
    return compare_fields(ours, theirs, (*FORMS, *facts.FACTS))


def _said(side: _Side, other: _Side) -> dict[str, object]:
    """What one side says that the other might have said as well."""
    said: dict[str, object] = dict(side.fields)
    if facts.origins_in(other.manifest.annotations):
        said.update(facts.facts_in(side.manifest.annotations))
    if other.kind is Kind.FOLDER:
        # What a person said when the model was packed is in none of its files.
        for name, origin in facts.origins_in(side.manifest.annotations).items():
            if origin == "given" and name not in other.fields:
                said.pop(name, None)
    return said


def _annotations(a: _Side, b: _Side) -> list[FieldDifference[str]]:
    ours, theirs = (facts.others_in(side.manifest.annotations) for side in (a, b))
    if Kind.FOLDER in {a.kind, b.kind}:
        # A folder has those of its `model.yaml` and no others.
        both = ours.keys() & theirs.keys()
        ours, theirs = (
            {key: text for key, text in each.items() if key in both or side.kind is Kind.FOLDER}
            for each, side in ((ours, a), (theirs, b))
        )
    return compare_fields(ours, theirs)


def _files(a: _Side, b: _Side, archives: bool) -> tuple[list[File], list[File]]:
    """The files of both sides, those in archives that differ too, as far as these are read."""
    ours = [member for digest, member in a.archives.items() if digest not in b.archives]
    theirs = [member for digest, member in b.archives.items() if digest not in a.archives]
    # Half of it would show each file of the other half as one that is gone, or new.
    read = archives or all(side.is_local for side, some in ((a, ours), (b, theirs)) if some)
    differing = {each.desc.digest for each in (*ours, *theirs)}
    if read and any(each.level is not None for each in (*ours, *theirs)):
        # What is seen of a layer of an image depends on those over it.
        layers = [each for each in (*a.members, *b.members) if each.level is not None]
        differing |= {each.desc.digest for each in layers}
    return list(_listed(a, differing, read)), list(_listed(b, differing, read))


def _listed(side: _Side, differing: Set[Digest], read: bool) -> Iterator[File]:
    """The files of one side.

    Args:
        side: it.
        differing: the archives that are of interest.
        read: whether to look into them.
    """
    inside: list[Member] = []
    for each in side.members:
        digest, size = str(each.desc.digest), each.desc.size
        if each.encoding == "raw":
            yield File(each.path, size, digest, digest)
        elif each.desc.digest in differing and read:
            inside.append(each)
        elif each.single:
            yield File(each.path, None, None, digest)
        elif each.desc.digest in differing and (seen := _glimpsed(side.store, each)) is not None:
            yield from seen
        else:
            # Several archives may fill one folder, so the folder is no name for them.
            title = each.shown or each.desc.annotations.get(TITLE)
            name = title or f"{each.path}:{each.desc.digest.hex[:12]}"
            yield File(name, size, digest, digest, archive=True, folder=each.path)
    for member, entry in listing.tree(inside, side.store.fetch):
        yield File(entry.path, entry.size, str(entry.digest), str(member.desc.digest))


def _glimpsed(store: ReadableStore, member: Member) -> list[File] | None:
    """The files of an archive that is far away, by its headers, which tell no digests.

    None for one that is compressed or has many files, and for layers that take others' away.
    """
    if member.encoding != "tar":
        return None
    files: list[File] = []
    with seekable(store, member.desc) as stream:
        for item, _ in places_in(member, stream):
            if item.link is not None or takes_away(item.path) or not item.path:
                return None
            if not item.is_folder:
                files.append(File(item.path, item.size, None, str(member.desc.digest)))
            if len(files) > _MAX_GLIMPSED:
                return None
    return files


def _tensors(
    a: _Side, b: _Side, files: Sequence[FileDifference], stats: bool, options: Connection
) -> list[TensorDifference]:
    """What became of the tensors in files that differ."""
    jobs = places.jobs(options)
    changed = [each for each in files if each.state != "renamed"]
    left = _weights(a, [each.a for each in changed if each.a], jobs)
    right = _weights(b, [each.b for each in changed if each.b], jobs)
    return tensor_difference.compare(
        pair_tensors(left.headers, right.headers),
        left,
        right,
        statistics=stats,
        jobs=jobs,
        report=options.get("report", ignore),
    )


def _weights(side: _Side, files: Sequence[File], jobs: int) -> tensor_difference.Side:
    """Those of these files that are weights with a header."""
    paths = {file.path for file in files if not file.archive}
    layers = {file.layer for file in files if not file.archive}
    # A layer that is there twice is two files.
    groups = [
        [each]
        for each in side.members
        if str(each.desc.digest) in layers and not _is_seen_through(each)
    ]
    image = [each for each in side.members if each.level is not None]
    stack = [each for each in image if _is_seen_through(each)]
    if any(str(each.desc.digest) in layers for each in stack):
        groups.append(stack)
    hidden = len(image) > len(stack)
    tasks = [_looking(side.store, each, hidden) for each in groups]
    found: dict[str, Weights] = {}
    for weights, notes in pool.run(tasks, jobs) if tasks else ():
        side.notes += [f"{side.letter}: {note}" for note in notes]
        found.update((each.path, each) for each in weights if each.path in paths)
    side.notes += [
        f"{side.letter}: nothing is known of the tensors in {path}: {each.problem}"
        for path, each in found.items()
        if each.problem
    ]
    return tensor_difference.Side(side.store, found, not side.is_local)


def _is_seen_through(member: Member) -> bool:
    """Whether what is seen of this layer, and where its links lead, depends on others."""
    return member.level is not None and member.encoding == "tar"


def _looking(store: ReadableStore, members: Sequence[Member], hidden: bool) -> pool.Task[_Looked]:
    return lambda _: tensors.weights(store, members, hidden=hidden)
