"""A bucket for models: planned, made, looked at, taken away, written as code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from ocimlpack.app import audit, oracle
from ocimlpack.app.options import Oracle, StrPath
from ocimlpack.cloud.bucket import file, given, plan
from ocimlpack.cloud.bucket.given import Given
from ocimlpack.cloud.bucket.spec import Spec
from ocimlpack.cloud.identity import decide, find
from ocimlpack.errors import ConflictError, InputError, OcimlpackError
from ocimlpack.progress import Reporter, ignore

if TYPE_CHECKING:
    from ocimlpack.cloud.bucket.services import Services
    from ocimlpack.cloud.bucket.standing import Standing


class Wanted(Oracle, total=False):
    """A bucket, beside what a file says of it; who one is at Oracle Cloud decides where it is.

    Attributes:
        file: a `bucket.yaml`.
        versioning: `Enabled` (the default), `Suspended` or `Disabled`.
        auto_tiering: `InfrequentAccess` (the default) or `Disabled`.
        kms_key: OCID of the master key to encrypt with; default is Oracle's.
        tags: freeform tags.
        object_events: whether changes of objects are events (the default).
        archive_after: days after which what is in `old/` is archived (default 30).
        delete_after: days after which what is in `expired/`, and previous versions, are deleted
            (default 365).
        access_logs: whether reading and writing are logged (the default).
        log_group: the log group's name.
        iam_policy: whether the policy is written that the lifecycle needs (the default).
        read_url_expires: make an address to read by, until this date or time.
    """

    file: StrPath | None
    versioning: str
    auto_tiering: str
    kms_key: str
    tags: Mapping[str, str]
    object_events: bool
    archive_after: int
    delete_after: int
    access_logs: bool
    log_group: str
    iam_policy: bool
    read_url_expires: str


@dataclass(frozen=True, slots=True)
class BucketStep:
    """One thing of a plan.

    Attributes:
        part: `policy`, `bucket`, `lifecycle`, `log group`, `log` or `read url`.
        name: its name.
        fate: `create`, `change`, `keep` or `refuse`: what can't be changed in place is refused.
        details: what is made or changed, or why it is refused.
    """

    part: str
    name: str
    fate: Literal["create", "change", "keep", "refuse"]
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """What would be done.

    Attributes:
        bucket: the bucket's name.
        region: its region.
        compartment: its compartment's OCID.
        steps: what there is to do, in order, and what is left as it is.
    """

    bucket: str
    region: str
    compartment: str
    steps: tuple[BucketStep, ...]

    def count(self, fate: str) -> int:
        """How many steps are of one kind."""
        return sum(step.fate == fate for step in self.steps)


@dataclass(frozen=True, slots=True)
class ProvisionedBucket:
    """A bucket that is as it was to be; of a dry run, as it is.

    Attributes:
        name: the bucket's name.
        ocid: its OCID; None if there is none yet.
        namespace: the tenancy's.
        region: its region.
        compartment: its compartment's OCID.
        changed: whether anything had to be done.
        dry_run: whether it was only planned.
        read_url: the address to read by, where one was made: it is told only then.
        plan: what was done, or is to be.
    """

    name: str
    ocid: str | None
    namespace: str
    region: str
    compartment: str
    changed: bool
    dry_run: bool
    read_url: str | None
    plan: tuple[BucketStep, ...]


@dataclass(frozen=True, slots=True)
class BucketStatus:
    """How a bucket differs from what it is to be.

    Attributes:
        name, ocid, namespace, region, compartment: which it is; no OCID if there is none.
        drift: whether it differs.
        objects: about how many objects it has; None if there is no bucket.
        size: about how many bytes; None likewise.
        steps: what would have to be done.
    """

    name: str
    ocid: str | None
    namespace: str
    region: str
    compartment: str
    drift: bool
    objects: int | None
    size: int | None
    steps: tuple[BucketStep, ...]


@dataclass(frozen=True, slots=True)
class BucketContent:
    """What would be lost with a bucket.

    Attributes:
        name: the bucket's name.
        there: whether there is a bucket, or only what was made beside it.
        versions: versions of objects, delete markers among them.
        size: bytes of them.
        uploads: unfinished uploads.
        urls: pre-authenticated requests that others made.
        beside: what was made with it, and goes as well.
    """

    name: str
    there: bool
    versions: int
    size: int
    uploads: int
    urls: int
    beside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemovedBucket:
    """What was taken away.

    Attributes:
        name: the bucket's name.
        removed: what went, a line each.
    """

    name: str
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BucketCode:
    """A bucket as code.

    Attributes:
        language: `terraform` or `pulumi`.
        text: the code.
    """

    language: Literal["terraform", "pulumi"]
    text: str


def bucket_provision(
    bucket: str | None = None,
    *,
    approve: Callable[[BucketPlan], bool] | None = None,
    dry_run: bool = False,
    report: Reporter = ignore,
    **wanted: Unpack[Wanted],
) -> ProvisionedBucket:
    """Make a bucket, or bring one in line with what it is to be.

    It can be begun again after any failure. Lifecycle rules, tags and policy statements of others
    stay.

    Args:
        bucket: its name; default is the file's.
        approve: is shown the plan if there is something to do, and says whether to do it.
        dry_run: only plan.
        report: called with progress events.
        **wanted: see `Wanted`.

    Raises:
        ConflictError: the name is taken, or something can't be changed in place.
        InputError: the file or an option makes no sense.
        NotAllowedError: this identity may not do it, or the service lacks a permission.
    """
    spec, services = _settled(bucket, wanted)
    standing = _read(services, spec)
    found = plan.compare(spec, standing, datetime.now(UTC))
    shown = _plan(spec, found)
    if (found.changes or found.of("refuse")) and approve is not None and not dry_run:
        approved = approve(shown)
    else:
        approved = True
    if not dry_run:
        _refuse(found)
    if not approved:
        raise OcimlpackError("nothing was changed: the plan was not approved")
    ocid = standing.bucket.ocid if standing.bucket else None
    read_url = None
    if found.changes and not dry_run:
        from ocimlpack.cloud.bucket.apply import Applier

        applier = Applier(services, spec, standing, report)
        with audit.recording("bucket provision", spec.name, {"report": report}) as (entry, _):
            entry.identity = services.identity.kind
            applier.apply(found)
        ocid = applier.bucket.ocid if applier.bucket else None
        read_url = applier.read_url
    return ProvisionedBucket(
        name=spec.name,
        ocid=ocid,
        namespace=services.namespace,
        region=spec.region,
        compartment=spec.compartment,
        changed=bool(found.changes) and not dry_run,
        dry_run=dry_run,
        read_url=read_url,
        plan=shown.steps,
    )


def bucket_status(bucket: str | None = None, **wanted: Unpack[Wanted]) -> BucketStatus:
    """Compare a bucket with what it is to be.

    Raises:
        InputError: the file or an option makes no sense.
        NotAllowedError: this identity may not look at something.
    """
    spec, services = _settled(bucket, wanted)
    standing = _read(services, spec)
    found = plan.compare(spec, standing, datetime.now(UTC))
    there = standing.bucket
    return BucketStatus(
        name=spec.name,
        ocid=there.ocid if there else None,
        namespace=services.namespace,
        region=spec.region,
        compartment=spec.compartment,
        drift=any(step.fate != "keep" for step in found.steps),
        objects=there.objects if there else None,
        size=there.size if there else None,
        steps=_plan(spec, found).steps,
    )


def bucket_destroy(
    bucket: str | None = None,
    *,
    confirm: str | Callable[[BucketContent], str],
    force: bool = False,
    file: StrPath | None = None,
    log_group: str | None = None,
    report: Reporter = ignore,
    **options: Unpack[Oracle],
) -> RemovedBucket:
    """Take away a bucket that `bucket_provision` made, with its logs and its policy.

    Args:
        bucket: its name; default is the file's.
        confirm: the bucket's name once more, or what is shown the content and asks for it.
        force: also if there is something in it: all versions, uploads and addresses go.
        file: the `bucket.yaml` that it was made by.
        log_group: where its logs are, if not in the one that is made by default.
        report: called with progress events.
        **options: see `Oracle`.

    Raises:
        ConflictError: it was not made by `bucket_provision`, or has something in it.
        InputError: it was not confirmed.
        NotFoundError: there is none, and nothing that was made with it.
    """
    from ocimlpack.cloud.bucket import removal
    from ocimlpack.cloud.bucket.spec import Logs

    fields = _given(bucket, {**options, "file": file})
    if "name" not in fields:
        raise InputError("which bucket?", hint="add --bucket NAME or --file bucket.yaml")
    name = str(fields["name"].value)
    services = _services(options, fields.get("region"))
    logs = fields["access_logs"].value if "access_logs" in fields else Logs()
    where = str(fields["compartment"].value) if "compartment" in fields else None
    compartment, standing = removal.find(services, name, where, log_group or logs.group, report)
    content = _content(name, services, standing)
    if not content.there and not content.beside:
        raise removal.nothing_left(name)
    inside = removal.Holdings(content.versions, content.size, content.uploads, content.urls)
    if not inside.is_empty and not force:
        raise ConflictError(
            f"the bucket {name} has {inside} in it",
            hint="add --force to delete that as well; nothing brings it back",
        )
    typed = confirm if isinstance(confirm, str) else confirm(content)
    if typed != name:
        raise InputError(
            "nothing was removed: it was not confirmed", hint=f"type the bucket's name: {name}"
        )
    with audit.recording("bucket destroy", name, {"report": report}) as (entry, _):
        entry.identity = services.identity.kind
        done = removal.remove(services, name, compartment, standing, report)
    return RemovedBucket(name, tuple(done))


def bucket_export(
    language: Literal["terraform", "pulumi"],
    bucket: str | None = None,
    **wanted: Unpack[Wanted],
) -> BucketCode:
    """Write the same bucket as infrastructure code. Nobody is asked for anything.

    Args:
        language: `terraform` or `pulumi`.
        bucket: its name; default is the file's.
        **wanted: see `Wanted`.

    Raises:
        InputError: the file or an option makes no sense.
    """
    from ocimlpack.cloud.bucket import pulumi, terraform

    fields = _given(bucket, wanted)
    choice = find(oracle.wish(wanted)) if "region" not in fields else None
    if choice is not None and choice.region:
        fields["region"] = Given(choice.region, "the profile")
    if "region" in fields:
        fields["region"] = _full(fields["region"])
    spec = given.settle(fields)
    writers = {"terraform": terraform.export, "pulumi": pulumi.export}
    return BucketCode(language, writers[language](spec))


def _settled(bucket: str | None, wanted: Wanted) -> tuple[Spec, Services]:
    fields = _given(bucket, wanted)
    if "region" in fields:
        fields["region"] = _full(fields["region"])
    services = _services(wanted, fields.get("region"))
    fields.setdefault("region", Given(services.region, "the profile"))
    return given.settle(fields), services


def _services(options: Oracle, region: Given | None) -> Services:
    from ocimlpack.cloud.bucket.services import Services
    from ocimlpack.cloud.signers import load

    identity = load(decide(oracle.wish(options)))
    where = str(_full(region).value) if region else identity.region
    if where is None:
        raise InputError("no region is known", hint="add --region, or set region in the profile")
    return Services(identity, where)


def _full(region: Given) -> Given:
    """A region by its identifier, where it was given by its key."""
    if "-" in str(region.value):
        return region
    from ocimlpack.cloud.signers import full_region

    return Given(full_region(str(region.value)), region.place)


def _read(services: Services, spec: Spec) -> Standing:
    from ocimlpack.cloud.bucket import standing

    logs = spec.logs if spec.logs.categories else None
    return standing.read(services, spec.name, spec.compartment, logs=logs, policies=spec.iam_policy)


def _given(bucket: str | None, wanted: Mapping[str, object]) -> dict[str, Given]:
    """What the file and the options say; the options count more."""
    path = wanted.get("file")
    fields = dict(file.read(Path(str(path)))) if path else {}
    simple = {
        "name": ("--bucket", bucket),
        "region": ("--region", wanted.get("region")),
        "versioning": ("--versioning", wanted.get("versioning")),
        "auto_tiering": ("--auto-tiering", wanted.get("auto_tiering")),
        "kms_key": ("--kms-key", wanted.get("kms_key")),
        "object_events": ("--object-events", wanted.get("object_events")),
        "iam_policy": ("--iam-policy", wanted.get("iam_policy")),
    }
    for key, (place, value) in simple.items():
        if value is not None:
            fields[key] = Given(value, place)
    if (compartment := wanted.get("compartment")) is not None:
        fields["compartment"] = Given(compartment, "--compartment")
    elif "compartment" not in fields and (settled := oracle.compartment({})):
        fields["compartment"] = Given(settled, "the settled compartment")
    tags = wanted.get("tags")
    if isinstance(tags, Mapping):
        before = fields["tags"].value if "tags" in fields else {}
        fields["tags"] = Given({**before, **tags}, "--tag")
    given.add_options(fields, wanted)
    return fields


def _plan(spec: Spec, found: plan.Plan) -> BucketPlan:
    steps = tuple(
        BucketStep(str(step.part), step.name, step.fate, step.details) for step in found.steps
    )
    return BucketPlan(spec.name, spec.region, spec.compartment, steps)


def _refuse(found: plan.Plan) -> None:
    refused = [detail for step in found.of("refuse") for detail in step.details]
    if refused:
        raise ConflictError("; ".join(refused))


def _content(name: str, services: Services, standing: Standing) -> BucketContent:
    from ocimlpack.cloud.bucket import removal

    inside = removal.look_into(services, standing)
    return BucketContent(
        name=name,
        there=standing.bucket is not None,
        versions=inside.versions,
        size=inside.size,
        uploads=inside.uploads,
        urls=inside.urls,
        beside=removal.beside(name, standing),
    )
