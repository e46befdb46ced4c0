"""Taking away what was made, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ocimlpack
from ocimlpack.cloud.bucket import removal
from ocimlpack.errors import ConflictError, InputError, NotFoundError
from ocimlpack.progress import Event, Noted, Warned
from ocimlpack.transfer import pool
from tests.cloud.bucket.conftest import KilledError
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import client
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.cloud.test_lifecycle import permit
from tests.cloud.test_multipart import add, begin
from tests.cloud.test_objectstorage import BUCKET, make_bucket, make_par, put


def provision(**options: Any) -> None:
    ocimlpack.bucket_provision(BUCKET, **options)


def destroy(**options: Any) -> ocimlpack.RemovedBucket:
    return ocimlpack.bucket_destroy(BUCKET, **{"confirm": BUCKET, **options})


def fill(storage: Any) -> None:
    for number in range(9):
        put(storage, f"a/{number % 4}", b"x" * number)
    storage.delete_object(NAMESPACE, BUCKET, "a/1")
    add(storage, begin(storage), 1, b"part")
    make_par(storage, name="theirs")


def check_gone(cloud: LocalCloud) -> None:
    store = cloud.storage.store
    assert dict(store.buckets) == {}
    assert list(store.objects.bodies()) == []
    assert (len(store.uploads), len(store.requests), len(store.lifecycles)) == (0, 0, 0)
    assert (len(cloud.policies.policies), len(cloud.logging.logs)) == (0, 0)
    assert len(cloud.logging.groups) == 0


def test_an_empty_bucket_goes_with_what_was_made_beside_it(alone: LocalCloud) -> None:
    provision(read_url_expires="2099-01-01")
    done = destroy()
    check_gone(alone)
    assert done.removed == (
        "the address ocimlpack-read",
        "the log models-read",
        "the log models-write",
        "the log group ocimlpack",
        "the bucket models",
        "the policy ocimlpack-models",
    )
    with pytest.raises(NotFoundError, match="there is no bucket models"):
        destroy()


def test_one_with_content_goes_only_by_force(alone: LocalCloud, storage: Any) -> None:
    provision()
    fill(storage)
    with pytest.raises(ConflictError) as caught:
        destroy()
    assert caught.value.message == (
        "the bucket models has 10 versions of objects, 1 unfinished upload, "
        "1 pre-authenticated request in it"
    )
    assert "--force" in (caught.value.hint or "")
    assert all(each.method != "DELETE" for each in alone.server.asked(path=f"/b/{BUCKET}/l"))
    done = destroy(force=True)
    check_gone(alone)
    assert "10 versions of objects" in done.removed
    assert "1 unfinished upload" in done.removed


def test_many_versions_go_page_by_page(
    alone: LocalCloud, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_PAGE", 3)
    provision()
    fill(storage)
    events: list[Event] = []
    destroy(force=True, report=events.append)
    check_gone(alone)
    said = [event.message for event in events if isinstance(event, Noted)]
    assert "removed 9 versions of objects so far" in said


def test_a_bucket_that_is_written_to_all_the_time(
    alone: LocalCloud, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provision()
    put(storage, "a", b"1")
    real = pool.run

    def run(*arguments: Any) -> Any:
        done = real(*arguments)
        put(storage, "a", b"1")
        return done

    monkeypatch.setattr(pool, "run", run)
    with pytest.raises(ConflictError, match="doesn't get empty"):
        destroy(force=True)


@pytest.mark.parametrize("typed", ["", "model", "MODELS"])
def test_another_name_confirms_nothing(alone: LocalCloud, typed: str) -> None:
    provision()
    with pytest.raises(InputError, match="not confirmed"):
        destroy(confirm=typed)
    shown: list[ocimlpack.BucketContent] = []

    def ask(content: ocimlpack.BucketContent) -> str:
        shown.append(content)
        return typed

    with pytest.raises(InputError, match="not confirmed"):
        destroy(confirm=ask)
    assert shown[0].beside == (
        "the log models-read",
        "the log models-write",
        "the policy ocimlpack-models",
    )
    assert BUCKET in alone.storage.store.buckets


class TestWhatOthersMade:
    def test_a_bucket(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage)
        provision()
        with pytest.raises(ConflictError, match="was not made by ocimlpack bucket provision"):
            destroy(force=True)
        assert BUCKET in alone.storage.store.buckets

    def test_a_policy_and_logs(self, alone: LocalCloud, storage: Any) -> None:
        permit(alone, name="ocimlpack-models")
        provision()
        ocimlpack.bucket_provision("second")
        destroy()
        left = {policy["name"] for policy in alone.policies.policies.values()}
        assert left == {"ocimlpack-models", "ocimlpack-second"}
        assert len(alone.logging.logs) == 2
        assert len(alone.logging.groups) == 1

    def test_a_log_group(self, alone: LocalCloud) -> None:
        import oci

        logging = client(alone, "logging.LoggingManagementClient")
        details = oci.logging.models.CreateLogGroupDetails(
            compartment_id=COMPARTMENT, display_name="ocimlpack"
        )
        logging.create_log_group(details)
        provision()
        destroy()
        assert len(alone.logging.groups) == 1


def test_logs_that_may_not_be_seen_are_left_alone(alone: LocalCloud) -> None:
    provision()
    alone.alice.may_read -= {"logs"}
    alone.alice.may_manage -= {"logs"}
    events: list[Event] = []
    destroy(report=events.append)
    (warned,) = [event.message for event in events if isinstance(event, Warned)]
    assert warned.startswith("logs are left alone")
    assert dict(alone.storage.store.buckets) == {}
    assert len(alone.logging.logs) == 2


@pytest.mark.parametrize("call", range(1, 8))
def test_killed_after_each_call_it_converges(
    alone: LocalCloud, storage: Any, kill: Callable[[int | None], None], call: int
) -> None:
    provision(read_url_expires="2099-01-01")
    add(storage, begin(storage), 1, b"part")
    kill(call)
    with pytest.raises(KilledError):
        destroy(force=True)
    kill(None)
    if call == 7:  # the last
        with pytest.raises(NotFoundError):
            destroy(force=True)
    else:
        destroy(force=True)
    check_gone(alone)


@pytest.mark.parametrize("call", range(1, 9))
def test_an_answer_is_lost(
    alone: LocalCloud, storage: Any, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    provision(read_url_expires="2099-01-01")
    put(storage, "a", b"1")
    add(storage, begin(storage), 1, b"part")
    monkeypatch.setattr("oci.retry.retry.time.sleep", lambda _: None)
    changes = 0

    def strikes(request: Any) -> bool:
        nonlocal changes
        changes += request.method != "GET"
        return bool(request.method != "GET" and changes == call)

    alone.server.fault(drop="after", times=None).strikes = strikes  # type: ignore[method-assign]
    destroy(force=True)
    assert changes > call
    check_gone(alone)


def test_without_its_bucket_the_rest_goes(alone: LocalCloud, storage: Any) -> None:
    provision()
    storage.delete_bucket(NAMESPACE, BUCKET)
    shown: list[ocimlpack.BucketContent] = []

    def ask(content: ocimlpack.BucketContent) -> str:
        shown.append(content)
        return content.name

    destroy(confirm=ask)
    assert not shown[0].there
    check_gone(alone)


def test_what_it_has_done_is_in_the_audit_log(alone: LocalCloud) -> None:
    provision()
    destroy()
    actions = [(record.action, record.result) for record in ocimlpack.audit().records]
    assert actions == [("bucket provision", "ok"), ("bucket destroy", "ok")]
