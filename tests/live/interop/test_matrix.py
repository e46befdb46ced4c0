from __future__ import annotations

import pytest

from tests.live.interop.bench import FORMS, Bench, Form
from tests.live.interop.readers import READERS, Reader, observe

HERE = [reader for reader in READERS if not reader.tool.optional or reader.tool.path]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("reader", HERE, ids=lambda reader: reader.command)
def test_what_others_make_of_what_we_write(reader: Reader, form: Form, bench: Bench) -> None:
    assert observe(reader, bench, bench.written(form)) == reader.expected[form.name]
