"""The registries, programs and the model that the live tests share."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.live.registries import (
    Registry,
    find_program,
    lack,
    run_distribution3,
    run_registry2,
)
from tests.live.s3 import S3Server, run_versitygw
from tests.live.token_server import TokenServer, run_token_server

USERNAME = "alice"
PASSWORD = "correct horse"
# bcrypt of the password; made once, so that no test run needs bcrypt.
HTPASSWD = f"{USERNAME}:$2b$05$RXaMaq7SxP71GkRb0XGB9epWawO9cGkdYq0WUZbRWyvpWxt3LhhDS\n"

HOW_TO_INSTALL = {
    "crane": "go install github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    "oras": "go install oras.land/oras/cmd/oras@v1.3.6",
    "skopeo": "apt-get install skopeo (or your system's way)",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def registry2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_registry2(tmp_path_factory.mktemp("registry2")) as registry:
        yield registry


@pytest.fixture(scope="session")
def distribution3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_distribution3(tmp_path_factory.mktemp("distribution3")) as registry:
        yield registry


@pytest.fixture(scope="session", params=["registry2", "distribution3"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """Each test that takes this runs against both."""
    found: Registry = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def authenticated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Plain http, and only for those who know the password."""
    folder = tmp_path_factory.mktemp("authenticated")
    with run_distribution3(
        folder, auth=_write_htpasswd(folder), username=USERNAME, password=PASSWORD
    ) as registry:
        yield registry


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with run_versitygw(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, own_home: None, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3 server, and an environment in which it is the one that is meant."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def encrypted_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One that speaks TLS, by an authority that nobody trusts yet."""
    folder = tmp_path_factory.mktemp("encrypted-s3")
    ca_file, certificate, key = _certify(folder)
    with run_versitygw(folder, (certificate, key), ca_file) as server:
        yield server


@pytest.fixture(scope="session")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """TLS by an authority that nobody trusts yet, and a password too."""
    folder = tmp_path_factory.mktemp("encrypted")
    ca_file, certificate, key = _certify(folder)
    with run_distribution3(
        folder,
        auth=_write_htpasswd(folder),
        tls={"certificate": str(certificate), "key": str(key)},
        ca_file=ca_file,
        username=USERNAME,
        password=PASSWORD,
    ) as registry:
        yield registry


@pytest.fixture(scope="session")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    folder = tmp_path_factory.mktemp("token-server")
    with run_token_server(folder, USERNAME, PASSWORD) as server:
        yield server


@pytest.fixture(scope="session")
def with_tokens(
    token_server: TokenServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """Wants bearer tokens, as most registries in production do."""
    with run_distribution3(
        tmp_path_factory.mktemp("with-tokens"),
        auth=token_server.auth,
        username=USERNAME,
        password=PASSWORD,
    ) as registry:
        yield registry


def _certify(folder: Path) -> tuple[Path, Path, Path]:
    """The files of an authority, of a certificate for this machine, and of its key."""
    authority = trustme.CA()
    ca_file, certificate, key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
    issued = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(ca_file))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    return ca_file, certificate, key


def _write_htpasswd(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "htpasswd"
    path.write_text(HTPASSWD)
    return {"htpasswd": {"realm": "tests", "path": str(path)}}


@dataclass(frozen=True)
class Program:
    """Another program, run to its end."""

    path: str

    def __call__(self, *arguments: str | Path) -> str:
        """Its stdout; a failure of it is a failure of the test, with all that it said."""
        command = [self.path, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            pytest.fail(f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


@pytest.fixture(scope="session")
def program() -> Callable[[str], Program]:
    """Finds another program by name, among them those installed beside this Python."""

    def find(name: str) -> Program:
        beside = Path(sys.executable).parent / name
        path = str(beside) if beside.exists() else find_program(name)
        if path is None:
            lack(f"there is no {name}: {HOW_TO_INSTALL.get(name, f'pip install {name}')}")
        return Program(path)

    return find


@pytest.fixture(scope="session")
def oras(program: Callable[[str], Program]) -> Program:
    return program("oras")


@pytest.fixture(scope="session")
def crane(program: Callable[[str], Program]) -> Program:
    return program("crane")


@pytest.fixture(scope="session")
def skopeo(program: Callable[[str], Program]) -> Program:
    return program("skopeo")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model with one of each: shards, folders, a script, an empty file, equal files."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(folder)
    return folder


def write_model(folder: Path) -> None:
    """Fill an empty folder with the model of these tests."""
    for shard in (1, 2):
        write_safetensors(folder / f"model-0000{shard}-of-00002.safetensors", seed=shard)
    files = {
        "config.json": json.dumps(
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16"}
        ),
        "tokenizer.json": '{"version": "1.0", "model": {"vocab": {"<&>": 0}}}\n',
        "README.md": "---\nlicense: apache-2.0\nlanguage: [en]\n---\n# Tiny <b>model</b> & more\n",
        "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}\n',
        "2_Same/config.json": '{"pooling_mode_mean_tokens": true}\n',
        "serve.py": "#!/usr/bin/env python3\n",
        "added_tokens.json": "",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "serve.py").chmod(0o755)


def write_safetensors(path: Path, seed: int, elements: int = 40_000) -> None:
    """One bfloat16 tensor of that many elements, whose bytes depend on the seed."""
    size = 2 * elements
    tensor = {"dtype": "BF16", "shape": [elements], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "pt"}, f"layer.{seed}": tensor}).encode()
    header += b" " * (-len(header) % 8)
    body = bytes((seed + index) % 251 for index in range(251)) * (size // 251 + 1)
    path.write_bytes(struct.pack("<Q", len(header)) + header + body[:size])


def read_tree(folder: Path) -> dict[str, bytes]:
    """All files by their path; our receipt is not the model's."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".ocimlpack" not in path.parts
    }
