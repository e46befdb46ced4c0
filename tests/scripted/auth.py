from __future__ import annotations

import base64
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs

import pytest

from ocimlpack.errors import NotAllowedError
from tests.scripted.exchange import Reply, Request, as_json, refusal

USERNAME = "mia"
PASSWORD = "open sesame"
IDENTITY = "identity-of-mia"
SECRETS = (PASSWORD, IDENTITY, base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode())


def refuses(call: Callable[[], object]) -> NotAllowedError:
    """The error that the call ends in; no part of a credential may be in it."""
    with pytest.raises(NotAllowedError) as caught:
        call()
    shown: BaseException | None = caught.value
    while shown is not None:
        text = f"{shown!r} {getattr(shown, 'hint', '')}"
        assert not any(secret in text for secret in SECRETS)
        shown = shown.__cause__ or shown.__context__
    return caught.value


@dataclass
class Token:
    scopes: frozenset[str]
    uses: int | None


@dataclass
class Auth:
    """Who may do what, and how they show who they are.

    Attributes:
        mode: how requests are authenticated.
        identity_token: the refresh token that is accepted in place of the password; "" for none.
        anonymous: what someone without credentials gets a token for.
        uses: for how many requests a token is good; None for any number.
        grants: what an authenticated token is good for at most.
        realm: where tokens are fetched; "" for this server's own endpoint.
        expires_in: what token answers say, in seconds; None to leave it out.
        posting: whether the token endpoint knows POST.
        issued: how many tokens were handed out.
    """

    mode: Literal["none", "basic", "bearer"] = "none"
    username: str = USERNAME
    password: str = PASSWORD
    identity_token: str = ""
    anonymous: frozenset[str] = frozenset()
    uses: int | None = None
    grants: frozenset[str] = frozenset({"pull", "push", "delete", "*"})
    realm: str = ""
    service: str = "scripted.example"
    expires_in: int | None = 300
    posting: bool = True
    issued: int = 0
    tokens: dict[str, Token] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def expire(self) -> None:
        """No token handed out until now is good any more."""
        with self.lock:
            self.tokens.clear()

    def refuse(self, request: Request, scope: str, url: str) -> Reply | None:
        """The challenge that answers a request, or None if it is allowed.

        Args:
            scope: what the request needs, as in `repository:a/b:pull`.
            url: this server's own address.
        """
        if self.mode == "none":
            return None
        given = request.header("authorization")
        if self.mode == "basic":
            if given == self.basic:
                return None
            return refusal(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="scripted"')
        error = ""
        if given.startswith("Bearer "):
            with self.lock:
                token = self.tokens.get(given.removeprefix("Bearer "))
                if token and token.uses is not None:
                    token.uses -= 1
                    if token.uses < 0:
                        token = None
            if token and (not scope or _covers(token.scopes, scope)):
                return None
            error = ',error="insufficient_scope"' if token else ',error="invalid_token"'
        challenge = f'Bearer realm="{self.realm or url + "/token"}",service="{self.service}"'
        challenge += f',scope="{scope}"' if scope else ""
        return refusal(401, "UNAUTHORIZED", WWW_Authenticate=challenge + error)

    @property
    def basic(self) -> str:
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def issue(self, request: Request, body: bytes) -> Reply:
        """Answer the token endpoint: GET as the Docker token specification says, POST as OAuth 2.

        https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/
        """
        if request.method == "POST":
            return self._issue_oauth(request, body)
        given = request.header("authorization")
        if given and given != self.basic:
            return refusal(401, "UNAUTHORIZED", "wrong user name or password")
        if request.arguments().get("service") != self.service:
            return refusal(400, "UNSUPPORTED", "unknown service")
        token = self._new(request.values("scope"), self.grants if given else self.anonymous)
        return as_json(200, self._dated({"token": token, "access_token": token}))

    def _issue_oauth(self, request: Request, body: bytes) -> Reply:
        if not self.posting:
            return refusal(405, "UNSUPPORTED")
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        by_password = form.get("grant_type") == "password" and (
            (form.get("username"), form.get("password")) == (self.username, self.password)
        )
        by_token = form.get("grant_type") == "refresh_token" and (
            self.identity_token and form.get("refresh_token") == self.identity_token
        )
        if not (by_password or by_token) or not form.get("client_id"):
            return as_json(401, {"error": "invalid_grant"})
        if form.get("service") != self.service:
            return as_json(400, {"error": "invalid_request"})
        token = self._new(form.get("scope", "").split(), self.grants)
        return as_json(200, self._dated({"access_token": token, "scope": form.get("scope", "")}))

    def _dated(self, answer: dict[str, object]) -> dict[str, object]:
        return answer if self.expires_in is None else {**answer, "expires_in": self.expires_in}

    def _new(self, scopes: list[str], allowed: frozenset[str]) -> str:
        granted = set()
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            granted |= {f"{kind}:{name}:{each}" for each in actions.split(",") if each in allowed}
        with self.lock:
            self.issued += 1
            text = f"token-{next(self.numbers)}"
            self.tokens[text] = Token(frozenset(granted), self.uses)
        return text


def _covers(granted: frozenset[str], scopes: str) -> bool:
    for scope in scopes.split():
        name, _, actions = scope.rpartition(":")
        if not all(f"{name}:{each}" in granted for each in actions.split(",")):
            return False
    return True
