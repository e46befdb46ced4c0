"""Artifacts of all formats, small ones made by hand, and pulls of them without a registry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocimlpack.model.readers import Content, understand
from ocimlpack.model.unpack import Folder
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest, parse
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.transfer.copy import copy

GOLDEN = Path(__file__).parents[2] / "golden" / "formats"
REFERENCE = "registry.example/model:1.0"
KIT = "application/vnd.kitops.modelkit"
DOCKER = "application/vnd.docker.ai"
OLLAMA = "application/vnd.ollama.image"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Blob:
    """A layer: its content, its type, and what else its descriptor says."""

    content: bytes
    media_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None

    @property
    def digest(self) -> str:
        return str(Digest.of(self.content))

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.content),
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.name is not None:
            value["name"] = self.name
        return value


def stored(
    store: MemoryStore,
    layers: Sequence[Blob],
    *,
    config: Any = None,
    config_type: str = mediatypes.OCI_EMPTY,
    media_type: str | None = mediatypes.OCI_MANIFEST,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """An artifact in a store, its manifest as its writer leaves it: not always with a type."""
    raw_config = config if isinstance(config, bytes) else json.dumps(config or {}).encode()
    top = Blob(raw_config, config_type)
    value: dict[str, Any] = {"schemaVersion": 2}
    if media_type:
        value["mediaType"] = media_type
    if artifact_type:
        value["artifactType"] = artifact_type
    value["config"] = top.to_json()
    value["layers"] = [layer.to_json() for layer in layers]
    if annotations:
        value["annotations"] = dict(annotations)
    for blob in (top, *layers):
        store.push(Descriptor.from_json(blob.to_json()).plain, BytesBlob(blob.content))
    raw = json.dumps(value).encode()
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    assert manifest.raw == raw
    store.push(manifest.descriptor, BytesBlob(raw))
    return manifest


def image(store: MemoryStore, layers: Sequence[Blob], **changes: Any) -> Manifest:
    """A container image."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    return stored(store, layers, config={**config, **changes}, config_type=mediatypes.OCI_CONFIG)


def pull(store: MemoryStore, manifest: Manifest, out: Path, **options: Any) -> Content:
    """What `pull` does, without looking for the model's place."""
    content = understand(store, manifest)
    with Folder(out, manifest, content.members, reference=REFERENCE, **options) as folder:
        copy(store, manifest.descriptor, folder, wanted=folder.wants)
        folder.commit()
    return content
