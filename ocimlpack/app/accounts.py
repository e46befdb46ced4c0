"""Logging in and out: credentials where Docker keeps them, so that other tools find them too."""

from __future__ import annotations

from typing import Unpack

from ocimlpack.app import places
from ocimlpack.app.options import Connection
from ocimlpack.app.results import LoggedIn
from ocimlpack.errors import InputError
from ocimlpack.spec.reference import check_host
from ocimlpack.stores import credentials
from ocimlpack.stores import open as stores
from ocimlpack.stores.credentials import Credential


def login(host: str, username: str, password: str, **options: Unpack[Connection]) -> LoggedIn:
    """Try credentials at a registry and, if it takes them, store them.

    Args:
        host: the registry.
        username: the account.
        password: its password or token; a line break at its end is dropped.
        **options: see `Connection`.

    Raises:
        NotAllowedError: the registry refuses them; nothing is stored.
    """
    name = check_host(host, host)
    secret = password.rstrip("\r\n")
    if not username or not secret:
        raise InputError("a username and a password are needed")
    tried = Credential(username=username, secret=secret, source="the command")
    session = stores.session(name, places.access(options), credential=lambda _: tried)
    try:
        session.ping()
    finally:
        session.close()
    return LoggedIn(name, username, credentials.store(name, username, secret))


def logout(host: str) -> bool:
    """Forget the credentials for a registry; False if there were none."""
    return credentials.erase(check_host(host, host))
