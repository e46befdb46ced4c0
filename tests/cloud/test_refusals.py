"""What can be wrong with an identity or a permission: one sentence, the right code, at once."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import trustme

from tests.cloud import federation, keys
from tests.cloud.cloud import NAMESPACE, REGION, make_profile
from tests.cloud.conftest import Cli, Ran
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY, USER
from tests.scripted.exchange import Reply
from tests.scripted.server import Server

ROOM = 10.0
"""Seconds in which each has to be said."""

NOTHING: frozenset[str] = frozenset()


def edit(home: Path, **changes: str) -> None:
    """Change values of the profile; an empty one is taken out."""
    config = home / ".oci" / "config"
    text = config.read_text()
    for key, value in changes.items():
        text = re.sub(rf"^{key}=.*\n", f"{key}={value}\n" if value else "", text, flags=re.M)
    config.write_text(text)


@pytest.fixture
def refused(cli: Cli) -> Callable[..., Ran]:
    """A command that has to fail soon, with a sentence and no traceback."""

    def run(*arguments: str | Path) -> Ran:
        began = time.monotonic()
        ran = cli(*arguments)
        assert time.monotonic() - began < ROOM
        assert ran.code not in {0, 70}, ran.stderr
        assert ran.sentence.startswith("ocimlpack: ")
        assert "PRIVATE KEY" not in ran.stderr
        assert len(ran.stderr.splitlines()) <= 2
        return ran

    return run


def place(cloud: LocalCloud, name: str = "team/minilm:1.0") -> str:
    return f"{cloud.host}/{NAMESPACE}/{name}"


# Profiles that can't be right: said before anybody is asked.


def test_a_fingerprint_of_another_key(
    alice: LocalCloud, home: Path, model: Path, refused: Callable[..., Ran]
) -> None:
    edit(home, fingerprint="00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff")
    ran = refused("push", model, place(alice))
    assert ran.code == 4
    assert "fingerprint" in ran.sentence
    assert f"{home}/.oci/config, line 4" in ran.sentence
    assert alice.server.count("GET", "/docker/token") == 0


def test_a_key_file_that_is_not_there(
    alice: LocalCloud, home: Path, model: Path, refused: Callable[..., Ran]
) -> None:
    edit(home, key_file="/no/such/key.pem")
    ran = refused("push", model, place(alice))
    assert ran.code == 2
    assert "the key_file is not there: /no/such/key.pem" in ran.sentence
    assert "line 5" in ran.sentence


def test_a_key_file_that_is_no_key(
    alice: LocalCloud, home: Path, model: Path, refused: Callable[..., Ran]
) -> None:
    (home / ".oci" / "key.pem").write_text("not a key at all")
    ran = refused("push", model, place(alice))
    assert ran.code == 2
    assert "is no private key" in ran.sentence
    assert "not a key at all" not in ran.stderr


def test_an_encrypted_key(
    alice: LocalCloud, home: Path, model: Path, cli: Cli, refused: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    secret = "the pass phrase"
    (home / ".oci" / "key.pem").write_text(keys.pem(keys.make("alice"), secret))
    ran = refused("push", model, place(alice))
    assert ran.code == 2
    assert "no pass phrase is set" in ran.sentence
    monkeypatch.setenv("OCI_CLI_PASSPHRASE", "a wrong one")
    assert "its pass phrase is wrong" in refused("push", model, place(alice)).sentence
    monkeypatch.setenv("OCI_CLI_PASSPHRASE", secret)
    assert cli("push", model, place(alice)).code == 0


@pytest.mark.parametrize("key", ["user", "tenancy", "fingerprint"])
def test_a_value_that_is_missing_or_malformed(
    key: str, alice: LocalCloud, home: Path, model: Path, refused: Callable[..., Ran]
) -> None:
    edit(home, **{key: "nonsense"})
    ran = refused("push", model, place(alice))
    assert ran.code == 2
    assert key in ran.sentence
    assert "nonsense" in ran.sentence
    edit(home, **{key: ""})
    ran = refused("push", model, place(alice))
    assert ran.code == 2
    assert f"there is no {key} in profile DEFAULT" in ran.sentence


def test_a_profile_that_is_not_there(
    alice: LocalCloud, model: Path, refused: Callable[..., Ran]
) -> None:
    ran = refused("push", model, place(alice), "--profile", "PROD")
    assert ran.code == 2
    assert "has no profile PROD" in ran.sentence
    assert "DEFAULT" in ran.stderr


def test_a_file_that_is_no_configuration(
    alice: LocalCloud, home: Path, model: Path, refused: Callable[..., Ran]
) -> None:
    (home / ".oci" / "config").write_text("user=x\n[DEFAULT]\n")
    ran = refused("push", model, place(alice))
    assert ran.code == 2
    assert "see line 1" in ran.sentence


def test_a_kind_that_does_not_exist(
    alice: LocalCloud, model: Path, refused: Callable[..., Ran]
) -> None:
    ran = refused("push", model, place(alice), "--auth", "magic")
    assert ran.code == 2
    assert "'magic'" in ran.sentence
    assert "api_key" in ran.stderr


def test_no_identity_at_all(cloud: LocalCloud, model: Path, refused: Callable[..., Ran]) -> None:
    ran = refused("push", model, f"ocir://{REGION}/team/minilm:1")
    assert ran.code == 4
    assert "no identity for Oracle Cloud" in ran.sentence
    ran = refused("push", model, place(cloud))
    assert ran.code == 4
    assert f"ocimlpack login {cloud.host}" in ran.stderr


def test_an_expired_session_token(
    cloud: LocalCloud, home: Path, model: Path, refused: Callable[..., Ran]
) -> None:
    federation.session_profile(home, cloud, seconds=-7200)
    ran = refused("push", model, place(cloud))
    assert ran.code == 4
    assert re.search(r"session\.token has expired, 2 h 0 min ago", ran.sentence)
    assert "oci session" in ran.stderr


def test_an_expired_resource_principal(
    cloud: LocalCloud, model: Path, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in federation.resource_principal(cloud, seconds=-60).items():
        monkeypatch.setenv(name, value)
    ran = refused("push", model, place(cloud))
    assert ran.code == 4
    assert "$OCI_RESOURCE_PRINCIPAL_RPST has expired" in ran.sentence


@pytest.mark.parametrize("variable", ["RPST", "PRIVATE_PEM", "REGION"])
def test_a_resource_principal_without_all_of_its_variables(
    variable: str,
    cloud: LocalCloud,
    model: Path,
    refused: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in federation.resource_principal(cloud).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(f"OCI_RESOURCE_PRINCIPAL_{variable}")
    ran = refused("push", model, place(cloud))
    assert ran.code == 2
    assert f"$OCI_RESOURCE_PRINCIPAL_{variable} is not set" in ran.sentence


def test_a_pod_without_its_service_account(
    cloud: LocalCloud, model: Path, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("OCIMLPACK_SERVICE_ACCOUNT_TOKEN_FILE", "/no/such/token")
    ran = refused("push", model, place(cloud), "--auth", "oke_workload_identity")
    assert ran.code == 2
    assert "the service account's token is not there: /no/such/token" in ran.sentence


def set_workload(
    cloud: LocalCloud, folder: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply | None = None
) -> AbstractContextManager[object]:
    """The environment of a pod, whose cluster gives it that answer instead of an identity."""
    cluster = "127.9.8.5"  # the port is not ours to choose, and others may have it
    with federation.run_proxy(cloud, folder, cluster) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    if reply is None:
        return nullcontext()
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(cluster).configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    return Server(lambda _request, _body: reply, cluster, context, port=federation.PROXY_PORT)


def test_a_cluster_that_cannot_be_asked_for_an_identity(
    cloud: LocalCloud,
    model: Path,
    refused: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with set_workload(cloud, tmp_path / "account", monkeypatch):
        ran = refused("push", model, place(cloud))
    assert ran.code == 6
    assert ran.sentence.endswith(
        "no connection to Oracle Cloud for the identity of kind oke_workload_identity: "
        "Connection refused"
    )
    assert "hint: pods have to reach the cluster's API endpoint, 127.9.8.5, at port 12250 too" in (
        ran.stderr
    )


def test_a_cluster_that_gives_its_pods_no_identity(
    cloud: LocalCloud,
    model: Path,
    refused: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with set_workload(cloud, tmp_path / "account", monkeypatch, Reply(403)):
        ran = refused("push", model, place(cloud))
    assert ran.code == 4
    assert "hint: it takes an enhanced cluster" in ran.stderr


def test_a_pod_that_no_policy_lets_in(
    alice: LocalCloud,
    model: Path,
    cli: Cli,
    refused: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert cli("push", model, place(alice)).code == 0
    with federation.run_proxy(alice, tmp_path / "account", "127.9.8.5", NOTHING) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        ran = refused("pull", place(alice), "-o", tmp_path / "out")
    assert ran.code == 4
    assert "Allow any-user to read repos in compartment NAME where" in ran.stderr


def test_a_function_that_no_policy_lets_in(
    alice: LocalCloud,
    model: Path,
    cli: Cli,
    refused: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert cli("push", model, place(alice)).code == 0
    for name, value in federation.resource_principal(alice, may=NOTHING).items():
        monkeypatch.setenv(name, value)
    ran = refused("pull", place(alice), "-o", tmp_path / "out")
    assert ran.code == 4
    assert "Allow dynamic-group NAME to read repos in compartment NAME where" in ran.stderr


def test_a_machine_that_is_no_instance(
    cloud: LocalCloud, model: Path, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_METADATA_BASE_URL", "http://127.0.0.1:9/opc/v2")
    ran = refused("push", model, place(cloud), "--auth", "instance_principal")
    assert ran.code == 6
    assert "this is no instance of Oracle Cloud" in ran.sentence


def test_nobody_waits_for_a_metadata_service_that_was_not_asked_for(
    cloud: LocalCloud, model: Path, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_METADATA_BASE_URL", cloud.federation.metadata_url)
    refused("push", model, place(cloud))
    refused("ocir", "list")
    assert cloud.server.count(path="/opc/v2") == 0


# What only the service can tell.


def test_a_key_that_was_never_uploaded(
    cloud: LocalCloud, home: Path, model: Path, refused: Callable[..., Ran]
) -> None:
    make_profile(home, cloud)
    key = keys.make("another")
    (home / ".oci" / "key.pem").write_text(keys.pem(key))
    edit(home, fingerprint=keys.fingerprint(key.public_key()))
    ran = refused("push", model, place(cloud))
    assert ran.code == 4
    assert "does not accept the signature of the api_key identity" in ran.sentence
    assert "clock" in ran.sentence
    ran = refused("ocir", "list")
    assert ran.code == 4
    assert "refuses the signature" in ran.sentence


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_an_hour_off(
    hours: int, alice: LocalCloud, model: Path, refused: Callable[..., Ran]
) -> None:
    alice.skew = -3600 * hours
    said = f"this machine's clock is 1 h 0 min {'ahead of' if hours > 0 else 'behind'}"
    for ran in (refused("push", model, place(alice)), refused("ocir", "list")):
        assert ran.code == 4
        assert said in ran.sentence
        assert "hint: set the clock" in ran.stderr


def test_a_repository_in_another_compartment(
    alice: LocalCloud, model: Path, refused: Callable[..., Ran]
) -> None:
    alice.artifacts.make(
        {"compartmentId": OTHER_COMPARTMENT, "displayName": "team/minilm"}, alice.alice
    )
    ran = refused("ocir", "create", "team/minilm", "--compartment", COMPARTMENT)
    assert ran.code == 7
    assert "in another compartment" in ran.sentence
    ran = refused("push", model, place(alice), "--compartment", COMPARTMENT)
    assert ran.code == 7
    assert "in another compartment" in ran.sentence
    assert alice.server.count("POST", "/blobs/uploads/") == 0


def test_a_compartment_that_is_not_there(alice: LocalCloud, refused: Callable[..., Ran]) -> None:
    ran = refused("ocir", "create", "team/minilm", "--compartment", USER)
    assert ran.code == 4
    assert "team/minilm" in ran.sentence


def test_a_tag_that_cannot_be_moved(
    alice: LocalCloud, model: Path, cli: Cli, refused: Callable[..., Ran]
) -> None:
    create = cli("ocir", "create", "team/minilm", "--compartment", COMPARTMENT, "--immutable")
    assert create.code == 0, create.stderr
    assert cli("push", model, place(alice)).code == 0
    (model / "config.json").write_text("{}")
    ran = refused("push", model, place(alice))
    assert ran.code == 7
    assert "immutable" in ran.sentence
    assert "choose a new one" in ran.stderr
    assert cli("push", model, place(alice, "team/minilm:1.1")).code == 0


def test_a_missing_permission(
    alice: LocalCloud, model: Path, cli: Cli, refused: Callable[..., Ran], tmp_path: Path
) -> None:
    assert cli("push", model, place(alice)).code == 0
    alice.alice.may_manage = frozenset()
    ran = refused("push", model, place(alice, "team/minilm:2.0"))
    assert ran.code == 4
    assert "Allow group NAME to manage repos" in ran.stderr
    assert "team/minilm" in ran.stderr
    assert refused("ocir", "create", "team/b", "--compartment", COMPARTMENT).code == 4
    assert cli("pull", place(alice), "-o", tmp_path / "out").code == 0
    alice.alice.may_read = frozenset()
    ran = refused("pull", place(alice), "-o", tmp_path / "again")
    assert ran.code == 4
    assert "Allow group NAME to read repos" in ran.stderr
    assert not (tmp_path / "again").exists()


def test_a_repository_that_is_not_there_and_is_not_made(
    alice: LocalCloud, model: Path, refused: Callable[..., Ran], tmp_path: Path
) -> None:
    alice.artifacts.settings["configuration"]["isRepositoryCreatedOnFirstPush"] = False
    ran = refused("push", model, place(alice))
    assert ran.code == 3
    assert "ocimlpack ocir create team/minilm" in ran.stderr
    assert refused("pull", place(alice), "-o", tmp_path / "out").code == 3


def test_an_always_free_tenancy_is_told_of_buckets(
    alice: LocalCloud, refused: Callable[..., Ran]
) -> None:
    alice.server.fault(
        path="/container/repositories",
        status=403,
        times=None,
        body=b'{"code": "FREE_TIER_NOT_SUPPORTED", "message": "not supported"}',
        headers={"Content-Type": "application/json"},
    )
    ran = refused("ocir", "create", "team/minilm", "--compartment", TENANCY)
    assert ran.code == 4
    assert "Always Free" in ran.sentence
    assert "bucket" in ran.stderr


def test_an_endpoint_that_is_no_address(
    alice: LocalCloud, model: Path, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIMLPACK_OCI_ENDPOINT", "nonsense")
    ran = refused("ocir", "list")
    assert ran.code == 2
    assert "OCIMLPACK_OCI_ENDPOINT" in ran.sentence


def test_nobody_there(
    home: Path, alice: LocalCloud, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIMLPACK_OCI_ENDPOINT", "http://127.0.0.1:9")
    ran = refused("ocir", "list")
    assert ran.code == 6
    assert "no connection to Oracle Cloud" in ran.sentence


def test_passing_failures_are_tried_again(alice: LocalCloud, cli: Cli) -> None:
    for status, code in ((429, b"TooManyRequests"), (500, b"InternalServerError")):
        alice.server.fault(
            path="/container/repositories",
            status=status,
            body=b'{"code": "' + code + b'", "message": "later"}',
            headers={"Content-Type": "application/json"},
        )
    alice.server.fault(path="/container/repositories", drop="after", nth=3)
    assert cli("ocir", "list").code == 0


def test_a_lost_answer_makes_no_second_repository(alice: LocalCloud, cli: Cli) -> None:
    alice.server.fault("POST", "/container/repositories", drop="after")
    made = cli("ocir", "create", "team/minilm", "--compartment", COMPARTMENT)
    assert made.code == 0, made.stderr
    assert len(alice.artifacts.repositories) == 1
