from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.cli.main import main
from ocimlpack.cloud import _sdk
from tests.cloud.cloud import NAMESPACE, make_profile
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.live.registries import Registry, run_distribution3

NO_REGISTRY = "127.0.0.1:9"


def client(cloud: LocalCloud, path: str) -> Any:
    """A client of the real SDK with the profile of the home."""
    import oci

    module, _, name = path.rpartition(".")
    made = getattr(importlib.import_module(f"oci.{module}"), name)
    return made(
        oci.config.from_file(),
        service_endpoint=cloud.url,
        retry_strategy=oci.retry.NoneRetryStrategy(),
        circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
        timeout=(5, 60),
    )


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK tries again as often as ever, with hardly a pause before it."""
    monkeypatch.setattr(_sdk, "_LONGEST_PAUSE", 0.05)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_distribution3(tmp_path_factory.mktemp("upstream")) as registry:
        yield registry


@pytest.fixture
def cloud(upstream: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    """A cloud of its own for each test. The registry behind it is the same, emptied of tags: that
    of an earlier test would be in the way of those that look at all of them."""
    assert upstream.storage
    shutil.rmtree(upstream.storage / "docker/registry/v2/repositories", ignore_errors=True)
    with LocalCloud(upstream.host) as running:
        monkeypatch.setenv("OCIMLPACK_OCI_ENDPOINT", running.url)
        yield running


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    """A cloud of its own for each test, without a registry, with a home that has its profile."""
    with LocalCloud(NO_REGISTRY) as running:
        monkeypatch.setenv("OCIMLPACK_OCI_ENDPOINT", running.url)
        make_profile(Path.home(), running)
        yield running


@pytest.fixture
def storage(alone: LocalCloud) -> Iterator[Any]:
    """The real SDK's client of object storage, with that profile; it tries nothing again."""
    made = client(alone, "object_storage.ObjectStorageClient")
    yield made
    made.base_client.session.close()


@pytest.fixture
def home() -> Path:
    return Path.home()


@pytest.fixture
def alice(cloud: LocalCloud, home: Path) -> LocalCloud:
    """A home with nothing but the profile of an API key."""
    make_profile(home, cloud)
    return cloud


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that no other test has pushed: a file large enough to be hashed while it is sent,
    and a few small ones."""
    folder = tmp_path / "minilm"
    folder.mkdir()
    (folder / "README.md").write_text("# MiniLM\n\nA small model.\n")
    config = {"architectures": ["BertModel"], "_test": os.urandom(8).hex()}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "weights.bin").write_bytes(os.urandom(3_000_000))
    return folder


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-classification
model-index:
- name: minilm
  results:
  - dataset: {type: squad}
    metrics:
    - {type: f1, value: 0.91}
    - {type: exact, value: 0.8}
  - metrics:
    - {name: accuracy, value: 0.99}
---
# MiniLM
"""


@pytest.fixture
def pushed(alice: LocalCloud, model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model in the registry that says much of itself; its reference by tag."""
    monkeypatch.setenv("OCIMLPACK_COMPARTMENT", COMPARTMENT)
    (model / "README.md").write_text(CARD)
    place = f"{alice.host}/{NAMESPACE}/team/minilm:1.0"
    ocimlpack.push(
        model,
        place,
        tags=["stable"],
        annotations={
            "org.opencontainers.image.source": "https://git.example.com/team/minilm",
            "org.opencontainers.image.revision": "0123abcd",
            "org.opencontainers.image.description": "A small model.",
        },
    )
    return place


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """What went wrong, without the hint."""
        return self.stderr.splitlines()[0] if self.stderr else ""


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process, where the SDK is loaded already."""

    def run(*arguments: str | Path) -> Ran:
        capfd.readouterr()
        code = main(["--no-progress", *(str(each) for each in arguments)])
        return Ran(code, *capfd.readouterr())

    return run


def read_tree(folder: Path) -> dict[str, bytes]:
    """The content of a folder's files, but for the receipt."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".ocimlpack" not in path.parts
    }
