"""The commands about the Data Science model catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import (
    PATH,
    command,
    filter_options,
    given,
    mirror_option,
    option,
    oracle_options,
    pairs,
    registry_options,
)
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting

if TYPE_CHECKING:
    from ocimlpack.app.catalog import CatalogModel

_compartment = option(
    "--compartment",
    metavar="OCID",
    section="Oracle Cloud",
    help="The models' compartment.  [default: the project's]",
)


@click.group("catalog", no_args_is_help=False)
def catalog() -> None:
    """Register, list and pull models of the OCI Data Science model catalog."""


@command(
    "register",
    example="""
    ocimlpack catalog register ocir://iad/team/minilm:1.0 --project ocid1.datascienceproject…
    ocimlpack catalog register fra.ocir.io/ns/team/minilm:1.0 --project OCID \\
        --metric f1=0.91 --revision "$(git rev-parse HEAD)"
    """,
)
@click.argument("reference", metavar="REF", type=PATH)
@option("--project", required=True, metavar="OCID", help="The project that it is put into.")
@option("--name", help="What people see.  [default: the repository's last part, and the tag]")
@option("--description", help="A sentence.  [default: the artifact's own]")
@option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="A metric, beside those of the model's card. Repeatable; replaces those given before.",
)
@option(
    "--version-set",
    metavar="NAME",
    help="The set that its versions are in.  [default: the repository's name]",
)
@option(
    "--source",
    metavar="URL",
    help="The source repository that it was made from.  [default: what the artifact says]",
)
@option("--revision", metavar="COMMIT", help="The commit there.  [default: what the artifact says]")
@_compartment
@registry_options
@pass_output
def register(
    output: Output,
    /,
    reference: str,
    project: str,
    metrics: Mapping[str, str],
    **options: Any,
) -> None:
    """Register a model of a registry, or bring its entry up to date."""
    from ocimlpack.app import catalog as app

    with reporting(output) as report:
        model = app.catalog_register(
            reference, project, metrics=metrics, report=report, **given(options)
        )
    output.result(model, model.ocid)
    output.note(f"{'registered' if model.is_new else 'brought up to date'}: {model.name}")


@command("list", example="ocimlpack catalog list --project ocid1.datascienceproject.oc1..aaaa")
@option("--project", metavar="OCID", help="Only this project's.")
@option(
    "--compartment",
    metavar="OCID",
    section="Oracle Cloud",
    help="The models' compartment.  [default: the project's, else $OCIMLPACK_COMPARTMENT]",
)
@oracle_options
@pass_output
def list_(output: Output, /, project: str | None, **options: Any) -> None:
    """List the models of a project, or of a compartment."""
    from ocimlpack.app import catalog as app

    found = app.catalog_list(project, **given(options))
    rows = [
        (
            each.name,
            each.label or "-",
            render.short(each.digest) if each.digest else "-",
            each.state.lower(),
            each.ocid,
        )
        for each in found
    ]
    headers = ("NAME", "LABEL", "DIGEST", "STATE", "OCID")
    output.result(found, *(render.table(headers, rows) if rows else ()))
    if not rows:
        output.note("no models that this identity may see")


@command("show", example="ocimlpack catalog show ocid1.datasciencemodel.oc1.iad.aaaa")
@click.argument("ocid", metavar="MODEL_OCID")
@oracle_options
@pass_output
def show(output: Output, /, ocid: str, **options: Any) -> None:
    """Show a model of the catalog."""
    from ocimlpack.app import catalog as app

    found = app.catalog_show(ocid, **given(options))
    output.result(found, *_facts(found))


@command(
    "pull",
    example="""
    ocimlpack catalog pull ocid1.datasciencemodel.oc1.iad.aaaa -o ./minilm
    """,
)
@click.argument("ocid", metavar="MODEL_OCID")
@option("-o", "--output", "directory", type=PATH, metavar="DIR", help="The folder to make.")
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
@pass_output
def pull(output: Output, /, ocid: str, directory: str | None, force: bool, **options: Any) -> None:
    """Fetch a model's files by the digest in the catalog, verified."""
    from ocimlpack.app import catalog as app

    with reporting(output) as report:
        pulled = app.catalog_pull(ocid, directory, force=force, report=report, **given(options))
    output.place(pulled, pulled.path)
    output.note(f"pulled {render.plural(pulled.files, 'file')}, from {pulled.reference}")


def _facts(found: CatalogModel) -> Sequence[str]:
    known = [
        ("Model", found.name),
        ("OCID", found.ocid),
        ("State", found.state.lower()),
        ("Description", found.description or "-"),
        ("Reference", found.reference or "none: it was not registered by ocimlpack"),
        ("Version set", found.series or "-"),
        ("Label", found.label or "-"),
        ("Project", found.project),
        ("Compartment", found.compartment),
        ("Created", found.created or "-"),
    ]
    known += [(key, value) for key, value in sorted(found.metadata.items())]
    return render.facts(known)


for _command in (register, list_, show, pull):
    catalog.add_command(_command)
