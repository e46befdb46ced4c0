"""Large content that is mostly zeros, of which only what is asked for is ever in memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import BinaryIO

from ocimlpack.stores.range_stream import buffered

Piece = bytes | int
"""Bytes, or a number of zeros."""


class Sparse:
    """Pieces one after the other, to be sliced as if they were bytes."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        sizes = [each if isinstance(each, int) else len(each) for each in pieces]
        self._starts = [0, *itertools.accumulate(sizes)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        found = []
        for piece, begin, end in zip(self._pieces, self._starts, self._starts[1:], strict=False):
            first, last = max(start, begin), min(stop, end)
            if first < last:
                found.append(
                    bytes(last - first)
                    if isinstance(piece, int)
                    else piece[first - begin : last - begin]
                )
        return b"".join(found)

    def stream(self) -> BinaryIO:
        return buffered(lambda offset, length: self[offset : offset + length], len(self))
