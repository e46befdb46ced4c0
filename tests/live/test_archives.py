"""Archives by the command itself: into real registries, and in the hands of other programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.live.conftest import Program
from tests.live.registries import Registry
from tests.live.test_everyday import COMMAND, push, run


@pytest.fixture
def saved(registry: Registry, model: Path, oras: Program, tmp_path: Path) -> tuple[Path, str]:
    """An archive of a model and a note about it, and the model's digest."""
    repository = registry.repository()
    digest = push(model, repository, "1.0")
    note = tmp_path / "note.txt"
    note.write_text("fine\n")
    oras(
        "attach",
        "--plain-http",
        "--disable-path-validation",
        "--artifact-type",
        "application/vnd.test.note",
        f"{repository}:1.0",
        note,
    )
    path = tmp_path / "saved.tar"
    done = run("save", f"{repository}:1.0", "-o", path)
    assert done.stdout == f"{path}\n"
    assert "with 1 referrer" in done.stderr
    return path, digest


def test_other_programs_read_what_is_saved(
    saved: tuple[Path, str], oras: Program, skopeo: Program, tmp_path: Path
) -> None:
    path, digest = saved
    assert oras("resolve", "--oci-layout", f"{path}:1.0").strip() == digest
    found = oras("discover", "--oci-layout", f"{path}:1.0", "--format", "json")
    assert "application/vnd.test.note" in found
    skopeo("--insecure-policy", "copy", f"oci-archive:{path}:1.0", f"oci:{tmp_path / 'out'}:1.0")
    assert run("inspect", f"oci:{tmp_path / 'out'}:1.0", "--json").json["digest"] == digest


def test_what_is_saved_is_loaded_into_another_registry(
    saved: tuple[Path, str], distribution3: Registry, oras: Program
) -> None:
    path, digest = saved
    prefix = distribution3.repository()
    reference = run("load", path, prefix).stdout.strip()
    assert reference.endswith(f"@{digest}")
    tagged = f"{reference.partition('@')[0]}:1.0"
    assert oras("resolve", "--plain-http", tagged).strip() == digest
    found = oras("discover", "--plain-http", tagged, "--format", "json")
    assert "application/vnd.test.note" in found
    assert [each["moved"] for each in run("load", path, prefix, "--json").json["artifacts"]] == [0]


def test_an_archive_goes_through_a_pipe(saved: tuple[Path, str], tmp_path: Path) -> None:
    path, digest = saved
    run("load", path)
    (name,) = {each["name"] for each in run("ls", "--json").json if each["tag"]}
    saving = [*COMMAND, "save", f"{name}:1.0", "-o", "-"]
    with subprocess.Popen(saving, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
        loading = [*COMMAND, "load", "-", f"oci:{tmp_path}/layouts"]
        done = subprocess.run(
            loading, stdin=source.stdout, capture_output=True, check=True, text=True
        )
    assert source.returncode == 0
    assert done.stdout.strip().endswith(digest)
