"""The names under which Oracle Cloud's container registry is known. No I/O, and no SDK.

https://docs.oracle.com/en-us/iaas/Content/Registry/Concepts/registryprerequisites.htm
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urlsplit

from ocimlpack.errors import InputError

ENDPOINT_VARIABLE: Final = "OCIMLPACK_OCI_ENDPOINT"
"""One address that stands for every service: a private endpoint, or a cloud for tests."""

_SHORT: Final = re.compile(r"(?P<region>[a-z0-9-]+)\.ocir\.io\Z")
_LONG: Final = re.compile(r"ocir\.(?P<region>[a-z0-9-]+)\.oci\.[a-z0-9.-]+\Z")


def endpoint() -> str | None:
    """The address that stands for every service, if one is set; without a slash at its end.

    Raises:
        InputError: it is no http or https address.
    """
    text = os.environ.get(ENDPOINT_VARIABLE, "").strip().rstrip("/")
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.path:
        raise InputError(
            f"{ENDPOINT_VARIABLE} is no address: {text!r}", hint="write https://HOST[:PORT]"
        )
    return text


def is_ocir(host: str) -> bool:
    """Whether a registry's `host[:port]` is Oracle Cloud's, by either form of its name."""
    if _SHORT.match(host) or _LONG.match(host):
        return True
    one = endpoint()
    return one is not None and urlsplit(one).netloc == host


def region_of(host: str) -> str | None:
    """The region's key or identifier that a registry's host names; None where it names none."""
    found = _SHORT.match(host) or _LONG.match(host)
    return found["region"] if found else None
