"""An artifact of any format, planned anew as what `pack` would make of its files.

So a model that was packed here and is converted back is what it was, digest for digest. Nothing is
copied: contents stay where they are until they are sent, and a layer that stays the same is taken
over as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model import image
from ocimlpack.model.config import FORMS, Value, check
from ocimlpack.model.contained import Inner, files_of
from ocimlpack.model.formats import Role, classify, weight_rank
from ocimlpack.model.layers import PlannedFile, PlannedLayer
from ocimlpack.model.options import Form
from ocimlpack.model.pack import Plan, layers_of
from ocimlpack.model.readers import Content
from ocimlpack.model.slices import Slice
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Platform
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores.base import ReadableStore

_ORDER: Final = {kind: place for place, kind in enumerate(mediatypes.KINDS)}
_TOLD: Final = frozenset({"safetensors", "gguf"})
"""Formats that a name tells as well as the first bytes."""


def plan(
    store: ReadableStore,
    manifest: Manifest,
    content: Content,
    form: Form,
    platforms: Sequence[Platform] = (),
) -> Plan:
    """What an artifact becomes.

    Args:
        store: where it is. Archives in it are read through, to know what they hold.
        manifest: the artifact.
        content: what a reader makes of it.
        form: what it is to be.
        platforms: what an image is for.

    Raises:
        InvalidContentError: an archive is damaged or unsafe, or there are no files.
        OcimlpackError: from the store.
    """
    found = files_of(store, content.members)
    if not found:
        raise InvalidContentError(
            "the artifact holds no files", digest=str(manifest.descriptor.digest)
        )
    roles = {each.path: _role(store, each) for each in found}
    found.sort(key=lambda each: _place(each, roles[each.path]))
    files = [
        PlannedFile(each.path, roles[each.path].kind, each.size, each.mode, each.blob, each.digest)
        for each in found
    ]
    inner = {each.path: each for each in found}
    layers = tuple(_kept(store, layer, inner) for layer in layers_of(files, form))
    return Plan(
        layers=layers,
        fields=_fields(content.fields),
        annotations=manifest.annotations,
        artifact_type=mediatypes.MODEL_MANIFEST,
        config=None,
        image_config=False,
        warnings=content.notes,
        form=form,
        platforms=tuple(platforms) or (image.PLATFORMS if form != "modelpack" else ()),
    )


def _role(store: ReadableStore, file: Inner) -> Role:
    """What a file is for: what its layer says, else what its name and first bytes do."""
    kind = next((each for each in mediatypes.KINDS if each == file.member.kind), None)
    role = classify(file.path, b"")
    if kind is None or (kind == "weight" and role.format not in _TOLD):
        role = classify(file.path, file.head(store))
    return Role(kind or role.kind, role.format)


def _place(file: Inner, role: Role) -> tuple[int, int, bytes]:
    rank = weight_rank(role.format) if role.kind == "weight" else 0
    return _ORDER[role.kind], rank, file.path.encode()


def _fields(said: Mapping[str, Any]) -> dict[str, Value]:
    """What the config may say of what was said: the writer's mistakes are left out."""
    fields: dict[str, Value] = {}
    inner = said.get("capabilities")
    said = {**said, **(inner if isinstance(inner, dict) else {})}
    for name in FORMS:
        value = said.get(name)
        if isinstance(value, list):
            value = tuple(each for each in value if isinstance(each, str))
        if isinstance(value, str | bool | tuple):
            with suppress(InputError):
                fields[name] = check(name, value)
    return fields


def _kept(store: ReadableStore, layer: PlannedLayer, inner: Mapping[str, Inner]) -> PlannedLayer:
    """The layer, as the one that it already is in the source, if it is.

    That is known of an archive of one large file alone. Whether another one is byte for byte what
    it would be, its digest tells.
    """
    if not isinstance(layer, image.PlannedTar) or len(layer.files) != 1:
        return layer
    file = inner[layer.files[0].path]
    source = file.member.desc
    same = source.size == layer.size and layer.blob.starts[layer.path] == file.start
    if not same or not isinstance(file.blob, Slice) or not file.blob.lone:
        return layer
    return replace(layer, digest=source.digest, taken=store.fetch(source))
