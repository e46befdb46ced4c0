"""Progress as data: frozen events handed to one callable, from any thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["moved", "skipped", "mounted", "hashed"]
"""What became of one piece of content: its bytes went over, the destination had them already, the
registry linked them from another repository, or only their digest was wanted."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A phase begins whose extent is known.

    Attributes:
        action: a verb in its -ing form, for a person: "hashing", "pushing".
        items: how many pieces of content.
        size: how many bytes in all.
    """

    action: str
    items: int
    size: int


@dataclass(frozen=True, slots=True)
class Began:
    """Work on one piece of content begins.

    Attributes:
        name: the file's path, or the digest where there is none. It may hold any character.
        size: its bytes.
    """

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Moved:
    """So many bytes of one piece of content are done, counted from its start.

    The count is absolute, so a retry that begins again further back shows as what it is.
    """

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Ended:
    """One piece of content is done."""

    name: str
    size: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Retried:
    """A request failed and is tried again.

    Attributes:
        reason: what failed, for a person.
        delay: seconds until the next try.
    """

    reason: str
    delay: float


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a person should know, and that stops nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that was done beside what was asked for, as it had to be."""

    message: str


@dataclass(frozen=True, slots=True)
class Identified:
    """It is known now as whom a registry or a bucket is asked.

    Attributes:
        host: the registry or the bucket, as a reference has it.
        kind: `docker-config`, `credential-helper`, the kind of an Oracle Cloud identity, or `aws`
            for what is found where the AWS tools look.
        account: the account's name, where there is one.
    """

    host: str
    kind: str
    account: str | None = None


Event = Planned | Began | Moved | Ended | Retried | Warned | Noted | Identified
Reporter = Callable[[Event], None]


def ignore(_: Event) -> None:
    """The reporter of callers that want none."""
