"""What tests/live/interop says of programs, looked at more closely; that is the whole list."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import jsonschema
import pytest

import ocimlpack
from tests.live.conftest import Program, read_tree
from tests.live.registries import Registry

SCHEMA = Path(__file__).parents[2] / "manifests/schema/modelpack-config.schema.json"
EMPTY_POLICY = "--insecure-policy"  # skopeo: no signature policy where none is installed


@dataclass(frozen=True)
class Pushed:
    """A model in a registry: where, and what it must be wherever it goes."""

    repository: str
    digest: str
    files: dict[str, bytes]

    @property
    def reference(self) -> str:
        return f"{self.repository}:1.0"


@pytest.fixture
def pushed(registry: Registry, model: Path) -> Pushed:
    repository = registry.repository()
    done = ocimlpack.push(model, repository, tags=["1.0"])
    return Pushed(repository, done.digest, read_tree(model))


@pytest.fixture
def layout(model: Path, tmp_path: Path) -> tuple[Path, str]:
    """An image layout that we wrote, and the digest of what is tagged 1.0 in it."""
    folder = tmp_path / "layout"
    return folder, ocimlpack.pack(model, f"oci:{folder}:1.0").digest


def assert_is_what_was_pushed(location: str, pushed: Pushed, folder: Path) -> None:
    assert ocimlpack.inspect(location).digest == pushed.digest
    assert read_tree(Path(ocimlpack.pull(location, folder).path)) == pushed.files


# What we push, others pull.


def test_oras_pulls_by_the_digest_that_we_report(
    pushed: Pushed, oras: Program, tmp_path: Path
) -> None:
    oras("pull", "--plain-http", f"{pushed.repository}@{pushed.digest}", "-o", tmp_path / "out")
    assert read_tree(tmp_path / "out") == pushed.files
    assert oras("resolve", "--plain-http", pushed.reference).strip() == pushed.digest


def test_crane_accepts_what_we_push(pushed: Pushed, crane: Program) -> None:
    crane("validate", "--insecure", "--remote", pushed.reference)
    assert crane("digest", "--insecure", pushed.reference).strip() == pushed.digest


def test_the_config_we_push_is_valid_by_the_modelpack_schema(pushed: Pushed) -> None:
    found = ocimlpack.inspect(pushed.reference)
    schema = json.loads(SCHEMA.read_text())
    config = json.loads(found.config)
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    assert list(validator.iter_errors(config)) == []
    # A schema that accepts anything would have accepted ours too.
    assert list(validator.iter_errors({**config, "of_our_own": 1}))
    assert config["config"]["precision"] == "bfloat16"
    assert config["config"]["format"] == "safetensors"


# What others copy is still the same.


@pytest.mark.parametrize("by", ["skopeo", "crane", "oras"])
def test_a_layout_that_others_write_is_read_by_us(
    pushed: Pushed, by: str, program: Callable[[str], Program], tmp_path: Path
) -> None:
    run, folder = program(by), tmp_path / "layout"
    tag = "1.0"
    if by == "skopeo":
        source = f"docker://{pushed.reference}"
        run(EMPTY_POLICY, "copy", "--src-tls-verify=false", source, f"oci:{folder}:1.0")
    elif by == "crane":
        # It annotates the whole reference instead of a tag, so the digest is the way in.
        run("pull", "--insecure", "--format=oci", pushed.reference, folder)
        tag = ""
    else:
        run("cp", "--from-plain-http", "--to-oci-layout", pushed.reference, f"{folder}:1.0")
    location = f"oci:{folder}:{tag}" if tag else f"oci:{folder}@{pushed.digest}"
    assert_is_what_was_pushed(location, pushed, tmp_path / "out")


@pytest.mark.parametrize("by", ["skopeo", "crane", "oras"])
def test_a_layout_that_we_write_is_copied_by_others_with_the_same_digest(
    layout: tuple[Path, str],
    model: Path,
    registry: Registry,
    by: str,
    program: Callable[[str], Program],
    tmp_path: Path,
) -> None:
    folder, digest = layout
    target, run = registry.repository(), program(by)
    if by == "skopeo":
        place = f"docker://{target}:1.0"
        run(EMPTY_POLICY, "copy", "--dest-tls-verify=false", f"oci:{folder}:1.0", place)
    elif by == "crane":
        run("push", "--insecure", folder, f"{target}:1.0")
    else:
        run("cp", "--from-oci-layout", "--to-plain-http", f"{folder}:1.0", f"{target}:1.0")
    there = Pushed(target, digest, read_tree(model))
    assert_is_what_was_pushed(there.reference, there, tmp_path / "out")


def test_oras_pulls_from_a_layout_that_we_write(
    layout: tuple[Path, str], model: Path, oras: Program, tmp_path: Path
) -> None:
    folder, digest = layout
    oras("pull", "--oci-layout", f"{folder}:1.0", "-o", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)
    assert oras("resolve", "--oci-layout", f"{folder}:1.0").strip() == digest


def test_a_layout_that_we_write_is_what_the_specification_asks_for(
    layout: tuple[Path, str],
) -> None:
    """https://github.com/opencontainers/image-spec/blob/main/image-layout.md."""
    folder, digest = layout
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((folder / "index.json").read_text())
    assert index["schemaVersion"] == 2
    assert index.get("mediaType") in (None, "application/vnd.oci.image.index.v1+json")
    (entry,) = index["manifests"]
    assert entry["digest"] == digest
    assert entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "1.0"
    blobs = {path.name: path for path in (folder / "blobs/sha256").iterdir()}
    for name, path in blobs.items():
        assert re.fullmatch("[0-9a-f]{64}", name)
        assert sha256(path.read_bytes()).hexdigest() == name
    manifest = json.loads(blobs[digest.removeprefix("sha256:")].read_text())
    described = [entry, manifest["config"], *manifest["layers"]]
    for descriptor in described:
        blob = blobs[descriptor["digest"].removeprefix("sha256:")]
        assert blob.stat().st_size == descriptor["size"]
    assert {item["digest"].removeprefix("sha256:") for item in described} == set(blobs)
