"""What Oracle Cloud adds to the other functions: its locations, its repositories, its hints.

Nothing of it is imported for other registries, and the SDK only where a request has to be signed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ocimlpack.app.options import Connection, Oracle
from ocimlpack.cloud import hosts
from ocimlpack.cloud.identity import Auth, Wish, decide, find
from ocimlpack.errors import (
    ConflictError,
    InputError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
)
from ocimlpack.progress import Identified, Noted, Reporter, ignore
from ocimlpack.spec.reference import Kind, Reference, check_host
from ocimlpack.stores import credentials, settings

if TYPE_CHECKING:
    from ocimlpack.cloud.objects import OciObjects
    from ocimlpack.cloud.ocir import Registry, Repository
    from ocimlpack.cloud.signers import Identity
    from ocimlpack.stores.tokens import RequestSigner

COMPARTMENT_VARIABLE: Final = "OCIMLPACK_COMPARTMENT"

_SUBJECTS: Final = {
    Auth.INSTANCE_PRINCIPAL: "dynamic-group NAME",
    Auth.RESOURCE_PRINCIPAL: "dynamic-group NAME",
    # It can't be in a dynamic group.
    Auth.OKE_WORKLOAD_IDENTITY: "any-user",
}
"""Who a policy calls them that are in no group."""


def wish(options: Oracle) -> Wish:
    """Which identity the options ask for, and where they don't, the configuration file."""
    configured = settings.load().oci
    return Wish(
        auth=options.get("auth") or configured.get("auth"),
        profile=options.get("profile") or configured.get("profile"),
        region=options.get("region") or configured.get("region"),
    )


def compartment(options: Oracle) -> str | None:
    """The compartment that repositories are made in, if one is settled."""
    return (
        options.get("compartment")
        or os.environ.get(COMPARTMENT_VARIABLE)
        or settings.load().oci.get("compartment")
    )


def signer_for(host: str, options: Oracle) -> RequestSigner | None:
    """What signs requests for tokens of a registry; None if it is not Oracle Cloud's."""
    if not hosts.is_ocir(host):
        return None
    from ocimlpack.cloud.tokens import signer_for

    return signer_for(host, wish(options))


def registry(text: str, options: Oracle) -> tuple[str, RequestSigner]:
    """OCIR's host in a region, and what signs for it.

    Args:
        text: the host, or a region's key or identifier.
        options: who one is.

    Raises:
        InputError: it is neither.
        NotAllowedError: there is no identity.
    """
    from ocimlpack.cloud.ocir import registry_host
    from ocimlpack.cloud.signers import load
    from ocimlpack.cloud.tokens import TokenSigner

    wanted = wish(options)
    choice = decide(wanted)
    if re.fullmatch(r"[a-z0-9-]+", text, re.IGNORECASE):
        host = registry_host(load(choice), text)
    else:
        host = check_host(text, text)
    if not hosts.is_ocir(host):
        raise InputError(
            f"{host} is not Oracle Cloud's container registry",
            hint="write REGION.ocir.io or a region's name",
        )
    return host, TokenSigner(host, choice)


def located(ref: Reference, options: Oracle) -> Reference:
    """A location in OCIR as one of a registry: the host of its region, the namespace looked up.

    Raises:
        NotAllowedError: there is no identity to look it up with, or it may not.
    """
    if ref.kind is not Kind.OCIR:
        return ref
    registry = open_registry(options, ref.host)
    repository = f"{registry.namespace()}/{ref.repository}"
    return Reference(Kind.REGISTRY, registry.host, repository, ref.tag, ref.digest)


def identity(options: Oracle) -> Identity:
    """Who signs.

    Raises:
        NotAllowedError: there is no identity.
        UnsupportedError: the SDK is not installed.
    """
    from ocimlpack.cloud.signers import load

    return load(decide(wish(options)))


def objects(name: str, options: Connection) -> OciObjects:
    """A bucket of OCI Object Storage.

    Args:
        name: `BUCKET@NAMESPACE`.
        options: who one is.

    Raises:
        NotAllowedError: there is no identity.
        UnsupportedError: the SDK is not installed.
    """
    from ocimlpack.cloud.objects import OciObjects

    bucket, _, namespace = name.partition("@")
    who = identity(options)
    options.get("report", ignore)(Identified(name, who.kind))
    return OciObjects(who, bucket, namespace, wish(options).region)


def open_registry(options: Oracle, region: str | None = None) -> Registry:
    """The container registry's own API in a region.

    Raises:
        NotAllowedError: there is no identity.
        UnsupportedError: the SDK is not installed.
    """
    from ocimlpack.cloud.ocir import Registry

    return Registry(identity(options), region or wish(options).region)


def provide(
    ref: Reference,
    options: Oracle,
    readme: Callable[[], str | None] = lambda: None,
    report: Reporter = ignore,
) -> Repository | None:
    """Make the repository of a first push in its compartment, where one is settled.

    The registry would make it as well, but in the tenancy's root compartment.

    Returns:
        The repository if it had to be made.

    Raises:
        ConflictError: there is one of that name in another compartment.
        NotAllowedError: there is no such compartment, or no permission there.
    """
    where = compartment(options)
    if where is None:
        return None
    namespace, _, name = ref.repository.partition("/")
    registry = open_registry(options, hosts.region_of(ref.host))
    if registry.find(name, where) is not None:
        return None
    try:
        made = registry.create(
            name, where, immutable=options.get("immutable", False), readme=readme()
        )
    except ConflictError as error:
        if registry.find(name, where) is not None:
            return None  # somebody else made it meanwhile
        raise ConflictError(
            f"{error.message}; it was not pushed to",
            hint="name that compartment with --compartment, or another repository",
            status=error.status,
        ) from error
    report(Noted(f"made the private repository {namespace}/{name} in its compartment"))
    return made


@contextmanager
def hinted(ref: Reference, options: Oracle, verb: str) -> Iterator[None]:
    """Add to a refusal of OCIR what helps.

    Args:
        ref: what was asked for.
        options: how registries are reached.
        verb: the least that a policy has to allow for it: `read` or `manage`.
    """
    try:
        yield
    except OcimlpackError as error:
        is_denied = error.status == 403 and isinstance(error, NotAllowedError)
        if is_denied and not _is_about_immutability(error):
            error.hint = _permission(ref, options, verb)
        else:
            error.hint = _hint(error, ref) or error.hint
        raise


def _permission(ref: Reference, options: Oracle, verb: str) -> str:
    """What would let those in who were refused."""
    choice = find(wish(options))
    known = credentials.find(ref.host) is not None
    if choice is None and not known:
        return f"ocimlpack login {ref.host}, or sign with an identity: see --auth"
    who, condition = "group NAME", f"where target.repo.name = '{ref.repository.partition('/')[2]}'"
    if choice is not None and (wish(options).is_explicit or not known):
        who = _SUBJECTS.get(choice.kind, who)
        if choice.kind is Auth.OKE_WORKLOAD_IDENTITY:
            condition = "where …, as manifests/kubernetes/policy.txt has it"
    return f"a policy has to allow it: Allow {who} to {verb} repos in compartment NAME {condition}"


def _is_about_immutability(error: OcimlpackError) -> bool:
    return "immutable" in error.message.lower()


def _hint(error: OcimlpackError, ref: Reference) -> str | None:
    name = ref.repository.partition("/")[2]
    if _is_about_immutability(error):
        return "tags can't be moved in that repository: choose a new one"
    if isinstance(error, NotFoundError) and "NAME_UNKNOWN" in error.message:
        return f"ocimlpack ocir create {name} --compartment OCID; ocimlpack ocir list shows others"
    return None
