"""Conditional requests: if-match and if-none-match.

The code `IfNoneMatchFailed` is in the SDK's `base_client`; its text, `IfMatchFailed`, and that an
entity tag is a UUID without quotes were seen in public code that talks to the real service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.cloud.answers import RefusedError
from tests.scripted.exchange import Request


def for_change(request: Request, current: Mapping[str, Any] | None) -> None:
    """Whether something may be made, replaced or deleted.

    Raises:
        RefusedError: 412.
    """
    match, none_match = request.header("if-match"), request.header("if-none-match")
    check(match or None, none_match or None, current)


def check(match: str | None, none_match: str | None, current: Mapping[str, Any] | None) -> None:
    """The same, with conditions from wherever they came."""
    if none_match and none_match != "*":
        raise RefusedError(
            400, "IfNoneMatchDisallowed", "The If-None-Match header may only be '*' here"
        )
    if none_match and current is not None:
        raise RefusedError(
            412,
            "IfNoneMatchFailed",
            "The If-None-Match header is '*' but there is an existing entity",
        )
    if match and match != "*" and (current is None or current["etag"] != match):
        raise _unmatched(match)
    if match == "*" and current is None:
        raise _unmatched(match)


def is_unchanged(request: Request, current: Mapping[str, Any]) -> bool:
    """Whether a reader has it already, which is answered with 304.

    Raises:
        RefusedError: 412, it is not the one that was asked for.
    """
    match, none_match = request.header("if-match"), request.header("if-none-match")
    if match and match not in ("*", current["etag"]):
        raise _unmatched(match)
    return bool(none_match == current["etag"])


def _unmatched(match: str) -> RefusedError:
    return RefusedError(
        412, "IfMatchFailed", f"The If-Match header is '{match}' but does not match the entity"
    )
