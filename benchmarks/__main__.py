"""`python -m benchmarks`: plays the scenarios, prints the results and writes results.md."""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import ground, report, targets
from benchmarks.contenders import ORAS, OURS, Contender, find_contenders
from benchmarks.figures import Figures
from benchmarks.ground import FailedError
from benchmarks.scenarios import QUICK, SCENARIOS, Sizes
from benchmarks.stage import Stage
from tests.live.registries import find_distribution
from tests.live.toxiproxy import find_toxiproxy

RESULTS = Path(__file__).with_name("results.md")
EXPLANATION = (
    "Written by `make bench`; [README.md](README.md) says what is measured and how. Seconds are "
    f"the median of the rounds, and in brackets the least; times {ORAS} is the median, and in "
    "brackets the least, of the rounds' own ratios to it, and where it pulled in two ways, to the "
    "faster. Memory is the most of all rounds."
)
CAVEAT = "These are small files: starting the programs counts more here than the targets allow for."


def main() -> None:
    args = _parse()
    names = list(dict.fromkeys(args.only or SCENARIOS))
    sizes = QUICK if args.quick else Sizes()
    if args.rounds:
        sizes = replace(sizes, rounds=args.rounds)
    contenders = find_contenders()
    if ORAS not in [each.name for each in contenders]:
        sys.exit("There is no oras CLI: benchmarks/README.md says how to get it.")
    if find_toxiproxy() is None:
        print("There is no toxiproxy: no link is shaped.", file=sys.stderr)
    began = time.monotonic()
    figures = Figures()
    memory = {name: play(name, sizes, figures) for name in names}
    facts = [*_describe(contenders), ("files lie in memory", _list(memory))]
    facts.append(("all of it took", f"{time.monotonic() - began:.0f} s"))
    titles = {name: SCENARIOS[name].title(sizes) for name in names}
    is_full = replace(sizes, rounds=Sizes().rounds) == Sizes()
    explanation = EXPLANATION if is_full else f"{EXPLANATION} {CAVEAT}"
    text = report.write(figures, targets.judge(figures, sizes), titles, facts, explanation)
    print(text)
    is_whole = is_full and len(names) == len(SCENARIOS) and sizes.rounds >= Sizes().rounds
    output = args.output or (RESULTS if is_whole else None)
    if output is not None:
        output.write_text(text, encoding="utf-8")


def play(name: str, sizes: Sizes, figures: Figures) -> tuple[bool, bool]:
    """One scenario; returns whether its files and the registry's lay in memory."""
    scenario = SCENARIOS[name]
    contenders = find_contenders(scenario.jobs)
    if scenario.alone:
        contenders = [each for each in contenders if each.name == OURS]
    with ground.prepare(*scenario.room(sizes)) as place:
        stage = Stage(
            name,
            place,
            contenders,
            figures,
            rounds=sizes.rounds,
            guest_rounds=scenario.guest_rounds,
            say=partial(_say, name),
        )
        try:
            scenario.play(stage, sizes)
        except FailedError as error:
            sys.exit(f"\n{error}")
        finally:
            _say()
        return place.in_memory


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files and few rounds")
    parser.add_argument(
        "--only", action="append", choices=SCENARIOS, metavar="SCENARIO", help=_listed()
    )
    parser.add_argument("--rounds", type=int, help="timed rounds of each scenario [5; quick: 2]")
    parser.add_argument(
        "--output", type=Path, help="write here [results.md, after all scenarios at full size]"
    )
    args = parser.parse_args()
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds needs a number from 1")
    return args


def _listed() -> str:
    return f"one of {', '.join(SCENARIOS)}; may be repeated"


def _say(*words: str) -> None:
    """One line that is written over, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\033[K{' '.join(words)}", end="", file=sys.stderr, flush=True)


def _describe(contenders: list[Contender]) -> list[tuple[str, str]]:
    return [
        ("machine", f"{os.cpu_count()} cores, {ground.describe_memory()}, {platform.system()}"),
        ("Python", platform.python_version()),
        ("distribution", _registry_version()),
        *((each.name, each.version) for each in contenders),
    ]


def _registry_version() -> str:
    server = find_distribution(3)
    assert server is not None, "looked for before"
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\sv?(\S+)\s*$", said)
    return found[1] if found else "?"


def _list(memory: dict[str, tuple[bool, bool]]) -> str:
    on_disk = [name for name, places in memory.items() if not all(places)]
    return f"but not all of {', '.join(on_disk)}" if on_disk else "yes"


if __name__ == "__main__":
    main()
