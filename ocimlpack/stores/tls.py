"""Whose word is taken for who a server is, and what an encrypted connection says of itself."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import Any

_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Authorities:
    """Where the certificate authorities come from that are trusted.

    Attributes:
        path: a file, or a folder of them; None for those that OpenSSL finds by itself.
        source: what has chosen them, as a person would look for it.
    """

    path: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Encryption:
    """What is known of an encrypted connection.

    Attributes:
        version: the protocol's, such as `TLSv1.3`.
        issuer: who signed the certificate; empty if it was not looked at.
        expires: when the certificate ends, in Unix time; None if it was not looked at.
    """

    version: str
    issuer: str = ""
    expires: float | None = None


def authorities(ca_file: str | None, bundled: str) -> Authorities:
    """The given ones; else those that the environment names; else the system's.

    Args:
        ca_file: a file that the user names.
        bundled: a list to fall back to where the system has none.
    """
    if ca_file:
        return Authorities(ca_file, "--ca-file")
    for variable in _VARIABLES:
        if named := os.environ.get(variable):
            return Authorities(named, variable)
    paths = ssl.get_default_verify_paths()
    for variable in (paths.openssl_cafile_env, paths.openssl_capath_env):
        if os.environ.get(variable):
            return Authorities(None, variable)
    if paths.cafile or paths.capath:
        return Authorities(None, "the system")
    return Authorities(bundled, "the list that requests brings along")


def encryption(sock: Any) -> Encryption | None:
    """What is known of a socket's encryption; None if it has none."""
    if not isinstance(sock, ssl.SSLSocket):
        return None
    # Empty where the certificate is not verified.
    certificate: dict[str, Any] = dict(sock.getpeercert() or {})
    issuer = {name: value for part in certificate.get("issuer", ()) for name, value in part}
    ends = certificate.get("notAfter")
    return Encryption(
        sock.version() or "unknown",
        issuer.get("organizationName") or issuer.get("commonName") or "",
        ssl.cert_time_to_seconds(ends) if ends else None,
    )
