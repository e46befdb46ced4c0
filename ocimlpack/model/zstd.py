"""Zstandard, where this Python or an installed package has it; the only importer of either.

Python has it from 3.14 on: https://docs.python.org/3.14/library/compression.zstd.html
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Final

from ocimlpack.errors import InvalidContentError, UnsupportedError
from ocimlpack.stores.base import CHUNK

_MAX_WINDOW_LOG: Final = 27
"""128 MiB of memory, as much as `zstd --long` writes and `zstd -d` accepts without being told."""


def unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress.

    Raises:
        InvalidContentError: not valid Zstandard.
        UnsupportedError: there is nothing installed that can read it.
    """
    source = _Source(pieces)
    reader, failures = _standard(source) or _package(source)
    try:
        while piece := reader.read(CHUNK):
            yield piece
    except failures as error:
        raise InvalidContentError("it is not valid Zstandard") from error


class _Source:
    """Pieces as the readable object that both want."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return taken


def _standard(source: _Source) -> tuple[Any, tuple[type[Exception], ...]] | None:
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        return None
    options = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
    return zstd.ZstdFile(source, options=options), (zstd.ZstdError, EOFError)


def _package(source: _Source) -> tuple[Any, tuple[type[Exception], ...]]:
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        raise UnsupportedError(
            "this Python can't read archives compressed with Zstandard",
            hint="pip install zstandard",
        ) from error
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _MAX_WINDOW_LOG)
    reader = decompressor.stream_reader(source, read_across_frames=True)
    return reader, (zstandard.ZstdError,)
