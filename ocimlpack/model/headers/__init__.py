"""What weights say of themselves, read from the parts of a file that say it, never by loading it.

A header is a stranger's text: every number in it is checked before it is used, what a reader holds
in memory is bounded whatever the header says, and what is wrong with it is one sentence. Nothing in
it is executed, imported or opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeGuard

from ocimlpack.errors import InvalidContentError

MAX_PARAMETERS: Final = 2**63 - 1
"""More than that in one tensor is an overflow in some reader, and no model."""

MAX_TENSORS: Final = 100_000
"""The largest models have some ten thousand in a file."""

MAX_DIMENSIONS: Final = 64
"""NumPy's own limit; the tensors of models have some six."""

MAX_LETTERS: Final = 16 * 1024 * 1024
"""Characters of all names in a file."""

_STATE: Final = re.compile(
    r"(?:^|\.)optim(?:izers?(?:_\w+)?)?\.|\.(?:(?:max_)?exp_avg(?:_sq)?|momentum_buffer)$",
    re.IGNORECASE,
)
_MAX_FACTS: Final = 256
_MAX_FACT: Final = 1000
"""Characters: what a file says of itself is shown to people, and kept for many files at a time."""


class UnknownFormError(InvalidContentError):
    """A form of a format that no reader here knows, or more of it than is read.

    Nothing need be wrong with the file.
    """


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        type: the type of its numbers: ModelPack's name for it, or where that has none the format's
            own, in lower case.
        count: how many numbers it has.
        shape: its dimensions, the outermost first; empty for a single number.
        start: where its bytes begin in this file; None where they are not in it as they are:
            compressed, in another file, or written as text or numbers of varying length.
        size: how many bytes these are; None where `start` is None.
    """

    type: str
    count: int
    shape: tuple[int, ...] = ()
    start: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """What a file of weights says of itself.

    Attributes:
        tensors: its tensors by name.
        fields: text that it gives for ModelPack's config, under the names that it has there.
        external: names of other files, relative to this one's folder, that hold some of its data.
        role: what it is a part of, where it is not the model itself: "projector" or "adapter".
        facts: what it says that ModelPack's config has no field for, as short texts by name.
    """

    tensors: Mapping[str, Tensor]
    fields: Mapping[str, str] = field(default_factory=dict)
    external: frozenset[str] = frozenset()
    role: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


class Tensors(dict[str, Tensor]):
    """Tensors on their way into a header: not too many, and with names that are not too long.

    A few bytes of a file may be the name of every tensor in it.
    """

    def __init__(self) -> None:
        """None yet."""
        super().__init__()
        self._letters = 0

    def add(self, name: str, tensor: Tensor) -> None:
        """Take one in; a name that is taken, or none, gets a number.

        Raises:
            InvalidContentError: there are too many, or their names are too long.
        """
        while not name or name in self:
            name = f"{name}#{len(self)}"
        self._letters += len(name)
        if len(self) >= MAX_TENSORS or self._letters > MAX_LETTERS:
            raise InvalidContentError(
                f"it has more than {MAX_TENSORS:,} tensors, or names of more than "
                f"{MAX_LETTERS:,} characters"
            )
        self[name] = tensor


def parameters(header: Header) -> Iterator[Tensor]:
    """The tensors that hold parameters: where two are the same bytes, one of them.

    Checkpoints of a training also have the states of its optimizer, which are none.
    """
    seen = set()
    for name, tensor in header.tensors.items():
        place = tensor.start, tensor.size
        if (tensor.size and place in seen) or _STATE.search(name):
            continue
        seen.add(place)
        yield tensor


def count(shape: Iterable[int]) -> int | None:
    """How many numbers a tensor of this shape has; None if that overflows."""
    result = 1
    for size in shape:
        result *= size
        if result > MAX_PARAMETERS:
            return None
    return result


def is_shape(value: object) -> TypeGuard[tuple[int, ...]]:
    """Whether a stranger's value is a shape: a tuple of whole numbers that sizes can be."""
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_DIMENSIONS
        # `type` instead of `isinstance`: true and false are whole numbers to Python.
        and all(type(each) is int and 0 <= each <= MAX_PARAMETERS for each in value)
    )


def short_facts(pairs: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Facts as a header has them: texts, the first few hundred, cut where they are long.

    Args:
        pairs: names and values; what is None or empty is left out.
    """
    facts: dict[str, str] = {}
    for name, value in pairs:
        text = "" if value is None else str(value)
        if text and len(facts) < _MAX_FACTS:
            facts[name[:_MAX_FACT]] = text if len(text) <= _MAX_FACT else f"{text[:_MAX_FACT]}…"
    return facts


def listed(items: Iterable[object]) -> str:
    """Items as one fact, separated by commas: no more of them than a fact has room for.

    A few bytes of a file may be the name of everything that is in it.
    """
    parts: list[str] = []
    length = 0
    for each in items:
        parts.append(str(each)[: _MAX_FACT + 1])
        length += len(parts[-1]) + 2
        if length > _MAX_FACT + 2:
            break
    return ", ".join(parts)
