"""The same bucket as code for Terraform and OpenTofu.

https://registry.terraform.io/providers/oracle/oci/latest/docs
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ocimlpack.cloud.bucket.plan import log_name
from ocimlpack.cloud.bucket.spec import PUBLIC_ACCESS, STORAGE_TIER, Spec

_HEAD: Final = """\
# {summary}
# Written by `ocimlpack bucket export --terraform`.

terraform {{
  required_providers {{
    oci = {{
      source = "oracle/oci"
    }}
  }}
}}

provider "oci" {{
  region = {region}
}}

data "oci_objectstorage_namespace" "models" {{
  compartment_id = {compartment}
}}
"""
_OUTPUTS: Final = """
output "bucket_name" {
  value = oci_objectstorage_bucket.models.name
}

output "bucket_id" {
  value = oci_objectstorage_bucket.models.bucket_id
}
"""
_BUCKET: Final = "oci_objectstorage_bucket.models"
_NAMESPACE: Final = "data.oci_objectstorage_namespace.models.namespace"

Value = str | bool | int | Sequence[str] | Mapping[str, str] | None


class _Raw(str):
    """An expression, not a text."""

    __slots__ = ()


def export(spec: Spec) -> str:
    """The bucket, its lifecycle policy, its logs and its identity policy."""
    head = _HEAD.format(
        summary=f"The bucket {spec.name} in {spec.region}",
        region=_quoted(spec.region),
        compartment=_quoted(spec.compartment),
    )
    return head + "".join(f"\n{block}\n" for block in _blocks(spec)) + _OUTPUTS


def _blocks(spec: Spec) -> Iterator[str]:
    has_policy = spec.iam_policy and bool(spec.statements)
    if has_policy:
        yield _resource(
            "oci_identity_policy",
            "service",
            compartment_id=spec.compartment,
            name=spec.policy_name,
            description=f"What object storage needs for the bucket {spec.name}",
            statements=spec.statements,
        )
    yield _resource(
        "oci_objectstorage_bucket",
        "models",
        compartment_id=spec.compartment,
        namespace=_Raw(_NAMESPACE),
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
        depends_on=_Raw("[oci_identity_policy.service]") if has_policy and spec.kms_key else None,
    )
    if spec.rules:
        yield _lifecycle(spec, has_policy)
    if spec.logs.categories:
        yield _resource(
            "oci_logging_log_group",
            "models",
            compartment_id=spec.compartment,
            display_name=spec.logs.group,
        )
        for category in spec.logs.categories:
            yield _log(spec, category)
    if spec.read_url:
        yield _resource(
            "oci_objectstorage_preauthrequest",
            "read",
            namespace=_Raw(_NAMESPACE),
            bucket=_Raw(f"{_BUCKET}.name"),
            name=spec.read_url.name,
            access_type="AnyObjectRead",
            bucket_listing_action="Deny",
            time_expires=f"{spec.read_url.expires:%Y-%m-%dT%H:%M:%SZ}",
        )


def _lifecycle(spec: Spec, has_policy: bool) -> str:
    lines = list(
        _arguments(
            1,
            namespace=_Raw(_NAMESPACE),
            bucket=_Raw(f"{_BUCKET}.name"),
            depends_on=_Raw("[oci_identity_policy.service]") if has_policy else None,
        )
    )
    for rule in spec.rules:
        lines += ["", "  rules {"]
        lines += _arguments(
            2,
            name=rule.name,
            action=rule.action,
            target=rule.target,
            time_amount=str(rule.amount),
            time_unit=rule.unit,
            is_enabled=rule.enabled,
        )
        if rule.include or rule.exclude:
            lines += ["", "    object_name_filter {"]
            lines += _arguments(
                3,
                inclusion_patterns=rule.include or None,
                exclusion_patterns=rule.exclude or None,
            )
            lines.append("    }")
        lines.append("  }")
    return _block("oci_objectstorage_object_lifecycle_policy", "models", lines)


def _log(spec: Spec, category: str) -> str:
    lines = [
        *_arguments(
            1,
            log_group_id=_Raw("oci_logging_log_group.models.id"),
            display_name=log_name(spec, category),
            log_type="SERVICE",
            is_enabled=True,
            retention_duration=spec.logs.retention,
        ),
        "",
        "  configuration {",
        *_arguments(2, compartment_id=spec.compartment),
        "",
        "    source {",
        *_arguments(
            3,
            source_type="OCISERVICE",
            service="objectstorage",
            resource=_Raw(f"{_BUCKET}.name"),
            category=category,
        ),
        "    }",
        "  }",
    ]
    return _block("oci_logging_log", category, lines)


def _resource(kind: str, name: str, /, **arguments: Value) -> str:
    return _block(kind, name, list(_arguments(1, **arguments)))


def _block(kind: str, name: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    return f'resource "{kind}" "{name}" {{\n{body}\n}}'


def _arguments(depth: int, /, **arguments: Value) -> Iterator[str]:
    """Lines of arguments; those that are None are left out.

    Neighbours that take one line each are aligned, as `terraform fmt` does it.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    indent = "  " * depth
    for fits, group in itertools.groupby(given, key=lambda name: _fits(given[name])):
        names = list(group)
        room = max(map(len, names))
        for name in names:
            value = given[name]
            if fits:
                yield f"{indent}{name:<{room}} = {_expression(value)}"
            elif isinstance(value, Mapping):
                inner = max(len(_quoted(key)) for key in value)
                yield f"{indent}{name} = {{"
                for key, text in value.items():
                    yield f"{indent}  {_quoted(key):<{inner}} = {_quoted(text)}"
                yield f"{indent}}}"
            elif not isinstance(value, (str, int)):
                yield f"{indent}{name} = ["
                for text in value:
                    yield f"{indent}  {_quoted(text)},"
                yield f"{indent}]"


def _fits(value: Value) -> bool:
    """Whether a value stands on the argument's own line."""
    if isinstance(value, Mapping):
        return False
    return isinstance(value, (str, int)) or sum(map(len, value or ())) < 60


def _expression(value: Value) -> str:
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    return f"[{', '.join(map(_quoted, value or ()))}]"


def _quoted(text: str) -> str:
    """A text in HCL, in which `${` and `%{` would begin a template.

    https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md#quoted-literals
    """
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    plain = "".join(escapes.get(char, char) for char in text)
    return f'"{plain.replace("${", "$${").replace("%{", "%%{")}"'
