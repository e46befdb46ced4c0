"""What is in a layer, file by file."""

from __future__ import annotations

import hashlib

from ocimlpack.model import archive
from ocimlpack.model.artifact import Member
from ocimlpack.model.receipt import Entry
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import Blob


def contents(member: Member, blob: Blob) -> tuple[Entry, ...]:
    """The files in an archive. All of it is read, and held against its digest.

    Raises:
        IntegrityError: the blob is not what the descriptor says.
        InvalidContentError: the archive is damaged or unsafe.
        UnsupportedError: its compression can't be read here.
    """
    found = []
    with blob.open() as stream:
        for item, pieces in archive.read(stream, member.desc, member.encoding):
            if item.is_folder:
                continue
            hasher = hashlib.sha256()
            for piece in pieces:
                hasher.update(piece)
            mode = 0o755 if item.executable else 0o644
            digest = Digest("sha256", hasher.hexdigest())
            found.append(Entry(item.path, item.size, digest, mode, member.desc.digest))
    return tuple(found)
