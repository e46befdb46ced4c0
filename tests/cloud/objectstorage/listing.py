"""Lists of objects and of their versions.

The docstrings of the SDK's `list_objects` and `list_object_versions` describe the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.cloud.answers import RefusedError, item
from tests.cloud.cloud import Call, timestamp
from tests.cloud.objectstorage import archive
from tests.cloud.objectstorage.store import Store
from tests.cloud.records import Document
from tests.scripted.exchange import Reply, as_json

_MOST = 1_000
_FIELDS = ("size", "etag", "md5", "timeCreated", "timeModified", "storageTier", "archivalState")


class Listing:
    """The two lists."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.cloud.route("GET", "/n/{ns}/b/{bucket}/o", self.objects)
        store.cloud.route("GET", "/n/{ns}/b/{bucket}/objectversions", self.versions)

    def objects(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "objects", manage=False)["name"]
        versions = self.store.objects
        names = [name for name in versions.names(bucket) if versions.latest(bucket, name)]
        kept, prefixes = _select(call, names)
        ordered, limit = _in_order(kept, prefixes), _limit(call)
        shown, rest = set(ordered[:limit]), ordered[limit:]
        found = [each for name in kept if name in shown and (each := versions.latest(bucket, name))]
        listed: Document = {
            "objects": [self._row(call, each) for each in found],
            "prefixes": [prefix for prefix in prefixes if prefix in shown],
        }
        if rest:
            # The first name that was left out; `start` takes it as the first of the next page.
            listed["nextStartWith"] = rest[0]
        return item(listed)

    def versions(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "objects", manage=False)["name"]
        kept, prefixes = _select(call, self.store.objects.names(bucket))
        rows = [each for name in kept for each in self.store.objects.of(bucket, name)]
        start, limit = int(call.argument("page") or 0), _limit(call)
        items = [
            {
                **self._row(call, each),
                "versionId": each["versionId"],
                "isDeleteMarker": each["isDeleteMarker"],
                "timeModified": timestamp(each["modified"]),
            }
            for each in rows[start : start + limit]
        ]
        more = {"opc-next-page": str(start + limit)} if start + limit < len(rows) else {}
        return as_json(200, {"items": items, "prefixes": prefixes}, more)

    def _row(self, call: Call, version: Document) -> Document:
        asked = {each.strip().lower() for each in (call.argument("fields") or "").split(",")}
        known: dict[str, Callable[[], Any]] = {
            "size": lambda: version["size"],
            "etag": lambda: version["etag"],
            "md5": lambda: version["sums"].get("md5"),
            "timeCreated": lambda: timestamp(version["created"]),
            "timeModified": lambda: timestamp(version["modified"]),
            "storageTier": lambda: version["storageTier"],
            "archivalState": lambda: archive.state(version, self.store.cloud.calendar()),
        }
        row = {field: known[field]() for field in _FIELDS if field.lower() in asked}
        return {"name": version["name"], **row}


def _select(call: Call, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that are asked for, and with a delimiter what stands for those below one."""
    prefix, start, end = (call.argument(name) or "" for name in ("prefix", "start", "end"))
    after, delimiter = call.argument("startAfter") or "", call.argument("delimiter")
    if delimiter not in (None, "", "/"):
        raise RefusedError(400, "InvalidParameter", "Only '/' is a delimiter.")
    kept: list[str] = []
    prefixes: dict[str, None] = {}
    for name in names:
        if not name.startswith(prefix) or name.encode() < start.encode():
            continue
        if (end and name.encode() >= end.encode()) or (after and name.encode() <= after.encode()):
            continue
        folder, slash, _ = name[len(prefix) :].partition("/")
        if delimiter and slash:
            prefixes[f"{prefix}{folder}/"] = None
        else:
            kept.append(name)
    return kept, list(prefixes)


def _in_order(*lists: list[str]) -> list[str]:
    return sorted((name for each in lists for name in each), key=str.encode)


def _limit(call: Call) -> int:
    limit = int(call.argument("limit") or _MOST)
    if not 1 <= limit <= _MOST:
        raise RefusedError(400, "InvalidLimit", f"The limit has to be 1 to {_MOST}")
    return limit
