"""Objects' bytes, as files on disk; no more of them is in memory than one request carries."""

from __future__ import annotations

import mmap
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

_PIECE = 4 * 1024 * 1024


class Bodies:
    """A folder of bodies. None is ever changed: what is new gets a name of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, content: bytes) -> str:
        """Keep these bytes; the body's name."""
        name = uuid.uuid4().hex
        self._path(name).write_bytes(content)
        return name

    def join(self, names: Iterable[str]) -> str:
        """Keep several bodies, one after the other, as one; its name."""
        name = uuid.uuid4().hex
        with self._path(name).open("wb") as joined:
            for each in names:
                with self._path(each).open("rb") as part:
                    left = os.fstat(part.fileno()).st_size
                    while left:
                        left -= os.copy_file_range(part.fileno(), joined.fileno(), left)
        return name

    def copy(self, name: str) -> str:
        return self.join([name])

    def read(self, name: str, start: int, end: int) -> bytes | memoryview:
        """The bytes from `start` to before `end`, mapped, not read."""
        if start >= end:
            return b""
        with self._path(name).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))[start:end]

    def pieces(self, name: str) -> Iterable[bytes]:
        with self._path(name).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def remove(self, name: str | None) -> None:
        if name is not None:
            self._path(name).unlink(missing_ok=True)

    def keep_only(self, names: Iterable[str]) -> None:
        """Remove what a process that was killed has left: bodies that nothing refers to."""
        known = set(names)
        for path in self._folder.iterdir():
            if path.name not in known:
                path.unlink()

    def _path(self, name: str) -> Path:
        return self._folder / name
