"""Data Science: projects, models, their version sets, provenance and artifacts.

Paths, fields and their names: https://docs.oracle.com/en-us/iaas/api/#/en/data-science/20190101/
and the models and docstrings of the SDK's `oci.data_science` ("the SDK" below). "ADS" is Oracle's
own client of the catalog, https://github.com/oracle/accelerated-data-science. Where neither says
what the service does, the stricter reading is taken, and said to be assumed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from tests.cloud.answers import RefusedError, invalid, item, missing, not_found, page
from tests.cloud.cloud import Call, Cloud, may, new_ocid, timestamp
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY
from tests.cloud.records import Document
from tests.scripted.exchange import Reply

API = "/20190101"
PROJECT = "ocid1.datascienceproject.oc1.iad.aaaaaaaaprojectofthelocalcloud00000000000"
OTHER_PROJECT = "ocid1.datascienceproject.oc1.iad.aaaaaaaaotherprojectofthelocalcloud000000"
PROJECTS = {PROJECT: COMPARTMENT, OTHER_PROJECT: OTHER_COMPARTMENT}
_COMPARTMENTS = {TENANCY, COMPARTMENT, OTHER_COMPARTMENT}

MAX_VALUE = 16_000
MAX_DESCRIPTION = 255
MAX_METADATA = 32_000
"""Characters, characters, and bytes of all metadata of a model: ADS, ads/model/model_metadata.py
and docs/source/user_guide/model_registration/model_metadata.rst."""
MAX_NAME = 255
"""Assumed."""
MAX_ARTIFACT = 2 * 1024**3
"""Bytes that come in one request: ADS, `_MAX_ARTIFACT_SIZE_IN_BYTES`."""
MAX_TAGS, MAX_TAG_KEY, MAX_TAG_VALUE = 10, 100, 256
"""https://docs.oracle.com/en-us/iaas/Content/Tagging/Concepts/taggingoverview.htm#limits"""
TOKEN_SECONDS = 24 * 3600
"""How long a retry token is known: the SDK, of `opc_retry_token`."""

CATEGORIES = {
    *("performance", "training profile", "training and validation datasets"),
    *("training environment", "reports", "readme", "other"),
}
"""The SDK, of `Metadata.category`; it writes `other`, ADS `Other`: both are taken."""
USE_CASES = {
    *("binary_classification", "regression", "multinomial_classification", "clustering"),
    *("recommender", "dimensionality_reduction/representation", "time_series_forecasting"),
    *("anomaly_detection", "topic_modeling", "ner", "sentiment_analysis", "image_classification"),
    *("object_localization", "other"),
}
FRAMEWORKS = {
    *("scikit-learn", "xgboost", "tensorflow", "pytorch", "mxnet", "keras", "lightGBM", "pymc3"),
    *("pyOD", "spacy", "prophet", "sktime", "statsmodels", "cuml", "oracle_automl", "h2o"),
    *("transformers", "nltk", "emcee", "pystan", "bert", "gensim", "flair", "word2vec", "ensemble"),
    "other",
}
"""The SDK, of `Metadata.value`."""
DEFINED = {
    "UseCaseType": USE_CASES,
    "Framework": FRAMEWORKS,
    "FrameworkVersion": None,
    "Algorithm": None,
    "Hyperparameters": None,
    "ArtifactTestResults": None,
}
"""ADS, `MetadataTaxonomyKeys`."""


class DataScience:
    """The service in one tenancy with two projects.

    Attributes:
        models, sets, provenance: what there is, by OCID.
        artifacts: a model's artifact, by its OCID.
        is_lenient: whether a retry token counts whatever else the request says, and whatever was
            done since; both can be read out of what the SDK says.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.models = cloud.records.table("models")
        self.sets = cloud.records.table("model-version-sets")
        self.provenance = cloud.records.table("model-provenance")
        self.artifacts: dict[str, bytes] = {}
        self.is_lenient = False
        self.attached: dict[tuple[str, str], bytes] = {}
        self._tokens: dict[tuple[str, str], tuple[float, bytes, str, str]] = {}
        self._counter = itertools.count(1)
        of_model, of_key = "/models/{id}", "/models/{id}/customMetadata/{key}/artifact"
        for method, path, handler in (
            ("GET", "/projects", self.list_projects),
            ("GET", "/projects/{id}", self.get_project),
            ("POST", "/models", self.create),
            ("GET", "/models", self.list),
            ("GET", of_model, self.get),
            ("PUT", of_model, self.update),
            ("DELETE", of_model, self.delete),
            ("POST", f"{of_model}/actions/activate", self.activate),
            ("POST", f"{of_model}/actions/deactivate", self.deactivate),
            ("POST", f"{of_model}/artifact", self.create_artifact),
            ("HEAD", f"{of_model}/artifact/content", self.artifact),
            ("GET", f"{of_model}/artifact/content", self.artifact),
            ("POST", of_key, self.attach),
            ("PUT", of_key, self.attach),
            ("DELETE", of_key, self.detach),
            ("HEAD", f"{of_key}/content", self.attachment),
            ("GET", f"{of_key}/content", self.attachment),
            ("POST", f"{of_model}/provenance", self.create_provenance),
            ("GET", f"{of_model}/provenance", self.get_provenance),
            ("PUT", f"{of_model}/provenance", self.update_provenance),
            ("POST", "/modelVersionSets", self.create_set),
            ("GET", "/modelVersionSets", self.list_sets),
            ("GET", "/modelVersionSets/{id}", self.get_set),
            ("DELETE", "/modelVersionSets/{id}", self.delete_set),
        ):
            cloud.route(method, API + path, handler)

    def list_projects(self, call: Call) -> Reply:
        may(call.caller, "projects", manage=False)
        where = self._compartment(call)
        found = [_project(ocid) for ocid, home in PROJECTS.items() if home == where]
        return page(call.request, found, wrap=None)

    def get_project(self, call: Call) -> Reply:
        may(call.caller, "projects", manage=False)
        if call.parts["id"] not in PROJECTS:
            raise not_found()
        return item(_project(call.parts["id"]))

    def create(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        details: Document = json.loads(call.body)
        self._check_place(details)
        self._check(details)
        return self._once(call, self.models, lambda: self._create(call, details))

    def _create(self, call: Call, details: Document) -> Document:
        version_set = details.get("modelVersionSetId")
        if version_set:
            details = {**details, **self._joined(version_set)}
        return {
            "displayName": f"datasciencemodel{next(self._counter)}",
            "freeformTags": {},
            "definedTags": {},
            "customMetadataList": [],
            "definedMetadataList": [],
            **details,
            "id": new_ocid("datasciencemodel"),
            "category": "USER",
            "lifecycleState": "ACTIVE",
            "createdBy": call.caller.ocid,
            "timeCreated": timestamp(self.cloud.now()),
            "isModelByReference": False,
        }

    def list(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        found = self.models.where(
            compartmentId=self._compartment(call),
            id=call.argument("id"),
            projectId=call.argument("projectId"),
            displayName=call.argument("displayName"),
            lifecycleState=call.argument("lifecycleState"),
            createdBy=call.argument("createdBy"),
            modelVersionSetName=call.argument("modelVersionSetName"),
            versionLabel=call.argument("versionLabel"),
        )
        # "By default, when you sort by timeCreated, the results are shown in descending order", and
        # a list's items have tags, but no metadata: the SDK's list_models and ModelSummary.
        summaries = [
            {key: value for key, value in each.items() if "Metadata" not in key and key != "etag"}
            for each in reversed(found)
        ]
        return page(call.request, summaries, wrap=None)

    def get(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        return self._answer(self._find(call))

    def update(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        details = json.loads(call.body)
        model = self._alive(call)
        self._match(call, model)
        self._check({**model, **details})
        version_set = details.pop("modelVersionSetId", None)
        if version_set:
            if model.get("modelVersionSetId"):
                # "After a model is associated with a model version set, the model can't be
                # associated with a different model version set", and the same one "throws an error
                # that model is already associated": ADS, model_version_set.rst and
                # OCIDataScienceModel.update. The code is assumed.
                raise invalid("The model is already associated with a model version set.")
            details.update(self._joined(version_set))
        return self._answer(self._keep({**model, **details}))

    def delete(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        model = self._alive(call)
        self._match(call, model)
        self._keep({**model, "lifecycleState": "DELETED"})
        return Reply(204)

    def activate(self, call: Call) -> Reply:
        return self._turn(call, "ACTIVE")

    def deactivate(self, call: Call) -> Reply:
        return self._turn(call, "INACTIVE")

    def _turn(self, call: Call, state: str) -> Reply:
        may(call.caller, "models", manage=True)
        model = self._alive(call)
        self._match(call, model)
        return self._answer(self._keep({**model, "lifecycleState": state}))

    def create_artifact(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        model = self._alive(call)
        if len(call.body) > MAX_ARTIFACT:
            raise RefusedError(413, "PayloadTooLarge", "The artifact is too large.")

        def store() -> Document:
            if model["id"] in self.artifacts:
                # "Model artifacts stored in the model catalog are immutable by design":
                # https://docs.oracle.com/en-us/iaas/data-science/using/models-about.htm. The code
                # is assumed.
                raise RefusedError(409, "Conflict", "The model has an artifact already.")
            self.artifacts[model["id"]] = call.body
            return {"id": model["id"]}

        self._once(call, None, store)
        return Reply(204)

    def artifact(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        model = self._find(call)
        if model["id"] not in self.artifacts:
            raise not_found()  # ADS, get_artifact_info
        name = f'attachment; filename="{model["id"]}.zip"'
        headers = {"Content-Type": "application/zip", "Content-Disposition": name}
        return Reply(200, headers, self.artifacts[model["id"]])

    def attach(self, call: Call) -> Reply:
        """A file to a piece of custom metadata: create_model_custom_metadatum_artifact."""
        may(call.caller, "models", manage=True)
        model = self._alive(call)
        mine = (model["id"], call.parts["key"])
        entry = self._metadatum(model, call.parts["key"])
        if (mine in self.attached) == (call.request.method == "POST"):
            raise RefusedError(409, "Conflict", "Create what is absent, update what is there.")
        self.attached[mine] = call.body
        entry["hasArtifact"] = True
        self._keep(model)
        return Reply(204)

    def detach(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        model = self._alive(call)
        if self.attached.pop((model["id"], call.parts["key"]), None) is None:
            raise not_found()
        self._metadatum(model, call.parts["key"])["hasArtifact"] = False
        self._keep(model)
        return Reply(204)

    def attachment(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        found = self.attached.get((self._find(call)["id"], call.parts["key"]))
        if found is None:
            raise not_found()
        return Reply(200, {"Content-Type": "application/octet-stream"}, found)

    def create_provenance(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        model = self._alive(call)
        if model["id"] in self.provenance:
            raise RefusedError(409, "Conflict", "The model has a provenance already.")  # assumed
        self.provenance[model["id"]] = json.loads(call.body)
        return item(self.provenance[model["id"]])

    def get_provenance(self, call: Call) -> Reply:
        may(call.caller, "models", manage=False)
        return item(self._provenance(call))

    def update_provenance(self, call: Call) -> Reply:
        may(call.caller, "models", manage=True)
        self.provenance[call.parts["id"]] = {**self._provenance(call), **json.loads(call.body)}
        return item(self.provenance[call.parts["id"]])

    def _provenance(self, call: Call) -> Document:
        model = self._find(call)
        if model["id"] not in self.provenance:
            raise not_found()  # ADS, get_model_provenance
        return self.provenance[model["id"]]

    def create_set(self, call: Call) -> Reply:
        may(call.caller, "version-sets", manage=True)
        details: Document = json.loads(call.body)
        self._check_place(details)
        if not details.get("name"):
            raise missing("name")
        if len(details["name"]) > MAX_NAME:
            raise invalid("The name is too long.")
        return self._once(call, self.sets, lambda: self._create_set(call, details))

    def _create_set(self, call: Call, details: Document) -> Document:
        same = self.sets.where(name=details["name"])
        if any(each["lifecycleState"] != "DELETED" for each in same):
            # "It must be unique and can't be modified": the SDK, of the name. That it is so in the
            # whole tenancy, and the code, are assumed.
            raise RefusedError(409, "Conflict", "There is a model version set of that name.")
        return {
            **details,
            "id": new_ocid("datasciencemodelversionset"),
            "category": "USER",
            "lifecycleState": "ACTIVE",
            "createdBy": call.caller.ocid,
            "timeCreated": timestamp(self.cloud.now()),
        }

    def list_sets(self, call: Call) -> Reply:
        may(call.caller, "version-sets", manage=False)
        found = self.sets.where(
            compartmentId=self._compartment(call),
            projectId=call.argument("projectId"),
            name=call.argument("name"),
            lifecycleState=call.argument("lifecycleState"),
        )
        return page(call.request, found, wrap=None)

    def get_set(self, call: Call) -> Reply:
        may(call.caller, "version-sets", manage=False)
        return item(self._set(call.parts["id"]))

    def delete_set(self, call: Call) -> Reply:
        may(call.caller, "version-sets", manage=True)
        found = self._set(call.parts["id"])
        left = self.models.where(modelVersionSetId=found["id"])
        if any(each["lifecycleState"] != "DELETED" for each in left):
            # "can only be deleted if all the models [...] are already in the DELETED state": the
            # SDK, of delete_model_version_set
            raise RefusedError(409, "IncorrectState", "The model version set has models.")
        self.sets[found["id"]] = {**found, "lifecycleState": "DELETED"}
        return Reply(204)

    def purge(self) -> None:
        """What was deleted goes from the lists as well, as some time later it does."""
        for ocid in list(self.models):
            if self.models[ocid]["lifecycleState"] == "DELETED":
                del self.models[ocid]

    def forget_tokens(self) -> None:
        """As if a day had passed."""
        self._tokens.clear()

    def _once(self, call: Call, table: Any, make: Callable[[], Document]) -> Reply:
        """Do it, unless a request with the same retry token has done it already.

        "A token that uniquely identifies a request so it can be retried [...] without risk of
        executing that same action again. Retry tokens expire after 24 hours, but can be invalidated
        before then due to conflicting operations": the SDK. Such operations are assumed to be every
        later change of what was made; and that another request can't have the same token.
        """
        token = call.request.header("opc-retry-token")
        key = (call.request.path, token)
        since, body, ocid, etag = self._tokens.get(key, (0.0, b"", "", ""))
        if token and ocid and self.cloud.now() - since < TOKEN_SECONDS:
            known = table[ocid] if table is not None and ocid in table else None
            is_alive = known is not None and known["lifecycleState"] != "DELETED"
            is_same = body == call.body and (table is None or (known or {}).get("etag") == etag)
            if not is_same and not (self.is_lenient and is_alive):
                # https://docs.oracle.com/en-us/iaas/Content/API/References/apierrors.htm
                raise RefusedError(409, "InvalidatedRetryToken", "The retry token is used up.")
            return self._answer(known or {})
        made = make()
        if table is self.models:
            self._keep(made)
        elif table is not None:
            table[made["id"]] = made
        self._tokens[key] = (self.cloud.now(), call.body, made["id"], made.get("etag", ""))
        return self._answer(made)

    def _keep(self, model: Document) -> Document:
        model["etag"] = f"{model['id'][-12:]}-{next(self._counter)}"
        self.models[model["id"]] = model
        return model

    def _answer(self, model: Document) -> Reply:
        shown = {key: value for key, value in model.items() if key != "etag"}
        return item(shown, **({"etag": model["etag"]} if "etag" in model else {}))

    def _match(self, call: Call, model: Document) -> None:
        """Optimistic concurrency: the SDK, of `if_match`."""
        wanted = call.request.header("if-match")
        if wanted not in {"", "*", model["etag"]}:
            raise RefusedError(412, "NoEtagMatch", "The model was changed meanwhile.")

    def _joined(self, version_set: str) -> Document:
        found = self._set(version_set)
        versions = len(self.models.where(modelVersionSetId=version_set))
        return {
            "modelVersionSetId": version_set,
            "modelVersionSetName": found["name"],
            "versionId": versions + 1,
        }

    def _set(self, ocid: str) -> Document:
        if ocid not in self.sets or self.sets[ocid]["lifecycleState"] == "DELETED":
            raise not_found()
        return self.sets[ocid]

    def _find(self, call: Call) -> Document:
        if call.parts["id"] not in self.models:
            raise not_found()
        return self.models[call.parts["id"]]

    def _alive(self, call: Call) -> Document:
        model = self._find(call)
        if model["lifecycleState"] == "DELETED":
            raise RefusedError(409, "IncorrectState", "The model is deleted.")
        return dict(model)

    def _metadatum(self, model: Document, key: str) -> Document:
        for each in model["customMetadataList"]:
            if each["key"] == key:
                found: Document = each
                return found
        raise not_found()  # ADS, ModelMetadataArtifactNotFoundError

    def _compartment(self, call: Call) -> str:
        compartment = call.argument("compartmentId")
        if not compartment:
            raise missing("compartmentId")
        if compartment not in _COMPARTMENTS:
            raise not_found()
        return compartment

    def _check_place(self, details: Document) -> None:
        for name in ("compartmentId", "projectId"):
            if not details.get(name):
                raise missing(name)
        if details["compartmentId"] not in _COMPARTMENTS or details["projectId"] not in PROJECTS:
            # What the body names: https://docs.oracle.com/en-us/iaas/Content/API/References/apierrors.htm
            raise RefusedError(
                400,
                "RelatedResourceNotAuthorizedOrNotFound",
                "Authorization failed or a related resource was not found.",
            )

    def _check(self, details: Document) -> None:
        if len(details.get("displayName") or "") > MAX_NAME:
            raise invalid("The display name is too long.")
        tags = details.get("freeformTags") or {}
        long = [
            key
            for key, value in tags.items()
            if len(key) > MAX_TAG_KEY or len(value) > MAX_TAG_VALUE
        ]
        if long or len(tags) > MAX_TAGS:
            raise invalid("Too many freeform tags, or too long ones.")
        custom = details.get("customMetadataList") or []
        defined = details.get("definedMetadataList") or []
        if len({each["key"] for each in custom}) != len(custom):
            raise invalid("A key is there twice.")  # assumed
        for each in [*custom, *defined]:
            if len(each.get("value") or "") > MAX_VALUE:
                raise invalid(f"The value of {each['key']} is too long.")
            if len(each.get("description") or "") > MAX_DESCRIPTION:
                raise invalid(f"The description of {each['key']} is too long.")
        for each in custom:
            if (each.get("category") or "other").lower() not in CATEGORIES:
                raise invalid(f"No such category: {each['category']}")
        for each in defined:
            values = DEFINED.get(each["key"], set())
            if each.get("category") or (values is not None and each.get("value") not in values):
                raise invalid(f"Not a value of {each['key']}: {each.get('value')}")
        size = sum(map(size_of, [*custom, *defined]))
        if size > MAX_METADATA:
            raise invalid(f"The metadata has {size} bytes.")


def size_of(datum: Document) -> int:
    """Bytes of a piece of metadata: ADS, ModelMetadataItem.size and to_dict."""
    fields = ("key", "value", "description", "category")
    shown = {name: datum.get(name) for name in fields}
    return len(json.dumps({**shown, "has_artifact": False}).encode("utf-16"))


def _project(ocid: str) -> Document:
    return {
        "id": ocid,
        "compartmentId": PROJECTS[ocid],
        "displayName": "models",
        "lifecycleState": "ACTIVE",
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "freeformTags": {},
        "definedTags": {},
    }
