"""Artifacts of other formats, planned as ours."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pytest

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model import conversion, listing
from ocimlpack.model.bundle import BundleBlob, Part, folders
from ocimlpack.model.hashing import hash_sources
from ocimlpack.model.options import FORMS, Form
from ocimlpack.model.pack import Packed, seal
from ocimlpack.model.readers import understand
from ocimlpack.progress import ignore
from ocimlpack.spec import mediatypes
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.verify import check
from tests.model.artifacts import member, tar
from tests.model.readers.artifacts import KIT, LAYER, Blob, image, stored

GGUF = b"GGUF" + bytes(100)
LARGE = random.Random(3).randbytes(1_500_000)


def convert(store: MemoryStore, manifest: Any, form: Form) -> Packed:
    planned = conversion.plan(store, manifest, understand(store, manifest), form)
    hashed = hash_sources(planned.sources, jobs=2, report=ignore, cache=None)
    return seal(planned, hashed.digests, store)


def files(packed: Packed) -> dict[str, Digest]:
    """What is in it, every layer checked."""
    for layer in packed.manifest.layers:
        check(packed.fetch(layer), layer)
    members = understand(packed, packed.manifest).members
    return {entry.path: entry.digest for _, entry in listing.tree(members, packed.fetch)}


def becomes(store: MemoryStore, manifest: Any, expected: dict[str, bytes]) -> None:
    digests = {path: Digest.of(content) for path, content in expected.items()}
    for form in FORMS:
        assert files(convert(store, manifest, form)) == digests


def test_a_model_kit() -> None:
    store = MemoryStore()
    weights = Blob(tar(member("m.gguf", GGUF)), f"{KIT}.model.v1.tar")
    code = Blob(tar(member("src/a.py", b"1"), gz=True), f"{KIT}.code.v1.tar+gzip")
    config = {
        "package": {"name": "tiny", "license": "MIT"},
        "model": {"path": "./m.gguf", "digest": weights.digest},
        "code": [{"path": "src/", "digest": code.digest}],
    }
    manifest = stored(
        store,
        [code, weights],
        config=config,
        config_type=f"{KIT}.config.v1+json",
        media_type=None,
    )
    becomes(store, manifest, {"m.gguf": GGUF, "src/a.py": b"1"})
    packed = convert(store, manifest, "modelpack")
    assert [(file.path, file.kind) for file in packed.files] == [
        ("m.gguf", "weight"),
        ("src/a.py", "code"),
    ]
    said = json.loads(packed.config)["descriptor"]
    assert said == {"name": "tiny", "licenses": ["MIT"]}


def test_large_files_in_compressed_archives() -> None:
    store = MemoryStore()
    layer = Blob(
        tar(member("a.bin", LARGE), member("b.bin", LARGE[::-1]), member("c.txt", b"c"), gz=True),
        f"{KIT}.model.v1.tar+gzip",
    )
    manifest = stored(
        store,
        [layer],
        config={"model": {"path": ".", "digest": layer.digest}},
        config_type=f"{KIT}.config.v1+json",
        media_type=None,
    )
    becomes(store, manifest, {"a.bin": LARGE, "b.bin": LARGE[::-1], "c.txt": b"c"})


def test_what_oras_pushed_is_sorted_into_kinds() -> None:
    store = MemoryStore()
    named = "org.opencontainers.image.title"
    manifest = stored(
        store,
        [
            Blob(b"# Tiny", "text/markdown", {named: "README.md"}),
            Blob(b"GGUFx", "application/x-model", {named: "model.bin"}),
            Blob(b"#!/bin/sh\n", "application/x-sh", {named: "run"}),
        ],
    )
    becomes(store, manifest, {"README.md": b"# Tiny", "model.bin": b"GGUFx", "run": b"#!/bin/sh\n"})
    packed = convert(store, manifest, "modelpack")
    assert {file.path: file.kind for file in packed.files} == {
        "model.bin": "weight",
        "run": "code",
        "README.md": "doc",
    }


def test_a_path_is_composed_as_pack_composes_it() -> None:
    store = MemoryStore()
    title = "org.opencontainers.image.title"
    manifest = stored(store, [Blob(b"x", "a/b", {title: "e\u0301.bin"})])
    becomes(store, manifest, {"\u00e9.bin": b"x"})


def test_a_file_that_an_archive_holds_twice_is_refused() -> None:
    store = MemoryStore()
    layer = Blob(tar(member("a", b"1"), member("a", b"2")), f"{KIT}.model.v1.tar")
    manifest = stored(
        store,
        [layer],
        config={"model": {"path": ".", "digest": layer.digest}},
        config_type=f"{KIT}.config.v1+json",
        media_type=None,
    )
    with pytest.raises(InvalidContentError, match="twice"):
        convert(store, manifest, "image")


def test_files_of_two_layers_that_can_not_be_side_by_side_are_refused() -> None:
    store = MemoryStore()
    title = "org.opencontainers.image.title"
    unpack = {"io.deis.oras.content.unpack": "true"}
    manifest = stored(
        store,
        [
            Blob(b"x", "a/b", {title: "sub/a.bin"}),
            Blob(tar(member("sub/A.bin", b"y"), gz=True), LAYER, {title: "sub", **unpack}),
        ],
    )
    with pytest.raises(InvalidContentError, match="side by side"):
        convert(store, manifest, "modelpack")


def test_an_artifact_without_files_is_refused() -> None:
    store = MemoryStore()
    layer = Blob(gzip.compress(tar()), f"{KIT}.model.v1.tar+gzip")
    manifest = stored(
        store,
        [layer],
        config={"model": {"path": ".", "digest": layer.digest}},
        config_type=f"{KIT}.config.v1+json",
        media_type=None,
    )
    with pytest.raises(InvalidContentError, match="holds no files"):
        convert(store, manifest, "image")


def modelcar(*members: Any) -> tuple[MemoryStore, Any]:
    store = MemoryStore()
    return store, image(store, [Blob(tar(*members), LAYER)])


@pytest.mark.parametrize("form", FORMS)
def test_files_that_can_not_be_side_by_side_are_refused(form: Form) -> None:
    both = modelcar(member("models/y", b"1"), member("models/y/z", b"2"))
    with pytest.raises(InvalidContentError, match="side by side"):
        convert(*both, form)


@pytest.mark.parametrize("form", FORMS)
def test_a_name_that_is_too_long_once_it_is_composed_is_refused(form: Form) -> None:
    long = modelcar(member("models/" + "\u0958" * 80, b"1"))
    with pytest.raises(InvalidContentError, match="480 bytes"):
        convert(*long, form)


@pytest.mark.parametrize("form", ["image", "both"])
def test_a_name_that_would_take_a_file_away_is_refused_for_an_image(form: Form) -> None:
    store = MemoryStore()
    named = "org.opencontainers.image.title"
    manifest = stored(store, [Blob(b"x", "a/b", {named: ".wh.x"}), Blob(b"x", "a/b", {named: "x"})])
    with pytest.raises(InputError, match="takes another file away"):
        convert(store, manifest, form)


def test_what_a_config_says_is_taken_over_as_it_ought_to_be_said() -> None:
    store = MemoryStore()
    said = {"createdAt": "2024-01-01t02:00:00.120+02:00", "name": " a ", "authors": ["x", "x"]}
    manifest = stored(
        store,
        [Blob(b"x", mediatypes.model_layer("doc"), {mediatypes.FILEPATH: "x"})],
        config={"descriptor": {**said, "version": 7, "vendor": "a\0b"}, "config": {}},
        config_type=mediatypes.MODEL_CONFIG,
    )
    assert json.loads(convert(store, manifest, "modelpack").config)["descriptor"] == {
        "createdAt": "2024-01-01T00:00:00.12Z",
        "authors": ["x"],
        "name": "a",
    }


def test_a_path_says_nothing_where_no_folder_is_meant() -> None:
    path = "None/m.bin"
    blob = BundleBlob((*folders(path), Part(path, 0o644, len(LARGE), BytesBlob(LARGE))))
    with blob.open() as stream:
        content = stream.read()
    store = MemoryStore()
    layer = Blob(content, f"{KIT}.model.v1.tar", {"ocimlpack.path": path})
    config = {"model": {"path": "None", "digest": layer.digest}}
    manifest = stored(store, [layer], config=config, config_type=f"{KIT}.config.v1+json")
    becomes(store, manifest, {path: LARGE})


class TestLayersThatSayTheyAreOurs:
    """Layers of an image with the annotations of ours, and one large file."""

    def stored(self, path: str, said: str | None = None) -> tuple[MemoryStore, Any]:
        blob = BundleBlob((*folders(path), Part(path, 0o644, len(LARGE), BytesBlob(LARGE))))
        with blob.open() as stream:
            content = stream.read()
        store = MemoryStore()
        manifest = stored(
            store,
            [Blob(content, LAYER, {"ocimlpack.kind": "weight", "ocimlpack.path": said or path})],
            config={"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}},
            config_type="application/vnd.oci.image.config.v1+json",
        )
        return store, manifest

    def test_are_taken_by_their_word_and_checked(self) -> None:
        store, manifest = self.stored("models/sub/m.bin")
        (file,) = conversion.plan(store, manifest, understand(store, manifest), "modelpack").files
        assert file.digest is None  # it was not read
        becomes(store, manifest, {"sub/m.bin": LARGE})

    @pytest.mark.parametrize("path", ["models/../m.bin", "models/.git/config", "models/a/./b"])
    def test_have_safe_names(self, path: str) -> None:
        store, manifest = self.stored(path)
        with pytest.raises(InvalidContentError, match="unsafe file name"):
            convert(store, manifest, "modelpack")

    @pytest.mark.parametrize("path", ["etc/m.bin", "models2/m.bin", "models/.wh.m.bin"])
    def test_hold_nothing_where_no_model_is(self, path: str) -> None:
        with pytest.raises(InvalidContentError, match="holds no files"):
            convert(*self.stored(path), "modelpack")

    def test_take_away_what_their_folders_do(self) -> None:
        path = "models/.wh.a/m.bin"
        blob = BundleBlob((*folders(path), Part(path, 0o644, len(LARGE), BytesBlob(LARGE))))
        with blob.open() as stream:
            content = stream.read()
        store = MemoryStore()
        below = Blob(tar(member("models/a", b"1"), member("models/b", b"1")), LAYER)
        above = Blob(content, LAYER, {"ocimlpack.path": path})
        manifest = image(store, [below, above])
        found = conversion.plan(store, manifest, understand(store, manifest), "modelpack").files
        assert sorted(file.path for file in found) == [".wh.a/m.bin", "b"]

    def test_hide_nothing_at_their_end(self) -> None:
        path = "models/m.bin"
        blob = BundleBlob((*folders(path), Part(path, 0o644, len(LARGE), BytesBlob(LARGE))))
        with blob.open() as stream:
            content = stream.read()
        hidden = Part("models/hidden", 0o644, 0, BytesBlob(b"")).header()
        content = content[:-1024] + hidden + bytes(512)
        store = MemoryStore()
        manifest = stored(
            store,
            [Blob(content, LAYER, {"ocimlpack.kind": "weight", "ocimlpack.path": path})],
            config={"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}},
            config_type="application/vnd.oci.image.config.v1+json",
        )
        becomes(store, manifest, {"m.bin": LARGE, "hidden": b""})
        layers = convert(store, manifest, "image").manifest.layers
        assert Digest.of(content) not in {layer.digest for layer in layers}

    def test_may_hold_something_else_than_they_say(self) -> None:
        becomes(*self.stored("models/m.bin", "models/x.bin"), {"m.bin": LARGE})
