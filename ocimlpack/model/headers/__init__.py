"""What weights say of themselves, read from the first part of a file and never by loading it.

A header is a stranger's text: every number in it is checked before it is used, nothing in it makes
a reader hold more memory than the header has bytes, and what is wrong with it is one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_PARAMETERS: Final = 2**63 - 1
"""More than that in one tensor is an overflow in some reader, and no model."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        type: the type of its numbers: ModelPack's name for it, or where that has none the format's
            own, in lower case.
        count: how many numbers it has.
    """

    type: str
    count: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file of weights says of itself.

    Attributes:
        tensors: its tensors by name.
        fields: text that it gives for ModelPack's config, under the names that it has there.
        external: names of other files, relative to this one's folder, that hold some of its data.
        role: what it is a part of, where it is not the model itself: "projector" or "adapter".
    """

    tensors: Mapping[str, Tensor]
    fields: Mapping[str, str] = field(default_factory=dict)
    external: frozenset[str] = frozenset()
    role: str | None = None


def count(shape: list[int]) -> int | None:
    """How many numbers a tensor of this shape has; None if that overflows."""
    result = 1
    for size in shape:
        result *= size
        if result > MAX_PARAMETERS:
            return None
    return result
