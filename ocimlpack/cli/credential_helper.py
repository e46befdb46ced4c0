"""`docker-credential-ocimlpack`: signs docker, podman, skopeo and oras in to OCIR.

https://github.com/docker/docker-credential-helpers#development has the protocol: the action is the
argument, what it is about comes on standard input, and what is said is read from standard output,
also why something failed.
"""

from __future__ import annotations

import json
import sys
from typing import BinaryIO, Final, NoReturn

from ocimlpack.errors import InputError, OcimlpackError, UnsupportedError

_MAX_INPUT: Final = 64 * 1024
_NOT_FOUND: Final = "credentials not found in native keychain"
"""By these words clients know that they may go on without credentials."""


def run() -> NoReturn:
    """Do what the process's arguments say, and exit."""
    sys.exit(main(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer))


def main(arguments: list[str], stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Do what the arguments say.

    Returns:
        The exit code: 0, or 1 and a sentence on `stdout`.
    """
    action = arguments[0] if len(arguments) == 1 else ""
    try:
        said = _answer(action, stdin)
        code = 0
    except OcimlpackError as error:
        said, code = error.message, 1
        if error.hint:
            said += f" ({error.hint})"
    if said:
        stdout.write(said.encode() + b"\n")
        stdout.flush()
    return code


def _answer(action: str, stdin: BinaryIO) -> str:
    if action == "get":
        return _get(stdin.read(_MAX_INPUT).decode(errors="replace").strip())
    if action == "list":
        return "{}"  # nothing is stored
    if action == "version":
        from ocimlpack._version import __version__

        return f"docker-credential-ocimlpack {__version__}"
    if action == "erase":
        return ""
    if action == "store":
        raise UnsupportedError(
            "nothing is stored for this registry: requests are signed",
            hint="ocimlpack logout HOST, then log in",
        )
    raise InputError("usage: docker-credential-ocimlpack get|list|store|erase|version")


def _get(server: str) -> str:
    from ocimlpack.cloud import hosts

    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
    if not hosts.is_ocir(host):
        raise OcimlpackError(_NOT_FOUND)
    from ocimlpack.app import accounts

    token = accounts.ocir_token(host)
    return json.dumps({"ServerURL": server, "Username": token.username, "Secret": token.secret})
