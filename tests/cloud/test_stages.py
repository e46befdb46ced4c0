"""Versions that grow old: staged, archived, restored, deleted by the lifecycle, brought back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.app import stages
from ocimlpack.errors import ConflictError, InputError, NotFoundError, UnavailableError
from ocimlpack.stores import bucket_names as names
from ocimlpack.stores import bucket_prune
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import client, read_tree
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, TENANCY

BUCKET = "models"
REPO = f"ocios://{BUCKET}@{NAMESPACE}/team/minilm"
OTHER = f"ocios://{BUCKET}@{NAMESPACE}/team/other"


@pytest.fixture
def storage(alice: LocalCloud) -> Any:
    """The SDK's client, and a bucket with versions and the usual lifecycle."""
    import oci

    models = oci.object_storage.models
    made = client(alice, "object_storage.ObjectStorageClient")
    made.create_bucket(
        NAMESPACE,
        models.CreateBucketDetails(name=BUCKET, compartment_id=COMPARTMENT, versioning="Enabled"),
    )
    identity = client(alice, "identity.IdentityClient")
    identity.create_policy(
        oci.identity.models.CreatePolicyDetails(
            compartment_id=TENANCY,
            name="lifecycle",
            description="lets the lifecycle work",
            statements=[
                "Allow service objectstorage-us-ashburn-1 to manage object-family in tenancy"
            ],
        )
    )
    rules = [("old/", "ARCHIVE", 30), ("expired/", "DELETE", 365)]
    made.put_object_lifecycle_policy(
        NAMESPACE,
        BUCKET,
        models.PutObjectLifecyclePolicyDetails(
            items=[
                models.ObjectLifecycleRule(
                    name=action.lower(),
                    action=action,
                    time_amount=days,
                    time_unit="DAYS",
                    is_enabled=True,
                    object_name_filter=models.ObjectNameFilter(inclusion_prefixes=[prefix]),
                )
                for prefix, action, days in rules
            ]
        ),
    )
    return made


def push(model: Path, place: str) -> str:
    return ocimlpack.push(model, place).reference


def keys(storage: Any, prefix: str = "") -> set[str]:
    found = storage.list_objects(NAMESPACE, BUCKET, prefix=prefix).data.objects
    return {each.name for each in found}


def layer_of(reference: str, path: str) -> str:
    (found,) = [each for each in ocimlpack.inspect(reference).files if each.path == path]
    return found.digest.partition(":")[2]


def test_a_version_moves_to_its_stage_and_stays_readable(
    storage: Any, model: Path, tmp_path: Path
) -> None:
    reference = push(model, f"{REPO}:1.0")
    staged = stages.bucket_stage(f"{REPO}:1.0", "old")
    assert (staged.reference, staged.stage) == (reference, "old")
    assert staged.moved > 3_000_000
    old = keys(storage, "old/blobs/")
    assert {name.rpartition("/")[2] for name in old} == {
        layer_of(reference, path) for path in ("README.md", "config.json", "weights.bin")
    }
    ocimlpack.pull(reference, tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)
    assert stages.bucket_stage(reference, "old").moved == 0
    assert stages.bucket_stage(reference, "active").moved == staged.moved
    assert keys(storage, "old/") == set()


def test_what_an_active_version_needs_as_well_stays(
    storage: Any, model: Path, tmp_path: Path
) -> None:
    first = push(model, f"{REPO}:1.0")
    (model / "config.json").write_text("{}")
    push(model, f"{OTHER}:2.0")
    stages.bucket_stage(first, "expired")
    moved = {name.rpartition("/")[2] for name in keys(storage, "expired/blobs/")}
    assert moved == {layer_of(first, "config.json")}
    stages.bucket_stage(f"{OTHER}:2.0", "old")  # now the warmer of the two has the shared ones
    assert {name.rpartition("/")[2] for name in keys(storage, "old/blobs/")} == {
        layer_of(f"{OTHER}:2.0", path) for path in ("README.md", "config.json", "weights.bin")
    }
    ocimlpack.pull(first, tmp_path / "out")


def test_archived_restored_and_active_again(
    alice: LocalCloud, storage: Any, model: Path, tmp_path: Path
) -> None:
    reference = push(model, f"{REPO}:1.0")
    stages.bucket_stage(reference, "old")
    alice.wait(days=31)
    alice.storage.run_lifecycle()
    with pytest.raises(UnavailableError, match="archived") as caught:
        ocimlpack.pull(reference, tmp_path / "out")
    assert "bucket restore" in str(caught.value.hint)
    assert ocimlpack.inspect(reference).digest == reference.rpartition("@")[2]
    with pytest.raises(UnavailableError, match="not restored yet"):
        stages.bucket_stage(reference, "active")
    begun = stages.bucket_restore(reference)
    assert (begun.is_ready, begun.layers) == (False, {"restoring": 3})
    assert begun.expected == 3600
    assert stages.bucket_restore(reference).layers == {"restoring": 3}  # once more does no harm
    alice.wait(hours=2)
    ready = stages.bucket_restore(reference)
    assert (ready.is_ready, ready.layers) == (True, {"available": 3})
    ocimlpack.pull(reference, tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)
    stages.bucket_stage(reference, "active")
    alice.wait(days=60)
    alice.storage.run_lifecycle()
    ocimlpack.pull(reference, tmp_path / "again")  # and it is not archived any more


def test_waiting_for_a_restore(
    alice: LocalCloud, storage: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = push(model, f"{REPO}:1.0")
    stages.bucket_stage(reference, "old")
    alice.wait(days=31)
    alice.storage.run_lifecycle()
    monkeypatch.setattr("time.sleep", lambda _: alice.wait(hours=1))
    assert stages.bucket_restore(reference, wait=True).is_ready


def test_expired_versions_are_deleted_and_what_others_need_is_still_there(
    alice: LocalCloud, storage: Any, model: Path, tmp_path: Path
) -> None:
    first = push(model, f"{REPO}:1.0")
    (model / "config.json").write_text("{}")
    second = push(model, f"{OTHER}:2.0")
    stages.bucket_stage(first, "expired")
    alice.wait(days=366)
    alice.storage.run_lifecycle()
    with pytest.raises(NotFoundError):
        ocimlpack.pull(first, tmp_path / "first")
    with pytest.raises(NotFoundError, match="the lifecycle has deleted it"):
        stages.bucket_restore(first)
    ocimlpack.pull(second, tmp_path / "second")
    assert read_tree(tmp_path / "second") == read_tree(model)


def test_pushing_it_again_makes_it_active(storage: Any, model: Path) -> None:
    reference = push(model, f"{REPO}:1.0")
    stages.bucket_stage(reference, "old")
    push(model, f"{REPO}:1.1")
    assert stages.bucket_stage(reference, "active").moved == 0
    assert keys(storage, "old/") == set()


def test_a_further_tag_leaves_it_in_its_stage(storage: Any, model: Path) -> None:
    reference = push(model, f"{REPO}:1.0")
    stages.bucket_stage(reference, "old")
    ocimlpack.tag(reference, "keep")
    (model / "config.json").write_text("{}")
    other = push(model, f"{OTHER}:1.0")
    stages.bucket_stage(other, "old")
    old = {name.rpartition("/")[2] for name in keys(storage, "old/blobs/")}
    assert layer_of(reference, "weights.bin") in old


@pytest.mark.parametrize("nth", range(1, 9))
def test_killed_after_any_call_it_stays_readable_and_is_finished_by_another_run(
    nth: int, alice: LocalCloud, storage: Any, model: Path, tmp_path: Path
) -> None:
    reference = push(model, f"{REPO}:1.0")
    fault = alice.server.fault(
        "(PUT|POST|DELETE)", "/n/", nth=nth, status=403, times=None,
        body=b'{"code": "Forbidden", "message": "no"}',
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    fault.method = "PUT" if nth <= 3 else "POST"
    fault.nth = nth if nth <= 3 else nth - 3
    failed = True
    try:
        stages.bucket_stage(reference, "old")
        failed = False
    except ocimlpack.OcimlpackError:
        pass
    alice.server.faults.clear()
    ocimlpack.pull(reference, tmp_path / "between")
    assert read_tree(tmp_path / "between") == read_tree(model)
    if failed:
        alice.wait(hours=1)  # for so long a clean-up that was killed is believed to be at work
        stages.bucket_stage(reference, "old")
    assert len(keys(storage, "old/blobs/")) == 3
    ocimlpack.pull(reference, tmp_path / "out")


def test_pruning_knows_the_stages(
    storage: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_prune, "AGE", -60.0)  # what is young is removed, too
    first = push(model, f"{REPO}:1.0")
    (model / "config.json").write_text("{}")
    second = push(model, f"{REPO}:2.0")
    stages.bucket_stage(first, "expired")
    ocimlpack.rm(first)
    removed = ocimlpack.prune(f"ocios://{BUCKET}@{NAMESPACE}")
    assert keys(storage, "expired/") == set()
    assert len(removed.removed) >= 2
    assert ocimlpack.inspect(second).digest == second.rpartition("@")[2]


def test_a_tag_that_was_removed_comes_back(storage: Any, model: Path, tmp_path: Path) -> None:
    reference = push(model, f"{REPO}:1.0")
    ocimlpack.rm(f"{REPO}:1.0")
    assert ocimlpack.tags(REPO) == ()
    assert stages.bucket_undelete(f"{REPO}:1.0") == reference
    assert ocimlpack.tags(REPO) == ("1.0",)
    ocimlpack.pull(f"{REPO}:1.0", tmp_path / "out")


def test_a_model_that_was_removed_and_pruned_comes_back(
    storage: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_prune, "AGE", -60.0)
    reference = push(model, f"{REPO}:1.0")
    ocimlpack.rm(reference)
    ocimlpack.prune(f"ocios://{BUCKET}@{NAMESPACE}")
    assert keys(storage, names.BLOBS) == set()
    assert stages.bucket_undelete(f"{REPO}:1.0") == reference
    ocimlpack.pull(reference, tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)
    assert stages.bucket_undelete(reference) == reference


def test_what_never_was_does_not_come_back(storage: Any, model: Path) -> None:
    push(model, f"{REPO}:1.0")
    with pytest.raises(NotFoundError, match=r"has 9\.9"):
        stages.bucket_undelete(f"{REPO}:9.9")


def test_a_tag_that_stands_for_something_else_is_not_taken_back(storage: Any, model: Path) -> None:
    first = push(model, f"{REPO}:1.0")
    ocimlpack.rm(first)
    (model / "config.json").write_text(os.urandom(4).hex())
    second = push(model, f"{REPO}:1.0")
    assert stages.bucket_undelete(f"{REPO}:1.0") == second  # the newest that it stood for
    assert stages.bucket_undelete(first) == first
    assert ocimlpack.inspect(f"{REPO}:1.0").digest == second.rpartition("@")[2]


def test_bytes_are_counted_once(storage: Any, model: Path) -> None:
    first = push(model, f"{REPO}:1.0")
    push(model, f"{REPO}:1.1")
    (model / "config.json").write_text("{}")
    push(model, f"{OTHER}:1.0")
    stages.bucket_stage(first, "old")
    found = {
        (each.stage, each.repository, each.kind): each
        for each in stages.bucket_du(f"ocios://{BUCKET}@{NAMESPACE}")
    }
    assert found["active", "", "shared"].size > 3_000_000
    assert ("old", "team/minilm", "own") in found
    total = sum(each.size for each in found.values())
    stored = storage.list_objects(NAMESPACE, BUCKET, fields="size").data.objects
    blobs = [each.size for each in stored if "blobs/" in each.name]
    assert total == sum(blobs)
    assert sum(each.objects for each in found.values()) == len(blobs)


def test_a_push_at_work_is_waited_for(alice: LocalCloud, storage: Any, model: Path) -> None:
    reference = push(model, f"{REPO}:1.0")
    storage.put_object(NAMESPACE, BUCKET, f"{names.PUSHES}somebody", b"{}")
    with pytest.raises(ConflictError, match="somebody is pushing"):
        stages.bucket_stage(reference, "old")
    assert keys(storage, "old/") == set()


def test_what_makes_no_sense() -> None:
    with pytest.raises(InputError, match="no stage 'frozen'"):
        stages.bucket_stage(f"{REPO}:1", "frozen")
    with pytest.raises(InputError, match="in no bucket"):
        stages.bucket_stage("localhost:5000/a:1", "old")
    with pytest.raises(InputError, match="is no bucket"):
        stages.bucket_du("localhost:5000/a")
