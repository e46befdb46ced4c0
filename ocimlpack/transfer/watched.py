"""Blobs that tell how far they were read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from ocimlpack.errors import blaming
from ocimlpack.stores.base import Blob, FileSlice, identity, local_path

_SLICE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Watched:
    """A blob that says of each piece that it was asked for.

    Opened again further back, after a failed request, it says the smaller offset: so progress
    tells the truth about a retry without anyone keeping count.

    Attributes:
        blob: the content.
        reached: is called with the offset behind each piece. What it raises ends the reading.
    """

    blob: Blob
    reached: Callable[[int], None]

    @property
    def path(self) -> Path | None:
        """The file behind the blob, where there is one."""
        return local_path(self.blob)

    @property
    def identity(self) -> str | None:
        """What tells the source from others."""
        return identity(self.blob)

    @property
    def immutable(self) -> bool:
        """Whether nobody will ever change the content, as in a store."""
        return getattr(self.blob, "immutable", False) is True

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on."""
        with ExitStack() as stack:
            with blaming("source"):
                stream = stack.enter_context(self.blob.open(offset))
            in_file = isinstance(stream, io.BufferedReader | io.FileIO)
            # Not blamed: what is raised in the caller's block is the destination's doing.
            yield cast(BinaryIO, (_Slices if in_file else _Stream)(stream, self.reached, offset))


class _Stream:
    def __init__(self, stream: BinaryIO, reached: Callable[[int], None], offset: int) -> None:
        self._stream = stream
        self._reached = reached
        self._offset = offset

    def read(self, size: int = -1) -> bytes:
        with blaming("source"):
            chunk = self._stream.read(size)
        self._offset += len(chunk)
        self._reached(self._offset)
        return chunk


class _Slices(_Stream):
    """The same where the bytes lie in a file: whoever wants them need not read them here."""

    def take(self, limit: int) -> FileSlice | None:
        """The next bytes as a part of the file."""
        handle = self._stream.fileno()
        end = os.fstat(handle).st_size
        length = min(end - self._offset, limit, _SLICE)
        if length <= 0:
            return None
        found = FileSlice(handle, self._offset, length)
        self._offset += length
        self._reached(self._offset)
        return found
