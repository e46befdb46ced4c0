"""JSON bytes as Go's `encoding/json` writes them, and a strict reader.

Tools written in Go decode a manifest and encode it again to show its digest, so only bytes in Go's
own spelling keep one digest everywhere: no spaces, struct fields in declared order (the caller's),
map keys sorted, non-ASCII text as UTF-8, and `<`, `>`, `&`, U+2028 and U+2029 escaped.
Source: https://pkg.go.dev/encoding/json#Marshal
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from ocimlpack.errors import InputError, InvalidContentError

_MAX_DEPTH: Final = 200
"""Whoever goes through a value, part by part within parts, has not used up the stack then."""

_ESCAPES: Final = str.maketrans(
    {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
)


def encode(value: object) -> bytes:
    """The bytes that Go would write for `value`, whose dicts keep their order.

    Raises:
        InputError: text that is no Unicode (a lone surrogate, as undecodable file names carry).
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.translate(_ESCAPES).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"text that is not valid Unicode: {error.object[error.start :][:20]!r}"
        ) from error


def sorted_map(value: Mapping[str, str]) -> dict[str, str]:
    """A string map in the order in which Go writes it: keys compared by their UTF-8 bytes."""
    return dict(sorted(value.items(), key=lambda item: item[0].encode("utf-8", "surrogatepass")))


def decode(content: bytes, what: str) -> Any:
    """Parse JSON that another side supplied.

    Args:
        content: the bytes.
        what: how an error names them, such as "manifest".

    Raises:
        InvalidContentError: not UTF-8 JSON, a key given twice, NaN or infinity, also as a number
            that is too large, or nested more than 200 deep.
    """
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_no_duplicates,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InvalidContentError(f"{what} is not valid JSON: {reason}") from error
    if _is_too_deep(value):
        raise InvalidContentError(f"{what} is not valid JSON: nested too deep")
    return value


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.20} is too large a number")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
