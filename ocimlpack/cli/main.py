"""The program: finds the command, runs it, and turns whatever was raised into an exit code.

Commands are listed here with their modules and one-line descriptions, so that `--help` and
`--version` import none of them.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn

import click

from ocimlpack._version import __version__
from ocimlpack.cli.options import output_options
from ocimlpack.cli.output import Output, eprint
from ocimlpack.errors import OcimlpackError

PROGRAM: Final = "ocimlpack"
_COMPLETE: Final = "_OCIMLPACK_COMPLETE"

INTERRUPTED: Final = 130
TERMINATED: Final = 143
BUG: Final = 70
READER_GONE: Final = 141
"""128 + SIGPIPE: what a shell shows for `ls` when `head` has read enough."""

_USAGE: Final = 2

_OBJECTS: Final = 100_000
"""New objects after which garbage is looked for; more than the imports of any command make."""

# Errors of the machine, not of this program: reported as one sentence, without a traceback.
_ENVIRONMENT: Final = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
}


class Entry(NamedTuple):
    """Where a command is and what it does, in one line."""

    module: str
    attribute: str
    summary: str


COMMANDS: Final[dict[str, dict[str, Entry]]] = {
    "Everyday": {
        "pack": Entry("moving", "pack", "Pack a folder into the local store or a layout."),
        "push": Entry("moving", "push", "Send a folder or a packed model to a registry."),
        "pull": Entry("moving", "pull", "Fetch a model's files, verified."),
        "inspect": Entry("looking", "inspect", "Show what a packed model is."),
        "diff": Entry("diff", "diff", "Show what differs between two models."),
        "tag": Entry("naming", "tag", "Add tags to a packed model where it is."),
        "tags": Entry("naming", "tags", "List the tags of a repository."),
        "ls": Entry("naming", "ls", "List what is in the local store."),
    },
    "Registry": {
        "login": Entry("accounts", "login", "Log in to a registry."),
        "logout": Entry("accounts", "logout", "Forget the credentials for a registry."),
        "repos": Entry("naming", "repos", "List the repositories of a registry."),
        "copy": Entry("moving", "copy", "Copy from any location to any other."),
        "import": Entry("importing", "import_", "Bring a model from the Hugging Face Hub."),
        "save": Entry("archives", "save", "Write packed models into one tar archive."),
        "load": Entry("archives", "load", "Bring what was saved to a place."),
    },
    "Oracle Cloud": {
        "bucket": Entry("bucket", "bucket", "Plan, make and check the bucket for models."),
        "catalog": Entry("catalog", "catalog", "Register models in the model catalog."),
        "ocir": Entry("ocir", "ocir", "Make and list repositories of Oracle's registry."),
    },
    "Housekeeping": {
        "doctor": Entry("doctor", "doctor", "Say how transfers go from here, and what is wrong."),
        "audit": Entry("audit", "audit", "Show what was changed far away, and by whom."),
        "verify": Entry("looking", "verify", "Check files or content against their digests."),
        "rm": Entry("naming", "rm", "Remove a tag or a packed model."),
        "prune": Entry("naming", "prune", "Remove what no tag needs any more."),
        "completion": Entry("shell", "completion", "Print a shell's completion script."),
        "version": Entry("shell", "version", "Print this program's versions."),
        "help": Entry("shell", "explain", "Show the help of a command."),
    },
}


class Program(click.Group):
    """The command `ocimlpack`: imports a command's module when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the help."""
        return [name for entries in COMMANDS.values() for name in entries]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None where there is none of that name."""
        for entries in COMMANDS.values():
            if entry := entries.get(cmd_name):
                module = importlib.import_module(f"ocimlpack.cli.{entry.module}")
                found: click.Command = getattr(module, entry.attribute)
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name.

        Raises:
            click.UsageError: there is none; it says which one may have been meant.
        """
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in their groups."""
        for group, entries in COMMANDS.items():
            with formatter.section(group):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands first, then the options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)


@click.command(
    PROGRAM,
    cls=Program,
    invoke_without_command=True,
    params=output_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`ocimlpack COMMAND --help` shows a command's options and examples.\n\n"
    "Exit codes: 0 done, 2 bad input, 3 not found, 4 not allowed, 5 integrity, 6 unavailable, "
    "7 conflict, 8 unsupported, 9 refused, 1 other, 130 interrupted, 70 a bug.",
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Pack machine-learning models as OCI artifacts; push, tag and pull them by digest."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run() -> NoReturn:
    """Run the program on the process's arguments and exit."""
    # Imports make many objects that stay. Looking through them for garbage takes a tenth of the
    # time that a short command takes.
    gc.set_threshold(_OBJECTS)
    signal.signal(signal.SIGTERM, _terminate)
    code = main(sys.argv[1:])
    _flush()
    # Taking the interpreter down piece by piece takes as long as a small transfer. And after an
    # interruption a thread of the pool may still be in the network: stopped while it holds a
    # stream's lock, it would end all of this with an abort. Everything is written, so just leave.
    os._exit(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM: cleaned up after like Ctrl-C."""


def _terminate(_: int, __: FrameType | None) -> None:
    raise _Terminated


def main(args: Sequence[str]) -> int:
    """Run the program.

    Returns:
        The exit code. Everything that can be raised has become one.
    """
    argv = list(args)
    try:
        if instruction := os.environ.get(_COMPLETE):
            from click.shell_completion import shell_complete

            return shell_complete(cli, {}, PROGRAM, _COMPLETE, instruction)
        with cli.make_context(PROGRAM, argv) as ctx:
            cli.invoke(ctx)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        _flush()
        return READER_GONE
    except BaseException as error:  # noqa: BLE001 - the one place where errors become exit codes
        return _failed(error, wants_json(args))
    return 0


def wants_json(args: Sequence[str]) -> bool:
    """Whether --json was asked for, also where the rest of the arguments can't be understood."""
    options = args[: list(args).index("--")] if "--" in args else args
    return "--json" in options


def _failed(error: BaseException, as_json: bool) -> int:
    code, problem = _explain(error)
    _flush()
    if code == BUG:
        import traceback

        for text in traceback.format_exception(error):
            for line in text.splitlines():
                eprint(line)
    eprint(f"{PROGRAM}: {problem['message']}")
    if hint := problem.get("hint"):
        eprint(f"hint: {hint}")
    if as_json:
        known = {key: value for key, value in problem.items() if value is not None}
        with contextlib.suppress(OSError, OcimlpackError):  # the sentence above has said it
            Output(json=True).result({"error": known})
        _flush()
    return code


def _explain(error: BaseException) -> tuple[int, dict[str, Any]]:
    """The exit code, and what JSON says of an error."""
    if isinstance(error, OcimlpackError):
        fields = ("kind", "message", "hint", "side", "digest", "status")
        return error.exit_code, {field: getattr(error, field) for field in fields}
    if isinstance(error, click.ClickException):
        # Click breaks some of its messages into lines.
        message = " ".join(error.format_message().split())
        ctx = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"see `{ctx.command_path} --help`" if ctx else None
        return _USAGE, {"kind": "usage", "message": message, "hint": hint}
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        message = "interrupted; what is complete is kept"
        code = TERMINATED if isinstance(error, _Terminated) else INTERRUPTED
        return code, {"kind": "interrupted", "message": message}
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT:
        name = error.filename
        where = f": {os.fsdecode(name)}" if isinstance(name, (str, bytes)) else ""
        message = f"{error.strerror}{where}"
        return OcimlpackError.exit_code, {"kind": OcimlpackError.kind, "message": message}
    return BUG, {
        "kind": "bug",
        "message": f"this is a bug of {PROGRAM}: {type(error).__name__}: {error}",
        "hint": "please report it, with the lines above and the command that you ran",
    }


def _flush() -> None:
    """Write what is buffered for standard output, or drop it where nobody can take it.

    Left to the interpreter's end, a failure would be a message of its own and another exit code.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
