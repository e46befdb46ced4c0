"""A blob on its way out, piece by piece, from any offset."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Final, Self

from ocimlpack.errors import InputError, IntegrityError, blaming
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import CHUNK, Blob, FileSlice, SlicedStream, identity
from ocimlpack.stores.verify import Verifier

_SLICE: Final = 1024 * 1024
"""Bytes sent between two looks at whether they are still wanted."""

_MARK: Final = 16 * 1024 * 1024
"""Bytes after which the state of the hash is kept: a part that is sent again is hashed again from
the mark before it, not from the blob's start."""


class Outgoing:
    """Lets the last bytes go only when all of them are known to be right, where that is known.

    A registry that does not compare digests itself then has an upload that never ended, not a blob
    under a name that is not its own.

    Attributes:
        flowed: until when pieces went over, on the monotonic clock.
    """

    def __init__(
        self,
        blob: Blob,
        size: int,
        desc: Descriptor | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; nothing is opened.

        Args:
            blob: the content.
            size: its bytes.
            desc: what it has to be, or None where nobody knows yet.
            check: is called before each piece; what it raises ends the sending.
        """
        self.flowed = 0.0
        self._blob = blob
        self._size = size
        self._desc = desc
        self._check = check
        self._opened = ExitStack()
        self._stream: BinaryIO = io.BytesIO()
        self._slices: SlicedStream | None = None
        self._position = -1
        self._verifier: Verifier | None = None
        self._marks: list[Verifier] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        # The blob sees the error as if it had been read in a `with` of one's own.
        return self._opened.__exit__(kind, error, trace)

    def seek(self, offset: int) -> None:
        """Be ready to give the bytes from `offset` on.

        Bytes before it that were not hashed yet are read now, not while a request waits for them.
        Only of a source that is known to be what it was when an earlier run sent them, they are
        left to the registry to verify: all of it may be a hundred gigabytes.

        Raises:
            OcimlpackError: the blob's own error, or what it brings is not right.
        """
        with blaming("source"):
            start = self._rewind(offset)
            if self._position != start:
                self._open(start)
            while self._position < offset:
                self._check()
                self._read(offset - self._position)
            if self._verifier and not self._size:
                self._finish(self._verifier)

    def pieces(self, end: int) -> Iterator[bytes | FileSlice]:
        """The bytes up to `end`; the last of all only if all are right.

        Raises:
            IntegrityError: they are not.
            InputError: they can't be read.
        """
        while self._position < end:
            self._check()
            piece = self._next(end - self._position)
            self.flowed = time.monotonic()
            yield piece
        self.flowed = time.monotonic()

    def _rewind(self, offset: int) -> int:
        """Where to read from, so that all bytes before `offset` will have been hashed."""
        if self._desc is None or (offset and not self._marks and identity(self._blob)):
            self._verifier = None
            return offset
        if self._verifier and self._verifier.seen == self._position == offset:
            return offset
        self._marks = [mark for mark in self._marks if mark.seen <= offset]
        if not self._marks:
            self._marks.append(Verifier(self._desc))
        self._verifier = self._marks[-1].copy()
        return self._verifier.seen

    def _open(self, offset: int) -> None:
        self._position = -1
        self._opened.close()
        self._stream = self._opened.enter_context(self._blob.open(offset))
        stream: object = self._stream
        self._slices = stream if isinstance(stream, SlicedStream) else None
        self._position = offset

    def _next(self, limit: int) -> bytes | FileSlice:
        if self._verifier or self._slices is None:
            return self._read(limit)
        found = self._slices.take(min(limit, _SLICE))
        if found is None:
            raise self._too_short()
        self._position += found.length
        return found

    def _read(self, limit: int) -> bytes:
        chunk = self._read_stream(min(limit, CHUNK))
        self._position += len(chunk)
        if self._verifier is None:
            if not chunk:
                raise self._too_short()
            return chunk
        self._verifier.update(chunk)
        if not chunk or self._position == self._size:
            self._finish(self._verifier)
        elif self._position - self._marks[-1].seen >= _MARK:
            self._marks.append(self._verifier.copy())
        return chunk

    def _finish(self, verifier: Verifier) -> None:
        if verifier.seen == self._size:
            verifier.copy().update(self._read_stream(1))  # more than announced is wrong as well
        verifier.finish()

    def _read_stream(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            # Said here: further out it would be taken for the connection's failure.
            raise InputError(
                f"can't read what is uploaded: {error.strerror}", side="source"
            ) from error

    def _too_short(self) -> IntegrityError:
        return IntegrityError(
            f"what is uploaded ends after {self._position:,} of {self._size:,} bytes", side="source"
        )
