"""Pulls of each format: the right bytes under the right names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import InputError, UnsupportedError
from ocimlpack.model import listing, receipt
from ocimlpack.model.readers import understand
from ocimlpack.spec import mediatypes
from ocimlpack.stores.memory import MemoryStore
from tests.model.artifacts import member, tar, tree
from tests.model.readers.artifacts import DOCKER, KIT, LAYER, OLLAMA, Blob, image, pull, stored

GGUF = b"GGUF" + bytes(100)
UNNAMED = "application/vnd.acme"


def same_again(store: MemoryStore, manifest: Any, out: Path, expected: dict[str, bytes]) -> None:
    """The folder holds this, is right, is listed as that, and a second pull leaves it alone."""
    assert tree(out) == expected
    assert receipt.verify(out).checked == len(expected)
    listed = listing.tree(understand(store, manifest).members, store.fetch)
    assert {entry.path: entry.size for _, entry in listed} == {
        path: len(content) for path, content in expected.items()
    }
    inodes = {path: (out / path).stat().st_ino for path in expected}
    before = (out / receipt.PATH).read_bytes()
    pull(store, manifest, out)
    assert {path: (out / path).stat().st_ino for path in expected} == inodes
    assert (out / receipt.PATH).read_bytes() == before


class TestModelKit:
    """Archives, named by a Kitfile."""

    def test_layers_are_joined_to_paths_by_their_digests(self, tmp_path: Path) -> None:
        weights = Blob(tar(member("m.gguf", GGUF)), f"{KIT}.model.v1.tar")
        source = Blob(
            tar(member("src/", type=b"5"), member("src/a.py", b"1"), gz=True),
            f"{KIT}.code.v1.tar+gzip",
        )
        config = {
            "package": {"name": "tiny", "license": "MIT", "authors": ["me"]},
            "model": {"path": "./m.gguf", "digest": weights.digest, "format": "gguf"},
            "code": [{"path": "src/", "digest": source.digest}],
        }
        store = MemoryStore()
        manifest = stored(
            store,
            [source, weights],
            config=config,
            config_type=f"{KIT}.config.v1+json",
            media_type=None,
        )
        found = pull(store, manifest, tmp_path / "out")
        assert [(each.path, each.kind) for each in found.members] == [
            ("src", "code"),
            ("m.gguf", "weight"),
        ]
        assert dict(found.fields) == {
            "name": "tiny",
            "licenses": ["MIT"],
            "authors": ["me"],
            "format": "gguf",
        }
        assert found.notes == ()
        same_again(store, manifest, tmp_path / "out", {"m.gguf": GGUF, "src/a.py": b"1"})

    def test_the_oldest_are_joined_by_their_order_and_lie_where_the_path_says(
        self, tmp_path: Path
    ) -> None:
        layers = [
            Blob(tar(member("m.gguf", GGUF)), f"{KIT}.model.v1.tar"),
            Blob(tar(member("one.csv", b"1")), f"{KIT}.dataset.v1.tar"),
            Blob(tar(member("two.csv", b"2")), f"{KIT}.dataset.v1.tar"),
        ]
        config = {
            "model": {"path": "weights/m.gguf"},
            "datasets": [{"path": "data/one.csv"}, {"path": "two.csv"}],
        }
        store = MemoryStore()
        kind = f"{KIT}.config.v1+json"
        manifest = stored(store, layers, config=config, config_type=kind, media_type=None)
        assert pull(store, manifest, tmp_path / "out").notes == ()
        same_again(
            store,
            manifest,
            tmp_path / "out",
            {"weights/m.gguf": GGUF, "data/one.csv": b"1", "two.csv": b"2"},
        )

    def test_layers_that_have_paths_are_called_by_them(self, tmp_path: Path) -> None:
        layer = Blob(GGUF, f"{KIT}.model.v1.raw", {mediatypes.FILEPATH: "named.gguf"})
        store = MemoryStore()
        manifest = stored(
            store,
            [layer],
            config={"model": {"path": "other.gguf", "digest": layer.digest}},
            config_type=f"{KIT}.config.v1+json",
            artifact_type=f"{KIT}.manifest.v1+json",
        )
        assert pull(store, manifest, tmp_path / "out").format == "modelkit"
        same_again(store, manifest, tmp_path / "out", {"named.gguf": GGUF})

    def test_a_raw_layer_is_called_as_the_kitfile_says(self, tmp_path: Path) -> None:
        layer = Blob(GGUF, f"{KIT}.model.v1.raw")
        config = {"model": {"path": "a/m.gguf", "digest": layer.digest}}
        store = MemoryStore()
        manifest = stored(store, [layer], config=config, config_type=f"{KIT}.config.v1+json")
        pull(store, manifest, tmp_path / "out")
        same_again(store, manifest, tmp_path / "out", {"a/m.gguf": GGUF})

    @pytest.mark.parametrize("times", [1, 2])
    def test_one_content_under_two_paths_is_two_files(self, tmp_path: Path, times: int) -> None:
        layer = Blob(b"{}", f"{KIT}.modelpart.v1.raw")
        parts = [{"path": path, "digest": layer.digest} for path in ("a.json", "b/c.json")]
        store = MemoryStore()
        kind = f"{KIT}.config.v1+json"
        config = {"model": {"parts": parts}}
        manifest = stored(store, [layer] * times, config=config, config_type=kind)
        pull(store, manifest, tmp_path / "out")
        same_again(store, manifest, tmp_path / "out", {"a.json": b"{}", "b/c.json": b"{}"})

    def test_one_old_archive_in_two_folders_is_two_files(self, tmp_path: Path) -> None:
        layer = Blob(tar(member("x.csv", b"1")), f"{KIT}.dataset.v1.tar")
        datasets = [{"path": path} for path in ("a/x.csv", "b/x.csv")]
        store = MemoryStore()
        kind = f"{KIT}.config.v1+json"
        manifest = stored(store, [layer, layer], config={"datasets": datasets}, config_type=kind)
        pull(store, manifest, tmp_path / "out")
        same_again(store, manifest, tmp_path / "out", {"a/x.csv": b"1", "b/x.csv": b"1"})

    def test_a_model_that_is_another_modelkit_is_not_followed_but_told(
        self, tmp_path: Path
    ) -> None:
        layer = Blob(tar(member("a.py", b"1")), f"{KIT}.code.v1.tar")
        config = {
            "model": {"path": "ghcr.io/acme/base:1.0"},
            "code": [
                {"path": "a.py", "digest": layer.digest},
                {"path": "gone", "digest": f"sha256:{'0' * 64}"},
            ],
        }
        store = MemoryStore()
        manifest = stored(store, [layer], config=config, config_type=f"{KIT}.config.v1+json")
        found = pull(store, manifest, tmp_path / "out")
        assert "ghcr.io/acme/base:1.0" in found.notes[0]
        assert "gone" in found.notes[1]
        assert tree(tmp_path / "out") == {"a.py": b"1"}

    def test_a_layer_that_the_kitfile_does_not_name_is_pulled_all_the_same(
        self, tmp_path: Path
    ) -> None:
        layer = Blob(tar(member("a.py", b"1")), f"{KIT}.code.v1.tar")
        store = MemoryStore()
        config = {"model": {"name": "only a name"}}
        manifest = stored(store, [layer], config=config, config_type=f"{KIT}.config.v1+json")
        (note,) = pull(store, manifest, tmp_path / "out").notes
        assert "Kitfile says nothing" in note
        same_again(store, manifest, tmp_path / "out", {"a.py": b"1"})


class TestDockerModel:
    """Files by their paths, or by their kind and order."""

    def test_files_without_names_get_those_that_docker_gives_them(self, tmp_path: Path) -> None:
        layers = [
            Blob(GGUF, f"{DOCKER}.gguf.v3"),
            Blob(GGUF + b"2", f"{DOCKER}.gguf.v3"),
            Blob(b"proj", f"{DOCKER}.mmproj"),
            Blob(b"MIT", f"{DOCKER}.license"),
            Blob(b"Apache", f"{DOCKER}.license"),
            Blob(b"{{ x }}", f"{DOCKER}.chat.template.jinja"),
            Blob(tar(member("./config.json", b"{}")), f"{DOCKER}.vllm.config.tar"),
            Blob(tar(member("sub/x.txt", b"x")), f"{DOCKER}.dir.tar"),
        ]
        store = MemoryStore()
        config = {"config": {"format": "gguf", "parameters": "8B"}}
        kind = f"{DOCKER}.model.config.v0.1+json"
        manifest = stored(store, layers, config=config, config_type=kind)
        found = pull(store, manifest, tmp_path / "out")
        assert found.format == "docker-model"
        assert dict(found.fields) == {"format": "gguf", "paramSize": "8B"}
        assert "8 of 8 layers have no file name" in found.notes[0]
        same_again(
            store,
            manifest,
            tmp_path / "out",
            {
                "model-00001-of-00002.gguf": GGUF,
                "model-00002-of-00002.gguf": GGUF + b"2",
                "model.mmproj": b"proj",
                "LICENSE": b"MIT",
                "LICENSE-2": b"Apache",
                "template.jinja": b"{{ x }}",
                "config.json": b"{}",
                "sub/x.txt": b"x",
            },
        )

    def test_one_file_alone_is_the_model(self, tmp_path: Path) -> None:
        store = MemoryStore()
        manifest = stored(store, [Blob(GGUF, f"{DOCKER}.gguf.v3")])
        assert pull(store, manifest, tmp_path / "out").format == "docker-model"
        same_again(store, manifest, tmp_path / "out", {"model.gguf": GGUF})

    def test_paths_are_kept_where_there_are_some(self, tmp_path: Path) -> None:
        path = mediatypes.FILEPATH
        layers = [
            Blob(b"w", f"{DOCKER}.safetensors", {path: "text_encoder/model.safetensors"}),
            Blob(b"{}", f"{DOCKER}.model.file", {path: "text_encoder/config.json"}),
        ]
        store = MemoryStore()
        kind = f"{DOCKER}.model.config.v0.2+json"
        manifest = stored(store, layers, config={"config": {}}, config_type=kind)
        assert pull(store, manifest, tmp_path / "out").notes == ()
        expected = {"text_encoder/model.safetensors": b"w", "text_encoder/config.json": b"{}"}
        same_again(store, manifest, tmp_path / "out", expected)


class TestOllama:
    """Files by their kind; tensors by their names."""

    def test_files_are_named_after_what_they_are(self, tmp_path: Path) -> None:
        layers = [
            Blob(GGUF, f"{OLLAMA}.model"),
            Blob(b"p", f"{OLLAMA}.projector"),
            Blob(b"You are", f"{OLLAMA}.system"),
            Blob(b"{{ .Prompt }}", f"{OLLAMA}.template"),
            Blob(b'{"stop":[]}', f"{OLLAMA}.params"),
            Blob(b"MIT", f"{OLLAMA}.license"),
            Blob(b"Llama", f"{OLLAMA}.license"),
        ]
        config = {
            "model_format": "gguf",
            "model_family": "llama",
            "model_type": "8B",
            "file_type": "Q4_K_M",
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        store = MemoryStore()
        manifest = stored(
            store,
            layers,
            config=config,
            config_type=mediatypes.DOCKER_CONFIG,
            media_type=mediatypes.DOCKER_MANIFEST,
        )
        found = pull(store, manifest, tmp_path / "out")
        assert found.format == "ollama"
        assert dict(found.fields) == {
            "format": "gguf",
            "family": "llama",
            "paramSize": "8B",
            "quantization": "Q4_K_M",
        }
        assert len(found.notes) == 1
        same_again(
            store,
            manifest,
            tmp_path / "out",
            {
                "model.gguf": GGUF,
                "projector.gguf": b"p",
                "system.txt": b"You are",
                "template.txt": b"{{ .Prompt }}",
                "params.json": b'{"stop":[]}',
                "LICENSE": b"MIT",
                "LICENSE-2": b"Llama",
            },
        )

    def test_tensors_are_files_of_their_names(self, tmp_path: Path) -> None:
        layers = [
            Blob(b"t1", f"{OLLAMA}.tensor", name="text_encoder/model.norm.weight"),
            Blob(b"t2", f"{OLLAMA}.tensor", name="model.norm.weight"),
            Blob(b"{}", f"{OLLAMA}.json", name="text_encoder/config.json"),
        ]
        store = MemoryStore()
        manifest = stored(
            store,
            layers,
            config={"model_format": "safetensors", "file_type": "BF16"},
            config_type=mediatypes.DOCKER_CONFIG,
            media_type=mediatypes.DOCKER_MANIFEST,
        )
        found = pull(store, manifest, tmp_path / "out")
        assert dict(found.fields) == {"format": "safetensors", "precision": "bfloat16"}
        assert [each.kind for each in found.members] == ["weight", "weight", "weight.config"]
        assert "2 files of one tensor" in found.notes[0]
        same_again(
            store,
            manifest,
            tmp_path / "out",
            {
                "text_encoder/model.norm.weight.safetensors": b"t1",
                "model.norm.weight.safetensors": b"t2",
                "text_encoder/config.json": b"{}",
            },
        )


class TestOmlmd:
    """Titles, and the config that is a layer as well."""

    def test_what_omlmd_wrote_is_pulled(self, tmp_path: Path) -> None:
        config = json.dumps({"name": "tiny", "author": "me", "model_format_name": "gguf"}).encode()
        title = mediatypes.TITLE
        layers = [
            Blob(GGUF, "application/x-mlmodel", {title: "tiny.gguf"}),
            Blob(config, "application/x-config", {title: "model_metadata.omlmd.json"}),
        ]
        store = MemoryStore()
        manifest = stored(store, layers, config=config, config_type="application/x-config")
        found = pull(store, manifest, tmp_path / "out")
        assert found.format == "omlmd"
        assert dict(found.fields) == {"name": "tiny", "authors": ["me"], "format": "gguf"}
        expected = {"tiny.gguf": GGUF, "model_metadata.omlmd.json": config}
        same_again(store, manifest, tmp_path / "out", expected)


class TestModelPack:
    """The tolerant side of it."""

    @pytest.mark.parametrize("config", [{}, {"modelfs": {"diffIds": ["00ff"]}}])
    @pytest.mark.parametrize("media_type", [None, mediatypes.OCI_MANIFEST])
    def test_what_others_leave_out_is_not_missed(
        self, tmp_path: Path, config: Any, media_type: str | None
    ) -> None:
        layer = Blob(GGUF, mediatypes.model_layer("weight"), {mediatypes.FILEPATH: "m.gguf"})
        store = MemoryStore()
        kind = mediatypes.MODEL_CONFIG
        manifest = stored(store, [layer], config=config, config_type=kind, media_type=media_type)
        found = pull(store, manifest, tmp_path / "out")
        assert (found.format, found.notes, dict(found.fields)) == ("modelpack", (), {})
        same_again(store, manifest, tmp_path / "out", {"m.gguf": GGUF})

    def test_the_older_names_are_read(self, tmp_path: Path) -> None:
        layer = Blob(
            GGUF,
            "application/vnd.cnai.model.weight.v1.raw",
            {mediatypes.LEGACY_FILEPATH: "m.gguf"},
        )
        store = MemoryStore()
        manifest = stored(
            store,
            [layer],
            config={"descriptor": {"name": "old"}},
            config_type="application/vnd.cnai.model.config.v1+json",
            artifact_type="application/vnd.cnai.model.manifest.v1+json",
        )
        found = pull(store, manifest, tmp_path / "out")
        assert (found.format, dict(found.fields)) == ("modelpack", {"name": "old"})
        same_again(store, manifest, tmp_path / "out", {"m.gguf": GGUF})

    def test_an_archive_that_is_also_a_layer_of_an_image_loses_its_folder(
        self, tmp_path: Path
    ) -> None:
        titled = {mediatypes.TITLE: "m.gguf"}
        archive = tar(
            member("models/", type=b"5"),
            member("models/a/", type=b"5"),
            member("models/a/m.gguf", GGUF),
        )
        layer = Blob(archive, mediatypes.model_layer("weight", "tar"), titled)
        store = MemoryStore()
        manifest = stored(store, [layer], config_type=mediatypes.MODEL_CONFIG)
        pull(store, manifest, tmp_path / "out")
        same_again(store, manifest, tmp_path / "out", {"a/m.gguf": GGUF})
        assert not (tmp_path / "out/models").exists()

    def test_such_an_archive_knows_more_of_the_path_than_the_title(self, tmp_path: Path) -> None:
        """olot's `--root-dir` keeps folders, but each title is the last part of the path alone."""
        titled = {mediatypes.TITLE: "config.json"}
        paths = ("config.json", "a/config.json", "a/b/config.json")
        layers = [
            Blob(
                tar(member(f"models/{path}", path.encode())),
                mediatypes.model_layer("weight", "tar"),
                titled,
            )
            for path in paths
        ]
        store = MemoryStore()
        pull(store, stored(store, layers, config_type=mediatypes.MODEL_CONFIG), tmp_path / "out")
        assert tree(tmp_path / "out") == {path: path.encode() for path in paths}

    def test_the_same_archive_in_another_artifact_is_read_by_that_one_s_rules(
        self, tmp_path: Path
    ) -> None:
        archive = tar(member("models/", type=b"5"), member("models/a/m.gguf", GGUF))
        path = {mediatypes.FILEPATH: "models"}
        store = MemoryStore()
        model = stored(
            store,
            [Blob(archive, mediatypes.model_layer("weight", "tar"), path)],
            config_type=mediatypes.MODEL_CONFIG,
        )
        out = tmp_path / "out"
        pull(store, model, out)
        assert tree(out) == {"models/a/m.gguf": GGUF}
        pull(store, image(store, [Blob(archive, LAYER)]), out)
        assert tree(out) == {"a/m.gguf": GGUF}


class TestFiles:
    """What no reader knows."""

    @pytest.mark.parametrize(
        ("media_type", "ending"),
        [
            (f"{UNNAMED}.gguf", ".gguf"),
            (f"{UNNAMED}+json", ".json"),
            (f"{UNNAMED}.v1.tar+gzip", ".tar.gz"),
            (f"{UNNAMED}.tar", ".tar"),
            ("application/gzip", ".gz"),
            ("text/plain", ".txt"),
            (UNNAMED, ""),
        ],
    )
    def test_a_single_layer_without_a_name_is_a_file(
        self, tmp_path: Path, media_type: str, ending: str
    ) -> None:
        layer = Blob(b"bytes", media_type)
        store = MemoryStore()
        manifest = stored(store, [layer], artifact_type=UNNAMED)
        found = pull(store, manifest, tmp_path / "out")
        assert found.format == "files"
        assert media_type in found.notes[0]
        name = f"{layer.digest.removeprefix('sha256:')[:12]}{ending}"
        same_again(store, manifest, tmp_path / "out", {name: b"bytes"})

    def test_the_same_content_twice_is_one_file(self, tmp_path: Path) -> None:
        store = MemoryStore()
        manifest = stored(store, [Blob(b"x", "a/b"), Blob(b"x", "a/b"), Blob(b"y", "a/b")])
        pull(store, manifest, tmp_path / "out")
        assert sorted(tree(tmp_path / "out").values()) == [b"x", b"y"]

    def test_what_is_left_out_is_told(self, tmp_path: Path) -> None:
        named = Blob(b"x", "a/b", {mediatypes.TITLE: "x"})
        store = MemoryStore()
        found = pull(store, stored(store, [named, Blob(b"y", "a/b")]), tmp_path / "out")
        assert found.notes == ("left out: 1 layer without a file name",)

    def test_files_that_have_an_image_s_types_are_files(self, tmp_path: Path) -> None:
        layer = Blob(b"{}", LAYER, {mediatypes.TITLE: "config.json"})
        store = MemoryStore()
        manifest = stored(store, [layer], config={}, config_type=mediatypes.OCI_CONFIG)
        assert pull(store, manifest, tmp_path / "out").format == "files"
        same_again(store, manifest, tmp_path / "out", {"config.json": b"{}"})

    def test_nothing_at_all_is_refused(self, tmp_path: Path) -> None:
        store = MemoryStore()
        with pytest.raises(UnsupportedError, match="holds no files"):
            understand(store, stored(store, [], config={}, config_type=mediatypes.OCI_CONFIG))


def test_patterns_select_among_made_up_names(tmp_path: Path) -> None:
    layers = [Blob(GGUF, f"{OLLAMA}.model"), Blob(b"MIT", f"{OLLAMA}.license")]
    store = MemoryStore()
    manifest = stored(store, layers, media_type=mediatypes.DOCKER_MANIFEST)
    pull(store, manifest, tmp_path / "out", include=["*.gguf"])
    assert tree(tmp_path / "out") == {"model.gguf": GGUF}
    with pytest.raises(InputError, match="LICENSE"):
        pull(store, manifest, tmp_path / "none", include=["*.onnx"])
