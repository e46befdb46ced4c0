"""Pre-authenticated requests: addresses that are good for those who know them, until they expire.

The SDK's models `CreatePreauthenticatedRequestDetails` and `PreauthenticatedRequest`; the address
itself is told once. What the service answers to one that is unknown or has expired is assumed.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import secrets
import uuid

from tests.cloud.answers import RefusedError, invalid, item, missing, page
from tests.cloud.cloud import NAMESPACE, Call, timestamp
from tests.cloud.objectstorage.listing import Listing
from tests.cloud.objectstorage.objects import Objects
from tests.cloud.objectstorage.store import Store
from tests.cloud.principals import Principal
from tests.cloud.records import Document
from tests.scripted.exchange import Reply, Request

_ONE = ("ObjectRead", "ObjectWrite", "ObjectReadWrite")
_ANY = ("AnyObjectRead", "AnyObjectWrite", "AnyObjectReadWrite")
_BEARER = Principal("", "whoever knows the address", "preauthenticated")


class Preauthenticated:
    """The calls about them, and the requests themselves."""

    def __init__(self, store: Store, objects: Objects, listing: Listing) -> None:
        self.store = store
        self.objects = objects
        self.listing = listing
        every, one = "/n/{ns}/b/{bucket}/p", "/n/{ns}/b/{bucket}/p/{id...}"
        for method, path, handler in (
            ("POST", every, self.create),
            ("GET", every, self.list),
            ("GET", one, self.get),
            ("DELETE", one, self.delete),
        ):
            store.cloud.route(method, path, handler)
        store.cloud.route_open("/p/", self.answer)

    def create(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=True)
        details: Document = json.loads(call.body)
        for field in ("name", "accessType", "timeExpires"):
            if not details.get(field):
                raise missing(field)
        if details["accessType"] not in _ONE + _ANY:
            raise invalid(f"There is no access type {details['accessType']}")
        if (details["accessType"] in _ONE) != bool(details.get("objectName")):
            raise RefusedError(400, "InvalidParCreateRequest", "objectName and accessType disagree")
        now = self.store.cloud.calendar()
        expires = datetime.datetime.fromisoformat(details["timeExpires"]).timestamp()
        if expires <= now:
            raise RefusedError(400, "InvalidParCreateRequest", "timeExpires has passed")
        name = details.get("objectName") or ""
        secret = secrets.token_urlsafe(32)
        address = f"/p/{secret}/n/{NAMESPACE}/b/{bucket['name']}/o/{name}"
        request: Document = {
            # The service's ids have characters that a path needs encoded.
            "id": f"{base64.b64encode(uuid.uuid4().bytes + b'/+').decode()}:{name}",
            "bucket": bucket["name"],
            "secret": secret,
            "expires": expires,
            "name": details["name"],
            "objectName": name or None,
            "bucketListingAction": details.get("bucketListingAction") or "Deny",
            "accessType": details["accessType"],
            "timeExpires": details["timeExpires"],
            "timeCreated": timestamp(now),
        }
        self.store.requests[request["id"]] = request
        told = {**_told(request), "accessUri": address, "fullPath": self.store.cloud.url + address}
        return item(told)

    def list(self, call: Call) -> Reply:
        bucket = self.store.bucket(call, "buckets", manage=False)
        prefix = call.argument("objectNamePrefix") or ""
        found = [
            _told(each)
            for each in self.store.requests.where(bucket=bucket["name"])
            if (each["objectName"] or "").startswith(prefix)
        ]
        return page(call.request, found, wrap=None)

    def get(self, call: Call) -> Reply:
        return item(_told(self._find(call, manage=False)))

    def delete(self, call: Call) -> Reply:
        del self.store.requests[self._find(call, manage=True)["id"]]
        return Reply(204)

    def answer(self, request: Request, body: bytes) -> Reply:
        """A request by somebody who knows an address."""
        _, _, secret, *rest = request.path.split("/")
        found = self.store.requests.where(secret=secret)
        if not found or found[0]["expires"] <= self.store.cloud.calendar():
            raise _unknown()
        par = found[0]
        base = f"n/{NAMESPACE}/b/{par['bucket']}/o/"
        path = "/".join(rest)
        name = path.removeprefix(base)
        parts = {"ns": NAMESPACE, "bucket": par["bucket"], "object": name}
        plain = dataclasses.replace(request)
        call = Call(plain, body, parts, _BEARER)
        if path + "/" == base or not name:
            if par["bucketListingAction"] != "ListObjects" or request.method != "GET":
                raise _unknown()
            with self.store.cloud.records.lock:
                return self.listing.objects(call)
        if not path.startswith(base) or par["objectName"] not in (None, name):
            raise _unknown()
        if request.method in {"GET", "HEAD"} and "Read" in par["accessType"]:
            with self.store.cloud.records.lock:
                return (
                    self.objects.get(call) if request.method == "GET" else self.objects.head(call)
                )
        if request.method == "PUT" and "Write" in par["accessType"]:
            return self.objects.put(call)
        raise _unknown()

    def _find(self, call: Call, *, manage: bool) -> Document:
        bucket = self.store.bucket(call, "buckets", manage=manage)
        found = self.store.requests.get(call.parts["id"])
        if found is None or found["bucket"] != bucket["name"]:
            raise _unknown()
        return found


def _told(request: Document) -> Document:
    hidden = {"bucket", "secret", "expires"}
    return {key: value for key, value in request.items() if key not in hidden}


def _unknown() -> RefusedError:
    return RefusedError(404, "PreauthenticatedRequestNotFound", "PAR does not exist or has expired")
