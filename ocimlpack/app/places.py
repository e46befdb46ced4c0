"""From what a caller wrote to a place: what functions that open locations have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ocimlpack.app.options import Connection, Oracle, StrPath
from ocimlpack.errors import ConflictError, InputError, NotFoundError, UnavailableError
from ocimlpack.progress import Reporter, Warned, ignore
from ocimlpack.retry import DEFAULT, Policy
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.reference import DEFAULT_TAG, Kind, Reference
from ocimlpack.stores import open as stores
from ocimlpack.stores.base import ReadableStore, Store, TagLister, capability
from ocimlpack.stores.layout_reader import LayoutReader
from ocimlpack.stores.settings import Mirror

if TYPE_CHECKING:
    from ocimlpack.stores.objects.base import Objects
    from ocimlpack.stores.tokens import RequestSigner

DEFAULT_JOBS = 4

Opened = TypeVar("Opened", bound=ReadableStore)


def access(options: Connection) -> stores.Access:
    """How registries are reached, from a function's options.

    Raises:
        InputError: a mirror's address is none.
    """
    ca_file = options.get("ca_file")
    return stores.Access(
        plain_http=options.get("plain_http"),
        insecure=options.get("insecure", False),
        ca_file=os.fspath(ca_file) if ca_file else None,
        mirrors=tuple(Mirror.parse(url) for url in options.get("mirrors", ())),
        report=options.get("report", ignore),
        policy=_policy(options),
        signer=partial(_signer_for, options=options),
        objects=partial(_objects, options=options),
        signs_first=bool(options.get("profile")) or options.get("auth") not in (None, "auto"),
    )


def _policy(options: Connection) -> Policy | None:
    patience = options.get("patience")
    return None if patience is None else replace(DEFAULT, total=patience)


def _signer_for(host: str, options: Oracle) -> RequestSigner | None:
    from ocimlpack.app import oracle

    return oracle.signer_for(host, options)


def _objects(name: str, options: Connection) -> Objects:
    from ocimlpack.app import oracle

    return oracle.objects(name, options)


def locate(text: str, options: Oracle) -> Reference:
    """Take a location apart; one in OCIR becomes one of a registry, which may take a request.

    Raises:
        NotAllowedError: there is no identity to look the namespace up with.
    """
    ref = stores.locate(text)
    if ref.kind is not Kind.OCIR:
        return ref
    from ocimlpack.app import oracle

    return oracle.located(ref, options)


def jobs(options: Connection) -> int:
    """How many things are done at a time.

    Raises:
        InputError: not a positive number.
    """
    count = options.get("jobs", DEFAULT_JOBS)
    if count < 1:
        raise InputError(f"jobs is {count}; it takes at least 1")
    return count


def source(given: StrPath, options: Oracle) -> Reference:
    """Where something comes from: a path object is always a folder, text is a location."""
    if isinstance(given, str):
        return locate(given, options)
    return Reference(Kind.FOLDER, "", os.fspath(given))


def folder(ref: Reference) -> Path:
    """The path that a location of the kind FOLDER means.

    Raises:
        InputError: it is an image layout, which is a location of another form.
    """
    path = Path(ref.repository).expanduser()
    if (path / "oci-layout").is_file() and (path / "index.json").is_file():
        raise InputError(
            f"{path} is an image layout, not a model's folder", hint=f"write oci:{ref.repository}"
        )
    return path


@contextmanager
def found(
    ref: Reference, options: Connection, *, mirrored: bool = True
) -> Iterator[tuple[ReadableStore, Descriptor]]:
    """Open the place of a reference to read, and resolve the reference there.

    Where both are written, the digest decides, and a tag that stands for something else is
    reported. A layout or an archive that holds one manifest needs neither.

    Args:
        ref: the reference.
        options: how registries are reached.
        mirrored: whether a registry's content may come from its mirrors.

    Raises:
        NotFoundError: the place, the tag or the digest is not there.
    """
    if ref.kind is Kind.FOLDER:
        path = folder(ref)
        if not path.is_dir():
            raise NotFoundError(f"no such folder: {path}")
        raise InputError(
            f"{path} is a folder; this takes a packed model",
            hint=f"pack it first: ocimlpack pack {ref.repository} -t NAME",
        )
    opened = stores.reading(ref, access(options), mirrored=mirrored)
    with _hinted(ref, options, "read"), _located(opened, ref, options) as located:
        yield located


@contextmanager
def changing(ref: Reference, options: Connection) -> Iterator[tuple[Store, Descriptor]]:
    """The same to write, by one connection; the place is not made where it is absent.

    Raises:
        NotFoundError: the place, the tag or the digest is not there.
    """
    opened = stores.writing(ref, access(options), create=False)
    with _hinted(ref, options, "manage"), _located(opened, ref, options) as located:
        yield located


@contextmanager
def reading(ref: Reference, options: Connection) -> Iterator[ReadableStore]:
    """The store of a place to read from, nothing resolved there."""
    with _hinted(ref, options, "read"), stores.reading(ref, access(options)) as store:
        yield store


@contextmanager
def writing(
    ref: Reference, options: Connection, readme: Callable[[], str | None] = lambda: None
) -> Iterator[Store]:
    """The store of a destination, made where it is absent.

    Args:
        ref: the destination.
        options: how registries are reached.
        readme: reads what is shown with a repository that has to be made.

    Raises:
        OcimlpackError: as `stores.open.writing` says.
    """
    with _hinted(ref, options, "manage"):
        if _is_ocir(ref):
            from ocimlpack.app import oracle

            oracle.provide(ref, options, readme, options.get("report", ignore))
        with stores.writing(ref, access(options)) as store:
            yield store


def _is_ocir(ref: Reference) -> bool:
    if ref.kind is not Kind.REGISTRY:
        return False
    from ocimlpack.cloud import hosts

    return hosts.is_ocir(ref.host)


@contextmanager
def _hinted(ref: Reference, options: Oracle, verb: str) -> Iterator[None]:
    """Say what helps, where Oracle Cloud's registry refuses something that takes that verb."""
    if not _is_ocir(ref):
        yield
        return
    from ocimlpack.app import oracle

    with oracle.hinted(ref, options, verb):
        yield


@contextmanager
def _located(
    opened: AbstractContextManager[Opened], ref: Reference, options: Connection
) -> Iterator[tuple[Opened, Descriptor]]:
    with ExitStack() as stack:
        try:
            store = stack.enter_context(opened)
            root = _resolve(store, ref)
        except NotFoundError as error:
            raise _explained(error, ref) from error
        if ref.digest and ref.tag:
            _check_tag(store, ref, options)
        yield store, root


def _resolve(store: ReadableStore, ref: Reference) -> Descriptor:
    bare = ref.tag is None and ref.digest is None
    if bare and ref.kind in {Kind.LAYOUT, Kind.ARCHIVE} and isinstance(store, LayoutReader):
        entries = {entry.desc.digest: entry.desc for entry in store.entries()}
        if len(entries) == 1:
            return next(iter(entries.values())).plain
    return store.resolve(ref.name)


def _check_tag(store: ReadableStore, ref: Reference, options: Connection) -> None:
    report = options.get("report", ignore)
    try:
        stands_for = str(store.resolve(ref.tag or DEFAULT_TAG).digest)
    except NotFoundError:
        stands_for = "nothing"
    except UnavailableError as error:
        # What the digest names was found: in a mirror, while the registry is down.
        report(Warned(f"the tag {ref.tag} can't be checked: {error.message}; the digest decides"))
        return
    if stands_for != str(ref.digest):
        report(Warned(f"the tag {ref.tag} stands for {stands_for} now; the digest decides"))


def _explained(error: NotFoundError, ref: Reference) -> NotFoundError:
    """Say it of the name, where the local store lacks it: it may have meant something else."""
    if ref.kind is not Kind.LOCAL:
        return error
    name = ref.repository
    if Path(name).is_dir():
        hint = f"to mean the folder of that name, write ./{name}"
    else:
        hint = "ocimlpack ls shows what there is; a registry is written HOST/REPOSITORY"
    return NotFoundError(f"no {ref} in the local store", hint=hint, digest=error.digest)


def targets(ref: Reference, tags: tuple[str, ...]) -> tuple[Reference, ...]:
    """The tagged locations that a destination and further tags mean; none where a digest pins it.

    The destination's own tag comes first. With neither, it is `latest`, as for container images.

    Raises:
        InvalidReferenceError: one is no tag.
    """
    if ref.kind is Kind.FOLDER:
        raise InputError(
            f"{ref} is a folder, not a place for artifacts",
            hint=f"for an image layout there, write oci:{ref.repository}",
        )
    names = ([ref.tag] if ref.tag else []) + list(tags)
    if not names and ref.digest is None:
        names = [DEFAULT_TAG]
    return tuple(ref.tagged(name) for name in dict.fromkeys(names))


def check_pin(ref: Reference, desc: Descriptor) -> None:
    """Refuse to send something to a location that is pinned to something else.

    Raises:
        ConflictError: it has another digest.
    """
    if ref.digest and ref.digest != desc.digest:
        raise ConflictError(
            f"the destination names {ref.digest}, but this is {desc.digest}",
            hint="leave the digest out of the destination",
            digest=str(desc.digest),
        )


def pinned(ref: Reference, desc: Descriptor) -> str:
    """The location with nothing but the digest behind it."""
    return str(replace(ref, tag=None, digest=desc.digest))


def tags_of(
    store: ReadableStore, desc: Descriptor, limit: int, report: Reporter = ignore
) -> tuple[str, ...]:
    """The tags that stand for a manifest, where the store lists tags and there are not too many.

    Each tag of a registry has to be resolved by a request of its own, hence the limit.
    """
    if isinstance(store, LayoutReader):
        return tuple(store.tags_of(desc))
    lister = capability(store, TagLister)
    if lister is None:
        return ()
    try:
        names = lister.tags()
        if len(names) > limit:
            return ()
        return tuple(name for name in names if store.resolve(name).digest == desc.digest)
    except UnavailableError as error:
        # The manifest was found all the same: in a mirror, while the registry is down.
        report(Warned(f"the tags are not known: {error.message}"))
        return ()
