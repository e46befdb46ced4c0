"""Answers in the form of the service's API.

Errors: https://docs.oracle.com/en-us/iaas/Content/API/References/apierrors.htm
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.scripted.exchange import Reply, Request, as_json


class RefusedError(Exception):
    """A request that is answered with an error document."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.more = status, code, message, more

    def reply(self) -> Reply:
        return as_json(self.status, {"code": self.code, "message": self.message, **self.more})


def not_found() -> RefusedError:
    """The one answer for what is missing and what may not be seen."""
    return RefusedError(
        404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found."
    )


def invalid(message: str) -> RefusedError:
    return RefusedError(400, "InvalidParameter", message)


def missing(name: str) -> RefusedError:
    return RefusedError(400, "MissingParameter", f"The required parameter {name} is missing.")


def item(value: Mapping[str, Any], status: int = 200, **headers: str) -> Reply:
    return as_json(status, value, {name.replace("_", "-"): text for name, text in headers.items()})


def page(request: Request, found: Iterable[Any], *, wrap: str | None = "items") -> Reply:
    """A list in pages: `limit` items from the opaque mark `page` on."""
    arguments = request.arguments()
    every = list(found)
    start = int(arguments.get("page") or 0)
    end = start + int(arguments.get("limit") or 100)
    body: Any = every[start:end]
    headers = {"opc-next-page": str(end)} if end < len(every) else {}
    return as_json(200, {wrap: body} if wrap else body, headers)
