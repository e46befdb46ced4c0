"""What each writer really wrote, and what is understood of it: a row for each reader at least."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ocimlpack.errors import NotFoundError
from ocimlpack.model import readers
from ocimlpack.model.readers.table import READERS
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Index, Manifest, parse
from ocimlpack.stores.base import Blob, BytesBlob
from tests.model.readers.artifacts import GOLDEN

TREE = {
    "LICENSE",
    "README.md",
    "config.json",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "modeling_tiny.py",
    "onnx/model.onnx",
    "src/util/__init__.py",
    "src/util/x.py",
    "tokenizer.json",
    "tokenizer_config.json",
}
SHARDS = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
ONNX = SHARDS | {"onnx/model.onnx"}
TINY = {"config.json", "model-00001-of-00002.safetensors"}


class Config:
    """A store that holds a config, whatever digest it is asked for: samples are laid out anew."""

    def __init__(self, name: str) -> None:
        self._path = GOLDEN / f"{name}.config.json"

    def resolve(self, name: str) -> Descriptor:
        raise NotFoundError(name)

    def exists(self, desc: Descriptor) -> bool:
        return self._path.is_file()

    def fetch(self, desc: Descriptor) -> Blob:
        if not self._path.is_file():
            raise NotFoundError(str(desc.digest))
        return BytesBlob(self._path.read_bytes())

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Sample:
    """What is to be found in one.

    Attributes:
        format: its format.
        files: the paths of what is a file or an archive of one; empty where archives say more.
        weights: which of them are weights.
        fields: some of what is said of the model.
        encodings: how layers hold files.
        notes: words of each note.
    """

    format: str
    files: set[str]
    weights: set[str] = field(default_factory=set)
    fields: dict[str, Any] = field(default_factory=dict)
    encodings: set[str] = field(default_factory=lambda: {"raw"})
    notes: tuple[str, ...] = ()


SAMPLES = {
    "modctl-raw": Sample(
        "modelpack", TREE, ONNX, {"family": "llama", "name": "model", "precision": "bfloat16"}
    ),
    "modctl-tar": Sample("modelpack", TREE, ONNX, {"family": "llama"}, {"tar"}),
    "modelpack-client": Sample(
        "modelpack",
        {*SHARDS, "config.json", "README.md", "src", "model.onnx"},
        SHARDS | {"model.onnx"},
        {"name": "tiny", "format": "safetensors"},
        {"raw", "tar"},
    ),
    "dmr-stcncf": Sample(
        "modelpack", TREE | {"Modelfile"}, SHARDS, {"paramSize": "36.86K", "quantization": "BF16"}
    ),
    "dmr-ggufcncf": Sample(
        "modelpack", {"tiny.gguf", "LICENSE"}, {"tiny.gguf"}, {"format": "gguf", "family": "llama"}
    ),
    "olot-modelpack": Sample(
        "modelpack",
        {*TINY, "model.onnx", "README.md"},
        {*TINY, "model.onnx"},
        {},
        {"tar", "tar+gzip"},
    ),
    "oras-v1": Sample("modelpack", {*TINY, "src"}, TINY - {"config.json"}, {}, {"raw", "tar+gzip"}),
    "kit-v1.7-modelkit": Sample(
        "modelkit",
        (TREE - {"modeling_tiny.py", "src/util/__init__.py", "src/util/x.py"}) | {"."},
        ONNX,
        {"name": "tiny", "description": "d", "authors": ["me"]},
        {"tar"},
    ),
    "dmr-gguf": Sample(
        "docker-model",
        {"tiny.gguf", "LICENSE"},
        {"tiny.gguf"},
        {
            "format": "gguf",
            "architecture": "llama",
            "paramSize": "65.54K",
            "quantization": "MOSTLY_F16",
            "contextSize": 2048,
        },
    ),
    "dmr-st": Sample(
        "docker-model",
        TREE | {"Modelfile"},
        ONNX,
        {"format": "safetensors", "createdAt": "2026-11-23T11:27:58.555545931Z"},
    ),
    "ollama.public-example": Sample(
        "ollama",
        {"model.gguf", "system.txt", "template.txt", "LICENSE"},
        {"model.gguf"},
        notes=("named after what they are",),
    ),
    "omlmd": Sample(
        "omlmd",
        {"tiny.gguf", "model_metadata.omlmd.json", "model_metadata.omlmd.yaml"},
        {"tiny.gguf"},
        {"name": "tiny", "format": "gguf", "customProperties": {"accuracy": 0.98}},
    ),
    "oci-modelcar": Sample("image", {"."}, encodings={"tar"}),
    "oras-artifacttype": Sample("files", TINY),
}

samples = pytest.mark.parametrize("name", SAMPLES)


def sample(name: str) -> Manifest:
    found = parse((GOLDEN / f"{name}.manifest.json").read_bytes())
    assert isinstance(found, Manifest)
    return found


@pytest.fixture(autouse=True)
def _laid_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some samples are indented for people to read, so they have lost their digests."""
    monkeypatch.setattr(
        "ocimlpack.model.readers.source.read_all",
        lambda blob, desc: blob.content,
    )


@samples
def test_what_a_writer_wrote_is_understood(name: str) -> None:
    expected = SAMPLES[name]
    found = readers.understand(Config(name), sample(name))
    assert found.format == expected.format
    assert {each.path for each in found.members} == expected.files
    assert {each.path for each in found.members if each.kind == "weight"} == expected.weights
    assert {each.encoding for each in found.members} == expected.encodings
    assert len(found.notes) == len(expected.notes)
    for note, words in zip(found.notes, expected.notes, strict=True):
        assert words in note


@pytest.mark.parametrize(
    "name", [name for name in SAMPLES if (GOLDEN / f"{name}.config.json").is_file()]
)
def test_what_a_writer_said_of_the_model_is_found(name: str) -> None:
    expected = SAMPLES[name].fields
    found = readers.understand(Config(name), sample(name)).fields
    assert {key: found[key] for key in expected} == expected
    assert dict(found) == dict(readers.fields_of(Config(name), sample(name)))


@samples
def test_what_the_manifest_alone_says_is_known_without_a_registry(name: str) -> None:
    needs_config = SAMPLES[name].format == "modelkit"
    found = {each.path for each in readers.named(sample(name))}
    assert found == (set() if needs_config else SAMPLES[name].files)


def test_every_sample_and_every_reader_is_among_the_tested() -> None:
    there = {path.name.removesuffix(".manifest.json") for path in GOLDEN.glob("*.manifest.json")}
    assert there == set(SAMPLES)
    assert {sample.format for sample in SAMPLES.values()} == {each.format for each in READERS}


def test_of_an_image_people_are_told_what_its_writer_noted_of_each_layer() -> None:
    found = readers.understand(Config("oci-modelcar"), sample("oci-modelcar"))
    assert {each.shown for each in found.members} == TREE
    assert [each.level for each in found.members] == list(range(len(TREE)))


def test_the_model_in_what_olot_wrote_is_the_manifest_that_is_for_no_machine() -> None:
    index = parse((GOLDEN / "olot.index.json").read_bytes())
    assert isinstance(index, Index)
    chosen = index.manifests[2]
    raw = (GOLDEN / "olot-modelpack.manifest.json").read_bytes()

    class Both(Config):
        def fetch(self, desc: Descriptor) -> Blob:
            other = (GOLDEN / "oci-modelcar.manifest.json").read_bytes()
            return BytesBlob(raw if desc == chosen else other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ocimlpack.stores.graph.read_all", lambda blob, desc: blob.content)
        assert readers.choose(Both("olot"), index) == chosen
