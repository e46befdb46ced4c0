from __future__ import annotations

import json

import click
import pytest

from ocimlpack._version import __version__
from ocimlpack.cli.main import COMMANDS, cli
from tests.cli.conftest import Run

NAMES = [name for entries in COMMANDS.values() for name in entries]


def find(path: str) -> click.Command:
    """A command by what the user types."""
    found: click.Command = cli
    for name in path.split():
        assert isinstance(found, click.Group)
        with click.Context(found, info_name=name) as ctx:
            command = found.get_command(ctx, name)
        assert command is not None
        found = command
    return found


def leaves(name: str) -> list[str]:
    """A command, or the commands of a group."""
    command = find(name)
    if isinstance(command, click.Group):
        return [leaf for inner in command.commands for leaf in leaves(f"{name} {inner}")]
    return [name]


LEAVES = [leaf for name in NAMES for leaf in leaves(name)]
GROUPS = [name for name in NAMES if isinstance(find(name), click.Group)]
MOVERS = ("push", "pull", "copy", "tag", "tags", "repos", "rm", "inspect", "verify", "login")


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",), ("help",)])
def test_alone_it_shows_the_commands_in_groups(run: Run, args: tuple[str, ...]) -> None:
    ran = run(*args)
    assert (ran.code, ran.stderr) == (0, "")
    places = [ran.stdout.index(f"\n{group}:\n") for group in COMMANDS]
    assert places == sorted(places)
    for name in NAMES:
        assert f"\n  {name} " in ran.stdout


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_shows_its_commands_each_with_a_sentence(run: Run, name: str) -> None:
    ran = run(name, "--help")
    group = find(name)
    assert isinstance(group, click.Group)
    for inner, command in group.commands.items():
        assert f"\n  {inner} " in ran.stdout
        assert command.get_short_help_str(200) in ran.stdout
    assert run(name).code == 2


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_a_sentence_an_example_and_the_output_options(
    run: Run, name: str
) -> None:
    ran = run(*name.split(), "--help")
    assert ran.code == 0
    usage, sentence, examples, *_ = ran.stdout.split("\n\n")
    assert usage.startswith(f"Usage: ocimlpack {name}")
    assert sentence.startswith("  ")
    assert sentence.endswith(".")
    assert examples.startswith("Example")
    assert f"  ocimlpack {name}" in examples or name == "completion"
    for option in ("--json", "-v, --verbose", "-q, --quiet", "--no-progress", "-h, --help"):
        assert option in ran.stdout
    assert run("help", *name.split()).stdout == ran.stdout


@pytest.mark.parametrize("name", MOVERS)
def test_every_registry_command_takes_the_connection_options(run: Run, name: str) -> None:
    text = run(name, "--help").stdout
    for option in ("--plain-http", "--no-plain-http", "--insecure", "--ca-file", "-j, --jobs"):
        assert option in text


@pytest.mark.parametrize("name", [*LEAVES, *GROUPS])
def test_every_line_of_help_fits(run: Run, name: str) -> None:
    assert max(map(len, run(*name.split(), "--help").stdout.splitlines())) <= 100


@pytest.mark.parametrize("name", LEAVES)
def test_every_examples_options_exist(name: str) -> None:
    command = find(name)
    known = {text for param in command.params for text in (*param.opts, *param.secondary_opts)}
    for line in command.example.splitlines():  # type: ignore[attr-defined]
        mine = line.partition("|")[0].partition("<")[0]
        for word in mine.split():
            if word.startswith("-") and word != "-":
                assert word in known


def test_the_version_command_names_what_it_stands_on(run: Run) -> None:
    found = json.loads(run("version", "--json").stdout)
    assert found["ocimlpack"] == __version__
    assert set(found) == {"ocimlpack", "python", "oras", "platform"}
    assert run("version").stdout.startswith(f"ocimlpack {__version__}\npython 3.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(run: Run, shell: str) -> None:
    ran = run("completion", shell)
    assert (ran.code, ran.stderr) == (0, "")
    assert f"_OCIMLPACK_COMPLETE={shell}_complete" in ran.stdout


def test_completion_for_another_shell_says_which_there_are(run: Run) -> None:
    ran = run("completion", "tcsh")
    assert ran.code == 2
    assert "fish" in ran.stderr


def test_help_for_no_command_is_an_error(run: Run) -> None:
    assert run("help", "nonsense").code == 2
