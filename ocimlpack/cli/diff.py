"""The command that says what differs between two models: diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ocimlpack.cli import render
from ocimlpack.cli.options import PATH, command, given, mirror_option, option, registry_options
from ocimlpack.cli.output import Output, pass_output
from ocimlpack.cli.progress import reporting

if TYPE_CHECKING:
    from ocimlpack.app.diff import Difference
    from ocimlpack.model.difference import FieldDifference, FileDifference
    from ocimlpack.model.tensor_difference import TensorDifference
    from ocimlpack.model.values import Apart

DIFFERS: Final = 1
"""The exit code for it, where it is asked for: that of `diff` and `git diff --exit-code`."""

_SHOWN: Final = 40
"""Tensors that text lists; JSON has all of them."""

_WIDE: Final = 60
"""Characters of a value that text shows."""

_FILE_STATES: Final = ("added", "removed", "renamed", "changed", "unknown")
_FIELD_STATES: Final = ("added", "removed", "changed")
_TENSOR_STATES: Final = ("added", "removed", "reshaped", "retyped", "changed", "unknown", "same")
_WORDS: Final = {"unknown": "not compared"}


@command(
    "diff",
    example="""
    ocimlpack diff minilm:1.0 minilm:1.1
    ocimlpack diff localhost:5000/team/minilm:1.0 ./minilm
    ocimlpack diff registry.example.com/team/llm:1 registry.example.com/team/llm:2 --stats
    ocimlpack diff minilm-tuned:1.0
    """,
)
@click.argument("a", metavar="A", type=PATH)
@click.argument("b", metavar="[B]", type=PATH, required=False)
@option("--stats", is_flag=True, help="Read the tensors that look alike, and compare their values.")
@option("--archives", is_flag=True, help="Read archives that differ, also those far away.")
@option("--exit-code", is_flag=True, help="Exit with 1 if anything differs, like `git diff`.")
@registry_options
@mirror_option
@pass_output
def diff(
    output: Output,
    /,
    a: str,
    b: str | None,
    stats: bool,
    archives: bool,
    exit_code: bool,
    **options: Any,
) -> None:
    """Show what differs between two models, or between one and the base that it records."""
    from ocimlpack.app import diff as app

    with reporting(output) as report:
        found = app.diff(a, b, stats=stats, archives=archives, report=report, **given(options))
    hints = [name for name, given in (("--stats", stats), ("--archives", archives)) if not given]
    output.result(found, *lines(found, hints))
    for note in found.notes:
        output.warn(note)
    if exit_code and found.differs:
        raise click.exceptions.Exit(DIFFERS)


def lines(found: Difference, hints: Sequence[str]) -> Iterator[str]:
    """The difference for a person: in short first, then what there is of each sort.

    Args:
        found: it.
        hints: the options with which more would be compared.
    """
    yield from render.facts(_summary(found, hints))
    for title, rows in (
        ("Files", _files(found.files)),
        ("Metadata", _fields(found.metadata, labelled=True)),
        ("Annotations", _fields(found.annotations, labelled=False)),
        ("Tensors", _tensors(found.tensors)),
    ):
        if rows:
            yield ""
            yield title
            yield from (f"  {row}" for row in rows)


def _summary(found: Difference, hints: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield "A", f"{found.a}  ({render.size(found.size_a)})"
    yield "B", f"{found.b}  ({render.size(found.size_b)})"
    if not found.differs:
        same = found.digest_a == found.digest_b
        yield "Same", "all of it" if same else "files and metadata; only the manifests differ"
        return
    yield "Files", _file_counts(found, hints)
    fields: list[str] = [each.state for each in found.metadata]
    fields += [each.state for each in found.annotations]
    if fields:
        yield "Metadata", _counts(_FIELD_STATES, fields)
    if found.tensors or found.same_tensors:
        yield "Tensors", _tensor_counts(found, hints)
    share = f" ({found.shared / found.size_b:.0%})" if found.size_b else ""
    there, new = render.size(found.shared), render.size(found.size_b - found.shared)
    yield "Sharing", f"{there} of B{share} is in A already; {new} is new"


def _tensor_counts(found: Difference, hints: Sequence[str]) -> str:
    states: list[str] = [each.state for each in found.tensors]
    parts = [_counts(_TENSOR_STATES, states)] if states else []
    if found.same_tensors:
        parts.append(f"{found.same_tensors:,} same in the files that differ")
    hint = " (--stats compares the values)" if "unknown" in states and "--stats" in hints else ""
    return ", ".join(parts) + hint


def _file_counts(found: Difference, hints: Sequence[str]) -> str:
    states: list[str] = [each.state for each in found.files]
    unread = "unknown" in states or any(
        file.archive for each in found.files for file in (each.a, each.b) if file
    )
    hint = " (--archives compares those in archives)" if unread and "--archives" in hints else ""
    return _counts(_FILE_STATES, states, found.same_files) + hint


def _counts(order: Sequence[str], states: Sequence[str], same: int = 0) -> str:
    """`1 added, 2 changed, 8 same`."""
    parts = [
        f"{states.count(state):,} {_WORDS.get(state, state)}" for state in order if state in states
    ]
    return ", ".join(parts + ([f"{same:,} same"] if same or not parts else []))


def _files(differences: Sequence[FileDifference]) -> list[str]:
    rows = [
        (_WORDS.get(each.state, each.state), _file_size(each), _path(each)) for each in differences
    ]
    return render.table(("CHANGE", "SIZE", "PATH"), rows) if rows else []


def _file_size(each: FileDifference) -> str:
    sizes = [
        "?" if file.size is None else render.size(file.size) for file in (each.a, each.b) if file
    ]
    return _arrow(*sizes)


def _path(each: FileDifference) -> str:
    path = f"{each.a.path} -> {each.path}" if each.a and each.state == "renamed" else each.path
    if any(file.archive for file in (each.a, each.b) if file):
        return f"{path} (an archive, which was not read)"
    if each.state != "unknown":
        return path
    return f"{path} ({'in' if each.a and each.b else 'perhaps in'} an archive)"


def _fields(differences: Sequence[FieldDifference[Any]], *, labelled: bool) -> list[str]:
    rows = [
        (
            each.state,
            render.label(each.name) if labelled else each.name,
            _arrow(*(_value(side) for side in (each.a, each.b) if side is not None)),
        )
        for each in differences
    ]
    return render.table(("CHANGE", "NAME", "VALUE"), rows) if rows else []


def _value(value: Any) -> str:
    text = render.number(render.words(value))
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def _tensors(differences: Sequence[TensorDifference]) -> list[str]:
    """Those that are known to differ: the most changed ones first, where that was computed."""
    known = [each for each in differences if each.state != "unknown"]
    known.sort(key=lambda each: (_TENSOR_STATES.index(each.state), -_mean(each.values)))
    shown = known[:_SHOWN]
    if not shown:
        return []
    headers: tuple[str, ...] = ("CHANGE", "TYPE", "SHAPE")
    rows: list[tuple[str, ...]]
    if any(each.values for each in known):
        headers += ("MEAN", "MAX", "DIFFER")
        rows = [(each.state, *_tensor(each), *_apart(each.values), _name(each)) for each in shown]
    else:
        rows = [(each.state, *_tensor(each), _name(each)) for each in shown]
    more = [f"and {len(known) - _SHOWN:,} more; --json has them all"] if known[_SHOWN:] else []
    return render.table((*headers, "TENSOR"), rows) + more


def _name(each: TensorDifference) -> str:
    return render.clipped(each.name)


def _mean(values: Apart | None) -> float:
    return values.mean if values else 0.0


def _tensor(each: TensorDifference) -> tuple[str, str]:
    """Its type and shape, before and after."""
    sides = [place.tensor for place in (each.a, each.b) if place]
    return (
        _arrow(*(tensor.type for tensor in sides)),
        _arrow(*(render.clipped("x".join(map(str, tensor.shape))) or "scalar" for tensor in sides)),
    )


def _apart(values: Apart | None) -> tuple[str, str, str]:
    if values is None:
        return "", "", ""
    return f"{values.mean:.3g}", f"{values.max:.3g}", _percent(values.share)


def _percent(share: float) -> str:
    """A share that rounds to nothing is more than nothing, and one that rounds to all is less."""
    if 0 < share < 0.001:
        return "< 0.1%"
    return "> 99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def _arrow(*values: str) -> str:
    """`before -> after`, or what both are."""
    return " -> ".join(dict.fromkeys(values))
