from __future__ import annotations

import pytest

from ocimlpack.stores.base import Store
from ocimlpack.stores.bucket import BucketStore
from ocimlpack.stores.objects.persistent import PersistentObjects
from tests.contract import ReferrersContract, StoreContract
from tests.objects.memory import Bucket, MemoryObjects


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def opened(bucket: Bucket, repository: str = "team/minilm") -> BucketStore:
    return BucketStore(PersistentObjects(MemoryObjects(bucket)), repository)


class TestContract(ReferrersContract, StoreContract):
    frees_at_once = False

    @pytest.fixture
    def store(self, bucket: Bucket) -> Store:
        self.bucket = bucket
        return opened(bucket)

    def reopen(self, store: Store) -> Store:
        return opened(self.bucket)

    def leftovers(self, store: Store) -> set[str]:
        return {*self.bucket.objects, *self.bucket.uploads}
