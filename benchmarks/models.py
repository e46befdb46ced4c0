"""Folders to be pushed: files of random bytes, so that nothing on the way can make them smaller."""

from __future__ import annotations

import filecmp
import json
import os
import struct
import time
from pathlib import Path

MIB = 1 << 20
BLOCK = 4096
REST = 2.5
"""Seconds after which nobody doubts that a file's time of change tells it from a later content."""


def write_shards(folder: Path, count: int, size: int, *, sparse: bool = False) -> Path:
    """A new folder with that many safetensors files of `size` bytes and one tensor each.

    Args:
        folder: where; must not be there yet.
        count: files.
        size: bytes of each, header and all.
        sparse: a tensor of zeros that takes no room.
    """
    folder.mkdir()
    for number in range(1, count + 1):
        with (folder / f"model-{number:05}-of-{count:05}.safetensors").open("wb") as file:
            file.write(_header(size))
            if sparse:
                file.truncate(size)
                continue
            while (left := size - file.tell()) > 0:
                file.write(os.urandom(min(MIB, left)))
    return folder


def _header(size: int) -> bytes:
    """The header of a safetensors file: its length is padded, so that the tensor fills the rest."""
    length = BLOCK - 8
    elements = size - BLOCK
    if elements < 0:
        raise ValueError(f"a shard takes {BLOCK} bytes at the least, not {size}")
    tensor = {"weight": {"dtype": "U8", "shape": [elements], "data_offsets": [0, elements]}}
    return struct.pack("<Q", length) + json.dumps(tensor).encode().ljust(length)


def write_pieces(folder: Path, count: int, size: int) -> Path:
    """A new folder with that many small files, each with content of its own."""
    folder.mkdir()
    for number in range(count):
        (folder / f"sample-{number:05}.txt").write_bytes(os.urandom(size))
    return folder


def change(file: Path) -> None:
    """Give it new content of the same size: one block of it, below the header, is enough."""
    with file.open("r+b") as stream:
        stream.seek(BLOCK)
        stream.write(os.urandom(min(BLOCK, file.stat().st_size - BLOCK)))


def rest(folder: Path) -> None:
    """Wait until its files are as old as those of a real model are."""
    youngest = max(path.stat().st_ctime for path in folder.iterdir())
    time.sleep(max(0.0, youngest + REST - time.time()))


def difference(model: Path, pulled: Path, *, thorough: bool) -> str:
    """What a pull left out or changed, in a few words; empty where it did its job.

    Args:
        model: what was pushed.
        pulled: what came of it.
        thorough: compare the content too, not only the sizes.
    """
    for path in sorted(model.iterdir()):
        other = pulled / path.name
        if not other.is_file():
            return f"{path.name} is missing"
        if other.stat().st_size != path.stat().st_size:
            return f"{path.name} has another size"
        if thorough and not filecmp.cmp(path, other, shallow=False):
            return f"{path.name} has other content"
    return ""
