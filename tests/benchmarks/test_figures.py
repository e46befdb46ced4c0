from __future__ import annotations

import pytest

from benchmarks.contenders import ORAS, OURS
from benchmarks.figures import MIB, Figures, Spread, Step, Usage, Wire, cpu, wall
from benchmarks.report import amount, compare, state, table, write
from benchmarks.scenarios import AGAIN, COMPLETE, FIRST, PULL, Sizes
from benchmarks.targets import judge


def usages(*walls: float, cpu: float = 1.0, peak: int = 20 * MIB) -> dict[int, Usage]:
    return {turn: Usage(seconds, cpu, peak) for turn, seconds in enumerate(walls, start=1)}


def test_a_spread_is_the_median_and_the_ends() -> None:
    assert Spread.of([5.0, 1.0, 2.0]) == Spread(median=2.0, least=1.0, most=5.0)
    assert Spread.of([1.0, 2.0]).median == 1.5


def test_two_commands_take_the_time_of_both_and_the_memory_of_the_greater() -> None:
    assert Usage(1.0, 0.5, 30) + Usage(2.0, 0.25, 20) == Usage(3.0, 0.75, 30)


def test_a_ratio_is_taken_round_by_round() -> None:
    step = Step(FIRST)
    # The machine is slow in the second round, for both: medians of each alone would say 4 / 2.
    step.usages = {OURS: usages(1.0, 30.0, 4.0), ORAS: usages(2.0, 60.0, 2.0)}
    assert step.ratio(OURS, ORAS, wall) == Spread(median=0.5, least=0.5, most=2.0)


def test_a_ratio_needs_a_round_that_both_played() -> None:
    step = Step(FIRST)
    step.usages = {OURS: {1: Usage(1, 1, 1)}, ORAS: {2: Usage(1, 1, 1)}}
    assert step.ratio(OURS, ORAS, wall) is None
    step.usages[ORAS][1] = Usage(2, 4, 1)
    assert step.ratio(OURS, ORAS, cpu) == Spread(0.25, 0.25, 0.25)


def test_the_yardstick_is_the_faster_way_of_the_other_program() -> None:
    step = Step(PULL)
    step.usages = {
        OURS: usages(0.1, 0.1, 0.1),
        f"{ORAS}, 3 at a time": usages(1.0, 3.0, 3.0),
        f"{ORAS}, 8 at a time": usages(2.0, 2.0, 9.0),
    }
    assert step.yardstick(ORAS) == f"{ORAS}, 8 at a time"
    assert step.yardstick("nobody") is None
    assert step.contenders == [OURS, f"{ORAS}, 3 at a time", f"{ORAS}, 8 at a time"]


def test_a_line_compares_with_the_yardstick() -> None:
    step = Step(FIRST)
    step.usages = {
        OURS: usages(1.0, 0.5, 2.0, cpu=3.0, peak=30 * MIB),
        ORAS: usages(2.0, 2.0, 2.0, cpu=2.0),
    }
    step.wires[OURS] = Wire(sent=20_000_000, received=900)
    assert compare(step, OURS) == [
        *(OURS, "1.00 (0.50)", "0.50 (0.25)", "3.00 (3.00)", "1.50 (1.50)"),
        *("30", "20 MB", "900 B"),
    ]
    assert compare(step, ORAS) == [ORAS, "2.00 (2.00)", "1", "2.00 (2.00)", "1", "20", "-", "-"]


def test_a_line_without_anybody_else_has_no_ratios() -> None:
    step = Step(COMPLETE)
    step.usages = {OURS: usages(1.0)}
    assert state(step) == [COMPLETE, "1.00 (1.00)", "1.00 (1.00)", "20", "-", "-"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (9_999, "9999 B"),
        (10_000, "10 kB"),
        (9_999_000, "9,999 kB"),
        (10**9, "1,000 MB"),
    ],
)
def test_amounts_are_short(size: int, text: str) -> None:
    assert amount(size) == text


def test_a_table_is_markdown() -> None:
    assert list(table(("", "a"), [("x", "1")], numbers=True)) == [
        "|  | a |",
        "| --- | --: |",
        "| x | 1 |",
    ]


def measured(ours: float, oras: float, moved: int, peak: int) -> Figures:
    figures = Figures()
    for name in (FIRST, PULL):
        figures.step("large", name).usages = {OURS: usages(ours, peak=peak), ORAS: usages(oras)}
    complete = figures.step("large", COMPLETE)
    complete.usages[OURS] = usages(0.1)
    complete.wires[OURS] = Wire(moved, 0)
    for size, seconds in (("512 MiB", 1.0), ("8 GiB", ours)):
        figures.step("memory", f"{AGAIN}, {size}").usages[OURS] = usages(seconds)
    return figures


def test_each_target_is_met_by_good_figures_and_missed_by_bad_ones() -> None:
    good = judge(measured(ours=0.8, oras=1.0, moved=2_000, peak=40 * MIB), Sizes())
    assert [each.sentence for each in good if not each.met] == []
    bad = judge(measured(ours=3.0, oras=1.0, moved=1 << 20, peak=200 * MIB), Sizes())
    assert [each.sentence for each in bad if not each.met] == [
        "first push, wall",
        "pull, wall",
        "push again, wall: 8 GiB against 512 MiB",
        "most memory of all jobs",
        f"{COMPLETE}, bytes both ways",
    ]
    assert [each.sentence for each in good] == [each.sentence for each in bad]


def test_who_is_dropped_leaves_nothing_behind() -> None:
    figures = measured(ours=0.8, oras=1.0, moved=2_000, peak=40 * MIB)
    figures.step("large", FIRST).wires[ORAS] = Wire(1, 1)
    figures.drop("large", ORAS)
    assert figures.step("large", FIRST).contenders == [OURS]
    assert figures.step("large", FIRST).wires == {}
    assert figures.step("large", PULL).contenders == [OURS]


def test_what_was_not_measured_is_not_judged() -> None:
    assert judge(Figures(), Sizes()) == []


def test_a_document_holds_facts_verdicts_figures_and_notes() -> None:
    figures = measured(ours=0.8, oras=1.0, moved=2_000, peak=40 * MIB)
    figures.note("large", "A note.")
    text = write(
        figures,
        judge(figures, Sizes()),
        {"large": "Large files", "memory": "Memory"},
        [("Python", "3.11")],
        "How to read it.",
    )
    parts = ["How to read it.", "| Python | 3.11 |", "| first push, wall | ≤ 0.85 times oras CLI |"]
    parts += ["## Large files", f"**{FIRST}**", f"**{OURS} alone**", "A note.", "## Memory"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "**no**" not in text
