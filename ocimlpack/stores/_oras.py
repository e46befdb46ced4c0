"""Talking to a registry: the only module that imports oras.

`Session` is oras's `Registry` with a request loop of its own. oras brings the session, its cookie
policy and its connection adapters; the loop adds what a transfer of hundreds of gigabytes needs:
bodies that are opened again for each try, retries of what may pass, credentials that only go where
they belong, tokens renewed on the way, and every failure as one of our errors.
"""

from __future__ import annotations

import math
import threading
import urllib.parse
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final, cast

import requests

from ocimlpack import retry
from ocimlpack.errors import (
    NotAllowedError,
    OcimlpackError,
    UnavailableError,
    UnreachableError,
    UnsupportedError,
)
from ocimlpack.progress import Reporter, Warned, ignore
from ocimlpack.stores import credentials
from ocimlpack.stores._http import (
    Adapter,
    Attempt,
    Body,
    Response,
    origin_of,
    tls_context,
)
from ocimlpack.stores.challenge import is_loopback
from ocimlpack.stores.credentials import Credential
from ocimlpack.stores.deferred import deferred
from ocimlpack.stores.responses import Refusal
from ocimlpack.stores.tokens import Authenticator, RequestSigner

# oras checks manifests by their schemas, which nothing here lets it do; and the library for that
# takes longer to import than a small model to pull.
with deferred("jsonschema"):
    from oras.provider import Registry

_READ_SECONDS: Final = 60.0
_MAX_HOPS: Final = 5
_MAX_ERROR_BODY: Final = 64 * 1024
_MAX_TOKEN_BODY: Final = 1024 * 1024


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
        wait: float = math.inf,
        report: Reporter = ignore,
        credential: Callable[[str], Credential | None] = credentials.find,
        signer: Callable[[str], RequestSigner | None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            host: `host[:port]`; Docker Hub by any of its names.
            plain_http: speak http; None means to loopback hosts only, and not with a CA file.
            insecure: do not verify TLS certificates.
            ca_file: PEM file of the authorities to trust instead of the system's.
            policy: how requests are retried.
            wait: the most seconds that any request waits for an answer to begin.
            report: gets an event for each retry.
            credential: looks credentials up for a host.
            signer: looks for what signs requests for tokens, where no credentials are found.

        Raises:
            InputError: the CA file can't be used.
        """
        if plain_http is None:
            plain_http = is_loopback(host) and not ca_file and not insecure
        super().__init__(hostname=host, insecure=plain_http)
        self.host = host
        self.origin = f"{self.prefix}://{_API_HOSTS.get(host, host)}"
        self._policy = policy
        self._wait = wait
        self._report = report
        if ca_file or insecure:
            tls_context(ca_file, insecure)  # a file that can't be used is said before all else
        self._adapter = Adapter(partial(tls_context, ca_file, insecure), stall=policy.stall)
        self.session.mount("https://", self._adapter)
        self.session.mount("http://", self._adapter)
        self.session.trust_env = False  # else a ~/.netrc entry would replace our Authorization
        self._credential = credential
        self._auth = Authenticator(
            host, self.origin, self._find, self._fetch_token, threading.Lock(), signer, report
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
        attempt = self._attempt(method, url, headers, body, scope, timeout)
        tries = self.tries()
        while True:
            try:
                return self._once(attempt, what, expect)
            except UnavailableError as error:
                if not retries:
                    raise
                tries.pause(error)

    def read(
        self,
        url: str,
        *,
        what: str,
        scope: str,
        limit: int,
        expect: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Response, bytes]:
        """Get something small, all of it: an answer that breaks off is asked for again.

        Args:
            url: absolute, or a path of this registry.
            what: what is asked for, in words.
            scope: the token scope that it needs.
            limit: the most bytes that are read.
            expect: the statuses that are returned.
            headers: more headers.

        Raises:
            IntegrityError: it is longer than the limit.
            OcimlpackError: as `request` says.
        """
        attempt = self._attempt("GET", url, headers, None, scope, _READ_SECONDS)
        tries = self.tries()
        while True:
            try:
                response = self._once(attempt, what, expect)
                return response, response.read_all(limit)
            except UnavailableError as error:
                tries.pause(error)

    def tries(self) -> retry.Tries:
        """A count of failures for one piece of work with this registry."""
        return retry.Tries(self._policy, self._report)

    def ping(self) -> None:
        """Ask whether these credentials, or none, may speak to this registry at all.

        Raises:
            NotAllowedError: they may not.
        """
        self.request("GET", "/v2/", what="the API at /v2/").close()

    def greet(self) -> Response:
        """Ask for the API as nobody. Any answer, a refusal too, shows who answers, and when.

        Raises:
            UnavailableError: there is none. This is not tried again.
        """
        attempt = self._attempt("GET", "/v2/", None, None, "", _READ_SECONDS)
        return self._adapter.exchange(attempt, attempt.url, attempt.all_headers(None))

    def token(self, scope: str = "") -> tuple[str, float]:
        """A bearer token of this registry, tried, and the seconds for which it still holds.

        Raises:
            NotAllowedError: there are no credentials and no signature that it takes.
            UnsupportedError: it asks for no such token.
        """
        self.ping()
        found = self._auth.bearer(scope)
        if found is None:
            raise UnsupportedError(f"{self.host} asks for no token")
        return found

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
        return self._adapter.build_response(prepared, response.raw)

    def close(self) -> None:
        """Close every idle connection."""
        self.session.close()

    def same_origin(self, url: str) -> bool:
        """Whether a URL is on this registry: only then may it see credentials."""
        return origin_of(url) == origin_of(self.origin)

    def locate(self, base: str, location: str | None, what: str) -> str:
        """The absolute URL that a `Location` header means.

        Behind a proxy that ends TLS a registry may write `http://` for itself; that is put right.

        Raises:
            UnreachableError: there is none that can be used.
            NotAllowedError: it leads from https to http on another host.
        """
        if not location:
            raise UnreachableError(f"{self.host} gave no Location for {what}")
        unusable = UnreachableError(f"{self.host} gave an unusable Location for {what}")
        try:
            url = urllib.parse.urljoin(base, location)
            parts = urllib.parse.urlsplit(url)
        except ValueError as error:
            raise unusable from error
        if "\\" in parts.netloc:
            # Some take what stands behind it for the host, others what stands before it.
            raise unusable
        if parts.scheme == "http" and self.origin.startswith("https:"):
            repaired = parts._replace(scheme="https").geturl()
            if parts.hostname != urllib.parse.urlsplit(self.origin).hostname:
                raise NotAllowedError(f"{self.host} leads from https to http for {what}; refused")
            return repaired
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise unusable
        return url

    def _attempt(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: Body | bytes | None,
        scope: str,
        timeout: float,
    ) -> Attempt:
        if url.startswith("/"):
            url = self.origin + url
        return Attempt(method, url, dict(headers or {}), body, scope, min(timeout, self._wait))

    def _once(self, attempt: Attempt, what: str, expect: Collection[int]) -> Response:
        """One try: an answer with an expected status, or the error that it means."""
        try:
            response = self._send(attempt, what)
        except UnavailableError as error:
            if not retry.is_passing(error) or error.status is not None:
                raise
            raise UnavailableError(
                f"{self.host} did not answer {what}: {error.message}", hint="try again later"
            ) from error
        if response.status in expect:
            return response
        problem = self._refusal(response, what)
        redirected = response.url != attempt.url and not self.same_origin(response.url)
        if redirected and response.status in {400, 401, 403}:
            # A signed address that has expired: the registry gives a new one when asked.
            raise UnavailableError(problem.message, status=response.status)
        if isinstance(problem, UnavailableError):
            problem.retry_after = problem.retry_after or response.headers.get("Retry-After")
        raise problem

    def _send(self, attempt: Attempt, what: str) -> Response:
        """One try, with at most two rounds of authentication: none or expired, then renewed."""
        ours = self.same_origin(attempt.url)
        used = self._auth.header(attempt.scope) if ours else None
        response = self._follow(attempt, used, what)
        for _ in range(2):
            challenge = response.headers.get("WWW-Authenticate", "")
            if response.status != 401 or not challenge or not self.same_origin(response.url):
                return response
            response.close()
            renewed = self._auth.answer(challenge, attempt.scope, used)
            if used is not None and renewed == used:
                return response
            used = renewed
            response = self._follow(attempt, used, what)
        return response

    def _follow(self, attempt: Attempt, authorization: str | None, what: str) -> Response:
        """Send, and follow redirects of reads; credentials stay with the registry."""
        url = attempt.url
        headers = attempt.all_headers(authorization)
        for _ in range(_MAX_HOPS + 1):
            response = self._adapter.exchange(attempt, url, headers)
            redirect = response.status in {301, 302, 303, 307, 308}
            if not redirect or attempt.method not in {"GET", "HEAD"}:
                return response
            response.close()
            url = self.locate(url, response.headers.get("Location"), what)
            if not self.same_origin(url):
                headers.pop("Authorization", None)
        raise UnreachableError(f"{self.host} redirects {what} more than {_MAX_HOPS} times")

    def _find(self, host: str) -> Credential | None:
        found = self._credential(host)
        if found is not None and found.warning:
            self._report(Warned(found.warning))
        return found

    def _refusal(self, response: Response, what: str) -> OcimlpackError:
        try:
            body = response.read(_MAX_ERROR_BODY)
        except UnavailableError:
            body = b""  # the status alone says enough
        response.close()
        return Refusal.read(self.host, what, response.status, body).error()

    def _fetch_token(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request to a token service, which is not this registry: no redirects, no loop."""
        what = f"a token of {urllib.parse.urlsplit(url).netloc}"
        attempt = self._attempt(method, url, headers, body, "", _READ_SECONDS)
        tries = self.tries()
        while True:
            try:
                response = self._adapter.exchange(attempt, url, attempt.all_headers(None))
                answer = response.read_all(_MAX_TOKEN_BODY)
                if response.status not in retry.RETRYABLE_STATUSES:
                    return response.status, response.headers, answer
                raise UnavailableError(
                    f"{self.host} can't give {what}: status {response.status}",
                    hint="try again later",
                    status=response.status,
                    retry_after=response.headers.get("Retry-After"),
                )
            except UnavailableError as error:
                tries.pause(error)


_API_HOSTS: Final = {
    "docker.io": "registry-1.docker.io",
    "index.docker.io": "registry-1.docker.io",
}
"""Docker Hub's images are named after one host and served by another."""
