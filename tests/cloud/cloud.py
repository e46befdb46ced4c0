"""The cloud itself: one address behind which all services are."""

from __future__ import annotations

import contextlib
import email.utils
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cloud import keys, signatures
from tests.cloud.answers import RefusedError, not_found
from tests.cloud.principals import Principal, Principals
from tests.cloud.records import Records
from tests.scripted.exchange import Reply, Request
from tests.scripted.server import Server

NAMESPACE = "axlocalcloud"
REGION = "us-ashburn-1"

Handler = Callable[["Call"], Reply]


@dataclass
class Call:
    """One authenticated call of an API.

    Attributes:
        request: as it came.
        body: its bytes.
        parts: what the route's pattern has found in the path.
        caller: who has signed it.
    """

    request: Request
    body: bytes
    parts: dict[str, str]
    caller: Principal

    def argument(self, name: str) -> str | None:
        return self.request.arguments().get(name)


@dataclass(frozen=True)
class Route:
    method: str
    path: re.Pattern[str]
    handler: Handler
    locked: bool


class Cloud:
    """A tenancy in one region, on loopback.

    Attributes:
        server: its HTTP side: the record of requests, and `fault` for what goes wrong.
        principals: who there is.
        skew: seconds by which the cloud's clock is ahead of this machine's.
        records: what the services keep.
        closing: what is done when it ends.
    """

    def __init__(self, folder: Path | None = None, port: int = 0) -> None:
        self.principals = Principals()
        self.records = Records(folder)
        self.skew = 0.0
        self.closing = contextlib.ExitStack()
        self.closing.callback(self.records.close)
        self._routes: list[Route] = []
        self._open: list[tuple[re.Pattern[str], Callable[[Request, bytes], Reply]]] = []
        self._committed = threading.Lock()
        self._calendar = self.records.table("calendar")
        self.server = Server(self._handle, port=port)
        self.url = self.server.url
        self.host = self.server.host

    def now(self) -> float:
        return time.time() + self.skew

    def calendar(self) -> float:
        """The time that the services go by; it may be far ahead of that of signatures."""
        return self.now() + float(self._calendar.get("later", {}).get("seconds", 0))

    def wait(self, *, days: float = 0, hours: float = 0, seconds: float = 0) -> None:
        """Let time pass for what is kept.

        Signatures and tokens don't notice: a client's clock, which is this machine's, stays right.
        """
        passed = days * 86_400 + hours * 3_600 + seconds
        with self.records.lock:
            later = float(self._calendar.get("later", {}).get("seconds", 0))
            self._calendar["later"] = {"seconds": later + passed}

    def route(self, method: str, path: str, handler: Handler, *, locked: bool = True) -> None:
        """Answer signed requests.

        Args:
            method: the method.
            path: `{name}` in it stands for one part of it, `{name...}` for all of the rest.
            handler: answers.
            locked: nothing else is answered meanwhile; without it, the handler takes the lock of
                the records when it changes them.
        """
        pattern = re.sub(r"\{(\w+)\.\.\.\}", r"(?P<\1>.+)", path)
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        compiled = re.compile(f"{pattern}/?\\Z", re.DOTALL)
        self._routes.append(Route(method, compiled, handler, locked))

    def route_open(self, path: str, handler: Callable[[Request, bytes], Reply]) -> None:
        """Answer requests to a path and what is below it, by whomever."""
        self._open.append((re.compile(path), handler))

    def caller(self, request: Request, body: bytes) -> Principal:
        """Who has signed a request.

        Raises:
            RefusedError: nobody who may.
        """
        now = self.now()
        key_id = signatures.verify(
            request, body, now, lambda key_id: self.principals.key_of(key_id, now)
        )
        return self.principals.of(key_id)

    def _handle(self, request: Request, body: bytes) -> Reply:
        try:
            reply = self._answer(request, body)
        except RefusedError as refused:
            reply = refused.reply()
        reply.headers.setdefault("Date", email.utils.formatdate(self.now(), usegmt=True))
        reply.headers.setdefault("opc-request-id", secrets.token_hex(16).upper())
        return reply

    def _answer(self, request: Request, body: bytes) -> Reply:
        for opened, answer in self._open:
            if opened.match(request.path):
                return answer(request, body)
        caller = self.caller(request, body)
        for route in self._routes:
            found = route.path.match(request.path)
            if found and route.method == request.method:
                call = Call(request, body, found.groupdict(), caller)
                with self.records.lock if route.locked else contextlib.nullcontext():
                    return route.handler(call)
        raise not_found()

    def close(self) -> None:
        self.server.close()
        self.closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.server.__exit__(kind, error, trace)
        finally:
            self.closing.close()


def new_ocid(kind: str) -> str:
    return f"ocid1.{kind}.oc1.iad.aaaaaaaa{secrets.token_hex(26)}"


def timestamp(now: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{whole}.{int(now % 1 * 1000):03d}Z"


def may(caller: Principal, what: str, *, manage: bool) -> None:
    """Refuse what the caller's policies do not allow; the service doesn't say which it was.

    Raises:
        RefusedError: as for something that is not there.
    """
    if what not in (caller.may_manage if manage else caller.may_read | caller.may_manage):
        raise not_found()


def make_profile(folder: Path, cloud: Cloud, name: str = "DEFAULT", **more: Any) -> Path:
    """A home's `.oci/config` with an API key of a user of this cloud; the config's path."""
    person = cloud.principals.everybody[0]
    (folder / ".oci").mkdir(parents=True, exist_ok=True)
    key_file = folder / ".oci" / "key.pem"
    # A cloud that is started again knows the key that its user has.
    key = keys.load(key_file.read_text()) if key_file.exists() else keys.make("alice")
    key_file.write_text(keys.pem(key))
    key_file.chmod(0o600)
    values = {
        "user": person.ocid,
        "tenancy": _tenancy(),
        "fingerprint": cloud.principals.add_key(person, key.public_key()),
        "key_file": str(key_file),
        "region": REGION,
        **more,
    }
    config = folder / ".oci" / "config"
    lines = [f"[{name}]", *(f"{key}={value}" for key, value in values.items() if value is not None)]
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    return config


def _tenancy() -> str:
    from tests.cloud.principals import TENANCY

    return TENANCY
