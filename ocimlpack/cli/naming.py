"""The commands about names: tag, tags, ls, repos, rm, prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import PATH, command, given, option, registry_options
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting

if TYPE_CHECKING:
    from ocimlpack.app.results import Removed


@command("tag", example="ocimlpack tag localhost:5000/team/minilm:1.0 stable latest")
@click.argument("reference", metavar="REF", type=PATH)
@click.argument("names", metavar="TAG...", nargs=-1, required=True)
@registry_options
@pass_output
def tag(output: Output, /, reference: str, names: tuple[str, ...], **options: Any) -> None:
    """Add tags to a packed model where it is, without moving its bytes."""
    from ocimlpack.app import naming

    with reporting(output) as report:
        tagged = naming.tag(reference, *names, report=report, **given(options))
    output.result(tagged, *tagged.references)


@command("tags", example="ocimlpack tags localhost:5000/team/minilm")
@click.argument("repository", metavar="REPO", type=PATH)
@registry_options
@pass_output
def tags(output: Output, /, repository: str, **options: Any) -> None:
    """List the tags of a repository, a layout or a model in the local store."""
    from ocimlpack.app import naming

    with reporting(output) as report:
        found = naming.tags(repository, report=report, **given(options))
    output.result(found, *found)
    if not found:
        output.note("no tags")


@command(
    "ls",
    example="""
    ocimlpack ls
    ocimlpack ls oci:./layout
    """,
)
@click.argument("place", metavar="[LAYOUT]", type=PATH, required=False)
@option("--no-trunc", is_flag=True, help="Show whole digests.")
@pass_output
def ls(output: Output, /, place: str | None, no_trunc: bool) -> None:
    """List what is in the local store, or in an image layout."""
    from ocimlpack.app import naming

    listed = naming.ls(place)
    rows = [
        (
            item.name,
            item.tag or "-",
            item.digest if no_trunc else render.short(item.digest),
            render.size(item.size),
            item.artifact_type,
        )
        for item in listed
    ]
    headers = ("NAME", "TAG", "DIGEST", "SIZE", "TYPE")
    output.result(listed, *(render.table(headers, rows) if rows else ()))
    if not rows:
        output.note("nothing is packed here yet; `ocimlpack pack DIR -t NAME` puts a model in")


@command(
    "repos",
    example="""
    ocimlpack repos localhost:5000
    ocimlpack repos s3://models
    """,
)
@click.argument("host", metavar="HOST")
@registry_options
@pass_output
def repos(output: Output, /, host: str, **options: Any) -> None:
    """List the repositories of a registry or a bucket."""
    from ocimlpack.app import naming

    with reporting(output) as report:
        found = naming.repos(host, report=report, **given(options))
    output.result(found, *found)
    if not found:
        output.note("no repositories")


@command(
    "rm",
    example="""
    ocimlpack rm minilm:1.0
    ocimlpack rm localhost:5000/team/minilm@sha256:4f5c…
    """,
)
@click.argument("reference", metavar="REF", type=PATH)
@registry_options
@pass_output
def rm(output: Output, /, reference: str, **options: Any) -> None:
    """Remove a tag, or with a digest the packed model and its tags."""
    from ocimlpack.app import naming

    with reporting(output) as report:
        removed = naming.rm(reference, report=report, **given(options))
    _show_removed(output, removed)


@command(
    "prune",
    example="""
    ocimlpack prune --dry-run
    ocimlpack prune oci:./layout
    ocimlpack prune s3://models
    """,
)
@click.argument("place", metavar="[PLACE]", type=PATH, required=False)
@option("--dry-run", is_flag=True, help="Change nothing; list what would be removed.")
@registry_options
@pass_output
def prune(output: Output, /, place: str | None, dry_run: bool, **options: Any) -> None:
    """Remove what no tag needs, and old leftovers, from the local store, a layout or a bucket."""
    from ocimlpack.app import naming

    with reporting(output) as report:
        removed = naming.prune(place, dry_run=dry_run, report=report, **given(options))
    _show_removed(output, removed)


def _show_removed(output: Output, removed: Removed) -> None:
    would = "would remove" if removed.dry_run else "removed"
    freed = "would free" if removed.dry_run else "freed"
    output.result(
        removed,
        *(f"{would} {item}" for item in removed.removed),
        f"{freed} {render.size(removed.freed)}",
    )
