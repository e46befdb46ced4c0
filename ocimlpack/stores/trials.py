"""Trying what writes to a repository: uploads, a mount, deletions, manifests of unusual types."""

from __future__ import annotations

import secrets
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ocimlpack.errors import NotFoundError, OcimlpackError, UnsupportedError
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Manifest
from ocimlpack.spec.mediatypes import (
    MODEL_CONFIG,
    MODEL_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_PREFIX,
    OCI_MANIFEST,
    model_layer,
)
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.challenge import repository_scope
from ocimlpack.stores.inquiry import Ability, Inquiry, Reply, nowhere, refused
from ocimlpack.stores.upload_api import Standing, UploadApi

UPLOADS: Final = "uploads"
PARTS: Final = "uploads in parts"
STANDING: Final = "uploads that go on"
STREAMS: Final = "uploads of unknown length"
MOUNTS: Final = "mounts of blobs"
DELETION: Final = "deletion of manifests"
UNTAGGING: Final = "deletion of tags"
ARTIFACT_TYPE: Final = "artifactType"
CONFIG: Final = "configs of models"
LAYERS: Final = "layers of models"

_UPLOADING: Final = (UPLOADS, PARTS, STANDING, STREAMS, MOUNTS)
_MANIFESTS: Final = (ARTIFACT_TYPE, CONFIG, LAYERS)
_ALL: Final = (*_UPLOADING, DELETION, UNTAGGING, *_MANIFESTS)

_STAND_IN: Final = b"ocimlpack doctor".ljust(64)
"""What is sent where there is no blob to send again; its upload is cancelled."""
_DIVIDED: Final = 4
"""Bytes from which on content is sent in two parts: of a part of one byte registries say the same
as of none."""
_DONE: Final = frozenset({200, 201, 202, 204})
_CONTENT_MISSING: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Uploading:
    """What transfers want to know of uploads.

    Attributes:
        whole: whether parts are refused; None where that is not known.
        smallest: the fewest bytes that a part may have, 0 for any number; None if not known.
    """

    whole: bool | None = None
    smallest: int | None = None


def run(inquiry: Inquiry) -> Uploading:
    """Try all of it."""
    uploads = _Uploads(inquiry)
    try:
        uploads.run()
    finally:
        uploads.close()
    _Deletions(inquiry).run()
    _Manifests(inquiry).run()
    return Uploading(uploads.whole, uploads.smallest)


def skip(inquiry: Inquiry, why: str) -> None:
    """Try none of it, and say why."""
    inquiry.abilities += [Ability(name, "unknown", why) for name in _ALL]


class _Uploads:
    """Uploads of a blob that is there already, or of something else that is then cancelled."""

    def __init__(self, inquiry: Inquiry) -> None:
        self.whole: bool | None = None
        self.smallest: int | None = None
        self._inquiry = inquiry
        self._api = UploadApi(inquiry.session, inquiry.repository, lambda _: False)
        self._what = f"an upload to {inquiry.repository}"
        sample = inquiry.sample
        self._again = sample.blob if sample and sample.content is not None else None
        self._content = (sample.content if sample else None) or _STAND_IN
        self._location: str | None = None
        self._sent = 0
        self._goes_on = Ability(STANDING, "unknown", "no part of an upload was taken")

    def run(self) -> None:
        inquiry = self._inquiry
        if inquiry.find(UPLOADS, self._begin_first).answer != "yes":
            why = "no upload can be begun"
            inquiry.abilities += [Ability(name, "unknown", why) for name in _UPLOADING[1:]]
            return
        inquiry.find(PARTS, self._try_parts)
        inquiry.abilities.append(self._goes_on)
        self.close()
        inquiry.find(STREAMS, self._clean(STREAMS, self._try_stream))
        self.close()
        inquiry.find(MOUNTS, self._clean(MOUNTS, self._try_mount))

    def close(self) -> None:
        """End the upload that is open: completed where that changes nothing, else cancelled."""
        location, self._location = self._location, None
        if location is None:
            return
        blob, rest = self._again, self._content[self._sent :]
        try:
            if blob is not None and (not rest or not self._sent):
                body = BytesBlob(rest).open if rest else None
                self._api.finish(location, blob, self._what, body)
                return
        except OcimlpackError:
            pass  # then it is cancelled, which is as good but on some registries
        self._cancel(location)

    def _cancel(self, location: str) -> None:
        inquiry = self._inquiry
        try:
            reply = inquiry.ask("DELETE", location, inquiry.push)
            if reply.status in _DONE or reply.status == 404:
                return
            why = reply.detail
        except OcimlpackError as error:
            why = error.message
        inquiry.left.append(f"an upload to {inquiry.repository} that can't be cancelled ({why})")

    def _clean(self, name: str, attempt: Callable[[], Ability]) -> Callable[[], Ability]:
        """The attempt, unless what it begins would stay."""
        if self._inquiry.left:
            return lambda: Ability(name, "unknown", "not tried: an upload would be left")
        return attempt

    def _begin(self) -> Standing:
        standing = self._api.begin(self._what)
        self._location, self._sent = standing.location, 0
        return standing

    def _begin_first(self) -> Ability:
        try:
            self.smallest = self._begin().smallest
        except UnsupportedError as error:
            return Ability(UPLOADS, "no", error.message)
        return Ability(UPLOADS, "yes")

    def _try_parts(self) -> Ability:
        size, smallest = len(self._content), self.smallest or 0
        cut = min(max(smallest, size // 2), size) if size >= _DIVIDED else size
        try:
            self._send(0, cut)
        except (UnsupportedError, NotFoundError) as error:
            self.whole = error.status in {404, 405, 501}
            return Ability(PARTS, "no", error.message)
        self.whole = False
        self._goes_on = self._inquiry.tried(STANDING, self._ask_standing)
        said = f"of {smallest:,} bytes or more" if smallest else "of any size"
        if cut == size:
            return Ability(PARTS, "yes", f"{said}; only one was tried")
        try:
            self._send(cut, size)
        except (UnsupportedError, NotFoundError) as error:
            return Ability(PARTS, "no", f"only the first is taken: {error.message}")
        return Ability(PARTS, "yes", said)

    def _send(self, begin: int, end: int) -> None:
        body = BytesBlob(self._content[begin:end]).open
        location = self._location or ""
        standing = self._api.patch(location, begin, end - begin, body, self._what, part=True)
        self._location, self._sent = standing.location, end
        self.smallest = standing.smallest or self.smallest

    def _ask_standing(self) -> Ability:
        standing = self._api.ask(self._location or "", self._what)
        if standing is None:
            return Ability(STANDING, "no", "it does not know of an upload that is under way")
        self._location = standing.location
        if standing.stored is None:
            return Ability(STANDING, "no", "it does not say how far an upload is")
        if standing.stored != self._sent:
            return Ability(STANDING, "no", f"{standing.stored} bytes, it says, of {self._sent}")
        return Ability(STANDING, "yes")

    def _try_stream(self) -> Ability:
        location = self._begin().location
        # Without a length, the body is sent in chunks of HTTP's own.
        reply = self._inquiry.ask(
            "PATCH",
            location,
            self._inquiry.push,
            headers={"Content-Type": "application/octet-stream"},
            body=BytesBlob(self._content).open,
        )
        if reply.status not in _DONE:
            return refused(STREAMS, reply)
        self._sent = len(self._content)
        if following := reply.headers.get("Location"):
            self._location = self._inquiry.session.locate(reply.url, following, self._what)
        return Ability(STREAMS, "yes")

    def _try_mount(self) -> Ability:
        inquiry = self._inquiry
        blob = inquiry.sample.blob if inquiry.sample else None
        if blob is None:
            return Ability(MOUNTS, "unknown", "there is no blob to try it with")
        # From the repository to itself: so nothing comes to it that it has not.
        query = urllib.parse.urlencode({"mount": str(blob.digest), "from": inquiry.repository})
        reply = inquiry.ask("POST", f"{inquiry.base}/blobs/uploads/?{query}", inquiry.push)
        if reply.status == 201:
            return Ability(MOUNTS, "yes")
        if reply.status not in _DONE:
            return refused(MOUNTS, reply)
        if location := reply.headers.get("Location"):
            self._location = inquiry.session.locate(reply.url, location, self._what)
            self._sent = 0
        return Ability(MOUNTS, "no", "an upload is begun instead")


class _Deletions:
    """Deletions of what is not there."""

    def __init__(self, inquiry: Inquiry) -> None:
        self._inquiry = inquiry

    def run(self) -> None:
        self._inquiry.find(DELETION, lambda: self._try(DELETION, str(nowhere())))
        tag = f"ocimlpack-doctor-{secrets.token_hex(8)}"
        self._inquiry.find(UNTAGGING, lambda: self._try(UNTAGGING, tag))

    def _try(self, name: str, target: str) -> Ability:
        reply = delete(self._inquiry, target)
        if reply.lacks_repository:
            return Ability(name, "unknown", reply.detail)
        # That there is no such thing is what a registry says that would have deleted it.
        if reply.status in _DONE or reply.status == 404:
            return Ability(name, "yes")
        return refused(name, reply)


class _Manifests:
    """Manifests whose content can't be there, of types that a registry may not know."""

    def __init__(self, inquiry: Inquiry) -> None:
        self._inquiry = inquiry
        self._plain: Reply | None = None

    def run(self) -> None:
        inquiry = self._inquiry
        plain = inquiry.tried("", self._put_plain)
        for name, manifest in (
            (ARTIFACT_TYPE, _manifest(artifact_type=MODEL_MANIFEST)),
            (CONFIG, _manifest(config=MODEL_CONFIG)),
            (LAYERS, _manifest(layer=model_layer("weight"))),
        ):
            if self._plain is None:
                inquiry.abilities.append(Ability(name, "unknown", plain.detail))
            else:
                inquiry.find(name, partial(self._try, name, manifest))

    def _put_plain(self) -> Ability:
        """An ordinary image's manifest: what it is answered, the others are held against."""
        self._plain = self._put(_manifest())
        return Ability("", "yes")

    def _try(self, name: str, manifest: Manifest) -> Ability:
        plain = self._plain
        if plain is None or self._inquiry.left:
            return Ability(name, "unknown", "not tried: a manifest would be left")
        if plain.is_personal:
            return refused(name, plain)
        reply = self._put(manifest)
        if _is_understood(reply):
            stored = "though content is missing" if reply.status in _DONE else ""
            return Ability(name, "yes", stored)
        if not _is_understood(plain) and (plain.status, plain.code) == (reply.status, reply.code):
            return Ability(name, "unknown", f"an image is refused alike: {plain.detail}")
        return Ability(name, "no", reply.detail)

    def _put(self, manifest: Manifest) -> Reply:
        inquiry, digest = self._inquiry, str(manifest.descriptor.digest)
        reply = inquiry.ask(
            "PUT",
            f"{inquiry.base}/manifests/{digest}",
            inquiry.push,
            headers={"Content-Type": OCI_MANIFEST},
            body=manifest.raw,
        )
        if reply.status in _DONE and delete(inquiry, digest).status not in _DONE:
            inquiry.left.append(f"the manifest {inquiry.repository}@{digest}")
        return reply


def delete(inquiry: Inquiry, target: str) -> Reply:
    """Ask for the deletion of a manifest or a tag."""
    scope = repository_scope(inquiry.repository, "pull", "push", "delete")
    return inquiry.ask("DELETE", f"{inquiry.base}/manifests/{target}", scope)


def _is_understood(reply: Reply) -> bool:
    """Whether only the content was missing, or not even that was minded."""
    if reply.status in _DONE or reply.code in _CONTENT_MISSING:
        return True
    return reply.status == 404 and not reply.lacks_repository


def _manifest(
    config: str = OCI_CONFIG,
    layer: str = f"{OCI_LAYER_PREFIX}tar",
    artifact_type: str | None = None,
) -> Manifest:
    return manifests.build(
        Descriptor(config, nowhere(), 2),
        [Descriptor(layer, nowhere(), 2)],
        artifact_type=artifact_type,
    )
