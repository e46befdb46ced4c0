"""Doing what a plan says, so that it can be begun again after any failure.

Each step looks again at what it is about where another run, or the service's own pace, may have
been there first: what is there already is taken, and what was changed meanwhile is not overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from ocimlpack.cloud import _sdk
from ocimlpack.cloud.bucket import standing as reading
from ocimlpack.cloud.bucket.plan import (
    Part,
    Plan,
    Step,
    bucket_changes,
    log_name,
    missing_statements,
    policy_for,
    tags_of,
)
from ocimlpack.cloud.bucket.services import Services
from ocimlpack.cloud.bucket.spec import (
    MARK,
    MARK_VALUE,
    PUBLIC_ACCESS,
    STORAGE_TIER,
    UPLOADS,
    Rule,
    Spec,
)
from ocimlpack.cloud.bucket.standing import Bucket, LogGroup, Standing
from ocimlpack.errors import ConflictError, NotAllowedError, OcimlpackError, UnavailableError
from ocimlpack.progress import Noted, Reporter, Retried, Warned

PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0, 15.0, 15.0, 15.0)
"""Seconds between looks at what takes effect slowly: policies, and what work requests make. Two
minutes in all; how long the service takes is not documented."""

_NOT_YET: Final = {"InsufficientServicePermissions", "NotAuthorizedOrFoundKmsKey"}
_FEW: Final = 4
_MERGES: Final = 5
_NOTE: Final = "made by ocimlpack bucket provision"

T = TypeVar("T")
sleep: Callable[[float], None] = time.sleep


class _TooEarlyError(OcimlpackError):
    """It is not in force yet, or not there yet."""


class Applier:
    """Carries a plan out.

    Attributes:
        bucket: the bucket, once it is there.
        read_url: the address to read by, if one was made; it is told only then.
    """

    def __init__(
        self, services: Services, spec: Spec, standing: Standing, report: Reporter
    ) -> None:
        self._services = services
        self._spec = spec
        self._standing = standing
        self._report = report
        self._group = standing.group
        self.bucket: Bucket | None = standing.bucket
        self.read_url: str | None = None

    def apply(self, plan: Plan) -> None:
        """Do every step that is not to be left as it is.

        Raises:
            ConflictError: something was changed meanwhile, or the name is taken.
            NotAllowedError: this identity may not do a step, or the service may not yet.
        """
        for step in plan.changes:
            _DO[step.part](self, step)

    def _policy(self, step: Step) -> None:
        try:
            self._permit(step)
        except NotAllowedError as error:
            # Another policy may permit it, one that this identity doesn't see: the lifecycle tells.
            self._report(
                Warned(
                    f"the policy {step.name} can't be written: {error.message}; if the statement "
                    "is in a policy elsewhere, say iam_policy: false"
                )
            )

    def _permit(self, step: Step) -> None:
        spec, client = self._spec, self._services.policies
        models = _sdk.module("identity.models")
        policies = self._standing.policies or ()
        ours = policy_for(spec, policies)
        with _sdk.explained(f"the policy {step.name}", NotAllowedError):
            if ours is not None:
                statements = [*ours.statements, *missing_statements(spec, policies)]
                client.update_policy(ours.ocid, models.UpdatePolicyDetails(statements=statements))
                self._say(f"changed the policy {step.name}")
                return
            try:
                client.create_policy(
                    models.CreatePolicyDetails(
                        compartment_id=spec.compartment,
                        name=spec.policy_name,
                        description=_NOTE,
                        statements=list(spec.statements),
                        freeform_tags={MARK: MARK_VALUE},
                    )
                )
            except Exception as error:
                if _sdk.refusal(error)[0] != 409:
                    raise
                return  # it was there after all
        self._say(f"made the policy {step.name}")

    def _make_bucket(self, step: Step) -> None:
        if step.fate == "change":
            self._change_bucket()
            return
        spec = self._spec
        models = _sdk.module("object_storage.models")
        details = models.CreateBucketDetails(
            name=spec.name,
            compartment_id=spec.compartment,
            public_access_type=PUBLIC_ACCESS,
            storage_tier=STORAGE_TIER,
            versioning=spec.versioning,
            auto_tiering=spec.auto_tiering,
            object_events_enabled=spec.object_events,
            kms_key_id=spec.kms_key,
            freeform_tags=dict(tags_of(spec)),
            defined_tags={space: dict(tags) for space, tags in spec.defined_tags.items()},
        )
        try:
            with _sdk.explained(f"a bucket {spec.name} in that compartment", NotAllowedError):
                found = self._in_force(
                    lambda: self._services.storage.create_bucket(self._services.namespace, details),
                    "the permission to use the key",
                )
        except ConflictError as error:
            self._take(error)
            return
        self.bucket = reading.bucket_of(found.data)
        self._say(f"made the bucket {spec.name}")

    def _take(self, error: ConflictError) -> None:
        """Go on with a bucket that is there after all: an answer was lost, or somebody was faster.

        Raises:
            ConflictError: it is another's.
        """
        spec = self._spec
        bucket = reading.read_bucket(self._services, spec.name)
        if bucket is None or bucket.compartment != spec.compartment:
            place = spec.at("name", "compartment")
            if bucket is None:
                raise ConflictError(
                    f"{place}the name {spec.name} is taken in this tenancy, or this identity may "
                    "make no buckets in that compartment",
                    hint="choose another name, or ask for: Allow group NAME to manage buckets in "
                    f"compartment id {spec.compartment}",
                    status=error.status,
                ) from error
            raise ConflictError(
                f"{place}the name {spec.name} is taken by a bucket in another compartment",
                hint=f"choose another name, or that compartment: {bucket.compartment}",
                status=error.status,
            ) from error
        self.bucket = bucket
        if bucket_changes(spec, bucket):
            self._change_bucket()

    def _change_bucket(self) -> None:
        spec, bucket = self._spec, self.bucket
        if bucket is None:
            raise ConflictError(f"the bucket {spec.name} is gone")
        changes = bucket_changes(spec, bucket)
        models = _sdk.module("object_storage.models")
        fields: dict[str, Any] = {}
        if "public_access" in changes:
            fields["public_access_type"] = PUBLIC_ACCESS
        for key in ("versioning", "auto_tiering"):
            if key in changes:
                fields[key] = getattr(spec, key)
        if "object_events" in changes:
            fields["object_events_enabled"] = spec.object_events
        if "kms_key" in changes:
            fields["kms_key_id"] = spec.kms_key
        if any(key.startswith("tag ") for key in changes):
            fields["freeform_tags"] = {**bucket.tags, **spec.tags}
            merged = {space: dict(tags) for space, tags in bucket.defined_tags.items()}
            for space, tags in spec.defined_tags.items():
                merged[space] = {**merged.get(space, {}), **tags}
            fields["defined_tags"] = merged
        try:
            with _sdk.explained(f"a change of the bucket {spec.name}", NotAllowedError):
                found = self._in_force(
                    lambda: self._services.storage.update_bucket(
                        self._services.namespace,
                        spec.name,
                        models.UpdateBucketDetails(**fields),
                        if_match=bucket.etag,
                    ),
                    "the permission to use the key",
                )
        except ConflictError as error:
            self.bucket = reading.read_bucket(self._services, spec.name)
            if self.bucket is None or bucket_changes(spec, self.bucket):
                raise ConflictError(
                    f"the bucket {spec.name} was changed by somebody else meanwhile",
                    hint="run the command again",
                    status=error.status,
                ) from error
        else:
            self.bucket = reading.bucket_of(found.data)
        self._say(f"changed the bucket {spec.name}: {', '.join(changes)}")

    def _lifecycle(self, step: Step) -> None:
        """Write our rules beside those of others; the service only takes a policy as a whole."""
        del step
        spec = self._spec
        for _ in range(_MERGES):
            current = reading.read_lifecycle(self._services, spec.name)
            if sorted(current.ours, key=str) == sorted(spec.rules, key=str):
                return  # an answer was lost, or somebody was faster
            items = [raw for _, raw in current.others] + [_rule(rule) for rule in spec.rules]
            try:
                self._put_lifecycle(items, current.etag)
            except ConflictError as error:
                if error.status != 412:
                    raise
                continue  # somebody changed it between our look and our write
            rules = f"{len(spec.rules)} rule{'' if len(spec.rules) == 1 else 's'}"
            self._say(f"set the lifecycle of {spec.name}: {rules}")
            return
        raise ConflictError(f"the lifecycle of {spec.name} is changed by others all the time")

    def _put_lifecycle(self, items: list[Any], etag: str | None) -> None:
        spec = self._spec
        models = _sdk.module("object_storage.models")
        condition = {"if_match": etag} if etag else {"if_none_match": "*"}
        with _sdk.explained(f"the lifecycle of the bucket {spec.name}", NotAllowedError):
            if not items:
                self._services.storage.delete_object_lifecycle_policy(
                    self._services.namespace, spec.name, **({"if_match": etag} if etag else {})
                )
                return
            self._in_force(
                lambda: self._services.storage.put_object_lifecycle_policy(
                    self._services.namespace,
                    spec.name,
                    models.PutObjectLifecyclePolicyDetails(items=items),
                    **condition,
                ),
                "the policy to be in force",
            )

    def _log_group(self, step: Step) -> None:
        spec = self._spec
        models = _sdk.module("logging.models")
        details = models.CreateLogGroupDetails(
            compartment_id=spec.compartment,
            display_name=spec.logs.group,
            description=_NOTE,
            freeform_tags={MARK: MARK_VALUE},
        )
        self._made(
            lambda: self._services.logging.create_log_group(details),
            self._look_for_group,
            f"the log group {step.name}",
        )

    def _look_for_group(self) -> None:
        found = reading.read_group(self._services, self._spec.compartment, self._spec.logs.group)
        if found is None:
            raise _TooEarlyError("it is not there yet")
        self._group = found

    def _log(self, step: Step) -> None:
        spec, group, client = self._spec, self._group, self._services.logging
        if group is None:
            raise ConflictError(f"the log group {spec.logs.group} is gone")
        models = _sdk.module("logging.models")
        log = next((log for log in self._standing.logs if log.category == step.category), None)
        if log is not None:
            change = models.UpdateLogDetails(
                is_enabled=True, retention_duration=spec.logs.retention
            )
            with _sdk.explained(f"the log {step.name}", NotAllowedError):
                client.update_log(group.ocid, log.ocid, change)
            self._say(f"changed the log {step.name}")
            return
        source = models.OciService(
            service="objectstorage", resource=spec.name, category=step.category
        )
        details = models.CreateLogDetails(
            display_name=log_name(spec, str(step.category)),
            log_type="SERVICE",
            is_enabled=True,
            retention_duration=spec.logs.retention,
            configuration=models.Configuration(source=source, compartment_id=spec.compartment),
            freeform_tags={MARK: MARK_VALUE},
        )
        self._made(
            lambda: client.create_log(group.ocid, details),
            lambda: self._look_for_log(group, step),
            f"the log {step.name}",
        )

    def _look_for_log(self, group: LogGroup, step: Step) -> None:
        found = reading.read_logs(self._services, group, self._spec.name)
        if all(log.category != step.category for log in found):
            raise _TooEarlyError("it is not there yet")

    def _made(self, create: Callable[[], object], look: Callable[[], None], what: str) -> None:
        """Ask for something that a work request makes, and wait until it is there.

        Raises:
            ConflictError: it is there already, but not where it was looked for.
        """
        conflict = None
        with _sdk.explained(what, NotAllowedError):
            try:
                create()
            except Exception as error:
                if _sdk.refusal(error)[0] != 409:
                    raise
                conflict = error
        try:
            self._repeated(look, what, PAUSES[:_FEW] if conflict else PAUSES)
        except UnavailableError as error:
            if conflict is None:
                raise
            raise ConflictError(
                f"{what} can't be made: {getattr(conflict, 'message', conflict)}", status=409
            ) from error
        self._say(f"made {what}")

    def _read_url(self, step: Step) -> None:
        wanted = self._spec.read_url
        if wanted is None:
            return
        models = _sdk.module("object_storage.models")
        client, namespace = self._services.storage, self._services.namespace
        with _sdk.explained(f"the address to read {self._spec.name} by", NotAllowedError):
            same = [url for url in self._standing.urls if url.name == wanted.name]
            kept = next((url.ocid for url in same if url.expires == wanted.expires), None)
            if kept is None:
                details = models.CreatePreauthenticatedRequestDetails(
                    name=wanted.name,
                    access_type="AnyObjectRead",
                    bucket_listing_action="Deny",
                    time_expires=_timestamp(wanted.expires),
                )
                made = client.create_preauthenticated_request(
                    namespace, self._spec.name, details
                ).data
                kept = made.id
                self.read_url = made.full_path or f"{client.base_client.endpoint}{made.access_uri}"
            # Looked for again: where an answer was lost, the SDK has made another one.
            for url in reading.read_urls(self._services, self._spec.name):
                if url.name == wanted.name and url.ocid != kept:
                    client.delete_preauthenticated_request(namespace, self._spec.name, url.ocid)
        self._say(f"made the address {step.name}, until {_timestamp(wanted.expires)}")

    def _in_force(self, call: Callable[[], T], what: str) -> T:
        """Call until what was permitted is in force, which takes a while in the real service.

        Raises:
            NotAllowedError: it never was; says what has to be permitted.
        """

        def attempt() -> T:
            try:
                return call()
            except Exception as error:
                if _sdk.refusal(error)[1] in _NOT_YET:
                    raise _TooEarlyError(str(getattr(error, "message", error))) from error
                raise

        spec = self._spec
        may_come = spec.iam_policy and bool(spec.statements)
        try:
            return self._repeated(attempt, what, PAUSES if may_come else ())
        except UnavailableError as error:
            raise NotAllowedError(
                f"the service {spec.service} may not do what the bucket {spec.name} needs: "
                f"{error.message}",
                hint=f"a policy has to say: {'; '.join(spec.statements)}",
                status=400,
            ) from error

    def _repeated(self, look: Callable[[], T], what: str, pauses: Sequence[float]) -> T:
        """Look again and again.

        Raises:
            UnavailableError: it was too early every time.
        """
        for number, pause in enumerate(pauses):
            try:
                return look()
            except _TooEarlyError as error:
                if not number:
                    self._say(f"waiting for {what}")
                self._report(Retried(f"{what}: {error.message}", pause))
            sleep(pause)
        try:
            return look()
        except _TooEarlyError as error:
            raise UnavailableError(
                f"{what}: {error.message}", hint="run the command again later"
            ) from error

    def _say(self, message: str) -> None:
        self._report(Noted(message))


_DO: Final[dict[Part, Callable[[Applier, Step], None]]] = {
    Part.POLICY: Applier._policy,
    Part.BUCKET: Applier._make_bucket,
    Part.LIFECYCLE: Applier._lifecycle,
    Part.LOG_GROUP: Applier._log_group,
    Part.LOG: Applier._log,
    Part.READ_URL: Applier._read_url,
}


def _rule(rule: Rule) -> Any:
    models = _sdk.module("object_storage.models")
    globs = None
    if rule.target != UPLOADS and (rule.include or rule.exclude):
        globs = models.ObjectNameFilter(
            inclusion_patterns=list(rule.include), exclusion_patterns=list(rule.exclude)
        )
    return models.ObjectLifecycleRule(
        name=rule.name,
        action=rule.action,
        time_amount=rule.amount,
        time_unit=rule.unit,
        is_enabled=rule.enabled,
        target=rule.target,
        object_name_filter=globs,
    )


def _timestamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
