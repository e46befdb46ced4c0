"""How results look: sizes, tables, JSON, and the escaping of what could harm a terminal."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ocimlpack.app.diagnosis import Diagnosis, Fact, Finding, Section
    from ocimlpack.app.results import Inspected, InspectedFile, InspectedWeights
    from ocimlpack.app.transfers import Transferred

# Controls (C0, DEL, C1), formats (bidi overrides, zero-width characters), lone surrogates, and the
# separators of lines and paragraphs: an escape sequence can rewrite what a terminal shows, and an
# override can make a name read as another (https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing).
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SHORT_DIGEST: Final = 12
_LISTED: Final = 6
"""Values of a list that text shows; JSON has all of them."""

_SHOWN: Final = 160
"""Characters that are shown of what a file says of itself; JSON has more."""

_MAX_DIGITS: Final = 4000
"""Longer numbers Python refuses to read."""

_RIGHT: Final = ("SIZE", "TENSORS", "PARAMETERS", "BYTES")

_PAGE: Final = 96
"""Columns of a page that people paste elsewhere."""
_MARKS: Final = {"": "", "ok": "ok", "no": "no", "unknown": "?"}
_ALIKE: Final = 3
"""So many facts in a row that say the same are one line."""

_LABELS: Final = {
    "name": "Name",
    "version": "Version",
    "family": "Family",
    "architecture": "Architecture",
    "paramSize": "Parameters",
    "precision": "Precision",
    "quantization": "Quantization",
    "format": "Format",
    "licenses": "License",
    "docURL": "Documentation",
    "sourceURL": "Source",
    "datasetsURL": "Datasets",
    "createdAt": "Created",
    "architectures": "Class",
    "parameters": "Exact count",
    "frameworks": "Framework",
}
"""What the fields of a model's config are called, in the order in which they are shown."""


_ORIGINS: Final = {"given": " (given)", "guessed": " (guessed)"}
"""What stands behind a value; nothing where the files themselves say it."""
_SHOWN_ABOVE: Final = ("ocimlpack.", "org.opencontainers.image.base.")
"""Annotations that a line of its own tells of."""


def escape(text: str) -> str:
    r"""The text with every character that is not for display written as `\x1b` or `\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(char) if unicodedata.category(char) in _UNSAFE else char for char in text
    )


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def size(count: int) -> str:
    """Bytes for a person, in binary units: `86.7 MiB`."""
    amount = float(count)
    for unit in _UNITS:
        if amount < 1023.95 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def plural(count: int, noun: str) -> str:
    """`1 file`, `12 files`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def short(digest: str) -> str:
    """A digest cut to what a person compares: `sha256:0123456789ab`."""
    algorithm, colon, encoded = digest.partition(":")
    return f"{algorithm}{colon}{encoded[:_SHORT_DIGEST]}"


def width(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = _RIGHT
) -> list[str]:
    """Lines of a table.

    Args:
        headers: the columns' names.
        rows: the cells; unsafe characters in them are escaped.
        right: the names of the columns that are aligned to the right.
    """
    cells = [list(headers), *([escape(cell) for cell in row] for row in rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = []
        for header, cell, room in zip(headers, row, widths, strict=True):
            space = " " * (room - width(cell))
            padded.append(space + cell if header in right else cell + space)
        lines.append("  ".join(padded).rstrip())
    return lines


def plain(value: Any) -> Any:
    """A result as what JSON knows: objects, arrays, strings, numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def document(value: Any) -> str:
    """A result as one JSON document. It is ASCII, so no terminal is harmed by what is in it."""
    return json.dumps(plain(value), indent=2) + "\n"


def facts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of what is known of one thing, the values under one another."""
    every = list(pairs)
    room = max(len(label) for label, _ in every) + 2
    return [f"{label + ':':<{room}}{escape(value)}" for label, value in every]


def dry_run(moved: Transferred) -> list[str]:
    """What a dry run found out, a line for each piece of content."""
    rows = [(item.fate, size(item.size), short(item.digest), item.path) for item in moved.plan]
    return table(("ACTION", "SIZE", "DIGEST", "PATH"), rows)


def files(listed: Sequence[InspectedFile]) -> list[str]:
    """The files of an artifact, with whole digests."""
    rows = [(item.kind, size(item.size), item.digest, item.path) for item in listed]
    return table(("KIND", "SIZE", "DIGEST", "PATH"), rows)


def weights(found: Sequence[InspectedWeights]) -> list[str]:
    """The tensors of all files of weights, then what else the files say, and the totals by type."""
    if not found:
        return ["no weights with a header that can be read"]
    rows = [
        (
            # Cut, as the longest one makes all lines as long.
            clipped(file.path),
            clipped(each.name),
            each.type,
            clipped(f"[{', '.join(map(str, each.shape))}]"),
            _bytes(each.size),
        )
        for file in found
        for each in file.tensors
    ]
    lines = [*table(("FILE", "TENSOR", "TYPE", "SHAPE", "BYTES"), rows), ""] if rows else []
    for file in found:
        about = ", damaged" if file.problem else ""
        if file.tensors:
            about = f", {file.parameters:,} parameters"
        lines.append(escape(f"{file.path}: {file.format}, {size(file.size)}{about}"))
        lines += [escape(f"  {name}: {_cut(value)}") for name, value in file.facts.items()]
    totals: dict[str, list[int]] = {}
    for file in found:
        for each in file.tensors:
            total = totals.setdefault(each.type, [0, 0, 0])
            total[0] += 1
            total[2] += each.size or 0
        for name, number in file.types.items():
            totals[name][1] += number
    counted = [
        (name, *(f"{number:,}" for number in numbers))
        for name, numbers in sorted(totals.items(), key=lambda item: -item[1][1])
    ]
    columns = ("TYPE", "TENSORS", "PARAMETERS", "BYTES")
    return [*lines, "", *table(columns, counted)] if counted else lines


def problems(found: Sequence[InspectedWeights]) -> list[str]:
    """A sentence for each file whose header can't be read."""
    return [f"{file.path} seems to be damaged: {file.problem}" for file in found if file.problem]


def _bytes(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _cut(text: str) -> str:
    return clipped(" ".join(text.split()))


def clipped(text: str) -> str:
    """The text, or as much of it as is shown."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def inspected(found: Inspected) -> list[str]:
    """What an artifact is: its facts, a line for each, then its files."""
    lines = facts(_facts(found))
    if found.files:
        rows = [(item.kind, size(item.size), item.path) for item in found.files]
        lines += ["", *table(("KIND", "SIZE", "PATH"), rows)]
    return lines


def _facts(found: Inspected) -> Iterator[tuple[str, str]]:
    for key in (*_LABELS, *(key for key in found.model if key not in _LABELS)):
        value = found.model.get(key)
        if value not in (None, "", [], (), {}):
            yield label(key), _known(found.origins, key, value)
    for key, text in found.facts.items():
        yield label(key), _known(found.origins, key, number(text))
    if found.base:
        yield "Base", found.base
    if found.format:
        yield "Packaging", found.format
    for note in found.notes:
        yield "Note", note
    yield "Size", size(found.size)
    # Of an image, what is in the layers is known only when they are read.
    yield "Layers" if found.format == "image" else "Files", f"{len(found.files):,}"
    if found.tags:
        yield "Tags", ", ".join(found.tags)
    yield "Digest", found.digest
    if found.artifact_type:
        yield "Type", found.artifact_type
    yield "Reference", found.reference
    for key, value in found.annotations.items():
        if not key.startswith(_SHOWN_ABOVE):
            yield "Annotation", f"{key}={value}"


def _known(origins: Mapping[str, str], key: str, value: Any) -> str:
    """A value, and how it is known."""
    if isinstance(value, Mapping):
        return "; ".join(
            f"{_spaced(str(name)).lower()}: {_known(origins, str(name), each)}"
            for name, each in value.items()
        )
    return words(value) + _ORIGINS.get(origins.get(key, ""), "")


def number(text: str) -> str:
    """A whole number with its thousands told apart; other text as it is."""
    whole = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return f"{int(text):,}" if whole else text


def _spaced(key: str) -> str:
    """`inputTypes` as `Input types`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key).lower()
    return spaced[:1].upper() + spaced[1:]


def label(key: str) -> str:
    """What a field of a model's config is called."""
    return _LABELS.get(key) or escape(_spaced(key))


def words(value: Any) -> str:
    """A field's value on one line; of long lists, the first few items."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        more = f" and {len(value) - _LISTED:,} more" if len(value) > _LISTED else ""
        return ", ".join(map(words, value[:_LISTED])) + more
    if isinstance(value, Mapping):
        return "; ".join(f"{_spaced(str(key)).lower()}: {words(value[key])}" for key in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def diagnosis(found: Diagnosis) -> list[str]:
    """A page for a person to paste elsewhere: plain, aligned, the marks in words."""
    made = found.made.replace("T", " ").replace("Z", " UTC")
    lines = [f"ocimlpack doctor {found.reference}".rstrip() + f", {made}"]
    for section in found.sections:
        lines += ["", *_section(section)]
    lines += ["", "Findings" if found.findings else "Findings: none"]
    for number, finding in enumerate(found.findings, 1):
        lines += _finding(number, finding)
    return [escape(line) for line in lines]


def _section(section: Section) -> Iterator[str]:
    title = section.name.capitalize()
    yield f"{title}: {section.about}" if section.about else title
    rows = [
        row
        for _, alike in itertools.groupby(section.facts, key=lambda fact: (fact.state, fact.value))
        for row in _rows(list(alike))
    ]
    room = max(len(name) for _, name, _ in rows)
    for mark, name, value in rows:
        head = f"  {mark:<3} {name:<{room}}  "
        yield from _wrapped(head, value)


def _rows(alike: Sequence[Fact]) -> Iterator[tuple[str, str, str]]:
    """Mark, name and value of facts that say the same: in one line, if there are many."""
    if len(alike) >= _ALIKE and alike[0].state == "unknown":
        yield _MARKS["unknown"], f"{alike[0].name} and {len(alike) - 1} more", alike[0].value
        return
    for fact in alike:
        instead = f"instead: {fact.instead}" if fact.instead else ""
        value = "; ".join(part for part in (fact.value, instead) if part)
        yield _MARKS[fact.state], fact.name, value


def _finding(number: int, finding: Finding) -> Iterator[str]:
    yield from _wrapped(f"  {number}. ", finding.problem)
    if finding.help:
        yield from _wrapped(" " * 5, finding.help)


def _wrapped(head: str, text: str) -> list[str]:
    """The text behind a head, its further lines below its first one."""
    lines = textwrap.wrap(
        text,
        _PAGE,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.rstrip() for line in lines] or [head.rstrip()]
