"""Lifecycle policies, and their running on a clock that a test moves.

"Object Storage Object Lifecycle Management" of Oracle: a policy is replaced as a whole; rules for
unfinished uploads have no filter; previous versions count from when they became previous; DELETE
comes before ARCHIVE; nothing runs unless the service itself is permitted to manage objects, and
then a policy can't be put either, 400 `InsufficientServicePermissions`. Days begin at midnight UTC;
that an object's first day begins at the midnight after its last change is assumed, and so are the
codes of wrong rules, which are those in public code of a server of this API.
"""

from __future__ import annotations

import fnmatch
import json
import math
import uuid
from collections.abc import Iterator
from typing import Any

from tests.cloud.answers import RefusedError, item, missing
from tests.cloud.cloud import Call, timestamp
from tests.cloud.objectstorage import archive, conditions
from tests.cloud.objectstorage.multipart import Multipart
from tests.cloud.objectstorage.objects import Objects
from tests.cloud.objectstorage.store import SERVICE, Store
from tests.cloud.policies import Policies
from tests.cloud.records import Document
from tests.scripted.exchange import Reply

MAX_RULES = 1_000
_DAY = 86_400
_UNITS = {"DAYS": 1, "YEARS": 365}
_ACTIONS = {
    "objects": {"DELETE", "ARCHIVE", "INFREQUENT_ACCESS"},
    "previous-object-versions": {"DELETE", "ARCHIVE", "INFREQUENT_ACCESS"},
    "multipart-uploads": {"ABORT"},
}
_FIRST = ("DELETE", "ARCHIVE", "INFREQUENT_ACCESS")
"""If several rules are due for one object, the first of these is done."""


class Lifecycle:
    """The calls, and what the service does on its own."""

    def __init__(
        self, store: Store, objects: Objects, multipart: Multipart, policies: Policies
    ) -> None:
        self.store = store
        self.objects = objects
        self.multipart = multipart
        self.policies = policies
        path = "/n/{ns}/b/{bucket}/l"
        store.cloud.route("PUT", path, self.put)
        store.cloud.route("GET", path, self.get)
        store.cloud.route("DELETE", path, self.delete)

    def put(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=True)
        current = self.store.lifecycles.get(bucket["name"])
        conditions.for_change(call.request, current)
        rules = json.loads(call.body).get("items")
        if rules is None:
            raise missing("items")
        _check(rules, bucket)
        if not self.is_permitted(bucket):
            raise RefusedError(
                400,
                "InsufficientServicePermissions",
                f'Permissions granted to the object storage service principal "{SERVICE}" to this '
                "bucket are insufficient.",
            )
        policy = {
            "bucket": bucket["name"],
            "etag": str(uuid.uuid4()),
            "timeCreated": timestamp(self.store.cloud.calendar()),
            "items": rules,
        }
        self.store.lifecycles[bucket["name"]] = policy
        bucket["objectLifecyclePolicyEtag"] = policy["etag"]
        self.store.buckets[bucket["name"]] = bucket
        return _told(policy)

    def get(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=False)
        return _told(self._policy(bucket["name"]))

    def delete(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=True)
        policy = self._policy(bucket["name"])
        conditions.for_change(call.request, policy)
        del self.store.lifecycles[bucket["name"]]
        bucket["objectLifecyclePolicyEtag"] = None
        self.store.buckets[bucket["name"]] = bucket
        return Reply(204)

    def is_permitted(self, bucket: Document) -> bool:
        target = "target.bucket.name", bucket["name"]
        return self.policies.grants(
            SERVICE, "manage", "object-family", bucket["compartmentId"], target
        )

    def run(self) -> list[str]:
        """Do what is due by now; a line for each thing that was done."""
        with self.store.cloud.records.lock:
            return [
                line
                for policy in list(self.store.lifecycles.values())
                for line in self._run(self.store.buckets[policy["bucket"]], policy["items"])
            ]

    def _run(self, bucket: Document, items: list[Document]) -> Iterator[str]:
        if not self.is_permitted(bucket):
            return
        rules = [rule for rule in items if rule["isEnabled"]]
        for version in list(self.store.objects.every(bucket["name"])):
            latest = "superseded" not in version
            if latest and version["isDeleteMarker"]:
                continue
            target = "objects" if latest else "previous-object-versions"
            since = version["modified"] if latest else version["superseded"]
            due = {
                rule["action"]
                for rule in rules
                if (rule.get("target") or "objects") == target
                and _matches(rule, version["name"])
                and self._is_due(rule, since)
            }
            for action in (action for action in _FIRST if action in due):
                if self._act(bucket, version, action, latest=latest):
                    yield f"{action} {version['name']}"
                break
        for upload in self.store.uploads.where(bucket=bucket["name"]):
            if any(
                rule.get("target") == "multipart-uploads" and self._is_due(rule, upload["begun"])
                for rule in rules
            ):
                self.multipart.discard(upload)
                yield f"ABORT {upload['object']}"

    def _act(self, bucket: Document, version: Document, action: str, *, latest: bool) -> bool:
        if action == "DELETE":
            if latest:
                self.objects.withdraw(bucket, version["name"])
            else:
                self.objects.remove(version)
            return True
        tier = "Archive" if action == "ARCHIVE" else "InfrequentAccess"
        if version["isDeleteMarker"] or version["storageTier"] in {tier, "Archive"}:
            return False
        if tier == "Archive":
            archive.put_away(version, self.store.cloud.calendar())
        else:
            version["storageTier"] = tier
        self.store.objects.save(version)
        return True

    def _is_due(self, rule: Document, since: float) -> bool:
        midnight = math.ceil(since / _DAY) * _DAY
        days = rule["timeAmount"] * _UNITS[rule["timeUnit"]]
        return bool(self.store.cloud.calendar() >= midnight + days * _DAY)

    def _policy(self, bucket: str) -> Document:
        if bucket not in self.store.lifecycles:
            raise RefusedError(
                404, "LifecyclePolicyNotFound", f"The bucket '{bucket}' has no lifecycle policy"
            )
        return self.store.lifecycles[bucket]


def _told(policy: Document) -> Reply:
    told = {name: policy[name] for name in ("timeCreated", "items")}
    return item(told, etag=policy["etag"])


def _matches(rule: Document, name: str) -> bool:
    """The docstrings of the SDK's ObjectNameFilter: exclusions win, nothing given means all."""
    wanted: dict[str, Any] = rule.get("objectNameFilter") or {}
    if any(fnmatch.fnmatchcase(name, glob) for glob in wanted.get("exclusionPatterns") or ()):
        return False
    globs = wanted.get("inclusionPatterns") or []
    prefixes = wanted.get("inclusionPrefixes") or []
    if not globs and not prefixes:
        return True
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs) or name.startswith(
        tuple(prefixes)
    )


def _check(rules: list[Document], bucket: Document) -> None:
    if len(rules) > MAX_RULES:
        raise RefusedError(400, "InvalidParameter", f"There may be {MAX_RULES} rules")
    names = [rule.get("name") for rule in rules]
    if len(set(names)) != len(names) or not all(names):
        raise RefusedError(400, "InvalidLifecycleRuleName", "Rules need names, each its own.")
    for rule in rules:
        target = rule.get("target") or "objects"
        if rule.get("action") not in _ACTIONS.get(target, ()):
            raise RefusedError(
                400,
                "InvalidLifecycleActionType",
                f"{rule.get('action')} is no action for {target}",
            )
        if rule.get("timeUnit") not in _UNITS:
            raise RefusedError(
                400, "InvalidLifecycleTimeUnit", f"The unit {rule.get('timeUnit')} is not known"
            )
        if not isinstance(rule.get("timeAmount"), int) or rule["timeAmount"] < 0:
            raise RefusedError(400, "InvalidLifecycleTimeAmount", "timeAmount is no number of days")
        if target == "multipart-uploads" and any((rule.get("objectNameFilter") or {}).values()):
            raise RefusedError(
                400, "InvalidLifecyclePattern", "Rules for uploads have no name filters"
            )
        if rule["action"] == "INFREQUENT_ACCESS" and bucket["autoTiering"] != "Disabled":
            # "Creating the Object Lifecycle Policy": not while auto-tiering is on. Code assumed.
            raise RefusedError(
                400, "InvalidLifecycleActionType", "INFREQUENT_ACCESS is not for auto-tiering"
            )
