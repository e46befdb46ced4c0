"""A log that only grows: lines of JSON, each with the hash of the one before it.

So a line that was changed, taken out or put in later is noticed, unless all that follow were
written anew. What can't be noticed is that lines at the end are gone. Many processes may write at
once.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ocimlpack.errors import InputError, UnavailableError
from ocimlpack.stores.files import refused

if sys.platform != "win32":
    import fcntl

PREVIOUS: Final = "prev"
"""The field that holds the hash of the line before: SHA-256 in hex, over its bytes."""

_FIRST: Final = "0" * 64
_MAX_LINE: Final = 64 * 1024
_LOCK_SECONDS: Final = 5.0
_LOCK_PAUSE: Final = 0.01

Fault = Literal["broken", "incomplete"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log.

    Attributes:
        number: counted from 1.
        record: what it says; None where it can't be read.
        fault: `broken` if it doesn't follow from the line before, `incomplete` if its writer was
            stopped in the middle of it.
    """

    number: int
    record: Mapping[str, Any] | None
    fault: Fault | None = None


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Write a line at the end of a log, and see it on disk. A log that is not there is begun.

    Only its owner can read it. An incomplete line that somebody left stays where it is.

    Raises:
        InputError: it can't be written to, or the record is too long.
        UnavailableError: the disk is full, or others keep the log locked.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(path) as handle:
            last = _last_line(handle)
            ends = last is None or last.endswith(b"\n")
            previous = _FIRST if last is None else _hash(last)
            line = json.dumps({**record, PREVIOUS: previous}, separators=(",", ":")).encode()
            if len(line) > _MAX_LINE:
                raise InputError(f"a line of {len(line):,} bytes is too long for {path}")
            _write(handle, line + b"\n" if ends else b"\n" + line + b"\n")
            os.fsync(handle)
    except OSError as error:
        raise refused(error, path) from error


def read(path: Path) -> Iterator[Line]:
    """The lines of a log, each checked against the one before it; none if there is no log.

    Raises:
        InputError: it can't be read.
    """
    previous = _FIRST
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(iter(lambda: stream.readline(_MAX_LINE + 1), b""), 1):
                record = _parse(raw)
                if record is None:
                    yield Line(number, None, "incomplete")
                else:
                    follows = record.get(PREVIOUS) == previous
                    yield Line(number, record, None if follows else "broken")
                previous = _hash(raw)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The log, locked where there are locks; without them, two writers at once break the chain."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o600)
        _lock(handle, path)
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"others have kept {path} locked for {_LOCK_SECONDS:.0f} seconds"
                ) from None
            time.sleep(_LOCK_PAUSE)
        except OSError:
            return  # a file system without locks
        else:
            return


def _last_line(handle: int) -> bytes | None:
    """The last line with the end of line that it has, if it has one; None if there is none."""
    size = os.fstat(handle).st_size
    if size == 0:
        return None
    length = min(size, _MAX_LINE + 2)
    tail = os.pread(handle, length, size - length)
    return tail[tail.rfind(b"\n", 0, len(tail) - 1) + 1 :]


def _write(handle: int, content: bytes) -> None:
    """All of it at the end; where there is no room for all of it, none."""
    size = os.fstat(handle).st_size
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        os.ftruncate(handle, size)
        raise


def _hash(line: bytes) -> str:
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def _parse(raw: bytes) -> dict[str, Any] | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        record: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
