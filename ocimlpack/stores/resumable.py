"""One upload that goes on where it was: after a failure, and after the end of the program.

The registry knows what it has of an upload and says so when it is asked. So nothing that arrived
is sent again, unless the registry has lost it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ocimlpack.errors import (
    ConflictError,
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.retry import Tries
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import home, sessions
from ocimlpack.stores._http import Body, Pieces
from ocimlpack.stores.base import Blob
from ocimlpack.stores.learned import Host
from ocimlpack.stores.outgoing import Outgoing
from ocimlpack.stores.upload_api import Standing, UploadApi

_ELSEWHERE: Final = frozenset({409, 416})
"""How a registry says that it is not where we think it is. 409: it still works on the part whose
connection broke."""

_NO_PARTS: Final = frozenset({405, 501})


class ResumableUpload:
    """An upload into a registry: an `Ingest`.

    Attributes:
        resumed: whether what is there was brought by more than this upload's own requests, or by
            one that failed: only then can it be mended by beginning anew.
    """

    def __init__(
        self,
        api: UploadApi,
        host: Host,
        size: int,
        key: str = "",
        *,
        desc: Descriptor | None = None,
        location: str | None = None,
        stored: Callable[[Descriptor], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            api: where to.
            host: what it takes.
            size: bytes in all.
            key: tells the content from any other; "" where nothing does.
            desc: what the content has to be, where that is known.
            location: a session that was begun for it already.
            stored: is told once the registry has it.
        """
        self.resumed = False
        self._api = api
        self._host = host
        self._size = size
        self._key = key
        self._desc = desc
        self._stored = stored
        self._what = api.what(desc.digest if desc else None)
        self._blob: Blob | None = None
        self._record = sessions.Record(None, size)
        self._abandoned = False
        self._location = location
        self._offset = 0  # what is known to be there
        self._unsure = False  # whether the registry has to be asked how far it is
        self._denials = 0  # how often a session that was just begun was not known
        self._whole = host.limits.whole
        self._renewed_at = -1

    def write(self, blob: Blob) -> None:
        """Bring all of the blob's bytes; what is there of them is not sent again.

        Raises:
            OcimlpackError: the blob's own error, or the registry's once its tries are used up. What
                arrived is kept for the next run as far as the registry keeps it.
        """
        self._blob = blob
        self._record.close()
        origin, repository = self._api.session.origin, self._api.repository
        self._record = sessions.claim(home.uploads(), origin, repository, self._key, self._size)
        if self._location is None and self._record.location:
            self._location, self._unsure = self._record.location, True
        tries = self._api.tries()
        try:
            with Outgoing(blob, self._size, self._desc, self._check) as content:
                while not self._is_there():
                    self._check()
                    self._advance(content, tries)
                    tries.reached(self._offset)
        except BaseException:
            # Not before: until the commit, nobody else is to go on with it.
            self._record.close()
            raise
        finally:
            if self._abandoned:
                self._record.forget()

    def commit(self, desc: Descriptor) -> None:
        """Give the content its name.

        Raises:
            IntegrityError: it is something else than the descriptor says. It is thrown away.
        """
        if self._blob is None:
            raise AssertionError("nothing was written yet")
        if desc.size != self._size:
            raise IntegrityError(
                f"{desc.digest} has {desc.size:,} bytes, and {self._size:,} were sent",
                digest=str(desc.digest),
            )
        self._what = self._api.what(desc.digest)
        tries = self._api.tries()
        try:
            while not self._finish(desc, self._blob, tries):
                pass
        finally:
            self._record.close()
        self._record.forget()
        self._stored(desc)

    def abandon(self) -> None:
        """Throw away what was written.

        Safe from another thread: `write` then ends with an error, before its next piece.
        """
        self._abandoned = True
        self._record.forget()
        location, self._location = self._location, None
        if location:
            self._api.cancel(location)

    def _check(self) -> None:
        if self._abandoned:
            raise ConflictError(f"{self._what} was abandoned", side="source")

    def _is_there(self) -> bool:
        settled = self._location is not None and not self._unsure
        return self._whole or (settled and self._offset == self._size)

    def _advance(self, content: Outgoing, tries: Tries) -> None:
        """The next request: a session, where it stands, or bytes."""
        if self._location is None:
            self._offset, self._unsure = 0, False
            self._settle(self._api.begin(self._what))
        elif self._unsure:
            self._ask(self._location)
        else:
            self._send(self._location, content, tries)

    def _ask(self, location: str) -> None:
        standing = self._api.ask(location, self._what)
        # Of one byte registries say the same as of none, so a session is begun anew for either.
        if standing is None or not standing.stored or standing.stored > self._size:
            self._lose()
            return
        self._offset, self._unsure, self.resumed = standing.stored, False, True
        self._settle(standing)

    def _settle(self, standing: Standing) -> None:
        self._location = standing.location
        if standing.smallest:
            self._host.requires(standing.smallest)
        if not self._abandoned:
            self._record.keep(standing.location)

    def _lose(self) -> None:
        """The session is gone, and with it what was sent."""
        self._location = None

    def _send(self, location: str, content: Outgoing, tries: Tries) -> None:
        offset, length = self._offset, self._host.limits.part(self._size - self._offset)
        content.seek(offset)
        body = self._body(content, offset, length)
        try:
            with _flowing(content, tries):
                standing = self._api.patch(
                    location, offset, length, body, self._what, part=length < self._size
                )
        except OcimlpackError as error:
            self._recover(error, length, tries)
            return
        self._denials = 0
        self._host.confirm()
        end = offset + length
        # A single byte and none at all look the same.
        if standing.stored in (None, end) or end == 1:
            self._offset = end
        else:
            self._unsure = True
        self._settle(standing)
        if self._unsure:
            host = self._api.session.host
            tries.pause(UnavailableError(f"{host} took only a part of {self._what}"))

    def _body(self, content: Outgoing, offset: int, length: int) -> Body:
        opened = 0

        @contextmanager
        def body() -> Iterator[Pieces]:
            nonlocal opened
            opened += 1
            if opened > 1:
                # The token had expired and was renewed, and the request would be sent again. What
                # the registry took of it is asked first; only if that was done already and led
                # here again does it take nothing with such an answer.
                if self._renewed_at != offset:
                    raise _RenewedError("the token was renewed")
                content.seek(offset)
            yield content.pieces(offset + length)

        return body

    def _recover(self, error: OcimlpackError, length: int, tries: Tries) -> None:
        """After a failure to send: what to do next.

        Raises:
            OcimlpackError: the given one, where nothing helps.
        """
        self._unsure = True
        status = error.status
        if isinstance(error, _RenewedError):
            self._renewed_at = self._offset
        elif error.side == "source":
            raise error
        elif isinstance(error, UnavailableError):
            tries.pause(error)
        elif isinstance(error, UnsupportedError) and status == 413:
            if not self._host.refused(length):
                raise error
        elif isinstance(error, UnsupportedError) and status in _NO_PARTS:
            self._whole = True
        elif status in _ELSEWHERE:
            if self._offset == 0:
                self._lose()  # a session of which even that can't be told
            tries.pause(_passing(error))
        elif self._is_gone(error):
            self._deny()
            self._lose()
            tries.pause(_passing(error))
        else:
            raise error

    def _is_gone(self, error: OcimlpackError) -> bool:
        if isinstance(error, NotFoundError):
            return True
        if self._offset == 0:
            return False  # what is refused from the start is not a matter of the session's age
        if isinstance(error, NotAllowedError):
            # A signed address on another host, which has expired.
            return not self._api.session.same_origin(self._location or "")
        # An address whose signed state no longer fits.
        return error.status == 400 and not isinstance(error, IntegrityError)

    def _deny(self) -> None:
        if self._offset == 0 and not self.resumed:
            self._denials += 1
        # There is nothing at that address for such a request, though the session is new: twice.
        self._whole = self._whole or self._denials > 1

    def _finish(self, desc: Descriptor, blob: Blob, tries: Tries) -> bool:
        """One try to commit; False if it is to be tried again."""
        if self._whole:
            return self._finish_whole(desc, blob)
        if not self._is_there() or self._location is None:
            self.write(blob)
            return False
        try:
            self._api.finish(self._location, desc, self._what)
        except UnavailableError as error:
            tries.pause(error)
            return self._api.has(desc)  # it may be only the answer that got lost
        except NotFoundError as error:
            if self._api.has(desc):
                return True
            self._lose()
            tries.pause(_passing(error))
            return False
        except IntegrityError:
            self._record.forget()
            # Two that shared a session without knowing: the other one may have been right.
            if not (self.resumed and self._api.has(desc)):
                raise
        return True

    def _finish_whole(self, desc: Descriptor, blob: Blob) -> bool:
        if self._api.has(desc):
            return True
        try:
            send_whole(self._api, desc, blob)
        except UnsupportedError as error:
            too_large = error.status == 413 and error.side != "source"
            if not too_large or not self._host.doubts_whole():
                raise
            self._host.refused(desc.size)
            self._whole = False
            return False
        self._host.takes_whole()
        return True


class _RenewedError(OcimlpackError):
    """The request is not sent a second time as it is."""


def send_whole(api: UploadApi, desc: Descriptor, blob: Blob, location: str | None = None) -> None:
    """Upload a blob in one request behind the one that begins the session.

    What may pass is tried again from a new session: the state of the old one isn't known.

    Args:
        api: where to.
        desc: what the blob is.
        blob: the content.
        location: a session that was begun for it already.

    Raises:
        IntegrityError: the blob's bytes are not what the descriptor says; the registry keeps
            nothing of them.
        UnavailableError: the registry kept failing.
    """
    what = api.what(desc.digest)
    tries = api.tries()
    while True:
        where = location or api.begin(what).location
        location = None
        try:
            with Outgoing(blob, desc.size, desc) as content, _flowing(content, tries):
                api.finish(where, desc, what, _whole_body(content, desc.size))
        except UnavailableError as error:
            tries.pause(error)
            if api.has(desc):
                return  # it was only the answer that got lost
        except NotFoundError as error:
            # The session is gone, as after a restart of the registry: begin another one.
            tries.pause(_passing(error))
        else:
            return


def _whole_body(content: Outgoing, size: int) -> Body:
    @contextmanager
    def body() -> Iterator[Pieces]:
        content.seek(0)
        yield content.pieces(size)

    return body


@contextmanager
def _flowing(content: Outgoing, tries: Tries) -> Iterator[None]:
    """Time in which bytes flowed was not spent in vain, whatever came of it."""
    began = time.monotonic()
    try:
        yield
    finally:
        tries.flowed(max(0.0, content.flowed - began))


def _passing(error: OcimlpackError) -> UnavailableError:
    return UnavailableError(error.message, status=error.status, side=error.side)
