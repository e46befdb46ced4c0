"""Objects in parts: begun, filled with parts in any order, and committed or aborted.

Limits are those of the docstrings and of "Using Multipart Uploads": 10,000 parts. A smallest size
of parts is not enforced: a test of Oracle's own shell commits parts of a few bytes. Codes of
refusals are those in public code of a server of this API; "No such upload" and "There are no parts
to commit" are quoted in that test.
"""

from __future__ import annotations

import json
import uuid

from tests.cloud.answers import RefusedError, item, missing, page
from tests.cloud.cloud import Call, timestamp
from tests.cloud.objectstorage import checksums, conditions
from tests.cloud.objectstorage.objects import Objects, check_name, kept_metadata
from tests.cloud.objectstorage.store import Store
from tests.cloud.records import Document
from tests.scripted.exchange import Reply

MAX_PARTS = 10_000
_DETAILS = {
    "contentType": "content-type",
    "contentLanguage": "content-language",
    "contentEncoding": "content-encoding",
    "contentDisposition": "content-disposition",
    "cacheControl": "cache-control",
}


class Multipart:
    """The calls about uploads in parts."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self.store = store
        self.objects = objects
        uploads, upload = "/n/{ns}/b/{bucket}/u", "/n/{ns}/b/{bucket}/u/{object...}"
        route = store.cloud.route
        route("POST", uploads, self.create)
        route("GET", uploads, self.list_uploads)
        route("PUT", upload, self.put_part, locked=False)
        route("GET", upload, self.list_parts)
        route("POST", upload, self.commit)
        route("DELETE", upload, self.abort)

    def create(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "objects", manage=True)
        details: Document = json.loads(call.body)
        if not details.get("object"):
            raise missing("object")
        name = check_name(details["object"])
        conditions.for_change(call.request, self.store.objects.latest(bucket["name"], name))
        algorithm = call.request.header("opc-checksum-algorithm").upper()
        if algorithm and algorithm not in checksums.ALGORITHMS:
            raise RefusedError(400, "InvalidChecksumAlgorithm", f"{algorithm} is not known")
        upload: Document = {
            "namespace": bucket["namespace"],
            "bucket": bucket["name"],
            "object": name,
            "uploadId": str(uuid.uuid4()),
            "begun": self.store.cloud.calendar(),
            "timeCreated": timestamp(self.store.cloud.calendar()),
            "storageTier": details.get("storageTier") or "Standard",
            "algorithm": algorithm,
            "headers": {
                header: details[key] for key, header in _DETAILS.items() if details.get(key)
            },
            "metadata": kept_metadata(details.get("metadata") or {}),
        }
        self.store.uploads[upload["uploadId"]] = upload
        return item(_told(upload))

    def list_uploads(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "objects", manage=False)
        found = self.store.uploads.where(bucket=bucket["name"])
        return page(call.request, [_told(upload) for upload in found], wrap=None)

    def put_part(self, call: Call) -> Reply:
        lock = self.store.cloud.records.lock
        with lock:
            upload = self._upload(call)
        number = int(call.argument("uploadPartNum") or 0)
        if not 1 <= number <= MAX_PARTS:
            raise RefusedError(400, "InvalidUploadPartNumber", f"Part numbers are 1 to {MAX_PARTS}")
        sums = checksums.check(call.request, call.body)
        if (algorithm := upload["algorithm"]) and algorithm not in sums:
            sums[algorithm] = checksums.of(algorithm, [call.body])
        body = self.store.bodies.write(call.body)
        part = {
            "uploadId": upload["uploadId"],
            "etag": str(uuid.uuid4()),
            "partNumber": number,
            "size": len(call.body),
            "md5": sums["md5"],
            "sums": sums,
            "body": body,
        }
        key = f"{upload['uploadId']}/{number}"
        with lock:
            if upload["uploadId"] not in self.store.uploads:
                self.store.bodies.remove(body)
                raise _no_upload()
            before = self.store.parts.get(key)
            self.store.parts[key] = part
        if before is not None:
            self.store.bodies.remove(before["body"])
        told = checksums.headers(sums, multipart=False)
        told["opc-content-md5"] = told.pop("Content-MD5")
        return Reply(200, {"etag": part["etag"], **told})

    def list_parts(self, call: Call) -> Reply:
        upload = self._upload(call, manage=False)
        rows = [
            {name: part[name] for name in ("etag", "md5", "size", "partNumber")}
            for part in self._parts(upload)
        ]
        return page(call.request, rows, wrap=None)

    def commit(self, call: Call) -> Reply:
        details: Document = json.loads(call.body)
        listed = details.get("partsToCommit") or []
        if not listed:
            raise RefusedError(400, "InvalidUploadPart", "There are no parts to commit")
        upload = self._upload(call)
        bucket, name = self.store.bucket(call, "objects", manage=True), upload["object"]
        parts = self._chosen(upload, listed, details.get("partsToExclude") or [])
        conditions.for_change(call.request, self.store.objects.latest(bucket["name"], name))
        body = self.store.bodies.join(part["body"] for part in parts)
        sums = {"md5": checksums.combined("md5", (part["md5"] for part in parts))}
        if algorithm := upload["algorithm"]:
            if algorithm == "CRC32C":
                sums[algorithm] = checksums.of(algorithm, self.store.bodies.pieces(body))
            else:
                each = (part["sums"][algorithm] for part in parts)
                sums[algorithm] = checksums.combined(algorithm, each)
        version = self.objects.new(
            bucket,
            name,
            body=body,
            size=sum(part["size"] for part in parts),
            sums=sums,
            headers=upload["headers"],
            metadata=upload["metadata"],
            tier=upload["storageTier"],
            multipart=True,
        )
        self.objects.add(bucket, version)
        self.discard(upload)
        told = checksums.headers(sums, multipart=True)
        stamps = {"etag": version["etag"]}
        if version["isVersioned"]:
            stamps["version-id"] = version["versionId"]
        return Reply(200, {**told, **stamps})

    def abort(self, call: Call) -> Reply:
        self.discard(self._upload(call))
        return Reply(204)

    def discard(self, upload: Document) -> None:
        """Forget an upload with its parts."""
        for part in self._parts(upload):
            self.store.bodies.remove(part["body"])
            del self.store.parts[f"{upload['uploadId']}/{part['partNumber']}"]
        del self.store.uploads[upload["uploadId"]]

    def _upload(self, call: Call, *, manage: bool = True) -> Document:
        bucket = self.store.bucket(call, "objects", manage=manage)
        upload = self.store.uploads.get(call.argument("uploadId") or "")
        if upload is None or (upload["bucket"], upload["object"]) != (
            bucket["name"],
            call.parts["object"],
        ):
            raise _no_upload()
        return upload

    def _parts(self, upload: Document) -> list[Document]:
        found = self.store.parts.where(uploadId=upload["uploadId"])
        return sorted(found, key=lambda part: int(part["partNumber"]))

    def _chosen(
        self, upload: Document, listed: list[Document], excluded: list[int]
    ) -> list[Document]:
        there = {part["partNumber"]: part for part in self._parts(upload)}
        numbers = [each["partNum"] for each in listed]
        if sorted(set(numbers)) != numbers:
            raise RefusedError(400, "InvalidUploadPartOrder", "The parts are not in order.")
        for each in listed:
            found = there.get(each["partNum"])
            if found is None or found["etag"] != each["etag"]:
                raise RefusedError(
                    400, "InvalidUploadPart", f"Part {each['partNum']} is not there, or another"
                )
        if set(there) - set(numbers) - set(excluded):
            # The docstring of CommitMultipartUploadDetails: every part is in one of the two lists.
            raise RefusedError(
                400, "InvalidUploadPart", "A part is neither to be committed nor to be excluded."
            )
        return [there[number] for number in numbers]


def _told(upload: Document) -> Document:
    fields = ("namespace", "bucket", "object", "uploadId", "timeCreated", "storageTier")
    return {field: upload[field] for field in fields}


def _no_upload() -> RefusedError:
    return RefusedError(404, "UploadNotFound", "No such upload")
