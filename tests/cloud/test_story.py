"""The whole story of a fallback bucket: the registry goes and comes back, versions grow old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.app import fallback as policy
from ocimlpack.errors import NotFoundError, UnavailableError
from ocimlpack.retry import Policy
from tests.cloud.cloud import NAMESPACE, REGION
from tests.cloud.conftest import Cli, read_tree
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.cloud.test_stages import BUCKET, storage

__all__ = ["storage"]

ROOT = f"ocios://{BUCKET}@{NAMESPACE}"
PLACE = f"{ROOT}/team/minilm"


@pytest.fixture
def configured(
    alice: LocalCloud, storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A registry with the bucket as its fallback, always pushed to as well; the repository."""
    monkeypatch.setattr(policy, "_PATIENCE", 0.5)
    monkeypatch.setattr(Policy, "delay", lambda *_: 0.05)
    config = tmp_path / "config.toml"
    config.write_text(
        f"""
        [oci]
        compartment = "{COMPARTMENT}"
        [fallback]
        "{alice.host}/{NAMESPACE}" = {{ location = "{ROOT}", mode = "mirror" }}
        """
    )
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(config))
    return f"{alice.host}/{NAMESPACE}/team/minilm"


def test_the_registry_goes_and_comes_back_and_versions_grow_old(
    alice: LocalCloud, configured: str, storage: Any, model: Path, tmp_path: Path, cli: Cli
) -> None:
    # Both have the first version.
    first = cli("push", model, f"ocir://{REGION}/team/minilm:1.0")
    assert first.code == 0, first.stderr
    assert f"also in the fallback: {PLACE}@sha256:" in first.stderr
    digest = first.stdout.strip().rpartition("@")[2]
    assert ocimlpack.inspect(f"{PLACE}:1.0").digest == digest

    # The registry is down: pushes and pulls go on.
    alice.server.fault(path="/v2/", status=503, times=None)
    (model / "config.json").write_text('{"version": 2}')
    second = cli("push", model, f"{configured}:2.0")
    assert second.code == 0, second.stderr
    assert second.stdout.startswith(f"{PLACE}@sha256:")
    assert "only in the fallback" in second.stderr
    newer = second.stdout.strip().rpartition("@")[2]
    for name, version in (("by-tag", ":2.0"), ("by-digest", f"@{digest}")):
        pulled = cli("pull", f"{configured}{version}", "-o", tmp_path / name)
        assert pulled.code == 0, pulled.stderr
        assert "going on with the fallback" in pulled.stderr
    assert read_tree(tmp_path / "by-tag") == read_tree(model)

    # It is back, and gets what it has missed.
    alice.server.faults.clear()
    level = ocimlpack.sync(configured)
    assert (level.to_registry, level.to_fallback, level.same) == (("2.0",), (), 1)
    again = ocimlpack.pull(f"{configured}@{newer}", tmp_path / "back")
    assert not again.fallback
    assert again.reference == f"{configured}@{newer}"

    # The first version grows old and is archived; the registry loses it.
    ocimlpack.bucket_stage(f"{PLACE}@{digest}", "old")
    alice.wait(days=31)
    alice.storage.run_lifecycle()
    with pytest.raises(UnavailableError, match="archived") as caught:
        ocimlpack.pull(f"{PLACE}@{digest}", tmp_path / "archived")
    assert "ocimlpack bucket restore" in str(caught.value.hint)
    assert not ocimlpack.bucket_restore(f"{PLACE}@{digest}").is_ready
    alice.wait(hours=2)
    assert ocimlpack.bucket_restore(f"{PLACE}@{digest}").is_ready
    ocimlpack.pull(f"{PLACE}@{digest}", tmp_path / "restored")

    # It expires and is deleted; what the second one shares with it is still there.
    ocimlpack.bucket_stage(f"{PLACE}@{digest}", "expired")
    alice.wait(days=366)
    alice.storage.run_lifecycle()
    with pytest.raises(NotFoundError):
        ocimlpack.pull(f"{PLACE}@{digest}", tmp_path / "expired")
    ocimlpack.pull(f"{PLACE}@{newer}", tmp_path / "shared")
    assert read_tree(tmp_path / "shared") == read_tree(model)

    places = {(each.action, each.fallback) for each in ocimlpack.audit().records}
    assert ("push", f"{PLACE}@{digest}") in places
    assert ("push", f"{PLACE}@{newer}") in places


def test_an_identity_that_is_refused_does_not_fall_back(
    alice: LocalCloud, configured: str, model: Path, cli: Cli
) -> None:
    alice.alice.may_manage = frozenset({"objects", "buckets"})
    alice.alice.may_read = frozenset({"objects", "buckets"})
    ran = cli("push", model, f"{configured}:1.0")
    assert ran.code == 4, ran.stderr
    with pytest.raises(NotFoundError):
        ocimlpack.tags(PLACE)
