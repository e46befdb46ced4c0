from __future__ import annotations

from typing import Any

import pytest

from ocimlpack.errors import InvalidContentError
from ocimlpack.spec.descriptor import Descriptor, is_media_type
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.mediatypes import OCI_CONFIG

GOOD: dict[str, Any] = {
    "mediaType": "application/vnd.cncf.model.weight.v1.raw",
    "digest": f"sha256:{'0' * 64}",
    "size": 5,
}


def test_a_descriptor_of_bytes_names_them() -> None:
    desc = Descriptor.of(b"hello", OCI_CONFIG)
    assert desc == Descriptor(OCI_CONFIG, Digest.of(b"hello"), 5)


def test_what_is_read_is_written_again() -> None:
    value = {
        **GOOD,
        "annotations": {"a": "1", "b": ""},
        "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"},
        "artifactType": "application/x",
        "name": "model.embed_tokens.weight",
    }
    assert Descriptor.from_json(value).to_json() == value


def test_fields_are_written_in_the_order_of_the_go_types() -> None:
    desc = Descriptor.from_json(
        {"artifactType": "a/b", "annotations": {"b": "2", "a": "1"}, **GOOD}
    )
    assert encode(desc.to_json()) == (
        b'{"mediaType":"application/vnd.cncf.model.weight.v1.raw","digest":"sha256:'
        + b"0" * 64
        + b'","size":5,"annotations":{"a":"1","b":"2"},"artifactType":"a/b"}'
    )


def test_nothing_is_written_for_what_is_empty() -> None:
    assert list(
        Descriptor.from_json({**GOOD, "annotations": {}, "artifactType": ""}).to_json()
    ) == [
        "mediaType",
        "digest",
        "size",
    ]


def test_fields_that_are_not_ours_are_let_through() -> None:
    extra = {**GOOD, "urls": ["https://example.com"], "data": "AAAA", "from": "/models/x"}
    assert Descriptor.from_json(extra) == Descriptor.from_json(GOOD)


@pytest.mark.parametrize("platform", [[], "linux/amd64", {"os": 5}, {"architecture": ["amd64"]}])
def test_a_platform_that_can_not_be_read_says_nothing(platform: object) -> None:
    assert Descriptor.from_json({**GOOD, "platform": platform}) == Descriptor.from_json(GOOD)


@pytest.mark.parametrize(
    "change",
    [
        {"size": None},
        {"size": -1},
        {"size": 1.0},
        {"size": "5"},
        {"size": True},
        {"size": 2**63},
        {"digest": None},
        {"digest": "sha256:../../etc/passwd"},
        {"digest": 5},
        {"digest": ["sha256"]},
        {"mediaType": None},
        {"mediaType": ""},
        {"mediaType": "text"},
        {"mediaType": "text/"},
        {"mediaType": "text/plain\r\nX-Header: 1"},
        {"mediaType": "text/plain; charset=utf-8"},
        {"mediaType": "a/" + "b" * 200},
        {"annotations": []},
        {"annotations": {"a": 1}},
        {"annotations": {"a": None}},
        {"annotations": "a=b"},
        {"artifactType": 1},
        {"artifactType": {}},
        {"name": 5},
        {"name": ["a"]},
    ],
    ids=str,
)
def test_a_descriptor_that_is_malformed_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidContentError, match=r"^layer 3"):
        Descriptor.from_json({**GOOD, **change}, "layer 3")


@pytest.mark.parametrize("missing", ["mediaType", "digest", "size"])
def test_a_descriptor_that_lacks_a_field_is_refused(missing: str) -> None:
    value = {key: each for key, each in GOOD.items() if key != missing}
    with pytest.raises(InvalidContentError):
        Descriptor.from_json(value)


@pytest.mark.parametrize("value", [None, [], "sha256:", 5, [GOOD]])
def test_what_is_no_object_is_no_descriptor(value: object) -> None:
    with pytest.raises(InvalidContentError, match="not an object"):
        Descriptor.from_json(value)


def test_annotations_can_not_be_changed_afterwards() -> None:
    given = {"a": "1"}
    desc = Descriptor.from_json({**GOOD, "annotations": given})
    given["a"] = "2"
    assert desc.annotations == {"a": "1"}
    with pytest.raises(TypeError):
        desc.annotations["a"] = "3"  # type: ignore[index]


def test_a_plain_descriptor_says_nothing_about_its_content() -> None:
    desc = Descriptor.from_json({**GOOD, "annotations": {"a": "1"}, "artifactType": "a/b"})
    assert desc.plain == Descriptor.from_json(GOOD)
    assert desc.plain is not desc


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/vnd.oci.image.manifest.v1+json", True),
        ("text/plain", True),
        ("/plain", False),
        ("a/b/c", False),
        (" a/b", False),
        ("a/b\n", False),
        (None, False),
        (b"a/b", False),
    ],
)
def test_media_types_follow_the_grammar(value: object, expected: bool) -> None:
    assert is_media_type(value) is expected
