from __future__ import annotations

import pytest

from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import Store
from ocimlpack.stores.registry import RegistryStore
from tests.contract import ReferrersContract, StoreContract
from tests.scripted.fixtures import blob_server, foreign, scripted, session
from tests.scripted.registry import ScriptedRegistry

__all__ = ["blob_server", "foreign", "scripted", "session"]


class TestContract(ReferrersContract, StoreContract):
    frees_at_once = False

    @pytest.fixture(params=[False, True], ids=["tag of referrers", "Referrers API"])
    def store(
        self, scripted: ScriptedRegistry, session: Session, request: pytest.FixtureRequest
    ) -> Store:
        scripted.quirks.referrers = request.param
        return RegistryStore(session, "team/model")

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, RegistryStore)
        return RegistryStore(store.session, store.repository)
