"""How content hangs together: what a manifest needs, and what can be reached from some roots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from ocimlpack.errors import InvalidContentError, NotFoundError
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import is_manifest
from ocimlpack.stores.base import ReadableStore
from ocimlpack.stores.verify import read_all

_MAX_DEPTH: Final = 8
"""Indexes inside indexes. Real ones stop at two; a deeper chain is somebody's experiment."""


def read_manifest(store: ReadableStore, desc: Descriptor) -> Manifest | Index:
    """Fetch, verify and parse a manifest.

    Raises:
        NotFoundError: it is not there.
        IntegrityError: other bytes are.
        InvalidContentError: it is too large, or no manifest.
    """
    if desc.size > manifests.MAX_SIZE:
        raise InvalidContentError(
            f"the manifest {desc.digest} has {desc.size:,} bytes; "
            f"no more than {manifests.MAX_SIZE:,} are read",
            digest=str(desc.digest),
        )
    node = manifests.parse(read_all(store.fetch(desc), desc), desc.media_type)
    if node.descriptor.digest == desc.digest:
        return node
    # By another algorithm; it stays what it is called.
    return replace(node, descriptor=replace(node.descriptor, digest=desc.digest))


def walk(store: ReadableStore, root: Descriptor) -> Iterator[Manifest | Index]:
    """Every manifest that can be reached from a root, children before parents, each once.

    Raises:
        InvalidContentError: also where indexes are nested too deep.
    """
    yield from _walk(store, root, set(), 0)


def _walk(
    store: ReadableStore, desc: Descriptor, seen: set[Digest], depth: int
) -> Iterator[Manifest | Index]:
    if desc.digest in seen:
        return
    seen.add(desc.digest)
    if depth > _MAX_DEPTH:
        raise InvalidContentError(f"indexes are nested deeper than {_MAX_DEPTH}")
    node = read_manifest(store, desc)
    if isinstance(node, Index):
        for child in node.manifests:
            yield from _walk(store, child, seen, depth + 1)
    yield node


def reachable(store: ReadableStore, roots: Iterable[Descriptor]) -> set[Digest]:
    """Digests of everything that the roots need, themselves included.

    A manifest that is gone needs nothing more, but what stands beside it in an index still does:
    an index may list manifests that were never brought here. One that can't be read is an error,
    since what it needs must not be taken for garbage.
    """
    found: set[Digest] = set()
    read: set[Digest] = set()
    waiting = list(roots)
    while waiting:
        desc = waiting.pop()
        if desc.digest in read:
            continue
        read.add(desc.digest)
        try:
            node = read_manifest(store, desc)
        except NotFoundError:
            continue
        if isinstance(node, Index):
            waiting += node.manifests
        else:
            found.update(child.digest for child in node.children)
    return found | read


def check_children(store: ReadableStore, node: Manifest | Index) -> None:
    """Refuse a manifest that names content which is not there, as registries do.

    Raises:
        NotFoundError: names the first piece that is missing.
    """
    for child in node.children:
        if not store.exists(child):
            what = "manifest" if is_manifest(child.media_type) else "blob"
            raise NotFoundError(
                f"the {what} {child.digest}, which {node.descriptor.digest} names, is not there",
                digest=str(child.digest),
            )
