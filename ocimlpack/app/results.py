"""What the other functions return: frozen, and plain enough to become JSON as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Tagged:
    """What tag did: one full reference for each tag, in the order given."""

    digest: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """One tag of the local store or of a layout.

    Attributes:
        name: the model's name in the local store; the path for a layout.
        tag: the tag; empty for a manifest without one.
        digest: the manifest's digest.
        size: bytes of all its content.
        artifact_type: what it is.
    """

    name: str
    tag: str
    digest: str
    size: int
    artifact_type: str


@dataclass(frozen=True, slots=True)
class InspectedFile:
    """One file of an artifact, or an archive of files, with the layer's media type."""

    path: str
    kind: str
    size: int
    digest: str
    media_type: str


@dataclass(frozen=True, slots=True)
class InspectedTensor:
    """One tensor of a file of weights.

    Attributes:
        name: its name in the file.
        type: the type of its numbers: ModelPack's name, or the format's own in lower case.
        shape: its dimensions, the outermost first.
        count: how many numbers it has.
        size: its bytes in the file; None where they are elsewhere, compressed or not told apart.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    count: int
    size: int | None


@dataclass(frozen=True, slots=True)
class InspectedWeights:
    """What a file of weights says of itself. None of it is held against a digest.

    Attributes:
        path: its path in the model.
        format: how its numbers are stored: safetensors, gguf, onnx, pt, …
        size: its bytes.
        parameters: how many numbers there are, those that two tensors share counted once.
        types: how many of them there are of each type, the most frequent first.
        facts: what else it says: opset, producer, context length, classes, …
        tensors: its tensors.
        problem: why nothing of it can be read; None if it can.
    """

    path: str
    format: str
    size: int
    parameters: int
    types: Mapping[str, int]
    facts: Mapping[str, str]
    tensors: tuple[InspectedTensor, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Inspected:
    """What inspect found.

    Attributes:
        reference: what was asked for, pinned to its digest.
        digest: the manifest's digest.
        artifact_type: what it is.
        size: bytes of all its content.
        model: what the config says of the model: name, version, architecture, family, paramSize,
            precision, format, licenses and so on, as far as it says them.
        files: its files, in manifest order.
        tags: the tags that stand for this digest, as far as the place can list them.
        annotations: the manifest's annotations.
        manifest: the manifest's bytes as text.
        config: the config's bytes as text.
        format: how the artifact is made, as in `Pulled`; empty where it can't be read.
        notes: what was guessed or left out when it was read.
        weights: what its weights say of themselves; None if that was not asked for.
        facts: what was found beside the config's fields when it was packed: parameters, opset, …
        origins: how each field and fact is known, where that was recorded: found in the files,
            given by a person, or guessed.
        base: the model that it was made from, pinned to its digest; None if none is recorded.
    """

    reference: str
    digest: str
    artifact_type: str
    size: int
    model: Mapping[str, Any]
    files: tuple[InspectedFile, ...]
    tags: tuple[str, ...]
    annotations: Mapping[str, str]
    manifest: str
    config: str
    format: str = ""
    notes: tuple[str, ...] = ()
    weights: tuple[InspectedWeights, ...] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """What rm and prune did.

    Attributes:
        removed: what is gone: references, digests, or paths of partial files.
        freed: bytes freed here; a registry frees its own later, when it collects garbage.
        dry_run: whether nothing was changed.
    """

    removed: tuple[str, ...]
    freed: int
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """What verify found. Problems in files or blobs are not here: they are raised.

    Attributes:
        target: the folder or reference.
        digest: the manifest's digest; empty for a whole store.
        checked: how many files or blobs were read through.
        size: their bytes.
        extra: files in the folder that are not the artifact's.
    """

    target: str
    digest: str
    checked: int
    size: int
    extra: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class RegistryToken:
    """What a client logs in to a registry with for a while.

    Attributes:
        host: the registry.
        username: the user's name to go with it.
        secret: the token.
        seconds: for how long it holds.
        identity: the kind of identity that it was given to.
    """

    host: str
    username: str
    secret: str = field(repr=False)
    seconds: int
    identity: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """What login did.

    Attributes:
        host: the registry.
        username: the account.
        stored: where the credentials went: a path, or the name of a credential helper.
    """

    host: str
    username: str
    stored: str
