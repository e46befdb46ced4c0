"""Reading a blob from a bucket: a stream that goes on where a broken connection left it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final, cast

from ocimlpack.errors import NotFoundError, UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import CHUNK, PartStream
from ocimlpack.stores.objects.base import ObjectStream
from ocimlpack.stores.objects.persistent import PersistentObjects

_WORTHWHILE: Final = 16 * 1024
"""Bytes that have to come before failures are forgiven."""


class BucketBlob:
    """A `Blob` that is an object; its parts can be read side by side."""

    def __init__(self, objects: PersistentObjects, keys: Sequence[str], desc: Descriptor) -> None:
        """Prepare; nothing is asked.

        Args:
            objects: the bucket.
            keys: where it may be, the likeliest first. It may be given another of these names
                while it is read.
            desc: what it is.
        """
        self._objects = objects
        self._keys = tuple(keys)
        self._size = desc.size

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on; a connection that breaks on the way is replaced.

        Raises:
            NotFoundError: there is no such object.
        """
        stream = _ResumingStream(self._objects, self._keys, offset, self._size, lasting=False)
        try:
            stream.connect()
            yield cast(BinaryIO, stream)
        finally:
            stream.close()

    @contextmanager
    def part(self, offset: int, length: int) -> Iterator[PartStream]:
        """Read so many bytes from `offset` on; a connection that breaks is replaced."""
        stream = _ResumingStream(self._objects, self._keys, offset, offset + length, lasting=True)
        try:
            yield stream
        finally:
            stream.close()

    def read(self, offset: int, length: int) -> bytes:
        """Exactly the bytes from `offset` on, fewer only at the blob's end."""
        end = min(offset + length, self._size)
        stream = _ResumingStream(self._objects, self._keys, offset, end, lasting=False)
        parts = []
        try:
            while chunk := stream.read(CHUNK):
                parts.append(chunk)
        finally:
            stream.close()
        return b"".join(parts)


class _ResumingStream:
    """An object from an offset on, or a part of it, over as many answers as that takes."""

    def __init__(
        self,
        objects: PersistentObjects,
        keys: Sequence[str],
        offset: int,
        end: int,
        *,
        lasting: bool,
    ) -> None:
        self._objects = objects
        self._keys = keys
        self._offset = self._settled = offset
        self._end = end
        self._lasting = lasting
        self._tries = objects.tries()
        self._stream: ObjectStream | None = None
        self._aborted = False

    def connect(self) -> None:
        """Ask for the bytes, if that was not done yet."""
        while self._stream is None:
            try:
                self._open()
            except UnavailableError as error:
                self._tries.pause(error)

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Failures count against the policy until it gets further again."""
        if size < 0:
            size = CHUNK
        while True:
            if self._aborted:
                raise UnavailableError("nobody waits for this any more", final=True)
            if self._offset >= self._end:
                return b""
            try:
                stream = self._stream or self._open()
                chunk = stream.read(min(size, self._end - self._offset))
            except UnavailableError as error:
                self.close()
                if self._aborted:
                    raise
                self._tries.pause(error)
                continue
            if not chunk:
                return b""  # the verifier says that bytes are missing
            self._offset += len(chunk)
            if self._offset - self._settled >= _WORTHWHILE:
                self._settled = self._offset
                self._tries.progressed()
            return chunk

    def abort(self) -> None:
        """End it, from any thread."""
        self._aborted = True
        stream = self._stream
        if stream is not None:
            stream.abort()

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _open(self) -> ObjectStream:
        for key in self._keys[1:]:
            with suppress(NotFoundError):
                return self._ask(self._keys[0])
            # It goes on from there, so that each part asks for it in vain but once.
            self._keys = (key, *(each for each in self._keys if each != key))
        return self._ask(self._keys[0])

    def _ask(self, key: str) -> ObjectStream:
        self._stream = self._objects.stream(key, self._offset, self._end, lasting=self._lasting)
        return self._stream
