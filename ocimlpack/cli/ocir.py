"""The commands about repositories of Oracle Cloud's container registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import (
    PATH,
    command,
    compartment_options,
    given,
    option,
    oracle_options,
)
from ocimlpack.cli.output import Output, pass_output

if TYPE_CHECKING:
    from ocimlpack.app.ocir import OcirRepository

_compartment = option(
    "--compartment",
    metavar="OCID",
    section="Oracle Cloud",
    help="Only look in this compartment, not in the whole tenancy.",
)


@click.group("ocir", no_args_is_help=False)
def ocir() -> None:
    """Make, list and show repositories of Oracle Cloud's container registry."""


@command(
    "create",
    example="""
    ocimlpack ocir create team/minilm --compartment ocid1.compartment.oc1..aaaa
    ocimlpack ocir create ocir://fra/team/minilm --immutable --readme README.md
    """,
)
@click.argument("repository", metavar="REPO")
@option("--readme", type=PATH, metavar="FILE", help="A Markdown file to show with it.")
@compartment_options
@oracle_options
@pass_output
def create(output: Output, /, repository: str, **options: Any) -> None:
    """Make a private repository in a compartment."""
    from ocimlpack.app import ocir as app

    made = app.ocir_create(repository, **given(options))
    output.result(made, made.reference)


@command("list", example="ocimlpack ocir list --region us-ashburn-1")
@_compartment
@oracle_options
@pass_output
def list_(output: Output, /, **options: Any) -> None:
    """List the repositories of the tenancy, or of a compartment."""
    from ocimlpack.app import ocir as app

    found = app.ocir_list(**given(options))
    rows = [
        (
            each.name,
            "public" if each.public else "private",
            str(each.images),
            render.size(each.size),
            each.created or "-",
        )
        for each in found
    ]
    headers = ("NAME", "ACCESS", "IMAGES", "SIZE", "CREATED")
    output.result(found, *(render.table(headers, rows) if rows else ()))
    if not rows:
        output.note("no repositories that this identity may see")


@command("show", example="ocimlpack ocir show team/minilm")
@click.argument("repository", metavar="REPO")
@_compartment
@oracle_options
@pass_output
def show(output: Output, /, repository: str, **options: Any) -> None:
    """Show a repository."""
    from ocimlpack.app import ocir as app

    found = app.ocir_show(repository, **given(options))
    output.result(found, *_facts(found))


@command(
    "images",
    example="""
    ocimlpack ocir images team/minilm
    ocimlpack ocir images team/minilm@sha256:4f5c…
    """,
)
@click.argument("repository", metavar="REPO[:TAG][@DIGEST]")
@_compartment
@oracle_options
@pass_output
def images(output: Output, /, repository: str, **options: Any) -> None:
    """List what is in a repository, or look one tag or digest up."""
    from ocimlpack.app import ocir as app

    found = app.ocir_images(repository, **given(options))
    rows = [
        (
            each.digest,
            ", ".join(each.tags) or "-",
            "-" if each.size is None else render.size(each.size),
            "-" if each.pulls is None else str(each.pulls),
            each.created or "-",
        )
        for each in found
    ]
    headers = ("DIGEST", "TAGS", "SIZE", "PULLS", "PUSHED")
    output.result(found, *(render.table(headers, rows) if rows else ()))
    if not rows:
        output.note("nothing was pushed there yet")


def _facts(found: OcirRepository) -> Sequence[str]:
    tags = {None: "unknown", True: "can't be moved", False: "can be moved"}[found.immutable]
    return render.facts(
        (
            ("Repository", found.reference),
            ("OCID", found.ocid),
            ("Compartment", found.compartment),
            ("Access", "public" if found.public else "private"),
            ("Tags", tags),
            ("Images", str(found.images)),
            ("Size", render.size(found.size)),
            ("Created", found.created or "-"),
            ("Pushed", found.pushed or "never"),
        )
    )


for _command in (create, list_, show, images):
    ocir.add_command(_command)
