"""The Data Science model catalog: models registered there by their digest, and pulled from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Unpack

from ocimlpack.app import audit, oracle, places
from ocimlpack.app.options import Connection, Oracle, StrPath
from ocimlpack.app.results import Pulled
from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model import card
from ocimlpack.model.artifact import members
from ocimlpack.progress import Warned, ignore
from ocimlpack.spec.manifest import Manifest
from ocimlpack.spec.reference import Kind
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.verify import read_all

if TYPE_CHECKING:
    from ocimlpack.cloud.catalog import Catalog, Model, Registration
    from ocimlpack.spec.descriptor import Descriptor
    from ocimlpack.spec.reference import Reference
    from ocimlpack.stores.base import ReadableStore

_MAX_TAGS: Final = 64
_MAX_FILE: Final = 1024 * 1024
"""Bytes of a config or a card that is kept with the model in the catalog."""
_CARDS: Final = frozenset({"readme.md"})
_SOURCE: Final = "org.opencontainers.image.source"
_REVISION: Final = "org.opencontainers.image.revision"
_DESCRIPTION: Final = "org.opencontainers.image.description"


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
        metadata: all custom metadata.
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
    metadata: Mapping[str, str]
    is_new: bool = False


def catalog_register(
    reference: str,
    project: str,
    *,
    name: str | None = None,
    description: str | None = None,
    metrics: Mapping[str, str] | None = None,
    **options: Unpack[Connection],
) -> CatalogModel:
    """Put a model into the catalog, or bring up to date what the catalog has of that digest.

    Args:
        reference: the model's location in a registry.
        project: the project's OCID.
        name: what people see; default is the last part of the repository's name, and the tag.
        description: a sentence; default is the artifact's own.
        metrics: names and values, beside those of the model's card.
        **options: see `Connection`; `compartment` is the model's.

    Raises:
        InputError: it is in no registry, or no compartment is settled.
        NotAllowedError: no such project, or no permission there.
    """
    ref = places.locate(reference, options)
    if ref.kind is not Kind.REGISTRY:
        raise InputError(
            f"{reference} is in no registry, where others could get it",
            hint=f"push it first: ocimlpack push {reference} HOST/REPO",
        )
    where = oracle.compartment(options)
    if where is None:
        raise InputError(
            "in which compartment is it to be registered?",
            hint=f"add --compartment OCID, or set {oracle.COMPARTMENT_VARIABLE}",
        )
    with places.found(ref, options) as (store, root):
        tags = places.tags_of(store, root, _MAX_TAGS, options.get("report", ignore))
        if ref.tag and ref.tag in tags:
            tags = (ref.tag, *(each for each in tags if each != ref.tag))
        entry = _entry(ref, store, root, tags, name, description, metrics or {}, options)
    with audit.recording("catalog register", entry.reference, options) as (record, _):
        catalog = _open(options)
        record.identity, record.digest = catalog.identity.kind, entry.digest
        model, is_new = catalog.register(entry, where, project)
    return _described(model, is_new)


def catalog_list(project: str | None = None, **options: Unpack[Oracle]) -> tuple[CatalogModel, ...]:
    """The models in a compartment, or of one project there, newest first.

    Raises:
        InputError: no compartment is settled.
    """
    where = oracle.compartment(options)
    if where is None:
        raise InputError(
            "in which compartment?",
            hint=f"add --compartment OCID, or set {oracle.COMPARTMENT_VARIABLE}",
        )
    return tuple(_described(each) for each in _open(options).models(where, project))


def catalog_show(ocid: str, **options: Unpack[Oracle]) -> CatalogModel:
    """One model of the catalog.

    Raises:
        NotFoundError: there is none that this identity may see.
    """
    return _described(_open(options).show(_checked(ocid)))


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

    reference = pinned(_open(options).show(_checked(ocid)))
    return pull(
        reference,
        output,
        include=include,
        exclude=exclude,
        force=force,
        durable=durable,
        **options,
    )


def _open(options: Oracle) -> Catalog:
    from ocimlpack.cloud.catalog import Catalog

    return Catalog(oracle.identity(options), oracle.wish(options).region)


def _checked(ocid: str) -> str:
    if not ocid.startswith("ocid1.datasciencemodel."):
        raise InputError(
            f"not a model's OCID: {ocid!r:.120}", hint="ocimlpack catalog list shows them"
        )
    return ocid


def _entry(
    ref: Reference,
    store: ReadableStore,
    root: Descriptor,
    tags: tuple[str, ...],
    name: str | None,
    description: str | None,
    metrics: Mapping[str, str],
    options: Connection,
) -> Registration:
    from ocimlpack.cloud.catalog import Registration

    node = read_manifest(store, root)
    files = {"manifest.json": read_all(store.fetch(root), root)}
    size, artifact_type, readme = root.size, "", None
    annotations: Mapping[str, str] = node.annotations
    if isinstance(node, Manifest):
        size += sum({each.digest: each.size for each in node.children}.values())
        artifact_type = node.artifact_type or node.config.media_type
        if node.config.size <= _MAX_FILE:
            files["config.json"] = read_all(store.fetch(node.config), node.config)
        readme = _card(store, node)
        if readme is not None:
            files["README.md"] = readme
    short = ref.repository.rpartition("/")[2]
    return Registration(
        name=name or (f"{short}:{tags[0]}" if tags else short),
        reference=places.pinned(ref, root),
        digest=str(root.digest),
        artifact_type=artifact_type,
        size=size,
        tags=tags,
        series=ref.repository,
        description=description or annotations.get(_DESCRIPTION, ""),
        metrics={**_metrics(readme, options), **metrics},
        source=annotations.get(_SOURCE),
        revision=annotations.get(_REVISION),
        files=files,
    )


def _card(store: ReadableStore, manifest: Manifest) -> bytes | None:
    for member in members(manifest):
        if member.path.lower() in _CARDS and member.desc.size <= _MAX_FILE:
            return read_all(store.fetch(member.desc), member.desc)
    return None


def _metrics(readme: bytes | None, options: Connection) -> dict[str, str]:
    if readme is None:
        return {}
    try:
        return card.read_metrics(readme.decode(errors="replace"))
    except InvalidContentError as error:
        options.get("report", ignore)(
            Warned(f"the model card's metrics are left out: {error.message}")
        )
        return {}


def _described(model: Model, is_new: bool = False) -> CatalogModel:
    values: dict[str, Any] = {
        name: getattr(model, name) for name in CatalogModel.__annotations__ if name != "is_new"
    }
    values["created"] = model.created.isoformat(timespec="seconds") if model.created else None
    return CatalogModel(**values, is_new=is_new)
