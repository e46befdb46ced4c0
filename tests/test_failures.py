"""Pages of docs/ promise tests: each is there, and no promise is made without one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "failures.md").read_text("utf-8")
WISHES = (ROOT / "docs" / "fallback.md").read_text("utf-8").partition("## Each wish")[2]
NAMED = re.compile(r"`([^`\s]+\.py::[^`\s]+)`")
# A cell ends at a bar that is not in code.
CELLS = re.compile(r"((?:`[^`]*`|[^|`])*)\|")


def rows(page: str) -> Iterator[list[str]]:
    """The cells of each row of each table that is no heading."""
    for line, below in zip(page.splitlines(), [*page.splitlines()[1:], ""], strict=True):
        if line.startswith("| ") and not below.startswith("|---"):
            yield [cell.strip() for cell in CELLS.findall(line[1:])]


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of a module's tests, those of classes with the class before."""
    found = set()
    for node in ast.parse((ROOT / path).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef)
            }
    return frozenset(name for name in found if name.split("::")[-1].startswith("test_"))


def missing(page: str) -> list[str]:
    """The tests that a page names and that are not there."""
    named = [name.partition("::") for name in NAMED.findall(page)]
    return [
        f"{path}::{name}"
        for path, _, name in named
        if not (ROOT / path).is_file() or name not in names_in(path)
    ]


def unproven(page: str) -> list[str]:
    """The failures for which a page names no test, or does not say what happens."""
    return [row[0] for row in rows(page) if len(row) != 3 or not row[1] or not NAMED.search(row[2])]


def test_every_test_that_the_page_names_is_there() -> None:
    assert missing(PAGE) == []


def test_every_failure_on_the_page_has_a_test() -> None:
    assert unproven(PAGE) == []
    assert len(list(rows(PAGE))) >= 35


def test_every_wish_of_a_fallback_has_its_command_and_its_test() -> None:
    assert missing(WISHES) == []
    assert unproven(WISHES) == []
    assert len(list(rows(WISHES))) >= 12


def test_no_failure_is_there_twice() -> None:
    failures = [row[0] for row in rows(PAGE)]
    assert sorted(set(failures)) == sorted(failures)


HERE = "tests/test_failures.py::test_no_failure_is_there_twice"


@pytest.mark.parametrize(
    "test",
    ["tests/test_failures.py::test_none", "tests/test_none.py::test_x", f"{HERE}::test_x"],
)
def test_a_test_that_is_not_there_is_seen(test: str) -> None:
    assert missing(f"| a | b | `{test}` `{HERE}` |\n") == [test]


@pytest.mark.parametrize("row", ["| a | b | soon |", f"| a | | `{HERE}` |", "| a | b |"])
def test_a_failure_without_a_test_is_seen(row: str) -> None:
    heading = "| what | happens | shown by |\n|---|---|---|\n"
    assert unproven(f"{heading}| fine | yes | `{HERE}` |\n{row}\n") == ["a"]
