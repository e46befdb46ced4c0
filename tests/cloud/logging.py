"""Log groups and logs of services, made by work requests.

Paths, fields and states: https://docs.oracle.com/en-us/iaas/api/#/en/logging-management/20200531/
and the models of the SDK's `oci.logging`. Object storage logs by the bucket's name, categories
`read` and `write`: "Details for Object Storage" of Oracle's logging pages. Codes of refusals are
assumed.
"""

from __future__ import annotations

import json
from typing import Any

from tests.cloud.answers import RefusedError, invalid, item, missing, not_found, page
from tests.cloud.cloud import Call, Cloud, may, new_ocid, timestamp
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY
from tests.cloud.records import Document, Table
from tests.scripted.exchange import Reply

API = "/20200531"
_CATEGORIES = {"read", "write"}


class Logging:
    """The API.

    Attributes:
        takes: seconds until what was asked for is there; a work request is in progress meanwhile.
    """

    def __init__(self, cloud: Cloud, buckets: Table) -> None:
        self.cloud = cloud
        self.takes = 0.0
        self.buckets = buckets
        self.groups = cloud.records.table("log-groups")
        self.logs = cloud.records.table("logs")
        self.requests = cloud.records.table("log-requests")
        group, log = "/logGroups/{group}", "/logGroups/{group}/logs/{log}"
        for method, path, handler in (
            ("POST", "/logGroups", self.create_group),
            ("GET", "/logGroups", self.list_groups),
            ("GET", group, self.get_group),
            ("DELETE", group, self.delete_group),
            ("POST", group + "/logs", self.create),
            ("GET", group + "/logs", self.list),
            ("GET", log, self.get),
            ("PUT", log, self.update),
            ("DELETE", log, self.delete),
            ("GET", "/workRequests/{id}", self.request),
            ("GET", "/workRequests/{id}/errors", self.errors),
        ):
            cloud.route(method, API + path, handler)

    def create_group(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=True)
        details: Document = json.loads(call.body)
        for name in ("compartmentId", "displayName"):
            if not details.get(name):
                raise missing(name)
        if details["compartmentId"] not in {TENANCY, COMPARTMENT, OTHER_COMPARTMENT}:
            raise not_found()
        wanted = {name: details[name] for name in ("compartmentId", "displayName")}
        if self.groups.where(**wanted):
            raise RefusedError(409, "Conflict", f"Log group {wanted['displayName']} exists already")
        group = self._kept(self.groups, "loggroup", details)
        return self._accepted("CREATE_LOG_GROUP", "loggroup", group)

    def list_groups(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=False)
        wanted = {name: call.argument(name) for name in ("compartmentId", "displayName")}
        if wanted["compartmentId"] is None:
            raise missing("compartmentId")
        found = [_shown(each) for each in self.groups.where(**wanted) if self._is_there(each)]
        return page(call.request, found, wrap=None)

    def get_group(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=False)
        return item(_shown(self._group(call)))

    def delete_group(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=True)
        group = self._group(call)
        if self.logs.where(logGroupId=group["id"]):
            raise RefusedError(409, "Conflict", "The log group has logs.")
        del self.groups[group["id"]]
        return self._accepted("DELETE_LOG_GROUP", "loggroup", group)

    def create(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=True)
        group = self._group(call)
        details: Document = json.loads(call.body)
        for name in ("displayName", "logType"):
            if not details.get(name):
                raise missing(name)
        if self.logs.where(logGroupId=group["id"], displayName=details["displayName"]):
            raise RefusedError(409, "Conflict", f"Log {details['displayName']} exists already")
        self._check_source(details.get("configuration") or {})
        details.setdefault("isEnabled", True)
        details["configuration"]["compartmentId"] = group["compartmentId"]
        log = self._kept(
            self.logs,
            "log",
            {
                "retentionDuration": 30,
                **details,
                "logGroupId": group["id"],
                "compartmentId": group["compartmentId"],
                "tenancyId": TENANCY,
            },
        )
        return self._accepted("CREATE_LOG", "log", log)

    def list(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=False)
        group = self._group(call)
        found = []
        for each in self.logs.where(
            logGroupId=group["id"],
            displayName=call.argument("displayName"),
            logType=call.argument("logType"),
        ):
            source = each["configuration"]["source"]
            if (
                self._is_there(each)
                and call.argument("sourceService") in (None, source["service"])
                and call.argument("sourceResource") in (None, source["resource"])
            ):
                found.append(_shown(each))
        return page(call.request, found, wrap=None)

    def get(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=False)
        return item(_shown(self._log(call)))

    def update(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=True)
        log = self._log(call)
        changes = json.loads(call.body)
        changes.pop("configuration", None)  # only whether it is archived may be changed
        log.update({key: value for key, value in changes.items() if value is not None})
        log["lifecycleState"] = "ACTIVE" if log["isEnabled"] else "INACTIVE"
        self.logs[log["id"]] = log
        return self._accepted("UPDATE_LOG", "log", log)

    def delete(self, call: Call) -> Reply:
        may(call.caller, "logs", manage=True)
        log = self._log(call)
        del self.logs[log["id"]]
        return self._accepted("DELETE_LOG", "log", log)

    def request(self, call: Call) -> Reply:
        found = self.requests.get(call.parts["id"])
        if found is None:
            raise not_found()
        done = found["doneAt"] <= self.cloud.calendar()
        status = {"status": "SUCCEEDED" if done else "IN_PROGRESS"}
        return item({**_shown(found), **status, "percentComplete": 100.0 if done else 50.0})

    def errors(self, call: Call) -> Reply:
        return page(call.request, [], wrap=None)

    def _kept(self, table: Table, kind: str, details: Document) -> Document:
        now = self.cloud.calendar()
        made: dict[str, Any] = {
            "id": new_ocid(kind),
            "lifecycleState": "ACTIVE",
            "timeCreated": timestamp(now),
            "timeLastModified": timestamp(now),
            "thereAt": now + self.takes,
            "freeformTags": {},
            "definedTags": {},
            **details,
        }
        table[made["id"]] = made
        return made

    def _accepted(self, operation: str, entity: str, what: Document) -> Reply:
        now = self.cloud.calendar()
        request = {
            "id": new_ocid("logworkrequest"),
            "operationType": operation,
            "compartmentId": what["compartmentId"],
            "resources": [
                {"entityType": entity, "actionType": "CREATED", "identifier": what["id"]}
            ],
            "timeAccepted": timestamp(now),
            "doneAt": now + self.takes,
        }
        self.requests[request["id"]] = request
        return Reply(202, {"opc-work-request-id": request["id"]})

    def _check_source(self, configuration: Document) -> None:
        source = configuration.get("source") or {}
        if source.get("sourceType") != "OCISERVICE" or source.get("service") != "objectstorage":
            raise invalid("The source is no service that the local cloud has.")
        if source.get("category") not in _CATEGORIES:
            raise invalid(f"objectstorage has no category {source.get('category')}")
        if source.get("resource") not in self.buckets:
            raise invalid(f"There is no bucket {source.get('resource')}")
        taken = [log["configuration"]["source"] for log in self.logs.values()]
        if source in taken:
            raise RefusedError(409, "Conflict", "That is logged already.")

    def _is_there(self, what: Document) -> bool:
        return float(what["thereAt"]) <= self.cloud.calendar()

    def _group(self, call: Call) -> Document:
        found = self.groups.get(call.parts["group"])
        if found is None or not self._is_there(found):
            raise not_found()
        return found

    def _log(self, call: Call) -> Document:
        found = self.logs.get(call.parts["log"])
        if found is None or found["logGroupId"] != call.parts["group"]:
            raise not_found()
        if not self._is_there(found):
            raise not_found()
        return found


def _shown(what: Document) -> dict[str, Any]:
    return {key: value for key, value in what.items() if key not in {"thereAt", "doneAt"}}
