"""What a registry's refusal means: its status and error document become an error of ours.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from ocimlpack.errors import (
    ConflictError,
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.retry import RETRYABLE_STATUSES

_MAX_SHOWN: Final = 300
_MISSING: Final = frozenset(
    {"BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"}
)
"""Codes that mean the same whatever status they come with; registries differ in that."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A registry's answer that is not the hoped-for one.

    Attributes:
        host: the registry.
        what: what was asked for, as a person would name it.
        status: the HTTP status.
        code: the first error's code in the document, such as `NAME_UNKNOWN`; may be empty.
        message: the first error's message; may be empty.
    """

    host: str
    what: str
    status: int
    code: str = ""
    message: str = ""

    @classmethod
    def read(cls, host: str, what: str, status: int, body: bytes) -> Refusal:
        """Take an answer apart; a body that is no error document is only shown."""
        code, message = _first_error(body)
        return cls(host, what, status, code, message)

    @property
    def detail(self) -> str:
        """What the registry itself says, or its bare status."""
        said = ": ".join(part for part in (self.code, self.message) if part)
        return (said or f"status {self.status}")[:_MAX_SHOWN]

    def error(self) -> OcimlpackError:
        """The error that this answer becomes."""
        kind, text, hint = self._meaning()
        return kind(text, hint=hint, status=self.status)

    def _meaning(self) -> tuple[type[OcimlpackError], str, str | None]:
        host, what, detail = self.host, self.what, self.detail
        if self.code == "DIGEST_INVALID":
            return (
                IntegrityError,
                f"{host} found other bytes than announced in {what}: {detail}",
                None,
            )
        if self.code in _MISSING:
            return NotFoundError, f"{host} has no {what}: {detail}", None
        if self.status == 401:
            return (
                NotAllowedError,
                f"{host} wants credentials for {what}: {detail}",
                f"ocimlpack login {host}",
            )
        if self.status == 403:
            return (
                NotAllowedError,
                f"{host} does not allow {what}: {detail}",
                (
                    "the credentials are known there but lack this permission, "
                    "or the repository is somebody else's"
                ),
            )
        if self.status == 404:
            return NotFoundError, f"{host} has no {what}: {detail}", None
        if self.status == 409:
            return ConflictError, f"{host} refuses {what}: {detail}", None
        if self.status == 413:
            return UnsupportedError, f"{what} is too large for {host}: {detail}", None
        if self.status in RETRYABLE_STATUSES:
            return UnavailableError, f"{host} keeps failing at {what}: {detail}", "try again later"
        if self.status in {405, 415, 501} or 400 <= self.status < 500:
            return UnsupportedError, f"{host} does not accept {what}: {detail}", None
        return OcimlpackError, f"{host} gave an unexpected answer to {what}: {detail}", None


def _first_error(body: bytes) -> tuple[str, str]:
    try:
        document: Any = json.loads(body)
        first = document["errors"][0]
        code, message = first.get("code"), first.get("message")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return "", ""
    return (code if isinstance(code, str) else ""), (message if isinstance(message, str) else "")
