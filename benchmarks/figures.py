"""What was measured, and the statistics of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.contenders import ORAS, OURS

MIB = 1 << 20
Entry = TypeVar("Entry")
RANK = {OURS: 0, ORAS: 1}
"""Who stands first in a table; all others follow by their names."""


@dataclass(frozen=True)
class Usage:
    """What one job took: wall-clock and CPU seconds, and bytes of memory at its peak."""

    wall: float
    cpu: float
    peak: int

    def __add__(self, later: Usage) -> Usage:
        """Both, one after the other."""
        return Usage(self.wall + later.wall, self.cpu + later.cpu, max(self.peak, later.peak))


@dataclass(frozen=True)
class Wire:
    """Bytes that went to the registry and that came from it, headers and all."""

    sent: int
    received: int


@dataclass(frozen=True)
class Spread:
    """Several rounds in three numbers."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


Measure = Callable[[Usage], float]


def wall(usage: Usage) -> float:
    return usage.wall


def cpu(usage: Usage) -> float:
    return usage.cpu


def peak(usage: Usage) -> float:
    return float(usage.peak)


@dataclass
class Step:
    """One job, as each contender did it.

    Attributes:
        name: what was done.
        usages: by contender and round.
        wires: by contender; the traffic of one round.
    """

    name: str
    usages: dict[str, dict[int, Usage]] = field(default_factory=dict)
    wires: dict[str, Wire] = field(default_factory=dict)

    @property
    def contenders(self) -> list[str]:
        """Who was timed, in the order of a table."""
        return sorted(
            self.usages, key=lambda name: (RANK.get(name.partition(",")[0], len(RANK)), name)
        )

    def spread(self, contender: str, measure: Measure) -> Spread:
        """Of all the contender's rounds."""
        return Spread.of([measure(usage) for usage in self.usages[contender].values()])

    def peak(self, contender: str) -> int:
        """The most memory of all rounds, in bytes."""
        return max(usage.peak for usage in self.usages[contender].values())

    def yardstick(self, prefix: str) -> str | None:
        """The fastest, by its median, of those contenders whose names begin so."""
        rivals = [name for name in self.contenders if name.startswith(prefix)]
        return min(rivals, key=lambda name: self.spread(name, wall).median, default=None)

    def ratio(self, contender: str, other: str, measure: Measure) -> Spread | None:
        """How many times the other's: of the pairs, each of one round. None without a pair."""
        mine, theirs = self.usages[contender], self.usages[other]
        pairs = [
            measure(mine[turn]) / measure(theirs[turn]) for turn in mine.keys() & theirs.keys()
        ]
        return Spread.of(pairs) if pairs else None


@dataclass
class Figures:
    """All that was measured.

    Attributes:
        scenarios: the steps of each, by their names, in the order in which they were done.
        notes: sentences to print below a scenario.
    """

    scenarios: dict[str, dict[str, Step]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def step(self, scenario: str, name: str) -> Step:
        """That step, made if it was not there."""
        return self.scenarios.setdefault(scenario, {}).setdefault(name, Step(name))

    def find(self, scenario: str, name: str) -> Step | None:
        """That step, if it was measured."""
        return self.scenarios.get(scenario, {}).get(name)

    def drop(self, scenario: str, prefix: str) -> None:
        """Forget what was measured of those whose names begin so."""
        for step in self.scenarios.get(scenario, {}).values():
            step.usages = _without(step.usages, prefix)
            step.wires = _without(step.wires, prefix)

    def note(self, scenario: str, sentence: str) -> None:
        self.notes.setdefault(scenario, []).append(sentence)


def _without(entries: dict[str, Entry], prefix: str) -> dict[str, Entry]:
    return {name: entry for name, entry in entries.items() if not name.startswith(prefix)}
