"""An image that a model is put on: what a server needs that runs the image instead of mounting it.

https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ocimlpack.errors import InputError, InvalidContentError, InvalidDigestError, NotFoundError
from ocimlpack.model.readers.source import Source
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor, Platform
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.stores.base import ReadableStore
from ocimlpack.stores.graph import read_manifest

_OCI_TYPES: Final = {
    "application/vnd.docker.image.rootfs.diff.tar": mediatypes.OCI_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{mediatypes.OCI_LAYER}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{mediatypes.OCI_LAYER}+zstd",
}
"""What Docker calls layers, and what they are called in an OCI manifest, where no others may be."""


@dataclass(frozen=True, slots=True)
class Base:
    """An image for one platform.

    Attributes:
        layers: its layers, the lowest first.
        diff_ids: their digests when they are unpacked.
        config: how it runs.
    """

    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bases:
    """The same image for several platforms.

    Attributes:
        store: where it is.
        images: it, for each.
    """

    store: ReadableStore
    images: Mapping[Platform, Base]


def read(store: ReadableStore, root: Descriptor, platforms: Sequence[Platform]) -> Bases:
    """Read what has to be known of an image; its layers stay where they are.

    Args:
        store: where it is.
        root: its manifest or index.
        platforms: those that are wanted.

    Raises:
        InputError: it is not for one of them, or no image.
        InvalidContentError: it is damaged.
    """
    return Bases(store, {each: _for_platform(store, root, each) for each in platforms})


def _for_platform(store: ReadableStore, root: Descriptor, platform: Platform) -> Base:
    node = read_manifest(store, root)
    if isinstance(node, Index):
        found = [each for each in node.manifests if _fits(platform, each.platform)]
        if not found:
            raise _missing(platform, root)
        node = read_manifest(store, found[0])
    if not isinstance(node, Manifest) or any(map(_is_no_layer, node.layers)):
        raise InputError(f"{root.digest} is no container image", digest=str(root.digest))
    return _read(store, node, platform, root)


def _read(store: ReadableStore, image: Manifest, platform: Platform, root: Descriptor) -> Base:
    try:
        document = Source(image, store).document()
    except NotFoundError as error:
        raise InvalidContentError(f"the image {root.digest} lacks its config") from error
    if not _fits(platform, Platform.from_json(document)):
        raise _missing(platform, root)
    rootfs, config = document.get("rootfs"), document.get("config")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if (
        not isinstance(diff_ids, list)
        or not all(map(_is_digest, diff_ids))
        or len(diff_ids) != len(image.layers)
    ):
        raise InvalidContentError(
            f"the image {root.digest} has other layers than its config says",
            digest=str(root.digest),
        )
    layers = tuple(
        replace(layer, media_type=_OCI_TYPES.get(layer.media_type, layer.media_type))
        for layer in image.layers
    )
    return Base(layers, tuple(diff_ids), config if isinstance(config, dict) else {})


def _fits(wanted: Platform, found: Platform | None) -> bool:
    """Whether an image is for a platform; a variant matters only where one is asked for."""
    if found is None or (wanted.os, wanted.architecture) != (found.os, found.architecture):
        return False
    return not wanted.variant or wanted.variant == found.variant


def _is_digest(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(Digest.parse(value))
    except InvalidDigestError:
        return False


def _is_no_layer(layer: Descriptor) -> bool:
    return layer.media_type not in _OCI_TYPES and not layer.media_type.startswith(
        mediatypes.OCI_LAYER
    )


def _missing(platform: Platform, root: Descriptor) -> InputError:
    name = "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))
    return InputError(
        f"the base image {root.digest} is not for {name}",
        hint="--platform OS/ARCH, for each platform that it is for",
        digest=str(root.digest),
    )
