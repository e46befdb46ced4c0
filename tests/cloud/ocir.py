"""The container registry: a token service in front of a real distribution registry.

What is known of the real one, from Oracle's pages and from public code that talks to it:
- the challenge is `Bearer realm="https://HOST/20180419/docker/token",service="HOST",scope=""`;
- a request to the token service is signed, or has basic credentials, or neither for public content;
- a wrong signature is answered with 200 and the token of an anonymous user, whose `sub` is JSON;
- a scope with `delete` is answered with 400, while `pull,push` is good for deleting;
- `registry:catalog:*` is refused, and so is `/v2/_catalog`;
- a push to a repository that is not there makes it, private and in the root compartment, where the
  tenancy's configuration says so and the caller may manage the tenancy's repositories.
The wire form of other refusals is not documented; it is assumed to be the distribution
specification's.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.cloud import keys, signatures
from tests.cloud.answers import RefusedError
from tests.cloud.artifacts import Artifacts
from tests.cloud.cloud import NAMESPACE, Cloud
from tests.cloud.principals import TENANCY, Principal, anonymous_subject
from tests.scripted.exchange import Reply, Request, as_json, refusal

TOKEN_PATH = "/20180419/docker/token"
ANONYMOUS = Principal("", "", "anonymous", frozenset(), frozenset())
DENIED = "Anonymous users are only allowed read access on public repos"
"""As the real registry says it: https://github.com/oracle/docker-images/issues/2551"""

_NAME = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>.*)$")
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "content-length"}


@dataclass
class Ocir:
    """The registry's front.

    Attributes:
        cloud: where it stands.
        artifacts: what the API knows of its content.
        upstream: `host:port` of the registry that holds the content.
        lifetime: seconds that a token holds.
        uses: requests that a token is good for, None for no limit.
        issued: the scopes of every token that was given out.
    """

    cloud: Cloud
    artifacts: Artifacts
    upstream: str
    lifetime: float = 3600
    uses: int | None = None
    issued: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._used: dict[str, int] = {}
        self._callers: dict[str, Principal] = {}
        self.cloud.route_open(re.escape(TOKEN_PATH), self.token)
        self.cloud.route_open("/v2(/|$)", self.registry)

    def token(self, request: Request, body: bytes) -> Reply:
        scopes = " ".join(request.values("scope"))
        if "registry:catalog" in scopes or re.search(r":[a-z,]*delete", scopes):
            return as_json(400, {"code": "InvalidParameter", "message": "Invalid scope"})
        try:
            caller = self._caller(request, body)
        except RefusedError as refused:
            return refused.reply()
        self.issued.append(scopes)
        now = self.cloud.now()
        mark = secrets.token_hex(8)
        self._callers[mark] = caller
        claims = {
            "jti": mark,
            "sub": caller.ocid or anonymous_subject(),
            "exp": int(now + self.lifetime),
            "iat": int(now),
            "scope": scopes,
        }
        token = keys.make_token(self.cloud.principals.issuer, claims)
        answer = {"token": token, "access_token": token, "scope": scopes}
        return as_json(200, {**answer, "expires_in": int(self.lifetime)})

    def registry(self, request: Request, body: bytes) -> Reply:
        claims = self._claims(request)
        if claims is None:
            challenge = f'Bearer realm="{self.cloud.url}{TOKEN_PATH}",service="{self.cloud.host}"'
            return refusal(
                401, "UNAUTHORIZED", "Unauthorized", Www_Authenticate=f'{challenge},scope=""'
            )
        if request.path.rstrip("/") == "/v2":
            return as_json(200, {})
        if request.path.startswith("/v2/_catalog"):
            return refusal(403, "DENIED", "not allowed")
        found = _NAME.match(request.path)
        if found is None:
            return refusal(404, "NAME_UNKNOWN", "no such path")
        caller = self._callers[claims["jti"]]
        with self.cloud.records.lock:
            refused = self._refuse(request, found, caller)
        if refused is not None:
            return refused
        reply = self._forward(request, body)
        with self.cloud.records.lock:
            self._note(request, found, body, reply, caller)
        return reply

    def _caller(self, request: Request, body: bytes) -> Principal:
        header = request.header("authorization")
        if header.startswith("Basic "):
            username, _, password = base64.b64decode(header[6:]).decode().partition(":")
            if username == "BEARER_TOKEN":
                claims = self._read(password)
                if claims is not None:
                    return self._callers[claims["jti"]]
            person = self.cloud.principals.by_password(username, password)
            if person is None or not username.startswith(f"{NAMESPACE}/"):
                raise RefusedError(401, "UNAUTHORIZED", "Unauthorized")
            return person
        if signatures.key_id(request) is None:
            return ANONYMOUS
        try:
            return self.cloud.caller(request, body)
        except RefusedError:
            return ANONYMOUS

    def _claims(self, request: Request) -> dict[str, Any] | None:
        header = request.header("authorization")
        claims = self._read(header.removeprefix("Bearer ")) if header[:7] == "Bearer " else None
        if claims is None:
            return None
        mark = claims["jti"]
        self._used[mark] = self._used.get(mark, 0) + 1
        return None if self.uses is not None and self._used[mark] > self.uses else claims

    def _read(self, token: str) -> dict[str, Any] | None:
        claims = keys.read_token(self.cloud.principals.issuer.public_key(), token)
        if claims is None or claims["exp"] <= self.cloud.now():
            return None
        return claims if claims["jti"] in self._callers else None

    def _refuse(self, request: Request, found: re.Match[str], caller: Principal) -> Reply | None:
        """Why a request to a repository is not answered; makes the repository of a first push."""
        namespace, _, name = found["name"].partition("/")
        writes = request.method not in {"GET", "HEAD"}
        repository = self.artifacts.named(name) if namespace == NAMESPACE else None
        public = repository is not None and repository["isPublic"] and not writes
        if caller is ANONYMOUS and not public:
            return refusal(403, "DENIED", DENIED)
        allowed = caller.may_manage if writes else caller.may_read | caller.may_manage
        if not public and "repos" not in allowed:
            return refusal(403, "DENIED", f"Requested repository is unauthorized: {name}")
        if repository is None:
            if not writes or namespace != NAMESPACE or not self._creates():
                return refusal(404, "NAME_UNKNOWN", f"repository {found['name']} not found")
            repository = self.artifacts.make(
                {"compartmentId": TENANCY, "displayName": name}, caller
            )
        return self._refuse_overwrite(request, found, name, repository)

    def _refuse_overwrite(
        self, request: Request, found: re.Match[str], name: str, repository: Mapping[str, Any]
    ) -> Reply | None:
        is_tag = found["kind"] == "manifests" and ":" not in found["rest"]
        if request.method != "PUT" or not is_tag or not repository["isImmutable"]:
            return None
        if self.artifacts.digest_of(name, found["rest"]) is None:
            return None
        # The status and code of the real service are not documented.
        return refusal(409, "DENIED", f"The image {name}:{found['rest']} is immutable")

    def _creates(self) -> bool:
        return bool(self.artifacts.settings["configuration"]["isRepositoryCreatedOnFirstPush"])

    def _note(
        self, request: Request, found: re.Match[str], body: bytes, reply: Reply, caller: Principal
    ) -> None:
        if found["kind"] != "manifests" or reply.status >= 300:
            return
        name = found["name"].partition("/")[2]
        if request.method == "PUT":
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            tag = found["rest"] if ":" not in found["rest"] else ""
            self.artifacts.stored(name, digest, tag, body, caller)
        if request.method == "DELETE":
            self.artifacts.removed(name, found["rest"])

    def _forward(self, request: Request, body: bytes) -> Reply:
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            sent = {
                name: value
                for name, value in request.headers.items()
                if name not in _HOP_BY_HOP | {"authorization", "host", "expect"}
            }
            # Under our own name, so that the locations that the registry writes lead here again.
            sent["Host"] = self.cloud.host
            if request.method in {"POST", "PUT", "PATCH"}:
                sent["Content-Length"] = str(len(body))
            connection.request(request.method, request.raw, body or None, sent)
            answer = connection.getresponse()
            content = answer.read()
            headers = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in _HOP_BY_HOP
            }
            if request.method == "HEAD" and (length := answer.getheader("Content-Length")):
                headers["Content-Length"] = length
            return Reply(answer.status, headers, content)
        finally:
            connection.close()
