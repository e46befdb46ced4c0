"""Where identities come from: instance metadata, a cluster's proxy, a token exchange.

Each answers as the SDK's signers want it; their code is the only description of the last two.
"""

from __future__ import annotations

import base64
import datetime
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509.oid import NameOID

from tests.cloud import keys
from tests.cloud.answers import RefusedError, item
from tests.cloud.cloud import REGION, Cloud
from tests.cloud.principals import EVERYTHING, TENANCY, Principal
from tests.scripted.exchange import Reply, Request
from tests.scripted.server import Server

PROXY_PORT = 12250
"""`OCI_KUBERNETES_PROXYMUX_SERVICE_PORT` of the SDK."""

CLIENT_ID, CLIENT_SECRET = "pipeline", "a secret of the pipeline"


class Federation:
    """The public addresses of the identity service, and one instance's metadata."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.instance = Principal("ocid1.instance.oc1.iad.aaaaaaaainstance", kind="instance")
        self.pipeline = Principal("ocid1.user.oc1..aaaaaaaapipeline", kind="session")
        self.lifetime = 3600.0
        self._certificate = _make_certificate()
        cloud.route_open("/v1/x509$", self.federate)
        cloud.route_open("/opc/v2/", self.metadata)
        cloud.route_open("/oauth2/v1/token$", self.exchange)

    @property
    def metadata_url(self) -> str:
        return f"{self.cloud.url}/opc/v2"

    def metadata(self, request: Request, body: bytes) -> Reply:
        if request.header("authorization") != "Bearer Oracle":
            return Reply(401)
        pem = self._certificate.public_bytes(Encoding.PEM)
        known = {
            "instance/region": b"iad",
            "identity/cert.pem": pem,
            "identity/intermediate.pem": pem,
            "identity/key.pem": keys.pem(keys.make("instance")).encode(),
        }
        content = known.get(request.path.removeprefix("/opc/v2/"))
        return Reply(404) if content is None else Reply(200, {}, content)

    def federate(self, request: Request, body: bytes) -> Reply:
        """https://docs.oracle.com/en-us/iaas/Content/Identity/Tasks/callingservicesfrominstances.htm"""
        wanted = json.loads(body)
        sent = base64.b64decode(wanted["certificate"])
        if sent != self._certificate.public_bytes(Encoding.DER):
            raise RefusedError(401, "NotAuthenticated", "The certificate is not known.")
        key = _public_key(wanted["publicKey"])
        return item({"token": self._issue(self.instance, key)})

    def exchange(self, request: Request, body: bytes) -> Reply:
        """https://docs.oracle.com/en-us/iaas/Content/Identity/api-getstarted/json_web_token_exchange.htm"""
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if request.header("authorization") != f"Basic {pair}":
            return item({"error": "invalid_client"}, 401)
        if form.get("subject_token") != "a token of the pipeline":
            return item({"error": "invalid_grant"}, 400)
        return item({"token": self._issue(self.pipeline, _public_key(form["public_key"]))})

    def _issue(self, principal: Principal, key: RSAPublicKey) -> str:
        return self.cloud.principals.issue(principal, key, self.cloud.now(), self.lifetime)


@contextmanager
def run_proxy(
    cloud: Cloud, folder: Path, address: str = "127.0.0.1", may: frozenset[str] = EVERYTHING
) -> Iterator[dict[str, str]]:
    """A cluster's proxy, which gives workloads their tokens; yields a pod's environment."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(address).configure_cert(context)
    workload = Principal("ocid1.workload.oc1.iad.aaaaaaaaworkload", "", "workload", may, may)
    times = {"iat": int(cloud.now()), "exp": int(cloud.now()) + 3600}
    account = keys.make_token(keys.make("cluster"), {"sub": "system:serviceaccount", **times})

    def answer(request: Request, body: bytes) -> Reply:
        if request.header("authorization") != f"Bearer {account}":
            return Reply(401)
        key = _public_key(json.loads(body)["podKey"])
        token = cloud.principals.issue(workload, key, cloud.now())
        return Reply(200, {}, base64.b64encode(json.dumps({"token": f"ST${token}"}).encode()))

    (folder / "token").write_text(account)
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    with Server(answer, address, context, port=PROXY_PORT):
        yield {
            "OCI_RESOURCE_PRINCIPAL_VERSION": "2.2",
            "OCI_RESOURCE_PRINCIPAL_REGION": REGION,
            "KUBERNETES_SERVICE_HOST": address,
            "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH": str(folder / "ca.crt"),
            "OCIMLPACK_SERVICE_ACCOUNT_TOKEN_FILE": str(folder / "token"),
        }


def resource_principal(
    cloud: Cloud, seconds: float = 3600, may: frozenset[str] = EVERYTHING
) -> dict[str, str]:
    """The environment of a function or a job that is a resource principal."""
    key = keys.make("resource")
    resource = Principal("ocid1.fnfunc.oc1.iad.aaaaaaaafunction", "", "resource", may, may)
    token = cloud.principals.issue(resource, key.public_key(), cloud.now(), seconds)
    return {
        "OCI_RESOURCE_PRINCIPAL_VERSION": "2.2",
        "OCI_RESOURCE_PRINCIPAL_RPST": token,
        "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM": keys.pem(key),
        "OCI_RESOURCE_PRINCIPAL_REGION": REGION,
    }


def session_profile(folder: Path, cloud: Cloud, seconds: float = 3600) -> Path:
    """A home's `.oci/config` as `oci session authenticate` leaves it; the config's path."""
    key = keys.make("session")
    token = cloud.principals.issue(
        cloud.principals.everybody[0], key.public_key(), cloud.now(), seconds
    )
    home = folder / ".oci"
    home.mkdir(parents=True, exist_ok=True)
    (home / "session.pem").write_text(keys.pem(key))
    (home / "session.token").write_text(token)
    values: dict[str, Any] = {
        "tenancy": TENANCY,
        "fingerprint": keys.fingerprint(key.public_key()),
        "region": REGION,
        "key_file": home / "session.pem",
        "security_token_file": home / "session.token",
    }
    config = home / "config"
    config.write_text("[DEFAULT]\n" + "".join(f"{k}={v}\n" for k, v in values.items()))
    return config


def _public_key(text: str) -> RSAPublicKey:
    lines = f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"
    key = load_pem_public_key(lines.encode())
    assert isinstance(key, RSAPublicKey)
    return key


def _make_certificate() -> x509.Certificate:
    """An instance's: the tenancy is in an organisational unit of its subject."""
    key = keys.make("instance")
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "ocid1.instance.oc1.iad.aaaaaaaainstance"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"opc-tenant:{TENANCY}"),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, SHA256())
    )
