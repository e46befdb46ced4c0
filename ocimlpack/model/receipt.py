"""What was pulled into a folder, written down there, so that the folder can be checked later.

The receipt holds the manifest's own bytes: they have the digest that was pulled, name the digest of
each file that is a layer, and so prove, without a registry, which files belong there. Files from
archives are not named by any manifest; for those the receipt's word has to do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from ocimlpack.errors import InputError, IntegrityError, InvalidContentError, InvalidDigestError
from ocimlpack.model import readers
from ocimlpack.model.beneath import Root, reading
from ocimlpack.model.names import OWN_FOLDER, check_path, collisions
from ocimlpack.progress import Began, Ended, Moved, Planned, Reporter, ignore
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode, encode
from ocimlpack.spec.manifest import Manifest, parse
from ocimlpack.stores.base import CHUNK
from ocimlpack.transfer import pool

PATH: Final = f"{OWN_FOLDER}/receipt.json"
"""Where the receipt lies in a pulled folder."""

INCOMING: Final = f"{OWN_FOLDER}/incoming.json"
"""The next receipt, while the folder is changed from what the old one says to what this says."""

_ANY_TYPE: Final = "application/octet-stream"
_VERSION: Final = 1
_MAX_SIZE: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a pulled folder.

    Attributes:
        path: where it is in the folder.
        size: its bytes.
        digest: what it has to be.
        mode: its permissions as they were asked for, 0644 or 0755; the umask may have taken some.
        layer: the archive that it came from, if all of that archive's files are in the folder;
            None for a file that is a layer itself.
    """

    path: str
    size: int
    digest: Digest
    mode: int = 0o644
    layer: Digest | None = None

    @property
    def desc(self) -> Descriptor:
        """What the file's bytes have to be."""
        return Descriptor(_ANY_TYPE, self.digest, self.size)

    @classmethod
    def from_json(cls, value: object) -> Entry:
        """Check what was read.

        Raises:
            InvalidContentError: a field is missing or wrong, or the name is unsafe.
            InvalidDigestError: not a digest.
        """
        if not isinstance(value, dict):
            raise InvalidContentError("a file in it is not an object")
        path, size, mode, layer = (value.get(key) for key in ("path", "size", "mode", "layer"))
        if not isinstance(path, str) or not isinstance(size, int) or size < 0:
            raise InvalidContentError("a file in it has no valid path or size")
        return cls(
            check_path(path),
            size,
            Digest.parse(str(value.get("digest"))),
            0o755 if mode == 0o755 else 0o644,
            Digest.parse(str(layer)) if layer is not None else None,
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        value = {
            "path": self.path,
            "size": self.size,
            "digest": str(self.digest),
            "mode": self.mode,
        }
        return value | ({"layer": str(self.layer)} if self.layer else {})


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was pulled.

    Attributes:
        reference: from where, as the user wrote it.
        manifest: the artifact.
        files: those in the folder, sorted.
        empty: archives that were read and of which nothing is in the folder, as they hold nothing.
        complete: whether these are all files of an image, of whose layers one covers the other.
    """

    reference: str
    manifest: Manifest
    files: tuple[Entry, ...]
    empty: tuple[Digest, ...] = ()
    complete: bool = False

    def encode(self) -> bytes:
        """The receipt's bytes: the same for the same content, whenever and wherever written."""
        value = {
            "version": _VERSION,
            "reference": self.reference,
            "digest": str(self.manifest.descriptor.digest),
            "mediaType": self.manifest.descriptor.media_type,
            "manifest": base64.b64encode(self.manifest.raw).decode(),
            "files": [entry.to_json() for entry in self.files],
        }
        if self.empty:
            value["empty"] = list(map(str, self.empty))
        if self.complete:
            value["complete"] = True
        return encode(value)


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """What verifying a folder found.

    Attributes:
        digest: the manifest's.
        reference: where it was pulled from.
        checked: how many files were read through.
        size: their bytes.
        extra: files in the folder that the receipt doesn't list, sorted.
    """

    digest: Digest
    reference: str
    checked: int
    size: int
    extra: tuple[str, ...]


def read(root: Root, path: str = PATH) -> Receipt | None:
    """The folder's receipt; None if it has none.

    Raises:
        InvalidContentError: it can't be read, contradicts itself, or lists unsafe names.
    """
    with reading(path):
        file = root.open(path)
        if file is None:
            return None
        with file:
            parts: list[bytes] = []
            while (chunk := file.read(CHUNK)) and len(parts) * CHUNK <= _MAX_SIZE:
                parts.append(chunk)
    try:
        return _parse(decode(b"".join(parts), "it"))
    except (InvalidContentError, InvalidDigestError) as error:
        raise InvalidContentError(f"the receipt {path} can't be used: {error.message}") from error


def holds(folder: Path, digest: Digest) -> bool:
    """Whether what has this digest was pulled into a folder, itself or as what an index lists.

    No file is read but the receipt.

    Raises:
        InputError: the folder can't be read.
        InvalidContentError: the receipt can't be used.
    """
    if not folder.is_dir():
        return False
    with reading(folder):
        root = Root.at(folder)
    with root:
        found = read(root)
        if found is None or root.look(INCOMING) is not None:
            return False
        of_index = found.reference.endswith(f"@{digest}")
        return found.manifest.descriptor.digest == digest or of_index


def covers(there: Receipt, wanted: Receipt) -> bool:
    """Whether a receipt is of the same artifact and lists all the files that another lists."""
    if there.manifest.descriptor.digest != wanted.manifest.descriptor.digest:
        return False
    files = {(entry.path, entry.digest) for entry in there.files}
    return all((entry.path, entry.digest) in files for entry in wanted.files)


def verify(folder: Path, *, jobs: int = 4, report: Reporter = ignore) -> FolderCheck:
    """Read every file of a pulled folder and hold it against the receipt.

    Args:
        folder: the folder.
        jobs: how many files are read at a time.
        report: gets the progress events.

    Raises:
        InputError: no such folder, or it has no receipt.
        IntegrityError: files are missing or changed; it names the first few. Or the receipt
            contradicts the manifest that it holds.
    """
    with reading(folder):
        root = Root.at(folder)
    with root:
        receipt = read(root)
        if receipt is None:
            raise InputError(
                f"{folder} has no receipt, so it isn't known what should be in it",
                hint="pull the model into a folder first",
            )
        digest = receipt.manifest.descriptor.digest
        if root.look(INCOMING) is not None:
            raise IntegrityError(
                f"an update of {folder} was interrupted",
                hint="pull again: what is right is kept",
                digest=str(digest),
            )
        report(Planned("verifying", len(receipt.files), sum(f.size for f in receipt.files)))
        tasks = [partial(_check, root, entry, report) for entry in receipt.files]
        wrong = [problem for problem in pool.run(tasks, jobs) if problem]
        if wrong:
            raise _damaged(folder, wrong, len(receipt.files), digest)
        listed = {entry.path for entry in receipt.files}
        with reading(folder):
            extra = [
                path
                for path, is_folder in root.walk()
                if not is_folder and path not in listed and path.split("/")[0] != OWN_FOLDER
            ]
    size = sum(entry.size for entry in receipt.files)
    return FolderCheck(digest, receipt.reference, len(receipt.files), size, tuple(sorted(extra)))


def hash_file(
    file: BinaryIO, algorithm: str, name: str, report: Reporter, stop: pool.Stop
) -> Digest:
    """The digest of an open file's content.

    Raises:
        InputError: it can't be read.
    """
    hasher, seen = hashlib.new(algorithm), 0
    with reading(name):
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
            seen += len(chunk)
            report(Moved(name, seen))
            stop.check()
    return Digest(algorithm, hasher.hexdigest())


def _check(root: Root, entry: Entry, report: Reporter, stop: pool.Stop) -> str | None:
    """What is wrong with a file, for a person; None if nothing is."""
    with reading(entry.path):
        file = root.open(entry.path)
        if file is None:
            return f"{entry.path} is {'missing' if root.look(entry.path) is None else 'no file'}"
    report(Began(entry.path, entry.size))
    with file:
        found = hash_file(file, entry.digest.algorithm, entry.path, report, stop)
    report(Ended(entry.path, entry.size, "hashed"))
    return None if found == entry.digest else f"{entry.path} is changed"


def _damaged(folder: Path, wrong: list[str], total: int, digest: Digest) -> IntegrityError:
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return IntegrityError(
        f"{len(wrong)} of {total} files in {folder} are not what was pulled: "
        f"{', '.join(wrong[:5])}{more}",
        hint="pull again to get back what is missing, with --force also what is changed",
        digest=str(digest),
    )


def _parse(value: Any) -> Receipt:
    if not isinstance(value, dict):
        raise InvalidContentError("it is not a JSON object")
    if value.get("version") != _VERSION:
        raise InvalidContentError("it is of a version that this program doesn't know")
    reference, media_type, files = (value.get(key) for key in ("reference", "mediaType", "files"))
    if not isinstance(reference, str) or not isinstance(files, list):
        raise InvalidContentError("a field is missing or of the wrong type")
    try:
        raw = base64.b64decode(str(value.get("manifest")), validate=True)
    except binascii.Error as error:
        raise InvalidContentError("its manifest is not base64") from error
    manifest = parse(raw, media_type if isinstance(media_type, str) else None)
    if not isinstance(manifest, Manifest):
        raise InvalidContentError("its manifest is an index")
    if str(manifest.descriptor.digest) != value.get("digest"):
        raise InvalidContentError("its manifest does not have its digest")
    entries = tuple(map(Entry.from_json, files))
    _check_against(manifest, entries)
    empty = value.get("empty", [])
    if not isinstance(empty, list):
        raise InvalidContentError("a field is of the wrong type")
    archives = tuple(Digest.parse(str(each)) for each in empty)
    return Receipt(reference, manifest, entries, archives, value.get("complete") is True)


def _check_against(manifest: Manifest, entries: tuple[Entry, ...]) -> None:
    """What a layer holds as it is, the manifest says; a receipt can't say something else."""
    if collisions(entry.path for entry in entries):
        raise InvalidContentError("it lists a file twice")
    layers = {each.path: each.desc for each in readers.named(manifest) if each.encoding == "raw"}
    for entry in entries:
        layer = layers.get(entry.path)
        if layer and (entry.digest, entry.size) != (layer.digest, layer.size):
            raise InvalidContentError(f"it says something else of {entry.path} than its manifest")
