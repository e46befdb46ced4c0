"""The command that brings models from a hub: import."""

from __future__ import annotations

from typing import Any

import click

from ocimlpack.cli.moving import show_moved
from ocimlpack.cli.options import (
    PATH,
    command,
    compartment_options,
    describing_options,
    fallback_options,
    given,
    option,
    registry_options,
)
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting


@command(
    "import",
    example="""
    ocimlpack import hf:sentence-transformers/all-MiniLM-L6-v2 localhost:5000/team/minilm:1.0
    ocimlpack import hf:ORG/NAME@v1.2 registry.example.com/team/name -t 1.2 -t latest
    ocimlpack import hf:ORG/NAME minilm:1.0 --include '*.safetensors' --include '*.json'
    """,
)
@click.argument("source", metavar="hf:ORG/NAME[@REV]")
@click.argument("destination", metavar="DEST", type=PATH)
@option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="A further tag for what was imported. Repeatable.",
)
@option(
    "--endpoint",
    metavar="URL",
    help="The hub's address.  [default: $HF_ENDPOINT, else the public hub]",
)
@option("--dry-run", is_flag=True, help="Change nothing; list what would be uploaded and skipped.")
@describing_options
@registry_options
@compartment_options
@fallback_options
@pass_output
def import_(
    output: Output,
    /,
    source: str,
    destination: str,
    tags: tuple[str, ...],
    endpoint: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Bring a model from the Hugging Face Hub to a registry or another location, streamed."""
    from ocimlpack.app import importing

    with reporting(output) as report:
        imported = importing.import_model(
            source,
            destination,
            tags=tags,
            endpoint=endpoint,
            dry_run=dry_run,
            report=report,
            **given(options),
        )
    show_moved(output, imported, "imported")
    output.note(f"from {imported.source} at {imported.revision}")
