"""Models from a hub to a store, file by file: none of them is ever whole on the disk in between."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Final, Unpack

from ocimlpack.app import converting, lineage, moving, places
from ocimlpack.app.options import Connection, Importing
from ocimlpack.app.transfers import Transferred
from ocimlpack.errors import InputError, blaming
from ocimlpack.model import metadata, repository
from ocimlpack.model import pack as packing
from ocimlpack.model.formats import HEAD
from ocimlpack.model.names import selector
from ocimlpack.model.options import Said, found_metadata, named_metadata
from ocimlpack.model.recipe import selecting
from ocimlpack.model.tree import Entry
from ocimlpack.progress import Began, Ended, Planned, Reporter, Warned, ignore
from ocimlpack.spec.reference import Reference
from ocimlpack.stores import hub
from ocimlpack.stores.hub import SCHEME, HubModel
from ocimlpack.transfer import pool

_NAME: Final = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?(@[\w./-]{1,200})?", re.ASCII)

_FIRST: Final = 8 * HEAD
"""Bytes of each large file that are fetched to see what it is; most headers are in them."""


@dataclass(frozen=True, slots=True)
class Imported(Transferred):
    """What an import did.

    Attributes:
        source: the model's page at the hub.
        revision: the commit that was imported.
    """

    source: str = ""
    revision: str = ""


def import_model(
    source: str,
    destination: str,
    *,
    tags: Sequence[str] = (),
    endpoint: str | None = None,
    dry_run: bool = False,
    **options: Unpack[Importing],
) -> Imported:
    """Bring a model from the Hugging Face Hub to a registry or any other place, as an artifact.

    It is what packing a downloaded copy would make, with where it came from recorded beside that.

    Args:
        source: `hf:ORG/NAME[@REVISION]`; the revision is a branch, a tag or a commit.
        destination: where to; `latest` if it has neither tag nor digest and `tags` is empty.
        tags: further tags for it.
        endpoint: the hub's address; default is `$HF_ENDPOINT`, or the public hub.
        dry_run: only say what would be done. Large files are not fetched for that either, unless
            they become parts of an image.
        **options: see `Describing` and `Connection`.

    Raises:
        UnsupportedError: the hub's library is not installed.
        NotFoundError: there is no such model or revision, or not for whoever asks.
        NotAllowedError: the model is gated, or the token is refused.
        ConflictError: the destination is pinned to another digest.
    """
    name, revision = _parse(source)
    ref = places.locate(destination, options)
    places.targets(ref, tuple(tags))  # a bad destination is said before anything is fetched
    written = moving.written_as(options) or converting.Format()
    with (
        blaming("source"),
        hub.opened(name, revision, endpoint, places.access(options)) as model,
    ):
        planned = _plan(model, options)

        def send(place: Reference, how: Connection) -> Transferred:
            with blaming("destination"):
                return converting.write(
                    planned,
                    place,
                    tuple(tags),
                    written,
                    dry_run,
                    how,
                    "importing",
                    readme=partial(_readme, model),
                )

        done = send(ref, options) if dry_run else moving.recorded("import", ref, options, send)
        known = {each.name: getattr(done, each.name) for each in fields(done)}
        return Imported(**known, source=model.page, revision=model.commit)


def _readme(model: HubModel) -> str | None:
    """The model card, to be shown with a repository that is made for the model."""
    for name in moving.CARDS:
        if name in model.files:
            with blaming("source"):
                return _small(model, name).decode("utf-8", "replace")
    return None


def _parse(source: str) -> tuple[str, str]:
    """The model's name and the revision."""
    text = source.removeprefix(SCHEME)
    if text == source or text.startswith("/"):
        name = text.removeprefix("//")
        raise InputError(
            f"not a model at a hub: {source!r:.120} (expected hf:ORG/NAME[@REVISION])",
            hint=f"write {SCHEME}{name}"
            if _NAME.fullmatch(name)
            else "`push` and `copy` take what is elsewhere",
        )
    name, at, revision = text.partition("@")
    if at and not revision:
        raise InputError(f"{source!r:.120} names no revision behind its '@'")
    return name, revision or hub.DEFAULT_REVISION


def _plan(model: HubModel, options: Importing) -> packing.Plan:
    """What the model becomes; its large files are still at the hub."""
    given = moving.described(options)
    terms = packing.Terms.of(given)
    wanted = selector(given.include, given.exclude)
    jobs, report = places.jobs(options), options.get("report", ignore)
    said = _said(model, given)
    wanted = selecting(said.about.recipe, wanted)
    names = repository.select(model.files, wanted, lambda name: _small(model, name))
    if given.file is None:
        names.pop(said.path or "", None)  # it is read, and not packed
    entries = _entries(model, names, jobs, report)
    plan = packing.compose(entries, said, given, terms, f"{SCHEME}{model.name}")
    for warning in plan.warnings:
        report(Warned(warning))
    return lineage.recorded(plan, options)


def _said(model: HubModel, given: packing.Options) -> Said:
    """What a metadata file says, with where the model came from."""
    if given.file is not None:
        said = named_metadata(given.file)
    else:

        def look(name: str) -> bytes | None:
            return _small(model, name) if name in model.files else None

        said = found_metadata(look, Path(f"{SCHEME}{model.name}"))
    origin = {"sourceURL": model.page, "revision": model.commit}
    return replace(said, about=replace(said.about, fields={**origin, **said.about.fields}))


def _small(model: HubModel, name: str) -> bytes:
    """A file that says something of the others."""
    return model.content(name).head(metadata.MAX_SIZE + 1)


def _entries(model: HubModel, names: Mapping[str, str], jobs: int, report: Reporter) -> list[Entry]:
    """The files, as far as they have to be read to see what they are."""
    sizes = {name: model.files[name].size or 0 for name in names.values()}
    report(Planned("reading", len(sizes), sum(min(size, _FIRST) for size in sizes.values())))

    def reading(path: str, name: str) -> pool.Task[Entry]:
        def task(stop: pool.Stop) -> Entry:
            stop.check()
            size = min(sizes[name], _FIRST)
            report(Began(path, size))
            content = model.content(name)
            content.head(_FIRST)
            report(Ended(path, size, "hashed"))
            return Entry(path, content, content.digest)

        return task

    return pool.run([reading(path, name) for path, name in names.items()], jobs)
