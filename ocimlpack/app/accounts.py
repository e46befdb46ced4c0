"""Logging in and out: credentials where Docker keeps them, so that other tools find them too."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Unpack

from ocimlpack.app import places
from ocimlpack.app.options import Connection
from ocimlpack.app.results import LoggedIn, RegistryToken
from ocimlpack.errors import InputError
from ocimlpack.spec.reference import check_host
from ocimlpack.stores import credentials
from ocimlpack.stores import open as stores
from ocimlpack.stores.credentials import Credential

TOKEN_USER: Final = "BEARER_TOKEN"  # noqa: S105 - a name
"""Whom a token of OCIR is the password of."""


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


def login_oci(host: str, **options: Unpack[Connection]) -> LoggedIn:
    """Let docker and other programs reach OCIR as this program does: by signed requests.

    A token is asked for, to see that it works; nothing secret is stored. Docker's config file is
    made to name `docker-credential-ocimlpack` for the registry.

    Args:
        host: the registry, or its region.
        **options: see `Connection`.

    Raises:
        InputError: it is not Oracle Cloud's registry.
        NotAllowedError: there is no identity, or it is refused; nothing is changed.
    """
    from ocimlpack.app import oracle

    name, signer = oracle.registry(host, options)
    _token(name, signer.kind, options)
    return LoggedIn(name, signer.kind, credentials.delegate(name))


def ocir_token(host: str, **options: Unpack[Connection]) -> RegistryToken:
    """A token for OCIR, by a signed request: what other clients log in with.

    Args:
        host: the registry, or its region.
        **options: see `Connection`.

    Raises:
        InputError: it is not Oracle Cloud's registry.
        NotAllowedError: there is no identity, or it is refused.
    """
    from ocimlpack.app import oracle

    name, signer = oracle.registry(host, options)
    return _token(name, signer.kind, options)


def _token(host: str, kind: str, options: Connection) -> RegistryToken:
    access = replace(places.access(options), signs_first=True)
    session = stores.session(host, access)
    try:
        token, seconds = session.token()
    finally:
        session.close()
    return RegistryToken(host, TOKEN_USER, token, int(seconds), kind)


def logout(host: str) -> bool:
    """Forget the credentials for a registry; False if there were none."""
    return credentials.erase(check_host(host, host))
