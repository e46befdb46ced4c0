"""Docker's `config.json`: found, read, and changed without losing what others keep in it.

https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ocimlpack.errors import InputError, UnavailableError
from ocimlpack.stores.files import refused, sync_folder

_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_SERVER: Final = "https://index.docker.io/v1/"
"""What Docker calls Docker Hub in its config file and to helpers; others go by their host."""

_KEY: Final = re.compile(r"(?:https?://)?([^/\s]+)(?:/(?:v[12]/?)?)?", re.IGNORECASE)
_LOCK_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """The config file as it was when it was read; one that is not there is empty.

    Attributes:
        path: where it is.
        content: what it holds.
    """

    path: Path
    content: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> DockerConfig:
        """Read it.

        Raises:
            InputError: it is unreadable or malformed; what it holds is not repeated.
        """
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raw = b""
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror}") from error
        try:
            content = json.loads(raw) if raw.strip() else {}
        except (ValueError, RecursionError):
            # Not chained in the output: the parser's own error holds the whole file.
            raise InputError(f"{path} is not valid JSON") from None
        if not isinstance(content, dict):
            raise InputError(f"{path} does not hold a JSON object")
        return cls(path, content)

    @property
    def auths(self) -> dict[str, Any]:
        """The entries with credentials, by registry in any spelling.

        Raises:
            InputError: it is something else.
        """
        return self.table("auths")

    def entries(self, server: str) -> list[Any]:
        """The entries of one registry, the one that Docker would write first."""
        return [self.auths[key] for key in matching(self.auths, server)]

    def helper(self, server: str) -> Any:
        """The name of a registry's credential helper; empty where it is to be in this file."""
        helpers = self.table("credHelpers")
        for key in matching(helpers, server):
            return helpers[key]
        return self.content.get("credsStore")

    def table(self, name: str) -> dict[str, Any]:
        """One of its tables; empty if it has none.

        Raises:
            InputError: it is something else.
        """
        table = self.content.get(name)
        if table is None:
            return {}
        if not isinstance(table, dict):
            raise InputError(f"{name!r} in {self.path} is not a JSON object")
        return table

    def warning(self) -> str | None:
        """A sentence about the file's permissions, if others than its owner have any."""
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return None  # gone since it was read: nobody can read it there
        if not mode & 0o077:
            return None
        return (
            f"{self.path} holds secrets that other users of this machine may read or change "
            f"(run: chmod 600 {shlex.quote(str(self.path))})"
        )


def default_path() -> Path | None:
    """Where Docker's config file is, or would be; None where there is no home folder."""
    if folder := os.environ.get("DOCKER_CONFIG"):
        return Path(folder, "config.json")
    try:
        return Path.home() / ".docker" / "config.json"
    except RuntimeError:
        return None


def server_of(host: str) -> str:
    """What Docker calls a registry, as a key in its file and towards helpers.

    Raises:
        InputError: it is not a host.
    """
    server = _normal(host)
    if server is None:
        raise InputError(f"not a registry's host: {host!r}")
    return server


def matching(table: Mapping[str, Any], server: str) -> list[str]:
    """The keys that mean this registry, the one that Docker would write first."""
    return sorted((key for key in table if _normal(key) == server), key=lambda key: key != server)


def _normal(key: str) -> str | None:
    """One spelling for the many of a registry; None for what is no whole registry.

    Old clients wrote URLs as keys. A longer path is not matched: it is another tool's way to keep
    an account for one namespace only.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    host = match[1].lower()
    return _HUB_SERVER if host in _HUB else host


def edit(path: Path, change: Callable[[dict[str, Any]], None], table: str = "auths") -> None:
    """Change a table of the file under a lock; all else in it stays as it is, and in its order.

    Raises:
        InputError: the file can't be read or written.
        UnavailableError: another process keeps it locked, or the disk is full.
    """
    from filelock import FileLock  # here, as reading the file takes no lock

    target = Path(os.path.realpath(path))  # people link the file into a folder that they sync
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", timeout=_LOCK_TIMEOUT, mode=0o600):
            config = DockerConfig.read(target)
            content = config.table(table)
            change(content)
            if content or table in config.content:
                config.content[table] = content
            _write(target, config.content)
    except TimeoutError:
        raise UnavailableError(
            f"another process has kept {path} locked for {_LOCK_TIMEOUT:.0f} seconds"
        ) from None
    except OSError as error:
        raise refused(error, path) from error


def _write(target: Path, content: Mapping[str, Any]) -> None:
    # Tabs, as Docker writes it. mkstemp creates the file with mode 0600.
    raw = json.dumps(content, indent="\t").encode() + b"\n"
    descriptor, temporary = tempfile.mkstemp(prefix=".config.json-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(raw)
            stream.flush()
            _keep_owner(descriptor, target)
            os.fsync(descriptor)
        os.replace(temporary, target)
        sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _keep_owner(descriptor: int, target: Path) -> None:
    """After `sudo … login` the user must still be able to read the file that was theirs."""
    if os.geteuid() == 0 and target.exists():
        owner = target.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
