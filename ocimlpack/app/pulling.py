"""Models to where they are used: a folder, a stream, or a cached folder for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Unpack

from ocimlpack.app import fallback, places
from ocimlpack.app.fallback import Known
from ocimlpack.app.options import Connection, StrPath
from ocimlpack.app.transfers import Pulled
from ocimlpack.errors import InputError, UnsupportedError
from ocimlpack.model import readers, receipt
from ocimlpack.model.artifact import Member
from ocimlpack.model.names import selector
from ocimlpack.model.readers import Content
from ocimlpack.model.unpack import Folder
from ocimlpack.progress import Began, Ended, Event, Moved, Planned, Reporter, Warned, ignore
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.reference import Kind, Reference
from ocimlpack.stores import home
from ocimlpack.stores import open as stores
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.verify import chunks
from ocimlpack.transfer import copy as transfer


def pull(
    reference: str,
    output: StrPath | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    force: bool = False,
    durable: bool = False,
    **options: Unpack[Connection],
) -> Pulled:
    """Bring a model's files into a folder, each verified before it gets its name there.

    Args:
        reference: the model's location.
        output: the folder; default is the last part of the repository's name, here.
        include: glob patterns; only files that match one are brought.
        exclude: glob patterns; files that match one are left out.
        force: replace a folder that holds something else, once all is verified.
        durable: return only when all is on disk. Else a machine that loses its power in the next
            half minute may lose files, which `verify` finds and another pull brings again.
        **options: see `Connection`.

    Raises:
        ConflictError: the folder holds something that is not from a pull.
        InvalidContentError: the artifact names files in a way that is not safe.
    """
    ref = places.locate(reference, options)
    destination = Path(output) if output is not None else Path(_default_folder(ref))

    def work(place: Reference, known: Known, how: Connection) -> Pulled:
        return _pull(place, known, destination, include, exclude, force, durable, how)

    return fallback.reading(ref, options, work)


def _pull(
    ref: Reference,
    known: Known,
    destination: Path,
    include: Sequence[str],
    exclude: Sequence[str],
    force: bool,
    durable: bool,
    options: Connection,
) -> Pulled:
    report = options.get("report", ignore)
    with places.found(ref, options) as (store, root):
        known.digest = root.digest
        manifest = readers.manifest_in(store, root)
        content = readers.understand(store, manifest)
        warn(content, report)
        report = _naming(content, report)
        pinned = places.pinned(ref, root)
        with Folder(
            destination,
            manifest,
            content.members,
            reference=pinned,
            include=include,
            exclude=exclude,
            force=force,
            durable=durable,
            near=store.path / "index.json" if isinstance(store, LayoutStore) else None,
            jobs=places.jobs(options),
            report=report,
        ) as folder:
            done = transfer.copy(
                store,
                manifest.descriptor,
                folder,
                jobs=places.jobs(options),
                report=report,
                wanted=folder.wants,
                action="pulling",
            )
            path = folder.commit()
    return Pulled(
        path=str(path),
        reference=pinned,
        digest=str(root.digest),
        files=len(folder.files),
        size=sum(size for _, size in folder.files),
        moved=done.moved,
        kept=folder.kept,
        fallback=known.fallback,
        format=content.format,
        notes=content.notes,
    )


def read_file(
    reference: str,
    stream: BinaryIO,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    **options: Unpack[Connection],
) -> Pulled:
    """Write one file of a model to a stream.

    The last bytes are only written when all of them are known to be right: a reader that was given
    wrong ones sees the stream end early.

    Args:
        reference: the model's location.
        stream: where the bytes go.
        include: glob patterns; with `exclude` they have to leave one file.
        exclude: glob patterns.
        **options: see `Connection`.

    Raises:
        InputError: several files, or none, are selected.
    """
    ref = places.locate(reference, options)
    report = options.get("report", ignore)
    with places.found(ref, options) as (store, root):
        content = readers.understand(store, readers.manifest_in(store, root))
        warn(content, report)
        member = _only(content.members, include, exclude)
        report(Planned("pulling", 1, member.desc.size))
        report(Began(member.path, member.desc.size))
        done = 0
        with store.fetch(member.desc).open() as source:
            held = b""
            for chunk in chunks(source, member.desc):
                stream.write(held)
                held = chunk
                done += len(chunk)
                report(Moved(member.path, done))
            stream.write(held)
        stream.flush()
        report(Ended(member.path, member.desc.size, "moved"))
    return Pulled(
        path=member.path,
        reference=places.pinned(ref, root),
        digest=str(root.digest),
        files=1,
        size=member.desc.size,
        moved=member.desc.size,
        kept=0,
        format=content.format,
        notes=content.notes,
    )


def resolve(reference: str, *, cache: StrPath | None = None, **options: Unpack[Connection]) -> Path:
    """The folder of a model's files, brought here if it isn't yet: for programs that load models.

    The folder is named after the digest and shared by all that ask for it: read it, don't change
    it. A reference with a digest that is here already needs no connection.

    Args:
        reference: the model's location.
        cache: where such folders are kept; default is in the user's data folder.
        **options: see `Connection`.
    """
    ref = stores.locate(reference)
    root = Path(cache) if cache is not None else home.models()
    digest = ref.digest
    if digest is None:
        ref = places.locate(reference, options)
        digest = fallback.reading(ref, options, _digest)
    path = root / digest.algorithm / digest.hex
    if receipt.holds(path, digest):
        return path
    # On disk before it is handed out: nobody verifies it again after a loss of power.
    pull(str(ref.at(digest)), path, durable=True, **options)
    return path


def _digest(ref: Reference, _: Known, options: Connection) -> Digest:
    with places.found(ref, options) as (_store, desc):
        return desc.digest


def warn(content: Content, report: Reporter) -> None:
    """Say what was guessed or left out when an artifact was understood."""
    for note in content.notes:
        report(Warned(note))


def _naming(content: Content, report: Reporter) -> Reporter:
    """A reporter that calls layers what they are, where their descriptors have no name."""
    shown = {str(each.desc.digest): each.shown or each.path for each in content.members}
    names = {digest: name for digest, name in shown.items() if name != "."}

    def told(event: Event) -> None:
        if isinstance(event, Began | Moved | Ended) and (name := names.get(event.name)):
            event = replace(event, name=name)
        report(event)

    return told


def _only(found: Sequence[Member], include: Sequence[str], exclude: Sequence[str]) -> Member:
    selected = selector(include, exclude)
    chosen = [member for member in found if selected(member.path)]
    if not chosen and all(member.encoding != "raw" for member in found):
        raise UnsupportedError("its files are stored in archives; pull it into a folder")
    if len(chosen) != 1:
        names = ", ".join(member.path for member in (chosen or found)[:8])
        raise InputError(
            f"one file goes to a stream; {len(chosen)} are selected",
            hint=f"choose one with --include: {names}{', …' if len(chosen or found) > 8 else ''}",
        )
    if chosen[0].encoding != "raw":
        raise UnsupportedError(f"{chosen[0].path} is stored as an archive; pull it into a folder")
    return chosen[0]


def _default_folder(ref: Reference) -> str:
    name = Path(ref.repository).name
    return name.removesuffix(".tar") if ref.kind is Kind.ARCHIVE else name
