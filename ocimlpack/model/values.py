"""How far the numbers of two tensors are apart, computed piece by piece as they are read.

numpy does it some ten times as fast where it is installed, and is not needed: the same numbers come
out without it.
"""

from __future__ import annotations

import math
import operator
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Numbers = Sequence[float]


@dataclass(frozen=True, slots=True)
class Apart:
    """How far the numbers of two tensors are apart.

    Attributes:
        mean: the mean of the absolute differences.
        max: the largest absolute difference.
        share: the part of all numbers that differ, from 0 to 1.
        undefined: how many differences are infinite or no number; they are in `share` alone.
    """

    mean: float
    max: float
    share: float
    undefined: int = 0


# Types whose numbers lie in a file as the machine has them, with `array`'s and numpy's codes.
_PLAIN: Final = {
    "float64": ("d", "<f8"),
    "float32": ("f", "<f4"),
    "int8": ("b", "<i1"),
    "uint8": ("B", "<u1"),
    "bool": ("B", "<u1"),
    "int16": ("h", "<i2"),
    "uint16": ("H", "<u2"),
    "int32": ("i", "<i4"),
    "uint32": ("I", "<u4"),
    "int64": ("q", "<i8"),
    "uint64": ("Q", "<u8"),
}
_SIZES: Final = {
    **{name: array(code).itemsize for name, (code, _) in _PLAIN.items()},
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3": 1,
    "float8_e5m2": 1,
}

PLAIN_PACE: Final = 5_000_000
"""Numbers a second without numpy, roughly, on a machine of 2024."""


def width(type: str) -> int | None:
    """The bytes of one number of a type; None for types whose numbers are not compared."""
    return _SIZES.get(type)


def has_numpy() -> bool:
    """Whether numpy is there. It is imported to find out."""
    return _numpy() is not None


class Comparison:
    """The numbers of two tensors of one shape, compared as they come."""

    def __init__(self, a: str, b: str) -> None:
        """Nothing is compared yet.

        Args:
            a: the type of the first tensor's numbers, one for which `width` is known.
            b: the type of the second one's.
        """
        self._types = a, b
        self._numpy = _numpy()
        self._seen = self._changed = self._undefined = 0
        self._sum = 0.0
        self._max = 0.0

    def feed(self, a: bytes, b: bytes) -> None:
        """Compare the next numbers: as many of the one as of the other, and all of them whole."""
        kind, other = self._types
        self._seen += len(a) // _SIZES[kind]
        if kind == other and a == b:
            return
        if self._numpy is not None:
            found = _compare_fast(self._numpy, (kind, a), (other, b))
        else:
            found = _compare(_numbers(kind, a), _numbers(other, b))
        changed, undefined, total, largest = found
        self._changed += changed
        self._undefined += undefined
        self._sum += total
        self._max = max(self._max, float(largest))

    def result(self) -> Apart:
        """How far they are apart."""
        defined = self._seen - self._undefined
        return Apart(
            # Clamped: JSON knows no infinity.
            mean=min(self._sum, sys.float_info.max) / defined if defined else 0.0,
            max=self._max,
            share=self._changed / self._seen if self._seen else 0.0,
            undefined=self._undefined,
        )


_Found = tuple[int, int, float, float]
"""How many differ, how many of those by no finite number, the sum of the others, their largest."""


def _compare(a: Numbers, b: Numbers) -> _Found:
    apart = list(map(abs, map(operator.sub, a, b)))
    total = float(sum(apart))
    if math.isfinite(total):
        return len(apart) - apart.count(0), 0, total, max(apart, default=0.0)
    # Infinities and what is no number: equal where both sides have the same of them.
    differ = [
        gap
        for x, y, gap in zip(a, b, apart, strict=True)
        if gap != 0 and x != y and not (x != x and y != y)
    ]
    finite = [gap for gap in differ if math.isfinite(gap)]
    return len(differ), len(differ) - len(finite), float(sum(finite)), max(finite, default=0.0)


def _compare_fast(numpy: Any, ours: tuple[str, bytes], theirs: tuple[str, bytes]) -> _Found:
    with numpy.errstate(all="ignore"):
        a, b = _array(numpy, *ours), _array(numpy, *theirs)
        apart = numpy.abs(a - b)
        differ = (a != b) & ~(numpy.isnan(a) & numpy.isnan(b))
        gaps = apart[differ & numpy.isfinite(apart)]
        changed, counted = int(differ.sum()), len(gaps)
        return changed, changed - counted, float(gaps.sum()), float(gaps.max(initial=0.0))


def _numbers(type: str, raw: bytes) -> Numbers:
    """Numbers, little-endian as all formats have them that are read here."""
    if type == "float16":
        return struct.unpack(f"<{len(raw) // 2}e", raw)
    if type == "bfloat16":
        # The upper half of a float32.
        wide = bytearray(2 * len(raw))
        wide[2::4], wide[3::4] = raw[0::2], raw[1::2]
        return _machine("f", bytes(wide))
    if type in _SMALL:
        return list(map(_table(type).__getitem__, raw))
    return _machine(_PLAIN[type][0], raw)


def _machine(code: str, raw: bytes) -> Numbers:
    numbers = array(code, raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _array(numpy: Any, type: str, raw: bytes) -> Any:
    """The same for numpy, as 64-bit floats: of larger whole numbers, the last digits are lost."""
    if type == "float16":
        return numpy.frombuffer(raw, "<f2").astype("f8")
    if type == "bfloat16":
        return (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").astype("f8")
    if type in _SMALL:
        return numpy.array(_table(type))[numpy.frombuffer(raw, "u1")]
    return numpy.frombuffer(raw, _PLAIN[type][1]).astype("f8")


# Eight-bit floats, https://arxiv.org/abs/2209.05433: the bits of the mantissa and the exponent's
# bias. The first has no infinities, and one pattern that is no number.
_SMALL: Final = {"float8_e4m3": (3, 7), "float8_e5m2": (2, 15)}
_TABLES: Final[dict[str, list[float]]] = {}


def _table(type: str) -> list[float]:
    if type not in _TABLES:
        _TABLES[type] = [_small(code, *_SMALL[type]) for code in range(256)]
    return _TABLES[type]


def _small(code: int, bits: int, bias: int) -> float:
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code & 0x7F) >> bits, code & ((1 << bits) - 1)
    if bits == 2 and exponent == 31:
        return math.nan if mantissa else sign * math.inf
    if bits == 3 and code & 0x7F == 0x7F:
        return math.nan
    if exponent == 0:
        return sign * math.ldexp(mantissa, 1 - bias - bits)
    return sign * math.ldexp((1 << bits) + mantissa, exponent - bias - bits)


def _numpy() -> Any:
    """The module, or None where it is not installed."""
    try:
        import numpy  # here: it takes a tenth of a second, and only this needs it
    except ImportError:
        return None
    return numpy
