"""A model's repository at the Hugging Face Hub, to read from: its files, at one commit.

Of files that are kept beside git the hub says the SHA-256, so they need not be here to be known.
The others are small; they are held against git's own digest.
"""

from __future__ import annotations

import hashlib
import io
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from ocimlpack.errors import (
    InputError,
    IntegrityError,
    InvalidContentError,
    InvalidDigestError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
)
from ocimlpack.retry import DEFAULT
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode
from ocimlpack.stores import _hub, home
from ocimlpack.stores._http import Attempt, Response
from ocimlpack.stores._hub import Listed
from ocimlpack.stores._oras import Session
from ocimlpack.stores.challenge import is_loopback
from ocimlpack.stores.download import RegistryBlob
from ocimlpack.stores.learned import Host
from ocimlpack.stores.range_stream import buffered
from ocimlpack.stores.responses import Refusal

if TYPE_CHECKING:
    from ocimlpack.stores.open import Access

SCHEME: Final = "hf:"
DEFAULT_REVISION: Final = "main"

POLICY: Final = replace(DEFAULT, cap=300.0, total=900.0)
"""As elsewhere, but what is over the hub's limits waits until they are lifted, in five minutes at
most. A model of thousands of files reaches them: https://huggingface.co/docs/hub/rate-limits"""

MAX_INLINE: Final = 16 * 1024 * 1024
"""Bytes of a file in git itself that are read at once; the hub takes none above ten megabytes."""

_MAX_KEPT: Final = 64 * 1024 * 1024
"""Bytes of such files that stay in memory; the others are fetched again when they are sent."""

_HEAD: Final = 4096
"""Bytes of each that stay there in any case."""

_MAX_LISTING: Final = 64 * 1024 * 1024
_TYPE: Final = "application/octet-stream"


class HubSession(Session):
    """The hub, as requests see it. Its token goes nowhere else."""

    def __init__(self, address: str, access: Access) -> None:
        """Prepare; nothing is sent.

        Args:
            address: the hub's address.
            access: how it is reached.

        Raises:
            InputError: no address, or one that a token must not be sent to.
            NotAllowedError: there is to be a token, and it can't be had.
        """
        parts = _split(address)
        self._token = _hub.token()
        plain = parts.scheme == "http"
        if plain and self._token and not (is_loopback(parts.netloc) or access.plain_http):
            raise InputError(
                f"a token would be sent to {parts.netloc} without encryption",
                hint="use https, or --plain-http where the network is trusted",
            )
        super().__init__(
            parts.netloc,
            plain_http=plain,
            insecure=access.insecure,
            ca_file=access.ca_file,
            wait=access.wait,
            report=access.report,
            credential=lambda _: None,
            policy=access.policy or POLICY,
        )
        self.address = f"{self.origin}{parts.path}".rstrip("/")

    def _send(self, attempt: Attempt, what: str) -> Response:
        """One try. The hub answers no challenges: who has a token sends it."""
        known = self._token and self.same_origin(attempt.url)
        return self._follow(attempt, f"Bearer {self._token}" if known else None, what)

    def _refusal(self, response: Response, what: str) -> OcimlpackError:
        """What the hub means, which it says in headers."""
        status, code = response.status, response.headers.get("X-Error-Code", "")
        said = " ".join(response.headers.get("X-Error-Message", "").split())[:300]
        response.close()
        if code == "GatedRepo":
            return NotAllowedError(
                f"{self.host} gives {what} only to those whose access was granted",
                hint="ask for access on the model's page there"
                + ("" if self._token else ", and set HF_TOKEN or run `hf auth login`"),
                status=status,
            )
        if code in {"RevisionNotFound", "EntryNotFound"}:
            return NotFoundError(f"{self.host} has no {what}", status=status)
        if said == "Invalid credentials in Authorization header":
            return NotAllowedError(
                f"{self.host} refuses the token",
                hint="it is $HF_TOKEN, or else what `hf auth login` has stored",
                status=status,
            )
        if code == "RepoNotFound" or status in {401, 404}:
            # To those who may not see it, a private one is said not to be there.
            token = "is the token the right one?" if self._token else "set HF_TOKEN"
            hint = f"check the name; if it is private: {token}"
            return NotFoundError(f"{self.host} has no {what}", hint=hint, status=status)
        if status in {403, 451}:
            return NotAllowedError(
                f"{self.host} does not allow {what}: {said or f'status {status}'}", status=status
            )
        problem = Refusal(self.host, what, status, message=said).error()
        if isinstance(problem, UnavailableError):
            problem.retry_after = _rate_limit(response)
        return problem


class HubContent(RegistryBlob):
    """A file's content at the hub: a blob that is opened at any offset, and read in parts.

    Attributes:
        digest: its digest, where that is known.
    """

    def __init__(
        self, session: HubSession, name: str, listed: Listed, path: str, host: Host, size: int
    ) -> None:
        """Nothing is asked.

        Args:
            session: the hub.
            name: the model.
            listed: the file.
            path: where it is, as a path of the hub.
            host: what is known of the hub.
            size: its bytes.
        """
        self.digest = Digest.parse(f"sha256:{listed.sha256}") if listed.sha256 else None
        # Of what has no digest yet, the size is what a part is held against.
        known = self.digest or Digest.of(b"")
        super().__init__(session, name, Descriptor(_TYPE, known, size), host, path)
        self._what = f"{listed.path} of {SCHEME}{name}"
        self._hub = session
        self._head = b""

    @property
    def place(self) -> str:
        """The file, for messages."""
        return self._what

    @property
    def identity(self) -> str:
        """Tells it from any other content: it has a digest, or an address with a commit in it."""
        return f"hub:{self.digest or self._session.origin + self._path}"

    def head(self, length: int) -> bytes:
        """The first bytes, at most so many."""
        wanted = min(length, self.size)
        if len(self._head) < wanted:
            self._head = self.read(0, wanted)
        return self._head[:wanted]

    @contextmanager
    def browse(self) -> Iterator[BinaryIO]:
        """Read here and there; only what is read is moved."""

        def read(offset: int, length: int) -> bytes:
            known = self._head[offset : offset + length]
            return known or self.read(offset, length)

        yield buffered(read, self.size)


class InlineContent:
    """A small file's content, which was read and is right.

    Attributes:
        place: the file, for messages.
        size: bytes.
        digest: its digest.
    """

    def __init__(
        self, place: str, content: bytes, read: Callable[[], bytes], *, keep: bool
    ) -> None:
        """Look at it.

        Args:
            place: the file, for messages.
            content: what was read.
            read: reads it again.
            keep: whether it stays in memory.
        """
        self.place = place
        self.size = len(content)
        self.digest = Digest.of(content)
        self._head = content[:_HEAD]
        self._content = content if keep else None
        self._read = read

    @property
    def identity(self) -> str:
        """Tells it from any other content."""
        return f"hub:{self.digest}"

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """Read from `offset` bytes on."""
        yield io.BytesIO(self._all()[offset:])

    @contextmanager
    def browse(self) -> Iterator[BinaryIO]:
        """Read here and there."""
        yield io.BytesIO(self._all())

    def head(self, length: int) -> bytes:
        """The first bytes, at most so many."""
        return self._head[:length] if length <= _HEAD else self._all()[:length]

    def _all(self) -> bytes:
        return self._read() if self._content is None else self._content


class HubModel:
    """A model at the hub, at one commit.

    Attributes:
        name: `ORG/NAME`.
        commit: the commit.
        files: its files, by their paths there.
        page: the address of the model's page.
    """

    def __init__(self, session: HubSession, name: str, revision: str) -> None:
        """Ask what the revision stands for, and what it holds.

        Args:
            session: the hub.
            name: `ORG/NAME`.
            revision: a branch, a tag or a commit.

        Raises:
            NotFoundError: there is no such model or revision, or not for everybody.
            NotAllowedError: it is gated, or the token is refused.
            UnavailableError: the hub keeps failing.
        """
        self._session = session
        self._host = Host(home.hosts(), session.host)
        self.name = _hub.check_name(name)
        self.page = f"{session.address}/{name}"
        what = f"{SCHEME}{name}" + (f"@{revision}" if revision != DEFAULT_REVISION else "")
        quoted = urllib.parse.quote(revision, safe="")
        _, raw = session.read(
            f"{session.address}/api/models/{name}/revision/{quoted}?blobs=true",
            what=what,
            scope="",
            limit=_MAX_LISTING,
        )
        document: Any = decode(raw, f"the answer about {what}")
        if not isinstance(document, dict):
            raise InvalidContentError(f"the answer about {what} makes no sense")
        listing = _hub.read_listing(document, what)
        self.commit = listing.commit
        self.files = {each.path: each for each in listing.files}
        self._kept = 0

    def content(self, name: str) -> HubContent | InlineContent:
        """A file's content: of one in git itself, read at once; of others, nothing yet.

        Raises:
            IntegrityError: what came is not what git has.
            InvalidContentError: the hub says something of it that can't be.
        """
        file = self.files[name]
        if file.sha256 is None and (file.size is None or file.size <= MAX_INLINE):
            raw = self._inline(file)
            # Two threads at once may both be the last for which there is room.
            keep = self._kept + len(raw) <= _MAX_KEPT
            self._kept += len(raw) if keep else 0
            return InlineContent(self._what(file), raw, partial(self._inline, file), keep=keep)
        try:
            return HubContent(
                self._session, self.name, file, self._path(file), self._host, file.size or 0
            )
        except InvalidDigestError as error:
            raise InvalidContentError(f"the hub's digest of {file.path!r:.120} is none") from error

    def _inline(self, file: Listed) -> bytes:
        what = self._what(file)
        raw = self._session.read(self._path(file), what=what, scope="", limit=MAX_INLINE)[1]
        if file.git and len(file.git) == 40:
            framed = b"blob %d\0" % len(raw) + raw
            found = hashlib.sha1(framed, usedforsecurity=False).hexdigest()
            if found != file.git:
                raise IntegrityError(f"{what} is not what git has as {file.git}", side="source")
        return raw

    def _what(self, file: Listed) -> str:
        return f"{file.path} of {SCHEME}{self.name}"

    def _path(self, file: Listed) -> str:
        address = _hub.file_address(self._session.address, self.name, self.commit, file.path)
        return address.removeprefix(self._session.origin)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


@contextmanager
def opened(name: str, revision: str, address: str | None, access: Access) -> Iterator[HubModel]:
    """A model at the hub.

    Args:
        name: `ORG/NAME`.
        revision: a branch, a tag or a commit.
        address: the hub's address; None for that of the environment, or the public one.
        access: how it is reached.

    Raises:
        UnsupportedError: the hub's library is not installed.
        OcimlpackError: as `HubModel` says.
    """
    _hub.require()
    _hub.check_name(name)
    session = HubSession(address or _hub.endpoint(), access)
    try:
        yield HubModel(session, name, revision)
    finally:
        session.close()


def _rate_limit(response: Response) -> str | None:
    """When to come back, by `Retry-After` or the hub's own header.

    https://huggingface.co/docs/hub/rate-limits
    """
    fields = response.headers.get("RateLimit", "").replace(" ", "").split(";")
    seconds = next((each[2:] for each in fields if each.startswith("t=")), None)
    return response.headers.get("Retry-After") or seconds


def _split(address: str) -> urllib.parse.SplitResult:
    """The parts of a hub's address.

    Raises:
        InputError: it is none, or has what may be a password.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc:
            return parts
    except ValueError:
        pass  # it is said below, in our own words
    shown = address.rpartition("@")[2]
    raise InputError(f"not a hub's address: {shown!r:.120} (expected https://HOST)")
