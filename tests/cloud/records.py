"""What the local cloud keeps: documents in tables, on disk where a folder is given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class Table(MutableMapping[str, Document]):
    """Documents by their OCID or name. A change to one is kept when it is assigned again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[str, Document] = {}
        if path is not None and path.exists():
            self._rows = json.loads(path.read_text())

    def __getitem__(self, key: str) -> Document:
        return self._rows[key]

    def __setitem__(self, key: str, value: Document) -> None:
        self._rows[key] = value
        self._keep()

    def __delitem__(self, key: str) -> None:
        del self._rows[key]
        self._keep()

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

    def _keep(self) -> None:
        if self._path is None:
            return
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._rows))
        new.replace(self._path)


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
                path = self.folder / f"{name}.json" if self.folder else None
                self._tables[name] = Table(path)
            return self._tables[name]
