"""The archive tier: what lies in it can't be read before it is restored, which takes an hour.

"Understanding Storage Tiers", "Restoring Objects" and the "Archive Storage FAQs" of Oracle: about
an hour until the first byte, 24 hours unless others are asked for. The codes of the refusals are
those in public code of a server of this API; the longest restore, 240 hours, is assumed.
"""

from __future__ import annotations

import json

from tests.cloud.answers import RefusedError
from tests.cloud.cloud import Call, timestamp
from tests.cloud.objectstorage.store import Store
from tests.cloud.records import Document
from tests.scripted.exchange import Reply

RESTORE_SECONDS = 3_600.0
MAX_HOURS = 240


def state(version: Document, now: float) -> str | None:
    """`Archived`, `Restoring` or `Restored`; None for what is in another tier."""
    if version.get("storageTier") != "Archive":
        return None
    if now < version.get("restoredFrom", 0):
        return "Restoring"
    return "Restored" if now < version.get("restoredUntil", 0) else "Archived"


def require_readable(version: Document, now: float) -> None:
    """Refuse to read what is not restored."""
    found = state(version, now)
    if found in {"Archived", "Restoring"}:
        doing = "is not restored" if found == "Archived" else "is being restored"
        raise RefusedError(409, "NotRestored", f"Archived object {doing}.")


def headers(version: Document, now: float) -> dict[str, str]:
    found = state(version, now)
    if found is None:
        return {}
    told = {"archival-state": found, "time-of-archival": timestamp(version["archivedAt"])}
    if found == "Restored":
        told["time-of-archival"] = timestamp(version["restoredUntil"])
    return told


def put_away(version: Document, now: float) -> None:
    """Move a version into the archive tier."""
    version.update(storageTier="Archive", archivedAt=now)
    for name in ("restoredFrom", "restoredUntil"):
        version.pop(name, None)


class Archive:
    """The calls that move objects between tiers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        actions = "/n/{ns}/b/{bucket}/actions"
        store.cloud.route("POST", f"{actions}/restoreObjects", self.restore)
        store.cloud.route("POST", f"{actions}/updateObjectStorageTier", self.update_tier)

    def restore(self, call: Call) -> Reply:
        details = json.loads(call.body)
        hours = details.get("hours") or 24
        if not 1 <= hours <= MAX_HOURS:
            raise RefusedError(400, "InvalidRestoreHours", f"hours has to be 1 to {MAX_HOURS}")
        version = self._version(call, details)
        now = self.store.cloud.calendar()
        found = state(version, now)
        if found is None:
            raise RefusedError(400, "NotArchivedObject", "The object is not archived.")
        if found != "Archived":
            code = "RestoreInProgress" if found == "Restoring" else "AlreadyRestored"
            raise RefusedError(409, code, f"The object is {found.lower()} already.")
        begins = now + RESTORE_SECONDS
        version.update(restoredFrom=begins, restoredUntil=begins + hours * 3_600)
        self.store.objects.save(version)
        return Reply(202)

    def update_tier(self, call: Call) -> Reply:
        details = json.loads(call.body)
        version = self._version(call, details)
        tier = details.get("storageTier")
        if tier not in {"Standard", "InfrequentAccess", "Archive"}:
            raise RefusedError(400, "InvalidObjectProperty", f"There is no storage tier {tier}")
        if version["storageTier"] == "Archive":
            # Nothing leads out of the archive but a restore: "Managing Objects".
            raise RefusedError(409, "AlreadyArchived", "The object is archived.")
        if tier == "Archive":
            put_away(version, self.store.cloud.calendar())
        else:
            version["storageTier"] = tier
        self.store.objects.save(version)
        return Reply(200)

    def _version(self, call: Call, details: Document) -> Document:
        bucket = self.store.bucket(call, "objects", manage=True)
        return self.store.find(bucket["name"], details["objectName"], details.get("versionId"))
