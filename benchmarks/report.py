"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.contenders import ORAS, OURS
from benchmarks.figures import MIB, Figures, Measure, Spread, Step, Wire, cpu, wall
from benchmarks.targets import Verdict

COMPARED = ("", "wall s", f"times {ORAS}", "CPU s", f"times {ORAS}", "peak MiB", "sent", "received")
ALONE = ("", "wall s", "CPU s", "peak MiB", "sent", "received")
NOTHING = "-"


def write(
    figures: Figures,
    verdicts: Sequence[Verdict],
    titles: Mapping[str, str],
    facts: Sequence[tuple[str, str]],
    explanation: str,
) -> str:
    """All of it as one document.

    Args:
        figures: what was measured.
        verdicts: on the targets.
        titles: of the scenarios, by name.
        facts: about the machine and the programs.
        explanation: a paragraph on how to read it.
    """
    return "\n".join(
        [
            "# Results of the benchmarks",
            "",
            explanation,
            "",
            *table(("", ""), facts),
            "",
            "## Targets",
            "",
            *_list_verdicts(verdicts),
            *(line for name in figures.scenarios for line in _section(name, figures, titles)),
            "",
        ]
    )


def table(
    heading: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False
) -> Iterator[str]:
    """Its lines. `numbers`: all columns but the first are aligned as numbers are."""
    rule = ["---", *["--:" if numbers else "---"] * (len(heading) - 1)]
    for cells in (heading, rule, *rows):
        yield f"| {' | '.join(cells)} |"


def _list_verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        yield "None can be judged by what was run."
        return
    yield from table(
        ("", "target", "measured", "met"),
        [
            (each.sentence, each.wanted, each.measured, "yes" if each.met else "**no**")
            for each in verdicts
        ],
    )


def _section(name: str, figures: Figures, titles: Mapping[str, str]) -> Iterator[str]:
    yield from ("", f"## {titles[name]}")
    alone = []
    for step in figures.scenarios[name].values():
        if len(step.contenders) == 1:
            alone.append(step)
            continue
        yield from ("", f"**{step.name}**", "")
        yield from table(COMPARED, [compare(step, each) for each in step.contenders], numbers=True)
    if alone:
        yield from ("", f"**{OURS} alone**", "")
        yield from table(ALONE, [state(step) for step in alone], numbers=True)
    for sentence in figures.notes.get(name, ()):
        yield from ("", sentence)


def state(step: Step) -> list[str]:
    """The line of a step that has one contender."""
    (only,) = step.contenders
    _, seconds, _, cpu_seconds, _, *others = compare(step, only)
    return [step.name, seconds, cpu_seconds, *others]


def compare(step: Step, contender: str) -> list[str]:
    """One contender's line of a step."""
    return [
        contender,
        _seconds(step.spread(contender, wall)),
        _ratio(step, contender, wall),
        _seconds(step.spread(contender, cpu)),
        _ratio(step, contender, cpu),
        f"{step.peak(contender) / MIB:.0f}",
        *_traffic(step.wires.get(contender)),
    ]


def _seconds(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.least:.2f})"


def _ratio(step: Step, contender: str, measure: Measure) -> str:
    other = step.yardstick(ORAS)
    if other is None:
        return NOTHING
    if other == contender:
        return "1"
    ratio = step.ratio(contender, other, measure)
    return NOTHING if ratio is None else f"{ratio.median:.2f} ({ratio.least:.2f})"


def _traffic(wire: Wire | None) -> tuple[str, str]:
    return (NOTHING, NOTHING) if wire is None else (amount(wire.sent), amount(wire.received))


def amount(size: int) -> str:
    """Bytes, with three or four digits that count."""
    if size < 10_000:
        return f"{size} B"
    return f"{size / 1000:,.0f} kB" if size < 10_000_000 else f"{size / 1_000_000:,.0f} MB"
