"""The tensors of a model, wherever it is: only headers are read of its weights, by range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model import inside, overlay, parameters
from ocimlpack.model.artifact import Member
from ocimlpack.model.config import param_size, precisions
from ocimlpack.model.formats import HEAD, Role, classify, is_lfs_pointer, weight_rank
from ocimlpack.model.headers import Header
from ocimlpack.model.headers.ggml import is_quantized
from ocimlpack.model.headers.table import has_header, read_header
from ocimlpack.stores.base import ReadableStore
from ocimlpack.stores.range_stream import part, seekable
from ocimlpack.transfer import pool

_COMPRESSED: Final = "the layer {} is compressed, so weights in it are not looked at"
_UNKNOWN: Final = Role("weight")
_ANYTHING: Final = frozenset({"weight", "file"})
"""Kinds of members that may be weights though their name doesn't say so."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights, and what its header says.

    Attributes:
        path: its path in the model.
        format: its format, as `formats.classify` calls it.
        size: its bytes.
        header: what it says; None where it can't be read.
        problem: why it can't be read, a sentence's end; None where it can.
        member: the layer that it is, or is in.
        start: where in that layer its bytes begin.
    """

    path: str
    format: str
    size: int
    header: Header | None
    problem: str | None
    member: Member
    start: int = 0


def weights(
    store: ReadableStore, members: Iterable[Member], jobs: int = 1, *, hidden: bool = False
) -> tuple[tuple[Weights, ...], tuple[str, ...]]:
    """The files with a header among an artifact's files, also those in archives.

    Nothing that is read is held against a digest, as that is the digest of whole layers.

    Args:
        store: where they are.
        members: the artifact's layers.
        jobs: how many layers are read at a time.
        hidden: whether the image has more layers than these.

    Returns:
        The files by path; and notes on what was not looked at, each a sentence.

    Raises:
        InvalidContentError: an archive is damaged.
        OcimlpackError: what the store raises.
    """
    places: list[_Place] = []
    image: list[tuple[int, overlay.Layer[_Place]]] = []
    notes = []
    for member in members:
        if member.encoding not in {"raw", "tar"}:
            notes.append(_COMPRESSED.format(member.desc.digest))
            hidden = hidden or member.level is not None
            continue
        stream = seekable(store, member.desc)
        if member.encoding == "raw":
            places.append(_Place(member.path, stream, member.desc.size, member, 0))
            continue
        layer = _layer(member, stream)
        if member.level is None:
            places += layer.files
        else:
            image.append((member.level, layer))
    image.sort(key=lambda each: each[0])
    if hidden:
        # Where a link leads to may be in a layer that nobody has looked into.
        for _, layer in image:
            layer.changes.links.clear()
    merged = overlay.merge([layer for _, layer in image])
    places += [replace(each, path=path) for path, (_, each) in merged.files.items()]
    # Files of one layer share a stream, which is at one place at a time.
    layers: dict[int, list[_Place]] = {}
    for each in places:
        layers.setdefault(id(each.member), []).append(each)
    read = pool.run([_reading(layer) for layer in layers.values()], jobs)
    found = [each for layer in read for each in layer]
    return tuple(sorted(found, key=lambda each: each.path)), tuple(notes)


def _reading(places: list[_Place]) -> pool.Task[list[Weights]]:
    def read(stop: pool.Stop) -> list[Weights]:
        found = []
        for place in places:
            stop.check()
            if (weights := _weights(place)) is not None:
                found.append(weights)
        return found

    return read


def said(files: Iterable[Weights]) -> dict[str, str]:
    """The parameter count and precision of the model that the files are, as a config has them.

    Where files are of several formats, those count whose layers come first.
    """
    read = [each for each in files if each.header is not None]
    if not read:
        return {}
    main = min(read, key=lambda each: (weight_rank(each.format), each.path)).format
    headers = {each.path: each.header for each in read if each.header and each.format == main}
    counts = parameters.count(headers, main)
    found = {"paramSize": param_size(sum(counts.values()))}
    if not any(map(is_quantized, counts)):
        found["precision"] = precisions(counts)
    return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class _Place:
    """A file, and how to read it."""

    path: str
    stream: BinaryIO
    size: int
    member: Member
    start: int


def _layer(member: Member, stream: BinaryIO) -> overlay.Layer[_Place]:
    """What an archive holds, by its headers alone."""
    found: dict[str, _Place] = {}
    changes = overlay.Changes()
    for item, start in inside.places(member, stream):
        if (member.level is not None and changes.take(item)) or item.is_folder:
            continue
        if item.hard and item.link in found:
            found[item.path] = replace(found[item.link], path=item.path)
        elif item.link is None:
            content = part(stream, start, item.size)
            found[item.path] = _Place(item.path, content, item.size, member, start)
    return overlay.Layer(tuple(found.values()), (), changes)


def _weights(place: _Place) -> Weights | None:
    path, stream = place.path, place.stream
    role = classify(path, b"")
    unnamed = "." not in path.rpartition("/")[2]
    if role == _UNKNOWN or (unnamed and place.member.kind in _ANYTHING):
        # Its name says nothing, so its beginning is looked at.
        stream.seek(0)
        role = classify(path, stream.read(HEAD))
    if role.format is None or not has_header(path, role.format):
        return None
    header, problem = None, None
    try:
        stream.seek(0)
        header = read_header(path, role.format, stream, place.size)
        if header is None:
            return None
    except InvalidContentError as error:
        stream.seek(0)
        pointer = is_lfs_pointer(stream.read(HEAD))
        problem = "it is a pointer of Git LFS, not the file itself" if pointer else error.message
    return Weights(path, role.format, place.size, header, problem, place.member, place.start)
