from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import PASSWORD, read_tree
from tests.live.registries import Registry
from tests.live.token_server import TokenServer

INSTALLED = Path(sys.executable).with_name("ocimlpack")
COMMAND = [str(INSTALLED)] if INSTALLED.exists() else [sys.executable, "-m", "ocimlpack"]
MIB = 1 << 20

# ru_maxrss of a child counts what its parent held when it was forked, so a small process stands
# between pytest and the command. Linux gives KiB, macOS bytes.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("peak", peak if sys.platform == "darwin" else peak * 1024)
sys.exit(code)
"""


@dataclass(frozen=True)
class Done:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def run(*arguments: str | Path, expect: int = 0, stdin: str = "") -> Done:
    """Runs the command as a shell would; any other exit code than expected fails the test."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=120
    )
    said = f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    assert done.returncode == expect, said
    if expect:
        assert "Traceback" not in done.stderr
        assert done.stderr.strip(), "a failure says why"
    return Done(done.returncode, done.stdout, done.stderr)


def push(model: Path, repository: str, *tags: str) -> str:
    """The digest."""
    arguments = [word for tag in tags for word in ("-t", tag)]
    printed = run("push", model, repository, *arguments).stdout.strip()
    place, _, digest = printed.partition("@")
    assert place == repository
    assert digest.startswith("sha256:")
    return digest


def digest_of(reference: str, *options: str | Path) -> str:
    found: str = run("inspect", reference, "--json", *options).json["digest"]
    return found


def flip_a_byte(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_model_goes_round_by_tag_and_by_digest(
    registry: Registry, model: Path, tmp_path: Path
) -> None:
    repository = registry.repository()
    digest = push(model, repository, "1.0", "stable", "latest")
    assert run("tags", repository).stdout.split() == ["1.0", "latest", "stable"]
    for number, name in enumerate((":stable", f"@{digest}", f":1.0@{digest}")):
        out = tmp_path / f"out{number}"
        assert run("pull", f"{repository}{name}", "-o", out).stdout.strip() == str(out)
        assert read_tree(out) == read_tree(model)
        assert os.access(out / "serve.py", os.X_OK)
        run("verify", out)


def test_a_tag_moves_when_it_is_told_to(registry: Registry, model: Path) -> None:
    repository = registry.repository()
    first = push(model, repository, "1.0", "latest")
    (model / "README.md").write_text("another\n")
    second = push(model, repository, "1.1", "latest")
    assert first != second
    assert digest_of(f"{repository}:latest") == second
    printed = run("tag", f"{repository}@{first}", "latest", "stable").stdout.split()
    assert printed == [f"{repository}:latest", f"{repository}:stable"]
    assert digest_of(f"{repository}:latest") == first
    assert digest_of(f"{repository}:1.1") == second


def test_inspect_says_what_the_model_is(registry: Registry, model: Path) -> None:
    repository = registry.repository()
    digest = push(model, repository, "1.0")
    found = run("inspect", f"{repository}:1.0", "--json").json
    assert found["digest"] == digest
    assert found["artifact_type"] == "application/vnd.cncf.model.manifest.v1+json"
    assert {file["path"] for file in found["files"]} == set(read_tree(model))
    raw = run("inspect", f"{repository}:1.0", "--manifest").stdout
    assert json.loads(raw)["artifactType"] == found["artifact_type"]
    text = run("inspect", f"{repository}:1.0").stdout
    for expected in (digest, "safetensors", "bfloat16", "Apache-2.0"):
        assert expected in text


def test_verify_finds_one_flipped_bit(registry: Registry, model: Path, tmp_path: Path) -> None:
    repository, out = registry.repository(), tmp_path / "out"
    push(model, repository, "1.0")
    run("pull", f"{repository}:1.0", "-o", out)
    flip_a_byte(out / "model-00002-of-00002.safetensors")
    assert "model-00002-of-00002.safetensors" in run("verify", out, expect=5).stderr


def test_a_second_push_sends_no_file_again(registry: Registry, model: Path) -> None:
    repository = registry.repository()
    push(model, repository, "1.0")
    before = len(registry.requests(repository))
    push(model, repository, "1.0")
    again = registry.requests(repository)[before:]
    assert again, "the registry was asked"
    assert not [request for request in again if "/blobs/uploads" in request.path]


def test_a_push_uploads_each_content_once(registry: Registry, model: Path) -> None:
    repository = registry.repository()
    push(model, repository, "1.0")
    put = [
        request.path
        for request in registry.requests(repository)
        if request.method == "PUT" and "/blobs/uploads/" in request.path
    ]
    # Every different content, and the config.
    assert len(put) == len(set(read_tree(model).values())) + 1


def test_copy_takes_a_model_to_a_layout_and_back(
    registry: Registry, model: Path, tmp_path: Path
) -> None:
    source, target = registry.repository("source"), registry.repository("target")
    layout = f"oci:{tmp_path / 'layout'}"
    digest = push(model, source, "1.0")
    assert run("copy", f"{source}:1.0", f"{layout}:1.0").stdout.strip().endswith(f"@{digest}")
    assert run("copy", f"{layout}:1.0", f"{target}:2.0").stdout.strip().endswith(f"@{digest}")
    run("pull", f"{target}:2.0", "-o", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)


def test_copy_within_a_registry_moves_no_bytes(registry: Registry, model: Path) -> None:
    source, target = registry.repository("source"), registry.repository("target")
    digest = push(model, source, "1.0")
    done = run("copy", f"{source}:1.0", f"{target}:1.0", "--json").json
    assert done["digest"] == digest
    assert done["mounted"] == done["size"] or done["moved"] < 4096
    sent = [request for request in registry.requests(target) if request.method == "PATCH"]
    assert sent == []
    assert digest_of(f"{target}:1.0") == digest


def test_rm_removes_a_digest(registry: Registry, model: Path) -> None:
    repository = registry.repository()
    digest = push(model, repository, "1.0")
    run("rm", f"{repository}@{digest}")
    run("inspect", f"{repository}@{digest}", expect=3)
    run("pull", f"{repository}:1.0", expect=3)


def test_an_unknown_tag_is_not_found_and_leaves_nothing(
    registry: Registry, model: Path, tmp_path: Path
) -> None:
    repository = registry.repository()
    push(model, repository, "1.0")
    before = sorted(tmp_path.iterdir())
    failed = run("pull", f"{repository}:2.0", "-o", tmp_path / "out", expect=3)
    assert "2.0" in failed.stderr
    assert sorted(tmp_path.iterdir()) == before
    as_json = run("pull", f"{repository}:2.0", "-o", tmp_path / "out", "--json", expect=3)
    assert "not_found" in as_json.stdout + as_json.stderr


def test_content_that_a_registry_damaged_is_refused(
    distribution3: Registry, model: Path, tmp_path: Path
) -> None:
    repository = distribution3.repository()
    push(model, repository, "1.0")
    found = run("inspect", f"{repository}:1.0", "--json").json
    victim = max(found["files"], key=lambda file: int(file["size"]))["digest"]
    name = victim.removeprefix("sha256:")
    assert distribution3.storage is not None
    (blob,) = distribution3.storage.glob(f"**/blobs/sha256/*/{name}/data")
    flip_a_byte(blob, 1000)
    try:
        failed = run("pull", f"{repository}:1.0", "-o", tmp_path / "out", expect=5)
    finally:
        flip_a_byte(blob, 1000)
    assert name[:12] in failed.stderr
    assert not (tmp_path / "out").exists()


def test_a_wrong_password_is_not_allowed(authenticated: Registry, model: Path) -> None:
    repository, host = authenticated.repository(), authenticated.host
    run("push", model, repository, expect=4)
    account = ("-u", authenticated.username, "--password-stdin")
    failed = run("login", host, *account, stdin="wrong horse", expect=4)
    assert "wrong horse" not in failed.stderr + failed.stdout
    run("push", model, repository, expect=4)


def test_after_login_a_model_goes_round_and_after_logout_no_more(
    authenticated: Registry, model: Path, tmp_path: Path
) -> None:
    repository, host = authenticated.repository(), authenticated.host
    run("login", host, "-u", authenticated.username, "--password-stdin", stdin=f"{PASSWORD}\n")
    digest = push(model, repository, "1.0")
    run("pull", f"{repository}@{digest}", "-o", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)
    stored = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    run("logout", host)
    run("inspect", f"{repository}:1.0", expect=4)


def test_a_model_goes_round_with_bearer_tokens(
    with_tokens: Registry, token_server: TokenServer, model: Path, tmp_path: Path
) -> None:
    source, target = with_tokens.repository("source"), with_tokens.repository("target")
    run("push", model, source, expect=4)
    account = ("-u", with_tokens.username, "--password-stdin")
    run("login", with_tokens.host, *account, stdin="wrong horse", expect=4)
    run("login", with_tokens.host, *account, stdin=with_tokens.password)
    before = len(token_server.asked)
    digest = push(model, source, "1.0")
    assert len(token_server.asked) - before <= 2, "a token is used again"
    # A mount needs a token for both repositories.
    done = run("copy", f"{source}:1.0", f"{target}:1.0", "--json").json
    assert done["digest"] == digest
    assert done["moved"] < 4096
    run("pull", f"{target}@{digest}", "-o", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)


def test_a_private_authority_is_trusted_when_named(
    encrypted: Registry, model: Path, tmp_path: Path
) -> None:
    repository, host = encrypted.repository(), encrypted.host
    assert encrypted.ca_file is not None
    secure = ("--no-plain-http", "--ca-file", encrypted.ca_file)
    account = ("-u", encrypted.username, "--password-stdin")
    run("login", host, *account, *secure, stdin=encrypted.password)
    digest = run("push", model, repository, "-t", "1.0", *secure).stdout.strip().partition("@")[2]
    run("pull", f"{repository}@{digest}", "-o", tmp_path / "out", *secure)
    assert read_tree(tmp_path / "out") == read_tree(model)
    refused = run("inspect", f"{repository}:1.0", "--no-plain-http", expect=6)
    assert "certificate" in refused.stderr.lower()
    unchecked = run("inspect", f"{repository}:1.0", "--no-plain-http", "--insecure")
    assert "warning" in unchecked.stderr.lower()


def test_a_registry_that_is_not_there_is_given_up_soon(model: Path) -> None:
    started = time.monotonic()
    # Port 9 (discard) is served by nobody, and too low to be given to anybody meanwhile.
    failed = run("push", model, "127.0.0.1:9/team/model:1.0", expect=6)
    assert time.monotonic() - started < 10
    assert "127.0.0.1:9" in failed.stderr


@pytest.mark.parametrize(
    ("reference", "said"),
    [("localhost:5000/UPPER:1.0", "'UPPER'"), ("oci://bucket@ns/model:1.0", "ocios://bucket@ns")],
)
def test_a_bad_reference_is_bad_input(reference: str, said: str) -> None:
    assert said in run("inspect", reference, expect=2).stderr


def test_the_version_is_told_without_loading_what_it_does_not_need() -> None:
    looked = (
        "import sys, ocimlpack.cli.main; "
        "print([m for m in ('oci', 'oras', 'requests', 'rich', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", looked], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert run("--version").stdout.strip()
