"""A token server as registries in production have one, for a distribution on loopback.

https://distribution.github.io/distribution/spec/auth/token/ says what is asked and answered.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

SERVICE = "registry.example.com"
ISSUER = "tokens.example.com"
LIFE_SECONDS = 300


@dataclass
class TokenServer:
    """A token server that runs now.

    Attributes:
        realm: where it answers.
        bundle: the certificates by which the registry knows its signature.
        asked: the scopes of every token that was given out, oldest first.
    """

    realm: str
    bundle: Path
    asked: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def auth(self) -> dict[str, Any]:
        """The `auth` section of the registry's config."""
        return {
            "token": {
                "realm": self.realm,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(self.bundle),
            }
        }


@contextmanager
def run_token_server(folder: Path, username: str, password: str) -> Iterator[TokenServer]:
    """Gives whoever knows the password every right that is asked for, and others nothing."""
    authority = trustme.CA()
    signer = _Signer(authority.issue_cert(ISSUER))
    bundle = folder / "bundle.pem"
    authority.cert_pem.write_to_path(str(bundle))
    expected = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["Authorization"] != expected:
                self._answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
                return
            scopes = tuple(parse_qs(urlsplit(self.path).query).get("scope", []))
            running.asked.append(scopes)
            token = signer.sign(username, scopes)
            self._answer(200, {"token": token, "expires_in": LIFE_SECONDS})

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = TokenServer(f"http://127.0.0.1:{server.server_address[1]}/token", bundle)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


class _Signer:
    """Makes JSON web tokens signed with ES256 (RFC 7515, RFC 7518 section 3.4)."""

    def __init__(self, issued: trustme.LeafCert) -> None:
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self._key = key
        certificate = load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
        chain = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
        self._header = _encode({"typ": "JWT", "alg": "ES256", "x5c": chain})

    def sign(self, subject: str, scopes: tuple[str, ...]) -> str:
        now = int(time.time())
        access = []
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        times = {"exp": now + LIFE_SECONDS, "nbf": now - 10, "iat": now}
        claims = {"iss": ISSUER, "sub": subject, "aud": SERVICE, **times, "access": access}
        content = f"{self._header}.{_encode(claims)}"
        numbers = decode_dss_signature(self._key.sign(content.encode(), ECDSA(SHA256())))
        return f"{content}.{_base64url(b''.join(part.to_bytes(32, 'big') for part in numbers))}"


def _encode(document: dict[str, Any]) -> str:
    return _base64url(json.dumps(document).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
