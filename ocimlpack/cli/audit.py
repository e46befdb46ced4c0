"""The command that shows what was changed far away: audit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import command, option
from ocimlpack.cli.output import Output, eprint, pass_output
from ocimlpack.errors import IntegrityError

if TYPE_CHECKING:
    from ocimlpack.app.audit import AuditBreak, AuditRecord, AuditTrail

_DIGEST: Final = re.compile(r"@[a-z0-9]+:[0-9a-f]+\Z")  # not the `@` of a bucket's namespace
_SHOWN: Final = 5
"""Lines that one sentence names; JSON has all of them."""


@command(
    "audit",
    example="""
    ocimlpack audit
    ocimlpack audit --since 7d
    ocimlpack audit --since 2026-11-01 --json | jq '.records[] | select(.result != "ok")'
    """,
)
@option(
    "--since",
    metavar="TIME|AGE",
    help="Only what is not older: 2026-11-26T10:00, 30m, 12h, 7d, 2w.",
)
@pass_output
def audit(output: Output, /, since: str | None) -> None:
    """Show what this machine's commands have changed far away, and check the log."""
    from ocimlpack.app import audit as app

    trail = app.audit(since)
    rows = [
        (
            each.time.partition(".")[0].replace("T", " "),
            each.account or each.identity,
            each.action,
            _subject(each),
            each.result,
            render.size(each.size),
        )
        for each in trail.records
    ]
    headers = ("TIME (UTC)", "IDENTITY", "ACTION", "REFERENCE", "RESULT", "SIZE")
    output.result(trail, *(render.table(headers, rows) if rows else ()))
    if not trail.lines:
        output.note(f"nothing was changed from here yet: there is no {trail.path}")
    if trail.incomplete:
        output.warn(f"{_lines(trail.incomplete)} incomplete: the writer was stopped")
    if not trail.breaks:
        return
    problem = _problem(trail)
    if output.json:
        # The document that is printed says it; a second one behind it would be no JSON.
        eprint(f"ocimlpack: {problem}")
        raise click.exceptions.Exit(IntegrityError.exit_code)
    raise problem


def _problem(trail: AuditTrail) -> IntegrityError:
    said = [_sentence(each) for each in trail.breaks[:_SHOWN]]
    if (more := len(trail.breaks) - _SHOWN) > 0:
        said.append(f"and {more:,} more")
    return IntegrityError(f"{trail.path} is not as it was written: {'; '.join(said)}")


def _sentence(each: AuditBreak) -> str:
    match each.how:
        case "changed":
            return f"line {each.line} was changed"
        case "removed":
            return f"what was before line {each.line} is gone"
        case "misplaced":
            return f"line {each.line} was put there later"


def _lines(numbers: tuple[int, ...]) -> str:
    """`line 3 is`, `lines 3 and 5 are`."""
    *most, last = map(str, numbers)
    return f"lines {', '.join(most)} and {last} are" if most else f"line {last} is"


def _subject(record: AuditRecord) -> str:
    digest = f"@{render.short(record.digest)}" if record.digest else ""
    place = _DIGEST.sub("", record.reference)
    tags = f" ({', '.join(record.tags)})" if record.tags else ""
    return f"{place}{digest}{tags}{_elsewhere(record)}"


def _elsewhere(record: AuditRecord) -> str:
    if record.fallback is None:
        return ""
    # With a reason it is there alone: a reader must not take the reference for where it is.
    how = "instead" if record.result == "ok" and record.reason else "also"
    return f" {how} in {_DIGEST.sub('', record.fallback)}"
