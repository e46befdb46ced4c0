"""An OCI image layout: a folder of blobs and an index. The embedded default; no server needed.

https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md

Blobs are written to `ingest/`, verified, synced and then renamed to `blobs/ALGORITHM/HEX`, so that
none is ever there in part. `index.json` is replaced as a whole, under a lock between processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ocimlpack.errors import (
    ConflictError,
    InputError,
    InvalidContentError,
    InvalidDigestError,
    NotFoundError,
    UnavailableError,
)
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.mediatypes import is_manifest
from ocimlpack.spec.reference import check_tag
from ocimlpack.stores import files, layout_index, partial
from ocimlpack.stores.base import Blob, BytesBlob, FileBlob
from ocimlpack.stores.graph import check_children, reachable, read_manifest
from ocimlpack.stores.layout_reader import MAX_INDEX, LayoutReader
from ocimlpack.stores.partial import PartialFile
from ocimlpack.stores.verify import read_all

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LOCK_SECONDS: Final = 60.0
_STALE_SECONDS: Final = 3600.0


class LayoutStore(LayoutReader):
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
        super().__init__(str(path), name)
        self.path = path
        if not (path / "oci-layout").is_file():
            if not create:
                raise NotFoundError(f"no image layout at {path}")
            _create(path)
        _check_version(path)

    def push(self, desc: Descriptor, blob: Blob) -> None:
        """Take content in."""
        if not is_manifest(desc.media_type):
            if not self.exists(desc):
                files.write_verified(blob, desc, self._blob_path(desc.digest), self._ingest)
            return
        with self._locked():
            # Under the lock, so that no clean-up removes a child between this look and the entry.
            node = manifests.parse(read_all(blob, desc), desc.media_type)
            check_children(self, node)
            if not self.exists(desc):
                content = BytesBlob(node.raw)
                files.write_verified(content, desc, self._blob_path(desc.digest), self._ingest)
            index = self.read_index()
            layout_index.add(index, desc, node)
            self._write_index(index)

    @contextmanager
    def assembling(self, desc: Descriptor) -> Iterator[PartialFile | None]:
        """A file in `ingest/` for a blob's parts; it takes its name if the block ends well."""
        if is_manifest(desc.media_type):
            yield None
            return
        path = self._blob_path(desc.digest)
        with ExitStack() as stack:
            try:
                self._ingest.mkdir(parents=True, exist_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                ingest, blobs = (_opened(stack, each) for each in (self._ingest, path.parent))
            except OSError as error:
                raise files.refused(error, path) from error
            with partial.claimed(
                ingest, desc, label=str(path), prefix=files.TEMPORARY, mode=files.mode()
            ) as file:
                yield file
                file.finish(durable=True)
                try:
                    file.move(blobs, path.name)
                    files.sync_folder(path.parent)
                except OSError as error:
                    raise files.refused(error, path) from error

    def tag(self, desc: Descriptor, name: str) -> None:
        """Let the tag stand for this manifest."""
        full = self._prefix + check_tag(name)
        with self._locked():
            if not self.exists(desc):
                raise NotFoundError(f"no {desc.digest} in {self.path}", digest=str(desc.digest))
            node = read_manifest(self, desc)
            index = self.read_index()
            layout_index.name(index, desc, node, full)
            self._write_index(index)

    def untag(self, name: str) -> None:
        """Take the tag away and leave the content, which `prune` may then remove."""
        full = self._prefix + name
        with self._locked():
            index = self.read_index()
            if not layout_index.unname(index, full):
                raise NotFoundError(f"no tag {name} in {self.path}")
            self._write_index(index)

    def delete(self, desc: Descriptor) -> int:
        """Remove a manifest, its tags, and the blobs that nothing else needs.

        In a layout that holds several models, the tags of other models stay, and with them the
        content.
        """
        with self._locked():
            before = reachable(self, [self.resolve(str(desc.digest))])
            index = self.read_index()
            layout_index.drop(index, desc.digest, self._prefix)
            self._write_index(index)
            needed = reachable(self, [entry.desc for entry in self.entries()])
            return sum(self._remove(digest) for digest in before - needed)

    def free(self, desc: Descriptor) -> int:
        """Remove a manifest that no tag stands for any more, and what only it needed."""
        if any(entry.desc.digest == desc.digest for entry in self.entries()):
            return 0
        return self.delete(desc)

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

    @property
    def _ingest(self) -> Path:
        return self.path / "ingest"

    def _blob_path(self, digest: Digest) -> Path:
        return self.path / "blobs" / digest.algorithm / digest.hex

    def _remove(self, digest: Digest) -> int:
        path = self._blob_path(digest)
        try:
            status = path.stat()
            path.unlink()
        except FileNotFoundError:
            return 0
        # As long as another store has it too, its bytes stay on the disk.
        return status.st_size if status.st_nlink == 1 else 0

    def _find(self, digest: Digest) -> tuple[Blob, int] | None:
        path = self._blob_path(digest)
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return FileBlob(path, immutable=True), status.st_size

    def _index_content(self) -> bytes:
        path = self.path / "index.json"
        try:
            with path.open("rb") as stream:
                return stream.read(MAX_INDEX + 1)
        except FileNotFoundError:
            raise InvalidContentError(f"the layout {self.path} has no index.json") from None
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror}") from error

    def _write_index(self, index: Mapping[str, Any]) -> None:
        files.write_atomically(self.path / "index.json", encode(index))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = _lock(self.path)
        try:
            lock.acquire()
        except TimeoutError:
            raise UnavailableError(
                f"another process has kept {self.path} locked for {_LOCK_SECONDS:.0f} s"
            ) from None
        except OSError as error:
            raise InputError(f"can't write to the layout {self.path}: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()


def _lock(path: Path) -> BaseFileLock:
    # Imported here, as most of what is done with a registry locks nothing.
    from filelock import FileLock

    return FileLock(path / "index.json.lock", timeout=_LOCK_SECONDS)


def _opened(stack: ExitStack, folder: Path) -> int:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, handle)
    return handle


def _create(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        # A folder in which nothing but another process's beginnings stand is a layout being made.
        known = {"oci-layout", "index.json", "index.json.lock", "blobs", "ingest"}
        if any(each.name not in known and not files.is_temporary(each) for each in path.iterdir()):
            raise ConflictError(f"{path} is not empty and no image layout")
        (path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        with _lock(path):
            if not (path / "index.json").exists():
                files.write_atomically(path / "index.json", encode(layout_index.empty()))
            if not (path / "oci-layout").exists():
                files.write_atomically(path / "oci-layout", layout_index.MARKER)
    except OSError as error:
        raise InputError(f"can't make an image layout at {path}: {error.strerror}") from error


def _check_version(path: Path) -> None:
    try:
        content = (path / "oci-layout").read_bytes()[:4096]
    except OSError as error:
        raise InputError(f"can't read {path / 'oci-layout'}: {error.strerror}") from error
    layout_index.check_marker(content, str(path / "oci-layout"), str(path))
