"""The container registry's repositories and images, as its API knows them.

The distribution API knows no compartments and no immutable tags, and Oracle's registry lists no
repositories by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from ocimlpack.cloud import _sdk, hosts
from ocimlpack.cloud.signers import Identity, full_region
from ocimlpack.errors import ConflictError, InputError, NotAllowedError, NotFoundError

_CLIENT: Final = "artifacts.ArtifactsClient"
_MARKDOWN: Final = "TEXT_MARKDOWN"
_MAX_README: Final = 256 * 1024
"""Bytes. The service's own limit is not documented; a longer card is cut, and says so."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the container registry.

    Attributes:
        name: its name, without the namespace.
        ocid: its OCID.
        compartment: the OCID of the compartment it is in.
        namespace: the tenancy's.
        is_immutable: whether tags can't be moved there.
        is_public: whether everybody may read.
        images: how many manifests it has.
        size: bytes of its layers, each counted once.
        created: when it was made.
        pushed: when it was last pushed to.
    """

    name: str
    ocid: str
    compartment: str
    namespace: str
    is_immutable: bool | None
    is_public: bool
    images: int
    size: int
    created: datetime | None
    pushed: datetime | None


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest in the container registry.

    Attributes:
        digest: its digest.
        tags: what the API calls versions.
        ocid: its OCID.
        repository: the repository's name.
        created: when it was pushed.
        size: bytes of its layers; None where the API was not asked for it.
        pulls: how often it was pulled; None likewise.
    """

    digest: str
    tags: tuple[str, ...]
    ocid: str
    repository: str
    created: datetime | None
    size: int | None = None
    pulls: int | None = None


class Registry:
    """One region's container registry, by its API.

    Attributes:
        identity: as whom it is asked.
    """

    def __init__(self, identity: Identity, region: str | None = None) -> None:
        self.identity = identity
        self._region = region
        self._client = identity.client(_CLIENT, region)

    @property
    def host(self) -> str:
        """The registry's host."""
        return registry_host(self.identity, self._region)

    def namespace(self) -> str:
        """The tenancy's namespace, which every repository's full name begins with."""
        client = self.identity.client("object_storage.ObjectStorageClient", self._region)
        with _sdk.explained("the tenancy's namespace", NotAllowedError):
            return str(client.get_namespace().data)

    def create(
        self,
        name: str,
        compartment: str,
        *,
        immutable: bool = False,
        readme: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Repository:
        """Make a private repository.

        Args:
            name: without the namespace.
            compartment: the compartment's OCID.
            immutable: whether tags can't be moved there.
            readme: Markdown to show there.
            tags: freeform tags.

        Raises:
            ConflictError: there is one of that name, in this compartment or another.
            NotAllowedError: no such compartment, or no permission there.
        """
        models = _sdk.module("artifacts.models")
        details = models.CreateContainerRepositoryDetails(
            compartment_id=compartment,
            display_name=name,
            is_immutable=immutable,
            is_public=False,
            readme=_readme(models, readme),
            freeform_tags=tags or {},
        )
        with _sdk.explained(f"the repository {name} in that compartment", NotAllowedError):
            try:
                return _repository(self._client.create_container_repository(details).data)
            except _sdk.module("exceptions").ServiceError as error:
                if error.status == 409:
                    raise self._taken(name, compartment) from error
                raise

    def update(
        self, repository: Repository, *, immutable: bool | None = None, readme: str | None = None
    ) -> Repository:
        """Change a repository's settings; None leaves one as it is."""
        models = _sdk.module("artifacts.models")
        details = models.UpdateContainerRepositoryDetails(
            **({} if immutable is None else {"is_immutable": immutable}),
            **({} if readme is None else {"readme": _readme(models, readme)}),
        )
        with _sdk.explained(f"a change of the repository {repository.name}", NotAllowedError):
            done = self._client.update_container_repository(repository.ocid, details)
        return _repository(done.data)

    def find(self, name: str, compartment: str | None = None) -> Repository | None:
        """The repository of that name, in one compartment or anywhere in the tenancy."""
        found = self._list(compartment, display_name=name)
        if not found:
            return None
        with _sdk.explained(f"the repository {name}"):
            return _repository(self._client.get_container_repository(found[0].id).data)

    def show(self, name: str, compartment: str | None = None) -> Repository:
        """The same.

        Raises:
            NotFoundError: there is none.
        """
        if (found := self.find(name, compartment)) is not None:
            return found
        raise NotFoundError(
            f"Oracle Cloud has no repository {name} here, or this identity may not see it",
            hint="ocimlpack ocir list",
        )

    def repositories(self, compartment: str | None = None) -> list[Repository]:
        """Every repository of a compartment, or of the tenancy, by name."""
        return sorted(
            (_repository(each) for each in self._list(compartment)), key=lambda each: each.name
        )

    def images(self, repository: Repository) -> list[Image]:
        """The manifests of a repository, newest first, each with all its tags."""
        with _sdk.explained(f"the images of {repository.name}"):
            rows = _sdk.every(
                self._client.list_container_images,
                repository.compartment,
                repository_id=repository.ocid,
            )
            found = [
                _image(self._client.get_container_image(ocid).data)
                for ocid in dict.fromkeys(row.id for row in rows)
            ]
        return sorted(
            found, key=lambda each: each.created.timestamp() if each.created else 0.0, reverse=True
        )

    def look_up(self, name: str, version: str) -> Image:
        """One manifest, by `@DIGEST` or `:TAG`.

        Raises:
            NotFoundError: there is none.
        """
        models = _sdk.module("artifacts.models")
        uri = f"{self.namespace()}/{name}{version}"
        with _sdk.explained(f"the image {name}{version}"):
            found = self._client.lookup_container_image_by_uri(
                models.LookupContainerImageByUriDetails(image_uri=uri)
            )
        return _image(found.data)

    def _list(self, compartment: str | None, **wanted: str) -> list[Any]:
        where = compartment or self.identity.tenancy
        if where is None:
            raise InputError(
                "the tenancy is not known for this identity", hint="add --compartment OCID"
            )
        # Only the whole tenancy can be searched with what is below it.
        subtree = {"compartment_id_in_subtree": True} if compartment is None else {}
        with _sdk.explained("the list of repositories", NotAllowedError):
            return _sdk.every(self._client.list_container_repositories, where, **subtree, **wanted)

    def _taken(self, name: str, compartment: str) -> ConflictError:
        """Names are unique in the whole tenancy; say where it is, where that can be seen."""
        here = self._list(compartment, display_name=name)
        where = "in this compartment" if here else "in another compartment of the tenancy"
        return ConflictError(
            f"there is a repository {name} already, {where}",
            hint=f"ocimlpack ocir show {name}",
            status=409,
        )


def registry_host(identity: Identity, region: str | None = None) -> str:
    """The registry's host in a region, in the form that all realms have.

    Raises:
        InputError: no region is known.
    """
    if one := hosts.endpoint():
        return urlsplit(one).netloc
    where = full_region(region) or identity.region
    if where is None:
        raise InputError("no region is known", hint="add --region, or set region in the profile")
    endpoint: str = _sdk.module("regions").endpoint_for(
        "ocir",
        region=where,
        service_endpoint_template="https://ocir.{region}.oci.{secondLevelDomain}",
    )
    return urlsplit(endpoint).netloc


def _readme(models: Any, text: str | None) -> Any:
    if text is None:
        return None
    content = text.encode()[:_MAX_README].decode(errors="ignore")
    if len(content) < len(text):
        content += "\n\n(shortened)\n"
    return models.ContainerRepositoryReadme(content=content, format=_MARKDOWN)


def _repository(found: Any) -> Repository:
    return Repository(
        name=found.display_name,
        ocid=found.id,
        compartment=found.compartment_id,
        namespace=found.namespace,
        # A list's items have no such field.
        is_immutable=getattr(found, "is_immutable", None),
        is_public=bool(found.is_public),
        images=found.image_count or 0,
        size=found.layers_size_in_bytes or 0,
        created=found.time_created,
        pushed=getattr(found, "time_last_pushed", None),
    )


def _image(found: Any) -> Image:
    return Image(
        digest=found.digest,
        tags=tuple(sorted(each.version for each in found.versions or ())),
        ocid=found.id,
        repository=found.repository_name,
        created=found.time_created,
        size=found.layers_size_in_bytes,
        pulls=found.pull_count,
    )
