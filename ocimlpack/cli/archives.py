"""The commands for networks that are not connected: save and load."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import click

from ocimlpack.cli import render
from ocimlpack.cli.moving import note_fallback
from ocimlpack.cli.options import (
    PATH,
    command,
    compartment_options,
    given,
    mirror_option,
    option,
    registry_options,
)
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting


@command(
    "save",
    example="""
    ocimlpack save registry.example.com/team/minilm:1.0 -o minilm.tar
    ocimlpack save minilm:1.0 minilm:2.0 tiny:latest -o models.tar
    ocimlpack save minilm:1.0 -o - | ssh host ocimlpack load -
    """,
)
@click.argument("references", metavar="REF...", nargs=-1, required=True, type=PATH)
@option(
    "-o",
    "--output",
    "target",
    type=PATH,
    required=True,
    metavar="FILE",
    help="The archive to write; '-' is standard output.",
)
@option(
    "--no-referrers",
    is_flag=True,
    help="Leave out signatures and all else that refers to them.",
)
@registry_options
@mirror_option
@pass_output
def save(
    output: Output,
    /,
    references: tuple[str, ...],
    target: str,
    no_referrers: bool,
    **options: Any,
) -> None:
    """Write packed models, with what refers to them, into one tar archive."""
    to_stdout = target == "-"
    if to_stdout and output.json:
        raise click.UsageError("--json does not go with -o -: standard output carries the archive")
    if to_stdout and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError("an archive is nothing for a terminal; write it to a file or a pipe")
    from ocimlpack.app import archives

    with reporting(output) as report:
        saved = archives.save(
            references,
            output.stream() if to_stdout else target,
            referrers=not no_referrers,
            report=report,
            **given(options),
        )
    if to_stdout:
        output.stream().flush()
    else:
        output.place(saved, saved.path)
    for each in saved.artifacts:
        more = f" with {render.plural(each.referrers, 'referrer')}" if each.referrers else ""
        output.note(f"saved {each.name} ({render.short(each.digest)}){more}")
    output.note(f"{render.plural(len(saved.artifacts), 'artifact')}, {render.size(saved.size)}")


@command(
    "load",
    example="""
    ocimlpack load models.tar
    ocimlpack load models.tar registry.example.com/mirrored
    ocimlpack load - oci:./layouts < models.tar
    """,
)
@click.argument("source", metavar="FILE", type=PATH)
@click.argument("destination", metavar="[DEST]", required=False, type=PATH)
@option("--dry-run", is_flag=True, help="Change nothing; list what would be uploaded and skipped.")
@registry_options
@compartment_options
@pass_output
def load(
    output: Output,
    /,
    source: str,
    destination: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Bring what was saved into the local store, or to where DEST says."""
    from ocimlpack.app import archives

    with reporting(output) as report:
        loaded = archives.load(
            _stdin() if source == "-" else source,
            destination,
            dry_run=dry_run,
            report=report,
            **given(options),
        )
    if dry_run and not output.json:
        for moved in loaded.artifacts:
            output.result(None, *render.dry_run(moved))
    if output.json:
        output.result(loaded)
    else:
        for moved in loaded.artifacts:
            output.place(None, moved.reference)
    verb = "nothing changed; would have loaded" if dry_run else "loaded"
    for moved in loaded.artifacts:
        tags = f", tagged {', '.join(moved.tags)}" if moved.tags else ""
        spared = f" ({render.size(moved.skipped)} already there)" if moved.skipped else ""
        output.note(f"{verb} {moved.reference}{tags}, {render.size(moved.size)}{spared}")
        note_fallback(output, moved)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise click.UsageError("standard input is closed, so there is nothing to load")
    return sys.stdin.buffer
