"""A pickle followed step by step without doing what it says: nothing is imported, called or made.

What the opcodes would build stands as plain values, and what they would call as `Made`. The opcodes
are those of https://github.com/python/cpython/blob/main/Lib/pickletools.py. Nothing here grows
beyond what the limits allow, whatever a pickle repeats or refers to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers import UnknownFormError

_MAX_STEPS: Final = 1_000_000
_MAX_LINE: Final = 65536
_KEPT: Final = 4096
"""Bytes of a text or of a byte string that are kept; longer ones are stepped over."""

_MAX_KEPT: Final = 16 * 1024 * 1024
_MAX_DIGITS: Final = 64
_MAX_NESTING: Final = 128
_MAX_PATH: Final = 1000


class TooLongError(UnknownFormError):
    """What comes after so many steps or bytes is not looked at."""


class Global(NamedTuple):
    """A class or function that a pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


_ORDERED: Final = Global("collections", "OrderedDict")


class Lump(NamedTuple):
    """Bytes that are too many to keep: where they begin in the stream, and how many."""

    start: int
    size: int


@dataclass(slots=True, eq=False)
class Made:
    """What calling something would have brought.

    Attributes:
        what: what would be called.
        args: with which arguments.
        state: what it would have been given afterwards.
        items: what would have been put into it by key.
        parts: what would have been appended to it.
    """

    what: Any
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[str | int, Any] | None = None
    parts: list[Any] | None = None


class Persistent(NamedTuple):
    """A reference to something that is kept outside the pickle."""

    id: Any


class _Mark:
    pass


_MARK: Final = _Mark()


class Steps:
    """One pickle in a stream.

    Attributes:
        at: where in the stream the next opcode is; behind the pickle's end once it was followed.
        globals: everything that it names to import, in order.
        left: how many steps may still be taken.
        kept: how many bytes of text were taken in.
    """

    def __init__(self, stream: BinaryIO, size: int, at: int = 0) -> None:
        """Prepare to follow the pickle that begins at `at`, in a stream of `size` bytes."""
        self.stream = stream
        self.size = size
        self.at = at
        self.globals: dict[Global, None] = {}
        self.left = _MAX_STEPS
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.kept = 0

    def follow(self) -> Any:
        """Go through the pickle.

        Returns:
            What it would have brought.

        Raises:
            InvalidContentError: it is no pickle, or breaks off.
            TooLongError: there is more of it than is followed.
        """
        self.stream.seek(self.at)
        while self.left:
            self.left -= 1
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                raise InvalidContentError("it is not a pickle, or a damaged one")
            step(self)
        raise _too_many_steps()

    def built(self, made: Made) -> None:
        """Something was given its state; formats that keep bytes behind that step over them."""

    def take(self, length: int) -> bytes:
        """The next bytes of the stream."""
        content = self.stream.read(length) if length <= _MAX_LINE else b""
        if len(content) != length:
            raise InvalidContentError("its pickle breaks off")
        self.at += length
        return content

    def skip(self, length: int) -> None:
        """Step over bytes of the stream."""
        if length > self.size - self.at:
            raise InvalidContentError("its pickle breaks off")
        self.at += length
        self.stream.seek(self.at)

    def number(self, form: str) -> int:
        """The next number of the stream, little-endian."""
        return int(struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0])

    def line(self) -> str:
        """The next line of the stream."""
        content = self.stream.readline(_MAX_LINE)
        if not content.endswith(b"\n"):
            raise InvalidContentError("its pickle breaks off")
        self.at += len(content)
        self._keep(len(content))
        return content[:-1].decode("utf-8", "replace").removesuffix("\r")

    def _keep(self, length: int) -> None:
        self.kept += length
        if self.kept > _MAX_KEPT:
            raise TooLongError(f"its pickle has more than {_MAX_KEPT:,} bytes of text")

    def _bytes(self, length: int) -> bytes | Lump:
        if length > _KEPT:
            lump = Lump(self.at, length)
            self.skip(length)
            return lump
        self._keep(length)
        return self.take(length)

    def _text(self, length: int) -> str | Lump:
        content = self._bytes(length)
        return content if isinstance(content, Lump) else content.decode("utf-8", "replace")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise InvalidContentError("its pickle takes what is not there")
        return self._stack.pop()

    def _peek(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _since_mark(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                values = self._stack[place + 1 :]
                del self._stack[place:]
                return values
        raise InvalidContentError("its pickle takes what is not there")

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise InvalidContentError("its pickle takes what is not there")
        self._push(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self._peek()

    def _global(self, module: Any, name: Any) -> None:
        known = isinstance(module, str) and isinstance(name, str)
        found = Global(module, name) if known else Global("?", "?")
        self.globals[found] = None
        self._push(found)

    def _call(self, what: Any, args: Any) -> None:
        args = args if isinstance(args, tuple) else ()
        self._push(Made(what, args, items=self._pairs(args) if what == _ORDERED else None))

    def _pairs(self, args: tuple[Any, ...]) -> dict[str | int, Any] | None:
        """What an ordered dictionary is made from: Python 2 gave it a list of pairs."""
        listed = args[0] if args and isinstance(args[0], list) else []
        # One list may be given to any number of calls, so its items count as steps.
        self.left -= len(listed)
        if self.left < 0:
            raise _too_many_steps()
        return {
            each[0]: each[1]
            for each in listed
            if isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], str | int)
        } or None

    def _build(self) -> None:
        state = self._pop()
        target = self._peek()
        if isinstance(target, Made):
            target.state = state
            self.built(target)

    def _append(self, values: list[Any]) -> None:
        target = self._peek()
        if isinstance(target, Made):
            target.parts = target.parts or []
            target.parts += values
        elif isinstance(target, list):
            target += values

    def _set(self, values: list[Any]) -> None:
        target = self._peek()
        if isinstance(target, Made):
            target.items = target.items or {}
        items = target.items if isinstance(target, Made) else target
        if isinstance(items, dict):
            for key, value in zip(values[::2], values[1::2], strict=False):
                if isinstance(key, str | int):
                    items[key] = value

    def _to_dict(self) -> None:
        values = self._since_mark()
        self._push({})
        self._set(values)

    def _instance(self) -> None:
        args = self._since_mark()
        self._global(self.line(), self.line())
        self._call(self._pop(), tuple(args))

    def _object(self) -> None:
        values = self._since_mark()
        if not values:
            raise InvalidContentError("its pickle takes what is not there")
        self._call(values[0], tuple(values[1:]))

    def _stack_global(self) -> None:
        name = self._pop()
        self._global(self._pop(), name)

    def _reduce(self) -> None:
        args = self._pop()
        self._call(self._pop(), args)

    def _new_with_keywords(self) -> None:
        self._pop()
        self._reduce()

    def _tuple(self, length: int) -> None:
        values = [self._pop() for _ in range(length)]
        self._push(tuple(reversed(values)))

    def _long(self, length: int) -> None:
        content = self._bytes(length)
        whole = isinstance(content, bytes) and len(content) <= _MAX_DIGITS
        self._push(int.from_bytes(content, "little", signed=True) if whole else None)

    def _decimal(self) -> None:
        text = self.line().removesuffix("L")
        try:
            # `00` and `01` are how the oldest protocol writes false and true.
            value = {"00": False, "01": True}.get(text)
            self._push(int(text[:_MAX_DIGITS]) if value is None else value)
        except ValueError:
            raise InvalidContentError("its pickle has a number that can't be read") from None

    def _persistent(self, id: Any) -> None:
        self._push(Persistent(id))

    def _two(self) -> list[Any]:
        value = self._pop()
        return [self._pop(), value]


Step = Callable[[Steps], Any]

_STEPS: Final[dict[int, Step]] = {
    ord(code) if isinstance(code, str) else code: step
    for code, step in (
        ("(", lambda s: s._stack.append(_MARK)),
        ("0", lambda s: s._stack.pop() if s._stack else s._pop()),
        ("1", lambda s: s._since_mark()),
        ("2", lambda s: s._push(s._peek())),
        ("F", lambda s: s._push(s.line() and None)),
        ("I", lambda s: s._decimal()),
        ("J", lambda s: s._push(s.number("i"))),
        ("K", lambda s: s._push(s.take(1)[0])),
        ("L", lambda s: s._decimal()),
        ("M", lambda s: s._push(s.number("H"))),
        ("N", lambda s: s._push(None)),
        ("P", lambda s: s._persistent(s.line())),
        ("Q", lambda s: s._persistent(s._pop())),
        ("R", lambda s: s._reduce()),
        ("S", lambda s: s._push(s.line().strip("'\""))),
        ("T", lambda s: s._push(s._text(s.number("I")))),
        ("U", lambda s: s._push(s._text(s.take(1)[0]))),
        ("V", lambda s: s._push(s.line())),
        ("X", lambda s: s._push(s._text(s.number("I")))),
        ("a", lambda s: s._append([s._pop()])),
        ("b", lambda s: s._build()),
        ("c", lambda s: s._global(s.line(), s.line())),
        ("d", lambda s: s._to_dict()),
        ("}", lambda s: s._push({})),
        ("e", lambda s: s._append(s._since_mark())),
        ("g", lambda s: s._get(_index(s.line()))),
        ("h", lambda s: s._get(s.take(1)[0])),
        ("i", lambda s: s._instance()),
        ("j", lambda s: s._get(s.number("I"))),
        ("l", lambda s: s._push(s._since_mark())),
        ("]", lambda s: s._push([])),
        ("o", lambda s: s._object()),
        ("p", lambda s: s._put(_index(s.line()))),
        ("q", lambda s: s._put(s.take(1)[0])),
        ("r", lambda s: s._put(s.number("I"))),
        ("s", lambda s: s._set(s._two())),
        ("t", lambda s: s._push(tuple(s._since_mark()))),
        (")", lambda s: s._push(())),
        ("u", lambda s: s._set(s._since_mark())),
        ("G", lambda s: s._push(s.take(8) and None)),
        ("B", lambda s: s._push(s._bytes(s.number("I")))),
        ("C", lambda s: s._push(s._bytes(s.take(1)[0]))),
        (0x80, lambda s: s.take(1)),
        (0x81, lambda s: s._reduce()),
        (0x82, lambda s: s._push(Global("?", f"{s.take(1)[0]}"))),
        (0x83, lambda s: s._push(Global("?", f"{s.number('H')}"))),
        (0x84, lambda s: s._push(Global("?", f"{s.number('I')}"))),
        (0x85, lambda s: s._tuple(1)),
        (0x86, lambda s: s._tuple(2)),
        (0x87, lambda s: s._tuple(3)),
        (0x88, lambda s: s._push(True)),
        (0x89, lambda s: s._push(False)),
        (0x8A, lambda s: s._long(s.take(1)[0])),
        (0x8B, lambda s: s._long(s.number("I"))),
        (0x8C, lambda s: s._push(s._text(s.take(1)[0]))),
        (0x8D, lambda s: s._push(s._text(s.number("Q")))),
        (0x8E, lambda s: s._push(s._bytes(s.number("Q")))),
        (0x8F, lambda s: s._push([])),
        (0x90, lambda s: s._append(s._since_mark())),
        (0x91, lambda s: s._push(s._since_mark())),
        (0x92, lambda s: s._new_with_keywords()),
        (0x93, lambda s: s._stack_global()),
        (0x94, lambda s: s._put(len(s._memo))),
        (0x95, lambda s: s.take(8)),
        (0x96, lambda s: s._push(s._bytes(s.number("Q")))),
        (0x97, lambda s: s._push(None)),
        (0x98, lambda s: None),
    )
}


def _too_many_steps() -> TooLongError:
    return TooLongError(f"its pickle has more than {_MAX_STEPS:,} steps")


def _index(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise InvalidContentError("its pickle has a number that can't be read")
    return int(text)


def named(value: Any) -> Iterator[tuple[str, Made]]:
    """Everything that would be made within a value, with the keys that lead there, once each."""
    seen: set[int] = set()
    # Iterators instead of lists: of a million siblings one has its path in memory.
    waiting = [iter([("", value)])]
    while waiting:
        path, each = next(waiting[-1], (None, None))
        if path is None:
            waiting.pop()
            continue
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Made):
            yield path, each
        if len(waiting) < _MAX_NESTING:
            waiting.append(_within(path, each))


def _within(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is in a value and may have something in it, with its path."""
    if isinstance(value, Made):
        # Not what is in these at once: any number of objects may have one state, or be another's.
        for each in (value.state, value.items, value.parts):
            if isinstance(each, Made | dict | list | tuple):
                yield path, each
    elif isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in pairs:
            if isinstance(part, Made | dict | list | tuple):
                yield (f"{path}.{key}" if path else f"{key}")[:_MAX_PATH], part
