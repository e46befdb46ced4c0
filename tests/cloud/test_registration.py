"""What is written into the catalog, in its terms and within its limits."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from io import BytesIO

import pytest

from ocimlpack.cloud.registration import (
    MAX_TEXT,
    Datum,
    Registration,
    archive,
    custom_metadata,
    described,
    listed,
    taxonomy,
)
from ocimlpack.errors import InputError
from tests.cloud.datascience import CATEGORIES, DEFINED, MAX_METADATA, size_of

DIGEST = f"sha256:{'a' * 64}"


def entry(**more: object) -> Registration:
    said = {"name": "m", "reference": f"example.com/m@{DIGEST}", "digest": DIGEST}
    return Registration(**said, artifact_type="x/y", size=1, **more)  # type: ignore[arg-type]


def size(data: tuple[Datum, ...]) -> int:
    return sum(
        size_of({"key": each.key, "value": each.value, "category": each.category}) for each in data
    )


def test_the_same_content_makes_the_same_archive() -> None:
    files = {"b": b"2", "a": b"1" * 1000, "ü/c": b""}
    made = archive(files)
    assert made == archive(dict(reversed(files.items())))
    assert zipfile.ZipFile(BytesIO(made)).namelist() == ["a", "b", "ü/c"]
    elsewhere = subprocess.run(
        [sys.executable, "-c", PRINT_ARCHIVE],
        env={**os.environ, "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert elsewhere.stdout == made


PRINT_ARCHIVE = """
import sys
from ocimlpack.cloud.registration import archive
sys.stdout.buffer.write(archive({"b": b"2", "a": b"1" * 1000, "\\u00fc/c": b""}))
"""


def test_what_is_found_gives_way_to_what_was_asked_for() -> None:
    results = {f"result{number}": "x" * 200 for number in range(500)}
    asked = {f"asked{number}": "y" * 200 for number in range(10)}
    data, left = custom_metadata(entry(metrics=asked, results=results))
    keys = {each.key for each in data}
    assert {f"metric.{key}" for key in asked} <= keys
    assert left == 500 - sum(key.startswith("metric.result") for key in keys)
    assert MAX_METADATA - 1000 < size(data) <= MAX_METADATA


def test_what_others_have_written_takes_room() -> None:
    results = {f"result{number}": "x" * 200 for number in range(500)}
    alone, _ = custom_metadata(entry(results=results))
    theirs = Datum("theirs", "ü" * 1000, "Reports", "of theirs")
    beside, _ = custom_metadata(entry(results=results), [theirs])
    assert size(alone) - size(beside) >= 6000
    full, left = custom_metadata(entry(results=results), [Datum("theirs", "x" * 16_000)])
    assert [each.key for each in full if each.key.startswith("metric.")] == []
    assert left == 500


def test_what_was_asked_for_has_to_fit() -> None:
    with pytest.raises(InputError, match=r"the metadata is 23,\d+ bytes more than the catalog"):
        custom_metadata(entry(metrics={f"metric{number}": "x" * 160 for number in range(100)}))


def test_a_result_that_is_no_metric_of_the_catalogs_is_left_out() -> None:
    results = {"long": "x" * 256, "k" * 256: "1", "fine": "x" * 255}
    data, left = custom_metadata(entry(results=results))
    assert [each.key for each in data if each.key.startswith("metric.")] == ["metric.fine"]
    assert left == 2


def test_what_was_asked_for_stands_for_what_was_found() -> None:
    data, left = custom_metadata(entry(metrics={"f1": "1"}, results={"f1": "2"}))
    assert [each.value for each in data if each.key == "metric.f1"] == ["1"]
    assert left == 0


def test_every_category_is_one_of_the_services() -> None:
    data, _ = custom_metadata(entry(tags=("1",), metrics={"f1": "1"}))
    assert {str(each.category).lower() for each in data} <= CATEGORIES


@pytest.mark.parametrize(
    ("library", "task", "expected"),
    [
        ("transformers", None, {"Framework": "transformers"}),
        ("Sklearn", None, {"Framework": "scikit-learn"}),
        ("keras", "tabular-regression", {"Framework": "keras", "UseCaseType": "regression"}),
        ("sentence-transformers", "sentence-similarity", {}),
        (None, "object-detection", {"UseCaseType": "object_localization"}),
    ],
)
def test_what_is_said_in_the_services_own_terms(
    library: str | None, task: str | None, expected: dict[str, str]
) -> None:
    found = taxonomy(entry(library=library, task=task))
    assert {each.key: each.value for each in found} == expected


def test_every_term_is_one_of_the_services() -> None:
    from ocimlpack.cloud import registration

    for key, terms in (
        ("Framework", registration._FRAMEWORKS),
        ("UseCaseType", registration._USE_CASES),
    ):
        assert set(terms.values()) <= (DEFINED[key] or set())


def test_texts_are_cut_where_it_shows() -> None:
    assert described("a\n  b\tc") == "a b c"
    assert described("x" * 255) == "x" * 255
    assert described("x" * 256) == "x" * 254 + "…"
    assert listed(()) == ""
    assert listed(["1.0", "stable"]) == "1.0,stable"
    cut = listed(f"tag-{number}" for number in range(100))
    assert cut.split(",") == [f"tag-{number}" for number in range(len(cut.split(",")))]
    assert MAX_TEXT - 8 < len(cut) <= MAX_TEXT
