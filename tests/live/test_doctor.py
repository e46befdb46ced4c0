"""The right table for real registries, and nothing left in them.

`table("HOST/REPOSITORY:TAG")` makes one of any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.cli import render
from ocimlpack.cli.main import main
from ocimlpack.errors import NotAllowedError
from ocimlpack.stores import credentials
from tests.live.conftest import Program, read_tree
from tests.live.registries import Registry, run_distribution3

EVERYTHING = {
    "list of tags": "ok",
    "parts of blobs": "ok",
    "list of referrers": "ok",
    "uploads": "ok",
    "uploads in parts": "ok",
    "uploads that go on": "ok",
    "uploads of unknown length": "ok",
    "mounts of blobs": "ok",
    "deletion of manifests": "ok",
    "deletion of tags": "ok",
    "artifactType": "ok",
    "configs of models": "ok",
    "layers of models": "ok",
    "list of repositories": "ok",
}
DISTRIBUTION3 = {**EVERYTHING, "list of referrers": "no"}
REGISTRY2 = {**DISTRIBUTION3, "deletion of tags": "no"}


def table(reference: str, **options: Any) -> dict[str, str]:
    """What the registry can do, by the page."""
    page = ocimlpack.doctor(reference, **options)
    (section,) = [each for each in page.sections if each.name == "abilities"]
    return {fact.name: fact.state for fact in section.facts if fact.name != "largest request"}


def contents(registry: Registry) -> dict[str, str]:
    """All that it has stored, folders too, by digest; the same where that can't be looked at."""
    if registry.storage is None:
        return {}
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(registry.storage.rglob("*"))
    }


@pytest.fixture
def pushed(registry: Registry, model: Path) -> str:
    """A model in the registry."""
    reference = f"{registry.repository()}:1.0"
    ocimlpack.push(model, reference)
    return reference


def expected(registry: Registry, request: pytest.FixtureRequest) -> dict[str, str]:
    return REGISTRY2 if request.node.callspec.params["registry"] == "registry2" else DISTRIBUTION3


def test_the_table_is_right_and_nothing_is_left(
    registry: Registry, pushed: str, request: pytest.FixtureRequest
) -> None:
    before = contents(registry)
    assert table(pushed) == expected(registry, request)
    assert contents(registry) == before


def test_without_a_tag_any_will_do(
    registry: Registry, pushed: str, request: pytest.FixtureRequest
) -> None:
    before = contents(registry)
    assert table(pushed.removesuffix(":1.0")) == expected(registry, request)
    assert contents(registry) == before


def test_a_tag_that_is_not_there_changes_nothing(
    registry: Registry, pushed: str, request: pytest.FixtureRequest
) -> None:
    before = contents(registry)
    assert table(pushed.replace(":1.0", ":2.0")) == expected(registry, request)
    assert contents(registry) == before


def test_a_repository_that_is_not_there_is_not_made(registry: Registry) -> None:
    repository = registry.repository()
    before = contents(registry)
    found = table(f"{repository}:1.0")
    assert contents(registry) == before
    assert found["uploads"] == found["artifactType"] == found["parts of blobs"] == "unknown"
    assert {each.method for each in registry.requests(repository)} == {"GET", "HEAD"}


def test_unless_that_is_wanted(registry: Registry) -> None:
    found = table(registry.repository(), write=True)
    assert found["uploads in parts"] == found["artifactType"] == "ok"
    # Not that it is listed now, or that there were anything in it.
    with pytest.raises(ocimlpack.NotFoundError):
        ocimlpack.tags(registry.repository())


def test_reading_alone_writes_nothing(registry: Registry, pushed: str) -> None:
    repository = pushed.rpartition(":")[0]
    count = len(registry.requests(repository))
    found = table(pushed, write=False)
    assert found["parts of blobs"] == "ok"
    assert found["uploads"] == "unknown"
    after = registry.requests(repository)[count:]
    assert {each.method for each in after} <= {"GET", "HEAD"}


def test_a_pull_after_it_finds_what_was_there(
    registry: Registry, pushed: str, model: Path, tmp_path: Path
) -> None:
    table(pushed)
    assert ocimlpack.pull(pushed, tmp_path / "out").files > 0
    assert ocimlpack.verify(pushed).checked > 0


def test_a_registry_that_deletes_nothing(
    tmp_path_factory: pytest.TempPathFactory, model: Path
) -> None:
    with run_distribution3(tmp_path_factory.mktemp("kept"), deletion=False) as registry:
        reference = f"{registry.repository()}:1.0"
        ocimlpack.push(model, reference)
        before = contents(registry)
        found = table(reference)
        assert contents(registry) == before
    missing = {"deletion of manifests": "no", "deletion of tags": "no"}
    assert found == {**DISTRIBUTION3, **missing}


def test_who_knows_the_password_sees_all(authenticated: Registry, model: Path) -> None:
    credentials.store(authenticated.host, authenticated.username, authenticated.password)
    reference = f"{authenticated.repository()}:1.0"
    ocimlpack.push(model, reference)
    before = contents(authenticated)
    page = ocimlpack.doctor(reference)
    assert table(reference) == DISTRIBUTION3
    assert contents(authenticated) == before
    for text in ("\n".join(render.diagnosis(page)), render.document(page)):
        assert authenticated.password not in text
        assert authenticated.username in text


def test_who_does_not_sees_why(authenticated: Registry) -> None:
    page = ocimlpack.doctor(authenticated.repository())
    assert page.exit_code == NotAllowedError.exit_code
    assert any("ocimlpack login" in finding.help for finding in page.findings)


def test_with_tokens_it_is_the_same(with_tokens: Registry, model: Path) -> None:
    credentials.store(with_tokens.host, with_tokens.username, with_tokens.password)
    reference = f"{with_tokens.repository()}:1.0"
    ocimlpack.push(model, reference)
    assert table(reference) == DISTRIBUTION3


def test_by_tls_it_is_the_same(encrypted: Registry, model: Path) -> None:
    credentials.store(encrypted.host, encrypted.username, encrypted.password)
    reference = f"{encrypted.repository()}:1.0"
    ocimlpack.push(model, reference, ca_file=encrypted.ca_file)
    assert table(reference, ca_file=encrypted.ca_file) == DISTRIBUTION3


def test_the_command_prints_it(
    distribution3: Registry, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = f"{distribution3.repository()}:1.0"
    ocimlpack.push(model, reference)
    assert main(["doctor", reference]) == 0
    text = capfd.readouterr().out
    assert "  ok  uploads in parts" in text
    assert "  no  list of referrers" in text
    assert text.endswith("\nFindings: none\n")
    assert main(["doctor", reference, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["reference"] == reference


@pytest.fixture(scope="module")
def images_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry whose administrator lets in nothing but images."""
    policy = {"repository": {"classes": ["image"]}}
    with run_distribution3(tmp_path_factory.mktemp("images-only"), policy=policy) as registry:
        yield registry


def test_a_registry_for_images_alone_is_seen_to_be_one(
    images_only: Registry, model: Path, tmp_path: Path
) -> None:
    reference = f"{images_only.repository()}:1.0"
    with pytest.raises(NotAllowedError) as caught:
        ocimlpack.push(model, reference)
    assert "--image-config" in str(caught.value.hint)
    ocimlpack.push(model, reference, image_config=True)
    before = contents(images_only)
    page = ocimlpack.doctor(reference)
    assert table(reference) == {**DISTRIBUTION3, "configs of models": "no"}
    assert contents(images_only) == before
    assert any("--image-config" in finding.help for finding in page.findings)
    ocimlpack.pull(reference, tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)


def test_a_model_with_an_image_s_config_is_read_by_others(
    images_only: Registry, model: Path, tmp_path: Path, oras: Program, skopeo: Program
) -> None:
    reference = f"{images_only.repository()}:1.0"
    ocimlpack.push(model, reference, image_config=True, artifact_type="none")
    oras("pull", "--plain-http", reference, "-o", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)
    found = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{reference}"))
    assert (found["Architecture"], found["Os"]) == ("unknown", "unknown")
