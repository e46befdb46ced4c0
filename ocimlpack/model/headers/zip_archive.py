"""A zip archive whose directory is read, and of whose members no more than is asked for.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. The standard library's reader takes a
directory of any size into memory, and lets members lie over one another.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.stores.range_stream import part

_MAX_DIRECTORY: Final = 32 * 1024 * 1024
_MAX_MEMBERS: Final = 200_000
_MAX_COMMENT: Final = 65535
_CHUNK: Final = 65536
_LEAST: Final = 512
"""Bytes that are read at least of what is compressed."""

_END: Final = struct.Struct("<4s4xHHIIH")
_END64_LOCATOR: Final = struct.Struct("<4s4xQ4x")
_END64: Final = struct.Struct("<4s28xQQQ")
_ENTRY: Final = struct.Struct("<4s4xHH4xIIIHHH8xI")
_LOCAL: Final = struct.Struct("<4s22xHH")

_ENCRYPTED: Final = 1
_STORED: Final = 0
_DEFLATED: Final = 8
_FULL: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path.
        header: where its own header begins.
        packed: its bytes in the archive.
        size: its bytes unpacked, as the directory says.
    """

    name: str
    header: int
    packed: int
    size: int
    crc: int
    flags: int
    method: int

    @property
    def is_stored(self) -> bool:
        """Whether its bytes are in the archive as they are."""
        return self.method == _STORED and not self.flags & _ENCRYPTED


class ZipArchive:
    """The members of an archive, by their names.

    Attributes:
        members: what the directory names, in the order in which it lies in the file.
        end: where the members end and the directory begins.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        """Read the directory.

        Raises:
            InvalidContentError: there is none, it is malformed or out of proportion large, names a
                member twice, or lets members lie over one another or over itself.
        """
        self._stream = stream
        start, length, count = self._find_directory(size)
        self.end = start
        if length > _MAX_DIRECTORY or count > _MAX_MEMBERS:
            raise InvalidContentError(f"its directory has {count:,} members, {length:,} bytes")
        raw = self._exactly(start, length)
        found = sorted(self._parse(raw, count), key=lambda member: member.header)
        self.members = {member.name: member for member in found}
        if len(self.members) != len(found):
            raise InvalidContentError("its directory names a member twice")
        at = 0
        for member in found:
            if member.header < at:
                raise InvalidContentError("its members overlap")
            at = member.header + _LOCAL.size + member.packed
        if at > start:
            raise InvalidContentError("its members lie beyond its directory; is it damaged?")

    def content(self, member: Member, limit: int) -> bytes:
        """All of a member.

        Args:
            member: the member.
            limit: bytes that it may have, unpacked.

        Raises:
            InvalidContentError: it has more, or is not what the directory says.
        """
        if member.size > limit:
            raise InvalidContentError(
                f"its member {member.name!r:.80} has {member.size:,} bytes; "
                f"no more than {limit:,} are read"
            )
        content = self.head(member, member.size + 1)
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            raise InvalidContentError(f"its member {member.name!r:.80} is damaged")
        return content

    def head(self, member: Member, length: int) -> bytes:
        """The first bytes of a member, unpacked; at most so many.

        Raises:
            InvalidContentError: it is encrypted, damaged, or compressed in an unusual way.
        """
        start = self.start(member)
        if member.is_stored:
            return self._exactly(start, min(length, member.packed))
        if member.method != _DEFLATED or member.flags & _ENCRYPTED:
            raise InvalidContentError(
                f"its member {member.name!r:.80} is encrypted or compressed in an unusual way"
            )
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        # No packer makes more of what it packs; but there are blocks without content.
        parts, at, end = [], start, start + min(member.packed, length + _CHUNK)
        try:
            while length > 0 and at < end and not inflater.eof:
                piece = self._exactly(at, min(_CHUNK, end - at, length + _LEAST))
                at += len(piece)
                while piece and length > 0:
                    # Bounded in each step: a thousand bytes may unpack to a million.
                    unpacked = inflater.decompress(piece, length)
                    length -= len(unpacked)
                    parts.append(unpacked)
                    piece = inflater.unconsumed_tail
        except zlib.error as error:
            raise InvalidContentError(f"its member {member.name!r:.80} is damaged") from error
        return b"".join(parts)

    def start(self, member: Member) -> int:
        """Where a member's bytes begin: behind its own header, which has to be read for that.

        Raises:
            InvalidContentError: there is no such header.
        """
        signature, name, extra = _LOCAL.unpack(self._exactly(member.header, _LOCAL.size))
        start = member.header + _LOCAL.size + int(name) + int(extra)
        if signature != b"PK\x03\x04" or start + member.packed > self.end:
            raise InvalidContentError(f"its member {member.name!r:.80} is damaged")
        return start

    def opened(self, member: Member) -> BinaryIO:
        """A member that is stored, as a stream to seek in."""
        return part(self._stream, self.start(member), member.packed)

    def _find_directory(self, size: int) -> tuple[int, int, int]:
        """Where the directory begins, its bytes, and how many members it has."""
        begin = max(0, size - _END.size - _MAX_COMMENT)
        tail = self._exactly(begin, size - begin)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            raise InvalidContentError("it has no directory; was it downloaded whole?")
        _, _, count, length, start, _ = _END.unpack_from(tail, at)
        end = begin + at
        if (count == 0xFFFF or length == _FULL or start == _FULL) and at >= _END64_LOCATOR.size:
            signature, place = _END64_LOCATOR.unpack_from(tail, at - _END64_LOCATOR.size)
            if signature == b"PK\x06\x07":
                end = place
                if place > size - _END64.size:
                    raise InvalidContentError("its directory lies beyond its end")
                signature, count, length, start = _END64.unpack(self._exactly(place, _END64.size))
                if signature != b"PK\x06\x06":
                    raise InvalidContentError("its directory is not where it is said to be")
        if start + length > end:
            raise InvalidContentError("its directory lies beyond its end")
        return start, length, count

    def _parse(self, raw: bytes, count: int) -> list[Member]:
        found: list[Member] = []
        at = 0
        while at < len(raw) and len(found) < count:
            if len(raw) - at < _ENTRY.size:
                raise InvalidContentError("its directory is damaged")
            signature, flags, method, crc, packed, size, name, extra, comment, header = (
                _ENTRY.unpack_from(raw, at)
            )
            at += _ENTRY.size
            if signature != b"PK\x01\x02" or at + name + extra + comment > len(raw):
                raise InvalidContentError("its directory is damaged")
            text = raw[at : at + name].decode("utf-8", "replace")
            wide = _wide(raw[at + name : at + name + extra], size, packed, header)
            size, packed, header = wide
            at += name + extra + comment
            if header + _LOCAL.size + packed > self.end:
                raise InvalidContentError("its members lie beyond its directory; is it damaged?")
            member = Member(text, header, packed, size, crc, flags, method)
            if member.is_stored and size != packed:
                raise InvalidContentError(
                    f"its member {text!r:.80} has {packed:,} bytes, and is said to have {size:,}"
                )
            found.append(member)
        if len(found) != count:
            raise InvalidContentError("its directory is damaged")
        return found

    def _exactly(self, offset: int, length: int) -> bytes:
        self._stream.seek(offset)
        content = self._stream.read(length)
        if len(content) != length:
            raise InvalidContentError("it ends too early; was it downloaded whole?")
        return content


def _wide(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """The numbers of an entry, those that have no room in it taken from the extra field."""
    numbers = [size, packed, header]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind != 1:
            continue
        for index, number in enumerate(numbers):
            if number == _FULL and len(field) >= 8:
                (numbers[index],) = struct.unpack_from("<Q", field)
                field = field[8:]
        break
    return numbers[0], numbers[1], numbers[2]
