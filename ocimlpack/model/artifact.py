"""What the layers of a manifest are: files or archives of files, and under which names.

Read are artifacts of the ModelPack specification, also under its older `cnai` names, what
`oras push` writes, and any other artifact whose layers carry a file's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ocimlpack.errors import InvalidContentError, UnsupportedError
from ocimlpack.model.names import check_path, collisions
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode
from ocimlpack.spec.manifest import Manifest

# A KitOps ModelKit's layers are encoded like ModelPack's. Version 1.7 gives them no names.
_KIT_LAYER_PREFIX: Final = "application/vnd.kitops.modelkit."
_MODEL_PREFIXES: Final = (
    mediatypes.MODEL_LAYER_PREFIX,
    mediatypes.LEGACY_MODEL_LAYER_PREFIX,
    _KIT_LAYER_PREFIX,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One layer as a file, or as an archive of files.

    Attributes:
        path: the file's path. For an archive the name of the file or folder in it, "." where it
            fills the whole folder; the paths are those inside.
        desc: the layer.
        kind: what the file is for, as ModelPack calls it, or "file" where that isn't said.
        encoding: how the layer holds the file or the files.
        executable: whether the file may be run.
        single: whether there is just one file, of this path. Always so for a raw layer.
        confined: whether all in the archive lies below `path`.
    """

    path: str
    desc: Descriptor
    kind: str
    encoding: mediatypes.Encoding = "raw"
    executable: bool = False
    single: bool = True
    confined: bool = False


def members(manifest: Manifest) -> tuple[Member, ...]:
    """Every layer as a file or an archive, in the manifest's order.

    A layer's name is its annotation `org.cncf.model.filepath`, else `org.cnai.model.filepath`, else
    `org.opencontainers.image.title`; all that are there have to be safe. Where other layers have
    names, one without is left out, as tools store things of their own that way; but a layer of a
    model always needs its name.

    Raises:
        InvalidContentError: an unsafe name, a layer of a model without a name, names that can't
            be side by side, or one digest with two sizes.
        UnsupportedError: no layer has a name, so this is no artifact that is made of files.
    """
    sizes: dict[Digest, int] = {}
    for desc in manifest.children:
        if sizes.setdefault(desc.digest, desc.size) != desc.size:
            raise InvalidContentError(
                f"manifest gives two sizes for {desc.digest}", digest=str(desc.digest)
            )
    named = [(layer, name) for layer in manifest.layers if (name := _name(layer)) is not None]
    if not named:
        raise _not_understood(manifest)
    for layer in manifest.layers:
        if _name(layer) is None and layer.media_type.startswith(_MODEL_PREFIXES):
            raise InvalidContentError(
                f"layer {layer.digest} ({layer.media_type}) has no file name",
                digest=str(layer.digest),
            )
    found = tuple(_member(layer, name) for layer, name in named)
    if clash := collisions(each.path for each in found if each.encoding == "raw"):
        raise clashing(*clash[0])
    return found


def clashing(one: str, other: str) -> InvalidContentError:
    """The error for two files of an artifact that can't be in one folder."""
    if one == other:
        return InvalidContentError(f"the artifact holds {one!r} twice")
    return InvalidContentError(
        f"the artifact holds {one!r} and {other!r}, which can't be side by side on every system"
    )


def _name(layer: Descriptor) -> str | None:
    keys = (mediatypes.FILEPATH, mediatypes.LEGACY_FILEPATH, mediatypes.TITLE)
    return next((layer.annotations[key] for key in keys if key in layer.annotations), None)


def _member(layer: Descriptor, name: str) -> Member:
    kind, encoding = _parse_type(layer)
    archive = encoding != "raw"
    for key in (mediatypes.FILEPATH, mediatypes.LEGACY_FILEPATH, mediatypes.TITLE):
        if (text := layer.annotations.get(key)) is not None and not (archive and text == "."):
            check_path(text.removesuffix("/") if archive else text)
    unpacked = layer.annotations.get(mediatypes.ORAS_UNPACK) == "true"
    metadata = _metadata(layer)
    mode = metadata.get("mode")
    return Member(
        path=name.removesuffix("/") if archive else name,
        desc=layer,
        kind=kind,
        encoding=encoding,
        executable=isinstance(mode, int) and bool(mode & 0o111),
        # tar's flag of a regular file, as a number
        single=not archive or (not unpacked and metadata.get("typeflag") == 0),
        # As oras does, in resolveRelToBase:
        # https://github.com/oras-project/oras-go/blob/v2.7.0/content/file/utils.go
        confined=unpacked and name != ".",
    )


def _parse_type(layer: Descriptor) -> tuple[str, mediatypes.Encoding]:
    if layer.annotations.get(mediatypes.ORAS_UNPACK) == "true":
        return "file", "tar+gzip"
    if parsed := mediatypes.parse_model_layer(layer.media_type):
        return parsed
    if layer.media_type.startswith(_MODEL_PREFIXES):
        # A kind of a later version, which says nothing about how the file is held.
        ending = layer.media_type.rpartition(".")[2]
        return "file", next((each for each in mediatypes.ENCODINGS if each == ending), "raw")
    return "file", "raw"


def _metadata(layer: Descriptor) -> dict[str, object]:
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


def _not_understood(manifest: Manifest) -> UnsupportedError:
    types = sorted({layer.media_type for layer in manifest.layers})
    if not types or types == [mediatypes.OCI_EMPTY]:
        return UnsupportedError(
            f"the artifact {manifest.descriptor.digest} holds no files",
            digest=str(manifest.descriptor.digest),
        )
    shown = ", ".join(types[:4]) + (f" and {len(types) - 4} more" if len(types) > 4 else "")
    return UnsupportedError(
        "the artifact's format isn't understood: none of its layers has a file name "
        f"(layers are {shown})",
        digest=str(manifest.descriptor.digest),
        hint="copy moves an artifact of any format",
    )
