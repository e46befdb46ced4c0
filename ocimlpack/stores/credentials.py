"""Registry credentials where Docker keeps them: in its config file or with a credential helper.

The helpers: https://github.com/docker/docker-credential-helpers#development
"""

from __future__ import annotations

import base64
import json
import os
import re
import selectors
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

from ocimlpack.errors import InputError, NotAllowedError
from ocimlpack.stores.docker_config import DockerConfig, default_path, edit, matching, server_of

_HELPER_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FIELDS: Final = ("auth", "username", "password", "identitytoken", "registrytoken")

OWN_HELPER: Final = "ocimlpack"
"""The helper that comes with this program. It is not asked from here: what it does is done here."""

_PROGRAM: Final = "docker-credential-"
_TOKEN_USER: Final = "<token>"  # noqa: S105 - the username that says: the secret is a token
_NOT_FOUND: Final = b"credentials not found in native keychain"
_HELPER_TIMEOUT: Final = 30.0
_MAX_ANSWER: Final = 64 * 1024
_MAX_SECRET: Final = 16 * 1024
"""Bytes. Below the capacity of a pipe, so that handing it to a helper can't block."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a registry knows a person by. Its text form never shows a secret.

    Attributes:
        username: the account; may be empty beside a token.
        secret: the password or access token for basic authentication; may be empty beside a token.
        identity_token: an OAuth2 refresh token, to be exchanged at the token server.
        registry_token: a bearer token, to be sent to the registry as it is.
        source: the config file's path, or the credential helper's name.
        warning: what a person should know about where it is kept.
    """

    username: str
    secret: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)
    registry_token: str | None = field(default=None, repr=False)
    source: str = ""
    warning: str | None = None

    @property
    def kind(self) -> str:
        """Where it is from, in a word."""
        helper = self.source.startswith(_PROGRAM)
        return "credential-helper" if helper else "docker-config"

    @property
    def is_useful(self) -> bool:
        """Whether there is anything secret in it; a username alone proves nothing."""
        return bool(self.secret or self.identity_token or self.registry_token)


def find(host: str) -> Credential | None:
    """The credentials for a registry: from its own helper, else the general one, else the file.

    Raises:
        InputError: the config file, or its entry for this registry, is malformed or unreadable.
        NotAllowedError: the helper that the config file names is missing or fails.
    """
    server, path = server_of(host), default_path()
    if path is None:
        return None
    config = DockerConfig.read(path)
    if config.helper(server) == OWN_HELPER:
        return None  # it has nothing stored; whoever calls signs instead
    helper = _helper(config, server)
    if helper is not None and (credential := helper.get(server)) is not None:
        return credential
    found = (_from_entry(entry, server, config) for entry in config.entries(server))
    return next((credential for credential in found if credential is not None), None)


def store(host: str, username: str, secret: str) -> str:
    """Keep credentials: with the helper that the config file names for the registry, else in it.

    A username of `<token>` says that the secret is an identity token. The end of line that a
    secret read from a pipe has is not part of it.

    Returns:
        The helper's name, or the config file's path.

    Raises:
        InputError: empty or unusable values, or a config file that is malformed or unwritable.
        NotAllowedError: the helper is missing or fails.
        UnavailableError: another process keeps the config file locked.
    """
    server, path = server_of(host), default_path()
    secret = _tidy(secret)
    _check(username, secret)
    if path is None:
        raise InputError(
            "there is no home folder to keep credentials in", hint="set HOME or DOCKER_CONFIG"
        )
    helper = _helper(DockerConfig.read(path), server)
    if helper is not None:
        helper.store(server, username, secret)
        _forget(path, server)  # what the file had in clear is stale now
        return helper.program

    def change(auths: dict[str, Any]) -> None:
        old = auths.get(server)
        entry = {k: v for k, v in old.items() if k not in _FIELDS} if isinstance(old, dict) else {}
        if username == _TOKEN_USER:
            entry["identitytoken"] = secret
        else:
            entry["auth"] = base64.b64encode(f"{username}:{secret}".encode()).decode("ascii")
        auths[server] = entry

    edit(path, change)
    return str(path)


def delegate(host: str) -> str:
    """Let other programs ask this one's helper for a registry's credentials.

    Credentials that the file holds for it are forgotten: they would not be looked at any more.

    Returns:
        The config file's path.

    Raises:
        InputError: there is no home folder, or the config file is malformed or unwritable.
        UnavailableError: another process keeps the config file locked.
    """
    server, path = server_of(host), default_path()
    if path is None:
        raise InputError(
            "there is no home folder to keep settings in", hint="set HOME or DOCKER_CONFIG"
        )

    def change(helpers: dict[str, Any]) -> None:
        _remove(helpers, server)
        helpers[server] = OWN_HELPER

    edit(path, change, "credHelpers")
    _forget(path, server)
    return str(path)


def erase(host: str) -> bool:
    """Forget a registry's credentials, in the file under all its spellings, and in its helper.

    Returns:
        Whether there were any.

    Raises:
        InputError: the config file is malformed or unwritable.
        NotAllowedError: the helper is missing or fails.
        UnavailableError: another process keeps the config file locked.
    """
    server, path = server_of(host), default_path()
    if path is None:
        return False
    config = DockerConfig.read(path)
    if config.helper(server) == OWN_HELPER:
        edit(path, lambda helpers: _remove(helpers, server), "credHelpers")
        _forget(path, server)
        return True
    helper = _helper(config, server)
    forgotten = _forget(path, server)
    return (helper is not None and helper.erase(server)) or forgotten


def _tidy(secret: str) -> str:
    # Docker pads some secrets with NUL; `echo … | base64` leaves an end of line in many files.
    return secret.strip("\0").rstrip("\r\n")


def _check(username: str, secret: str) -> None:
    """Only what basic authentication can carry: RFC 7617, section 2.

    It forbids control characters in passwords as well, but a Google service account's is the JSON
    text of its key, with its line ends.
    """
    for name, value in (("username", username), ("password", secret)):
        if not value:
            raise InputError(f"the {name} is empty")
        try:
            length = len(value.encode())
        except UnicodeEncodeError:
            raise InputError(f"the {name} is not valid UTF-8") from None
        if length > _MAX_SECRET:
            raise InputError(f"the {name} is longer than {_MAX_SECRET:,} bytes")
    if ":" in username or _CONTROL.search(username):
        raise InputError("a username can't have a colon or control characters in it")


def _from_entry(entry: object, server: str, config: DockerConfig) -> Credential | None:
    malformed = InputError(
        f"the entry for {server} in {config.path} is malformed",
        hint="log in again, or remove the entry",
    )
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise malformed
    values = {name: entry.get(name) or "" for name in _FIELDS}
    if not all(isinstance(value, str) for value in values.values()):
        raise malformed
    username, secret = values["username"], values["password"]
    if values["auth"]:
        try:
            text = base64.b64decode(values["auth"].strip(), validate=True).decode()
        except ValueError:
            raise malformed from None
        username, colon, secret = text.partition(":")
        if not colon:
            raise malformed
    credential = replace(
        _credential(username, secret, str(config.path), values["identitytoken"]),
        registry_token=_tidy(values["registrytoken"]) or None,
        warning=config.warning(),
    )
    return credential if credential.is_useful else None


def _credential(username: str, secret: str, source: str, identity_token: str = "") -> Credential:
    secret, identity_token = _tidy(secret), _tidy(identity_token)
    if username == _TOKEN_USER:
        username, secret, identity_token = "", "", identity_token or secret
    return Credential(username, secret, identity_token or None, source=source)


def _forget(path: Path, server: str) -> bool:
    """Remove the file's entries for a registry. A file without any is left alone.

    Docker leaves an empty entry behind where a helper has the secret: that is none.
    """
    if not any(DockerConfig.read(path).entries(server)):
        return False

    edit(path, lambda auths: _remove(auths, server))
    return True


def _remove(table: dict[str, Any], server: str) -> None:
    for key in matching(table, server):
        del table[key]


def _helper(config: DockerConfig, server: str) -> _Helper | None:
    name = config.helper(server)
    if name is None or name == "":
        return None
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        raise InputError(
            f"{config.path} names a credential helper that can't be one",
            hint="only letters, digits, '.', '_' and '-' may follow docker-credential-",
        )
    return _Helper(f"{_PROGRAM}{name}", config.path)


@dataclass(frozen=True, slots=True)
class _Helper:
    """A program that keeps credentials, asked by its action, standard input and output.

    What it writes is never shown: it may hold secrets.
    """

    program: str
    config: Path

    def get(self, server: str) -> Credential | None:
        status, answer = self._run("get", server, server)
        # Helpers say this on standard output, and exit with 1.
        if status and answer.strip() == _NOT_FOUND:
            return None
        self._check("get", server, status)
        try:
            fields = json.loads(answer)
            username, secret = fields["Username"], fields["Secret"]
        except (ValueError, RecursionError, LookupError, TypeError):
            raise self._failed("get", server, "its answer can't be read") from None
        if not isinstance(username, str) or not isinstance(secret, str):
            raise self._failed("get", server, "its answer can't be read")
        credential = _credential(username, secret, self.program)
        return credential if credential.is_useful else None

    def store(self, server: str, username: str, secret: str) -> None:
        given = json.dumps({"ServerURL": server, "Username": username, "Secret": secret})
        self._check("store", server, self._run("store", server, given)[0])

    def erase(self, server: str) -> bool:
        # Asked first, because helpers differ in what they say to erasing what is not there.
        if self.get(server) is None:
            return False
        self._check("erase", server, self._run("erase", server, server)[0])
        return True

    def _run(self, action: str, server: str, given: str) -> tuple[int, bytes]:
        """The exit code and the standard output."""
        try:
            return _converse(self._executable(), action, given.encode())
        except (TimeoutError, subprocess.TimeoutExpired):
            cause = f"no answer within {_HELPER_TIMEOUT:.0f} seconds"
            raise self._failed(action, server, cause) from None
        except OSError as error:
            raise self._failed(action, server, error.strerror or "it can't be run") from error

    def _executable(self) -> str:
        found = shutil.which(self.program)
        # An empty part of PATH means the current folder, where anybody's program may lie.
        if found is None or not os.path.isabs(found):
            raise NotAllowedError(
                f"{self.config} names the credential helper {self.program}, "
                "which is not on the PATH",
                hint=f"install {self.program}, or take it out of {self.config}",
            )
        return found

    def _check(self, action: str, server: str, status: int) -> None:
        if status:
            raise self._failed(action, server, f"exit code {status}")

    def _failed(self, action: str, server: str, cause: str) -> NotAllowedError:
        return NotAllowedError(
            f"{self.program} failed to {action} the credentials for {server} ({cause})",
            hint=f"what it said is not shown, as it may hold secrets; try: {self.program} list",
        )


def _converse(program: str, action: str, given: bytes) -> tuple[int, bytes]:
    deadline = time.monotonic() + _HELPER_TIMEOUT
    with subprocess.Popen(  # noqa: S603 - a program from PATH by a checked name, without a shell
        [program, action],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        assert process.stdin is not None  # noqa: S101 - for the type checker: both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            with suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(given)
            answer = _receive(process.stdout, deadline)
            return process.wait(max(0.0, deadline - time.monotonic())), answer
        except BaseException:
            process.kill()
            raise


def _receive(stream: IO[bytes], deadline: float) -> bytes:
    """Read to the end, within limits of time and size."""
    answer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(answer) <= _MAX_ANSWER:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            piece = os.read(stream.fileno(), _MAX_ANSWER)
            if not piece:
                return answer
            answer += piece
    raise OSError(0, f"an answer of more than {_MAX_ANSWER:,} bytes")
