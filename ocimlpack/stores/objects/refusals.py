"""What an S3 service's refusal means: its status and error document become an error of ours.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final

from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnreachableError,
    UnsupportedError,
)
from ocimlpack.retry import RETRYABLE_STATUSES
from ocimlpack.stores.objects.base import ConditionError, GoneError

_MAX_SHOWN: Final = 300

_REDIRECTS: Final = frozenset({301, 302, 307, 308})
_MISPLACED: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "TemporaryRedirect",
    }
)
_UNKNOWN_KEY: Final = frozenset({"InvalidAccessKeyId", "XAdminUserNotFound"})
_EXPIRED: Final = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
_PASSING: Final = frozenset(
    {
        "BadDigest",  # damaged on the way: what is sent again is read from memory again
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "XAmzContentSHA256Mismatch",
    }
)
"""Codes of what may pass, whatever status they come with."""

WHERE_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, say who is asking"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An S3 service's answer that is not the hoped-for one.

    Attributes:
        place: the bucket, as errors name it.
        what: what was asked for, as a person would name it.
        status: the HTTP status.
        code: the error's code, such as `NoSuchBucket`; may be empty.
        message: what the service says; may be empty.
        region: where the bucket is, if the service says that.
        retry_after: when to come back, as the service says it.
    """

    place: str
    what: str
    status: int
    code: str = ""
    message: str = ""
    region: str = ""
    retry_after: str | None = None

    @classmethod
    def read(
        cls, place: str, what: str, status: int, document: str, retry_after: str | None = None
    ) -> Refusal:
        """Take an answer apart; a body that is no error document says nothing."""
        return cls(
            place,
            what,
            status,
            element(document, "Code"),
            element(document, "Message"),
            element(document, "Region"),
            retry_after,
        )

    @property
    def detail(self) -> str:
        """What the service itself says, or its bare status."""
        said = ": ".join(part for part in (self.code, self.message) if part)
        return (said or f"status {self.status}")[:_MAX_SHOWN]

    def error(self) -> OcimlpackError:
        """The error that this answer becomes."""
        if self.code in _PASSING or (not self.code and self.status in RETRYABLE_STATUSES):
            return self._unavailable()
        kind, text, hint = self._about_who() or self._about_what()
        if kind is UnavailableError:
            return self._unavailable()
        return kind(text, hint=hint, status=self.status)

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(
            f"{self.place} keeps failing at {self.what}: {self.detail}",
            hint="try again later",
            status=self.status,
            retry_after=self.retry_after,
        )

    def _about_who(self) -> tuple[type[OcimlpackError], str, str | None] | None:
        place, code = self.place, self.code
        if code in _UNKNOWN_KEY:
            return NotAllowedError, f"{place}: the access key is not known there", WHERE_CREDENTIALS
        if code == "SignatureDoesNotMatch":
            return (
                NotAllowedError,
                f"{place}: the secret access key does not belong to the access key",
                WHERE_CREDENTIALS,
            )
        if code in _EXPIRED:
            return (
                NotAllowedError,
                f"{place}: the credentials have expired: {self.detail}",
                "renew them, with what gave them: aws sso login, for example",
            )
        if code == "RequestTimeTooSkewed":
            return (
                NotAllowedError,
                f"{place}: this machine's clock and the service's differ too much",
                "set this machine's clock",
            )
        if code in _MISPLACED or (not code and self.status in _REDIRECTS):
            at = f" ({self.region})" if self.region else ""
            return (
                InputError,
                f"{place} is in another region{at} than the one that was asked",
                f"set AWS_REGION{f'={self.region}' if self.region else ''}",
            )
        if self.status == 401 or (self.status == 403 and code != "InvalidObjectState"):
            return (
                NotAllowedError,
                f"{place} does not allow {self.what}: {self.detail}",
                "the credentials lack this permission, or the bucket is somebody else's",
            )
        return None

    def _about_what(self) -> tuple[type[OcimlpackError], str, str | None]:
        place, what, code, status = self.place, self.what, self.code, self.status
        if code == "NoSuchBucket":
            return NotFoundError, f"there is no bucket {place}", "make it first, where it is kept"
        if code == "InvalidBucketName":
            return InputError, f"the service takes no bucket of that name: {place}", None
        if code == "NoSuchUpload":
            return GoneError, f"{place} knows no such upload: {what}", None
        if status == 412:
            return ConditionError, f"{place} has something else now: {what}", None
        if code == "InvalidObjectState":
            return (
                ConflictError,
                f"{place} has {what} in cold storage: {self.detail}",
                "restore it first, with the service's own tools",
            )
        if status == 404:
            return NotFoundError, f"{place} has no {what}: {self.detail}", None
        if status == 409:
            return ConflictError, f"{place} refuses {what}: {self.detail}", None
        if status == 416:
            return IntegrityError, f"{place} has less of {what} than it should have", None
        if status == 501 or code == "NotImplemented":
            return UnsupportedError, f"{place} can't do {what}: {self.detail}", None
        if status in RETRYABLE_STATUSES:
            return UnavailableError, "", None
        if 400 <= status < 500:
            return UnsupportedError, f"{place} does not accept {what}: {self.detail}", None
        return OcimlpackError, f"{place} gave an unexpected answer to {what}: {self.detail}", None


_TROUBLES: Final = (
    ("ConnectionRefused", "Connection refused"),
    ("dns error", "no such host"),
    ("UnknownIssuer", "its certificate is signed by nobody who is trusted"),
    ("NotValidForName", "its certificate is for another host"),
    ("Expired", "its certificate has expired"),
    ("InvalidContentType", "it does not speak TLS"),
    ("InvalidCertificate", "its certificate can't be used"),
    ("NetworkUnreachable", "no way there"),
    ("HostUnreachable", "no way there"),
)
"""What the library's own account of a failed connection holds, and what that means."""


def connection_error(place: str, what: str, address: str, account: str) -> OcimlpackError:
    """What the library says of a request without an answer, as an error of ours.

    Args:
        place: the bucket, as errors name it.
        what: what was asked for.
        address: the service's address.
        account: the library's own account.
    """
    trouble = next((text for sign, text in _TROUBLES if sign in account), None)
    if trouble is not None:
        hint = "check the host's name and port, and that it is running"
        if "certificate" in trouble:
            hint = "--ca-file names an authority of your own"
        return UnreachableError(f"can't connect to {address}: {trouble}", hint=hint)
    kind = re.search(r"kind: (Timeout|Connect|Interrupted)", account)
    happened = {
        "Timeout": "nothing came for too long",
        "Connect": f"no connection to {address}",
    }.get(kind.group(1) if kind else "", "the connection broke")
    return UnavailableError(f"{place} did not answer {what}: {happened}", hint="try again later")


def element(document: str, name: str) -> str:
    """The text of the first element of that name in a small XML document; empty without one."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", document)
    return html.unescape(found.group(1)).strip() if found else ""


def elements(document: str, name: str) -> list[str]:
    """What is in each element of that name."""
    return re.findall(rf"<{name}>(.*?)</{name}>", document, re.DOTALL)
