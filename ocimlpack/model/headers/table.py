"""Which reader is for which format of weights; adding one is a module and a line here.

Readers of formats that few models have are loaded when one is met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from ocimlpack.model.headers import Header, UnknownFormError, gguf, onnx, safetensors

Reader = Callable[[BinaryIO, int], Header]
"""Takes a stream that can seek, at the file's beginning, and the file's size in bytes."""


def _torch(stream: BinaryIO, size: int) -> Header:
    from ocimlpack.model.headers import torch

    return torch.read(stream, size)


def _objects(stream: BinaryIO, size: int) -> Header:
    from ocimlpack.model.headers import objects

    return objects.read(stream, size)


def _npy(stream: BinaryIO, size: int) -> Header:
    from ocimlpack.model.headers import npy

    return npy.read(stream, size)


def _keras(stream: BinaryIO, size: int) -> Header:
    from ocimlpack.model.headers import keras

    return keras.read(stream, size)


def _tflite(stream: BinaryIO, size: int) -> Header:
    from ocimlpack.model.headers import tflite

    return tflite.read(stream, size)


def _saved_model(stream: BinaryIO, size: int) -> Header:
    from ocimlpack.model.headers import saved_model

    return saved_model.read(stream, size)


READERS: Final[Mapping[str, Reader]] = {
    "safetensors": safetensors.read,
    "gguf": gguf.read,
    "onnx": onnx.read,
    "pt": _torch,
    "pickle": _objects,
    "joblib": _objects,
    "numpy": _npy,
    "keras": _keras,
    "tflite": _tflite,
    "tensorflow": _saved_model,
}
"""By the names that `model.formats` has for formats."""

# How the names of files with a header end, where others of that format have none.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "onnx": (".onnx",),
    "tensorflow": ("saved_model.pb", "variables.index"),
}

# How a file begins whose name may be that of other things, too: one that begins otherwise is not
# damaged, but something else.
_PICKLES: Final = (b"\x80", b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00")
_BEGINNINGS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "pt": (b"PK\x03\x04", b"\x80"),
    "pickle": _PICKLES,
    "joblib": _PICKLES,
    "numpy": (b"PK\x03\x04", b"\x93NUMPY"),
    "keras": (b"PK\x03\x04", b"\x89HDF"),
}


def read_header(path: str, format: str | None, stream: BinaryIO, size: int) -> Header | None:
    """What a file of weights says of itself.

    Args:
        path: its path in the model: some formats keep data in files beside the one with a header.
        format: its format, as `model.formats.classify` says.
        stream: its content, at the beginning; it has to be able to seek.
        size: its bytes.

    Returns:
        The header; None for a file that has none, or one that nothing here can read.

    Raises:
        InvalidContentError: the header is damaged, or not what it has to be.
    """
    if format is None or not has_header(path, format):
        return None
    if beginnings := _BEGINNINGS.get(format):
        begin = stream.read(max(map(len, beginnings)))
        stream.seek(0)
        if not begin.startswith(beginnings):
            return None
    try:
        return READERS[format](stream, size)
    except UnknownFormError:
        return None


def has_header(path: str, format: str | None) -> bool:
    """Whether a file may have a header that can be read: some have their data in other files."""
    names = _NAMES.get(format or "")
    return format in READERS and (names is None or path.lower().endswith(names))
