"""Who and where one is: users, the tenancy and its compartments, the object storage namespace."""

from __future__ import annotations

from tests.cloud.answers import item, not_found, page
from tests.cloud.cloud import NAMESPACE, REGION, Call, Cloud
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY
from tests.scripted.exchange import Reply, as_json

_COMPARTMENTS = {COMPARTMENT: "models", OTHER_COMPARTMENT: "other"}


class Tenancy:
    """Identity look-ups, and the namespace."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        for path, handler in (
            ("/n", self.namespace),
            ("/20160918/tenancies/{id}", self.tenancy),
            ("/20160918/tenancies/{id}/regionSubscriptions", self.regions),
            ("/20160918/users/{id}", self.user),
            ("/20160918/compartments", self.compartments),
            ("/20160918/compartments/{id}", self.compartment),
        ):
            cloud.route("GET", path, handler)

    def namespace(self, call: Call) -> Reply:
        # A bare JSON string: the SDK's ObjectStorageClient.get_namespace.
        return as_json(200, NAMESPACE)

    def tenancy(self, call: Call) -> Reply:
        if call.parts["id"] != TENANCY:
            raise not_found()
        return item({"id": TENANCY, "name": "localcloud", "homeRegionKey": "IAD"})

    def regions(self, call: Call) -> Reply:
        subscription = {
            "regionKey": "IAD", "regionName": REGION, "status": "READY", "isHomeRegion": True
        }  # fmt: skip
        return as_json(200, [subscription])

    def user(self, call: Call) -> Reply:
        for person in self.cloud.principals.everybody:
            if person.ocid == call.parts["id"]:
                return item({"id": person.ocid, "name": person.name, "compartmentId": TENANCY})
        raise not_found()

    def compartments(self, call: Call) -> Reply:
        if call.argument("compartmentId") != TENANCY:
            raise not_found()
        name = call.argument("name")
        found = [_compartment(ocid) for ocid in _COMPARTMENTS]
        kept = [each for each in found if name in (None, each["name"])]
        return page(call.request, kept, wrap=None)

    def compartment(self, call: Call) -> Reply:
        if call.parts["id"] not in _COMPARTMENTS:
            raise not_found()
        return item(_compartment(call.parts["id"]))


def _compartment(ocid: str) -> dict[str, str]:
    return {
        "id": ocid,
        "compartmentId": TENANCY,
        "name": _COMPARTMENTS[ocid],
        "lifecycleState": "ACTIVE",
    }
