"""Container repositories and images: what the artifacts API says of the registry's content.

Paths, fields and their names: https://docs.oracle.com/en-us/iaas/api/#/en/registry/20160918/
and the models of the SDK's `oci.artifacts`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.cloud.answers import RefusedError, invalid, item, missing, not_found, page
from tests.cloud.cloud import NAMESPACE, Call, Cloud, may, new_ocid, timestamp
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT, TENANCY, Principal
from tests.cloud.records import Document
from tests.scripted.exchange import Reply

API = "/20160918/container"
_ROOTS = {TENANCY, COMPARTMENT, OTHER_COMPARTMENT}


class Artifacts:
    """The API, and what the registry itself does to the same repositories."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.repositories = cloud.records.table("repositories")
        self.images = cloud.records.table("images")
        self._created: dict[str, str] = {}
        self.settings = cloud.records.table("container-configuration")
        self.settings.setdefault(
            "configuration", {"isRepositoryCreatedOnFirstPush": True, "namespace": NAMESPACE}
        )
        for method, path, handler in (
            ("GET", "/configuration", self.configuration),
            ("POST", "/repositories", self.create),
            ("GET", "/repositories", self.list),
            ("GET", "/repositories/{id}", self.get),
            ("PUT", "/repositories/{id}", self.update),
            ("DELETE", "/repositories/{id}", self.delete),
            ("GET", "/images", self.list_images),
            ("POST", "/images/actions/lookupImageByUri", self.look_up),
            ("GET", "/images/{id}", self.get_image),
        ):
            cloud.route(method, API + path, handler)

    def configuration(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=False)
        return item(self.settings["configuration"])

    def create(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=True)
        details: Document = json.loads(call.body)
        for name in ("compartmentId", "displayName"):
            if not details.get(name):
                raise missing(name)
        if details["compartmentId"] not in _ROOTS:
            raise not_found()
        token = call.request.header("opc-retry-token")
        if token in self._created:
            # "retry without risk of executing that same action again", for 24 hours: the SDK.
            return item(self.repositories[self._created[token]])
        if self.named(details["displayName"]):
            # Names are unique in the tenancy, in whatever compartment: "Creating a Repository",
            # docs.oracle.com/iaas/Content/Registry/Tasks/registrycreatingarepository.htm. The code
            # is assumed.
            raise RefusedError(
                409, "NAMESPACE_CONFLICT", f"Repository already exists: {details['displayName']}"
            )
        made = self.make(details, call.caller)
        if token:
            self._created[token] = made["id"]
        return item(made)

    def make(self, details: Document, caller: Principal) -> Document:
        """A repository, by the API or by a first push."""
        repository = {
            "id": new_ocid("containerrepo"),
            "createdBy": caller.ocid,
            "namespace": NAMESPACE,
            "lifecycleState": "AVAILABLE",
            "timeCreated": timestamp(self.cloud.now()),
            "isImmutable": False,
            "isPublic": False,
            "imageCount": 0,
            "layerCount": 0,
            "layersSizeInBytes": 0,
            "billableSizeInGBs": 0,
            "freeformTags": {},
            "definedTags": {},
            **details,
        }
        self.repositories[repository["id"]] = repository
        return repository

    def list(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=False)
        found = [
            row
            for row in self.repositories.where(
                displayName=call.argument("displayName"), id=call.argument("repositoryId")
            )
            if self._is_listed(call, row)
        ]
        return page(call.request, found, wrap="items")

    def get(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=False)
        return item(self._find(call.parts["id"]), etag="1")

    def update(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=True)
        repository = self._find(call.parts["id"])
        repository.update(json.loads(call.body))
        self.repositories[repository["id"]] = repository
        return item(repository)

    def delete(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=True)
        repository = self._find(call.parts["id"])
        del self.repositories[repository["id"]]
        for image in self.images.where(repositoryId=repository["id"]):
            del self.images[image["id"]]
        return Reply(204)

    def list_images(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=False)
        wanted = self.images.where(
            digest=call.argument("imageDigest"),
            repositoryId=call.argument("repositoryId"),
            repositoryName=call.argument("repositoryName"),
            version=call.argument("version"),
        )
        return page(call.request, [row for row in wanted if self._is_listed(call, row)])

    def get_image(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=False)
        if call.parts["id"] not in self.images:
            raise not_found()
        return item(self.images[call.parts["id"]])

    def look_up(self, call: Call) -> Reply:
        may(call.caller, "repos", manage=False)
        uri = json.loads(call.body).get("imageUri", "")
        path, at, digest = uri.partition("@")
        tag = ""
        if not at:
            path, _, tag = uri.rpartition(":")
        namespace, _, name = path.partition("/")
        if namespace != NAMESPACE or not name:
            raise invalid(f"Not an image's URI: {uri}")
        for image in self.images.where(repositoryName=name):
            versions = {each["version"] for each in image["versions"]}
            if image["digest"] == digest or tag in versions:
                return item(image)
        raise not_found()

    def named(self, name: str) -> Document | None:
        """The repository of that name, without the namespace."""
        found = self.repositories.where(displayName=name)
        return found[0] if found else None

    def stored(self, name: str, digest: str, tag: str, raw: bytes, caller: Principal) -> None:
        """The registry has taken a manifest."""
        repository = self.named(name)
        assert repository is not None
        now = timestamp(self.cloud.now())
        manifest = json.loads(raw)
        layers = [
            {"digest": each["digest"], "sizeInBytes": each["size"], "timeCreated": now}
            for each in manifest.get("layers", [])
        ]
        for other in self.images.where(repositoryName=name):
            if tag and other["digest"] != digest:
                other["versions"] = [one for one in other["versions"] if one["version"] != tag]
                self.images[other["id"]] = other
        known = self.images.where(repositoryName=name, digest=digest)
        image: dict[str, Any] = known[0] if known else {
            "id": new_ocid("containerimage"),
            "compartmentId": repository["compartmentId"],
            "createdBy": caller.ocid,
            "digest": digest,
            "displayName": f"{name}@{digest}",
            "layers": layers,
            "layersSizeInBytes": sum(each["sizeInBytes"] for each in layers),
            "lifecycleState": "AVAILABLE",
            "manifestSizeInBytes": len(raw),
            "pullCount": 0,
            "repositoryId": repository["id"],
            "repositoryName": name,
            "timeCreated": now,
            "versions": [],
            "freeformTags": {},
            "definedTags": {},
        }  # fmt: skip
        if tag and tag not in {one["version"] for one in image["versions"]}:
            image["versions"].append({"version": tag, "createdBy": caller.ocid, "timeCreated": now})
            image["version"] = tag
            image["displayName"] = f"{name}:{tag}"
        self.images[image["id"]] = image
        images = self.images.where(repositoryName=name)
        unique = {each["digest"]: each["sizeInBytes"] for one in images for each in one["layers"]}
        repository.update(
            imageCount=len(images),
            layerCount=len(unique),
            layersSizeInBytes=sum(unique.values()),
            timeLastPushed=now,
        )
        self.repositories[repository["id"]] = repository

    def removed(self, name: str, digest: str) -> None:
        """The registry has deleted a manifest."""
        for image in self.images.where(repositoryName=name, digest=digest):
            del self.images[image["id"]]

    def digest_of(self, name: str, tag: str) -> str | None:
        """What a tag stands for."""
        for image in self.images.where(repositoryName=name):
            if tag in {one["version"] for one in image["versions"]}:
                return str(image["digest"])
        return None

    def _find(self, ocid: str) -> Document:
        if ocid not in self.repositories:
            raise not_found()
        return self.repositories[ocid]

    def _is_listed(self, call: Call, row: Document) -> bool:
        compartment = call.argument("compartmentId")
        if compartment not in _ROOTS:
            raise not_found()
        if call.argument("compartmentIdInSubtree") == "true":
            if compartment != TENANCY:
                # So says the SDK of list_container_repositories.
                raise invalid("compartmentIdInSubtree needs the OCID of the tenancy")
            return True
        return bool(row["compartmentId"] == compartment)
