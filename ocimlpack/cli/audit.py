"""The command that shows what was changed far away: audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimlpack.cli import render
from ocimlpack.cli.options import command, option
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.errors import IntegrityError

if TYPE_CHECKING:
    from ocimlpack.app.audit import AuditRecord


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
    for number in trail.incomplete:
        output.warn(f"line {number} is incomplete: its writer was stopped")
    if trail.broken:
        numbers = ", ".join(map(str, trail.broken))
        raise IntegrityError(
            f"{trail.path} was changed: line {numbers} does not follow from the one before",
            hint="a line there was changed, taken out or put in",
        )


def _subject(record: AuditRecord) -> str:
    digest = f"@{render.short(record.digest)}" if record.digest else ""
    place = record.reference.partition("@")[0]
    tags = f" ({', '.join(record.tags)})" if record.tags else ""
    return f"{place}{digest}{tags}"
