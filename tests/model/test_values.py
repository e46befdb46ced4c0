from __future__ import annotations

import math
import random
import struct
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimlpack.model.values import Apart, Comparison, has_numpy, width

CODES = {"float64": "d", "float32": "f", "float16": "e", "int8": "b", "uint8": "B", "int16": "h"}
CODES |= {"uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "bool": "B"}
TYPES = [*CODES, "bfloat16", "float8_e4m3", "float8_e5m2"]


@pytest.fixture(params=["numpy", "plain"])
def _both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "numpy", None)
        assert not has_numpy()
    else:
        pytest.importorskip("numpy")


both = pytest.mark.usefixtures("_both")


def raw(type: str, *numbers: float) -> bytes:
    if type == "bfloat16":
        return b"".join(struct.pack("<f", number)[2:] for number in numbers)
    return struct.pack(f"<{len(numbers)}{CODES[type]}", *numbers)


def compare(a: tuple[str, bytes], b: tuple[str, bytes]) -> Apart:
    comparison = Comparison(a[0], b[0])
    comparison.feed(a[1], b[1])
    return comparison.result()


@both
@pytest.mark.parametrize("type", ["float64", "float32", "float16", "bfloat16", "int16", "int64"])
def test_numbers_of_every_width_are_compared(type: str) -> None:
    found = compare((type, raw(type, 1, 2, 3, 4)), (type, raw(type, 1, 2, 5, -4)))
    assert found == Apart(mean=2.5, max=8, share=0.5)


@both
@pytest.mark.parametrize("type", ["uint8", "int8", "uint16", "int32", "uint32", "uint64", "bool"])
def test_whole_numbers_do_not_wrap_around(type: str) -> None:
    found = compare((type, raw(type, 0, 1)), (type, raw(type, 1, 0)))
    assert found == Apart(mean=1, max=1, share=1)
    assert isinstance(found.max, float)  # so that JSON is the same with numpy and without


@both
def test_eight_bit_floats_are_read_as_their_paper_says() -> None:
    zeros = ("float32", bytes(4))
    for type, code, number in (
        ("float8_e4m3", 0x7E, 448.0),
        ("float8_e4m3", 0x08, 2**-6),
        ("float8_e4m3", 0x01, 2**-9),
        ("float8_e4m3", 0xB8, 1.0),
        ("float8_e5m2", 0x7B, 57344.0),
        ("float8_e5m2", 0x01, 2**-16),
        ("float8_e5m2", 0x3C, 1.0),
    ):
        assert compare((type, bytes([code])), zeros).max == number
    for type, code in (("float8_e4m3", 0x7F), ("float8_e5m2", 0x7C), ("float8_e5m2", 0x7E)):
        assert compare((type, bytes([code])), zeros).undefined == 1


@both
def test_other_types_of_the_same_numbers_are_no_distance_apart() -> None:
    numbers = (1.0, -2.5, 0.0)
    found = compare(("float32", raw("float32", *numbers)), ("bfloat16", raw("bfloat16", *numbers)))
    assert found == Apart(0, 0, 0)


@both
def test_what_is_no_number_is_counted_apart() -> None:
    nan, inf = math.nan, math.inf
    a = raw("float32", nan, nan, inf, inf, 1, 1)
    b = raw("float32", nan, 1, inf, -inf, 1, 3)
    found = compare(("float32", a), ("float32", b))
    assert found == Apart(mean=2 / 4, max=2, share=3 / 6, undefined=2)


@both
def test_sums_that_overflow_stay_numbers() -> None:
    big = sys.float_info.max / 2
    a, b = raw("float64", big, big, big), raw("float64", -big / 2, -big / 2, -big / 2)
    found = compare(("float64", a), ("float64", b))
    assert math.isfinite(found.mean)
    assert found.undefined == 0


@both
def test_nothing_is_no_distance_apart() -> None:
    assert Comparison("float32", "float32").result() == Apart(0, 0, 0)
    assert compare(("float32", b""), ("float16", b"")) == Apart(0, 0, 0)


@both
def test_pieces_add_up() -> None:
    comparison = Comparison("float32", "float32")
    comparison.feed(raw("float32", 1, 2), raw("float32", 1, 2))
    comparison.feed(raw("float32", 1, 2), raw("float32", 2, 4))
    assert comparison.result() == Apart(mean=0.75, max=2, share=0.5)


def test_types_without_numbers_have_no_width() -> None:
    assert width("ggml-q4_k") is None
    assert [width(type) for type in TYPES] == [8, 4, 2, 1, 1, 2, 2, 4, 4, 8, 8, 1, 2, 1, 1]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TYPES), st.sampled_from(TYPES), st.integers(0, 40), st.integers())
def test_it_is_the_same_without_numpy(a: str, b: str, count: int, seed: int) -> None:
    if not has_numpy():
        pytest.skip("numpy is not installed")
    rng = random.Random(seed)
    left = (a, rng.randbytes(count * (width(a) or 0)))
    right = (b, rng.randbytes(count * (width(b) or 0)))
    with pytest.MonkeyPatch.context() as patch:
        fast = compare(left, right)
        patch.setitem(sys.modules, "numpy", None)
        slow = compare(left, right)
    assert math.isclose(fast.mean, slow.mean, rel_tol=1e-9)
    assert math.isclose(fast.max, slow.max, rel_tol=1e-9)
    # Whole numbers beyond 2**53 that differ in their last digits are alike to numpy here.
    assert math.isclose(fast.share, slow.share, abs_tol=1e-9)
    assert fast.undefined == slow.undefined
