"""What object storage keeps: buckets, versions of objects, and their bodies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cloud.answers import RefusedError
from tests.cloud.cloud import NAMESPACE, REGION, Call, Cloud
from tests.cloud.objectstorage.bodies import Bodies
from tests.cloud.principals import Principal
from tests.cloud.records import Document, Table

SERVICE = f"objectstorage-{REGION}"
"""The service principal that lifecycle rules and the use of keys are permitted to."""


class Versions:
    """The versions of all objects, the newest of each name first."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._by_bucket: dict[str, dict[str, list[Document]]] = {}
        for row in sorted(table.values(), key=lambda row: int(row["order"])):
            self._place(row)
        self._order = max((int(row["order"]) for row in table.values()), default=0)

    def add(self, version: Document) -> None:
        """Make it the latest of its name."""
        self._order += 1
        version["order"] = self._order
        self._table[version["versionId"]] = version
        self._place(version)

    def save(self, version: Document) -> None:
        self._table[version["versionId"]] = version

    def remove(self, version: Document) -> None:
        del self._table[version["versionId"]]
        names = self._by_bucket[version["bucket"]]
        names[version["name"]].remove(version)
        if not names[version["name"]]:
            del names[version["name"]]

    def of(self, bucket: str, name: str) -> list[Document]:
        return list(self._by_bucket.get(bucket, {}).get(name, ()))

    def latest(self, bucket: str, name: str) -> Document | None:
        """What a name stands for; a delete marker stands for nothing."""
        found = self._by_bucket.get(bucket, {}).get(name)
        return found[0] if found and not found[0]["isDeleteMarker"] else None

    def names(self, bucket: str) -> list[str]:
        """Every name of a bucket, also deleted ones, in the order of their bytes."""
        return sorted(self._by_bucket.get(bucket, {}), key=str.encode)

    def every(self, bucket: str) -> Iterator[Document]:
        for name in self.names(bucket):
            yield from self.of(bucket, name)

    def bodies(self) -> Iterator[str]:
        return (row["body"] for row in self._table.values() if row["body"])

    def _place(self, version: Document) -> None:
        names = self._by_bucket.setdefault(version["bucket"], {})
        names.setdefault(version["name"], []).insert(0, version)


class Store:
    """Everything that the parts of object storage share.

    Attributes:
        cloud: where it stands.
        buckets, lifecycles, uploads, parts: documents.
        requests: those that are pre-authenticated.
        objects: the versions of all objects.
        bodies: their bytes.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        table = cloud.records.table
        self.buckets = table("buckets")
        self.lifecycles = table("lifecycle-policies")
        self.uploads = table("uploads")
        self.parts = table("parts")
        self.requests = table("preauthenticated-requests")
        self.objects = Versions(table("objects"))
        folder = cloud.records.folder
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="cloud-")
            folder = Path(cloud.closing.enter_context(temporary))
        self.bodies = Bodies(folder / "bodies")
        self.bodies.keep_only(
            [*self.objects.bodies(), *(part["body"] for part in self.parts.values())]
        )

    def bucket(self, call: Call, what: str, *, manage: bool) -> Document:
        """The bucket of a call.

        Raises:
            RefusedError: there is none, or it may not be seen; the answer is the same.
        """
        name = call.parts["bucket"]
        found = self.buckets.get(name)
        if found is None or call.parts["ns"] != NAMESPACE:
            raise no_bucket(name)
        if not allowed(call.caller, found["compartmentId"], what, manage=manage):
            raise no_bucket(name)
        return found

    def find(self, bucket: str, name: str, version_id: str | None = None) -> Document:
        """A version of an object that has content; without an id, the latest.

        Raises:
            RefusedError: there is none.
        """
        if version_id is None:
            found = self.objects.latest(bucket, name)
        else:
            every = self.objects.of(bucket, name)
            found = next((each for each in every if each["versionId"] == version_id), None)
        if found is None or found["isDeleteMarker"]:
            raise no_object(bucket, name)
        return found


def allowed(caller: Principal, compartment: str, what: str, *, manage: bool) -> bool:
    """Whether the caller's policies allow something with a kind of resource in a compartment."""
    if caller.compartments is not None and compartment not in caller.compartments:
        return False
    return what in (caller.may_manage if manage else caller.may_read | caller.may_manage)


def no_bucket(name: str) -> RefusedError:
    return RefusedError(
        404,
        "BucketNotFound",
        f"Either the bucket named '{name}' does not exist in the namespace '{NAMESPACE}' or you "
        "are not authorized to access it",
    )


def no_object(bucket: str, name: str) -> RefusedError:
    return RefusedError(
        404, "ObjectNotFound", f"The object '{name}' was not found in the bucket '{bucket}'"
    )
