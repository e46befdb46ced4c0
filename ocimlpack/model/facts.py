"""What is known of a model that ModelPack's config has no field for, and how each thing is known.

Both are annotations of the manifest, in a domain of this program's own: `ocimlpack.parameters` and
the like say what is known, `ocimlpack.found`, `ocimlpack.given` and `ocimlpack.guessed` name the
config's fields and these facts by how they are known. docs/format.md describes each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Final, Literal, get_args

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model import card
from ocimlpack.model.config import FORMS, Fields, fits
from ocimlpack.model.headers import Header
from ocimlpack.spec.gojson import decode

Origin = Literal["found", "given", "guessed"]
"""How something is known: the files say it; a person said it; it was concluded from something
else that the files say."""

ORIGINS: Final[tuple[Origin, ...]] = get_args(Origin)

DOMAIN: Final = "ocimlpack."
"""How the annotations begin."""

FACTS: Final = (
    "architectures",
    "parameters",
    "tensors",
    "contextLength",
    "opset",
    "frameworks",
    "task",
    "library",
    "baseModel",
)
"""The facts, in the order in which they are shown."""

_LENGTHS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "n_ctx",
    "seq_length",
)
"""What the number of tokens that a model takes is called in a `config.json`."""

_VERSIONS: Final = {
    "keras.version": "keras",
    "tensorflow.version": "tensorflow",
    "sklearn.version": "scikit-learn",
}
"""Where files say which version of which framework wrote them."""

_MAX_NUMBER: Final = 2**63
_MAX: Final = 1000
"""Characters of a fact: all annotations of a manifest are read by everybody who lists models."""


def usable(facts: Mapping[str, object]) -> dict[str, str]:
    """The facts that can be written: short texts and numbers; what a stranger wrote may be all."""
    found = {}
    for name in FACTS:
        value = facts.get(name)
        text = " ".join(value.split()) if isinstance(value, str) else value
        if isinstance(text, int) and not isinstance(text, bool) and 0 < text < _MAX_NUMBER:
            found[name] = str(text)
        elif isinstance(text, str) and text and len(text) <= _MAX and fits("title", text):
            found[name] = text
    return found


def write(
    fields: Fields,
    facts: Mapping[str, str],
    said: Mapping[str, str],
    *,
    given: Set[str],
    guessed: Set[str],
) -> dict[str, str]:
    """The annotations of the manifest.

    Args:
        fields: the config's fields.
        facts: what was found beside them.
        said: the annotations that were asked for. Facts that are among them are these.
        given: the fields that a person has set.
        guessed: those that no file says.

    Raises:
        InputError: one that was asked for is in this program's domain and no fact.
    """
    written = {f"{DOMAIN}{name}": text for name, text in facts.items()}
    for key, text in said.items():
        if key.startswith(DOMAIN) and key.removeprefix(DOMAIN) not in FACTS:
            raise InputError(
                f"{key} is in the domain of this program; of that, {', '.join(FACTS)} can be given",
                hint="choose a domain of your own: org.example.NAME",
            )
        written[key] = text
    known = [name for name in (*FORMS, *FACTS) if name in fields or f"{DOMAIN}{name}" in written]
    origins: dict[str, Origin] = dict.fromkeys(known, "found")
    origins.update(dict.fromkeys(guessed, "guessed"))
    origins.update(dict.fromkeys(given, "given"))
    origins.update((key.removeprefix(DOMAIN), "given") for key in said if key.startswith(DOMAIN))
    for origin in ORIGINS:
        names = [name for name in known if origins[name] == origin]
        if names:
            written[f"{DOMAIN}{origin}"] = ",".join(names)
    return written


def from_headers(headers: Iterable[Header]) -> dict[str, object]:
    """What the headers of a model's weights say: of each fact that on which they agree."""
    said: dict[str, set[object]] = {}
    for header in headers:
        for name, value in _from_header(header).items():
            said.setdefault(name, set()).add(value)
    return {name: values.pop() for name, values in said.items() if len(values) == 1}


def _from_header(header: Header) -> dict[str, object]:
    found: dict[str, object] = {}
    said = header.facts
    if opset := said.get("opset"):
        found["opset"] = opset
    # GGUF's keys begin with the family.
    length = said.get(f"{header.fields.get('family')}.context_length", "")
    if length.isdecimal():
        found["contextLength"] = int(length)
    if producer := said.get("producer"):
        found["frameworks"] = f"{producer} {said.get('producer_version', '')}".strip()
    for key, name in _VERSIONS.items():
        if version := said.get(key):
            found["frameworks"] = f"{name} {version}"
    return found


def from_config(raw: bytes) -> dict[str, object]:
    """What a `config.json` says, as the transformers library writes it.

    Raises:
        InvalidContentError: it is not a JSON object.
    """
    value = decode(raw, "it")
    if not isinstance(value, dict):
        raise InvalidContentError("it is not a JSON object")
    found: dict[str, object] = {}
    classes = value.get("architectures")
    if isinstance(classes, list):
        found["architectures"] = joined(classes)
    text = value.get("text_config")
    for part in (value, text if isinstance(text, dict) else {}):
        lengths = (part.get(key) for key in _LENGTHS)
        length = next((each for each in lengths if type(each) is int), None)
        if length is not None:
            found.setdefault("contextLength", length)
    if isinstance(version := value.get("transformers_version"), str):
        found["frameworks"] = f"transformers {version}"
    return found


def from_card(raw: bytes) -> dict[str, object]:
    """What the front matter of a README says.

    Raises:
        InvalidContentError: there is front matter, and it can't be read.
    """
    text = raw.decode("utf-8", "replace")
    library, task = card.read_taxonomy(text)
    said = {"task": task, "library": library, "baseModel": joined(card.read_bases(text))}
    return {name: value for name, value in said.items() if value}


def facts_in(annotations: Mapping[str, str]) -> dict[str, str]:
    """The facts that a manifest's annotations tell, in the order in which they are shown."""
    return {name: annotations[key] for name in FACTS if (key := f"{DOMAIN}{name}") in annotations}


def origins_in(annotations: Mapping[str, str]) -> dict[str, Origin]:
    """How each field and fact is known, as far as a manifest's annotations say it."""
    return {
        name: origin
        for origin in ORIGINS
        for name in annotations.get(f"{DOMAIN}{origin}", "").split(",")
        if name in FORMS or name in FACTS
    }


def others_in(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations that are neither facts nor how something is known."""
    ours = {f"{DOMAIN}{name}" for name in (*FACTS, *ORIGINS)}
    return {key: text for key, text in annotations.items() if key not in ours}


def joined(texts: Iterable[object]) -> str:
    """Several texts as one fact, each once; what is no text is left out."""
    return ", ".join(dict.fromkeys(text for text in texts if isinstance(text, str) and text))
