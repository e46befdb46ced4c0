"""The config blob of a ModelPack artifact: which fields it has, and its exact bytes.

Fields and their order are those of the specification's Go types,
https://github.com/modelpack/model-spec/blob/main/specs-go/v1/config.go; what values they take is in
https://github.com/modelpack/model-spec/blob/main/docs/config.md. The schema there allows no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

from ocimlpack.errors import InputError
from ocimlpack.model import times
from ocimlpack.spec.descriptor import Platform
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import decode, encode, sorted_map

Value = str | bool | tuple[str, ...]
Fields = Mapping[str, Value]
"""What is known of a model, by the names that the config has. The fields of `capabilities` are
beside the others: no name is in two of the config's objects."""

Form = Literal["text", "texts", "time", "flag", "modalities", "languages", "size"]
"""What a field takes: a text, a list of them, a time, yes or no, and three that are narrower."""

DESCRIPTOR: Final[Mapping[str, Form]] = {
    "createdAt": "time",
    "authors": "texts",
    "family": "text",
    "name": "text",
    "docURL": "text",
    "sourceURL": "text",
    "datasetsURL": "texts",
    "version": "text",
    "revision": "text",
    "vendor": "text",
    "licenses": "texts",
    "title": "text",
    "description": "text",
}
MODEL: Final[Mapping[str, Form]] = {
    "architecture": "text",
    "format": "text",
    "paramSize": "size",
    "precision": "text",
    "quantization": "text",
}
CAPABILITIES: Final[Mapping[str, Form]] = {
    "inputTypes": "modalities",
    "outputTypes": "modalities",
    "knowledgeCutoff": "time",
    "reasoning": "flag",
    "toolUsage": "flag",
    "reward": "flag",
    "languages": "languages",
}
_NOT_RUNNING: Final = frozenset({"Labels", *MODEL, "capabilities"})
"""What an image's config has that is not of how it runs."""

FORMS: Final[Mapping[str, Form]] = {**DESCRIPTOR, **MODEL, **CAPABILITIES}

PRECISIONS: Final = frozenset(
    {
        *("float16", "bfloat16", "float32", "float64", "float8_e4m3", "float8_e5m2"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"),
        *("complex32", "complex64", "complex128"),
    }
)
"""The precisions that the specification names."""

MODALITIES: Final = ("text", "image", "audio", "video", "embedding", "other")

_MAX_TEXT: Final = 65536
_SIZE: Final = re.compile(r"\d+(?:\.\d)?[KMBTQ]\Z", re.IGNORECASE | re.ASCII)
_LANGUAGE: Final = re.compile(r"[a-z]{2}\Z", re.ASCII)
# Tab and line feed are text; the other controls are none, and U+FFFE and the like aren't either.
_UNFIT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_SCALES: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def encode_config(fields: Fields, diff_ids: Sequence[Digest]) -> bytes:
    """The config's bytes, as Go would write them.

    Args:
        fields: what is known of the model; empty values are left out.
        diff_ids: the digests of the layers, in the manifest's order: raw layers are not compressed,
            so the digest of a layer is that of its content.
    """
    model = _part(fields, MODEL)
    if capabilities := _part(fields, CAPABILITIES):
        model["capabilities"] = capabilities
    return encode(
        {
            "descriptor": _part(fields, DESCRIPTOR),
            "modelfs": {"type": "layers", "diffIds": [str(each) for each in diff_ids]},
            "config": model,
        }
    )


def encode_image_config(
    fields: Fields,
    diff_ids: Sequence[Digest],
    platform: Platform | None = None,
    labels: Mapping[str, str] = MappingProxyType({}),
    below: Sequence[str] = (),
    runs: Mapping[str, Any] = MappingProxyType({}),
) -> bytes:
    """The config of a container image that says of the model what the other config would say.

    For registries that take images alone, and for images. What an image's config needs is there,
    and the model's own fields are beside it, which those who don't know them have to ignore:
    https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md

    Args:
        fields: what is known of the model; empty values are left out.
        diff_ids: the digests of the layers, in the manifest's order.
        platform: the machines that it is for; None for what runs nowhere.
        labels: what the image says of itself to those who know nothing of models.
        below: the digests of what is below the model's layers, unpacked.
        runs: how the image is run.
    """
    model = decode(encode_config(fields, diff_ids), "the config")
    created = {"created": fields["createdAt"]} if fields.get("createdAt") else {}
    # These are the words of builders for what is no program.
    machine = platform.to_json() if platform else {"architecture": "unknown", "os": "unknown"}
    return encode(
        {
            **created,
            **machine,
            "config": _running(runs) | _labels(runs, labels) | model["config"],
            "rootfs": {"type": "layers", "diff_ids": [*below, *map(str, diff_ids)]},
            "descriptor": model["descriptor"],
            "modelfs": model["modelfs"],
        }
    )


def _running(runs: Mapping[str, Any]) -> dict[str, Any]:
    """How the image is run; what it says of a model that is below it is not about this one."""
    return {key: value for key, value in runs.items() if key not in _NOT_RUNNING}


def _labels(runs: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The image's labels, which what is below it may have some of."""
    given = runs.get("Labels")
    texts = given.items() if isinstance(given, dict) else ()
    found = {key: value for key, value in texts if isinstance(value, str)} | dict(labels)
    return {"Labels": sorted_map(found)} if found else {}


def _part(fields: Fields, names: Iterable[str]) -> dict[str, object]:
    part: dict[str, object] = {}
    for name in names:
        value = fields.get(name)
        if value not in (None, "", ()):
            part[name] = list(value) if isinstance(value, tuple) else value
    return part


def check(name: str, value: Value) -> Value:
    """A field's value as it goes into the config.

    Args:
        name: the field, one of `FORMS`.
        value: a text, or several for a field that is a list, or a truth value.

    Raises:
        InputError: it is not what the field takes; says what would be.
    """
    form = FORMS[name]
    if form == "flag":
        if not isinstance(value, bool):
            raise InputError(f"{name} is true or false, not {value!r:.60}")
        return value
    if isinstance(value, bool) or isinstance(value, tuple) != (form in _LISTS):
        raise InputError(f"{name} is {_LISTS.get(form, 'a text')}, not {value!r:.60}")
    if isinstance(value, tuple):
        return tuple(dict.fromkeys(_checked(name, form, each) for each in value))
    return _checked(name, form, value)


def _checked(name: str, form: Form, text: str) -> str:
    text = text.strip()
    if not text:
        raise InputError(f"{name} is empty")
    if len(text) > _MAX_TEXT or _UNFIT.search(text):
        raise InputError(f"{name} has a control character or more than {_MAX_TEXT:,} characters")
    if form == "time":
        return times.parse(text, name)
    if (rule := _RULES.get(form)) and not rule[0](text):
        raise InputError(f"{name}: {text!r:.60} is none; it takes {rule[1]}")
    return text


_LISTS: Final[Mapping[Form, str]] = {
    "texts": "a list of texts",
    "modalities": f"a list of {', '.join(MODALITIES)}",
    "languages": "a list of two-letter codes such as en",
}
_RULES: Final[Mapping[Form, tuple[Callable[[str], object], str]]] = {
    "size": (_SIZE.match, "a number with at most one decimal and one of K, M, B, T, Q, like 6.7B"),
    "modalities": (MODALITIES.__contains__, ", ".join(MODALITIES)),
    "languages": (_LANGUAGE.match, "the two-letter codes of ISO 639, like en"),
}


def fits(name: str, value: Value) -> bool:
    """Whether a value is what a field takes: detected ones that aren't are left out."""
    try:
        check(name, value)
    except InputError:
        return False
    return True


def param_size(count: int) -> str | None:
    """A number of parameters as the config has it, such as `22.7M`; None below fifty.

    At most one decimal, rounded half up, in whole numbers so that no machine rounds otherwise.
    """
    for unit, letter in _SCALES:
        tenths = (count * 10 + unit // 2) // unit
        # 999,950 is a thousand thousands after rounding, so it has the next letter; 999,949 isn't.
        if count * 20_000 >= unit * 19_999 or unit == 1000:
            whole, rest = divmod(tenths, 10)
            return f"{whole}.{rest}{letter}" if rest else f"{whole}{letter}" if whole else None
    return None


def precisions(counts: Mapping[str, int]) -> str | None:
    """The precisions of a model's numbers, the most frequent first, as the config has them.

    Args:
        counts: how many numbers there are of each type; types without a ModelPack name are left
            out. Equal counts are in the order of their names.
    """
    known = [(-count, name) for name, count in counts.items() if name in PRECISIONS and count]
    return ",".join(name for _, name in sorted(known)) or None
