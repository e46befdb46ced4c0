"""Tokens for the container registry by a signed request: no stored secret.

https://www.ateam-oracle.com/authentication-mechanisms-for-oci-container-registry-ocir
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from ocimlpack.cloud import _sdk, hosts
from ocimlpack.cloud.identity import Choice, Wish, find
from ocimlpack.cloud.signers import Identity, load
from ocimlpack.errors import NotAllowedError

_ANONYMOUS: Final = "anon-"


class TokenSigner:
    """Signs the requests for tokens of one registry, as its session asks it to.

    The identity is loaded when the first token is wanted, not before.
    """

    def __init__(self, host: str, choice: Choice) -> None:
        self.host = host
        self.kind = str(choice.kind)
        self._choice = choice
        self._identity: Identity | None = None

    def sign(self, method: str, url: str) -> Mapping[str, str]:
        """The headers that sign a request for a token."""
        if self._identity is None:
            self._identity = load(self._choice)
        return self._identity.sign(method, url)

    def check(self, token: str, headers: Mapping[str, str]) -> None:
        """Look who the token is for: a wrong signature isn't refused, it gets an anonymous token.

        Args:
            token: the token.
            headers: those of the answer that brought it.

        Raises:
            NotAllowedError: it is nobody's.
        """
        if not is_anonymous(token):
            return
        skew = _sdk.clock(headers)
        raise NotAllowedError(
            f"{self.host} does not accept the signature of the {self.kind} identity"
            + (f": {skew}" if skew else ": the key, its fingerprint or the clock is wrong"),
            hint="set the clock" if skew else f"it was chosen by {self._choice.why}",
            status=401,
        )


def signer_for(host: str, wish: Wish) -> TokenSigner | None:
    """What signs for a registry: None if it is not Oracle Cloud's, or there is no identity.

    Raises:
        InputError: the identity that was asked for, or the configuration, can't be used.
    """
    if not hosts.is_ocir(host):
        return None
    choice = find(wish)
    return TokenSigner(host, choice) if choice else None


def is_anonymous(token: str) -> bool:
    """Whether a token is an anonymous user's; False where it can't be read.

    Its subject is a JSON document then, in which the user's id begins with `anon-`.
    """
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        subject: Any = json.loads(claims["sub"])
        return str(subject["userId"]).startswith(_ANONYMOUS)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
