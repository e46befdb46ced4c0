"""The way to a registry, as transfers would take it: proxy, trust, clock, credentials."""

from __future__ import annotations

import email.utils
import time
import urllib.parse
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ocimlpack.app.diagnosis import Case, Fact, Section, State
from ocimlpack.errors import NotAllowedError, OcimlpackError, UnavailableError
from ocimlpack.retry import Policy
from ocimlpack.stores import challenge
from ocimlpack.stores import open as stores

if TYPE_CHECKING:
    from ocimlpack.stores._http import Response
    from ocimlpack.stores._oras import Session
    from ocimlpack.stores.credentials import Credential
    from ocimlpack.stores.tls import Encryption

_HASTY: Final = Policy(attempts=2, base=0.2, cap=2.0, total=8.0)
_WAIT: Final = 8.0
"""Seconds for which an answer is waited for: that there is none has to be said soon."""

_IN_STEP: Final = 2.0
_ODD: Final = 60.0
_REFUSED: Final = 300.0
"""Seconds by which a clock may be off, after which it is worth a word, and after which requests
are refused: https://docs.oracle.com/iaas/Content/API/Concepts/usingapi.htm"""
_SOON: Final = 14 * 24 * 3600
"""Seconds before a certificate's end from which on that is worth a word."""


def section(case: Case) -> Section | None:
    """Try the way to the registry; the case then has its session, if it has answered."""
    if not case.host:
        return None
    credential, account = _account(case)
    try:
        access = replace(case.access, policy=_HASTY, wait=_WAIT)
        session = stores.session(case.host, access, lambda _: credential)
    except OcimlpackError as error:
        case.fail(error)
        return _section(case, Fact("address", error.message, "no"), account)
    case.opened.callback(session.close)
    route = _route(case, session)
    began = time.monotonic()
    try:
        response = session.greet()
    except OcimlpackError as error:
        case.fail(error)
        return _section(case, Fact("address", error.message, "no"), *route, account)
    took = time.monotonic() - began
    try:
        seen = [*_encryption(case, response.encryption()), _clock(case, response, took)]
    finally:
        response.close()
    case.session = session
    address = _address(case, session, response, took)
    return _section(case, address, *route, *seen, account, _login(case, session, response))


def _section(case: Case, *facts: Fact) -> Section:
    return Section("connection", facts, case.host)


def _account(case: Case) -> tuple[Credential | None, Fact]:
    """The credentials that are stored, and what can be said of them."""
    try:
        found = case.access.credential(case.host)
        signer = case.access.signer(case.host) if found is None else None
    except OcimlpackError as error:
        case.fail(error)
        return None, Fact("credentials", error.message, "no")
    if signer is not None:
        return None, Fact("credentials", f"requests are signed, by the identity {signer.kind}")
    if found is None:
        return None, Fact("credentials", "none are stored")
    if found.warning:
        case.note(found.warning)
        found = replace(found, warning=None)  # it is on the page
    kind = "token" if found.registry_token or found.identity_token else "password"
    who = f"{kind} of {found.username}" if found.username else f"a {kind}"
    return found, Fact("credentials", f"{who}, from {found.source}")


def _route(case: Case, session: Session) -> list[Fact]:
    from urllib.request import getproxies

    from ocimlpack.stores._http import proxy_of, trusted

    if proxy := proxy_of(session.origin):
        parts = urllib.parse.urlsplit(proxy)
        secret = " (with a password, not shown)" if "@" in parts.netloc else ""
        facts = [Fact("proxy", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{secret}")]
    else:
        others = getproxies().keys() - {"no"}  # which is what NO_PROXY has
        exempt = ": the environment's is not for this host" if others else ""
        facts = [Fact("proxy", f"none{exempt}")]
    if session.origin.startswith("https:"):
        chosen = trusted(case.access.ca_file)
        place = f": {chosen.path}" if chosen.path else ""
        insecure = "; not asked, as --insecure says" if case.access.insecure else ""
        facts.append(Fact("authorities", f"{chosen.source}{place}{insecure}"))
    return facts


def _address(case: Case, session: Session, response: Response, took: float) -> Fact:
    server = response.headers.get("Server", "")
    said = f"{session.origin} answers {response.status} after {took * 1000:,.0f} ms"
    said += f", {server:.60}" if server else ""
    if response.status in {200, 401}:
        return Fact("address", said, "ok")
    case.note(
        f"{session.origin}/v2/ answers {response.status}; a registry answers 200 or 401",
        "check the address: something else may answer there",
    )
    return Fact("address", said, "unknown")


def _encryption(case: Case, found: Encryption | None) -> list[Fact]:
    if found is None:
        return []
    if found.expires is None:
        return [Fact("encryption", found.version, "ok")]
    ends = datetime.fromtimestamp(found.expires, UTC).strftime("%Y-%m-%d")
    by = f" by {found.issuer:.60}" if found.issuer else ""
    said = f"{found.version}, certificate{by} until {ends}"
    if found.expires - time.time() > _SOON:
        return [Fact("encryption", said, "ok")]
    case.note(f"the certificate of {case.host} ends on {ends}", "tell who runs it")
    return [Fact("encryption", said, "no")]


def _clock(case: Case, response: Response, took: float) -> Fact:
    try:
        date = email.utils.parsedate_to_datetime(response.headers.get("Date", ""))
        # Whole seconds, cut off; and it was written about halfway.
        apart = time.time() - took / 2 - (date.timestamp() + 0.5)
    except (TypeError, ValueError, OverflowError):
        return Fact("clock", "the registry does not say what time it is", "unknown")
    if abs(apart) < _IN_STEP:
        return Fact("clock", "in step with the registry's", "ok")
    said = f"{abs(apart):,.0f} s {'ahead of' if apart > 0 else 'behind'} the registry's"
    state: State = "ok"
    if abs(apart) > _ODD:
        state = "no"
        refused = "; Oracle Cloud refuses requests that far off" if abs(apart) > _REFUSED else ""
        case.note(f"this machine's clock is {said}{refused}", "timedatectl set-ntp true")
    return Fact("clock", said, state)


def _login(case: Case, session: Session, response: Response) -> Fact:
    """Whether the registry lets in who asks, by these credentials or without any."""
    if response.status != 401:
        return Fact("login", "not asked for", "ok")
    ways = " or ".join(_ways(response)) or "nothing that is known"
    try:
        session.ping()
    except OcimlpackError as error:
        # With a repository, what counts is whether that can be read.
        if isinstance(error, UnavailableError) or not case.repository:
            case.fail(error)
        state: State = "no" if isinstance(error, NotAllowedError) else "unknown"
        return Fact("login", f"{error.message} (it asks for {ways})", state)
    return Fact("login", f"accepted (it asks for {ways})", "ok")


def _ways(response: Response) -> list[str]:
    ways = []
    for each in challenge.parse(response.headers.get("WWW-Authenticate", "")):
        realm = urllib.parse.urlsplit(each.params.get("realm", ""))
        host = realm.netloc.rpartition("@")[2] if each.scheme == "bearer" else ""
        name = {"bearer": "a token", "basic": "a password"}.get(each.scheme, each.scheme)
        ways.append(f"{name} of {host}" if host else name)
    return ways
