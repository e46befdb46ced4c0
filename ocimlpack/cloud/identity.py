"""Who one is at Oracle Cloud, and how that was found out. No SDK, and no request to anybody.

`decide` only looks at what was asked for, the environment and the configuration file. A metadata
service is never waited for unless somebody asked for it: on a machine that has none, its address
leads nowhere, and every command would stand still for that long.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ocimlpack.cloud import profiles
from ocimlpack.cloud.profiles import Profile
from ocimlpack.errors import InputError, NotAllowedError


class Auth(StrEnum):
    """The kinds of identities; the names are the OCI CLI's where it has one."""

    API_KEY = "api_key"
    SECURITY_TOKEN = "security_token"  # noqa: S105 - the kind's name
    INSTANCE_PRINCIPAL = "instance_principal"
    RESOURCE_PRINCIPAL = "resource_principal"
    OKE_WORKLOAD_IDENTITY = "oke_workload_identity"
    TOKEN_EXCHANGE = "token_exchange"  # noqa: S105 - the kind's name


AUTO: Final = "auto"
CHOICES: Final = (AUTO, *Auth)

RESOURCE_PRINCIPAL_VERSION: Final = "OCI_RESOURCE_PRINCIPAL_VERSION"
EXCHANGE_DOMAIN: Final = "OCIMLPACK_OIDC_DOMAIN_URL"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which identity it is to be.

    Attributes:
        kind: what sort.
        why: what decided it, in words.
        profile: the configuration's profile, for the kinds that have one.
        region: the region that was asked for or is configured; a key or an identifier.
    """

    kind: Auth
    why: str
    profile: Profile | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person has asked for.

    Attributes:
        auth: `auto` or a kind.
        profile: a profile's name.
        region: a region's key or identifier.
    """

    auth: str | None = None
    profile: str | None = None
    region: str | None = None

    @property
    def is_explicit(self) -> bool:
        """Whether an identity was asked for by name: then nothing else will do."""
        return self.profile is not None or self.auth not in (None, AUTO)


def decide(wish: Wish, environ: Mapping[str, str] = os.environ) -> Choice:
    """Which identity to use.

    Raises:
        InputError: what was asked for, or the configuration, can't be used.
        NotAllowedError: there is none.
    """
    found = find(wish, environ)
    if found is None:
        raise NotAllowedError(
            "no identity for Oracle Cloud: there is no ~/.oci/config, and no OCI_CLI_* or "
            f"{RESOURCE_PRINCIPAL_VERSION} is set",
            hint="oci setup config; on an instance, add --auth instance_principal",
        )
    return found


def find(wish: Wish, environ: Mapping[str, str] = os.environ) -> Choice | None:
    """The same, or None where there is none.

    Raises:
        InputError: what was asked for, or the configuration, can't be used.
    """
    asked, why = wish.auth, "--auth"
    if asked in (None, AUTO) and (variable := environ.get("OCI_CLI_AUTH")):
        asked, why = variable, "$OCI_CLI_AUTH"
    if asked not in (None, AUTO):
        return _asked_for(_kind(str(asked), why), why, wish, environ)
    name = wish.profile or environ.get("OCI_CLI_PROFILE")
    if name:
        return _by_profile(_configured(name, environ), wish, "--profile")
    if environ.get(RESOURCE_PRINCIPAL_VERSION):
        return _by_variables(wish, environ)
    profile = profiles.read(None, environ)
    if profile is not None and (profile.is_complete or profile.get("security_token_file")):
        return _by_profile(profile, wish, "")
    if environ.get(EXCHANGE_DOMAIN):
        return Choice(Auth.TOKEN_EXCHANGE, f"${EXCHANGE_DOMAIN} is set", None, wish.region)
    if profile is not None and profile.path is not None:
        return _by_profile(profile, wish, "")  # incomplete: it will say what is missing
    return None


def _kind(text: str, why: str) -> Auth:
    try:
        return Auth(text)
    except ValueError:
        raise InputError(
            f"{why}: no kind of identity is named {text!r}", hint=f"known are {', '.join(CHOICES)}"
        ) from None


def _asked_for(kind: Auth, why: str, wish: Wish, environ: Mapping[str, str]) -> Choice:
    name = wish.profile or environ.get("OCI_CLI_PROFILE")
    if kind in {Auth.API_KEY, Auth.SECURITY_TOKEN}:
        profile = _configured(name, environ)
        return Choice(kind, f"{why}, {profile.title}", profile, _region(wish, profile))
    return Choice(kind, why, None, wish.region or environ.get("OCI_CLI_REGION"))


def _configured(name: str | None, environ: Mapping[str, str]) -> Profile:
    profile = profiles.read(name, environ)
    if profile is None:
        raise InputError(
            "there is no ~/.oci/config, and no OCI_CLI_* is set", hint="oci setup config"
        )
    return profile


def _by_profile(profile: Profile, wish: Wish, why: str) -> Choice:
    kind = Auth.SECURITY_TOKEN if profile.get("security_token_file") else Auth.API_KEY
    said = f"{why}, {profile.title}" if why else profile.title
    return Choice(kind, said, profile, _region(wish, profile))


def _by_variables(wish: Wish, environ: Mapping[str, str]) -> Choice:
    region = wish.region or environ.get("OCI_RESOURCE_PRINCIPAL_REGION")
    # In a pod both kinds set the version; a workload's has no token of its own in the environment.
    in_pod = environ.get("KUBERNETES_SERVICE_HOST") and not environ.get(
        "OCI_RESOURCE_PRINCIPAL_RPST"
    )
    kind = Auth.OKE_WORKLOAD_IDENTITY if in_pod else Auth.RESOURCE_PRINCIPAL
    said = f"${RESOURCE_PRINCIPAL_VERSION} is set"
    return Choice(kind, f"{said}, in a pod" if in_pod else said, None, region)


def _region(wish: Wish, profile: Profile) -> str | None:
    return wish.region or profile.get("region") or os.environ.get("OCI_REGION")
