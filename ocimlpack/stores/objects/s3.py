"""A bucket of an S3 service, through obstore: the only module that imports it.

Nothing is tried again in here, and nothing retried by obstore, since it can't know which requests
matter: `persistent` does that for all object stores alike. What obstore has no way to say, uploads
in parts that another process goes on with, is in `s3_uploads`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ocimlpack.errors import (
    InputError,
    IntegrityError,
    InvalidContentError,
    NotAllowedError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.stores.objects.aws_credentials import Chain
from ocimlpack.stores.objects.base import Label, ObjectStream, Piece, Stat, Unfinished
from ocimlpack.stores.objects.refusals import WHERE_CREDENTIALS, Refusal, connection_error
from ocimlpack.stores.objects.s3_service import Connecting, Service, authorities
from ocimlpack.stores.objects.s3_uploads import S3Uploads

try:
    import obstore
    from obstore.exceptions import BaseError, PreconditionError
    from obstore.store import S3Store
except ImportError as missing:
    raise UnsupportedError(
        "S3 buckets need the library obstore, which is not installed",
        hint="pip install 'ocimlpack[s3]'",
    ) from missing

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, S3Credential

_STALL: Final = timedelta(seconds=30)
"""Without a byte for so long, a request has failed."""
_WORTHWHILE: Final = 1024
"""Bytes a second. What brings less than that counts as stalled."""
_PUT: Final = timedelta(minutes=10)
"""How long it may take to send a small object, over a bad line."""
_EVER: Final = timedelta(days=7)
_CONNECT: Final = timedelta(seconds=10)
_PAGE: Final = 1000
_STATUS: Final = re.compile(r"Server returned non-2xx status code: (\d{3})[^:]*: ?(.*)", re.DOTALL)
_CODE: Final = re.compile(r"\(code: (\w+)\)")


class S3Objects:
    """A bucket of an S3 service: an `Objects`, each call a single try.

    Attributes:
        place: how errors name it.
        origin: tells it from every bucket of every other service.
    """

    def __init__(
        self,
        service: Service,
        *,
        insecure: bool = False,
        ca_file: str | None = None,
        profile_chosen: bool = False,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            service: the bucket.
            insecure: do not verify TLS certificates.
            ca_file: a PEM file of authorities to trust.
            profile_chosen: whether the profile was chosen for this bucket alone.

        Raises:
            InputError: the CA file can't be read, or a setting of the environment can't be used.
        """
        self.place = f"s3://{service.bucket}"
        self.origin = service.base
        self._service = service
        self._chain = Chain(
            service.profile,
            self._post_form,
            chosen=profile_chosen,
            on_amazon=service.on_amazon,
        )
        credentials = None if service.anonymous else self._chain.get
        trusted = authorities(ca_file)
        self._uploads = S3Uploads(service, Connecting(insecure, trusted, credentials), self.place)
        options = _client(service, insecure, trusted)
        self._reader = self._store({**options, "timeout": _EVER, "read_timeout": _STALL})
        self._writer = self._store({**options, "timeout": _PUT})

    def stat(self, key: str) -> Stat | None:
        """What there is under that name."""
        try:
            with self._asking(key):
                return _stat(obstore.head(self._reader, key))
        except FileNotFoundError:
            return None
        except OcimlpackError as error:
            if error.status is None or isinstance(error, UnavailableError):
                raise
        # An answer to HEAD has no body that would say what is wrong.
        found = self._get(key, {"range": (0, 1)})
        return _stat(found.meta) if found is not None else None

    def read(self, key: str, limit: int) -> tuple[bytes, Stat] | None:
        """A small object, all of it."""
        found = self._get(key, {})
        if found is None:
            return None
        stat = _stat(found.meta)
        if stat.size > limit:
            raise InvalidContentError(f"{key} in {self.place} is larger than {limit:,} bytes")
        with self._asking(key):
            return bytes(found.bytes()), stat

    def stream(self, key: str, start: int, end: int, *, lasting: bool) -> ObjectStream:
        """An object's bytes from `start` up to `end`."""
        options: Any = {"range": (start, end)} if end > start else {"head": True}
        if lasting:
            ask = partial(obstore.get_async, self._reader, key, options=options)
            return _LastingStream(partial(self._found, key), ask)
        with self._found(key):
            found = obstore.get(self._reader, key, options=options)
        return _Stream(partial(self._found, key), found)

    def put(self, key: str, content: bytes, label: Label, condition: str | None = None) -> str:
        """Write a small object. Its SHA-256 is part of what is signed, so the service checks it."""
        mode: Any = {None: "overwrite", "*": "create"}.get(condition, {"e_tag": condition})
        with self._asking(key):
            done = obstore.put(
                self._writer,
                key,
                content,
                attributes={"Content-Type": label.media_type, **label.metadata},
                mode=mode,
                use_multipart=False,
            )
        return done["e_tag"] or ""

    def list(self, prefix: str) -> Iterator[Stat]:
        """All objects below a prefix, in order."""
        with self._asking(prefix or "its objects"):
            pages = iter(obstore.list(self._reader, prefix or None, chunk_size=_PAGE))
        while True:
            with self._asking(prefix or "its objects"):
                page = next(pages, None)
            if page is None:
                return
            yield from map(_stat, page)

    def folders(self, prefix: str = "") -> Sequence[str]:
        """What follows a prefix up to the next slash, the slash included."""
        with self._asking(prefix or "its folders"):
            found = obstore.list_with_delimiter(self._reader, prefix or None)
        return [f"{each.removeprefix(prefix).rstrip('/')}/" for each in found["common_prefixes"]]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, at most a thousand."""
        with suppress(FileNotFoundError), self._asking("what is to be removed"):
            obstore.delete(self._writer, [*keys])

    def begin(self, key: str, label: Label) -> str:
        """Begin an upload in parts; returns its name."""
        return self._uploads.begin(key, label)

    def put_part(
        self, key: str, upload: str, number: int, content: bytes | memoryview, sha256: bytes
    ) -> Piece:
        """Bring a part."""
        return self._uploads.put_part(key, upload, number, content, sha256)

    def pieces(self, key: str, upload: str) -> Sequence[Piece] | None:
        """The parts that are there, or None where there is no such upload any more."""
        return self._uploads.pieces(key, upload)

    def complete(
        self, key: str, upload: str, pieces: Sequence[Piece], condition: str | None = None
    ) -> None:
        """Make an object of the parts."""
        self._uploads.complete(key, upload, pieces, condition)

    def cancel(self, key: str, upload: str) -> None:
        """Throw an upload's parts away."""
        self._uploads.cancel(key, upload)

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Uploads in parts that are not finished."""
        return self._uploads.uploads(prefix)

    def close(self) -> None:
        """Close every idle connection."""
        self._uploads.close()

    def _get(self, key: str, options: Any) -> obstore.GetResult | None:
        try:
            with self._asking(key):
                return obstore.get(self._reader, key, options=options)
        except FileNotFoundError:
            return None

    def _store(self, options: ClientConfig) -> S3Store:
        service = self._service
        # All that obstore would find in the environment by itself is said here: it knows no
        # profiles, and two services at once would be mixed up.
        endpoint = service.base if service.virtual else service.endpoint
        try:
            return S3Store(
                service.bucket,
                endpoint=endpoint,
                aws_endpoint_url_s3=endpoint,
                region=service.region,
                virtual_hosted_style_request=service.virtual,
                skip_signature=service.anonymous,
                client_options=options,
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
                credential_provider=None if service.anonymous else self._credential,
            )
        except (BaseError, ValueError) as error:
            said = str(error).partition("\n")[0]
            raise InputError(
                f"{self.place} can't be reached with these settings: {said}"
            ) from error

    def _credential(self) -> S3Credential:
        found = self._chain.get()
        return {
            "access_key_id": found.key,
            "secret_access_key": found.secret,
            "token": found.token or None,
            # Asked again before that, so that it is the chain that renews them.
            "expires_at": None if found.until is None else datetime.fromtimestamp(found.until, UTC),
        }

    def _post_form(self, url: str, form: bytes) -> tuple[int, bytes]:
        return self._uploads.post_form(url, form)

    @contextmanager
    def _found(self, key: str) -> Iterator[None]:
        try:
            with self._asking(key):
                yield
        except FileNotFoundError:
            raise Refusal(self.place, key, 404).error() from None

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Map obstore's errors to ours; `FileNotFoundError` means an object that is not there."""
        if not self._service.anonymous:
            self._chain.get()  # without credentials it is said here, in our own words
        try:
            yield
        except FileNotFoundError as error:
            raise self._missing(error, what) from error
        except (BaseError, ValueError) as error:
            raise self._error(error, what) from error

    def _missing(self, error: FileNotFoundError, what: str) -> Exception:
        answer = _STATUS.search(str(error))
        refusal = Refusal.read(self.place, what, 404, answer.group(2) if answer else "")
        # Some services say 404 also where the bucket or the user is unknown.
        return error if refusal.code in {"", "NoSuchKey"} else refusal.error()

    def _error(self, error: Exception, what: str) -> OcimlpackError:
        said, _, account = str(error).partition("\n\nDebug source:")
        if answer := _STATUS.search(said):
            status = int(answer.group(1))
            refusal = Refusal.read(self.place, what, status, answer.group(2))
            if isinstance(error, PreconditionError) and refusal.code == "NoSuchKey":
                return Refusal(self.place, what, 412).error()  # what was to be replaced is gone
            return refusal.error()
        if "redirect without LOCATION" in said:
            return Refusal(self.place, what, 301).error()
        if "DeleteFailed" in account:
            code = _CODE.search(said)
            return Refusal(self.place, what, 403, code.group(1) if code else "").error()
        if "External AWS credential provider" in said:
            return NotAllowedError(
                f"{self.place}: no credentials for {what}", hint=WHERE_CREDENTIALS
            )
        if "NotPartial" in account or "UnexpectedRange" in account:
            return IntegrityError(f"{self.place} sent another part of {what} than asked for")
        if "HTTP error" in said or "HttpError" in account:
            return connection_error(self.place, what, self._service.endpoint, account)
        return UnavailableError(f"{self.place} gave an answer to {what} that can't be understood")


Asking = Callable[[], AbstractContextManager[None]]


class _Stream:
    """An object's bytes, read by whoever waits for them."""

    def __init__(self, asking: Asking, found: obstore.GetResult | None) -> None:
        self._asking = asking
        self._chunks: Iterator[Any] = iter(found.stream(min_chunk_size=1) if found else ())
        self._left = memoryview(b"")
        self._pace = _Pace()

    def read(self, size: int) -> bytes:
        """The next bytes as they come."""
        if not self._left:
            with self._asking(), self._pace:
                self._left = memoryview(self._next())
            self._pace.brought(len(self._left))
        piece, self._left = bytes(self._left[:size]), self._left[size:]
        return piece

    def _next(self) -> bytes:
        return bytes(next(self._chunks, b""))

    def abort(self) -> None:
        """Nobody can end it from elsewhere; the time without a byte is bounded."""

    def close(self) -> None:
        """Let go of the connection."""
        self._chunks = iter(())


class _LastingStream(_Stream):
    """The same for a part of a large blob: another thread can end it while it waits.

    What waits is a task in an event loop of its own, which runs only while somebody reads. Nothing
    is asked for before that.
    """

    def __init__(
        self, asking: Asking, ask: Callable[[], Coroutine[Any, Any, obstore.GetResult]]
    ) -> None:
        super().__init__(asking, None)
        self._ask = ask
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[Any] | None = None
        self._found: AsyncIterator[Any] | None = None
        self._aborted = False

    def abort(self) -> None:
        """End it, from any thread."""
        self._aborted = True
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._cancel)

    def close(self) -> None:
        """Let go of the connection."""
        self._found = None
        self._loop.close()

    def _next(self) -> bytes:
        try:
            return self._loop.run_until_complete(self._following())
        except asyncio.CancelledError:
            raise UnavailableError("nobody waits for this any more", final=True) from None

    async def _following(self) -> bytes:
        if self._aborted:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        if self._found is None:
            self._found = aiter((await self._ask()).stream(min_chunk_size=1))
        return bytes(await anext(self._found, b""))

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class _Pace:
    """Notices bytes that come in drops: only time spent in waiting counts."""

    def __init__(self) -> None:
        self._began = 0.0
        self._waited = 0.0
        self._bytes = 0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._waited += time.monotonic() - self._began

    def brought(self, count: int) -> None:
        """So many bytes came.

        Raises:
            UnavailableError: too few for the time that they took.
        """
        self._bytes += count
        if self._waited > _STALL.total_seconds():
            if self._bytes < self._waited * _WORTHWHILE:
                raise UnavailableError(
                    f"the connection stalled: {self._bytes:,} bytes in {self._waited:.0f} s"
                )
            self._waited, self._bytes = 0.0, 0


def _client(service: Service, insecure: bool, ca_file: str | None) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": service.endpoint.startswith("http:"),
        "allow_invalid_certificates": insecure,
        "connect_timeout": _CONNECT,
    }
    if ca_file:
        try:
            options["root_certificate"] = Path(ca_file).read_bytes()
        except OSError as error:
            raise InputError(
                f"can't use the certificate authorities in {ca_file}: {error.strerror}"
            ) from error
    return options


def _stat(meta: ObjectMeta) -> Stat:
    return Stat(meta["path"], meta["size"], meta["e_tag"] or "", meta["last_modified"].timestamp())
