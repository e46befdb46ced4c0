"""One page that says why transfers work as they do, for a person to show to another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Unpack

from ocimlpack.app import abilities, connection, identity, machine, places
from ocimlpack.app.diagnosis import Case, Diagnosis, Finding, Section
from ocimlpack.app.options import Connection
from ocimlpack.errors import InputError, OcimlpackError
from ocimlpack.spec.reference import Kind, check_host
from ocimlpack.stores import open as stores


def doctor(
    reference: str | None = None, *, write: bool | None = None, **options: Unpack[Connection]
) -> Diagnosis:
    """Find out how transfers go from here, what a registry can do, and what is wrong.

    The repository is left as it was. What is found out about the registry is remembered, and
    transfers go by it.

    Args:
        reference: a registry, `HOST[:PORT]`; a repository there; or a model in it, with which most
            can be tried. Without one, only this machine is looked at.
        write: whether uploads, deletions and the like are tried, too. Default is to do so if the
            repository is there.
        **options: see `Connection`.

    Returns:
        The page. A registry that can't be reached, or that refuses the credentials, is part of it.

    Raises:
        InputError: the reference is none to a registry.
    """
    with ExitStack() as opened:
        case = Case("", "", None, options, places.access(options), write, opened)
        _find_place(case, reference)
        found = [section for look in _SECTIONS if (section := look(case))]
    return Diagnosis(
        reference=reference or "",
        made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        sections=tuple(map(_tidied, found)),
        findings=tuple(
            Finding(machine.tidy(each.problem), machine.tidy(each.help)) for each in case.findings
        ),
        exit_code=case.failure.exit_code if case.failure else 0,
    )


def _find_place(case: Case, reference: str | None) -> None:
    """Say to the case which registry is meant, which repository, and which tag or digest."""
    if reference is None:
        return
    text = reference.removeprefix("oci://").removesuffix("/")
    if "/" not in text and not text.startswith(("oci:", "oci-archive:", ".")):
        case.host = check_host(text, reference)
        return
    ref = stores.locate(reference)
    case.oracle = ref.kind is Kind.OCIR
    if case.oracle:
        try:
            ref = places.locate(reference, case.options)
        except OcimlpackError as error:
            case.fail(error)  # the namespace could not be looked up; the page says more of why
            return
    if ref.kind is not Kind.REGISTRY:
        raise InputError(
            f"doctor looks at registries, and {reference} is no place in one",
            hint="ocimlpack doctor HOST[/REPOSITORY[:TAG]], or without anything for this machine",
        )
    case.host, case.repository = ref.host, ref.repository
    case.name = str(ref.digest) if ref.digest else ref.tag


def _tidied(section: Section) -> Section:
    facts = (replace(fact, value=machine.tidy(fact.value)) for fact in section.facts)
    return replace(section, facts=tuple(facts))


def _look_at_versions(_: Case) -> Section:
    return machine.versions()


def _look_at_configuration(case: Case) -> Section:
    mirrors = tuple(mirror.url for mirror in case.access.mirrors)
    section, failure = machine.configuration(case.host, case.repository, mirrors)
    if failure:
        case.fail(failure)
    return section


def _look_at_folders(case: Case) -> Section:
    section, findings = machine.folders()
    case.findings += findings
    return section


_SECTIONS: Final[tuple[Callable[[Case], Section | None], ...]] = (
    _look_at_versions,
    _look_at_configuration,
    _look_at_folders,
    identity.section,
    connection.section,
    abilities.section,
)
"""The page's sections, in order. Each says what is wrong to the case; the later ones need what the
earlier ones have found."""
