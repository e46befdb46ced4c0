"""The manifests for Kubernetes: valid, as safe as they can be, and right for our commands."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from ocimlpack import errors
from ocimlpack.cli.main import cli
from ocimlpack.spec.reference import Reference

FOLDER = Path(__file__).parents[2] / "manifests/kubernetes"
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest of the schemas that the validator has."""

Document = dict[str, Any]
DOCUMENTS = [
    (f"{path.name}-{document['kind']}", document)
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text("utf-8"))
]
KINDS = {
    "serviceaccount.yaml-ServiceAccount",
    "job.yaml-PersistentVolumeClaim",
    "job.yaml-Job",
    "deployment.yaml-Deployment",
    "daemonset.yaml-DaemonSet",
}
each = pytest.mark.parametrize("document", [one for _, one in DOCUMENTS], ids=dict(DOCUMENTS))
pods = pytest.mark.parametrize(
    "document",
    [one for _, one in DOCUMENTS if "template" in one.get("spec", {})],
    ids=[name for name, one in DOCUMENTS if "template" in one.get("spec", {})],
)


def pod(document: Document) -> Document:
    found: Document = document["spec"]["template"]["spec"]
    return found


def containers(document: Document) -> Iterator[Document]:
    yield from pod(document).get("initContainers", [])
    yield from pod(document)["containers"]


def ours(document: Document) -> Document:
    """The container that fetches the model."""
    (found,) = [each for each in containers(document) if each["name"] == "fetch"]
    return found


def test_all_of_them_are_looked_at() -> None:
    assert {name for name, _ in DOCUMENTS} == KINDS


@each
@pytest.mark.parametrize("version", VERSIONS)
def test_they_fit_the_schemas(document: Document, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


@each
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_broken_does_not(document: Document, version: str) -> None:
    unknown = {**document, "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(unknown, version, strict=True)
    nameless = {**document, "metadata": {"name": 5}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(nameless, version, strict=True)


@pods
def test_a_misspelt_key_deep_inside_is_found(document: Document) -> None:
    wrong = copy.deepcopy(document)
    wrong["spec"]["template"]["spec"]["containers"][0]["securityContexts"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pods
def test_models_are_fetched_by_digest_with_arguments_that_the_command_takes(
    document: Document,
) -> None:
    name, *arguments = ours(document)["args"]
    with click.Context(cli, help_option_names=["-h", "--help"]) as ctx:
        command = cli.get_command(ctx, name)
        assert command is not None
        parsed = command.make_context(name, list(arguments), parent=ctx)
    reference = Reference.parse(parsed.params["reference"])
    assert reference.digest is not None
    assert reference.tag is None
    mounts = {mount["mountPath"] for mount in ours(document)["volumeMounts"]}
    assert str(Path(parsed.params["directory"]).parent) in mounts


@pods
def test_images_are_pinned_to_a_version(document: Document) -> None:
    for container in containers(document):
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        assert re.fullmatch(r"\d+(\.\d+)+", tag), container["image"]


@pods
def test_containers_can_do_as_little_as_they_can(document: Document) -> None:
    assert pod(document)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(document):
        context = {**pod(document)["securityContext"], **container["securityContext"]}
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        # Only the node's own folder is root's.
        if document["kind"] != "DaemonSet" or container["name"] != "fetch":
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 0
        resources = container["resources"]
        assert resources["limits"]["memory"]
        if container["name"] != "serve":
            assert resources["limits"]["memory"] == resources["requests"]["memory"]


@pods
def test_fetching_needs_little_memory_and_only_places_that_can_be_written_to(
    document: Document,
) -> None:
    container = ours(document)
    assert int(container["resources"]["limits"]["memory"].removesuffix("Mi")) <= 150
    writable = {each["mountPath"] for each in container["volumeMounts"] if "readOnly" not in each}
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert writable == {variables["OCIMLPACK_HOME"], "/models"}


def test_the_job_gives_up_at_once_where_another_try_would_end_the_same_way() -> None:
    (job,) = [one for _, one in DOCUMENTS if one["kind"] == "Job"]
    assert pod(job)["restartPolicy"] == "Never"  # else the policy is not allowed
    (codes,) = [
        rule["onExitCodes"]
        for rule in job["spec"]["podFailurePolicy"]["rules"]
        if rule["action"] == "FailJob"
    ]
    assert codes["operator"] == "In"
    assert codes["containerName"] == ours(job)["name"]
    hopeless = (
        errors.InputError,
        errors.NotFoundError,
        errors.IntegrityError,
        errors.UnsupportedError,
        errors.RefusedError,
    )
    assert codes["values"] == [error.exit_code for error in hopeless]


def test_servers_mount_the_model_read_only() -> None:
    (deployment,) = [one for _, one in DOCUMENTS if one["kind"] == "Deployment"]
    (serve,) = [each for each in containers(deployment) if each["name"] == "serve"]
    (mount,) = [each for each in serve["volumeMounts"] if each["name"] == "models"]
    assert mount["readOnly"] is True


@pods
def test_nothing_secret_is_needed(document: Document) -> None:
    text = yaml.safe_dump(document)
    assert "imagePullSecrets" not in text
    assert "secretKeyRef" not in text
    variables = {each["name"]: each["value"] for each in ours(document)["env"]}
    assert variables["OCI_RESOURCE_PRINCIPAL_VERSION"] == "2.2"
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d", variables["OCI_RESOURCE_PRINCIPAL_REGION"])


@pods
def test_only_the_container_that_fetches_has_the_pods_identity(document: Document) -> None:
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    holders = {
        container["name"]
        for container in containers(document)
        if place in {mount["mountPath"] for mount in container.get("volumeMounts", [])}
    }
    if pod(document)["automountServiceAccountToken"]:
        assert [each["name"] for each in containers(document)] == ["fetch"]
    else:
        assert holders == {"fetch"}


def test_the_policy_names_the_manifests_namespace_and_account() -> None:
    text = (FOLDER / "policy.txt").read_text("utf-8")
    (statement,) = re.findall(r"^Allow .*?^}", text, re.M | re.S)
    said = dict(re.findall(r"([a-z_.]+) = '([^']*)'", statement))
    assert said["request.principal.type"] == "workload"
    (account,) = [one for _, one in DOCUMENTS if one["kind"] == "ServiceAccount"]
    assert said["request.principal.service_account"] == account["metadata"]["name"]
    assert said["request.principal.namespace"] == account["metadata"]["namespace"]
    assert " to read repos " in statement
    for _, document in DOCUMENTS:
        assert document["metadata"]["namespace"] == account["metadata"]["namespace"]
        if "template" in document.get("spec", {}):
            assert pod(document)["serviceAccountName"] == account["metadata"]["name"]
            reference = Reference.parse(ours(document)["args"][1])
            assert reference.repository.endswith(said["target.repo.name"])
