"""A slow, distant or merely counted way to a registry: toxiproxy, found, started and stopped.

Its toxics and metrics: https://github.com/Shopify/toxiproxy/blob/v2.5.0/README.md
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.registries import GO_BIN, find_program, lack

START_SECONDS = 10
# Each half of a connection counts what it has passed on when it ends.
COUNTED = re.compile(
    r'^toxiproxy_proxy_sent_bytes_total\{direction="(?P<direction>\w+)",.*\} (?P<bytes>\S+)$', re.M
)


@dataclass(frozen=True)
class Traffic:
    """Bytes that a link has passed on, with the headers and everything, of ended connections."""

    sent: int
    received: int


@dataclass(frozen=True)
class Link:
    """A way to a registry that runs now.

    Attributes:
        host: what to say in place of the registry's own host.
        traffic: returns what has been sent to the registry and received from it so far.
    """

    host: str
    traffic: Callable[[], Traffic]


def find_toxiproxy() -> str | None:
    """Its path, from PATH or the place where `go install` puts programs.

    There its name is `server`, which says so little that the program is asked who it is.
    """
    named = find_program("toxiproxy-server")
    if named is not None:
        return named
    built = GO_BIN / "server"
    if not os.access(built, os.X_OK):
        return None
    with suppress(subprocess.TimeoutExpired):
        said = subprocess.run(
            [built, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
        if said.stdout.startswith("toxiproxy"):
            return str(built)
    return None


@contextmanager
def shaped(
    upstream_host: str, kilobytes_per_second: int = 0, latency_ms: int = 0
) -> Iterator[Link]:
    """A link to `upstream_host` that slows each connection down, the same both ways.

    Args:
        upstream_host: where the registry is: `127.0.0.1:5000`.
        kilobytes_per_second: 1,000 bytes each, for every connection by itself; 0 for no limit.
        latency_ms: how much later each byte arrives.
    """
    binary = find_toxiproxy()
    if binary is None:
        lack("there is no toxiproxy: go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0")
    with _run(Path(binary)) as port:
        made = _ask(
            port,
            "POST",
            "/proxies",
            {"name": "link", "listen": "127.0.0.1:0", "upstream": upstream_host, "enabled": True},
        )
        toxics = {"bandwidth": {"rate": kilobytes_per_second}, "latency": {"latency": latency_ms}}
        for kind, attributes in toxics.items():
            for stream in ("upstream", "downstream"):
                if all(attributes.values()):
                    toxic = {"type": kind, "stream": stream, "attributes": attributes}
                    _ask(port, "POST", "/proxies/link/toxics", toxic)
        yield Link(json.loads(made)["listen"], lambda: _count(port))


@contextmanager
def _run(binary: Path) -> Iterator[int]:
    """A toxiproxy without proxies; yields the port of its API."""
    for _attempt in range(3):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        process = subprocess.Popen(
            [binary, "-host", "127.0.0.1", "-port", str(port), "-proxy-metrics"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if _answers(port, process):
                yield port
                return
        finally:
            process.terminate()
            process.wait(10)
    pytest.fail(f"{binary} does not start", pytrace=False)


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            _ask(port, "GET", "/version")
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        else:
            return process.poll() is None
    return False


def _ask(port: int, method: str, path: str, body: object = None) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with closing(connection):
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        said = response.read().decode()
    assert response.status < 300, f"{method} {path}: {response.status} {said}"
    return said


def _count(port: int) -> Traffic:
    """The counters once they stand still: they move a moment after a connection has ended."""
    said = ""
    for _ in range(50):
        said, before = _ask(port, "GET", "/metrics"), said
        if said == before:
            break
        time.sleep(0.05)
    counted = {"upstream": 0.0, "downstream": 0.0}
    for hit in COUNTED.finditer(said):
        counted[hit["direction"]] += float(hit["bytes"])
    return Traffic(sent=int(counted["upstream"]), received=int(counted["downstream"]))
