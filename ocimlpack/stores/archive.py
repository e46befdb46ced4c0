"""An image layout as one tar file, for networks that are not connected: `oci-archive:FILE.tar`.

Read, the file stays as it is: blobs are parts of it, found by their offsets. Written, it is
unpacked beside itself, changed as a layout, and replaced as a whole when all went well; so an
archive can hold several models and is never seen half-written.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, cast

from ocimlpack.errors import InputError, InvalidContentError, NotFoundError, UnsupportedError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores import files
from ocimlpack.stores.base import CHUNK, Blob
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.layout_index import check_marker
from ocimlpack.stores.layout_reader import MAX_INDEX, LayoutReader

_BLOCK: Final = 512
_MEMBER: Final = re.compile(
    r"(oci-layout|index\.json|blobs/(sha256/[0-9a-f]{64}|sha512/[0-9a-f]{128}))\Z"
)
_MAX_MEMBERS: Final = 1_000_000
_MAX_HEADER: Final = 1024 * 1024
_MAX_MARKER: Final = 4096


@dataclass(frozen=True, slots=True)
class PartBlob:
    """Content that is a part of a file.

    Attributes:
        file: the file.
        start: where in it the content begins.
        size: its bytes.
    """

    file: Path
    start: int
    size: int

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on, to the content's end."""
        with self.file.open("rb") as stream:
            stream.seek(self.start + offset)
            yield cast(BinaryIO, _Part(stream, max(0, self.size - offset)))


class _Part:
    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream = stream
        self._left = left

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(chunk)
        return chunk


class ArchiveReader(LayoutReader):
    """A `ReadableStore` over an image layout in a tar file that is not compressed."""

    def __init__(self, path: Path, name: str = "") -> None:
        """List the archive's members, once.

        Args:
            path: the file.
            name: how errors call it, if not by its path.

        Raises:
            NotFoundError: there is no such file.
            InvalidContentError: it is no tar file, or holds no image layout.
            UnsupportedError: it is compressed, or a layout of another version.
        """
        super().__init__(name or str(path))
        self._members = _members(path, self.place)
        self._referrers: list[tuple[Digest, Descriptor]] | None = None

    def _referring(self) -> list[tuple[Digest, Descriptor]]:
        # Nobody changes an archive that is read, and it may hold very many models.
        if self._referrers is None:
            self._referrers = super()._referring()
        return self._referrers

    def _index_content(self) -> bytes:
        part = self._members["index.json"]
        with part.open() as stream:
            return stream.read(min(part.size, MAX_INDEX + 1))

    def _find(self, digest: Digest) -> tuple[Blob, int] | None:
        part = self._members.get(f"blobs/{digest.algorithm}/{digest.hex}")
        return (part, part.size) if part else None


@contextmanager
def rewritten(path: Path) -> Iterator[LayoutStore]:
    """A layout with the archive's content, which becomes the archive if the block ends well.

    Raises:
        InvalidContentError: the file is there but no archive of an image layout.
        UnavailableError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        work = Path(tempfile.mkdtemp(dir=path.parent, prefix=files.TEMPORARY))
    except OSError as error:
        raise files.refused(error, path) from error
    try:
        store = LayoutStore(work, create=True)
        if path.exists():
            _unpack(path, work)
        yield store
        _pack(work, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _members(path: Path, place: str) -> dict[str, PartBlob]:
    if path.is_dir():
        raise InputError(f"{place} is a folder, not an archive", hint=f"for a layout: oci:{path}")
    members: dict[str, PartBlob] = {}
    try:
        with path.open("rb") as stream:
            if stream.read(2) in {b"\x1f\x8b", b"(\xb5", b"BZ"}:
                raise UnsupportedError(f"{place} is compressed", hint="decompress it first")
        with (
            path.open("rb") as stream,
            tarfile.open(fileobj=cast(BinaryIO, _Frugal(stream)), mode="r:") as archive,
        ):
            for count, member in enumerate(archive):
                if count > _MAX_MEMBERS:
                    raise InvalidContentError(f"{place} has more than {_MAX_MEMBERS:,} members")
                if member.size < 0:
                    raise tarfile.ReadError("a member of less than no bytes")
                name = _checked(member, place)
                if not _MEMBER.match(name):
                    continue  # what other programs put beside a layout
                if name in members:
                    raise InvalidContentError(f"{place} has {name} twice")
                members[name] = PartBlob(path, member.offset_data, member.size)
    except FileNotFoundError:
        raise NotFoundError(f"no archive at {place}") from None
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        # Python's reader checks little of what headers say, and follows a chain by recursion.
        why = error if isinstance(error, tarfile.TarError) else "a header makes no sense"
        raise InvalidContentError(f"{place} is no tar archive that can be read: {why}") from error
    except OSError as error:
        raise InputError(f"can't read {place}: {error.strerror}") from error
    if not {"oci-layout", "index.json"} <= members.keys():
        raise InvalidContentError(f"{place} holds no image layout")
    with members["oci-layout"].open() as marker:
        check_marker(marker.read(_MAX_MARKER), f"oci-layout in {place}", place)
    return members


def _checked(member: tarfile.TarInfo, place: str) -> str:
    """A member's name, if it is one that an honest program writes."""
    name = member.name.removeprefix("./")
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidContentError(f"{place} has a member outside of itself: {name!r:.120}")
    if _MEMBER.match(name) and (not member.isreg() or member.issparse()):
        raise InvalidContentError(f"{place} has something else than a file as {name}")
    return name


class _Frugal:
    """A file of which nobody reads much at once: a header that says it is longer is a lie."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


def _unpack(path: Path, work: Path) -> None:
    """Take out what a layout consists of and nothing else: only names of that form are written."""
    try:
        for name, part in _members(path, str(path)).items():
            target = work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open() as source, target.open("wb") as stream:
                shutil.copyfileobj(source, stream, CHUNK)
    except OSError as error:
        raise files.refused(error, work) from error


def _pack(work: Path, path: Path) -> None:
    """Write the archive: a layout of the same content gives the same bytes."""
    names = ["oci-layout", "index.json"]
    names += sorted(
        str(each.relative_to(work)) for each in work.glob("blobs/*/*") if each.is_file()
    )
    with files.replacing(path, path.parent) as (stream, _):
        for name in names:
            source = work / name
            with source.open("rb") as content:
                append(stream, name, source.stat().st_size, iter(partial(content.read, CHUNK), b""))
        finish(stream)


def append(stream: BinaryIO, name: str, size: int, pieces: Iterable[bytes]) -> None:
    """Write a member.

    Args:
        stream: the archive.
        name: the member's name.
        size: bytes of its content.
        pieces: its content; what getting it raises is passed on.
    """
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    stream.write(member.tobuf(tarfile.GNU_FORMAT))
    for piece in pieces:
        stream.write(piece)
    stream.write(bytes(-size % _BLOCK))


def finish(stream: BinaryIO) -> None:
    """Write the end of an archive, which is two empty blocks."""
    stream.write(bytes(2 * _BLOCK))
