"""The table of readers. Adding one is a row here, its module, and a golden test.

A reader's module has two functions:

    read_members(source: Source) -> Found | None
        The layers as files and archives, and what was guessed for that; None where it turns out
        that the artifact is not made by these rules. Names need not be checked: that is done for
        all of them in one place.
    read_fields(source: Source) -> Fields
        What is said of the model.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, cast

from ocimlpack.model.artifact import Member
from ocimlpack.model.readers.content import Fields, Format
from ocimlpack.model.readers.source import Source
from ocimlpack.spec.manifest import Manifest


class Found(NamedTuple):
    """What a reader found: the members, and sentences about what it guessed."""

    members: tuple[Member, ...]
    notes: tuple[str, ...] = ()


class Module(Protocol):
    """What a reader's module has."""

    def read_members(self, source: Source) -> Found | None:
        """The layers as files and archives."""
        ...

    def read_fields(self, source: Source) -> Fields:
        """What is said of the model."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """By what a format is known. It is tried where any of these fits.

    Attributes:
        format: its name, and that of its module but for the hyphen.
        configs: how the config's media type begins.
        artifacts: what `artifactType` may be.
        layers: how the media type of a layer begins.
        always: whether it is tried on everything.
    """

    format: Format
    configs: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    always: bool = False

    def fits(self, manifest: Manifest) -> bool:
        """Whether an artifact may be of this format."""
        return (
            self.always
            or manifest.config.media_type.startswith(self.configs)
            or manifest.artifact_type in self.artifacts
            or any(layer.media_type.startswith(self.layers) for layer in manifest.layers)
        )

    def is_model(self, manifest: Manifest) -> bool:
        """Whether what fits is a model by its own types: neither any image nor any artifact."""
        return bool(self.artifacts or self.layers) and self.fits(manifest)

    @property
    def module(self) -> Module:
        """The reader, loaded now: a pull needs one of them."""
        name = self.format.replace("-", "_")
        return cast(Module, importlib.import_module(f"ocimlpack.model.readers.{name}"))


READERS: Final = (
    Reader(
        "modelpack",
        configs=("application/vnd.cncf.model.config.", "application/vnd.cnai.model.config."),
        artifacts=(
            "application/vnd.cncf.model.manifest.v1+json",
            "application/vnd.cnai.model.manifest.v1+json",
        ),
        layers=("application/vnd.cncf.model.", "application/vnd.cnai.model."),
    ),
    Reader(
        "modelkit",
        configs=("application/vnd.kitops.modelkit.config.",),
        artifacts=("application/vnd.kitops.modelkit.manifest.v1+json",),
        layers=("application/vnd.kitops.modelkit.",),
    ),
    Reader(
        "docker-model",
        configs=("application/vnd.docker.ai.model.config.",),
        layers=("application/vnd.docker.ai.",),
    ),
    Reader("ollama", layers=("application/vnd.ollama.image.",)),
    Reader("omlmd", configs=("application/x-config",), layers=("application/x-mlmodel",)),
    Reader(
        "image",
        configs=(
            "application/vnd.oci.image.config.",
            "application/vnd.docker.container.image.v1+json",
        ),
    ),
    Reader("files", always=True),
)
"""Every reader; the first that takes an artifact has it."""
