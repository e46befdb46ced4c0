"""The options that commands share, and how a command's help is laid out."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from ocimlpack.cli.output import Output

F = TypeVar("F", bound=Callable[..., Any])

PATH: Final = click.Path(readable=False)
"""A path, or a location that may be one. Only the shell's completion looks at what it names."""

_JOBS: Final = 4
_MAX_JOBS: Final = 64


class SectionOption(click.Option):
    """An option that help shows under a heading."""

    def __init__(self, *args: Any, section: str = "Options", **attrs: Any) -> None:
        self.section = section
        super().__init__(*args, **attrs)


class Command(click.Command):
    """A command whose help has examples and grouped options, and that takes the output options."""

    def __init__(self, *args: Any, example: str = "", **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.example = textwrap.dedent(example).strip()
        self.params += output_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; by now every option is known."""
        if ctx.params.get("insecure"):
            ctx.ensure_object(Output).warn("--insecure: TLS certificates are not verified")
        return super().invoke(ctx)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description, then the examples: they answer most questions."""
        super().format_help_text(ctx, formatter)
        if self.example:
            with formatter.section("Example" if "\n" not in self.example else "Examples"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section, in the order of their first appearance."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if isinstance(param, click.Option) and record:
                section = param.section if isinstance(param, SectionOption) else "Output"
                sections.setdefault(section, []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


def command(name: str, *, example: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command of this program.

    Args:
        name: what the user types.
        example: one or more lines that can be typed as they are.
    """
    return click.command(name, cls=Command, example=example)


def option(*names: str, section: str = "Options", **attrs: Any) -> Callable[[F], F]:
    """An option under a heading of the help."""
    return click.option(*names, cls=SectionOption, section=section, **attrs)


def output_options() -> list[click.Parameter]:
    """The options about output, which work before and after the command's name."""

    def flag(*names: str, field: str, value: bool, text: str) -> click.Parameter:
        def store(ctx: click.Context, _: click.Parameter, given: bool) -> None:
            if given:
                setattr(ctx.ensure_object(Output), field, value)

        return SectionOption(
            names, is_flag=True, expose_value=False, callback=store, help=text, section="Output"
        )

    return [
        flag("--json", field="json", value=True, text="Print one JSON document."),
        flag("-v", "--verbose", field="verbose", value=True, text="Also say what is tried again."),
        flag("-q", "--quiet", field="quiet", value=True, text="Print results and errors only."),
        flag("--no-progress", field="progress", value=False, text="Show no progress."),
    ]


def jobs_option(function: F) -> F:
    """Add --jobs."""
    return option(
        "-j",
        "--jobs",
        type=click.IntRange(1, _MAX_JOBS),
        default=_JOBS,
        show_default=True,
        metavar="N",
        section="Transfer",
        help="Files moved or hashed at a time.",
    )(function)


def registry_options(function: F) -> F:
    """Add what every command that may talk to a registry takes."""
    decorators = [
        option(
            "--plain-http/--no-plain-http",
            default=None,
            section="Registry",
            help="Speak http, or never do. By default only to loopback hosts.",
        ),
        option(
            "--insecure",
            is_flag=True,
            default=None,
            section="Registry",
            help="Do not verify TLS certificates (dangerous).",
        ),
        option(
            "--ca-file",
            type=PATH,
            metavar="FILE",
            section="Registry",
            help="PEM file of the certificate authorities to trust.",
        ),
        jobs_option,
        oracle_options,
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def oracle_options(function: F) -> F:
    """Add who one is at Oracle Cloud."""
    section = "Oracle Cloud"
    decorators = [
        option(
            "--auth",
            metavar="KIND",
            section=section,
            help="auto, api_key, security_token, instance_principal, resource_principal, "
            "oke_workload_identity or token_exchange.  [default: $OCI_CLI_AUTH, else auto]",
        ),
        option(
            "--profile",
            metavar="NAME",
            section=section,
            help="A profile of ~/.oci/config.  [default: $OCI_CLI_PROFILE, else DEFAULT]",
        ),
        option("--region", metavar="REGION", section=section, help="A region: us-ashburn-1, fra."),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def compartment_options(function: F) -> F:
    """Add where a repository of Oracle's registry is made, and how."""
    section = "Oracle Cloud"
    decorators = [
        option(
            "--compartment",
            metavar="OCID",
            section=section,
            help="Where the repository is made if it isn't there.  "
            "[default: $OCIMLPACK_COMPARTMENT]",
        ),
        option(
            "--immutable",
            is_flag=True,
            default=None,
            section=section,
            help="Make it so that its tags can't be moved.",
        ),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def mirror_option(function: F) -> F:
    """Add what commands take that read from a registry."""
    return option(
        "--mirror",
        "mirrors",
        multiple=True,
        metavar="URL",
        section="Registry",
        help="Ask here for content first: http[s]://HOST[/PREFIX]. Repeatable.",
    )(function)


def fallback_options(function: F) -> F:
    """Add where to turn when a registry fails."""
    decorators = [
        option(
            "--fallback",
            metavar="LOCATION",
            section="Registry",
            help="Where to turn if the registry fails; without a tag.",
        ),
        option(
            "--fallback-mode",
            type=click.Choice(["on-failure", "mirror"]),
            section="Registry",
            help="Push there if the registry fails, or always as well.",
        ),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def filter_options(section: str, verb: str) -> Callable[[F], F]:
    """Add --include and --exclude.

    Args:
        section: the help's heading.
        verb: what is done with the files, as a participle.
    """

    def decorate(function: F) -> F:
        function = option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            section=section,
            help="Leave these files out. Repeatable.",
        )(function)
        return option(
            "--include",
            multiple=True,
            metavar="GLOB",
            section=section,
            help=f"Only files that match are {verb}. Repeatable.",
        )(function)

    return decorate


def pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    """Options of the form KEY=VALUE as a mapping."""
    found = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{text!r} is not KEY=VALUE")
        found[key] = value
    return found


def format_options(section: str, default: str) -> Callable[[F], F]:
    """Add what a model is written as.

    Args:
        section: the help's heading.
        default: what is done without --format.
    """

    def decorate(function: F) -> F:
        function = option(
            "--image-base",
            metavar="LOCATION",
            section=section,
            help="A container image to put an image on, where it is run instead of mounted.",
        )(function)
        function = option(
            "--platform",
            "platforms",
            multiple=True,
            metavar="OS/ARCH",
            section=section,
            help="What an image is for. Repeatable.  [default: linux/amd64 and linux/arm64]",
        )(function)
        return option(
            "--format",
            type=click.Choice(["modelpack", "image", "both"]),
            section=section,
            help="An artifact, a container image for clusters that mount models, or both under "
            f"one tag.  [default: {default}]",
        )(function)

    return decorate


def packing_options(function: F) -> F:
    """Add how a folder becomes an artifact."""
    section = "Packing a folder"
    decorators: list[Callable[[F], F]] = [
        *_describing(section, "DIR"),
        option(
            "--dereference",
            is_flag=True,
            default=None,
            section=section,
            help="Pack what links point to, also outside the folder.",
        ),
        option(
            "--rehash",
            is_flag=True,
            default=None,
            section=section,
            help="Read all files, also those that are unchanged since they were packed before.",
        ),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def describing_options(function: F) -> F:
    """Add how files that lie elsewhere become an artifact."""
    for decorator in reversed(_describing("Packing", "the repository")):
        function = decorator(function)
    return function


def _describing(section: str, place: str) -> list[Callable[[F], F]]:
    return [
        format_options(section, "modelpack"),
        option("--name", section=section, help="The model's name."),
        option("--version", section=section, help="The model's version."),
        option("--license", metavar="SPDX", section=section, help="Its licence: Apache-2.0."),
        option(
            "--base",
            metavar="REF",
            section=section,
            help="The model that this one was made from; its digest is recorded.",
        ),
        option(
            "--annotation",
            "annotations",
            multiple=True,
            metavar="KEY=VALUE",
            callback=pairs,
            section=section,
            help="An annotation of the manifest. Repeatable.",
        ),
        option(
            "--file",
            type=PATH,
            metavar="FILE",
            section=section,
            help="A model.yaml, Kitfile or Modelfile that overrides what is detected.  [default: "
            f"the one in {place}]",
        ),
        filter_options(section, "packed"),
        option(
            "--created",
            metavar="TIME",
            section=section,
            help="RFC 3339 time to record.  [default: $SOURCE_DATE_EPOCH, else none]",
        ),
        option(
            "--artifact-type",
            metavar="TYPE",
            section=section,
            help="The manifest's artifactType, for a custom artifact; none for none.",
        ),
        option(
            "--image-config",
            is_flag=True,
            default=None,
            section=section,
            help="Write the config as a container image's, for registries that take no other.",
        ),
        option(
            "--config",
            type=PATH,
            metavar="FILE:MEDIATYPE",
            section=section,
            help="The config blob of a custom artifact.",
        ),
    ]


def given(options: Mapping[str, Any]) -> Any:
    """The options that the user has set, to be handed to a function of the app.

    Those left out are left to that function's own defaults; and it can tell that one was asked for
    where it makes no sense.
    """
    return {name: value for name, value in options.items() if value not in (None, (), {})}
