"""Container images that hold a model below `/models`: modelcars, and what serves as image volumes.

https://kserve.github.io/website/docs/model-serving/storage/providers/oci and
https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ocimlpack.model.artifact import Member
from ocimlpack.model.readers import annotated
from ocimlpack.model.readers.content import Fields
from ocimlpack.model.readers.source import Source
from ocimlpack.model.readers.table import Found
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor

BELOW: Final = "models"
"""The folder of an image that is the model; what is elsewhere in it is what serves it."""

_LAYERS: Final[Mapping[str, mediatypes.Encoding]] = {
    "application/vnd.oci.image.layer.v1.tar": "tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": "tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "tar+zstd",
}

_NAMES: Final = (
    "olot.layer.content.inlayerpath",
    "io.github.codanael.modelcar.hf-path",
    mediatypes.TITLE,
)
"""Where writers of modelcars note which file a layer is for. Only people are told of it."""

_ANNOTATION: Final = "org.opencontainers.image."
_FIELDS: Final = {
    "title": "title",
    "description": "description",
    "version": "version",
    "revision": "revision",
    "vendor": "vendor",
    "licenses": "licenses",
    "authors": "authors",
    "source": "sourceURL",
    "documentation": "docURL",
    "created": "createdAt",
}
"""The specification's annotations, which are also labels, and what ModelPack calls them."""


def read_members(source: Source) -> Found | None:
    """Every layer as an archive that the later ones cover, of which only `/models` counts.

    None for what only has an image's media types, as files that were pushed without naming theirs.
    """
    layers = source.manifest.layers
    if not layers or any(layer.media_type not in _LAYERS for layer in layers):
        return None
    if all(annotated.name_of(layer) for layer in layers) and not _has_rootfs(source):
        return None
    # Where a layer is there twice, the upper one covers all that the lower one holds.
    last = {layer.digest: number for number, layer in enumerate(layers)}
    members = tuple(
        Member(
            path=".",
            desc=layer,
            kind=_kind(layer),
            encoding=_LAYERS[layer.media_type],
            single=False,
            below=BELOW,
            level=number,
            shown=_shown(layer, number, len(layers)),
        )
        for number, layer in enumerate(layers)
        if last[layer.digest] == number
    )
    return Found(members)


def read_fields(source: Source) -> Fields:
    """What a model's config says that is in the image's; else its labels and annotations.

    Raises:
        InvalidContentError: the config is not JSON.
    """
    document = source.document()
    config = document.get("config")
    if "modelfs" in document:
        # Labels then only repeat it, as far as they have words for it.
        said: dict[str, Any] = {}
        for part in ("descriptor", "config"):
            if isinstance(value := document.get(part), dict):
                said.update(value)
        return said
    labels = config.get("Labels") if isinstance(config, dict) else None
    return dict(_annotated(labels)) | dict(_annotated(source.manifest.annotations))


def _has_rootfs(source: Source) -> bool:
    rootfs = source.document().get("rootfs")
    return isinstance(rootfs, dict) and bool(rootfs.get("diff_ids"))


def _kind(layer: Descriptor) -> str:
    said = layer.annotations.get(mediatypes.KIND)
    return next((kind for kind in mediatypes.KINDS if kind == said), "file")


def _shown(layer: Descriptor, number: int, count: int) -> str:
    if path := layer.annotations.get(mediatypes.PATH):
        return f"{path}/".removeprefix(f"{BELOW}/").removesuffix("/") or "."
    name = next((layer.annotations[key] for key in _NAMES if key in layer.annotations), None)
    return (name or f"(layer {number + 1} of {count})").removeprefix(f"/{BELOW}/")


def _annotated(given: object) -> Iterator[tuple[str, Any]]:
    for key, name in _FIELDS.items():
        value = given.get(_ANNOTATION + key) if isinstance(given, Mapping) else None
        if isinstance(value, str) and value:
            yield name, [value] if name in {"licenses", "authors"} else value
