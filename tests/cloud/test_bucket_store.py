"""Buckets of OCI Object Storage as a place for models, by the real SDK."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.app import oracle
from ocimlpack.errors import NotAllowedError, NotFoundError, UnavailableError
from ocimlpack.stores.base import Store
from ocimlpack.stores.bucket import BucketStore
from ocimlpack.stores.objects.base import ABSENT, ConditionError, GoneError, Label, Objects
from ocimlpack.stores.objects.persistent import PersistentObjects
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import Cli, client, read_tree
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.contract import ReferrersContract, StoreContract
from tests.live.registries import Registry

BUCKET = "models"
PLACE = f"ocios://{BUCKET}@{NAMESPACE}"
LABEL = Label("application/octet-stream", {"oci-digest": "sha256:x"})
PART = 8 * 1024 * 1024


@pytest.fixture
def bucket(alice: LocalCloud) -> LocalCloud:
    """A cloud with a bucket that keeps versions, and the profile of its user."""
    import oci

    storage = client(alice, "object_storage.ObjectStorageClient")
    storage.create_bucket(
        NAMESPACE,
        oci.object_storage.models.CreateBucketDetails(
            name=BUCKET, compartment_id=COMPARTMENT, versioning="Enabled"
        ),
    )
    return alice


@pytest.fixture
def objects(bucket: LocalCloud) -> Iterator[Objects]:
    opened = oracle.objects(f"{BUCKET}@{NAMESPACE}", {})
    yield opened
    opened.close()


class TestContract(ReferrersContract, StoreContract):
    """What holds for every store."""

    frees_at_once = False

    @pytest.fixture
    def store(self, objects: Objects) -> Store:
        return BucketStore(PersistentObjects(objects), "team/model")

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, BucketStore)
        return BucketStore(store._objects, "team/model")

    def leftovers(self, store: Store) -> set[str]:
        assert isinstance(store, BucketStore)
        names = {each.key for each in store._objects.list("")}
        return {name for name in names if "blobs/" not in name and "index" not in name}


# The verbs


def test_small_objects(objects: Objects) -> None:
    assert objects.stat("a") is None
    assert objects.read("a", 100) is None
    etag = objects.put("a", b"one", LABEL, ABSENT)
    with pytest.raises(ConditionError):
        objects.put("a", b"two", LABEL, ABSENT)
    with pytest.raises(ConditionError):
        objects.put("a", b"two", LABEL, "another")
    found = objects.read("a", 100)
    assert found is not None
    assert (found[0], found[1].etag, found[1].size) == (b"one", etag, 3)
    newer = objects.put("a", b"two", LABEL, etag)
    stat = objects.stat("a")
    assert stat is not None
    assert stat.etag == newer != etag
    objects.delete(["a", "never was"])
    assert objects.stat("a") is None


def test_the_label_lies_beside_the_bytes(bucket: LocalCloud, objects: Objects) -> None:
    objects.put("small", b"x", LABEL)
    upload = objects.begin("large", LABEL)
    piece = objects.put_part("large", upload, 1, b"y", _sha(b"y"))
    objects.complete("large", upload, [piece], ABSENT)
    storage = client(bucket, "object_storage.ObjectStorageClient")
    for name in ("small", "large"):
        headers = storage.head_object(NAMESPACE, BUCKET, name).headers
        assert headers["opc-meta-oci-digest"] == "sha256:x"
        assert headers["content-type"] == LABEL.media_type


def test_lists_have_all_pages(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocimlpack.cloud import objects as module

    monkeypatch.setattr(module, "_PAGE", 2)
    names = [f"x/{number}/{letter}" for number in range(3) for letter in "ab"]
    for name in names:
        objects.put(name, b"", LABEL)
    objects.put("y", b"", LABEL)
    assert [each.key for each in objects.list("x/")] == names
    assert list(objects.folders("x/")) == ["0/", "1/", "2/"]
    assert list(objects.folders()) == ["x/"]


def test_ranges(objects: Objects) -> None:
    objects.put("a", b"0123456789", LABEL)
    stream = objects.stream("a", 3, 7, lasting=True)
    assert _all(stream) == b"3456"
    stream.close()
    assert _all(objects.stream("a", 4, 4, lasting=False)) == b""
    with pytest.raises(NotFoundError):
        objects.stream("nothing", 0, 5, lasting=False)


def test_parts_go_on_after_a_new_start(bucket: LocalCloud, objects: Objects) -> None:
    upload = objects.begin("a", LABEL)
    first = objects.put_part("a", upload, 1, b"1" * 100, _sha(b"1" * 100))
    again = oracle.objects(f"{BUCKET}@{NAMESPACE}", {})
    (found,) = again.pieces("a", upload) or ()
    assert (found.number, found.size, found.etag) == (1, 100, first.etag)
    assert [each.upload for each in again.uploads("")] == [upload]
    assert list(again.uploads("b")) == []
    second = again.put_part("a", upload, 2, b"2", _sha(b"2"))
    again.complete("a", upload, [found, second], ABSENT)
    assert again.pieces("a", upload) is None
    with pytest.raises(GoneError):
        again.complete("a", upload, [found, second])
    gone = again.begin("b", LABEL)
    again.cancel("b", gone)
    again.cancel("b", gone)
    with pytest.raises(GoneError):
        again.put_part("b", gone, 1, b"x", _sha(b"x"))
    again.close()


def test_a_part_with_another_digest_is_refused(objects: Objects) -> None:
    upload = objects.begin("a", LABEL)
    with pytest.raises(UnavailableError, match="damaged"):
        objects.put_part("a", upload, 1, b"x", _sha(b"y"))


def test_a_bucket_that_is_not_there(alice: LocalCloud, model: Path, cli: Cli) -> None:
    ran = cli("push", model, f"{PLACE}/team/minilm:1.0")
    assert ran.code == 3, ran.stderr
    assert "no bucket models" in ran.sentence
    assert "bucket provision" in ran.stderr


# Whole models


def test_a_model_there_and_back(
    bucket: LocalCloud, upstream: Registry, model: Path, cli: Cli, tmp_path: Path
) -> None:
    (model / "weights.bin").write_bytes(os.urandom(2 * PART + 12345))
    pushed = cli("push", model, f"{PLACE}/team/minilm:1.0", "-t", "stable")
    assert pushed.code == 0, pushed.stderr
    digest = pushed.stdout.strip().rpartition("@")[2]
    assert ocimlpack.tags(f"{PLACE}/team/minilm") == ("1.0", "stable")
    assert ocimlpack.repos(PLACE) == ("team/minilm",)
    assert ocimlpack.inspect(f"{PLACE}/team/minilm:stable").digest == digest
    copied = ocimlpack.copy(f"{PLACE}/team/minilm:1.0", f"{upstream.repository()}:1.0")
    assert copied.digest == digest
    back = ocimlpack.copy(copied.reference, f"{PLACE}/team/again:1.0")
    assert (back.digest, back.moved) == (digest, 0)  # blobs are the bucket's
    assert cli("pull", f"{PLACE}/team/again@{digest}", "-o", tmp_path / "out").code == 0
    assert read_tree(tmp_path / "out") == read_tree(model)
    for reference in (f"{PLACE}/team/minilm@{digest}", f"{PLACE}/team/again@{digest}"):
        ocimlpack.rm(reference)
    assert ocimlpack.tags(f"{PLACE}/team/minilm") == ()
    (push, *_) = ocimlpack.audit().records
    assert (push.action, push.identity, push.digest) == ("push", "api_key", digest)


def test_many_writers_lose_no_tag(bucket: LocalCloud, model: Path) -> None:
    failures: list[BaseException] = []

    def push(number: int) -> None:
        try:
            ocimlpack.push(model, f"{PLACE}/team/minilm:{number}")
        except BaseException as error:  # noqa: BLE001 - the thread's own
            failures.append(error)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ocimlpack.tags(f"{PLACE}/team/minilm") == tuple(str(number) for number in range(8))


def test_what_fails_in_passing_is_tried_again(
    bucket: LocalCloud, model: Path, tmp_path: Path
) -> None:
    (model / "weights.bin").write_bytes(os.urandom(PART + 1))
    for status, code in ((429, "TooManyRequests"), (500, "InternalServerError")):
        for method, path in (("PUT", "/o/"), ("PUT", "/u/"), ("POST", "/u"), ("GET", "/o/")):
            bucket.server.fault(
                method,
                path,
                status=status,
                body=f'{{"code": "{code}", "message": "later"}}'.encode(),
                headers={"Content-Type": "application/json"},
            )
    bucket.server.fault("POST", "/u/", drop="after")  # committed, and the answer lost
    bucket.server.fault("PUT", "/o/", drop="after", nth=4)
    bucket.server.fault("GET", "/o/", cut=1000, nth=6)
    pushed = ocimlpack.push(model, f"{PLACE}/team/minilm:1.0")
    ocimlpack.pull(pushed.reference, tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)


def test_no_permission(bucket: LocalCloud, model: Path) -> None:
    bucket.alice.may_manage = frozenset({"repos"})
    bucket.alice.may_read = frozenset({"repos"})
    with pytest.raises((NotAllowedError, NotFoundError)):
        ocimlpack.push(model, f"{PLACE}/team/minilm:1.0")


def test_a_push_that_the_registry_refuses_goes_there(
    bucket: LocalCloud, model: Path, tmp_path: Path
) -> None:
    dead = "127.0.0.1:9/team/minilm"
    done = ocimlpack.push(model, f"{dead}:1.0", fallback=f"{PLACE}/team/minilm")
    assert done.fallback == f"{PLACE}/team/minilm@{done.digest}"
    pulled = ocimlpack.pull(f"{dead}:1.0", tmp_path / "out", fallback=f"{PLACE}/team/minilm")
    assert pulled.fallback
    assert read_tree(tmp_path / "out") == read_tree(model)


def _sha(content: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(content).digest()


def _all(stream: Any) -> bytes:
    return b"".join(iter(lambda: stream.read(4), b""))
