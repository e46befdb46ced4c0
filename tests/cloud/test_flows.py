"""Whole flows with nothing but an identity: no login, no stored secret."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ocimlpack
from tests.cloud import federation
from tests.cloud.cloud import NAMESPACE, REGION, make_profile
from tests.cloud.conftest import Cli, read_tree
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, TENANCY
from tests.live.registries import Registry

KINDS = (
    "api_key",
    "security_token",
    "resource_principal",
    "oke_workload_identity",
    "instance_principal",
    "token_exchange",
)


@contextmanager
def become(
    kind: str, cloud: LocalCloud, home: Path, tmp_path: Path, env: pytest.MonkeyPatch
) -> Iterator[None]:
    """A machine on which one is somebody of that kind."""
    variables: dict[str, str] = {}
    if kind == "api_key":
        make_profile(home, cloud)
    elif kind == "security_token":
        federation.session_profile(home, cloud)
    elif kind == "resource_principal":
        variables = federation.resource_principal(cloud)
    elif kind == "instance_principal":
        variables = {
            "OCI_CLI_AUTH": "instance_principal",
            "OCI_METADATA_BASE_URL": cloud.federation.metadata_url,
        }
    elif kind == "token_exchange":
        (tmp_path / "oidc").write_text("a token of the pipeline\n")
        variables = {
            "OCIMLPACK_OIDC_DOMAIN_URL": cloud.url,
            "OCIMLPACK_OIDC_CLIENT_ID": federation.CLIENT_ID,
            "OCIMLPACK_OIDC_CLIENT_SECRET": federation.CLIENT_SECRET,
            "OCIMLPACK_OIDC_TOKEN_FILE": str(tmp_path / "oidc"),
            "OCI_CLI_REGION": REGION,
        }
    if kind == "oke_workload_identity":
        # An address of its own, because the port is not ours to choose.
        with federation.run_proxy(cloud, tmp_path / "pod", "127.9.8.7") as variables:
            for name, value in variables.items():
                env.setenv(name, value)
            yield
        return
    for name, value in variables.items():
        env.setenv(name, value)
    yield


@pytest.mark.parametrize("kind", KINDS)
def test_create_push_tag_and_pull_without_any_login(
    kind: str,
    cloud: LocalCloud,
    home: Path,
    model: Path,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with become(kind, cloud, home, tmp_path, monkeypatch):
        made = cli("ocir", "create", "team/minilm", "--compartment", COMPARTMENT)
        assert made.stdout == f"{cloud.host}/{NAMESPACE}/team/minilm\n", made.stderr
        pushed = cli("push", model, f"ocir://{REGION}/team/minilm:1.0")
        assert pushed.code == 0, pushed.stderr
        reference = pushed.stdout.strip()
        tagged = cli("tag", f"ocir://{REGION}/team/minilm:1.0", "stable")
        assert tagged.code == 0, tagged.stderr
        pulled = cli("pull", reference, "-o", tmp_path / "out")
        assert pulled.code == 0, pulled.stderr
    assert read_tree(tmp_path / "out") == read_tree(model)
    digest = reference.partition("@")[2]
    assert cloud.artifacts.digest_of("team/minilm", "stable") == digest
    repository = cloud.artifacts.named("team/minilm")
    assert repository is not None
    assert repository["compartmentId"] == COMPARTMENT
    assert not repository["isPublic"]
    assert not (home / ".docker").exists()
    wanted = {scope for scope in cloud.ocir.issued if scope}
    assert wanted == {
        f"repository:{NAMESPACE}/team/minilm:{actions}" for actions in ("pull", "pull,push")
    }


def test_the_token_expires_twice_during_a_push(
    alice: LocalCloud, model: Path, tmp_path: Path, cli: Cli
) -> None:
    alice.ocir.uses = 3
    pushed = cli("push", model, f"ocir://{REGION}/team/minilm:1.0", "-j", "1")
    assert pushed.code == 0, pushed.stderr
    given = alice.ocir.issued.count(f"repository:{NAMESPACE}/team/minilm:pull,push")
    assert given >= 3
    assert "warning" not in pushed.stderr
    alice.ocir.uses = None
    assert cli("pull", pushed.stdout.strip(), "-o", tmp_path / "out").code == 0
    assert read_tree(tmp_path / "out") == read_tree(model)


def test_a_token_refused_in_mid_upload_is_renewed(alice: LocalCloud, model: Path, cli: Cli) -> None:
    fault = alice.server.fault("(PATCH|PUT)", "/blobs/uploads/", status=401, headers={
        "WWW-Authenticate": f'Bearer realm="{alice.url}/20180419/docker/token",scope=""'
    })  # fmt: skip
    fault.method = "PUT"
    pushed = cli("push", model, f"ocir://{REGION}/team/minilm:1.0")
    assert pushed.code == 0, pushed.stderr
    assert fault.hits == 1


def test_the_repository_of_a_first_push_is_made_in_the_compartment(
    alice: LocalCloud, model: Path, cli: Cli
) -> None:
    place = f"ocir://{REGION}/team/minilm"
    done = cli("push", model, f"{place}:1.0", "--compartment", COMPARTMENT, "--immutable")
    assert done.code == 0, done.stderr
    assert f"made the private repository {NAMESPACE}/team/minilm" in done.stderr
    made = alice.artifacts.named("team/minilm")
    assert made is not None
    assert (made["compartmentId"], made["isImmutable"]) == (COMPARTMENT, True)
    assert made["readme"]["content"].startswith("# MiniLM")
    again = cli("push", model, f"{place}:1.1", "--compartment", COMPARTMENT)
    assert again.code == 0
    assert "made" not in again.stderr


def test_the_configuration_file_settles_the_compartment(
    alice: LocalCloud, model: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text(f'[oci]\ncompartment = "{COMPARTMENT}"\n')
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(tmp_path / "config.toml"))
    assert cli("push", model, f"{alice.host}/{NAMESPACE}/team/a:1").code == 0
    made = alice.artifacts.named("team/a")
    assert made is not None
    assert made["compartmentId"] == COMPARTMENT


def test_without_a_compartment_the_registry_makes_it_in_the_root(
    alice: LocalCloud, model: Path, cli: Cli
) -> None:
    assert cli("push", model, f"ocir://{REGION}/team/minilm:1.0").code == 0
    made = alice.artifacts.named("team/minilm")
    assert made is not None
    assert made["compartmentId"] == TENANCY


def test_stored_credentials_come_first_and_an_identity_asked_for_by_name_before_them(
    alice: LocalCloud, model: Path, cli: Cli
) -> None:
    alice.alice.auth_tokens.append("an auth token")
    user = f"{NAMESPACE}/alice"
    assert cli("login", alice.host, "-u", user, "-p", "an auth token").code == 0
    place = f"{alice.host}/{NAMESPACE}/team/minilm:1.0"
    alice.server.forget()
    assert cli("push", model, place).code == 0
    assert _asked_with(alice) == {"Basic"}
    alice.server.forget()
    assert cli("push", model, place, "--auth", "api_key").code == 0
    assert _asked_with(alice) == {"Signature"}


def test_a_public_repository_is_read_by_everybody(
    alice: LocalCloud, model: Path, cli: Cli, home: Path, tmp_path: Path
) -> None:
    pushed = cli("push", model, f"{alice.host}/{NAMESPACE}/team/minilm:1.0")
    made = alice.artifacts.named("team/minilm")
    assert made is not None
    made["isPublic"] = True
    (home / ".oci" / "config").unlink()
    assert cli("pull", pushed.stdout.strip(), "-o", tmp_path / "out").code == 0


def test_images_are_listed_and_looked_up_by_digest(
    alice: LocalCloud, model: Path, cli: Cli
) -> None:
    pushed = cli("push", model, f"ocir://{REGION}/team/minilm:1.0", "-t", "stable")
    digest = pushed.stdout.strip().partition("@")[2]
    (found,) = ocimlpack.ocir_images("team/minilm")
    assert (found.digest, found.tags) == (digest, ("1.0", "stable"))
    assert found.reference == pushed.stdout.strip()
    assert ocimlpack.ocir_images(f"team/minilm@{digest}") == (found,)
    assert ocimlpack.ocir_images("team/minilm:stable") == (found,)
    assert cli("ocir", "images", "team/minilm:2.0").code == 3
    shown = ocimlpack.ocir_show(f"ocir://{REGION}/team/minilm")
    assert (shown.name, shown.images) == ("team/minilm", 1)
    assert [each.name for each in ocimlpack.ocir_list()] == ["team/minilm"]
    assert ocimlpack.ocir_list(compartment=COMPARTMENT) == ()


def test_long_lists_come_in_pages(alice: LocalCloud) -> None:
    names = [f"team/model{number:03}" for number in range(230)]
    for name in names:
        alice.artifacts.make({"compartmentId": COMPARTMENT, "displayName": name}, alice.alice)
    assert [each.name for each in ocimlpack.ocir_list()] == names


def test_a_plain_registry_is_reached_without_the_sdk(
    upstream: Registry, model: Path, tmp_path: Path
) -> None:
    place = upstream.repository()
    push, pull = (
        ["push", str(model), f"{place}:1"],
        ["pull", f"{place}:1", "-o", str(tmp_path / "o")],
    )
    for arguments in (push, pull):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "ocimlpack", *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ},
        )
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "ocimlpack.stores.registry" in imported
        assert not {name for name in imported if name == "oci" or name.startswith("oci.")}
        assert "ocimlpack.cloud.identity" not in imported


def _asked_with(cloud: LocalCloud) -> set[str]:
    asked = cloud.server.asked("GET", "/docker/token")
    return {each.header("authorization").partition(" ")[0] for each in asked}
