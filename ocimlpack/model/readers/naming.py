"""Names for layers that have none: from what they are, and numbered where there are several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def numbered(names: Sequence[str]) -> list[str]:
    """Each name, from its second time on with a number before its ending: `LICENSE-2`."""
    seen: Counter[str] = Counter()
    return [_again(name, seen) for name in names]


def sharded(stem: str, ending: str, count: int) -> list[str]:
    """What the parts of a model are called, by the convention of the Hugging Face hub."""
    if count == 1:
        return [f"{stem}{ending}"]
    return [f"{stem}-{number:05}-of-{count:05}{ending}" for number in range(1, count + 1)]


def _again(name: str, seen: Counter[str]) -> str:
    seen[name] += 1
    if seen[name] == 1:
        return name
    stem, dot, ending = name.rpartition(".")
    return f"{stem}-{seen[name]}.{ending}" if dot else f"{name}-{seen[name]}"
