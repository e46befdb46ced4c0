"""A node of a cluster, as far as Docker is one: it gives a container what its manifest says.

That is its user and groups, the file systems, the capabilities, the memory, the environment and the
arguments.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docker.models.containers import Container

from tests.manifests.image import Image
from tests.manifests.test_kubernetes import Document, ours, pod

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
PREPARED = {True: 0o2775, False: 0o755}


@dataclass(frozen=True)
class Ended:
    """A container that has ended.

    Attributes:
        code: its exit code.
        said: its log.
        content: the model's files, if it has fetched them.
    """

    code: int
    said: str
    content: Mapping[str, bytes]


class Node:
    """Runs the container of a pod that fetches the model, again and again, on one volume.

    Attributes:
        image: what the container is started from.
        document: the manifest.
        volume: where the model is to be; as a cluster would prepare it.
    """

    def __init__(self, image: Image, document: Document) -> None:
        self.image = image
        self.document = document
        self.container = ours(document)
        self.volume: str = image.client.volumes.create().name
        # A claim and a pod's own folder are opened to the pod's group; a folder of the node isn't.
        group = pod(document)["securityContext"].get("fsGroup", 0)
        image.client.containers.run(
            image.name,
            ["-c", f"import os; os.chown('/v', 0, {group}); os.chmod('/v', {PREPARED[group > 0]})"],
            entrypoint="python",
            user="0",
            volumes={self.volume: {"bind": "/v", "mode": "rw"}},
            remove=True,
        )

    def close(self) -> None:
        self.image.client.volumes.get(self.volume).remove()

    def start(self, reference: str, environment: Mapping[str, str], account: Path) -> Container:
        """The container, running with the manifest's arguments but for the reference."""
        arguments = [
            reference if "@sha256:" in argument else argument for argument in self.container["args"]
        ]
        context = {**pod(self.document)["securityContext"], **self.container["securityContext"]}
        memory = self.container["resources"]["limits"]["memory"].replace("Mi", "m")
        scratch, volumes = self._mounts(account)
        started: Container = self.image.client.containers.run(
            self.image.name,
            arguments,
            detach=True,
            environment={
                **{each["name"]: each["value"] for each in self.container["env"]},
                **environment,
            },
            user=f"{context['runAsUser']}:{context.get('runAsGroup', 0)}",
            group_add=[context["fsGroup"]] if "fsGroup" in context else [],
            read_only=context["readOnlyRootFilesystem"],
            cap_drop=context["capabilities"]["drop"],
            security_opt=[] if context["allowPrivilegeEscalation"] else ["no-new-privileges"],
            mem_limit=memory,
            memswap_limit=memory,
            network_mode="host",  # where the cloud is
            tmpfs=scratch,
            volumes=volumes,
        )
        return started

    def _mounts(self, account: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """What lies in memory, and what else is mounted."""
        volumes = {each["name"]: each for each in pod(self.document)["volumes"]}
        scratch, mounted = {}, {}
        if pod(self.document)["automountServiceAccountToken"]:
            mounted[str(account)] = {"bind": ACCOUNT, "mode": "ro"}
        for mount in self.container["volumeMounts"]:
            volume, place = volumes[mount["name"]], mount["mountPath"]
            if "projected" in volume:
                mounted[str(account)] = {"bind": place, "mode": "ro"}
            elif mount["name"] == "models":
                mounted[self.volume] = {"bind": place, "mode": "nocopy"}
            else:
                size = volume["emptyDir"]["sizeLimit"].replace("Mi", "m")
                scratch[place] = f"size={size},mode=1777"
        return scratch, mounted

    def fetch(self, reference: str, environment: Mapping[str, str], account: Path) -> Ended:
        """What a container has done that ran to its end."""
        container = self.start(reference, environment, account)
        try:
            return self.end(container)
        finally:
            container.remove(force=True)

    def end(self, container: Container) -> Ended:
        """The same, of one that was started before."""
        code = container.wait(timeout=60)["StatusCode"]
        content = _read(container) if code == 0 else {}
        return Ended(code, container.logs().decode(), content)


def _read(container: Container) -> dict[str, bytes]:
    chunks, _ = container.get_archive("/models/minilm")
    content = {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        for entry in tar:
            name = entry.name.partition("/")[2]
            file = tar.extractfile(entry)
            if file is not None and not name.startswith(".ocimlpack/"):
                content[name] = file.read()
    return content
