from __future__ import annotations

import hashlib
import itertools
import json
import threading
from dataclasses import dataclass, field

from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Index, Manifest, build
from ocimlpack.spec.mediatypes import OCI_EMPTY, OCI_MANIFEST, model_layer


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def matches(content: bytes, digest: str) -> bool:
    algorithm = digest.partition(":")[0]
    return algorithm in ("sha256", "sha512") and digest_of(content, algorithm) == digest


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def missing(self, content: bytes) -> str:
        """The first digest that a manifest names and that is not here, or ""."""
        value = json.loads(content)
        blobs = [*value.get("layers", ()), *([value["config"]] if "config" in value else ())]
        for each in blobs:
            if each["digest"] not in self.blobs:
                return str(each["digest"])
        for each in value.get("manifests", ()):
            if each["digest"] not in self.manifests:
                return str(each["digest"])
        return ""

    def referrers(self, digest: str) -> list[dict[str, object]]:
        """Descriptors of the manifests whose subject has this digest."""
        found: list[dict[str, object]] = []
        for own, (kind, content) in self.manifests.items():
            value = json.loads(content)
            if (value.get("subject") or {}).get("digest") == digest:
                kept = {key: value[key] for key in ("annotations", "artifactType") if key in value}
                found.append({"mediaType": kind, "digest": own, "size": len(content), **kept})
        return found

    def find(self, name: str) -> tuple[str, str, bytes] | None:
        """Digest, media type and bytes of the manifest with this tag or digest."""
        digest = name if ":" in name else self.tags.get(name, "")
        kind, content = self.manifests.get(digest, ("", b""))
        return (digest, kind, content) if kind else None


class Content:
    """What a registry holds. Several servers may stand before the same content."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytearray] = {}
        self.sessions = itertools.count()

    def __getitem__(self, name: str) -> Repository:
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def blob(self, digest: str) -> bytes | None:
        """A blob from any of the repositories."""
        with self.lock:
            found = (each.blobs.get(digest) for each in self.repositories.values())
            return next((each for each in found if each is not None), None)

    def add_blob(self, repository: str, content: bytes, media_type: str = "") -> Descriptor:
        desc = Descriptor.of(content, media_type or "application/octet-stream")
        with self.lock:
            self[repository].blobs[str(desc.digest)] = content
        return desc

    def add_artifact(self, repository: str, *layers: bytes, tag: str = "v1") -> Manifest:
        """Put an artifact there, brought by nobody."""
        config = self.add_blob(repository, b"{}", OCI_EMPTY)
        weight = model_layer("weight")
        manifest = build(config, [self.add_blob(repository, each, weight) for each in layers])
        self.add_manifest(repository, manifest, tag)
        return manifest

    def add_manifest(self, repository: str, manifest: Manifest | Index, *tags: str) -> Descriptor:
        """Put a manifest there, whether or not what it names is there too."""
        digest = str(manifest.descriptor.digest)
        with self.lock:
            self[repository].manifests[digest] = (manifest.descriptor.media_type, manifest.raw)
            self[repository].tags.update(dict.fromkeys(tags, digest))
        return manifest.descriptor

    def add_text(self, repository: str, content: bytes, *tags: str) -> str:
        """Put bytes there as a manifest, whatever they are; returns their digest."""
        digest = digest_of(content)
        with self.lock:
            self[repository].manifests[digest] = (OCI_MANIFEST, content)
            self[repository].tags.update(dict.fromkeys(tags, digest))
        return digest
