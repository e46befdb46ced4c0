"""The command that says how transfers go from here: doctor."""

from __future__ import annotations

from typing import Any

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import PATH, command, given, mirror_option, option, registry_options
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting


@command(
    "doctor",
    example="""
    ocimlpack doctor
    ocimlpack doctor localhost:5000/team/minilm:1.0
    ocimlpack doctor localhost:5000/team/minilm --read-only --json
    """,
)
@click.argument("reference", metavar="[REF]", type=PATH, required=False)
@option(
    "--write/--read-only",
    default=None,
    help="Try uploads and the like also where the repository is not there yet, or never. "
    "By default where it is there: nothing of it stays.",
)
@registry_options
@mirror_option
@pass_output
def doctor(output: Output, /, reference: str | None, **options: Any) -> None:
    """Print one page on this machine and on what a registry can do, without any secret."""
    from ocimlpack.app import doctor as app

    with reporting(output) as report:
        found = app.doctor(reference, report=report, **given(options))
    output.result(found, *render.diagnosis(found))
    if found.exit_code:
        raise click.exceptions.Exit(found.exit_code)
