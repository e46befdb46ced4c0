"""A folder that is brought up to date where it stands, and what in it is whose.

A file that a receipt lists and that is as listed is ours: it may be replaced or removed. Every
other file is the user's work and stays, or, where an artifact's file has to go in its place, is a
conflict that is found before anything is changed.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from ocimlpack.errors import ConflictError, InvalidContentError
from ocimlpack.model import receipt
from ocimlpack.model.beneath import UNFINISHED, Root, reading, writing
from ocimlpack.model.names import OWN_FOLDER
from ocimlpack.model.receipt import Entry, Receipt
from ocimlpack.model.staging import PARTIAL, Staging
from ocimlpack.progress import Began, Ended, Planned, Reporter, ignore
from ocimlpack.spec.digest import Digest
from ocimlpack.transfer import pool

State = tuple[int, int, int]

_NEVER: Final = pool.Stop()


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a path.

    Attributes:
        digest: of the file there; None if it can't be one that is known, or is no file.
        state: changes when the content does: inode, bytes, modification time.
    """

    digest: Digest | None
    state: State


class Standing:
    """The folder as it was when it was looked at, and how it becomes what a new receipt says.

    Attributes:
        path: where it is.
        root: it, open.
        receipt: what was pulled into it before, if anything was.
        staging: where files are completed; None until there is need of it.
    """

    def __init__(self, path: Path, *, replace_all: bool, force: bool) -> None:
        """Open it and read its receipts.

        Args:
            path: the folder.
            replace_all: in the end nothing is to be there but what was pulled.
            force: take what is the user's for ours, where it is in the way.
        """
        self.path = path
        with reading(path):
            self.root = Root.at(path, follow=False)
        self.staging: Staging | None = None
        self._replace_all = replace_all
        self._force = force
        self._found: dict[str, Found | None] = {}
        self._known: dict[str, dict[Digest, int]] = {}
        self.receipt = self._read(receipt.PATH)
        for each in (self.receipt, self._read(receipt.INCOMING)):
            for entry in each.files if each else ():
                self._known.setdefault(entry.path, {})[entry.digest] = entry.size

    def scan(self, wanted: Iterable[Entry], *, jobs: int, report: Reporter) -> None:
        """Hash the files that receipts list and those where wanted ones have to go.

        Raises:
            ConflictError: some are the user's; with `force` that is no conflict.
        """
        candidates = {path: dict(known) for path, known in self._known.items()}
        entries = tuple(wanted)
        for entry in entries:
            candidates.setdefault(entry.path, {})[entry.digest] = entry.size
        size = sum(max(sizes.values()) for sizes in candidates.values())
        if candidates:
            report(Planned("checking", len(candidates), size))
        tasks = [partial(self._examine, path, sizes, report) for path, sizes in candidates.items()]
        self._found = dict(zip(candidates, pool.run(tasks, jobs), strict=True))
        self._refuse_conflicts({entry.path: entry for entry in entries})

    def stage(self, name: str, *, durable: bool = False) -> None:
        """Make the staging folder, in the folder's `.ocimlpack`.

        Args:
            name: tells this artifact's staging folder from others'.
            durable: wait until all is on disk.

        Raises:
            InputError: the folder can't be written to.
        """
        with writing(self.path):
            own = self.root.folder(OWN_FOLDER, make=True)
        with own:
            self.staging = Staging.claim(own, f"{PARTIAL}{name}", durable=durable)

    def right(self, path: str, digest: Digest) -> bool:
        """Whether the file at the path was found to be the right one."""
        found = self._found.get(path)
        return found is not None and found.digest == digest

    def source(self, digest: Digest) -> str | None:
        """A path at which this content was found, if there is one."""
        return next((path for path in self._found if self.right(path, digest)), None)

    def unpacked(self, layer: Digest) -> tuple[Entry, ...]:
        """The files of an archive, if all of them are there and right; else none."""
        listed = self.receipt.files if self.receipt else ()
        files = tuple(entry for entry in listed if entry.layer == layer)
        return files if all(self.right(each.path, each.digest) for each in files) else ()

    def is_empty(self, layer: Digest) -> bool:
        """Whether an archive is known to hold nothing."""
        return self.receipt is not None and layer in self.receipt.empty

    def complete(self, manifest: Digest) -> tuple[Entry, ...]:
        """The files of an image, if all that it holds is there and right; else none."""
        listed = self.receipt
        if not listed or not listed.complete or listed.manifest.descriptor.digest != manifest:
            return ()
        right = all(self.right(each.path, each.digest) for each in listed.files)
        return listed.files if right else ()

    def retained(self, layers: Mapping[str, Digest], digest: Digest) -> list[Entry]:
        """Entries of the old receipt that are right, and right for the new artifact too.

        So a pull of a few files of an artifact leaves the others of the same artifact where they
        are.

        Args:
            layers: the new artifact's files that are layers, each with its digest.
            digest: the new artifact's.
        """
        if self.receipt is None or self._replace_all:
            return []
        same = self.receipt.manifest.descriptor.digest == digest
        kept = [
            entry
            for entry in self.receipt.files
            if self.right(entry.path, entry.digest)
            and (layers[entry.path] == entry.digest if entry.path in layers else same)
        ]
        whole = {
            layer for layer in {entry.layer for entry in kept} if layer and self.unpacked(layer)
        }
        return [each if each.layer in whole else replace(each, layer=None) for each in kept]

    def commit(self, new: Receipt, folders: Collection[str]) -> None:
        """Make the folder what the receipt says: files one by one, the receipt last.

        Interrupted, it leaves whole files, old ones and new ones, and a note of what was coming;
        so the next pull knows all of them for ours.

        Args:
            new: lists all files, those in the staging folder and those that are right already.
            folders: are made, if they are not there.

        Raises:
            ConflictError: the user's files are in the way, or the folder was changed meanwhile.
        """
        final = {entry.path: entry for entry in new.files}
        with self._alone():
            if not self._overtaken(new):
                self._apply(new, final, folders)
        if self.staging:
            self.staging.remove()
            self.staging = None

    def close(self) -> None:
        """Let go of the folder; what is complete in the staging folder stays there."""
        with self.root, suppress(OSError):
            if self.staging:
                self.staging.close()
            self.root.remove_empty(OWN_FOLDER)

    def _apply(self, new: Receipt, final: Mapping[str, Entry], folders: Collection[str]) -> None:
        self._refuse_conflicts(final, folders)
        obsolete = self._obsolete(final)
        self._refuse_changed((*final, *obsolete))
        staged = [path for path in final if not self.right(path, final[path].digest)]
        with writing(self.path):
            if staged or obsolete:
                self.root.replace(receipt.INCOMING, new.encode())
            touched = self._remove(obsolete) | self._bring(staged)
            self._set_modes(final)
            for folder in folders:
                self._clear(f"{folder}/.")
                self.root.folder(folder, make=True).__exit__()
            for folder in touched:
                status = self.root.look(folder or ".")
                if status and stat.S_ISDIR(status.st_mode):
                    self.root.sync(folder)
            if new != self.receipt:
                self.root.replace(receipt.PATH, new.encode())
            self._remove_notes()

    def _remove_notes(self) -> None:
        """Remove what was coming and now is there; also notes that a killed run did not finish."""
        for path, is_folder in list(self.root.walk(OWN_FOLDER)):
            if path == receipt.INCOMING or (not is_folder and path.endswith(UNFINISHED)):
                self.root.remove(path)

    def _read(self, path: str) -> Receipt | None:
        try:
            return receipt.read(self.root, path)
        except InvalidContentError:
            if self._replace_all:
                return None  # it goes with all the rest
            raise

    def _examine(
        self, path: str, sizes: Mapping[Digest, int], report: Reporter, stop: pool.Stop
    ) -> Found | None:
        """What is at a path; hashed if it could be one of the files expected there."""
        with reading(self.path / path):
            status = self.root.look(path)
            if status is None:
                return None
            file = self.root.open(path)
        if file is None:
            return Found(None, _state(status))
        with file:
            status = os.fstat(file.fileno())
            fitting = [digest for digest, size in sizes.items() if size == status.st_size]
            for algorithm in {digest.algorithm for digest in fitting}:
                file.seek(0)
                report(Began(path, status.st_size))
                digest = receipt.hash_file(file, algorithm, path, report, stop)
                report(Ended(path, status.st_size, "hashed"))
                if digest in fitting:
                    return Found(digest, _state(status))
        return Found(None, _state(status))

    def _refuse_conflicts(self, final: Mapping[str, Entry], folders: Iterable[str] = ()) -> None:
        if self._force:
            return
        blocked = {self._obstacle(entry) for entry in final.values()}
        blocked |= {self._obstacle_above(f"{folder}/.") for folder in folders}
        changed = {
            path
            for path, found in self._found.items()
            if found and path in self._known and not self._ours(path) and path not in final
        }
        paths = sorted(filter(None, blocked | changed))
        if paths:
            more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
            raise ConflictError(
                f"in {self.path} these were not pulled, or were changed since: "
                f"{', '.join(paths[:5])}{more}",
                hint="move them away, or let --force overwrite them",
            )

    def _ours(self, path: str) -> bool:
        found = self._found.get(path)
        return found is not None and found.digest in self._known.get(path, {})

    def _obstacle(self, entry: Entry) -> str | None:
        """What of the user's is where a file has to go, or where its folders have to."""
        path = entry.path
        if above := self._obstacle_above(path):
            return above
        if path not in self._found:
            self._found[path] = self._examine(path, {entry.digest: entry.size}, ignore, _NEVER)
        found = self._found[path]
        if found is None or found.digest == entry.digest or self._ours(path):
            return None
        status = self.root.look(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return path
        return next(
            (
                below
                for below, is_folder in self.root.walk(path)
                if not is_folder and not self._ours(below)
            ),
            None,
        )

    def _obstacle_above(self, path: str) -> str | None:
        for above in _above(path):
            status = self.root.look(above)
            if status and not stat.S_ISDIR(status.st_mode):
                return None if self._ours(above) else above
        return None

    def _obsolete(self, final: Mapping[str, Entry]) -> list[str]:
        if self._replace_all:
            return [
                path
                for path, is_folder in self.root.walk()
                if not is_folder and path not in final and path.split("/")[0] != OWN_FOLDER
            ]
        return [path for path in self._known if path not in final and self._found.get(path)]

    def _refuse_changed(self, paths: Iterable[str]) -> None:
        for path in paths:
            found, status = self._found.get(path), self.root.look(path)
            if path in self._found and status and (found is None or found.state != _state(status)):
                raise ConflictError(
                    f"{self.path / path} was changed while the pull was running",
                    hint="run it again",
                )

    def _remove(self, paths: Iterable[str]) -> set[str]:
        touched = set()
        for path in paths:
            with suppress(FileNotFoundError):
                self.root.remove(path)
            touched.add(folder := path.rpartition("/")[0])
            self.root.remove_empty(folder)
        if self._replace_all:
            self._remove_empty_below("")
        return touched

    def _bring(self, paths: Iterable[str]) -> set[str]:
        touched = set()
        for path in paths:
            if self.staging is None:
                raise AssertionError(f"{path} is in no staging folder")
            self._clear(path)
            self.staging.root.move(path, self.root, path)
            touched.add(path.rpartition("/")[0])
        return touched

    def _clear(self, path: str) -> None:
        """Make way for a file. Only if forced is anything removed that holds anything."""
        for above in _above(path):
            status = self.root.look(above)
            if status and not stat.S_ISDIR(status.st_mode) and self._force:
                self.root.remove(above)
        status = self.root.look(path)
        if status and stat.S_ISDIR(status.st_mode) and not path.endswith("/."):
            if self._force:
                self.root.remove_all(path)
            else:
                self._remove_empty_below(path)
                self.root.remove_empty(path)

    def _remove_empty_below(self, path: str) -> None:
        for below, is_folder in list(self.root.walk(path)):
            if is_folder and below != OWN_FOLDER and not below.startswith(f"{OWN_FOLDER}/"):
                self.root.remove_empty(below)

    def _set_modes(self, final: Mapping[str, Entry]) -> None:
        old = {entry.path: entry.mode for entry in self.receipt.files} if self.receipt else {}
        for path, entry in final.items():
            if old.get(path, entry.mode) != entry.mode and self.right(path, entry.digest):
                file = self.root.open(path)
                if file is not None:
                    with file:
                        os.fchmod(file.fileno(), entry.mode)

    def _overtaken(self, new: Receipt) -> bool:
        """Whether somebody else has done the same by now.

        Raises:
            ConflictError: or has done something else.
        """
        now = self._read(receipt.PATH)
        if now == self.receipt:
            return False
        if now is not None and receipt.covers(now, new):
            receipt.verify(self.path)
            return True
        raise ConflictError(
            f"something else was pulled into {self.path} at the same time", hint="run it again"
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with writing(self.path):
            own = self.root.folder(OWN_FOLDER, make=True)
        with own:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(own.fd, fcntl.LOCK_EX)
            yield


def _above(path: str) -> Iterator[str]:
    """The folders that a path is in, the outermost first."""
    end = path.find("/")
    while end != -1:
        yield path[:end]
        end = path.find("/", end + 1)


def _state(status: os.stat_result) -> State:
    return status.st_ino, status.st_size, status.st_mtime_ns
