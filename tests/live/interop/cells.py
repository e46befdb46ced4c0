"""What was seen in this run, cell by cell; each is tried once, whichever test asks first."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import pytest

from tests.live.interop import readers, samples, writers
from tests.live.interop.bench import FORMS, Bench, Form
from tests.live.interop.readers import READERS, Reader
from tests.live.interop.samples import SAMPLES
from tests.live.interop.tools import ROOT, TOOLS
from tests.live.interop.writers import WRITERS, Writer

RESULTS = ROOT / ".cache" / "interop.json"


@dataclass
class Results:
    """What the page is made of.

    Attributes:
        versions: of the tools, by their names.
        readers: what became of each form, by the reader's key and the form's name.
        writers: what it was taken for and what became of it, by the writer's key.
        samples: likewise, by the sample's writer.
    """

    versions: dict[str, str] = field(default_factory=dict)
    readers: dict[str, dict[str, str]] = field(default_factory=dict)
    writers: dict[str, tuple[str, str]] = field(default_factory=dict)
    samples: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Results:
        """Those of the last run."""
        return cls(**json.loads(RESULTS.read_text("utf-8")))

    def save(self) -> None:
        """Keep them for who writes the page."""
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    def without(self, names: set[str]) -> Results:
        """All but what those tools did."""
        gone = {each.key for each in (*READERS, *WRITERS) if each.tool.name in names}
        return Results(
            {name: seen for name, seen in self.versions.items() if name not in names},
            {key: seen for key, seen in self.readers.items() if key not in gone},
            {key: seen for key, seen in self.writers.items() if key not in gone},
            self.samples,
        )


def _tried(one: Callable[[], object]) -> None:
    # On a user's machine, what lacks a tool is left out; in CI that is a failure, not a skip.
    with contextlib.suppress(pytest.skip.Exception):
        one()


class Cells:
    """Tries a cell when it is asked for."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._read: dict[tuple[str, str], str] = {}
        self._written: dict[str, tuple[str, str]] = {}

    def read(self, reader: Reader, form: Form) -> str:
        """What a reader makes of a form."""
        key = reader.key, form.name
        if key not in self._read:
            written = self._bench.written(form, reader.key if reader.remembers else "")
            self._read[key] = readers.observe(reader, self._bench, written)
        return self._read[key]

    def written(self, writer: Writer) -> tuple[str, str]:
        """What we take for what a writer writes, and what we make of it."""
        if writer.key not in self._written:
            self._written[writer.key] = writers.observe(writer, self._bench)
        return self._written[writer.key]

    def try_all(self) -> None:
        """Try all that can be tried here; in CI, what is missing fails the test."""
        for reader in READERS:
            for form in FORMS if reader.tool.is_due else ():
                _tried(partial(self.read, reader, form))
        for writer in WRITERS:
            if writer.tool.is_due:
                _tried(partial(self.written, writer))

    def results(self) -> Results:
        """What was seen so far; a reader counts when all its forms were."""
        rows = {
            reader.key: {form.name: self._read.get((reader.key, form.name), "") for form in FORMS}
            for reader in READERS
        }
        return Results(
            {tool.name: tool.seen_version for tool in TOOLS if tool.path},
            {key: row for key, row in rows.items() if all(row.values())},
            dict(self._written),
            {sample.writer: samples.observe(sample) for sample in SAMPLES},
        )
