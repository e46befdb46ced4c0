"""Digests of files that were hashed before, so that unchanged files need not be read again.

A file is known again by its path, device, inode, size and both times. The change time is the one
that no program can set back, so whoever writes to a file, in whichever way, makes it unknown. Only
a write within the clock's grain could go unseen: a file that changed so shortly before it was
hashed is not remembered at all.

The cache is a help and nothing more. Where it can't be read or written (another user's folder, a
full disk, a file system without locks) everything works as without it, only slower.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ocimlpack.errors import InvalidDigestError
from ocimlpack.model.source import Seen
from ocimlpack.spec.digest import Digest

_GRAIN: Final = 2_000_000_000
"""Nanoseconds. FAT keeps times to two seconds, the coarsest file system that models are kept on."""

_KEPT: Final = 180 * 24 * 3600
"""Seconds for which a digest is kept that nobody asked for."""

_WAIT: Final = 2.0
"""Seconds to wait for another process that writes. Then it is done without."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS digests (
    path BLOB PRIMARY KEY, device TEXT, inode TEXT, size INTEGER, modified INTEGER,
    changed INTEGER, digest TEXT, used INTEGER
) WITHOUT ROWID
"""
_SELECT: Final = """
SELECT digest, device, inode, size, modified, changed FROM digests WHERE path = ?
"""
_INSERT: Final = """
INSERT OR REPLACE INTO digests (path, device, inode, size, modified, changed, digest, used)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


class DigestCache:
    """A file of digests, shared by all processes of a user.

    Attributes:
        path: the file; it and its folder are made when there is something to remember.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, files: Iterable[tuple[Path, Seen]]) -> dict[Path, Digest]:
        """The digests of those files that are what they were when they were hashed."""
        found: dict[Path, Digest] = {}
        if not self.path.exists():
            return found

        def look(database: sqlite3.Connection) -> None:
            for path, seen in files:
                row = database.execute(_SELECT, (_key(path),)).fetchone()
                if row and row[1:] == _identity(seen):
                    with contextlib.suppress(InvalidDigestError):
                        found[path] = Digest.parse(row[0])

        self._try(look)
        return found

    def remember(self, hashed: Iterable[tuple[Path, Seen, Digest]], began: int) -> None:
        """Keep digests.

        Args:
            hashed: files, as they were before and after they were hashed, and their digests.
            began: when the first of them was begun, in nanoseconds since the epoch.
        """
        settled = [
            (_key(path), *_identity(seen), str(digest), began // 1_000_000_000)
            for path, seen, digest in hashed
            if max(seen.modified, seen.changed) + _GRAIN < began
        ]
        if not settled:
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

        def write(database: sqlite3.Connection) -> None:
            with database:
                database.execute(_TABLE)
                database.executemany(_INSERT, settled)
                database.execute("DELETE FROM digests WHERE used < ?", (int(time.time()) - _KEPT,))

        self._try(write)

    def _try(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do something with the database; what it can't do is left undone, as said above."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_WAIT)) as database:
                work(database)
        except sqlite3.OperationalError:
            pass  # locked for too long, not writable, no room, no table yet
        except sqlite3.DatabaseError:
            # No database, or a damaged one: the next run begins a new one.
            with contextlib.suppress(OSError):
                self.path.unlink()


def _key(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _identity(seen: Seen) -> tuple[str, str, int, int, int]:
    # As text: some file systems number beyond what SQLite's integers hold.
    return str(seen.device), str(seen.inode), seen.size, seen.modified, seen.changed
