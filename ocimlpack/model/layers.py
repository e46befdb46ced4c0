"""What becomes a layer: a file as it is, or, where there are very many, an archive of small ones.

A layer takes some 420 bytes of the manifest, which may have 4 MiB. So from so many files on, small
ones are bundled. Where one archive ends and the next begins depends on the files near that place
only: a file that comes, goes or changes makes one archive another one, and all others stay what
they are, there and in the registry.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ocimlpack.model.bundle import BundleBlob, Part
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.stores.base import Blob

MAX_FILES: Final = 1024
"""Files up to which each is a layer of its own. Each costs a push two or three requests, and every
pull one, whoever pulls."""

SMALL: Final = 1024 * 1024
"""Bytes below which a file is bundled."""

MAX_SINGLE: Final = 256
"""Files of a kind that stay layers of their own all the same, once in the model's folder itself and
once below it: so configuration, tokenizer and card do, which programs that know no archives need.
"""

MAX_PARTS: Final = 4096
MAX_BYTES: Final = 64 * 1024 * 1024
"""What is at most in one archive."""

_MEAN_BYTES: Final = 2**24
_MEAN_PARTS: Final = 1024

_EPOCH: Final = "1970-01-01T00:00:00Z"
REGULAR_FILE: Final = 0
FOLDER: Final = 5


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file that will be a layer, or a part of one.

    Attributes:
        path: where it is in the model: relative, with `/`, in Unicode's composed form.
        kind: what it is for.
        size: bytes.
        mode: the permission bits that it will be unpacked with.
        blob: its content; opening it fails once the file is no longer what it was.
        digest: its content's digest, if that is known beforehand.
    """

    path: str
    kind: mediatypes.Kind
    size: int
    mode: int
    blob: Blob
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """What tells it from the other layers before its digest is known."""
        return self.path

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        """Itself."""
        return (self,)

    @property
    def taken(self) -> Blob | None:
        """Itself, if it lies in a store."""
        return self.blob if self.digest else None

    def layer(self, digest: Digest) -> Descriptor:
        """The layer that this file is, once its digest is known."""
        annotations = {
            mediatypes.FILEPATH: self.path,
            mediatypes.FILE_METADATA: file_metadata(self.path, self.mode, self.size, REGULAR_FILE),
            mediatypes.TITLE: self.path,
        }
        return Descriptor(mediatypes.model_layer(self.kind), digest, self.size, annotations)


@dataclass(frozen=True, slots=True)
class PlannedBundle:
    """Files of one kind that will be a layer together.

    Attributes:
        kind: what they are for.
        files: in the order of their paths; more than one.
        blob: the archive.
    """

    kind: mediatypes.Kind
    files: tuple[PlannedFile, ...]
    blob: BundleBlob

    @classmethod
    def of(cls, files: Sequence[PlannedFile]) -> PlannedBundle:
        """A bundle of these files."""
        parts = [Part(file.path, file.mode, file.size, file.blob, file.digest) for file in files]
        return cls(files[0].kind, tuple(files), BundleBlob(parts))

    @property
    def name(self) -> str:
        """What tells it from the other layers; no path has a colon."""
        return f"{self.kind}: {self.files[0].path} and {len(self.files) - 1} more"

    @property
    def digest(self) -> None:
        """It is never known beforehand."""

    @property
    def taken(self) -> None:
        """It lies nowhere yet."""

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return self.blob.size

    @property
    def folder(self) -> str:
        """The folder that all files are in; `.` where that is the model's own."""
        return folder_of(self.files)

    def layer(self, digest: Digest) -> Descriptor:
        """The layer that this archive is, once its digest is known."""
        # Clients that know nothing of models give the archive this name, so no two have one.
        title = f"{self.kind}-{digest.hex[:12]}.tar"
        # Some readers check that a path is one below the model's folder; unpacking needs none.
        path = title if self.folder == "." else self.folder
        annotations = {
            mediatypes.FILEPATH: path,
            mediatypes.FILE_METADATA: file_metadata(path, 0o755, self.size, FOLDER),
            mediatypes.TITLE: title,
        }
        return Descriptor(mediatypes.model_layer(self.kind, "tar"), digest, self.size, annotations)


class PlannedLayer(Protocol):
    """What will be a layer once its digest is known."""

    @property
    def name(self) -> str:
        """What tells it from the other layers before that."""
        ...

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        """The files in it."""
        ...

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    @property
    def blob(self) -> Blob:
        """Its content."""
        ...

    @property
    def taken(self) -> Blob | None:
        """The same, if all of it lies somewhere already."""
        ...

    @property
    def digest(self) -> Digest | None:
        """Its digest, if that is known beforehand."""
        ...

    def layer(self, digest: Digest) -> Descriptor:
        """The layer, with that digest."""
        ...


def folder_of(files: Sequence[PlannedFile]) -> str:
    """The deepest folder that all files are in, "." where that is the model's own.

    Args:
        files: sorted by their paths.
    """
    # What the first and the last have in common, all have.
    ends = (files[0].path, files[-1].path)
    return posixpath.commonpath([posixpath.dirname(path) for path in ends]) or "."


def arrange(files: Sequence[PlannedFile]) -> tuple[PlannedLayer, ...]:
    """What becomes of files.

    Args:
        files: in the order of the layers that they would be.

    Returns:
        The layers, each where the first of its files was.
    """
    if len(files) <= MAX_FILES:
        return tuple(files)
    groups: dict[tuple[str, bool], list[PlannedFile]] = {}
    for file in files:
        if file.kind != "weight" and file.size < SMALL:
            groups.setdefault((file.kind, "/" in file.path), []).append(file)
    bundled: dict[str, PlannedBundle] = {}
    for group in groups.values():
        if len(group) > MAX_SINGLE:
            for run in _cut(group):
                if len(run) > 1:
                    bundled |= dict.fromkeys((file.path for file in run), PlannedBundle.of(run))
    layers: list[PlannedLayer] = []
    for file in files:
        bundle = bundled.get(file.path)
        if bundle is None:
            layers.append(file)
        elif bundle.files[0] is file:
            layers.append(bundle)
    return tuple(layers)


def _cut(files: Iterable[PlannedFile]) -> Iterator[list[PlannedFile]]:
    """Cut a sorted list of files into runs.

    A run begins where a number that the file's path gives is small enough; the larger the file,
    the larger it may be. That makes runs of some 1,024 files, or 16 MiB if that is less. Counting
    instead would move every later end when one file comes or goes.
    """
    run: list[PlannedFile] = []
    room = MAX_BYTES
    for file in files:
        number = int.from_bytes(hashlib.sha256(file.path.encode()).digest()[:3])  # below 2**24
        begins = number < max(file.size, _MEAN_BYTES // _MEAN_PARTS)
        if run and (begins or len(run) == MAX_PARTS or file.size > room):
            yield run
            run, room = [], MAX_BYTES
        run.append(file)
        room -= file.size
    if run:
        yield run


def file_metadata(path: str, mode: int, size: int, typeflag: int) -> str:
    """What a layer's annotation says of a file or folder, as JSON.

    Args:
        path: its path.
        mode: its permission bits.
        size: its bytes.
        typeflag: `REGULAR_FILE` or `FOLDER`.
    """
    about = {
        "name": path.rpartition("/")[2],
        "mode": mode,
        "uid": 0,
        "gid": 0,
        "size": size,
        "mtime": _EPOCH,
        "typeflag": typeflag,
    }
    return encode(about).decode()
