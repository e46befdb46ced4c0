from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from ocimlpack.errors import IntegrityError, UnsupportedError
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import Store
from ocimlpack.stores.registry import RegistryStore
from tests.contract import ReferrersContract, StoreContract
from tests.live.registries import Registry


class TestContract(ReferrersContract, StoreContract):
    frees_at_once = False

    @pytest.fixture
    def store(self, registry: Registry, request: pytest.FixtureRequest) -> Iterator[Store]:
        self.untags = request.node.callspec.params["registry"] != "registry2"
        session = Session(registry.host)
        yield RegistryStore(session, registry.repository().partition("/")[2])
        session.close()

    def test_taking_a_tag_away_leaves_the_content(self, store: Store) -> None:
        # distribution 2 has no deletion of tags, and says so by calling the tag a bad digest.
        with nullcontext() if self.untags else pytest.raises(UnsupportedError):
            super().test_taking_a_tag_away_leaves_the_content(store)

    def test_a_tag_that_is_not_there_can_not_be_taken_away(self, store: Store) -> None:
        with nullcontext() if self.untags else pytest.raises(UnsupportedError):
            super().test_a_tag_that_is_not_there_can_not_be_taken_away(store)

    def test_a_manifest_under_a_sha512_digest(self, store: Store) -> None:
        # Neither version stores manifests under anything but SHA-256.
        with pytest.raises((IntegrityError, UnsupportedError)):
            super().test_a_manifest_under_a_sha512_digest(store)

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, RegistryStore)
        return RegistryStore(store.session, store.repository)
