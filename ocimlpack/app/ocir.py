"""Repositories of Oracle Cloud's container registry: made, listed, shown, with their images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from ocimlpack.app import audit, oracle
from ocimlpack.app.options import Connection, Oracle, StrPath
from ocimlpack.cloud import hosts
from ocimlpack.errors import InputError
from ocimlpack.spec.reference import Kind, Reference, check_repository

if TYPE_CHECKING:
    from datetime import datetime

    from ocimlpack.cloud.ocir import Image, Registry, Repository


@dataclass(frozen=True, slots=True)
class OcirRepository:
    """A repository of OCIR.

    Attributes:
        reference: `HOST/NAMESPACE/NAME`, which other commands and tools take.
        name: the name alone.
        ocid: its OCID.
        compartment: the OCID of its compartment.
        immutable: whether tags can't be moved; None where a list does not say.
        public: whether everybody may read.
        images: how many manifests it has.
        size: bytes of its layers, each counted once.
        created: RFC 3339.
        pushed: RFC 3339, or None if never.
    """

    reference: str
    name: str
    ocid: str
    compartment: str
    immutable: bool | None
    public: bool
    images: int
    size: int
    created: str | None
    pushed: str | None


@dataclass(frozen=True, slots=True)
class OcirImage:
    """A manifest in OCIR.

    Attributes:
        reference: the location, pinned to the digest.
        digest: the digest.
        tags: its tags.
        ocid: its OCID.
        size: bytes of its layers.
        pulls: how often it was pulled.
        created: RFC 3339.
    """

    reference: str
    digest: str
    tags: tuple[str, ...]
    ocid: str
    size: int | None
    pulls: int | None
    created: str | None


def ocir_create(
    repository: str, *, readme: StrPath | None = None, **options: Unpack[Connection]
) -> OcirRepository:
    """Make a private repository in a compartment.

    Args:
        repository: `NAME`, `ocir://REGION/NAME` or `HOST/NAMESPACE/NAME`.
        readme: a Markdown file to show with it.
        **options: see `Connection`; without `compartment`, the settled one.

    Raises:
        ConflictError: there is one of that name in the tenancy.
        InputError: no compartment is settled.
    """
    name, region = _name(repository)
    where = oracle.compartment(options)
    if where is None:
        raise InputError(
            f"in which compartment is {name} to be made?",
            hint=f"add --compartment OCID, or set {oracle.COMPARTMENT_VARIABLE}",
        )
    text = _read(Path(readme)) if readme is not None else None
    with audit.recording("ocir create", repository, options) as (entry, _):
        registry = oracle.open_registry(options, region)
        entry.identity = registry.identity.kind
        made = registry.create(name, where, immutable=options.get("immutable", False), readme=text)
        entry.reference = f"{registry.host}/{made.namespace}/{made.name}"
    return _described(registry, made)


def ocir_list(**options: Unpack[Oracle]) -> tuple[OcirRepository, ...]:
    """The repositories of a compartment, or without one of the whole tenancy, by name."""
    registry = oracle.open_registry(options)
    found = registry.repositories(options.get("compartment"))
    return tuple(_described(registry, each) for each in found)


def ocir_show(repository: str, **options: Unpack[Oracle]) -> OcirRepository:
    """One repository.

    Raises:
        NotFoundError: there is none of that name that this identity may see.
    """
    name, region = _name(repository)
    registry = oracle.open_registry(options, region)
    return _described(registry, registry.show(name, options.get("compartment")))


def ocir_images(repository: str, **options: Unpack[Oracle]) -> tuple[OcirImage, ...]:
    """The manifests of a repository, newest first; with a tag or a digest, that one.

    Raises:
        NotFoundError: there is no such repository, tag or digest.
    """
    name, region, tag, digest = _parts(repository)
    registry = oracle.open_registry(options, region)
    if digest or tag:
        found = [registry.look_up(name, f"@{digest}" if digest else f":{tag}")]
        place = f"{registry.host}/{registry.namespace()}/{name}"
    else:
        shown = registry.show(name, options.get("compartment"))
        found = registry.images(shown)
        place = f"{registry.host}/{shown.namespace}/{name}"
    return tuple(_pictured(place, each) for each in found)


def _name(text: str) -> tuple[str, str | None]:
    name, region, tag, digest = _parts(text)
    if tag or digest:
        raise InputError(f"{text} names one artifact, not a repository")
    return name, region


def _parts(text: str) -> tuple[str, str | None, str | None, str | None]:
    """Name, region, tag and digest of a repository, in whichever form it was written."""
    ref = Reference.parse(text)
    if ref.kind is Kind.LOCAL:
        ref = Reference(Kind.OCIR, "", ref.repository, ref.tag, ref.digest)
    elif ref.kind is Kind.REGISTRY and hosts.is_ocir(ref.host):
        name = ref.repository.partition("/")[2]
        region = hosts.region_of(ref.host)
        ref = Reference(Kind.OCIR, region or "", check_repository(name, text), ref.tag, ref.digest)
    if ref.kind is not Kind.OCIR:
        raise InputError(
            f"{text} is no repository of OCIR", hint="write NAME or ocir://REGION/NAME"
        )
    digest = str(ref.digest) if ref.digest else None
    return ref.repository, ref.host or None, ref.tag, digest


def _described(registry: Registry, found: Repository) -> OcirRepository:
    return OcirRepository(
        reference=f"{registry.host}/{found.namespace}/{found.name}",
        name=found.name,
        ocid=found.ocid,
        compartment=found.compartment,
        immutable=found.is_immutable,
        public=found.is_public,
        images=found.images,
        size=found.size,
        created=_time(found.created),
        pushed=_time(found.pushed),
    )


def _pictured(place: str, found: Image) -> OcirImage:
    return OcirImage(
        reference=f"{place}@{found.digest}",
        digest=found.digest,
        tags=found.tags,
        ocid=found.ocid,
        size=found.size,
        pulls=found.pulls,
        created=_time(found.created),
    )


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
