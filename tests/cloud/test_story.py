"""The whole story of a fallback bucket: the registry goes and comes back, versions grow old."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import ocimlpack
from ocimlpack.app import fallback as policy
from ocimlpack.errors import NotFoundError
from ocimlpack.retry import Policy
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import Cli, read_tree
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.cloud.story import BUCKET, PLACE, tell, write_config
from tests.cloud.test_flows import become

CRON_JOB = Path(__file__).parents[2] / "manifests/bucket/sync.yaml"


@pytest.fixture
def configured(alice: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with the bucket as its fallback, always pushed to as well; the repository."""
    monkeypatch.setattr(policy, "_PATIENCE", 0.5)
    monkeypatch.setattr(Policy, "delay", lambda *_: 0.05)
    config = tmp_path / "config.toml"
    write_config(config, alice)
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(config))
    return f"{alice.host}/{NAMESPACE}/team/minilm"


@pytest.mark.usefixtures("configured")
def test_the_registry_goes_and_comes_back_and_versions_grow_old(
    alice: LocalCloud, model: Path, tmp_path: Path, cli: Cli
) -> None:
    tell(alice, model, tmp_path / "pulled", cli)
    recorded = [each for each in ocimlpack.audit().records if each.result == "ok"]
    places = [(each.action, (each.fallback or "").partition("@sha256")[0]) for each in recorded]
    assert places.count(("push", PLACE)) == 2
    assert ("bucket sync", PLACE) in places


def test_an_identity_that_is_refused_does_not_fall_back(
    alice: LocalCloud, configured: str, model: Path, cli: Cli
) -> None:
    assert cli("bucket", "provision", "--bucket", BUCKET, "--yes").code == 0
    alice.alice.may_manage = frozenset({"objects", "buckets"})
    alice.alice.may_read = frozenset({"objects", "buckets"})
    ran = cli("push", model, f"{configured}:1.0")
    assert ran.code == 4, ran.stderr
    with pytest.raises(NotFoundError):
        ocimlpack.tags(PLACE)


def test_the_cron_job_brings_the_bucket_level_with_the_pods_identity(
    alice: LocalCloud, model: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = f"{alice.host}/{NAMESPACE}/team/minilm"
    monkeypatch.setenv("OCIMLPACK_COMPARTMENT", COMPARTMENT)
    assert cli("bucket", "provision", "--bucket", BUCKET, "--yes").code == 0
    pushed = cli("push", model, f"{repository}:1.0").stdout.strip()
    (_, job) = yaml.safe_load_all(CRON_JOB.read_text("utf-8"))
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    arguments = [
        each.replace("iad.ocir.io", alice.host).replace("axexample", NAMESPACE)
        for each in container["args"]
    ]
    assert arguments[2:] == [repository, f"--fallback={PLACE}"]
    (Path.home() / ".oci/config").unlink()
    for variable in container["env"][:2]:
        monkeypatch.setenv(variable["name"], variable["value"])
    with become("oke_workload_identity", alice, Path.home(), tmp_path, monkeypatch):
        ran = cli(*arguments)
        assert ran.code == 0, ran.stderr
        pulled = cli("pull", f"{PLACE}@{pushed.rpartition('@')[2]}", "-o", tmp_path / "out")
        assert pulled.code == 0, pulled.stderr
    assert read_tree(tmp_path / "out") == read_tree(model)
