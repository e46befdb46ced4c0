"""HTTP, one exchange at a time: the only module that imports requests and urllib3.

What is here knows nothing of registries. A connection that fails in a way that another try may not
is an `UnavailableError`; one that can't be made at all an `UnreachableError`.
"""

from __future__ import annotations

import functools
import os
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from ocimlpack.stores.deferred import deferred

# Only for HTTP/2, which nothing here asks it for, urllib3 wants to know a version.
with deferred("importlib.metadata", "version"):
    import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    InsecureRequestWarning,
    LocationParseError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from ocimlpack._version import __version__
from ocimlpack.errors import (
    InputError,
    IntegrityError,
    OcimlpackError,
    UnavailableError,
    UnreachableError,
)
from ocimlpack.stores import sockets
from ocimlpack.stores.base import FileSlice
from ocimlpack.stores.tls import Authorities, Encryption, authorities, encryption

_CONNECT_SECONDS: Final = 8.0
_MAX_DRAIN: Final = 64 * 1024
_SEND_BLOCK: Final = 256 * 1024
"""Bytes handed to the socket at a time. The library's 16 KiB cost a core at 1 GB/s."""
_IDLE_CONNECTIONS: Final = 64
_WORTHWHILE: Final = 1024
"""Bytes a second. What brings less than that counts as stalled."""
_USER_AGENT: Final = f"ocimlpack/{__version__}"

Pieces = BinaryIO | Iterator[bytes | FileSlice]
Body = Callable[[], AbstractContextManager[Pieces]]
"""A request's body: opened for each try, so that a retry sends all of it. It is a stream, or comes
in pieces, of which those that lie in a file are sent by the system itself where it can do that."""


@dataclass(slots=True)
class Response:
    """An answer whose body has not been read yet.

    Attributes:
        status: the HTTP status.
        headers: its headers; look-ups ignore case.
        url: where the answer came from, after redirects.
        raw: the library's own answer.
        stall: seconds after which a body that comes in drops is given up.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    raw: urllib3.BaseHTTPResponse
    stall: float = 30.0
    _waited: float = 0.0
    _brought: int = 0

    def read(self, size: int) -> bytes:
        """The next bytes as they come, at most `size`; none at the end.

        Raises:
            UnavailableError: the connection broke, stalled, or ended before the body did.
        """
        began = time.monotonic()
        try:
            piece = self.raw.read1(size)
        except (HTTPError, OSError) as error:
            raise UnavailableError(f"the connection broke: {_reason(error)}") from error
        self._brought += len(piece)
        # Only time spent in waiting counts: a slow disk of ours is not the other side's fault.
        self._waited += time.monotonic() - began
        if self._waited > self.stall:
            if piece and self._brought < self._waited * _WORTHWHILE:
                self.raw.close()
                raise UnavailableError(
                    f"the connection stalled: {self._brought:,} bytes in {self._waited:.0f} s"
                )
            self._waited, self._brought = 0.0, 0
        return piece

    def encryption(self) -> Encryption | None:
        """What is known of the connection's encryption; None without, and once it is closed."""
        return encryption(getattr(self.raw.connection, "sock", None))

    def abort(self) -> None:
        """End a `read` that waits, from any thread: it fails as if the connection had broken."""
        try:
            self.raw.shutdown()
        except (ValueError, RuntimeError, OSError):
            return  # it has ended by itself

    def read_all(self, limit: int) -> bytes:
        """The whole body, up to a limit.

        Raises:
            IntegrityError: it is longer than that.
        """
        parts: list[bytes] = []
        size = 0
        while chunk := self.read(limit + 1 - size):
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                self.close()
                raise IntegrityError(f"an answer is longer than {limit:,} bytes")
        self.close()
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back if the body is (nearly) read, else close it."""
        try:
            if self.raw.length_remaining is not None and self.raw.length_remaining <= _MAX_DRAIN:
                self.raw.drain_conn()
            else:
                self.raw.close()
        except (HTTPError, OSError):
            self.raw.close()  # it broke while it was drained: then it can't be used again anyway
        self.raw.release_conn()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is sent, each time it is sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: Body | bytes | None
    scope: str
    timeout: float

    def all_headers(self, authorization: str | None) -> dict[str, str]:
        # No `Accept-Encoding` but identity: a digest is of the bytes as they are stored.
        headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **self.headers}
        if authorization:
            headers["Authorization"] = authorization
        if isinstance(self.body, bytes) or (
            self.body is None and self.method in {"POST", "PUT", "PATCH"}
        ):
            headers["Content-Length"] = str(len(self.body or b""))
        return headers

    @contextmanager
    def open_body(self) -> Iterator[Pieces | bytes | None]:
        if self.body is None or isinstance(self.body, bytes):
            yield self.body
        else:
            with self.body() as stream:
                yield stream


class _Sender(HTTPConnection):
    """A connection that sends files without reading them where nothing has to be encrypted."""

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if isinstance(data, FileSlice):
            sockets.send_file(self.sock, data)
        else:  # bytes, which the library makes of all other bodies
            sockets.send_bytes(self.sock, data)


class _TlsSender(_Sender, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Sender


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsSender


_POOLS: Final = {"http": _Pool, "https": _TlsPool}


class Adapter(HTTPAdapter):
    """requests' adapter, which owns the connection pools and the proxies, without the rest of it.

    What requests adds to each request (cookies, hooks, merged settings) costs more time than a
    small blob takes on a local network, and none of it is wanted here.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext], *, stall: float = 30.0) -> None:
        """Prepare; no connection is made.

        Args:
            context: makes the TLS settings, when the first encrypted connection needs them: that
                takes longer than a small transfer.
            stall: seconds in which an answer's body has to bring something.
        """
        self._context = functools.cache(context)
        self._stall = stall
        self._proxies: dict[tuple[str, str, int], str | None] = {}
        self._encrypted: urllib3.PoolManager | None = None
        self._pools: dict[tuple[str, str, int], urllib3.HTTPConnectionPool] = {}
        super().__init__(pool_connections=16, pool_maxsize=_IDLE_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, blocksize=_SEND_BLOCK, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(
            proxy, ssl_context=self._context(), blocksize=_SEND_BLOCK, **kwargs
        )
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def close(self) -> None:
        super().close()
        self._pools.clear()
        if self._encrypted:
            self._encrypted.clear()

    def exchange(self, attempt: Attempt, url: str, headers: Mapping[str, str]) -> Response:
        """Send a request and wait for the answer's headers.

        Args:
            attempt: the request.
            url: where it goes, which after a redirect is not where it was to go at first.
            headers: what it carries there.

        Raises:
            UnavailableError: the connection broke; another try may succeed.
            UnreachableError: none can be made.
            OcimlpackError: from the request's body, as it is.
        """
        try:
            with attempt.open_body() as body:
                raw = self._send(attempt.method, url, headers, body, attempt.timeout)
        except OcimlpackError as error:
            error.side = error.side or "source"  # the body's own error: no connection failed
            raise
        except (HTTPError, OSError) as error:
            raise connection_error(error, url) from error
        return Response(raw.status, raw.headers, url, raw, self._stall)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Pieces | bytes | None,
        timeout: float,
    ) -> urllib3.BaseHTTPResponse:
        pool, target = self._pool(url)
        return pool.urlopen(
            method,
            target,
            headers=headers,
            body=cast(Any, body),  # of which what is no bytes ends in `_Sender.send`
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(connect=min(_CONNECT_SECONDS, timeout), read=timeout),
        )

    def _pool(self, url: str) -> tuple[urllib3.PoolManager | urllib3.HTTPConnectionPool, str]:
        """What sends the request, and what it is to be given for an address.

        The connections of a host are looked for once. What the library does for that takes as long
        as all else of a small request.
        """
        if proxy := self._proxy(url):
            return self.proxy_manager_for(proxy), url  # which some proxies are to get as it is
        origin = origin_of(url)
        if origin not in self._pools:
            self._pools[origin] = self._manager(url).connection_from_url(url)
        path = url.find("/", len("https://"))
        return self._pools[origin], url[path:] if path > 0 else "/"

    def _manager(self, url: str) -> urllib3.PoolManager:
        if not url.startswith("https:"):
            plain: urllib3.PoolManager = self.poolmanager
            return plain
        if self._encrypted is None:
            manager = urllib3.PoolManager(
                16, maxsize=_IDLE_CONNECTIONS, ssl_context=self._context(), blocksize=_SEND_BLOCK
            )
            manager.pool_classes_by_scheme = _POOLS
            self._encrypted = manager  # two threads at once make two: one then serves that once
        return self._encrypted

    def _proxy(self, url: str) -> str | None:
        origin = origin_of(url)
        if origin not in self._proxies:
            self._proxies[origin] = proxy_of(url)
        return self._proxies[origin]


def connection_error(error: Exception, url: str) -> OcimlpackError:
    """Hopeless ones become an error of ours; the rest is marked as worth another try."""
    parts = urllib.parse.urlsplit(url)
    at = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if isinstance(error, ProxyError):
        return UnreachableError(
            f"the proxy for {at} can't be used: {_reason(error)}",
            hint="it comes from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY; NO_PROXY exempts hosts",
        )
    if isinstance(error, (SSLError, ssl.SSLError)):
        return UnreachableError(
            f"no secure connection to {at}: {_reason(error)}", hint=_tls_hint(error)
        )
    if isinstance(error, (NewConnectionError, ConnectTimeoutError)):
        return UnreachableError(
            f"can't connect to {at}: {_reason(error)}",
            hint="check the host's name and port, and that it is running",
        )
    if isinstance(error, LocationParseError):
        return InputError(f"not a usable address: {at}")
    return UnavailableError(f"the connection broke: {_reason(error)}")


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; of an address without a usable port, 0."""
    end = url.find("/", len("https://"))
    return _origin(url if end < 0 else url[:end])


@functools.lru_cache  # every request asks several times, and always for the same few
def _origin(url: str) -> tuple[str, str, int]:
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    return (
        parts.scheme,
        parts.hostname or "",
        port or {"https": 443, "http": 80}.get(parts.scheme, 0),
    )


def tls_context(ca_file: str | None, insecure: bool) -> ssl.SSLContext:
    """Trust the given authorities; else those the environment names; else the system's.

    requests alone would trust only the list that it ships, not the company's own authority that
    the machine's administrator has installed.
    """
    named = trusted(ca_file).path
    try:
        folder = named if named and os.path.isdir(named) else None
        context = ssl.create_default_context(cafile=None if folder else named, capath=folder)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"can't use the certificate authorities in {named}: {error}") from error
    if insecure:
        # Whoever asked for it knows; the command line says it in its own words.
        urllib3.disable_warnings(InsecureRequestWarning)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def trusted(ca_file: str | None) -> Authorities:
    """Which authorities that are."""
    return authorities(ca_file, DEFAULT_CA_BUNDLE_PATH)


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address; it may hold a password."""
    proxy: str | None = select_proxy(url, get_environ_proxies(url, no_proxy=None))
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _tls_hint(error: Exception) -> str:
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return "if the registry speaks plain http: --plain-http"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "if its certificate is from an authority of your own: --ca-file FILE"
    return "check the registry's address and its certificate"


def _reason(error: BaseException) -> str:
    """The innermost cause in words: what wraps it repeats addresses and object names."""
    while True:
        inner = error.__cause__ or error.__context__
        reason = getattr(error, "reason", None)
        if isinstance(reason, BaseException):
            inner = reason
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        if isinstance(error, IncompleteRead):
            return "the answer ended early"
        if inner is None or inner is error:
            texts = [each for each in error.args if isinstance(each, str)]
            return texts[-1] if texts and " object at 0x" not in texts[-1] else type(error).__name__
        error = inner
