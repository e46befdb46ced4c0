from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import InvalidContentError
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import MAX_SIZE, Index, Manifest, build, parse

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = Descriptor.of(b"{}", mediatypes.OCI_EMPTY)
LAYER = Descriptor.of(b"weights", mediatypes.model_layer("weight"))
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": mediatypes.OCI_MANIFEST,
    "config": CONFIG.to_json(),
    "layers": [LAYER.to_json()],
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": mediatypes.OCI_INDEX,
    "manifests": [Descriptor.of(b"m", mediatypes.OCI_MANIFEST).to_json()],
}


def text(value: dict[str, Any], **changes: Any) -> bytes:
    changed = {**value, **changes}
    return json.dumps({key: each for key, each in changed.items() if each is not ...}).encode()


@pytest.mark.parametrize("name", ["model", "artifact"])
def test_building_from_the_parts_gives_the_bytes_of_a_go_writer(name: str) -> None:
    raw = (GOLDEN / "go" / f"{name}.manifest.json").read_bytes()
    parts = parse(raw)
    assert isinstance(parts, Manifest)
    built = build(
        parts.config,
        parts.layers,
        artifact_type=parts.artifact_type,
        subject=parts.subject,
        annotations=parts.annotations,
    )
    assert built.raw == raw
    assert built == parts


def test_a_built_manifest_has_its_fields_in_the_order_of_the_go_types() -> None:
    built = build(
        CONFIG, [LAYER], annotations={"b": "2", "a": "1"}, artifact_type="a/b", subject=LAYER
    )
    assert list(json.loads(built.raw)) == [
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "subject",
        "annotations",
    ]
    assert built.descriptor == Descriptor.of(built.raw, mediatypes.OCI_MANIFEST)
    assert built.children == (LAYER, CONFIG)


def test_a_manifest_without_layers_has_an_empty_list_of_them() -> None:
    assert b'"layers":[]' in build(CONFIG, []).raw


def test_bytes_are_kept_as_they_were() -> None:
    raw = b" " + text(MANIFEST).replace(b",", b" ,\n\t") + b"\n"
    parsed = parse(raw)
    assert parsed.raw == raw
    assert parsed.descriptor.digest == Digest.of(raw)
    assert parsed.descriptor.size == len(raw)


def test_an_index_lists_manifests() -> None:
    index = parse((GOLDEN / "platforms.index.json").read_bytes())
    assert isinstance(index, Index)
    assert [each.size for each in index.manifests] == [2440, 2440, 1191]
    assert index.children == index.manifests


def test_a_subject_is_read() -> None:
    subject = Descriptor.of(b"m", mediatypes.OCI_MANIFEST)
    assert parse(text(MANIFEST, subject=subject.to_json())).subject == subject
    assert parse(text(MANIFEST, subject=None)).subject is None


@pytest.mark.parametrize("given", [None, "text/plain", "application/octet-stream", ""])
@pytest.mark.parametrize(
    ("value", "kind"),
    [(MANIFEST, mediatypes.OCI_MANIFEST), (INDEX, mediatypes.OCI_INDEX)],
    ids=["manifest", "index"],
)
def test_without_any_type_the_fields_decide(
    value: dict[str, Any], kind: str, given: str | None
) -> None:
    assert parse(text(value, mediaType=...), given).descriptor.media_type == kind


def test_where_the_content_names_no_type_the_one_it_came_with_decides() -> None:
    parsed = parse(text(MANIFEST, mediaType=...), mediatypes.DOCKER_MANIFEST)
    assert parsed.descriptor.media_type == mediatypes.DOCKER_MANIFEST


@pytest.mark.parametrize(
    "value",
    [
        text(MANIFEST, manifests=INDEX["manifests"]),
        text(MANIFEST, manifests=[]),
        text(MANIFEST, manifests=None),
        text(INDEX, layers=[]),
        text(MANIFEST, mediaType=mediatypes.OCI_INDEX),
        text(MANIFEST, mediaType=mediatypes.DOCKER_LIST),
        text(INDEX, mediaType=mediatypes.OCI_MANIFEST),
        text(MANIFEST, mediaType=..., manifests=[]),
        text(INDEX, mediaType=..., layers=[]),
    ],
)
def test_what_could_be_a_manifest_and_an_index_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidContentError):
        parse(value)


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (text(MANIFEST, mediaType=...), mediatypes.OCI_INDEX),
        (text(INDEX, mediaType=...), mediatypes.OCI_MANIFEST),
    ],
)
def test_a_manifest_sent_under_the_type_of_an_index_is_refused(value: bytes, given: str) -> None:
    with pytest.raises(InvalidContentError, match="sent as"):
        parse(value, given)


@pytest.mark.parametrize(
    "value",
    [
        b"null",
        b"[]",
        b'"manifest"',
        b"{}",
        text(MANIFEST, schemaVersion=1),
        text(MANIFEST, schemaVersion="2"),
        text(MANIFEST, schemaVersion=...),
        text(MANIFEST, mediaType="application/vnd.oci.image.config.v1+json"),
        text(MANIFEST, mediaType="\x1b[31m"),
        text(MANIFEST, mediaType=2),
        text(MANIFEST, mediaType=[]),
        text(MANIFEST, mediaType=""),
        text(MANIFEST, config=...),
        text(MANIFEST, config=None),
        text(MANIFEST, config=[]),
        text(MANIFEST, layers=...),
        text(MANIFEST, layers=None),
        text(MANIFEST, layers={}),
        text(MANIFEST, layers=[None]),
        text(MANIFEST, layers=[LAYER.to_json(), {}]),
        text(MANIFEST, subject={}),
        text(MANIFEST, subject="sha256:"),
        text(MANIFEST, artifactType=5),
        text(MANIFEST, annotations={"a": 1}),
        text(MANIFEST, annotations=[]),
        text(INDEX, manifests=None),
        text(INDEX, manifests={}),
        text(INDEX, manifests=[{}]),
        text(MANIFEST).replace(b'"schemaVersion": 2', b'"schemaVersion": 2, "schemaVersion": 2'),
        b'{"schemaVersion": 1, "fsLayers": [], "signatures": []}',
    ],
)
def test_a_malformed_manifest_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidContentError) as caught:
        parse(value)
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 300


def test_the_number_of_the_bad_layer_is_said() -> None:
    with pytest.raises(InvalidContentError, match="layer 2"):
        parse(text(MANIFEST, layers=[LAYER.to_json(), {**LAYER.to_json(), "size": -1}]))


def test_the_largest_manifest_that_registries_must_accept_is_read() -> None:
    raw = text(MANIFEST)
    assert parse(raw + b" " * (MAX_SIZE - len(raw))).descriptor.size == MAX_SIZE


def test_one_byte_more_is_refused() -> None:
    raw = text(MANIFEST)
    with pytest.raises(InvalidContentError, match="larger than 4,194,304 bytes"):
        parse(raw + b" " * (MAX_SIZE - len(raw) + 1))


def test_a_manifest_that_would_be_too_large_is_not_built() -> None:
    layer = Descriptor(LAYER.media_type, LAYER.digest, 1, {"name": "n" * 1000})
    with pytest.raises(InvalidContentError, match="registries accept") as caught:
        build(CONFIG, [layer] * 4000)
    assert caught.value.hint
