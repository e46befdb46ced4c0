"""A real S3 server on loopback, whose buckets are folders that a test may look into."""

from __future__ import annotations

import http.client
import os
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.registries import START_SECONDS, find_program, free_port, lack

KEY = "tester"
SECRET = "correct horse battery staple"
REGION = "us-east-1"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"


@dataclass(frozen=True)
class S3Server:
    """A server, and where it keeps what it has.

    Attributes:
        host: `host:port`.
        folder: each folder in it is a bucket.
        ca_file: who signed its certificate, if it speaks TLS.
    """

    host: str
    folder: Path
    ca_file: Path | None = None

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://{self.host}"

    def bucket(self) -> str:
        """A new bucket."""
        name = f"models-{uuid.uuid4().hex[:12]}"
        (self.folder / name).mkdir()
        return name

    def environment(self) -> dict[str, str]:
        """What a person sets to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def age(self, bucket: str, seconds: float) -> None:
        """Let all objects of a bucket have been written long ago."""
        then = time.time() - seconds
        for path in (self.folder / bucket).rglob("*"):
            if path.is_file():
                os.utime(path, (then, then))

    def objects(self, bucket: str) -> set[str]:
        """The keys of a bucket; what the server keeps for itself is not among them."""
        root = self.folder / bucket
        keys = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        return {key for key in keys if not key.startswith(".sgwtmp/")}


@contextmanager
def run_versitygw(
    folder: Path, tls: tuple[Path, Path] | None = None, ca_file: Path | None = None
) -> Iterator[S3Server]:
    """versitygw as a process.

    Args:
        folder: an empty folder.
        tls: the certificate and its key.
        ca_file: who signed it.
    """
    binary = find_program("versitygw")
    if binary is None:
        lack(f"there is no S3 server: go install {VERSITYGW}")
    data, log = folder / "data", folder / "versitygw.log"
    data.mkdir()
    env = {**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    for _attempt in range(3):
        port = free_port()
        address = ["--port", f"127.0.0.1:{port}", "--region", REGION, "--keep-alive", "--quiet"]
        secure = ["--cert", str(tls[0]), "--key", str(tls[1])] if tls else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [binary, *address, *secure, "posix", str(data)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
            )
        try:
            if not _wait_until_ready(port, ca_file, process):
                continue  # most likely somebody took the port between our look and its bind
            yield S3Server(f"127.0.0.1:{port}", data, ca_file)
            return
        finally:
            # Not asked to end: it would wait for connections that clients keep alive.
            process.kill()
            process.wait(10)
    pytest.fail(f"{binary} does not start: {log.read_text()}", pytrace=False)


def _wait_until_ready(port: int, ca_file: Path | None, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        if ca_file is not None:
            context = ssl.create_default_context(cafile=str(ca_file))
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        with closing(connection):
            try:
                connection.request("GET", "/")
                if connection.getresponse().status in (200, 403):
                    return True
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
    return False
