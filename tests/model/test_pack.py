from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ocimlpack.errors import (
    ConflictError,
    InputError,
    InvalidContentError,
    NotFoundError,
    OcimlpackError,
    UnsafeSourceError,
)
from ocimlpack.model.pack import Options, Packed, pack, plan, seal
from ocimlpack.progress import Began, Ended, Event, Moved, Planned
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.stores.base import CHUNK, RangeReader, ReadableStore, capability
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.verify import read_all
from ocimlpack.transfer.copy import copy
from tests.model import test_other_headers as other_headers
from tests.model import torch_files, weights
from tests.model.weights import CARD, initializer, model, safetensors, write

ROOT = Path(__file__).parents[2]
SCHEMA: Any = json.loads(
    (ROOT / "manifests/schema/modelpack-config.schema.json").read_text("utf-8")
)

# Read before the tests' own environment begins, which has no settings of ours.
DEMO_MODEL = Path(os.environ.get("OCIMLPACK_DEMO_MODEL") or ROOT / ".cache/demo/model")


def config(packed: Packed) -> Any:
    value = json.loads(packed.config)
    jsonschema.Draft202012Validator(SCHEMA).validate(value)
    assert value["modelfs"]["diffIds"] == [str(each.digest) for each in packed.manifest.layers]
    return value


def described(folder: Path, options: Options = Options()) -> dict[str, Any]:  # noqa: B008
    """What the config says of a model, in one map."""
    value = config(pack(folder, options))
    return {**value["descriptor"], **value["config"]}


def files(packed: Packed) -> list[tuple[str, str]]:
    return [(file.kind, file.path) for file in packed.files]


def test_every_file_becomes_a_raw_layer_weights_first(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, model()))
    assert files(packed) == [
        ("weight", "model-00001-of-00002.safetensors"),
        ("weight", "model-00002-of-00002.safetensors"),
        ("weight.config", "config.json"),
        ("weight.config", "empty.json"),
        ("weight.config", "model.safetensors.index.json"),
        ("weight.config", "tokenizer/vocab.txt"),
        ("code", "convert.sh"),
        ("code", "modeling_tiny.py"),
        ("doc", "README.md"),
    ]
    assert packed.warnings == ()
    for file, layer in zip(packed.files, packed.manifest.layers, strict=True):
        content = (tmp_path / file.path).read_bytes()
        assert layer.media_type == f"application/vnd.cncf.model.{file.kind}.v1.raw"
        assert layer.digest == Digest.of(content)
        assert layer.size == file.size == len(content)


def test_weights_that_servers_take_come_before_others(tmp_path: Path) -> None:
    names = ["a.onnx", "b.bin", "c.gguf", "d.pt", "z/x.safetensors", "é.safetensors", "Z.gguf"]
    packed = pack(write(tmp_path, {name: name for name in names}))
    assert [path for _, path in files(packed)] == [
        "z/x.safetensors",
        "é.safetensors",
        "Z.gguf",
        "c.gguf",
        "a.onnx",
        "b.bin",
        "d.pt",
    ]


def test_a_layer_says_where_its_file_goes_and_what_it_is(tmp_path: Path) -> None:
    write(tmp_path, {"sub/run.sh": "#!/bin/sh\n"})
    (tmp_path / "sub/run.sh").chmod(0o600)
    (layer,) = pack(tmp_path).manifest.layers
    # The bytes of the sample that other tools were tried with, but for name, mode and size.
    assert encode(layer.to_json()).decode() == (
        '{"mediaType":"application/vnd.cncf.model.code.v1.raw",'
        f'"digest":"{layer.digest}","size":10,"annotations":{{'
        '"org.cncf.model.file.metadata+json":"{\\"name\\":\\"run.sh\\",\\"mode\\":493,\\"uid\\":0,'
        '\\"gid\\":0,\\"size\\":10,\\"mtime\\":\\"1970-01-01T00:00:00Z\\",\\"typeflag\\":0}",'
        '"org.cncf.model.filepath":"sub/run.sh","org.opencontainers.image.title":"sub/run.sh"}}'
    )


def test_the_manifest_is_written_as_go_does(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, {"a.bin": "x"}), Options(annotations={"b": "<2>", "a": "1"}))
    layer = encode(packed.manifest.layers[0].to_json()).decode()
    assert packed.manifest.raw.decode() == (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        '"artifactType":"application/vnd.cncf.model.manifest.v1+json",'
        '"config":{"mediaType":"application/vnd.cncf.model.config.v1+json",'
        f'"digest":"{Digest.of(packed.config)}","size":{len(packed.config)}}},'
        f'"layers":[{layer}],"annotations":{{"a":"1","b":"\\u003c2\\u003e"}}}}'
    )
    assert (
        packed.root
        == packed.manifest.descriptor
        == Descriptor.of(packed.manifest.raw, mediatypes.OCI_MANIFEST)
    )


def test_a_model_describes_itself(tmp_path: Path) -> None:
    assert described(write(tmp_path, model())) == {
        "family": "llama",
        "licenses": ["Apache-2.0"],
        "datasetsURL": ["s2orc"],
        "architecture": "transformer",
        "format": "safetensors",
        "paramSize": "77.9K",
        "precision": "bfloat16,float32",
        "capabilities": {
            "inputTypes": ["text"],
            "outputTypes": ["embedding"],
            "languages": ["en", "no"],
        },
    }


def test_a_model_of_which_nothing_is_known_is_packed(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, {"weights.bin": bytes(8)}))
    value = config(packed)
    assert value["descriptor"] == value["config"] == {}


def test_the_folders_name_is_nowhere(tmp_path: Path) -> None:
    one = pack(write(tmp_path / "one-name", model()))
    other = pack(write(tmp_path / "other-name", model()))
    assert one.root == other.root
    assert b"one-name" not in one.manifest.raw + one.config


def test_what_is_said_wins_over_what_is_found_and_options_over_both(tmp_path: Path) -> None:
    write(tmp_path, model())
    write(
        tmp_path,
        {
            "model.yaml": "name: said\nversion: '1'\nprecision: int8\nfamily: null\n"
            "capabilities:\n  languages: [de]\n  outputTypes: null\n"
            "annotations: {org.example.a: file, org.example.b: file}\nfiles:\n  dataset: '*.txt'\n"
        },
    )
    options = Options(
        name="given", license="LicenseRef-mine", annotations={"org.example.b": "option"}
    )
    packed = pack(tmp_path, options)
    value = config(packed)
    assert value["descriptor"] == {
        "name": "given",
        "datasetsURL": ["s2orc"],
        "version": "1",
        "licenses": ["LicenseRef-mine"],
    }
    assert value["config"]["precision"] == "int8"
    assert value["config"]["capabilities"] == {"inputTypes": ["text"], "languages": ["de"]}
    assert packed.manifest.annotations == {
        "org.example.a": "file",
        "org.example.b": "option",
        "ocimlpack.parameters": "77910",
        "ocimlpack.tensors": "3",
        "ocimlpack.task": "sentence-similarity",
        "ocimlpack.found": "datasetsURL,format,paramSize,parameters,tensors,task",
        "ocimlpack.given": "name,version,licenses,precision,languages",
        "ocimlpack.guessed": "architecture,inputTypes",
    }
    assert ("dataset", "tokenizer/vocab.txt") in files(packed)
    assert "model.yaml" not in [path for _, path in files(packed)]


def test_another_metadata_file_makes_the_folders_own_an_ordinary_one(tmp_path: Path) -> None:
    write(tmp_path / "m", {"a.bin": "x", "model.yaml": "basis: something of another tool\n"})
    write(tmp_path, {"about.yaml": "name: tiny\n"})
    packed = pack(tmp_path / "m", Options(file=tmp_path / "about.yaml"))
    assert files(packed) == [("weight", "a.bin"), ("weight.config", "model.yaml")]
    assert config(packed)["descriptor"] == {"name": "tiny"}
    packed = pack(tmp_path / "m", Options(file=Path("/dev/null")))
    assert ("weight.config", "model.yaml") in files(packed)
    with pytest.raises(InputError, match=r"'basis' is not known") as caught:
        pack(tmp_path / "m")
    assert "--file /dev/null" in str(caught.value.hint)


def test_a_metadata_file_in_the_folder_is_not_packed_whatever_it_is_called(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": "x", "sub/about.yaml": "name: tiny\n", "sub/model.yaml": "x: 1\n"})
    packed = pack(tmp_path, Options(file=tmp_path / "sub/about.yaml"))
    assert files(packed) == [("weight", "a.bin"), ("weight.config", "sub/model.yaml")]


def test_a_metadata_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no metadata file"):
        pack(write(tmp_path, {"a": ""}), Options(file=tmp_path / "gone.yaml"))


def test_kinds_that_are_said_twice_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": "x", "model.yaml": "files: {code: a.*, doc: '*.bin'}\n"})
    with pytest.raises(InputError, match=r"a\.bin is both code and doc"):
        pack(tmp_path)


def test_patterns_that_match_nothing_are_warned_of(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": "x", "model.yaml": "files: {code: [a.*, b.*]}\n"})
    assert "files: code: no file matches 'b.*'" in pack(tmp_path).warnings


def test_a_model_without_weights_is_packed_with_a_warning(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, {"config.json": "{}"}))
    assert files(packed) == [("weight.config", "config.json")]
    (warning,) = packed.warnings
    assert "no weights were found" in warning


def test_an_empty_file_is_a_layer_of_no_bytes(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, {"a.bin": "x", "empty": ""}))
    layer = packed.manifest.layers[1]
    assert (layer.size, layer.digest) == (0, Digest.of(b""))
    assert read_all(packed.fetch(layer), layer) == b""


def test_equal_files_are_layers_of_one_blob(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, {"a.bin": "x", "b.bin": "x"}))
    one, other = packed.manifest.layers
    assert one.digest == other.digest
    assert one.annotations != other.annotations


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no files to pack") as caught:
        pack(tmp_path)
    assert caught.value.hint is None
    write(tmp_path, {"a.bin": "x"})
    with pytest.raises(InputError, match="has no files to pack") as caught:
        pack(tmp_path, Options(include=("*.json",)))
    assert "--include" in str(caught.value.hint)


def test_files_are_chosen_by_patterns(tmp_path: Path) -> None:
    packed = pack(
        write(tmp_path, model()), Options(include=("*.json", "*.md"), exclude=("empty*",))
    )
    assert [path for _, path in files(packed)] == [
        "config.json",
        "model.safetensors.index.json",
        "README.md",
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (Options(name=""), "name is empty"),
        (Options(version="\n"), "version is empty"),
        (Options(license=" "), "licenses is empty"),
        (Options(name="a\x1b"), "control character"),
        (Options(created="yesterday"), "is not a time"),
        (Options(artifact_type="model"), "not a media type: 'model'"),
        (Options(artifact_type=""), "not a media type: ''"),
        (Options(artifact_type="a/b; charset=x"), "not a media type"),
        (Options(annotations={"": "x"}), "an annotation has no name"),
        (Options(annotations={"a": "\ud800"}), "not valid Unicode"),
        (Options(include=("",)), "pattern"),
        (Options(config="a.bin"), "not a config: 'a.bin'"),
        (Options(config=":a/b"), "not a config"),
        (Options(config="a.bin:"), "not a config"),
        (Options(config="a.bin:nonsense"), "not a config"),
        (Options(config="gone.json:a/b"), r"there is no config file gone\.json"),
        (Options(config=".:a/b"), "there is no config file"),
        (Options(config="a.bin:application/vnd.oci.empty.v1+json"), "needs --artifact-type"),
        (
            Options(config="a.bin:application/vnd.oci.empty.v1+json", artifact_type="none"),
            "needs --artifact-type",
        ),
        (Options(config="a.bin:a/b", image_config=True), "two ways"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Options, reason: str
) -> None:
    monkeypatch.chdir(write(tmp_path, {"a.bin": "x"}))
    with pytest.raises(InputError, match=reason):
        pack(tmp_path, options)


def test_a_custom_type_replaces_the_artifacts(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": "x"})
    packed = pack(tmp_path, Options(artifact_type="application/vnd.example.model.v1"))
    assert packed.manifest.artifact_type == "application/vnd.example.model.v1"
    assert packed.manifest.config.media_type == mediatypes.MODEL_CONFIG
    assert packed.manifest.layers == pack(tmp_path).manifest.layers


def test_an_artifact_type_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": "x"})
    packed = pack(tmp_path, Options(artifact_type="none"))
    assert packed.manifest.artifact_type is None
    assert packed.manifest.config == pack(tmp_path).manifest.config


def test_a_config_can_be_that_of_an_image_and_says_the_same_of_the_model(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": "x", "config.json": '{"model_type": "bert"}'})
    plain = pack(tmp_path, Options(name="tiny", created="2026-01-31T12:00:00Z"))
    image = pack(tmp_path, Options(name="tiny", created="2026-01-31T12:00:00Z", image_config=True))
    assert image.manifest.config == Descriptor.of(image.config, mediatypes.OCI_CONFIG)
    assert image.manifest.layers == plain.manifest.layers
    assert image.manifest.artifact_type == mediatypes.MODEL_MANIFEST
    found = json.loads(image.config)
    assert {key: found[key] for key in ("descriptor", "modelfs", "config")} == config(plain)
    # What an image's config has to have: image-spec, config.md.
    assert (found["architecture"], found["os"]) == ("unknown", "unknown")
    assert found["created"] == "2026-01-31T12:00:00Z"
    assert found["rootfs"] == {
        "type": "layers",
        "diff_ids": [str(layer.digest) for layer in image.manifest.layers],
    }
    assert (
        image.config
        == pack(
            tmp_path, Options(name="tiny", created="2026-01-31T12:00:00Z", image_config=True)
        ).config
    )


def test_an_image_s_config_has_no_time_unless_one_is_recorded(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": "x"})
    assert b"created" not in pack(tmp_path, Options(image_config=True)).config


def test_a_custom_config_is_taken_as_it_is_and_says_what_the_artifact_is(tmp_path: Path) -> None:
    write(tmp_path, {"m/a.bin": "x", "with:colon.json": ' {"my": "config"}\n'})
    given = f"{tmp_path}/with:colon.json:application/vnd.example.config.v1+json"
    packed = pack(tmp_path / "m", Options(config=given))
    assert packed.config == b' {"my": "config"}\n'
    assert packed.manifest.config == Descriptor.of(
        packed.config, "application/vnd.example.config.v1+json"
    )
    assert b"artifactType" not in packed.manifest.raw
    assert read_all(packed.fetch(packed.manifest.config), packed.manifest.config) == packed.config
    both = pack(tmp_path / "m", Options(config=given, artifact_type="a/b"))
    assert both.manifest.artifact_type == "a/b"
    assert both.manifest.layers == pack(tmp_path / "m").manifest.layers


def test_a_custom_config_is_at_most_what_registries_accept(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": "x", "c": bytes(4 * 1024 * 1024)})
    given = f"{tmp_path}/c:a/b"
    assert len(pack(tmp_path, Options(config=given)).config) == 4 * 1024 * 1024
    write(tmp_path, {"c": bytes(4 * 1024 * 1024 + 1)})
    with pytest.raises(InputError, match="larger than the 4,194,304 bytes"):
        pack(tmp_path, Options(config=given))


def test_a_time_is_recorded_when_asked_for_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.bin": "x"})
    packed = pack(tmp_path)
    assert "createdAt" not in config(packed)["descriptor"]
    assert mediatypes.CREATED not in packed.manifest.annotations
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    packed = pack(tmp_path)
    assert config(packed)["descriptor"]["createdAt"] == "2026-01-01T00:00:00Z"
    assert packed.manifest.annotations[mediatypes.CREATED] == "2026-01-01T00:00:00Z"
    packed = pack(tmp_path, Options(created="2026-02-01T01:00:00+01:00"))
    assert packed.manifest.annotations[mediatypes.CREATED] == "2026-02-01T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        pack(tmp_path)


def test_a_damaged_header_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, {"model.safetensors": safetensors({"a": ("F32", (4,))})[:-1]})
    write(tmp_path, {"config.json": json.dumps({"model_type": "bert", "dtype": "float16"})})
    packed = pack(tmp_path)
    assert packed.warnings == (
        "model.safetensors seems to be damaged, and nothing is taken from it: "
        "it lacks its last 1 bytes; was it downloaded whole?",
    )
    assert config(packed)["config"] == {"format": "safetensors", "precision": "float16"}


@pytest.mark.parametrize(
    ("name", "content", "warning"),
    [
        ("config.json", "{", "config.json is not taken into account: it is not valid JSON"),
        ("config.json", "[]", "config.json is not taken into account: it is not a JSON object"),
        ("README.md", "---\na: [\n---\n", "README.md is not taken into account: its front matter"),
        (
            "other.safetensors",
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "other.safetensors is a pointer of Git LFS",
        ),
        (
            "model.safetensors.index.json",
            '{"weight_map":{"a":"gone-2","b":"gone-1","c":"model.safetensors"}}',
            "model.safetensors.index.json names 'gone-1', which is not packed, and 1 more",
        ),
        (
            "n.onnx",
            weights.onnx(initializer("w", 1, (4,), location="n.data")),
            "n.onnx needs 'n.data', which is not packed",
        ),
        (
            "n.onnx",
            weights.onnx(initializer("w", 1, (4,), location="../../etc/passwd")),
            "n.onnx seems to be damaged, and nothing is taken from it: its data are outside",
        ),
    ],
)
def test_what_does_not_fit_together_is_warned_of(
    tmp_path: Path, name: str, content: bytes | str, warning: str
) -> None:
    write(tmp_path, {"model.safetensors": safetensors({"a": ("F32", (4,))}), name: content})
    packed = pack(tmp_path)
    (found,) = packed.warnings
    assert found.startswith(warning)
    assert config(packed)["config"]["format"] == "safetensors"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"{}",
        b"[" * 300_000,
        b'{"model_type": 1e999}',
        b"\xff\xfe",
        b"GGUF" + bytes(100),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "README.md",
        "LICENSE",
        "model.safetensors",
        "model.safetensors.index.json",
        "model.gguf",
        "model.onnx",
    ],
)
def test_no_content_stops_the_packing(tmp_path: Path, name: str, content: bytes) -> None:
    packed = pack(write(tmp_path, {name: content, "weights.pt": "x"}))
    config(packed)


def test_weights_that_lie_there_twice_are_counted_once(tmp_path: Path) -> None:
    write(tmp_path, model())
    write(tmp_path, {"consolidated.safetensors": safetensors({"other": ("BF16", (77_910,))})})
    assert described(tmp_path)["paramSize"] == "77.9K"
    write(tmp_path / "v", {"model.safetensors": safetensors({"a": ("F32", (2000,))})})
    write(tmp_path / "v", {"model.fp16.safetensors": safetensors({"a": ("F16", (2000,))})})
    assert described(tmp_path / "v")["paramSize"] == "2K"


def test_networks_in_several_folders_are_counted_together(tmp_path: Path) -> None:
    one = safetensors({"a": ("F16", (1000,))})
    write(tmp_path, {"unet/m.safetensors": one, "vae/m.safetensors": one})
    assert described(tmp_path)["paramSize"] == "2K"


def test_packed_numbers_say_nothing_about_the_parameters(tmp_path: Path) -> None:
    quantized = json.dumps({"quantization_config": {"quant_method": "gptq"}})
    tensors = {"w.qweight": ("I32", (1000,)), "w.scales": ("F16", (100,))}
    write(tmp_path, {"m.safetensors": safetensors(tensors), "config.json": quantized})
    assert described(tmp_path) == {
        "format": "safetensors",
        "precision": "int32,float16",
        "quantization": "gptq",
    }
    tensors = {"w": ("F8_E4M3", (1000,)), "w.scales": ("F32", (10,))}
    write(tmp_path, {"m.safetensors": safetensors(tensors)})
    assert described(tmp_path)["paramSize"] == "1K"


GGUF: dict[str, str | int] = {
    "general.architecture": "llama",
    "general.name": "Tiny Llama",
    "general.license": "mit",
    "general.file_type": 15,
    "llama.attention.head_count": 8,
}


def test_a_gguf_describes_itself_over_all_parts(tmp_path: Path) -> None:
    first = weights.gguf(GGUF, [("a", 12, (256, 100)), ("n", 0, (400,))])
    second = weights.gguf({}, [("b", 14, (256, 100))])
    projector = weights.gguf({"general.type": "mmproj", "general.name": "Eye"}, [("p", 1, (9999,))])
    write(tmp_path, {"t-00001-of-00002.gguf": first, "t-00002-of-00002.gguf": second})
    write(tmp_path, {"mmproj.gguf": projector})
    # What the original model was says nothing about these numbers.
    write(tmp_path, {"config.json": json.dumps({"model_type": "x", "torch_dtype": "bfloat16"})})
    assert described(tmp_path) == {
        "family": "llama",
        "name": "Tiny Llama",
        "licenses": ["mit"],
        "architecture": "transformer",
        "format": "gguf",
        "paramSize": "51.6K",
        "quantization": "Q4_K_M",
    }


def test_ggufs_that_disagree_say_only_what_they_agree_on(tmp_path: Path) -> None:
    one = weights.gguf(GGUF, [("a", 12, (256, 100))])
    other = weights.gguf({**GGUF, "general.file_type": 7}, [("a", 8, (256, 100))])
    write(tmp_path, {"q4.gguf": one, "q8.gguf": other})
    found = described(tmp_path)
    assert found["name"] == "Tiny Llama"
    assert "quantization" not in found
    assert "paramSize" not in found


def test_a_gguf_of_plain_numbers_has_a_precision(tmp_path: Path) -> None:
    raw = weights.gguf({**GGUF, "general.file_type": 1}, [("a", 1, (2560,)), ("n", 0, (40,))])
    found = described(write(tmp_path, {"m.gguf": raw}))
    assert (found["precision"], found["paramSize"]) == ("float16,float32", "2.6K")
    assert "quantization" not in found


def test_a_checkpoint_of_pytorch_describes_itself_over_all_parts(tmp_path: Path) -> None:
    for part, shape in ((1, (20, 30)), (2, (40, 10))):
        state = torch_files.dictionary({f"w{part}": torch_files.tensor("0", shape, "Half")})
        content = torch_files.checkpoint(state, {"0": bytes(2 * shape[0] * shape[1])})
        name = f"pytorch_model-0000{part}-of-00002.bin"
        write(tmp_path, {name: content[0 : len(content)]})
    # What it was trained in says nothing about what is stored.
    write(tmp_path, {"config.json": json.dumps({"model_type": "x", "torch_dtype": "float32"})})
    assert described(tmp_path) == {
        "family": "x",
        "format": "pt",
        "paramSize": "1K",
        "precision": "float16",
    }


def test_weights_without_tensors_leave_the_precision_to_the_config(tmp_path: Path) -> None:
    write(tmp_path, {"saved_model.pb": weights.message(2, weights.message(1, b""))})
    write(tmp_path, {"config.json": json.dumps({"model_type": "x", "torch_dtype": "float32"})})
    assert described(tmp_path) == {"family": "x", "format": "tensorflow", "precision": "float32"}


def test_a_pickled_model_counts_what_it_learned(tmp_path: Path) -> None:
    content = other_headers.wrapper("(I30\nI4\nt", "f8", bytes(960))
    write(tmp_path, {"m.joblib": content})
    assert described(tmp_path) == {
        "format": "joblib",
        "paramSize": "0.1K",
        "precision": "float64",
    }
    labels = other_headers.wrapper("(I300\nt", "i8", bytes(2400))
    write(tmp_path, {"m.joblib": labels})
    assert described(tmp_path) == {"format": "joblib"}


def test_a_card_wins_over_a_header_and_a_licence_text_comes_last(tmp_path: Path) -> None:
    raw = weights.gguf(GGUF, [("a", 1, (2560,))])
    licence = (ROOT / "LICENSE").read_text("utf-8")
    write(tmp_path, {"LICENSE": licence, "m.pt": "x"})
    assert described(tmp_path)["licenses"] == ["Apache-2.0"]
    write(tmp_path, {"m.gguf": raw})
    assert described(tmp_path)["licenses"] == ["mit"]
    write(tmp_path, {"README.md": "---\nlicense: cc-by-4.0\nmodel_name: Card\n---\n"})
    found = described(tmp_path)
    assert (found["licenses"], found["name"]) == (["CC-BY-4.0"], "Card")


def test_two_licence_texts_are_one_too_many(tmp_path: Path) -> None:
    licence = (ROOT / "LICENSE").read_text("utf-8")
    write(tmp_path, {"m.pt": "x", "LICENSE": licence, "COPYING": "something else"})
    assert "licenses" not in described(tmp_path)
    write(tmp_path, {"COPYING": licence})
    assert described(tmp_path)["licenses"] == ["Apache-2.0"]


def test_external_data_of_an_onnx_model_is_weight(tmp_path: Path) -> None:
    raw = weights.onnx(
        initializer("w", 1, (1000,), location="blob.dat"),
        initializer("v", 1, (1000,), location="./more.dat"),
        initializer("b", 10, (10,)),
    )
    write(tmp_path, {"onnx/m.onnx": raw, "onnx/blob.dat": "", "onnx/more.dat": "", "blob.dat": ""})
    packed = pack(tmp_path)
    assert files(packed) == [
        ("weight", "onnx/blob.dat"),
        ("weight", "onnx/m.onnx"),
        ("weight", "onnx/more.dat"),
        ("weight.config", "blob.dat"),
    ]
    assert packed.warnings == ()
    assert config(packed)["config"] == {
        "format": "onnx",
        "paramSize": "2K",
        "precision": "float32,float16",
    }


def test_a_packed_model_is_a_store_to_copy_from(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, model()))
    store: ReadableStore = packed
    destination = MemoryStore()
    copy(store, packed.root, destination, ["1.0"])
    assert destination.resolve("1.0").digest == packed.root.digest
    for child in packed.manifest.children:
        assert packed.exists(child)
        assert read_all(destination.fetch(child), child) == read_all(packed.fetch(child), child)
    assert packed.resolve(str(packed.root.digest)) == packed.root
    assert read_all(packed.fetch(packed.root), packed.root) == packed.manifest.raw
    packed.close()


def test_a_packed_model_knows_nothing_else(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, {"a.bin": "x"}))
    other = Descriptor.of(b"other", "a/b")
    assert not packed.exists(other)
    with pytest.raises(NotFoundError):
        packed.fetch(other)
    for name in ("latest", str(other.digest)):
        with pytest.raises(NotFoundError):
            packed.resolve(name)


def test_parts_of_a_packed_model_can_be_read(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, {"a.bin": "0123456789"}))
    (layer,) = packed.manifest.layers
    reader = capability(packed, RangeReader)
    assert reader is not None
    assert reader.read(layer, 3, 4) == b"3456"
    assert reader.read(layer, 8, 4) == b"89"
    assert reader.read(layer, 10, 4) == b""
    assert reader.read(packed.root, 1, 15) == b'"schemaVersion"'


def test_planning_hashes_nothing_and_sealing_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, model())
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "sha256", lambda *_: pytest.fail("hashed while planning"))
        planned = plan(tmp_path)
    assert planned.size == sum(len(content) for content in model().values())
    digests = {path: Digest.of(_bytes(content)) for path, content in model().items()}
    expected = pack(tmp_path).root
    for path in model():
        (tmp_path / path).unlink()
    assert seal(planned, digests).root == expected


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


def test_progress_tells_of_every_file(tmp_path: Path) -> None:
    events: list[Event] = []
    write(tmp_path, {"a.bin": bytes(3 * CHUNK), "b.bin": "x", "empty": ""})
    pack(tmp_path, jobs=1, report=events.append)
    size = 3 * CHUNK
    assert events == [
        Planned("hashing", 3, size + 1),
        Began("a.bin", size),
        Moved("a.bin", size // 3),
        Moved("a.bin", size // 3 * 2),
        Moved("a.bin", size),
        Ended("a.bin", size, "hashed"),
        Began("b.bin", 1),
        Moved("b.bin", 1),
        Ended("b.bin", 1, "hashed"),
        Began("empty", 0),
        Ended("empty", 0, "hashed"),
    ]


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize("change", [append, touch, Path.unlink])
def test_a_file_that_changes_before_or_while_it_is_hashed_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    for moment in (Planned, Began, Moved):
        write(tmp_path, {"a.bin": bytes(10)})

        def report(event: Event, moment: type[Event] = moment) -> None:
            if isinstance(event, moment):
                change(tmp_path / "a.bin")

        with pytest.raises(ConflictError, match=r"a\.bin changed while it was being read"):
            pack(tmp_path, report=report)


@pytest.mark.parametrize("change", [append, touch, Path.unlink])
def test_a_file_that_changes_before_it_is_sent_is_refused_and_no_tag_is_set(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    packed = pack(write(tmp_path, {"a.bin": bytes(10)}))
    change(tmp_path / "a.bin")
    destination = MemoryStore()
    with pytest.raises(ConflictError, match=r"a\.bin changed while it was being read"):
        copy(packed, packed.root, destination, ["1.0"])
    assert destination.tags() == []


def test_a_file_whose_size_is_a_lie_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in /proc, where files have content and no size.
    write(tmp_path, {"a.bin": "x"})
    (tmp_path / "version").symlink_to("/proc/version")
    with pytest.raises(OcimlpackError, match="has 0 bytes by its size, but"):
        pack(tmp_path, Options(dereference=True))


def test_too_many_files_for_a_manifest_are_refused(tmp_path: Path) -> None:
    planned = plan(write(tmp_path, {"a.bin": "x"}))
    (file,) = planned.files
    many = replace(planned, layers=tuple(replace(file, path=f"{n}.bin") for n in range(12_000)))
    digest = Digest.of(b"x")
    with pytest.raises(InvalidContentError, match=r"manifest of 12000 layers") as caught:
        seal(many, {file.path: digest for file in many.files})
    assert "pack fewer files" in str(caught.value.hint)


def test_an_unsafe_tree_is_refused_before_anything_is_hashed(tmp_path: Path) -> None:
    events: list[Event] = []
    write(tmp_path, {"a.bin": "x", "A.bin": "x"})
    with pytest.raises(UnsafeSourceError):
        pack(tmp_path, report=events.append)
    assert events == []


def demo_model() -> Path:
    if (DEMO_MODEL / "model.safetensors").is_file():
        return DEMO_MODEL
    if os.environ.get("CI") == "true":
        pytest.fail(f"the demo's model is not at {DEMO_MODEL}; `make demo-model` puts it there")
    pytest.skip("no demo model here: run `make demo-model`")


@pytest.mark.parametrize("part", ["manifest", "config"])
def test_the_demo_model_gives_the_published_bytes(part: str) -> None:
    packed = pack(demo_model())
    content = packed.manifest.raw if part == "manifest" else packed.config
    assert content == (ROOT / f"manifests/oci/all-minilm-l6-v2.{part}.json").read_bytes()
    assert config(packed)["config"]["paramSize"] == "22.7M"


def test_cards_of_the_tests_are_cards() -> None:
    assert CARD.startswith("---\n")
