"""The same bucket as a Pulumi program in Python.

https://www.pulumi.com/registry/packages/oci/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ocimlpack.cloud.bucket.plan import log_name
from ocimlpack.cloud.bucket.spec import PUBLIC_ACCESS, STORAGE_TIER, Rule, Spec

_HEAD: Final = '''\
"""The bucket {name} in {region}.

Written by `ocimlpack bucket export --pulumi`. Needs pulumi and pulumi-oci; the region is that of
`pulumi config set oci:region {region}`.
"""

import pulumi
import pulumi_oci as oci

COMPARTMENT = "{compartment}"

namespace = oci.objectstorage.get_namespace(compartment_id=COMPARTMENT).namespace
'''
_OUTPUTS: Final = """
pulumi.export("bucket_name", bucket.name)
pulumi.export("bucket_id", bucket.bucket_id)
"""
_INDENT: Final = "    "


class _Raw(str):
    """An expression, not a text."""

    __slots__ = ()


def export(spec: Spec) -> str:
    """The bucket, its lifecycle policy, its logs and its identity policy."""
    head = _HEAD.format(name=spec.name, region=spec.region, compartment=spec.compartment)
    return head + "".join(f"\n{each}\n" for each in _resources(spec)) + _OUTPUTS


def _resources(spec: Spec) -> Iterator[str]:
    has_policy = spec.iam_policy and bool(spec.statements)
    after = _Raw("pulumi.ResourceOptions(depends_on=[policy])")
    if has_policy:
        yield _made(
            "policy",
            "identity.Policy",
            "service",
            compartment_id=_Raw("COMPARTMENT"),
            name=spec.policy_name,
            description=f"What object storage needs for the bucket {spec.name}",
            statements=list(spec.statements),
        )
    yield _made(
        "bucket",
        "objectstorage.Bucket",
        "models",
        compartment_id=_Raw("COMPARTMENT"),
        namespace=_Raw("namespace"),
        name=spec.name,
        access_type=PUBLIC_ACCESS,
        storage_tier=STORAGE_TIER,
        versioning=spec.versioning,
        auto_tiering=spec.auto_tiering,
        object_events_enabled=spec.object_events,
        kms_key_id=spec.kms_key,
        freeform_tags=dict(spec.tags) or None,
        defined_tags={
            f"{space}.{key}": value
            for space, tags in spec.defined_tags.items()
            for key, value in tags.items()
        }
        or None,
        opts=after if has_policy and spec.kms_key else None,
    )
    if spec.rules:
        yield _made(
            "lifecycle",
            "objectstorage.ObjectLifecyclePolicy",
            "models",
            bucket=_Raw("bucket.name"),
            namespace=_Raw("namespace"),
            rules=[_rule(rule) for rule in spec.rules],
            opts=after if has_policy else None,
        )
    yield from _logs(spec)
    if spec.read_url:
        yield _made(
            "read_url",
            "objectstorage.Preauthrequest",
            "read",
            bucket=_Raw("bucket.name"),
            namespace=_Raw("namespace"),
            name=spec.read_url.name,
            access_type="AnyObjectRead",
            bucket_listing_action="Deny",
            time_expires=f"{spec.read_url.expires:%Y-%m-%dT%H:%M:%SZ}",
        )


def _logs(spec: Spec) -> Iterator[str]:
    if not spec.logs.categories:
        return
    yield _made(
        "log_group",
        "logging.LogGroup",
        "models",
        compartment_id=_Raw("COMPARTMENT"),
        display_name=spec.logs.group,
    )
    for category in spec.logs.categories:
        source = _call(
            "oci.logging.LogConfigurationSourceArgs",
            source_type="OCISERVICE",
            service="objectstorage",
            resource=_Raw("bucket.name"),
            category=category,
        )
        configuration = _call(
            "oci.logging.LogConfigurationArgs",
            compartment_id=_Raw("COMPARTMENT"),
            source=source,
        )
        yield _made(
            f"{category}_log",
            "logging.Log",
            category,
            log_group_id=_Raw("log_group.id"),
            display_name=log_name(spec, category),
            log_type="SERVICE",
            is_enabled=True,
            retention_duration=spec.logs.retention,
            configuration=configuration,
        )


def _rule(rule: Rule) -> _Raw:
    globs = None
    if rule.include or rule.exclude:
        globs = _call(
            "oci.objectstorage.ObjectLifecyclePolicyRuleObjectNameFilterArgs",
            inclusion_patterns=list(rule.include) or None,
            exclusion_patterns=list(rule.exclude) or None,
        )
    return _call(
        "oci.objectstorage.ObjectLifecyclePolicyRuleArgs",
        name=rule.name,
        action=rule.action,
        target=rule.target,
        time_amount=str(rule.amount),  # the provider takes a text
        time_unit=rule.unit,
        is_enabled=rule.enabled,
        object_name_filter=globs,
    )


def _made(variable: str, kind: str, name: str, /, **arguments: Any) -> str:
    return f"{variable} = {_call(f'oci.{kind}', name, **arguments)}"


def _call(function: str, /, *first: str, **arguments: Any) -> _Raw:
    """A call, an argument a line; those that are None are left out."""
    lines = [_written(each) for each in first]
    lines += [f"{name}={_written(value)}" for name, value in arguments.items() if value is not None]
    return _Raw(f"{function}(\n{_indented(lines)}\n)")


def _written(value: Any) -> str:
    """A value as Python writes it: texts in double quotes, lists of calls a line each."""
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        lines = [f"{_quoted(key)}: {_quoted(text)}" for key, text in value.items()]
        return f"{{\n{_indented(lines)}\n}}"
    if isinstance(value, list):
        lines = [_written(each) for each in value]
        if sum(map(len, lines)) < 60 and not any("\n" in line for line in lines):
            return f"[{', '.join(lines)}]"
        return f"[\n{_indented(lines)}\n]"
    return repr(value)


def _quoted(text: str) -> str:
    # What JSON writes, Python reads, as long as no character outside its first plane is escaped.
    return json.dumps(text, ensure_ascii=False)


def _indented(lines: list[str]) -> str:
    return "\n".join(_INDENT + f"{line},".replace("\n", f"\n{_INDENT}") for line in lines)
