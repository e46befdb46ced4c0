"""Points in time as Go writes them, so that a tool that decodes and encodes changes nothing.

https://pkg.go.dev/time#Time.MarshalJSON: RFC 3339, a fraction without trailing zeros; here also
always in UTC, so that the same moment is always the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from ocimlpack.errors import InputError

_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))\Z",
    re.ASCII,
)
_LAST: Final = 253402300799
"""Seconds: the end of the year 9999, the last that RFC 3339 can write."""


def parse(text: str, what: str) -> str:
    """A time that somebody wrote, in the one spelling.

    Args:
        text: such as `2026-01-31T12:00:00Z`.
        what: how an error names it.

    Raises:
        InputError: not a date and time by RFC 3339.
    """
    match = _RFC3339.match(text)
    try:
        if match is None:
            raise ValueError(text)
        day, clock, fraction, sign, hours, minutes = match.groups()
        moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
        if sign:
            if int(hours) > 23 or int(minutes) > 59:
                raise ValueError(text)
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            moment = moment - offset if sign == "+" else moment + offset
    except (ValueError, OverflowError):
        raise InputError(
            f"{what} is not a time: {text!r:.60} (expected one like 2026-01-31T12:00:00Z)"
        ) from None
    return _written(moment, (fraction or "").rstrip("0"))


def recorded(created: str | None, environ: Mapping[str, str]) -> str | None:
    """The time to record as that of the packing, or None: the same files, the same digest.

    Args:
        created: what was asked for.
        environ: the environment, whose SOURCE_DATE_EPOCH counts where nothing was asked for:
            https://reproducible-builds.org/specs/source-date-epoch/

    Raises:
        InputError: either is no time.
    """
    if created is not None:
        return parse(created, "the time of creation")
    epoch = environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    if not re.fullmatch(r"\d{1,12}", epoch, re.ASCII) or int(epoch) > _LAST:
        raise InputError(
            f"SOURCE_DATE_EPOCH is not a number of seconds since 1970: {epoch!r:.60}",
            hint="unset it, or set it to one such as 1767225600",
        )
    return _written(datetime.fromtimestamp(int(epoch), UTC), "")


def _written(moment: datetime, fraction: str) -> str:
    text = moment.replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"
