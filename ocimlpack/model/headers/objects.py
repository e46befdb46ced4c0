"""Pickled objects, as scikit-learn's models are, also those that joblib writes and compresses.

Which classes there are, of which versions, and which arrays: the pickle is followed, never loaded.
joblib keeps arrays as they are between the steps:
https://github.com/joblib/joblib/blob/main/joblib/numpy_pickle.py.
"""

from __future__ import annotations

import io
import re
import zlib
from typing import Any, BinaryIO, Final, cast

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import (
    Header,
    Tensor,
    Tensors,
    count,
    is_shape,
    listed,
    short_facts,
)
from ocimlpack.model.headers.npy import dtype
from ocimlpack.model.headers.pickles import Global, Lump, Made, Steps, TooLongError, named

_MAX_UNPACKED: Final = 64 * 1024 * 1024
"""Bytes: what is compressed has to be unpacked to be stepped over."""

_MAX_MEMORY: Final = 64 * 1024 * 1024
"""Bytes that a decompressor may take; xz needs as many at its highest level."""

_CHUNK: Final = 64 * 1024

_WRAPPER: Final = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_USUAL: Final = frozenset({"numpy", "scipy", "sklearn", "joblib", "collections"})
_DTYPE: Final = Global("numpy", "dtype")
_ARRAY_MODULES: Final = ("numpy.core.", "numpy._core.")
_SIZED: Final = re.compile(r"[<>|=]?([a-zA-Z])([0-9]{1,9})")
"""A type with the size of an element: of text in characters of four bytes, of all else in bytes."""


def read(stream: BinaryIO, size: int) -> Header:
    """Read what a file of `size` bytes says of the object in it.

    Raises:
        InvalidContentError: it is no pickle, or breaks off.
    """
    begin = stream.read(6)
    stream.seek(0)
    unpacked = _unpacked(begin, stream)
    if unpacked is None:
        steps = _Objects(stream, size)
    else:
        steps = _Objects(cast(BinaryIO, unpacked), unpacked.limit)
    try:
        value = steps.follow()
    except TooLongError as error:
        facts = [("imports", _imports(steps)), ("not followed", error.message)]
        return Header({}, facts=short_facts(facts))
    tensors = Tensors()
    for path, made in named(value):
        tensor = _tensor(made, steps, inside=unpacked is None)
        if tensor is not None:
            tensors.add(path or "array", tensor)
    return Header(tensors, _fields(value), facts=short_facts(_facts(value, steps)))


def _fields(value: Any) -> dict[str, str]:
    if not isinstance(value, Made) or not isinstance(value.what, Global):
        return {}
    what = _class(value)
    if what is None or not what.module.startswith("sklearn."):
        return {}
    return {"architecture": what.name}


def _facts(value: Any, steps: _Objects) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    what = _class(value)
    found.append(("class", what or type(value).__name__))
    classes: dict[Global, None] = {}
    versions: dict[str, None] = {}
    for _, made in named(value):
        inner = _class(made)
        if inner and inner.module.startswith("sklearn."):
            classes[inner] = None
        if isinstance(made.state, dict):
            version = made.state.get("_sklearn_version")
            versions |= {version: None} if isinstance(version, str) else {}
    found.append(("sklearn.version", listed(versions)))
    found.append(("classes", listed(classes)))
    found.append(("imports", _imports(steps)))
    return found


def _imports(steps: Steps) -> str:
    """What loading the pickle would import; what is in most of them comes last."""
    rest = sorted(steps.globals, key=lambda each: each.module.partition(".")[0] in _USUAL)
    return listed(rest)


def _class(value: Any) -> Global | None:
    """The class of an object, if the pickle says it in one of the usual ways."""
    if not isinstance(value, Made) or not isinstance(value.what, Global):
        return None
    # The oldest protocols make objects by a function of `copyreg`, whose argument is the class.
    if value.what.module in {"copyreg", "copy_reg"} and value.args:
        first = value.args[0]
        return first if isinstance(first, Global) else None
    return value.what


class _Objects(Steps):
    """A pickle between whose steps arrays may lie.

    Attributes:
        places: where the bytes of such arrays begin, by the object that stands for each.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(stream, size)
        self.places: dict[int, Lump] = {}
        self._is_nested = False

    def built(self, made: Made) -> None:
        """Step over the bytes of an array that joblib put here."""
        if made.what != _WRAPPER or not isinstance(made.state, dict):
            return
        shape, kind = made.state.get("shape"), _dtype(made.state.get("dtype"))
        alignment = made.state.get("numpy_array_alignment_bytes")
        if not is_shape(shape):
            raise InvalidContentError("an array in it has no shape")
        if kind is not None and kind[0] == "object":
            self._follow_nested()
            return
        numbers = count(shape)
        width = _width(made.state.get("dtype"))
        if numbers is None or width is None:
            raise InvalidContentError("an array in it has a type that isn't known")
        if alignment is not None:
            self.skip(self.take(1)[0])
        self.places[id(made)] = Lump(self.at, numbers * width)
        self.skip(numbers * width)

    def _follow_nested(self) -> None:
        """An array of objects is a pickle of its own in the middle of this one."""
        if self._is_nested:
            raise InvalidContentError("its arrays are nested too deep")
        inner = _Objects(self.stream, self.size)
        inner.at, inner.left, inner.kept, inner._is_nested = self.at, self.left, self.kept, True
        inner.follow()
        self.at, self.left, self.kept = inner.at, inner.left, inner.kept
        self.globals |= inner.globals


def _tensor(made: Made, steps: _Objects, inside: bool) -> Tensor | None:
    """An array, if that is what would be made.

    Args:
        made: what would be made.
        steps: the pickle.
        inside: whether the pickle is in the file as it is, so that its places are the file's.
    """
    if made.what == _WRAPPER and isinstance(made.state, dict):
        shape, kind = made.state.get("shape"), made.state.get("dtype")
        lump: object = steps.places.get(id(made))
    elif not isinstance(made.what, Global) or not made.what.module.startswith(_ARRAY_MODULES):
        return None
    elif made.what.name == "_reconstruct" and isinstance(made.state, tuple):
        if len(made.state) < 5:
            return None
        _, shape, kind, _, lump = made.state[:5]
    elif made.what.name == "_frombuffer" and len(made.args) >= 3:
        lump, kind, shape = made.args[:3]
    else:
        return None
    said = _dtype(kind)
    if said is None or not is_shape(shape) or (numbers := count(shape)) is None:
        return None
    name, width, is_native = said
    place = lump if isinstance(lump, Lump) else None
    if not inside or place is None or not is_native or place.size != numbers * (width or 0):
        return Tensor(name, numbers, shape)
    return Tensor(name, numbers, shape, place.start, place.size)


def _dtype(value: Any) -> tuple[str, int | None, bool] | None:
    """A type of NumPy's: its name, the bytes of a number, and whether little end first."""
    if not isinstance(value, Made) or value.what != _DTYPE or not value.args:
        return None
    text = value.args[0]
    if not isinstance(text, str):
        return None
    order = ""
    if isinstance(value.state, tuple) and len(value.state) > 1 and isinstance(value.state[1], str):
        order = value.state[1]
    return dtype(order + text if len(order) == 1 else text)


def _width(value: Any) -> int | None:
    """The bytes of one element of an array, also where it has several fields."""
    said = _dtype(value)
    if said is None or said[1] is not None:
        return said[1] if said else None
    match = _SIZED.fullmatch(value.args[0])
    return int(match[2]) * (4 if match[1] == "U" else 1) if match else None


def _unpacked(begin: bytes, stream: BinaryIO) -> _Unpacking | None:
    """The stream decompressed, if it begins as one that is compressed."""
    if begin.startswith(b"\x1f\x8b"):
        return _Unpacking(stream, zlib.decompressobj(wbits=31))
    if begin[:1] == b"\x78" and int.from_bytes(begin[:2]) % 31 == 0:
        return _Unpacking(stream, zlib.decompressobj())
    if begin.startswith(b"BZh"):
        import bz2  # here: some Pythons are built without these

        return _Unpacking(stream, bz2.BZ2Decompressor())
    if begin.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        import lzma

        return _Unpacking(stream, lzma.LZMADecompressor(memlimit=_MAX_MEMORY), lzma.LZMAError)
    return None


class _Unpacking(io.RawIOBase):
    """A compressed stream, unpacked while it is read: it goes forward only, and not for ever.

    Attributes:
        limit: bytes that it may unpack to.
    """

    def __init__(
        self, stream: BinaryIO, decompressor: Any, error: type[Exception] = zlib.error
    ) -> None:
        self._stream = stream
        self._decompressor = decompressor
        self._errors = (error, OSError, EOFError)
        self._rest = b""
        self._begin = 0  # where `_rest` begins
        self._at = 0
        self.limit = _MAX_UNPACKED

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, fewer only at the end."""
        end = self._at + max(size, 0)
        parts = []
        while self._at < end:
            chunk = self._rest[self._at - self._begin : end - self._begin]
            if chunk:
                parts.append(chunk)
                self._at += len(chunk)
            elif not self._next():
                break
        return b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        """The next line, at most `size` bytes of it."""
        parts: list[bytes] = []
        left = size or 0
        while left > 0 and not (parts and parts[-1].endswith(b"\n")):
            place = self._at - self._begin
            end = self._rest.find(b"\n", place, place + left) + 1
            chunk = self._rest[place : end or place + left]
            if not chunk and not self._next():
                break
            parts.append(chunk)
            self._at += len(chunk)
            left -= len(chunk)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go forward."""
        if whence != io.SEEK_SET or offset < self._begin:
            raise InvalidContentError("it can't be read again where it is compressed")
        self._at = min(self._at, offset)
        while self._begin + len(self._rest) < offset and self._next():
            pass
        self._at = offset
        return offset

    def _next(self) -> bool:
        """Unpack some more; False at the end."""
        begin = self._begin + len(self._rest)
        if begin >= self.limit:
            raise TooLongError(f"it unpacks to more than {self.limit:,} bytes")
        chunk = b""
        try:
            while not chunk and not self._decompressor.eof:
                if (piece := self._input()) is None:
                    return False
                chunk = self._decompressor.decompress(piece, _CHUNK)
        except self._errors as error:
            raise InvalidContentError("its compressed stream is damaged") from error
        self._begin, self._rest = begin, chunk
        return bool(chunk)

    def _input(self) -> bytes | None:
        """What the decompressor is to be given next; None if there is no more."""
        needs = getattr(self._decompressor, "needs_input", None)
        if needs is False:
            return b""
        rest: bytes = b"" if needs else self._decompressor.unconsumed_tail
        return rest or self._stream.read(_CHUNK) or None
