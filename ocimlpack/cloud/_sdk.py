"""Oracle's SDK: the only module that imports `oci`, and `cryptography`, which comes with it.

It is large and slow to import, so it is an extra, and asked for when a call needs it. What it
raises becomes an error of ours here.
"""

from __future__ import annotations

import email.utils
import hashlib
import importlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ocimlpack.errors import (
    ConflictError,
    InputError,
    InvalidContentError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnreachableError,
    UnsupportedError,
)

_TRIES: Final = 4
_MAX_PAGES: Final = 10_000
_TOTAL_SECONDS: Final = 30
_LONGEST_PAUSE: Final = 4
_TIMEOUTS: Final = (8.0, 60.0)
"""Seconds for a connection, and for an answer."""

_SKEW: Final = 60
"""Seconds that a clock may be off before it is worth a word; the service takes five minutes."""

_NO_WAY: Final = frozenset(
    {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError", "SSLError"}
)
"""What is raised inside where no connection could be made at all; all else broke on the way."""

_FREE_TIER: Final = "FREE_TIER_NOT_SUPPORTED"
_RELATED: Final = "RelatedResourceNotAuthorizedOrNotFound"
"""A 404 of what a request names in its body:
https://docs.oracle.com/en-us/iaas/Content/API/References/apierrors.htm"""


def module(name: str = "") -> Any:
    """A module of the SDK.

    Raises:
        UnsupportedError: it is not installed.
    """
    try:
        return importlib.import_module(f"oci.{name}" if name else "oci")
    except ModuleNotFoundError as error:
        if error.name != "oci":
            raise
        raise UnsupportedError(
            "this needs Oracle's SDK, which is not installed",
            hint="pip install 'ocimlpack[oci]'",
        ) from error


def client(
    path: str,
    config: Mapping[str, Any],
    signer: Any,
    endpoint: str | None,
    *,
    retries: bool = True,
) -> Any:
    """A client of one service.

    Args:
        path: module and class: `artifacts.ArtifactsClient`.
        config: the SDK's configuration, with the region.
        signer: signs its requests.
        endpoint: the service's address where it is not the region's.
        retries: whether it tries again by itself what may pass.
    """
    home, _, name = path.rpartition(".")
    retry = module("retry")
    strategy = retry.NoneRetryStrategy()
    if retries:
        strategy = retry.RetryStrategyBuilder(
            max_attempts=_TRIES,
            total_elapsed_time_seconds=_TOTAL_SECONDS,
            retry_max_wait_between_calls_seconds=_LONGEST_PAUSE,
        ).get_retry_strategy()
    more = {"service_endpoint": endpoint} if endpoint else {}
    return getattr(module(home), name)(
        dict(config),
        signer=signer,
        retry_strategy=strategy,
        timeout=_TIMEOUTS,
        circuit_breaker_strategy=module("circuit_breaker").NoCircuitBreakerStrategy(),
        **more,
    )


def every(call: Any, *args: Any, **options: Any) -> list[Any]:
    """All items of a list that comes in pages.

    The SDK's own function for that tries each page again by a policy of its own, which is around
    the client's: nobody would wait for that long.
    """
    found: list[Any] = []
    more: dict[str, Any] = {}
    for _ in range(_MAX_PAGES):
        answer = call(*args, **options, **more)
        data = answer.data
        found += data if isinstance(data, list) else data.items
        if not answer.has_next_page:
            return found
        more = {"page": answer.next_page}
    raise InvalidContentError("a list of Oracle Cloud's has no end")


def sign(signer: Any, method: str, url: str) -> dict[str, str]:
    """The headers that sign a request without a body."""
    requests = importlib.import_module("oci._vendor.requests")
    prepared = signer(requests.Request(method, url).prepare())
    return {name: prepared.headers[name] for name in ("date", "authorization")}


def failure() -> type[Exception]:
    """What the SDK raises where no answer comes; it is an `OSError` too."""
    exceptions = importlib.import_module("oci._vendor.requests.exceptions")
    found: type[Exception] = exceptions.RequestException
    return found


def fingerprint(private_key: Any) -> str:
    """What the service names a key by.

    https://docs.oracle.com/en-us/iaas/Content/API/Concepts/apisigningkey.htm#four
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.md5(der, usedforsecurity=False).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


@contextmanager
def explained(what: str, absent: type[OcimlpackError] = NotFoundError) -> Iterator[None]:
    """Turn what the SDK raises into one of our errors.

    Args:
        what: what is asked for, as a person would name it.
        absent: what a 404 becomes: the service says the same of what is not there and of what one
            may not see.
    """
    exceptions = module("exceptions")
    try:
        yield
    except exceptions.ServiceError as error:
        raise _meaning(error, what, absent) from error
    except failure() as error:
        causes = list(_causes(error))
        if any(type(each).__name__ in _NO_WAY for each in causes):
            raise UnreachableError(
                f"no connection to Oracle Cloud for {what}: {_reason(causes)}",
                hint="check the region, the proxy and the network",
            ) from error
        raise UnavailableError(
            f"Oracle Cloud did not answer for {what}: {_reason(causes)}", hint="try again later"
        ) from error


def refusal(error: BaseException) -> tuple[int, str]:
    """Status and code of what the service answered; 0 and nothing for any other error."""
    if isinstance(error, module("exceptions").ServiceError):
        return int(error.status), str(error.code or "")
    return 0, ""


def clock(headers: Mapping[str, str]) -> str | None:
    """What to say of this machine's clock, by the date of an answer; None if it is right."""
    try:
        theirs = email.utils.parsedate_to_datetime(headers.get("Date") or "").timestamp()
    except (TypeError, ValueError):
        return None
    off = time.time() - theirs
    if abs(off) <= _SKEW:
        return None
    hours, minutes = divmod(round(abs(off) / 60), 60)
    amount = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    return f"this machine's clock is {amount} {'ahead of' if off > 0 else 'behind'} Oracle Cloud's"


def _meaning(error: Any, what: str, absent: type[OcimlpackError]) -> OcimlpackError:
    status, code = int(error.status), str(error.code or "")
    said = f"{code}: {error.message}" if code else str(error.message)
    detail = " ".join(said.split())[:300]
    if status == 401:
        skew = clock(error.headers or {})
        return NotAllowedError(
            f"Oracle Cloud refuses the signature for {what}: {skew or detail}",
            hint="set the clock" if skew else "ocimlpack doctor shows which identity is used",
            status=status,
        )
    if code == _FREE_TIER:
        return NotAllowedError(
            f"Oracle Cloud does not offer {what} to an Always Free tenancy",
            hint="a bucket can hold models instead of the registry",
            status=status,
        )
    if status == 403:
        return NotAllowedError(f"Oracle Cloud does not allow {what}: {detail}", status=status)
    if status == 404 or code == _RELATED:
        return absent(
            f"{what} is not there, or not allowed to this identity: {detail}",
            hint="a policy has to allow it: see docs/oracle-cloud.md",
            status=status,
        )
    if status in {409, 412}:
        return ConflictError(f"Oracle Cloud refuses {what}: {detail}", status=status)
    if status == 429 or status >= 500:
        return UnavailableError(
            f"Oracle Cloud keeps failing at {what}: {detail}", hint="try again later", status=status
        )
    return InputError(f"Oracle Cloud does not accept {what}: {detail}", status=status)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What went wrong, from the outside in. The SDK hands some causes on as arguments only."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        given = next((each for each in inner.args if isinstance(each, BaseException)), None)
        inner = given or inner.__cause__ or inner.__context__


def _reason(causes: list[BaseException]) -> str:
    """The innermost of what went wrong, in a few words."""
    last = causes[-1]
    text = getattr(last, "strerror", None) or str(last) or type(last).__name__
    return " ".join(str(text).split())[:200]
