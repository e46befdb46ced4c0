"""Artifacts that mean harm, or were made carelessly: one sentence, and nothing is written."""

from __future__ import annotations

import gzip
import json
import tarfile
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import InvalidContentError, NotFoundError
from ocimlpack.model.readers import fields_of, understand
from ocimlpack.spec import mediatypes
from ocimlpack.spec.manifest import MAX_SIZE, Manifest, parse
from ocimlpack.stores.memory import MemoryStore
from tests.model.artifacts import member, tar, tree
from tests.model.readers.artifacts import DOCKER, KIT, LAYER, OLLAMA, Blob, image, pull, stored

KIT_CONFIG = f"{KIT}.config.v1+json"


def modelkit(store: MemoryStore, config: Any, *layers: Blob) -> Manifest:
    return stored(store, layers, config=config, config_type=KIT_CONFIG, media_type=None)


def modelpack(store: MemoryStore, *layers: Blob) -> Manifest:
    return stored(store, layers, config_type=mediatypes.MODEL_CONFIG)


def refused(store: MemoryStore, manifest: Manifest, out: Path) -> str:
    with pytest.raises(InvalidContentError) as caught:
        pull(store, manifest, out)
    assert not out.exists()
    return caught.value.message


def archived(store: MemoryStore, content: bytes, kind: str) -> Manifest:
    """An archive as a layer of one of the formats that have them."""
    if kind == "modelpack":
        path = {mediatypes.FILEPATH: "."}
        return modelpack(store, Blob(content, mediatypes.model_layer("weight", "tar"), path))
    if kind == "modelkit":
        layer = Blob(content, f"{KIT}.model.v1.tar")
        return modelkit(store, {"model": {"path": ".", "digest": layer.digest}}, layer)
    if kind == "docker":
        return stored(store, [Blob(content, f"{DOCKER}.dir.tar")])
    title = {mediatypes.TITLE: ".", mediatypes.ORAS_UNPACK: "true"}
    return stored(store, [Blob(gzip.compress(content, mtime=0), "application/x", title)])


MEMBERS = {
    "symbolic link": member("x", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": member("x", type=tarfile.LNKTYPE, linkname="../x"),
    "device": member("x", type=tarfile.CHRTYPE),
    "block device": member("x", type=tarfile.BLKTYPE),
    "pipe": member("x", type=tarfile.FIFOTYPE),
    "absolute": member("/x", b"1"),
    "above": member("../x", b"1"),
    "above later": member("a/../../x", b"1"),
    "drive": member("C:/x", b"1"),
    "backslash": member("a\\..\\..\\x", b"1"),
    "receipt": member(".ocimlpack/receipt.json", b"{}"),
    "hook": member(".git/hooks/post-checkout", b"#!/bin/sh"),
    "long part": member("x" * 300, b"1"),
    "long path": member("/".join(["x" * 200] * 21), b"1"),
    "device of Windows": member("aux.txt", b"1"),
    "control": member("a\x1b[31m", b"1"),
    "sparse": member("x", type=tarfile.GNUTYPE_SPARSE),
    "sparse by record": member("x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.size": "9"}),
}


@pytest.mark.parametrize("kind", ["modelpack", "modelkit", "docker", "oras"])
@pytest.mark.parametrize("what", MEMBERS)
def test_a_member_that_is_unsafe_is_refused_in_every_format(
    tmp_path: Path, kind: str, what: str
) -> None:
    store = MemoryStore()
    content = tar(member("first", b"1"), MEMBERS[what])
    assert refused(store, archived(store, content, kind), tmp_path / "out").startswith("archive")


@pytest.mark.parametrize("kind", ["modelpack", "modelkit", "docker", "oras"])
@pytest.mark.parametrize("pair", [("x", "x"), ("x", "X"), ("x", "x/y"), ("é", "e\u0301")])
def test_members_that_can_not_be_side_by_side_are_refused(
    tmp_path: Path, kind: str, pair: tuple[str, str]
) -> None:
    store = MemoryStore()
    content = tar(*(member(name, b"1") for name in pair))
    assert "artifact" in refused(store, archived(store, content, kind), tmp_path / "out")


def test_a_name_in_an_archive_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    content = tar((tarfile.TarInfo("caf\udce9"), b""), format=tarfile.GNU_FORMAT)
    assert "UTF-8" in refused(store, archived(store, content, "modelkit"), tmp_path / "out")
    below = tar((tarfile.TarInfo("models/caf\udce9"), b""), format=tarfile.GNU_FORMAT)
    assert "UTF-8" in refused(store, image(store, [Blob(below, LAYER)]), tmp_path / "out")


def test_archives_that_unpack_to_out_of_proportion_much_are_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    content = gzip.compress(tar(member("models/x", bytes(80 * 1024 * 1024))), mtime=0)
    assert len(content) < 200_000
    for manifest in (
        image(store, [Blob(content, f"{LAYER}+gzip")]),
        modelkit(store, {"model": {}}, Blob(content, f"{KIT}.model.v1.tar+gzip")),
    ):
        assert "unpack to more than" in refused(store, manifest, tmp_path / "out")


class TestModelKit:
    """A Kitfile that is not to be believed."""

    @pytest.mark.parametrize(
        "path",
        ["../x", "/etc/passwd", "a/../../x", "a\\b", "C:x", ".git/hooks", "a\x00b", "..", "/"],
    )
    @pytest.mark.parametrize("encoding", ["tar", "raw"])
    def test_paths_out_of_the_folder_are_refused(
        self, tmp_path: Path, path: str, encoding: str
    ) -> None:
        store = MemoryStore()
        layer = Blob(tar(member("x", b"1")), f"{KIT}.model.v1.{encoding}")
        for entry in ({"path": path, "digest": layer.digest}, {"path": path}):
            manifest = modelkit(store, {"model": entry}, layer)
            assert "unsafe file name" in refused(store, manifest, tmp_path / "out")

    def test_two_layers_under_one_path_are_refused(self, tmp_path: Path) -> None:
        store = MemoryStore()
        one, two = (Blob(content, f"{KIT}.docs.v1.raw") for content in (b"1", b"2"))
        docs = [{"path": "a", "digest": one.digest}, {"path": "a", "digest": two.digest}]
        manifest = modelkit(store, {"docs": docs}, one, two)
        assert "twice" in refused(store, manifest, tmp_path / "out")

    def test_digests_of_what_is_no_layer_are_told_and_not_fetched(self, tmp_path: Path) -> None:
        store = MemoryStore()
        layer = Blob(b"1", f"{KIT}.docs.v1.raw")
        docs = [{"path": f"gone{n}", "digest": f"sha256:{n:064}"} for n in range(6)]
        docs.append({"path": "a", "digest": layer.digest})
        found = pull(store, modelkit(store, {"docs": docs}, layer), tmp_path / "out")
        assert "gone3 and 2 more" in found.notes[0]
        assert tree(tmp_path / "out") == {"a": b"1"}

    @pytest.mark.parametrize(
        "config",
        [
            b"",
            b"[]",
            b"{",
            b"\xff\xfe{}",
            b'{"model":{},"model":{}}',
            b'{"model": []}',
            b'{"model": {"parts": {}}}',
            b'{"code": ["x"]}',
            b'{"code": [{"path": 5}]}',
            b'{"code": [{"digest": 5}]}',
            b"[" * 100_000,
        ],
    )
    def test_what_is_no_kitfile_is_refused(self, tmp_path: Path, config: bytes) -> None:
        store = MemoryStore()
        manifest = modelkit(store, config, Blob(b"1", f"{KIT}.docs.v1.raw"))
        refused(store, manifest, tmp_path / "out")


class TestSizes:
    """What is said of sizes, and is not so."""

    def test_a_config_too_large_to_be_one_is_not_read(self, tmp_path: Path) -> None:
        store = MemoryStore()
        manifest = modelkit(store, b" " * (MAX_SIZE + 1), Blob(b"1", f"{KIT}.docs.v1.raw"))
        assert "no more than" in refused(store, manifest, tmp_path / "out")

    def test_a_config_that_is_not_there_is_missed(self) -> None:
        store = MemoryStore()
        manifest = modelkit(store, {"model": {}}, Blob(b"1", f"{KIT}.docs.v1.raw"))
        with pytest.raises(NotFoundError):
            understand(MemoryStore(), manifest)

    def test_one_content_with_two_sizes_is_refused(self) -> None:
        store = MemoryStore()
        value = json.loads(modelpack(store, Blob(b"1", "a/b"), Blob(b"1", "a/b")).raw)
        value["layers"][1]["size"] = 2
        manifest = parse(json.dumps(value).encode())
        assert isinstance(manifest, Manifest)
        with pytest.raises(InvalidContentError, match="two sizes"):
            understand(store, manifest)

    def test_sizes_in_configs_and_annotations_are_not_believed(self, tmp_path: Path) -> None:
        said = {mediatypes.FILEPATH: "m", mediatypes.FILE_METADATA: '{"size": 9, "mode": 420}'}
        layer = Blob(b"1234", f"{DOCKER}.gguf.v3", said)
        config = {"config": {"size": "1 PiB", "parameters": ["?"]}, "rootfs": {"diff_ids": [5]}}
        store = MemoryStore()
        kind = f"{DOCKER}.model.config.v0.1+json"
        manifest = stored(store, [layer], config=config, config_type=kind)
        pull(store, manifest, tmp_path / "out")
        assert tree(tmp_path / "out") == {"m": b"1234"}


class TestNames:
    """Names that layers and descriptors give."""

    @pytest.mark.parametrize("name", ["../x", "/x", "a/../../b", "a\\b", "x\ud800"])
    def test_unsafe_names_of_tensors_are_refused(self, tmp_path: Path, name: str) -> None:
        store = MemoryStore()
        manifest = stored(store, [Blob(b"1", f"{OLLAMA}.tensor", name=name)])
        assert "unsafe" in refused(store, manifest, tmp_path / "out")

    def test_tensors_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        store = MemoryStore()
        layers = [Blob(content, f"{OLLAMA}.tensor", name="a.weight") for content in (b"1", b"2")]
        pull(store, stored(store, layers), tmp_path / "out")
        assert tree(tmp_path / "out") == {
            "a.weight.safetensors": b"1",
            "a.weight-2.safetensors": b"2",
        }

    def test_a_name_that_was_made_up_does_not_hide_another(self, tmp_path: Path) -> None:
        path = {mediatypes.FILEPATH: "model-00002-of-00002.gguf"}
        layers = [Blob(b"1", f"{DOCKER}.gguf.v3", path), Blob(b"2", f"{DOCKER}.gguf.v3")]
        store = MemoryStore()
        assert "twice" in refused(store, stored(store, layers), tmp_path / "out")

    def test_one_path_for_two_layers_is_refused(self, tmp_path: Path) -> None:
        kind, path = mediatypes.model_layer("weight"), {mediatypes.FILEPATH: "w"}
        store = MemoryStore()
        manifest = modelpack(store, Blob(b"1", kind, path), Blob(b"2", kind, path))
        assert "twice" in refused(store, manifest, tmp_path / "out")

    def test_one_content_under_two_paths_is_two_files(self, tmp_path: Path) -> None:
        kind = mediatypes.model_layer("weight")
        layers = [Blob(b"1", kind, {mediatypes.FILEPATH: path}) for path in ("a", "b/c")]
        store = MemoryStore()
        pull(store, modelpack(store, *layers), tmp_path / "out")
        assert tree(tmp_path / "out") == {"a": b"1", "b/c": b"1"}


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        (mediatypes.MODEL_CONFIG, mediatypes.model_layer("weight")),
        (f"{DOCKER}.model.config.v0.1+json", f"{DOCKER}.gguf.v3"),
        (mediatypes.DOCKER_CONFIG, f"{OLLAMA}.model"),
        ("application/x-config", "application/x-mlmodel"),
        (mediatypes.OCI_CONFIG, LAYER),
    ],
)
@pytest.mark.parametrize("config", [b"[]", b"nothing", b"\xff", b'{"config":'])
def test_a_config_that_is_no_json_says_nothing_but_keeps_nobody_from_the_files(
    tmp_path: Path, kind: str, layer: str, config: bytes
) -> None:
    content = tar(member("models/m", b"1")) if layer == LAYER else b"1"
    store = MemoryStore()
    manifest = stored(
        store,
        [Blob(content, layer, {} if layer == LAYER else {mediatypes.TITLE: "m"})],
        config=config,
        config_type=kind,
    )
    found = pull(store, manifest, tmp_path / "out")
    assert list(tree(tmp_path / "out").values()) == [b"1"]
    with pytest.raises(InvalidContentError):
        dict(found.fields)
    with pytest.raises(InvalidContentError):
        fields_of(store, manifest)


@pytest.mark.parametrize("value", [5, [], "text", None, {"a": []}, [[]], {"config": 5}])
@pytest.mark.parametrize("where", ["config", "descriptor", "package", "model_type", "rootfs"])
def test_parts_of_a_config_may_be_anything(where: str, value: object) -> None:
    store = MemoryStore()
    for kind, layer in (
        (mediatypes.MODEL_CONFIG, mediatypes.model_layer("weight")),
        (f"{DOCKER}.model.config.v0.1+json", f"{DOCKER}.gguf.v3"),
        (mediatypes.DOCKER_CONFIG, f"{OLLAMA}.model"),
        ("application/x-config", "application/x-mlmodel"),
        (mediatypes.OCI_CONFIG, LAYER),
        (KIT_CONFIG, f"{KIT}.docs.v1.raw"),
    ):
        titled = {mediatypes.TITLE: "m"}
        config = {where: value, "modelfs": {}}
        manifest = stored(store, [Blob(b"1", layer, titled)], config=config, config_type=kind)
        # Of a Kitfile names are taken, so what is none is refused; others say nothing.
        with suppress(InvalidContentError) if kind == KIT_CONFIG else nullcontext():
            dict(understand(store, manifest).fields)
