"""Which identity is chosen, and why."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.cloud import exchange, hosts, profiles
from ocimlpack.cloud.identity import Auth, Wish, decide, find
from ocimlpack.cloud.tokens import is_anonymous
from ocimlpack.errors import InputError, NotAllowedError
from tests.cloud import keys
from tests.cloud.principals import TENANCY, USER, anonymous_subject

FINGERPRINT = ":".join(["ab"] * 16)
PROFILE = f"user={USER}\ntenancy={TENANCY}\nfingerprint={FINGERPRINT}\nkey_file=~/k\nregion=fra\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(f"[DEFAULT]\n{PROFILE}[SESSION]\nsecurity_token_file=~/t\n")
    return path


@pytest.fixture
def env(config: Path) -> dict[str, str]:
    return {"OCI_CLI_CONFIG_FILE": str(config)}


@pytest.mark.parametrize(
    ("wish", "variables", "kind", "why"),
    [
        (Wish(), {}, Auth.API_KEY, "profile DEFAULT"),
        (Wish(profile="SESSION"), {}, Auth.SECURITY_TOKEN, "--profile, profile SESSION"),
        (Wish(), {"OCI_CLI_PROFILE": "SESSION"}, Auth.SECURITY_TOKEN, "profile SESSION"),
        (Wish(auth="api_key", profile="SESSION"), {}, Auth.API_KEY, "--auth, profile SESSION"),
        (Wish(auth="instance_principal"), {}, Auth.INSTANCE_PRINCIPAL, "--auth"),
        (Wish(), {"OCI_CLI_AUTH": "instance_principal"}, Auth.INSTANCE_PRINCIPAL, "$OCI_CLI_AUTH"),
        (Wish(auth="api_key"), {"OCI_CLI_AUTH": "instance_principal"}, Auth.API_KEY, "--auth"),
        (
            Wish(),
            {"OCI_RESOURCE_PRINCIPAL_VERSION": "2.2", "OCI_RESOURCE_PRINCIPAL_RPST": "x"},
            Auth.RESOURCE_PRINCIPAL,
            "$OCI_RESOURCE_PRINCIPAL_VERSION",
        ),
        (
            Wish(),
            {"OCI_RESOURCE_PRINCIPAL_VERSION": "2.2", "KUBERNETES_SERVICE_HOST": "10.96.0.1"},
            Auth.OKE_WORKLOAD_IDENTITY,
            "in a pod",
        ),
        (
            Wish(profile="DEFAULT"),
            {"OCI_RESOURCE_PRINCIPAL_VERSION": "2.2"},
            Auth.API_KEY,
            "--profile",
        ),
        (
            Wish(),
            {"OCI_CLI_CONFIG_FILE": "", "OCIMLPACK_OIDC_DOMAIN_URL": "https://idcs"},
            Auth.TOKEN_EXCHANGE,
            "$OCIMLPACK_OIDC_DOMAIN_URL",
        ),
    ],
)
def test_what_is_asked_for_comes_first(
    wish: Wish, variables: Mapping[str, str], kind: Auth, why: str, env: dict[str, str]
) -> None:
    choice = decide(wish, {**env, **variables})
    assert choice.kind is kind
    assert why in choice.why


def test_nothing_configured_is_no_identity() -> None:
    assert find(Wish(), {}) is None
    with pytest.raises(NotAllowedError, match="no identity"):
        decide(Wish(), {})


def test_the_environment_alone_is_enough() -> None:
    choice = decide(
        Wish(),
        {
            "OCI_CLI_USER": USER,
            "OCI_CLI_TENANCY": TENANCY,
            "OCI_CLI_FINGERPRINT": FINGERPRINT,
            "OCI_CLI_KEY_CONTENT": "-----BEGIN",
            "OCI_CLI_REGION": "phx",
        },
    )
    assert (choice.kind, choice.region) == (Auth.API_KEY, "phx")
    assert "BEGIN" not in repr(choice)


def test_the_environment_is_over_the_file(env: dict[str, str]) -> None:
    choice = decide(Wish(), {**env, "OCI_CLI_REGION": "phx"})
    assert choice.profile is not None
    assert choice.profile.get("region") == "phx"
    assert choice.profile.places["region"] == "in $OCI_CLI_REGION"
    assert choice.profile.places["user"].endswith("config, line 2")
    assert decide(Wish(region="lhr"), env).region == "lhr"


def test_the_file_is_looked_for_where_the_sdk_does(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles.find({}) is None
    old = tmp_path / ".oraclebmc" / "config"
    old.parent.mkdir()
    old.touch()
    assert profiles.find({}) == old
    assert profiles.find({"OCI_CONFIG_FILE": str(config)}) == config
    usual = tmp_path / ".oci" / "config"
    usual.parent.mkdir()
    usual.touch()
    assert profiles.find({"OCI_CONFIG_FILE": str(config)}) == usual
    assert profiles.find({"OCI_CLI_CONFIG_FILE": str(config)}) == config


def test_a_key_in_the_file_is_refused(config: Path, env: dict[str, str]) -> None:
    config.write_text(f"[DEFAULT]\n{PROFILE}key_content=-----BEGIN SECRET\n")
    with pytest.raises(InputError, match="key_content") as caught:
        decide(Wish(), env)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "ours", "region"),
    [
        ("fra.ocir.io", True, "fra"),
        ("eu-frankfurt-1.ocir.io", True, "eu-frankfurt-1"),
        ("ocir.us-ashburn-1.oci.oraclecloud.com", True, "us-ashburn-1"),
        ("ocir.us-langley-1.oci.oraclegovcloud.com", True, "us-langley-1"),
        ("ocir.io", False, None),
        ("fra.ocir.io.example.com", False, None),
        ("ghcr.io", False, None),
        ("a.fra.ocir.io", False, None),
        ("fra.ocir.io:5000", False, None),
    ],
)
def test_the_registrys_hosts(host: str, ours: bool, region: str | None) -> None:
    assert hosts.is_ocir(host) is ours
    assert hosts.region_of(host) == region


def test_an_anonymous_token_is_told_from_others() -> None:
    key = keys.make("issuer")
    assert is_anonymous(keys.make_token(key, {"sub": anonymous_subject()}))
    for claims in ({"sub": USER}, {}, {"sub": "{}"}, {"sub": 5}):
        assert not is_anonymous(keys.make_token(key, claims))
    for text in ("", "opaque", "a.b.c", "..", "a.e30.c"):
        assert not is_anonymous(text)


DOMAIN = {
    "OCIMLPACK_OIDC_DOMAIN_URL": "https://idcs-1.identity.oraclecloud.com",
    "OCIMLPACK_OIDC_CLIENT_ID": "id",
    "OCIMLPACK_OIDC_CLIENT_SECRET": "the secret",
}


def test_a_token_exchange_needs_all_of_its_variables(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" abc\n")
    found = exchange.read({**DOMAIN, "OCIMLPACK_OIDC_TOKEN_FILE": str(tmp_path / "token")})
    assert found.token() == "abc"
    assert "the secret" not in repr(found)
    assert exchange.read({**DOMAIN, "OCIMLPACK_OIDC_TOKEN": "xyz"}).token() == "xyz"
    with pytest.raises(InputError, match="no token to exchange") as caught:
        exchange.read(DOMAIN)
    assert "id-token: write" in str(caught.value.hint)
    for missing in DOMAIN:
        with pytest.raises(InputError, match=missing.replace("_", "_")):
            exchange.read({**DOMAIN, "OCIMLPACK_OIDC_TOKEN": "x", missing: ""})
    with pytest.raises(InputError, match="no https address"):
        exchange.read({**DOMAIN, "OCIMLPACK_OIDC_DOMAIN_URL": "http://idcs.example.com"})


def test_github_is_asked_for_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def answer(request: Any, timeout: float) -> io.BytesIO:
        asked.append(request)
        return io.BytesIO(b'{"value": "a job\'s token"}')

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    variables = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.example.com/?api=1",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the job",
        "OCIMLPACK_OIDC_AUDIENCE": "oci",
    }
    assert exchange.read({**DOMAIN, **variables}).token() == "a job's token"
    assert asked[0].full_url == "https://token.example.com/?api=1&audience=oci"
    assert asked[0].get_header("Authorization") == "bearer of the job"
