from __future__ import annotations

import pytest

from ocimlpack.spec.mediatypes import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    ENCODINGS,
    KINDS,
    MODEL_CONFIG,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Encoding,
    Kind,
    is_manifest,
    model_layer,
    parse_model_layer,
)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_type_is_read_as_it_was_written(kind: Kind, encoding: Encoding) -> None:
    assert parse_model_layer(model_layer(kind, encoding)) == (kind, encoding)


def test_the_twenty_types_of_the_specification() -> None:
    assert len({model_layer(kind, encoding) for kind in KINDS for encoding in ENCODINGS}) == 20
    assert model_layer("weight.config") == "application/vnd.cncf.model.weight.config.v1.raw"


def test_the_older_prefix_is_understood() -> None:
    assert parse_model_layer("application/vnd.cnai.model.doc.v1.tar") == ("doc", "tar")


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        MODEL_CONFIG,
        "application/vnd.cncf.model.weight.v2.raw",
        "application/vnd.cncf.model.weight.v1.zip",
        "application/vnd.cncf.model.weight.v1.raw.v1.raw",
        "application/vnd.cncf.model.adapter.v1.raw",
        "application/vnd.cncf.model.v1.raw",
        "xapplication/vnd.cncf.model.weight.v1.raw",
        "application/vnd.cncf.model.weight.v1.raw ",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ],
)
def test_other_types_are_no_model_layers(media_type: str) -> None:
    assert parse_model_layer(media_type) is None


def test_manifests_and_indexes_name_further_content() -> None:
    for media_type in (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST):
        assert is_manifest(media_type)
    for media_type in (OCI_CONFIG, MODEL_CONFIG, "text/plain", ""):
        assert not is_manifest(media_type)
