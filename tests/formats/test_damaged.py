"""Real files cut short and with bits turned: read, or refused by an error of our own."""

from __future__ import annotations

import pytest
from hypothesis import given

from ocimlpack.model.formats import classify
from tests.formats.conftest import Written
from tests.formats.test_agreement import REAL
from tests.model.damage import Damage, check, damages, often

SMALL = [name for name in REAL if name not in {"model.safetensors", "vocabulary.gguf"}]


@pytest.fixture(scope="session")
def contents(written: Written) -> dict[str, bytes]:
    return {name: written.path(name).read_bytes() for name in SMALL}


@pytest.mark.parametrize("name", SMALL)
@often(10)
@given(damage=damages)
def test_a_damaged_file_is_read_or_refused(
    name: str, contents: dict[str, bytes], damage: Damage
) -> None:
    content = damage.do(contents[name])
    check(name, classify(name, content).format or "", content)
