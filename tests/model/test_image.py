from __future__ import annotations

import io
import json
import os
import tarfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema
import pytest

from ocimlpack.errors import InputError
from ocimlpack.model import image
from ocimlpack.model.bundle import BundleBlob, Part, frame
from ocimlpack.model.image import MAX_LAYERS, PlannedTar, arrange
from ocimlpack.model.layers import SMALL, PlannedFile
from ocimlpack.model.options import FORMS, Form, Options
from ocimlpack.model.pack import Packed, pack, plan
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Platform
from ocimlpack.spec.manifest import Index, parse
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.graph import read_manifest, walk
from tests.model.weights import model, safetensors, write

ROOT = Path(__file__).parents[2]
NOTHING = BytesBlob(b"")
LARGE = safetensors({"layer.weight": ("F32", (512, 600))})

# The model of manifests/oci/tiny-*: what is in its files is a part of the example.
TINY: dict[str, bytes | str] = {
    "model.safetensors": LARGE,
    "config.json": '{"model_type": "bert", "num_attention_heads": 2}\n',
    "tokenizer/vocab.txt": "[PAD]\n[UNK]\n",
    "serve.py": "#!/usr/bin/env python3\n",
    "README.md": "---\nlicense: apache-2.0\n---\n# Tiny\n",
}


def tiny(folder: Path, form: Form, **options: Any) -> Packed:
    return pack(write(folder, TINY), Options(form=form, name="tiny", version="1.0", **options))


def files(count: int, size: int, kind: mediatypes.Kind = "weight") -> list[PlannedFile]:
    return [
        PlannedFile(f"m-{at:05}-of-{count:05}.bin", kind, size, 0o644, NOTHING)
        for at in range(1, count + 1)
    ]


def index_of(packed: Packed) -> Index:
    node = read_manifest(packed, packed.root)
    assert isinstance(node, Index)
    return node


def layers_of(packed: Packed) -> list[bytes]:
    """The archives of the first image."""
    node = read_manifest(packed, index_of(packed).manifests[0])
    found = []
    for layer in node.children[:-1]:
        with packed.fetch(layer).open() as stream:
            found.append(stream.read())
    return found


@pytest.mark.parametrize("path", [".wh.config.json", "sub/.wh.x", ".wh.sub/x"])
@pytest.mark.parametrize("form", ["image", "both"])
def test_a_name_that_would_take_a_file_away_is_refused(
    tmp_path: Path, path: str, form: Form
) -> None:
    write(tmp_path, {**TINY, path: "x"})
    with pytest.raises(InputError, match="takes another file away"):
        plan(tmp_path, Options(form=form))
    assert path in [file.path for file in plan(tmp_path, Options()).files]
    assert plan(tmp_path, Options(form=form, exclude=(".wh.*",))).files


# What lies in which layer


def test_large_files_have_layers_of_their_own_and_small_ones_share_one_of_each_kind() -> None:
    found = arrange(
        [
            *files(3, SMALL),
            *files(2, SMALL - 1),
            *files(5, 10, "weight.config"),
            *files(1, SMALL, "doc"),
            *files(2, 10, "doc"),
        ]
    )
    assert [(layer.kind, len(layer.files)) for layer in found] == [
        *[("weight", 1)] * 3,
        ("doc", 1),
        ("weight", 2),
        ("weight.config", 5),
        ("doc", 2),
    ]


@pytest.mark.parametrize("count", [1, 58, 59, 60, 61, 200, 1000, 4000])
def test_no_number_of_shards_is_too_many(count: int) -> None:
    shards = [*files(count, 2 * SMALL), *files(90, 2 * SMALL, "dataset"), *files(3, 1, "doc")]
    found = arrange(shards)
    assert len(found) <= MAX_LAYERS
    assert sorted(file.path for layer in found for file in layer.files) == sorted(
        file.path for file in shards
    )
    assert all(len({file.kind for file in layer.files}) == 1 for layer in found)
    assert len({layer.name for layer in found}) == len(found)


def test_shards_that_share_a_layer_do_so_in_the_next_version(tmp_path: Path) -> None:
    before, after = files(200, SMALL), files(200, SMALL)
    after[77] = PlannedFile(after[77].path, "weight", 5 * SMALL, 0o644, NOTHING)
    same = [
        one.files == two.files for one, two in zip(arrange(before), arrange(after), strict=True)
    ]
    assert same.count(False) == 1


# The archives


def test_other_programs_read_the_layers(tmp_path: Path) -> None:
    found: dict[str, bytes] = {}
    modes: dict[str, int] = {}
    for content in layers_of(tiny(tmp_path, "image")):
        assert content.endswith(bytes(1024))
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            made = set()
            for member in archive:
                assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
                # Some engines make a folder that is missing for root alone.
                above = member.name.rpartition("/")[0]
                assert not above or above in made
                made.add(member.name)
                modes[member.name] = member.mode
                if member.isfile():
                    found[member.name] = archive.extractfile(member).read()  # type: ignore[union-attr]
                else:
                    assert member.isdir()
            assert archive.offset + 1024 >= len(content) - 512
    assert found == {
        f"models/{path}": content if isinstance(content, bytes) else content.encode()
        for path, content in TINY.items()
    }
    assert modes.pop("models") == modes.pop("models/tokenizer") == 0o755
    assert modes.pop("models/serve.py") == 0o755
    assert set(modes.values()) == {0o644}


class Vast:
    """Content of so many zeros that nobody reads."""

    identity = "vast"

    def __init__(self, size: int) -> None:
        self.size = size

    def open(self, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        raise AssertionError("all of it would be read")


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 8**11 + 1, 2**40 + 511])
@pytest.mark.parametrize("path", ["models/m.bin", f"models/{'é' * 80}/m.bin"])
def test_a_file_of_8_gibibytes_has_its_size_in_an_extended_header(path: str, size: int) -> None:
    subject = BundleBlob((Part.folder("models"), Part(path, 0o644, size, Vast(size))))
    start = subject.starts[path]
    head = b"".join(part.header() for part in subject._parts)
    assert len(head) == start
    with tarfile.open(fileobj=io.BytesIO(head + bytes(1024)), errorlevel=2) as archive:
        member = archive.next()
        assert member is not None
        assert member.isdir()
        member = archive.next()
        assert member is not None
        assert (member.name, member.size) == (path, size)
        # Beyond what octal digits can say, and only there, a record says it.
        assert ("size" in member.pax_headers) == (size >= 8**11)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3 * SMALL, 8**11 - 1, 8**11, 2**40 + 1])
@pytest.mark.parametrize("path", ["m.bin", "sub/m.bin", "é/ü.bin", "p" * 120 + "/n.bin"])
def test_what_an_archive_of_one_file_holds_is_read_from_its_header(path: str, size: int) -> None:
    (layer,) = arrange([PlannedFile(path, "weight", size, 0o755, Vast(size))])
    head = b"".join(part.header() for part in layer.blob._parts)
    found = frame(layer.path, head + bytes(512), layer.size)
    assert found is not None
    assert (found.size, found.mode) == (size, 0o755)
    assert found.start == layer.blob.starts[layer.path]
    assert frame(layer.path, head + bytes(512), layer.size + 512) is None
    assert frame(layer.path + "x", head + bytes(512), layer.size) is None
    assert frame(layer.path, head[:300] + b"\1" + head[301:], layer.size) is None


def test_a_path_that_ends_with_a_slash_is_cut_before_it() -> None:
    for length in (98, 99, 100, 150, 154, 155, 156, 200, 254, 255, 256, 300):
        folder = "/".join("p" * 49 for _ in range(length // 50)) + "/" + "q" * (length % 50 or 1)
        content = Part.folder(folder).header() + bytes(1024)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            (member,) = archive.getmembers()
        assert (member.name, member.isdir()) == (folder, True)


# Manifests


def test_an_image_is_an_index_of_one_manifest_for_each_platform(tmp_path: Path) -> None:
    packed = tiny(tmp_path, "image")
    index = index_of(packed)
    assert [each.platform for each in index.manifests] == list(image.PLATFORMS)
    first, second = (read_manifest(packed, each) for each in index.manifests)
    assert first.children[:-1] == second.children[:-1]
    for node, architecture in ((first, "amd64"), (second, "arm64")):
        assert node.artifact_type is None
        assert node.children[-1].media_type == mediatypes.OCI_CONFIG
        with packed.fetch(node.children[-1]).open() as stream:
            config = json.loads(stream.read())
        assert (config["os"], config["architecture"]) == ("linux", architecture)
        assert config["rootfs"] == {
            "type": "layers",
            "diff_ids": [str(layer.digest) for layer in node.children[:-1]],
        }
        assert config["config"]["Labels"] == {
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.title": "tiny",
            "org.opencontainers.image.version": "1.0",
        }
        assert config["descriptor"]["name"] == "tiny"
        assert config["config"]["format"] == "safetensors"
        assert "created" not in config


def test_an_image_for_one_platform_needs_no_index(tmp_path: Path) -> None:
    packed = tiny(tmp_path, "image", platforms=("linux/arm64/v8",))
    assert packed.root == packed.manifest.descriptor
    assert json.loads(packed.config)["variant"] == "v8"


def test_the_index_of_both_has_the_artifact_last_with_the_same_layers(tmp_path: Path) -> None:
    packed = tiny(tmp_path, "both")
    *images, last = index_of(packed).manifests
    assert images == list(index_of(tiny(tmp_path, "image")).manifests)
    # Not for any machine, and without an artifactType, which older programs drop.
    assert last.platform == Platform("unknown", "unknown")
    assert last.artifact_type is None
    assert last.digest == packed.manifest.descriptor.digest
    assert packed.manifest.artifact_type == mediatypes.MODEL_MANIFEST
    assert packed.manifest.config.media_type == mediatypes.MODEL_CONFIG
    image_layers = read_manifest(packed, images[0]).children[:-1]
    assert [layer.digest for layer in packed.manifest.layers] == [
        layer.digest for layer in image_layers
    ]
    assert {layer.media_type.rpartition(".")[2] for layer in packed.manifest.layers} == {"tar"}
    for layer in packed.manifest.layers:
        path = layer.annotations[mediatypes.FILEPATH]
        assert path == layer.annotations[mediatypes.PATH]
        assert path == "models" or path.startswith("models/")


def test_a_recorded_time_is_in_all_of_them(tmp_path: Path) -> None:
    packed = tiny(tmp_path, "both", created="2026-01-31T12:00:00Z")
    for node in walk(packed, packed.root):
        if not isinstance(node, Index):
            assert node.annotations[mediatypes.CREATED] == "2026-01-31T12:00:00Z"
    with packed.fetch(
        read_manifest(packed, index_of(packed).manifests[0]).children[-1]
    ).open() as s:
        assert json.loads(s.read())["created"] == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize("form", [form for form in FORMS if form != "modelpack"])
def test_the_same_files_give_the_same_digest(tmp_path: Path, form: Form) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = pack(write(tmp_path / "a", {**model(), "w.bin": bytes(SMALL)}), Options(form=form))
    before = os.umask(0o077)
    try:
        write(tmp_path / "b", dict(reversed({**model(), "w.bin": bytes(SMALL)}.items())))
    finally:
        os.umask(before)
    for number, path in enumerate(sorted((tmp_path / "b").rglob("*"))):
        path.chmod(0o700 if path.is_dir() else 0o600 + 0o100 * (number % 2))
        os.utime(path, (number, 10**9 + number))
    assert pack(tmp_path / "b", Options(form=form)).root == first.root


def test_the_example_has_the_published_bytes(tmp_path: Path) -> None:
    packed = tiny(tmp_path, "both")
    place = ROOT / "manifests/oci"
    *images, _ = index_of(packed).manifests
    first = read_manifest(packed, images[0])
    with packed.fetch(first.children[-1]).open() as stream:
        config = stream.read()
    content = {
        "tiny.index.json": read_manifest(packed, packed.root).raw,
        "tiny-image.manifest.json": first.raw,
        "tiny-image.config.json": config,
        "tiny-modelpack.manifest.json": packed.manifest.raw,
    }
    for name, raw in content.items():
        if os.environ.get("WRITE_EXAMPLES"):
            (place / name).write_bytes(raw)
        assert raw == (place / name).read_bytes()
    parse(content["tiny.index.json"])


def test_annotations_of_layers_are_as_the_schema_says(tmp_path: Path) -> None:
    schema = json.loads(
        (ROOT / "manifests/schema/image-layer-annotations.schema.json").read_text("utf-8")
    )
    packed = tiny(tmp_path, "image")
    layers = read_manifest(packed, index_of(packed).manifests[0]).children[:-1]
    assert len(layers) == 4
    for layer in layers:
        jsonschema.validate(dict(layer.annotations), schema)
    wrong = {mediatypes.KIND: "weight", mediatypes.PATH: "m.bin"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


# What is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "docker"}, "the format is 'docker'; it takes modelpack, image, both"),
        ({"platforms": ("linux/amd64",)}, "a platform is for an image"),
        ({"form": "image", "platforms": ("linux",)}, "not a platform: 'linux'"),
        ({"form": "image", "platforms": ("linux/amd64/v2/x",)}, "not a platform"),
        ({"form": "image", "platforms": ("linux/a b",)}, "not a platform"),
        ({"form": "image", "platforms": ("linux/é",)}, "not a platform"),
        ({"form": "image", "platforms": ("linux/arm",) * 2}, "given twice"),
        ({"form": "image", "image_config": True}, "--image-config is for artifacts"),
        ({"form": "both", "artifact_type": "a/b"}, "--artifact-type is for artifacts"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        plan(write(tmp_path, {"a.bin": "x"}), Options(**options))


def test_one_archive_does_not_hold_a_file_twice() -> None:
    layer = PlannedTar.of(files(3, 1))
    assert len(layer.blob.starts) == 4
