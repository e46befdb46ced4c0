"""Reading an OCI image layout, wherever its files are: a folder, a tar archive.

https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ocimlpack.errors import InvalidContentError, NotFoundError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import REF_NAME
from ocimlpack.stores import files
from ocimlpack.stores.base import Blob
from ocimlpack.stores.graph import read_manifest

MAX_INDEX: Final = 64 * 1024 * 1024
"""Bytes of index.json that are read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index: a manifest and, where it has one, its name.

    Attributes:
        name: the value of `org.opencontainers.image.ref.name`; empty where there is none.
        desc: the manifest.
    """

    name: str
    desc: Descriptor


class LayoutReader(ABC):
    """A `ReadableStore` over a layout whose files a subclass finds.

    Attributes:
        place: how errors name it.
    """

    def __init__(self, place: str, name: str = "") -> None:
        """Prepare.

        Args:
            place: how errors name it.
            name: a model's name, where one layout holds several: its tags are kept as `NAME:TAG`.
        """
        self.place = place
        self._prefix = f"{name}:" if name else ""

    @abstractmethod
    def _index_content(self) -> bytes:
        """The bytes of index.json."""

    @abstractmethod
    def _find(self, digest: Digest) -> tuple[Blob, int] | None:
        """A blob and its size, or None."""

    def resolve(self, name: str) -> Descriptor:
        """The descriptor that a tag or a digest stands for."""
        entries = self.entries()
        if ":" not in name:
            for entry in entries:
                if entry.name == self._prefix + name:
                    return entry.desc.plain
            raise NotFoundError(f"no tag {name} in {self.place}{self._known()}")
        digest = Digest.parse(name)
        for entry in entries:
            if entry.desc.digest == digest:
                return entry.desc.plain
        # A manifest that only an index names, or that lost its tag.
        found = self._find(digest)
        if found is None:
            raise NotFoundError(f"no {digest} in {self.place}", digest=str(digest))
        untyped = Descriptor("application/octet-stream", digest, found[1])
        media_type = read_manifest(self, untyped).descriptor.media_type
        return Descriptor(media_type, digest, found[1])

    def exists(self, desc: Descriptor) -> bool:
        """Whether a blob of that digest and size is there."""
        found = self._find(desc.digest)
        return found is not None and found[1] == desc.size

    def fetch(self, desc: Descriptor) -> Blob:
        """The content."""
        found = self._find(desc.digest)
        if found is None:
            raise NotFoundError(f"no {desc.digest} in {self.place}", digest=str(desc.digest))
        return found[0]

    def read(self, desc: Descriptor, offset: int, length: int) -> bytes:
        """A part of the content."""
        with self.fetch(desc).open(offset) as stream:
            return files.read_exactly(stream, length)

    def tags(self) -> list[str]:
        """Every tag, sorted; of this store's model where it was opened for one."""
        return self._named(self.entries())

    def tags_of(self, desc: Descriptor) -> list[str]:
        """The tags that stand for a manifest, sorted."""
        return self._named([each for each in self.entries() if each.desc.digest == desc.digest])

    def _named(self, entries: list[Entry]) -> list[str]:
        return sorted(
            entry.name.removeprefix(self._prefix)
            for entry in entries
            if entry.name and entry.name.startswith(self._prefix)
        )

    def referrers(self, desc: Descriptor) -> list[Descriptor]:
        """Manifests in the index whose subject this is."""
        return [found for subject, found in self._referring() if subject == desc.digest]

    def _referring(self) -> list[tuple[Digest, Descriptor]]:
        """Every manifest in the index that has a subject, behind that one's digest."""
        found = []
        for entry in self.entries():
            node = read_manifest(self, entry.desc)
            if node.subject:
                referrer = Descriptor.from_json(entry_json(entry.desc, node))
                found.append((node.subject.digest, referrer))
        return found

    def entries(self) -> list[Entry]:
        """Every entry of the index."""
        return self.entries_of(self.read_index())

    def entries_of(self, index: Mapping[str, Any]) -> list[Entry]:
        """Every entry of an index of this place."""
        return [
            Entry(entry_name(each), Descriptor.from_json(each, f"an entry of {self.place}"))
            for each in index["manifests"]
        ]

    def read_index(self) -> dict[str, Any]:
        """The index as JSON, with the fields that only other programs know.

        Raises:
            InvalidContentError: it is none.
        """
        return self.parse_index(self._index_content())

    def parse_index(self, content: bytes) -> dict[str, Any]:
        """The content of index.json as JSON.

        Raises:
            InvalidContentError: it is none.
        """
        if len(content) > MAX_INDEX:
            raise InvalidContentError(
                f"the index of {self.place} is larger than {MAX_INDEX:,} bytes"
            )
        value = decode(content, f"the index of {self.place}")
        items = value.get("manifests") if isinstance(value, dict) else None
        if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
            raise InvalidContentError(f"the index of {self.place} has no list of manifests")
        return dict(value)

    def close(self) -> None:  # noqa: B027 - there is nothing to let go of, and that is no gap
        """Nothing is held open."""

    def _known(self) -> str:
        tags = self.tags()
        if not tags:
            return ""
        return f" (there are: {', '.join(tags[:8])}{', …' if len(tags) > 8 else ''})"


def entry_name(item: Mapping[str, Any]) -> str:
    """The name of an index entry as JSON; empty where it has none."""
    annotations = item.get("annotations")
    return str(annotations.get(REF_NAME, "")) if isinstance(annotations, dict) else ""


def entry_json(desc: Descriptor, node: Manifest | Index, name: str = "") -> dict[str, Any]:
    """An index entry for a manifest, as JSON.

    Args:
        desc: the manifest, by the digest under which it is stored.
        node: its content.
        name: the entry's name.
    """
    annotations = {REF_NAME: name} if name else {}
    return Descriptor(
        desc.media_type, desc.digest, desc.size, annotations, node.artifact_type
    ).to_json()
