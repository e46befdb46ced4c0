"""A folder that appears whole: completed beside its place, and put there by one rename."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from ocimlpack.errors import ConflictError, InputError, InvalidContentError
from ocimlpack.model import receipt
from ocimlpack.model.beneath import Root, reading, writing
from ocimlpack.model.destination import Situation, parents
from ocimlpack.model.receipt import Receipt, covers
from ocimlpack.model.staging import Staging

_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})

OLD: Final = "old-"
"""How the rest of such a name begins, where a folder was put that is replaced."""


def hidden(path: Path) -> str:
    """How names beside a folder begin of what belongs to pulls into it."""
    # A name has at most 255 bytes, and this one goes on.
    short = path.name.encode("utf-8", "surrogateescape")[:200].decode(errors="ignore")
    return f".{short}.ocimlpack-"


class Fresh:
    """A destination that is absent, empty, or to be replaced as a whole.

    Attributes:
        path: where the folder goes.
        staging: where it is completed.
    """

    def __init__(
        self, path: Path, situation: Situation, name: str, *, durable: bool = False
    ) -> None:
        """Make the folders above, and the staging folder beside the place.

        Args:
            path: where the folder goes.
            situation: what is there.
            name: tells this artifact's staging folder from others'.
            durable: wait until all is on disk.

        Raises:
            InputError: the folder that it goes into can't be written to.
        """
        self.path = path
        self._situation = situation
        with ExitStack() as stack:
            stack.enter_context(parents(path))
            with writing(path):
                parent = stack.enter_context(Root.at(path.parent))
            self.staging: Staging | None = Staging.claim(
                parent, f"{hidden(path)}{name}", durable=durable
            )
            self._parent = parent
            self._stack = stack.pop_all()

    def commit(self, new: Receipt, folders: Iterable[str]) -> None:
        """Put the folder in its place.

        Args:
            new: lists all files; what else is in the staging folder goes.
            folders: are made, as nothing else would make them.

        Raises:
            ConflictError: something else has come to be there meanwhile.
        """
        staging = self._staged()
        staging.settle((entry.path for entry in new.files), folders)
        with writing(self.path):
            staging.root.replace(receipt.PATH, new.encode())
            staging.root.sync()
            if self._situation is Situation.EMPTY:
                os.fchmod(staging.root.fd, self.path.stat().st_mode & 0o7777)
            try:
                self._rename(staging.name, self.path.name)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                if self._overtaken(new):
                    self.staging = None
                    staging.remove()
                    return
                if self._situation is not Situation.FOREIGN or error.errno == errno.ENOTDIR:
                    raise ConflictError(
                        f"something else came to be at {self.path} meanwhile", hint="run it again"
                    ) from error
                self._replace(staging)
            self._parent.sync()
        self.staging = None
        staging.release()

    def close(self) -> None:
        """Let go; what is complete in the staging folder stays there."""
        with self._stack:
            if self.staging:
                self.staging.close()

    def _staged(self) -> Staging:
        if self.staging is None:
            raise AssertionError("the folder is in its place already")
        return self.staging

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._parent.fd, dst_dir_fd=self._parent.fd)

    def _replace(self, staging: Staging) -> None:
        aside = f"{hidden(self.path)}{OLD}{secrets.token_hex(4)}"
        self._rename(self.path.name, aside)
        try:
            self._rename(staging.name, self.path.name)
        except BaseException:
            self._rename(aside, self.path.name)
            raise
        try:
            self._parent.remove_all(aside)
        except OSError as error:
            raise InputError(
                f"{self.path} is replaced, but what it was can't be removed from "
                f"{self.path.parent / aside}: {error.strerror}"
            ) from error

    def _overtaken(self, new: Receipt) -> bool:
        """Whether another process has put the same there, as it is to be."""
        with reading(self.path):
            try:
                root = Root.at(self.path, follow=False)
            except NotADirectoryError:
                return False
        with root:
            try:
                there = receipt.read(root)
            except InvalidContentError:
                return False
        if there is None or not covers(there, new):
            return False
        receipt.verify(self.path)
        return True
