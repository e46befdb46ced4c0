"""The services that a bucket needs, by one identity."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ocimlpack.cloud import _sdk
from ocimlpack.cloud.signers import Identity
from ocimlpack.errors import NotAllowedError, OcimlpackError


class Services:
    """Clients of object storage, logging and identity, made when they are asked for."""

    def __init__(self, identity: Identity, region: str) -> None:
        """Nothing is asked yet.

        Args:
            identity: who signs.
            region: the bucket's region, as an identifier.
        """
        self.identity = identity
        self.region = region

    @cached_property
    def storage(self) -> Any:
        """Object storage of the region."""
        return self.identity.client("object_storage.ObjectStorageClient", self.region)

    @cached_property
    def logging(self) -> Any:
        """Logging of the region."""
        return self.identity.client("logging.LoggingManagementClient", self.region)

    @cached_property
    def policies(self) -> Any:
        """Identity, in the tenancy's home region: nowhere else are policies changed.

        https://docs.oracle.com/en-us/iaas/Content/Identity/Tasks/managingregions.htm
        """
        return self.identity.client("identity.IdentityClient", self._home_region())

    @cached_property
    def namespace(self) -> str:
        """The tenancy's namespace."""
        with _sdk.explained("the tenancy's namespace", NotAllowedError):
            return str(self.storage.get_namespace().data)

    def _home_region(self) -> str:
        if self.identity.tenancy is None:
            return self.region
        client = self.identity.client("identity.IdentityClient", self.region)
        try:
            with _sdk.explained("the tenancy's regions", NotAllowedError):
                found = client.list_region_subscriptions(self.identity.tenancy).data
        except OcimlpackError:
            # Who may not see this may still be at home; if not, the change itself is refused.
            return self.region
        return next((str(each.region_name) for each in found if each.is_home_region), self.region)
