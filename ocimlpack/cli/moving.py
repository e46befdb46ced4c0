"""The commands that move models: pack, push, pull, copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import (
    PATH,
    command,
    compartment_options,
    fallback_options,
    filter_options,
    format_options,
    given,
    jobs_option,
    mirror_option,
    option,
    packing_options,
    registry_options,
)
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting

if TYPE_CHECKING:
    from ocimlpack.app.transfers import Pulled, Transferred

_dry_run = option(
    "--dry-run", is_flag=True, help="Change nothing; list what would be uploaded and skipped."
)
_tags = option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="A further tag for what was moved. Repeatable.",
)


@command(
    "pack",
    example="""
    ocimlpack pack ./minilm -t minilm:1.0
    ocimlpack pack ./minilm -t oci:./layout:1.0 -t latest
    ocimlpack pack ./minilm -t minilm:1.0 --exclude '*.onnx' --license Apache-2.0
    """,
)
@click.argument("source", metavar="DIR", type=PATH)
@option(
    "-t",
    "--tag",
    "targets",
    multiple=True,
    required=True,
    metavar="LOCATION",
    help="Where the model goes: a name in the local store, or a layout. "
    "Each further -t is a bare TAG for the same model.",
)
@_dry_run
@packing_options
@jobs_option
@pass_output
def pack(
    output: Output, /, source: str, targets: tuple[str, ...], dry_run: bool, **options: Any
) -> None:
    """Pack a model's folder into the local store or an image layout."""
    target, *tags = targets
    for tag in tags:
        if "/" in tag or ":" in tag:
            raise click.UsageError(
                f"the second and any further -t takes a bare TAG for {target}, not {tag!r}"
            )
    from ocimlpack.app import moving

    with reporting(output) as report:
        moved = moving.pack(
            source, target, tags=tags, dry_run=dry_run, report=report, **given(options)
        )
    show_moved(output, moved, "packed")


@command(
    "push",
    example="""
    ocimlpack push ./minilm localhost:5000/team/minilm:1.0
    ocimlpack push minilm:1.0 registry.example.com/team/minilm:1.0 -t latest
    ocimlpack push ./minilm oci:./layout:1.0 --dry-run
    """,
)
@click.argument("source", metavar="SRC", type=PATH)
@click.argument("destination", metavar="DEST", type=PATH)
@_tags
@_dry_run
@packing_options
@registry_options
@compartment_options
@mirror_option
@fallback_options
@pass_output
def push(
    output: Output,
    /,
    source: str,
    destination: str,
    tags: tuple[str, ...],
    dry_run: bool,
    **options: Any,
) -> None:
    """Send a model's folder, or a packed model, to a registry or another location."""
    from ocimlpack.app import moving

    with reporting(output) as report:
        moved = moving.push(
            source, destination, tags=tags, dry_run=dry_run, report=report, **given(options)
        )
    show_moved(output, moved, "pushed")


@command(
    "pull",
    example="""
    ocimlpack pull localhost:5000/team/minilm:1.0
    ocimlpack pull minilm:1.0 -o ./minilm --include '*.safetensors' --include '*.json'
    ocimlpack pull minilm:1.0 --include README.md -o - | less
    """,
)
@click.argument("reference", metavar="REF", type=PATH)
@option(
    "-o",
    "--output",
    "directory",
    type=PATH,
    metavar="DIR",
    help="The folder to make, by default named after the model; '-' writes one file to "
    "standard output.",
)
@filter_options("Options", "pulled")
@option("--force", is_flag=True, help="Replace a folder that is not empty and not a pulled model.")
@option(
    "--durable",
    is_flag=True,
    default=None,
    help="Wait until all is on disk, safe from a loss of power.",
)
@registry_options
@mirror_option
@fallback_options
@pass_output
def pull(
    output: Output,
    /,
    reference: str,
    directory: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    force: bool,
    **options: Any,
) -> None:
    """Fetch a model's files, each verified against its digest."""
    to_stdout = directory == "-"
    wrong = {"--json": output.json, "--force": force, "--durable": options["durable"]}
    for name in (name for name, chosen in wrong.items() if chosen and to_stdout):
        raise click.UsageError(f"{name} does not go with -o -: standard output carries the file")
    from ocimlpack.app import pulling

    if to_stdout:
        with reporting(output) as report:
            stream = output.stream()
            pulled = pulling.read_file(
                reference,
                stream,
                include=include,
                exclude=exclude,
                report=report,
                **given(options),
            )
            stream.flush()
    else:
        with reporting(output) as report:
            pulled = pulling.pull(
                reference,
                directory,
                include=include,
                exclude=exclude,
                force=force,
                report=report,
                **given(options),
            )
        output.place(pulled, pulled.path)
    _note_pulled(output, pulled)


@command(
    "copy",
    example="""
    ocimlpack copy minilm:1.0 registry.example.com/team/minilm:1.0
    ocimlpack copy registry.example.com/team/minilm:1.0 oci-archive:minilm.tar:1.0 --referrers
    ocimlpack copy minilm:1.0 registry.example.com/team/minilm:1.0-image --format image
    """,
)
@click.argument("source", metavar="SRC", type=PATH)
@click.argument("destination", metavar="DST", type=PATH)
@_tags
@option("--referrers", is_flag=True, help="Copy signatures and all else that refers to it, too.")
@format_options("Options", "what it is, digest for digest")
@_dry_run
@registry_options
@compartment_options
@mirror_option
@pass_output
def copy(
    output: Output,
    /,
    source: str,
    destination: str,
    tags: tuple[str, ...],
    referrers: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Copy a packed model from any location to any other, digest for digest or converted."""
    from ocimlpack.app import moving

    with reporting(output) as report:
        moved = moving.copy(
            source,
            destination,
            tags=tags,
            referrers=referrers,
            dry_run=dry_run,
            report=report,
            **given(options),
        )
    show_moved(output, moved, "copied")


def show_moved(output: Output, moved: Transferred, verb: str) -> None:
    """Print what was moved, and where it is.

    Args:
        output: where to.
        moved: what was done.
        verb: what was done, as a participle.
    """
    for warning in moved.warnings:
        output.warn(warning)
    if moved.dry_run and moved.plan and not output.json:
        output.result(None, *render.dry_run(moved))
    output.place(moved, moved.reference)
    spared = [
        f"{render.size(count)} {what}"
        for count, what in ((moved.skipped, "already there"), (moved.mounted, "mounted"))
        if count
    ]
    verb = f"nothing changed; would have {verb}" if moved.dry_run else verb
    details = f" ({', '.join(spared)})" if spared else ""
    output.note(f"{verb} {render.plural(moved.files, 'file')}, {render.size(moved.size)}{details}")
    note_fallback(output, moved)
    if moved.tags and not moved.dry_run:
        output.note(f"tagged {', '.join(moved.tags)}")


def note_fallback(output: Output, moved: Transferred) -> None:
    """Say whether something went to a fallback, and whether it is there alone."""
    if moved.fallback:
        where = "only in" if moved.reason else "also in"
        output.note(f"it is {where} the fallback: {moved.fallback}")


def _note_pulled(output: Output, pulled: Pulled) -> None:
    kept = f" ({render.size(pulled.kept)} kept as they were)" if pulled.kept else ""
    output.note(
        f"pulled {render.plural(pulled.files, 'file')}, {render.size(pulled.size)}{kept}, "
        f"from {pulled.reference}"
    )
