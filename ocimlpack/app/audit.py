"""What was changed far away, by whom, with what result: a log on this machine.

Each command that changes a registry, a bucket or a catalog writes one line, also when it fails. It
holds no secrets and no query strings, which may be signatures.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ocimlpack.app.options import Connection
from ocimlpack.errors import InputError, OcimlpackError
from ocimlpack.progress import Event, Identified, Reporter, Warned, ignore
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores import chain, home

_FAR: Final = frozenset({Kind.REGISTRY, Kind.OCIR, Kind.BUCKET, Kind.S3})
_MAX_TEXT: Final = 300
_QUERY: Final = re.compile(r"(\bhttps?://[^\s?#]*)\?\S*", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"(\bhttps?://)[^\s/@]*@", re.IGNORECASE)
_AGE: Final = re.compile(r"(\d+)([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(slots=True)
class Entry:
    """What is known of a change while it goes on; it is written when it ends.

    Attributes:
        reference: the place that is changed.
        digest: what it is about, once that is known.
        size: bytes that went over.
        tags: tags that were set or taken away.
        fallback: where it went instead or as well.
        identity: the kind of identity that the other side saw.
        account: the account's name, where it has one.
    """

    reference: str
    digest: str | None = None
    size: int = 0
    tags: tuple[str, ...] = ()
    fallback: str | None = None
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
        reason: the error's sentence, or None.
        size: bytes that went over.
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
class AuditTrail:
    """The log, read and checked.

    Attributes:
        path: the file.
        records: those that were asked for, oldest first.
        lines: how many lines the log has.
        broken: lines that do not follow from the ones before them.
        incomplete: lines whose writers were stopped in the middle of them.
    """

    path: str
    records: tuple[AuditRecord, ...]
    lines: int
    broken: tuple[int, ...] = field(default=())
    incomplete: tuple[int, ...] = field(default=())


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

    def listen(event: Event) -> None:
        if isinstance(event, Identified):
            entry.identity, entry.account = event.kind, event.account
        report(event)

    try:
        yield entry, {**options, "report": listen}
    except OcimlpackError as error:
        _write(action, entry, error.kind, error.message, report)
        raise
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        _write(action, entry, "interrupted" if interrupted else "bug", None, report)
        raise
    _write(action, entry, "ok", None, report)


def audit(since: str | None = None) -> AuditTrail:
    """Read the log and check that nothing in it was changed.

    Args:
        since: an ISO date or time, or an age: `30m`, `12h`, `7d`, `2w`.

    Raises:
        InputError: `since` is neither, or the log can't be read.
    """
    earliest = _moment(since) if since else ""
    path = home.audit()
    records, broken, incomplete, count = [], [], [], 0
    for line in chain.read(path):
        count = line.number
        if line.fault == "broken":
            broken.append(line.number)
        if line.record is None:
            incomplete.append(line.number)
        elif str(line.record.get("time", "")) >= earliest:
            records.append(_record(line.number, line.record))
    return AuditTrail(str(path), tuple(records), count, tuple(broken), tuple(incomplete))


def _write(action: str, entry: Entry, result: str, reason: str | None, report: Reporter) -> None:
    said = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "user": _user(),
        "action": action,
        "reference": _clean(entry.reference),
        "digest": entry.digest,
        "tags": list(entry.tags),
        "result": result,
        "reason": _clean(reason) if reason else None,
        "bytes": entry.size,
        "identity": entry.identity,
        "account": entry.account,
        "fallback": entry.fallback,
    }
    try:
        chain.append(home.audit(), {key: value for key, value in said.items() if value})
    except OcimlpackError as error:
        # What was done is done: that it isn't written down makes nothing of it undone.
        report(Warned(f"this is not in the audit log: {error.message}"))


def _clean(text: str) -> str:
    """Without query strings and user names in addresses, and not too long."""
    return _USER_INFO.sub(r"\1", _QUERY.sub(r"\1", text))[:_MAX_TEXT]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())


def _moment(text: str) -> str:
    """The moment that is meant, as the log writes it."""
    if age := _AGE.fullmatch(text):
        moment = datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise InputError(
                f"neither a time nor an age: {text!r:.60}",
                hint="write 2026-11-26, 2026-11-26T10:00, 12h or 7d",
            ) from None
        moment = moment.astimezone(UTC)  # without a zone it is this machine's
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
