"""An OCI image layout: a folder of blobs and an index. The embedded default; no server needed.

https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md

Blobs are written to `ingest/`, verified, synced and then renamed to `blobs/ALGORITHM/HEX`, so that
none is ever there in part. `index.json` is replaced as a whole, under a lock between processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from ocimlpack.errors import (
    ConflictError,
    InputError,
    InvalidContentError,
    InvalidDigestError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode, encode
from ocimlpack.spec.manifest import Index
from ocimlpack.spec.mediatypes import OCI_INDEX, REF_NAME, is_manifest
from ocimlpack.spec.reference import check_tag
from ocimlpack.stores import files
from ocimlpack.stores.base import Blob, FileBlob
from ocimlpack.stores.graph import check_children, reachable, read_manifest

_VERSION: Final = "1.0.0"
_MAX_INDEX: Final = 64 * 1024 * 1024
_LOCK_SECONDS: Final = 60.0
_STALE_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index: a manifest and, where it has one, its name.

    Attributes:
        name: the value of `org.opencontainers.image.ref.name`; empty where there is none.
        desc: the manifest.
    """

    name: str
    desc: Descriptor


class LayoutStore:
    """A `Store` in a folder.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, *, name: str = "", create: bool = False) -> None:
        """Open a layout.

        Args:
            path: the folder.
            name: a model's name, where one layout holds several: its tags are kept as `NAME:TAG`.
            create: make the folder a layout if it is absent or empty.

        Raises:
            NotFoundError: there is no layout there.
            ConflictError: to be created, but the folder holds something else.
            UnsupportedError: a layout of another version.
        """
        self.path = path
        self._prefix = f"{name}:" if name else ""
        if not (path / "oci-layout").is_file():
            if not create:
                raise NotFoundError(f"no image layout at {path}")
            _create(path)
        _check_version(path)

    def resolve(self, name: str) -> Descriptor:
        """The descriptor that a tag or a digest stands for."""
        entries = self.entries()
        if ":" not in name:
            for entry in entries:
                if entry.name == self._prefix + name:
                    return entry.desc.plain
            raise NotFoundError(f"no tag {name} in {self.path}{_known(entries, self._prefix)}")
        digest = Digest.parse(name)
        for entry in entries:
            if entry.desc.digest == digest:
                return entry.desc.plain
        return self._resolve_blob(digest)

    def _resolve_blob(self, digest: Digest) -> Descriptor:
        """A manifest that only another manifest names, or that lost its tag."""
        path = self._blob_path(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise NotFoundError(f"no {digest} in {self.path}", digest=str(digest)) from None
        untyped = Descriptor("application/octet-stream", digest, size)
        return read_manifest(self, untyped).descriptor

    def exists(self, desc: Descriptor) -> bool:
        """Whether a blob of that digest and size is there."""
        try:
            return self._blob_path(desc.digest).stat().st_size == desc.size
        except FileNotFoundError:
            return False

    def fetch(self, desc: Descriptor) -> Blob:
        """The content."""
        path = self._blob_path(desc.digest)
        if not path.is_file():
            raise NotFoundError(f"no {desc.digest} in {self.path}", digest=str(desc.digest))
        return FileBlob(path)

    def read(self, desc: Descriptor, offset: int, length: int) -> bytes:
        """A part of the content."""
        with self.fetch(desc).open(offset) as stream:
            return files.read_exactly(stream, length)

    def push(self, desc: Descriptor, blob: Blob) -> None:
        """Take content in."""
        if not is_manifest(desc.media_type):
            if not self.exists(desc):
                files.write_verified(blob, desc, self._blob_path(desc.digest), self._ingest)
            return
        with self._locked():
            # Under the lock, so that no clean-up removes a child between this look and the entry.
            if not self.exists(desc):
                files.write_verified(blob, desc, self._blob_path(desc.digest), self._ingest)
            node = read_manifest(self, desc)
            check_children(self, node)
            index = self._read_index()
            items = index["manifests"]
            if isinstance(node, Index):
                # What an index lists needs no entry of its own, and would outlive it.
                listed = {str(child.digest) for child in node.manifests}
                items[:] = [each for each in items if _name(each) or each.get("digest") not in listed]
            if all(each.get("digest") != str(desc.digest) for each in items):
                items.append(_entry(node))
            self._write_index(index)

    def tag(self, desc: Descriptor, name: str) -> None:
        """Let the tag stand for this manifest."""
        full = self._prefix + check_tag(name)
        with self._locked():
            if not self.exists(desc):
                raise NotFoundError(f"no {desc.digest} in {self.path}", digest=str(desc.digest))
            entry = _entry(read_manifest(self, desc), full)
            index = self._read_index()
            index["manifests"] = [
                each
                for each in index["manifests"]
                if _name(each) != full and (_name(each) or each.get("digest") != str(desc.digest))
            ]
            index["manifests"].append(entry)
            self._write_index(index)

    def tags(self) -> list[str]:
        """Every tag, sorted; of this store's model where it was opened for one."""
        names = (entry.name for entry in self.entries())
        return sorted(
            name.removeprefix(self._prefix)
            for name in names
            if name and name.startswith(self._prefix)
        )

    def untag(self, name: str) -> None:
        """Take the tag away and leave the content, which `prune` may then remove."""
        full = self._prefix + name
        with self._locked():
            index = self._read_index()
            kept = [each for each in index["manifests"] if _name(each) != full]
            if len(kept) == len(index["manifests"]):
                raise NotFoundError(f"no tag {name} in {self.path}")
            index["manifests"] = kept
            self._write_index(index)

    def delete(self, desc: Descriptor) -> int:
        """Remove a manifest, its tags, and the blobs that nothing else needs.

        In a layout that holds several models, the tags of other models stay, and with them the
        content.
        """
        with self._locked():
            before = reachable(self, [self.resolve(str(desc.digest))])
            index = self._read_index()
            index["manifests"] = [
                each
                for each in index["manifests"]
                if each.get("digest") != str(desc.digest)
                or (_name(each) and not _name(each).startswith(self._prefix))
            ]
            self._write_index(index)
            needed = reachable(self, [entry.desc for entry in self.entries()])
            return sum(self._remove(digest) for digest in before - needed)

    def referrers(self, desc: Descriptor) -> list[Descriptor]:
        """Manifests in the index whose subject this is."""
        found = []
        for entry in self.entries():
            node = read_manifest(self, entry.desc)
            if node.subject and node.subject.digest == desc.digest:
                found.append(Descriptor.from_json(_entry(node)))
        return found

    def entries(self) -> list[Entry]:
        """Every entry of the index."""
        return [
            Entry(_name(each), Descriptor.from_json(each, "an entry of index.json"))
            for each in self._read_index()["manifests"]
        ]

    def blobs(self) -> Iterator[Descriptor]:
        """Every blob on disk, by the digest that its name says."""
        for algorithm in sorted((self.path / "blobs").iterdir()):
            for path in sorted(algorithm.iterdir()):
                try:
                    digest = Digest.parse(f"{algorithm.name}:{path.name}")
                except InvalidDigestError:
                    continue
                yield Descriptor("application/octet-stream", digest, path.stat().st_size)

    def prune(self, *, dry_run: bool = False) -> list[tuple[str, int]]:
        """Remove what nothing refers to, and what interrupted writers left.

        Returns:
            What was removed, or would be: digests and file names, each with its bytes.
        """
        with self._locked():
            needed = reachable(self, [entry.desc for entry in self.entries()])
            garbage = [desc for desc in self.blobs() if desc.digest not in needed]
            if not dry_run:
                for desc in garbage:
                    self._remove(desc.digest)
        removed = [(str(desc.digest), desc.size) for desc in garbage]
        removed += files.remove_stale(self._ingest, _STALE_SECONDS, dry_run=dry_run)
        return removed

    def close(self) -> None:
        """Nothing is held open."""

    @property
    def _ingest(self) -> Path:
        return self.path / "ingest"

    def _blob_path(self, digest: Digest) -> Path:
        return self.path / "blobs" / digest.algorithm / digest.hex

    def _remove(self, digest: Digest) -> int:
        path = self._blob_path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def _read_index(self) -> dict[str, Any]:
        path = self.path / "index.json"
        try:
            with path.open("rb") as stream:
                content = stream.read(_MAX_INDEX + 1)
        except FileNotFoundError:
            raise InvalidContentError(f"the layout {self.path} has no index.json") from None
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror}") from error
        if len(content) > _MAX_INDEX:
            raise InvalidContentError(f"{path} is larger than {_MAX_INDEX:,} bytes")
        value = decode(content, str(path))
        items = value.get("manifests") if isinstance(value, dict) else None
        if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
            raise InvalidContentError(f"{path} has no list of manifests")
        return dict(value)

    def _write_index(self, index: Mapping[str, Any]) -> None:
        files.write_atomically(self.path / "index.json", encode(index))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.path / "index.json.lock", timeout=_LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise UnavailableError(
                f"another process has kept {self.path} locked for {_LOCK_SECONDS:.0f} s"
            ) from None
        except OSError as error:
            raise InputError(f"can't write to the layout {self.path}: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()


def _create(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        # A folder in which nothing but another process's beginnings stand is a layout being made.
        known = {"oci-layout", "index.json", "index.json.lock", "blobs", "ingest"}
        if any(each.name not in known and not files.is_temporary(each) for each in path.iterdir()):
            raise ConflictError(f"{path} is not empty and no image layout")
        (path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        with FileLock(path / "index.json.lock", timeout=_LOCK_SECONDS):
            if not (path / "index.json").exists():
                empty = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
                files.write_atomically(path / "index.json", encode(empty))
            if not (path / "oci-layout").exists():
                marker = encode({"imageLayoutVersion": _VERSION})
                files.write_atomically(path / "oci-layout", marker)
    except OSError as error:
        raise InputError(f"can't make an image layout at {path}: {error.strerror}") from error


def _check_version(path: Path) -> None:
    try:
        content = (path / "oci-layout").read_bytes()[:4096]
    except OSError as error:
        raise InputError(f"can't read {path / 'oci-layout'}: {error.strerror}") from error
    value = decode(content, str(path / "oci-layout"))
    version = value.get("imageLayoutVersion") if isinstance(value, dict) else None
    if version != _VERSION:
        raise UnsupportedError(f"{path} is an image layout of version {version!r:.20}, not {_VERSION}")


def _name(item: Mapping[str, Any]) -> str:
    annotations = item.get("annotations")
    return str(annotations.get(REF_NAME, "")) if isinstance(annotations, dict) else ""


def _entry(node: manifests.Manifest | Index, name: str = "") -> dict[str, Any]:
    desc = node.descriptor
    annotations = {REF_NAME: name} if name else {}
    return Descriptor(
        desc.media_type, desc.digest, desc.size, annotations, node.artifact_type
    ).to_json()


def _known(entries: list[Entry], prefix: str) -> str:
    tags = sorted(each.name.removeprefix(prefix) for each in entries if each.name.startswith(prefix) and each.name)
    if not tags:
        return ""
    return f" (there are: {', '.join(tags[:8])}{', …' if len(tags) > 8 else ''})"
