"""Files cut short and with bits turned, and what may become of reading them."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers.table import read_header

EDGE = 4096
"""Bytes at both ends of a file, where headers are; most damage is done there."""

MAX_MEMORY = 100 * 2**20
MAX_SECONDS = 20  # milliseconds, nearly always; this only stops a blow-up


@dataclass(frozen=True)
class Damage:
    """What is done to a file.

    Attributes:
        kept: which part of it is left.
        turned: places, counted from the beginning or the end, and what their byte is changed by.
        put: a place where bytes are put in, and these.
    """

    kept: float
    turned: list[tuple[int, int]]
    put: tuple[int, bytes]

    def do(self, content: bytes) -> bytes:
        raw = bytearray(content[: int(len(content) * self.kept)])
        for place, change in self.turned:
            if -len(raw) <= place < len(raw):
                raw[place] ^= change
        place, more = self.put
        if more and place < len(raw):
            raw[place : place + len(more)] = more
        return bytes(raw)


_places = st.integers(-EDGE, EDGE) | st.integers(0, 100)
_numbers = st.sampled_from(
    [
        b"\xff" * 4,
        b"\xff" * 8,
        b"\0" * 8,
        b"\xff" * 7 + b"\x7f",
        b"\0\0\0\x80",
        b"[" * 300,
        b"2\x86" * 100,
    ]
)
damages = st.builds(
    Damage,
    kept=st.sampled_from([1.0, 1.0, 1.0]) | st.floats(0, 1),
    turned=st.lists(st.tuples(_places, st.integers(1, 255)), max_size=6),
    put=st.tuples(st.integers(0, EDGE), st.just(b"") | _numbers | st.binary(max_size=12)),
)


def often(examples: int) -> Callable[..., object]:
    """Settings for so many examples, the same ones in each run."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def check(path: str, format: str, content: bytes) -> None:
    """Read a header: a result or an error of our own, in bounded memory and time."""
    began = time.perf_counter()
    tracemalloc.start(1)
    try:
        header = read_header(path, format, io.BytesIO(content), len(content))
        if header is not None:
            for tensor in header.tensors.values():
                assert tensor.start is None or tensor.start + (tensor.size or 0) <= len(content)
                assert (tensor.start is None) == (tensor.size is None)
    except InvalidContentError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MAX_MEMORY
    assert time.perf_counter() - began < MAX_SECONDS
