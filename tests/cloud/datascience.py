"""The Data Science model catalog.

Paths, fields and their names: https://docs.oracle.com/en-us/iaas/api/#/en/data-science/20190101/
and the models of the SDK's `oci.data_science`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.cloud.answers import RefusedError, invalid, item, missing, not_found, page
from tests.cloud.cloud import Call, Cloud, may, new_ocid, timestamp
from tests.cloud.principals import COMPARTMENT, TENANCY
from tests.cloud.records import Document
from tests.scripted.exchange import Reply

API = "/20190101"
PROJECT = "ocid1.datascienceproject.oc1.iad.aaaaaaaaprojectofthelocalcloud00000000000"
MAX_VALUE = 255
MAX_METADATA = 32_000
"""ADS has these limits in ads/model/model_metadata.py."""


class DataScience:
    """Models, their version sets, provenance and artifacts."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.models = cloud.records.table("models")
        self.sets = cloud.records.table("model-version-sets")
        self.provenance = cloud.records.table("model-provenance")
        self.artifacts: dict[str, bytes] = {}
        self._created: dict[str, str] = {}
        for method, path, handler in (
            ("POST", "/models", self.create),
            ("GET", "/models", self.list),
            ("GET", "/models/{id}", self.get),
            ("PUT", "/models/{id}", self.update),
            ("DELETE", "/models/{id}", self.delete),
            ("POST", "/models/{id}/artifact", self.create_artifact),
            ("HEAD", "/models/{id}/artifact/content", self.artifact),
            ("GET", "/models/{id}/artifact/content", self.artifact),
            ("POST", "/models/{id}/provenance", self.create_provenance),
            ("GET", "/models/{id}/provenance", self.get_provenance),
            ("PUT", "/models/{id}/provenance", self.update_provenance),
            ("POST", "/modelVersionSets", self.create_set),
            ("GET", "/modelVersionSets", self.list_sets),
        ):
            cloud.route(method, API + path, handler)

    def create(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        details: Document = json.loads(call.body)
        self._check_place(details)
        self._check_metadata(details)
        token = call.request.header("opc-retry-token")
        if token in self._created:
            # "retry without risk of executing that same action again", for 24 hours; after a
            # deletion it "might be rejected": the SDK, of opc_retry_token.
            known = self.models[self._created[token]]
            if known["lifecycleState"] == "DELETED":
                raise RefusedError(409, "InvalidatedRetryToken", "The retry token is used up.")
            return item(known)
        model = {
            "displayName": f"datasciencemodel{len(self.models)}",
            "freeformTags": {},
            "definedTags": {},
            "customMetadataList": [],
            "definedMetadataList": [],
            **details,
            "id": new_ocid("datasciencemodel"),
            "lifecycleState": "ACTIVE",
            "createdBy": call.caller.ocid,
            "timeCreated": timestamp(self.cloud.now()),
            "isModelByReference": False,
        }
        self._keep(model)
        if token:
            self._created[token] = model["id"]
        return item(model)

    def list(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        found = self.models.where(
            compartmentId=self._compartment(call),
            projectId=call.argument("projectId"),
            displayName=call.argument("displayName"),
            lifecycleState=call.argument("lifecycleState"),
            versionLabel=call.argument("versionLabel"),
        )
        # A list's items have tags, but no metadata: the SDK's ModelSummary.
        summaries = [
            {key: value for key, value in each.items() if "MetadataList" not in key}
            for each in found
        ]
        return page(call.request, summaries, wrap=None)

    def get(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        return item(self._find(call))

    def update(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        details = json.loads(call.body)
        self._check_metadata(details)
        model = {**self._find(call), **details}
        self._keep(model)
        return item(model)

    def delete(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        self._keep({**self._find(call), "lifecycleState": "DELETED"})
        return Reply(204)

    def create_artifact(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        model = self._find(call)
        if "attachment" not in call.request.header("content-disposition"):
            raise missing("content-disposition")
        self.artifacts[model["id"]] = call.body
        return Reply(204)

    def artifact(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        model = self._find(call)
        if model["id"] not in self.artifacts:
            raise not_found()
        return Reply(200, {"Content-Type": "application/zip"}, self.artifacts[model["id"]])

    def create_provenance(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        model = self._find(call)
        if model["id"] in self.provenance:
            raise RefusedError(409, "Conflict", "The model has a provenance already.")
        self.provenance[model["id"]] = json.loads(call.body)
        return item(self.provenance[model["id"]])

    def get_provenance(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        model = self._find(call)
        if model["id"] not in self.provenance:
            raise not_found()
        return item(self.provenance[model["id"]])

    def update_provenance(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        model = self._find(call)
        self.provenance[model["id"]] = {
            **self.provenance[model["id"]],
            **json.loads(call.body),
        }
        return item(self.provenance[model["id"]])

    def create_set(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        details: Document = json.loads(call.body)
        self._check_place(details)
        token = call.request.header("opc-retry-token")
        if token in self._created:
            return item(self.sets[self._created[token]])
        if self.sets.where(name=details["name"], projectId=details["projectId"]):
            raise RefusedError(409, "Conflict", "There is a version set of that name.")
        made = {
            **details,
            "id": new_ocid("datasciencemodelversionset"),
            "lifecycleState": "ACTIVE",
            "createdBy": call.caller.ocid,
            "timeCreated": timestamp(self.cloud.now()),
        }
        self.sets[made["id"]] = made
        if token:
            self._created[token] = made["id"]
        return item(made)

    def list_sets(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        found = self.sets.where(
            compartmentId=self._compartment(call),
            projectId=call.argument("projectId"),
            name=call.argument("name"),
        )
        return page(call.request, found, wrap=None)

    def _keep(self, model: dict[str, Any]) -> None:
        owner = model.get("modelVersionSetId")
        if owner:
            if owner not in self.sets:
                raise not_found()
            model["modelVersionSetName"] = self.sets[owner]["name"]
        self.models[model["id"]] = model

    def _find(self, call: Call) -> Document:
        if call.parts["id"] not in self.models:
            raise not_found()
        return self.models[call.parts["id"]]

    def _compartment(self, call: Call) -> str:
        compartment = call.argument("compartmentId")
        if compartment not in {COMPARTMENT, TENANCY}:
            raise not_found()
        return str(compartment)

    def _check_place(self, details: Document) -> None:
        for name in ("compartmentId", "projectId"):
            if not details.get(name):
                raise missing(name)
        if details["compartmentId"] not in {COMPARTMENT, TENANCY}:
            raise not_found()
        if details["projectId"] != PROJECT:
            raise not_found()

    def _check_metadata(self, details: Document) -> None:
        found = details.get("customMetadataList") or []
        for each in found:
            if len(each.get("value") or "") > MAX_VALUE:
                raise invalid(f"The value of {each['key']} is too long.")
        if len(json.dumps(found)) > 2 * MAX_METADATA:
            raise invalid("The metadata is too large.")
