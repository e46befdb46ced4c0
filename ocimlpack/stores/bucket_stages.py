"""Versions in stages: what only old or expired versions need lies where the lifecycle finds it.

The lifecycle of a bucket goes by the beginnings of names, so a version is staged by giving its
layers other names. A layer that a warmer version needs as well stays with that one; manifests and
configs stay where they are, so that what there is can always be listed and looked at.

First the index says which stage a version is in, then its layers are moved, each by one request.
Readers look for a layer under all of its names. So nobody ever misses one, and what was killed
half-way is finished by running it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from ocimlpack.errors import ConflictError, NotFoundError, UnavailableError
from ocimlpack.progress import Noted, Reporter, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.stores import bucket_names as names
from ocimlpack.stores.bucket import BucketStore
from ocimlpack.stores.bucket_lease import Turn
from ocimlpack.stores.bucket_names import Stage
from ocimlpack.stores.bucket_prune import repositories
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.layout_reader import MAX_INDEX, entry_name
from ocimlpack.stores.objects.persistent import PersistentObjects

State = Literal["available", "archived", "restoring", "missing"]
"""Whether an object can be read: at once, after a restore, soon, or never again."""

Ownership = Literal["own", "shared", "unnamed"]
"""Whose an object is: one repository's, several ones', or nobody's."""

_HOURS: Final = 24
"""For so long a restored object can be read: the service's own default."""


@dataclass(frozen=True, slots=True)
class Version:
    """An earlier or later state of an object, in a bucket that keeps them.

    Attributes:
        key: the object's name.
        id: the service's name for the version.
        is_marker: whether it says that the object was deleted.
        is_latest: whether it is what the name stands for now.
        modified: when it was written, in seconds since 1970.
    """

    key: str
    id: str
    is_marker: bool
    is_latest: bool
    modified: float


class ColdObjects(Protocol):
    """What a bucket has beside the verbs of `Objects`, where it keeps versions and an archive."""

    def move(self, key: str, new: str) -> None:
        """Give an object another name; out of the archive it becomes an ordinary one again.

        Raises:
            NotFoundError: there is none of that name.
            ConditionError: there is one of the new name.
        """
        ...

    def state(self, key: str) -> State:
        """Whether an object can be read now."""
        ...

    def restore(self, key: str, hours: int) -> None:
        """Begin to bring an object back from the archive. What is on its way is no error."""
        ...

    def versions(self, prefix: str) -> Iterator[Version]:
        """All versions of the objects below a prefix, those of one name newest first."""
        ...

    def read_version(self, version: Version, limit: int) -> bytes:
        """A small object as it was."""
        ...

    def remove_version(self, version: Version) -> None:
        """Remove a version for good; of a deletion's mark, that brings the object back."""
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes in a bucket.

    Attributes:
        stage: the stage.
        repository: the repository; empty for what several share, and what none names.
        kind: `own`, `shared` or `unnamed`.
        size: bytes.
        objects: how many objects.
    """

    stage: Stage
    repository: str
    kind: Ownership
    size: int
    objects: int


def stage(
    objects: PersistentObjects,
    cold: ColdObjects,
    store: BucketStore,
    desc: Descriptor,
    to: Stage,
    *,
    report: Reporter = ignore,
    clock: Callable[[], float] = time.time,
) -> int:
    """Put a version into a stage.

    Args:
        objects: the bucket.
        cold: the same.
        store: the repository.
        desc: the version's manifest.
        to: the stage.
        report: told what was moved.
        clock: seconds since 1970.

    Returns:
        Bytes that were moved.

    Raises:
        ConflictError: somebody else prunes or stages in that bucket, or pushes to it.
        UnavailableError: it is archived, and has to be restored first.
    """
    layers = _layers(store, desc)
    if to == "active":
        _require_readable(cold, layers)
    turn = Turn(objects, clock)
    try:
        if turn.pushes():
            raise ConflictError(
                f"somebody is pushing to {objects.place}", hint="try again when that is over"
            )
        store.set_stage(desc, to)
        moved = _settle(objects, cold, layers, turn.renew)
        # Somebody may have pushed a version meanwhile that needs one of these.
        moved += _settle(objects, cold, layers, turn.renew)
    finally:
        turn.close()
    report(Noted(f"{desc.digest} is {to} now"))
    return moved


def restore(
    objects: PersistentObjects, cold: ColdObjects, store: BucketStore, desc: Descriptor
) -> dict[State, int]:
    """Begin to bring a version's layers back from the archive.

    Returns:
        How many layers are in each state by now.

    Raises:
        NotFoundError: some were deleted.
    """
    found: dict[State, int] = {}
    for layer in _layers(store, desc):
        key, state = _where(cold, layer)
        if state == "archived":
            cold.restore(key, _HOURS)
            state = "restoring"
        if state == "missing":
            raise NotFoundError(
                f"{layer} of {store.place} is gone: the lifecycle has deleted it",
                hint="ocimlpack bucket undelete may bring it back, while versions are kept",
                digest=str(layer),
            )
        found[state] = found.get(state, 0) + 1
    return found


def undelete(
    objects: PersistentObjects, cold: ColdObjects, repository: str, name: str
) -> Descriptor:
    """Bring a tag or a digest back that was removed, with all of its content.

    Args:
        objects: the bucket.
        cold: the same.
        repository: the repository.
        name: the tag or the digest.

    Raises:
        NotFoundError: no version that is kept has it, or some of its content is gone for good.
        ConflictError: the tag stands for something else now.
    """
    store = BucketStore(objects, repository)
    entry = _former_entry(store, cold, repository, name)
    desc = Descriptor.from_json(entry, f"an earlier index of {store.place}").plain
    _bring_back(objects, cold, [desc.digest])
    node = read_manifest(store, desc)
    digests = [child.digest for child in _children(store, node)]
    _bring_back(objects, cold, digests)
    store.push(desc, store.fetch(desc))
    if ":" not in name:
        tags = {each.name: each.desc.digest for each in store.entries() if each.name}
        if tags.get(name, desc.digest) != desc.digest:
            raise ConflictError(
                f"the tag {name} stands for {tags[name]} now; {desc.digest} is back without it",
                hint=f"ocimlpack tag {store.place}@{desc.digest} ANOTHER",
            )
        store.tag(desc, name)
    return desc


def usage(objects: PersistentObjects) -> list[Usage]:
    """Bytes by stage and repository, each object counted once."""
    owners: dict[Digest, set[str]] = {}
    for repository in repositories(objects):
        for needed in _named(BucketStore(objects, repository, to_write=False)):
            owners.setdefault(needed, set()).add(repository)
    totals: dict[tuple[Stage, str, Ownership], list[int]] = {}
    for each in names.STAGES:
        for stat in objects.list(names.prefix(each)):
            digest = names.digest_of(stat.key)
            found = owners.get(digest, set()) if digest is not None else set()
            kind: Ownership = "unnamed" if not found else "own" if len(found) == 1 else "shared"
            owner = next(iter(found)) if kind == "own" else ""
            total = totals.setdefault((each, owner, kind), [0, 0])
            total[0] += stat.size
            total[1] += 1
    return [Usage(*key, size, count) for key, (size, count) in sorted(totals.items())]


def _settle(
    objects: PersistentObjects,
    cold: ColdObjects,
    layers: Iterable[Digest],
    renew: Callable[[], None],
) -> int:
    """Move each layer to the warmest stage of all versions that need it."""
    wanted = _wanted(objects, renew)
    moved = 0
    for layer in layers:
        renew()
        target = names.blob(layer, wanted.get(layer, "active"))
        others = [names.blob(layer, each) for each in names.STAGES]
        there = objects.stat(target) is not None
        for key in others:
            stat = objects.stat(key) if key != target else None
            if stat is None:
                continue
            if there:
                objects.delete([key])  # a push has brought it again meanwhile
            else:
                cold.move(key, target)
                moved += stat.size
                there = True
    return moved


def _wanted(objects: PersistentObjects, renew: Callable[[], None]) -> Mapping[Digest, Stage]:
    """For each layer of the bucket the warmest stage of the versions that need it."""
    warmth = {each: rank for rank, each in enumerate(names.STAGES)}
    found: dict[Digest, Stage] = {}
    for repository in repositories(objects):
        renew()
        store = BucketStore(objects, repository, to_write=False)
        try:
            stages = store.stages()
            descs = {entry.desc.digest: entry.desc for entry in store.entries()}
        except NotFoundError:
            continue  # it has just been removed
        for digest, desc in descs.items():
            said = stages.get(digest, "active")
            for layer in _layers(store, desc.plain):
                if warmth[said] < warmth[found.get(layer, "expired")] or layer not in found:
                    found[layer] = said
    return found


def _layers(store: BucketStore, desc: Descriptor) -> list[Digest]:
    """The layers of a version, each once."""
    node = read_manifest(store, desc)
    if isinstance(node, Manifest):
        return list(dict.fromkeys(layer.digest for layer in node.layers))
    found: dict[Digest, None] = {}
    for child in node.manifests:
        found.update(dict.fromkeys(_layers(store, child)))
    return list(found)


def _children(store: BucketStore, node: Manifest | Index) -> list[Descriptor]:
    if isinstance(node, Manifest):
        return [node.config, *node.layers]
    found = []
    for child in node.manifests:
        found += [child, *_children(store, read_manifest(store, child))]
    return found


def _named(store: BucketStore) -> set[Digest]:
    """Everything that a repository needs."""
    found: set[Digest] = set()
    for entry in store.entries():
        desc = entry.desc.plain
        found.add(desc.digest)
        found.update(child.digest for child in _children(store, read_manifest(store, desc)))
    return found


def _where(cold: ColdObjects, layer: Digest) -> tuple[str, State]:
    for each in names.STAGES:
        key = names.blob(layer, each)
        state = cold.state(key)
        if state != "missing":
            return key, state
    return names.blob(layer), "missing"


def _require_readable(cold: ColdObjects, layers: Iterable[Digest]) -> None:
    for layer in layers:
        key, state = _where(cold, layer)
        if state in {"archived", "restoring"}:
            raise UnavailableError(
                f"{key} is archived, and not restored yet",
                hint="ocimlpack bucket restore REF --wait, then again",
                final=True,
            )


def _former_entry(
    store: BucketStore, cold: ColdObjects, repository: str, name: str
) -> dict[str, Any]:
    """The newest line of an earlier index that has a tag or a digest."""
    for version in cold.versions(names.index(repository)):
        if version.is_marker or version.key != names.index(repository):
            continue
        index = store.parse_index(cold.read_version(version, MAX_INDEX))
        for each in index["manifests"]:
            called = entry_name(each)
            if name in {called, each.get("digest")}:
                found: dict[str, Any] = each
                return found
    raise NotFoundError(
        f"no version of the index of {store.place} that is kept has {name}",
        hint="the bucket has to keep versions, and does so for a time only",
    )


def _bring_back(objects: PersistentObjects, cold: ColdObjects, digests: Iterable[Digest]) -> None:
    for digest in digests:
        keys = [names.blob(digest, each) for each in names.STAGES]
        if any(objects.stat(key) is not None for key in keys):
            continue
        marks = [
            version
            for key in keys
            for version in cold.versions(key)
            if version.key == key and version.is_latest and version.is_marker
        ]
        for mark in marks:
            cold.remove_version(mark)
            if objects.stat(mark.key) is not None:
                break
        else:
            raise NotFoundError(
                f"{digest} is gone for good: no version of it is kept", digest=str(digest)
            )
