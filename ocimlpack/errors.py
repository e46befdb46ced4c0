"""Every error that ocimlpack raises on purpose, and the exit code that it becomes.

OcimlpackError              1  something else went wrong
├── InputError              2  bad input or usage
│   ├── InvalidDigestError     not a digest
│   ├── InvalidReferenceError  not a location
│   └── UnsafeSourceError      a file of the model that can't be packed
├── NotFoundError           3  no such tag, digest, repository or file
├── NotAllowedError         4  credentials missing, wrong or not enough
├── IntegrityError          5  bytes that are not what their digest says
│   └── InvalidContentError    a manifest or an archive that is malformed or unsafe
├── UnavailableError        6  the other side is failing; trying again may help
│   └── UnreachableError       no connection at all: refused, unknown host, no trust
├── ConflictError           7  would overwrite, or was changed meanwhile
├── UnsupportedError        8  the other side, or this program, can't do that
└── RefusedError            9  refused by a policy, a signature or a scan

The codes 130 (interrupted) and 70 (a bug, with a traceback) belong to no class here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal, TypedDict, Unpack

Side = Literal["source", "destination"]


class _About(TypedDict, total=False):
    """What may be known beside an error's message; `OcimlpackError` says what each is."""

    hint: str | None
    side: Side | None
    digest: str | None
    status: int | None


class OcimlpackError(Exception):
    """The root of the tree: one short sentence, and what is known beside it.

    Attributes:
        message: one sentence for a person; it may hold text that a registry supplied, so escape
            control characters before it reaches a terminal.
        hint: what the person can do next, or None.
        side: which end of a copy failed, where that is known.
        digest: the digest of the content concerned, or None.
        status: the HTTP status behind it, or None.
        exit_code: what the command line exits with.
        kind: the name of this class of error in JSON output.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"

    def __init__(self, message: str, **about: Unpack[_About]) -> None:
        super().__init__(message)
        self.message = message
        self.hint = about.get("hint")
        self.side = about.get("side")
        self.digest = about.get("digest")
        self.status = about.get("status")


@contextmanager
def blaming(side: Side) -> Iterator[None]:
    """Say on which side an error arose, unless somebody nearer to it has said so."""
    try:
        yield
    except OcimlpackError as error:
        error.side = error.side or side
        raise


class InputError(OcimlpackError):
    """What the caller gave can't be used as it is."""

    exit_code = 2
    kind = "bad_input"


class InvalidDigestError(InputError):
    """Text that is not `sha256:` and 64 lower-case hex digits, or `sha512:` and 128."""

    kind = "invalid_digest"


class InvalidReferenceError(InputError):
    """Text that names no location."""

    kind = "invalid_reference"


class UnsafeSourceError(InputError):
    """A file of the model's folder that can't be packed, or not safely."""

    kind = "unsafe_source"


class NotFoundError(OcimlpackError):
    """A tag, digest, repository or file that is not there."""

    exit_code = 3
    kind = "not_found"


class NotAllowedError(OcimlpackError):
    """The other side refuses these credentials, or the lack of any."""

    exit_code = 4
    kind = "not_allowed"


class IntegrityError(OcimlpackError):
    """Bytes that do not have the digest or the size that they were announced with."""

    exit_code = 5
    kind = "integrity"


class InvalidContentError(IntegrityError):
    """A manifest, config or archive whose bytes are right but whose content can't be trusted."""

    kind = "invalid_content"


class UnavailableError(OcimlpackError):
    """The other side can't be reached, or keeps failing; a later try may succeed.

    Attributes:
        retry_after: what the other side said of when to come back: the header as it was, or None.
        final: it was tried again as often as it may; nobody further out begins that anew.
    """

    exit_code = 6
    kind = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        retry_after: str | None = None,
        final: bool = False,
        **about: Unpack[_About],
    ) -> None:
        super().__init__(message, **about)
        self.retry_after = retry_after
        self.final = final


class UnreachableError(UnavailableError):
    """No way there: a wrong name or port, nothing running, no trust in it, or it leads nowhere.

    Another try a second later would end alike, so none is made.
    """

    kind = "unreachable"


class ConflictError(OcimlpackError):
    """Going on would overwrite something, or something changed under our hands."""

    exit_code = 7
    kind = "conflict"


class UnsupportedError(OcimlpackError):
    """The other side, or this installation, has no way to do it."""

    exit_code = 8
    kind = "unsupported"


class RefusedError(OcimlpackError):
    """A policy, a signature check or a scan said no."""

    exit_code = 9
    kind = "refused"
