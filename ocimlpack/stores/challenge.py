"""What a registry asks for in `WWW-Authenticate`, and to which hosts credentials may go for it.

The header: RFC 9110, section 11.6.1. Scopes: https://distribution.github.io/distribution/spec/auth/scope/
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ocimlpack.errors import NotAllowedError

REALMS_VARIABLE: Final = "OCIMLPACK_AUTH_REALMS"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN68: Final = re.compile(r"([A-Za-z0-9._~+/-]+=*)(?=[ \t]*(?:,|$))")
_EQUALS: Final = re.compile(r"[ \t]*=[ \t]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_UNQUOTED: Final = re.compile(r'[^\s,"]*')  # wider than a token: URLs come without quotes, too
_SPACES: Final = re.compile(r"[ \t]*")
_SEPARATORS: Final = re.compile(r"[\s,]*")

_AUTHORITY: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
_URL: Final = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash

_PAIRS: Final = {
    "docker.io": "auth.docker.io",
    "index.docker.io": "auth.docker.io",
    "registry-1.docker.io": "auth.docker.io",
    "registry.hub.docker.com": "auth.docker.io",
    "nvcr.io": "authn.nvidia.com",  # https://github.com/oras-project/oras-dotnet/pull/401
}
"""Registries whose token server is known to be under another name."""

_SUFFIX_LABELS: Final = frozenset({"asso", "gouv", "govt", "info", "school"})
"""Labels under which countries register names, beside those of three letters or less."""

_SHARED: Final = frozenset({
    "amazonaws.com", "azurecr.io", "azurewebsites.net", "cloudfront.net", "github.io", "gitlab.io",
    "googleapis.com", "herokuapp.com", "jfrog.io", "onrender.com", "pages.dev", "run.app",
    "web.app", "workers.dev",
})  # fmt: skip
"""Domains under which every customer has a name: a shared ending says nothing there."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in which a server lets itself be asked.

    Attributes:
        scheme: in lower case: `basic`, `bearer` or another.
        params: the parameters by their names in lower case; a bare token is under `token68`.
    """

    scheme: str
    params: Mapping[str, str]


def parse(header: str) -> list[Challenge]:
    """The challenges of a `WWW-Authenticate` header, in its order.

    Several headers are to be joined with commas. What is not understood is left out.
    """
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while (at := _after(_SEPARATORS, header, at)) < len(header):
        token = _TOKEN.match(header, at)
        if token is None:
            at = _value(header, at)[1] if header[at] == '"' else at + 1
        elif equals := _EQUALS.match(header, token.end()):
            value, at = _value(header, equals.end())
            if found and value is not None:
                # A name may come only once; a second one can't replace what was read.
                found[-1][1].setdefault(token[0].lower(), value)
        else:
            found.append((token[0].lower(), {}))
            at = _after(_SPACES, header, token.end())
            if bare := _TOKEN68.match(header, at):
                found[-1][1]["token68"] = bare[1]
                at = bare.end()
    return [Challenge(scheme, MappingProxyType(params)) for scheme, params in found]


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _value(header: str, at: int) -> tuple[str | None, int]:
    """A parameter's value and where it ends; None if its quotes never close."""
    if not header.startswith('"', at):
        end = _after(_UNQUOTED, header, at)
        return header[at:end], end
    quoted = _QUOTED.match(header, at)
    if quoted is None:
        return None, len(header)
    return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL), quoted.end()


def repository_scope(repository: str, *actions: str) -> str:
    """The scope that allows these actions (`pull`, `push`, `delete`) on a repository."""
    return f"repository:{repository}:{','.join(sorted(set(actions)))}"


def merge_scopes(*scopes: str) -> str:
    """One scope that allows all that these do, always written alike: so it is a key for tokens.

    Each may hold several, separated by spaces. What has not the form `TYPE:NAME:ACTIONS` is kept as
    it is.
    """
    actions: dict[str, set[str]] = {}
    others: set[str] = set()
    for scope in " ".join(scopes).split():
        resource, _, allowed = scope.rpartition(":")
        if ":" in resource:
            wanted = actions.setdefault(resource, set())
            wanted.update(action for action in allowed.split(",") if action)
        else:
            others.add(scope)
    merged = {f"{resource}:{','.join(sorted(wanted))}" for resource, wanted in actions.items()}
    return " ".join(sorted(merged | others))


def allowed_realms() -> frozenset[str]:
    """The hosts, with or without a port, that the environment allows as token servers."""
    entries = (entry.strip().lower() for entry in os.environ.get(REALMS_VARIABLE, "").split(","))
    return frozenset(entry for entry in entries if entry)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, can only be this machine: RFC 6761, section 6.3."""
    name = _split(f"http://{host}")
    return name is not None and name.is_loopback


def check_realm(realm: str, registry_origin: str, allowed: Collection[str] = ()) -> None:
    """Whether credentials for a registry may go to the token server that it names.

    The realm is the other side's text, and whoever forges it collects passwords
    (GHSA-xf85-363p-868w). An IP address that is not the registry's own is refused, whichever it
    is, and with that the addresses inside a private network or a cloud's host.

    Args:
        realm: the `realm` of a bearer challenge.
        registry_origin: `https://HOST[:PORT]`, or `http://…`, of the registry that sent it.
        allowed: hosts, with or without a port, that the user trusts with it.

    Raises:
        NotAllowedError: names both hosts, and says how to allow it.
    """
    registry, server = _split(registry_origin), _split(realm)
    if registry is None:
        raise NotAllowedError(f"not a registry's address: {registry_origin!r}")
    if server is None:
        raise NotAllowedError(
            f"{registry.host} names a token server without a proper http or https address"
        )
    trusted = not server.names.isdisjoint(allowed)
    near = registry.host == server.host or (registry.is_loopback and server.is_loopback)
    if server.scheme == "http":
        if registry.scheme == "https":
            raise NotAllowedError(
                f"{registry.host} wants the credentials to be sent unencrypted to {server.host}; "
                "they were not"
            )
        # The registry itself is asked in clear text, so its own host learns nothing new.
        if near or trusted:
            return
    elif near or trusted or _is_pair(registry, server) or _is_sibling(registry, server):
        return
    raise NotAllowedError(
        f"{registry.host} wants the credentials to be sent to {server.host}; they were not",
        hint=f"if both belong together, set {REALMS_VARIABLE}={server.host}",
    )


class _Server(NamedTuple):
    scheme: str
    host: str
    port: int

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.host, f"{self.host}:{self.port}"})

    @property
    def is_loopback(self) -> bool:
        address = _address(self.host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return False  # Python 3.13 says otherwise; an address in disguise is no reason to trust
        if address is not None:
            return address.is_loopback
        return self.host == "localhost" or self.host.endswith(".localhost")


def _split(url: str) -> _Server | None:
    """Scheme, host and port of a URL that every HTTP client reads alike, else None."""
    if not _URL.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not _AUTHORITY.fullmatch(parts.netloc):
        return None
    host = (parts.hostname or "").rstrip(".")
    address = _address(host)
    if not host or (":" in host and address is None) or parts.fragment:
        return None
    if address is not None and address.version == 6:
        host = f"[{address}]"  # in its one shortest form
    return _Server(parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme])


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _is_pair(registry: _Server, server: _Server) -> bool:
    return server.port == 443 and _PAIRS.get(registry.host) == server.host


def _is_sibling(registry: _Server, server: _Server) -> bool:
    domain = _registrable(registry.host)
    return domain is not None and domain == _registrable(server.host)


def _registrable(host: str) -> str | None:
    """The part of a name that somebody registered, rather too long than too short.

    Without the whole public suffix list: the last two labels, and three where the second is one
    that many countries register under. None for an address, and where there is no such part.
    """
    labels = host.split(".")
    # What ends in a number is an address, in one of the forms that only the resolver knows.
    if _address(host) is not None or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        return None
    if len(labels) < 2 or not all(labels) or ".".join(labels[-2:]) in _SHARED:
        return None
    second, top = labels[-2:]
    official = len(top) == 2 and (len(second) <= 3 or second in _SUFFIX_LABELS)
    count = 3 if official else 2
    return ".".join(labels[-count:]) if len(labels) >= count else None
