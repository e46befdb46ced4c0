"""The one mover: everything that goes from one store to another goes through `copy`.

It plans (walks the manifests from the root), moves the leaves through the pool, then the manifests,
children first, then the tags, and reads each tag back. A root that the destination has already may
lack children, where an earlier copy was interrupted, so all of it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from ocimlpack.errors import ConflictError, IntegrityError, blaming
from ocimlpack.progress import Began, Ended, Moved, Outcome, Planned, Reporter, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import (
    FILEPATH,
    MODEL_CONFIG,
    OCI_CONFIG,
    OCI_LAYER,
    PATH,
    TITLE,
    is_manifest,
    parse_model_layer,
)
from ocimlpack.stores.base import (
    Assembler,
    Blob,
    BytesBlob,
    Divider,
    Divisible,
    Mountable,
    Presumer,
    ReadableStore,
    Sink,
    Store,
    capability,
    doubt,
    origin,
)
from ocimlpack.stores.graph import walk
from ocimlpack.stores.partial import TakenError
from ocimlpack.transfer import pool, ranges
from ocimlpack.transfer.links import Links, Share
from ocimlpack.transfer.sending import Senders
from ocimlpack.transfer.watched import Watched


@dataclass(frozen=True, slots=True)
class Plan:
    """What a copy has to look at.

    Attributes:
        manifests: every manifest, children before parents; the root is the last.
        leaves: every other piece of content, each once.
    """

    manifests: tuple[Manifest | Index, ...]
    leaves: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """Bytes of the leaves."""
        return sum(leaf.size for leaf in self.leaves)

    @property
    def total(self) -> int:
        """Bytes of the leaves and the manifests."""
        return self.size + sum(len(node.raw) for node in self.manifests)

    @property
    def layers(self) -> int:
        """How many layers the manifests have, the same content counted each time."""
        return sum(len(node.layers) for node in self.manifests if isinstance(node, Manifest))


@dataclass(frozen=True, slots=True)
class Summary:
    """What a copy did.

    Attributes:
        plan: what there was to do.
        moved: bytes of leaves that were transferred.
        skipped: bytes of leaves that the destination had.
        mounted: bytes of leaves that the registry took over from another repository.
    """

    plan: Plan
    moved: int
    skipped: int
    mounted: int


def everything(_: Descriptor) -> bool:
    """The selection of callers that leave nothing out."""
    return True


def plan(
    src: ReadableStore, root: Descriptor, wanted: Callable[[Descriptor], bool] = everything
) -> Plan:
    """Walk the manifests from a root.

    Args:
        src: where they are.
        root: a manifest or an index.
        wanted: which leaves are to be moved at all.
    """
    with blaming("source"):
        nodes = list(walk(src, root))
    leaves: dict[Digest, Descriptor] = {}
    for node in nodes:
        for child in node.children:
            if not (isinstance(node, Index) or is_manifest(child.media_type)) and wanted(child):
                leaves.setdefault(child.digest, child)
    return Plan(tuple(nodes), tuple(leaves.values()))


def copy(
    src: ReadableStore,
    root: Descriptor,
    dst: Sink,
    tags: Sequence[str] = (),
    *,
    jobs: int = 4,
    report: Reporter = ignore,
    wanted: Callable[[Descriptor], bool] = everything,
    action: str = "copying",
    done: Mapping[Digest, Outcome] = MappingProxyType({}),
) -> Summary:
    """Move an artifact, with all that it needs, and let the tags stand for it.

    Args:
        src: where it is.
        root: its manifest or index.
        dst: where it goes; a `Store` if tags are given.
        tags: each is moved here, whatever it stood for before.
        jobs: how many leaves are moved at a time.
        report: gets the progress events.
        wanted: which leaves are to be moved at all.
        action: the verb that progress shows.
        done: leaves that were dealt with before, and how; they are only counted.

    Raises:
        OcimlpackError: from either side, `side` saying which. What was moved by then is kept by
            the destination, and a second copy goes on from there; no tag has been set.
        ConflictError: also where a tag, read back, stands for something else.
    """
    todo = plan(src, root, wanted)
    # Large leaves first: begun last, one of them would be moved alone while the other jobs idle.
    leaves = sorted(
        (leaf for leaf in todo.leaves if leaf.digest not in done), key=lambda leaf: -leaf.size
    )
    links = Links(jobs, sum(map(_is_large, leaves)))
    mover = _Mover(src, dst, report, links, Senders(jobs))
    report(Planned(action, len(leaves), sum(leaf.size for leaf in leaves)))
    moved = pool.run([mover.task(leaf) for leaf in leaves], jobs)
    outcomes = {leaf.digest: outcome for leaf, outcome in zip(leaves, moved, strict=True)}
    for node in todo.manifests:
        with blaming("destination"):
            dst.push(node.descriptor, BytesBlob(node.raw))
    for tag in tags:
        set_tag(cast(Store, dst), root, tag)
    sizes: dict[str, int] = {"moved": 0, "skipped": 0, "mounted": 0}
    for leaf in todo.leaves:
        sizes[outcomes.get(leaf.digest) or done[leaf.digest]] += leaf.size
    return Summary(todo, **sizes)


def set_tag(store: Store, desc: Descriptor, tag: str) -> None:
    """Move a tag and make sure that it moved.

    Raises:
        ConflictError: it stands for something else: the registry keeps tags as they are, or
            somebody else moved it at the same moment.
    """
    with blaming("destination"):
        store.tag(desc, tag)
        found = store.resolve(tag)
    if found.digest != desc.digest:
        raise ConflictError(
            f"the tag {tag} was set to {desc.digest} but stands for {found.digest}",
            hint="somebody else moved it at the same time, or the registry does not let tags move",
            side="destination",
            digest=str(desc.digest),
        )


def label(desc: Descriptor) -> str:
    """What progress calls a piece of content: its path, else its digest."""
    if desc.media_type in {MODEL_CONFIG, OCI_CONFIG}:
        return "config"
    if desc.media_type == OCI_LAYER and PATH in desc.annotations:
        return desc.annotations[PATH]
    path, title = desc.annotations.get(FILEPATH), desc.annotations.get(TITLE)
    # An archive's path is that of the folder that it fills, as others may fill it too.
    archive = (parse_model_layer(desc.media_type) or ("", "raw"))[1] != "raw"
    return (title or path if archive else path or title) or str(desc.digest)


def _is_large(leaf: Descriptor) -> bool:
    return leaf.size >= ranges.WORTHWHILE


class _Mover:
    def __init__(
        self, src: ReadableStore, dst: Sink, report: Reporter, links: Links, senders: Senders
    ) -> None:
        self._src = src
        self._dst = dst
        self._report = report
        self._links = links
        self._senders = senders
        self._mountable = capability(dst, Mountable)
        self._presumer = capability(dst, Presumer)
        self._assembler = capability(dst, Assembler)
        self._divider = capability(dst, Divider)

    def task(self, leaf: Descriptor) -> pool.Task[Outcome]:
        def move(stop: pool.Stop) -> Outcome:
            name = label(leaf)
            self._report(Began(name, leaf.size))
            with self._links.share() if _is_large(leaf) else nullcontext() as share:
                outcome = self._move(leaf, name, share, stop)
            self._report(Ended(name, leaf.size, outcome))
            return outcome

        return move

    def _move(self, leaf: Descriptor, name: str, share: Share | None, stop: pool.Stop) -> Outcome:
        with blaming("destination"):
            presumed = self._presumer is not None and self._presumer.presume_absent(leaf)
            if not presumed and self._dst.exists(leaf):
                return "skipped"
            if self._mountable and self._mountable.mount(leaf, origin(self._src)):
                return "mounted"
        with blaming("source"):
            blob = self._src.fetch(leaf)

        def reached(offset: int) -> None:
            stop.check()
            self._report(Moved(name, offset))

        with blaming("destination"):
            if share and self._in_parts(leaf, blob, share, reached, stop):
                return "moved"
            while True:
                try:
                    watched = Watched(blob, reached)
                    if not self._divided(leaf, watched, stop):
                        self._dst.push(leaf, watched)
                    return "moved"
                except IntegrityError:
                    if not doubt(blob):
                        raise

    def _divided(self, leaf: Descriptor, blob: Blob, stop: pool.Stop) -> bool:
        """Whether the leaf went in parts, as the destination can take it like that."""
        if self._divider is None:
            return False
        with self._divider.dividing(leaf, blob) as parts:
            if parts is None:
                return False
            self._senders.send(parts, stop)
        return True

    def _in_parts(
        self,
        leaf: Descriptor,
        blob: Blob,
        share: Share,
        reached: Callable[[int], None],
        stop: pool.Stop,
    ) -> bool:
        """Whether the leaf came in parts, as both sides can do that."""
        if self._assembler is None or not isinstance(blob, Divisible):
            return False
        try:
            with self._assembler.assembling(leaf) as file:
                if file is not None:
                    ranges.fetch(
                        blob,
                        file,
                        share,
                        name=label(leaf),
                        stop=stop,
                        reached=reached,
                        report=self._report,
                    )
        except TakenError:
            return False  # so it goes its own way, which ends with the same file
        return file is not None
