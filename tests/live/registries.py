"""Real registries on loopback: found, started, waited for and stopped.

Where a part is missing, a test is skipped with the one line that says what to install. With CI set
in the environment it fails instead: a green run must have run everything.
"""

from __future__ import annotations

import gc
import http.client
import io
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

import docker
import pytest
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container

IMAGE = "registry:2"
START_SECONDS = 30
# Read once: tests get another HOME.
GO_PATH = Path(os.environ.get("GOPATH", Path.home() / "go"))
GO_BIN = Path(os.environ.get("GOBIN", GO_PATH / "bin"))

ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d{3}) ')


@dataclass(frozen=True)
class Request:
    """One request as the registry's own access log has it; the path ends before the query."""

    method: str
    path: str
    status: int


@dataclass(frozen=True)
class Registry:
    """A registry that runs now.

    Attributes:
        host: where, as a reference names it.
        access_log: returns all that it has logged so far.
        storage: where its blobs lie, if this machine can look there.
        username: who may enter, if not everybody.
        password: and how.
        ca_file: who signed its certificate, if it speaks TLS.
    """

    host: str
    access_log: Callable[[], str]
    storage: Path | None = None
    username: str = ""
    password: str = ""
    ca_file: Path | None = None

    def repository(self, name: str = "model") -> str:
        """A repository that no other test knows: registries live as long as the session."""
        return f"{self.host}/t{uuid.uuid4().hex[:12]}/{name}"

    def requests(self, repository: str) -> list[Request]:
        """What has been asked of one repository so far, oldest first."""
        path = repository.partition("/")[2]
        found = [
            Request(hit["method"], hit["path"].partition("?")[0], int(hit["status"]))
            for hit in ACCESS.finditer(self._settled_log())
        ]
        return [request for request in found if request.path.startswith(f"/v2/{path}/")]

    def _settled_log(self) -> str:
        # A server may log a request a moment after the client has its answer.
        log = ""
        for _ in range(50):
            log, before = self.access_log(), log
            if log == before:
                break
            time.sleep(0.02)
        return log


def lack(sentence: str) -> NoReturn:
    """Skip, or in CI fail, with one line that says what is missing."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this, but {sentence}", pytrace=False)
    pytest.skip(sentence)


def find_program(name: str) -> str | None:
    """Its path, from PATH or the place where `go install` puts programs."""
    return shutil.which(name) or shutil.which(name, path=str(GO_BIN))


def find_distribution(major: int) -> str | None:
    """The path of a distribution server of that major version, under either of its names."""
    for name in ("registry", "docker-registry"):
        path = find_program(name)
        if path is None:
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        # "docker-registry github.com/docker/distribution 2.8.2+ds1", "registry … v3.1.2"
        if re.search(rf"\sv?{major}\.\d+\.\d+\S*\s*$", said.stdout):
            return path
    return None


@contextmanager
def run_registry2(folder: Path) -> Iterator[Registry]:
    """distribution 2: in a container, as most people run it, or else as a process."""
    client = connect_docker()
    if client is not None:
        with closing(client):
            yield from _run_container(client)
        return
    binary = find_distribution(2)
    if os.environ.get("CI") or binary is None:
        lack("no Docker daemon answers: start Docker (or install docker-registry)")
    with run_distribution(binary, folder) as registry:
        yield registry


@contextmanager
def run_distribution3(folder: Path, **settings: Any) -> Iterator[Registry]:
    """distribution 3 as a process. `settings`: those of `run_distribution`."""
    binary = find_distribution(3)
    if binary is None:
        lack(
            "there is no distribution 3: "
            "go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2"
        )
    with run_distribution(binary, folder, **settings) as registry:
        yield registry


@contextmanager
def run_distribution(
    binary: str,
    folder: Path,
    *,
    auth: dict[str, Any] | None = None,
    tls: dict[str, str] | None = None,
    ca_file: Path | None = None,
    username: str = "",
    password: str = "",
    deletion: bool = True,
    policy: dict[str, Any] | None = None,
) -> Iterator[Registry]:
    """A distribution server with its storage, config and logs in `folder`.

    Args:
        binary: the server's path.
        folder: an empty folder.
        auth: the config's `auth` section.
        tls: the config's `http.tls` section.
        ca_file: who signed the certificate in `tls`.
        username: who may enter, for the tests' use.
        password: and how.
        deletion: whether it deletes, which it does only if it is told to.
        policy: the config's `policy` section.
    """
    # OTEL: distribution 3 otherwise sends traces to localhost:4318 and complains that it can't.
    env = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    access_log, error_log = folder / "access.log", folder / "error.log"
    for _attempt in range(3):
        port = free_port()
        sections = {"auth": auth, "policy": policy}
        config = _write_config(folder, port, tls, deletion, sections)
        with access_log.open("wb") as out, error_log.open("wb") as err:
            process = subprocess.Popen([binary, "serve", config], stdout=out, stderr=err, env=env)
        try:
            if not _wait_until_ready(port, ca_file, partial(_is_running, process)):
                continue  # most likely somebody took the port between our look and its bind
            yield Registry(
                f"127.0.0.1:{port}",
                access_log.read_text,
                folder / "storage",
                username,
                password,
                ca_file,
            )
            return
        finally:
            process.terminate()
            process.wait(10)
    pytest.fail(f"{binary} does not start: {error_log.read_text()}", pytrace=False)


def _write_config(
    folder: Path,
    port: int,
    tls: dict[str, str] | None,
    deletion: bool,
    sections: dict[str, dict[str, Any] | None],
) -> Path:
    http: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "of no weight here"}
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "storage")},
            "delete": {"enabled": deletion},
        },
        "http": http,
        **{name: section for name, section in sections.items() if section is not None},
    }
    if tls is not None:
        http["tls"] = tls
    path = folder / "config.yml"
    # JSON is YAML, and needs no library to be written right.
    path.write_text(json.dumps(config))
    return path


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def connect_docker() -> docker.DockerClient | None:
    """A client of the Docker daemon, None where none answers."""
    try:
        client = docker.from_env()
    except DockerException as error:
        # The SDK leaves the socket open that found nobody. Collected here, it warns nobody; left
        # to chance, its warning would fail whichever test is running then.
        error.__cause__ = error.__context__ = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        return None
    try:
        client.ping()
    except (DockerException, OSError):
        client.close()
        return None
    return client


def _run_container(client: docker.DockerClient) -> Iterator[Registry]:
    is_ours = _provide_image(client)
    container: Container = client.containers.run(
        IMAGE,
        detach=True,
        ports={"5000/tcp": ("127.0.0.1", 0)},  # 0: a free one
        environment={"REGISTRY_STORAGE_DELETE_ENABLED": "true"},
    )
    try:
        container.reload()
        bindings = container.ports["5000/tcp"]
        assert bindings, "the container's port is not bound"
        port = int(bindings[0]["HostPort"])

        def is_running() -> bool:
            container.reload()
            return bool(container.status == "running")

        if not _wait_until_ready(port, None, is_running):
            pytest.fail(f"{IMAGE} does not start: {container.logs().decode()}", pytrace=False)
        yield Registry(
            f"127.0.0.1:{port}", lambda: container.logs(stdout=True, stderr=False).decode()
        )
    finally:
        container.remove(force=True, v=True)
        if is_ours:
            # Nobody should later find our image under the name of the published one.
            try:
                client.images.remove(IMAGE)
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
                # Another run of the tests is using it now, and keeps it.


def _provide_image(client: docker.DockerClient) -> bool:
    """Whether the image had to be made here."""
    try:
        client.images.get(IMAGE)
        return False
    except ImageNotFound:
        pass
    try:
        client.images.pull(IMAGE)
        return False
    except APIError as error:
        binary = find_distribution(2)
        if binary is None:
            lack(
                f"the image {IMAGE} is not here and can't be pulled ({error.explanation}): "
                "install docker-registry, and an image is made of it"
            )
    client.api.import_image_from_data(
        _archive_image(Path(binary)),
        repository="registry",
        tag="2",
        changes=[
            'ENTRYPOINT ["/bin/registry"]',
            'CMD ["serve", "/etc/docker/registry/config.yml"]',
            "EXPOSE 5000",
            "VOLUME /var/lib/registry",
        ],
    )
    return True


def _archive_image(binary: Path) -> bytes:
    """The root file system of a registry image, as a tar: the server, its libraries, its config."""
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}},
        "http": {"addr": ":5000"},
    }
    linked = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        tar.add(binary, "bin/registry")
        for library in re.findall(r"(?:^|\s)(/\S+)", linked.stdout):
            tar.add(library, library.lstrip("/"))
        entry = tarfile.TarInfo("etc/docker/registry/config.yml")
        content = json.dumps(config).encode()
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(port: int, ca_file: Path | None, is_alive: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and is_alive():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        if ca_file is not None:
            context = ssl.create_default_context(cafile=str(ca_file))
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        with closing(connection):
            try:
                connection.request("GET", "/v2/")
                if connection.getresponse().status in (200, 401):
                    return True
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
    return False
