from __future__ import annotations

from pathlib import Path

import pytest

from ocimlpack.stores.base import Store
from ocimlpack.stores.layout import LayoutStore
from tests.contract import ReferrersContract, StoreContract


class TestContract(ReferrersContract, StoreContract):
    @pytest.fixture(params=["", "minilm"], ids=["one model", "several models"])
    def store(self, tmp_path: Path, request: pytest.FixtureRequest) -> Store:
        self.name = request.param
        return LayoutStore(tmp_path / "layout", name=request.param, create=True)

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, LayoutStore)
        return LayoutStore(store.path, name=self.name)

    def leftovers(self, store: Store) -> set[str]:
        assert isinstance(store, LayoutStore)
        return {str(path) for path in store.path.rglob("*") if path.is_file()}
