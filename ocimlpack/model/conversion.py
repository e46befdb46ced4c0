"""An artifact of any format, planned anew as what `pack` would make of its files.

So a model that was packed here and is converted back is what it was, digest for digest. Nothing is
copied: contents stay where they are until they are sent, and a layer that stays the same is taken
over as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model import image
from ocimlpack.model.config import FORMS, Value, fits
from ocimlpack.model.contained import Inner, files_of, whole
from ocimlpack.model.formats import Role, classify, weight_rank
from ocimlpack.model.layers import PlannedBundle, PlannedFile, PlannedLayer
from ocimlpack.model.options import Form
from ocimlpack.model.pack import Plan, layers_of
from ocimlpack.model.readers import Content
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor, Platform
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
        if isinstance(value, str | bool | tuple) and fits(name, value):
            fields[name] = value
    return fields


def _kept(store: ReadableStore, layer: PlannedLayer, inner: Mapping[str, Inner]) -> PlannedLayer:
    """The layer, as the one that it already is in the source, if it is."""
    if not isinstance(layer, PlannedBundle | image.PlannedTar):
        return layer
    source = whole([inner[file.path] for file in layer.files])
    if source is None or not _is_ours(source) or source.size != layer.size:
        return layer
    root = "" if isinstance(layer, PlannedBundle) else f"{image.ROOT}/"
    starts = layer.blob.starts
    if any(inner[file.path].start != starts[root + file.path] for file in layer.files):
        return layer
    return replace(layer, digest=source.digest, taken=store.fetch(source))


def _is_ours(layer: Descriptor) -> bool:
    """Whether a layer is marked as an archive that was made by our rules, and not compressed.

    Where that is no more than said, it is all the same an archive with the right files in it.
    """
    parsed = mediatypes.parse_model_layer(layer.media_type)
    if layer.media_type != mediatypes.OCI_LAYER and (parsed or ("", ""))[1] != "tar":
        return False
    titled = layer.annotations.get(mediatypes.TITLE, "").endswith(f"-{layer.digest.hex[:12]}.tar")
    return mediatypes.PATH in layer.annotations or titled
