"""Objects under other names: renamed at once, copied by a work request.

The SDK's models `RenameObjectDetails` and `CopyObjectDetails`. A copy within the region is finished
before anybody asks; that a rename keeps entity tag and version id is not documented, and they are
new here.
"""

from __future__ import annotations

import json
import uuid

from tests.cloud.answers import RefusedError, item, not_found
from tests.cloud.cloud import NAMESPACE, REGION, Call, timestamp
from tests.cloud.objectstorage import archive, conditions
from tests.cloud.objectstorage.objects import Objects, check_name
from tests.cloud.objectstorage.store import Store, no_bucket
from tests.cloud.records import Document
from tests.scripted.exchange import Reply, as_json


class Copying:
    """The calls, and the requests that they leave."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self.store = store
        self.objects = objects
        self.requests = store.cloud.records.table("copy-requests")
        actions = "/n/{ns}/b/{bucket}/actions"
        store.cloud.route("POST", f"{actions}/renameObject", self.rename)
        store.cloud.route("POST", f"{actions}/copyObject", self.copy)
        store.cloud.route("GET", "/workRequests/{id}", self.request)
        store.cloud.route("GET", "/workRequests/{id}/errors", self.errors)

    def rename(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "objects", manage=True)
        details: Document = json.loads(call.body)
        source = self.store.find(bucket["name"], details["sourceName"])
        name = check_name(details["newName"])
        if name == source["name"]:
            raise RefusedError(400, "SourceNameSameAsNewName", "That is its name already.")
        conditions.check(details.get("srcObjIfMatchETag"), None, source)
        conditions.check(
            details.get("newObjIfMatchETag"),
            details.get("newObjIfNoneMatchETag"),
            self.store.objects.latest(bucket["name"], name),
        )
        moved = self._copied(source, bucket, name)
        self.objects.add(bucket, moved)
        self.objects.withdraw(bucket, source["name"])
        return Reply(200, {"etag": moved["etag"], "version-id": moved["versionId"]})

    def copy(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "objects", manage=True)
        details: Document = json.loads(call.body)
        if details["destinationNamespace"] != NAMESPACE or details["destinationRegion"] != REGION:
            raise RefusedError(400, "InvalidRegion", "The local cloud has one region only.")
        source = self.store.find(
            bucket["name"], details["sourceObjectName"], details.get("sourceVersionId")
        )
        archive.require_readable(source, self.store.cloud.calendar())
        target = self.store.buckets.get(details["destinationBucket"])
        if target is None:
            raise no_bucket(details["destinationBucket"])
        name = check_name(details["destinationObjectName"])
        conditions.check(details.get("sourceObjectIfMatchETag"), None, source)
        conditions.check(
            details.get("destinationObjectIfMatchETag"),
            details.get("destinationObjectIfNoneMatchETag"),
            self.store.objects.latest(target["name"], name),
        )
        made = self._copied(source, target, name, details.get("destinationObjectStorageTier") or "")
        if metadata := details.get("destinationObjectMetadata"):
            made["metadata"] = {
                key.lower().removeprefix("opc-meta-"): value for key, value in metadata.items()
            }
        self.objects.add(target, made)
        now = timestamp(self.store.cloud.calendar())
        request = {
            "id": f"copy-{uuid.uuid4()}",
            "operationType": "COPY_OBJECT",
            "status": "COMPLETED",
            "percentComplete": 100,
            "compartmentId": bucket["compartmentId"],
            "resources": [],
            "timeAccepted": now,
            "timeStarted": now,
            "timeFinished": now,
        }
        self.requests[request["id"]] = request
        return Reply(202, {"opc-work-request-id": request["id"]})

    def request(self, call: Call) -> Reply:
        if call.parts["id"] not in self.requests:
            raise not_found()
        return item(self.requests[call.parts["id"]])

    def errors(self, call: Call) -> Reply:
        return as_json(200, [])

    def _copied(self, source: Document, bucket: Document, name: str, tier: str = "") -> Document:
        made = self.objects.new(
            bucket,
            name,
            body=self.store.bodies.copy(source["body"]),
            size=source["size"],
            sums=source["sums"],
            headers=source["headers"],
            metadata=source["metadata"],
            tier=tier or source["storageTier"],
            multipart=source["multipart"],
        )
        if made["storageTier"] == "Archive" and source["storageTier"] == "Archive":
            made["archivedAt"] = source["archivedAt"]
        return made
