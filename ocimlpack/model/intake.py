"""Layers on their way into a staging folder: verified while they are written, archives unpacked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from ocimlpack.errors import IntegrityError, InvalidContentError
from ocimlpack.model import inside, overlay
from ocimlpack.model.archive import Item, unpacked_limit
from ocimlpack.model.artifact import Member, clashing
from ocimlpack.model.beneath import Root, reading, writing
from ocimlpack.model.fresh import Fresh
from ocimlpack.model.names import collisions
from ocimlpack.model.overlay import Changes
from ocimlpack.model.receipt import Entry
from ocimlpack.model.staging import LAYERS, Staging, Unpacked
from ocimlpack.model.standing import Standing
from ocimlpack.spec.digest import Digest
from ocimlpack.stores import duplicate
from ocimlpack.stores.base import Blob, local_path
from ocimlpack.stores.partial import PartialFile
from ocimlpack.stores.verify import check, chunks


def entry_of(member: Member) -> Entry:
    """The file that a raw layer is."""
    mode = 0o755 if member.executable else 0o644
    return Entry(member.path, member.desc.size, member.desc.digest, mode)


class Intake:
    """Brings the files of members together, from where they are already or from their blobs."""

    def __init__(self, target: Fresh | Standing, selected: Callable[[str], bool]) -> None:
        """Nothing is done yet.

        Args:
            target: the destination; files go into its staging folder.
            selected: which of an archive's files are wanted.
        """
        self._target = target
        self._standing = target if isinstance(target, Standing) else None
        self._selected = selected

    def in_place(self, member: Member) -> Unpacked | None:
        """What is at the destination and right, if that is all of the member."""
        if self._standing is None:
            return None
        if member.encoding == "raw":
            right = self._standing.right(member.path, member.desc.digest)
            return Unpacked((entry_of(member),), ()) if right else None
        if self._standing.is_empty(member.origin):
            return Unpacked((), (), empty=True)
        files = self._standing.unpacked(member.origin)
        return Unpacked(files, ()) if files else None

    def missing(self, member: Member) -> int:
        """Bytes that may still have to be written, as far as sizes tell."""
        if self.in_place(member):
            return 0
        if member.encoding == "raw" and self._target.staging:
            left = self._target.staging.root.look(member.path)
            if left and left.st_size == member.desc.size:
                return 0
            return member.desc.size - self._target.staging.kept(member.desc)
        return member.desc.size

    def find(self, member: Member, others: Iterable[Member]) -> Unpacked | None:
        """What can be had of a member without its blob, if that is all of it.

        It may be in place, or completed by an earlier run, or content of another file here.

        Args:
            member: what is wanted.
            others: members with the same content that are done.
        """
        if found := self.in_place(member):
            return found
        staging = self._target.staging
        if staging is None:
            return None
        if member.encoding != "raw":
            noted = staging.noted(member.origin) if staging.inherited else None
            there = noted and all(_right(staging.root, e, _area(member)) for e in noted.files)
            return noted if there else None
        entry = entry_of(member)
        left = staging.inherited and _right(staging.root, entry)
        return Unpacked((entry,), ()) if left or self._copied(entry, staging, others) else None

    def take(self, member: Member, blob: Blob) -> Unpacked:
        """Get a member from its blob.

        Raises:
            IntegrityError: the blob is not what the descriptor says.
            InvalidContentError: an archive that is damaged or unsafe.
            UnavailableError: the disk is full.
            InputError: the system refuses to write.
        """
        staging = self._staging(member)
        if member.encoding != "raw":
            with blob.open() as stream:
                return self._unpack(member, stream, staging)
        _fill(entry_of(member), blob, staging)
        return Unpacked((entry_of(member),), ())

    @contextmanager
    def assembling(self, member: Member) -> Iterator[PartialFile]:
        """A file for the parts of a member that is a file itself.

        Raises:
            OcimlpackError: as `take` says.
        """
        entry = entry_of(member)
        executable = entry.mode == 0o755
        with self._staging(member).assembling(
            entry.path, member.desc, executable=executable
        ) as file:
            yield file

    def _staging(self, member: Member) -> Staging:
        if self._target.staging is None:
            raise AssertionError(f"{member.path} was found to be in place")
        return self._target.staging

    def _copied(self, entry: Entry, staging: Staging, others: Iterable[Member]) -> bool:
        """Whether the same content was found under another name here, and copied from there."""
        sources: list[tuple[Root, str]] = []
        if self._standing and (path := self._standing.source(entry.digest)):
            sources.append((self._standing.root, path))
        sources += [(staging.root, each.path) for each in others if each.encoding == "raw"]
        for root, path in sources:
            with reading(path):
                file = root.open(path)
            if file is None:
                continue
            try:
                with file:
                    _fill(entry, _OpenFile(file), staging)
            except IntegrityError:
                continue  # it was changed since it was hashed, so it is no source any more
            return True
        return False

    def _unpack(self, member: Member, stream: BinaryIO, staging: Staging) -> Unpacked:
        """Write all files. They count only when all of the archive was verified."""
        found: list[Entry] = []
        named: dict[str, Entry] = {}
        folders: list[str] = []
        changes, whole, area = Changes(), True, _area(member)
        try:
            for item, content in inside.items(member, stream):
                if member.level is not None and changes.take(item):
                    continue
                if not self._is_wanted(member, item):
                    whole = False
                elif item.is_folder:
                    folders.append(item.path)
                elif item.hard:
                    found.append(_linked(item, named, staging, area))
                else:
                    staging.require(item.size, item.path)
                    hashed = _Hashed(content)
                    staging.write(area + item.path, hashed, executable=item.executable)
                    mode = 0o755 if item.executable else 0o644
                    found.append(Entry(item.path, item.size, hashed.digest, mode))
                if found and member.below:
                    named[found[-1].path] = found[-1]
            if clash := collisions(entry.path for entry in found):
                raise clashing(*clash[0])
        except BaseException:
            staging.discard(area + entry.path for entry in found)
            raise
        layer = member.origin
        files = tuple(replace(each, layer=layer) if whole else each for each in found)
        bare = _empty(folders, [entry.path for entry in files])
        if not whole:
            return Unpacked(files, bare, changes)
        unpacked = Unpacked.whole(files, bare, changes)
        staging.note(layer, unpacked)
        return unpacked

    def lay_over(self, done: Mapping[Member, Unpacked]) -> Unpacked:
        """Bring the layers of an image together: what is seen in the end gets its final place.

        Raises:
            InvalidContentError: a link in them leads to what is no file, or links are to out of
                proportion much.
            OcimlpackError: as `take` says.
        """
        layers = sorted(done, key=lambda member: member.level or 0)
        read = [done[member] for member in layers]
        merged = overlay.merge(
            [overlay.Layer(each.files, each.folders, each.changes) for each in read]
        )
        seen = merged.files
        copies = {path: found for path, found in seen.items() if path != found[1].path}
        limit = sum(unpacked_limit(member.desc.size) for member in layers)
        if sum(entry.size for _, entry in copies.values()) > limit:
            raise InvalidContentError(f"the image's links are to more than {limit:,} bytes")
        for path, (number, entry) in copies.items():
            self._bring(layers[number], entry, path)
        for path, (number, entry) in seen.items():
            if path not in copies:
                self._bring(layers[number], entry, path)
        # Of a layer that is covered in part, not all files are there.
        own = Counter(number for path, (number, _) in seen.items() if path not in copies)
        whole = {
            number
            for number, each in enumerate(read)
            if own[number] == len(each.files) and not each.changes
        }
        files = tuple(
            replace(
                entry,
                path=path,
                layer=entry.layer if number in whole and path not in copies else None,
            )
            for path, (number, entry) in seen.items()
        )
        return Unpacked(files, _empty(merged.folders, seen))

    def _bring(self, member: Member, entry: Entry, path: str) -> None:
        """Let a file of a layer be at its final path, unless it is there."""
        if self._standing and self._standing.right(path, entry.digest):
            return
        staging, area = self._staging(member), _area(member)
        there = self._standing and self._standing.right(entry.path, entry.digest)
        if self._standing and there:
            _duplicate(self._standing.root, entry.path, replace(entry, path=path), staging)
        elif path != entry.path:
            _duplicate(staging.root, area + entry.path, replace(entry, path=path), staging)
        else:
            staging.place(area + entry.path, path)

    def _is_wanted(self, member: Member, item: Item) -> bool:
        return member.single or self._selected(f"{item.path}/" if item.is_folder else item.path)


class _Hashed:
    """Content on its way; its digest is known when all of it has gone by."""

    def __init__(self, content: Iterator[bytes]) -> None:
        self._content = content
        self._hasher = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._content:
            self._hasher.update(piece)
            yield piece

    @property
    def digest(self) -> Digest:
        return Digest("sha256", self._hasher.hexdigest())


@dataclass(frozen=True, slots=True)
class _OpenFile:
    """A blob that is a file of ours, to be read once."""

    file: BinaryIO

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        self.file.seek(offset)
        yield self.file


def _fill(entry: Entry, blob: Blob, staging: Staging) -> None:
    executable = entry.mode == 0o755
    if isinstance(blob, _OpenFile) or local_path(blob):
        with staging.new(entry.path, executable=executable) as file, writing(entry.path):
            duplicate.fill(file, blob, entry.desc)
        return
    with blob.open() as stream:
        staging.write(entry.path, chunks(stream, entry.desc), executable=executable)


def _area(member: Member) -> str:
    """How paths begin in the staging folder of what may be covered by another layer."""
    return "" if member.level is None else f"{LAYERS}/{member.origin.hex}/"


def _linked(item: Item, found: Mapping[str, Entry], staging: Staging, area: str) -> Entry:
    """Another name for a file of the same archive, as a file of its own."""
    target = found.get(item.link or "")
    if target is None:
        raise InvalidContentError(
            f"{item.path!r:.150} is a link to {item.link!r:.150}, which is not selected"
        )
    entry = replace(target, path=item.path)
    _duplicate(staging.root, area + target.path, replace(entry, path=area + item.path), staging)
    return entry


def _duplicate(root: Root, path: str, entry: Entry, staging: Staging) -> None:
    """Let a file have the content of another one, which has the same digest."""
    staging.require(entry.size, entry.path)
    with reading(path):
        file = root.open(path)
    if file is None:
        raise InvalidContentError(f"{path} was removed meanwhile")
    with file:
        _fill(entry, _OpenFile(file), staging)


def _right(root: Root, entry: Entry, area: str = "") -> bool:
    with reading(entry.path):
        file = root.open(area + entry.path)
    if file is None:
        return False
    try:
        with file, reading(entry.path):
            check(_OpenFile(file), entry.desc)
    except IntegrityError:
        return False
    return True


def _empty(folders: Iterable[str], files: Iterable[str]) -> tuple[str, ...]:
    """The folders that nothing else is in."""
    filled = set()
    for path in (*folders, *files):
        while path := path.rpartition("/")[0]:
            filled.add(path)
    return tuple(sorted(set(folders) - filled))
