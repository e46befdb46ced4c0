"""From what stands to what is to be: pure comparison, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from ocimlpack.cloud.bucket.spec import (
    DISABLED,
    MARK,
    MARK_VALUE,
    PUBLIC_ACCESS,
    STORAGE_TIER,
    Rule,
    Spec,
)
from ocimlpack.cloud.bucket.standing import Bucket, Log, Policy, Standing

_MAX_RULES: Final = 1_000
"""https://docs.oracle.com/iaas/Content/Object/Tasks/usinglifecyclepolicies.htm"""


_ORACLES: Final = "Oracle's"


class Part(StrEnum):
    """What a step is about."""

    POLICY = "policy"
    BUCKET = "bucket"
    LIFECYCLE = "lifecycle"
    LOG_GROUP = "log group"
    LOG = "log"
    READ_URL = "read url"


Fate = Literal["create", "change", "keep", "refuse"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is to be done, or left as it is.

    Attributes:
        part: what it is about.
        name: its name.
        fate: what becomes of it. What is refused can't be changed in place.
        details: what is made, or changed from what to what, a line each.
        category: of a log: `read` or `write`.
    """

    part: Part
    name: str
    fate: Fate
    details: tuple[str, ...] = ()
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, in the order in which they are done.

    The policy comes first, because a bucket with a key and every lifecycle need what it permits.
    """

    steps: tuple[Step, ...]

    def of(self, fate: Fate) -> tuple[Step, ...]:
        """The steps of one kind."""
        return tuple(step for step in self.steps if step.fate == fate)

    @property
    def changes(self) -> tuple[Step, ...]:
        """What is to be done."""
        return tuple(step for step in self.steps if step.fate in {"create", "change"})


def compare(spec: Spec, standing: Standing, now: datetime) -> Plan:
    """What has to be done.

    Args:
        spec: what is to be.
        standing: what is.
        now: when addresses are looked at for whether they have expired.
    """
    bucket = _bucket(spec, standing.bucket)
    if bucket.fate == "refuse":
        return Plan((bucket,))  # all else would be about another bucket than this
    return Plan(
        (
            *_policy(spec, standing),
            bucket,
            *_lifecycle(spec, standing),
            *_logs(spec, standing),
            *_read_url(spec, standing, now),
        )
    )


def tags_of(spec: Spec) -> Mapping[str, str]:
    """The freeform tags of what is made: the user's, and the one that says who made it."""
    return {**spec.tags, MARK: MARK_VALUE}


def bucket_changes(spec: Spec, bucket: Bucket) -> Mapping[str, tuple[str, str]]:
    """The settings of a bucket that are to be changed: from what, to what."""
    found: dict[str, tuple[str, str]] = {}
    wanted = {
        "public_access": (bucket.public_access, PUBLIC_ACCESS),
        "versioning": (bucket.versioning, spec.versioning),
        "auto_tiering": (bucket.auto_tiering, spec.auto_tiering),
        "kms_key": (bucket.kms_key or _ORACLES, spec.kms_key or bucket.kms_key or _ORACLES),
        "object_events": (_yes(bucket.object_events), _yes(spec.object_events)),
    }
    found.update({key: pair for key, pair in wanted.items() if pair[0] != pair[1]})
    for key, value in spec.tags.items():
        if bucket.tags.get(key) != value:
            found[f"tag {key}"] = (bucket.tags.get(key, "none"), value)
    for space, tags in spec.defined_tags.items():
        for key, value in tags.items():
            stands = bucket.defined_tags.get(space, {}).get(key)
            if stands != value:
                found[f"tag {space}.{key}"] = (stands or "none", value)
    return found


def policy_for(spec: Spec, policies: tuple[Policy, ...]) -> Policy | None:
    """The policy of ours, or of the name that ours would have."""
    return next((each for each in policies if each.name == spec.policy_name), None)


def missing_statements(spec: Spec, policies: tuple[Policy, ...]) -> tuple[str, ...]:
    """What no policy of the compartment permits yet."""
    standing = {_normal(text) for each in policies for text in each.statements}
    return tuple(
        statement
        for statement in spec.statements
        if _normal(statement) not in standing and _normal(_widened(statement)) not in standing
    )


def rules_after(spec: Spec, others: int) -> int:
    """How many rules the lifecycle policy will have."""
    return len(spec.rules) + others


def log_name(spec: Spec, category: str) -> str:
    """What an access log of ours is called."""
    return f"{spec.name}-{category}"


def _policy(spec: Spec, standing: Standing) -> Iterator[Step]:
    if not spec.iam_policy or not spec.statements:
        return
    if standing.policies is None:
        yield Step(
            Part.POLICY,
            spec.policy_name,
            "create",
            (*spec.statements, "whether it is there may not be seen by this identity"),
        )
        return
    missing = missing_statements(spec, standing.policies)
    ours = policy_for(spec, standing.policies)
    if not missing:
        holder = ours or next(
            each
            for each in standing.policies
            if {_normal(text) for text in each.statements}
            & {_normal(text) for one in spec.statements for text in (one, _widened(one))}
        )
        yield Step(Part.POLICY, holder.name, "keep")
    else:
        yield Step(Part.POLICY, spec.policy_name, "change" if ours else "create", missing)


def _bucket(spec: Spec, bucket: Bucket | None) -> Step:
    if bucket is None:
        if spec.versioning == "Suspended":
            return _refused(
                spec,
                f"{spec.at('versioning')}versioning of a new bucket is Enabled or Disabled, "
                "not Suspended",
            )
        return Step(Part.BUCKET, spec.name, "create", tuple(_described(spec)))
    if bucket.compartment != spec.compartment:
        return _refused(
            spec,
            f"{spec.at('name', 'compartment')}the name {spec.name} is taken by a bucket in another "
            f"compartment: choose another name, or that compartment, {bucket.compartment}",
        )
    if bucket.storage_tier != STORAGE_TIER:
        asked = "storage_tier", "versioning", "name"
        return _refused(
            spec,
            f"{spec.at(*asked)}the bucket {spec.name} has the storage tier {bucket.storage_tier}, "
            f"which can't be changed; a bucket with {STORAGE_TIER} and these settings needs "
            "another name",
        )
    if spec.versioning == DISABLED and bucket.versioning != DISABLED:
        said = "versioning can't be turned off once it was on: write Suspended"
        return _refused(spec, spec.at("versioning") + said)
    changes = bucket_changes(spec, bucket)
    if not changes:
        return Step(Part.BUCKET, spec.name, "keep")
    details = tuple(f"{key}: {before} → {after}" for key, (before, after) in changes.items())
    return Step(Part.BUCKET, spec.name, "change", details)


def _refused(spec: Spec, message: str) -> Step:
    return Step(Part.BUCKET, spec.name, "refuse", (message,))


def _described(spec: Spec) -> Iterator[str]:
    yield f"compartment: {spec.compartment}"
    yield f"region: {spec.region}"
    yield f"public_access: {PUBLIC_ACCESS}"
    yield f"storage_tier: {STORAGE_TIER}"
    yield f"versioning: {spec.versioning}"
    yield f"auto_tiering: {spec.auto_tiering}"
    yield f"kms_key: {spec.kms_key or _ORACLES}"
    yield f"object_events: {_yes(spec.object_events)}"
    for key, value in tags_of(spec).items():
        yield f"tag {key}: {value}"
    for space, tags in spec.defined_tags.items():
        for key, value in tags.items():
            yield f"tag {space}.{key}: {value}"


def _lifecycle(spec: Spec, standing: Standing) -> Iterator[Step]:
    before = {rule.name: rule for rule in standing.lifecycle.ours}
    after = {rule.name: rule for rule in spec.rules}
    others = len(standing.lifecycle.others)
    if not before and not after:
        return
    if rules_after(spec, others) > _MAX_RULES:
        yield Step(
            Part.LIFECYCLE,
            spec.name,
            "refuse",
            (f"with {others} rules of others there would be more than {_MAX_RULES:,}",),
        )
        return
    details = tuple(_rule_changes(before, after))
    if others:
        kept = f"{others} rule{'' if others == 1 else 's'} of others: kept"
    if not details:
        yield Step(Part.LIFECYCLE, spec.name, "keep", (kept,) if others else ())
    else:
        fate: Fate = "change" if standing.lifecycle.etag else "create"
        yield Step(Part.LIFECYCLE, spec.name, fate, (*details, *((kept,) if others else ())))


def _rule_changes(before: Mapping[str, Rule], after: Mapping[str, Rule]) -> Iterator[str]:
    for name, rule in after.items():
        if name not in before:
            yield f"{name}: {rule}"
        elif before[name] != rule:
            yield f"{name}: {before[name]} → {rule}"
    for name, rule in before.items():
        if name not in after:
            yield f"{name}: {rule} → removed"


def _logs(spec: Spec, standing: Standing) -> Iterator[Step]:
    wanted = spec.logs.categories
    if not wanted:
        return
    group = spec.logs.group
    yield Step(Part.LOG_GROUP, group, "keep" if standing.group else "create")
    found = {log.category: log for log in standing.logs}
    for category in wanted:
        log = found.get(category)
        name = log.name if log else log_name(spec, category)
        if log is None:
            details: tuple[str, ...] = (f"retention: {spec.logs.retention} days",)
            yield Step(Part.LOG, name, "create", details, category)
        else:
            details = tuple(_log_changes(spec, log))
            yield Step(Part.LOG, name, "change" if details else "keep", details, category)


def _log_changes(spec: Spec, log: Log) -> Iterator[str]:
    if not log.enabled:
        yield "enabled: no → yes"
    if log.retention != spec.logs.retention:
        yield f"retention: {log.retention} → {spec.logs.retention} days"


def _read_url(spec: Spec, standing: Standing, now: datetime) -> Iterator[Step]:
    wanted = spec.read_url
    if wanted is None:
        return
    same = [url for url in standing.urls if url.name == wanted.name]
    expires = f"expires: {wanted.expires:%Y-%m-%dT%H:%M:%SZ}"
    if wanted.expires <= now:
        said = f"{spec.at('read_url')}the read_url would have expired {_ago(wanted.expires, now)}"
        yield Step(Part.READ_URL, wanted.name, "refuse", (f"{said}: write a later time",))
    elif not same:
        yield Step(Part.READ_URL, wanted.name, "create", (expires,))
    elif len(same) == 1 and same[0].expires == wanted.expires:
        yield Step(Part.READ_URL, wanted.name, "keep")
    else:
        old = ", ".join(f"{url.expires:%Y-%m-%dT%H:%M:%SZ}" for url in same)
        details = f"{expires.replace(': ', f': {old} → ')}; a new address, the old one ends"
        yield Step(Part.READ_URL, wanted.name, "change", (details,))


def _ago(then: datetime, now: datetime) -> str:
    days = (now - then).days
    return f"{days} day{'' if days == 1 else 's'} ago" if days else "today"


def _normal(statement: str) -> str:
    """A statement without what makes no difference: case of words, and spaces."""
    return re.sub(r"\s*=\s*", "=", " ".join(statement.split())).lower()


def _widened(statement: str) -> str:
    """The same for every bucket or key of the compartment."""
    return statement.partition(" where ")[0]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
