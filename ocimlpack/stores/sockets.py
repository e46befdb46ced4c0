"""Bytes on their way into a connection, for as long as the other side listens.

A server that refuses a body may answer and close its side while most of the body is still to come,
and a connection that breaks may do so in one direction only. Who just waits for room to send then
waits until time is up, with the answer lying there. So while there is no room, both are looked for.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from ocimlpack.errors import InputError
from ocimlpack.stores.base import FileSlice

SECONDS: Final = 60.0
"""For how long the other side may refuse to take any more."""
_BLOCK: Final = 256 * 1024
_CLOSED: Final = getattr(select, "POLLRDHUP", 0)  # known to Linux; elsewhere time has to be up


class _Connection(Protocol):
    """What is sent through: a socket, or what encrypts on top of one."""

    def sendall(self, data: bytes | memoryview, /) -> None: ...
    def settimeout(self, seconds: float | None, /) -> None: ...


def send_bytes(connection: _Connection, content: bytes | bytearray | memoryview) -> None:
    """Send all of it.

    Args:
        connection: where to; its time limit is changed.
        content: the bytes.

    Raises:
        BrokenPipeError: the other side has closed; it may have answered before.
        TimeoutError: it takes no more.
        OSError: the connection broke.
    """
    view = memoryview(content).cast("B")
    if not isinstance(connection, socket.socket):  # encrypted within what is encrypted already
        connection.settimeout(SECONDS)
        connection.sendall(view)
        return
    _send(connection, len(view), lambda done: connection.send(view[done:]))


def send_file(connection: _Connection, piece: FileSlice) -> None:
    """Send a part of a file, without reading it where nothing has to be encrypted.

    Args:
        connection: where to; its time limit is changed.
        piece: the part.

    Raises:
        InputError: the file ends before the part does, or can't be read.
        BrokenPipeError: the other side has closed; it may have answered before.
        TimeoutError: it takes no more.
        OSError: the connection broke.
    """
    if type(connection) is not socket.socket or not hasattr(os, "sendfile"):
        _send_read(connection, piece)
        return
    try:
        _send_unread(connection, piece)
    except _NotSentError:
        _send_read(connection, piece)


class _NotSentError(Exception):
    """The system can't send from this file system, and nothing of the slice was sent."""


def _send_unread(connection: socket.socket, piece: FileSlice) -> None:
    def step(done: int) -> int:
        try:
            sent = os.sendfile(
                connection.fileno(), piece.handle, piece.offset + done, piece.length - done
            )
        except OSError as error:
            if not done and error.errno in {errno.EINVAL, errno.ENOSYS}:
                raise _NotSentError from error
            raise
        if not sent:
            raise _cut_short(piece)
        return sent

    _send(connection, piece.length, step)


def _send_read(connection: _Connection, piece: FileSlice) -> None:
    offset, left = piece.offset, piece.length
    while left:
        try:
            content = os.pread(piece.handle, min(left, _BLOCK), offset)
        except OSError as error:
            # Said here: further out it would be taken for the connection's failure.
            raise InputError(
                f"can't read what is uploaded: {error.strerror}", side="source"
            ) from error
        if not content:
            raise _cut_short(piece)
        send_bytes(connection, content)
        offset, left = offset + len(content), left - len(content)


def _send(connection: socket.socket, size: int, step: Callable[[int], int]) -> None:
    """Take steps, each of which sends some bytes from an offset on, until all are sent."""
    done = 0
    connection.setblocking(False)
    try:
        while done < size:
            try:
                done += step(done)
            except (BlockingIOError, ssl.SSLWantWriteError):
                _wait(connection, select.POLLOUT)
            except ssl.SSLWantReadError:
                _wait(connection, select.POLLIN)
    finally:
        connection.settimeout(SECONDS)


def _wait(connection: socket.socket, event: int) -> None:
    poll = select.poll()
    poll.register(connection.fileno(), event | _CLOSED)
    found = poll.poll(SECONDS * 1000)
    if not found:
        raise TimeoutError("the other side takes no more bytes")
    if found[0][1] & _CLOSED:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _cut_short(piece: FileSlice) -> InputError:
    end = piece.offset + piece.length
    return InputError(f"what is uploaded ends before its {end:,} bytes", side="source")
