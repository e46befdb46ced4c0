from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.cloud import make_profile
from tests.cloud.local import LocalCloud
from tests.live.registries import Registry, run_distribution3


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
def home() -> Path:
    return Path.home()


@pytest.fixture
def alice(cloud: LocalCloud, home: Path) -> LocalCloud:
    """A home with nothing but the profile of an API key."""
    make_profile(home, cloud)
    return cloud
