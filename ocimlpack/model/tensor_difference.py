"""The tensors of two models, held against each other by their bytes.

Bytes of a part of a blob can't be held against the blob's digest. What comes out here is for a
person to look at, and nothing that is kept depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Final

from ocimlpack.errors import UnavailableError, UnsupportedError
from ocimlpack.model import values as arithmetic
from ocimlpack.model.difference import Place, TensorPair, TensorState
from ocimlpack.model.headers import Header
from ocimlpack.model.tensors import Weights
from ocimlpack.model.values import Apart, Comparison
from ocimlpack.progress import Began, Ended, Moved, Planned, Reporter, Warned, ignore
from ocimlpack.stores.base import RangeReader, ReadableStore, capability
from ocimlpack.transfer import pool

_PIECE: Final = 256 * 1024
"""Numbers that are compared at a time."""

_BLOCK: Final = 4 * 1024 * 1024
"""Bytes that are read at a time at least: many tensors are smaller than a request is worth."""

_PATIENCE: Final = 30
"""Seconds that nobody is told of beforehand."""

_DENSE: Final = frozenset({"safetensors", "gguf", "pt", "onnx", "tflite", "numpy"})
"""Formats that hold a tensor's numbers one after the other, the innermost dimension first, and
little-endian. In others, equal numbers may be other bytes."""

_OTHERWISE: Final = {"gguf.byteorder": "big", "torch.byteorder": "big", "numpy.order": "Fortran"}
"""What a file of these formats says that is made otherwise."""


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """A tensor that is not known to be the same on both sides.

    Attributes:
        state: what is different.
        name: its name.
        a: where A has it, or None.
        b: where B has it, or None.
        values: how far its numbers are apart, where they were compared.
    """

    state: TensorState
    name: str
    a: Place | None
    b: Place | None
    values: Apart | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """The files of one model that tensors are in.

    Attributes:
        store: where they are.
        files: the files, and where each is, by their paths.
        remote: whether reading them moves bytes.
    """

    store: ReadableStore
    files: Mapping[str, Weights]
    remote: bool

    @property
    def headers(self) -> dict[str, Header]:
        """What the files say, as far as it can be read."""
        return {path: each.header for path, each in self.files.items() if each.header}

    def format(self, place: Place) -> str:
        """How the file is made that a tensor is in."""
        return self.files[place.path].format

    def is_dense(self, place: Place) -> bool:
        """Whether a tensor's numbers lie there as they are compared."""
        file = self.files[place.path]
        said = file.header.facts if file.header else {}
        return file.format in _DENSE and all(said.get(k) != v for k, v in _OTHERWISE.items())


def compare(
    pairs: Sequence[TensorPair],
    a: Side,
    b: Side,
    *,
    statistics: bool = False,
    jobs: int = 4,
    report: Reporter = ignore,
) -> list[TensorDifference]:
    """What differs in tensors, the bytes of those that look alike included.

    Bytes are read where both sides are on this machine, or statistics are wanted.

    Args:
        pairs: the tensors.
        a: the files of A.
        b: the files of B.
        statistics: compare the numbers, too.
        jobs: how many pairs of files are compared at a time.
        report: gets the progress events.

    Returns:
        A difference for each pair in their order, `same` ones among them.

    Raises:
        UnsupportedError: a place that can't be read from in parts.
    """
    wanted = statistics or not (a.remote or b.remote)
    readable = [pair for pair in pairs if wanted and _is_comparable(pair, a, b, statistics)]
    readable.sort(key=_by_files)
    groups = [list(group) for _, group in groupby(readable, key=lambda pair: _by_files(pair)[:2])]
    if groups:
        report(Planned("comparing", len(groups), sum(_size(pair.b) for pair in readable)))
        if statistics:
            _warn_if_slow(readable, report)
    tasks: list[pool.Task[list[TensorDifference]]] = [
        partial(_compare_group, group, a, b, statistics, report) for group in groups
    ]
    found = (
        {_key(each): each for results in pool.run(tasks, jobs) for each in results} if tasks else {}
    )
    return [
        found.get(_key(pair)) or TensorDifference(pair.state, pair.name, pair.a, pair.b)
        for pair in pairs
    ]


def _warn_if_slow(pairs: Iterable[TensorPair], report: Reporter) -> None:
    """Say before it begins that it takes minutes, and what would help."""
    count = sum(pair.b.tensor.count for pair in pairs if pair.b)
    if count > _PATIENCE * arithmetic.PLAIN_PACE and not arithmetic.has_numpy():
        minutes = max(1, round(count / arithmetic.PLAIN_PACE / 60))
        report(
            Warned(
                f"comparing {count:,} numbers takes some {minutes:,} minutes; with numpy "
                "(pip install 'ocimlpack[stats]') it takes a tenth of that"
            )
        )


def _key(each: TensorPair | TensorDifference) -> tuple[str, str, str]:
    return each.name, each.a.path if each.a else "", each.b.path if each.b else ""


def _by_files(pair: TensorPair) -> tuple[str, str, int]:
    """In the order in which they lie in A: reading jumps about as little as it can."""
    a, b = pair.a, pair.b
    return (a.path if a else "", b.path if b else "", (a.tensor.start or 0) if a else 0)


def _is_comparable(pair: TensorPair, a: Side, b: Side, statistics: bool) -> bool:
    if pair.a is None or pair.b is None or pair.state not in {"unknown", "retyped"}:
        return False
    ours, theirs = pair.a.tensor, pair.b.tensor
    if ours.start is None or theirs.start is None:
        return False
    dense = a.is_dense(pair.a) and b.is_dense(pair.b)
    if pair.state == "retyped":
        return statistics and dense and _has_values(pair.a, pair.b)
    return ours.size == theirs.size and (dense or a.format(pair.a) == b.format(pair.b))


def _has_values(*places: Place) -> bool:
    """Whether the numbers are of types that can be computed with, and as many as they should be."""
    return all(
        (width := arithmetic.width(place.tensor.type)) is not None
        and place.tensor.size == place.tensor.count * width
        for place in places
    )


def _compare_group(
    pairs: Sequence[TensorPair],
    a: Side,
    b: Side,
    statistics: bool,
    report: Reporter,
    stop: pool.Stop,
) -> list[TensorDifference]:
    """Compare the tensors of one file with those of another."""
    found: list[TensorDifference] = []
    name, done, total = _by_files(pairs[0])[1], 0, sum(_size(pair.b) for pair in pairs)
    readers: dict[str, _Window] = {}
    report(Began(name, total))
    for pair in pairs:
        if pair.a is None or pair.b is None:
            continue
        ours = readers.setdefault("a", _Window(a, pair.a.path))
        theirs = readers.setdefault("b", _Window(b, pair.b.path))
        dense = a.is_dense(pair.a) and b.is_dense(pair.b)
        both = (pair.a, ours), (pair.b, theirs)
        if statistics and dense and _has_values(pair.a, pair.b):
            apart, equal = _apart(*both, stop)
        else:
            apart, equal = None, _are_equal(*both, stop)
        # Of one of another type the headers have said all but how far the numbers are apart.
        compared: TensorState = "same" if equal else "changed"
        state = pair.state if pair.state == "retyped" else compared
        values = apart if state != "same" else None
        found.append(TensorDifference(state, pair.name, pair.a, pair.b, values))
        done += _size(pair.b)
        report(Moved(name, done))
    report(Ended(name, total, "hashed"))
    return found


def _apart(
    a: tuple[Place, _Window], b: tuple[Place, _Window], stop: pool.Stop
) -> tuple[Apart, bool]:
    """How far the numbers are apart, and whether their bytes are equal: -0 is 0 in other bytes."""
    comparison = Comparison(a[0].tensor.type, b[0].tensor.type)
    count, equal = b[0].tensor.count, True
    for first in range(0, count, _PIECE):
        stop.check()
        some = min(_PIECE, count - first)
        ours, theirs = _numbers(*a, first, some), _numbers(*b, first, some)
        equal = equal and ours == theirs
        comparison.feed(ours, theirs)
    return comparison.result(), equal


def _numbers(place: Place, window: _Window, first: int, count: int) -> bytes:
    width = arithmetic.width(place.tensor.type) or 0
    return window.read((place.tensor.start or 0) + first * width, count * width)


def _are_equal(a: tuple[Place, _Window], b: tuple[Place, _Window], stop: pool.Stop) -> bool:
    size = _size(b[0])
    starts = a[0].tensor.start or 0, b[0].tensor.start or 0
    for offset in range(0, size, _BLOCK):
        stop.check()
        some = min(_BLOCK, size - offset)
        if a[1].read(starts[0] + offset, some) != b[1].read(starts[1] + offset, some):
            return False
    return True


def _size(place: Place | None) -> int:
    return (place.tensor.size or 0) if place else 0


class _Window:
    """A file's bytes, of which those read last are kept."""

    def __init__(self, side: Side, path: str) -> None:
        reader = capability(side.store, RangeReader)
        if reader is None:
            raise UnsupportedError("this place can't be read from in parts")
        self._file = side.files[path]
        self._desc = self._file.member.desc
        self._read: Callable[[int, int], bytes] = partial(reader.read, self._desc)
        self._path = path
        self._start = 0
        self._bytes = b""

    def read(self, start: int, size: int) -> bytes:
        """So many bytes from there on.

        Raises:
            UnavailableError: fewer came.
        """
        start += self._file.start
        end = start + size
        if not self._start <= start <= end <= self._start + len(self._bytes):
            length = max(size, min(_BLOCK, self._desc.size - start))
            self._start, self._bytes = start, self._read(start, length)
        begin = start - self._start
        piece = self._bytes[begin : begin + size]
        if len(piece) != size:
            raise UnavailableError(
                f"{self._path} ended before its byte {end:,}", digest=str(self._desc.digest)
            )
        return piece
