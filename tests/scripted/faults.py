from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.scripted.exchange import Request


@dataclass
class Fault:
    """Something that goes wrong with the requests that match.

    Attributes:
        method: the method, or "" for any.
        path: a regular expression searched for in path and query.
        nth: the first matching request that is hit, from 1.
        times: how many are hit from there on; None for all.
        status: answer this instead of doing anything; 0 to do what was asked.
        drop: close the connection: before the body is read, or after the work was done and
            instead of the answer.
        swallow: read so many bytes of the body, then close the connection.
        keep: do with the bytes that were read what was asked, and fail after it, as a server that
            stores while it reads.
        unread: answer before the body is read, and end the connection when the client has.
        cut: close the connection after so many bytes of the answer's body.
        flip: flip a bit of the byte there in the answer's body.
        rate: send so many bytes of the answer's body a second; with 0 no byte ever comes, and with
            None there is no limit.
        hold: do nothing before this event is set.
        hits: how often it struck.
    """

    method: str = ""
    path: str = ""
    nth: int = 1
    times: int | None = 1
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    drop: Literal["", "before", "after"] = ""
    swallow: int | None = None
    keep: bool = False
    unread: bool = False
    cut: int | None = None
    flip: int | None = None
    rate: int | None = None
    hold: threading.Event | None = None
    hits: int = 0
    seen: int = 0

    def strikes(self, request: Request) -> bool:
        if self.method not in ("", request.method) or not re.search(self.path, request.target):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.seen >= self.nth + self.times):
            return False
        self.hits += 1
        return True


class Faults:
    """The script: the first rule that strikes is the one that happens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._rules.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def striking(self, request: Request) -> Fault:
        with self._lock:
            return next((rule for rule in self._rules if rule.strikes(request)), Fault())
