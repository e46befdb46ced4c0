from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from ocimlpack.errors import InputError, UnavailableError
from ocimlpack.stores import _http, sockets
from ocimlpack.stores._http import Adapter, Attempt, Pieces, Response, tls_context
from ocimlpack.stores.base import CHUNK, FileSlice
from tests.scripted.exchange import Reply, Request
from tests.scripted.registry import ScriptedRegistry
from tests.scripted.server import Server

CONTENT = bytes(range(256)) * (5 * CHUNK // 256) + b"end"


class Keeper(Server):
    """Keeps what it is sent."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.bodies: list[bytes] = []
        super().__init__(self._keep, tls=tls)

    def _keep(self, _: Request, body: bytes) -> Reply:
        self.bodies.append(body)
        return Reply(200)


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    with Keeper() as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


def unexpected() -> ssl.SSLContext:
    raise AssertionError("no TLS is needed here")


def put(adapter: Adapter, url: str, path: Path, *lengths: int) -> Response:
    """Send a file in slices of these lengths, some bytes of ours between them."""

    @contextmanager
    def body() -> Iterator[Pieces]:
        with path.open("rb") as stream:

            def pieces() -> Iterator[bytes | FileSlice]:
                offset = 0
                for length in lengths:
                    yield FileSlice(stream.fileno(), offset, length)
                    yield b"|"
                    offset += length

            yield pieces()

    headers = {"Content-Length": str(sum(lengths) + len(lengths))}
    attempt = Attempt("PUT", url, headers, body, "", 10.0)
    return adapter.exchange(attempt, url, attempt.all_headers(None))


def test_parts_of_a_file_are_sent_in_order(keeper: Keeper, file: Path) -> None:
    adapter = Adapter(unexpected)
    put(adapter, keeper.url, file, CHUNK, 3, len(CONTENT) - CHUNK - 3).close()
    assert keeper.bodies[0] == (
        CONTENT[:CHUNK] + b"|" + CONTENT[CHUNK : CHUNK + 3] + b"|" + CONTENT[CHUNK + 3 :] + b"|"
    )
    adapter.close()


def test_a_file_is_sent_without_being_read_where_nothing_is_encrypted(
    keeper: Keeper, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pread", lambda *_: pytest.fail("read"))
    adapter = Adapter(unexpected)
    put(adapter, keeper.url, file, len(CONTENT)).close()
    assert keeper.bodies == [CONTENT + b"|"]
    adapter.close()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_can_not_send_is_read(
    keeper: Keeper, file: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "sendfile", refuse)
    adapter = Adapter(unexpected)
    put(adapter, keeper.url, file, len(CONTENT)).close()
    assert keeper.bodies == [CONTENT + b"|"]
    adapter.close()


def test_over_an_encrypted_connection_a_file_arrives_as_well(
    encrypted: ScriptedRegistry, ca_file: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sendfile", lambda *_: pytest.fail("sent in clear"))
    kept: list[bytes] = []

    def keep(_: Request, body: bytes) -> Reply:
        kept.append(body)
        return Reply(200)

    encrypted.handle = keep
    adapter = Adapter(lambda: tls_context(str(ca_file), insecure=False))
    put(adapter, encrypted.url, file, len(CONTENT)).close()
    assert kept == [CONTENT + b"|"]
    adapter.close()


@pytest.mark.parametrize("sendfile", [True, False])
def test_a_file_that_was_cut_short_is_the_sources_fault(
    keeper: Keeper, file: Path, monkeypatch: pytest.MonkeyPatch, sendfile: bool
) -> None:
    if not sendfile:
        monkeypatch.delattr(os, "sendfile")
    os.truncate(file, CHUNK)
    adapter = Adapter(unexpected)
    with pytest.raises(InputError, match="ends before") as caught:
        put(adapter, keeper.url, file, len(CONTENT))
    assert caught.value.side == "source"
    # What went out before may have arrived by now; it is not taken for the whole.
    assert all(len(body) < len(CONTENT) for body in keeper.bodies)
    adapter.close()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that takes one connection and answers whatever it is asked that way."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(CHUNK)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            with suppress(ConnectionError):  # the client has had enough
                answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    with listener:
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(10)


def get(adapter: Adapter, url: str) -> Response:
    attempt = Attempt("GET", url, {}, None, "", 10.0)
    return adapter.exchange(attempt, url, attempt.all_headers(None))


def read_out(response: Response, pause: float = 0.0) -> int:
    """Read to the end, and count."""
    done = 0
    while piece := response.read(CHUNK):
        done += len(piece)
        time.sleep(pause)
    return done


def test_an_answer_that_comes_in_drops_is_given_up() -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        while not over.wait(0.02):
            connection.sendall(b".")

    adapter = Adapter(unexpected, stall=0.2)
    with answering(drip) as url:
        response = get(adapter, url)
        with pytest.raises(UnavailableError, match="stalled"):
            read_out(response)
        over.set()
    adapter.close()


def test_a_slow_disk_is_not_taken_for_a_stalled_connection() -> None:
    adapter = Adapter(unexpected, stall=0.05)
    with answering(lambda connection: connection.sendall(bytes(1_000_000))) as url:
        assert read_out(get(adapter, url), pause=0.03) == 1_000_000
    adapter.close()


def test_a_read_that_waits_can_be_ended_from_another_thread() -> None:
    over = threading.Event()
    adapter = Adapter(unexpected)
    with answering(lambda _: assert_set(over)) as url:
        response = get(adapter, url)
        timer = threading.Timer(0.05, response.abort)
        timer.start()
        with pytest.raises(UnavailableError):
            response.read(CHUNK)
        timer.join()
        over.set()
        response.close()
        response.abort()  # once more does no harm
    adapter.close()


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


@contextmanager
def refusing(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that answers as soon as it is asked, closes its side, and reads nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        if tls:
            connection = tls.wrap_socket(connection, server_side=True)
        with connection:
            connection.recv(1)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            socket.socket.shutdown(connection, socket.SHUT_WR)
            over.wait(20)

    thread = threading.Thread(target=serve, daemon=True)
    with listener:
        thread.start()
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        over.set()
        thread.join(10)


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="only Linux tells of a closed side")
@pytest.mark.parametrize("is_file", [True, False])
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_who_refuses_a_body_half_way_is_heard(
    authority: trustme.CA,
    ca_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_file: bool,
    is_encrypted: bool,
) -> None:
    monkeypatch.setattr(sockets, "SECONDS", 3.0)
    size = 64 * CHUNK  # more than the system's buffers take
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, size)
    context = None
    if is_encrypted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    adapter = Adapter(lambda: tls_context(str(ca_file), insecure=False))
    with refusing(context) as url:
        if is_file:
            response = put(adapter, url, path, size)
        else:
            attempt = Attempt("PUT", url, {}, bytes(size), "", 10.0)
            response = adapter.exchange(attempt, url, attempt.all_headers(None))
        assert (response.status, response.read(10)) == (413, b"no")
        response.close()
    adapter.close()


def test_the_time_limit_for_connecting_does_not_bind_a_slow_upload(
    keeper: Keeper, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "_CONNECT_SECONDS", 0.2)
    hold = threading.Event()
    keeper.fault("PUT", hold=hold)  # nothing is read until then
    timer = threading.Timer(0.6, hold.set)
    timer.start()
    adapter = Adapter(unexpected)
    lengths = [len(CONTENT)] * 8  # more than the system's buffers take
    with file.open("ab") as stream:
        stream.write(CONTENT * 7)
    put(adapter, keeper.url, file, *lengths).close()
    timer.join()
    assert len(keeper.bodies[0]) == 8 * (len(CONTENT) + 1)
    adapter.close()
