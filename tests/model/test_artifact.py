from __future__ import annotations

import json

import pytest

from ocimlpack.errors import InvalidContentError, UnsupportedError
from ocimlpack.model.readers import named as members
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import build
from tests.model.artifacts import Layer, artifact

ORAS = {mediatypes.ORAS_UNPACK: "true"}


def metadata(**fields: object) -> dict[str, str]:
    return {mediatypes.FILE_METADATA: json.dumps(fields)}


def test_layers_become_files_in_the_manifests_order() -> None:
    found = members(
        artifact(
            Layer("model.safetensors", b"w"),
            Layer("config.json", b"c", mediatypes.model_layer("weight.config")),
            Layer("docs/README.md", b"d", mediatypes.model_layer("doc")),
        ).manifest
    )
    assert [(each.path, each.kind, each.encoding) for each in found] == [
        ("model.safetensors", "weight", "raw"),
        ("config.json", "weight.config", "raw"),
        ("docs/README.md", "doc", "raw"),
    ]


@pytest.mark.parametrize(
    ("media_type", "kind", "encoding"),
    [
        ("application/vnd.cncf.model.weight.v1.tar", "weight", "tar"),
        ("application/vnd.cncf.model.dataset.v1.tar+gzip", "dataset", "tar+gzip"),
        ("application/vnd.cncf.model.code.v1.tar+zstd", "code", "tar+zstd"),
        ("application/vnd.cnai.model.doc.v1.raw", "doc", "raw"),
        ("application/vnd.cnai.model.weight.v1.tar", "weight", "tar"),
        ("application/vnd.cncf.model.adapter.v1.tar", "file", "tar"),
        ("application/vnd.cncf.model.adapter.v2", "file", "raw"),
        ("application/vnd.docker.ai.gguf.v3", "file", "raw"),
        ("application/vnd.oci.image.layer.v1.tar", "file", "raw"),
        ("text/plain", "file", "raw"),
    ],
)
def test_the_media_type_says_how_a_layer_holds_its_file(
    media_type: str, kind: str, encoding: str
) -> None:
    (found,) = members(artifact(Layer("a", b"x", media_type)).manifest)
    assert (found.kind, found.encoding) == (kind, encoding)


@pytest.mark.parametrize(
    ("title", "encoding"),
    [("folder", "tar+gzip"), ("folder.d", "tar+gzip"), ("a.tar.gz", "raw"), ("a.tgz", "raw")],
)
def test_what_oras_for_python_pushed_as_a_folder_is_an_archive(title: str, encoding: str) -> None:
    annotations = {mediatypes.TITLE: title}
    layer = Layer(None, b"x", "application/vnd.oci.image.layer.v1.tar+gzip", annotations)
    config = Descriptor.of(b"{}", "application/vnd.unknown.config.v1+json")
    (found,) = members(build(config, [layer.desc]))
    assert (found.path, found.encoding) == (title, encoding)


def test_what_oras_pushed_as_a_folder_is_an_archive_of_that_folder() -> None:
    layers = [
        Layer(None, b"1", "application/x", {mediatypes.TITLE: "tree", **ORAS}),
        Layer(None, b"2", "application/x", {mediatypes.TITLE: ".", **ORAS}),
        Layer(None, b"3", "application/x", {mediatypes.TITLE: "file"}),
    ]
    found = members(artifact(*layers).manifest)
    assert [(each.path, each.encoding, each.confined, each.single) for each in found] == [
        ("tree", "tar+gzip", True, False),
        (".", "tar+gzip", False, False),
        ("file", "raw", False, True),
    ]


def test_the_models_path_comes_before_the_older_one_and_the_title() -> None:
    new, old, title = mediatypes.FILEPATH, mediatypes.LEGACY_FILEPATH, mediatypes.TITLE
    layers = [
        Layer(None, b"1", annotations={title: "t1", old: "o1", new: "n1"}),
        Layer(None, b"2", annotations={title: "t2", old: "o2"}),
        Layer(None, b"3", annotations={title: "t3"}),
    ]
    assert [each.path for each in members(artifact(*layers).manifest)] == ["n1", "o2", "t3"]


@pytest.mark.parametrize("key", [mediatypes.TITLE, mediatypes.LEGACY_FILEPATH])
def test_a_name_that_is_not_used_has_to_be_safe_as_well(key: str) -> None:
    layer = Layer("fine", b"x", annotations={key: "../out"})
    with pytest.raises(InvalidContentError, match=r"unsafe file name '\.\./out'"):
        members(artifact(layer).manifest)


@pytest.mark.parametrize("media_type", ["text/plain", mediatypes.model_layer("weight")])
def test_only_an_archive_may_be_called_after_the_whole_folder(media_type: str) -> None:
    with pytest.raises(InvalidContentError, match="unsafe"):
        members(artifact(Layer(".", b"x", media_type)).manifest)


@pytest.mark.parametrize("twin", ["a", "A", "a/b"])
def test_names_that_clash_are_refused(twin: str) -> None:
    with pytest.raises(InvalidContentError, match="the artifact holds"):
        members(artifact(Layer("a", b"1"), Layer(twin, b"2")).manifest)


def test_one_content_may_have_several_names() -> None:
    found = members(artifact(Layer("a", b"same"), Layer("b", b"same")).manifest)
    assert [each.path for each in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "executable"),
    [
        ({"mode": 0o755}, True),
        ({"mode": 0o644}, False),
        ({"mode": 0o6110}, True),
        ({"mode": "755"}, False),
        ({}, False),
    ],
)
def test_any_executable_bit_makes_a_file_executable(
    fields: dict[str, object], executable: bool
) -> None:
    (found,) = members(artifact(Layer("a", b"x", annotations=metadata(**fields))).manifest)
    assert found.executable is executable


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"mode":1,"mode":2}'])
def test_attributes_that_can_not_be_read_keep_nobody_from_the_file(text: str) -> None:
    layer = Layer("a", b"x", annotations={mediatypes.FILE_METADATA: text})
    assert not members(artifact(layer).manifest)[0].executable


def test_an_archive_of_one_file_is_known_by_its_attributes() -> None:
    one = Layer("a", b"1", mediatypes.model_layer("weight", "tar"), metadata(typeflag=0))
    folder = Layer("b", b"2", mediatypes.model_layer("weight", "tar"), metadata(typeflag=5))
    unsaid = Layer("c/", b"3", mediatypes.model_layer("weight", "tar"))
    found = members(artifact(one, folder, unsaid).manifest)
    assert [(each.path, each.single) for each in found] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]


def test_a_layer_of_a_model_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidContentError, match="has no file name"):
        members(artifact(Layer("a", b"1"), Layer(None, b"2")).manifest)


def test_another_layer_without_a_name_is_left_out() -> None:
    found = members(artifact(Layer("a", b"1"), Layer(None, b"2", "text/x-note")).manifest)
    assert [each.path for each in found] == ["a"]


@pytest.mark.parametrize("layers", [[], [Layer(None, b"{}", mediatypes.OCI_EMPTY)]])
def test_an_artifact_without_files_is_said_to_have_none(layers: list[Layer]) -> None:
    with pytest.raises(UnsupportedError, match="holds no files"):
        members(artifact(*layers).manifest)


def test_one_digest_with_two_sizes_is_refused() -> None:
    layer = Layer("a", b"12").desc
    other = Descriptor(layer.media_type, layer.digest, 3, {mediatypes.FILEPATH: "b"})
    config = Descriptor("a/b", Digest.of(b""), 0)
    with pytest.raises(InvalidContentError, match="two sizes"):
        members(build(config, [layer, other]))
    with pytest.raises(InvalidContentError, match="two sizes"):
        members(build(Descriptor("a/b", layer.digest, 5), [layer]))
