"""From a location to a store: the only factory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocimlpack.errors import InputError, NotFoundError, UnsupportedError
from ocimlpack.progress import Identified, Reporter, ignore
from ocimlpack.retry import DEFAULT, Policy
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores import home, settings
from ocimlpack.stores.base import ReadableStore, Store
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.settings import Mirror

if TYPE_CHECKING:
    from ocimlpack.stores._oras import Session
    from ocimlpack.stores.credentials import Credential
    from ocimlpack.stores.objects.base import Objects
    from ocimlpack.stores.objects.persistent import PersistentObjects
    from ocimlpack.stores.registry import RegistryStore
    from ocimlpack.stores.tokens import RequestSigner
    from ocimlpack.stores.web_layout import WebLayout


@dataclass(frozen=True, slots=True)
class Access:
    """How registries and buckets are reached.

    Attributes:
        plain_http: speak http; None means to loopback hosts only.
        insecure: do not verify TLS certificates.
        ca_file: a PEM file of authorities to trust instead of the system's.
        mirrors: where content is asked for first, before the mirrors of the configuration file.
        report: gets an event for each retry.
        policy: how a registry's requests are tried again, if otherwise than usual.
        wait: the most seconds that an answer is waited for, where requests would wait for longer.
        signer: looks for what signs requests for a registry's tokens, by its host.
        objects: opens a bucket of OCI Object Storage, `BUCKET@NAMESPACE`.
        signs_first: the signer was asked for by name: stored credentials are not looked for.
    """

    plain_http: bool | None = None
    insecure: bool = False
    ca_file: str | None = None
    mirrors: tuple[Mirror, ...] = ()
    report: Reporter = ignore
    policy: Policy | None = None
    wait: float = math.inf
    signer: Callable[[str], RequestSigner | None] = lambda _: None
    objects: Callable[[str], Objects] | None = None
    signs_first: bool = False

    def credential(self, host: str) -> Credential | None:
        """The stored credentials for a registry, where they are not to be passed over."""
        from ocimlpack.stores.credentials import find

        if self.signs_first and self.signer(host) is not None:
            return None
        return find(host)


def locate(text: str) -> Reference:
    """Take a location apart; text that could be a path or a name is a path if there is one."""
    return Reference.parse(text, lambda path: os.path.lexists(os.path.expanduser(path)))


@contextmanager
def reading(ref: Reference, access: Access, *, mirrored: bool = True) -> Iterator[ReadableStore]:
    """The store that a location is in, to read from.

    Args:
        ref: the location.
        access: how registries are reached.
        mirrored: whether a registry's content may come from its mirrors.

    Raises:
        NotFoundError: there is no such layout or archive.
        InputError: the configuration file, which names the mirrors, can't be used.
        UnsupportedError: this version can't reach that kind of place.
    """
    if ref.kind is Kind.ARCHIVE:
        from ocimlpack.stores.archive import ArchiveReader

        yield ArchiveReader(_path(ref))
        return
    mirrors: tuple[Mirror, ...] = ()
    if ref.kind is Kind.REGISTRY and mirrored:
        mirrors = (*access.mirrors, *settings.load().mirrors_of(ref.host))
    with _opened(ref, access, create=False, to_write=False, mirrors=mirrors) as store:
        yield store


@contextmanager
def writing(ref: Reference, access: Access, *, create: bool = True) -> Iterator[Store]:
    """The store that a location is in, to write to. An archive is replaced when the block ends.

    Raises:
        NotFoundError: there is no such layout or archive, and none is to be made.
        ConflictError: the place holds something else.
        UnsupportedError: this version can't reach that kind of place.
    """
    if ref.kind is Kind.ARCHIVE:
        from ocimlpack.stores import archive

        if not create and not _path(ref).exists():
            raise NotFoundError(f"no archive at {ref.repository}")
        with archive.rewritten(_path(ref)) as store:
            yield store
        return
    with _opened(ref, access, create=create, to_write=True) as store:
        yield store


def session(
    host: str, access: Access, credential: Callable[[str], Credential | None] | None = None
) -> Session:
    """A registry, without a repository.

    Args:
        host: `host[:port]`.
        access: how it is reached.
        credential: looks credentials up; default is where Docker keeps them.
    """
    from ocimlpack.stores._oras import Session

    patience = {"policy": access.policy} if access.policy else {}
    return Session(
        host,
        plain_http=access.plain_http,
        insecure=access.insecure,
        ca_file=access.ca_file,
        wait=access.wait,
        report=access.report,
        credential=credential or access.credential,
        signer=access.signer,
        **patience,
    )


@contextmanager
def bucket(kind: Kind, name: str, access: Access) -> Iterator[PersistentObjects]:
    """A bucket, without a repository.

    Args:
        kind: S3, or BUCKET for OCI Object Storage.
        name: the bucket, as references have it in place of a host.
        access: how it is reached.

    Raises:
        UnsupportedError: the library for that is not installed.
        InputError: the configuration file, or what the environment says, can't be used.
    """
    from ocimlpack.stores.objects.persistent import PersistentObjects

    once = _s3(name, access) if kind is Kind.S3 else _oci(name, access)
    policy = access.policy or DEFAULT
    objects = PersistentObjects(once, policy, report=access.report)
    try:
        yield objects
    finally:
        objects.close()


def _s3(name: str, access: Access) -> Objects:
    from ocimlpack.stores.objects import s3, s3_service

    preference = settings.load().bucket(name)
    service = s3_service.find(name, preference, access.plain_http)
    if not service.anonymous:
        access.report(Identified(name, "aws"))
    return s3.S3Objects(
        service,
        insecure=access.insecure,
        ca_file=access.ca_file,
        profile_chosen=bool(preference.profile),
    )


def _oci(name: str, access: Access) -> Objects:
    if access.objects is None:
        raise UnsupportedError(f"nobody is there to open buckets of OCI Object Storage: {name}")
    return access.objects(name)


def local_store(name: str = "", *, create: bool = False) -> LayoutStore:
    """The local store, or one model's part of it.

    Raises:
        NotFoundError: it is absent and not to be made.
    """
    return LayoutStore(home.store(), name=name, create=create)


@contextmanager
def _opened(
    ref: Reference,
    access: Access,
    *,
    create: bool,
    to_write: bool,
    mirrors: Sequence[Mirror] = (),
) -> Iterator[Store]:
    if ref.kind is Kind.REGISTRY:
        store = _registry(ref, access, mirrors)
        try:
            yield store
        finally:
            store.close()
    elif ref.kind in {Kind.S3, Kind.BUCKET}:
        from ocimlpack.stores.bucket import BucketStore

        with bucket(ref.kind, ref.host, access) as objects:
            found = BucketStore(objects, ref.repository, to_write=to_write, report=access.report)
            try:
                yield found
            finally:
                found.close()
    elif ref.kind is Kind.LOCAL:
        yield local_store(ref.repository, create=create)
    elif ref.kind is Kind.LAYOUT:
        yield LayoutStore(_path(ref), create=create)
    elif ref.kind is Kind.FOLDER:
        raise InputError(f"{ref} is a folder, not a place for artifacts{_layout_hint(ref)}")
    else:
        raise UnsupportedError(f"this version can't reach an {ref.kind}: {ref.place}")


def _registry(ref: Reference, access: Access, mirrors: Sequence[Mirror]) -> RegistryStore:
    from ocimlpack.stores.registry import RegistryStore

    registry = session(ref.host, access)
    # A registry that is a mirror of others, as of all that are not named, is none of itself.
    others = [each for each in mirrors if (each.host, each.prefix) != (ref.host, "")]
    if not others:
        return RegistryStore(registry, ref.repository)
    from ocimlpack.stores._oras import Session
    from ocimlpack.stores.mirrors import POLICY, MirroredStore, MirrorSession, Place

    def opened(mirror: Mirror) -> RegistryStore | WebLayout:
        options: dict[str, Any] = {
            "plain_http": mirror.plain_http,
            "insecure": access.insecure,
            "ca_file": mirror.ca_file or access.ca_file,
            "report": access.report,
        }
        if mirror.kind == "registry":
            mirroring = MirrorSession(mirror.host, registry=registry, **options)
            return RegistryStore(mirroring, mirror.prefix + ref.repository)
        from ocimlpack.stores.web_layout import WebLayout

        return WebLayout(
            Session(mirror.host, policy=POLICY, **options), mirror.prefix, ref.repository
        )

    places = [Place(mirror.url, opened(mirror), access.report) for mirror in others]
    return MirroredStore(registry, ref.repository, places, access.report)


def _path(ref: Reference) -> Path:
    return Path(ref.repository).expanduser()


def _layout_hint(ref: Reference) -> str:
    return f" (for an image layout write oci:{ref})"
