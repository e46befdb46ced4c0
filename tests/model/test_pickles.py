from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import tracemalloc
from datetime import date
from typing import Any

import pytest

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import pickles
from ocimlpack.model.headers.pickles import Global, Lump, Made, Steps, TooLongError, named


def follow(content: bytes) -> Any:
    return Steps(io.BytesIO(content), len(content)).follow()


VALUES = [
    None,
    True,
    False,
    0,
    255,
    65_535,
    -7,
    2**31,
    -(2**70),
    "text",
    "é\n",
    b"bytes",
    (),
    (1,),
    (1, "a"),
    (1, 2, 3),
    (1, 2, 3, 4),
    [],
    [1, [2, [3]]],
    {},
    {"a": 1, 2: {"b": [None]}},
    ["again", "again"],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_what_they_are(value: object, protocol: int) -> None:
    assert follow(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("value", [v for v in VALUES if v != b"bytes" and v != "é\n"], ids=repr)
@pytest.mark.parametrize("protocol", range(3))
def test_plain_values_of_old_protocols_are_what_they_are(value: object, protocol: int) -> None:
    assert follow(pickle.dumps(value, protocol)) == value


class Thing:
    def __init__(self) -> None:
        self.parts = [date(2026, 1, 2)]
        self.name = "thing"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_objects_are_named_and_not_made(protocol: int) -> None:
    content = pickle.dumps({"a": Thing()}, protocol)
    steps = Steps(io.BytesIO(content), len(content))
    found = dict(named(steps.follow()))
    thing = found["a"]
    assert thing.state["name"] == "thing"
    assert found["a.parts.0"].what == Global("datetime", "date")
    assert Global(Thing.__module__, "Thing") in steps.globals


def test_what_a_pickle_would_call_is_not_called(tmp_path: Any) -> None:
    target = tmp_path / "made"

    class Call:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(target),)

    content = pickle.dumps(Call())
    found = follow(content)
    assert not target.exists()
    assert (found.what, found.args) == (Global(os.mkdir.__module__, "mkdir"), (str(target),))


def test_ordered_dictionaries_keep_what_is_put_into_them() -> None:
    content = pickle.dumps(collections.OrderedDict(a=1, b=2))
    assert follow(content).items == {"a": 1, "b": 2}


def test_long_texts_are_places() -> None:
    content = pickle.dumps(b"x" * 100_000)
    found = follow(content)
    assert isinstance(found, Lump)
    assert content[found.start : found.start + found.size] == b"x" * 100_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "breaks off"),
        (b"\x80\x02", "breaks off"),
        (b"\x80\x02.", "takes what is not there"),
        (b"\xff", "not a pickle"),
        (b"(.", "takes what is not there"),
        (b"u.", "takes what is not there"),
        (b"h\x07.", "takes what is not there"),
        (b"gx\n.", "number that can't be read"),
        (b"Ix\n.", "number that can't be read"),
        (b"X\xff\xff\xff\xff.", "breaks off"),
        (b"\x8e" + struct.pack("<Q", 2**63) + b".", "breaks off"),
        (b"\x8b\xff\xff\xff\x7f.", "breaks off"),
        (b"cos\n", "breaks off"),
        (b"c" + b"x" * 70_000 + b"\n.", "breaks off"),
        (b"(o.", "takes what is not there"),
        (b"R.", "takes what is not there"),
        (b"b.", "takes what is not there"),
        (b"\x93.", "takes what is not there"),
    ],
)
def test_what_is_no_pickle_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidContentError, match=reason):
        follow(content)


def test_a_pickle_cut_anywhere_is_refused() -> None:
    content = pickle.dumps({"a": [Thing(), (1, 2, 3)], "b": b"x" * 300})
    for length in range(len(content)):
        with pytest.raises(InvalidContentError):
            follow(content[:length])


STEPS = 50_000
BOMBS = {
    "steps": b"]" * 2 * STEPS + b".",
    "marks": b"(" * 2 * STEPS + b".",
    "memo": b"N" + b"".join(b"r" + struct.pack("<I", n) for n in range(STEPS - 2)) + b".",
    "texts": (b"X\x00\x10\x00\x00" + b"x" * 4096) * 5000 + b".",
    "lines": b"".join(b"V" + b"x" * 60_000 + b"\n" for _ in range(500)) + b".",
    "tuples": b")" + b"2\x86" * (STEPS // 2 - 1) + b".",
    "calls": b"cos\nsystem\n" + b")R" * (STEPS // 2 - 1) + b".",
    "numbers": b"\x8b\x00\x00\x10\x00" + bytes(2**20) + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_bounded_in_memory_and_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "_MAX_STEPS", STEPS)
    content = BOMBS[name]
    tracemalloc.start(1)
    try:
        try:
            value = follow(content)
        except TooLongError:
            assert name in {"steps", "marks", "texts", "lines"}
        else:
            assert sum(1 for _ in named(value)) <= STEPS
        # A step takes some hundred bytes; and texts are kept up to a limit.
        assert tracemalloc.get_traced_memory()[1] < 200 * STEPS + 20_000_000
    finally:
        tracemalloc.stop()


def test_things_that_hold_themselves_are_gone_through_once() -> None:
    loop: list[object] = []
    loop += [loop, {"loop": loop}]
    assert list(named(follow(pickle.dumps(loop)))) == []
    made = follow(b"cx\ny\n)Rp0\n}Vself\ng0\nsb.")
    assert isinstance(made, Made)
    assert [path for path, _ in named(made)] == [""]
