"""A log that only grows: lines of JSON, each with a number and the hash of the one before it.

So a line that was changed, taken out or put in later is noticed, and which of these it was, unless
all that follow were written anew. What can't be noticed is that lines at the end are gone, or that
the last one was changed. Many processes may write at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from ocimlpack.errors import InputError, UnavailableError
from ocimlpack.stores.files import refused, sync_folder

if sys.platform != "win32":
    import fcntl

PREVIOUS: Final = "prev"
"""The field that holds the hash of the line before: SHA-256 in hex, over its bytes."""

NUMBER: Final = "seq"
"""The field that counts the lines from 1, without those that are incomplete."""

_FIRST: Final = "0" * 64
_MAX_LINE: Final = 64 * 1024
_LOCK_SECONDS: Final = 5.0
_LOCK_PAUSE: Final = 0.01

Fault = Literal["changed", "removed", "misplaced", "incomplete"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log.

    Attributes:
        number: counted from 1.
        record: what it says; None where it can't be read.
        fault: `changed` if it is not what was written; `removed` if lines before it are gone;
            `misplaced` if it was put there later, from elsewhere or anew; `incomplete` if its
            writer was stopped in the middle of it.
    """

    number: int
    record: Mapping[str, Any] | None
    fault: Fault | None = None


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Write a line at the end of a log, and see it on disk. A log that is not there is begun.

    Only its owner can read it; one that others could read is closed to them. An incomplete line
    that somebody left stays where it is.

    Raises:
        InputError: it can't be written to, it is no file, or the record is too long.
        UnavailableError: the disk is full, or others keep the log locked.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(path) as handle:
            last = _last_lines(handle)
            ends = not last or last[-1].endswith(b"\n")
            link = {NUMBER: _last_number(last) + 1, PREVIOUS: _hash(last[-1]) if last else _FIRST}
            line = json.dumps({**record, **link}, separators=(",", ":")).encode()
            if len(line) >= _MAX_LINE:
                raise InputError(f"a line of {len(line):,} bytes is too long for {path}")
            _write(handle, line + b"\n" if ends else b"\n" + line + b"\n")
            os.fsync(handle)
            if not last:
                sync_folder(path.parent)
    except OSError as error:
        raise refused(error, path) from error


def read(path: Path) -> Iterator[Line]:
    """The lines of a log, each checked against the one before it; none if there is no log.

    Raises:
        InputError: it can't be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is no file")
        with path.open("rb") as stream:
            yield from _checked(stream)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error


def _checked(stream: BinaryIO) -> Iterator[Line]:
    """Each line, held back until the next has said what stood there when that one was written."""
    previous, number = _FIRST, 0
    known: int | None = 0
    held: Line | None = None
    ends = True
    while raw := stream.readline(_MAX_LINE):
        number += 1
        record = _parse(raw)
        fault: Fault | None = None
        ends = raw.endswith(b"\n")
        if not ends and len(raw) == _MAX_LINE:
            fault = "changed"  # no writer makes such a line
            ends = _skip(stream)
        elif record is None:
            fault = "incomplete"
        else:
            said, follows = _number(record), record.get(PREVIOUS) == previous
            fault = _fault(said, known, follows=follows)
            known = said
            is_held_to_blame = held and (held.record is None or "changed" in (held.fault, fault))
            if held is not None and not follows and is_held_to_blame:
                held, fault = replace(held, fault="changed"), None
        if held is not None:
            yield held
        held, previous = Line(number, record, fault), _hash(raw)
    if held is not None:
        # Whoever was stopped in a line didn't end it, and the next writer left a line behind it.
        is_junk = held.record is None and ends
        yield replace(held, fault="changed") if is_junk else held


def _fault(said: int | None, known: int | None, *, follows: bool) -> Fault | None:
    """What is wrong with a line; `changed` of one that doesn't follow is the one before it.

    Args:
        said: its number.
        known: the number of the line before, 0 where there is none.
        follows: whether it has the hash of the line before.
    """
    if said is None or known is None or said == known + 1:
        return None if follows else "changed"
    if follows:
        return "changed"
    return "removed" if said > known else "misplaced"


def _skip(stream: BinaryIO) -> bool:
    """Pass over the rest of a line that is too long to be one; whether it has an end."""
    while rest := stream.readline(_MAX_LINE):
        if rest.endswith(b"\n"):
            return True
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The log, locked where there are locks; without them, two writers at once break the chain."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            # Of a link to /dev/null the next step would shut the device itself to all others.
            raise InputError(f"{path} is no file")
        if mode & 0o077:
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


def _last_lines(handle: int) -> list[bytes]:
    """The last lines with the ends of line that they have. Of the first, some may be missing."""
    size = os.fstat(handle).st_size
    length = min(size, 2 * _MAX_LINE)
    *lines, rest = os.pread(handle, length, size - length).split(b"\n")
    return [*(line + b"\n" for line in lines), *([rest] if rest else [])]


def _last_number(lines: list[bytes]) -> int:
    """The number of the last line that has one; 0 if none has."""
    for raw in reversed(lines):
        record = _parse(raw if raw.endswith(b"\n") else raw + b"\n")
        if record is not None and (number := _number(record)) is not None:
            return number
    return 0


def _number(record: Mapping[str, Any]) -> int | None:
    number = record.get(NUMBER)
    return number if isinstance(number, int) else None


def _write(handle: int, content: bytes) -> None:
    """All of it at the end; where there is no room for all of it, none."""
    size = os.fstat(handle).st_size
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        # Where there are no locks, somebody else's line may be behind the beginning of this one.
        if os.fstat(handle).st_size == size + len(content) - len(view):
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
