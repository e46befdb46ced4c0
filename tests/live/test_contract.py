from __future__ import annotations

from collections.abc import Iterator

import pytest

from ocimlpack.errors import UnsupportedError
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import Store
from ocimlpack.stores.registry import RegistryStore
from tests.contract import ReferrersContract, StoreContract
from tests.live.registries import Registry


class TestContract(ReferrersContract, StoreContract):
    frees_at_once = False

    @pytest.fixture
    def store(self, registry: Registry) -> Iterator[Store]:
        session = Session(registry.host)
        yield RegistryStore(session, registry.repository().partition("/")[2])
        session.close()

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, RegistryStore)
        return RegistryStore(store.session, store.repository)
