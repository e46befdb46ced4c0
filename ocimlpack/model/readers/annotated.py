"""Layers that say themselves which file they are, in annotations."""

from __future__ import annotations

from typing import Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.artifact import Member
from ocimlpack.model.names import check_path
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.gojson import decode

_NAMES: Final = (mediatypes.FILEPATH, mediatypes.LEGACY_FILEPATH, mediatypes.TITLE)


def name_of(layer: Descriptor) -> str | None:
    """The file's name: ModelPack's, else the older one, else the title; None without any."""
    return next((layer.annotations[key] for key in _NAMES if key in layer.annotations), None)


def member(layer: Descriptor, kind: str, encoding: mediatypes.Encoding) -> Member | None:
    """The layer as a file or an archive; None where it has no name.

    Args:
        layer: it.
        kind: what it is for.
        encoding: how its media type says that it holds the file. What oras packed as a folder is
            an archive whatever its type says.

    Raises:
        InvalidContentError: one of its names is unsafe, also one that is not used.
    """
    name = name_of(layer)
    if name is None:
        return None
    unpacked = layer.annotations.get(mediatypes.ORAS_UNPACK) == "true"
    if unpacked:
        encoding = "tar+gzip"
    archive = encoding != "raw"
    for key in _NAMES:
        if (text := layer.annotations.get(key)) is not None and not (archive and text == "."):
            check_path(text.removesuffix("/") if archive else text)
    attributes = attributes_of(layer)
    mode = attributes.get("mode")
    return Member(
        path=name.removesuffix("/") if archive else name,
        desc=layer,
        kind=kind,
        encoding=encoding,
        executable=isinstance(mode, int) and bool(mode & 0o111),
        # tar's flag of a regular file, as a number
        single=not archive or (not unpacked and attributes.get("typeflag") == 0),
        # As oras does, in resolveRelToBase:
        # https://github.com/oras-project/oras-go/blob/v2.7.0/content/file/utils.go
        confined=unpacked and name != ".",
    )


def attributes_of(layer: Descriptor) -> dict[str, object]:
    """The file's attributes, none where the annotation can't be read.

    Of these only the mode is used, and nothing in them is about the file's bytes: so a writer's
    mistake here does not keep anybody from getting those.
    """
    text = layer.annotations.get(mediatypes.FILE_METADATA)
    if text is None:
        return {}
    try:
        value = decode(text.encode("utf-8", "replace"), "file metadata")
    except InvalidContentError:
        return {}
    return value if isinstance(value, dict) else {}


def encoding_of(media_type: str) -> mediatypes.Encoding:
    """How a layer holds its file, by the last part of a media type like `….v1.tar+gzip`."""
    ending = media_type.rpartition(".")[2]
    return next((each for each in mediatypes.ENCODINGS if each == ending), "raw")


def left_out(count: int) -> tuple[str, ...]:
    """A note on layers that have no name, where others have; none if there are none."""
    if not count:
        return ()
    return (f"left out: {count:,} layer{'' if count == 1 else 's'} without a file name",)
