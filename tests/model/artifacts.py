"""Artifacts made by hand, and a copy into a folder without stores and threads."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ocimlpack.model.readers import named
from ocimlpack.model.unpack import Folder
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores.base import Blob, BytesBlob

RAW = mediatypes.model_layer("weight")
TAR = mediatypes.model_layer("weight", "tar")
REFERENCE = "registry.example/model:1.0"

CONTENT = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "sub/README.md": b"words"}
SIZE = sum(map(len, CONTENT.values()))


def metadata(mode: int) -> dict[str, str]:
    return {mediatypes.FILE_METADATA: json.dumps({"mode": mode, "typeflag": 0})}


@dataclass(frozen=True)
class Layer:
    path: str | None
    content: bytes
    media_type: str = RAW
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def desc(self) -> Descriptor:
        named = {} if self.path is None else {mediatypes.FILEPATH: self.path}
        return Descriptor(
            self.media_type,
            Digest.of(self.content),
            len(self.content),
            {**named, **self.annotations},
        )


@dataclass(frozen=True)
class Artifact:
    manifest: Manifest
    blobs: Mapping[Digest, bytes]

    @property
    def digest(self) -> Digest:
        return self.manifest.descriptor.digest


def artifact(*layers: Layer, name: str = "model") -> Artifact:
    config = json.dumps({"descriptor": {"name": name}}).encode()
    desc = Descriptor.of(config, mediatypes.MODEL_CONFIG)
    blobs = {layer.desc.digest: layer.content for layer in layers} | {desc.digest: config}
    manifest = manifests.build(
        desc, [layer.desc for layer in layers], artifact_type=mediatypes.MODEL_MANIFEST
    )
    return Artifact(manifest, blobs)


def files(content: Mapping[str, bytes], name: str = "model") -> Artifact:
    return artifact(*(Layer(path, each) for path, each in content.items()), name=name)


def copy(source: Artifact, folder: Folder, blobs: Mapping[Digest, Blob] | None = None) -> int:
    """What the mover does; returns the bytes that were moved."""
    moved = 0
    for desc in {child.digest: child for child in source.manifest.children}.values():
        if folder.wants(desc) and not folder.exists(desc):
            given = (blobs or {}).get(desc.digest)
            folder.push(desc, given or BytesBlob(source.blobs[desc.digest]))
            moved += desc.size
    folder.push(source.manifest.descriptor, BytesBlob(source.manifest.raw))
    return moved


def folder_at(destination: Path, source: Artifact, *, force: bool = False) -> Folder:
    return Folder(
        destination, source.manifest, named(source.manifest), reference=REFERENCE, force=force
    )


@dataclass(frozen=True)
class Done:
    path: Path
    moved: int
    kept: int
    files: list[tuple[str, int]]


def pull(
    source: Artifact,
    destination: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    force: bool = False,
    reference: str = REFERENCE,
) -> Done:
    with Folder(
        destination,
        source.manifest,
        named(source.manifest),
        reference=reference,
        include=include,
        exclude=exclude,
        force=force,
    ) as folder:
        moved = copy(source, folder)
        path = folder.commit()
    return Done(path, moved, folder.kept, folder.files)


def tree(folder: Path) -> dict[str, bytes]:
    """All files below, but for the receipt's folder at the top."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != ".ocimlpack"
    }


def everything(folder: Path) -> set[str]:
    """All names below, hidden ones too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar(
    *members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT, gz: bool = False
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    packed = buffer.getvalue()
    return gzip.compress(packed, mtime=0) if gz else packed
