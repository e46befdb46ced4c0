"""What functions that move models return: frozen, and plain enough to become JSON as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """One piece of content that a dry run looked at.

    Attributes:
        path: the file's path in the model; for a config or manifest, that word.
        media_type: its media type.
        digest: its digest.
        size: its bytes.
        fate: "upload", or "skip" where the destination has it.
    """

    path: str
    media_type: str
    digest: str
    size: int
    fate: str


@dataclass(frozen=True, slots=True)
class Transferred:
    """What pack, push and copy did.

    Attributes:
        reference: the destination pinned to the digest: `DEST@sha256:…`.
        digest: the manifest's digest.
        size: bytes of all content of the artifact, each piece counted once.
        files: number of layers.
        tags: the tags that now stand for it.
        moved: bytes that were transferred.
        skipped: bytes that the destination had already.
        mounted: bytes that the registry took over from another repository.
        warnings: what a person should know.
        plan: with dry_run, what would happen to each piece; else empty.
        dry_run: whether nothing was changed.
        fallback: where it is in the fallback, if it went there.
        reason: why it is in the fallback alone; None if the destination has it.
    """

    reference: str
    digest: str
    size: int
    files: int
    tags: tuple[str, ...] = ()
    moved: int = 0
    skipped: int = 0
    mounted: int = 0
    warnings: tuple[str, ...] = ()
    plan: tuple[Content, ...] = ()
    dry_run: bool = False
    fallback: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Synced:
    """What sync did.

    Attributes:
        registry: the repository in the registry.
        fallback: the other place.
        to_registry: tags that were brought to the registry.
        to_fallback: tags that were brought to the fallback.
        same: how many tags were the same in both.
        dry_run: whether nothing was changed.
    """

    registry: str
    fallback: str
    to_registry: tuple[str, ...]
    to_fallback: tuple[str, ...]
    same: int
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Pulled:
    """What pull did.

    Attributes:
        path: the folder.
        reference: what was pulled, pinned to its digest.
        digest: the manifest's digest.
        files: number of files in the folder that belong to the artifact.
        size: their bytes.
        moved: bytes that were transferred.
        kept: bytes that were there already and found right.
        fallback: whether it is from the fallback, as the registry failed.
        format: how the artifact is made: modelpack, modelkit, docker-model, ollama, omlmd, image,
            or files where nothing more is known of it.
        notes: what was guessed or left out when it was read.
    """

    path: str
    reference: str
    digest: str
    files: int
    size: int
    moved: int
    kept: int
    fallback: bool = False
    format: str = ""
    notes: tuple[str, ...] = ()
