"""Bringing a blob into a bucket: a small one by one request, a large one in parts.

An object store can't tell whether bytes have a digest: what it computes of an object that came in
parts is something else. So everything is verified here, while it is read, and an object is only
made of parts when all of them were right. A part is read once and sent from memory: what is sent is
what was hashed, also when it is sent again.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from ocimlpack.errors import (
    IntegrityError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.mediatypes import is_manifest
from ocimlpack.stores import bucket_names as names
from ocimlpack.stores import home, sessions
from ocimlpack.stores.base import CHUNK, Blob, Sending
from ocimlpack.stores.bucket_lease import Lease
from ocimlpack.stores.objects.base import (
    ABSENT,
    ConditionError,
    GoneError,
    Label,
    Piece,
)
from ocimlpack.stores.objects.persistent import PersistentObjects
from ocimlpack.stores.verify import Verifier, read_all

_MIB: Final = 1024 * 1024

WHOLE: Final = 4 * _MIB
"""Bytes up to which a blob goes in one request, which is sent again as a whole if it fails."""

_PART: Final = 8 * _MIB
"""Bytes of a part: as many as are lost by a broken connection, and are in memory for each that is
under way. No service takes fewer than 5 MiB, but for the last:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

_MOST_PARTS: Final = 10_000
"""Parts that an object may have, by the same page."""


def part_size(size: int) -> int:
    """Bytes of each part, but for the last, of so many bytes: whole MiB, the same each time."""
    least = -(-size // _MOST_PARTS)
    return max(_PART, -(-least // _MIB) * _MIB)


def label_of(desc: Descriptor) -> Label:
    """What is stored beside a blob: a web server that shows the bucket then says what it is."""
    media_type = desc.media_type if is_manifest(desc.media_type) else "application/octet-stream"
    return Label(media_type, {"oci-digest": str(desc.digest)})


def send_whole(objects: PersistentObjects, desc: Descriptor, content: bytes) -> None:
    """Write a blob whose bytes were verified, unless it is there."""
    key, label = names.blob(desc.digest), label_of(desc)
    try:
        objects.put(key, content, label, ABSENT)
    except ConditionError:
        stat = objects.stat(key)
        if stat is None or stat.size != desc.size:
            objects.put(key, content, label)  # what lies there is not it


def send(objects: PersistentObjects, lease: Lease, desc: Descriptor, blob: Blob) -> None:
    """Bring a blob, one part after the other.

    Raises:
        IntegrityError: its bytes are not what the descriptor says; nothing is kept.
    """
    if desc.size <= WHOLE:
        send_whole(objects, desc, read_all(blob, desc))
        return
    with dividing(objects, lease, desc, blob) as parts:
        for bring in parts:
            bring()


@contextmanager
def dividing(
    objects: PersistentObjects, lease: Lease, desc: Descriptor, blob: Blob
) -> Iterator[Iterator[Sending]]:
    """The parts of a blob that are to be brought; it is there when the block ends well.

    Raises:
        IntegrityError: its bytes are not what the descriptor says; nothing is kept.
    """
    upload = _Upload(objects, lease, desc)
    try:
        yield upload.parts(blob)
        upload.finish()
    except IntegrityError:
        upload.abandon()
        raise
    except BaseException:
        upload.leave()
        raise


class _Upload:
    """One upload in parts, begun by this run or an earlier one."""

    def __init__(self, objects: PersistentObjects, lease: Lease, desc: Descriptor) -> None:
        self._objects = objects
        self._lease = lease
        self._desc = desc
        self._key = names.blob(desc.digest)
        self._part_size = part_size(desc.size)
        self._pieces: dict[int, Piece] = {}
        self._verifier = Verifier(desc)
        self._complete = False
        self._upload = ""
        self._record = sessions.Record(None, desc.size)

    def parts(self, blob: Blob) -> Iterator[Sending]:
        """Read the blob and yield, for each part that is not there yet, what sends it."""
        known = self._begin()
        with blob.open() as stream:
            for number in range(1, -(-self._desc.size // self._part_size) + 1):
                content = self._read(stream)
                sha256 = hashlib.sha256(content).digest()
                piece = known.get(number)
                if piece is not None and _is_of(piece, content, sha256):
                    self._pieces[number] = piece
                    continue
                yield self._sending(number, content, sha256)
                del content  # the one who sends it is to be the last who holds it
            self._verifier.update(stream.read(1))  # there is no more than that
        self._verifier.finish()
        self._complete = True

    def finish(self) -> None:
        """Make an object of the parts."""
        if not self._complete:
            raise AssertionError("not all parts were asked for")
        pieces = [self._pieces[number] for number in sorted(self._pieces)]
        # The object may be as old as the upload's beginning.
        self._lease.hold()
        try:
            self._objects.complete(self._key, self._upload, pieces, ABSENT)
        except ConditionError:
            stat = self._objects.stat(self._key)
            if stat is None or stat.size != self._desc.size:
                self._objects.complete(self._key, self._upload, pieces)
            else:
                self._cancel()  # somebody else was faster
        except GoneError as error:
            raise self._gone() from error
        except UnsupportedError:
            self.abandon()  # there is something wrong with the parts: the next run begins anew
            raise
        self._record.forget()

    def leave(self) -> None:
        """Keep what was brought, if another run can find it."""
        if self._record.kept:
            self._record.close()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Throw away what was brought."""
        self._record.forget()
        if self._upload:
            self._cancel()

    def _begin(self) -> Mapping[int, Piece]:
        """Go on with what an earlier run began, or begin; returns the parts that are there."""
        key = str(self._desc.digest)
        self._record = sessions.claim(
            home.uploads(), self._objects.origin, "", key, self._desc.size
        )
        if self._record.location:
            pieces = self._objects.pieces(self._key, self._record.location)
            if pieces is not None:
                self._upload = self._record.location
                return {piece.number: piece for piece in pieces}
        self._upload = self._objects.begin(self._key, label_of(self._desc))
        self._record.keep(self._upload)
        return {}

    def _read(self, stream: BinaryIO) -> memoryview:
        size = min(self._part_size, self._desc.size - self._verifier.seen)
        # Memory of its own, which is given back when the part is sent. What threads get from the
        # allocator stays with them, and takes up to half as much again.
        content = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        done = 0
        while done < len(content) and (chunk := stream.read(min(CHUNK, len(content) - done))):
            self._verifier.update(chunk)
            content[done : done + len(chunk)] = chunk
            done += len(chunk)
        if done < len(content):
            self._verifier.finish()  # which says what is missing
        return content

    def _sending(self, number: int, content: memoryview, sha256: bytes) -> Sending:
        def bring() -> None:
            self._lease.hold_if_long()
            try:
                self._pieces[number] = self._objects.put_part(
                    self._key, self._upload, number, content, sha256
                )
            except GoneError as error:
                raise self._gone() from error

        return bring

    def _gone(self) -> UnavailableError:
        self._record.forget()
        return UnavailableError(
            f"the upload of {self._desc.digest} was ended by somebody else",
            hint="run it again: it begins anew",
            digest=str(self._desc.digest),
        )

    def _cancel(self) -> None:
        # Whatever fails here, `prune` finds it later: what is raised is worth more.
        with suppress(OcimlpackError):
            self._objects.cancel(self._key, self._upload)


def _is_of(piece: Piece, content: memoryview, sha256: bytes) -> bool:
    """Whether the service has these bytes, as far as it says what it has."""
    if piece.size != len(content):
        return False
    if piece.sha256:
        return piece.sha256 == sha256.hex()
    return piece.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
