"""PyTorch's files: checkpoints and TorchScript as zip archives, and checkpoints of before 1.6.

https://github.com/pytorch/pytorch/blob/main/torch/serialization.py. In all of them a pickle says
which tensors there are and where among the stored numbers they lie. It is followed, never loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final, NamedTuple

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import (
    Header,
    Tensor,
    Tensors,
    UnknownFormError,
    count,
    is_shape,
    listed,
    objects,
    short_facts,
)
from ocimlpack.model.headers.pickles import Global, Made, Persistent, Steps, named
from ocimlpack.model.headers.zip_archive import Member, ZipArchive

_MAX_PICKLE: Final = 64 * 1024 * 1024
_RECORDS: Final = {
    "version": "torch.archive_version",  # of how the archive is written, and of no release
    "byteorder": "torch.byteorder",
    ".format_version": "torch.format_version",
}
"""Small members, and the facts that they are."""

_MAX_TEXT: Final = 1000
_ALIGNED: Final = 64
_WIDE: Final = 2**32
"""From so many bytes on, what is behind a member has eight bytes more."""

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION: Final = 1001

# The kinds of storages, and the types that newer files name instead, with the bytes of a number.
_TYPES: Final[Mapping[str, tuple[str, int]]] = {
    "Double": ("float64", 8),
    "Float": ("float32", 4),
    "Half": ("float16", 2),
    "BFloat16": ("bfloat16", 2),
    "Long": ("int64", 8),
    "Int": ("int32", 4),
    "Short": ("int16", 2),
    "Char": ("int8", 1),
    "Byte": ("uint8", 1),
    "Bool": ("bool", 1),
    "ComplexDouble": ("complex128", 16),
    "ComplexFloat": ("complex64", 8),
    "QInt8": ("qint8", 1),
    "QUInt8": ("quint8", 1),
    "QInt32": ("qint32", 4),
    "Float8_e4m3fn": ("float8_e4m3", 1),
    "Float8_e5m2": ("float8_e5m2", 1),
    "Untyped": ("uint8", 1),
}
_DTYPES: Final[Mapping[str, tuple[str, int]]] = {
    **{name: (name, size) for name, size in _TYPES.values()},
    "float8_e4m3fn": ("float8_e4m3", 1),
    "uint16": ("uint16", 2),
    "uint32": ("uint32", 4),
    "uint64": ("uint64", 8),
}

_REBUILT: Final = frozenset(
    {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"}
)
_PARAMETERS: Final = frozenset({"_rebuild_parameter", "_rebuild_parameter_with_state"})
_SUBCLASSES: Final = frozenset({"_rebuild_from_type_v2"})
_MAX_WRAPPED: Final = 4
_ABSENT: Final = "_rebuild_meta_tensor_no_storage"
# What is expected in a checkpoint; all else that it would import is a fact about it.
_USUAL: Final = frozenset({"torch._utils", "torch.jit._pickle", "torch._tensor", "torch.storage"})
# How a module keeps its parameters in itself; they are called without these elsewhere.
_HELD_IN: Final = frozenset({"_parameters", "_buffers", "_modules"})


class _Place(NamedTuple):
    """A storage in the file: where it begins, if that is known, and how many bytes it has."""

    start: int | None
    size: int


def read(stream: BinaryIO, size: int) -> Header:
    """Read what a file of `size` bytes says of its tensors.

    Raises:
        InvalidContentError: it is damaged, or its tensors lie outside what is stored.
    """
    if stream.read(2) == b"PK":
        return _from_archive(ZipArchive(stream, size))
    return _from_pickles(stream, size)


def _from_archive(archive: ZipArchive) -> Header:
    pickled = [name for name in archive.members if name.rpartition("/")[2] == "data.pkl"]
    if not pickled:
        raise UnknownFormError("it has no data.pkl; it is not a checkpoint")
    path = min(pickled, key=len)
    folder = path.removesuffix("data.pkl")
    places = _places(archive, f"{folder}data/")
    steps, value = _follow(archive, archive.members[path])
    is_script = any(name.startswith(f"{folder}code/") for name in archive.members)
    facts: list[tuple[str, object]] = [("torch.kind", "TorchScript" if is_script else "checkpoint")]
    if isinstance(value, Made) and isinstance(value.what, Global):
        facts.append(("class", _plain(value.what)))
    for name, fact in _RECORDS.items():
        if (member := archive.members.get(folder + name)) and member.size <= _MAX_TEXT:
            text = archive.content(member, _MAX_TEXT).decode("utf-8", "replace").strip()
            facts.append((fact, text))
    facts.append(("imports", _imports(steps.globals)))
    return Header(_tensors(value, places), facts=short_facts(facts))


def _follow(archive: ZipArchive, member: Member) -> tuple[Steps, Any]:
    if not member.is_stored:
        raise InvalidContentError(f"its {member.name!r:.80} is compressed, as PyTorch never does")
    if member.size > _MAX_PICKLE:
        raise InvalidContentError(f"its {member.name!r:.80} has {member.size:,} bytes")
    steps = Steps(archive.opened(member), member.packed)
    return steps, steps.follow()


def _places(archive: ZipArchive, prefix: str) -> dict[str, _Place]:
    """The storages of an archive by their keys.

    Where a member's bytes begin is said in front of it, and to read that for each would take a
    request each. It is read for the largest: the others lie as far from what follows them, if they
    are aligned then as PyTorch aligns them.
    """
    members = list(archive.members.values())
    ends = [*(member.header for member in members[1:]), archive.end]
    stored = {
        member.name.removeprefix(prefix): (member, end)
        for member, end in zip(members, ends, strict=True)
        if member.name.startswith(prefix)
    }
    largest = max(stored.values(), key=lambda each: each[0].size, default=None)
    if largest is None:
        return {}
    gap = largest[1] - archive.start(largest[0]) - largest[0].packed
    if gap < 0:
        raise InvalidContentError("its members overlap")
    found = {}
    for key, (member, end) in stored.items():
        wide = member.packed >= _WIDE and largest[0].packed < _WIDE
        begin = end - (gap + 8 if wide else gap) - member.packed
        known = member.is_stored and begin % _ALIGNED == 0 and begin > member.header
        found[key] = _Place(begin if known else None, member.size)
    return found


def _from_pickles(stream: BinaryIO, size: int) -> Header:
    """Several pickles: a magic number, a version, the machine's sizes, the tensors, the keys."""
    steps = Steps(stream, size)
    first = steps.follow()
    if first != _MAGIC:
        # Not written by PyTorch at all, but called as if: what it would import is worth knowing.
        stream.seek(0)
        return objects.read(stream, size)
    values = []
    named_globals: dict[Global, None] = {}
    for _ in range(4):
        steps = Steps(stream, size, steps.at)
        values.append(steps.follow())
        named_globals |= steps.globals
    version, _, value, keys = values
    if version != _LEGACY_VERSION or not isinstance(keys, list):
        raise UnknownFormError("it is a checkpoint of a version that isn't known")
    widths = _widths(value)
    places: dict[str, _Place] = {}
    at = steps.at
    for key in keys:
        if not isinstance(key, str) or key not in widths or key in places or at + 8 > size:
            raise InvalidContentError("its tensors lie outside what is stored")
        if not widths[key]:
            raise UnknownFormError("it has numbers of a type that isn't known")
        stream.seek(at)
        (numbers,) = struct.unpack("<q", stream.read(8))
        length = numbers * widths[key]
        if numbers < 0 or at + 8 + length > size:
            raise InvalidContentError("it ends before its last tensor; was it downloaded whole?")
        places[key] = _Place(at + 8, length)
        at += 8 + length
    facts = [("torch.kind", "legacy checkpoint"), ("imports", _imports(named_globals))]
    return Header(_tensors(value, places), facts=short_facts(facts))


def _widths(value: Any) -> dict[str, int]:
    """The bytes of a number in each storage, by the storages' keys."""
    found = {}
    for _, made in _rebuilt(value):
        storage = made.args[0] if made.args else None
        if isinstance(storage, Persistent) and (said := _storage(storage)):
            found[said[0]] = said[2]
    return found


def _storage(reference: Persistent) -> tuple[str, str, int] | None:
    """A storage's key, the type of its numbers, and the bytes that one takes."""
    said = reference.id
    if not isinstance(said, tuple) or len(said) < 3 or said[0] != "storage":
        return None
    kind, key = said[1:3]
    if not isinstance(kind, Global) or not isinstance(key, str | int):
        return None
    type, width = _TYPES.get(kind.name.removesuffix("Storage"), (kind.name.lower()[:40], 0))
    return str(key), type, width


def _rebuilt(value: Any) -> Iterator[tuple[str, Made]]:
    """What would be made within a value; of parameters and subclasses the tensor in them."""
    for path, made in named(value):
        inner = made
        for _ in range(_MAX_WRAPPED):
            name = inner.what.name if isinstance(inner.what, Global) else ""
            args = inner.args
            if name in _PARAMETERS and args and isinstance(args[0], Made):
                inner = args[0]
            elif name in _SUBCLASSES and len(args) >= 3 and isinstance(args[2], tuple):
                inner = Made(args[0], args[2])
            else:
                break
        yield path, inner


def _tensors(value: Any, places: Mapping[str, _Place]) -> Tensors:
    tensors = Tensors()
    for path, made in _rebuilt(value):
        tensor = _tensor(path, made, places)
        if tensor is None:
            continue
        name = ".".join(each for each in path.split(".") if each not in _HELD_IN) or "tensor"
        tensors.add(name, tensor)
    return tensors


def _tensor(path: str, made: Made, places: Mapping[str, _Place]) -> Tensor | None:
    if not isinstance(made.what, Global) or made.what.module != "torch._utils":
        return None
    if made.what.name == _ABSENT:
        kind, shape = made.args[:2] if len(made.args) >= 2 else (None, None)
        if not isinstance(kind, Global) or not is_shape(shape):
            raise InvalidContentError(f"its tensor {path!r:.80} lacks a type or a shape")
        return Tensor(_dtype(kind)[0], _count(path, shape), shape)
    if made.what.name not in _REBUILT:
        return None
    storage, offset, shape, strides = made.args[:4] if len(made.args) >= 4 else (None,) * 4
    said = _storage(storage) if isinstance(storage, Persistent) else None
    if said is None or type(offset) is not int or not is_shape(shape) or not is_shape(strides):
        raise InvalidContentError(f"its tensor {path!r:.80} lacks a type, a shape or its place")
    key, kind, width = said
    if made.what.name == "_rebuild_tensor_v3" and len(made.args) > 6:
        # Its storage has no type; the type is said at the end.
        named_type = made.args[6]
        if isinstance(named_type, Global):
            kind, width = _dtype(named_type)
    numbers = _count(path, shape)
    place = places.get(key)
    if place is None:
        raise InvalidContentError(f"its tensor {path!r:.80} is in a storage that is not there")
    last = sum((n - 1) * step for n, step in zip(shape, strides, strict=False)) if numbers else -1
    if offset < 0 or len(strides) != len(shape) or (offset + last + 1) * width > place.size:
        raise InvalidContentError(f"its tensor {path!r:.80} lies outside what is stored")
    if place.start is None or not width or not _is_packed(shape, strides):
        return Tensor(kind, numbers, shape)
    return Tensor(kind, numbers, shape, place.start + offset * width, numbers * width)


def _dtype(named_type: Global) -> tuple[str, int]:
    """What a type is called here, and the bytes of a number; 0 of a type that isn't known."""
    return _DTYPES.get(named_type.name, (named_type.name[:40], 0))


def _count(path: str, shape: tuple[int, ...]) -> int:
    numbers = count(shape)
    if numbers is None:
        raise InvalidContentError(f"its tensor {path!r:.80} has more numbers than can be")
    return numbers


def _is_packed(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the numbers lie one after the other, in the order of the shape."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _plain(what: Global) -> str:
    """A class without what TorchScript puts before and into its name."""
    parts = str(what).removeprefix("__torch__.").split(".")
    return ".".join(each for each in parts if not each.startswith("___torch_mangle_"))


def _imports(globals: Iterable[Global]) -> str:
    """What loading the pickle would import, beside what is in every checkpoint."""
    return listed(
        each
        for each in globals
        if each.module not in _USUAL
        and each != Global("collections", "OrderedDict")
        and not each.module.startswith("__torch__")
        and not (each.module == "torch" and (each.name.endswith("Storage") or each.name in _DTYPES))
    )
