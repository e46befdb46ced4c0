"""The Data Science model catalog: models that point at a digest in a registry.

https://docs.oracle.com/en-us/iaas/data-science/using/models-about.htm

The catalog knows no reference to a registry of its own, so it is metadata: what a model is found
again by is its digest, in a tag, which is the only thing that comes with a list of models.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from ocimlpack._version import __version__
from ocimlpack.cloud import _sdk
from ocimlpack.cloud.signers import Identity
from ocimlpack.errors import (
    ConflictError,
    InputError,
    InvalidContentError,
    NotAllowedError,
    NotFoundError,
)

_CLIENT: Final = "data_science.DataScienceClient"
DIGEST_TAG: Final = "ocimlpack-digest"
_REFERENCE: Final = "ociReference"
_DIGEST: Final = "ociDigest"
_TYPE: Final = "ociArtifactType"
_SIZE: Final = "ociSizeInBytes"
_TAGS: Final = "ociTags"
_VERSION: Final = "ocimlpackVersion"
_METRIC: Final = "metric."
_OTHER: Final = "Other"
_PERFORMANCE: Final = "Performance"

_MAX_NAME: Final = 255
_MAX_VALUE: Final = 255
"""Characters; the limits of the Console's forms, which are the narrowest that are documented."""
_MAX_METADATA: Final = 32_000
"""Bytes of all metadata of a model."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can have: the same content makes the same archive."""
_TURNS: Final = 3
_GONE: Final = frozenset({"DELETED", "DELETING", "FAILED"})


@dataclass(frozen=True, slots=True)
class Registration:
    """What is to stand in the catalog.

    Attributes:
        name: what people see.
        reference: the model's location, pinned to its digest.
        digest: the digest.
        artifact_type: what sort of artifact it is.
        size: bytes of all its content.
        tags: the tags that stand for it; the first is the label of the version.
        series: the name of the set that its versions are in.
        description: a sentence or two.
        metrics: names and values.
        source: where its source is: a repository's address.
        revision: the commit there.
        files: name → content of what is kept beside it: the manifest, the config, the card.
    """

    name: str
    reference: str
    digest: str
    artifact_type: str
    size: int
    tags: tuple[str, ...] = ()
    series: str = ""
    description: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    revision: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """A model in the catalog.

    Attributes:
        ocid: its OCID.
        name: what people see.
        project: the project's OCID.
        compartment: the compartment's OCID.
        state: `ACTIVE`, `INACTIVE` or another.
        created: when it was registered.
        reference: the pinned location; None if it wasn't registered by this program.
        digest: the digest; None likewise.
        series: the name of its version set, if it is in one.
        label: its label there.
        metadata: all custom metadata.
    """

    ocid: str
    name: str
    project: str
    compartment: str
    state: str
    created: datetime | None
    reference: str | None
    digest: str | None
    series: str | None
    label: str | None
    metadata: Mapping[str, str]


class Catalog:
    """One region's model catalog."""

    def __init__(self, identity: Identity, region: str | None = None) -> None:
        self.identity = identity
        self._client = identity.client(_CLIENT, region)
        self._models = _sdk.module("data_science.models")

    def register(self, entry: Registration, compartment: str, project: str) -> tuple[Model, bool]:
        """Put a model into the catalog, or bring up to date what is there of it.

        Somebody else may do the same now, and an answer may be lost after its request was carried
        out: then what is there is looked at again.

        Returns:
            The model, and whether it is new.

        Raises:
            NotAllowedError: no such project or compartment, or no permission there.
            InputError: the metadata is too large.
        """
        for _ in range(_TURNS):
            try:
                return self._register(entry, compartment, project)
            except ConflictError:
                continue
        return self._register(entry, compartment, project)

    def _register(self, entry: Registration, compartment: str, project: str) -> tuple[Model, bool]:
        series = self._series(entry, compartment, project) if entry.series else None
        details = self._details(entry, series)
        found = self._find(entry.digest, compartment, project)
        with _sdk.explained(f"the model {entry.name} in that project", NotAllowedError):
            if found is None:
                found, is_new = self._create(entry, details, compartment, project), True
            else:
                is_new = False
                self._update(found, details)
            if series is not None and entry.tags:
                self._free_label(series, entry.tags[0], found, compartment, project)
                self._label(found, series, entry.tags[0])
            self._attach(found, entry)
            self._trace(found, entry)
        return self.show(found), is_new

    def models(self, compartment: str, project: str | None = None) -> list[Model]:
        """The models of a compartment, or of one project in it, newest first."""
        more = {"project_id": project} if project else {}
        with _sdk.explained("the list of models", NotAllowedError):
            rows = _sdk.every(self._client.list_models, compartment, **more)
            found = [
                _model(self._client.get_model(row.id).data)
                for row in rows
                if row.lifecycle_state not in _GONE
            ]
        return sorted(
            found, key=lambda each: each.created.timestamp() if each.created else 0.0, reverse=True
        )

    def show(self, ocid: str) -> Model:
        """One model.

        Raises:
            NotFoundError: there is none.
        """
        with _sdk.explained(f"the model {ocid}"):
            found = self._client.get_model(ocid).data
        if found.lifecycle_state in _GONE:
            raise NotFoundError(f"the model {ocid} was deleted")
        return _model(found)

    def _find(self, digest: str, compartment: str, project: str) -> str | None:
        with _sdk.explained("the list of models", NotAllowedError):
            rows = _sdk.every(self._client.list_models, compartment, project_id=project)
        for row in rows:
            tags = row.freeform_tags or {}
            if tags.get(DIGEST_TAG) == digest and row.lifecycle_state not in _GONE:
                return str(row.id)
        return None

    def _create(
        self, entry: Registration, details: dict[str, Any], compartment: str, project: str
    ) -> str:
        """A new model; however often, and by however many at once, this is asked for, it is one.

        The service answers what has the same retry token with what it did the first time. After a
        deletion that would be the model that is gone, so what is gone counts into the token.
        """
        gone = [
            row.id
            for row in _sdk.every(self._client.list_models, compartment, project_id=project)
            if (row.freeform_tags or {}).get(DIGEST_TAG) == entry.digest
        ]
        token = hashlib.sha256("\n".join([project, entry.digest, *sorted(gone)]).encode())
        made = self._client.create_model(
            self._models.CreateModelDetails(
                compartment_id=compartment, project_id=project, **details
            ),
            opc_retry_token=token.hexdigest()[:64],
        )
        return str(made.data.id)

    def _details(self, entry: Registration, series: str | None) -> dict[str, Any]:
        metadata = [
            self._models.Metadata(key=key, value=value[:_MAX_VALUE], category=category)
            for key, value, category in _metadata(entry)
        ]
        size = sum(len(f"{each.key}{each.value}{each.category}".encode()) for each in metadata)
        if size > _MAX_METADATA:
            raise InputError(
                f"{size:,} bytes of metadata are more than the catalog takes ({_MAX_METADATA:,})",
                hint="give fewer metrics",
            )
        details = {
            "display_name": entry.name[:_MAX_NAME],
            "custom_metadata_list": metadata,
            "freeform_tags": {DIGEST_TAG: entry.digest},
        }
        if entry.description:
            details["description"] = entry.description[:_MAX_VALUE]
        if series is not None:
            details["model_version_set_id"] = series
        return details

    def _update(self, ocid: str, details: dict[str, Any]) -> None:
        """What others have added stays: their tags, and metadata under other keys."""
        now = self._client.get_model(ocid).data
        ours = {each.key for each in details["custom_metadata_list"]}
        others = [
            each
            for each in now.custom_metadata_list or []
            if each.key not in ours and not each.key.startswith(_METRIC)
        ]
        wanted = {
            **details,
            "custom_metadata_list": [*details["custom_metadata_list"], *others],
            "freeform_tags": {**(now.freeform_tags or {}), **details["freeform_tags"]},
        }
        if not _is_same(now, wanted):
            self._client.update_model(ocid, self._models.UpdateModelDetails(**wanted))

    def _attach(self, ocid: str, entry: Registration) -> None:
        """What the model is known by, as its artifact; one that is there stays."""
        exceptions = _sdk.module("exceptions")
        try:
            self._client.head_model_artifact(ocid)
        except exceptions.ServiceError as error:
            if error.status != 404:
                raise
            self._client.create_model_artifact(
                ocid,
                archive(entry.files),
                content_disposition=f'attachment; filename="{ocid}.zip"',
            )

    def _trace(self, ocid: str, entry: Registration) -> None:
        """Where the model is from, by its source repository and commit."""
        if not (entry.source or entry.revision):
            return
        said = {"repository_url": entry.source, "git_commit": entry.revision}
        exceptions = _sdk.module("exceptions")
        try:
            now = self._client.get_model_provenance(ocid).data
        except exceptions.ServiceError as error:
            if error.status != 404:
                raise
            self._client.create_model_provenance(
                ocid, self._models.CreateModelProvenanceDetails(**said)
            )
            return
        if any(getattr(now, key) != value for key, value in said.items()):
            self._client.update_model_provenance(
                ocid, self._models.UpdateModelProvenanceDetails(**said)
            )

    def _series(self, entry: Registration, compartment: str, project: str) -> str:
        """The set of a model's versions, made where it is absent."""
        name = entry.series[:_MAX_NAME]
        with _sdk.explained(f"the version set {name}", NotAllowedError):
            rows = _sdk.every(
                self._client.list_model_version_sets, compartment, project_id=project, name=name
            )
            for row in rows:
                if row.lifecycle_state not in _GONE:
                    return str(row.id)
            made = self._client.create_model_version_set(
                self._models.CreateModelVersionSetDetails(
                    compartment_id=compartment, project_id=project, name=name
                ),
                opc_retry_token=hashlib.sha256(f"{project}\n{name}".encode()).hexdigest()[:64],
            )
        return str(made.data.id)

    def _free_label(
        self, series: str, label: str, ocid: str, compartment: str, project: str
    ) -> None:
        """A tag that has moved leaves an older version without its label, not two with one."""
        rows = _sdk.every(
            self._client.list_models, compartment, project_id=project, version_label=label
        )
        for row in rows:
            if row.model_version_set_id == series and row.id != ocid:
                digest = (row.freeform_tags or {}).get(DIGEST_TAG, row.id)
                old = f"{label}-{digest.rpartition(':')[2][:12]}"
                self._label(row.id, series, old)

    def _label(self, ocid: str, series: str, label: str) -> None:
        now = self._client.get_model(ocid).data
        if now.version_label != label or now.model_version_set_id != series:
            self._client.update_model(
                ocid,
                self._models.UpdateModelDetails(model_version_set_id=series, version_label=label),
            )


def archive(files: Mapping[str, bytes]) -> bytes:
    """A zip of a few small files, the same for the same content."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name in sorted(files):
            made.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def pinned(model: Model) -> str:
    """The location that a model points at.

    Raises:
        InputError: it was not registered by this program.
        InvalidContentError: its metadata contradicts itself.
    """
    if not model.reference or not model.digest:
        raise InputError(
            f"the model {model.name} points at no registry: it was not registered by ocimlpack",
            hint="ocimlpack catalog list shows those that were",
        )
    if not model.reference.endswith(f"@{model.digest}"):
        raise InvalidContentError(
            f"the metadata of the model {model.name} names two digests: somebody has changed it",
            digest=model.digest,
        )
    return model.reference


def _metadata(entry: Registration) -> list[tuple[str, str, str]]:
    """Key, value and category of each piece."""
    fixed = {
        _REFERENCE: entry.reference,
        _DIGEST: entry.digest,
        _TYPE: entry.artifact_type,
        _SIZE: str(entry.size),
        _TAGS: ",".join(entry.tags),
        _VERSION: __version__,
    }
    found = [(key, value, _OTHER) for key, value in fixed.items() if value]
    found += [(f"{_METRIC}{key}", value, _PERFORMANCE) for key, value in entry.metrics.items()]
    return found


def _is_same(now: Any, wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        known = getattr(now, key)
        if key == "custom_metadata_list":
            if _pairs(known or []) != _pairs(value):
                return False
        elif known != value:
            return False
    return True


def _pairs(metadata: Any) -> set[tuple[str, str, str]]:
    return {(each.key, each.value, each.category) for each in metadata}


def _model(found: Any) -> Model:
    metadata = {each.key: each.value or "" for each in found.custom_metadata_list or []}
    return Model(
        ocid=found.id,
        name=found.display_name,
        project=found.project_id,
        compartment=found.compartment_id,
        state=found.lifecycle_state,
        created=found.time_created,
        reference=metadata.get(_REFERENCE),
        digest=metadata.get(_DIGEST),
        series=found.model_version_set_name,
        label=found.version_label,
        metadata=metadata,
    )
