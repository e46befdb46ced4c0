"""The Data Science model catalog: models registered there by their digest, and pulled from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from ocimlpack.app import audit, looking, oracle, places
from ocimlpack.app.options import Connection, Oracle, StrPath
from ocimlpack.app.transfers import Pulled
from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model import card, readers
from ocimlpack.progress import Reporter, Warned, ignore
from ocimlpack.spec.manifest import Manifest
from ocimlpack.spec.reference import Kind
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.verify import read_all
from ocimlpack.transfer import copy as transfer

if TYPE_CHECKING:
    from ocimlpack.cloud.catalog import Catalog, Model
    from ocimlpack.cloud.registration import Registration
    from ocimlpack.spec.descriptor import Descriptor
    from ocimlpack.spec.reference import Reference
    from ocimlpack.stores.base import ReadableStore

_MODEL: Final = {"datasciencemodel": "Data Science model"}
_PROJECT: Final = {"datascienceproject": "Data Science project"}
_COMPARTMENT: Final = {"compartment": "compartment", "tenancy": "tenancy"}
"""Types of OCIDs, and what people call them."""
_INACTIVE: Final = "INACTIVE"
_MAX_TAGS: Final = 64
"""Tags of a repository that are looked up to say which of them stand for the model."""
_MAX_FILE: Final = 1024 * 1024
"""Bytes of a config or a card that is kept with the model in the catalog."""
_CARDS: Final = frozenset({"readme.md"})
_SOURCE: Final = "org.opencontainers.image.source"
_REVISION: Final = "org.opencontainers.image.revision"
_DESCRIPTION: Final = "org.opencontainers.image.description"
_USER: Final = re.compile(r"^(?![a-z+]*ssh:)([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)
"""What stands before the host of an address; over ssh it is no secret."""


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model in the catalog.

    Attributes:
        ocid: its OCID.
        name: what people see.
        project: the project's OCID.
        compartment: the compartment's OCID.
        state: `ACTIVE`, `INACTIVE` or another.
        created: RFC 3339.
        reference: the location that it points at, pinned; None if it points at none.
        digest: the digest; None likewise.
        series: the name of its version set.
        label: its label there.
        description: a sentence or two; None in a list.
        metadata: all metadata; empty in a list.
        is_new: whether it was made just now.
    """

    ocid: str
    name: str
    project: str
    compartment: str
    state: str
    created: str | None
    reference: str | None
    digest: str | None
    series: str | None
    label: str | None
    description: str | None
    metadata: Mapping[str, str]
    is_new: bool = False


def catalog_register(
    reference: str,
    project: str,
    *,
    name: str | None = None,
    description: str | None = None,
    metrics: Mapping[str, str] | None = None,
    version_set: str | None = None,
    source: str | None = None,
    revision: str | None = None,
    **options: Unpack[Connection],
) -> CatalogModel:
    """Put a model into the catalog, or bring up to date what the catalog has of that digest.

    Args:
        reference: the model's location in a registry.
        project: the project's OCID.
        name: what people see; default is the last part of the repository's name, and the tag. A
            model that is there already keeps its name unless another is given; so it is with the
            description, and with the version set in any case.
        description: a sentence; default is the artifact's own.
        metrics: names and values, beside those of the model's card. They replace those that were
            given before.
        version_set: the name of the set that its versions are in; default is the repository's.
        source: the address of the repository that it was made from; default is what the artifact
            says. A user or token in it is left out.
        revision: the commit there; default likewise.
        **options: see `Connection`; `compartment` is the model's, by default the project's.

    Raises:
        InputError: it is in no registry, or something is empty or too long for the catalog.
        NotAllowedError: no such project, or no permission there.
    """
    _check(project, _PROJECT)
    if settled := options.get("compartment"):
        _check(settled, _COMPARTMENT)
    _refuse_empty(
        {
            "name": name,
            "description": description,
            "version set": version_set,
            "source": source,
            "revision": revision,
        }
    )
    ref = places.locate(reference, options)
    if ref.kind is not Kind.REGISTRY:
        raise InputError(
            f"{reference} is in no registry, where others could get it",
            hint=f"push it first: ocimlpack push {reference} HOST/REPO",
        )
    report = options.get("report", ignore)
    with places.found(ref, options) as (store, root):
        tags = _tags(ref, store, root, report)
        found = _entry(ref, store, root, tags, report)
    entry = replace(
        found,
        name=name or found.name,
        is_named=bool(name),
        description=description or found.description,
        is_described=bool(description),
        metrics=metrics or {},
        series=version_set or found.series,
        source=_public(source or found.source),
        revision=revision or found.revision,
    )
    with audit.recording("catalog register", entry.reference, options) as (record, _):
        catalog = _open(options, project)
        record.identity, record.digest = catalog.identity.kind, entry.digest
        where = settled or catalog.compartment_of(project)
        done = catalog.register(entry, where, project)
    if done.left_out:
        report(Warned(f"no room for {done.left_out} of the results in the model's card"))
    if done.model.series not in {None, entry.series}:
        report(
            Warned(
                f"{done.model.name} stays in the version set {done.model.series}, which a model "
                "can't leave"
            )
        )
    _warn_of_state(done.model, report)
    return _described(done.model, done.is_new)


def catalog_list(project: str | None = None, **options: Unpack[Oracle]) -> tuple[CatalogModel, ...]:
    """The models of a project, or without one of a compartment, newest first.

    Raises:
        InputError: there is no project, and no compartment is settled.
    """
    if project is not None:
        _check(project, _PROJECT)
        if where := options.get("compartment"):
            _check(where, _COMPARTMENT)
        catalog = _open(options, project)
        where = where or catalog.compartment_of(project)
        return tuple(_described(each) for each in catalog.models(where, project))
    settled = oracle.compartment(options)
    if settled is None:
        raise InputError(
            "in which project or compartment?",
            hint=f"add --project OCID or --compartment OCID, or set {oracle.COMPARTMENT_VARIABLE}",
        )
    _check(settled, _COMPARTMENT)
    return tuple(_described(each) for each in _open(options).models(settled))


def catalog_show(ocid: str, **options: Unpack[Oracle]) -> CatalogModel:
    """One model of the catalog.

    Raises:
        NotFoundError: there is none that this identity may see.
    """
    return _described(_open(options, _check(ocid, _MODEL)).show(ocid))


def catalog_pull(
    ocid: str,
    output: StrPath | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    force: bool = False,
    durable: bool = False,
    **options: Unpack[Connection],
) -> Pulled:
    """Bring the files of a model that is in the catalog, by the digest that stands there.

    Args:
        ocid: the model's OCID.
        output: the folder; default is the last part of the repository's name, here.
        include: as `pull`.
        exclude: as `pull`.
        force: as `pull`.
        durable: as `pull`.
        **options: see `Connection`.

    Raises:
        InputError: the model was not registered by this program.
    """
    from ocimlpack.app.pulling import pull
    from ocimlpack.cloud.catalog import pinned

    found = _open(options, _check(ocid, _MODEL)).show(ocid)
    reference = pinned(found)
    _warn_of_state(found, options.get("report", ignore))
    return pull(
        reference,
        output,
        include=include,
        exclude=exclude,
        force=force,
        durable=durable,
        **options,
    )


def _open(options: Oracle, ocid: str | None = None) -> Catalog:
    """The catalog of the region that was asked for, or that an OCID names, or that is usual."""
    from ocimlpack.cloud.catalog import Catalog, region_of

    identity = oracle.identity(options)
    named = region_of(ocid) if ocid is not None else None
    return Catalog(identity, options.get("region") or named or oracle.wish(options).region)


def _check(ocid: str, kinds: Mapping[str, str]) -> str:
    if not ocid.startswith(tuple(f"ocid1.{kind}." for kind in kinds)):
        kind, what = next(iter(kinds.items()))
        raise InputError(
            f"not the OCID of a {what}: {ocid!r:.120}", hint=f"it begins with ocid1.{kind}."
        )
    return ocid


def _refuse_empty(texts: Mapping[str, str | None]) -> None:
    """What is empty was to be something: `--revision "$(git rev-parse HEAD)"` outside of git."""
    for what, text in texts.items():
        if text is not None and not text.strip():
            raise InputError(f"the {what} is empty", hint="leave it out, or say what it is")


def _public(address: str | None) -> str | None:
    """An address without a user or token, which checkouts of pipelines often have in it."""
    return _USER.sub(r"\1", address, count=1) if address else None


def _warn_of_state(model: Model, report: Reporter) -> None:
    if model.state == _INACTIVE:
        report(Warned(f"{model.name} is not active in the catalog: somebody has deactivated it"))


def _tags(
    ref: Reference, store: ReadableStore, root: Descriptor, report: Reporter
) -> tuple[str, ...]:
    """The tags that stand for the model, the one that was named first."""
    tags = places.tags_of(store, root, _MAX_TAGS, report)
    if ref.tag is None:
        return tags
    # Of a repository with many tags they are not looked up, but this one was; unless a digest was
    # named as well, which decides.
    is_right = ref.digest is None or ref.tag in tags
    return (*((ref.tag,) if is_right else ()), *(tag for tag in tags if tag != ref.tag))


def _entry(
    ref: Reference,
    store: ReadableStore,
    root: Descriptor,
    tags: tuple[str, ...],
    report: Reporter,
) -> Registration:
    """What the artifact says of itself."""
    from ocimlpack.cloud.registration import Registration

    node = read_manifest(store, root)
    files = {"manifest.json": node.raw}
    artifact_type, readme = node.artifact_type or root.media_type, None
    model: Mapping[str, Any] = {}
    if isinstance(node, Manifest):
        artifact_type = node.artifact_type or node.config.media_type
    if manifest := looking.model_in(store, node):
        config = readers.config_of(store, manifest)
        model = readers.fields_of(store, manifest)
        if len(config) <= _MAX_FILE:
            files["config.json"] = config
        readme = _card(store, manifest)
        if readme is not None:
            files["README.md"] = readme
    results, library, task = _said(readme, report)
    short = ref.repository.rpartition("/")[2]
    annotations = node.annotations
    return Registration(
        name=f"{short}:{tags[0]}" if tags else short,
        reference=places.pinned(ref, root),
        digest=str(root.digest),
        artifact_type=artifact_type,
        size=transfer.plan(store, root).total,
        tags=tags,
        series=ref.repository,
        description=annotations.get(_DESCRIPTION) or _text(model, "description") or "",
        results=results,
        library=library,
        task=task,
        source=annotations.get(_SOURCE) or _text(model, "sourceURL"),
        revision=annotations.get(_REVISION) or _text(model, "revision"),
        files=files,
    )


def _card(store: ReadableStore, manifest: Manifest) -> bytes | None:
    for member in readers.understand(store, manifest).members:
        if member.path.lower() in _CARDS and member.encoding == "raw":
            desc = member.desc
            return read_all(store.fetch(desc), desc) if desc.size <= _MAX_FILE else None
    return None


def _said(
    readme: bytes | None, report: Reporter
) -> tuple[Mapping[str, str], str | None, str | None]:
    """The results, the library and the task that a card tells of."""
    if readme is None:
        return {}, None, None
    text = readme.decode(errors="replace")
    try:
        return card.read_metrics(text), *card.read_taxonomy(text)
    except InvalidContentError as error:
        report(Warned(f"what the model card says is left out: {error.message}"))
        return {}, None, None


def _text(model: Mapping[str, Any], field: str) -> str | None:
    value = model.get(field)
    return value if isinstance(value, str) else None


def _described(model: Model, is_new: bool = False) -> CatalogModel:
    values: dict[str, Any] = {
        name: getattr(model, name) for name in CatalogModel.__annotations__ if name != "is_new"
    }
    values["created"] = model.created.isoformat(timespec="seconds") if model.created else None
    return CatalogModel(**values, is_new=is_new)
