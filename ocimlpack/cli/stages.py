"""The commands about versions in a bucket: stage, restore, undelete, du, sync."""

from __future__ import annotations

from typing import Any

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import command, given, option, oracle_options, registry_options
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting


@command(
    "stage",
    example="""
    ocimlpack bucket stage ocios://models@ns/team/minilm:0.9 old
    ocimlpack bucket stage ocios://models@ns/team/minilm@sha256:4f5c… expired
    """,
)
@click.argument("reference", metavar="REF")
@click.argument("stage", metavar="active|old|expired")
@oracle_options
@pass_output
def stage_command(output: Output, /, reference: str, stage: str, **options: Any) -> None:
    """Move a version to where it is archived, deleted or left."""
    from ocimlpack.app import stages

    with reporting(output) as report:
        done = stages.bucket_stage(reference, stage, report=report, **given(options))
    output.place(done, done.reference)
    output.note(f"{render.size(done.moved)} of layers moved")


@command("restore", example="ocimlpack bucket restore ocios://models@ns/team/minilm:0.9 --wait")
@click.argument("reference", metavar="REF")
@option("--wait", is_flag=True, help="Return when it can be pulled, in about an hour.")
@oracle_options
@pass_output
def restore(output: Output, /, reference: str, wait: bool, **options: Any) -> None:
    """Bring an archived version back for a day."""
    from ocimlpack.app import stages

    with reporting(output) as report:
        done = stages.bucket_restore(reference, wait=wait, report=report, **given(options))
    output.place(done, done.reference)
    if done.is_ready:
        output.note("it can be pulled now")
    else:
        count = done.layers.get("restoring", 0)
        minutes = round(done.expected / 60)
        output.note(f"{render.plural(count, 'layer')} on the way, in about {minutes} minutes")


@command("undelete", example="ocimlpack bucket undelete ocios://models@ns/team/minilm:1.0")
@click.argument("reference", metavar="REF")
@oracle_options
@pass_output
def undelete(output: Output, /, reference: str, **options: Any) -> None:
    """Bring a removed tag or model back, while versions are kept."""
    from ocimlpack.app import stages

    with reporting(output) as report:
        done = stages.bucket_undelete(reference, report=report, **given(options))
    output.place({"reference": done}, done)


@command("du", example="ocimlpack bucket du ocios://models@ns")
@click.argument("place", metavar="BUCKET")
@oracle_options
@pass_output
def du(output: Output, /, place: str, **options: Any) -> None:
    """Show bytes by stage and model, each counted once."""
    from ocimlpack.app import stages

    with reporting(output) as report:
        found = stages.bucket_du(place, report=report, **given(options))
    rows = [
        (
            each.stage,
            each.repository or {"shared": "(shared)", "unnamed": "(nobody's)"}[each.kind],
            f"{each.objects:,}",
            render.size(each.size),
        )
        for each in found
    ]
    rows.append(("total", "", f"{sum(each.objects for each in found):,}",
                 render.size(sum(each.size for each in found))))  # fmt: skip
    output.result(found, *render.table(("STAGE", "MODEL", "OBJECTS", "SIZE"), rows))


@command(
    "sync",
    example="""
    ocimlpack bucket sync iad.ocir.io/ns/team/minilm
    ocimlpack bucket sync iad.ocir.io/ns/team/minilm --fallback ocios://models@ns/team/minilm
    """,
)
@click.argument("repository", metavar="REPO")
@option("--fallback", metavar="LOCATION", help="The other place.  [default: the configuration's]")
@option(
    "--prefer",
    type=click.Choice(["registry", "fallback"]),
    help="Which is right about a tag that stands for different things.",
)
@option("--dry-run", is_flag=True, help="Change nothing; say what would be done.")
@registry_options
@pass_output
def sync(output: Output, /, repository: str, dry_run: bool, **options: Any) -> None:
    """Bring a registry and its fallback level, tag by tag."""
    from ocimlpack.app import fallback

    with reporting(output) as report:
        done = fallback.sync(repository, dry_run=dry_run, report=report, **given(options))
    lines = [f"{tag} -> {done.registry}" for tag in done.to_registry]
    lines += [f"{tag} -> {done.fallback}" for tag in done.to_fallback]
    output.result(done, *lines)
    verb = "would be copied" if dry_run else "copied"
    output.note(f"{render.plural(len(lines), 'tag')} {verb}, {done.same} the same in both")


COMMANDS = (stage_command, restore, undelete, du, sync)
