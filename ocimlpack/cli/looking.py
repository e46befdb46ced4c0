"""The commands that look and change nothing: inspect, verify."""

from __future__ import annotations

from typing import Any

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import (
    PATH,
    command,
    fallback_options,
    given,
    mirror_option,
    option,
    registry_options,
)
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting

_SHOWN_EXTRA = 10


@command(
    "inspect",
    example="""
    ocimlpack inspect localhost:5000/team/minilm:1.0
    ocimlpack inspect minilm:1.0 --manifest | jq '.layers[].digest'
    ocimlpack inspect ./minilm
    ocimlpack inspect localhost:5000/team/minilm:1.0 --tensors
    """,
)
@click.argument("reference", metavar="REF", type=PATH)
@option("--manifest", is_flag=True, help="Print the manifest's bytes, exactly.")
@option("--config", is_flag=True, help="Print the config's bytes, exactly.")
@option("--files", is_flag=True, help="List the files with their digests, those in archives too.")
@option("--tensors", is_flag=True, help="List the tensors of the weights, by their headers alone.")
@registry_options
@mirror_option
@fallback_options
@pass_output
def inspect(
    output: Output,
    /,
    reference: str,
    manifest: bool,
    config: bool,
    files: bool,
    tensors: bool,
    **options: Any,
) -> None:
    """Show what a packed model is; for a folder, what it would be."""
    if manifest + config + files + tensors > 1:
        raise click.UsageError("take one of --manifest, --config, --files and --tensors")
    from ocimlpack.app import looking

    with reporting(output) as report:
        found = looking.inspect(
            reference, archives=files, tensors=tensors, report=report, **given(options)
        )
    if manifest or config:
        # A config may be anything, so bytes that are not UTF-8 travel as surrogates.
        text = found.manifest if manifest else found.config
        output.raw(text.encode("utf-8", "surrogateescape"))
    elif files:
        output.result(found.files, *render.files(found.files))
    elif tensors:
        weights = found.weights or ()
        output.result(weights, *render.weights(weights))
        for note in (*found.notes, *render.problems(weights)):
            output.warn(note)
    else:
        output.result(found, *render.inspected(found))


@command(
    "verify",
    example="""
    ocimlpack verify ./minilm
    ocimlpack verify minilm:1.0
    """,
)
@click.argument("target", metavar="DIR|REF", type=PATH)
@registry_options
@pass_output
def verify(output: Output, /, target: str, **options: Any) -> None:
    """Check pulled files against their receipt, or stored content against its digests."""
    from ocimlpack.app import looking

    with reporting(output) as report:
        verified = looking.verify(target, report=report, **given(options))
    against = f" against {verified.digest}" if verified.digest else ""
    output.result(
        verified,
        f"{verified.target}: verified {render.plural(verified.checked, 'item')}, "
        f"{render.size(verified.size)}{against}",
    )
    for path in verified.extra[:_SHOWN_EXTRA]:
        output.warn(f"not part of the model: {path}")
    if (more := len(verified.extra) - _SHOWN_EXTRA) > 0:
        output.warn(f"not part of the model: {render.plural(more, 'file')} more")
