"""The plan: what stands against what is to be, without anybody being asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ocimlpack.cloud.bucket.plan import Part, Plan, Step, compare
from ocimlpack.cloud.bucket.spec import MARK, MARK_VALUE, Logs, ReadUrl, Rule, Spec
from ocimlpack.cloud.bucket.standing import (
    Bucket,
    Lifecycle,
    Log,
    LogGroup,
    Policy,
    Standing,
    Url,
)

HERE = "ocid1.compartment.oc1..here"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
SPEC = Spec("models", HERE, "us-ashburn-1")
BUCKET = Bucket(
    name="models",
    ocid="ocid1.bucket.oc1.iad.x",
    compartment=HERE,
    public_access="NoPublicAccess",
    storage_tier="Standard",
    versioning="Enabled",
    auto_tiering="InfrequentAccess",
    kms_key=None,
    object_events=True,
    tags={MARK: MARK_VALUE},
    defined_tags={},
    etag="e",
)
LOGS = tuple(
    Log(f"ocid-{name}", f"models-{name}", name, True, 30, True) for name in ("read", "write")
)
STANDING = Standing(
    bucket=BUCKET,
    lifecycle=Lifecycle(SPEC.rules, (), "e"),
    policies=(Policy("p", SPEC.policy_name, SPEC.statements, True),),
    group=LogGroup("g", "ocimlpack", True),
    logs=LOGS,
)


def planned(spec: Spec = SPEC, **changes: Any) -> Plan:
    return compare(spec, replace(STANDING, **changes), NOW)


def changed(spec: Spec = SPEC, **changes: Any) -> Step:
    """The only step that is not to be left as it is."""
    (step,) = (step for step in planned(spec, **changes).steps if step.fate != "keep")
    return step


def with_bucket(**changes: Any) -> Step:
    return changed(bucket=replace(BUCKET, **changes))


def test_what_is_as_it_is_to_be_is_kept() -> None:
    plan = planned()
    assert plan.changes == ()
    assert [(step.part, step.fate) for step in plan.steps] == [
        (Part.POLICY, "keep"),
        (Part.BUCKET, "keep"),
        (Part.LIFECYCLE, "keep"),
        (Part.LOG_GROUP, "keep"),
        (Part.LOG, "keep"),
        (Part.LOG, "keep"),
    ]


def test_from_nothing_everything_is_made_the_policy_first() -> None:
    spec = replace(SPEC, read_url=ReadUrl(NOW + timedelta(days=1)), tags={"team": "ml"})
    plan = compare(spec, Standing(), NOW)
    assert [step.part for step in plan.of("create")] == [
        Part.POLICY,
        Part.BUCKET,
        Part.LIFECYCLE,
        Part.LOG_GROUP,
        Part.LOG,
        Part.LOG,
        Part.READ_URL,
    ]
    assert len(plan.steps) == 7
    assert plan.steps[1].details == (
        f"compartment: {HERE}",
        "region: us-ashburn-1",
        "public_access: NoPublicAccess",
        "storage_tier: Standard",
        "versioning: Enabled",
        "auto_tiering: InfrequentAccess",
        "kms_key: Oracle's",
        "object_events: yes",
        "tag team: ml",
        "tag ocimlpack: bucket provision",
    )


@pytest.mark.parametrize(
    ("field", "stands", "said"),
    [
        ("public_access", "ObjectRead", "public_access: ObjectRead → NoPublicAccess"),
        ("versioning", "Disabled", "versioning: Disabled → Enabled"),
        ("versioning", "Suspended", "versioning: Suspended → Enabled"),
        ("auto_tiering", "Disabled", "auto_tiering: Disabled → InfrequentAccess"),
        ("object_events", False, "object_events: no → yes"),
    ],
)
def test_a_setting_is_changed_in_place(field: str, stands: Any, said: str) -> None:
    step = with_bucket(**{field: stands})
    assert (step.part, step.fate, step.details) == (Part.BUCKET, "change", (said,))


def test_a_key_is_changed_but_not_taken_away() -> None:
    assert planned(bucket=replace(BUCKET, kms_key="k")).changes == ()
    spec = replace(SPEC, kms_key="new")
    steps = planned(spec, bucket=replace(BUCKET, kms_key="k")).changes
    assert [(step.part, step.details[-1]) for step in steps] == [
        (Part.POLICY, spec.statements[1]),
        (Part.BUCKET, "kms_key: k → new"),
    ]


def test_tags_of_others_stay() -> None:
    spec = replace(SPEC, tags={"team": "ml"}, defined_tags={"cost": {"centre": "7"}})
    stands = replace(BUCKET, tags={"team": "web", "other": "x"}, defined_tags={"cost": {"a": "b"}})
    assert changed(spec, bucket=stands).details == (
        "tag team: web → ml",
        "tag cost.centre: none → 7",
    )


@pytest.mark.parametrize(
    ("field", "stands", "said"),
    [
        ("storage_tier", "Archive", "has the storage tier Archive, which can't be changed"),
        ("compartment", "there", "is taken by a bucket in another compartment"),
    ],
)
def test_what_cannot_be_changed_in_place_is_refused_and_nothing_else_planned(
    field: str, stands: str, said: str
) -> None:
    spec = replace(SPEC, places={"name": "bucket.yaml, line 2", "versioning": "b, line 4"})
    changes: dict[str, Any] = {field: stands}
    plan = planned(spec, bucket=replace(BUCKET, **changes), lifecycle=Lifecycle())
    assert [step.fate for step in plan.steps] == ["refuse"]
    assert said in plan.steps[0].details[0]
    place = "b, line 4: " if field == "storage_tier" else "bucket.yaml, line 2: "
    assert plan.steps[0].details[0].startswith(place)


def test_versioning_is_not_turned_off() -> None:
    step = changed(replace(SPEC, versioning="Disabled"))
    assert step.fate == "refuse"
    assert "write Suspended" in step.details[0]
    assert changed(replace(SPEC, versioning="Suspended")).fate == "change"
    new = compare(replace(SPEC, versioning="Suspended"), Standing(), NOW).steps
    assert [step.fate for step in new] == ["refuse"]


class TestLifecycle:
    def test_others_rules_are_kept_and_counted(self) -> None:
        step = changed(lifecycle=Lifecycle((), (("theirs", object()),), "e"))
        assert (step.part, step.fate) == (Part.LIFECYCLE, "change")
        assert step.details[0] == "ocimlpack-archive-old: ARCHIVE objects old/* after 30 days"
        assert step.details[-1] == "1 rule of others: kept"
        kept = planned(lifecycle=Lifecycle(SPEC.rules, (("a", 1), ("b", 2)), "e")).steps[2]
        assert (kept.fate, kept.details) == ("keep", ("2 rules of others: kept",))

    def test_a_rule_is_changed_or_goes(self) -> None:
        old = replace(SPEC.rules[0], amount=90)
        gone = Rule("ocimlpack-gone", "DELETE", 1)
        step = changed(lifecycle=Lifecycle((old, *SPEC.rules[1:], gone), (), "e"))
        assert step.details == (
            "ocimlpack-archive-old: ARCHIVE objects old/* after 90 days → "
            "ARCHIVE objects old/* after 30 days",
            "ocimlpack-gone: DELETE objects after 1 day → removed",
        )

    def test_order_makes_no_difference(self) -> None:
        assert planned(lifecycle=Lifecycle(SPEC.rules[::-1], (), "e")).changes == ()

    def test_without_rules_there_is_neither_policy_nor_lifecycle(self) -> None:
        plan = compare(replace(SPEC, rules=()), Standing(), NOW)
        assert {step.part for step in plan.steps} == {Part.BUCKET, Part.LOG_GROUP, Part.LOG}

    def test_more_rules_than_there_may_be(self) -> None:
        others = tuple((f"r{number}", None) for number in range(997))
        step = changed(lifecycle=Lifecycle((), others, "e"))
        assert step.fate == "refuse"
        assert "more than 1,000" in step.details[0]


class TestPolicy:
    def test_a_statement_in_another_policy_will_do(self) -> None:
        text = SPEC.statements[0].replace("Allow", "ALLOW  ").replace(" = ", "=")
        for statement in (text, text.partition(" where ")[0]):
            step = planned(policies=(Policy("p", "theirs", ("x", statement), False),)).steps[0]
            assert (step.name, step.fate) == ("theirs", "keep")

    def test_another_bucket_s_will_not(self) -> None:
        text = SPEC.statements[0].replace("'models'", "'other'")
        step = changed(policies=(Policy("p", "theirs", (text,), False),))
        assert (step.name, step.fate) == (SPEC.policy_name, "create")

    def test_ours_is_added_to(self) -> None:
        step = changed(policies=(Policy("p", SPEC.policy_name, ("theirs",), True),))
        assert (step.fate, step.details) == ("change", SPEC.statements)

    def test_where_policies_may_not_be_seen_it_is_tried(self) -> None:
        assert changed(policies=None).details[-1] == (
            "whether it is there may not be seen by this identity"
        )

    def test_not_looked_after_if_not_wanted(self) -> None:
        plan = planned(replace(SPEC, iam_policy=False), policies=())
        assert all(step.part is not Part.POLICY for step in plan.steps)


class TestLogs:
    def test_what_is_off_or_kept_for_another_time_is_changed(self) -> None:
        off = replace(LOGS[0], enabled=False, retention=60)
        step = changed(logs=(off, LOGS[1]))
        assert (step.name, step.fate, step.category) == ("models-read", "change", "read")
        assert step.details == ("enabled: no → yes", "retention: 60 → 30 days")

    def test_one_of_another_name_will_do(self) -> None:
        assert planned(logs=(replace(LOGS[0], name="theirs"), LOGS[1])).changes == ()

    def test_only_what_is_wanted(self) -> None:
        plan = planned(replace(SPEC, logs=Logs(read=False)), logs=(), group=None)
        assert [step.name for step in plan.changes] == ["ocimlpack", "models-write"]
        none = planned(replace(SPEC, logs=Logs(read=False, write=False)), logs=(), group=None)
        assert none.changes == ()


class TestReadUrl:
    soon = NOW + timedelta(days=30)
    spec = replace(SPEC, read_url=ReadUrl(soon))

    def test_the_same_is_kept(self) -> None:
        assert planned(self.spec, urls=(Url("u", "ocimlpack-read", self.soon),)).changes == ()

    def test_another_time_is_another_address(self) -> None:
        step = changed(self.spec, urls=(Url("u", "ocimlpack-read", NOW + timedelta(days=2)),))
        assert step.fate == "change"
        assert step.details == (
            "expires: 2026-11-28T00:00:00Z → 2026-12-26T00:00:00Z; a new address, the old one ends",
        )

    def test_one_of_two_goes(self) -> None:
        twice = tuple(Url(name, "ocimlpack-read", self.soon) for name in "ab")
        assert changed(self.spec, urls=twice).fate == "change"

    def test_others_stay_and_so_does_one_that_is_not_spoken_of(self) -> None:
        others = (Url("u", "theirs", NOW), Url("v", "ocimlpack-read", self.soon))
        assert planned(urls=others).changes == ()

    def test_one_that_has_expired_is_refused(self) -> None:
        step = changed(replace(SPEC, read_url=ReadUrl(NOW - timedelta(days=3))))
        assert step.fate == "refuse"
        assert "would have expired 3 days ago" in step.details[0]
