"""Manifests and indexes. The raw bytes are the identity: they are kept and never written anew.

https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md and image-index.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor, check_annotations, is_media_type
from ocimlpack.spec.gojson import decode, encode, sorted_map

MAX_SIZE: Final = 4 * 1024 * 1024
"""Bytes in a manifest. A registry need not accept more:
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests"""


@dataclass(frozen=True, slots=True)
class Manifest:
    """An artifact: a config and layers.

    Attributes:
        raw: the bytes as they were read or built.
        descriptor: names those bytes.
        artifact_type: what the artifact is, or None.
        subject: the manifest that this one refers to, or None.
    """

    raw: bytes
    descriptor: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str | None
    subject: Descriptor | None
    annotations: Mapping[str, str]

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What has to be there before this manifest: layers, then config."""
        return (*self.layers, self.config)


@dataclass(frozen=True, slots=True)
class Index:
    """A list of manifests.

    Attributes:
        raw: the bytes as they were read.
        descriptor: names those bytes.
        manifests: what it lists.
        subject: the manifest that this one refers to, or None.
    """

    raw: bytes
    descriptor: Descriptor
    manifests: tuple[Descriptor, ...]
    artifact_type: str | None
    subject: Descriptor | None
    annotations: Mapping[str, str]

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What has to be there before this index."""
        return self.manifests


def build(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    artifact_type: str | None = None,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Write a manifest, its bytes as Go would write them.

    Raises:
        InvalidContentError: larger than a registry has to accept.
    """
    value: dict[str, Any] = {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST}
    if artifact_type:
        value["artifactType"] = artifact_type
    value["config"] = config.to_json()
    value["layers"] = [layer.to_json() for layer in layers]
    if subject:
        value["subject"] = subject.to_json()
    if annotations:
        value["annotations"] = sorted_map(annotations)
    raw = encode(value)
    if len(raw) > MAX_SIZE:
        raise InvalidContentError(
            f"the manifest of {len(layers)} layers has {len(raw):,} bytes; "
            f"registries accept {MAX_SIZE:,}",
            hint="pack fewer files: put small ones into an archive, or leave some out",
        )
    parsed = parse(raw)
    if not isinstance(parsed, Manifest):
        raise AssertionError("a manifest with layers was read back as an index")
    return parsed


def build_index(manifests: Sequence[Descriptor]) -> Index:
    """Write an index, its bytes as Go would write them."""
    value = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [each.to_json() for each in manifests],
    }
    parsed = parse(encode(value))
    if not isinstance(parsed, Index):
        raise AssertionError("an index was read back as a manifest")
    return parsed


def parse(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """Read a manifest or an index.

    The type inside the content decides; where it names none, the type it came with; where that
    is none either, the fields do: registries exist that answer `text/plain`, and writers that
    leave `mediaType` out.

    Raises:
        InvalidContentError: too large, not JSON, or not of either form.
    """
    if len(raw) > MAX_SIZE:
        raise InvalidContentError(f"manifest larger than {MAX_SIZE:,} bytes")
    value = decode(raw, "manifest")
    if not isinstance(value, dict):
        raise InvalidContentError("manifest is not a JSON object")
    if value.get("schemaVersion") != 2:
        raise InvalidContentError("manifest has no schemaVersion 2")
    kind = _media_type(value, media_type)
    descriptor = Descriptor.of(raw, kind)
    artifact_type = value.get("artifactType") or None
    if artifact_type is not None and not isinstance(artifact_type, str):
        raise InvalidContentError("manifest has an artifactType that is not text")
    given = value.get("subject")
    subject = Descriptor.from_json(given, "subject") if given is not None else None
    annotations = check_annotations(value.get("annotations"), "manifest")
    if kind in mediatypes.INDEXES:
        children = _descriptors(value, "manifests")
        return Index(raw, descriptor, children, artifact_type, subject, annotations)
    config = Descriptor.from_json(value.get("config"), "config")
    layers = _descriptors(value, "layers")
    return Manifest(raw, descriptor, config, layers, artifact_type, subject, annotations)


def _media_type(value: dict[str, Any], given: str | None) -> str:
    inside = value.get("mediaType")
    if inside is not None:
        if not is_media_type(inside) or not mediatypes.is_manifest(inside):
            raise InvalidContentError(
                f"not a manifest that is understood: mediaType {inside!r:.100}"
            )
        if ("manifests" in value) != (inside in mediatypes.INDEXES) or (
            "manifests" in value and "layers" in value
        ):
            # One document that two readers take for two different things:
            # https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh
            raise InvalidContentError("manifest is both a list of layers and a list of manifests")
        return str(inside)
    if "manifests" in value and "layers" in value:
        raise InvalidContentError("manifest is both a list of layers and a list of manifests")
    guess = mediatypes.OCI_INDEX if "manifests" in value else mediatypes.OCI_MANIFEST
    if given and mediatypes.is_manifest(given):
        if (given in mediatypes.INDEXES) != (guess == mediatypes.OCI_INDEX):
            raise InvalidContentError(f"manifest was sent as {given} but is not one")
        return given
    return guess


def _descriptors(value: dict[str, Any], key: str) -> tuple[Descriptor, ...]:
    items = value.get(key)
    if not isinstance(items, list):
        raise InvalidContentError(f"manifest has no list of {key}")
    return tuple(
        Descriptor.from_json(item, f"{key.removesuffix('s')} {number}")
        for number, item in enumerate(items, 1)
    )
