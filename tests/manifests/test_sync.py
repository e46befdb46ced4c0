"""The CronJob that brings a registry and its bucket level."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from ocimlpack import errors
from ocimlpack.cli.main import cli
from ocimlpack.spec.reference import Kind, Reference
from tests.manifests.test_kubernetes import VERSIONS

TEXT = (Path(__file__).parents[2] / "manifests/bucket/sync.yaml").read_text("utf-8")
ACCOUNT, CRON_JOB = yaml.safe_load_all(TEXT)
JOB: dict[str, Any] = CRON_JOB["spec"]["jobTemplate"]["spec"]
POD: dict[str, Any] = JOB["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.mark.parametrize("document", [ACCOUNT, CRON_JOB], ids=["ServiceAccount", "CronJob"])
@pytest.mark.parametrize("version", VERSIONS)
def test_it_fits_the_schemas(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_its_arguments_are_what_the_command_takes() -> None:
    group, name, *arguments = CONTAINER["args"]
    with click.Context(cli, help_option_names=["-h", "--help"]) as ctx:
        commands = cli.get_command(ctx, group)
        assert isinstance(commands, click.Group)
        command = commands.get_command(ctx, name)
        assert command is not None
        parsed = command.make_context(name, list(arguments), parent=ctx)
    assert Reference.parse(parsed.params["repository"]).kind is Kind.REGISTRY
    assert Reference.parse(parsed.params["fallback"]).kind is Kind.BUCKET


def test_the_policy_is_about_what_is_named_below_it() -> None:
    comment = "\n".join(line[2:] for line in TEXT.splitlines() if line.startswith("# "))
    statements = re.findall(r"Allow any-user to .*?\}", comment, re.S)
    assert re.findall(r" to (manage \w+) in ", comment) == ["manage repos", "manage objects"]
    assert len(statements) == 2
    repository = Reference.parse(CONTAINER["args"][2])
    fallback = Reference.parse(CONTAINER["args"][3].partition("=")[2])
    for statement in statements:
        said = dict(re.findall(r"([a-z_.]+) = '([^']*)'", statement))
        assert said["request.principal.type"] == "workload"
        assert said["request.principal.namespace"] == CRON_JOB["metadata"]["namespace"]
        assert said["request.principal.service_account"] == POD["serviceAccountName"]
        if "target.repo.name" in said:
            assert repository.repository.endswith(said["target.repo.name"])
        else:
            assert fallback.host.partition("@")[0] == said["target.bucket.name"]
    assert ACCOUNT["metadata"]["name"] == POD["serviceAccountName"]


def test_another_try_is_made_only_where_it_may_help() -> None:
    assert POD["restartPolicy"] == "Never"  # else the policy is not allowed
    (codes,) = [
        rule["onExitCodes"]
        for rule in JOB["podFailurePolicy"]["rules"]
        if rule["action"] == "FailJob"
    ]
    assert codes["containerName"] == CONTAINER["name"]
    hopeless = (
        errors.InputError,
        errors.NotFoundError,
        errors.NotAllowedError,
        errors.IntegrityError,
        errors.ConflictError,
    )
    assert codes["values"] == [error.exit_code for error in hopeless]


def test_it_can_do_as_little_as_it_can() -> None:
    context = {**POD["securityContext"], **CONTAINER["securityContext"]}
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["runAsNonRoot"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert "secret" not in yaml.safe_dump(POD).lower()
    assert (
        CONTAINER["resources"]["limits"]["memory"] == CONTAINER["resources"]["requests"]["memory"]
    )
    variables = {each["name"]: each["value"] for each in CONTAINER["env"]}
    (mount,) = CONTAINER["volumeMounts"]
    assert mount["mountPath"] == variables["OCIMLPACK_HOME"]
