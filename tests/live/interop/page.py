"""Renders docs/interop.md: `python -m tests.live.interop.page`, after a run of the tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tests.live.interop.bench import FORMS
from tests.live.interop.cells import Results
from tests.live.interop.readers import READERS, Reader
from tests.live.interop.samples import SAMPLES
from tests.live.interop.tools import ROOT, TOOLS
from tests.live.interop.writers import WRITERS

PAGE = ROOT / "docs" / "interop.md"
NOT_RUN = "not run"

INTRO = """\
# Which tools read and write the same models

`make interop` writes this page from what the tests in `tests/live/interop` saw. Each cell is an
outcome that was found by comparing bytes, and CI fails when one is no longer true. All went through
real registries: distribution 3, and from there to distribution 2 where something is copied. The
programs had these versions:
"""

READING = """\
## What other tools make of what ocimlpack writes

The model is small: two weight files, folders, a script, and equal files under two paths. It is
written in these forms; [format.md](format.md) has the bytes.
"""

FILES = """\
### Tools that give files

- **same files**: each file, byte for byte, at its path; what can be executed still can be.
- **same files, none executable**: likewise, but `chmod +x` is left to the user.
- **same files after `tar -xf`**: bundles of small files stay archives.
- **refused**: the program ends with an error that says so.
"""

COPIES = """\
### Tools that copy

- **digest kept**: the copy has the digest that `push` printed, and what is pulled from there are
  the same files.
- **same files, another digest**: whoever goes by the digest does not find the copy.
"""

WRITING = """\
## What ocimlpack makes of what other tools write

Each tool wrote to a registry; `ocimlpack copy` took that to another one, where it has the same
digest; and `ocimlpack pull` made files of it there. What it was taken for, `inspect` says;
[formats.md](formats.md) says by what.

- **same files**: each file, byte for byte, at the path that its writer gave it, executable if the
  artifact says so.
- **same files, none executable**: likewise, but the artifact does not say which can be executed.
"""

SAMPLES_KEPT = """\
### From samples

Of programs that need a daemon of their own, or are on no package registry, manifests and configs
that they wrote are kept in `tests/golden/formats`. This is what is read in them.
"""


def render(results: Results, before: str) -> str:
    """The page.

    Args:
        results: of a run. What it did not try, the page keeps.
        before: the page as it is.
    """
    page = "\n".join(_lines(results, _rows(before)))
    return re.sub(r"\n{3,}", "\n\n", page) + "\n"


def _lines(results: Results, before: dict[str, str]) -> Iterator[str]:
    notes = _number()
    yield INTRO
    yield from _table(("tool", "version"))
    for tool in TOOLS:
        yield _row(_link(tool.name), [results.versions.get(tool.name, "")], before)
    yield f"\n{READING}"
    yield from _table(("form", "made by"))
    for form in FORMS:
        yield f"| {form.name} | {form.command} |"
    names = [form.name for form in FORMS]
    for title, copies in ((FILES, False), (COPIES, True)):
        yield f"\n{title}"
        yield from _table(("command", *names))
        for reader in READERS:
            if reader.copies is copies:
                yield _row(reader.key, list(_cells(reader, results, notes)), before)
    yield f"\n{WRITING}"
    yield from _table(("command", "taken for", "`ocimlpack pull`"))
    for writer in WRITERS:
        taken, seen = results.writers.get(writer.key, ("", ""))
        yield _row(writer.key, [taken, _noted(seen, writer.note, notes)], before)
    yield f"\n{SAMPLES_KEPT}"
    yield from _table(("written by", "taken for", "paths"))
    for sample in SAMPLES:
        yield _row(sample.writer, results.samples.get(sample.writer, ("", "")), before)
    yield "\n## Notes\n"
    for note, number in notes.items():
        yield f"{number}. {note}"


def _cells(reader: Reader, results: Results, notes: dict[str, int]) -> Iterator[str]:
    row = results.readers.get(reader.key, {})
    for form in FORMS:
        yield _noted(row.get(form.name, ""), reader.notes.get(form.name, ""), notes)


def _noted(seen: str, note: str, notes: dict[str, int]) -> str:
    return f"{seen} [{notes[note]}](#notes)" if seen and note else seen


def _number() -> dict[str, int]:
    """Each note's number, in the order in which they are met."""
    found = [note for reader in READERS for form in FORMS if (note := reader.notes.get(form.name))]
    found += [writer.note for writer in WRITERS if writer.note]
    return {note: number for number, note in enumerate(dict.fromkeys(found), start=1)}


def _row(key: str, cells: Sequence[str], before: dict[str, str]) -> str:
    if all(cells):
        return f"| {key} | {' | '.join(cells)} |"
    kept = before.get(key, "")
    return (
        kept if kept.count("|") == len(cells) + 2 else f"| {key} |" + f" {NOT_RUN} |" * len(cells)
    )


def _table(heads: Iterable[str]) -> Iterator[str]:
    heads = list(heads)
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"


def _rows(page: str) -> dict[str, str]:
    """The rows of a page's tables by their first cell."""
    rows = (line for line in page.splitlines() if line.startswith("| "))
    return {row.split("|")[1].strip(): row for row in rows}


def _link(name: str) -> str:
    tool = next(tool for tool in TOOLS if tool.name == name)
    return f"[{tool.name}]({tool.url})"


def main() -> None:
    """Write the page."""
    before = PAGE.read_text("utf-8") if PAGE.exists() else ""
    PAGE.write_text(render(Results.load(), before), "utf-8")


if __name__ == "__main__":
    main()
