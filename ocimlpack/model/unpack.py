"""The destination of a pull: a folder that gets an artifact's files, all of them or none.

Nothing under a final name is ever unverified or cut short. Files are completed in a private staging
folder and become visible when all are right: where the destination is new, by one rename; where it
stands already, one by one, the receipt last.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from ocimlpack.errors import ConflictError, InputError, IntegrityError
from ocimlpack.model import archive, receipt
from ocimlpack.model.artifact import Member, clashing, members
from ocimlpack.model.beneath import Root, reading, writing
from ocimlpack.model.destination import Situation, examine, locate, parents, swappable
from ocimlpack.model.names import OWN_FOLDER, collisions, selector
from ocimlpack.model.receipt import Entry, Receipt
from ocimlpack.model.staging import Staging, Unpacked
from ocimlpack.model.standing import Standing, covers
from ocimlpack.progress import Reporter, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores.base import Blob
from ocimlpack.stores.verify import chunks

_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


class Folder:
    """A sink for one artifact's layers. Enter it, copy into it, commit.

    Left without a commit, the destination is as it was; files that are complete are kept hidden
    beside it, or in its `.ocimlpack`, for the next try. A layer with several names is written under
    each, as files of their own. Permissions are 0644 or 0755, folders 0755, less the umask; owners
    and times are those of any new file.

    Attributes:
        files: paths and bytes of what the folder holds of the artifact; known after the commit.
    """

    def __init__(
        self,
        destination: Path,
        manifest: Manifest,
        *,
        reference: str,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        force: bool = False,
        jobs: int = 4,
        report: Reporter = ignore,
    ) -> None:
        """Check the artifact's names and choose; nothing is touched yet.

        Args:
            destination: the folder. It and those above it are made if they are absent.
            manifest: the artifact.
            reference: where it comes from, for the receipt.
            include: patterns; only files that match one are wanted. The content of an archive is
                known only once it was read: so it is read, and files in it are left out then.
            exclude: patterns of files that are not wanted.
            force: replace a folder that was not pulled, and files that were changed since.
            jobs: how many of the files that are there already are read at a time.
            report: gets the progress events of that.

        Raises:
            InvalidContentError: a name is unsafe, or two can't be side by side.
            UnsupportedError: no artifact that is made of files.
            InputError: no file is wanted.
        """
        self.files: list[tuple[str, int]] = []
        self._destination = destination
        self._path = locate(destination)
        self._manifest = manifest
        self._reference = reference
        self._force = force
        self._jobs = jobs
        self._report = report
        self._members = members(manifest)
        self._selected = selector(include, exclude)
        self._unexcluded = selector((), exclude)
        self._wanted = tuple(filter(self._is_wanted, self._members))
        if not self._wanted:
            raise self._nothing([member.path for member in self._members])
        self._layers: dict[Digest, list[Member]] = {}
        for member in self._wanted:
            self._layers.setdefault(member.desc.digest, []).append(member)
        self._intake = Intake(self._selected)
        self._done: dict[Member, Unpacked] = {}
        self._found: list[int] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Look at the destination and make a staging folder.

        Raises:
            ConflictError: the folder was not pulled, or files in it were changed since.
            InputError: the destination can't be used.
            UnavailableError: there is not enough room.
        """
        with ExitStack() as stack:
            situation = examine(self._path, force=self._force)
            if situation is Situation.OURS or (
                situation is not Situation.ABSENT and not swappable(self._path)
            ):
                self._update(stack, replace_all=situation is Situation.FOREIGN)
            else:
                stack.enter_context(parents(self._path))
                self._renew(stack, situation)
            if staging := self._intake.staging:
                missing = sum(map(self._intake.missing, self._wanted))
                staging.require(missing, str(self._destination))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def kept(self) -> int:
        """Bytes of the files that were there already, and right."""
        return sum(self._found)

    def wants(self, desc: Descriptor) -> bool:
        """Whether the layer, or a file in it, is wanted."""
        return desc.digest in self._layers

    def exists(self, desc: Descriptor) -> bool:
        """Whether all that the layer holds is there and right, by its digest."""
        wanted = self._layers.get(desc.digest)
        return wanted is not None and all(map(self._have, wanted))

    def push(self, desc: Descriptor, blob: Blob) -> None:
        """Take in a layer; what is no wanted layer is ignored.

        Raises:
            IntegrityError: the bytes are not what the descriptor says; none of them are kept.
            InvalidContentError: an archive that is damaged or unsafe.
            UnavailableError: the disk is full.
            InputError: the system refuses to write.
        """
        for member in self._layers.get(desc.digest, ()):
            if not self._have(member):
                self._done[member] = self._intake.take(member, blob)

    def commit(self) -> Path:
        """Make all of it visible, and write the receipt.

        Returns:
            The destination.

        Raises:
            IntegrityError: not all that is wanted was pushed.
            InvalidContentError: files of several archives can't be side by side.
            ConflictError: the destination was changed meanwhile.
            InputError: the patterns select none of the archives' files.
        """
        for member in self._wanted:
            if not self._have(member):
                raise IntegrityError(
                    f"{member.path} was not delivered", digest=str(member.desc.digest)
                )
        new = self._receipt()
        folders = sorted({folder for done in self._done.values() for folder in done.folders})
        if not new.files and not folders:
            raise self._nothing()
        self._publish(new, folders)
        self.files = [(entry.path, entry.size) for entry in new.files]
        return self._destination

    def _is_wanted(self, member: Member) -> bool:
        if member.single:
            return self._selected(member.path)
        return member.path == "." or self._unexcluded(f"{member.path}/")

    def _nothing(self) -> InputError:
        paths = [member.path for member in self._members]
        more = f" and {len(paths) - 10} more" if len(paths) > 10 else ""
        return InputError(
            f"the patterns select none of the files; there are {', '.join(paths[:10])}{more}"
        )

    def _update(self, stack: ExitStack, *, replace_all: bool) -> None:
        """Prepare to change the folder where it stands."""
        standing = Standing(self._path, replace_all=replace_all, force=self._force)
        stack.callback(standing.close)
        wanted = [member.entry for member in self._wanted if member.encoding == "raw"]
        standing.scan(wanted, jobs=self._jobs, report=self._report)
        self._intake.standing = standing
        self._publish = standing.commit
