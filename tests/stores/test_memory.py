from __future__ import annotations

import pytest

from ocimlpack.stores.base import Store
from ocimlpack.stores.memory import MemoryStore
from tests.contract import StoreContract


class TestContract(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()
