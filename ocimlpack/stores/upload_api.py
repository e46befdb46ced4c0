"""The requests that an upload is made of, each by itself.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ocimlpack.errors import (
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.retry import Tries
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.challenge import repository_scope

if TYPE_CHECKING:
    from ocimlpack.stores._http import Body, Response
    from ocimlpack.stores._oras import Session

_COMMIT_SECONDS: Final = 900.0
"""How long a registry may be silent after the last byte: some copy the whole blob within object
storage before they answer."""

_PART_SECONDS: Final = 120.0
"""The same for a part, after which the registry is asked what it has of it."""

_RANGE: Final = re.compile(r"(?:bytes[= ])?0-([0-9]{1,18})")

_NUMBER: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the registry says of an upload session.

    Attributes:
        location: its address from now on.
        stored: the bytes that it has; None where it does not say.
        smallest: the fewest bytes that a part may have, 0 where it does not say.
    """

    location: str
    stored: int | None
    smallest: int


class UploadApi:
    """Uploads into one repository, request by request.

    Attributes:
        session: the registry.
        repository: the repository's name there.
        has: asks whether the repository has a blob.
    """

    def __init__(
        self,
        session: Session,
        repository: str,
        has: Callable[[Descriptor], bool],
    ) -> None:
        """Prepare.

        Args:
            session: the registry.
            repository: the repository's name there.
            has: asks whether the repository has a blob.
        """
        self.session = session
        self.repository = repository
        self.has = has
        self._path = f"/v2/{repository}/blobs/uploads/"
        self._scope = repository_scope(repository, "pull", "push")

    def tries(self) -> Tries:
        """A count of failures for one upload."""
        return self.session.tries()

    def what(self, digest: Digest | None) -> str:
        """What is done, in words, for errors."""
        return f"the upload of {digest or 'a blob'} to {self.repository}"

    def begin(self, what: str) -> Standing:
        """Begin a session.

        Raises:
            OcimlpackError: the registry refuses, or keeps failing.
        """
        response = self.session.request(
            "POST", self._path, what=what, scope=self._scope, expect=(202,)
        )
        response.close()
        return self._standing(response, None, what)

    def mount(self, desc: Descriptor, source: str) -> bool | str:
        """Ask the registry to take the blob over from another repository.

        Returns:
            Whether it did; or the address of a session that it began instead.
        """
        query = urllib.parse.urlencode({"mount": str(desc.digest), "from": source})
        scope = f"{self._scope} {repository_scope(source, 'pull')}"
        what = f"the mount of {desc.digest} from {source}"
        try:
            response = self.session.request(
                "POST", f"{self._path}?{query}", what=what, scope=scope, expect=(201, 202)
            )
        except (NotAllowedError, NotFoundError, UnsupportedError):
            return False  # a push of the bytes may still be allowed
        response.close()
        if response.status == 201:
            return True
        location = response.headers.get("Location")
        return self.session.locate(response.url, location, what) if location else False

    def ask(self, location: str, what: str) -> Standing | None:
        """Ask what the registry has of an upload; None if it knows nothing of it any more.

        Raises:
            UnavailableError: the registry keeps failing.

        https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks
        """
        try:
            response = self.session.request(
                "GET", location, what=what, scope=self._scope, expect=(200, 202, 204)
            )
        except OcimlpackError as error:
            # Where the registry itself can't be reached, a new session is no better. Any other
            # answer, and any other host, is that of a session that was: it may have expired.
            if isinstance(error, UnavailableError) and self.session.same_origin(location):
                raise
            return None
        response.close()
        return self._standing(response, location, what)

    def patch(
        self, location: str, offset: int, length: int, body: Body, what: str, *, part: bool
    ) -> Standing:
        """Send bytes; a failure is the caller's to mend, who knows what was sent.

        Args:
            location: the session's address.
            offset: where the bytes begin.
            length: how many there are.
            body: opens them.
            what: what is done, in words.
            part: whether they are less than all, and the registry is to be told which.
        """
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        if part:
            headers["Content-Range"] = f"{offset}-{offset + length - 1}"
        response = self.session.request(
            "PATCH",
            location,
            what=what,
            scope=self._scope,
            # The specification's is 202.
            expect=(200, 201, 202, 204),
            headers=headers,
            body=body,
            retries=False,
            timeout=_PART_SECONDS,
        )
        response.close()
        return self._standing(response, location, what)

    def finish(self, location: str, desc: Descriptor, what: str, body: Body | None = None) -> None:
        """Give the bytes their name, with all of them or after all of them.

        Raises:
            IntegrityError: they are not what the descriptor says; the registry keeps nothing.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if body:
            headers["Content-Length"] = str(desc.size)
        response = self.session.request(
            "PUT",
            _with_digest(location, desc.digest),
            what=what,
            scope=self._scope,
            expect=(200, 201, 204),
            headers=headers,
            body=body,
            retries=False,
            timeout=_COMMIT_SECONDS,
        )
        response.close()
        named = response.headers.get("Docker-Content-Digest")
        if named and desc.digest.algorithm == "sha256" and named != str(desc.digest):
            raise IntegrityError(
                f"{self.session.host} stored {desc.digest} as {named:.100}",
                digest=str(desc.digest),
            )

    def cancel(self, location: str) -> None:
        """Throw a session away."""
        # A registry clears away what it was not told of, in its time: no reason to fail, or wait.
        with suppress(OcimlpackError):
            self.session.request(
                "DELETE",
                location,
                what="an unfinished upload",
                scope=self._scope,
                expect=(200, 202, 204, 404),
                retries=False,
            ).close()

    def _standing(self, response: Response, before: str | None, what: str) -> Standing:
        location = response.headers.get("Location")
        if location or before is None:
            before = self.session.locate(response.url, location, what)
        smallest = response.headers.get("OCI-Chunk-Min-Length", "")
        return Standing(
            before,
            _count(response.headers.get("Range")),
            int(smallest) if _NUMBER.fullmatch(smallest) else 0,
        )


def _count(header: str | None) -> int | None:
    """Bytes that a Range header stands for, of which the last one's offset is named.

    Of no bytes at all, registries say "0-0", which would be one.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if not found:
        return None
    last = int(found[1])
    return last + 1 if last else 0


def _with_digest(location: str, digest: Digest) -> str:
    parts = urllib.parse.urlsplit(location)
    # Appended, not rebuilt: some registries sign the query they gave, byte by byte.
    query = f"{parts.query}&" if parts.query else ""
    return parts._replace(query=f"{query}digest={urllib.parse.quote(str(digest))}").geturl()
