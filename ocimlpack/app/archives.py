"""Several artifacts as one file, with all that refers to them: for networks that are not connected.

The file is an image layout in a tar archive. Its index has for each artifact the whole name that it
had, as Docker's and containerd's archives do, and its tag where other programs look for one.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Unpack

from ocimlpack.app import moving, places
from ocimlpack.app.options import Connection, StrPath
from ocimlpack.app.transfers import Transferred
from ocimlpack.errors import (
    ConflictError,
    InputError,
    InvalidContentError,
    InvalidReferenceError,
    OcimlpackError,
    UnsupportedError,
    blaming,
)
from ocimlpack.progress import Warned, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.mediatypes import IMAGE_NAME, REF_NAME
from ocimlpack.spec.reference import DEFAULT_TAG, Kind, Reference, check_tag
from ocimlpack.stores import files
from ocimlpack.stores.archive import ArchiveReader
from ocimlpack.stores.base import CHUNK, ReadableStore
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.referrers import referring_to
from ocimlpack.stores.tar_sink import TarSink
from ocimlpack.transfer import copy as transfer

_NAMED: Final = frozenset({Kind.REGISTRY, Kind.LOCAL, Kind.BUCKET, Kind.S3})
"""Places whose artifacts have names; in a layout or an archive there are only tags."""

_STREAM: Final = "the archive that was piped in"


@dataclass(frozen=True, slots=True)
class SavedArtifact:
    """One artifact in a file.

    Attributes:
        name: its name there: `[HOST/]REPOSITORY[:TAG][@DIGEST]`, or only the tag.
        digest: the manifest's digest.
        referrers: how many manifests were saved that refer to it.
    """

    name: str
    digest: str
    referrers: int


@dataclass(frozen=True, slots=True)
class Saved:
    """What save did.

    Attributes:
        path: the file; `-` for a stream.
        size: bytes of content in it, manifests aside, each piece counted once.
        artifacts: what is in it, by their names.
    """

    path: str
    size: int
    artifacts: tuple[SavedArtifact, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What load did.

    Attributes:
        path: the file; `-` for a stream.
        artifacts: what became of each artifact in it.
        left: digests of artifacts that have no name there, and were left out.
    """

    path: str
    artifacts: tuple[Transferred, ...]
    left: tuple[str, ...] = ()


def save(
    references: Sequence[str],
    target: StrPath | BinaryIO,
    *,
    referrers: bool = True,
    **options: Unpack[Connection],
) -> Saved:
    """Write artifacts, with signatures and all else that refers to them, into one tar archive.

    The same artifacts give the same bytes. They are verified on their way, and nothing of them is
    laid down anywhere else.

    Args:
        references: what to save; `latest` where one has neither tag nor digest.
        target: the file, which is replaced when all went well; or a stream, which after an error
            has the beginning of an archive and no end.
        referrers: save what refers to them as well.
        **options: see `Connection`.

    Raises:
        InputError: no references, or two artifacts would have one name.
        IntegrityError: what was read is not what its digest says.
    """
    if not references:
        raise InputError("there is nothing to save")
    refs = [places.locate(text, options) for text in references]
    with ExitStack() as stack:
        if isinstance(target, (str, os.PathLike)):
            path = Path(target).expanduser()
            stream: BinaryIO = stack.enter_context(_written(path))
        else:
            path, stream = Path("-"), target
        return _Saving(TarSink(stream), referrers, options).run(refs, str(path))


def load(
    source: StrPath | BinaryIO,
    destination: str | None = None,
    *,
    dry_run: bool = False,
    **options: Unpack[Connection],
) -> Loaded:
    """Bring what was saved into the local store, or to a registry or another place.

    Args:
        source: the file; or a stream, which is laid down in the folder for temporary files first.
        destination: what comes before the artifacts' names, less the registry that they had; the
            local store without any.
        dry_run: only say what would be done.
        **options: see `Connection`.

    Raises:
        NotFoundError: there is no such file.
        InvalidContentError: it is no archive of an image layout, or not an honest one.
        IntegrityError: content in it is not what its digest says; of that artifact no tag was set.
        ConflictError: two artifacts would have one name.
    """
    if destination is not None:
        _check_prefix(destination, options)
    with _file_of(source) as path:
        name = str(source) if isinstance(source, (str, os.PathLike)) else "-"
        reader = ArchiveReader(path, _STREAM if name == "-" else "")
        found, left = _named(reader)
        report = options.get("report", ignore)
        for digest in left:
            hint = f"; `copy oci-archive:{name}@{digest} DEST` brings it" if name != "-" else ""
            report(Warned(f"{digest} has no name in the archive, and is left out{hint}"))
        if not found:
            raise InputError(f"{reader.place} holds nothing that has a name")
        goals = _goals(found, destination, options)
        done = []
        for ref, root in goals.items():

            def send(place: Reference, how: Connection, root: Descriptor = root) -> Transferred:
                return moving.send(
                    reader, root, place, (), dry_run, how, "loading", with_referrers=True
                )

            done.append(
                send(ref, options) if dry_run else moving.recorded("load", ref, options, send)
            )
        return Loaded(name, tuple(done), left)


@dataclass(frozen=True, slots=True)
class _Found:
    """An artifact that is to be saved."""

    ref: Reference
    root: Descriptor
    referrers: tuple[Descriptor, ...]

    @property
    def name(self) -> str | None:
        """The whole name that it has."""
        if self.ref.kind not in _NAMED:
            return None
        host = f"{self.ref.host}/" if self.ref.kind is Kind.REGISTRY else ""
        tag = f":{self.ref.tag}" if self.ref.tag else f"@{self.root.digest}"
        return f"{host}{self.ref.repository}{tag}"

    @property
    def key(self) -> str:
        """What it is known by."""
        return self.name or self.ref.tag or str(self.root.digest)


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which appears when the block ends well; pipes and devices stay."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file")
    if path.is_file() or not path.exists():
        # Where a link leads, as /dev/stdout is one and may lead to a file.
        path = path.resolve() if path.is_file() else path
        with files.replacing(path, path.parent) as (stream, _):
            yield stream
        return
    try:
        with path.open("wb") as stream:
            yield stream
    except OSError as error:
        raise files.refused(error, path) from error


class _Saving:
    def __init__(self, sink: TarSink, referrers: bool, options: Connection) -> None:
        self._sink = sink
        self._referrers = referrers
        self._options = options
        self._size = 0

    def run(self, refs: Sequence[Reference], path: str) -> Saved:
        # In the order of their names, so that it makes no difference how they were given.
        found: dict[str, _Found] = {}
        for ref in sorted(refs, key=str):
            each = self._bring(_tagged(ref))
            if found.setdefault(each.key, each).root.digest != each.root.digest:
                raise InputError(
                    f"two different artifacts would be called {each.key} in the archive",
                    hint="save them one by one, or give them different tags",
                )
        self._list(found)
        self._sink.finish()
        artifacts = (
            SavedArtifact(key, str(each.root.digest), len(each.referrers))
            for key, each in sorted(found.items())
        )
        return Saved(path, self._size, tuple(artifacts))

    def _bring(self, ref: Reference) -> _Found:
        with places.found(ref, self._options) as (store, root):
            self._copy(store, root, "saving")
            referrers: list[Descriptor] = []
            if self._referrers:
                try:
                    with blaming("source"):
                        referrers = sorted(
                            referring_to(store, root), key=lambda each: str(each.digest)
                        )
                except UnsupportedError as error:
                    self._warn(f"{ref} is saved without what refers to it: {error.message}")
            for each in referrers:
                self._copy(store, each, "saving referrers")
            if ref.tag is None and ref.digest is None:
                # A layout or an archive with one artifact, which may have a name there.
                ref = replace(ref, tag=next(iter(places.tags_of(store, root, 1)), None))
            return _Found(ref, root, tuple(referrers))

    def _copy(self, store: ReadableStore, root: Descriptor, action: str) -> None:
        done = transfer.copy(
            store,
            root,
            self._sink,
            jobs=1,  # an archive is written from front to back
            report=self._options.get("report", ignore),
            action=action,
        )
        self._size += done.moved

    def _list(self, found: Mapping[str, _Found]) -> None:
        tags = Counter(each.ref.tag for each in found.values())
        for key, each in sorted(found.items()):
            annotations = {}
            if each.name:
                annotations[IMAGE_NAME] = each.name
            if each.ref.tag:
                # Two of one tag would be one for whoever looks for that alone.
                annotations[REF_NAME] = each.ref.tag if tags[each.ref.tag] == 1 else key
            self._sink.enlist(each.root, annotations)
        for each in found.values():
            for referrer in each.referrers:
                self._sink.enlist(referrer)

    def _warn(self, message: str) -> None:
        self._options.get("report", ignore)(Warned(message))


def _tagged(ref: Reference) -> Reference:
    """With the tag that is meant where none is written; places on disk may hold one artifact."""
    if ref.tag or ref.digest or ref.kind not in _NAMED:
        return ref
    return replace(ref, tag=DEFAULT_TAG)


@contextmanager
def _file_of(source: StrPath | BinaryIO) -> Iterator[Path]:
    """A file that can be read in any order."""
    if isinstance(source, (str, os.PathLike)):
        yield Path(source).expanduser()
        return
    folder = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        try:
            spool = stack.enter_context(tempfile.NamedTemporaryFile(prefix=files.TEMPORARY))
            for piece in iter(partial(_read, source), b""):
                spool.write(piece)
            spool.flush()
        except OSError as error:
            raise files.refused(error, folder) from error
        yield Path(spool.name)


def _read(source: BinaryIO) -> bytes:
    try:
        return source.read(CHUNK)
    except OSError as error:
        raise InputError(f"can't read {_STREAM}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class _Named:
    """An artifact in an archive.

    Attributes:
        repository: its repository, without the registry; None where only a tag is known.
        tag: its tag; None where its name has a digest.
        root: its manifest.
    """

    repository: str | None
    tag: str | None
    root: Descriptor


def _named(reader: ArchiveReader) -> tuple[list[_Named], tuple[str, ...]]:
    """The artifacts that have a name, and the digests of those that have none."""
    found: dict[tuple[str | None, str | None, str], _Named] = {}
    nameless = []
    for entry in reader.entries():
        root = entry.desc.plain
        whole = entry.desc.annotations.get(IMAGE_NAME) or entry.name
        if not whole:
            nameless.append(root)
            continue
        each = _parse(whole, root)
        found.setdefault((each.repository, each.tag, str(root.digest)), each)
    known = {each.root.digest for each in found.values()}
    left = [
        str(root.digest)
        for root in nameless
        if root.digest not in known and read_manifest(reader, root).subject is None
    ]
    return list(found.values()), tuple(left)


def _parse(name: str, root: Descriptor) -> _Named:
    """What an archive calls an artifact. It is a stranger's text."""
    try:
        if "/" not in name and ":" not in name and "@" not in name:
            return _Named(None, check_tag(name), root)
        ref = Reference.parse(name)
    except InvalidReferenceError as error:
        raise InvalidContentError(
            f"the archive calls {root.digest} {name!r:.120}, which is no name"
        ) from error
    if ref.kind not in {Kind.REGISTRY, Kind.LOCAL} or (ref.digest and ref.digest != root.digest):
        raise InvalidContentError(
            f"the archive calls {root.digest} {name!r:.120}, which is no name"
        )
    tag = ref.tag or (None if ref.digest else DEFAULT_TAG)
    return _Named(ref.repository, tag, root)


def _check_prefix(destination: str, options: Connection) -> None:
    """See that names can be put behind a destination, before anything is read."""
    ref = places.locate(f"{destination.rstrip('/')}/x", options)
    if ref.kind in {Kind.FOLDER, Kind.ARCHIVE} or destination.startswith("oci-archive:"):
        raise InputError(
            f"{destination} is no place for several artifacts",
            hint="a registry, a bucket, oci:DIR, or nothing for the local store",
        )
    if ref.kind is Kind.LAYOUT and places.locate(destination, options).tag:
        raise InputError(
            f"{destination} names one artifact, and each gets a layout below a folder",
            hint="leave the tag out",
        )


def _goals(
    found: Sequence[_Named], destination: str | None, options: Connection
) -> dict[Reference, Descriptor]:
    """Where each artifact goes."""
    goals: dict[Reference, Descriptor] = {}
    for each in found:
        if each.repository is None and destination is None:
            raise InputError(
                f"the archive has only a tag for {each.root.digest}: {each.tag}",
                hint="say what it is to be called: ocimlpack load FILE NAME",
            )
        prefix = destination.rstrip("/") if destination else ""
        text = "/".join(part for part in (prefix, each.repository) if part)
        text += f":{each.tag}" if each.tag else f"@{each.root.digest}"
        try:
            ref = places.locate(text, options)
        except OcimlpackError as error:
            error.hint = error.hint or f"it is what {destination or 'the local store'} would get"
            raise
        if goals.setdefault(ref, each.root).digest != each.root.digest:
            raise ConflictError(
                f"two different artifacts in the archive would both be {ref}",
                hint="load them to places of their own, or `copy` them one by one",
            )
    return dict(sorted(goals.items(), key=lambda each: _depth(each[0])))


def _depth(ref: Reference) -> int:
    """How deep a layout's folder is: it becomes one while it is empty, those within it later."""
    return len(Path(ref.repository).parts) if ref.kind is Kind.LAYOUT else 0
