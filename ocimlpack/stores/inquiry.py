"""Asking a registry what it can do: one thing after the other, each failure that one answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ocimlpack.errors import NotAllowedError, OcimlpackError, UnavailableError
from ocimlpack.retry import RETRYABLE_STATUSES
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.challenge import repository_scope
from ocimlpack.stores.responses import Refusal

if TYPE_CHECKING:
    from ocimlpack.stores._http import Body
    from ocimlpack.stores._oras import Session

Answer = Literal["yes", "no", "unknown"]

SECONDS: Final = 30.0
"""After so many, nothing further is tried: somebody waits for the page."""
_FAILURES: Final = 2
"""Answers in a row that did not come, after which none is waited for any more."""
_MAX_REFUSAL: Final = 64 * 1024

_ANY: Final = frozenset(range(200, 600)) - RETRYABLE_STATUSES
_PERSONAL: Final = frozenset({401, 403})
_NO_REPOSITORY: Final = "NAME_UNKNOWN"
_VERBS: Final = {"GET": "reading", "DELETE": "deleting in"}


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that a registry can or can't do.

    Attributes:
        name: what it is, in a few words.
        answer: whether it can; unknown where it could not be tried, or the answer says neither.
        detail: how it showed, or why it is not known.
    """

    name: str
    answer: Answer
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request, whatever its status.

    Attributes:
        status: the HTTP status.
        headers: its headers.
        url: where it came from, after redirects.
        code: the registry's own code for a refusal; may be empty.
        detail: what the registry itself says of a refusal, or the bare status.
        content: what was read of it.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    code: str = ""
    detail: str = ""
    content: bytes = b""

    @property
    def is_personal(self) -> bool:
        """Whether it refuses who asks, which says nothing of what was asked for."""
        return self.status in _PERSONAL

    @property
    def lacks_repository(self) -> bool:
        """Whether it says that there is no such repository."""
        return self.code == _NO_REPOSITORY


@dataclass(frozen=True, slots=True)
class Sample:
    """A model in the repository, to try things with.

    Attributes:
        manifest: its manifest.
        blob: the smallest of its blobs that has parts; None if none has.
        content: that blob's bytes, if they are few enough to be sent again.
    """

    manifest: Descriptor
    blob: Descriptor | None = None
    content: bytes | None = None


class Inquiry:
    """What is asked of one repository, and what came of it by now.

    Attributes:
        session: the registry.
        repository: the repository's name there.
        base: the path of its API.
        pull: the token scope for reading.
        push: the token scope for writing.
        abilities: what has been found out, in the order in which it was tried.
        exists: whether the repository is there; None while that is not known.
        sample: what there is to try things with.
        left: what could not be cleaned up again, in words.
        errors: of who may not do something, and of answers that did not come, in order.
    """

    def __init__(self, session: Session, repository: str, *, seconds: float = SECONDS) -> None:
        """Prepare; nothing is sent.

        Args:
            session: the registry.
            repository: the repository's name there; it need not be there.
            seconds: after so many, nothing further is tried.
        """
        self.session = session
        self.repository = repository
        self.base = f"/v2/{repository}"
        self.pull = repository_scope(repository, "pull")
        self.push = repository_scope(repository, "pull", "push")
        self.abilities: list[Ability] = []
        self.exists: bool | None = None
        self.sample: Sample | None = None
        self.left: list[str] = []
        self.errors: list[OcimlpackError] = []
        self._until = time.monotonic() + seconds
        self._failures = 0
        self._over = ""

    def find(self, name: str, attempt: Callable[[], Ability]) -> Ability:
        """Try one thing, and keep what came of it."""
        ability = self.tried(name, attempt)
        self.abilities.append(ability)
        return ability

    def tried(self, name: str, attempt: Callable[[], Ability]) -> Ability:
        """Try one thing; whatever goes wrong makes it an answer that is not known."""
        if not self._over and time.monotonic() > self._until:
            self._over = "not tried: the registry answers too slowly"
        if self._over:
            return Ability(name, "unknown", self._over)
        try:
            ability = attempt()
        except OcimlpackError as error:
            if isinstance(error, UnavailableError):
                self._failures += 1
                if self._failures >= _FAILURES:
                    self._over = "not tried: the registry has stopped answering"
            if isinstance(error, (UnavailableError, NotAllowedError)):
                self.errors.append(error)
            return Ability(name, "unknown", error.message)
        self._failures = 0
        return ability

    def ask(
        self,
        method: str,
        url: str,
        scope: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        limit: int = 0,
    ) -> Reply:
        """Send a request; every answer is one.

        Args:
            method: the HTTP method.
            url: absolute, or a path of the registry.
            scope: the token scope that it needs.
            headers: more headers.
            body: what is sent.
            limit: how many bytes of an answer are read that is no refusal.

        Raises:
            UnavailableError: none came, or one that may be another one later.
            NotAllowedError: the registry wants credentials, and there are none that it takes.
        """
        what = f"{_VERBS.get(method, 'writing to')} {self.repository or url}"
        response = self.session.request(
            method,
            url,
            what=what,
            scope=scope,
            expect=_ANY,
            headers=headers,
            body=body,
            retries=method in {"GET", "HEAD"},
        )
        refused = response.status >= 400
        content = b""
        try:
            wanted = _MAX_REFUSAL if refused else limit
            while len(content) < wanted and (piece := response.read(wanted - len(content))):
                content += piece
        finally:
            response.close()
        document = content if refused else b""
        refusal = Refusal.read(self.session.host, what, response.status, document)
        if response.status in _PERSONAL:
            self.errors.append(refusal.error())
        return Reply(
            response.status,
            response.headers,
            response.url,
            refusal.code,
            refusal.detail,
            content,
        )


def refused(name: str, reply: Reply, *more: str) -> Ability:
    """A refusal: of who asks, then nothing is known, or of what was asked for."""
    if reply.is_personal:
        return Ability(name, "unknown", joined(f"not allowed: {reply.detail}", *more))
    return Ability(name, "no", joined(reply.detail, *more))


def nowhere() -> Digest:
    """A digest that no content has."""
    return Digest.of(os.urandom(32))


def joined(*parts: str) -> str:
    """Some remarks as one."""
    return "; ".join(part for part in parts if part)
