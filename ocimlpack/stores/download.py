"""Reading a blob from a registry: a stream that goes on where a broken connection left it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from ocimlpack.errors import IntegrityError, UnavailableError, UnsupportedError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import CHUNK
from ocimlpack.stores.challenge import repository_scope
from ocimlpack.stores.files import read_exactly

if TYPE_CHECKING:
    from ocimlpack.stores._http import Response
    from ocimlpack.stores._oras import Session

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")


class RegistryBlob:
    """A `Blob` behind `GET /v2/REPOSITORY/blobs/DIGEST`."""

    def __init__(self, session: Session, repository: str, desc: Descriptor) -> None:
        self._session = session
        self._repository = repository
        self._desc = desc

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on; a connection that breaks on the way is replaced."""
        stream = _ResumingStream(self, offset, self._session)
        try:
            yield cast(BinaryIO, stream)
        finally:
            stream.close()

    def read(self, offset: int, length: int) -> bytes:
        """Exactly the bytes from `offset` on, fewer only at the blob's end."""
        end = min(offset + length, self._desc.size)
        parts: list[bytes] = []
        tries = self._session.tries()
        while offset < end:
            response = self.request(offset, end - 1)
            try:
                part = read_exactly(cast(BinaryIO, response), end - offset)
            except UnavailableError as error:
                tries.pause(error)
                continue
            finally:
                response.close()
            if not part:
                break
            # A server may answer with less than was asked for: RFC 9110, section 15.3.7.
            parts.append(part)
            offset += len(part)
            tries.progressed()
        return b"".join(parts)

    def request(self, offset: int, last: int | None = None) -> Response:
        """Ask for the blob from `offset` on, and be at `offset` when this returns.

        Raises:
            IntegrityError: another part than asked for.
            UnsupportedError: the content comes compressed, so that it isn't what the digest is of.
        """
        headers = {}
        if offset or last is not None:
            headers["Range"] = f"bytes={offset}-{'' if last is None else last}"
        what = f"the blob {self._desc.digest} of {self._repository}"
        response = self._session.request(
            "GET",
            f"/v2/{self._repository}/blobs/{self._desc.digest}",
            what=what,
            scope=repository_scope(self._repository, "pull"),
            expect=(200, 206) if headers else (200,),
            headers=headers,
        )
        try:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise UnsupportedError(
                    f"{self._session.host} sends {what} in another encoding than asked for"
                )
            if response.status == 206:
                self._check_range(response, offset, what)
            elif offset:
                _skip(response, offset, what)  # the range was ignored: the answer is the whole blob
        except BaseException:
            response.close()
            raise
        return response

    def _check_range(self, response: Response, offset: int, what: str) -> None:
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if (
            not found
            or int(found.group(1)) != offset
            or found.group(3) not in {"*", str(self._desc.size)}
        ):
            raise IntegrityError(
                f"{self._session.host} sent another part of {what} than asked for",
                digest=str(self._desc.digest),
            )

    @property
    def size(self) -> int:
        """Bytes of the whole blob."""
        return self._desc.size


class _ResumingStream:
    def __init__(self, blob: RegistryBlob, offset: int, session: Session) -> None:
        self._blob = blob
        self._offset = offset
        self._tries = session.tries()
        self._response: Response | None = None
        self._progress = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes. A failure counts against the policy until bytes flow again."""
        if size < 0:
            size = CHUNK
        while True:
            if self._response is None:
                if self._offset >= self._blob.size > 0:
                    return b""
                self._response = self._blob.request(self._offset)
                self._progress = 0
            try:
                chunk = self._response.read(size)
            except UnavailableError as error:
                self.close()
                self._tries.pause(error)
                continue
            if not chunk and self._is_partial():
                self.close()
                continue
            self._offset += len(chunk)
            self._progress += len(chunk)
            if chunk:
                self._tries.progressed()
            return chunk

    def _is_partial(self) -> bool:
        """Whether the answer was a part that ends before the blob does; the next is asked for.

        A part that brought nothing is the end: the verifier then says that bytes are missing.
        """
        ended = self._response is not None and self._response.status == 206
        return ended and self._progress > 0 and self._offset < self._blob.size

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _skip(response: Response, count: int, what: str) -> None:
    while count > 0:
        chunk = response.read(min(count, CHUNK))
        if not chunk:
            raise IntegrityError(f"{what} ends before the part that was asked for")
        count -= len(chunk)
