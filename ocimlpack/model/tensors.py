"""The tensors of a model, wherever it is: only headers are read of its weights, by range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model import inside, parameters
from ocimlpack.model.artifact import Member
from ocimlpack.model.config import param_size, precisions
from ocimlpack.model.formats import HEAD, Role, classify, is_lfs_pointer, weight_rank
from ocimlpack.model.headers import Header
from ocimlpack.model.headers.ggml import is_quantized
from ocimlpack.model.headers.table import has_header, read_header
from ocimlpack.stores.base import ReadableStore
from ocimlpack.stores.range_stream import part, seekable

_COMPRESSED: Final = "the archive {} is compressed, so weights in it are not looked at"
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
    store: ReadableStore, members: Iterable[Member]
) -> tuple[tuple[Weights, ...], tuple[str, ...]]:
    """The files with a header among an artifact's files, also those in archives.

    Nothing that is read is held against a digest, as that is the digest of whole layers.

    Returns:
        The files by path; and notes on what was not looked at, each a sentence.

    Raises:
        InvalidContentError: an archive is damaged.
        OcimlpackError: what the store raises.
    """
    found: dict[str, tuple[int, Weights]] = {}
    notes = []
    for member in members:
        if member.encoding == "raw":
            stream = seekable(store, member.desc)
            files = [(member.path, stream, member.desc.size, 0)]
        elif member.encoding == "tar":
            files = list(_files_in(store, member))
        else:
            notes.append(_COMPRESSED.format(member.path))
            continue
        for path, stream, size, start in files:
            if (each := _weights(path, stream, size, member, start)) is not None:
                level = member.level or 0
                if path not in found or found[path][0] <= level:
                    found[path] = level, each
    return tuple(each for _, (_, each) in sorted(found.items())), tuple(notes)


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


def _files_in(store: ReadableStore, member: Member) -> Iterator[tuple[str, BinaryIO, int, int]]:
    stream = seekable(store, member.desc)
    for item, start in inside.places(member, stream):
        if not item.is_folder and item.link is None and item.path:
            yield item.path, part(stream, start, item.size), item.size, start


def _weights(path: str, stream: BinaryIO, size: int, member: Member, start: int) -> Weights | None:
    role = classify(path, b"")
    unnamed = "." not in path.rpartition("/")[2]
    if role == _UNKNOWN or (unnamed and member.kind in _ANYTHING):
        # Its name says nothing, so its beginning is looked at.
        role = classify(path, stream.read(HEAD))
        stream.seek(0)
    if role.format is None or not has_header(path, role.format):
        return None
    return _read(path, role.format, stream, size, member, start)


def _read(
    path: str, format: str, stream: BinaryIO, size: int, member: Member, start: int
) -> Weights | None:
    header, problem = None, None
    try:
        header = read_header(path, format, stream, size)
        if header is None:
            return None
    except InvalidContentError as error:
        stream.seek(0)
        pointer = is_lfs_pointer(stream.read(HEAD))
        problem = "it is a pointer of Git LFS, not the file itself" if pointer else error.message
    return Weights(path, format, size, header, problem, member, start)
