from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.spec.gojson import decode, encode, sorted_map

GO = Path(__file__).parents[1] / "golden" / "go"


@pytest.mark.parametrize("path", sorted(GO.iterdir()), ids=lambda path: path.name)
def test_what_a_go_program_wrote_is_written_again_byte_for_byte(path: Path) -> None:
    written = path.read_bytes()
    assert encode(decode(written, path.name)) == written


def test_maps_are_ordered_as_go_orders_them() -> None:
    written = (GO / "strings.json").read_bytes()
    shuffled = dict(sorted(json.loads(written).items(), key=lambda item: item[1], reverse=True))
    assert list(shuffled) != list(json.loads(written))
    assert encode(sorted_map(shuffled)) == written


def test_keys_beyond_the_first_plane_sort_by_their_utf8_bytes() -> None:
    # UTF-16 order, which some languages use, would put the emoji first.
    assert list(sorted_map({"\uffff": "", "\U0001f600": ""})) == ["\uffff", "\U0001f600"]


def test_what_html_could_misread_is_escaped() -> None:
    assert encode({"a<b": "&>\u2028\u2029"}) == (rb'{"a\u003cb":"\u0026\u003e\u2028\u2029"}')


def test_fields_keep_the_order_that_they_were_given_in() -> None:
    assert encode({"z": 1, "a": [True, None, 2**63 - 1]}) == (
        b'{"z":1,"a":[true,null,9223372036854775807]}'
    )


def test_text_that_is_no_unicode_is_bad_input() -> None:
    with pytest.raises(InputError, match="not valid Unicode"):
        encode({"name": "caf\udce9.bin"})


def test_json_may_be_nested() -> None:
    content = b'{"a":[' * 100 + b"1" + b"]}" * 100
    assert encode(decode(content, "it")) == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}{}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":1,"a":2}',
        b'{"x":{"a":1,"b":2,"a":1}}',
        b'{"a":"\xff"}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b"[" * 201 + b"]" * 201,
        b'[1,{"a":2},' + b'{"a":[' * 100 + b"]}" * 100 + b"]",
        b"<html>",
    ],
)
def test_json_that_two_readers_could_take_differently_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidContentError, match=r"^manifest is not valid JSON"):
        decode(content, "manifest")
