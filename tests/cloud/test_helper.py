"""`login --oci` and the credential helper, with the programs that ask it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ocimlpack
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import Cli, read_tree
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.live.conftest import HOW_TO_INSTALL
from tests.live.registries import find_program, lack

Program = Callable[..., str]


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The helper where others look for it, whatever of this project is installed."""
    program = tmp_path / "bin" / "docker-credential-ocimlpack"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nfrom ocimlpack.cli.credential_helper import run\nrun()\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


@pytest.fixture(params=["oras", "skopeo"])
def other(request: pytest.FixtureRequest) -> Program:
    """Another program; its arguments are said for oras and put into skopeo's words."""
    name: str = request.param
    path = find_program(name)
    if path is None:
        lack(f"there is no {name}: {HOW_TO_INSTALL[name]}")

    def run(action: str, *arguments: str | Path) -> str:
        done = subprocess.run(
            [path, *_words(name, action, [str(each) for each in arguments])],
            capture_output=True,
            text=True,
            check=False,
            cwd=arguments[-1] if action == "push" and name == "oras" else None,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.__name__ = name
    return run


def _words(name: str, action: str, arguments: list[str]) -> list[str]:
    """`copy REF FOLDER` and `push REF FOLDER`."""
    place, folder = arguments
    if name == "oras":
        if action == "copy":
            return ["copy", "--from-plain-http", "--to-oci-layout", place, f"{folder}:x"]
        files = sorted(path.name for path in Path(folder).iterdir())
        return ["push", "--plain-http", place, *files]
    if action == "copy":
        no_tls = ["--insecure-policy", "copy", "--src-tls-verify=false"]
        return [*no_tls, f"docker://{place}", f"oci:{folder}:x"]
    no_tls = ["--insecure-policy", "copy", "--dest-tls-verify=false"]
    return [*no_tls, f"oci:{folder}:x", f"docker://{place}"]


def test_others_get_in_by_the_helper(
    alice: LocalCloud,
    model: Path,
    cli: Cli,
    on_path: Path,
    other: Program,
    home: Path,
    tmp_path: Path,
) -> None:
    made = cli("ocir", "create", "team/minilm", "--compartment", COMPARTMENT)
    assert made.code == 0, made.stderr
    login = cli("login", "--oci", alice.host)
    assert login.code == 0, login.stderr
    assert "warning" not in login.stderr
    config = json.loads((home / ".docker" / "config.json").read_text())
    assert config == {"credHelpers": {alice.host: "ocimlpack"}}
    place = f"{alice.host}/{NAMESPACE}/team/minilm"
    pushed = cli("push", model, f"{place}:1.0")
    assert pushed.code == 0, pushed.stderr
    other("copy", f"{place}:1.0", tmp_path / "layout")
    digest = pushed.stdout.strip().partition("@")[2]
    assert ocimlpack.inspect(f"oci:{tmp_path / 'layout'}:x").digest == digest
    source = model if other.__name__ == "oras" else tmp_path / "layout"
    other("push", f"{place}:2.0", source)
    pulled = cli("pull", f"{place}:2.0", "-o", tmp_path / "out")
    assert pulled.code == 0, pulled.stderr
    assert read_tree(tmp_path / "out") == read_tree(model)


def ask(program: Path, action: str, said: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [program, action], input=said, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


def test_the_protocol(alice: LocalCloud, on_path: Path) -> None:
    code, said = ask(on_path, "get", f"https://{alice.host}\n")
    assert code == 0
    found = json.loads(said)
    assert found["ServerURL"] == f"https://{alice.host}"
    assert found["Username"] == "BEARER_TOKEN"
    assert found["Secret"].count(".") == 2
    assert ask(on_path, "list") == (0, "{}")
    assert ask(on_path, "version")[1].startswith("docker-credential-ocimlpack ")
    assert ask(on_path, "erase", alice.host) == (0, "")
    assert ask(on_path, "store", "{}")[0] == 1
    assert ask(on_path, "nonsense")[0] == 1


def test_a_registry_of_somebody_else_is_not_ours(alice: LocalCloud, on_path: Path) -> None:
    missing = (1, "credentials not found in native keychain")
    assert ask(on_path, "get", "registry.example.com") == missing
    assert alice.server.requests == []


def test_without_an_identity_the_helper_says_so(cloud: LocalCloud, on_path: Path) -> None:
    code, said = ask(on_path, "get", cloud.host)
    assert code == 1
    assert "no identity for Oracle Cloud" in said


def test_login_changes_nothing_where_the_identity_is_refused(
    alice: LocalCloud, cli: Cli, home: Path
) -> None:
    alice.skew = 3600
    ran = cli("login", "--oci", alice.host)
    assert ran.code == 4
    assert not (home / ".docker" / "config.json").exists()


def test_login_by_region_and_logout(alice: LocalCloud, cli: Cli, home: Path) -> None:
    config = home / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"auths": {alice.host: {"auth": "YTpi"}}, "detachKeys": "x"}))
    ran = cli("login", "--oci", "iad")
    assert ran.code == 0, ran.stderr
    assert json.loads(config.read_text()) == {
        "auths": {},
        "detachKeys": "x",
        "credHelpers": {alice.host: "ocimlpack"},
    }
    assert cli("logout", alice.host).code == 0
    assert json.loads(config.read_text())["credHelpers"] == {}


def test_login_refuses_what_makes_no_sense(alice: LocalCloud, cli: Cli) -> None:
    assert cli("login", "--oci", "registry.example.com").code == 2
    assert cli("login", "--oci", alice.host, "-u", "x").code == 2


def test_the_helper_that_is_not_on_the_path_is_warned_of(
    alice: LocalCloud, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ran = cli("login", "--oci", alice.host)
    assert ran.code == 0
    assert "docker-credential-ocimlpack is not on the PATH" in ran.stderr


def test_a_token_never_shows_in_text(alice: LocalCloud) -> None:
    token = ocimlpack.ocir_token(alice.host)
    assert token.secret not in repr(token)
    assert 3500 < token.seconds <= 3600
    assert token.identity == "api_key"
