"""Whether a request is signed as it has to be.

https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
import re
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tests.cloud import keys
from tests.cloud.answers import RefusedError
from tests.scripted.exchange import Request

ALWAYS = ("date", "(request-target)", "host")
WITH_BODY = ("content-length", "content-type", "x-content-sha256")
MAX_SKEW = 300
"""Seconds by which a request's date may be off: https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm"""

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
# A body's hash is signed for these, but not where an object or an artifact is sent: the SDK leaves
# it out there (`enforce_content_headers=False`), as it may not be able to read the body twice.
_BODIES = {"POST", "PUT", "PATCH"}
_STREAMED = re.compile(
    r"PUT /n/[^/]+/b/[^/]+/(o|u)/"
    r"|(POST|PUT) /20190101/models/[^/]+/(customMetadata/[^/]+/)?artifact$"
)


def unauthenticated(message: str = "") -> RefusedError:
    return RefusedError(
        401,
        "NotAuthenticated",
        message
        or "The required information to complete authentication was not provided or was incorrect.",
    )


def key_id(request: Request) -> str | None:
    """Whom a request says it comes from; None if it is not signed at all."""
    header = request.header("authorization")
    if not header.startswith("Signature "):
        return None
    return _parameters(header).get("keyId", "")


def verify(
    request: Request, body: bytes, now: float, find_key: Callable[[str], RSAPublicKey | None]
) -> str:
    """Whom a request comes from: the key id whose key has signed it.

    Raises:
        RefusedError: it is not signed, or not right, or not now.
    """
    header = request.header("authorization")
    parameters = _parameters(header)
    if not header.startswith("Signature ") or parameters.get("algorithm") != "rsa-sha256":
        raise unauthenticated()
    if parameters.get("version") != "1":
        raise unauthenticated("The signature has no version 1.")
    signed = parameters.get("headers", "").split()
    required = list(ALWAYS)
    if request.method in _BODIES and not _STREAMED.match(f"{request.method} {request.path}"):
        required += WITH_BODY
    if not set(required) <= set(signed):
        raise unauthenticated("The signature leaves out a required header.")
    if "x-content-sha256" in signed:
        _check_body(request, body)
    _check_date(request.header("date") or request.header("x-date"), now)
    key = find_key(parameters.get("keyId", ""))
    message = "\n".join(_line(request, name) for name in signed)
    try:
        signature = base64.b64decode(parameters.get("signature", ""), validate=True)
    except binascii.Error:
        raise unauthenticated() from None
    if key is None or not keys.is_signed(key, message.encode(), signature):
        raise unauthenticated()
    return parameters["keyId"]


def _parameters(header: str) -> dict[str, str]:
    return {found[1]: found[2] for found in _PARAMETER.finditer(header)}


def _line(request: Request, name: str) -> str:
    if name == "(request-target)":
        return f"(request-target): {request.method.lower()} {request.raw}"
    return f"{name}: {request.header(name)}"


def _check_body(request: Request, body: bytes) -> None:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    if request.header("x-content-sha256") != digest:
        raise unauthenticated("The body is not the one that was signed.")
    if request.header("content-length") != str(len(body)):
        raise unauthenticated("The body has not the length that was signed.")


def _check_date(text: str, now: float) -> None:
    try:
        date = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        raise unauthenticated("The date can't be read.") from None
    if abs(date - now) > MAX_SKEW:
        raise unauthenticated(f"Date '{text}' is not within allowed clock skew.")
