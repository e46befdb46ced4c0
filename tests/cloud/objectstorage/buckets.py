"""Buckets: made, changed, looked at, deleted when they are empty.

Fields and their values: the SDK's models `CreateBucketDetails`, `UpdateBucketDetails` and `Bucket`.
Codes and texts of refusals: Oracle's pages and public reports, word for word where they are quoted
there (`BucketAlreadyExists`, `BucketNotEmpty`); of the others only the codes are known.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from tests.cloud.answers import RefusedError, item, missing, page
from tests.cloud.cloud import NAMESPACE, Call, new_ocid, timestamp
from tests.cloud.objectstorage import conditions
from tests.cloud.objectstorage.store import SERVICE, Store, allowed, no_bucket
from tests.cloud.policies import Policies
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY
from tests.cloud.records import Document
from tests.scripted.exchange import Reply

_NAME = re.compile(r"[A-Za-z0-9._-]{1,256}\Z")
_VALUES = {
    "publicAccessType": {"NoPublicAccess", "ObjectRead", "ObjectReadWithoutList"},
    "storageTier": {"Standard", "Archive"},
    "versioning": {"Enabled", "Disabled"},
    "autoTiering": {"InfrequentAccess", "Disabled"},
}
_SUMMARY = ("namespace", "name", "compartmentId", "createdBy", "timeCreated", "etag")


class Buckets:
    """The calls about buckets themselves."""

    def __init__(self, store: Store, policies: Policies) -> None:
        self.store = store
        self.policies = policies
        for method, path, handler in (
            ("POST", "/n/{ns}/b", self.create),
            ("GET", "/n/{ns}/b", self.list),
            ("GET", "/n/{ns}/b/{bucket}", self.get),
            ("HEAD", "/n/{ns}/b/{bucket}", self.head),
            ("POST", "/n/{ns}/b/{bucket}", self.update),
            ("DELETE", "/n/{ns}/b/{bucket}", self.delete),
        ):
            store.cloud.route(method, path, handler)

    def create(self, call: Call) -> Reply:
        details: Document = json.loads(call.body)
        for name in ("name", "compartmentId"):
            if not details.get(name):
                raise missing(name)
        name, compartment = details["name"], details["compartmentId"]
        if not _NAME.match(name):
            raise RefusedError(400, "InvalidBucketName", f"Invalid bucket name '{name}'")
        if compartment not in {TENANCY, COMPARTMENT, OTHER_COMPARTMENT}:
            raise RefusedError(404, "CompartmentIdNotFound", f"No compartment {compartment}")
        if name in self.store.buckets or not allowed(
            call.caller, compartment, "buckets", manage=True
        ):
            raise RefusedError(
                409,
                "BucketAlreadyExists",
                f"Either the bucket '{name}' in namespace '{NAMESPACE}' already exists or you are "
                "not authorized to create it",
            )
        _check_values(details)
        self._check_key(details, compartment)
        bucket = {
            "namespace": NAMESPACE,
            "metadata": {},
            "createdBy": call.caller.ocid,
            "timeCreated": timestamp(self.store.cloud.calendar()),
            "etag": str(uuid.uuid4()),
            "publicAccessType": "NoPublicAccess",
            "storageTier": "Standard",
            "objectEventsEnabled": False,
            "freeformTags": {},
            "definedTags": {},
            "kmsKeyId": None,
            "objectLifecyclePolicyEtag": None,
            "replicationEnabled": False,
            "isReadOnly": False,
            "id": new_ocid("bucket"),
            "versioning": "Disabled",
            "autoTiering": "Disabled",
            "bucketScope": "NAMESPACE",
            **{key: value for key, value in details.items() if value is not None},
        }
        self.store.buckets[name] = bucket
        return self._told(call, bucket)

    def list(self, call: Call) -> Reply:
        compartment = call.argument("compartmentId")
        if compartment is None:
            raise missing("compartmentId")
        if not allowed(call.caller, compartment, "buckets", manage=False):
            raise no_bucket("")
        fields = [*_SUMMARY, *(["freeformTags"] if call.argument("fields") == "tags" else [])]
        rows = [
            {field: bucket[field] for field in fields}
            for bucket in self.store.buckets.values()
            if bucket["compartmentId"] == compartment
        ]
        return page(call.request, sorted(rows, key=lambda row: row["name"]), wrap=None)

    def get(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=False)
        if conditions.is_unchanged(call.request, bucket):
            return Reply(304)
        return self._told(call, bucket)

    def head(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=False)
        return Reply(200, {"etag": bucket["etag"]})

    def update(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=True)
        conditions.for_change(call.request, bucket)
        details: Document = json.loads(call.body)
        if details.get("name", bucket["name"]) != bucket["name"]:
            raise RefusedError(501, "NotImplemented", "The local cloud renames no buckets.")
        _check_values(details, {"versioning": {"Enabled", "Suspended"}})
        if "storageTier" in details:
            raise RefusedError(400, "InvalidBucketProperty", "storageTier can't be changed")
        self._check_key(details, bucket["compartmentId"])
        changes = {key: value for key, value in details.items() if value is not None}
        if changes.get("kmsKeyId") == "":  # an empty one takes the key away
            changes["kmsKeyId"] = None
        bucket.update(changes, etag=str(uuid.uuid4()))
        self.store.buckets[bucket["name"]] = bucket
        return self._told(call, bucket)

    def delete(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=True)
        name = bucket["name"]
        conditions.for_change(call.request, bucket)
        if self.store.objects.names(name):
            raise RefusedError(
                409,
                "BucketNotEmpty",
                f"Bucket named '{name}' is not empty. Delete all object versions first.",
            )
        # The docstring of the SDK's delete_bucket says that these keep a bucket from going.
        if self.store.uploads.where(bucket=name):
            raise RefusedError(
                409, "BucketNotEmpty", f"Bucket named '{name}' has multipart uploads in progress."
            )
        if self.store.requests.where(bucket=name):
            raise RefusedError(
                409,
                "PreauthenticatedRequestStillExists",
                f"Bucket named '{name}' has pre-authenticated requests.",
            )
        self.store.lifecycles.pop(name, None)
        del self.store.buckets[name]
        return Reply(204)

    def _check_key(self, details: Document, compartment: str) -> None:
        """The service has to be permitted to use a master key; where the key is, is assumed."""
        key = details.get("kmsKeyId")
        target = "target.key.id", key or ""
        if key and not self.policies.grants(SERVICE, "use", "keys", compartment, target):
            raise RefusedError(
                404, "NotAuthorizedOrFoundKmsKey", f"The key {key} is not there or not permitted"
            )

    def _told(self, call: Call, bucket: Document) -> Reply:
        # These three come only when they are asked for: the docstring of the SDK's get_bucket.
        asked = {text.strip() for text in (call.argument("fields") or "").split(",")}
        told: dict[str, Any] = {key: value for key, value in bucket.items() if key != "autoTiering"}
        versions = list(self.store.objects.every(bucket["name"]))
        known = {
            "approximateCount": len(versions),
            "approximateSize": sum(version["size"] or 0 for version in versions),
            "autoTiering": bucket["autoTiering"],
        }
        told.update({key: value for key, value in known.items() if key in asked})
        return item(told, etag=bucket["etag"])


def _check_values(details: Document, other: dict[str, set[str]] | None = None) -> None:
    for field, values in {**_VALUES, **(other or {})}.items():
        value = details.get(field)
        if value is not None and value not in values:
            raise RefusedError(
                400, "InvalidBucketProperty", f"{field} can't be {value}: {', '.join(values)}"
            )
    tags = details.get("freeformTags") or {}
    if (
        len(tags) > 10
    ):  # https://docs.oracle.com/en-us/iaas/Content/Tagging/Concepts/taggingoverview.htm
        raise RefusedError(400, "TagsTooLarge", "There may be 10 freeform tags")
