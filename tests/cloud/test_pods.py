"""The manifests' pods, in the image that the Dockerfile makes, with no more rights than they have.

Docker stands in for the cluster: it gives each container the user, the file systems, the
capabilities, the memory and the arguments that its manifest says.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import tarfile
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from docker.errors import BuildError, ImageNotFound
from docker.models.containers import Container

import ocimlpack
from scripts.trim_sdk import NEEDED, USED
from tests.cloud import federation
from tests.cloud.cloud import NAMESPACE, REGION
from tests.cloud.conftest import Cli, read_tree
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.live.forwarder import forwarded
from tests.live.interruptions import make_model
from tests.live.registries import Registry, connect_docker, lack
from tests.live.test_everyday import MIB, run
from tests.manifests import base_image, wheels
from tests.manifests.test_kubernetes import DOCUMENTS, Document, ours, pod

ROOT = Path(__file__).parents[2]
CLUSTER = "127.9.8.6"
"""Where the cluster's proxy is: the port is not ours to choose, and others may have it."""
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
ANYBODY = 12345
PODS = {one["kind"]: one for _, one in DOCUMENTS if "template" in one.get("spec", {})}
PREPARED = {True: 0o2775, False: 0o755}
TERMINATED = 143

# The whole SDK would take half of the time of all that is here. Of what has to go, some is left.
TO_BE_TRIMMED = {"budget", "email"}


@dataclass(frozen=True)
class Image:
    """An image, and the daemon that has it."""

    client: docker.DockerClient
    name: str

    def python(self, code: str) -> str:
        """What a program prints in it."""
        said: bytes = self.client.containers.run(
            self.name, ["-c", code], entrypoint="python", remove=True, network_mode="none"
        )
        return said.decode()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    client = connect_docker()
    if client is None:
        lack("no Docker daemon answers: start Docker")
    if sys.platform != "linux":
        client.close()
        pytest.skip("the base image is made of this system's files, and they are not Linux's")
    folder = tmp_path_factory.mktemp("image")
    with closing(client), _base(client, folder) as base, _built(client, base) as name:
        yield Image(client, name)


@contextmanager
def _base(client: docker.DockerClient, folder: Path) -> Iterator[str]:
    """The image to build on, with what is to be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = wheels.required(
        [
            *project["build-system"]["requires"],
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["oci"],
        ]
    )
    files = [file for each in needed for file in each.files or ()]
    services = {file.parts[1] for file in files if re.match("oci/[a-z_]+/models/", str(file))}
    unwanted = services - USED.keys() - NEEDED - TO_BE_TRIMMED
    (folder / "wheels").mkdir()
    for each in needed:
        wheels.write(
            each,
            folder / "wheels",
            lambda file: not (file.parts[0] == "oci" and file.parts[1] in unwanted),
        )
    extensions = [Path(str(file.locate())) for file in files if file.suffix == ".so"]
    base_image.write(folder / "base.tar", folder / "wheels", extensions)
    repository, tag = "ocimlpack-tests-python", uuid.uuid4().hex[:12]
    client.api.import_image_from_file(str(folder / "base.tar"), repository, tag)
    try:
        yield f"{repository}:{tag}"
    finally:
        client.images.remove(f"{repository}:{tag}")


@contextmanager
def _built(client: docker.DockerClient, base: str) -> Iterator[str]:
    """The Dockerfile's image, by its name."""
    names = []
    try:
        # The first stage gets a name too, as what has none would be left behind.
        for stage in ("build", None):
            names.append(f"ocimlpack-tests:{uuid.uuid4().hex[:12]}")
            client.images.build(
                path=str(ROOT),
                tag=names[-1],
                target=stage,
                buildargs={"PYTHON": base},
                network_mode="none",
                rm=True,
                forcerm=True,
            )
        yield names[-1]
    except BuildError as error:
        said = "".join(line.get("stream", "") for line in error.build_log)
        pytest.fail(f"the image can't be built: {error}\n{said[-4000:]}", pytrace=False)
    finally:
        for name in reversed(names):
            with suppress(ImageNotFound):
                client.images.remove(name)


@dataclass(frozen=True)
class Ended:
    code: int
    said: str
    files: Mapping[str, tarfile.TarInfo]
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
        code = container.wait(timeout=60)["StatusCode"]
        files, content = {}, {}
        if code == 0:
            chunks, _ = container.get_archive("/models/minilm")
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
                for entry in tar:
                    name = entry.name.partition("/")[2]
                    files[name] = entry
                    if entry.isfile() and not name.startswith(".ocimlpack/"):
                        content[name] = tar.extractfile(entry).read()  # type: ignore[union-attr]
        return Ended(code, container.logs().decode(), files, content)


@pytest.fixture(params=sorted(PODS))
def node(request: pytest.FixtureRequest, image: Image) -> Iterator[Node]:
    made = Node(image, PODS[request.param])
    with closing(made):
        yield made


def test_a_model_is_fetched_with_the_pods_identity_and_brought_up_to_date(
    node: Node, alice: LocalCloud, model: Path, tmp_path: Path, cli: Cli
) -> None:
    assert cli("ocir", "create", "team/minilm", "--compartment", COMPARTMENT).code == 0
    place = f"ocir://{REGION}/team/minilm"
    first = cli("push", model, place).stdout.strip()
    alice.ocir.issued.clear()
    with federation.run_proxy(alice, tmp_path / "account", CLUSTER) as variables:
        # What a cluster sets, and where this cloud is. The rest is the manifest's.
        outside = {
            "KUBERNETES_SERVICE_HOST": variables["KUBERNETES_SERVICE_HOST"],
            "OCIMLPACK_OCI_ENDPOINT": alice.url,
        }
        account = tmp_path / "account"
        fetched = node.fetch(first, outside, account)
        assert fetched.code == 0, fetched.said
        assert fetched.content == read_tree(model)
        assert set(alice.ocir.issued) <= {"", f"repository:{NAMESPACE}/team/minilm:pull"}

        alice.server.forget()
        again = node.fetch(first, outside, account)
        assert again.code == 0, again.said
        assert again.content == fetched.content
        assert alice.server.count("GET", "/blobs/") == 0

        (model / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "new": 1}))
        second = cli("push", model, place).stdout.strip()
        alice.server.forget()
        updated = node.fetch(second, outside, account)
        assert updated.code == 0, updated.said
        assert updated.content == read_tree(model)
        assert alice.server.count("GET", "/blobs/") <= 2  # the config, and what has changed
    serve = node.image.client.containers.run
    said = serve(
        node.image.name,
        ["verify", "/models/minilm"],
        user=str(ANYBODY),
        read_only=True,
        network_mode="none",
        volumes={node.volume: {"bind": "/models", "mode": "ro"}},
        remove=True,
    )
    assert said.decode().startswith("/models/minilm: verified ")


def test_a_pod_without_its_token_says_what_is_missing(
    node: Node, alice: LocalCloud, model: Path, tmp_path: Path, cli: Cli
) -> None:
    assert cli("ocir", "create", "team/minilm", "--compartment", COMPARTMENT).code == 0
    reference = cli("push", model, f"ocir://{REGION}/team/minilm").stdout.strip()
    (tmp_path / "nothing").mkdir()
    outside = {"KUBERNETES_SERVICE_HOST": CLUSTER, "OCIMLPACK_OCI_ENDPOINT": alice.url}
    ended = node.fetch(reference, outside, tmp_path / "nothing")
    assert ended.code == 2
    assert f"the service account's token is not there: {ACCOUNT}/token" in ended.said
    assert "Traceback" not in ended.said


def test_a_pod_that_is_stopped_ends_at_once_and_the_next_goes_on(
    image: Image, upstream: Registry, tmp_path: Path
) -> None:
    known = make_model(tmp_path / "model", 7, {"weights.bin": 64})
    repository = upstream.repository("minilm")
    reference = run("push", tmp_path / "model", repository).stdout.strip()
    (tmp_path / "account").mkdir()
    with (
        forwarded(upstream.host) as link,
        closing(Node(image, PODS["Job"])) as node,
    ):
        through = reference.replace(upstream.host, link.host, 1)
        link.shut(after=40 * MIB)
        container = node.start(through, {}, tmp_path / "account")
        try:
            _wait_until(lambda: link.is_shut)
            began = time.monotonic()
            container.stop(timeout=30)
            assert time.monotonic() - began < 10
            assert container.wait()["StatusCode"] == TERMINATED
        finally:
            container.remove(force=True)
        link.reopen()
        assert link.rest(10)
        before = link.received
        ended = node.fetch(through, {}, tmp_path / "account")
        assert ended.code == 0, ended.said
        assert _digests(ended.content) == known
        assert link.received - before < 40 * MIB


def _digests(content: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(raw).hexdigest() for name, raw in content.items()}


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_image_runs_as_nobody_and_says_what_it_is(image: Image) -> None:
    config = image.client.images.get(image.name).attrs["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["ocimlpack"]
    assert config["Labels"]["org.opencontainers.image.title"] == "ocimlpack"
    said = image.client.containers.run(image.name, ["--version"], read_only=True, remove=True)
    assert said.decode() == f"ocimlpack {ocimlpack.__version__}\n"


def test_a_model_can_be_pulled_into_the_images_own_folder(image: Image) -> None:
    assert (
        image.python("open('/models/x', 'w').close(); import os; print(os.getuid())") == "65532\n"
    )


def test_only_the_services_that_are_used_are_left(image: Image) -> None:
    said = image.python(
        "import oci, pathlib; home = pathlib.Path(oci.__file__).parent\n"
        "print(*sorted(each.parent.name for each in home.glob('*/models')))"
    )
    assert set(said.split()) == USED.keys() | NEEDED


def test_every_signer_that_is_used_can_be_imported(image: Image) -> None:
    source = (ROOT / "ocimlpack/cloud/signers.py").read_text("utf-8")
    names = sorted(set(re.findall(r'module\("auth\.signers"\)\.(\w+)', source)))
    assert len(names) > 3
    said = image.python(
        f"from oci.auth import signers; print([getattr(signers, n) for n in {names}])"
    )
    assert said.count("<") == len(names)


def test_nothing_is_compiled_at_the_start(image: Image) -> None:
    said = image.python(
        "import sys, ocimlpack, ocimlpack.cli.main, ocimlpack.cli.moving, oci.auth.signers\n"
        "from pathlib import Path\n"
        "for name, module in sorted(sys.modules.items()):\n"
        "    spec = module.__spec__\n"
        "    if spec is not None and spec.has_location and str(spec.origin).endswith('.py'):\n"
        "        print(name, Path(spec.cached).is_file())\n"
    )
    compiled = dict(line.split() for line in said.splitlines())
    assert {"json", "ssl", "click", "ocimlpack.cli.main", "oci.auth.signers"} <= compiled.keys()
    assert [name for name, is_there in compiled.items() if is_there != "True"] == []
