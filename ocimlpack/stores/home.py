"""Where this program keeps things on a user's machine."""

from __future__ import annotations

import os
from pathlib import Path

from ocimlpack.errors import InputError


def user() -> Path:
    """The user's home.

    Raises:
        InputError: nobody says where it is, as in a container whose user has no name.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise InputError(
            "there is no home folder to keep anything in",
            hint="set HOME, or OCIMLPACK_HOME to a folder that may be written to",
        ) from None


def data() -> Path:
    """The folder for what is worth keeping: `$OCIMLPACK_HOME`, else the user's data folder.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    if chosen := os.environ.get("OCIMLPACK_HOME"):
        return Path(os.path.expanduser(chosen)).absolute()
    base = os.environ.get("XDG_DATA_HOME", "")
    # The specification: a relative path there is invalid and to be ignored.
    root = Path(base) if os.path.isabs(base) else user() / ".local" / "share"
    return root / "ocimlpack"


def store() -> Path:
    """The image layout that is the local store."""
    return data() / "store"


def digests() -> Path:
    """The file that remembers digests of files that were packed; it may be removed at any time."""
    return _cache() / "digests.sqlite"


def uploads() -> Path:
    """The folder that remembers upload sessions which are not finished yet."""
    return _cache() / "uploads"


def hosts() -> Path:
    """The folder that remembers what each registry takes; it may be removed at any time."""
    return _cache() / "hosts"


def audit() -> Path:
    """The log of what was changed far away. It is neither worth a backup nor to be thrown away."""
    if os.environ.get("OCIMLPACK_HOME"):
        return data() / "audit.jsonl"
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if os.path.isabs(base) else user() / ".local" / "state"
    return root / "ocimlpack" / "audit.jsonl"


def models() -> Path:
    """Folders of pulled models that `resolve` hands out, one a digest."""
    return data() / "models"


def _cache() -> Path:
    if os.environ.get("OCIMLPACK_HOME"):
        return data() / "cache"
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else user() / ".cache"
    return root / "ocimlpack"
