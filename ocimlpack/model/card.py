"""What the small files beside the weights say of a model: its card, its `config.json`, its licence.

The card is a README whose front matter follows
https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.config import PRECISIONS, Value, fits
from ocimlpack.model.licenses import spell
from ocimlpack.spec.gojson import decode

_FRONT_MATTER: Final = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)

# What goes in and what comes out, by the hub's names of tasks: https://huggingface.co/tasks. Labels
# of classes count as text; boxes, scores, tables and the like are `other`.
_TASKS: Final = {
    "audio-classification": "audio text",
    "audio-text-to-text": "audio,text text",
    "audio-to-audio": "audio audio",
    "automatic-speech-recognition": "audio text",
    "depth-estimation": "image other",
    "document-question-answering": "image,text text",
    "feature-extraction": "text embedding",
    "fill-mask": "text text",
    "image-classification": "image text",
    "image-feature-extraction": "image embedding",
    "image-segmentation": "image other",
    "image-text-to-image": "image,text image",
    "image-text-to-text": "image,text text",
    "image-text-to-video": "image,text video",
    "image-to-3d": "image other",
    "image-to-image": "image image",
    "image-to-text": "image text",
    "image-to-video": "image video",
    "keypoint-detection": "image other",
    "mask-generation": "image other",
    "object-detection": "image other",
    "question-answering": "text text",
    "sentence-similarity": "text embedding",
    "summarization": "text text",
    "table-question-answering": "other,text text",
    "tabular-classification": "other text",
    "tabular-regression": "other other",
    "text-classification": "text text",
    "text-generation": "text text",
    "text-ranking": "text other",
    "text-to-3d": "text other",
    "text-to-audio": "text audio",
    "text-to-image": "text image",
    "text-to-speech": "text audio",
    "text-to-video": "text video",
    "text2text-generation": "text text",
    "time-series-forecasting": "other other",
    "token-classification": "text text",
    "translation": "text text",
    "video-classification": "video text",
    "video-text-to-text": "video,text text",
    "video-to-video": "video video",
    "visual-document-retrieval": "image,text embedding",
    "visual-question-answering": "image,text text",
    "voice-activity-detection": "audio other",
    "zero-shot-classification": "text text",
    "zero-shot-image-classification": "image,text text",
    "zero-shot-object-detection": "image,text other",
}

# Families that have attention heads among layers of another sort, or call other things heads.
_NO_TRANSFORMERS: Final = re.compile(
    r"(falcon_)?mamba|rwkv|xlstm|retnet|jamba|zamba|bamba|recurrent_gemma|nemotron_?h"
    r"|granite_?moe_?hybrid|lfm2|falcon_?h1",
    re.IGNORECASE,
)
_HEADS: Final = (
    "num_attention_heads",
    "n_head",
    "n_heads",
    "num_heads",
    "encoder_attention_heads",
    "decoder_attention_heads",
)
_USUAL: Final = "default"
"""What the hub calls the part of a dataset that has no parts."""

_PARTS: Final = ("text_config", "vision_config", "audio_config", "encoder", "decoder")


def _front_matter(text: str) -> dict[str, Any]:
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}
    import yaml  # here: many models have no card

    try:
        # BaseLoader makes nothing but texts, lists and maps, and leaves `no` a text, which in
        # `language: no` is Norwegian.
        value = yaml.load(match[1], Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidContentError("its front matter is not YAML") from error
    return value if isinstance(value, dict) else {}


def read_card(text: str) -> dict[str, Value]:
    """Fields from the front matter of a README; nothing if it has none.

    Raises:
        InvalidContentError: there is one, and it can't be read.
    """
    value = _front_matter(text)
    fields: dict[str, Value] = {
        "licenses": _licenses(value),
        "languages": tuple(
            each for each in _texts(value.get("language")) if re.fullmatch("[a-z]{2}", each)
        ),
        "datasetsURL": _texts(value.get("datasets")),
    }
    if isinstance(name := value.get("model_name"), str):
        fields["name"] = name
    task = value.get("pipeline_tag")
    if isinstance(task, str) and task in _TASKS:
        inputs, outputs = _TASKS[task].split()
        fields["inputTypes"] = tuple(inputs.split(","))
        fields["outputTypes"] = tuple(outputs.split(","))
    return usable(fields)


def read_metrics(text: str) -> dict[str, str]:
    """The results that a README's front matter tells of, as name → value; nothing if of none.

    A metric's name has its dataset's before it where there is one, and that of its part if it has
    several: `squad/f1`, `mteb/amazon_counterfactual/en/accuracy`.

    Raises:
        InvalidContentError: there is front matter, and it can't be read.
    """
    value = _front_matter(text)
    found: dict[str, str] = {}
    index = value.get("model-index")
    for model in index if isinstance(index, list) else ():
        results = model.get("results") if isinstance(model, dict) else None
        for result in results if isinstance(results, list) else ():
            if isinstance(result, dict):
                found.update(_measured(result))
    return found


def read_taxonomy(text: str) -> tuple[str | None, str | None]:
    """The library and the task that a README's front matter names, by the hub's names.

    Raises:
        InvalidContentError: there is front matter, and it can't be read.
    """
    value = _front_matter(text)
    return _text(value.get("library_name")), _text(value.get("pipeline_tag"))


def read_bases(text: str) -> tuple[str, ...]:
    """The models that a README's front matter says this one was made from, by the hub's names.

    Raises:
        InvalidContentError: there is front matter, and it can't be read.
    """
    return _texts(_front_matter(text).get("base_model"))


def _measured(result: Mapping[str, Any]) -> dict[str, str]:
    """The metrics of one result of a `model-index`."""
    dataset = result.get("dataset")
    said = dataset if isinstance(dataset, dict) else {}
    parts = [_text(said.get("type")), _text(said.get("config"))]
    prefix = "/".join(part for part in parts if part and part != _USUAL)
    found = {}
    metrics = result.get("metrics")
    for metric in metrics if isinstance(metrics, list) else ():
        if isinstance(metric, dict):
            name = _text(metric.get("type")) or _text(metric.get("name"))
            value = _text(metric.get("value"))
            if name and value:
                found[f"{prefix}/{name}" if prefix else name] = value
    return found


def _text(value: object) -> str | None:
    """A text on one line; None for anything else, and for an empty one."""
    return " ".join(value.split()) or None if isinstance(value, str) else None


def read_config(raw: bytes) -> dict[str, Value]:
    """Fields from a `config.json` as the transformers library writes it.

    Raises:
        InvalidContentError: it is not a JSON object.
    """
    value = decode(raw, "it")
    if not isinstance(value, dict):
        raise InvalidContentError("it is not a JSON object")
    fields: dict[str, Value] = {}
    family = value.get("model_type")
    if isinstance(family, str):
        fields["family"] = family
        if not _NO_TRANSFORMERS.match(family) and _has_heads(value):
            fields["architecture"] = "transformer"
    if precision := _precision(value):
        fields["precision"] = precision
    quantization = value.get("quantization_config")
    if isinstance(quantization, dict) and isinstance(quantization.get("quant_method"), str):
        fields["quantization"] = quantization["quant_method"].lower()
    return usable(fields)


def usable(fields: Mapping[str, Value]) -> dict[str, Value]:
    """The fields whose values the config can take: what a stranger wrote may be anything."""
    return {name: value for name, value in fields.items() if value and fits(name, value)}


def _licenses(card: Mapping[str, Any]) -> tuple[str, ...]:
    found = []
    for name in _texts(card.get("license")):
        if name.lower() in {"other", "unknown"}:
            # The hub's way to say that the name is in another key.
            found += list(_texts(card.get("license_name")))
        else:
            found.append(spell(name))
    return tuple(found)


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(each.strip() for each in items if isinstance(each, str) and each))


def _precision(config: Mapping[str, Any]) -> str | None:
    parts = [config, *(config.get(part) for part in _PARTS)]
    for part in parts:
        if not isinstance(part, dict):
            continue
        # Newer versions of the library write `dtype`, older ones `torch_dtype`.
        name = part.get("dtype") or part.get("torch_dtype")
        if isinstance(name, str):
            name = name.removeprefix("torch.").removesuffix("fn")
            return name if name in PRECISIONS else None
    return None


def _has_heads(config: Mapping[str, Any]) -> bool:
    parts = [config, *(config.get(part) for part in _PARTS)]
    return any(isinstance(part, dict) and any(part.get(key) for key in _HEADS) for part in parts)
