"""The local cloud put together: all services in front of a registry."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from tests.cloud.artifacts import Artifacts
from tests.cloud.cloud import Cloud
from tests.cloud.datascience import DataScience
from tests.cloud.federation import Federation
from tests.cloud.logging import Logging
from tests.cloud.objectstorage import ObjectStorage
from tests.cloud.ocir import Ocir
from tests.cloud.policies import Policies
from tests.cloud.tenancy import Tenancy
from tests.scripted.exchange import Reply, Request, as_json


class LocalCloud(Cloud):
    """A tenancy with one user.

    Attributes:
        artifacts: the container repositories' API.
        datascience: the model catalog.
        ocir: the container registry's front.
        policies: identity policies.
        storage: object storage.
        logging: logs of services.
        federation: where identities come from.
        alice: the user.
    """

    def __init__(self, upstream: str, folder: Path | None = None, port: int = 0) -> None:
        super().__init__(folder, port)
        self.alice = self.principals.add_user()
        self.tenancy = Tenancy(self)
        self.artifacts = Artifacts(self)
        self.datascience = DataScience(self)
        self.policies = Policies(self)
        self.storage = ObjectStorage(self, self.policies)
        self.logging = Logging(self, self.storage.store.buckets)
        self.federation = Federation(self)
        self.ocir = Ocir(self, self.artifacts, upstream)
        self.route_open("/local-cloud/wait$", self._wait)

    def _wait(self, request: Request, body: bytes) -> Reply:
        """Let time pass for a person: `curl -X POST URL/local-cloud/wait?days=31`."""
        asked = {name: float(values[0]) for name, values in parse_qs(request.query).items()}
        self.wait(days=asked.get("days", 0), hours=asked.get("hours", 0))
        return as_json(200, {"done": self.storage.run_lifecycle()})
