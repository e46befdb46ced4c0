"""Objects: put, read in whole or in part, deleted; with versions, or without.

"Using Object Versioning" of Oracle: a put over an object, or its deletion, keeps what was there as
a previous version; a deletion puts a delete marker in its place; to delete with a version id is
final. That a suspended bucket replaces the latest version, and that objects of a bucket which never
had versions tell no version id, is assumed.
"""

from __future__ import annotations

import email.utils
import re
import uuid
from typing import Any

from tests.cloud.answers import RefusedError
from tests.cloud.cloud import Call
from tests.cloud.objectstorage import archive, checksums, conditions
from tests.cloud.objectstorage.store import Store, no_bucket
from tests.cloud.records import Document
from tests.scripted.exchange import Reply, Request

OBJECT = "/n/{ns}/b/{bucket}/o/{object...}"
MAX_METADATA = 4_000
KEPT_HEADERS = (
    "content-type",
    "content-language",
    "content-encoding",
    "content-disposition",
    "cache-control",
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


class Objects:
    """The calls about one object."""

    def __init__(self, store: Store) -> None:
        self.store = store
        route = store.cloud.route
        route("PUT", OBJECT, self.put, locked=False)
        route("GET", OBJECT, self.get)
        route("HEAD", OBJECT, self.head)
        route("DELETE", OBJECT, self.delete)

    def put(self, call: Call) -> Reply:
        lock = self.store.cloud.records.lock
        with lock:
            bucket = self.store.bucket(call, "objects", manage=True)
            name = check_name(call.parts["object"])
            self._check_conditions(call, bucket, name)
        sums = checksums.check(call.request, call.body)
        body = self.store.bodies.write(call.body)
        with lock:
            try:
                self._check_conditions(call, bucket, name)
                version = self.new(
                    bucket,
                    name,
                    body=body,
                    size=len(call.body),
                    sums=sums,
                    headers=kept_headers(call.request),
                    metadata=kept_metadata(call.request.headers),
                    tier=call.request.header("storage-tier"),
                )
            except RefusedError:
                self.store.bodies.remove(body)
                raise
            self.add(bucket, version)
        told = checksums.headers(sums, multipart=False)
        told["opc-content-md5"] = told.pop("Content-MD5")
        return Reply(200, {**told, **_stamps(version)})

    def get(self, call: Call) -> Reply:
        version = self._readable(call)
        if conditions.is_unchanged(call.request, version):
            return Reply(304, {"etag": version["etag"]})
        archive.require_readable(version, self.store.cloud.calendar())
        headers = self._described(version)
        found = _range(call.request, version["size"])
        start, end = found or (0, version["size"])
        body = self.store.bodies.read(version["body"], start, end)
        if found is None:
            return Reply(200, headers, body)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{version['size']}"
        return Reply(206, headers, body)

    def head(self, call: Call) -> Reply:
        version = self._readable(call)
        if conditions.is_unchanged(call.request, version):
            return Reply(304, {"etag": version["etag"]})
        return Reply(200, {**self._described(version), "Content-Length": str(version["size"])})

    def delete(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "objects", manage=True)
        name, version_id = call.parts["object"], call.argument("versionId")
        if version_id is None:
            current = self.store.objects.latest(bucket["name"], name)
        else:
            every = self.store.objects.of(bucket["name"], name)
            current = next((each for each in every if each["versionId"] == version_id), None)
        if current is None:
            raise RefusedError(
                404,
                "ObjectNotFound",
                f"The object '{name}' does not exist in bucket '{bucket['name']}' with namespace "
                f"'{bucket['namespace']}'",
            )
        conditions.for_change(call.request, current)
        if version_id is not None:
            self.remove(current)
            return Reply(204, {"version-id": version_id})
        marker = self.withdraw(bucket, name)
        told = {"version-id": marker["versionId"], "is-delete-marker": "true"} if marker else {}
        return Reply(204, told)

    def new(
        self,
        bucket: Document,
        name: str,
        *,
        body: str | None,
        size: int | None,
        sums: dict[str, str],
        headers: dict[str, str],
        metadata: dict[str, str],
        tier: str = "",
        multipart: bool = False,
    ) -> Document:
        """A version, not added yet."""
        now = self.store.cloud.calendar()
        if tier and tier not in {"Standard", "InfrequentAccess", "Archive"}:
            raise RefusedError(400, "InvalidObjectProperty", f"There is no storage tier {tier}")
        version: Document = {
            "bucket": bucket["name"],
            "name": name,
            "versionId": str(uuid.uuid4()),
            "etag": str(uuid.uuid4()),
            "body": body,
            "size": size,
            "sums": sums,
            "headers": headers,
            "metadata": metadata,
            "multipart": multipart,
            "created": now,
            "modified": now,
            "isDeleteMarker": False,
            "isVersioned": bucket["versioning"] != "Disabled",
            "storageTier": "Archive" if bucket["storageTier"] == "Archive" else tier or "Standard",
        }
        if version["storageTier"] == "Archive":
            archive.put_away(version, now)
        return version

    def add(self, bucket: Document, version: Document) -> None:
        """Put a version in the place of what its name stands for."""
        before = self.store.objects.of(bucket["name"], version["name"])
        self.store.objects.add(version)
        if before and bucket["versioning"] == "Enabled":
            before[0]["superseded"] = version["modified"]
            self.store.objects.save(before[0])
        elif before:
            self.remove(before[0])

    def withdraw(self, bucket: Document, name: str) -> Document | None:
        """Delete what a name stands for; the marker that is in its place now, if one is."""
        if bucket["versioning"] != "Enabled":
            self.remove(self.store.objects.of(bucket["name"], name)[0])
            return None
        marker = self.new(bucket, name, body=None, size=None, sums={}, headers={}, metadata={})
        marker["isDeleteMarker"] = True
        self.add(bucket, marker)
        return marker

    def remove(self, version: Document) -> None:
        """Delete a version for good; a marker's removal brings back what was before it."""
        self.store.objects.remove(version)
        self.store.bodies.remove(version["body"])
        left = self.store.objects.of(version["bucket"], version["name"])
        if left and left[0].pop("superseded", None) is not None:
            self.store.objects.save(left[0])

    def _readable(self, call: Call) -> Document:
        bucket = self.store.bucket(call, "objects", manage=False)
        return self.store.find(bucket["name"], call.parts["object"], call.argument("versionId"))

    def _check_conditions(self, call: Call, bucket: Document, name: str) -> None:
        if bucket["name"] not in self.store.buckets:
            raise no_bucket(bucket["name"])
        conditions.for_change(call.request, self.store.objects.latest(bucket["name"], name))

    def _described(self, version: Document) -> dict[str, str]:
        told = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        told.update({name.title(): value for name, value in version["headers"].items()})
        told.update(checksums.headers(version["sums"], multipart=version["multipart"]))
        told.update({f"opc-meta-{name}": value for name, value in version["metadata"].items()})
        if version["storageTier"] != "Standard":
            told["storage-tier"] = version["storageTier"]
        told.update(archive.headers(version, self.store.cloud.calendar()))
        return {**told, **_stamps(version)}


def check_name(name: str) -> str:
    """Object names: https://docs.oracle.com/iaas/Content/Object/Tasks/managingobjects.htm"""
    if not 0 < len(name.encode()) <= 1024 or set(name) & set("\r\n\0"):
        raise RefusedError(400, "InvalidObjectName", f"Invalid object name '{name}'")
    return name


def kept_headers(request: Request) -> dict[str, str]:
    return {name: request.header(name) for name in KEPT_HEADERS if request.header(name)}


def kept_metadata(pairs: Any) -> dict[str, str]:
    """The user's metadata, without the prefix that it travels with."""
    found = {
        name.lower().removeprefix("opc-meta-"): value
        for name, value in pairs.items()
        if name.lower().startswith("opc-meta-")
    }
    if sum(len(name) + len(value) for name, value in found.items()) > MAX_METADATA:
        raise RefusedError(400, "MetadataTooLarge", "The metadata are too large.")
    return found


def _stamps(version: Document) -> dict[str, str]:
    told = {
        "etag": version["etag"],
        "Last-Modified": email.utils.formatdate(version["modified"], usegmt=True),
    }
    if version["isVersioned"]:
        told["version-id"] = version["versionId"]
    return told


def _range(request: Request, size: int) -> tuple[int, int] | None:
    """The bytes that are asked for, the second number behind the last; only one range is known."""
    text = request.header("range")
    if not text:
        return None
    found = _RANGE.match(text.replace(" ", ""))
    if found is None or text == "bytes=-":
        raise _no_range(text, size)
    first, last = found.groups()
    start, end = int(first or 0), min(int(last or size), size - 1) + 1
    if not first:
        start, end = max(0, size - int(last)), size
    elif last and int(last) < start:
        raise _no_range(text, size)
    if start >= end:
        raise _no_range(text, size)
    return start, end


def _no_range(text: str, size: int) -> RefusedError:
    return RefusedError(416, "InvalidRange", f"The range '{text}' is not in the {size} bytes")
