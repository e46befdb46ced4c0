"""Identity policies: kept, and looked at for what they permit a service.

https://docs.oracle.com/en-us/iaas/Content/Identity/Concepts/policysyntax.htm; the code
`PolicyAlreadyExists` and its text are quoted in public reports. Only statements of the kind that
permit a service something are understood; others are kept unread.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from tests.cloud.answers import RefusedError, invalid, item, missing, not_found, page
from tests.cloud.cloud import Call, Cloud, may, new_ocid, timestamp
from tests.cloud.objectstorage import conditions
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY
from tests.cloud.records import Document
from tests.scripted.exchange import Reply

_BEGIN = re.compile(r"\s*(allow|define|endorse|admit|deny)\s", re.IGNORECASE)
_SERVICE = re.compile(
    r"\s*allow\s+service\s+(?P<services>[\w., -]+?)\s+to\s+(?P<verb>inspect|read|use|manage)\s+"
    r"(?P<what>[\w-]+)\s+in\s+(?P<place>tenancy|compartment\s+id\s+\S+|compartment\s+\S+)"
    r"(?:\s+where\s+(?P<name>[\w.]+)\s*=\s*'(?P<value>[^']*)')?\s*\Z",
    re.IGNORECASE,
)
_NAMES = {"models": COMPARTMENT, "other": OTHER_COMPARTMENT}


class Policies:
    """The API, and the question whether something is permitted.

    Attributes:
        delay: seconds until a policy is in force. The real service is eventually consistent; how
            long it takes is not documented.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.delay = 0.0
        self.policies = cloud.records.table("policies")
        api = "/20160918/policies"
        for method, path, handler in (
            ("POST", api, self.create),
            ("GET", api, self.list),
            ("GET", api + "/{id}", self.get),
            ("PUT", api + "/{id}", self.update),
            ("DELETE", api + "/{id}", self.delete),
        ):
            cloud.route(method, path, handler)

    def create(self, call: Call) -> Reply:
        may(call.caller, "policies", manage=True)
        details: Document = json.loads(call.body)
        for name in ("compartmentId", "name", "statements", "description"):
            if not details.get(name):
                raise missing(name)
        if self.policies.where(compartmentId=details["compartmentId"], name=details["name"]):
            raise RefusedError(
                409, "PolicyAlreadyExists", f"Policy '{details['name']}' already exists"
            )
        _check(details["statements"], details["compartmentId"])
        policy = {
            "id": new_ocid("policy"),
            "etag": str(uuid.uuid4()),
            "timeCreated": timestamp(self.cloud.calendar()),
            "inForce": self.cloud.calendar() + self.delay,
            "lifecycleState": "ACTIVE",
            "freeformTags": {},
            "definedTags": {},
            **details,
        }
        self.policies[policy["id"]] = policy
        return _told(policy)

    def list(self, call: Call) -> Reply:
        may(call.caller, "policies", manage=False)
        compartment = call.argument("compartmentId")
        if compartment is None:
            raise missing("compartmentId")
        found = self.policies.where(compartmentId=compartment, name=call.argument("name"))
        return page(call.request, [_shown(each) for each in found], wrap=None)

    def get(self, call: Call) -> Reply:
        may(call.caller, "policies", manage=False)
        return _told(self._find(call))

    def update(self, call: Call) -> Reply:
        may(call.caller, "policies", manage=True)
        policy = self._find(call)
        conditions.for_change(call.request, policy)
        changes = {key: value for key, value in json.loads(call.body).items() if value is not None}
        if "statements" in changes:
            _check(changes["statements"], policy["compartmentId"])
            changes["inForce"] = self.cloud.calendar() + self.delay
        policy.update(changes, etag=str(uuid.uuid4()))
        self.policies[policy["id"]] = policy
        return _told(policy)

    def delete(self, call: Call) -> Reply:
        may(call.caller, "policies", manage=True)
        policy = self._find(call)
        conditions.for_change(call.request, policy)
        del self.policies[policy["id"]]
        return Reply(204)

    def grants(
        self, service: str, verb: str, what: str, compartment: str, target: tuple[str, str]
    ) -> bool:
        """Whether a policy that is in force permits a service something.

        Args:
            service: the service principal.
            verb: `use`, `manage`.
            what: the kind of resource.
            compartment: where it is.
            target: a variable and its value: `target.bucket.name`, and the bucket's.
        """
        return any(
            _grants(statement, service, verb, what, compartment, target)
            for policy in self.policies.values()
            if policy["inForce"] <= self.cloud.calendar()
            for statement in policy["statements"]
        )

    def _find(self, call: Call) -> Document:
        if call.parts["id"] not in self.policies:
            raise not_found()
        return self.policies[call.parts["id"]]


def _told(policy: Document) -> Reply:
    return item(_shown(policy), etag=policy["etag"])


def _shown(policy: Document) -> dict[str, Any]:
    return {key: value for key, value in policy.items() if key not in {"etag", "inForce"}}


def _check(statements: list[str], compartment: str) -> None:
    for statement in statements:
        if not _BEGIN.match(statement):
            raise invalid(f"No permissions found: {statement}")
        found = _SERVICE.match(statement)
        if found is None:
            continue
        # A policy reaches its own compartment and what is below it: "How Policies Work".
        reached = _place(found["place"])
        if reached is None or (compartment != TENANCY and reached != compartment):
            raise invalid(f"Compartment not found or not part of the policy's: {statement}")


def _grants(
    statement: str, service: str, verb: str, what: str, compartment: str, target: tuple[str, str]
) -> bool:
    found = _SERVICE.match(statement)
    if found is None:
        return False
    services = {each.strip().lower() for each in found["services"].split(",")}
    if service not in services or found["what"].lower() != what or found["verb"].lower() != verb:
        return False
    if _place(found["place"]) not in {TENANCY, compartment}:
        return False
    return found["name"] is None or (found["name"].lower(), found["value"]) == target


def _place(text: str) -> str | None:
    words = text.split()
    if words[0].lower() == "tenancy":
        return TENANCY
    if words[1].lower() == "id":
        return words[2] if words[2] in {TENANCY, COMPARTMENT, OTHER_COMPARTMENT} else None
    return _NAMES.get(words[1])
