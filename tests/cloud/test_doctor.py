"""What doctor says of Oracle Cloud's registry, and that it leaves nothing there."""

from __future__ import annotations

from pathlib import Path

import ocimlpack
from tests.cloud.cloud import REGION
from tests.cloud.local import LocalCloud
from tests.live.registries import Registry
from tests.live.test_doctor import DISTRIBUTION3, contents, table

PLACE = f"ocir://{REGION}/team/doctor:1.0"


def test_the_table_is_right_and_nothing_is_left(
    alice: LocalCloud, upstream: Registry, model: Path
) -> None:
    ocimlpack.push(model, PLACE)
    before = contents(upstream)
    # Its repositories are listed by Oracle's own API alone.
    assert table(PLACE) == {**DISTRIBUTION3, "list of repositories": "unknown"}
    assert contents(upstream) == before
    page = ocimlpack.doctor(PLACE)
    assert (page.exit_code, page.findings) == (0, ())
    (identity,) = [section for section in page.sections if section.name == "identity"]
    assert identity.facts[0].value == "api_key"


def test_a_repository_that_is_not_there_is_not_made(alice: LocalCloud, upstream: Registry) -> None:
    before = contents(upstream)
    table(f"ocir://{REGION}/team/never")
    assert contents(upstream) == before
    assert "team/never" not in {each.name for each in ocimlpack.ocir_list()}
