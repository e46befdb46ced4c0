"""A private folder in which an artifact's files are completed before anybody sees them.

One process has it at a time, by a lock on the folder itself, which ends with the process. What a
process left behind when it died is taken over by the next one. Files are hashed before they are
trusted; those that come in parts are apart from the others until they are whole.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from ocimlpack.errors import InvalidContentError, InvalidDigestError, UnavailableError
from ocimlpack.model.beneath import Root, reading, write_all, writing
from ocimlpack.model.names import OWN_FOLDER, check_path
from ocimlpack.model.overlay import Changes
from ocimlpack.model.receipt import Entry
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode, encode
from ocimlpack.stores import partial
from ocimlpack.stores.base import CHUNK
from ocimlpack.stores.partial import PartialFile

PARTIAL: Final = "partial-"
"""How a staging folder's name begins that is in a pulled folder's own one."""

_PARTS: Final = f"{OWN_FOLDER}/parts"
"""Where files are that come in parts, until they are whole."""

_ARCHIVES: Final = f"{OWN_FOLDER}/archives"


LAYERS: Final = f"{OWN_FOLDER}/layers"
"""Where files of layers are that may cover one another, each layer's in a folder of its own."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive, all of it.

    Attributes:
        files: its files.
        folders: its folders, which may be empty.
        changes: what a layer of an image does to the layers below it.
        empty: whether there is nothing in it, neither wanted nor unwanted.
    """

    files: tuple[Entry, ...]
    folders: tuple[str, ...]
    changes: Changes = field(default_factory=Changes, hash=False)
    empty: bool = False

    @classmethod
    def whole(
        cls, files: tuple[Entry, ...], folders: tuple[str, ...], changes: Changes
    ) -> Unpacked:
        """What came out of an archive of which nothing was left out."""
        return cls(files, folders, changes, empty=not files and not folders and not changes)


class Staging:
    """The folder, locked.

    Attributes:
        name: what it is called.
        root: it, open.
        parent: the folder that it is in, open.
        inherited: whether an earlier run may have left files in it.
    """

    def __init__(
        self,
        name: str,
        root: Root,
        parent: Root,
        *,
        durable: bool,
        inherited: bool = False,
        others: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.root = root
        self.parent = parent.folder("")
        self.inherited = inherited
        self._durable = durable
        # Where nobody can tell whether other runs are alive. With locks there is no need of this: a
        # folder that nobody has is taken over as a whole.
        self._others = others

    @classmethod
    def claim(cls, parent: Root, name: str, *, durable: bool = False) -> Staging:
        """Take over a folder of this name that nobody has any more, or make one.

        Args:
            parent: the folder that it is in.
            name: how it is called; a suffix makes it another, where somebody has this one.
            durable: wait until all is on disk, whatever happens to the machine then.

        Raises:
            InputError: the parent can't be written to.
            UnavailableError: the disk is full.
        """
        with writing(name):
            names = sorted(os.listdir(parent.fd))
            left = [each for each in names if each == name or each.startswith(f"{name}-")]
            for path in left:
                root = _lock(parent, path, made=False)
                if root:
                    return cls(path, root, parent, durable=durable, inherited=True)
            path = name
            while True:
                with suppress(FileExistsError):
                    os.mkdir(path, 0o755, dir_fd=parent.fd)
                    root = _lock(parent, path, made=True)
                    if root:
                        others = () if _locks_work(root) else left
                        return cls(path, root, parent, durable=durable, others=others)
                path = f"{name}-{secrets.token_hex(4)}"

    def close(self) -> None:
        """Leave it: what files it has stay for the next run, and if there are none, nothing."""
        # What can't be removed now is hidden, and in nobody's way.
        with self.parent, self.root, suppress(OSError):
            if all(is_folder for _, is_folder in self.root.walk()):
                self.parent.remove_all(self.name)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        with self.parent, self.root, suppress(OSError):
            self.parent.remove_all(self.name)

    def release(self) -> None:
        """Let go of it after it was renamed."""
        with self.parent, self.root:
            pass

    def settle(self, files: Iterable[str], folders: Iterable[str]) -> None:
        """Leave nothing in it but these files and folders."""
        wanted = set(files)
        with writing(self.name):
            for path, is_folder in list(self.root.walk()):
                if path not in wanted and not is_folder:
                    self.root.remove(path)
            for path, is_folder in list(self.root.walk()):
                if is_folder:
                    self.root.remove_empty(path)
            for path in folders:
                self.root.folder(path, make=True).__exit__()
            if self._durable:
                for path, is_folder in self.root.walk():
                    if is_folder:
                        self.root.sync(path)

    def require(self, size: int, what: str) -> None:
        """See to it that there is room.

        Raises:
            UnavailableError: there isn't; it says how much is missing.
        """
        status = os.fstatvfs(self.root.fd)
        free = status.f_bavail * status.f_frsize
        if size > free:
            raise UnavailableError(
                f"no room left: {what} needs {size:,} bytes, the disk has {free:,}, "
                f"{size - free:,} are missing",
                hint="free space and run it again: what is complete is kept",
            )

    def write(self, path: str, pieces: Iterable[bytes], *, executable: bool) -> None:
        """Write a file.

        Args:
            path: its path.
            pieces: its content. What getting it raises is passed on.
            executable: whether it may be run.

        Raises:
            UnavailableError: the disk is full.
            InvalidContentError: another file of the artifact is in the way.
            InputError: the system refuses it.
        """
        with self.new(path, executable=executable) as file:
            for piece in pieces:
                with writing(path):
                    write_all(file, piece)

    @contextmanager
    def new(self, path: str, *, executable: bool) -> Iterator[BinaryIO]:
        """A new file, open for writing and reading, that stays if the block ends well.

        Until then it may be there in part: here nobody trusts a file that was not written or read
        through by this run.

        Raises:
            InvalidContentError: another file of the artifact is in the way.
            OcimlpackError: as `write` says.
        """
        with _placing(path):
            try:
                file = self.root.create(path, executable=executable)
            except FileExistsError:
                self.root.remove(path)  # of an earlier run
                file = self.root.create(path, executable=executable)
        try:
            with file:
                yield file
                if self._durable:
                    with writing(path):
                        os.fsync(file.fileno())
        except BaseException:
            self.discard((path,))
            raise

    def discard(self, paths: Iterable[str]) -> None:
        """Remove files that are not right."""
        for path in paths:
            with suppress(OSError):  # what stays is no more trusted than anything else here
                self.root.remove(path)

    @contextmanager
    def assembling(self, path: str, desc: Descriptor, *, executable: bool) -> Iterator[PartialFile]:
        """A file for the parts of a content, which gets its path if the block ends well.

        Raises:
            OcimlpackError: as `new` says.
        """
        with ExitStack() as stack:
            with writing(path):
                parts = stack.enter_context(self.root.folder(_PARTS, make=True))
            others = []
            for name in self._others:
                with suppress(OSError):
                    others.append(stack.enter_context(self.parent.folder(f"{name}/{_PARTS}")).fd)
            file = stack.enter_context(
                partial.claimed(
                    parts.fd,
                    desc,
                    label=path,
                    prefix="x-" if executable else "f-",
                    mode=0o755 if executable else 0o644,
                    others=others,
                )
            )
            yield file
            file.finish(durable=self._durable)
            with _placing(path), self.root.place(path) as (folder, name):
                file.move(folder, name)

    def place(self, path: str, final: str) -> None:
        """Move a file that is in here to another path in here.

        Raises:
            InvalidContentError: another file of the artifact is in the way.
            InputError: the system refuses it.
        """
        with _placing(final):
            self.root.move(path, self.root, final)

    def kept(self, desc: Descriptor) -> int:
        """Bytes of a content's parts that are on the disk already."""
        if not self.inherited:
            return 0
        try:
            with self.root.folder(_PARTS) as parts:
                found = [
                    parts.look(name)
                    for name in os.listdir(parts.fd)
                    if name.partition("-")[2].startswith(partial.name_of(desc))
                ]
        except OSError:
            return 0
        return sum(min(each.st_blocks * 512, desc.size) for each in found if each)

    def read(self, path: str) -> Iterator[bytes]:
        """A file's content; it must be there."""
        with reading(path):
            file = self.root.open(path)
        if file is None:
            raise InvalidContentError(f"{path} was removed meanwhile")
        with file:
            while True:
                with reading(path):
                    piece = file.read(CHUNK)
                if not piece:
                    return
                yield piece

    def note(self, layer: Digest, unpacked: Unpacked) -> None:
        """Write down for a later run that all of an archive's files are here."""
        value = {
            "files": [entry.to_json() for entry in unpacked.files],
            "folders": list(unpacked.folders),
            "gone": unpacked.changes.gone,
            "opaque": unpacked.changes.opaque,
            "links": unpacked.changes.links,
        }
        with writing(self.name):
            self.root.replace(f"{_ARCHIVES}/{layer.hex}.json", encode(value))

    def noted(self, layer: Digest) -> Unpacked | None:
        """What an earlier run wrote down; None if it was nothing, or can't be used."""
        path = f"{_ARCHIVES}/{layer.hex}.json"
        with reading(path):
            if self.root.look(path) is None:
                return None
        try:
            value = decode(b"".join(self.read(path)), "it")
            files = tuple(map(Entry.from_json, value["files"]))
            folders = tuple(map(str, value["folders"]))
            links = {check_path(key): str(each) for key, each in value.get("links", {}).items()}
            gone, opaque = (list(map(str, value.get(key, []))) for key in ("gone", "opaque"))
            return Unpacked.whole(files, folders, Changes(gone, opaque, links))
        except (InvalidContentError, InvalidDigestError, KeyError, TypeError, AttributeError):
            return None


def prune(
    parent: Root, prefix: str, spared: tuple[str, ...], *, dry_run: bool
) -> list[tuple[str, int]]:
    """Remove staging folders that nobody has any more.

    Args:
        parent: the folder that they are in.
        prefix: how their names begin.
        spared: how names begin that are left alone.
        dry_run: only say what would be removed.

    Returns:
        Their names, each with the bytes in its files.
    """
    found = []
    for name in sorted(os.listdir(parent.fd)):
        ours = name.startswith(prefix) and not name.startswith(spared)
        root = _lock(parent, name, made=False) if ours else None
        if root:
            with root:
                status = [root.look(path) for path, is_folder in root.walk() if not is_folder]
                found.append((name, sum(each.st_size for each in status if each)))
                if not dry_run:
                    with writing(name):
                        parent.remove_all(name)
    return found


@contextmanager
def _placing(path: str) -> Iterator[None]:
    with writing(path):
        try:
            yield
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise InvalidContentError(
                f"the artifact's {path!r} and another of its files can't be side by side"
            ) from error


def _locks_work(root: Root) -> bool:
    try:
        fcntl.flock(root.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock(parent: Root, name: str, *, made: bool) -> Root | None:
    """Open a folder and have it alone; None if it is somebody else's, or gone by now.

    Args:
        parent: the folder that it is in.
        name: its name there.
        made: whether this process made it a moment ago.
    """
    try:
        root = parent.folder(name)
    except OSError:
        return None
    if _have(root, parent, name, made=made):
        return root
    root.__exit__()
    return None


def _have(root: Root, parent: Root, name: str, *, made: bool) -> bool:
    status = os.fstat(root.fd)
    if not made and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        # The name can be guessed: in a folder that others can write to, somebody else may have
        # laid something there.
        return False
    try:
        fcntl.flock(root.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return made  # a file system without locks, on which nothing is taken over
    # Whoever had it until now may have renamed or removed it.
    now = parent.look(name)
    return now is not None and os.path.samestat(status, now)
