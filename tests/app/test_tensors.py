"""`inspect` with tensors, at places of every kind; and that hardly anything moves for it."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import pytest

import ocimlpack
from ocimlpack.spec.mediatypes import OCI_CONFIG, OCI_EMPTY, OCI_MANIFEST, TITLE
from tests.model import torch_files, weights
from tests.model.sparse import Piece, Sparse
from tests.model.weights import message, varint
from tests.scripted.content import digest_of
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

GIB = 2**30
MIB = 2**20
TENSORS = 256
SHAPE = (1024, 1024)
NUMBERS = 1024 * 1024
PIECE = 4 * NUMBERS
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
TAR = "application/vnd.cncf.model.weight.v1.tar"
NAMES = [f"layers.{n}.weight" for n in range(TENSORS)]


def safetensors() -> Sparse:
    header = {
        name: {"dtype": "F32", "shape": SHAPE, "data_offsets": [n * PIECE, (n + 1) * PIECE]}
        for n, name in enumerate(NAMES)
    }
    return Sparse([weights.framed(json.dumps(header).encode()), TENSORS * PIECE])


def gguf() -> Sparse:
    raw = b"GGUF" + struct.pack("<IQQ", 3, TENSORS, 1)
    raw += weights.text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 100_000)
    infos = b"".join(
        weights.text(name) + struct.pack("<IQQIQ", 2, *SHAPE, 0, n * PIECE)
        for n, name in enumerate(NAMES)
    )
    fill = -(len(raw) + 400_000 + len(infos)) % 32
    return Sparse([raw, 400_000, infos, fill + TENSORS * PIECE])


def onnx() -> Sparse:
    pieces: list[Piece] = []
    size = 0
    for name in NAMES:
        about = b"".join(varint(1 << 3) + varint(each) for each in SHAPE)
        about += varint(2 << 3) + varint(1) + message(8, name.encode())
        about += varint(9 << 3 | 2) + varint(PIECE)
        head = varint(5 << 3 | 2) + varint(len(about) + PIECE) + about
        pieces += [head, PIECE]
        size += len(head) + PIECE
    return Sparse([varint(7 << 3 | 2) + varint(size), *pieces, message(3, b"1.0")])


def pytorch() -> Sparse:
    state = {name: torch_files.tensor(str(n), SHAPE) for n, name in enumerate(NAMES)}
    storages: dict[str, Piece] = {str(n): PIECE for n in range(TENSORS)}
    return torch_files.checkpoint(torch_files.dictionary(state), storages)


LARGE: Mapping[str, Callable[[], Sparse]] = {
    "model.safetensors": safetensors,
    "model.gguf": gguf,
    "model.onnx": onnx,
    "model.pt": pytorch,
}


def store(registry: ScriptedRegistry, files: Mapping[str, Any], **about: str) -> str:
    """Put an artifact of files into a registry, without any byte of them moving."""
    place = registry.content[REPOSITORY]
    place.blobs[digest_of(b"{}")] = b"{}"
    layers = []
    for name, content in files.items():
        digest = digest_of(name.encode())
        place.blobs[digest] = cast(bytes, content)
        layers.append(
            {
                "mediaType": about.get("type", "application/octet-stream"),
                "digest": digest,
                "size": len(content),
                "annotations": {} if "config" in about else {TITLE: name},
            }
        )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        **({} if "config" in about else {"artifactType": "application/x-test"}),
        "config": {
            "mediaType": about.get("config", OCI_EMPTY),
            "digest": digest_of(b"{}"),
            "size": 2,
        },
        "layers": layers,
    }
    raw = json.dumps(manifest).encode()
    place.manifests[digest_of(raw)] = (OCI_MANIFEST, raw)
    place.tags["1"] = digest_of(raw)
    return f"{registry.host}/{REPOSITORY}:1"


@pytest.mark.parametrize("name", LARGE)
def test_of_a_remote_gigabyte_less_than_a_mebibyte_moves(
    name: str, scripted: ScriptedRegistry
) -> None:
    content = LARGE[name]()
    assert len(content) >= GIB
    reference = store(scripted, {name: content})
    scripted.forget()
    found = ocimlpack.inspect(reference, tensors=True)
    assert scripted.sent < MIB
    assert found.weights is not None
    [file] = found.weights
    assert (file.path, file.problem) == (name, None)
    assert [each.name for each in file.tensors] == NAMES
    assert {(each.type, each.shape, each.size) for each in file.tensors} == {
        ("float32", SHAPE, PIECE)
    }
    assert file.parameters == TENSORS * NUMBERS
    # Nothing is said of it by the artifact, so its weights say it.
    assert found.model == {"paramSize": "268.4M", "precision": "float32"}


def test_of_shards_each_is_read_and_what_two_files_hold_counts_once(
    scripted: ScriptedRegistry,
) -> None:
    one, two = ({name: ("F16", (10, 10)), "both": ("F16", (50,))} for name in ("a", "b"))
    files = {
        "m-00001-of-00002.safetensors": weights.safetensors(one),
        "m-00002-of-00002.safetensors": weights.safetensors(two),
        "config.json": b"{}",
    }
    found = ocimlpack.inspect(store(scripted, files), tensors=True)
    assert [each.path for each in found.weights or ()] == sorted(files)[1:]
    assert [each.parameters for each in found.weights or ()] == [150, 150]
    assert found.model == {"paramSize": "0.3K", "precision": "float16"}


MODEL = {
    "model.safetensors": weights.safetensors({"w": ("F32", (8, 8))}),
    "onnx/model.onnx": weights.onnx(weights.initializer("w", 1, (8, 8))),
    "config.json": b'{"model_type": "bert"}',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return weights.write(tmp_path / "model", cast(Any, MODEL))


def paths(found: ocimlpack.Inspected) -> list[str]:
    return [each.path for each in found.weights or ()]


def test_folders_layouts_archives_and_registries_say_the_same(
    folder: Path, tmp_path: Path, scripted: ScriptedRegistry
) -> None:
    places = [str(folder)]
    for place in (
        f"oci:{tmp_path / 'layout'}:1",
        f"oci-archive:{tmp_path / 'a.tar'}:1",
        f"{scripted.host}/{REPOSITORY}:1",
    ):
        ocimlpack.push(folder, place)
        places.append(place)
    found = [ocimlpack.inspect(place, tensors=True) for place in places]
    assert paths(found[0]) == ["model.safetensors", "onnx/model.onnx"]
    assert len({repr(each.weights) for each in found}) == 1
    assert {each.digest for each in found} == {found[0].digest}


@pytest.mark.parametrize("ranges", ["ignored", "refused", "short"])
def test_registries_that_are_odd_about_ranges_are_read_all_the_same(
    ranges: Literal["ignored", "refused", "short"], scripted: ScriptedRegistry
) -> None:
    state = torch_files.dictionary({"w": torch_files.tensor("0", (100, 100))})
    checkpoint = torch_files.checkpoint(state, {"0": 40_000})
    reference = store(scripted, {**MODEL, "model.pt": checkpoint[0 : len(checkpoint)]})
    plain = ocimlpack.inspect(reference, tensors=True)
    scripted.quirks.ranges = ranges
    assert ocimlpack.inspect(reference, tensors=True).weights == plain.weights
    assert [each.problem for each in plain.weights or ()] == [None, None, None]


def test_a_registry_that_fails_in_the_middle_is_asked_again(scripted: ScriptedRegistry) -> None:
    reference = store(scripted, MODEL)
    plain = ocimlpack.inspect(reference, tensors=True)
    scripted.fault("GET", "/blobs/", status=503, times=2)
    assert ocimlpack.inspect(reference, tensors=True).weights == plain.weights


def test_without_being_asked_for_no_weights_are_read(
    folder: Path, scripted: ScriptedRegistry
) -> None:
    place = f"{scripted.host}/{REPOSITORY}:1"
    ocimlpack.push(folder, place)
    scripted.forget()
    assert ocimlpack.inspect(place).weights is None
    assert all("safetensors" not in each.target for each in scripted.requests)
    config = ocimlpack.inspect(place).manifest.partition('"digest":"')[2][:71]
    assert {each.path.rpartition("/")[2] for each in scripted.asked("GET", "/blobs/")} == {config}


def test_weights_in_an_archive_are_found_by_its_headers(
    folder: Path, tmp_path: Path, scripted: ScriptedRegistry
) -> None:
    path = tmp_path / "layer.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder, "weights")
    raw = path.read_bytes()
    reference = store(scripted, {"weights": raw}, type=TAR)
    found = ocimlpack.inspect(reference, tensors=True)
    assert paths(found) == ["weights/model.safetensors", "weights/onnx/model.onnx"]
    assert [each.problem for each in found.weights or ()] == [None, None]
    assert [each.parameters for each in found.weights or ()] == [64, 64]


def test_compressed_archives_are_not_looked_into(folder: Path, scripted: ScriptedRegistry) -> None:
    found = ocimlpack.inspect(
        store(scripted, {"weights": b"..."}, type=f"{TAR}+gzip"), tensors=True
    )
    assert found.weights == ()
    layer = digest_of(b"weights")
    assert f"the layer {layer} is compressed, so weights in it are not looked at" in found.notes


def test_an_archive_that_is_damaged_is_named(scripted: ScriptedRegistry) -> None:
    reference = store(scripted, {"weights": b"x" * 2000}, type=TAR)
    with pytest.raises(ocimlpack.InvalidContentError, match=f"archive {digest_of(b'weights')}: "):
        ocimlpack.inspect(reference, tensors=True)


def layer(files: Mapping[str, bytes | None], links: Mapping[str, str] | None = None) -> bytes:
    """A layer of an image: files, and symbolic links."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return raw.getvalue()


def test_of_an_image_the_weights_that_are_seen_in_the_end_are_listed(
    scripted: ScriptedRegistry,
) -> None:
    small, large = (weights.safetensors({"w": ("F32", (n,))}) for n in (100, 300))
    layers = {
        "1": layer(
            {
                "models/a.safetensors": small,
                "models/gone.safetensors": small,
                "models/kept/b.safetensors": small,
                "usr/lib/other.safetensors": small,
            }
        ),
        "2": layer(
            {"models/a.safetensors": large, "models/.wh.gone.safetensors": None},
            {"models/linked.safetensors": "kept/b.safetensors"},
        ),
    }
    reference = store(scripted, layers, type=IMAGE_LAYER, config=OCI_CONFIG)
    found = ocimlpack.inspect(reference, tensors=True)
    assert found.format == "image"
    assert {each.path: each.parameters for each in found.weights or ()} == {
        "a.safetensors": 300,
        "kept/b.safetensors": 100,
        "linked.safetensors": 100,
    }


def test_a_file_that_is_damaged_does_not_hide_the_others(scripted: ScriptedRegistry) -> None:
    files = {**MODEL, "cut.safetensors": MODEL["model.safetensors"][:-1]}
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    found = ocimlpack.inspect(store(scripted, {**files, "lfs.safetensors": pointer}), tensors=True)
    problems = {each.path: each.problem for each in found.weights or ()}
    assert problems == {
        "cut.safetensors": "it lacks its last 1 bytes; was it downloaded whole?",
        "lfs.safetensors": "it is a pointer of Git LFS, not the file itself",
        "model.safetensors": None,
        "onnx/model.onnx": None,
    }


def test_weights_without_an_ending_are_known_by_their_beginning(
    scripted: ScriptedRegistry,
) -> None:
    files = {
        "model": weights.gguf({"general.name": "x"}, [("w", 0, (4,))]),
        "pytorch_model.bin": torch_files.checkpoint(
            torch_files.dictionary({"w": torch_files.tensor("0", (4,))}), {"0": bytes(16)}
        ),
        "other.bin": b"just bytes",
        "notes.txt": b"text",
    }
    found = ocimlpack.inspect(store(scripted, files), tensors=True)
    assert [(each.path, each.format) for each in found.weights or ()] == [
        ("model", "gguf"),
        ("pytorch_model.bin", "pt"),
    ]


def test_what_the_artifact_says_stands(folder: Path, tmp_path: Path) -> None:
    place = f"oci:{tmp_path / 'layout'}:1"
    (folder / "model.yaml").write_text("paramSize: 7B\n")
    ocimlpack.pack(folder, place)
    assert ocimlpack.inspect(place, tensors=True).model["paramSize"] == "7B"
