"""What things are called in a bucket; docs/buckets.md draws it.

One bucket holds many repositories, and their blobs once:

    blobs/sha256/HEX             every blob and every manifest
    old/blobs/sha256/HEX         layers that only old versions need, and …
    expired/blobs/sha256/HEX     … those of expired ones: the lifecycle goes by these beginnings
    REPOSITORY/oci-layout        what makes it an image layout
    REPOSITORY/index.json        its manifests and tags
    .ocimlpack/prune             a clean-up is at work
    .ocimlpack/pushes/NAME       a push is at work
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from ocimlpack.errors import InputError, InvalidDigestError
from ocimlpack.spec.digest import Digest

Stage = Literal["active", "old", "expired"]
"""How soon a version may be needed again; the warmest first."""

STAGES: Final[tuple[Stage, ...]] = ("active", "old", "expired")
BLOBS: Final = "blobs/"
PRUNE: Final = ".ocimlpack/prune"
PUSHES: Final = ".ocimlpack/pushes/"
RESERVED: Final = frozenset({"blobs", "old", "expired"})
"""First parts of names that no repository has."""

_INDEX: Final = "index.json"
_MARKER: Final = "oci-layout"


def blob(digest: Digest, stage: Stage = "active") -> str:
    """The key of a blob or a manifest."""
    return f"{prefix(stage)}{digest.algorithm}/{digest.hex}"


def prefix(stage: Stage) -> str:
    """What the keys of a stage's blobs begin with."""
    return BLOBS if stage == "active" else f"{stage}/{BLOBS}"


def digest_of(key: str) -> Digest | None:
    """The digest that a blob's key says; None for an object that is no blob."""
    stage = stage_of(key)
    if stage is None:
        return None
    algorithm, slash, encoded = key.removeprefix(prefix(stage)).partition("/")
    if not slash:
        return None
    try:
        return Digest.parse(f"{algorithm}:{encoded}")
    except InvalidDigestError:
        return None


def stage_of(key: str) -> Stage | None:
    """The stage that a blob's key says; None for an object that is no blob."""
    return next((stage for stage in STAGES if key.startswith(prefix(stage))), None)


def index(repository: str) -> str:
    """The key of a repository's index."""
    return f"{repository}/{_INDEX}"


def marker(repository: str) -> str:
    """The key of what makes a repository an image layout."""
    return f"{repository}/{_MARKER}"


def repository_of(key: str) -> str | None:
    """The repository whose index this is; None for another object."""
    repository, slash, name = key.rpartition("/")
    return repository if slash and name == _INDEX else None


def moment(seconds: float) -> str:
    """A time as indexes have it: of two, the earlier one is the smaller text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_repository(repository: str) -> None:
    """Refuse a repository whose objects would be taken for something else.

    Raises:
        InputError: says which part of the name that is.
    """
    parts = repository.split("/")
    if parts[0] in RESERVED:
        raise InputError(f"a repository in a bucket can't begin with {parts[0]}/: {repository!r}")
    for name in (_INDEX, _MARKER):
        if name in parts:
            raise InputError(f"a repository in a bucket can't have {name!r} in its name")
