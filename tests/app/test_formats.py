"""Everyday functions and commands on artifacts of other tools."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.cli.main import main
from ocimlpack.progress import Ended, Event, Warned
from ocimlpack.spec import mediatypes
from ocimlpack.spec.manifest import Manifest, parse
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.transfer.copy import copy
from tests.model.artifacts import member, tar, tree
from tests.model.readers.artifacts import KIT, LAYER, OLLAMA, Blob, image, stored
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

GGUF = b"GGUF" + bytes(100)
CONFIG = {"model_format": "gguf", "model_family": "llama", "model_type": "8B"}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def ollama(store: MemoryStore) -> Manifest:
    return stored(
        store,
        [Blob(GGUF, f"{OLLAMA}.model"), Blob(b"MIT", f"{OLLAMA}.license")],
        config=CONFIG,
        config_type=mediatypes.DOCKER_CONFIG,
        media_type=mediatypes.DOCKER_MANIFEST,
    )


def laid_out(store: MemoryStore, manifest: Manifest, layout: str) -> str:
    path = Path(layout.removeprefix("oci:"))
    copy(store, manifest.descriptor, LayoutStore(path, create=True), tags=["1"])
    return f"{layout}:1"


def test_a_pull_says_what_was_guessed(store: MemoryStore, layout: str, tmp_path: Path) -> None:
    source = laid_out(store, ollama(store), layout)
    events: list[Event] = []
    pulled = ocimlpack.pull(source, tmp_path / "out", report=events.append)
    assert pulled.format == "ollama"
    assert [e.message for e in events if isinstance(e, Warned)] == list(pulled.notes)
    assert {e.name for e in events if isinstance(e, Ended)} == {"model.gguf", "LICENSE"}
    assert tree(tmp_path / "out") == {"model.gguf": GGUF, "LICENSE": b"MIT"}
    assert ocimlpack.verify(str(tmp_path / "out")).checked == 2


def test_the_command_says_it_on_stderr_and_in_json(
    store: MemoryStore, layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = laid_out(store, ollama(store), layout)
    assert main(["pull", source, "-o", str(tmp_path / "out"), "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert (found["format"], len(found["notes"])) == ("ollama", 1)
    assert found["notes"][0] in shown.err


def test_what_is_not_understood_is_pulled_with_a_note(
    store: MemoryStore, layout: str, tmp_path: Path
) -> None:
    manifest = stored(store, [Blob(b"?", "application/x-strange")], artifact_type="a/b")
    pulled = ocimlpack.pull(laid_out(store, manifest, layout), tmp_path / "out")
    assert pulled.format == "files"
    assert "isn't understood" in pulled.notes[0]
    assert list(tree(tmp_path / "out").values()) == [b"?"]


def test_inspect_shows_fields_files_and_format(
    store: MemoryStore, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = laid_out(store, ollama(store), layout)
    found = ocimlpack.inspect(source)
    assert found.format == "ollama"
    assert found.model == {"format": "gguf", "family": "llama", "paramSize": "8B"}
    assert [(each.path, each.kind) for each in found.files] == [
        ("model.gguf", "weight"),
        ("LICENSE", "doc"),
    ]
    assert main(["inspect", source]) == 0
    shown = capsys.readouterr().out
    assert "Packaging:  ollama" in shown
    assert f"Note:       {found.notes[0]}" in shown


def test_a_file_of_an_image_does_not_go_to_a_stream(store: MemoryStore, layout: str) -> None:
    source = laid_out(store, image(store, [Blob(tar(member("models/x", b"x")), LAYER)]), layout)
    with pytest.raises(ocimlpack.UnsupportedError, match="stored in archives"):
        ocimlpack.read_file(source, io.BytesIO(), include=["x"])


def test_inspect_lists_the_files_of_an_image(store: MemoryStore, layout: str) -> None:
    archive = tar(member("etc/x", b"x"), member("models/a/w.bin", b"w"))
    source = laid_out(store, image(store, [Blob(archive, LAYER)]), layout)
    assert [each.path for each in ocimlpack.inspect(source).files] == ["(layer 1 of 1)"]
    listed = ocimlpack.inspect(source, archives=True).files
    assert [(each.path, each.size) for each in listed] == [("a/w.bin", 1)]


@pytest.mark.parametrize("config", [b"nothing", b"[]"])
def test_inspect_shows_what_is_there_where_the_config_is_none(
    store: MemoryStore, layout: str, config: bytes
) -> None:
    layer = Blob(b"w", mediatypes.model_layer("weight"), {mediatypes.FILEPATH: "w"})
    manifest = stored(store, [layer], config=config, config_type=mediatypes.MODEL_CONFIG)
    found = ocimlpack.inspect(laid_out(store, manifest, layout))
    assert [each.path for each in found.files] == ["w"]
    assert found.config == config.decode()
    assert (found.model, len(found.notes)) == ({}, 1)


def test_inspect_shows_a_modelkit_that_can_not_be_pulled(store: MemoryStore, layout: str) -> None:
    layer = Blob(b"w", f"{KIT}.model.v1.raw")
    config = {"package": {"name": "tiny"}, "model": {"path": "../w", "digest": layer.digest}}
    manifest = stored(store, [layer], config=config, config_type=f"{KIT}.config.v1+json")
    found = ocimlpack.inspect(laid_out(store, manifest, layout))
    assert found.model == {"name": "tiny"}
    assert "unsafe file name" in found.files[0].path


def test_a_copy_keeps_every_byte(store: MemoryStore, layout: str, tmp_path: Path) -> None:
    manifest = ollama(store)
    other = f"oci:{tmp_path / 'other'}:2"
    moved = ocimlpack.copy(laid_out(store, manifest, layout), other)
    assert moved.digest == str(manifest.descriptor.digest)
    assert ocimlpack.inspect(other).manifest.encode() == manifest.raw
    assert ocimlpack.verify(other).checked == 4


def test_an_index_is_shown_and_pulled_as_its_model(
    store: MemoryStore, layout: str, tmp_path: Path
) -> None:
    car = image(store, [Blob(tar(member("models/x", b"x")), LAYER)])
    entries = [ollama(store).descriptor.to_json(), car.descriptor.to_json()]
    value = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": entries}
    raw = json.dumps(value).encode()
    index = parse(raw)
    store.push(index.descriptor, BytesBlob(raw))
    path = Path(layout.removeprefix("oci:"))
    copy(store, index.descriptor, LayoutStore(path, create=True), tags=["1"])
    found = ocimlpack.inspect(f"{layout}:1")
    assert (found.format, found.digest) == ("ollama", str(index.descriptor.digest))
    assert found.model["family"] == "llama"
    assert ocimlpack.pull(f"{layout}:1", tmp_path / "out").format == "ollama"
    assert tree(tmp_path / "out") == {"model.gguf": GGUF, "LICENSE": b"MIT"}


def test_the_folder_of_an_index_is_found_again(
    store: MemoryStore, layout: str, tmp_path: Path
) -> None:
    car = image(store, [Blob(tar(member("models/x", b"x")), LAYER)])
    value = {"schemaVersion": 2, "manifests": [car.descriptor.to_json()]}
    raw = json.dumps(value).encode()
    index = parse(raw)
    store.push(index.descriptor, BytesBlob(raw))
    path = Path(layout.removeprefix("oci:"))
    copy(store, index.descriptor, LayoutStore(path, create=True), tags=["1"])
    folder = ocimlpack.resolve(f"{layout}:1", cache=tmp_path / "cache")
    before = (folder / ".ocimlpack/receipt.json").stat()
    events: list[Event] = []
    again = ocimlpack.resolve(f"{layout}:1", cache=tmp_path / "cache", report=events.append)
    assert (again, events) == (folder, [])
    assert (folder / ".ocimlpack/receipt.json").stat() == before


def test_a_registry_like_ollama_s_is_read(
    scripted: ScriptedRegistry, store: MemoryStore, tmp_path: Path
) -> None:
    """Its manifests are plain text and have no digest beside them, and nothing is at /v2/."""
    manifest = ollama(store)
    for child in manifest.children:
        with store.fetch(child).open() as stream:
            scripted.content.add_blob(REPOSITORY, stream.read())
    scripted.content.add_manifest(REPOSITORY, manifest, "latest")
    scripted.quirks.manifest_type = "text/plain; charset=utf-8"
    scripted.quirks.digest_header = False
    ping = scripted.fault("GET", "/v2/$", times=None, status=404)
    place = f"{scripted.host}/{REPOSITORY}"
    pulled = ocimlpack.pull(place, tmp_path / "out")
    assert (pulled.format, pulled.digest) == ("ollama", str(manifest.descriptor.digest))
    assert tree(tmp_path / "out") == {"model.gguf": GGUF, "LICENSE": b"MIT"}
    assert ocimlpack.inspect(place).model["family"] == "llama"
    copied = ocimlpack.copy(place, f"oci:{tmp_path / 'other'}:1")
    assert copied.digest == pulled.digest
    assert ping.hits == 0
