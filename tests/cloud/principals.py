"""Who there is in the local cloud, what they sign with and what they may do."""

from __future__ import annotations

import json
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tests.cloud import keys
from tests.cloud.signatures import unauthenticated

TENANCY = "ocid1.tenancy.oc1..aaaaaaaatenancyofthelocalcloud0000000000000000000000000000"
COMPARTMENT = "ocid1.compartment.oc1..aaaaaaaamodels000000000000000000000000000000000000"
OTHER_COMPARTMENT = "ocid1.compartment.oc1..aaaaaaaaother0000000000000000000000000000000000000"
USER = "ocid1.user.oc1..aaaaaaaaalice0000000000000000000000000000000000000000000"
EVERYTHING = frozenset(
    {"repos", "projects", "models", "version-sets", "buckets", "objects", "policies", "logs"}
)


@dataclass
class Principal:
    """Somebody, or something, that makes requests.

    Attributes:
        ocid: who it is.
        name: the user's name, for basic authentication.
        kind: `user`, `session`, `resource`, `workload` or `instance`.
        may_read, may_manage: kinds of resources.
        compartments: where that holds; None for everywhere.
        auth_tokens: passwords for basic authentication at the container registry.
    """

    ocid: str
    name: str = ""
    kind: str = "user"
    may_read: frozenset[str] = EVERYTHING
    may_manage: frozenset[str] = EVERYTHING
    compartments: frozenset[str] | None = None
    auth_tokens: list[str] = field(default_factory=list)


class Principals:
    """Finds the key that a request must have been signed with, and whose it is."""

    def __init__(self) -> None:
        self.issuer = keys.make("issuer")
        self._lock = threading.Lock()
        self._api_keys: dict[str, tuple[RSAPublicKey, Principal]] = {}
        self._sessions: dict[str, Principal] = {}
        self.everybody: list[Principal] = []

    def add_user(self, name: str = "alice", ocid: str = USER) -> Principal:
        person = Principal(ocid, name)
        self.everybody.append(person)
        return person

    def add_key(self, person: Principal, key: RSAPublicKey) -> str:
        """Upload an API key for a user; its fingerprint."""
        found = keys.fingerprint(key)
        with self._lock:
            self._api_keys[f"{TENANCY}/{person.ocid}/{found}"] = (key, person)
        return found

    def issue(
        self, person: Principal, key: RSAPublicKey, now: float, seconds: float = 3600, **claims: Any
    ) -> str:
        """A session token for a key: what the federation endpoint gives."""
        mark = secrets.token_hex(8)
        with self._lock:
            self._sessions[mark] = person
        return keys.make_token(
            self.issuer,
            {
                "jti": mark,
                "sub": person.ocid,
                "tenant": TENANCY,
                "res_tenant": TENANCY,
                "res_compartment": COMPARTMENT,
                "iat": int(now),
                "exp": int(now + seconds),
                "jwk": keys.to_jwk(key),
                **claims,
            },
        )

    def key_of(self, key_id: str, now: float) -> RSAPublicKey | None:
        if key_id.startswith("ST$"):
            return keys.from_jwk(self._claims(key_id, now)["jwk"])
        found = self._api_keys.get(key_id)
        return found[0] if found else None

    def of(self, key_id: str) -> Principal:
        """Whose key it is that has signed."""
        if key_id.startswith("ST$"):
            claims = keys.read_token(self.issuer.public_key(), key_id[3:]) or {}
            return self._sessions[claims["jti"]]
        return self._api_keys[key_id][1]

    def by_password(self, username: str, password: str) -> Principal | None:
        for person in self.everybody:
            if username.split("/")[-1] == person.name and password in person.auth_tokens:
                return person
        return None

    def _claims(self, key_id: str, now: float) -> dict[str, Any]:
        claims = keys.read_token(self.issuer.public_key(), key_id[3:])
        if claims is None or claims.get("jti") not in self._sessions:
            raise unauthenticated()
        if claims["exp"] < now:
            raise unauthenticated("The security token has expired.")
        return claims


def anonymous_subject() -> str:
    """The subject of a token that a wrong signature gets: a JSON document as text."""
    return json.dumps({"userId": f"anon-{secrets.token_hex(8)}", "tenantId": "", "claims": []})
