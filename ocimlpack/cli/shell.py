"""The commands about the program itself: completion, help, version."""

from __future__ import annotations

import platform
from importlib import metadata

import click
from click.shell_completion import ShellComplete, get_completion_class

from ocimlpack._version import __version__
from ocimlpack.cli.options import command
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.errors import UnsupportedError


@command(
    "completion",
    example="""
    source <(ocimlpack completion bash)
    ocimlpack completion fish > ~/.config/fish/completions/ocimlpack.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
@pass_output
def completion(output: Output, /, ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise UnsupportedError(f"no completion for {shell}")
    root = ctx.find_root()
    program = kind(root.command, {}, "ocimlpack", "_OCIMLPACK_COMPLETE")
    # The base class's method: bash's own looks for a bash on this machine and complains without.
    script = ShellComplete.source(program)
    output.result({"shell": shell, "script": script}, *script.splitlines())


@command("version", example="ocimlpack version --json")
@pass_output
def version(output: Output) -> None:
    """Print the versions of this program and of what it stands on."""
    versions = {
        "ocimlpack": __version__,
        "python": platform.python_version(),
        "oras": _installed("oras"),
        "platform": f"{platform.system()} {platform.machine()}".lower(),
    }
    output.result(versions, *(f"{name} {value}" for name, value in versions.items()))


@command("help", example="ocimlpack help push")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
@pass_output
def explain(output: Output, /, ctx: click.Context, names: tuple[str, ...]) -> None:
    """Show the help of a command."""
    target = ctx.find_root()
    for name in names:
        if not isinstance(target.command, click.Group):
            raise click.UsageError(f"{target.command_path} has no command {name!r}")
        _, found, _ = target.command.resolve_command(target, [name])
        if found is not None:
            target = click.Context(found, info_name=name, parent=target)
    output.raw((target.get_help() + "\n").encode())


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
