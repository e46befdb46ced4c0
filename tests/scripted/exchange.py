from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl


@dataclass
class Request:
    """One request as it arrived; `status` is what it was answered with, 0 if with nothing.

    `path` is decoded; `raw` is path and query as they were sent, which signatures are over.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    length: int = 0
    status: int = 0
    raw: str = ""

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), "")

    @property
    def carries_credentials(self) -> bool:
        return bool(self.header("authorization") or self.header("cookie"))

    def arguments(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def values(self, name: str) -> list[str]:
        return [value for key, value in parse_qsl(self.query) if key == name]

    def __str__(self) -> str:
        return f"{self.method} {self.target} ({self.length} bytes) -> {self.status}"


@dataclass
class Reply:
    """An answer. A view of a mapped file may stand for its body, which then is not in memory."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""


def as_json(status: int, value: object, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(value).encode()
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, body)


def refusal(status: int, code: str, message: str = "", **headers: str) -> Reply:
    """An error in the form of the distribution specification."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return as_json(status, {"errors": [{"code": code, "message": message or code}]}, named)
