"""Talking to a registry: the only module that imports oras, requests and urllib3.

`Session` is oras's `Registry` with a request loop of its own. oras brings the session, its cookie
policy and its connection adapters; the loop adds what a transfer of hundreds of gigabytes needs:
bodies that are opened again for each try, retries of what may pass, credentials that only go where
they belong, tokens renewed on the way, and every failure as one of our errors.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

import requests
import urllib3
from oras.provider import Registry
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
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

from ocimlpack import retry
from ocimlpack._version import __version__
from ocimlpack.errors import (
    InputError,
    IntegrityError,
    NotAllowedError,
    OcimlpackError,
    UnavailableError,
    UnreachableError,
)
from ocimlpack.progress import Reporter, Retried, ignore
from ocimlpack.stores import credentials
from ocimlpack.stores.challenge import is_loopback
from ocimlpack.stores.credentials import Credential
from ocimlpack.stores.responses import Refusal
from ocimlpack.stores.tokens import Authenticator

_CONNECT_SECONDS: Final = 8.0
_READ_SECONDS: Final = 60.0
_MAX_HOPS: Final = 5
_MAX_ERROR_BODY: Final = 64 * 1024
_MAX_TOKEN_BODY: Final = 1024 * 1024
_MAX_DRAIN: Final = 64 * 1024
_SEND_BLOCK: Final = 256 * 1024
"""Bytes handed to the socket at a time. The library's 16 KiB cost a core at 1 GB/s."""

_IDLE_CONNECTIONS: Final = 64
_USER_AGENT: Final = f"ocimlpack/{__version__}"

Body = Callable[[], AbstractContextManager[BinaryIO]]
"""A request's body: opened for each try, so that a retry sends all of it."""


@dataclass(slots=True)
class Response:
    """An answer whose body has not been read yet.

    Attributes:
        status: the HTTP status.
        headers: its headers; look-ups ignore case.
        url: where the answer came from, after redirects.
        redirected: whether that is another host than the registry.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    redirected: bool
    _raw: urllib3.BaseHTTPResponse

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end.

        Raises:
            UnavailableError: the connection broke, stalled, or ended before the body did.
        """
        try:
            return self._raw.read(size)
        except (HTTPError, OSError) as error:
            raise UnavailableError(f"the connection broke: {_reason(error)}") from error

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
            if self._raw.length_remaining is not None and self._raw.length_remaining <= _MAX_DRAIN:
                self._raw.drain_conn()
            else:
                self._raw.close()
        except (HTTPError, OSError):
            self._raw.close()  # it broke while it was drained: then it can't be used again anyway
        self._raw.release_conn()


class Session(Registry):  # type: ignore[misc]  # oras has no types
    """One registry, as requests see it. Safe to use from many threads.

    Attributes:
        host: `host[:port]`.
        origin: scheme and host of its API.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool | None = None,
        insecure: bool = False,
        ca_file: str | None = None,
        policy: retry.Policy = retry.DEFAULT,
        report: Reporter = ignore,
        credential: Callable[[str], Credential | None] = credentials.find,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            host: `host[:port]`; Docker Hub by any of its names.
            plain_http: speak http; None means to loopback hosts only, and not with a CA file.
            insecure: do not verify TLS certificates.
            ca_file: PEM file of the authorities to trust instead of the system's.
            policy: how requests are retried.
            report: gets an event for each retry.
            credential: looks credentials up for a host.

        Raises:
            InputError: the CA file can't be used.
        """
        if plain_http is None:
            plain_http = is_loopback(host) and not ca_file and not insecure
        super().__init__(hostname=host, insecure=plain_http)
        self.host = host
        self.origin = f"{self.prefix}://{_API_HOSTS.get(host, host)}"
        self._policy = policy
        self._report = report
        self._adapter = _Adapter(_tls_context(ca_file, insecure))
        self.session.mount("https://", self._adapter)
        self.session.mount("http://", self._adapter)
        self.session.trust_env = False  # else a ~/.netrc entry would replace our Authorization
        self._auth = Authenticator(
            host, self.origin, credential, self._fetch_token, threading.Lock()
        )

    def request(
        self,
        method: str,
        url: str,
        *,
        what: str,
        scope: str = "",
        expect: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        retries: bool = True,
        timeout: float = _READ_SECONDS,
    ) -> Response:
        """Send a request and return the answer, if its status is an expected one.

        Args:
            method: the HTTP method.
            url: absolute, or a path of this registry.
            what: what is asked for, in words, for errors: "the manifest 1.0 of team/minilm".
            scope: the token scope that it needs.
            expect: the statuses that are returned; any other becomes an error.
            headers: more headers. A body that is no bytes needs its `Content-Length` here.
            body: the bytes to send, or what opens a stream of them, once for each try.
            retries: whether a failure that may pass is tried again here.
            timeout: seconds without a byte of answer after which a try has failed.

        Raises:
            NotAllowedError: credentials are missing, wrong or not enough.
            NotFoundError, UnsupportedError, …: as the status says.
            UnavailableError: no connection, or failures that did not pass within the policy.
        """
        url = urllib.parse.urljoin(self.origin, url)
        attempt = _Attempt(method, url, dict(headers or {}), body, scope, timeout)
        began = time.monotonic()
        count = 0
        while True:
            count += 1
            retry_after = None
            try:
                response = self._send(attempt, what)
                if response.status in expect:
                    return response
                retry_after = response.headers.get("Retry-After")
                problem = self._refusal(response, what)
                passing = response.status in retry.RETRYABLE_STATUSES or (
                    # A signed address that has expired: the registry gives a new one when asked.
                    response.redirected and response.status in {400, 401, 403}
                )
            except _BrokenError as error:
                problem = UnavailableError(
                    f"{self.host} did not answer {what}: {error}", hint="try again later"
                )
                passing = True
            delay = self._policy.delay(count, retry_after)
            if not passing or not retries or count >= self._policy.attempts:
                raise problem
            if time.monotonic() + delay - began > self._policy.total:
                raise problem
            self._report(Retried(problem.message, delay))
            time.sleep(delay)

    def ping(self) -> None:
        """Ask whether these credentials, or none, may speak to this registry at all.

        Raises:
            NotAllowedError: they may not.
        """
        self.request("GET", "/v2/", what="the API at /v2/").close()

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: dict[str, Any] | bytes | None = None,
        headers: dict[str, str] | None = None,
        json: dict[str, Any] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """The entry that oras calls, through the same loop: nothing inherited goes round it."""
        prepared = requests.Request(method, url, headers or {}, data=data, json=json).prepare()
        response = self.request(
            method,
            url,
            what=f"{method} {urllib.parse.urlsplit(url).path}",
            expect=range(200, 600),
            headers=cast(Mapping[str, str], prepared.headers),
            body=cast("bytes | None", prepared.body),
        )
        return self._adapter.build_response(prepared, response._raw)

    def pause(self, failures: int, error: UnavailableError) -> float:
        """Seconds to wait before a transfer goes on that has failed so often without progress.

        Raises:
            UnavailableError: the given one, when that was often enough.
        """
        if failures >= self._policy.attempts or isinstance(error, UnreachableError):
            raise error
        delay = self._policy.delay(failures)
        self._report(Retried(error.message, delay))
        return delay

    def close(self) -> None:
        """Close every idle connection."""
        self.session.close()

    def same_origin(self, url: str) -> bool:
        """Whether a URL is on this registry: only then may it see credentials."""
        return _origin(url) == _origin(self.origin)

    def locate(self, base: str, location: str | None, what: str) -> str:
        """The absolute URL that a `Location` header means.

        Behind a proxy that ends TLS a registry may write `http://` for itself; that is put right.

        Raises:
            UnavailableError: there is none, or it leads from https to http on another host.
        """
        if not location:
            raise UnavailableError(f"{self.host} gave no Location for {what}")
        url = urllib.parse.urljoin(base, location)
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "http" and self.origin.startswith("https:"):
            repaired = parts._replace(scheme="https").geturl()
            if parts.hostname != urllib.parse.urlsplit(self.origin).hostname:
                raise NotAllowedError(f"{self.host} leads from https to http for {what}; refused")
            return repaired
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UnavailableError(f"{self.host} gave an unusable Location for {what}")
        return url

    def _send(self, attempt: _Attempt, what: str) -> Response:
        """One try, with at most two rounds of authentication: none or expired, then renewed."""
        ours = self.same_origin(attempt.url)
        used = self._auth.header(attempt.scope) if ours else None
        response = self._follow(attempt, used, what)
        for _ in range(2):
            challenge = response.headers.get("WWW-Authenticate", "")
            if response.status != 401 or not ours or response.redirected or not challenge:
                return response
            response.close()
            renewed = self._auth.answer(challenge, attempt.scope, used)
            if used is not None and renewed == used:
                return response
            used = renewed
            response = self._follow(attempt, used, what)
        return response

    def _follow(self, attempt: _Attempt, authorization: str | None, what: str) -> Response:
        """Send, and follow redirects of reads; credentials stay with the registry."""
        url = attempt.url
        headers = attempt.all_headers(authorization)
        for _ in range(_MAX_HOPS + 1):
            raw = self._exchange(attempt, url, headers)
            redirected = not self.same_origin(url) and url != attempt.url
            response = Response(raw.status, raw.headers, url, redirected, raw)
            if raw.status not in {301, 302, 303, 307, 308} or attempt.method not in {"GET", "HEAD"}:
                return response
            response.close()
            url = self.locate(url, raw.headers.get("Location"), what)
            if not self.same_origin(url):
                headers.pop("Authorization", None)
        raise UnavailableError(f"{self.host} redirects {what} more than {_MAX_HOPS} times")

    def _exchange(
        self, attempt: _Attempt, url: str, headers: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        try:
            with attempt.open_body() as body:
                return self._adapter.exchange(attempt.method, url, headers, body, attempt.timeout)
        except OcimlpackError as error:
            error.side = error.side or "source"  # the body's own error: no connection failed
            raise
        except (HTTPError, OSError) as error:
            raise self._connection_error(error, url) from error

    def _connection_error(self, error: Exception, url: str) -> Exception:
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
                hint="check the host's name and port, and that the registry is running",
            )
        if isinstance(error, LocationParseError):
            return InputError(f"not a usable address: {at}")
        return _BrokenError(_reason(error))

    def _refusal(self, response: Response, what: str) -> OcimlpackError:
        try:
            body = response.read(_MAX_ERROR_BODY)
        except UnavailableError:
            body = b""  # the status alone says enough
        response.close()
        return Refusal.read(self.host, what, response.status, body).error()

    def _fetch_token(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        """One request to a token service, which is not this registry: no redirects, no loop."""
        what = f"a token of {urllib.parse.urlsplit(url).netloc}"
        attempt = _Attempt(method, url, dict(headers), body, "", _READ_SECONDS)
        count = 0
        while True:
            count += 1
            try:
                raw = self._exchange(attempt, url, attempt.all_headers(None))
                answer = Response(raw.status, raw.headers, url, False, raw).read_all(
                    _MAX_TOKEN_BODY
                )
            except UnreachableError:
                raise
            except (_BrokenError, UnavailableError) as error:
                if count >= self._policy.attempts:
                    raise UnavailableError(f"{self.host} can't give {what}: {error}") from error
                time.sleep(self._policy.delay(count))
                continue
            if raw.status in retry.RETRYABLE_STATUSES and count < self._policy.attempts:
                time.sleep(self._policy.delay(count, raw.headers.get("Retry-After")))
                continue
            return raw.status, answer


@dataclass(frozen=True, slots=True)
class _Attempt:
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
    def open_body(self) -> Iterator[BinaryIO | bytes | None]:
        if self.body is None or isinstance(self.body, bytes):
            yield self.body
        else:
            with self.body() as stream:
                yield stream


class _BrokenError(Exception):
    """The connection failed in a way that another try may not."""


class _Adapter(HTTPAdapter):
    """requests' adapter, which owns the connection pools and the proxies, without the rest of it.

    What requests adds to each request (cookies, hooks, merged settings) costs more time than a
    small blob takes on a local network, and none of it is wanted here.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._proxies: dict[str, str | None] = {}
        super().__init__(pool_connections=16, pool_maxsize=_IDLE_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, blocksize=_SEND_BLOCK, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(
            proxy, ssl_context=self._context, blocksize=_SEND_BLOCK, **kwargs
        )
        return manager

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: BinaryIO | bytes | None,
        timeout: float,
    ) -> urllib3.BaseHTTPResponse:
        proxy = self._proxy(url)
        manager = self.proxy_manager_for(proxy) if proxy else self.poolmanager
        return manager.urlopen(
            method,
            url,
            headers=headers,
            body=body,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=timeout),
        )

    def _proxy(self, url: str) -> str | None:
        origin = "://".join(_origin(url)[:2]) + f":{_origin(url)[2]}"
        if origin not in self._proxies:
            self._proxies[origin] = select_proxy(url, get_environ_proxies(url, no_proxy=None))
        proxy = self._proxies[origin]
        return proxy if not proxy or "://" in proxy else f"http://{proxy}"


_API_HOSTS: Final = {
    "docker.io": "registry-1.docker.io",
    "index.docker.io": "registry-1.docker.io",
}
"""Docker Hub's images are named after one host and served by another."""


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


def _tls_context(ca_file: str | None, insecure: bool) -> ssl.SSLContext:
    """Trust the given authorities; else those the environment names; else the system's.

    requests alone would trust only the list that it ships, not the company's own authority that
    the machine's administrator has installed.
    """
    named = ca_file or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    paths = ssl.get_default_verify_paths()
    if not named and not paths.cafile and not paths.capath:
        named = DEFAULT_CA_BUNDLE_PATH
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
