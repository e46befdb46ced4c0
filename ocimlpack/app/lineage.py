"""Which model another one was made from: recorded when that one is packed, and found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ocimlpack.app import places
from ocimlpack.app.options import Connection
from ocimlpack.errors import InputError, InvalidContentError, InvalidDigestError
from ocimlpack.model.pack import Plan
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.mediatypes import BASE_DIGEST, BASE_NAME
from ocimlpack.spec.reference import DEFAULT_TAG, Kind, Reference

_KNOWN_TO_OTHERS = frozenset({Kind.REGISTRY, Kind.S3, Kind.BUCKET})
"""Places whose names mean the same on other machines. A path has no business in an artifact."""


def recorded(planned: Plan, options: Connection) -> Plan:
    """The plan with annotations that name the base, if it has one.

    Raises:
        InputError: the base is a folder.
        NotFoundError: it is not there.
    """
    if planned.base is None:
        return planned
    ref = places.locate(planned.base, options)
    if ref.kind is Kind.FOLDER:
        raise InputError(
            f"the base is a packed model; {ref} is a folder",
            hint=f"pack it first: ocimlpack pack {ref.repository} -t NAME",
        )
    annotations = {BASE_DIGEST: str(ref.digest or _resolved(ref, options))}
    if ref.kind in _KNOWN_TO_OTHERS:
        tag = ref.tag if ref.tag or ref.digest else DEFAULT_TAG
        annotations[BASE_NAME] = str(replace(ref, tag=tag, digest=None))
    # Whoever names such an annotation himself has a reason.
    return replace(planned, annotations={**annotations, **planned.annotations})


def _resolved(ref: Reference, options: Connection) -> Digest:
    with places.found(ref, options) as (_, root):
        return root.digest


def named(annotations: Mapping[str, str]) -> str | None:
    """The base that a manifest's annotations name, for a person; None if there is none."""
    name, digest = annotations.get(BASE_NAME), annotations.get(BASE_DIGEST)
    return f"{name}@{digest}" if name and digest else digest or name


def base_of(model: Reference, annotations: Mapping[str, str], options: Connection) -> Reference:
    """Where the base of a model is, by its annotations: where its name says, or else beside it.

    Raises:
        InputError: none is recorded, or there is no telling where it is.
        InvalidContentError: what is recorded is no digest, or no name that others know.
    """
    said = annotations.get(BASE_DIGEST)
    if said is None:
        raise InputError(
            f"{model} has no base recorded",
            hint="name both models, or record one when it is packed: --base REF",
        )
    try:
        digest = Digest.parse(said)
    except InvalidDigestError as error:
        raise InvalidContentError(f"the recorded base: {error.message}") from error
    if name := annotations.get(BASE_NAME):
        try:
            ref = places.locate(name, options)
        except InputError as error:
            raise InvalidContentError(f"the recorded base: {error.message}") from error
        if ref.kind not in _KNOWN_TO_OTHERS:
            # Whoever made the model knows nothing of what is on this machine.
            raise InvalidContentError(
                f"the recorded base is said to be {name!r:.150}, which is in no registry or bucket",
                hint="name both models",
            )
        return replace(ref, tag=None, digest=digest)
    if model.kind is Kind.FOLDER:
        raise InputError(
            f"where the base {said} of {model} is, is not known", hint="name both models"
        )
    return replace(model, tag=None, digest=digest)
