"""KitOps ModelKits: a Kitfile as the config, archives as layers, of which it says what they are.

https://github.com/kitops-ml/kitops: pkg/artifact/kitfile.go and pkg/cmd/unpack/unpack.go. Until 1.9
layers have no names at all; which one is which is known by their digests in the Kitfile, and in the
oldest ModelKits by nothing but their order.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.artifact import Member
from ocimlpack.model.formats import classify
from ocimlpack.model.readers import annotated
from ocimlpack.model.readers.content import Fields
from ocimlpack.model.readers.source import Source
from ocimlpack.model.readers.table import Found
from ocimlpack.spec.descriptor import Descriptor

_PREFIX: Final = "application/vnd.kitops.modelkit."
_CONFIG: Final = "application/vnd.kitops.modelkit.config."

_PARTS: Final = {
    "model": "weight",
    "modelpart": "",
    "code": "code",
    "dataset": "dataset",
    "datasets": "dataset",
    "docs": "doc",
    "prompt": "doc",
    "prompts": "doc",
    "mcpb": "code",
}
"""What a layer's media type calls it, and what that is for; nothing where the name decides."""

_LISTS: Final = {
    "code": "code",
    "datasets": "dataset",
    "docs": "docs",
    "prompts": "prompt",
    "mcpServers": "mcpb",
}
"""The Kitfile's lists, and what their layers are called."""

_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class _Entry:
    """One thing that a Kitfile lists.

    Attributes:
        part: what its layer is called in the media type.
        path: where it is in the model's folder.
        digest: its layer's; None in the oldest ModelKits.
    """

    part: str
    path: str
    digest: str | None


def read_members(source: Source) -> Found | None:
    """Every layer as the archive that it is, under the Kitfile's path.

    Raises:
        InvalidContentError: the config is no Kitfile.
    """
    entries = _entries(source.document()) if _has_kitfile(source) else []
    known: dict[str, list[_Entry]] = {}
    for entry in entries:
        known.setdefault(entry.digest or "", []).append(entry)
    ordered = {
        part: iter([entry for entry in known.get("", ()) if entry.part == part]) for part in _PARTS
    }
    members, unnamed, joined = [], 0, set()
    for layer in source.manifest.layers:
        part = layer.media_type.removeprefix(_PREFIX).partition(".")[0]
        if annotated.name_of(layer) is None and (same := known.get(str(layer.digest))):
            if layer.digest not in joined:
                members += _members(layer, part, same)
            joined.add(layer.digest)
            continue
        found = next(ordered.get(part, iter(())), None)
        members.append(_member(layer, part, found))
        unnamed += found is None and annotated.name_of(layer) is None
    if not members:
        return None
    present = {str(layer.digest) for layer in source.manifest.layers}
    absent = [entry for entry in entries if entry.digest and entry.digest not in present]
    return Found(tuple(members), tuple(_notes(source, entries, absent, unnamed)))


def read_fields(source: Source) -> Fields:
    """What the Kitfile says of the package and of its model.

    Raises:
        InvalidContentError: the config is no Kitfile.
    """
    if not _has_kitfile(source):
        return {}
    document = source.document()
    package, model = _mapping(document.get("package")), _mapping(document.get("model"))
    said = {
        "name": package.get("name") or model.get("name"),
        "version": package.get("version") or model.get("version"),
        "description": package.get("description") or model.get("description"),
        "licenses": [each for each in (package.get("license") or model.get("license"),) if each],
        "authors": package.get("authors"),
        "format": model.get("format"),
        "framework": model.get("framework"),
        "parameters": model.get("parameters"),
    }
    return {key: value for key, value in said.items() if value}


def _has_kitfile(source: Source) -> bool:
    return source.manifest.config.media_type.startswith(_CONFIG)


def _entries(document: Mapping[str, Any]) -> list[_Entry]:
    model = _mapping(document.get("model"))
    found = [_entry("model", model)] if model else []
    found += [_entry("modelpart", part) for part in _list(model.get("parts"))]
    for key, part in _LISTS.items():
        found += [_entry(part, each) for each in _list(document.get(key))]
    return found


def _entry(part: str, value: Mapping[str, Any]) -> _Entry:
    path, digest = value.get("path", "."), value.get("digest")
    if not isinstance(path, str) or not isinstance(digest, str | None):
        raise InvalidContentError(f"the Kitfile's {part} has a path or a digest that is not text")
    return _Entry(part, _plain(path), digest or None)


def _members(layer: Descriptor, part: str, entries: Sequence[_Entry]) -> list[Member]:
    """What one content is, however often it is listed: an archive has its names in it."""
    is_raw = annotated.encoding_of(layer.media_type) == "raw"
    return [_member(layer, part, entry) for entry in (entries if is_raw else entries[:1])]


def _member(layer: Descriptor, part: str, entry: _Entry | None) -> Member:
    encoding = annotated.encoding_of(layer.media_type)
    kind = _PARTS.get(part) or "file"
    if named := annotated.member(layer, kind, encoding):
        return named
    path = entry.path if entry else "."
    if part == "modelpart":
        kind = classify(path, b"").kind
    return Member(
        path=path if encoding != "raw" or entry else layer.digest.hex[:12],
        desc=layer,
        kind=kind,
        encoding=encoding,
        single=encoding == "raw",
        # As kit does: names are those from the model's folder, but in archives that came before
        # digests were in the Kitfile, those from the folder that the path is in.
        into=posixpath.dirname(path) if entry and not entry.digest else "",
    )


def _notes(
    source: Source, entries: list[_Entry], absent: list[_Entry], unnamed: int
) -> Iterator[str]:
    model = next((entry for entry in entries if entry.part == "model"), None)
    layers = [layer.media_type.removeprefix(_PREFIX) for layer in source.manifest.layers]
    elsewhere = model and not model.digest and model.path != "."
    if model and elsewhere and not any(each.startswith("model.") for each in layers):
        yield (
            f"the ModelKit's model is another ModelKit, {model.path}, which is not followed: "
            "pull that one as well"
        )
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        paths = ", ".join(entry.path for entry in absent[:_SHOWN])
        yield f"the Kitfile names what is not in the ModelKit: {paths}{more}"
    if unnamed:
        yield f"of {unnamed:,} layers the Kitfile says nothing: names are those in the archives"


def _plain(path: str) -> str:
    """A path without the `./` and the `/` that people write around it."""
    while path.startswith("./"):
        path = path[2:]
    return path.rstrip("/") if path.strip("/") else path or "."


def _mapping(value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidContentError("the Kitfile has a part that is not an object")
    return value


def _list(value: object) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidContentError("the Kitfile has a part that is not a list")
    return [_mapping(each) for each in value]
