"""What a reader makes of an artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ocimlpack.model.artifact import Member

Format = Literal["modelpack", "modelkit", "docker-model", "ollama", "omlmd", "image", "files"]
"""How an artifact is made: by which rules its layers are files."""

Fields = Mapping[str, Any]
"""What is said of the model, under the names of ModelPack's config: name, paramSize, …"""


@dataclass(frozen=True, slots=True)
class Content:
    """An artifact, understood.

    Attributes:
        format: by which rules it is made.
        members: its layers as files and archives, in the manifest's order; names are checked. For
            an image, archives of which the later one covers the earlier ones: see `Member.level`.
        fields: what is said of the model. It may be read when it is first asked for, and so raise
            what reading a config raises.
        notes: what was guessed or left out, each a sentence for a person.
    """

    format: Format
    members: tuple[Member, ...]
    fields: Fields = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()


class Said(Mapping[str, Any]):
    """Fields that are read when they are first asked for: a pull doesn't need them."""

    def __init__(self, read: Callable[[], Fields]) -> None:
        """Nothing is read yet."""
        self._read = read
        self._fields: Fields | None = None

    @property
    def _known(self) -> Fields:
        if self._fields is None:
            self._fields = self._read()
        return self._fields

    def __getitem__(self, key: str) -> Any:
        """The field's value."""
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        """The names of the fields."""
        return iter(self._known)

    def __len__(self) -> int:
        """How many fields there are."""
        return len(self._known)
