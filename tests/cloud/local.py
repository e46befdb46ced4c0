"""The local cloud put together: all services in front of a registry."""

from __future__ import annotations

from pathlib import Path

from tests.cloud.artifacts import Artifacts
from tests.cloud.cloud import Cloud
from tests.cloud.datascience import DataScience
from tests.cloud.federation import Federation
from tests.cloud.ocir import Ocir
from tests.cloud.tenancy import Tenancy


class LocalCloud(Cloud):
    """A tenancy with one user.

    Attributes:
        artifacts: the container repositories' API.
        datascience: the model catalog.
        ocir: the container registry's front.
        federation: where identities come from.
        alice: the user.
    """

    def __init__(self, upstream: str, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.alice = self.principals.add_user()
        self.tenancy = Tenancy(self)
        self.artifacts = Artifacts(self)
        self.datascience = DataScience(self)
        self.federation = Federation(self)
        self.ocir = Ocir(self, self.artifacts, upstream)
