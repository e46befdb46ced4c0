"""Who one is at Oracle Cloud and why, as the page of `doctor` says it. Nobody is asked."""

from __future__ import annotations

import re
from typing import Final

from ocimlpack.app.diagnosis import Case, Fact, Section
from ocimlpack.errors import OcimlpackError

_OCID: Final = re.compile(r"(ocid1\.[a-z0-9]+\.[^.]*\.[^.]*\.).*(.{6})\Z")


def section(case: Case) -> Section | None:
    """The identity that requests to Oracle Cloud are signed by; None where none is wanted."""
    from ocimlpack.app import oracle
    from ocimlpack.cloud import hosts, identity

    wanted = case.oracle or (bool(case.host) and hosts.is_ocir(case.host))
    if case.host and not wanted:
        return None
    try:
        choice = identity.find(oracle.wish(case.options))
    except OcimlpackError as error:
        if wanted:
            case.fail(error)
        else:
            case.note(error.message, error.hint)
        return Section("identity", (Fact("kind", error.message, "no"),))
    if choice is None:
        if not wanted:
            return None
        return Section("identity", (Fact("kind", "none for Oracle Cloud", "unknown"),))
    tenancy = choice.profile.get("tenancy") if choice.profile else None
    facts = (
        Fact("kind", str(choice.kind), "ok"),
        Fact("why", choice.why),
        Fact("region", choice.region or "none is settled"),
        Fact("tenancy", shortened(tenancy) if tenancy else "not known before it is asked"),
    )
    return Section("identity", facts)


def shortened(ocid: str) -> str:
    """An OCID by its kind, its region and its end: enough to compare, and not the whole."""
    return _OCID.sub(r"\1...\2", ocid) if _OCID.match(ocid) else "not an OCID"
