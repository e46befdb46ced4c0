"""Manifests that refer to another: by the registry's API, else by the tag that stands in for it.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
"""

from __future__ import annotations

from typing import Final

from ocimlpack.errors import ConflictError, InvalidContentError, NotFoundError
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import OCI_INDEX
from ocimlpack.stores.base import BytesBlob, Store
from ocimlpack.stores.graph import read_manifest

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


def _tag(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}"[:128]
