"""distribution as a pull-through cache: https://distribution.github.io/distribution/recipes/mirror/"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.live.conftest import read_tree
from tests.live.registries import Registry, run_distribution3
from tests.live.test_everyday import flip_a_byte, push, run


@contextmanager
def run_cache(origin: Registry, folder: Path) -> Iterator[Registry]:
    """Fetches from the other one what it is asked for, and keeps it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGISTRY_PROXY_REMOTEURL", f"http://{origin.host}")
        with run_distribution3(folder) as registry:
            yield registry


class Origin:
    """A registry that a test may stop."""

    def __init__(self, folder: Path) -> None:
        self._running = ExitStack()
        self.registry = self._running.enter_context(run_distribution3(folder))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    started = Origin(tmp_path_factory.mktemp("origin"))
    yield started
    started.stop()


@pytest.fixture
def cache(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_cache(origin.registry, tmp_path_factory.mktemp("cache")) as registry:
        yield registry


def at(registry: Registry, repository: str) -> str:
    """The same repository by way of another registry."""
    return f"{registry.host}/{repository.partition('/')[2]}"


def blobs_read(registry: Registry, repository: str) -> int:
    found = registry.requests(at(registry, repository))
    return sum(each.method == "GET" and "/blobs/" in each.path for each in found)


def test_a_pull_fills_the_cache_and_the_next_lives_on_it(
    origin: Origin, cache: Registry, model: Path, tmp_path: Path
) -> None:
    repository = origin.registry.repository()
    digest = push(model, repository, "1.0")
    mirror = ("--mirror", f"http://{cache.host}")
    run("pull", f"{repository}:1.0", "-o", tmp_path / "first", *mirror)
    fetched = blobs_read(origin.registry, repository)
    assert 1 < fetched <= blobs_read(cache, repository)
    run("pull", f"{repository}@{digest}", "-o", tmp_path / "second", *mirror)
    assert blobs_read(origin.registry, repository) == fetched
    origin.stop()
    run("pull", f"{repository}@{digest}", "-o", tmp_path / "third", *mirror)
    for name in ("first", "second", "third"):
        assert read_tree(tmp_path / name) == read_tree(model)


def test_a_tag_that_the_cache_was_asked_for_outlives_the_registry(
    origin: Origin, cache: Registry, model: Path, tmp_path: Path
) -> None:
    repository = origin.registry.repository()
    push(model, repository, "1.0")
    run("pull", f"{at(cache, repository)}:1.0", "-o", tmp_path / "first")
    origin.stop()
    mirror = ("--mirror", f"http://{cache.host}")
    done = run("pull", f"{repository}:1.0", "-o", tmp_path / "second", *mirror)
    assert "may be out of date" in done.stderr
    assert read_tree(tmp_path / "second") == read_tree(model)


def test_what_a_cache_got_wrong_comes_from_the_registry(
    origin: Origin, cache: Registry, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[mirrors]\n"{origin.registry.host}" = ["http://{cache.host}"]\n')
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(config))
    repository = origin.registry.repository()
    push(model, repository, "1.0")
    run("pull", f"{repository}:1.0", "-o", tmp_path / "first")
    assert cache.storage
    stored = [path for path in cache.storage.rglob("data") if path.stat().st_size > 50_000]
    assert stored
    for path in stored:
        flip_a_byte(path)
    done = run("pull", f"{repository}:1.0", "-o", tmp_path / "second")
    assert "wrong bytes" in done.stderr
    assert read_tree(tmp_path / "second") == read_tree(model)


def test_a_cache_that_is_stopped_costs_a_warning(
    origin: Origin, model: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository = origin.registry.repository()
    push(model, repository, "1.0")
    with run_cache(origin.registry, tmp_path_factory.mktemp("stopped")) as stopped:
        mirror = ("--mirror", f"http://{stopped.host}")
    done = run("pull", f"{repository}:1.0", "-o", tmp_path / "out", *mirror)
    assert done.stderr.count("warning: ") == 1
    assert read_tree(tmp_path / "out") == read_tree(model)


def test_a_cache_with_a_prefix_and_a_password_of_its_own(
    origin: Origin, authenticated: Registry, model: Path, tmp_path: Path
) -> None:
    repository = origin.registry.repository()
    digest = push(model, repository, "1.0")
    account = ("-u", authenticated.username, "--password-stdin")
    run("login", authenticated.host, *account, stdin=f"{authenticated.password}\n")
    path = repository.partition("/")[2]
    run("copy", f"{repository}:1.0", f"{authenticated.host}/cache/{path}:1.0")
    origin.stop()
    mirror = ("--mirror", f"http://{authenticated.host}/cache")
    run("pull", f"{repository}@{digest}", "-o", tmp_path / "out", *mirror)
    assert read_tree(tmp_path / "out") == read_tree(model)
