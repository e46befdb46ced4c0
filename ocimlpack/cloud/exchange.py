"""Signing in with the token of a continuous-integration system: what the environment says of it.

https://docs.oracle.com/en-us/iaas/Content/Identity/api-getstarted/json_web_token_exchange.htm
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from ocimlpack.cloud.identity import EXCHANGE_DOMAIN
from ocimlpack.errors import InputError, NotAllowedError, UnavailableError
from ocimlpack.stores.challenge import is_loopback

_PREFIX: Final = "OCIMLPACK_OIDC"
_AUDIENCE: Final = f"{_PREFIX}_AUDIENCE"
_GITHUB_URL: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"
_GITHUB_TOKEN: Final = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - a variable's name
_SECONDS: Final = 10
_MAX_ANSWER: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a token is exchanged with.

    Attributes:
        domain_url: the identity domain.
        client_id: the confidential application there.
        client_secret: its secret.
        token: gets a token of the system that this runs in, anew each time.
    """

    domain_url: str
    client_id: str
    client_secret: str = field(repr=False)
    token: Callable[[], str] = field(repr=False)


def read(environ: Mapping[str, str]) -> Exchange:
    """What the environment says.

    Raises:
        InputError: a variable is missing, or no https address.
    """
    domain = _require(environ, EXCHANGE_DOMAIN)
    parts = urlsplit(domain)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc)):
        raise InputError(
            f"${EXCHANGE_DOMAIN} is no https address: {domain!r:.100}",
            hint="https://idcs-….identity.oraclecloud.com, from the domain's page in the Console",
        )
    return Exchange(
        domain,
        _require(environ, f"{_PREFIX}_CLIENT_ID"),
        _require(environ, f"{_PREFIX}_CLIENT_SECRET"),
        _source(environ),
    )


def _require(environ: Mapping[str, str], name: str) -> str:
    if value := environ.get(name, "").strip():
        return value
    raise InputError(f"${name} is not set, which a token exchange needs")


def _source(environ: Mapping[str, str]) -> Callable[[], str]:
    if path := environ.get(f"{_PREFIX}_TOKEN_FILE"):
        return lambda: _read_file(Path(path))
    if token := environ.get(f"{_PREFIX}_TOKEN", "").strip():
        return lambda: token
    if url := environ.get(_GITHUB_URL):
        secret = _require(environ, _GITHUB_TOKEN)
        audience = environ.get(_AUDIENCE, "")
        return lambda: _ask_github(url, secret, audience)
    raise InputError(
        f"there is no token to exchange: neither ${_PREFIX}_TOKEN_FILE nor ${_PREFIX}_TOKEN is set",
        hint="in GitHub Actions, give the job the permission `id-token: write`",
    )


def _read_file(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the token {path} can't be read") from error


def _ask_github(url: str, secret: str, audience: str) -> str:
    """A token of the job that this runs in.

    https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token
    """
    if urlsplit(url).scheme != "https" and not is_loopback(urlsplit(url).netloc):
        raise InputError(f"${_GITHUB_URL} is no https address")
    more = f"{'&' if '?' in url else '?'}{urlencode({'audience': audience})}" if audience else ""
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
        url + more, headers={"Authorization": f"bearer {secret}", "Accept": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            document: Any = json.loads(answer.read(_MAX_ANSWER))
        return str(document["value"])
    except urllib.error.HTTPError as error:
        raise NotAllowedError(f"GitHub gives no token: status {error.code}") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UnavailableError("GitHub gave no token that can be read") from error
