"""Changes of a layout's index, as JSON: what other programs put there stays as it is.

They only say what is to be different. How the whole is written, so that no two writers undo each
other's changes, is the matter of the place: a lock on disk, a condition in a bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ocimlpack.errors import UnsupportedError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode, encode
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import OCI_INDEX, REF_NAME
from ocimlpack.stores.layout_reader import entry_json, entry_name

_VERSION: Final = "1.0.0"
MARKER: Final = encode({"imageLayoutVersion": _VERSION})
"""The content of the file `oci-layout`."""

STAGE: Final = "ocimlpack.stage"
"""The annotation of an entry whose version is not an active one."""

UNTAGGED: Final = "ocimlpack.untagged"
"""The annotation of an entry that has lost its last name: when that was, by RFC 3339 in UTC."""


def empty() -> dict[str, Any]:
    """An index that lists nothing."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def add(index: dict[str, Any], desc: Descriptor, node: Manifest | Index) -> bool:
    """List a manifest; False if it is listed already."""
    items: list[dict[str, Any]] = index["manifests"]
    before = list(items)
    if isinstance(node, Index):
        # What an index lists needs no entry of its own, and would outlive it.
        listed = {str(child.digest) for child in node.manifests}
        items[:] = [each for each in items if entry_name(each) or each.get("digest") not in listed]
    # Whoever brings it again wants it again.
    items[:] = [_wanted(each) if _is_of(each, desc) else each for each in items]
    if not any(_is_of(each, desc) for each in items):
        items.append(entry_json(desc, node))
    return items != before


def name(
    index: dict[str, Any],
    desc: Descriptor,
    node: Manifest | Index,
    full: str,
    untagged: str | None = None,
) -> None:
    """Let a name stand for a manifest, whatever it stood for before.

    Args:
        index: the index.
        desc: the manifest.
        node: its content.
        full: the name.
        untagged: a time, to go on listing what has lost its last name, with that beside it.
    """
    stage = stage_of(index, desc.digest)
    unname(index, full, untagged)
    items = [each for each in index["manifests"] if entry_name(each) or not _is_of(each, desc)]
    entry = entry_json(desc, node, full)
    index["manifests"] = [*items, _annotated(entry, STAGE, {STAGE: stage} if stage else {})]


def unname(index: dict[str, Any], full: str, untagged: str | None = None) -> bool:
    """Take a name away; False if there is none.

    Args:
        index: the index.
        full: the name.
        untagged: a time, to go on listing what has lost its last name, with that beside it.
    """
    items: list[dict[str, Any]] = index["manifests"]
    kept = [each for each in items if entry_name(each) != full]
    for each in items:
        last = all(other.get("digest") != each.get("digest") for other in kept)
        if untagged and entry_name(each) == full and last:
            kept.append(_annotated(each, REF_NAME, {UNTAGGED: untagged}))
    index["manifests"] = kept
    return any(entry_name(each) == full for each in items)


def stage_of(index: Mapping[str, Any], digest: Digest) -> str:
    """The stage that a manifest is in; empty for an active one."""
    for each in index["manifests"]:
        annotations = each.get("annotations")
        if each.get("digest") == str(digest) and isinstance(annotations, dict):
            return str(annotations.get(STAGE, ""))
    return ""


def set_stage(index: dict[str, Any], digest: Digest, stage: str) -> bool:
    """Put all entries of a manifest into a stage, empty for active; False if there are none."""
    more = {STAGE: stage} if stage else {}
    items = index["manifests"]
    index["manifests"] = [
        _annotated(each, STAGE, more) if each.get("digest") == str(digest) else each
        for each in items
    ]
    return any(each.get("digest") == str(digest) for each in items)


def forget_untagged(index: dict[str, Any], before: str) -> list[Digest]:
    """List no more what lost its last name before some time; returns what that was."""
    gone = []
    for each in list(index["manifests"]):
        annotations = each.get("annotations")
        since = annotations.get(UNTAGGED) if isinstance(annotations, dict) else None
        if isinstance(since, str) and not entry_name(each) and since < before:
            index["manifests"].remove(each)
            gone.append(Digest.parse(str(each.get("digest"))))
    return gone


def drop(index: dict[str, Any], digest: Digest, prefix: str = "") -> bool:
    """List a manifest no more, by none of the names that begin with a prefix; False if it wasn't.

    Entries without a name go, too.
    """
    items = index["manifests"]
    index["manifests"] = [
        each
        for each in items
        if each.get("digest") != str(digest)
        or (entry_name(each) and not entry_name(each).startswith(prefix))
    ]
    return len(index["manifests"]) < len(items)


def is_named(index: Mapping[str, Any], digest: Digest) -> bool:
    """Whether a name stands for the manifest."""
    return any(entry_name(each) for each in index["manifests"] if each.get("digest") == str(digest))


def check_marker(content: bytes, file: str, place: str) -> None:
    """Refuse a layout of a version that is not known.

    Args:
        content: of the file `oci-layout`.
        file: how errors name it.
        place: how errors name the layout.

    Raises:
        InvalidContentError: it is not JSON.
        UnsupportedError: it is of another version.
    """
    value = decode(content, file)
    version = value.get("imageLayoutVersion") if isinstance(value, dict) else None
    if version != _VERSION:
        raise UnsupportedError(
            f"{place} is an image layout of version {version!r:.20}, not {_VERSION}"
        )


def _wanted(item: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of what somebody has just brought: it is neither forgotten nor old."""
    return _annotated(_annotated(item, UNTAGGED), STAGE)


def _is_of(item: Mapping[str, Any], desc: Descriptor) -> bool:
    return item.get("digest") == str(desc.digest)


def _annotated(
    item: Mapping[str, Any], without: str, more: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """An entry with an annotation less, and others more."""
    found = item.get("annotations")
    annotations = dict(found) if isinstance(found, dict) else {}
    annotations.pop(without, None)
    annotations.update(more)
    kept = {key: value for key, value in item.items() if key != "annotations"}
    return {**kept, "annotations": annotations} if annotations else kept
