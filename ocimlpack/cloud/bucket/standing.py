"""What stands of a bucket and of what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ocimlpack.cloud import _sdk
from ocimlpack.cloud.bucket.services import Services
from ocimlpack.cloud.bucket.spec import MARK, MARK_VALUE, OBJECTS, Logs, Rule, is_ours
from ocimlpack.errors import NotAllowedError, NotFoundError

_SERVICE: Final = "objectstorage"
_FIELDS: Final = ["approximateCount", "approximateSize", "autoTiering"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that is there.

    Attributes:
        name, ocid, compartment: what identifies it.
        public_access, storage_tier, versioning, auto_tiering, kms_key, object_events: its settings.
        tags, defined_tags: its tags.
        etag: of this state.
        objects: about how many there are; None where it was not told.
        size: about how many bytes; None likewise.
    """

    name: str
    ocid: str
    compartment: str
    public_access: str
    storage_tier: str
    versioning: str
    auto_tiering: str
    kms_key: str | None
    object_events: bool
    tags: Mapping[str, str]
    defined_tags: Mapping[str, Mapping[str, str]]
    etag: str
    objects: int | None = None
    size: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it was made by `bucket provision`."""
        return was_made_here(self.tags)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """A bucket's lifecycle policy.

    Attributes:
        ours: our rules.
        others: rules that others wrote, by name, as the service told them; they go back unchanged.
        etag: of this state; None where there is no policy.
    """

    ours: tuple[Rule, ...] = ()
    others: tuple[tuple[str, Any], ...] = ()
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """An identity policy."""

    ocid: str
    name: str
    statements: tuple[str, ...]
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Log:
    """An access log of the bucket."""

    ocid: str
    name: str
    category: str
    enabled: bool
    retention: int
    is_ours: bool


@dataclass(frozen=True, slots=True)
class LogGroup:
    """The group that the logs are in."""

    ocid: str
    name: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Url:
    """A pre-authenticated request."""

    ocid: str
    name: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """All that stands.

    Attributes:
        bucket: None if there is none.
        lifecycle: empty if there is none.
        policies: those of the bucket's compartment; None where they may not be seen.
        group: the log group; None if there is none.
        logs: the bucket's logs in it.
        urls: the bucket's pre-authenticated requests.
    """

    bucket: Bucket | None = None
    lifecycle: Lifecycle = Lifecycle()
    policies: tuple[Policy, ...] | None = ()
    group: LogGroup | None = None
    logs: tuple[Log, ...] = ()
    urls: tuple[Url, ...] = ()


def was_made_here(tags: Mapping[str, str] | None) -> bool:
    """Whether tags say that `bucket provision` made what has them."""
    return (tags or {}).get(MARK) == MARK_VALUE


def read(
    services: Services, name: str, compartment: str, *, logs: Logs | None, policies: bool = True
) -> Standing:
    """What stands now.

    Args:
        services: where to look.
        name: the bucket's.
        compartment: where its policy and its log group are.
        logs: which log group to look at; None for none.
        policies: whether to look at policies.

    Raises:
        NotAllowedError: something of it may not be seen.
    """
    bucket = read_bucket(services, name)
    group = read_group(services, compartment, logs.group) if logs else None
    return Standing(
        bucket=bucket,
        lifecycle=read_lifecycle(services, name) if bucket else Lifecycle(),
        policies=read_policies(services, compartment) if policies else (),
        group=group,
        logs=read_logs(services, group, name) if group else (),
        urls=read_urls(services, name) if bucket else (),
    )


def read_bucket(services: Services, name: str) -> Bucket | None:
    """The bucket of that name; None if there is none that this identity may see."""
    try:
        with _sdk.explained(f"the bucket {name}"):
            found = services.storage.get_bucket(services.namespace, name, fields=_FIELDS).data
    except NotFoundError:
        return None
    return bucket_of(found)


def bucket_of(found: Any) -> Bucket:
    """What the service tells of a bucket."""
    return Bucket(
        name=found.name,
        ocid=found.id,
        compartment=found.compartment_id,
        public_access=found.public_access_type,
        storage_tier=found.storage_tier,
        versioning=found.versioning,
        auto_tiering=found.auto_tiering or "Disabled",
        kms_key=found.kms_key_id,
        object_events=bool(found.object_events_enabled),
        tags=dict(found.freeform_tags or {}),
        defined_tags={
            space: {key: str(value) for key, value in tags.items()}
            for space, tags in (found.defined_tags or {}).items()
        },
        etag=found.etag,
        objects=found.approximate_count,
        size=found.approximate_size,
    )


def read_lifecycle(services: Services, name: str) -> Lifecycle:
    """The bucket's lifecycle policy."""
    try:
        with _sdk.explained(f"the lifecycle of the bucket {name}"):
            found = services.storage.get_object_lifecycle_policy(services.namespace, name)
    except NotFoundError:
        return Lifecycle()
    items = found.data.items or ()
    return Lifecycle(
        ours=tuple(_rule(each) for each in items if is_ours(each.name)),
        others=tuple((each.name, each) for each in items if not is_ours(each.name)),
        etag=found.headers.get("etag"),
    )


def read_policies(services: Services, compartment: str) -> tuple[Policy, ...] | None:
    """The policies of a compartment; None where this identity may not see them."""
    try:
        with _sdk.explained("the policies of that compartment", NotAllowedError):
            found = _sdk.every(services.policies.list_policies, compartment)
    except NotAllowedError:
        return None
    return tuple(
        Policy(each.id, each.name, tuple(each.statements), was_made_here(each.freeform_tags))
        for each in found
    )


def read_group(services: Services, compartment: str, name: str) -> LogGroup | None:
    """The log group of that name."""
    with _explained_logs("the log groups of that compartment"):
        found = _sdk.every(services.logging.list_log_groups, compartment, display_name=name)
    kept = [each for each in found if each.display_name == name]
    if not kept:
        return None
    return LogGroup(kept[0].id, name, was_made_here(kept[0].freeform_tags))


def read_logs(services: Services, group: LogGroup, bucket: str) -> tuple[Log, ...]:
    """The access logs of a bucket in a log group."""
    with _explained_logs(f"the logs of the group {group.name}"):
        found = _sdk.every(services.logging.list_logs, group.ocid)
    logs = []
    for each in found:
        source = each.configuration.source if each.configuration else None
        if source is None or (source.service, source.resource) != (_SERVICE, bucket):
            continue
        logs.append(
            Log(
                ocid=each.id,
                name=each.display_name,
                category=source.category,
                enabled=bool(each.is_enabled),
                retention=each.retention_duration or 0,
                is_ours=was_made_here(each.freeform_tags),
            )
        )
    return tuple(logs)


def read_urls(services: Services, bucket: str) -> tuple[Url, ...]:
    """The pre-authenticated requests of a bucket."""
    with _sdk.explained(f"the pre-authenticated requests of {bucket}", NotAllowedError):
        found = _sdk.every(
            services.storage.list_preauthenticated_requests, services.namespace, bucket
        )
    return tuple(
        Url(each.id, each.name, each.time_expires.astimezone(UTC).replace(microsecond=0))
        for each in found
    )


def _explained_logs(what: str) -> Any:
    return _sdk.explained(what, NotAllowedError)


def _rule(found: Any) -> Rule:
    globs = found.object_name_filter
    prefixes = tuple(f"{each}*" for each in (globs.inclusion_prefixes or ())) if globs else ()
    return Rule(
        name=found.name,
        action=found.action,
        amount=int(found.time_amount),
        target=found.target or OBJECTS,
        unit=found.time_unit,
        include=(*(globs.inclusion_patterns or ()), *prefixes) if globs else (),
        exclude=tuple(globs.exclusion_patterns or ()) if globs else (),
        enabled=bool(found.is_enabled),
    )
