"""Reading a blob from a registry: a stream that goes on where a broken connection left it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from ocimlpack.errors import (
    IntegrityError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import CHUNK, PartStream, RangeIgnoredError
from ocimlpack.stores.challenge import repository_scope
from ocimlpack.stores.files import read_exactly
from ocimlpack.stores.learned import Host

if TYPE_CHECKING:
    from ocimlpack.stores._http import Response
    from ocimlpack.stores._oras import Session

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")

_WORTHWHILE: Final = 16 * 1024
"""Bytes that have to come before failures are forgiven: a server that sends one at a time would be
asked for ever."""


_MAX_ANSWER_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 10.0
_ANSWER_TIMES: Final = 10.0
"""A first answer may take long, where a registry has to fetch the blob itself. One that takes so
many times what others took, and so many seconds, will not come any more."""


class RegistryBlob:
    """A `Blob` behind `GET /v2/REPOSITORY/blobs/DIGEST`; its parts can be read side by side."""

    def __init__(
        self,
        session: Session,
        repository: str,
        desc: Descriptor,
        host: Host,
        path: str | None = None,
    ) -> None:
        """Prepare; nothing is asked.

        Args:
            session: the registry.
            repository: the repository.
            desc: the blob.
            host: what is known of the registry.
            path: where the blob is, if elsewhere than the specification says.
        """
        self._session = session
        self._repository = repository
        self._desc = desc
        self._host = host
        self._path = path or f"/v2/{repository}/blobs/{desc.digest}"
        self._what = f"the blob {desc.digest} of {repository}"
        self._direct: str | None = None
        self._whole_only = False
        self._probing = False
        self._patience = _MAX_ANSWER_SECONDS
        self._slowest = 0.0

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on; a connection that breaks on the way is replaced."""
        stream = _ResumingStream(self, offset, self._session)
        try:
            yield cast(BinaryIO, stream)
        finally:
            stream.close()

    @contextmanager
    def part(self, offset: int, length: int) -> Iterator[PartStream]:
        """Read so many bytes from `offset` on; a connection that breaks is replaced."""
        stream = _ResumingStream(self, offset, self._session, offset + length)
        try:
            yield stream
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
                self.failed()
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
        try:
            response = self._ask(offset, last)
        except RangeIgnoredError:
            response = self._ask(offset, last)  # now without a range
        try:
            if response.status != 206 and offset:
                _skip(response, offset, self._what)  # the answer is the whole blob
        except BaseException:
            response.close()
            raise
        return response

    def request_part(self, offset: int, last: int) -> Response:
        """Ask for a part of the blob and for nothing else.

        Raises:
            RangeIgnoredError: there are only whole blobs.
            IntegrityError, UnsupportedError: as `request` says.
        """
        if not self._host.limits.ranges:
            self._probing = True
            raise self._ignored()
        if not self._whole_only:
            try:
                response = self._ask(offset, last)
            except RangeIgnoredError:
                self._host.sends_parts(False)
                raise
            if response.status == 206:
                return response
            response.close()
            self._whole_only = True
            self._host.sends_parts(False)
        raise self._ignored()

    def _ask(self, offset: int, last: int | None) -> Response:
        """The answer, at `offset` if it has the status 206, else at the blob's beginning.

        Raises:
            RangeIgnoredError: ranges are refused. They are not asked for again.
        """
        headers = {}
        if (offset or last is not None or self._probing) and not self._whole_only:
            headers["Range"] = f"bytes={offset}-{'' if last is None else last}"
        asked = time.monotonic()
        response = self._ask_directly(headers) or self._session.request(
            "GET",
            self._path,
            what=self._what,
            scope=repository_scope(self._repository, "pull"),
            expect=(200, 206, 416) if headers else (200,),
            headers=headers,
            timeout=self._patience,
        )
        self._slowest = max(self._slowest, time.monotonic() - asked)
        patience = max(_ANSWER_SECONDS, _ANSWER_TIMES * self._slowest)
        self._patience = min(patience, _MAX_ANSWER_SECONDS)
        if response.status == 416:
            # The blob must have that part, so it is ranges that are not understood.
            response.close()
            self._whole_only = True
            raise self._ignored()
        try:
            self._check(response, offset)
        except BaseException:
            response.close()
            raise
        if not response.url.startswith(self._session.origin + self._path):
            self._direct = response.url
        if self._probing and response.status == 206:
            self._host.sends_parts(True)  # so the next blob comes in parts again
        return response

    def _ask_directly(self, headers: dict[str, str]) -> Response | None:
        """Ask where the registry has led before. Such addresses expire: then it is asked again."""
        url = self._direct
        if url is None:
            return None
        try:
            return self._session.request(
                "GET",
                url,
                what=self._what,
                expect=(206,) if headers else (200,),
                headers=headers,
                retries=False,
                timeout=self._patience,
            )
        except OcimlpackError:
            self.failed()
            return None  # the registry may lead elsewhere now, or says better what is wrong

    def _ignored(self) -> RangeIgnoredError:
        return RangeIgnoredError(f"{self._session.host} sends {self._what} only as a whole")

    def failed(self) -> None:
        """An answer broke off: next time, ask the registry where to go."""
        self._direct = None

    def _check(self, response: Response, offset: int) -> None:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedError(
                f"{self._session.host} sends {self._what} in another encoding than asked for"
            )
        if response.status == 206:
            self._check_range(response, offset)

    def _check_range(self, response: Response, offset: int) -> None:
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if (
            not found
            or int(found.group(1)) != offset
            or found.group(3) not in {"*", str(self._desc.size)}
        ):
            raise IntegrityError(
                f"{self._session.host} sent another part of {self._what} than asked for",
                digest=str(self._desc.digest),
            )

    @property
    def size(self) -> int:
        """Bytes of the whole blob."""
        return self._desc.size


class _ResumingStream:
    """The blob from an offset on, or a part of it, over as many answers as that takes."""

    def __init__(
        self, blob: RegistryBlob, offset: int, session: Session, end: int | None = None
    ) -> None:
        self._blob = blob
        self._offset = offset
        self._end = blob.size if end is None else end
        self._is_part = end is not None
        self._tries = session.tries()
        self._response: Response | None = None
        self._progress = 0
        self._settled = offset
        self._aborted = False

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Failures count against the policy until it gets further again."""
        if size < 0:
            size = CHUNK
        while True:
            if self._aborted:
                raise UnavailableError("nobody waits for this any more", final=True)
            if self._response is None:
                if self._offset >= self._end > 0:
                    return b""
                self._response = self._open()
                self._progress = 0
            try:
                chunk = self._response.read(self._bounded(size))
            except UnavailableError as error:
                self.close()
                if self._aborted:
                    raise
                self._blob.failed()
                self._tries.pause(error)
                continue
            if not chunk and self._is_partial():
                self.close()
                continue
            self._offset += len(chunk)
            self._progress += len(chunk)
            if self._offset - self._settled >= _WORTHWHILE:
                self._settled = self._offset
                self._tries.progressed()
            return chunk

    def abort(self) -> None:
        """End it, from any thread."""
        self._aborted = True
        response = self._response
        if response is not None:
            response.abort()

    def _open(self) -> Response:
        if self._is_part:
            return self._blob.request_part(self._offset, self._end - 1)
        return self._blob.request(self._offset)

    def _bounded(self, size: int) -> int:
        return min(size, self._end - self._offset) if self._is_part else size

    def _is_partial(self) -> bool:
        """Whether the answer was a part that ends before the blob does; the next is asked for.

        A part that brought nothing is the end: the verifier then says that bytes are missing.
        """
        ended = self._response is not None and self._response.status == 206
        return ended and self._progress > 0 and self._offset < self._end

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
