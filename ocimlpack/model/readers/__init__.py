"""Understanding artifacts of all kinds: each becomes the same, a list of files and archives.

Which format an artifact has is found out from its media types, by the table in `table`; what the
format's rules are, its own module says, and nothing else in the program knows of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from ocimlpack.errors import InputError, InvalidContentError, NotFoundError
from ocimlpack.model.artifact import Member, check
from ocimlpack.model.readers.content import Content, Fields, Format, Said
from ocimlpack.model.readers.source import Nowhere, Source
from ocimlpack.model.readers.table import READERS, Found, Reader
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import DOCKER_LIST, OCI_INDEX, is_manifest
from ocimlpack.stores.base import ReadableStore
from ocimlpack.stores.graph import read_manifest

_GENERAL: Final = frozenset({OCI_INDEX, DOCKER_LIST})
_NOWHERE: Final = frozenset({"", "unknown"})

_MAX_READ: Final = 16
"""Manifests of an index that are looked into: as many as there are platforms, and a few more."""

# https://pkg.go.dev/runtime#pkg-constants calls them otherwise than uname does.
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}

__all__ = [
    "Content",
    "Fields",
    "Format",
    "choose",
    "config_of",
    "fields_of",
    "manifest_in",
    "named",
    "understand",
]


def understand(store: ReadableStore, manifest: Manifest) -> Content:
    """What an artifact holds, whatever wrote it.

    Read are the manifest and, where names are only there, the config; never a layer. What no
    reader understands is taken as plain files, and the notes say so.

    Raises:
        InvalidContentError: an unsafe name, names that can't be side by side, a layer of a model
            without a name, a config that names can't be had from, or one digest with two sizes.
        UnsupportedError: there is nothing in it.
        NotFoundError: a config that is needed is not there.
    """
    source = Source(manifest, store)
    reader, found = _read(source)
    members = check(manifest, found.members)
    fields = Said(lambda: reader.module.read_fields(source))
    return Content(reader.format, members, fields, found.notes)


def fields_of(store: ReadableStore, manifest: Manifest) -> Fields:
    """What an artifact says of the model, also where its names are not fit to be used.

    Raises:
        InvalidContentError: the config is not what its type says.
    """
    reader = next(each for each in READERS if each.fits(manifest))
    return reader.module.read_fields(Source(manifest, store))


def config_of(store: ReadableStore, manifest: Manifest) -> bytes:
    """The bytes of an artifact's config.

    Raises:
        InvalidContentError: it is too large for one.
    """
    return Source(manifest, store).config()


def manifest_in(store: ReadableStore, root: Descriptor) -> Manifest:
    """The manifest of the model that a descriptor stands for: itself, or one of an index.

    Raises:
        InputError: an index that lists several, and nothing tells which one is meant.
        InvalidContentError: an index of indexes.
    """
    node = read_manifest(store, root)
    if isinstance(node, Manifest):
        return node
    inner = read_manifest(store, choose(store, node))
    if isinstance(inner, Index):
        raise InvalidContentError(f"{root.digest} is an index of indexes", digest=str(root.digest))
    return inner


def named(manifest: Manifest) -> tuple[Member, ...]:
    """The members, if the manifest alone says what they are; else none.

    Raises:
        InvalidContentError: as `understand` says.
    """
    try:
        return understand(Nowhere(), manifest).members
    except NotFoundError:
        return ()


def choose(store: ReadableStore, index: Index) -> Descriptor:
    """The manifest of an index that is the model.

    That is the only one; or the only one that says of itself, in the index or in its own types,
    that it is a model; or, among images, the one for this machine, else the first one: a model is
    the same on all of them.

    Args:
        store: where the manifests are.
        index: an index that lists the model, or the same model in several forms.

    Raises:
        InputError: it lists several, and nothing tells which one is meant.
    """
    once: dict[Digest, Descriptor] = {}
    for each in index.manifests:
        if is_manifest(each.media_type):
            once.setdefault(each.digest, each)  # one may be listed for several platforms
    listed = list(once.values())
    found = [each for each in listed if not _is_about_another(each)]
    if len(found) > 1:
        found = _models(store, found) or _for_machine(found)
    # A list of a vendor's own type is of one model, the form that is meant for most first.
    if len(found) != 1 and (not found or index.descriptor.media_type in _GENERAL):
        raise InputError(
            f"{index.descriptor.digest} is an index of {len(listed)} artifacts",
            hint="pull one of them by its digest: "
            + ", ".join(str(each.digest) for each in listed[:4]),
            digest=str(index.descriptor.digest),
        )
    return found[0]


def _is_about_another(desc: Descriptor) -> bool:
    """Whether it tells how another one was built, as BuildKit attaches that to images.

    https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md
    """
    return "vnd.docker.reference.digest" in desc.annotations


def _models(store: ReadableStore, listed: Sequence[Descriptor]) -> list[Descriptor]:
    """Those that are models by their types; a few manifests are read for that."""
    said = [
        each
        for each in listed
        if any(each.artifact_type in reader.artifacts for reader in READERS if each.artifact_type)
    ]
    if said or len(listed) > _MAX_READ:
        return said
    found = []
    for each in listed:
        try:
            node = read_manifest(store, each)
        except NotFoundError:
            continue  # an index may list what was never brought here
        if isinstance(node, Manifest) and any(reader.is_model(node) for reader in READERS):
            found.append(each)
    return found


def _for_machine(listed: Sequence[Descriptor]) -> list[Descriptor]:
    """The one for this machine's processor, else the first one for any."""
    images = [
        each for each in listed if each.platform and each.platform.architecture not in _NOWHERE
    ]
    if not images:
        return list(listed)
    machine = os.uname().machine.lower()
    wanted = _ARCHITECTURES.get(machine, machine)
    return [
        next(
            (each for each in images if each.platform and each.platform.architecture == wanted),
            images[0],
        )
    ]


def _read(source: Source) -> tuple[Reader, Found]:
    for reader in READERS:
        if reader.fits(source.manifest) and (found := reader.module.read_members(source)):
            return reader, found
    raise InvalidContentError("no reader took the artifact")
