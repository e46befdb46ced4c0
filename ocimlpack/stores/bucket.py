"""A repository in a bucket as a `Store`: an image layout whose files are objects.

docs/buckets.md says what lies where. Blobs are shared by all repositories of a bucket. Which
manifests a repository has is said by its `index.json` alone, which is replaced on the condition
that nobody else has done that since it was read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from ocimlpack.errors import ConflictError, NotFoundError, OcimlpackError, UnavailableError
from ocimlpack.progress import Reporter, Warned, ignore
from ocimlpack.retry import Policy, Tries
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.mediatypes import INDEXES, OCI_INDEX, is_manifest
from ocimlpack.spec.reference import check_tag
from ocimlpack.stores import bucket_names as names
from ocimlpack.stores import bucket_upload, layout_index
from ocimlpack.stores.base import Blob, Sending
from ocimlpack.stores.bucket_blob import BucketBlob
from ocimlpack.stores.bucket_lease import OLD, Lease
from ocimlpack.stores.bucket_names import Stage
from ocimlpack.stores.graph import check_children, read_manifest
from ocimlpack.stores.layout_reader import MAX_INDEX, LayoutReader
from ocimlpack.stores.objects.base import ABSENT, ConditionError, Label, Stat
from ocimlpack.stores.objects.persistent import PersistentObjects
from ocimlpack.stores.verify import read_all

_WRITERS: Final = Policy(attempts=60, base=0.05, cap=2.0, total=120.0)
"""How often a change of the index is tried while others change it, too. Each time, one of them gets
through."""

_INDEX_LABEL: Final = Label(OCI_INDEX, {})
_MARKER_LABEL: Final = Label("application/vnd.oci.layout.header.v1+json", {})


class BucketStore(LayoutReader):
    """A `Store` in a bucket.

    Attributes:
        repository: its name there.
    """

    def __init__(
        self,
        objects: PersistentObjects,
        repository: str,
        *,
        to_write: bool = True,
        report: Reporter = ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is asked.

        Args:
            objects: the bucket.
            repository: the repository's name there.
            to_write: whether something is pushed, so that what is there already has to stay.
            report: gets warnings.
            clock: seconds since 1970.

        Raises:
            InputError: no repository in a bucket can have that name.
        """
        names.check_repository(repository)
        super().__init__(f"{objects.place}/{repository}")
        self.repository = repository
        self._objects = objects
        self._to_write = to_write
        self._report = report
        self._clock = clock
        self._lease = Lease(objects, repository, report, clock)
        self._present: set[Digest] = set()

    def resolve(self, name: str) -> Descriptor:
        """The descriptor that a tag or a digest stands for.

        A blob may belong to other repositories of the bucket, so only what the index lists counts.
        """
        if ":" not in name:
            return super().resolve(name)
        digest = Digest.parse(name)
        for found in self._manifests(self.read_index()):
            if found.digest == digest:
                return found.plain
        raise NotFoundError(f"no {digest} in {self.place}", digest=str(digest))

    def exists(self, desc: Descriptor) -> bool:
        """Whether the bucket has the blob, or the repository the manifest.

        In a store to write to, what is found is relied on from then on, until it is closed.
        """
        if not is_manifest(desc.media_type):
            return self._has(desc)
        found = self._objects.read(names.index(self.repository), MAX_INDEX)
        listed = found is not None and self._lists(self.parse_index(found[0]), desc.digest)
        return listed and self._has(desc)

    def fetch(self, desc: Descriptor) -> Blob:
        """The content. Whether it is there is found out when it is opened."""
        return BucketBlob(self._objects, _keys(desc.digest), desc)

    def read(self, desc: Descriptor, offset: int, length: int) -> bytes:
        """A part of a blob, by a range request."""
        if length <= 0 or offset >= desc.size:
            return b""
        return BucketBlob(self._objects, _keys(desc.digest), desc).read(offset, length)

    def push(self, desc: Descriptor, blob: Blob) -> None:
        """Take content in."""
        self._lease.hold_if_long()
        if is_manifest(desc.media_type):
            self._push_manifest(desc, blob)
        elif not self._has(desc):
            bucket_upload.send(self._objects, self._lease, desc, blob)
            self._present.add(desc.digest)

    @contextmanager
    def dividing(self, desc: Descriptor, blob: Blob) -> Iterator[Iterator[Sending] | None]:
        """The parts of a large blob on their way to the bucket."""
        if desc.size <= bucket_upload.WHOLE or is_manifest(desc.media_type):
            yield None
            return
        self._lease.hold_if_long()
        with bucket_upload.dividing(self._objects, self._lease, desc, blob) as parts:
            yield parts
        self._present.add(desc.digest)

    def tag(self, desc: Descriptor, name: str) -> None:
        """Let the tag stand for this manifest.

        What it stood for before can still be had by its digest, until a clean-up removes it.
        """
        check_tag(name)
        absent = NotFoundError(f"no {desc.digest} in {self.place}", digest=str(desc.digest))
        try:
            node = read_manifest(self, desc)
        except NotFoundError:
            raise absent from None

        def edit(index: dict[str, Any]) -> bool:
            if not self._lists(index, desc.digest):
                raise absent
            layout_index.name(index, desc, node, name, untagged=self._now())
            return True

        self._change(edit)

    def untag(self, name: str) -> None:
        """Take the tag away and leave the content, which `free` and `prune` may then remove."""

        def edit(index: dict[str, Any]) -> bool:
            if not layout_index.unname(index, name, untagged=self._now()):
                raise NotFoundError(f"no tag {name} in {self.place}")
            return True

        self._change(edit)

    def free(self, desc: Descriptor) -> int:
        """List a manifest that has no tags no more; `prune` then frees what nothing names."""

        def edit(index: dict[str, Any]) -> bool:
            return not layout_index.is_named(index, desc.digest) and layout_index.drop(
                index, desc.digest
            )

        self._change(edit)
        return 0

    def delete(self, desc: Descriptor) -> int:
        """Remove a manifest and its tags from the repository; `prune` frees what nothing names.

        Raises:
            ConflictError: it is part of an index that is there.
        """

        def edit(index: dict[str, Any]) -> bool:
            dropped = layout_index.drop(index, desc.digest)
            if self._lists(index, desc.digest):
                raise ConflictError(
                    f"{desc.digest} is part of an index in {self.place}",
                    hint="remove that index",
                    digest=str(desc.digest),
                )
            if not dropped:
                raise NotFoundError(f"no {desc.digest} in {self.place}", digest=str(desc.digest))
            return True

        self._change(edit)
        return 0

    def stages(self) -> dict[Digest, Stage]:
        """The stage of each manifest that the index lists.

        Raises:
            NotFoundError: there is no such repository.
        """
        index = self.read_index()
        found: dict[Digest, Stage] = {}
        for entry in self.entries_of(index):
            said = layout_index.stage_of(index, entry.desc.digest)
            found[entry.desc.digest] = next(
                (stage for stage in names.STAGES if stage == said), "active"
            )
        return found

    def set_stage(self, desc: Descriptor, stage: Stage) -> None:
        """Say which stage a version is in; its blobs are moved by `bucket_stages`."""
        said = "" if stage == "active" else stage

        def edit(index: dict[str, Any]) -> bool:
            if not layout_index.set_stage(index, desc.digest, said):
                raise NotFoundError(f"no {desc.digest} in {self.place}", digest=str(desc.digest))
            return True

        self._change(edit)

    def forget_untagged(self, before: str, *, dry_run: bool = False) -> set[Digest]:
        """List no more what lost its last tag before some time; returns what that is.

        Raises:
            NotFoundError: there is no such repository.
        """
        gone = set(layout_index.forget_untagged(self.read_index(), before))
        if gone and not dry_run:
            self._change(lambda index: bool(layout_index.forget_untagged(index, before)))
        return gone

    def close(self) -> None:
        """Say that nothing is relied on any more. The bucket is its opener's to close."""
        # What is left of it is believed for a day: then a clean-up leaves blobs alone in vain.
        with suppress(OcimlpackError):
            self._lease.release()

    def _index_content(self) -> bytes:
        found = self._objects.read(names.index(self.repository), MAX_INDEX)
        if found is None:
            raise NotFoundError(
                f"no repository {self.repository} in {self._objects.place}",
                hint=f"ocimlpack repos {self._objects.place} shows what there is",
            )
        return found[0]

    def _find(self, digest: Digest) -> tuple[Blob, int] | None:
        for key in _keys(digest):
            if (stat := self._objects.stat(key)) is not None:
                desc = Descriptor("application/octet-stream", digest, stat.size)
                return BucketBlob(self._objects, [key], desc), stat.size
        return None

    def _has(self, desc: Descriptor) -> bool:
        """Whether the bucket has these bytes, and keeps them for as long as something is pushed."""
        if desc.digest in self._present:
            return True  # it was brought there, or seen, a moment ago
        held = self._lease.held
        stat = self._objects.stat(names.blob(desc.digest))
        if stat is not None and self._to_write and not held and self._is_old(stat):
            # Nothing may name it but what is about to be pushed, and a clean-up could remove it.
            self._lease.hold()
            stat = self._objects.stat(names.blob(desc.digest))
        if stat is None or stat.size != desc.size:
            return False
        self._present.add(desc.digest)
        return True

    def _now(self) -> str:
        return names.moment(self._clock())

    def _is_old(self, stat: Stat) -> bool:
        return self._clock() - stat.modified > OLD

    def _manifests(self, index: dict[str, Any]) -> Iterator[Descriptor]:
        """Every manifest of the repository: those that the index lists, and what those list."""
        waiting = [entry.desc for entry in self.entries_of(index)]
        seen: set[Digest] = set()
        nested: list[Descriptor] = []
        while waiting or nested:
            if not waiting:
                waiting = self._listed_by(nested.pop())
                continue
            desc = waiting.pop(0)
            if desc.digest not in seen:
                seen.add(desc.digest)
                yield desc
                if desc.media_type in INDEXES:
                    nested.append(desc)

    def _listed_by(self, desc: Descriptor) -> list[Descriptor]:
        try:
            node = read_manifest(self, desc)
        except NotFoundError:
            return []  # an index may list manifests that were never brought here
        return list(node.manifests) if isinstance(node, manifests.Index) else []

    def _lists(self, index: dict[str, Any], digest: Digest) -> bool:
        return any(found.digest == digest for found in self._manifests(index))

    def _push_manifest(self, desc: Descriptor, blob: Blob) -> None:
        node = manifests.parse(read_all(blob, desc), desc.media_type)
        check_children(self, node)
        if not self._has(desc):
            bucket_upload.send_whole(self._objects, desc, node.raw)
            self._present.add(desc.digest)

        def edit(index: dict[str, Any]) -> bool:
            return layout_index.add(index, desc, node)

        self._change(edit)

    def _change(self, edit: Callable[[dict[str, Any]], bool]) -> None:
        """Change the index, on the condition that it is as it was read.

        Args:
            edit: changes it; False if there is nothing to change. Called again for each try.
        """
        key = names.index(self.repository)
        tries = Tries(_WRITERS, self._report)
        while True:
            found = self._objects.read(key, MAX_INDEX)
            index = layout_index.empty() if found is None else self.parse_index(found[0])
            if not edit(index):
                return
            if found is None:
                self._mark()
            condition = ABSENT if found is None else found[1].etag
            try:
                self._objects.put(key, encode(index), _INDEX_LABEL, condition)
            except ConditionError:
                tries.pause(
                    UnavailableError(
                        f"others keep changing the index of {self.place}", hint="try again later"
                    )
                )
            else:
                return

    def _mark(self) -> None:
        """Make the repository an image layout, and find out whether conditions are heeded."""
        key = names.marker(self.repository)
        with suppress(ConditionError):
            self._objects.put(key, layout_index.MARKER, _MARKER_LABEL, ABSENT)
            self._objects.put(key, layout_index.MARKER, _MARKER_LABEL, ABSENT)
            self._report(
                Warned(
                    f"{self._objects.place} ignores the conditions of writes: of two who change "
                    "the same tags at the same moment, one may be lost"
                )
            )


def _keys(digest: Digest) -> list[str]:
    """Where a blob may be, the likeliest place first."""
    return [names.blob(digest, stage) for stage in names.STAGES]
