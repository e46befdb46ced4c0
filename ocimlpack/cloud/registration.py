"""What is to stand in the model catalog, in the form and within the limits that it has.

Limits, keys and their values are those of Oracle's own client,
https://github.com/oracle/accelerated-data-science (ads/model/model_metadata.py), and of the SDK's
`Metadata`. What people asked for is refused where it can't be had; what was merely found in the
model is left out, as nobody could do anything about it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ocimlpack._version import __version__
from ocimlpack.errors import InputError

REFERENCE: Final = "ociReference"
DIGEST: Final = "ociDigest"
TAGS: Final = "ociTags"
METRIC: Final = "metric."
_TYPE: Final = "ociArtifactType"
_SIZE: Final = "ociSizeInBytes"
_VERSION: Final = "ocimlpackVersion"

KEYS: Final = frozenset({REFERENCE, DIGEST, TAGS, _TYPE, _SIZE, _VERSION})
"""Of custom metadata: what is written at each registration."""

_OTHER: Final = "Other"
_PERFORMANCE: Final = "Performance"

MAX_TEXT: Final = 255
"""Characters of names, descriptions, metrics and the list of tags. Longer values of metadata are
taken nowadays, but earlier versions of the client had this limit."""
_MAX_METADATA: Final = 32_000
"""Bytes of all metadata of a model, as `Datum.size` counts them."""

_FRAMEWORKS: Final[Mapping[str, str]] = {
    **{
        name: name
        for name in (
            *("bert", "ensemble", "flair", "gensim", "h2o", "keras", "mxnet", "nltk", "prophet"),
            *("pytorch", "scikit-learn", "sktime", "spacy", "statsmodels", "tensorflow"),
            *("transformers", "xgboost"),
        )
    },
    "sklearn": "scikit-learn",
    "tf-keras": "keras",
}
"""By the name that a model card has for its library: what the service calls it in `Framework`."""
_USE_CASES: Final[Mapping[str, str]] = {
    "image-classification": "image_classification",
    "object-detection": "object_localization",
    "tabular-regression": "regression",
    "time-series-forecasting": "time_series_forecasting",
}
"""By the name that a model card has for its task: what the service calls it in `UseCaseType`. Tasks
that it has no exact name for are left out."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can have: the same content makes the same archive."""
_UNIX: Final = 3
_MODE: Final = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Registration:
    """A model as it is to be registered.

    Attributes:
        name: what people see.
        reference: the model's location, pinned to its digest.
        digest: the digest.
        artifact_type: what sort of artifact it is.
        size: bytes of all its content.
        tags: the tags that stand for it; the first is the label of the version.
        series: the name of the set that its versions are in.
        description: a sentence or two.
        is_named, is_described: whether name and description were asked for: else those that the
            catalog has already stay.
        metrics: names and values that were asked for; they replace those that are there.
        results: those that the model's card tells of: as many as there is room for.
        library: what the card says it is made with.
        task: what the card says it is for.
        source: where its source is: a repository's address.
        revision: the commit there.
        files: name → content of what is kept beside it: the manifest, the config, the card.
    """

    name: str
    reference: str
    digest: str
    artifact_type: str
    size: int
    tags: tuple[str, ...] = ()
    series: str = ""
    description: str = ""
    is_named: bool = False
    is_described: bool = False
    metrics: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    library: str | None = None
    task: str | None = None
    source: str | None = None
    revision: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Datum:
    """A piece of a model's metadata.

    Attributes:
        key: its name.
        value: its value.
        category: one of the service's; None for a piece that the service defines.
        description: a sentence.
    """

    key: str
    value: str
    category: str | None = None
    description: str | None = None

    @property
    def size(self) -> int:
        """Bytes that count against the limit, as Oracle's own client counts them: in UTF-16."""
        shown = {
            "key": self.key,
            "value": self.value,
            "description": self.description,
            "category": self.category,
            "has_artifact": False,
        }
        return len(json.dumps(shown).encode("utf-16"))


def check(entry: Registration) -> None:
    """Refuse what can't stand in the catalog, before anything is there.

    Raises:
        InputError: something that was asked for is too long, or empty.
    """
    texts = {"name": entry.name, "version set's name": entry.series}
    for what, text in texts.items():
        if len(text) > MAX_TEXT:
            raise InputError(
                f"the {what} has {len(text)} characters; the catalog takes {MAX_TEXT}: {text[:40]}…"
            )
    for key, value in entry.metrics.items():
        if not key.strip() or not value.strip():
            raise InputError(f"a metric has a name and a value: {key!r:.60}={value!r:.60}")
        if len(key) > MAX_TEXT - len(METRIC) or len(value) > MAX_TEXT:
            raise InputError(
                f"the metric {key:.40} is too long: the catalog takes {MAX_TEXT} characters"
            )


def custom_metadata(
    entry: Registration, others: Sequence[Datum] = ()
) -> tuple[tuple[Datum, ...], int]:
    """The metadata that this program writes.

    Args:
        entry: what is registered.
        others: pieces that others have added, which need room as well.

    Returns:
        The pieces, and how many of the card's results there was no room for.

    Raises:
        InputError: what was asked for alone is more than the catalog takes.
    """
    asked = [
        *_fixed(entry),
        *(Datum(METRIC + key, value, _PERFORMANCE) for key, value in entry.metrics.items()),
    ]
    room = _MAX_METADATA - sum(datum.size for datum in asked)
    if room < 0:
        raise InputError(
            f"the metadata is {-room:,} bytes more than the catalog takes",
            hint="give fewer metrics",
        )
    # What others have written is there already: whether all of it is too much, the service says.
    room -= sum(datum.size for datum in others)
    known = {datum.key for datum in (*asked, *others)}
    kept: list[Datum] = []
    left = 0
    for key, value in entry.results.items():
        datum = Datum(METRIC + key, value, _PERFORMANCE)
        if datum.key in known:
            continue
        if datum.size > room or len(datum.key) > MAX_TEXT or len(value) > MAX_TEXT:
            left += 1
        else:
            kept.append(datum)
            room -= datum.size
    return (*asked, *kept), left


def taxonomy(entry: Registration) -> tuple[Datum, ...]:
    """What is known of it in the service's own terms."""
    known = {
        "Framework": _FRAMEWORKS.get((entry.library or "").lower()),
        "UseCaseType": _USE_CASES.get(entry.task or ""),
    }
    return tuple(Datum(key, value) for key, value in known.items() if value)


def described(text: str) -> str:
    """A description within the limit, with a mark where it was cut."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def listed(tags: Iterable[str]) -> str:
    """The value for a list of tags: as many whole ones as there is room for."""
    found = ""
    for tag in tags:
        longer = f"{found},{tag}" if found else tag
        if len(longer) > MAX_TEXT:
            break
        found = longer
    return found


def archive(files: Mapping[str, bytes]) -> bytes:
    """A zip of a few small files, the same for the same content.

    Nothing in it is compressed: what compression makes differs from one zlib to the next.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as made:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = _UNIX, _MODE
            made.writestr(info, files[name])
    return stream.getvalue()


def _fixed(entry: Registration) -> list[Datum]:
    fixed = {
        REFERENCE: entry.reference,
        DIGEST: entry.digest,
        _TYPE: entry.artifact_type,
        _SIZE: str(entry.size),
        TAGS: listed(entry.tags),
        _VERSION: __version__,
    }
    return [Datum(key, value, _OTHER) for key, value in fixed.items() if value]
