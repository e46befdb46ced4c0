"""A journal of upload sessions: what another process, or this one after a reboot, goes on with.

One small file for each upload that is under way. All that it does is save bytes: what a registry
has of an upload is asked of the registry, and whether it is right is told by the digest. So nothing
depends on the files being there, being true, being locked, or on any clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from ocimlpack.stores.files import TEMPORARY, remove_stale

if sys.platform != "win32":
    import fcntl

WORTHWHILE: Final = 16 * 1024 * 1024
"""Bytes from which on an upload is worth going on with; a smaller one is sent again."""

STALE: Final = 7 * 24 * 3600.0
"""Seconds after which `prune` takes a session for dead; distribution forgets it by then, too.

https://distribution.github.io/distribution/about/configuration/#uploadpurging
"""

_SUFFIX: Final = ".json"
_MAX_SIZE: Final = 64 * 1024


class Record:
    """Where one upload stands.

    Attributes:
        location: the session's address as the registry last gave it, or None.
    """

    def __init__(self, path: Path | None, size: int) -> None:
        """Prepare; `claim` reads what there is.

        Args:
            path: the file, or None for a record that is not kept.
            size: the upload's bytes in all.
        """
        self.location: str | None = None
        self._path = path
        self._size = size
        self._handle: int | None = None

    @property
    def kept(self) -> bool:
        """Whether another run can go on with the upload."""
        return self._path is not None and self.location is not None

    def read(self) -> bool:
        """Find out where an earlier run has got to; False if another process is at it now."""
        if self._path is None:
            return True
        try:
            handle = os.open(self._path, os.O_RDWR)
        except OSError:
            return True  # there is none, or none that can be used
        if not _lock(handle):
            os.close(handle)
            return False
        self._handle = handle
        with contextlib.suppress(OSError):
            self.location = _parse(os.read(handle, _MAX_SIZE), self._size)
        return True

    def keep(self, location: str) -> None:
        """Remember the session's address, as well as that can be done.

        Not synced to the disk: after a power cut the worst is that bytes are sent again.
        """
        path = self._path  # another thread may forget it meanwhile
        if path is None or location == self.location:
            return
        self.location = location
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Readable by its owner only: an address may be signed, and then lets anyone write.
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
        except OSError:
            return
        try:
            _lock(handle)  # before it gets its name, so that the name is never without the lock
            os.write(handle, json.dumps({"location": location, "size": self._size}).encode())
            os.replace(temporary, path)
        except OSError:
            os.close(handle)
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            return
        self.close()
        self._handle = handle

    def forget(self) -> None:
        """The session has come to its end: nobody is to go on with it."""
        path, self._path, self.location = self._path, None, None
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()
        self.close()

    def close(self) -> None:
        """Let another process have it."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __del__(self) -> None:
        """An upload that nobody commits any more ends with its object."""
        self.close()


def claim(folder: Path, origin: str, repository: str, key: str, size: int) -> Record:
    """The record of an upload, and nobody else's as far as locks can tell.

    Args:
        folder: where records are kept.
        origin: the registry.
        repository: the repository there.
        key: tells the content from any other; without one, no record is kept.
        size: the content's bytes. Of few, no record is kept either.
    """
    if not key or size < WORTHWHILE:
        return Record(None, size)
    name = hashlib.sha256("\n".join((origin, repository, key)).encode()).hexdigest()
    record = Record(folder / (name + _SUFFIX), size)
    # Two writers into one session would only end in a digest that is wrong, and begin again.
    return record if record.read() else Record(None, size)


def prune(folder: Path, seconds: float, *, dry_run: bool) -> list[tuple[str, int]]:
    """Remove records of uploads that nobody has gone on with for so long.

    The registry is asked for nothing: it clears its unfinished uploads away by itself.

    Returns:
        Their paths, each with its bytes.
    """
    found = remove_stale(folder, seconds, dry_run=dry_run)
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            status = path.stat()
            if time.time() - status.st_mtime < seconds or _is_held(path):
                continue
            if not dry_run:
                path.unlink()
        except FileNotFoundError:
            continue  # that upload has just ended
        found.append((str(path), status.st_size))
    return found


def _is_held(path: Path) -> bool:
    handle = os.open(path, os.O_RDONLY)
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """False if somebody else holds it; where there are no locks, nobody does."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # this file system knows no locks
    return True


def _parse(content: bytes, size: int) -> str | None:
    try:
        value: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("size") != size:
        return None
    location = value.get("location")
    return location if isinstance(location, str) else None
