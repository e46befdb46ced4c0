"""A way to a registry that counts every byte at once, and that can be held shut.

toxiproxy (tests/live/toxiproxy.py) counts a connection when it ends; a test that interrupts a
transfer at a certain byte has to know the moment.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 64 * 1024
# What lies in a socket has left one side and not arrived at the other: let it be little.
BUFFER = 128 * 1024


class Forwarder:
    """TCP from a port of its own to a server.

    Attributes:
        host: where it listens.
        sent: bytes that came from clients.
        received: bytes that came from the server.
        connections: clients that are connected now.
    """

    def __init__(self, upstream: str) -> None:
        name, _, port = upstream.rpartition(":")
        self._upstream = (name, int(port))
        self.sent = self.received = self.connections = 0
        self._reached = threading.Condition()
        self._gate = threading.Event()
        self._gate.set()
        self._shut_at: int | None = None
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def passed(self) -> int:
        """Bytes, both ways."""
        return self.sent + self.received

    def wait(self, count: int, seconds: float) -> bool:
        """Whether so many bytes have passed within that time."""
        with self._reached:
            return self._reached.wait_for(lambda: self.passed >= count, seconds)

    def rest(self, seconds: float) -> bool:
        """Whether within that time nobody is connected any more: then nothing will be counted."""
        with self._reached:
            return self._reached.wait_for(lambda: not self.connections, seconds)

    def shut(self, after: int) -> None:
        """Let nothing more through once so many more bytes have passed."""
        with self._reached:
            self._shut_at = self.passed + after

    def reopen(self) -> None:
        """Let everything through again."""
        with self._reached:
            self._shut_at = None
            self._gate.set()

    def break_off(self) -> None:
        """End all connections that there are."""
        with self._reached:
            open_now = list(self._open)
        for each in open_now:
            _hang_up(each)

    @property
    def is_shut(self) -> bool:
        """Whether something has met the closed gate."""
        return not self._gate.is_set()

    def close(self) -> None:
        self.reopen()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in list(self._open):
            _hang_up(each)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._upstream)
            except OSError:
                client.close()
                continue
            self._start(client, server)

    def _start(self, client: socket.socket, server: socket.socket) -> None:
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        with self._reached:
            self._open |= {client, server}
            self.connections += 1
        thread = threading.Thread(target=self._serve, args=(client, server), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._pump, args=(server, client, "received"), daemon=True)
        back.start()
        self._pump(client, server, "sent")
        back.join()
        with self._reached:
            self.connections -= 1
            self._reached.notify_all()
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        try:
            while piece := source.recv(PIECE):
                self._count(direction, len(piece))
                self._gate.wait()
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # One side is gone: nothing more can come of this.
            _hang_up(source)
            _hang_up(target)

    def _count(self, direction: str, count: int) -> None:
        with self._reached:
            setattr(self, direction, getattr(self, direction) + count)
            if self._shut_at is not None and self.passed >= self._shut_at:
                self._gate.clear()
            self._reached.notify_all()


@contextmanager
def forwarded(upstream: str) -> Iterator[Forwarder]:
    """A forwarder that is closed in the end."""
    forwarder = Forwarder(upstream)
    try:
        yield forwarder
    finally:
        forwarder.close()


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
