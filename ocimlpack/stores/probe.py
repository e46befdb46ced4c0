"""What a registry can do, found out in one of its repositories by trying it.

Nothing is left there. What is uploaded is a small blob that the repository has already, so that
completing the upload changes nothing, and leaves less than cancelling it: of uploads that were
cancelled, registries may keep a folder. What is deleted is a digest and a tag that nobody has. A
manifest that is put names content which can't be there: a registry refuses it for that, or for a
type that it does not know, and which of the two it is, is the answer. Only where there is nothing
to upload again are uploads cancelled, and what is stored against all expectation is deleted again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ocimlpack.errors import NotFoundError, OcimlpackError
from ocimlpack.spec.gojson import decode
from ocimlpack.spec.manifest import MAX_SIZE, Index
from ocimlpack.spec.reference import DEFAULT_TAG
from ocimlpack.stores import referrers, trials
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.inquiry import (
    SECONDS,
    Ability,
    Answer,
    Inquiry,
    Sample,
    joined,
    nowhere,
    refused,
)
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.stores.trials import Uploading
from ocimlpack.stores.verify import read_all

if TYPE_CHECKING:
    from ocimlpack.stores._oras import Session

__all__ = ["Ability", "Probed", "probe", "probe_host"]

REPOSITORIES: Final = "list of repositories"
TAGS: Final = "list of tags"
RANGES: Final = "parts of blobs"
REFERRERS: Final = "list of referrers"

_SMALL: Final = 64 * 1024
"""Bytes of a blob that may be read, and sent again, to try something with it."""
_TELLING: Final = 16
"""Bytes from which on a blob is good to try things with."""
_LISTED: Final = 100
"""Tags that are asked for."""
_UNTRIED: Final = {
    False: "not tried, as the repository is not there",
    None: "not tried, as the repository could not be read",
}
_UNWANTED: Final = "not tried: that would be writing"
_NOTHING_THERE: Final = "there is no such repository, or no tag in it"


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found out.

    Attributes:
        abilities: each thing that was tried, in order.
        exists: whether the repository is there; None where that can't be told.
        absent: the tag or digest that was asked for and is not there; empty if none is missing.
        largest: the most bytes that a request may have, as uploads have shown; 0 if that is not
            known.
        left: what could not be cleaned up again, in words.
        errors: of who may not do something, and of answers that did not come, in order.
    """

    abilities: tuple[Ability, ...]
    exists: bool | None
    absent: str
    largest: int
    left: tuple[str, ...]
    errors: tuple[OcimlpackError, ...]


def probe(
    session: Session,
    repository: str,
    name: str | None = None,
    *,
    write: bool | None = None,
    seconds: float = SECONDS,
) -> Probed:
    """Try what a registry can do, and let transfers go by it from now on.

    Args:
        session: the registry.
        repository: a repository there.
        name: the tag or digest of a model in it; None for any that there is.
        write: whether uploads, mounts, deletions and manifests are tried too; None for: if the
            repository is there. Where it is not, some registries make one of the first upload.
        seconds: after so many, nothing further is tried.
    """
    store = RegistryStore(session, repository)
    inquiry = Inquiry(session, repository, seconds=seconds)
    absent = _Reading(inquiry, store).run(name)
    uploading = Uploading()
    if write or (write is None and inquiry.exists):
        uploading = trials.run(inquiry)
    else:
        trials.skip(inquiry, _UNTRIED[inquiry.exists] if write is None else _UNWANTED)
    _remember(store, inquiry, uploading)
    return Probed(
        tuple(inquiry.abilities),
        inquiry.exists,
        absent,
        store.host.limits.largest,
        tuple(inquiry.left),
        tuple(inquiry.errors),
    )


def probe_host(session: Session) -> Ability:
    """Try what needs no repository: whether they are listed."""
    inquiry = Inquiry(session, "")

    def attempt() -> Ability:
        reply = inquiry.ask("GET", "/v2/_catalog?n=1", "registry:catalog:*")
        return Ability(REPOSITORIES, "yes") if reply.status == 200 else refused(REPOSITORIES, reply)

    return inquiry.find(REPOSITORIES, attempt)


class _Reading:
    """All that can be tried without writing."""

    def __init__(self, inquiry: Inquiry, store: RegistryStore) -> None:
        self._inquiry = inquiry
        self._store = store
        self._tags: list[str] = []
        self._why = ""

    def run(self, name: str | None) -> str:
        """Try it; returns the name that is not there, or nothing."""
        absent = ""
        if name is not None and self._find(name) == "no":
            absent = name
        self._inquiry.find(TAGS, self._list_tags)
        if self._inquiry.sample is None and self._tags:
            self._find(DEFAULT_TAG if DEFAULT_TAG in self._tags else self._tags[0])
        self._inquiry.find(RANGES, self._ask_range)
        self._inquiry.find(REFERRERS, self._list_referrers)
        return absent

    def _find(self, name: str) -> Answer:
        found = self._inquiry.tried("", lambda: self._look_at(name))
        self._why = found.detail
        return found.answer

    def _look_at(self, name: str) -> Ability:
        inquiry, store = self._inquiry, self._store
        called = f"{store.repository}{'@' if ':' in name else ':'}{name}"
        try:
            root = store.resolve(name)
            node = read_manifest(store, root)
            if isinstance(node, Index) and node.manifests:
                node = read_manifest(store, node.manifests[0])
        except NotFoundError:
            return Ability("", "no", f"there is no {called} to try it with")
        inquiry.exists = True
        children = () if isinstance(node, Index) else node.children
        parted = [each for each in children if each.size > 1]
        # A few bytes more show more: of one byte registries say the same as of none.
        blob = min(parted, key=lambda each: (each.size < _TELLING, each.size), default=None)
        content = None
        if blob is not None and blob.size <= _SMALL:
            with suppress(OcimlpackError):  # the next question gets to know why
                content = read_all(store.fetch(blob), blob)
        inquiry.sample = Sample(root, blob, content)
        return Ability("", "yes", "" if blob else f"{called} has no blob of more than a byte")

    def _list_tags(self) -> Ability:
        inquiry = self._inquiry
        path = f"{inquiry.base}/tags/list?n={_LISTED}"
        reply = inquiry.ask("GET", path, inquiry.pull, limit=MAX_SIZE)
        if reply.status == 200:
            inquiry.exists = True
            page: Any = decode(reply.content, "the list of tags")
            found = (page.get("tags") or []) if isinstance(page, dict) else None
            if not isinstance(found, list):
                return Ability(TAGS, "no", "what comes is no list")
            self._tags = [each for each in found if isinstance(each, str)]
            return Ability(TAGS, "yes")
        if reply.lacks_repository:
            inquiry.exists = inquiry.exists or False
            return Ability(TAGS, "unknown", _NOTHING_THERE)
        return refused(TAGS, reply)

    def _ask_range(self) -> Ability:
        inquiry = self._inquiry
        blob = inquiry.sample.blob if inquiry.sample else None
        if blob is None:
            return Ability(RANGES, "unknown", self._why or "there is no model to try it with")
        path = f"{inquiry.base}/blobs/{blob.digest}"
        reply = inquiry.ask("GET", path, inquiry.pull, headers={"Range": "bytes=1-1"})
        elsewhere = ""
        if not inquiry.session.same_origin(reply.url):
            elsewhere = f"blobs come from {reply.url.split('/')[2].rpartition('@')[2]}"
        if reply.status == 200:
            return Ability(RANGES, "no", joined("all of the blob comes", elsewhere))
        if reply.status != 206:
            return refused(RANGES, reply, elsewhere)
        if reply.headers.get("Content-Range") not in {f"bytes 1-1/{blob.size}", "bytes 1-1/*"}:
            return Ability(RANGES, "no", joined("another part comes than asked for", elsewhere))
        return Ability(RANGES, "yes", elsewhere)

    def _list_referrers(self) -> Ability:
        inquiry = self._inquiry
        # Of a manifest that is not there, there is an empty list to be had as well.
        digest = inquiry.sample.manifest.digest if inquiry.sample else nowhere()
        path = f"{inquiry.base}/referrers/{digest}"
        reply = inquiry.ask("GET", path, inquiry.pull, limit=MAX_SIZE)
        if reply.status == 200:
            referrers.parse(reply.content, "what comes")
            return Ability(REFERRERS, "yes")
        if reply.lacks_repository:
            return Ability(REFERRERS, "unknown", _NOTHING_THERE)
        return refused(REFERRERS, reply)


def _remember(store: RegistryStore, inquiry: Inquiry, uploading: Uploading) -> None:
    """What is certain is what transfers go by from now on."""
    can = {
        each.name: each.answer == "yes" for each in inquiry.abilities if each.answer != "unknown"
    }
    found = {
        "ranges": can.get(RANGES),
        "referrers": can.get(REFERRERS),
        "whole": uploading.whole,
        "smallest": uploading.smallest,
    }
    certain = {name: value for name, value in found.items() if value is not None}
    if certain:
        store.host.learn(**certain)
