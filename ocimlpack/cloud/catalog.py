"""The Data Science model catalog: models that point at a digest in a registry.

https://docs.oracle.com/en-us/iaas/data-science/using/models-about.htm

The catalog knows no reference to a registry of its own, so it is metadata: what a model is found
again by is its digest, in a tag, which is the only thing that comes with a list of models.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from ocimlpack.cloud import _sdk, registration
from ocimlpack.cloud.registration import METRIC, REFERENCE, TAGS, Datum, Registration
from ocimlpack.cloud.signers import Identity, full_region
from ocimlpack.errors import (
    ConflictError,
    InputError,
    InvalidContentError,
    InvalidReferenceError,
    NotAllowedError,
    NotFoundError,
)
from ocimlpack.spec.reference import Kind, Reference

_CLIENT: Final = "data_science.DataScienceClient"
DIGEST_TAG: Final = "ocimlpack-digest"
_REFERENCE_TAG: Final = "ocimlpack-reference"
_MAX_TAGS: Final = 10
_MAX_TAG: Final = 256
"""Freeform tags of a resource, and characters of one:
https://docs.oracle.com/en-us/iaas/Content/Tagging/Concepts/taggingoverview.htm#limits"""

_TURNS: Final = 4
_PAUSE: Final = 0.5
"""How often it is begun anew when somebody else was faster, and seconds before the second time."""
_GONE: Final = frozenset({"DELETED", "DELETING", "FAILED"})


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
        description: a sentence or two; a list has none.
        metadata: all metadata; a list has none.
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
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registered:
    """What has become of a registration.

    Attributes:
        model: the model as it stands in the catalog.
        is_new: whether it was made just now.
        left_out: how many of the card's results there was no room for.
    """

    model: Model
    is_new: bool
    left_out: int


class Catalog:
    """One region's model catalog.

    Attributes:
        identity: as whom it is asked.
    """

    def __init__(self, identity: Identity, region: str | None = None) -> None:
        self.identity = identity
        self._client = identity.client(_CLIENT, region)
        self._models = _sdk.module("data_science.models")

    def compartment_of(self, project: str) -> str:
        """The compartment that a project is in.

        Raises:
            NotAllowedError: there is no such project, or no permission to see it.
        """
        with _sdk.explained(f"the project {project}", NotAllowedError):
            found = self._client.get_project(project).data
        if found.lifecycle_state in _GONE:
            raise NotFoundError(f"the project {project} was deleted")
        return str(found.compartment_id)

    def register(self, entry: Registration, compartment: str, project: str) -> Registered:
        """Put a model into the catalog, or bring up to date what is there of it.

        Somebody else may do the same now, and an answer may be lost after its request was carried
        out: then what is there is looked at again.

        Raises:
            ConflictError: somebody else's changes came in between again and again, or a version set
                of that name is elsewhere.
            InputError: a text is too long, or the metadata too large.
            NotAllowedError: no such project or compartment, or no permission there.
        """
        registration.check(entry)
        made: set[str] = set()
        for turn in range(_TURNS):
            try:
                return self._register(entry, compartment, project, made, turn)
            except ConflictError:
                if turn == _TURNS - 1:
                    raise
                time.sleep(_PAUSE * 2**turn)
        raise AssertionError("unreachable")

    def _register(
        self, entry: Registration, compartment: str, project: str, made: set[str], turn: int
    ) -> Registered:
        rows = self._list(compartment, project)
        same = [row for row in rows if _tag(row, DIGEST_TAG) == entry.digest]
        # The oldest, should there be several: everybody finds the same one.
        found = min((row for row in same if not _is_gone(row)), key=_age, default=None)
        series = None
        if entry.series and (found is None or not found.model_version_set_id):
            series = self._series(entry.series, compartment, project, turn)
        elif found is not None and found.model_version_set_name == entry.series:
            series = str(found.model_version_set_id)
        with _sdk.explained(f"the model {entry.name} in that project", NotAllowedError):
            if series is not None and entry.tags:
                self._free_label(rows, series, entry.tags[0], entry.digest)
            if found is None:
                gone = sorted(row.id for row in same)
                ocid, left = self._create(
                    entry, compartment, project, series, [*gone, str(turn // 2)]
                )
                made.add(ocid)
            else:
                ocid = str(found.id)
                left = self._update(ocid, entry, series)
            self._attach(ocid, entry)
            self._trace(ocid, entry)
        return Registered(self.show(ocid), ocid in made, left)

    def models(self, compartment: str, project: str | None = None) -> list[Model]:
        """The models of a compartment, or of one project in it, newest first."""
        rows = [row for row in self._list(compartment, project) if not _is_gone(row)]
        return [_model(row) for row in sorted(rows, key=_age, reverse=True)]

    def show(self, ocid: str) -> Model:
        """One model.

        Raises:
            NotFoundError: there is none.
        """
        with _sdk.explained(f"the model {ocid}"):
            found = self._client.get_model(ocid).data
        if _is_gone(found):
            raise NotFoundError(f"the model {ocid} was deleted")
        return _model(found)

    def _list(self, compartment: str, project: str | None) -> list[Any]:
        more = {"project_id": project} if project else {}
        with _sdk.explained(f"the list of models in {compartment}", NotAllowedError):
            return _sdk.every(self._client.list_models, compartment, **more)

    def _create(
        self,
        entry: Registration,
        compartment: str,
        project: str,
        series: str | None,
        marks: Iterable[str],
    ) -> tuple[str, int]:
        """A new model; however often, and by however many at once, this is asked for, it is one.

        The service answers what has the same retry token with what it did the first time, or
        refuses it if that was changed since. After a deletion that would be the model that is gone,
        so what is gone counts into the token, and that it was refused before.
        """
        metadata, left = registration.custom_metadata(entry)
        details = self._models.CreateModelDetails(
            compartment_id=compartment,
            project_id=project,
            display_name=entry.name,
            description=registration.described(entry.description) or None,
            freeform_tags=_tags(entry),
            custom_metadata_list=self._written(metadata),
            defined_metadata_list=self._written(registration.taxonomy(entry)),
            model_version_set_id=series,
            version_label=entry.tags[0] if series and entry.tags else None,
        )
        token = _token("model", compartment, project, entry.digest, *marks)
        made = self._client.create_model(details, opc_retry_token=token).data
        if _comparable(made.custom_metadata_list) != _comparable(details.custom_metadata_list):
            # It is what somebody else has asked for with the same token.
            left = self._update(made.id, entry, series)
        return str(made.id), left

    def _update(self, ocid: str, entry: Registration, series: str | None) -> int:
        """Bring it up to date. What others have added stays: tags, other metadata, a name.

        A model can't leave its version set, nor be put into the one that it is in.
        """
        answer = self._client.get_model(ocid)
        now = answer.data
        others = [each for each in now.custom_metadata_list or [] if not _is_ours(each.key, entry)]
        defined = [each for each in now.defined_metadata_list or [] if each.value]
        unsaid = [
            datum
            for datum in registration.taxonomy(entry)
            if datum.key not in {each.key for each in defined}
        ]
        taken = [*map(_datum, (*others, *defined)), *unsaid]
        metadata, left = registration.custom_metadata(entry, taken)
        wanted: dict[str, Any] = {
            "custom_metadata_list": [*self._written(metadata), *others],
            "freeform_tags": _tags(entry, now.freeform_tags or {}),
        }
        if unsaid:
            wanted["defined_metadata_list"] = [*defined, *self._written(unsaid)]
        if entry.is_named:
            wanted["display_name"] = entry.name
        if entry.is_described:
            wanted["description"] = registration.described(entry.description)
        if series is not None and now.model_version_set_id is None:
            wanted["model_version_set_id"] = series
        if series is not None and entry.tags and now.model_version_set_id in {None, series}:
            wanted["version_label"] = entry.tags[0]
        self._change(answer, wanted)
        return left

    def _change(self, answer: Any, wanted: Mapping[str, Any]) -> None:
        """Change what is different, unless somebody else has changed it since it was read."""
        now = answer.data
        if any(_comparable(getattr(now, key)) != _comparable(wanted[key]) for key in wanted):
            details = self._models.UpdateModelDetails(**wanted)
            self._client.update_model(now.id, details, if_match=answer.headers.get("etag"))

    def _attach(self, ocid: str, entry: Registration) -> None:
        """What the model is known by, as its artifact; one that is there can't be changed."""
        if self._has_artifact(ocid):
            return
        try:
            self._client.create_model_artifact(
                ocid,
                registration.archive(entry.files),
                content_disposition=f'attachment; filename="{ocid}.zip"',
            )
        except _sdk.module("exceptions").ServiceError as error:
            # Somebody else may have been faster.
            if error.status not in {400, 409, 412} or not self._has_artifact(ocid):
                raise

    def _has_artifact(self, ocid: str) -> bool:
        try:
            self._client.head_model_artifact(ocid)
        except _sdk.module("exceptions").ServiceError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _trace(self, ocid: str, entry: Registration) -> None:
        """Where the model is from, by its source repository and commit."""
        known = {"repository_url": entry.source, "git_commit": entry.revision}
        said = {key: value for key, value in known.items() if value}
        if not said:
            return
        try:
            now = self._client.get_model_provenance(ocid).data
        except _sdk.module("exceptions").ServiceError as error:
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

    def _series(self, name: str, compartment: str, project: str, turn: int) -> str:
        """The set of a model's versions, made where it is absent."""
        with _sdk.explained(f"the version set {name}", NotAllowedError):
            rows = _sdk.every(
                self._client.list_model_version_sets, compartment, project_id=project, name=name
            )
            alive = [row for row in rows if not _is_gone(row)]
            if alive:
                return str(min(alive, key=_age).id)
            details = self._models.CreateModelVersionSetDetails(
                compartment_id=compartment, project_id=project, name=name
            )
            marks = [*sorted(row.id for row in rows), str(turn // 2)]
            token = _token("version set", compartment, project, name, *marks)
            try:
                made = self._client.create_model_version_set(details, opc_retry_token=token)
            except _sdk.module("exceptions").ServiceError as error:
                if error.status == 409 and turn == _TURNS - 1:
                    raise ConflictError(
                        f"there is a version set {name} already, in another project or compartment",
                        hint="choose another with --version-set NAME",
                        status=409,
                    ) from error
                raise
        return str(made.data.id)

    def _free_label(self, rows: Iterable[Any], series: str, label: str, digest: str) -> None:
        """A tag that has moved leaves an older version without its label, not two with one."""
        for row in rows:
            theirs = _tag(row, DIGEST_TAG)
            if (
                theirs not in {None, digest}
                and row.model_version_set_id == series
                and row.version_label == label
                and not _is_gone(row)
            ):
                answer = self._client.get_model(row.id)
                mark = str(theirs).rpartition(":")[2][:12]
                wanted = {
                    "version_label": f"{label}-{mark}",
                    "custom_metadata_list": self._untagged(answer.data, label),
                }
                if answer.data.display_name.endswith(f":{label}"):  # nobody has renamed it
                    wanted["display_name"] = f"{answer.data.display_name}-{mark}"
                self._change(answer, wanted)

    def _untagged(self, model: Any, label: str) -> list[Any]:
        """A model's metadata without a tag that stands for it no more."""
        found = []
        for each in model.custom_metadata_list or []:
            if each.key != TAGS:
                found.append(each)
            elif left := [tag for tag in (each.value or "").split(",") if tag != label]:
                found += self._written([Datum(TAGS, ",".join(left), each.category)])
        return found

    def _written(self, data: Iterable[Datum]) -> list[Any]:
        return [
            self._models.Metadata(key=each.key, value=each.value, category=each.category)
            for each in data
        ]


def region_of(ocid: str) -> str | None:
    """The region's identifier that an OCID names; None where it names none that is known.

    https://docs.oracle.com/en-us/iaas/Content/General/Concepts/identifiers.htm
    """
    parts = ocid.split(".")
    found = full_region(parts[3]) if len(parts) > 4 and parts[3] else None
    return found if found and "-" in found else None


def pinned(model: Model) -> str:
    """The location that a model points at.

    Raises:
        InputError: it was not registered by this program.
        InvalidContentError: its metadata contradicts itself, or names no registry.
    """
    if not model.reference or not model.digest:
        raise InputError(
            f"the model {model.name} points at no registry: it was not registered by ocimlpack",
            hint="ocimlpack catalog list shows those that were",
        )
    try:
        ref = Reference.parse(model.reference)
    except InvalidReferenceError:
        ref = None
    if ref is None or ref.kind is not Kind.REGISTRY:
        raise InvalidContentError(
            f"the metadata of the model {model.name} names no registry: somebody has changed it",
            digest=model.digest,
        )
    if str(ref.digest) != model.digest:
        raise InvalidContentError(
            f"the metadata of the model {model.name} names two digests: somebody has changed it",
            digest=model.digest,
        )
    return model.reference


def _token(*parts: str) -> str:
    """A retry token, which has 64 characters at most."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _tag(row: Any, name: str) -> str | None:
    tags: Mapping[str, str] = row.freeform_tags or {}
    return tags.get(name)


def _tags(entry: Registration, others: Mapping[str, str] | None = None) -> dict[str, str]:
    """The freeform tags. The reference is only there so that lists have it, where it finds room."""
    tags = {**(others or {}), DIGEST_TAG: entry.digest, _REFERENCE_TAG: entry.reference}
    if len(tags) > _MAX_TAGS or len(entry.reference) > _MAX_TAG:
        del tags[_REFERENCE_TAG]
    if len(tags) > _MAX_TAGS:
        raise InputError(
            f"the model has {_MAX_TAGS} freeform tags already, and needs one for its digest",
            hint="remove one of them",
        )
    return tags


def _is_ours(key: str, entry: Registration) -> bool:
    """Whether a piece of metadata is written anew; metrics only if others were given now."""
    if key.startswith(METRIC):
        return bool(entry.metrics)
    return key in registration.KEYS


def _is_gone(row: Any) -> bool:
    return row.lifecycle_state in _GONE


def _age(row: Any) -> tuple[float, str]:
    return (row.time_created.timestamp() if row.time_created else 0.0, str(row.id))


def _datum(each: Any) -> Datum:
    return Datum(each.key, each.value or "", each.category, each.description)


def _comparable(value: Any) -> Any:
    """A field's value so that lists of metadata can be compared."""
    if isinstance(value, list):
        return {(each.key, each.value, (each.category or "").lower()) for each in value}
    return value


def _model(found: Any) -> Model:
    """A model, from itself or from its line in a list."""
    metadata: dict[str, str] = {}
    # A list's items have neither metadata nor a description: the SDK's ModelSummary.
    if is_whole := hasattr(found, "custom_metadata_list"):
        both = (*(found.defined_metadata_list or ()), *(found.custom_metadata_list or ()))
        metadata = {each.key: each.value or "" for each in both}
    return Model(
        ocid=found.id,
        name=found.display_name,
        project=found.project_id,
        compartment=found.compartment_id,
        state=found.lifecycle_state,
        created=found.time_created,
        reference=metadata.get(REFERENCE) if is_whole else _tag(found, _REFERENCE_TAG),
        digest=metadata.get(registration.DIGEST) if is_whole else _tag(found, DIGEST_TAG),
        series=found.model_version_set_name,
        label=found.version_label,
        description=getattr(found, "description", None),
        metadata=metadata,
    )
