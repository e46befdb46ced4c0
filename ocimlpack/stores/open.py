"""From a location to a store: the only factory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ocimlpack.errors import InputError, NotFoundError, UnsupportedError
from ocimlpack.progress import Reporter, ignore
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores import home
from ocimlpack.stores.base import ReadableStore, Store
from ocimlpack.stores.layout import LayoutStore

if TYPE_CHECKING:
    from ocimlpack.stores._oras import Session
    from ocimlpack.stores.credentials import Credential


@dataclass(frozen=True, slots=True)
class Access:
    """How registries are reached.

    Attributes:
        plain_http: speak http; None means to loopback hosts only.
        insecure: do not verify TLS certificates.
        ca_file: a PEM file of authorities to trust instead of the system's.
        report: gets an event for each retry.
    """

    plain_http: bool | None = None
    insecure: bool = False
    ca_file: str | None = None
    report: Reporter = ignore


def locate(text: str) -> Reference:
    """Take a location apart; text that could be a path or a name is a path if there is one."""
    return Reference.parse(text, lambda path: os.path.lexists(os.path.expanduser(path)))


@contextmanager
def reading(ref: Reference, access: Access) -> Iterator[ReadableStore]:
    """The store that a location is in, to read from.

    Raises:
        NotFoundError: there is no such layout or archive.
        UnsupportedError: this version can't reach that kind of place.
    """
    from ocimlpack.stores.archive import ArchiveReader

    if ref.kind is Kind.ARCHIVE:
        yield ArchiveReader(_path(ref))
        return
    with _opened(ref, access, create=False) as store:
        yield store


@contextmanager
def writing(ref: Reference, access: Access, *, create: bool = True) -> Iterator[Store]:
    """The store that a location is in, to write to. An archive is replaced when the block ends.

    Raises:
        NotFoundError: there is no such layout or archive, and none is to be made.
        ConflictError: the place holds something else.
        UnsupportedError: this version can't reach that kind of place.
    """
    from ocimlpack.stores import archive

    if ref.kind is Kind.ARCHIVE:
        if not create and not _path(ref).exists():
            raise NotFoundError(f"no archive at {ref.repository}")
        with archive.rewritten(_path(ref)) as store:
            yield store
        return
    with _opened(ref, access, create=create) as store:
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
    from ocimlpack.stores.credentials import find

    return Session(
        host,
        plain_http=access.plain_http,
        insecure=access.insecure,
        ca_file=access.ca_file,
        report=access.report,
        credential=credential or find,
    )


def local_store(name: str = "", *, create: bool = False) -> LayoutStore:
    """The local store, or one model's part of it.

    Raises:
        NotFoundError: it is absent and not to be made.
    """
    return LayoutStore(home.store(), name=name, create=create)


@contextmanager
def _opened(ref: Reference, access: Access, *, create: bool) -> Iterator[Store]:
    if ref.kind is Kind.REGISTRY:
        from ocimlpack.stores.registry import RegistryStore

        store = RegistryStore(session(ref.host, access), ref.repository)
        try:
            yield store
        finally:
            store.close()
    elif ref.kind is Kind.LOCAL:
        yield local_store(ref.repository, create=create)
    elif ref.kind is Kind.LAYOUT:
        yield LayoutStore(_path(ref), create=create)
    elif ref.kind is Kind.FOLDER:
        raise InputError(f"{ref} is a folder, not a place for artifacts{_layout_hint(ref)}")
    else:
        raise UnsupportedError(f"this version can't reach an {ref.kind}: {ref.place}")


def _path(ref: Reference) -> Path:
    return Path(ref.repository).expanduser()


def _layout_hint(ref: Reference) -> str:
    return f" (for an image layout write oci:{ref})"
