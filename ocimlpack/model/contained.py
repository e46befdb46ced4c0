"""The files of an artifact of any format, each as content that can be read alone.

What an archive holds is found out by reading it through once, so that its digest vouches for those
of its files. Only an archive of ours that holds one large file is not read for that: its header
says all, and reading the file later is how the archive is verified.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ocimlpack.model import inside, overlay
from ocimlpack.model.archive import TAKING
from ocimlpack.model.artifact import Member, clashing
from ocimlpack.model.bundle import frame
from ocimlpack.model.formats import HEAD
from ocimlpack.model.layers import SMALL
from ocimlpack.model.names import check_path, collisions
from ocimlpack.model.overlay import Changes
from ocimlpack.model.slices import Slice, read
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.mediatypes import PATH
from ocimlpack.stores.base import Blob, BytesBlob, ReadableStore

_KEPT: Final = 64 * 1024 * 1024
"""Bytes of small files that are kept in memory instead of being read again one by one."""

_HEADERS: Final = 64 * 1024
"""Bytes in which the headers of a file's folders and its own fit, however long its path."""


@dataclass(frozen=True, slots=True)
class Inner:
    """A file of an artifact.

    Attributes:
        path: where it is in the model, in Unicode's composed form.
        size: its bytes.
        mode: 0755 if it may be run, else 0644.
        member: the layer that it is, or is in.
        start: where it begins in that layer, unpacked; 0 for a raw one.
        blob: its content.
        digest: its digest, if that is known before it is read.
    """

    path: str
    size: int
    mode: int
    member: Member
    start: int
    blob: Blob
    digest: Digest | None = None

    def head(self, store: ReadableStore) -> bytes:
        """The first `HEAD` bytes, or all of them."""
        if self.member.encoding in ("raw", "tar") and not isinstance(self.blob, BytesBlob):
            return read(store, self.member.desc, self.start, min(HEAD, self.size))
        with self.blob.open() as stream:
            return stream.read(HEAD)


def files_of(store: ReadableStore, members: Sequence[Member]) -> list[Inner]:
    """Every file of an artifact; of an image, what is seen in the end.

    Raises:
        InvalidContentError: an archive that is damaged or unsafe, or files that can't be in one
            folder.
        OcimlpackError: from the store.
    """
    memory = _Memory()
    found: list[Inner] = []
    image: list[tuple[Member, overlay.Layer[Inner]]] = []
    for member in members:
        if member.encoding == "raw":
            found.append(_raw(store, member))
            continue
        lone = _lone(store, member)
        layer = overlay.Layer((lone,), (), Changes()) if lone else _read(store, member, memory)
        if member.level is None:
            found += layer.files
        else:
            image.append((member, layer))
    image.sort(key=lambda each: each[0].level or 0)
    merged = overlay.merge([layer for _, layer in image])
    found += [replace(each, path=path) for path, (_, each) in merged.files.items()]
    # Some composed forms are longer than what they are composed of.
    composed = [check_path(unicodedata.normalize("NFC", each.path)) for each in found]
    found = [replace(each, path=path) for each, path in zip(found, composed, strict=True)]
    if clash := collisions(each.path for each in found):
        raise clashing(*clash[0])
    return found


def _raw(store: ReadableStore, member: Member) -> Inner:
    desc, mode = member.desc, 0o755 if member.executable else 0o644
    return Inner(member.path, desc.size, mode, member, 0, store.fetch(desc), desc.digest)


def _lone(store: ReadableStore, member: Member) -> Inner | None:
    """The large file in an archive that holds nothing else, if its header is as we write it.

    Raises:
        InvalidContentError: its name is unsafe.
    """
    desc, path = member.desc, member.desc.annotations.get(PATH, "")
    root = f"{member.below}/"
    if member.below is None or member.encoding != "tar" or desc.size < SMALL:
        return None
    if not path.startswith(root) or f"/{TAKING}" in path:
        return None  # what takes a file away is no file
    found = frame(path, read(store, desc, 0, _HEADERS), desc.size)
    end = 0 if found is None else found.start + found.size
    # Behind the content there is room for the headers of something else.
    if found is None or any(read(store, desc, end, desc.size - end)):
        return None
    content = Slice(store, desc, "tar", found.start, found.size, lone=True)
    inner = check_path(path.removeprefix(root))
    return Inner(inner, found.size, found.mode, member, found.start, content)


class _Memory:
    """Room for small files that were read."""

    def __init__(self) -> None:
        self._left = _KEPT

    def keep(self, pieces: Iterator[bytes], size: int) -> tuple[Digest, bytes | None]:
        """A content's digest, and the content if it is to be kept."""
        hasher = hashlib.sha256()
        kept: list[bytes] | None = [] if size < SMALL and size <= self._left else None
        for piece in pieces:
            hasher.update(piece)
            if kept is not None:
                kept.append(piece)
        digest = Digest("sha256", hasher.hexdigest())
        if kept is None:
            return digest, None
        self._left -= size
        return digest, b"".join(kept)


def _read(store: ReadableStore, member: Member, memory: _Memory) -> overlay.Layer[Inner]:
    found: dict[str, Inner] = {}
    folders = []
    changes = Changes()
    with store.fetch(member.desc).open() as stream:
        for item, pieces in inside.items(member, stream):
            if member.level is not None and changes.take(item):
                continue
            if item.is_folder:
                folders.append(item.path)
                continue
            if item.path in found:
                raise clashing(item.path, item.path)
            if item.hard:
                found[item.path] = replace(found[item.link or ""], path=item.path)
                continue
            digest, content = memory.keep(pieces, item.size)
            blob: Blob = (
                Slice(store, member.desc, member.encoding, item.start, item.size)
                if content is None
                else BytesBlob(content)
            )
            mode = 0o755 if item.executable else 0o644
            found[item.path] = Inner(item.path, item.size, mode, member, item.start, blob, digest)
    if clash := collisions(found):
        raise clashing(*clash[0])
    return overlay.Layer(tuple(found.values()), tuple(folders), changes)
