"""Provisioning against the local cloud, also when it breaks off anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ocimlpack
from ocimlpack.cloud import _sdk
from ocimlpack.cloud.bucket import apply, standing
from ocimlpack.errors import ConflictError, NotAllowedError, OcimlpackError, UnavailableError
from ocimlpack.progress import Event, Noted, Warned
from tests.cloud.bucket.conftest import KilledError
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import client
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY
from tests.cloud.test_lifecycle import STATEMENT, permit, put_policy, rule
from tests.cloud.test_objectstorage import BUCKET, make_bucket, make_par

EXPIRES = "2099-01-01"
RULES = {
    "ocimlpack-archive-old",
    "ocimlpack-delete-expired",
    "ocimlpack-delete-previous",
    "ocimlpack-abort-uploads",
}


def provision(**options: Any) -> ocimlpack.ProvisionedBucket:
    wanted = {"read_url_expires": EXPIRES, **options}
    return ocimlpack.bucket_provision(BUCKET, **wanted)


def drift() -> list[tuple[str, str]]:
    found = ocimlpack.bucket_status(BUCKET, read_url_expires=EXPIRES)
    left: list[tuple[str, str]] = [
        (step.part, step.fate) for step in found.steps if step.fate != "keep"
    ]
    assert found.drift == bool(left)
    return left


def check(cloud: LocalCloud) -> None:
    """Everything is there, once."""
    assert drift() == []
    store = cloud.storage.store
    assert store.buckets[BUCKET]["freeformTags"] == {"ocimlpack": "bucket provision"}
    assert store.buckets[BUCKET]["autoTiering"] == "InfrequentAccess"
    assert {each["name"] for each in store.lifecycles[BUCKET]["items"]} == RULES
    assert [each["name"] for each in cloud.policies.policies.values()] == ["ocimlpack-models"]
    assert len(cloud.logging.groups) == 1
    sources = [each["configuration"]["source"] for each in cloud.logging.logs.values()]
    assert sorted(each["category"] for each in sources) == ["read", "write"]
    assert len(store.requests) == 1


def test_from_nothing(alone: LocalCloud) -> None:
    done = provision()
    check(alone)
    bucket = alone.storage.store.buckets[BUCKET]
    assert done.changed
    assert (done.name, done.ocid) == (BUCKET, bucket["id"])
    assert (done.namespace, done.region) == (NAMESPACE, "us-ashburn-1")
    assert (bucket["publicAccessType"], bucket["storageTier"]) == ("NoPublicAccess", "Standard")
    assert bucket["versioning"] == "Enabled"
    assert bucket["objectEventsEnabled"]
    assert done.read_url is not None
    assert done.read_url.startswith(f"{alone.url}/p/")
    for log in alone.logging.logs.values():
        assert log["configuration"]["source"]["resource"] == BUCKET
    asked = alone.server.count()
    again = provision()
    assert not again.changed
    assert again.ocid == done.ocid
    assert again.read_url is None
    assert all(each.method == "GET" for each in alone.server.asked()[asked:])


def test_a_dry_run_changes_nothing(alone: LocalCloud) -> None:
    done = provision(dry_run=True)
    assert (done.ocid, done.changed, done.dry_run) == (None, False, True)
    assert {step.fate for step in done.plan} == {"create"}
    assert all(each.method == "GET" for each in alone.server.asked())


def count_changes(cloud: LocalCloud) -> int:
    """How many requests of a whole run change something."""
    provision()
    changes = [each for each in cloud.server.asked() if each.method != "GET"]
    return len(changes)


CHANGES = 8
"""Requests of a whole run that change something: policy, bucket, lifecycle, group, two logs, and
the address; and the one that never comes."""


def test_the_number_of_changes_is_what_is_gone_through_below(alone: LocalCloud) -> None:
    assert count_changes(alone) == CHANGES - 1


@pytest.mark.parametrize("call", range(1, CHANGES))
def test_killed_after_each_call_it_converges(
    alone: LocalCloud, kill: Callable[[int | None], None], call: int
) -> None:
    kill(call)
    with pytest.raises(KilledError):
        provision()
    kill(None)
    provision()
    check(alone)


@pytest.mark.parametrize("call", range(1, CHANGES))
def test_killed_again_and_again_it_converges(
    alone: LocalCloud, kill: Callable[[int | None], None], call: int
) -> None:
    alone.policies.delay = 20
    alone.logging.takes = 5
    for _ in range(CHANGES):
        kill(call)
        try:
            provision()
        except KilledError:
            continue
        break
    kill(None)
    provision()
    check(alone)


REQUESTS = 17


def test_the_number_of_requests_is_what_is_gone_through_below(alone: LocalCloud) -> None:
    provision()
    assert alone.server.count() == REQUESTS


@pytest.mark.parametrize("request_number", range(1, REQUESTS + 1))
def test_a_service_that_goes_down_at_any_request(
    alone: LocalCloud, monkeypatch: pytest.MonkeyPatch, request_number: int
) -> None:
    monkeypatch.setattr(_sdk, "_TRIES", 1)
    alone.server.fault(nth=request_number, times=None, status=503)
    with pytest.raises(UnavailableError):
        provision()
    alone.server.faults.clear()
    provision()
    check(alone)


@pytest.mark.parametrize("call", range(1, CHANGES))
def test_an_answer_is_lost(alone: LocalCloud, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """The SDK asks again by itself, and finds what it has just made."""
    monkeypatch.setattr("oci.retry.retry.time.sleep", lambda _: None)
    changes = 0

    def strikes(request: Any) -> bool:
        nonlocal changes
        changes += request.method != "GET"
        return bool(request.method != "GET" and changes == call)

    alone.server.fault(drop="after", times=None).strikes = strikes  # type: ignore[method-assign]
    provision()
    assert changes > call
    check(alone)


def test_policies_are_waited_for_until_they_are_in_force(alone: LocalCloud) -> None:
    alone.policies.delay = 40
    alone.logging.takes = 10
    events: list[Event] = []
    provision(report=events.append)
    check(alone)
    said = [event.message for event in events if isinstance(event, Noted)]
    assert "waiting for the policy to be in force" in said
    assert "waiting for the log group ocimlpack" in said
    assert said[-1].startswith("made the address ocimlpack-read")


def test_without_permission_of_the_service_it_says_what_to_permit(alone: LocalCloud) -> None:
    with pytest.raises(NotAllowedError) as caught:
        provision(iam_policy=False)
    assert "objectstorage-us-ashburn-1 may not do" in caught.value.message
    assert caught.value.hint == f"a policy has to say: {STATEMENT}"
    permit(alone)
    provision(iam_policy=False)
    assert ("lifecycle", "create") not in drift()


def test_who_may_write_no_policies_gets_by_with_one_of_the_root(alone: LocalCloud) -> None:
    permit(alone, compartment_id=TENANCY)
    alone.alice.may_manage -= {"policies"}
    alone.alice.may_read -= {"policies"}
    events: list[Event] = []
    provision(report=events.append)
    (warned,) = [event.message for event in events if isinstance(event, Warned)]
    assert "the policy ocimlpack-models can't be written" in warned
    assert "iam_policy: false" in warned
    status = ocimlpack.bucket_status(BUCKET, read_url_expires=EXPIRES, iam_policy=False)
    assert not status.drift


def test_a_key_needs_its_permission_first(alone: LocalCloud) -> None:
    key = "ocid1.key.oc1.iad.vault.key"
    alone.policies.delay = 10
    provision(kms_key=key)
    assert alone.storage.store.buckets[BUCKET]["kmsKeyId"] == key
    with pytest.raises(NotAllowedError) as caught:
        ocimlpack.bucket_provision("second", kms_key=key, iam_policy=False)
    assert "use keys" in (caught.value.hint or "")


class TestWhatStands:
    def test_a_bucket_of_others_is_brought_in_line_and_stays_theirs(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        make_bucket(storage, public_access_type="ObjectRead", freeform_tags={"team": "web"})
        provision(tags={"purpose": "models"})
        bucket = alone.storage.store.buckets[BUCKET]
        assert bucket["publicAccessType"] == "NoPublicAccess"
        assert bucket["versioning"] == "Enabled"
        assert bucket["freeformTags"] == {"team": "web", "purpose": "models"}

    def test_rules_of_others_go_back_as_they_are(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage)
        permit(alone)
        theirs = rule("theirs", "DELETE", 3, under="tmp/*")
        theirs.object_name_filter.inclusion_prefixes = ["scratch/"]
        theirs.object_name_filter.exclusion_patterns = ["tmp/keep*"]
        put_policy(storage, theirs, rule("off", "ARCHIVE", 9, is_enabled=False))
        before = alone.storage.store.lifecycles[BUCKET]["items"]
        provision()
        after = alone.storage.store.lifecycles[BUCKET]["items"]
        assert after[:2] == before
        assert {each["name"] for each in after[2:]} == RULES
        provision(archive_after=60)
        assert alone.storage.store.lifecycles[BUCKET]["items"][:2] == before

    def test_a_rule_written_between_look_and_write_is_not_lost(
        self, alone: LocalCloud, storage: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_bucket(storage)
        permit(alone)
        real, times = standing.read_lifecycle, 0

        def read(*args: Any) -> standing.Lifecycle:
            nonlocal times
            found = real(*args)
            times += 1
            if times == 2:  # the look before the write; the first was for the plan
                put_policy(storage, rule("theirs", "DELETE", 3))
            return found

        monkeypatch.setattr(standing, "read_lifecycle", read)
        provision()
        items = alone.storage.store.lifecycles[BUCKET]["items"]
        assert {each["name"] for each in items} == RULES | {"theirs"}

    def test_one_who_always_comes_between_is_a_conflict(
        self, alone: LocalCloud, storage: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_bucket(storage)
        permit(alone)
        real = standing.read_lifecycle

        def read(*args: Any) -> standing.Lifecycle:
            found = real(*args)
            put_policy(storage, rule("theirs", "DELETE", 3))
            return found

        monkeypatch.setattr(standing, "read_lifecycle", read)
        with pytest.raises(ConflictError, match="changed by others all the time"):
            provision()

    def test_rules_of_ours_that_are_not_wanted_any_more_go(
        self, alone: LocalCloud, storage: Any, tmp_path: Any
    ) -> None:
        provision()
        put_policy(storage, rule("theirs", "DELETE", 3), *_raw(storage))
        (tmp_path / "bucket.yaml").write_text(f"name: {BUCKET}\nlifecycle: []\n")
        ocimlpack.bucket_provision(file=tmp_path / "bucket.yaml")
        items = alone.storage.store.lifecycles[BUCKET]["items"]
        assert [each["name"] for each in items] == ["theirs"]

    def test_and_the_policy_with_the_last(self, alone: LocalCloud, tmp_path: Any) -> None:
        provision()
        (tmp_path / "bucket.yaml").write_text(f"name: {BUCKET}\nlifecycle: []\n")
        ocimlpack.bucket_provision(file=tmp_path / "bucket.yaml")
        assert BUCKET not in alone.storage.store.lifecycles

    def test_a_bucket_that_changes_under_our_hands(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage)

        def approve(_: ocimlpack.BucketPlan) -> bool:
            details = {"versioning": "Suspended"}
            storage.update_bucket(NAMESPACE, BUCKET, _update(**details))
            return True

        with pytest.raises(ConflictError, match="changed by somebody else"):
            provision(approve=approve)
        provision()
        assert drift() == []

    def test_an_address_with_another_time_replaces_ours_not_others(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        provision()
        make_par(storage, name="theirs")
        done = provision(read_url_expires="2098-01-01")
        assert done.read_url is not None
        names = {
            (each["name"], each["timeExpires"][:10])
            for each in alone.storage.store.requests.values()
        }
        assert ("ocimlpack-read", "2098-01-01") in names
        assert {name for name, _ in names} == {"ocimlpack-read", "theirs"}
        assert len(names) == 2

    def test_a_log_group_that_is_shared(self, alone: LocalCloud) -> None:
        provision()
        ocimlpack.bucket_provision("second")
        assert len(alone.logging.groups) == 1
        assert len(alone.logging.logs) == 4

    def test_a_log_that_was_turned_off(self, alone: LocalCloud) -> None:
        provision()
        logging = client(alone, "logging.LoggingManagementClient")
        (group,) = alone.logging.groups
        log = next(iter(alone.logging.logs))
        logging.update_log(group, log, _log(is_enabled=False, retention_duration=60))
        assert drift() == [("log", "change")]
        provision()
        assert drift() == []

    def test_a_log_elsewhere_is_a_conflict(self, alone: LocalCloud) -> None:
        provision()
        with pytest.raises(ConflictError, match=r"the log models-read can't be made: .*already"):
            provision(log_group="another")


class TestRefusals:
    def test_a_name_in_another_compartment(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage, compartment_id=OTHER_COMPARTMENT)
        with pytest.raises(ConflictError) as caught:
            provision()
        assert caught.value.message.startswith("--bucket: the name models is taken by a bucket in")
        assert OTHER_COMPARTMENT in caught.value.message
        assert alone.policies.policies == {}

    def test_a_name_that_somebody_else_has_out_of_sight(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        make_bucket(storage, compartment_id=OTHER_COMPARTMENT)
        alone.alice.compartments = frozenset({COMPARTMENT})
        with pytest.raises(ConflictError) as caught:
            provision()
        assert "is taken in this tenancy, or this identity may make no" in caught.value.message
        assert "manage buckets in compartment id" in (caught.value.hint or "")

    def test_an_archive_that_is_asked_for_versions_later(
        self, alone: LocalCloud, storage: Any, tmp_path: Any
    ) -> None:
        make_bucket(storage, storage_tier="Archive")
        path = tmp_path / "bucket.yaml"
        path.write_text(f"name: {BUCKET}\nversioning: Enabled\n")
        with pytest.raises(ConflictError) as caught:
            ocimlpack.bucket_provision(file=path)
        assert caught.value.message == (
            f"{path}, line 2: the bucket models has the storage tier Archive, which can't be "
            "changed; a bucket with Standard and these settings needs another name"
        )

    def test_a_plan_that_is_not_approved(self, alone: LocalCloud) -> None:
        shown: list[ocimlpack.BucketPlan] = []

        def approve(plan: ocimlpack.BucketPlan) -> bool:
            shown.append(plan)
            return False

        with pytest.raises(OcimlpackError, match="not approved"):
            provision(approve=approve)
        assert shown[0].count("create") == 7
        assert all(each.method == "GET" for each in alone.server.asked())

    def test_a_permission_that_is_never_in_force(self, alone: LocalCloud) -> None:
        alone.policies.delay = 10 * sum(apply.PAUSES)
        with pytest.raises(NotAllowedError, match="may not do"):
            provision()
        alone.wait(seconds=alone.policies.delay)
        provision()
        check(alone)

    def test_nobody_without_permission(self, alone: LocalCloud) -> None:
        alone.alice.may_manage -= {"buckets"}
        with pytest.raises(ConflictError, match="may make no buckets"):
            provision()
        alone.alice.may_read = alone.alice.may_manage = frozenset({"buckets", "policies"})
        with pytest.raises(NotAllowedError, match="log group"):
            provision()
        ocimlpack.bucket_provision(BUCKET, access_logs=False)


def test_what_it_has_done_is_in_the_audit_log(alone: LocalCloud) -> None:
    done = provision()
    provision()
    assert done.read_url is not None
    (record,) = ocimlpack.audit().records
    assert (record.action, record.reference, record.result) == ("bucket provision", BUCKET, "ok")
    assert done.read_url.split("/")[4] not in str(record)


def _raw(storage: Any) -> list[Any]:
    found = storage.get_object_lifecycle_policy(NAMESPACE, BUCKET).data.items
    return list(found)


def _update(**details: Any) -> Any:
    import oci

    return oci.object_storage.models.UpdateBucketDetails(**details)


def _log(**details: Any) -> Any:
    import oci

    return oci.logging.models.UpdateLogDetails(**details)
