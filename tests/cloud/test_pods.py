"""The manifests' pods, in the image of the Dockerfile, with no more rights than they have."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.cli.main import TERMINATED
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
from tests.manifests.image import ROOT, Image, build
from tests.manifests.node import ACCOUNT, Node
from tests.manifests.test_kubernetes import DOCUMENTS

CLUSTER = "127.9.8.6"
"""Where the cluster's proxy is: the port is not ours to choose, and others may have it."""
ANYBODY = 12345
PODS = {one["kind"]: one for _, one in DOCUMENTS if "template" in one.get("spec", {})}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if sys.platform != "linux":
        pytest.skip("the base image is made of this system's files, and they are not Linux's")
    client = connect_docker()
    if client is None:
        lack("no Docker daemon answers: start Docker")
    with closing(client), build(client, tmp_path_factory.mktemp("image")) as built:
        yield built


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
        assert set(alice.ocir.issued) - {""} == {f"repository:{NAMESPACE}/team/minilm:pull"}

        alice.server.forget()
        again = node.fetch(first, outside, account)
        assert again.code == 0, again.said
        assert again.content == fetched.content
        assert alice.server.count("GET", "/blobs/") == 0

        (model / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "new": 1}))
        (model / "README.md").unlink()
        second = cli("push", model, place).stdout.strip()
        alice.server.forget()
        updated = node.fetch(second, outside, account)
        assert updated.code == 0, updated.said
        assert updated.content == read_tree(model)
        assert alice.server.count("GET", "/blobs/") <= 2  # the config, and what has changed
    said = node.image.client.containers.run(
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
        "    spec = getattr(module, '__spec__', None)\n"
        "    if spec is not None and spec.has_location and str(spec.origin).endswith('.py'):\n"
        "        print(name, Path(spec.cached).is_file())\n"
    )
    compiled = dict(line.split() for line in said.splitlines())
    assert {"json", "ssl", "click", "ocimlpack.cli.main", "oci.auth.signers"} <= compiled.keys()
    assert [name for name, is_there in compiled.items() if is_there != "True"] == []
