"""A repository of an OCI registry as a `Store`.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ocimlpack.errors import (
    IntegrityError,
    InvalidContentError,
    NotAllowedError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode
from ocimlpack.spec.manifest import Index, Manifest
from ocimlpack.spec.mediatypes import (
    DOCKER_CONFIG,
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    is_manifest,
)
from ocimlpack.spec.reference import check_tag
from ocimlpack.stores import home, referrers
from ocimlpack.stores.base import Blob, BytesBlob, Ingest, ReadableStore
from ocimlpack.stores.challenge import repository_scope
from ocimlpack.stores.download import RegistryBlob
from ocimlpack.stores.learned import Host
from ocimlpack.stores.upload import Upload
from ocimlpack.stores.verify import read_all

if TYPE_CHECKING:
    from ocimlpack.stores._http import Response
    from ocimlpack.stores._oras import Session

_ACCEPT: Final = ", ".join(sorted(MANIFESTS | INDEXES))
_MAX_LIST: Final = 16 * 1024 * 1024
_MAX_PAGES: Final = 10_000
_MAX_REMEMBERED: Final = 16
_SMALL: Final = 256 * 1024
"""Bytes up to which sending a blob that is there already costs about what asking for it does."""
_CONVINCING: Final = 32
"""So many absent ones in a row are taken for a sign that the next are absent too."""
_SAMPLE: Final = 16
"""Of so many, one is asked for all the same."""
_DOUBTS: Final = 2
"""How often a refusal of a manifest's digest is doubted: see `RegistryStore._put_manifest`."""
_NEXT: Final = re.compile(r'<([^>]*)>\s*;(?:[^,]*;)?\s*rel="?next"?', re.IGNORECASE)


class RegistryStore:
    """A `Store` behind the distribution API.

    Attributes:
        session: the registry.
        repository: the repository's name there.
        host: what is known of the registry from earlier runs and by now.
    """

    def __init__(self, session: Session, repository: str) -> None:
        self.session = session
        self.repository = repository
        self.host = Host(home.hosts(), urllib.parse.urlsplit(session.origin).netloc)
        self._base = f"/v2/{repository}"
        self._pull = repository_scope(repository, "pull")
        self._push = repository_scope(repository, "pull", "push")
        self._absent: set[Digest] = set()
        self._present: set[Digest] = set()
        # Hints, so nothing is lost where two threads count at once.
        self._absences = 0
        self._presumed = 0
        self._remembered: dict[Digest, bytes] = {}
        self._upload = Upload(session, repository, self.host, self._ask, self._stored)

    def resolve(self, name: str) -> Descriptor:
        """The descriptor that a tag or a digest stands for, by a HEAD where that suffices."""
        wanted = Digest.parse(name) if ":" in name else None
        response = self.session.request(
            "HEAD",
            f"{self._base}/manifests/{name}",
            what=self._called(name),
            scope=self._pull,
            expect=(200, 405),
            headers={"Accept": _ACCEPT},
        )
        response.close()
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        digest, size = (
            response.headers.get("Docker-Content-Digest"),
            response.headers.get("Content-Length"),
        )
        if response.status != 200 or not digest or not size or not is_manifest(media_type):
            return self._resolve_by_reading(name, wanted)
        found = Descriptor.from_json(
            {
                "mediaType": media_type,
                "digest": digest,
                "size": int(size) if size.isdigit() else None,
            },
            f"the answer of {self.session.host}",
        )
        if wanted and found.digest != wanted:
            raise _other_manifest(self.session.host, wanted, found.digest)
        return found

    def _resolve_by_reading(self, name: str, wanted: Digest | None) -> Descriptor:
        response, raw = self._read_manifest(name)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        desc = manifests.parse(raw, media_type).descriptor
        if wanted and wanted != desc.digest:
            if wanted.algorithm == "sha256":
                raise _other_manifest(self.session.host, wanted, desc.digest)
            desc = Descriptor(desc.media_type, wanted, desc.size)
            read_all(BytesBlob(raw), desc)
        self._remember(desc.digest, raw)
        return desc

    def exists(self, desc: Descriptor) -> bool:
        """Whether the registry has it, in this repository."""
        if desc.digest in self._present:
            return True  # it was brought there a moment ago
        there = self._ask(desc)
        if not there:
            self._absent.add(desc.digest)
        self._absences = 0 if there else self._absences + 1
        return there

    def presume_absent(self, desc: Descriptor) -> bool:
        """Whether to bring a small blob without asking, as the last ones were all absent.

        Asking takes as long as half of such an upload. Now and then one is asked for all the same:
        others may have pushed the rest of these files before.
        """
        if desc.size > _SMALL or desc.digest in self._present or is_manifest(desc.media_type):
            return False
        if self._absences < _CONVINCING:
            return False
        self._presumed += 1
        if self._presumed % _SAMPLE == 0:
            return False
        self._absent.add(desc.digest)
        return True

    def _ask(self, desc: Descriptor) -> bool:
        kind = "manifests" if is_manifest(desc.media_type) else "blobs"
        response = self.session.request(
            "HEAD",
            f"{self._base}/{kind}/{desc.digest}",
            what=f"{desc.digest} in {self.repository}",
            scope=self._pull,
            expect=(200, 404),
            headers={"Accept": _ACCEPT} if kind == "manifests" else {},
        )
        response.close()
        size = response.headers.get("Content-Length")
        return response.status == 200 and (size is None or size == str(desc.size))

    def _stored(self, desc: Descriptor) -> None:
        self._present.add(desc.digest)

    def fetch(self, desc: Descriptor) -> Blob:
        """The content: a manifest at once, a blob when it is opened."""
        if not is_manifest(desc.media_type):
            return RegistryBlob(self.session, self.repository, desc, self.host)
        raw = self._remembered.get(desc.digest)
        if raw is None:
            # Checked here and not only by the reader: a pinned digest is what people rely on.
            raw = self._read_manifest(str(desc.digest))[1]
            self._check_pinned(desc, raw)
            self._remember(desc.digest, raw)
        return BytesBlob(raw)

    def read(self, desc: Descriptor, offset: int, length: int) -> bytes:
        """A part of a blob, by a range request."""
        if length <= 0 or offset >= desc.size:
            return b""
        return RegistryBlob(self.session, self.repository, desc, self.host).read(offset, length)

    def push(self, desc: Descriptor, blob: Blob) -> None:
        """Take content in: a blob by an upload, a manifest by a single request."""
        if desc.digest in self._present:
            return
        if desc.digest in self._absent:
            # `exists` has just said so, and a second request would cost as much as the first.
            self._absent.discard(desc.digest)
        elif self._ask(desc):
            return
        if not is_manifest(desc.media_type):
            self._upload.send(desc, blob)
            return
        raw = read_all(blob, desc)
        node = manifests.parse(raw, desc.media_type)
        try:
            response = self._put_manifest(str(desc.digest), desc.media_type, raw)
        except (NotAllowedError, UnsupportedError) as error:
            if error.status != 401 and not _is_image(node):
                about = f"ocimlpack doctor {self.session.host}/{self.repository} says what it takes"
                hint = f"it may take images alone: push with --image-config; {about}"
                error.hint = f"{error.hint}; or {hint}" if error.hint else hint
            raise
        self._check_stored(desc, response)
        self._remember(desc.digest, raw)
        if node.subject is None:
            return
        if "OCI-Subject" in response.headers:
            self.host.lists_referrers(True)
        else:
            referrers.add(self, node.subject, node)

    def begin(self, size: int, identity: str) -> Ingest:
        """Begin an upload of content whose digest isn't known, or go on with an earlier one.

        Args:
            size: bytes in all.
            identity: tells the source from others and from its own earlier content.
        """
        return self._upload.begin(size, identity)

    def tag(self, desc: Descriptor, name: str) -> None:
        """Let the tag stand for this manifest."""
        check_tag(name)
        raw = read_all(self.fetch(desc), desc)
        self._check_stored(desc, self._put_manifest(name, desc.media_type, raw))

    def tags(self) -> list[str]:
        """Every tag, sorted."""
        pages = list_pages(
            self.session,
            f"{self._base}/tags/list",
            "tags",
            self._pull,
            f"tags of {self.repository}",
        )
        return sorted(set(pages))

    def untag(self, name: str) -> None:
        """Take the tag away, where the registry can do that."""
        self._delete(
            check_tag(name),
            f"the tag {name} of {self.repository}",
            "this registry only deletes whole manifests: "
            f"ocimlpack rm {self.session.host}/{self.repository}@DIGEST",
        )

    def delete(self, desc: Descriptor) -> int:
        """Remove a manifest and its tags; the registry frees their content when it cleans up."""
        self._delete(
            str(desc.digest),
            f"{desc.digest} in {self.repository}",
            ("deletion is switched off there, or not offered at all"),
        )
        self._remembered.pop(desc.digest, None)
        return 0

    def mount(self, desc: Descriptor, source: ReadableStore) -> bool:
        """Take a blob over from another repository of the same registry."""
        if not isinstance(source, RegistryStore) or source.session.origin != self.session.origin:
            return False
        if is_manifest(desc.media_type) or source.repository == self.repository:
            return False
        return self._upload.mount(desc, source.repository)

    def referrers(self, desc: Descriptor) -> list[Descriptor]:
        """Manifests whose subject this is, by the API or the tag that stands in for it."""
        known = self.host.limits.referrers
        if not known and (found := referrers.listed(self, desc.digest)):
            return found
        what = f"referrers of {desc.digest}"
        response, content = self.session.read(
            f"{self._base}/referrers/{desc.digest}",
            what=what,
            scope=self._pull,
            limit=manifests.MAX_SIZE,
            expect=(200, 404, 405, 501),
        )
        if response.status == 200:
            found = referrers.parse(content, f"the {what} at {self.session.host}")
            self.host.lists_referrers(True)
            return found
        found = referrers.listed(self, desc.digest) if known else []
        if found:  # else it may be only the repository that is not there
            self.host.lists_referrers(False)
        return found

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def _read_manifest(self, name: str) -> tuple[Response, bytes]:
        return self.session.read(
            f"{self._base}/manifests/{name}",
            what=self._called(name),
            scope=self._pull,
            limit=manifests.MAX_SIZE,
            headers={"Accept": _ACCEPT},
        )

    def _called(self, name: str) -> str:
        return f"{self.repository}{'@' if ':' in name else ':'}{name}"

    def _put_manifest(self, name: str, media_type: str, raw: bytes) -> Response:
        """Send a manifest; one whose digest is refused is sent again, twice at most.

        distribution 2 keeps what a repository has in files that it rewrites in place. Whoever puts
        a manifest while another pushes the same blob may meet one that is empty at this moment; the
        answer is DIGEST_INVALID, though all is well. The digest is of these very bytes, so nothing
        can be wrong that stays so, but for bytes that were changed on the way.
        """
        tries = self.session.tries()
        for _ in range(_DOUBTS):
            try:
                return self._send_manifest(name, media_type, raw)
            except IntegrityError as error:
                if error.status is None:
                    raise
                try:
                    tries.pause(UnavailableError(error.message, status=error.status))
                except UnavailableError:
                    # A short policy allows fewer tries. It stays what it is: the one kind of
                    # failure that must never send anybody to a fallback.
                    raise error from None
        return self._send_manifest(name, media_type, raw)

    def _send_manifest(self, name: str, media_type: str, raw: bytes) -> Response:
        response = self.session.request(
            "PUT",
            f"{self._base}/manifests/{name}",
            what=f"the manifest {self._called(name)}",
            scope=self._push,
            expect=(200, 201, 202),
            headers={"Content-Type": media_type},
            body=raw,
        )
        response.close()
        return response

    def _check_stored(self, desc: Descriptor, response: Response) -> None:
        stored = response.headers.get("Docker-Content-Digest")
        if stored and desc.digest.algorithm == "sha256" and stored != str(desc.digest):
            raise IntegrityError(
                f"{self.session.host} stored the manifest {desc.digest} as {stored:.100}",
                digest=str(desc.digest),
            )

    def _check_pinned(self, desc: Descriptor, raw: bytes) -> None:
        if desc.digest.algorithm == "sha256" and Digest.of(raw) != desc.digest:
            raise _other_manifest(self.session.host, desc.digest, Digest.of(raw))

    def _delete(self, name: str, what: str, hint: str) -> None:
        try:
            self.session.request(
                "DELETE",
                f"{self._base}/manifests/{name}",
                what=what,
                scope=repository_scope(self.repository, "pull", "push", "delete"),
                expect=(200, 202, 204),
            ).close()
        except (UnsupportedError, IntegrityError) as error:
            # Also DIGEST_INVALID: a tag is no digest to a registry that can only delete by digest.
            raise UnsupportedError(
                f"{self.session.host} can't delete {what}: status {error.status}",
                hint=hint,
                status=error.status,
            ) from error

    def _remember(self, digest: Digest, raw: bytes) -> None:
        """Keep a few manifests: what was just pushed is tagged next, what was resolved is read."""
        while len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[digest] = raw


def list_repositories(session: Session) -> list[str]:
    """Every repository that the registry lists to these credentials, sorted."""
    return sorted(
        set(
            list_pages(
                session,
                "/v2/_catalog",
                "repositories",
                "registry:catalog:*",
                "list of repositories",
            )
        )
    )


def list_pages(session: Session, path: str, key: str, scope: str, what: str) -> Iterator[str]:
    """The items of a list that comes in pages.

    Raises:
        InvalidContentError: no such list, or one that never ends.
    """
    url: str | None = f"{path}?n=1000"
    seen: set[str] = set()
    for _ in range(_MAX_PAGES):
        if url is None:
            return
        if url in seen:
            break
        seen.add(url)
        response, content = session.read(url, what=what, scope=scope, limit=_MAX_LIST)
        page = decode(content, f"the {what}")
        # Null stands for an empty list: Go writes it so.
        items = (page.get(key) or []) if isinstance(page, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise InvalidContentError(f"{session.host} gave no {what} that can be read")
        yield from items
        url = _next_page(session, response, what)
    raise InvalidContentError(f"the {what} at {session.host} has no end")


def _next_page(session: Session, response: Response, what: str) -> str | None:
    link = _NEXT.search(response.headers.get("Link", ""))
    if not link:
        return None
    url = session.locate(response.url, link.group(1), what)
    if not session.same_origin(url):
        raise InvalidContentError(f"{session.host} continues the {what} on another host")
    return url


def _is_image(node: Manifest | Index) -> bool:
    """Whether it has nothing that registries for images alone may refuse."""
    images = {OCI_CONFIG, DOCKER_CONFIG}
    return isinstance(node, Index) or (
        node.artifact_type is None and node.config.media_type in images
    )


def _other_manifest(host: str, wanted: Digest, found: Digest) -> IntegrityError:
    return IntegrityError(
        f"{host} gave another manifest than asked for: {found} instead of {wanted}",
        digest=str(wanted),
    )
