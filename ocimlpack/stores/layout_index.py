"""Changes of a layout's index, as JSON: what other programs put there stays as it is.

They only say what is to be different. How the whole is written, so that no two writers undo each
other's changes, is the matter of the place: a lock on disk, a condition in a bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ocimlpack.errors import UnsupportedError
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode, encode
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import OCI_INDEX, REF_NAME
from ocimlpack.stores.layout_reader import entry_json, entry_name

_VERSION: Final = "1.0.0"
MARKER: Final = encode({"imageLayoutVersion": _VERSION})
"""The content of the file `oci-layout`."""


def empty() -> dict[str, Any]:
    """An index that lists nothing."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def add(index: dict[str, Any], node: Manifest | Index) -> None:
    """List a manifest, unless it is listed."""
    items = index["manifests"]
    if isinstance(node, Index):
        # What an index lists needs no entry of its own, and would outlive it.
        listed = {str(child.digest) for child in node.manifests}
        items[:] = [each for each in items if entry_name(each) or each.get("digest") not in listed]
    if not _lists(index, node.descriptor.digest):
        items.append(entry_json(node))


def name(index: dict[str, Any], node: Manifest | Index, full: str) -> None:
    """Let a name stand for a manifest, whatever it stood for before."""
    digest = str(node.descriptor.digest)
    index["manifests"] = [
        each
        for each in index["manifests"]
        if entry_name(each) != full and (entry_name(each) or each.get("digest") != digest)
    ]
    index["manifests"].append(entry_json(node, full))


def unname(index: dict[str, Any], full: str, *, keep: bool = False) -> bool:
    """Take a name away; False if there is none.

    Args:
        index: the index.
        full: the name.
        keep: go on listing the manifest, without a name if it has no other.
    """
    items: list[dict[str, Any]] = index["manifests"]
    gone = [each for each in items if entry_name(each) == full]
    index["manifests"] = [each for each in items if entry_name(each) != full]
    if keep:
        for each in gone:
            digest = each.get("digest")
            if all(other.get("digest") != digest for other in index["manifests"]):
                index["manifests"].append(_nameless(each))
    return bool(gone)


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


def _lists(index: Mapping[str, Any], digest: Digest) -> bool:
    return any(each.get("digest") == str(digest) for each in index["manifests"])


def _nameless(item: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in item.items() if key != "annotations"}
    others = {key: value for key, value in item.get("annotations", {}).items() if key != REF_NAME}
    return {**kept, "annotations": others} if others else kept
