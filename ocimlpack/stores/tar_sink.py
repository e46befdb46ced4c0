"""An image layout that is written straight into a tar archive, from front to back.

What comes in is verified on its way and is never elsewhere on the disk. The index comes last, when
it is known what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import BinaryIO

from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import is_manifest
from ocimlpack.stores import layout_index
from ocimlpack.stores.archive import append, finish
from ocimlpack.stores.base import Blob
from ocimlpack.stores.verify import chunks, read_all


class TarSink:
    """A `Sink` for one thread at a time."""

    def __init__(self, stream: BinaryIO) -> None:
        """Begin the archive.

        Args:
            stream: where it goes; it need not seek.
        """
        self._stream = stream
        self._there: set[Digest] = set()
        self._nodes: dict[Digest, Manifest | Index] = {}
        self._entries: list[Descriptor] = []
        append(stream, "oci-layout", len(layout_index.MARKER), [layout_index.MARKER])

    def exists(self, desc: Descriptor) -> bool:
        """Whether it was written already."""
        return desc.digest in self._there

    def push(self, desc: Descriptor, blob: Blob) -> None:
        """Append content. If that fails, the archive is none, and is not to be finished.

        Raises:
            IntegrityError: the blob's bytes are not what the descriptor says.
        """
        if self.exists(desc):
            return
        name = f"blobs/{desc.digest.algorithm}/{desc.digest.hex}"
        if is_manifest(desc.media_type):
            raw = read_all(blob, desc)
            self._nodes[desc.digest] = manifests.parse(raw, desc.media_type)
            append(self._stream, name, desc.size, [raw])
        else:
            with blob.open() as stream:
                append(self._stream, name, desc.size, chunks(stream, desc))
        self._there.add(desc.digest)

    def enlist(
        self, desc: Descriptor, annotations: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Put a manifest that was written into the index.

        Args:
            desc: the manifest.
            annotations: those of the entry.
        """
        node = self._nodes[desc.digest]
        entry = Descriptor(desc.media_type, desc.digest, desc.size, annotations, node.artifact_type)
        if entry not in self._entries:
            self._entries.append(entry)

    def finish(self) -> None:
        """Write the index and the archive's end."""
        index = layout_index.empty()
        index["manifests"] = [entry.to_json() for entry in self._entries]
        raw = encode(index)
        append(self._stream, "index.json", len(raw), [raw])
        finish(self._stream)
