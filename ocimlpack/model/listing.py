"""What is in an artifact, file by file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ocimlpack.model import inside, overlay
from ocimlpack.model.artifact import Member
from ocimlpack.model.overlay import Changes
from ocimlpack.model.receipt import Entry
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import Blob


def contents(member: Member, blob: Blob) -> tuple[Entry, ...]:
    """The files in an archive. All of it is read, and held against its digest.

    Raises:
        IntegrityError: the blob is not what the descriptor says.
        InvalidContentError: the archive is damaged or unsafe.
        UnsupportedError: its compression can't be read here.
    """
    return _layer(member, blob).files


def tree(
    members: Iterable[Member], fetch: Callable[[Descriptor], Blob]
) -> Iterator[tuple[Member, Entry]]:
    """Every file of an artifact, with the layer that it is from. All archives are read.

    Of an image's layers, what is seen in the end.

    Args:
        members: the artifact's.
        fetch: where content comes from.

    Raises:
        OcimlpackError: as `contents` says.
    """
    layers: list[Member] = []
    for member in members:
        if member.level is not None:
            layers.append(member)
        elif member.encoding == "raw":
            mode = 0o755 if member.executable else 0o644
            yield member, Entry(member.path, member.desc.size, member.desc.digest, mode)
        else:
            for entry in contents(member, fetch(member.desc)):
                yield member, entry
    layers.sort(key=lambda member: member.level or 0)
    merged = overlay.merge([_layer(member, fetch(member.desc)) for member in layers])
    for path in sorted(merged.files):
        number, entry = merged.files[path]
        yield layers[number], replace(entry, path=path)


def _layer(member: Member, blob: Blob) -> overlay.Layer[Entry]:
    found: dict[str, Entry] = {}
    folders = []
    changes = Changes()
    with blob.open() as stream:
        for item, pieces in inside.items(member, stream):
            if member.level is not None and changes.take(item):
                continue
            if item.is_folder:
                folders.append(item.path)
                continue
            if item.hard:
                found[item.path] = replace(found[item.link or ""], path=item.path)
                continue
            hasher = hashlib.sha256()
            for piece in pieces:
                hasher.update(piece)
            mode = 0o755 if item.executable else 0o644
            digest = Digest("sha256", hasher.hexdigest())
            found[item.path] = Entry(item.path, item.size, digest, mode, member.desc.digest)
    return overlay.Layer(tuple(found.values()), tuple(folders), changes)
