"""Manifests that refer to another: by the registry's API, else by the tag that stands in for it.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ocimlpack.errors import (
    ConflictError,
    InvalidContentError,
    NotFoundError,
    UnsupportedError,
)
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import OCI_INDEX, is_manifest
from ocimlpack.stores.base import BytesBlob, ReadableStore, ReferrerLister, Store, capability
from ocimlpack.stores.graph import read_manifest, walk

_TRIES: Final = 5
_MAX_REFERRERS: Final = 4096


def parse(content: bytes, what: str) -> list[Descriptor]:
    """The descriptors in a registry's answer.

    Raises:
        InvalidContentError: it is no index.
    """
    index = manifests.parse(content, OCI_INDEX)
    if not isinstance(index, Index):
        raise InvalidContentError(f"{what} are no index")
    return list(index.manifests)[:_MAX_REFERRERS]


def listed(store: Store, digest: Digest) -> list[Descriptor]:
    """The descriptors that the fallback tag lists."""
    try:
        desc = store.resolve(_tag(digest))
    except NotFoundError:
        return []
    index = read_manifest(store, desc)
    return list(index.manifests)[:_MAX_REFERRERS] if isinstance(index, Index) else []


def add(store: Store, subject: Descriptor, referrer: Manifest | Index) -> None:
    """Note a referrer in the fallback tag, for a registry that doesn't list referrers itself.

    Writers that do this at the same moment overwrite each other's list, since a tag can't be set
    on a condition; so it is read back, and written again where this referrer is missing.

    Raises:
        ConflictError: it was lost every time.
    """
    desc = referrer.descriptor
    entry = Descriptor(
        desc.media_type,
        desc.digest,
        desc.size,
        referrer.annotations,
        referrer.artifact_type
        or (referrer.config.media_type if isinstance(referrer, Manifest) else None),
    )
    for _ in range(_TRIES):
        present = listed(store, subject.digest)
        if any(each.digest == desc.digest for each in present):
            return
        entries = [each.to_json() for each in (*present, entry)]
        raw = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        index = Descriptor.of(raw, OCI_INDEX)
        store.push(index, BytesBlob(raw))
        store.tag(index, _tag(subject.digest))
    if any(each.digest == desc.digest for each in listed(store, subject.digest)):
        return
    raise ConflictError(
        f"the list of referrers of {subject.digest} keeps being overwritten by somebody else",
        hint="run it again when the other writer is done",
        digest=str(desc.digest),
    )


def referring_to(store: ReadableStore, root: Descriptor) -> Iterator[Descriptor]:
    """What refers to an artifact, and what refers to that: a signature may itself be attested.

    Of an index, what refers to the manifests that it lists belongs to it as well.

    Raises:
        UnsupportedError: the store can't tell.
    """
    lister = capability(store, ReferrerLister)
    if lister is None:
        raise UnsupportedError("the source can't list what refers to an artifact")
    waiting = [node.descriptor for node in walk(store, root)]
    seen = {each.digest for each in waiting}
    while waiting:
        for found in lister.referrers(waiting.pop()):
            if found.digest not in seen and is_manifest(found.media_type):
                seen.add(found.digest)
                waiting.append(found)
                yield found.plain


def _tag(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}"[:128]
