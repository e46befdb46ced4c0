from __future__ import annotations

from dataclasses import replace

import pytest

from tests.live.interop.bench import FORMS
from tests.live.interop.cells import Results
from tests.live.interop.page import PAGE, render
from tests.live.interop.readers import READERS
from tests.live.interop.samples import SAMPLES
from tests.live.interop.tools import ORAS, TOOLS
from tests.live.interop.writers import WRITERS


@pytest.fixture(scope="module")
def expected() -> Results:
    """What a run finds that tries everything, if all is as expected."""
    return Results(
        {tool.name: tool.known for tool in TOOLS},
        {reader.key: dict(reader.expected) for reader in READERS},
        {writer.key: (writer.format, writer.expected) for writer in WRITERS},
        {sample.writer: (sample.format, sample.paths) for sample in SAMPLES},
    )


def test_the_page_is_what_is_expected(expected: Results) -> None:
    """Also the rows of the programs that CI lacks: they were seen when the page was written."""
    assert render(expected, "") == PAGE.read_text("utf-8")
    assert "not run" not in render(expected, "")


def test_what_a_run_did_not_try_stays_as_it_is(expected: Results) -> None:
    page = render(expected, "")
    assert render(Results(), page) == page
    assert render(expected.without({"oras", "KitOps"}), page) == page


def test_what_was_never_tried_is_said_to_be_so(expected: Results) -> None:
    page = render(expected.without({"oras"}), "")
    row = next(line for line in page.splitlines() if line.startswith("| oras: `oras pull`"))
    assert row.count("not run") == len(FORMS)
    assert f"| [{ORAS.name}]({ORAS.url}) | not run |" in page


def test_another_outcome_is_another_page(expected: Results) -> None:
    key = READERS[0].key
    cells = {**expected.readers[key], FORMS[0].name: "refused"}
    other = replace(expected, readers={**expected.readers, key: cells})
    assert render(other, "") != render(expected, "")


def test_each_row_is_there_once(expected: Results) -> None:
    rows = [line.split("|")[1] for line in render(expected, "").splitlines() if line[:2] == "| "]
    tables = 6
    heads = {" command ", " form ", " tool ", " written by "}
    assert len([row for row in rows if row in heads]) == tables
    named = [row for row in rows if row not in heads]
    assert len(set(named)) == len(named)
