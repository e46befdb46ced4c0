from __future__ import annotations

import pytest

from tests.live.interop import samples
from tests.live.interop.bench import FORMS, Form
from tests.live.interop.cells import Cells
from tests.live.interop.page import PAGE, render
from tests.live.interop.readers import HARMLESS, READERS, Reader
from tests.live.interop.samples import SAMPLES, Sample
from tests.live.interop.tools import TOOLS
from tests.live.interop.writers import WRITERS, Writer

READERS_HERE = [reader for reader in READERS if reader.tool.is_due]
WRITERS_HERE = [writer for writer in WRITERS if writer.tool.is_due]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("reader", READERS_HERE, ids=lambda reader: reader.key)
def test_what_others_make_of_what_we_write(reader: Reader, form: Form, cells: Cells) -> None:
    expected = {reader.expected[form.name]} if reader.tool.is_known else HARMLESS
    assert cells.read(reader, form) in expected


@pytest.mark.parametrize("writer", WRITERS_HERE, ids=lambda writer: writer.key)
def test_what_we_make_of_what_others_write(writer: Writer, cells: Cells) -> None:
    assert cells.written(writer) == (writer.format, writer.expected)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.writer)
def test_what_we_make_of_what_others_wrote_elsewhere(sample: Sample) -> None:
    assert samples.observe(sample) == (sample.format, sample.paths)


def test_the_page_says_what_was_seen(cells: Cells) -> None:
    cells.try_all()
    results, page = cells.results(), PAGE.read_text("utf-8")
    other = {tool.name for tool in TOOLS if not tool.is_known}
    assert render(results.without(other), page) == page, "`make interop` writes it anew"
