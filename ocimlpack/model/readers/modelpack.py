"""ModelPack, also under its older `cnai` names.

https://github.com/modelpack/model-spec/blob/main/docs/spec.md
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.artifact import Member
from ocimlpack.model.readers import annotated
from ocimlpack.model.readers.content import Fields
from ocimlpack.model.readers.source import Source
from ocimlpack.model.readers.table import Found
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor

_BELOW = "models"
"""The folder of an image that is the model."""

_PREFIXES = (mediatypes.MODEL_LAYER_PREFIX, mediatypes.LEGACY_MODEL_LAYER_PREFIX)
_CONFIGS = (
    "application/vnd.cncf.model.config.",
    "application/vnd.cnai.model.config.",
)


def read_members(source: Source) -> Found | None:
    """Every layer as a file or an archive.

    Other layers without a name are left out, as tools store things of their own that way; a layer
    of a model needs its name.

    Raises:
        InvalidContentError: a layer of a model without a name.
    """
    found, nameless = [], 0
    for layer in source.manifest.layers:
        if member := _member(layer):
            found.append(member)
        elif layer.media_type.startswith(_PREFIXES):
            raise InvalidContentError(
                f"layer {layer.digest} ({layer.media_type}) has no file name",
                digest=str(layer.digest),
            )
        else:
            nameless += 1
    if not found:
        return None
    return Found(tuple(found), annotated.left_out(nameless))


def read_fields(source: Source) -> Fields:
    """What the config says, in one map, also where it is part of an image's.

    Raises:
        InvalidContentError: it is not what its type says.
    """
    media_type = source.manifest.config.media_type
    if not media_type.startswith(_CONFIGS) and media_type != mediatypes.OCI_CONFIG:
        return {}
    document = source.document()
    if media_type == mediatypes.OCI_CONFIG and "modelfs" not in document:
        return {}  # an image's `config` is of how it runs
    said: dict[str, Any] = {}
    for part in ("descriptor", "config"):
        value = document.get(part)
        if isinstance(value, dict):
            said.update(value)
    return said


def _member(layer: Descriptor) -> Member | None:
    parsed = mediatypes.parse_model_layer(layer.media_type)
    if parsed:
        found = annotated.member(layer, *parsed)
        return found and _in_image(found)
    if layer.media_type.startswith(_PREFIXES):
        # A kind of a later version, which says nothing about how the file is held.
        return annotated.member(layer, "file", annotated.encoding_of(layer.media_type))
    return annotated.member(layer, "file", "raw")


def _in_image(member: Member) -> Member:
    """The member, if its archive is also a layer of an image, under the path that is meant.

    Ours say so. olot lists an image's layers, in which files lie below `/models`, in a model's
    manifest as well and gives them nothing but a title: https://github.com/containers/olot
    """
    if member.encoding != "raw" and mediatypes.PATH in member.desc.annotations:
        path = f"{member.path}/".removeprefix(f"{_BELOW}/").removesuffix("/") or "."
        return replace(member, path=path, below=_BELOW)
    if member.encoding == "raw" or {mediatypes.FILEPATH, mediatypes.LEGACY_FILEPATH} & set(
        member.desc.annotations
    ):
        return member
    return replace(member, inside=f"{_BELOW}/{member.path}")
