"""An identity that can sign: made from a choice with the SDK's signers, its mistakes named.

What can be seen to be wrong without asking anybody is said before anybody is asked: a key file that
is not there, a fingerprint that is another key's, a token that has expired.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ocimlpack.cloud import _sdk, exchange, hosts
from ocimlpack.cloud.identity import RESOURCE_PRINCIPAL_VERSION, Auth, Choice
from ocimlpack.cloud.profiles import Profile
from ocimlpack.errors import InputError, NotAllowedError, OcimlpackError, UnreachableError

_METADATA: Final = "http://169.254.169.254/opc/v2"
_METADATA_SECONDS: Final = 2.0
_SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_PORT: Final = 12250
"""Where the SDK asks for a pod's token; it is not to be chosen."""

TOKEN_FILE_VARIABLE: Final = "OCIMLPACK_SERVICE_ACCOUNT_TOKEN_FILE"  # noqa: S105 - a name
CERTIFICATE_VARIABLE: Final = "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH"
"""The SDK's own name; it has none for the token."""


@dataclass(frozen=True)
class Identity:
    """Somebody who can sign requests to Oracle Cloud.

    Attributes:
        kind: what sort of identity.
        why: what decided that it is this one.
        signer: the SDK's.
        config: the SDK's configuration, with the region where one is known.
        tenancy: its OCID, where it is known without a request.
    """

    kind: Auth
    why: str
    signer: Any
    config: Mapping[str, Any]
    tenancy: str | None = None

    def __repr__(self) -> str:
        return f"Identity({self.kind})"

    @cached_property
    def region(self) -> str | None:
        """The region's identifier; None where none is configured."""
        return full_region(self.config.get("region") or getattr(self.signer, "region", None))

    def sign(self, method: str, url: str) -> Mapping[str, str]:
        """The headers that sign a request without a body."""
        with explained(self.kind):
            return _sdk.sign(self.signer, method, url)

    def client(self, path: str, region: str | None = None, *, retries: bool = True) -> Any:
        """A client of one service.

        Args:
            path: module and class in the SDK: `artifacts.ArtifactsClient`.
            region: another region than this identity's.
            retries: whether it tries again by itself what may pass.

        Raises:
            InputError: no region is known.
        """
        one = hosts.endpoint()
        where = full_region(region) or self.region
        if where is None and one is None:
            raise InputError(
                "no region is known", hint="add --region, or set region in the profile"
            )
        config = {**self.config, "region": where}
        return _sdk.client(path, config, self.signer, one, retries=retries)


def full_region(region: str | None) -> str | None:
    """A region's identifier, by its key or identifier."""
    if region is None:
        return None
    name = region.lower()
    known: Mapping[str, str] = _sdk.module("regions").REGIONS_SHORT_NAMES
    return known.get(name, name)


def load(choice: Choice) -> Identity:
    """The identity that was chosen.

    Raises:
        InputError: a file or a variable that it needs is missing or wrong.
        NotAllowedError: it can't be the right one: another key's fingerprint, an expired token.
        UnreachableError: the service that gives it out is not there.
        UnsupportedError: the SDK is not installed.
    """
    _sdk.module()
    with explained(choice.kind):
        return _LOADERS[choice.kind](choice)


@contextmanager
def explained(kind: Auth) -> Iterator[None]:
    """Name the identity in what the SDK raises while it gets or renews one."""
    with _sdk.explained(f"the identity of kind {kind}", NotAllowedError):
        try:
            yield
        except (OcimlpackError, _sdk.failure()):
            raise
        except (ValueError, RuntimeError, OSError) as error:
            # The SDK's own sentences may hold what the other side answered; none holds a key.
            text = " ".join(str(error).split())[:200]
            raise NotAllowedError(f"no identity of kind {kind}: {text}") from error


def _api_key(choice: Choice) -> Identity:
    profile = _profile(choice)
    user, tenancy = profile.ocid("user"), profile.ocid("tenancy")
    fingerprint = profile.fingerprint()
    content, place = _key(profile)
    signer = _with_key(
        place,
        lambda: _sdk.module("signer").Signer(
            tenancy, user, fingerprint, None, profile.get("pass_phrase"), content
        ),
    )
    found = _sdk.fingerprint(signer.private_key)
    if found != fingerprint:
        raise NotAllowedError(
            f"the fingerprint {profile.places['fingerprint']} is not that of the key {place}, "
            f"which is {found}",
            hint="upload that key in the Console, or correct the fingerprint",
        )
    config = {"user": user, "tenancy": tenancy, "fingerprint": fingerprint, "key_content": content}
    # The SDK looks through the configuration although there is a signer.
    config["pass_phrase"] = profile.get("pass_phrase")  # type: ignore[assignment]
    return Identity(choice.kind, choice.why, signer, {**config, **_region(choice)}, tenancy)


def _security_token(choice: Choice) -> Identity:
    profile = _profile(choice)
    path = profile.file("security_token_file")
    content, place = _key(profile)
    token = path.read_text("utf-8").strip()
    container = _read_token(token, f"the session token {path}")
    if not container.valid():
        raise NotAllowedError(
            f"the session token {path} has expired, {_ago(container)}",
            hint=f"oci session refresh --profile {profile.name}, or oci session authenticate",
        )
    key = _with_key(
        place,
        lambda: _sdk.module("signer").load_private_key(content, profile.get("pass_phrase")),
    )
    signer = _sdk.module("auth.signers").SecurityTokenSigner(token, key)
    return Identity(choice.kind, choice.why, signer, _region(choice), _tenant(container))


def _instance_principal(choice: Choice) -> Identity:
    base = os.environ.get("OCI_METADATA_BASE_URL", "").strip() or _METADATA
    address = urlsplit(base)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        # The SDK would wait much longer on a machine where nobody answers there.
        socket.create_connection((address.hostname or "", port), _METADATA_SECONDS).close()
    except OSError as error:
        raise UnreachableError(
            f"no metadata service answers at {address.netloc}: this is no instance of Oracle Cloud",
            hint="choose another identity: --auth api_key",
        ) from error
    one = hosts.endpoint()
    signer = _sdk.module("auth.signers").InstancePrincipalsSecurityTokenSigner(
        federation_endpoint=f"{one}/v1/x509" if one else None,
        retry_strategy=_sdk.module("retry").NoneRetryStrategy(),
    )
    return Identity(choice.kind, choice.why, signer, _region(choice), signer.tenancy_id)


def _resource_principal(choice: Choice) -> Identity:
    if os.environ.get(RESOURCE_PRINCIPAL_VERSION) == "2.2":
        for variable in ("RPST", "PRIVATE_PEM", "REGION"):
            _check_variable(f"OCI_RESOURCE_PRINCIPAL_{variable}")
        given = os.environ["OCI_RESOURCE_PRINCIPAL_RPST"]
        token = Path(given).read_text("utf-8").strip() if os.path.isabs(given) else given
        _read_token(token, "what $OCI_RESOURCE_PRINCIPAL_RPST has")
    signer = _sdk.module("auth.signers").get_resource_principals_signer()
    container = getattr(signer, "security_token", None)
    if container is not None and not container.valid():
        raise NotAllowedError(
            f"the token in $OCI_RESOURCE_PRINCIPAL_RPST has expired, {_ago(container)}"
        )
    tenancy = getattr(signer, "tenancy_id", None)
    return Identity(choice.kind, choice.why, signer, _region(choice), tenancy)


def _workload_identity(choice: Choice) -> Identity:
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        raise InputError("$KUBERNETES_SERVICE_HOST is not set: this is no pod of a cluster")
    token = Path(os.environ.get(TOKEN_FILE_VARIABLE) or f"{_SERVICE_ACCOUNT}/token")
    certificate = Path(os.environ.get(CERTIFICATE_VARIABLE) or f"{_SERVICE_ACCOUNT}/ca.crt")
    for name, path in (("token", token), ("certificate", certificate)):
        if not path.is_file():
            raise InputError(
                f"the service account's {name} is not there: {path}",
                hint="set automountServiceAccountToken: true in the pod",
            )
    _read_token(token.read_text("utf-8").strip(), f"what the service account has in {token}")
    with _cluster_explained(choice.kind):
        signer = _sdk.module("auth.signers").get_oke_workload_identity_resource_principal_signer(
            service_account_token_path=str(token),
            retry_strategy=_sdk.module("retry").NoneRetryStrategy(),
        )
    tenancy = _tenant(signer.security_token)
    return Identity(choice.kind, choice.why, signer, _region(choice), tenancy)


@contextmanager
def _cluster_explained(kind: Auth) -> Iterator[None]:
    """Say what a cluster lacks that gives its pods no identity."""
    try:
        with explained(kind):
            yield
    except UnreachableError as error:
        host = os.environ["KUBERNETES_SERVICE_HOST"]
        error.hint = f"pods have to reach the cluster's API endpoint, {host}, at port {_PORT} too"
        raise
    except NotAllowedError as error:
        if error.status != 403:
            raise
        # Without the status, as it is none of the registry's: no policy would help.
        raise NotAllowedError(error.message, hint="it takes an enhanced cluster") from error


def _token_exchange(choice: Choice) -> Identity:
    settings = exchange.read(os.environ)
    signer = _sdk.module("auth.signers").TokenExchangeSigner(
        settings.token, settings.domain_url, settings.client_id, settings.client_secret
    )
    tenancy = _tenant(signer.security_token_container)
    return Identity(choice.kind, choice.why, signer, _region(choice), tenancy)


_LOADERS: Final = {
    Auth.API_KEY: _api_key,
    Auth.SECURITY_TOKEN: _security_token,
    Auth.INSTANCE_PRINCIPAL: _instance_principal,
    Auth.RESOURCE_PRINCIPAL: _resource_principal,
    Auth.OKE_WORKLOAD_IDENTITY: _workload_identity,
    Auth.TOKEN_EXCHANGE: _token_exchange,
}


def _profile(choice: Choice) -> Profile:
    if choice.profile is None:
        raise InputError(f"an identity of kind {choice.kind} needs a profile")
    return choice.profile


def _region(choice: Choice) -> dict[str, str]:
    return {"region": choice.region} if choice.region else {}


def _key(profile: Profile) -> tuple[str, str]:
    """A private key's text, and what to call it; the text goes nowhere but to the SDK."""
    if content := profile.get("key_content"):
        return content, profile.places["key_content"]
    path = profile.file("key_file")
    try:
        return path.read_text("ascii").strip(), str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no PEM file"
        raise InputError(f"the key {path} can't be read: {reason}") from error


def _with_key(place: str, make: Any) -> Any:
    exceptions = _sdk.module("exceptions")
    try:
        return make()
    except exceptions.MissingPrivateKeyPassphrase as error:
        raise InputError(
            f"the key {place} is encrypted, and no pass phrase is set",
            hint="set pass_phrase in the profile, or OCI_CLI_PASSPHRASE",
        ) from error
    except (exceptions.InvalidPrivateKey, ValueError) as error:
        raise InputError(
            f"the key {place} is no private key, or its pass phrase is wrong"
        ) from error


def _read_token(token: str, what: str) -> Any:
    try:
        return _sdk.module("auth.security_token_container").SecurityTokenContainer(None, token)
    except Exception as error:
        raise InputError(f"{what} is no token") from error


def _tenant(container: Any) -> str | None:
    claims = container.get_jwt()
    found = claims.get("res_tenant") or claims.get("tenant")
    return str(found) if found else None


def _ago(container: Any) -> str:
    minutes = max(0, int(time.time() - container.get_jwt()["exp"])) // 60
    return f"{minutes // 60} h {minutes % 60} min ago" if minutes >= 60 else f"{minutes} min ago"


def _check_variable(name: str) -> None:
    value = os.environ.get(name, "")
    if not value:
        raise InputError(f"${name} is not set")
    if os.path.isabs(value) and not Path(value).is_file():
        raise InputError(f"the file that ${name} names is not there: {value}")
