"""A model as a container image: its files under `models/`, in few layers that are tar archives.

Clusters mount such an image as a volume, and servers of models take one for a model. Nothing in it
runs. docs/format.md has the rules; how the archives are made is in `bundle`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from ocimlpack.errors import InputError
from ocimlpack.model.archive import TAKING
from ocimlpack.model.bundle import BundleBlob, Part, folders
from ocimlpack.model.config import Fields, encode_config, encode_image_config
from ocimlpack.model.image_base import Base
from ocimlpack.model.layers import (
    FOLDER,
    REGULAR_FILE,
    SMALL,
    PlannedFile,
    file_metadata,
    folder_of,
)
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor, Platform
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Index, Manifest, build, build_index
from ocimlpack.stores.base import Blob

ROOT: Final = "models"
"""The folder of an image in which the model is; servers look nowhere else."""

MAX_LAYERS: Final = 64
"""Layers of an image. Overlay file systems and engines end at about 127, and whoever builds upon
the image needs some."""

PLATFORMS: Final = (Platform("amd64", "linux"), Platform("arm64", "linux"))
"""What an image is for, unless somebody says otherwise: nodes refuse to unpack one whose config
names another architecture than their own, whatever is in it."""

_NO_PLATFORM: Final = Platform("unknown", "unknown")
"""Of the artifact in an index, so that nobody who looks for an image takes it for one."""

_NO_BASE: Final = Base((), (), {})

_LABELS: Final[Mapping[str, str]] = {
    "title": "name",
    "version": "version",
    "description": "description",
    "vendor": "vendor",
    "source": "sourceURL",
    "documentation": "docURL",
    "revision": "revision",
    "created": "createdAt",
}


@dataclass(frozen=True, slots=True)
class PlannedTar:
    """Files of one kind that will be a layer of an image.

    Attributes:
        kind: what they are for.
        files: sorted by their paths; at least one.
        blob: the archive.
        digest: its digest, if that is known beforehand.
        taken: the archive itself, if it lies somewhere already.
    """

    kind: mediatypes.Kind
    files: tuple[PlannedFile, ...]
    blob: BundleBlob
    digest: Digest | None = None
    taken: Blob | None = None

    @classmethod
    def of(cls, files: Iterable[PlannedFile]) -> PlannedTar:
        """An archive of these files, and of the folders that they are in."""
        ordered = tuple(sorted(files, key=lambda file: file.path.encode()))
        return cls(ordered[0].kind, ordered, BundleBlob(tuple(_parts(ordered))))

    @property
    def name(self) -> str:
        """What tells it from the other layers before its digest is known; no path has a colon."""
        first = self.files[0].path
        if len(self.files) == 1:
            return f"{ROOT}/{first}"
        return f"{self.kind}: {first} and {len(self.files) - 1} more"

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return self.blob.size

    @property
    def path(self) -> str:
        """Where in the image its file is; with several, the deepest folder that all are in."""
        single = len(self.files) == 1
        below = self.files[0].path if single else folder_of(self.files)
        return posixpath.normpath(f"{ROOT}/{below}")

    def layer(self, digest: Digest) -> Descriptor:
        """The image's layer, once its digest is known."""
        annotations = {mediatypes.KIND: self.kind, mediatypes.PATH: self.path}
        return Descriptor(mediatypes.OCI_LAYER, digest, self.size, annotations)

    def model_layer(self, digest: Digest) -> Descriptor:
        """The same archive as a layer of a ModelPack artifact."""
        if len(self.files) == 1:
            file = self.files[0]
            metadata = file_metadata(self.path, file.mode, file.size, REGULAR_FILE)
            title = f"{self.path}.tar"
        else:
            metadata = file_metadata(self.path, 0o755, self.size, FOLDER)
            title = f"{self.kind}-{digest.hex[:12]}.tar"
        annotations = {
            mediatypes.PATH: self.path,
            mediatypes.FILEPATH: self.path,
            mediatypes.FILE_METADATA: metadata,
            mediatypes.TITLE: title,
        }
        return Descriptor(mediatypes.model_layer(self.kind, "tar"), digest, self.size, annotations)


def arrange(files: Sequence[PlannedFile]) -> tuple[PlannedTar, ...]:
    """The layers that files become: large ones one by one, so that versions of a model share them.

    Args:
        files: in the order of a ModelPack artifact's layers.

    Returns:
        The layers of the large files in that order, then those of the small ones, one for each
        kind. A node unpacks a layer anew if any before it changed: small files change most often.

    Raises:
        InputError: a file or folder whose name would take another one away.
    """
    for file in files:
        if f"/{TAKING}" in f"/{file.path}":
            raise InputError(
                f"{file.path} can't be in an image, where a name that begins with {TAKING} takes "
                "another file away",
                hint="leave it out, or write the model as an artifact",
            )
    large: dict[str, list[PlannedFile]] = {}
    small: dict[str, list[PlannedFile]] = {}
    for file in files:
        (small if file.size < SMALL else large).setdefault(file.kind, []).append(file)
    room = MAX_LAYERS - len(small)
    # Of equal numbers of files, so that the same shards lie together in the next version too.
    run = next(
        each for each in count(1) if sum(-(-len(kind) // each) for kind in large.values()) <= room
    )
    runs = [kind[at : at + run] for kind in large.values() for at in range(0, len(kind), run)]
    return tuple(PlannedTar.of(group) for group in (*runs, *small.values()))


@dataclass(frozen=True, slots=True)
class Sealed:
    """An image, and the artifact beside it.

    Attributes:
        root: what a tag stands for: the image's manifest if that is all there is, else an index.
        manifest: the artifact's manifest; without one, the first image's.
        configs: the bytes of all configs, by their digests.
        manifests: all manifests, the root among them.
    """

    root: Manifest | Index
    manifest: Manifest
    configs: Mapping[Digest, bytes]
    manifests: tuple[Manifest | Index, ...]


def seal(
    layers: Sequence[PlannedTar],
    digests: Mapping[str, Digest],
    fields: Fields,
    annotations: Mapping[str, str],
    platforms: Sequence[Platform],
    *,
    both: bool,
    bases: Mapping[Platform, Base] | None = None,
) -> Sealed:
    """Write configs, manifests and index, now that the layers' digests are known.

    Args:
        layers: of the image.
        digests: the layers' digests by their names.
        fields: what is known of the model.
        annotations: of each manifest.
        platforms: what the image is for; at least one.
        both: whether a ModelPack artifact of the same layers stands beside the image.
        bases: for each platform, an image that this one is put on.
    """
    named = [(layer, digests[layer.name]) for layer in layers]
    diff_ids = [digest for _, digest in named]
    configs: dict[Digest, bytes] = {}

    def manifest(
        config: bytes, config_type: str, layers: Sequence[Descriptor], artifact: str | None = None
    ) -> Manifest:
        desc = Descriptor.of(config, config_type)
        configs[desc.digest] = config
        return build(desc, layers, artifact_type=artifact, annotations=annotations)

    layers_of_image = [layer.layer(digest) for layer, digest in named]
    labels = _labels(fields)
    images = [
        manifest(
            encode_image_config(fields, diff_ids, platform, labels, base.diff_ids, base.config),
            mediatypes.OCI_CONFIG,
            (*base.layers, *layers_of_image),
        )
        for platform, base in ((each, (bases or {}).get(each, _NO_BASE)) for each in platforms)
    ]
    listed = [
        replace(image.descriptor, platform=platform)
        for image, platform in zip(images, platforms, strict=True)
    ]
    if not both and len(images) == 1:
        return Sealed(images[0], images[0], configs, (images[0],))
    model = images[0]
    if both:
        model = manifest(
            encode_config(fields, diff_ids),
            mediatypes.MODEL_CONFIG,
            [layer.model_layer(digest) for layer, digest in named],
            mediatypes.MODEL_MANIFEST,
        )
        # The last: some readers without a platform of their own take the first that they find. And
        # without `artifactType`, which skopeo 1.9 drops from an index, and so changes its digest.
        listed.append(replace(model.descriptor, platform=_NO_PLATFORM))
    index = build_index(listed)
    return Sealed(index, model, configs, (*images, *([model] if both else ()), index))


def parse_platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """What an image is for, from `OS/ARCHITECTURE[/VARIANT]`; without any, `PLATFORMS`.

    Raises:
        InputError: one is of another form, or given twice.
    """
    found = []
    for text in texts:
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(part.isalnum() and part.isascii() for part in parts):
            raise InputError(f"not a platform: {text!r:.60} (expected one like linux/arm64)")
        found.append(Platform(parts[1], parts[0], *parts[2:]))
    if len(set(found)) != len(found):
        raise InputError("a platform is given twice")
    return tuple(found) or PLATFORMS


def _labels(fields: Fields) -> dict[str, str]:
    """What an image's config says to those who know nothing of models."""
    labels = {name: value for name, key in _LABELS.items() if (value := fields.get(key))}
    if licenses := fields.get("licenses"):
        labels["licenses"] = " AND ".join(licenses) if isinstance(licenses, tuple) else licenses
    if authors := fields.get("authors"):
        labels["authors"] = ", ".join(authors) if isinstance(authors, tuple) else authors
    return {
        f"org.opencontainers.image.{name}": value
        for name, value in labels.items()
        if isinstance(value, str)
    }


def _parts(files: Iterable[PlannedFile]) -> Iterator[Part]:
    """Every folder before what is in it: engines would make it themselves, some for root alone."""
    made: set[str] = set()
    for file in files:
        path = f"{ROOT}/{file.path}"
        for folder in folders(path):
            if folder.path not in made:
                made.add(folder.path)
                yield folder
        yield Part(path, file.mode, file.size, file.blob, file.digest)
