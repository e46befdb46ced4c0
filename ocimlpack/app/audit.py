"""What was changed far away, by whom, with what result: a log on this machine.

Each command that changes a registry, a bucket or a catalog writes one line, also when it fails. It
holds no secrets and no query strings, which may be signatures.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from ocimlpack.app.options import Connection
from ocimlpack.errors import InputError, OcimlpackError
from ocimlpack.progress import Ended, Event, Identified, Reporter, Warned, ignore
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores import chain, home

_FAR: Final = frozenset({Kind.REGISTRY, Kind.OCIR, Kind.BUCKET, Kind.S3})
_MAX_TEXT: Final = 300
_MAX_TAGS: Final = 100
# Whatever looks like one goes, also behind a path: a refusal may quote half of an address.
_QUERY: Final = re.compile(r"(\bhttps?://[^\s?#]*)[?#]\S*|[?#][^\s=?#]+=\S*", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"(\bhttps?://)[^\s/@]*@", re.IGNORECASE)
_AUTHORIZATION: Final = re.compile(r"\b(basic|bearer)\s+[\w+/=.~-]{16,}", re.IGNORECASE)
# Object Storage's pre-authenticated requests have their secret in the path.
_PREAUTHENTICATED: Final = re.compile(r"/p/[^/\s]{16,}(?=/n/)")
_AGE: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(slots=True)
class Entry:
    """What is known of a change while it goes on; it is written when it ends.

    Attributes:
        reference: the place that is changed.
        digest: what it is about, once that is known.
        tags: tags that were set or taken away.
        fallback: where it went instead or as well.
        reason: why it went to the fallback alone.
        identity: the kind of identity that the other side saw.
        account: the account's name, where it has one.
    """

    reference: str
    digest: str | None = None
    tags: tuple[str, ...] = ()
    fallback: str | None = None
    reason: str | None = None
    identity: str = "anonymous"
    account: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A change that was made, or tried.

    Attributes:
        line: its line in the log, counted from 1.
        time: when it ended, RFC 3339 in UTC.
        user: the account on this machine.
        action: the command.
        reference: the place.
        digest: the digest, or None.
        tags: tags that were set or taken away.
        result: `ok`, or the kind of the error.
        reason: the error's sentence; why it went to the fallback alone; or None.
        size: bytes of files and other content that went over, whole ones only.
        identity: the kind of identity at the other side.
        account: its name there, where it has one.
        fallback: where it went instead or as well, or None.
    """

    line: int
    time: str
    user: str
    action: str
    reference: str
    digest: str | None
    tags: tuple[str, ...]
    result: str
    reason: str | None
    size: int
    identity: str
    account: str | None
    fallback: str | None


@dataclass(frozen=True, slots=True)
class AuditBreak:
    """A place where the log is not what was written.

    Attributes:
        line: the line, counted from 1.
        how: `changed`; `removed` if lines before it are gone; `misplaced` if it was put there
            later.
    """

    line: int
    how: Literal["changed", "removed", "misplaced"]


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """The log, read and checked.

    Attributes:
        path: the file.
        records: those that were asked for, oldest first.
        lines: how many lines the log has.
        breaks: where it is not what was written; empty if the chain holds.
        incomplete: lines whose writers were stopped in the middle of them.
    """

    path: str
    records: tuple[AuditRecord, ...]
    lines: int
    breaks: tuple[AuditBreak, ...] = ()
    incomplete: tuple[int, ...] = ()


@contextmanager
def recording(
    action: str, ref: Reference | str, options: Connection
) -> Iterator[tuple[Entry, Connection]]:
    """Write a line about what the block does, if it changes something far away.

    Args:
        action: the command's name.
        ref: the place, or its name where it is no location.
        options: those of the caller.

    Yields:
        What to fill in, and the options to go on with.
    """
    entry = Entry(ref if isinstance(ref, str) else str(ref))
    if isinstance(ref, Reference) and ref.kind not in _FAR:
        yield entry, options
        return
    report = options.get("report", ignore)
    seen: list[Identified] = []
    moved: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, Identified):
            seen.append(event)
        elif isinstance(event, Ended) and event.outcome == "moved":
            moved.append(event.size)
        report(event)

    result, reason = "ok", None
    try:
        yield entry, {**options, "report": listen}
    except OcimlpackError as error:
        result, reason = error.kind, error.message
        raise
    except BaseException as error:
        result = "interrupted" if isinstance(error, KeyboardInterrupt) else "bug"
        raise
    finally:
        _identify(entry, ref, seen)
        _write(action, entry, result, reason or entry.reason, sum(moved), report)


def audit(since: str | None = None) -> AuditTrail:
    """Read the log and check that nothing in it was changed.

    Args:
        since: an ISO date or time, or an age: `30m`, `12h`, `7d`, `2w`.

    Raises:
        InputError: `since` is neither, or the log can't be read.
    """
    earliest = "" if since is None else _moment(since)
    path = home.audit()
    records, breaks, incomplete, count = [], [], [], 0
    for line in chain.read(path):
        count = line.number
        if line.fault == "incomplete":
            incomplete.append(line.number)
        elif line.fault is not None:
            breaks.append(AuditBreak(line.number, line.fault))
        if line.record is not None and str(line.record.get("time", "")) >= earliest:
            records.append(_record(line.number, line.record))
    return AuditTrail(str(path), tuple(records), count, tuple(breaks), tuple(incomplete))


def _identify(entry: Entry, ref: Reference | str, seen: list[Identified]) -> None:
    """Say who one was where the change was made: the fallback may know one by another name."""
    if isinstance(ref, str):
        known = seen
    else:
        is_there = entry.reason is None
        known = [event for event in seen if (event.host == ref.host) is is_there]
    if known:
        entry.identity, entry.account = known[-1].kind, known[-1].account


def _write(
    action: str, entry: Entry, result: str, reason: str | None, size: int, report: Reporter
) -> None:
    said = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "user": _user(),
        "action": action,
        "reference": _clean(entry.reference),
        "digest": entry.digest,
        "tags": _few(entry.tags),
        "result": result,
        "reason": _clean(reason) if reason else None,
        "bytes": size,
        "identity": entry.identity,
        "account": _clean(entry.account) if entry.account else None,
        "fallback": _clean(entry.fallback) if entry.fallback else None,
    }
    try:
        chain.append(home.audit(), {key: value for key, value in said.items() if value})
    except (OcimlpackError, RuntimeError) as error:
        # What was done is done: that it isn't written down makes nothing of it undone. Python
        # raises a RuntimeError where a user has no home.
        report(Warned(f"this is not in the audit log: {error}"))


def _clean(text: str) -> str:
    """Without query strings and what else of an address or a header is secret; not too long."""
    for pattern, rest in (
        (_QUERY, r"\1"),
        (_USER_INFO, r"\1"),
        (_AUTHORIZATION, r"\1 …"),
        (_PREAUTHENTICATED, "/p/…"),
    ):
        text = pattern.sub(rest, text)
    return text[:_MAX_TEXT]


def _few(tags: tuple[str, ...]) -> list[str]:
    """The tags, cut where a line would get too long; what is said of the rest can be no tag."""
    rest = len(tags) - _MAX_TAGS
    return [*tags[:_MAX_TAGS], *([f"and {rest:,} more"] if rest > 0 else [])]


def _user() -> str:
    """The account that this process runs as, whatever the environment says."""
    if sys.platform == "win32":
        import getpass

        return getpass.getuser()
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _moment(text: str) -> str:
    """The moment that is meant, as the log writes it."""
    try:
        if age := _AGE.fullmatch(text):
            moment = datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        else:
            # Without a zone it is this machine's.
            moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(
            f"neither a time nor an age: {text!r:.60}",
            hint="write 2026-11-26, 2026-11-26T10:00, 12h or 7d",
        ) from None
    return moment.isoformat(timespec="milliseconds")


def _record(number: int, said: Any) -> AuditRecord:
    def text(key: str) -> str | None:
        value = said.get(key)
        return value if isinstance(value, str) else None

    size, tags = said.get("bytes"), said.get("tags")
    return AuditRecord(
        line=number,
        time=text("time") or "",
        user=text("user") or "",
        action=text("action") or "",
        reference=text("reference") or "",
        digest=text("digest"),
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        result=text("result") or "",
        reason=text("reason"),
        size=size if isinstance(size, int) else 0,
        identity=text("identity") or "",
        account=text("account"),
        fallback=text("fallback"),
    )
