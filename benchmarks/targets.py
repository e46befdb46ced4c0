"""What the transfers are to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.contenders import ORAS, OURS
from benchmarks.figures import MIB, Figures, Measure, cpu, peak, wall
from benchmarks.scenarios import AGAIN, COMPLETE, FIRST, PULL, PUSH, Sizes, describe_size


@dataclass(frozen=True)
class Verdict:
    """One target.

    Attributes:
        sentence: what is measured.
        wanted: and the threshold.
        measured: what came out.
        met: whether that is good enough.
    """

    sentence: str
    wanted: str
    measured: str
    met: bool


RATIOS: tuple[tuple[str, str, str, Measure, float], ...] = (
    ("first push, wall", "large", FIRST, wall, 0.85),
    ("first push, CPU", "large", FIRST, cpu, 1.3),
    ("pull, wall", "large", PULL, wall, 1.0),
    ("pull, CPU", "large", PULL, cpu, 1.1),
    ("push of one unchanged file, wall", "single", AGAIN, wall, 0.5),
    ("pull over the shaped link, wall", "shaped", PULL, wall, 0.2),
    ("push of many small files, wall", "many", PUSH, wall, 1.2),
    ("pull of many small files, wall", "many", PULL, wall, 1.2),
)
"""Sentence, scenario, step, measure, and how many times the oras CLI's it may be at the most."""

FLAT = 1.2
"""How many times the lesser file's figure the greater file's may be where size is not to count."""

MOST_MEMORY = 150 * MIB
REQUESTS_ONLY = 64 * 1024
"""Bytes that requests and their answers may have where no content is to be moved."""


def judge(figures: Figures, sizes: Sizes) -> list[Verdict]:
    """A verdict on each target of which enough was measured."""
    judges: tuple[Callable[[Figures, Sizes], Iterator[Verdict]], ...] = (
        _judge_ratios,
        _judge_sameness,
        _judge_memory,
        _judge_requests,
    )
    return [verdict for each in judges for verdict in each(figures, sizes)]


def _judge_ratios(figures: Figures, sizes: Sizes) -> Iterator[Verdict]:
    for sentence, scenario, name, measure, most in RATIOS:
        step = figures.find(scenario, name)
        other = step.yardstick(ORAS) if step else None
        if step is None or other is None or OURS not in step.usages:
            continue
        ratio = step.ratio(OURS, other, measure)
        if ratio is not None:
            yield Verdict(
                sentence,
                f"≤ {most:.2f} times {other}",
                f"{ratio.median:.2f} times ({ratio.least:.2f} to {ratio.most:.2f})",
                ratio.median <= most,
            )


def _judge_sameness(figures: Figures, sizes: Sizes) -> Iterator[Verdict]:
    """What must not grow with the size of the file."""
    less, more = describe_size(sizes.lesser), describe_size(sizes.greater)
    for sentence, name, measure in (
        ("push again, wall", AGAIN, wall),
        ("first push, peak memory", FIRST, peak),
        ("pull, peak memory", PULL, peak),
    ):
        lesser = figures.find("memory", f"{name}, {less}")
        greater = figures.find("memory", f"{name}, {more}")
        if lesser is None or greater is None:
            continue
        times = greater.spread(OURS, measure).median / lesser.spread(OURS, measure).median
        yield Verdict(
            f"{sentence}: {more} against {less}",
            f"≤ {FLAT} times",
            f"{times:.2f} times",
            times <= FLAT,
        )


def _judge_memory(figures: Figures, sizes: Sizes) -> Iterator[Verdict]:
    peaks = [
        step.peak(OURS)
        for steps in figures.scenarios.values()
        for step in steps.values()
        if OURS in step.usages
    ]
    if peaks:
        yield Verdict(
            "most memory of all jobs",
            f"≤ {MOST_MEMORY / MIB:.0f} MiB",
            f"{max(peaks) / MIB:.0f} MiB",
            max(peaks) <= MOST_MEMORY,
        )


def _judge_requests(figures: Figures, sizes: Sizes) -> Iterator[Verdict]:
    for sentence, scenario, name in (
        (COMPLETE, "large", COMPLETE),
        ("push of one unchanged file", "single", AGAIN),
    ):
        step = figures.find(scenario, name)
        if step is not None and OURS in step.wires:
            moved = step.wires[OURS].sent + step.wires[OURS].received
            yield Verdict(
                f"{sentence}, bytes both ways",
                f"≤ {REQUESTS_ONLY:,}",
                f"{moved:,}",
                moved <= REQUESTS_ONLY,
            )
