"""A store in memory: for tests, and for what is small and short-lived."""

from __future__ import annotations

from ocimlpack.errors import NotFoundError
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.mediatypes import is_manifest
from ocimlpack.spec.reference import check_tag
from ocimlpack.stores.base import Blob, BytesBlob
from ocimlpack.stores.graph import check_children, reachable
from ocimlpack.stores.verify import read_all


class MemoryStore:
    """A `Store` whose content is gone with it."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._manifests: dict[Digest, Descriptor] = {}
        self._tags: dict[str, Digest] = {}

    def resolve(self, name: str) -> Descriptor:
        """The descriptor that a tag or a digest stands for."""
        digest = Digest.parse(name) if ":" in name else self._tags.get(name)
        if digest is None or digest not in self._manifests:
            raise NotFoundError(f"no manifest {name}")
        return self._manifests[digest]

    def exists(self, desc: Descriptor) -> bool:
        """Whether the content is there."""
        return desc.digest in self._blobs

    def fetch(self, desc: Descriptor) -> Blob:
        """The content."""
        try:
            return BytesBlob(self._blobs[desc.digest])
        except KeyError:
            raise NotFoundError(f"no content {desc.digest}", digest=str(desc.digest)) from None

    def read(self, desc: Descriptor, offset: int, length: int) -> bytes:
        """A part of the content."""
        with self.fetch(desc).open(offset) as stream:
            return stream.read(length)

    def push(self, desc: Descriptor, blob: Blob) -> None:
        """Take content in."""
        if self.exists(desc):
            return
        content = read_all(blob, desc)
        if is_manifest(desc.media_type):
            node = manifests.parse(content, desc.media_type)
            check_children(self, node)
            self._manifests[desc.digest] = desc.plain
        self._blobs[desc.digest] = content

    def tag(self, desc: Descriptor, name: str) -> None:
        """Let the tag stand for this manifest."""
        if desc.digest not in self._manifests:
            raise NotFoundError(f"no manifest {desc.digest}", digest=str(desc.digest))
        self._tags[check_tag(name)] = desc.digest

    def tags(self) -> list[str]:
        """Every tag, sorted."""
        return sorted(self._tags)

    def untag(self, name: str) -> None:
        """Take the tag away."""
        if self._tags.pop(name, None) is None:
            raise NotFoundError(f"no tag {name}")

    def delete(self, desc: Descriptor) -> int:
        """Remove a manifest, its tags, and what nothing else needs."""
        if self._manifests.pop(desc.digest, None) is None:
            raise NotFoundError(f"no manifest {desc.digest}", digest=str(desc.digest))
        self._tags = {name: held for name, held in self._tags.items() if held != desc.digest}
        needed = reachable(self, self._manifests.values())
        garbage = [digest for digest in self._blobs if digest not in needed]
        return sum(len(self._blobs.pop(digest)) for digest in garbage)

    def close(self) -> None:
        """Nothing to let go of."""
