"""Writing files so that none is ever seen in part, and reading them."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from ocimlpack.errors import InputError, OcimlpackError, UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import duplicate
from ocimlpack.stores.base import Blob

TEMPORARY: Final = ".ocimlpack-"
"""How the names of files begin that are still being written."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_verified(blob: Blob, desc: Descriptor, path: Path, folder: Path) -> None:
    """Write a store's blob under its final name, once it is known to be right and is on disk.

    Args:
        blob: the content. What is another store's blob may become this one's, too, as a link.
        desc: what it has to be.
        path: the final name. Somebody else's file that is there by then is replaced by its equal.
        folder: where it is written first; on the same file system, made if it is absent.

    Raises:
        IntegrityError: it is something else. Nothing is left.
        UnavailableError: the disk is full.
        InputError: the place can't be written to.
    """
    with replacing(path, folder) as (stream, temporary):
        duplicate.fill(stream, blob, desc, name=temporary)


@contextmanager
def replacing(path: Path, folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file to write to, and where it is, that takes its final name if the block ends well.

    Args:
        path: the final name.
        folder: where it is until then; on the same file system, made if it is absent.

    Raises:
        UnavailableError: the disk is full.
        InputError: the place can't be written to.
    """
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=TEMPORARY)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode())
            yield stream, temporary
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise refused(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a small file as a whole.

    Raises:
        UnavailableError: the disk is full.
        InputError: the place can't be written to.
    """
    with replacing(path, path.parent) as (stream, _):
        stream.write(content)


def refused(error: OSError, path: Path) -> OcimlpackError:
    """The error of ours that a failed write becomes."""
    if error.errno in _NO_ROOM:
        return UnavailableError(
            f"no room left for {path}: {error.strerror}",
            hint="free some space and run it again; what is complete is kept",
        )
    return InputError(f"can't write {path}: {error.strerror or error}")


def sync_folder(path: Path) -> None:
    """Make a rename in this folder survive a power cut, where the system has a way to ask that."""
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def read_exactly(stream: BinaryIO, length: int) -> bytes:
    """So many bytes, fewer only at the stream's end."""
    parts = []
    while length > 0 and (chunk := stream.read(length)):
        parts.append(chunk)
        length -= len(chunk)
    return b"".join(parts)


def is_temporary(path: Path) -> bool:
    """Whether this is a file that was being written."""
    return path.name.startswith(TEMPORARY)


def remove_stale(folder: Path, seconds: float, *, dry_run: bool) -> list[tuple[str, int]]:
    """Remove temporary files that nobody has touched for so long.

    Returns:
        Their paths, each with its bytes.
    """
    found = []
    for path in sorted(folder.glob(f"{TEMPORARY}*")):
        try:
            status = path.stat()
            # What was linked here a moment ago may have been written long before.
            linked = status.st_nlink > 1
            if time.time() - (status.st_ctime if linked else status.st_mtime) < seconds:
                continue
            if not dry_run:
                path.unlink()
        except FileNotFoundError:
            continue  # its writer finished, or somebody else cleans up as well
        found.append((str(path), status.st_size))
    return found


def mode() -> int:
    """The permissions of a new file, by the user's umask: temporary files are made with 0600."""
    return 0o666 & ~_UMASK


def _read_umask() -> int:
    # The only portable way to read the mask is to set it, so it is done once, before there are
    # threads that could make a file in between.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_UMASK: Final = _read_umask()
