"""Which reader is for which format of weights; adding one is a module and a line here.

Readers of formats that few models have are loaded when one is met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from ocimlpack.model.headers import Header, gguf, onnx, safetensors

Reader = Callable[[BinaryIO, int], Header]
"""Takes a stream that can seek, at the file's beginning, and the file's size in bytes."""


def _torch(stream: BinaryIO, size: int) -> Header:
    from ocimlpack.model.headers import torch

    return torch.read(stream, size)


READERS: Final[Mapping[str, Reader]] = {
    "safetensors": safetensors.read,
    "gguf": gguf.read,
    "onnx": onnx.read,
    "pt": _torch,
}
"""By the names that `model.formats` has for formats."""

# How a file begins whose name may be that of other things, too: one that begins otherwise is not
# damaged, but something else.
_BEGINNINGS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "pt": (b"PK\x03\x04", b"\x80"),
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
    return READERS[format](stream, size)


def has_header(path: str, format: str | None) -> bool:
    """Whether a file has a header that can be read. External data of ONNX models have none."""
    return format in READERS and (format != "onnx" or path.lower().endswith(".onnx"))
