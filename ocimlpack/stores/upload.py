"""Bringing a blob into a registry: an upload session, or a mount from another repository.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from ocimlpack.errors import (
    InputError,
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import Blob
from ocimlpack.stores.challenge import repository_scope
from ocimlpack.stores.verify import Verifier

if TYPE_CHECKING:
    from ocimlpack.stores._oras import Session

_COMMIT_SECONDS: Final = 900.0
"""How long a registry may be silent after the last byte: some copy the whole blob within object
storage before they answer."""


class Upload:
    """Uploads into one repository."""

    def __init__(
        self, session: Session, repository: str, has: Callable[[Descriptor], bool]
    ) -> None:
        """Prepare.

        Args:
            session: the registry.
            repository: the repository's name there.
            has: asks whether the repository has a blob.
        """
        self._session = session
        self._repository = repository
        self._has = has
        self._path = f"/v2/{repository}/blobs/uploads/"
        self._scope = repository_scope(repository, "pull", "push")
        self._started: dict[Digest, str] = {}

    def send(self, desc: Descriptor, blob: Blob) -> None:
        """Upload a blob, in one request behind the one that begins the session.

        What may pass is tried again from a new session: the state of the old one isn't known.

        Raises:
            IntegrityError: the blob's bytes are not what the descriptor says; the registry keeps
                nothing of them.
            UnavailableError: the registry kept failing.
        """
        what = f"the upload of {desc.digest} to {self._repository}"
        tries = self._session.tries()
        while True:
            location = self._started.pop(desc.digest, None) or self._begin(what)
            try:
                self._put(desc, blob, location, what)
            except UnavailableError as error:
                tries.pause(error)
                if self._has(desc):
                    return  # it was only the answer that got lost
            except NotFoundError as error:
                # The session is gone, as after a restart of the registry: begin another one.
                tries.pause(UnavailableError(error.message, status=error.status))
            else:
                return

    def mount(self, desc: Descriptor, source: str) -> bool:
        """Ask the registry to take the blob over from another repository; False if it declines."""
        query = urllib.parse.urlencode({"mount": str(desc.digest), "from": source})
        scope = f"{self._scope} {repository_scope(source, 'pull')}"
        what = f"the mount of {desc.digest} from {source}"
        try:
            response = self._session.request(
                "POST", f"{self._path}?{query}", what=what, scope=scope, expect=(201, 202)
            )
        except (NotAllowedError, NotFoundError, UnsupportedError):
            return False  # a push of the bytes may still be allowed
        response.close()
        if response.status == 201:
            return True
        if location := response.headers.get("Location"):
            # Declined, with an upload session begun instead: the push that follows uses it.
            self._started[desc.digest] = self._session.locate(response.url, location, what)
        return False

    def _begin(self, what: str) -> str:
        response = self._session.request(
            "POST", self._path, what=what, scope=self._scope, expect=(202,)
        )
        response.close()
        return self._session.locate(response.url, response.headers.get("Location"), what)

    def _put(self, desc: Descriptor, blob: Blob, location: str, what: str) -> None:
        @contextmanager
        def body() -> Iterator[BinaryIO]:
            with blob.open() as stream:
                yield cast(BinaryIO, _VerifiedStream(stream, desc))

        response = self._session.request(
            "PUT",
            _with_digest(location, desc.digest),
            what=what,
            scope=self._scope,
            expect=(200, 201, 204),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(desc.size)},
            body=body,
            retries=False,
            timeout=_COMMIT_SECONDS,
        )
        response.close()
        stored = response.headers.get("Docker-Content-Digest")
        if stored and desc.digest.algorithm == "sha256" and stored != str(desc.digest):
            raise IntegrityError(
                f"{self._session.host} stored {desc.digest} as {stored:.100}",
                digest=str(desc.digest),
            )


class _VerifiedStream:
    """Lets the last bytes go only when all of them are known to be right.

    A registry that does not compare digests itself then has an upload that never ended, not a blob
    under a name that is not its own.
    """

    def __init__(self, stream: BinaryIO, desc: Descriptor) -> None:
        self._stream = stream
        self._verifier = Verifier(desc)
        self._size = desc.size
        self._finished = False

    def read(self, size: int = -1) -> bytes:
        try:
            chunk = self._stream.read(size)
        except OSError as error:
            # Said here: further out it would be taken for the connection's failure.
            raise InputError(
                f"can't read what is uploaded: {error.strerror}", side="source"
            ) from error
        self._verifier.update(chunk)
        if not self._finished and (not chunk or self._verifier.seen == self._size):
            self._verifier.finish()
            self._finished = True
        return chunk


def _with_digest(location: str, digest: Digest) -> str:
    parts = urllib.parse.urlsplit(location)
    # Appended, not rebuilt: some registries sign the query they gave, byte by byte.
    query = f"{parts.query}&" if parts.query else ""
    return parts._replace(query=f"{query}digest={urllib.parse.quote(str(digest))}").geturl()
