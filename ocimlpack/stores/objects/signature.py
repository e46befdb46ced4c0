"""Signing requests to S3 services: AWS Signature Version 4.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNRESERVED: Final = "-._~"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who is asking.

    Attributes:
        key: the access key's name.
        secret: the secret access key.
        token: what goes with temporary credentials, or empty.
        until: when they expire, in seconds since 1970, or None.
    """

    key: str
    secret: str
    token: str = ""
    until: float | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.key!r})"  # the rest is nobody's business


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    payload: str,
    credentials: Credentials,
    region: str,
    now: float,
    service: str = "s3",
) -> dict[str, str]:
    """The headers of a request, with those that sign it.

    Args:
        method: the HTTP method.
        url: the address; its path and query are encoded already.
        headers: what the request carries; all of them are signed.
        payload: the SHA-256 of the body in hex, which the service compares with what it gets.
        credentials: who is asking.
        region: where the bucket is.
        now: seconds since 1970.
        service: the service that is asked.
    """
    parts = urllib.parse.urlsplit(url)
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {
        **headers,
        "Host": parts.netloc,
        "x-amz-content-sha256": payload,
        "x-amz-date": moment,
    }
    if credentials.token:
        sent["x-amz-security-token"] = credentials.token
    canonical = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
    names = ";".join(sorted(canonical))
    request = "\n".join(
        [
            method,
            parts.path or "/",
            _canonical_query(parts.query),
            *(f"{name}:{canonical[name]}" for name in sorted(canonical)),
            "",
            names,
            payload,
        ]
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = hmac.new(_key(credentials, scope), text.encode(), hashlib.sha256).hexdigest()
    sent["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return sent


def encode_query(values: Mapping[str, str | int]) -> str:
    """A query as it is signed: sorted, and every other character encoded."""
    return "&".join(
        f"{_quote(name)}={_quote(str(value))}" for name, value in sorted(values.items())
    )


def encode_path(path: str) -> str:
    """A path as it is signed."""
    return urllib.parse.quote(path, safe=f"/{_UNRESERVED}")


def _canonical_query(query: str) -> str:
    return encode_query(dict(urllib.parse.parse_qsl(query, keep_blank_values=True)))


def _key(credentials: Credentials, scope: str) -> bytes:
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe=_UNRESERVED)
