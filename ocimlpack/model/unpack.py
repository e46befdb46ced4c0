"""The destination of a pull: a folder that gets an artifact's files, all of them or none.

Nothing under a final name is ever unverified or cut short. Files are completed in a private staging
folder and become visible when all are right: where the destination is new, by one rename; where it
stands already, one by one, the receipt last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ocimlpack.errors import InputError, IntegrityError
from ocimlpack.model import staging
from ocimlpack.model.artifact import Member, clashing
from ocimlpack.model.beneath import Root, reading
from ocimlpack.model.destination import Situation, examine, locate, swappable
from ocimlpack.model.fresh import OLD, Fresh, hidden
from ocimlpack.model.intake import Intake, entry_of
from ocimlpack.model.names import OWN_FOLDER, collisions, selector
from ocimlpack.model.receipt import Receipt
from ocimlpack.model.staging import Unpacked
from ocimlpack.model.standing import Standing
from ocimlpack.progress import Reporter, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores.base import Blob
from ocimlpack.stores.duplicate import can_clone
from ocimlpack.stores.partial import PartialFile


class Folder:
    """A sink for one artifact's layers. Enter it, copy into it, commit.

    Left without a commit, the destination is as it was; files that are complete are kept, hidden
    beside it or in its `.ocimlpack`, for the next try. A layer with several names is written under
    each, as files of their own. Permissions are 0644 or 0755, folders 0755, less the umask; owners
    and times are those of any new file.

    Attributes:
        files: paths and bytes of what the folder holds of the artifact; known after the commit.
    """

    def __init__(
        self,
        destination: Path,
        manifest: Manifest,
        members: Sequence[Member],
        *,
        reference: str,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        force: bool = False,
        durable: bool = False,
        near: Path | None = None,
        jobs: int = 4,
        report: Reporter = ignore,
    ) -> None:
        """Choose among the artifact's files; nothing is touched yet.

        Args:
            destination: the folder. It and those above it are made if they are absent.
            manifest: the artifact.
            members: what a reader understood of it; their names are checked.
            reference: where it comes from, for the receipt.
            include: patterns; only files that match one are wanted. What is in an archive is known
                only once it was read: so it is read, and its other files are left out then.
            exclude: patterns of files that are not wanted.
            force: replace a folder that was not pulled, and files that were changed since.
            durable: wait until all is on disk. Else a machine that loses its power in the next
                half minute may lose files of a folder that is there; `receipt.verify` finds them.
            near: a file of the store that it comes from, where that is on a disk here: what can be
                cloned from there takes no room.
            jobs: how many of the files that are there already are read at a time.
            report: gets the progress events of that.

        Raises:
            InputError: no file is wanted.
        """
        self.files: list[tuple[str, int]] = []
        self._destination = destination
        self._path = locate(destination)
        self._manifest = manifest
        self._reference = reference
        self._force = force
        self._durable = durable
        self._near = near
        self._jobs = jobs
        self._report = report
        self._members = tuple(members)
        self._selected = selector(include, exclude)
        self._unexcluded = selector((), exclude)
        self._is_selective = bool(include or exclude)
        self._wanted = tuple(filter(self._is_wanted, self._members))
        if not self._wanted:
            raise self._nothing_selected()
        self._layers: dict[Digest, list[Member]] = {}
        for member in self._wanted:
            self._layers.setdefault(member.desc.digest, []).append(member)
        self._done: dict[Member, Unpacked] = {}
        self._kept: list[int] = []
        self._taken: set[Digest] = set()
        self._target: Fresh | Standing | None = None

    def __enter__(self) -> Self:
        """Look at the destination and make a staging folder, if there is something to do.

        Raises:
            ConflictError: the folder was not pulled, or files in it were changed since.
            InputError: the destination can't be used.
            UnavailableError: there is not enough room.
        """
        situation = examine(self._path, force=self._force)
        name = self._manifest.descriptor.digest.hex[:12]
        stays = situation is Situation.OURS or (
            situation is not Situation.ABSENT and not swappable(self._path)
        )
        try:
            if stays:
                self._update(name, replace_all=situation is Situation.FOREIGN)
            else:
                self._target = Fresh(self._path, situation, name, durable=self._durable)
            self._require_room()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        target, self._target = self._target, None
        if target:
            target.close()

    @property
    def kept(self) -> int:
        """Bytes of the files that were there already, and right."""
        return sum(self._kept)

    def wants(self, desc: Descriptor) -> bool:
        """Whether the layer, or a file in it, is wanted."""
        return desc.digest in self._layers

    def exists(self, desc: Descriptor) -> bool:
        """Whether all that is wanted of the layer is there and right, by its digest."""
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
            # The first is taken from the blob, and others of the same content from the first.
            if member in self._done or (desc.digest in self._taken and self._have(member)):
                continue
            self._done[member] = self._intake.take(member, blob)
            self._taken.add(desc.digest)

    @contextmanager
    def assembling(self, desc: Descriptor) -> Iterator[PartialFile | None]:
        """A file for the parts of a layer; none for archives, and for what is not wanted."""
        todo = [each for each in self._layers.get(desc.digest, ()) if each not in self._done]
        if not todo or any(each.encoding != "raw" for each in todo):
            yield None
            return
        with self._intake.assembling(todo[0]) as file:
            yield file
        self._done[todo[0]] = Unpacked((entry_of(todo[0]),), ())
        self._taken.add(desc.digest)
        for member in todo[1:]:
            self._have(member)

    def commit(self) -> Path:
        """Make all of it visible, and write the receipt.

        Returns:
            The destination.

        Raises:
            IntegrityError: not all that is wanted was pushed.
            InvalidContentError: files of several archives can't be side by side.
            ConflictError: the destination was changed meanwhile.
            InputError: the patterns select nothing of what archives hold.
        """
        for member in self._wanted:
            if not self._have(member):
                raise IntegrityError(
                    f"{member.path} was not delivered", digest=str(member.desc.digest)
                )
        new, folders = self._complete()
        if self._target is None:
            raise AssertionError("the folder was not entered")
        self._target.commit(new, folders)
        self.files = [(entry.path, entry.size) for entry in new.files]
        return self._destination

    def _is_wanted(self, member: Member) -> bool:
        if member.single:
            return self._selected(member.path)
        return member.path == "." or self._unexcluded(f"{member.path}/")

    def _nothing_selected(self) -> InputError:
        if below := next(filter(None, (member.below for member in self._members)), None):
            chosen = " that the patterns select" if self._is_selective else ""
            return InputError(f"the image holds no files below /{below}{chosen}")
        paths = [member.path for member in self._members]
        more = f" and {len(paths) - 10} more" if len(paths) > 10 else ""
        return InputError(
            f"the patterns select none of the files; there are {', '.join(paths[:10])}{more}"
        )

    def _update(self, name: str, *, replace_all: bool) -> None:
        standing = Standing(self._path, replace_all=replace_all, force=self._force)
        self._target = standing
        wanted = [entry_of(member) for member in self._wanted if member.encoding == "raw"]
        standing.scan(wanted, jobs=self._jobs, report=self._report)
        if not self._is_selective:
            self._keep_all(standing)
        missing = [member for member in self._wanted if member not in self._done]
        if not all(map(self._intake.in_place, missing)):
            standing.stage(name, durable=self._durable)

    def _keep_all(self, standing: Standing) -> None:
        """Leave an image's files as they are, if they are all there.

        Otherwise layers would be read again of which nothing is seen: no file says that it was.
        """
        covering = [member for member in self._wanted if member.level is not None]
        files = standing.complete(self._manifest.descriptor.digest) if covering else ()
        if not files:
            return
        for member in covering:
            empty = standing.is_empty(member.origin)
            self._done[member] = Unpacked((), (), empty=empty)
        first = next((each for each in covering if not self._done[each].empty), covering[0])
        self._done[first] = Unpacked(files, ())
        self._kept.append(sum(entry.size for entry in files))

    def _require_room(self) -> None:
        if not self._target or not self._target.staging:
            return
        wanted = self._wanted
        if self._near and can_clone(self._near, self._target.staging.root.fd):
            wanted = tuple(member for member in wanted if member.encoding != "raw")
        needed = sum(map(self._intake.missing, wanted))
        self._target.staging.require(needed, str(self._destination))

    @property
    def _intake(self) -> Intake:
        if self._target is None:
            raise AssertionError("the folder was not entered")
        return Intake(self._target, self._selected)

    def _have(self, member: Member) -> bool:
        """Whether a member is done, or can be had without its blob."""
        if member in self._done:
            return True
        same = [each for each in self._layers[member.desc.digest] if each in self._done]
        found = self._intake.find(member, same)
        if found is None:
            return False
        self._done[member] = found
        if member.desc.digest not in self._taken:
            self._kept.append(sum(entry.size for entry in found.files))
        return True

    def _complete(self) -> tuple[Receipt, list[str]]:
        """The receipt of all that is done, and of what stays; and the folders that are empty."""
        done = [each for member, each in self._done.items() if member.level is None]
        if covering := {m: each for m, each in self._done.items() if m.level is not None}:
            done.append(self._intake.lay_over(covering))
        entries = [entry for each in done for entry in each.files]
        folders = sorted({folder for each in done for folder in each.folders})
        if not entries and not folders:
            raise self._nothing_selected()
        if clash := collisions([entry.path for entry in entries] + [f"{f}/." for f in folders]):
            raise clashing(*clash[0])
        if isinstance(self._target, Standing):
            listed = {entry.path for entry in entries}
            layers = {m.path: m.desc.digest for m in self._members if m.encoding == "raw"}
            retained = self._target.retained(layers, self._manifest.descriptor.digest)
            entries += [entry for entry in retained if entry.path not in listed]
        entries.sort(key=lambda entry: entry.path.encode())
        empty = {member.origin for member, each in self._done.items() if each.empty}
        new = Receipt(
            self._reference,
            self._manifest,
            tuple(entries),
            tuple(sorted(empty, key=str)),
            complete=bool(covering) and not self._is_selective,
        )
        return new, folders


def prune(folder: Path, *, dry_run: bool) -> list[tuple[str, int]]:
    """Remove what pulls into a folder left behind that did not come to their end.

    Args:
        folder: the destination of the pulls; it may be absent.
        dry_run: only say what would be removed.

    Returns:
        The paths removed, each with its bytes. What a pull is using now is not among them.

    Raises:
        InputError: something can't be read or removed.
    """
    path = locate(folder)
    places = [(path.parent, hidden(path))]
    if not path.is_symlink() and path.is_dir():
        places.append((path / OWN_FOLDER, staging.PARTIAL))
    found = []
    for place, prefix in places:
        if place.is_symlink() or not place.is_dir():
            continue
        with reading(place), Root.at(place, follow=False) as root:
            # Without a folder in its place, what was put aside may be the only one there is.
            spared = () if path.exists() else (f"{prefix}{OLD}",)
            names = staging.prune(root, prefix, spared, dry_run=dry_run)
        found += [(str(place / name), size) for name, size in names]
    return found
