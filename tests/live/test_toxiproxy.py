from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.live.toxiproxy import Link, Traffic, shaped


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[str]:
    """The host of a server that sends everything back."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def exchange(link: Link, size: int) -> float:
    """Seconds until all of it has come back."""
    host, _, port = link.host.partition(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(bytes(size))
        back = 0
        while back < size:
            data = connection.recv(1 << 16)
            assert data, f"cut after {back} bytes"
            back += len(data)
    return time.monotonic() - started


def test_a_link_counts_what_it_passes_on(echo: str) -> None:
    with shaped(echo) as link:
        assert link.traffic() == Traffic(0, 0)
        for _ in range(2):
            exchange(link, 100_000)
        assert link.traffic() == Traffic(sent=200_000, received=200_000)


def test_a_link_is_as_slow_and_as_distant_as_was_asked(echo: str) -> None:
    with shaped(echo, kilobytes_per_second=1_000) as narrow:
        # 0.4 s of it at the least; some bytes may lie in buffers.
        assert exchange(narrow, 400_000) > 0.3
    with shaped(echo, latency_ms=100) as distant:
        assert exchange(distant, 1) > 0.2


def test_nothing_listens_when_the_link_is_closed(echo: str) -> None:
    with shaped(echo) as link:
        host, _, port = link.host.partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
