from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from tests.scripted.exchange import Reply, Request
from tests.scripted.faults import Fault, Faults

Handle = Callable[[Request, bytes], Reply]


class Server:
    """An HTTP/1.1 server on loopback that records what it is asked and errs as it is told.

    Attributes:
        requests: everything that was asked, in the order of arrival.
        faults: the script of what goes wrong.
        connections: how many were accepted.
        sent: bytes of answers' bodies that were sent.
        crashes: errors in the code that answers, which are bugs of a test.
    """

    def __init__(
        self,
        handle: Handle,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.handle = handle
        self.requests: list[Request] = []
        self.faults = Faults()
        self.connections = 0
        self.sent = 0
        self.crashes: list[BaseException] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._http = _Http((address, port), self)
        if tls is not None:
            self._http.socket = tls.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self.host = f"{address}:{self._http.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def fault(self, method: str = "", path: str = "", **rule: Any) -> Fault:
        return self.faults.add(Fault(method, path, **rule))

    def record(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def asked(self, method: str = "", path: str = "") -> list[Request]:
        """The recorded requests of this method whose path and query match."""
        with self._lock:
            return [
                each
                for each in self.requests
                if method in ("", each.method) and re.search(path, each.target)
            ]

    def count(self, method: str = "", path: str = "") -> int:
        """How many requests of this method came for this path."""
        return len(self.asked(method, path))

    def forget(self) -> None:
        """Begin the record anew."""
        with self._lock:
            self.requests.clear()
            self.sent = 0

    def count_sent(self, size: int) -> None:
        with self._lock:
            self.sent += size

    def hang_up(self) -> None:
        """End the connections that are open."""
        self._http.hang_up()

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.hang_up()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if self.crashes and error is None:
            raise self.crashes[0]


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], server: Server) -> None:
        self.scripted = server
        self._open: dict[socket.socket, threading.Thread] = {}
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self.scripted.connections += 1
            self._open[request] = threading.current_thread()
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.pop(request, None)

    def hang_up(self) -> None:
        """End the connections that clients keep alive, and the threads that wait for them."""
        with self._open_lock:
            waiting = dict(self._open)
        for connection in waiting:
            _hang_up(connection)
        for thread in waiting.values():
            thread.join(5)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):  # the client hung up
            self.scripted.crashes.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    server: _Http

    def respond(self) -> None:
        script = self.server.scripted
        parts = urlsplit(self.path)
        # One that comes several times is a list: RFC 9110, section 5.3.
        headers = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
        request = Request(self.command, unquote(parts.path), parts.query, headers, raw=self.path)
        script.record(request)
        fault = script.faults.striking(request)
        while fault.hold and not fault.hold.wait(0.02) and not script.closing.is_set():
            pass
        if fault.drop == "before":
            return self._drop()
        if fault.unread:
            request.status = fault.status
            return self._refuse_early(Reply(fault.status, dict(fault.headers), fault.body))
        body = _read_body(self.rfile, headers, fault.swallow)
        request.length = len(body)
        if fault.keep:
            script.handle(request, body)
        if fault.swallow is not None:
            return self._drop()
        if fault.status:
            reply = Reply(fault.status, dict(fault.headers), fault.body)
        else:
            reply = script.handle(request, body)
        if fault.drop == "after":
            return self._drop()
        if fault.flip is not None:
            reply.body = _flip(reply.body, fault.flip)
        request.status = reply.status
        return self._send(reply, fault.cut, fault.rate)

    def _send(self, reply: Reply, cut: int | None, rate: int | None = None) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in reply.headers and reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(memoryview(reply.body)[:cut], rate)
        if cut is not None:
            self.wfile.flush()
            self._drop()

    def _send_body(self, body: memoryview, rate: int | None) -> None:
        script = self.server.scripted
        if rate == 0:
            self.wfile.flush()
            script.closing.wait()
            return
        size = max(1, rate // 20) if rate else 256 * 1024
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            self.wfile.write(piece)
            script.count_sent(len(piece))
            if rate:
                self.wfile.flush()
                if script.closing.wait(len(piece) / rate):
                    break

    def _refuse_early(self, reply: Reply) -> None:
        """Answer, then take and forget what still comes, as nginx does for a while.

        Closing at once would reset the connection, and the answer would be lost with it.
        """
        self.close_connection = True
        reply.headers["Connection"] = "close"
        self._send(reply, None)
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        while self.rfile.read1(64 * 1024):
            pass

    def _drop(self) -> None:
        self.close_connection = True
        _hang_up(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        pass


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler.respond)

_HEX_SIZE: Final = 16


def _flip(body: bytes | memoryview, at: int) -> bytes:
    return bytes(body[:at]) + bytes([body[at] ^ 1]) + bytes(body[at + 1 :])


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was first


def _read_body(stream: BufferedIOBase, headers: dict[str, str], at_most: int | None) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int(stream.readline().split(b";")[0], _HEX_SIZE):
            parts.append(stream.read(size))
            stream.readline()
        stream.readline()
        return b"".join(parts)
    length = int(headers.get("content-length") or 0)
    return stream.read(length if at_most is None else min(length, at_most))
