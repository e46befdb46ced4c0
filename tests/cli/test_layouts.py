from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from ocimlpack.cli.main import main
from tests.cli.conftest import Run

FILES = {
    "README.md": b"---\nlicense: mit\n---\n# Tiny\n",
    "config.json": b'{"model_type": "bert"}\n',
}


def safetensors(count: int) -> bytes:
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * count)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "model.safetensors").write_bytes(safetensors(1000))
    return folder


def test_pack_pull_and_verify_through_the_local_store(model: Path, run: Run) -> None:
    packed = run("pack", "./tiny", "-t", "team/tiny:1.0", "-t", "latest")
    assert packed.code == 0, packed.stderr
    reference = packed.stdout.strip()
    assert reference.startswith("team/tiny@sha256:")
    assert run("tags", "team/tiny").stdout == "1.0\nlatest\n"
    pulled = run("pull", reference, "-o", "out")
    assert (pulled.code, pulled.stdout) == (0, "out\n"), pulled.stderr
    for file in model.iterdir():
        assert (Path("out") / file.name).read_bytes() == file.read_bytes()
    assert run("verify", "./out").code == 0
    (Path("out") / "config.json").write_bytes(b"{}")
    broken = run("verify", "./out", "--json")
    assert broken.code == 5
    assert json.loads(broken.stdout)["error"]["kind"] == "integrity"


def test_the_digest_is_the_same_wherever_the_model_goes(model: Path, run: Run) -> None:
    digests = {
        json.loads(run(*command, "--json").stdout)["digest"]
        for command in (
            ("pack", "./tiny", "-t", "tiny:1.0"),
            ("pack", "./tiny", "-t", "oci:layout:1.0"),
            ("push", "./tiny", "oci:other:1.0"),
            ("push", "oci:other:1.0", "oci:third:x"),
            ("copy", "tiny:1.0", "oci-archive:tiny.tar:1.0"),
            ("push", "./tiny", "oci:fourth", "--dry-run"),
            ("inspect", "./tiny"),
        )
    }
    assert len(digests) == 1
    assert not Path("fourth").exists()


def test_progress_is_lines_on_standard_error_when_piped(model: Path, run: Run) -> None:
    ran = run("pack", "./tiny", "-t", "oci:layout:1.0")
    lines = ran.stderr.splitlines()
    assert any(line.startswith("hashing ") for line in lines)
    assert any("model.safetensors" in line for line in lines)
    assert lines[-2].startswith("packed 3 files")
    again = run("pack", "./tiny", "-t", "oci:layout:1.0")
    assert "exists model.safetensors 4.0 KiB" in again.stderr
    assert again.stdout == ran.stdout


def test_inspect_shows_what_was_packed(model: Path, run: Run) -> None:
    run("pack", "./tiny", "-t", "oci:layout:1.0", "--name", "tiny", "--annotation", "a.b=c")
    text = run("inspect", "oci:layout:1.0").stdout
    assert "Name:" in text
    assert "model.safetensors" in text
    manifest = run("inspect", "oci:layout:1.0", "--manifest").stdout.encode()
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    found = json.loads(run("inspect", "oci:layout:1.0", "--json").stdout)
    assert found["digest"] == digest
    assert found["tags"] == ["1.0"]
    assert found["annotations"]["a.b"] == "c"
    config = run("inspect", "oci:layout:1.0", "--config").stdout.encode()
    wanted = json.loads(manifest)["config"]["digest"]
    assert "sha256:" + hashlib.sha256(config).hexdigest() == wanted


def test_one_file_goes_to_standard_output(
    model: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["pack", "./tiny", "-t", "tiny:1.0", "-q"]) == 0
    capfdbinary.readouterr()
    assert main(["pull", "tiny:1.0", "--include", "*.safetensors", "-o", "-", "-q"]) == 0
    assert capfdbinary.readouterr().out == safetensors(1000)
    assert main(["pull", "tiny:1.0", "-o", "-", "-q"]) == 2


def test_tags_are_added_and_removed_and_the_rest_pruned(model: Path, run: Run) -> None:
    run("pack", "./tiny", "-t", "oci:layout:1.0")
    tagged = run("tag", "oci:layout:1.0", "stable", "latest")
    assert len(tagged.stdout.splitlines()) == 2
    assert run("tags", "oci:layout").stdout == "1.0\nlatest\nstable\n"
    (model / "config.json").write_bytes(b'{"model_type": "other"}')
    run("pack", "./tiny", "-t", "oci:layout:2.0")
    assert run("rm", "oci:layout:2.0").code == 0
    assert len(json.loads(run("ls", "oci:layout", "--json").stdout)) == 3
    assert run("prune", "oci:layout").code == 0
    assert run("verify", "oci:layout").code == 0
    assert run("pull", "oci:layout:stable", "-o", "back", "-q").code == 0


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("pack", "./nowhere", "-t", "x"), 2),
        (("pack", "./tiny", "-t", "oci:x:bad?tag"), 2),
        (("pull", "nothing"), 3),
        (("pull", "oci:nowhere:1.0"), 3),
        (("push", "./tiny", "oci://bucket@namespace/x"), 2),
        (("push", "./tiny", "https://registry.example.com/x"), 2),
        (("tags", "nothing"), 3),
        (("verify", "./tiny"), 2),
        (("pack", "./tiny", "-t", "x", "--created", "yesterday"), 2),
        (("pack", "./tiny", "-t", "x", "--include", "nothing"), 2),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    model: Path, tmp_path: Path, run: Run, args: tuple[str, ...], code: int
) -> None:
    before = sorted(tmp_path.rglob("*"))
    ran = run(*args)
    assert ran.code == code, ran.stderr
    assert ran.stdout == ""
    lines = ran.stderr.splitlines()
    assert lines[0].startswith("ocimlpack: ")
    assert len(lines) <= 2
    assert sorted(tmp_path.rglob("*")) == before
