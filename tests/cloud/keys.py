"""Keys and tokens as Oracle Cloud has them."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


@functools.cache
def make(name: str) -> RSAPrivateKey:
    """A key, always the same for the same name within one process: making one takes a while."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: RSAPrivateKey, pass_phrase: str = "") -> str:
    encryption = BestAvailableEncryption(pass_phrase.encode()) if pass_phrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def load(text: str) -> RSAPrivateKey:
    """A key as `pem` wrote it, without a pass phrase."""
    key = load_pem_private_key(text.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def public_pem(key: RSAPublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def fingerprint(key: RSAPublicKey) -> str:
    """https://docs.oracle.com/en-us/iaas/Content/API/Concepts/apisigningkey.htm"""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = hashlib.md5(der).hexdigest()
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


def sign(key: RSAPrivateKey, message: bytes) -> bytes:
    return key.sign(message, padding.PKCS1v15(), SHA256())


def is_signed(key: RSAPublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, message, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def make_token(key: RSAPrivateKey, claims: Mapping[str, Any]) -> str:
    """A JSON web token with RS256: RFC 7519, RFC 7518 section 3.3."""
    head = f"{_encode({'alg': 'RS256', 'typ': 'JWT', 'kid': 'asw'})}.{_encode(claims)}"
    return f"{head}.{_base64url(sign(key, head.encode()))}"


def read_token(key: RSAPublicKey, token: str) -> dict[str, Any] | None:
    """The claims of a token that this key has signed, else None. Its times are not looked at."""
    head, _, signature = token.rpartition(".")
    try:
        if not is_signed(key, head.encode(), _decode(signature)):
            return None
        claims: Any = json.loads(_decode(head.partition(".")[2]))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def to_jwk(key: RSAPublicKey) -> str:
    """A public key as the claim `jwk` of a session token has it: JSON text."""
    numbers = key.public_numbers()
    return json.dumps({"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)})


def from_jwk(text: str) -> RSAPublicKey:
    document = json.loads(text)
    numbers = (int.from_bytes(_decode(document[name])) for name in ("e", "n"))
    return rsa.RSAPublicNumbers(*numbers).public_key()


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8))


def _encode(document: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(document).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
