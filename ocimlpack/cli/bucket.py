"""The commands about the bucket that models are kept in: provision, status, destroy, export."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from ocimlpack.cli import render, stages
from ocimlpack.cli.options import PATH, command, given, option, oracle_options, pairs
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting
from ocimlpack.errors import ConflictError, InputError

if TYPE_CHECKING:
    from ocimlpack.app.bucket import BucketContent, BucketPlan, BucketStatus, BucketStep

F = TypeVar("F", bound=Callable[..., Any])

_SIGNS: Final = {"create": "+", "change": "~", "keep": "=", "refuse": "!"}
_DAYS: Final = click.IntRange(1, 100_000)

_file = option(
    "--file", type=PATH, metavar="FILE", help="A bucket.yaml; options count more than it."
)
_bucket = option("--bucket", metavar="NAME", help="The bucket's name.")
_compartment = option(
    "--compartment",
    metavar="OCID",
    section="Oracle Cloud",
    help="The bucket's compartment.  [default: $OCIMLPACK_COMPARTMENT]",
)


def _wanted(function: F) -> F:
    """Add what a bucket is to be."""
    section = "The bucket"
    decorators: list[Callable[[F], F]] = [
        _file,
        _bucket,
        option(
            "--versioning",
            metavar="STATE",
            section=section,
            help="Enabled, Suspended or Disabled.  [default: Enabled]",
        ),
        option(
            "--auto-tiering",
            metavar="STATE",
            section=section,
            help="InfrequentAccess or Disabled.  [default: InfrequentAccess]",
        ),
        option("--kms-key", metavar="OCID", section=section, help="A master key to encrypt with."),
        option(
            "--tag",
            "tags",
            multiple=True,
            metavar="KEY=VALUE",
            callback=pairs,
            section=section,
            help="A freeform tag. Repeatable.",
        ),
        option(
            "--object-events/--no-object-events",
            default=None,
            section=section,
            help="Whether changes of objects are events.  [default: they are]",
        ),
        option(
            "--archive-after",
            type=_DAYS,
            metavar="DAYS",
            section=section,
            help="Archive what is in old/ after so many days.  [default: 30]",
        ),
        option(
            "--delete-after",
            type=_DAYS,
            metavar="DAYS",
            section=section,
            help="Delete what is in expired/, and previous versions.  [default: 365]",
        ),
        option(
            "--access-logs/--no-access-logs",
            default=None,
            section=section,
            help="Whether reading and writing are logged.  [default: they are]",
        ),
        option(
            "--log-group",
            metavar="NAME",
            section=section,
            help="The log group, made if it isn't there.  [default: ocimlpack]",
        ),
        option(
            "--iam-policy/--no-iam-policy",
            default=None,
            section=section,
            help="Whether the policy is written that the lifecycle needs.  [default: it is]",
        ),
        option(
            "--read-url-expires",
            metavar="TIME",
            section=section,
            help="Make an address to read by, until then: 2027-06-30.",
        ),
        _compartment,
        oracle_options,
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


@click.group("bucket")
def bucket() -> None:
    """Plan, make, check and remove the bucket that models are kept in."""


@command(
    "provision",
    example="""
    ocimlpack bucket provision --file bucket.yaml
    ocimlpack bucket provision --bucket models --compartment ocid1.compartment.oc1..aaaa --dry-run
    ocimlpack bucket provision --file bucket.yaml --yes --json
    """,
)
@option("--dry-run", is_flag=True, help="Only print the plan.")
@option("--yes", is_flag=True, help="Do not ask before anything is changed.")
@_wanted
@pass_output
def provision(
    output: Output, /, bucket: str | None, dry_run: bool, yes: bool, **options: Any
) -> None:
    """Make a bucket for models or bring one in line, as planned."""
    from ocimlpack.app import bucket as app

    def approve(plan: BucketPlan) -> bool:
        for line in _plan(plan.bucket, plan.region, plan.steps):
            output.note(line)
        if yes or plan.count("refuse"):  # what is refused is the error
            return True
        return _ask(output, "Do that? [y/N] ", "--yes").lower() in {"y", "yes"}

    with reporting(output) as report:
        done = app.bucket_provision(
            bucket, approve=approve, dry_run=dry_run, report=report, **given(options)
        )
    if dry_run:
        output.result(done, *_plan(done.name, done.region, done.plan))
        if any(step.fate == "refuse" for step in done.plan):
            raise click.exceptions.Exit(ConflictError.exit_code)
        return
    facts = [("Bucket", done.name), ("OCID", done.ocid or "-"), ("Namespace", done.namespace)]
    if done.read_url:
        facts.append(("Read URL", done.read_url))
    if not done.changed:
        output.note(f"nothing to do: the bucket {done.name} is as it is to be")
    output.result(done, *render.facts(facts))
    if done.read_url:
        output.note("the read URL is told only now: keep it where secrets are kept")


@command(
    "status",
    example="""
    ocimlpack bucket status --file bucket.yaml
    ocimlpack bucket status --bucket models --compartment ocid1.compartment.oc1..aaaa
    """,
)
@_wanted
@pass_output
def status(output: Output, /, bucket: str | None, **options: Any) -> None:
    """Compare a bucket with what it is to be (7 on drift)."""
    from ocimlpack.app import bucket as app

    found = app.bucket_status(bucket, **given(options))
    output.result(found, *_status(found))
    if found.drift:
        raise click.exceptions.Exit(ConflictError.exit_code)


@command(
    "destroy",
    example="""
    ocimlpack bucket destroy --bucket models
    ocimlpack bucket destroy --file bucket.yaml --force --confirm models
    """,
)
@_file
@_bucket
@option("--force", is_flag=True, help="Also delete all that is in it, with all versions.")
@option("--confirm", metavar="NAME", help="The bucket's name once more, instead of being asked.")
@option("--log-group", metavar="NAME", help="Where its logs are.  [default: ocimlpack]")
@_compartment
@oracle_options
@pass_output
def destroy(
    output: Output, /, bucket: str | None, confirm: str | None, force: bool, **options: Any
) -> None:
    """Remove a bucket that provision made, with its logs."""
    from ocimlpack.app import bucket as app

    def ask(content: BucketContent) -> str:
        for line in _content(content):
            output.note(line)
        question = f"Type the bucket's name to remove that for good: {content.name}? "
        return _ask(output, question, "--confirm NAME")

    with reporting(output) as report:
        done = app.bucket_destroy(
            bucket, confirm=confirm or ask, force=force, report=report, **given(options)
        )
    whole = f"the bucket {done.name}" in done.removed
    output.result(done, f"removed {'' if whole else 'what was left of '}the bucket {done.name}")


@command(
    "export",
    example="""
    ocimlpack bucket export --terraform --file bucket.yaml > bucket.tf
    ocimlpack bucket export --pulumi --file bucket.yaml > __main__.py
    """,
)
@option("--terraform", "language", flag_value="terraform", help="HCL for Terraform and OpenTofu.")
@option("--pulumi", "language", flag_value="pulumi", help="A Pulumi program in Python.")
@_wanted
@pass_output
def export(
    output: Output,
    /,
    bucket: str | None,
    language: Literal["terraform", "pulumi"] | None,
    **options: Any,
) -> None:
    """Print the same bucket as infrastructure code."""
    if language is None:
        raise click.UsageError("which code? add --terraform or --pulumi")
    from ocimlpack.app import bucket as app

    code = app.bucket_export(language, bucket, **given(options))
    if output.json:
        output.result(code)
    else:
        output.raw(code.text.encode())


def _ask(output: Output, question: str, instead: str) -> str:
    """What a person types; standard output carries the result alone.

    Raises:
        InputError: nobody has seen what it is about, or nobody is there to answer.
    """
    if output.json or output.quiet:
        raise InputError(
            "nothing was changed: with --json and -q nobody sees what is asked about",
            hint=f"add {instead}",
        )
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError(
            "nothing was changed: there is no terminal to ask on", hint=f"add {instead}"
        )
    answer: str = click.prompt(question, prompt_suffix="", default="", show_default=False, err=True)
    return answer.strip()


def _plan(name: str, region: str, steps: Sequence[BucketStep]) -> Iterator[str]:
    yield f"The bucket {name} in {region}:"
    yield ""
    yield from _steps(steps)
    yield ""
    yield _summary(steps)


def _steps(steps: Sequence[BucketStep]) -> Iterator[str]:
    room = max((len(step.part) for step in steps), default=0)
    for step in steps:
        yield f"  {_SIGNS[step.fate]} {step.part:<{room}}  {step.name}"
        for detail in step.details:
            yield f"      {detail}"


def _summary(steps: Sequence[BucketStep]) -> str:
    def count(fate: str) -> int:
        return sum(step.fate == fate for step in steps)

    said = f"{count('create')} to create, {count('change')} to change, {count('keep')} to keep"
    refused = count("refuse")
    return f"{said}, {refused} that can't be changed" if refused else said


def _status(found: BucketStatus) -> Iterator[str]:
    facts = [
        ("Bucket", found.name),
        ("OCID", found.ocid or "there is none"),
        ("Namespace", found.namespace),
        ("Region", found.region),
    ]
    if found.objects is not None and found.size is not None:
        facts.append(("Content", f"about {found.objects:,} objects, {render.size(found.size)}"))
    facts.append(("Drift", "yes" if found.drift else "none"))
    yield from render.facts(facts)
    yield ""
    yield from _steps(found.steps)


def _content(content: BucketContent) -> Iterator[str]:
    if content.there:
        yield f"the bucket {content.name} goes, and with it:"
        yield f"  {content.versions:,} versions of objects, {render.size(content.size)}"
        yield f"  {render.plural(content.uploads, 'unfinished upload')}"
        yield f"  {render.plural(content.urls, 'pre-authenticated request')} of others"
    else:
        yield f"there is no bucket {content.name} any more; what was made with it goes:"
    for line in content.beside:
        yield f"  {line}"


for _command in (provision, status, destroy, export, *stages.COMMANDS):
    bucket.add_command(_command)
