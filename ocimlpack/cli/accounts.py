"""The commands about credentials: login, logout."""

from __future__ import annotations

import shutil
import sys
from typing import Any, Final

import click

from ocimlpack.cli.options import command, given, option, registry_options
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting
from ocimlpack.errors import InputError

HELPER: Final = "docker-credential-ocimlpack"


@command(
    "login",
    example="""
    ocimlpack login registry.example.com
    ocimlpack login registry.example.com -u alice --password-stdin < token.txt
    ocimlpack login --oci fra.ocir.io
    """,
)
@click.argument("host", metavar="HOST")
@option("-u", "--username", metavar="USER", help="The account; asked for on a terminal.")
@option("-p", "--password", metavar="PASS", help="The password (every process here can see it).")
@option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@option("--oci", is_flag=True, help="OCIR by signed requests: nothing secret is stored.")
@registry_options
@pass_output
def login(
    output: Output,
    /,
    host: str,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    oci: bool,
    **options: Any,
) -> None:
    """Log in to a registry and keep the credentials where Docker keeps them."""
    if oci:
        if username is not None or password is not None or password_stdin:
            raise click.UsageError("--oci takes no username and no password")
        _login_oci(output, host, options)
        return
    if password is not None:
        if password_stdin:
            raise click.UsageError("take either --password or --password-stdin")
        output.warn(
            "--password shows in the list of processes and the shell's history; "
            "--password-stdin does not"
        )
    username, password = _credentials(host, username, password, password_stdin)
    from ocimlpack.app import accounts

    with reporting(output) as report:
        done = accounts.login(host, username, password, report=report, **given(options))
    if output.json:
        output.result(done)
    output.note("Login succeeded")
    output.note(f"credentials for {done.username} at {done.host} are in {done.stored}")


def _login_oci(output: Output, host: str, options: dict[str, Any]) -> None:
    from ocimlpack.app import accounts

    with reporting(output) as report:
        done = accounts.login_oci(host, report=report, **given(options))
    if output.json:
        output.result(done)
    output.note("Login succeeded")
    output.note(f"{done.stored} names {HELPER} for {done.host}; nothing secret is stored")
    if shutil.which(HELPER) is None:
        output.warn(f"{HELPER} is not on the PATH, where docker and others look for it")


@command("logout", example="ocimlpack logout registry.example.com")
@click.argument("host", metavar="HOST")
@pass_output
def logout(output: Output, /, host: str) -> None:
    """Forget the credentials for a registry."""
    from ocimlpack.app import accounts

    removed = accounts.logout(host)
    if output.json:
        output.result({"host": host, "removed": removed})
    output.note(f"logged out of {host}" if removed else f"not logged in to {host}")


def _credentials(
    host: str, username: str | None, password: str | None, from_stdin: bool
) -> tuple[str, str]:
    if from_stdin:
        password = _read_password()
    if (username is None or password is None) and not _on_terminal():
        missing = "-u USER" if username is None else "--password-stdin"
        raise InputError(
            f"no {'username' if username is None else 'password'} for {host}, and no terminal to "
            "ask on",
            hint=f"add {missing}"
            + ("" if from_stdin or password else ", and send the password: … < FILE"),
        )
    if username is None:
        username = click.prompt(f"Username for {host}", err=True)
    if password is None:
        password = click.prompt("Password", hide_input=True, err=True)
    if not username or not password:
        raise InputError(f"the {'password' if username else 'username'} is empty")
    return username, password


def _on_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _read_password() -> str:
    """All of standard input, without the one newline that `echo` and editors put at its end."""
    if sys.stdin is None:
        raise InputError("standard input is closed")
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InputError("the password on standard input is not UTF-8 text") from error
    return text.removesuffix("\n").removesuffix("\r")
