from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.cloud import make_profile
from tests.cloud.local import LocalCloud
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


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_distribution3(tmp_path_factory.mktemp("upstream")) as registry:
        yield registry


@pytest.fixture
def cloud(upstream: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    """A cloud of its own for each test; only the registry behind it is the same."""
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
