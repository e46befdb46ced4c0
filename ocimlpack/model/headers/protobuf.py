"""A walk over protobuf messages: field after field, with no schema and nothing kept.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError

VARINT: Final = 0
LENGTH: Final = 2
_FIXED: Final = {1: 8, 5: 4}

_MAX_FIELDS: Final = 5_000_000
_MAX_TEXT: Final = 65536


class Fields:
    """Protobuf fields in order, none of them beyond the end of the message that it is in.

    Attributes:
        at: where in the stream the next byte is.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._left = _MAX_FIELDS
        self.at = 0

    def walk(self, end: int) -> Iterator[tuple[int, int, int]]:
        """Each field's number, wire type and, for one with a length, where it ends.

        What the caller has not read of a field by the next turn is stepped over.

        Raises:
            InvalidContentError: here and below, that this is no protobuf message, or a cut one.
        """
        while self.at < end:
            self._left -= 1
            if self._left < 0:
                raise InvalidContentError(f"it has more than {_MAX_FIELDS:,} fields")
            tag = self.varint()
            number, wire = tag >> 3, tag & 7
            if wire == LENGTH:
                stop = self.varint() + self.at
            elif wire in _FIXED:
                stop = self.at + _FIXED[wire]
            elif wire == VARINT:
                stop = -1
            else:
                raise InvalidContentError("it is not a sequence of protobuf fields")
            if number == 0 or stop > end:
                raise InvalidContentError("a field is longer than what it is in")
            before = self.at
            yield number, wire, stop
            if wire == VARINT:
                if self.at == before:
                    self.varint()
            else:
                self._seek(stop)
        if self.at != end:
            raise InvalidContentError("a field is longer than what it is in")

    def varint(self) -> int:
        """The next number, as one without a sign."""
        result = 0
        for shift in range(0, 70, 7):
            byte = self._stream.read(1)
            if not byte:
                raise InvalidContentError("it ends in the middle of a number")
            self.at += 1
            result |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return result & (2**64 - 1)
        raise InvalidContentError("it has a number of more than ten bytes")

    def text(self, end: int) -> str:
        """The bytes up to `end` as text."""
        return self.bytes(end).decode("utf-8", "replace")

    def bytes(self, end: int) -> bytes:
        """The bytes up to `end`, which have to be few."""
        if end - self.at > _MAX_TEXT:
            raise InvalidContentError("a name in it is too long")
        raw = self._stream.read(end - self.at)
        self.at += len(raw)
        return raw

    def texts(self, end: int) -> dict[int, str]:
        """The first two fields of a message by their numbers, as far as they are short texts."""
        return {
            number: self.text(stop)
            for number, wire, stop in self.walk(end)
            if wire == LENGTH and number <= 2 and stop - self.at <= _MAX_TEXT
        }

    def _seek(self, place: int) -> None:
        if place > self._size:
            raise InvalidContentError("it ends before its last field")
        if place != self.at:
            self._stream.seek(place - self.at, 1)
            self.at = place
