"""What the local cloud keeps: documents in tables, on disk where a folder is given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, TextIO

Document = dict[str, Any]


class Table(MutableMapping[str, Document]):
    """Documents by their OCID or name. A change to one is kept when it is assigned again.

    On disk it is a journal with a line for each change, so that a change costs the same however
    much is kept, and a process that is killed leaves at worst half a line, which is not read.
    """

    def __init__(self, path: Path | None) -> None:
        self._rows: dict[str, Document] = {}
        self._journal: TextIO | None = None
        if path is not None:
            self._read(path)
            self._journal = path.open("a")

    def __getitem__(self, key: str) -> Document:
        return self._rows[key]

    def __setitem__(self, key: str, value: Document) -> None:
        self._rows[key] = value
        self._note(key, value)

    def __delitem__(self, key: str) -> None:
        del self._rows[key]
        self._note(key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def where(self, **fields: Any) -> list[Document]:
        """The documents that have all of these; what is None is not looked at."""
        wanted = {name: value for name, value in fields.items() if value is not None}
        return [
            row
            for row in list(self._rows.values())
            if all(row.get(name) == value for name, value in wanted.items())
        ]

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _read(self, path: Path) -> None:
        """Read the journal and write it anew without what has been overtaken."""
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                key, value = json.loads(line)
            except ValueError:
                continue  # the process was killed while it wrote that
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        new = path.with_suffix(".new")
        new.write_text("".join(_line(key, value) for key, value in self._rows.items()))
        new.replace(path)

    def _note(self, key: str, value: Document | None) -> None:
        if self._journal is not None:
            self._journal.write(_line(key, value))
            self._journal.flush()


def _line(key: str, value: Document | None) -> str:
    return json.dumps([key, value]) + "\n"


class Records:
    """All tables; `lock` is held by a handler that reads and then changes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._tables: dict[str, Table] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def table(self, name: str) -> Table:
        with self.lock:
            if name not in self._tables:
                path = self.folder / f"{name}.jsonl" if self.folder else None
                self._tables[name] = Table(path)
            return self._tables[name]

    def close(self) -> None:
        for table in self._tables.values():
            table.close()
