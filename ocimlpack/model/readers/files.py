"""Artifacts that are files and no more is known of them: what `oras push` writes, and all others.

https://oras.land/docs/how_to_guides/pushing_and_pulling
"""

from __future__ import annotations

import re
from typing import Final

from ocimlpack.errors import UnsupportedError
from ocimlpack.model.artifact import Member
from ocimlpack.model.readers import annotated
from ocimlpack.model.readers.content import Fields
from ocimlpack.model.readers.source import Source
from ocimlpack.model.readers.table import Found
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Manifest

_SHOWN: Final = 4

_FOLDER: Final = f"{mediatypes.OCI_LAYER_PREFIX}tar+gzip"
_ARCHIVES: Final = (".gz", ".tgz")

_ENDINGS: Final = {
    "gguf": ".gguf",
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "gzip": ".gz",
    "zstd": ".zst",
    "tar": ".tar",
    "zip": ".zip",
    "json": ".json",
    "yaml": ".yaml",
    "xml": ".xml",
    "wasm": ".wasm",
    "markdown": ".md",
    "html": ".html",
    "plain": ".txt",
}
"""A word in a media type's second half, and what names of such files end with."""


def read_members(source: Source) -> Found | None:
    """Every layer that has a name as a file; where none has one, all under made-up names.

    Raises:
        UnsupportedError: there are no layers.
    """
    layers = source.manifest.layers
    found = [
        member for layer in layers if (member := annotated.member(layer, "file", _encoding(layer)))
    ]
    if found:
        return Found(tuple(found), annotated.left_out(len(layers) - len(found)))
    if not any(layer.media_type != mediatypes.OCI_EMPTY for layer in layers):
        digest = str(source.manifest.descriptor.digest)
        raise UnsupportedError(f"the artifact {digest} holds no files", digest=digest)
    return Found(tuple(map(_made_up, _each_once(layers))), (_guessed(source.manifest),))


def read_fields(source: Source) -> Fields:
    """Nothing is understood of such a config."""
    return {}


def _encoding(layer: Descriptor) -> mediatypes.Encoding:
    """What oras for Python packed as a folder has this type and no other mark.

    https://github.com/oras-project/oras-py/blob/0.2.43/oras/provider.py, `push` and `pull`. Of a
    file that has the type because it is an archive, the name says so too.
    """
    title = layer.annotations.get(mediatypes.TITLE, "")
    is_folder = layer.media_type == _FOLDER and not title.endswith(_ARCHIVES)
    return "tar+gzip" if is_folder else "raw"


def _made_up(layer: Descriptor) -> Member:
    return Member(f"{layer.digest.hex[:12]}{_ending(layer.media_type)}", layer, "file")


def _ending(media_type: str) -> str:
    """What the name of such a file ends with; nothing where the media type doesn't tell.

    Structured syntax suffixes: https://www.rfc-editor.org/rfc/rfc6838#section-4.2.8
    """
    kind = media_type.partition("/")[2].lower()
    for word, ending in _ENDINGS.items():
        if word in re.split(r"[.+-]", kind):
            # An archive in another one's wrapping: `tar+gzip`
            return f".tar{ending}" if "tar" in kind and ending in {".gz", ".zst"} else ending
    return ""


def _each_once(layers: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    return tuple({layer.digest: layer for layer in layers}.values())


def _guessed(manifest: Manifest) -> str:
    types = sorted({layer.media_type for layer in manifest.layers})
    shown = ", ".join(types[:_SHOWN])
    more = f" and {len(types) - _SHOWN} more" if len(types) > _SHOWN else ""
    return (
        "the artifact's format isn't understood, and none of its layers has a file name: files are "
        f"named after their digests (layers are {shown}{more})"
    )
