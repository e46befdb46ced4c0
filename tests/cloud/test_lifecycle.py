"""Lifecycle, archive tier, policies and logs of the local cloud, as the real SDK meets them."""

from __future__ import annotations

import time
import warnings
from typing import Any

import pytest

from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import client
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY
from tests.cloud.test_multipart import begin
from tests.cloud.test_objectstorage import BUCKET, get, make_bucket, names, put, refusal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import oci
    from oci.identity.models import CreatePolicyDetails, UpdatePolicyDetails
    from oci.logging import models as logs
    from oci.object_storage import models

STATEMENT = (
    f"Allow service objectstorage-us-ashburn-1 to manage object-family in compartment id "
    f"{COMPARTMENT} where target.bucket.name = '{BUCKET}'"
)


def rule(name: str, action: str, days: int, target: str = "objects", **more: Any) -> Any:
    """A rule; `under` is a glob."""
    under = more.pop("under", None)
    globs = models.ObjectNameFilter(inclusion_patterns=[under]) if under else None
    wanted: dict[str, Any] = {"time_unit": "DAYS", "is_enabled": True, **more}
    return models.ObjectLifecycleRule(
        name=name,
        action=action,
        time_amount=days,
        target=target,
        object_name_filter=globs,
        **wanted,
    )


def put_policy(storage: Any, *rules: Any, **options: Any) -> Any:
    details = models.PutObjectLifecyclePolicyDetails(items=list(rules))
    return storage.put_object_lifecycle_policy(NAMESPACE, BUCKET, details, **options)


def permit(alone: LocalCloud, statement: str = STATEMENT, **more: Any) -> Any:
    wanted = {"compartment_id": COMPARTMENT, "name": "lifecycle", "description": "d", **more}
    details = CreatePolicyDetails(statements=[statement], **wanted)
    return client(alone, "identity.IdentityClient").create_policy(details).data


class TestPolicies:
    def test_without_permission_of_the_service_a_lifecycle_is_refused(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        make_bucket(storage)
        wanted = (put_policy, storage, rule("d", "DELETE", 1))
        assert refusal(*wanted) == (400, "InsufficientServicePermissions")
        permit(alone)
        assert put_policy(storage, rule("d", "DELETE", 1)).data.items[0].name == "d"

    @pytest.mark.parametrize(
        "statement",
        [
            STATEMENT.replace("manage", "read"),
            STATEMENT.replace("object-family", "buckets"),
            STATEMENT.replace("us-ashburn-1", "eu-frankfurt-1"),
            STATEMENT.replace(f"'{BUCKET}'", "'other'"),
        ],
    )
    def test_another_permission_is_none(
        self, alone: LocalCloud, storage: Any, statement: str
    ) -> None:
        make_bucket(storage)
        permit(alone, statement)
        assert refusal(put_policy, storage, rule("d", "DELETE", 1))[0] == 400

    def test_it_takes_a_while_until_a_policy_is_in_force(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        make_bucket(storage)
        alone.policies.delay = 30
        permit(alone)
        assert refusal(put_policy, storage, rule("d", "DELETE", 1))[0] == 400
        alone.wait(seconds=31)
        put_policy(storage, rule("d", "DELETE", 1))

    def test_they_are_made_listed_changed_and_deleted(self, alone: LocalCloud) -> None:
        identity = client(alone, "identity.IdentityClient")
        made = permit(alone)
        again = CreatePolicyDetails(
            compartment_id=COMPARTMENT, name="lifecycle", description="d", statements=[STATEMENT]
        )
        assert refusal(identity.create_policy, again) == (409, "PolicyAlreadyExists")
        found = identity.list_policies(COMPARTMENT, name="lifecycle").data
        assert [each.id for each in found] == [made.id]
        assert identity.list_policies(OTHER_COMPARTMENT).data == []
        change = UpdatePolicyDetails(statements=[STATEMENT, "Allow group A to read buckets"])
        assert len(identity.update_policy(made.id, change).data.statements) == 2
        identity.delete_policy(made.id)
        assert refusal(identity.get_policy, made.id)[0] == 404

    def test_a_policy_reaches_its_own_compartment_only(self, alone: LocalCloud) -> None:
        assert refusal(permit, alone, "Let me in")[0] == 400
        assert refusal(permit, alone, STATEMENT, compartment_id=OTHER_COMPARTMENT)[0] == 400
        permit(alone, compartment_id=TENANCY)


class TestRules:
    @pytest.fixture(autouse=True)
    def bucket(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage)
        permit(alone)

    def test_a_policy_is_replaced_where_it_is_what_was_seen(self, storage: Any) -> None:
        read = storage.get_object_lifecycle_policy, NAMESPACE, BUCKET
        assert refusal(*read) == (404, "LifecyclePolicyNotFound")
        first = put_policy(storage, rule("a", "DELETE", 1), if_none_match="*").headers["etag"]
        new = (put_policy, storage, rule("b", "DELETE", 1))
        assert refusal(*new, if_none_match="*") == (412, "IfNoneMatchFailed")
        second = put_policy(storage, rule("b", "DELETE", 1), if_match=first).headers["etag"]
        assert refusal(*new, if_match=first) == (412, "IfMatchFailed")
        found = storage.get_object_lifecycle_policy(NAMESPACE, BUCKET)
        assert [each.name for each in found.data.items] == ["b"]
        assert found.headers["etag"] == second
        seen = storage.get_bucket(NAMESPACE, BUCKET).data.object_lifecycle_policy_etag
        assert seen == second
        storage.delete_object_lifecycle_policy(NAMESPACE, BUCKET, if_match=second)
        assert refusal(*read)[0] == 404

    @pytest.mark.parametrize(
        ("wrong", "code"),
        [
            (rule("a", "SHRED", 1), "InvalidLifecycleActionType"),
            (rule("a", "ABORT", 1), "InvalidLifecycleActionType"),
            (rule("a", "DELETE", 1, "tags"), "InvalidLifecycleActionType"),
            (rule("a", "DELETE", 1, time_unit="MONTHS"), "InvalidLifecycleTimeUnit"),
            (rule("a", "DELETE", -1), "InvalidLifecycleTimeAmount"),
            (rule("a", "ABORT", 1, "multipart-uploads", under="x*"), "InvalidLifecyclePattern"),
        ],
    )
    def test_a_wrong_rule_is_refused(self, storage: Any, wrong: Any, code: str) -> None:
        assert refusal(put_policy, storage, wrong) == (400, code)

    def test_two_of_one_name_and_infrequent_access_beside_auto_tiering(self, storage: Any) -> None:
        twice = [rule("a", "DELETE", 1), rule("a", "DELETE", 2)]
        assert refusal(put_policy, storage, *twice) == (400, "InvalidLifecycleRuleName")
        put_policy(storage, rule("a", "INFREQUENT_ACCESS", 30))
        change = models.UpdateBucketDetails(auto_tiering="InfrequentAccess")
        storage.update_bucket(NAMESPACE, BUCKET, change)
        assert refusal(put_policy, storage, rule("a", "INFREQUENT_ACCESS", 30))[0] == 400


class TestRunning:
    @pytest.fixture(autouse=True)
    def bucket(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage, versioning="Enabled")
        permit(alone)

    def test_a_day_ends_at_midnight(self, alone: LocalCloud, storage: Any) -> None:
        put_policy(storage, rule("old", "ARCHIVE", 30, under="old/*"))
        put(storage, "old/a", b"1")
        put(storage, "active/a", b"2")
        until_midnight = 86_400 - time.time() % 86_400
        alone.wait(days=30, seconds=until_midnight - 60)
        assert alone.storage.run_lifecycle() == []
        alone.wait(seconds=120)
        assert alone.storage.run_lifecycle() == ["ARCHIVE old/a"]
        assert alone.storage.run_lifecycle() == []
        assert refusal(get, storage, "old/a") == (409, "NotRestored")
        assert get(storage, "active/a") == b"2"

    def test_deleting_comes_first_and_leaves_a_previous_version(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        put_policy(
            storage,
            rule("a", "ARCHIVE", 30),
            rule("d", "DELETE", 30),
            rule("p", "DELETE", 365, "previous-object-versions"),
        )
        first = put(storage, "a", b"1").headers["version-id"]
        alone.wait(days=31)
        assert alone.storage.run_lifecycle() == ["DELETE a"]
        assert names(storage) == []
        assert get(storage, "a", version_id=first) == b"1"
        alone.wait(days=364)
        assert alone.storage.run_lifecycle() == []
        alone.wait(days=2)
        assert alone.storage.run_lifecycle() == ["DELETE a"]
        assert refusal(get, storage, "a", version_id=first)[0] == 404

    def test_unfinished_uploads(self, alone: LocalCloud, storage: Any) -> None:
        put_policy(storage, rule("u", "ABORT", 7, "multipart-uploads"))
        begin(storage)
        alone.wait(days=6)
        assert alone.storage.run_lifecycle() == []
        alone.wait(days=2)
        assert alone.storage.run_lifecycle() == ["ABORT w"]
        assert storage.list_multipart_uploads(NAMESPACE, BUCKET).data == []

    def test_nothing_runs_that_is_off_or_not_permitted(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        put_policy(storage, rule("d", "DELETE", 1, is_enabled=False))
        put(storage, "a", b"1")
        alone.wait(days=3)
        assert alone.storage.run_lifecycle() == []
        put_policy(storage, rule("d", "DELETE", 1))
        identity = client(alone, "identity.IdentityClient")
        identity.delete_policy(identity.list_policies(COMPARTMENT).data[0].id)
        assert alone.storage.run_lifecycle() == []
        permit(alone)
        assert alone.storage.run_lifecycle() == ["DELETE a"]


class TestArchive:
    @pytest.fixture(autouse=True)
    def bucket(self, storage: Any) -> None:
        make_bucket(storage)
        put(storage, "a", b"1", storage_tier="Archive")

    def state(self, storage: Any) -> str | None:
        head = storage.head_object(NAMESPACE, BUCKET, "a").headers
        listed = storage.list_objects(NAMESPACE, BUCKET, fields="archivalState").data.objects
        assert listed[0].archival_state == head.get("archival-state")
        found: str | None = head.get("archival-state")
        return found

    def restore(self, storage: Any, **details: Any) -> int:
        wanted = models.RestoreObjectsDetails(object_name="a", **details)
        done: int = storage.restore_objects(NAMESPACE, BUCKET, wanted).status
        return done

    def test_a_restore_takes_an_hour_and_lasts(self, alone: LocalCloud, storage: Any) -> None:
        assert self.state(storage) == "Archived"
        assert refusal(get, storage, "a") == (409, "NotRestored")
        assert self.restore(storage, hours=48) == 202
        assert self.state(storage) == "Restoring"
        assert refusal(get, storage, "a") == (409, "NotRestored")
        assert refusal(self.restore, storage) == (409, "RestoreInProgress")
        alone.wait(hours=1)
        assert self.state(storage) == "Restored"
        assert get(storage, "a") == b"1"
        alone.wait(hours=47)
        assert get(storage, "a") == b"1"
        alone.wait(hours=2)
        assert refusal(get, storage, "a") == (409, "NotRestored")

    def test_what_cannot_be_restored(self, storage: Any) -> None:
        assert refusal(self.restore, storage, hours=1_000) == (400, "InvalidRestoreHours")
        put(storage, "a", b"2")
        assert self.state(storage) is None
        assert refusal(self.restore, storage) == (400, "NotArchivedObject")
        tier = models.UpdateObjectStorageTierDetails(object_name="a", storage_tier="Archive")
        storage.update_object_storage_tier(NAMESPACE, BUCKET, tier)
        back = models.UpdateObjectStorageTierDetails(object_name="a", storage_tier="Standard")
        call = storage.update_object_storage_tier, NAMESPACE, BUCKET, back
        assert refusal(*call)[0] == 409


class TestLogs:
    def test_groups_and_logs_are_made_by_work_requests(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        make_bucket(storage)
        logging = client(alone, "logging.LoggingManagementClient")
        alone.logging.takes = 30
        group = logs.CreateLogGroupDetails(compartment_id=COMPARTMENT, display_name="models")
        request = logging.create_log_group(group).headers["opc-work-request-id"]
        assert logging.get_work_request(request).data.status == "IN_PROGRESS"
        assert logging.list_log_groups(COMPARTMENT).data == []
        alone.wait(seconds=31)
        done = logging.get_work_request(request).data
        assert done.status == "SUCCEEDED"
        assert refusal(logging.create_log_group, group)[0] == 409
        ocid = logging.list_log_groups(COMPARTMENT, display_name="models").data[0].id
        assert done.resources[0].identifier == ocid
        alone.logging.takes = 0
        for category in ("read", "write"):
            logging.create_log(ocid, log(category))
        assert refusal(logging.create_log, ocid, log("read"))[0] == 409
        assert refusal(logging.create_log, ocid, log("all"))[0] == 400
        found = logging.list_logs(ocid, source_service="objectstorage").data
        seen = {each.configuration.source.category for each in found}
        assert seen == {"read", "write"}
        logging.update_log(ocid, found[0].id, logs.UpdateLogDetails(is_enabled=False))
        assert logging.get_log(ocid, found[0].id).data.lifecycle_state == "INACTIVE"
        assert refusal(logging.delete_log_group, ocid)[0] == 409
        for each in found:
            logging.delete_log(ocid, each.id)
        logging.delete_log_group(ocid)
        assert (
            oci.pagination.list_call_get_all_results(logging.list_log_groups, COMPARTMENT).data
            == []
        )


def log(category: str) -> Any:
    return logs.CreateLogDetails(
        display_name=f"{BUCKET}-{category}",
        log_type="SERVICE",
        configuration=logs.Configuration(
            source=logs.OciService(service="objectstorage", resource=BUCKET, category=category)
        ),
    )
