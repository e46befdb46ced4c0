"""Answering a registry's challenges: basic, and bearer tokens that are fetched and renewed.

https://distribution.github.io/distribution/spec/auth/token/ and, for identity tokens,
https://distribution.github.io/distribution/spec/auth/oauth/
"""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ocimlpack.errors import NotAllowedError, UnavailableError
from ocimlpack.progress import Identified, Reporter, ignore
from ocimlpack.stores import challenge as challenges
from ocimlpack.stores.challenge import Challenge
from ocimlpack.stores.credentials import Credential

CLIENT_ID: Final = "ocimlpack"

_DEFAULT_SECONDS: Final = 60
"""How long a token holds that does not say so, by the token specification."""

_MARGIN_SECONDS: Final = 10

Fetch = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, Mapping[str, str], bytes]]
"""One request to a token endpoint: method, URL, headers, body → status, headers and body."""


class RequestSigner(Protocol):
    """Proves who one is by a signature of the request for a token; nothing is stored for it.

    Attributes:
        kind: what sort of identity, in one word.
    """

    kind: str

    def sign(self, method: str, url: str) -> Mapping[str, str]:
        """The headers that sign a request."""
        ...

    def check(self, token: str, headers: Mapping[str, str]) -> None:
        """Look at a token that such a request has brought, with the headers that it came with.

        Raises:
            NotAllowedError: it is no good.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    expires: float


class Authenticator:
    """Knows what to put into `Authorization` for one registry, from all threads."""

    def __init__(
        self,
        host: str,
        origin: str,
        find: Callable[[str], Credential | None],
        fetch: Fetch,
        lock: AbstractContextManager[Any],
        find_signer: Callable[[str], RequestSigner | None] = lambda _: None,
        report: Reporter = ignore,
    ) -> None:
        """Prepare; nothing is looked up before the registry asks.

        Args:
            host: the registry's `host[:port]`, as credentials are stored under.
            origin: its scheme and host, which the realm policy compares with.
            find: looks credentials up.
            fetch: makes one request to a token endpoint.
            lock: held while a token is fetched, so that many threads fetch one.
            find_signer: looks for what signs requests for tokens, where no credentials are found.
            report: gets to know as whom the registry is asked.
        """
        self._host = host
        self._origin = origin
        self._find = find
        self._fetch = fetch
        self._lock = lock
        self._find_signer = find_signer
        self._report = report
        self._signer: RequestSigner | None = None
        self._looked = False
        self._credential: Credential | None = None
        self._bearer: Challenge | None = None
        self._basic: str | None = None
        self._tokens: dict[str, _Token] = {}

    def header(self, scope: str) -> str | None:
        """The value to send with a request of this scope, as far as one is known to be needed."""
        if self._basic:
            return self._basic
        if self._bearer is None:
            return None
        token = self._tokens.get(scope)
        if token is not None and time.monotonic() < token.expires:
            return token.header
        with self._lock:
            return self._renew(self._bearer, scope, token)

    def bearer(self, scope: str) -> tuple[str, float] | None:
        """A token of this scope and the seconds for which it holds; None if none is known."""
        header = self.header(scope)
        token = self._tokens.get(scope)
        if header is None or token is None:
            return None
        return token.header.removeprefix("Bearer "), token.expires - time.monotonic()

    def answer(self, header: str, scope: str, used: str | None) -> str:
        """What to send after the registry has refused a request with a challenge.

        Args:
            header: the `WWW-Authenticate` header.
            scope: what the request is for.
            used: the value that was refused, or None if none was sent.

        Raises:
            NotAllowedError: there is nothing (else) that could be sent, or the token endpoint
                refuses too.
            UnavailableError: the token endpoint fails.
        """
        offered = {each.scheme: each for each in reversed(challenges.parse(header))}
        with self._lock:
            credential = self._look()
            if bearer := offered.get("bearer"):
                self._bearer = bearer
                known = self._tokens.get(scope)
                if known is not None and known.header != used:
                    return known.header  # another thread has renewed it meanwhile
                return self._renew(bearer, scope, known)
            if "basic" in offered:
                if credential is None:
                    raise self._none_found()
                value = _basic(credential)
                if value == used:
                    raise self._refused(credential)
                self._basic = value
                return value
        schemes = ", ".join(sorted(offered)) or "none that is understood"
        raise NotAllowedError(
            f"{self._host} asks for a way of authentication that is not known: {schemes}"
        )

    def _look(self) -> Credential | None:
        if not self._looked:
            self._credential = self._find(self._host)
            if self._credential is None:
                self._signer = self._find_signer(self._host)
            self._looked = True
            if self._credential is not None:
                account = self._credential.username or None
                self._report(Identified(self._host, self._credential.kind, account))
            elif self._signer is not None:
                self._report(Identified(self._host, self._signer.kind))
        return self._credential

    def _renew(self, bearer: Challenge, scope: str, stale: _Token | None) -> str:
        """Fetch a token, unless another thread did so while this one waited for the lock."""
        current = self._tokens.get(scope)
        if current is not None and current is not stale and time.monotonic() < current.expires:
            return current.header
        credential = self._look()
        if credential and credential.registry_token:
            if stale is not None or not _is_token(credential.registry_token):
                raise self._refused(credential)
            token = _Token(f"Bearer {credential.registry_token}", float("inf"))
        else:
            token = self._request(bearer, scope, credential)
        self._tokens[scope] = token
        return token.header

    def _request(self, bearer: Challenge, scope: str, credential: Credential | None) -> _Token:
        realm = bearer.params.get("realm", "")
        challenges.check_realm(realm, self._origin, challenges.allowed_realms())
        wanted = challenges.merge_scopes(scope, bearer.params.get("scope", ""))
        status, headers, body = self._ask(realm, bearer, wanted, credential)
        if status == 400 and ":delete," in wanted:
            # Some token services know no such action and let whoever may push delete as well.
            wanted = wanted.replace(":delete,", ":")
            status, headers, body = self._ask(realm, bearer, wanted, credential)
        if status in {401, 403}:
            raise self._refused(credential) if credential else self._none_found()
        if status != 200:
            raise UnavailableError(
                f"the token service of {self._host} answered {status}", status=status, final=True
            )
        token = self._read(body)
        if credential is None and self._signer is not None:
            self._signer.check(token.header.removeprefix("Bearer "), headers)
        return token

    def _ask(
        self, realm: str, bearer: Challenge, scope: str, credential: Credential | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        fields = [("service", bearer.params["service"])] if bearer.params.get("service") else []
        if credential and credential.identity_token:
            form = [*fields, ("scope", scope), ("client_id", CLIENT_ID)]
            form += [("grant_type", "refresh_token"), ("refresh_token", credential.identity_token)]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._fetch("POST", realm, headers, urllib.parse.urlencode(form).encode())
        fields += [("scope", each) for each in scope.split()]
        fields.append(("client_id", CLIENT_ID))
        headers = {}
        if credential:
            fields.append(("account", credential.username))
            headers["Authorization"] = _basic(credential)
        url = _with_query(realm, fields)
        if credential is None and self._signer is not None:
            headers.update(self._signer.sign("GET", url))
        return self._fetch("GET", url, headers, None)

    def _read(self, body: bytes) -> _Token:
        try:
            document: Any = json.loads(body)
            token = document.get("token") or document.get("access_token")
            seconds = document.get("expires_in") or _DEFAULT_SECONDS
            if not isinstance(token, str) or not _is_token(token):
                raise ValueError("no token")
            lifetime = max(float(seconds) - _MARGIN_SECONDS, float(seconds) / 2)
        except (ValueError, RecursionError, AttributeError, TypeError) as error:
            raise UnavailableError(
                f"the token service of {self._host} gave an answer without a token"
            ) from error
        return _Token(f"Bearer {token}", time.monotonic() + lifetime)

    def _refused(self, credential: Credential) -> NotAllowedError:
        return NotAllowedError(
            f"{self._host} refuses the credentials of {credential.username or 'the stored token'} "
            f"from {credential.source}",
            hint=f"ocimlpack login {self._host}",
            status=401,
        )

    def _none_found(self) -> NotAllowedError:
        if self._signer is not None:
            return NotAllowedError(
                f"{self._host} refuses the {self._signer.kind} identity", status=401
            )
        return NotAllowedError(
            f"{self._host} wants credentials, and none are stored for it",
            hint=f"ocimlpack login {self._host}",
            status=401,
        )


def _is_token(text: str) -> bool:
    """Whether it can stand in a header as it is."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _basic(credential: Credential) -> str:
    pair = f"{credential.username}:{credential.secret}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _with_query(url: str, fields: Sequence[tuple[str, str]]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urllib.parse.urlencode(fields)}"
