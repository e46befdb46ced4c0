"""Descriptors: media type, digest and size, which together name one piece of content.

https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from ocimlpack.errors import InvalidContentError, InvalidDigestError
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import sorted_map

_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\Z"
)
_MAX_SIZE: Final = 2**63 - 1
_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Platform:
    """The machine that a manifest of an index is for.

    Attributes:
        architecture: as Go calls it: "amd64", "arm64"; "unknown" for what runs nowhere.
        os: as Go calls it: "linux".
        variant: of the processor: "v8"; empty where it is not said.
    """

    architecture: str
    os: str
    variant: str = ""

    @classmethod
    def from_json(cls, value: object) -> Platform | None:
        """What another side supplied; None where it says nothing that can be read."""
        if not isinstance(value, dict):
            return None
        architecture, system, variant = (
            value.get(key, "") for key in ("architecture", "os", "variant")
        )
        if not all(isinstance(each, str) for each in (architecture, system, variant)):
            return None
        return cls(architecture, system, variant)

    def to_json(self) -> dict[str, str]:
        """The JSON object, its fields in Go's order."""
        value = {"architecture": self.architecture, "os": self.os}
        return value | ({"variant": self.variant} if self.variant else {})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One piece of content, named by its digest.

    Attributes:
        media_type: what the content is.
        digest: the digest of its bytes.
        size: how many bytes it has.
        annotations: what is said about it here; not part of the content's identity.
        artifact_type: for a manifest named in an index, what the artifact is.
        platform: for a manifest named in an index, the machine that it is for.
        name: what Ollama calls the content. It is no field of the specification.
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _EMPTY, hash=False)
    artifact_type: str | None = None
    platform: Platform | None = None
    name: str | None = None

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Descriptor:
        """The descriptor of some bytes."""
        return cls(media_type, Digest.of(content), len(content))

    @classmethod
    def from_json(cls, value: object, what: str = "descriptor") -> Descriptor:
        """Check a descriptor that another side supplied.

        Raises:
            InvalidContentError: a field is missing, of the wrong type or out of range.
        """
        if not isinstance(value, dict):
            raise InvalidContentError(f"{what} is not an object")
        media_type, size = value.get("mediaType"), value.get("size")
        if not is_media_type(media_type):
            raise InvalidContentError(f"{what} has no valid mediaType")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
            raise InvalidContentError(f"{what} has no valid size")
        try:
            digest = Digest.parse(str(value.get("digest")))
        except InvalidDigestError as error:
            raise InvalidContentError(f"{what}: {error.message}") from error
        artifact_type = value.get("artifactType")
        if artifact_type is not None and not isinstance(artifact_type, str):
            raise InvalidContentError(f"{what} has an artifactType that is not text")
        name = value.get("name")
        if name is not None and not isinstance(name, str):
            raise InvalidContentError(f"{what} has a name that is not text")
        return cls(
            media_type,
            digest,
            size,
            check_annotations(value.get("annotations"), what),
            artifact_type or None,
            Platform.from_json(value.get("platform")),
            name or None,
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, its fields in the order in which Go's image-spec types declare them."""
        value: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.annotations:
            value["annotations"] = sorted_map(self.annotations)
        if self.platform:
            value["platform"] = self.platform.to_json()
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.name:
            value["name"] = self.name
        return value

    @property
    def plain(self) -> Descriptor:
        """The same content with nothing said about it."""
        return Descriptor(self.media_type, self.digest, self.size)


def is_media_type(value: object) -> TypeGuard[str]:
    """Whether a value is a media type by the grammar of RFC 6838, section 4.2."""
    return isinstance(value, str) and bool(_MEDIA_TYPE.match(value))


def check_annotations(value: object, what: str) -> Mapping[str, str]:
    """Annotations as a read-only map of text to text; none and null are an empty map.

    Raises:
        InvalidContentError: anything else.
    """
    if value is None:
        return _EMPTY
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise InvalidContentError(f"{what} has annotations that are not text")
    return MappingProxyType(dict(value))
