"""What a cluster refuses, or never runs, of manifests that fit the schemas."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.manifests.test_kubernetes import DOCUMENTS, Document, containers, pod, pods

BY_KIND = {document["kind"]: document for _, document in DOCUMENTS}
RESTRICTED = {
    *("configMap", "csi", "downwardAPI", "emptyDir"),
    *("ephemeral", "persistentVolumeClaim", "projected", "secret"),
}
"""https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""


def mistakes(document: Document) -> Iterator[str]:
    """What an API server says no to, or what keeps a pod from starting."""
    inside = pod(document)
    names = [volume["name"] for volume in inside["volumes"]]
    yield from (f"two volumes {name}" for name, times in Counter(names).items() if times > 1)
    used = set()
    for container in containers(document):
        places = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        yield from (f"two mounts at {place}" for place, n in Counter(places).items() if n > 1)
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        yield from (f"no volume {name}" for name in mounted - set(names))
        used |= mounted
        ports = {port["name"] for port in container.get("ports", [])}
        probed = container.get("readinessProbe", {}).get("httpGet", {}).get("port")
        if probed is not None and probed not in ports:
            yield f"no port {probed}"
    yield from (f"nobody mounts {name}" for name in set(names) - used)
    every = [container["name"] for container in containers(document)]
    yield from (f"two containers {name}" for name, times in Counter(every).items() if times > 1)
    labels = document["spec"]["template"].get("metadata", {}).get("labels", {})
    chosen = document["spec"].get("selector", {}).get("matchLabels", {})
    if document["kind"] != "Job" and not (chosen and chosen.items() <= labels.items()):
        yield "its pods are not those that it selects"
    claims = BY_KIND["PersistentVolumeClaim"]["metadata"]["name"]
    for volume in inside["volumes"]:
        if volume.get("persistentVolumeClaim", {}).get("claimName", claims) != claims:
            yield f"no claim for {volume['name']}"
    if document["kind"] == "Job" and inside["restartPolicy"] not in {"Never", "OnFailure"}:
        yield "a Job's pods are not restarted always"


@pods
def test_a_cluster_takes_them_as_they_are(document: Document) -> None:
    assert list(mistakes(document)) == []


def rename_volume(document: Document) -> None:
    pod(document)["volumes"][0]["name"] = "elsewhere"


def repeat_volume(document: Document) -> None:
    pod(document)["volumes"].append(pod(document)["volumes"][0])


def repeat_mount(document: Document) -> None:
    mounts = next(each["volumeMounts"] for each in containers(document) if "volumeMounts" in each)
    mounts.append(mounts[0])


def repeat_container(document: Document) -> None:
    pod(document)["containers"].append(pod(document)["containers"][0])


@pods
@pytest.mark.parametrize("change", [rename_volume, repeat_volume, repeat_mount, repeat_container])
def test_the_mistakes_are_found(change: Callable[[Document], None], document: Document) -> None:
    wrong = copy.deepcopy(document)
    change(wrong)
    assert list(mistakes(wrong)) != []


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])
def test_pods_that_nobody_selects_are_found(kind: str) -> None:
    wrong = copy.deepcopy(BY_KIND[kind])
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "another"}
    assert list(mistakes(wrong)) == ["its pods are not those that it selects"]


def test_a_claim_or_a_port_that_is_not_there_is_found() -> None:
    job, deployment = copy.deepcopy(BY_KIND["Job"]), copy.deepcopy(BY_KIND["Deployment"])
    (claim,) = [each for each in pod(job)["volumes"] if "persistentVolumeClaim" in each]
    claim["persistentVolumeClaim"]["claimName"] = "another"
    assert list(mistakes(job)) == ["no claim for models"]
    pod(deployment)["containers"][0]["ports"][0]["name"] = "another"
    assert list(mistakes(deployment)) == ["no port http"]


@pytest.mark.parametrize("kind", ["Job", "Deployment"])
def test_they_may_run_where_pods_are_restricted(kind: str) -> None:
    # The rest of that standard is looked at with the containers' rights.
    for volume in pod(BY_KIND[kind])["volumes"]:
        assert volume.keys() - {"name"} <= RESTRICTED
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod(BY_KIND[kind]).keys()


def test_what_the_documentation_says_of_the_daemon_set_holds() -> None:
    volumes = {volume["name"]: volume for volume in pod(BY_KIND["DaemonSet"])["volumes"]}
    assert "hostPath" in volumes["models"]
    (toleration,) = pod(BY_KIND["DaemonSet"])["tolerations"]
    assert toleration == {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
