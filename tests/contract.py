"""What every store keeps to, as one suite: a new store is one class of tests."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

import pytest

from ocimlpack.errors import (
    IntegrityError,
    InvalidDigestError,
    InvalidReferenceError,
    NotFoundError,
    UnavailableError,
)
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.gojson import encode
from ocimlpack.stores.base import (
    CHUNK,
    Blob,
    BytesBlob,
    RangeReader,
    ReferrerLister,
    Sink,
    Store,
    TagLister,
)
from ocimlpack.stores.verify import check
from ocimlpack.transfer import pool

WEIGHT = mediatypes.model_layer("weight")
LARGE = bytes(range(251)) * (3 * CHUNK // 251 + 7)


class WatchedBlob:
    """Bytes that count how often they are opened and how many of them are read."""

    def __init__(self, content: bytes, fail_at: int | None = None) -> None:
        self._content = content
        self._fail_at = fail_at
        self.opened = 0
        self.read = 0

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        self.opened += 1
        yield _WatchedStream(self, self._content[offset:], offset)

    def count(self, size: int, position: int) -> None:
        self.read += size
        if self._fail_at is not None and position >= self._fail_at:
            raise UnavailableError("the source is gone")


class _WatchedStream(io.BytesIO):
    def __init__(self, blob: WatchedBlob, content: bytes, offset: int) -> None:
        super().__init__(content)
        self._blob = blob
        self._offset = offset

    def read(self, size: int | None = -1) -> bytes:
        chunk = super().read(size)
        self._blob.count(len(chunk), self._offset + self.tell())
        return chunk


def put(store: Sink, content: bytes, media_type: str = WEIGHT) -> Descriptor:
    desc = Descriptor.of(content, media_type)
    store.push(desc, BytesBlob(content))
    return desc


def put_artifact(
    store: Sink,
    *layers: bytes,
    annotations: dict[str, str] | None = None,
    subject: Descriptor | None = None,
) -> manifests.Manifest:
    config = put(store, b"{}", mediatypes.OCI_EMPTY)
    manifest = manifests.build(
        config,
        [put(store, layer) for layer in layers],
        artifact_type="application/vnd.example.model",
        annotations=annotations,
        subject=subject,
    )
    store.push(manifest.descriptor, BytesBlob(manifest.raw))
    return manifest


def take(blob: Blob, offset: int = 0) -> bytes:
    with blob.open(offset) as stream:
        parts = []
        while chunk := stream.read(CHUNK):
            parts.append(chunk)
        return b"".join(parts)


def tags(store: Store) -> list[str]:
    assert isinstance(store, TagLister)
    return store.tags()


def read_part(store: Store, desc: Descriptor, offset: int, length: int) -> bytes:
    assert isinstance(store, RangeReader)
    return store.read(desc, offset, length)


def at_once(*calls: Callable[[], object]) -> None:
    """Make the calls from eight threads."""

    def task(call: Callable[[], object]) -> pool.Task[object]:
        return lambda _: call()

    pool.run(map(task, calls), 8)


class StoreContract:
    """Subclass it, supply the fixture `store`, and say how to open the same place again."""

    # A registry frees blobs, and forgets unfinished uploads, in its own time.
    frees_at_once = True

    def reopen(self, store: Store) -> Store:
        """The same place, as another process would see it."""
        return store

    def leftovers(self, store: Store) -> set[str]:
        """Names of what lies in the place, as far as it can be looked into."""
        return set()

    @pytest.mark.parametrize("content", [b"", b"x", b"weights", LARGE], ids=len)
    def test_what_is_pushed_is_fetched(self, store: Store, content: bytes) -> None:
        desc = Descriptor.of(content, WEIGHT)
        assert not store.exists(desc)
        store.push(desc, BytesBlob(content))
        assert store.exists(desc)
        other = self.reopen(store)
        assert other.exists(desc)
        assert take(other.fetch(desc)) == content
        check(other.fetch(desc), desc)

    @pytest.mark.parametrize("offset", [0, 1, CHUNK - 1, CHUNK + 1, len(LARGE) - 1, len(LARGE)])
    def test_content_is_opened_further_on(self, store: Store, offset: int) -> None:
        blob = store.fetch(put(store, LARGE))
        assert take(blob, offset) == LARGE[offset:]

    def test_content_can_be_opened_again(self, store: Store) -> None:
        blob = store.fetch(put(store, LARGE))
        with blob.open() as stream:
            assert stream.read(10) == LARGE[:10]
        assert take(blob) == LARGE

    def test_a_second_push_reads_nothing(self, store: Store) -> None:
        desc = put(store, b"weights")
        blob = WatchedBlob(b"weights")
        store.push(desc, blob)
        assert blob.opened == 0
        assert take(store.fetch(desc)) == b"weights"

    def test_a_second_push_of_a_manifest_changes_nothing(self, store: Store) -> None:
        manifest = put_artifact(store, b"weights")
        store.tag(manifest.descriptor, "v1")
        store.push(manifest.descriptor, BytesBlob(manifest.raw))
        assert store.resolve("v1").digest == manifest.descriptor.digest

    @pytest.mark.parametrize(
        "sent",
        [LARGE[:-1] + b"\xff", b"", LARGE[:-1], LARGE[: 2 * CHUNK], LARGE + b"x", LARGE + LARGE],
        ids=["wrong", "nothing", "one byte short", "short", "one byte long", "twice"],
    )
    def test_other_bytes_than_announced_are_refused_and_not_kept(
        self, store: Store, sent: bytes
    ) -> None:
        before = self.leftovers(store)
        desc = Descriptor.of(LARGE, WEIGHT)
        with pytest.raises(IntegrityError) as caught:
            store.push(desc, BytesBlob(sent))
        assert caught.value.digest == str(desc.digest)
        assert not self.reopen(store).exists(desc)
        assert self.leftovers(store) == before
        store.push(desc, BytesBlob(LARGE))
        assert take(store.fetch(desc)) == LARGE

    @pytest.mark.parametrize("sent", [b"", b"x"], ids=["nothing", "a byte"])
    def test_a_small_blob_is_checked_too(self, store: Store, sent: bytes) -> None:
        desc = Descriptor.of(b"y" if sent else b"x", WEIGHT)
        with pytest.raises(IntegrityError):
            store.push(desc, BytesBlob(sent))
        assert not store.exists(desc)

    def test_bytes_in_place_of_nothing_are_refused(self, store: Store) -> None:
        desc = Descriptor.of(b"", WEIGHT)
        with pytest.raises(IntegrityError):
            store.push(desc, BytesBlob(b"x"))
        # A registry has taken the empty blob before more is offered, and it is the right one.
        assert not store.exists(desc) or take(store.fetch(desc)) == b""

    @pytest.mark.parametrize("length", [-1, 0, 1], ids=["short", "wrong", "long"])
    def test_other_bytes_than_announced_are_refused_for_a_manifest(
        self, store: Store, length: int
    ) -> None:
        manifest = put_artifact(store, b"weights")
        other = manifests.build(manifest.config, [*manifest.layers, manifest.config])
        raw = other.raw[:length] if length < 0 else other.raw + b" " * length
        desc = other.descriptor if length else manifests.build(manifest.config, []).descriptor
        with pytest.raises(IntegrityError):
            store.push(desc, BytesBlob(raw))
        assert not store.exists(desc)
        with pytest.raises(NotFoundError):
            store.resolve(str(desc.digest))

    @pytest.mark.parametrize("fail_at", [0, 2 * CHUNK], ids=["at once", "midway"])
    def test_an_error_of_the_source_gets_through_and_nothing_is_kept(
        self, store: Store, fail_at: int
    ) -> None:
        before = self.leftovers(store)
        desc = Descriptor.of(LARGE, WEIGHT)
        with pytest.raises(UnavailableError, match="the source is gone"):
            store.push(desc, WatchedBlob(LARGE, fail_at))
        assert not self.reopen(store).exists(desc)
        assert self.leftovers(store) == before

    def test_what_is_not_there_is_said_to_be_so(self, store: Store) -> None:
        put_artifact(store, b"weights")
        absent = Descriptor.of(b"absent", WEIGHT)
        assert not store.exists(absent)
        with pytest.raises(NotFoundError):
            take(store.fetch(absent))
        absent_manifest = Descriptor.of(b"absent", mediatypes.OCI_MANIFEST)
        assert not store.exists(absent_manifest)
        with pytest.raises(NotFoundError):
            take(store.fetch(absent_manifest))
        for name in ("absent", str(absent.digest)):
            with pytest.raises(NotFoundError):
                store.resolve(name)

    def test_what_is_no_digest_is_not_looked_for(self, store: Store) -> None:
        with pytest.raises(InvalidDigestError):
            store.resolve("sha256:../../../etc/passwd")

    def test_a_manifest_is_found_by_its_tag_and_its_digest(self, store: Store) -> None:
        desc = put_artifact(store, b"weights").descriptor
        store.tag(desc, "v1")
        other = self.reopen(store)
        assert other.resolve("v1") == desc
        assert other.resolve(str(desc.digest)) == desc

    def test_a_manifest_without_a_tag_is_found_by_its_digest(self, store: Store) -> None:
        desc = put_artifact(store, b"weights").descriptor
        assert self.reopen(store).resolve(str(desc.digest)) == desc

    def test_a_manifest_is_kept_byte_for_byte(self, store: Store) -> None:
        built = put_artifact(store, b"weights")
        raw = b" " + built.raw.replace(b",", b" ,\n") + b"\n"
        desc = Descriptor.of(raw, mediatypes.OCI_MANIFEST)
        store.push(desc, BytesBlob(raw))
        store.tag(desc, "spaced")
        assert take(self.reopen(store).fetch(desc)) == raw
        assert self.reopen(store).resolve("spaced") == desc

    def test_a_manifest_keeps_its_media_type(self, store: Store) -> None:
        parts = put_artifact(store, b"weights")
        value = {
            "schemaVersion": 2,
            "mediaType": mediatypes.DOCKER_MANIFEST,
            "config": parts.config.to_json(),
            "layers": [layer.to_json() for layer in parts.layers],
        }
        desc = put(store, encode(value), mediatypes.DOCKER_MANIFEST)
        store.tag(desc, "docker")
        assert self.reopen(store).resolve("docker").media_type == mediatypes.DOCKER_MANIFEST
        assert store.resolve(str(desc.digest)).media_type == mediatypes.DOCKER_MANIFEST

    def test_an_index_and_what_it_lists(self, store: Store) -> None:
        one = put_artifact(store, b"one").descriptor
        two = put_artifact(store, b"two").descriptor
        index = put(store, index_of(one, two), mediatypes.OCI_INDEX)
        store.tag(index, "both")
        other = self.reopen(store)
        assert other.resolve("both") == index
        assert other.resolve(str(one.digest)) == one
        assert take(other.fetch(two)) == take(store.fetch(two))

    def test_a_tag_moves(self, store: Store) -> None:
        one = put_artifact(store, b"one").descriptor
        two = put_artifact(store, b"two").descriptor
        for desc in (one, two, one, one):
            store.tag(desc, "latest")
            assert self.reopen(store).resolve("latest") == desc
        assert tags(store) == ["latest"]
        assert store.exists(two)

    def test_a_manifest_has_several_tags(self, store: Store) -> None:
        desc = put_artifact(store, b"weights").descriptor
        names = ["v10", "v1.2.3-rc.1_x", "V1", "_", "0", "a" * 128, "a.b-c", "2024-01-01"]
        for name in names:
            store.tag(desc, name)
        assert tags(self.reopen(store)) == sorted(names)
        for name in names:
            assert store.resolve(name) == desc

    @pytest.mark.parametrize("name", ["", ".x", "-x", "a b", "a/b", "a:b", "x" * 129, "../x", "ü"])
    def test_what_is_no_tag_is_refused(self, store: Store, name: str) -> None:
        desc = put_artifact(store, b"weights").descriptor
        store.tag(desc, "v1")
        with pytest.raises(InvalidReferenceError):
            store.tag(desc, name)
        assert tags(store) == ["v1"]

    def test_a_tag_needs_a_manifest_that_is_there(self, store: Store) -> None:
        desc = put_artifact(store, b"weights").descriptor
        store.tag(desc, "v1")
        with pytest.raises(NotFoundError):
            store.tag(Descriptor.of(b"absent", mediatypes.OCI_MANIFEST), "v1")
        assert store.resolve("v1") == desc

    def test_taking_a_tag_away_leaves_the_content(self, store: Store) -> None:
        manifest = put_artifact(store, b"weights")
        for name in ("v1", "v2"):
            store.tag(manifest.descriptor, name)
        store.untag("v1")
        other = self.reopen(store)
        assert tags(other) == ["v2"]
        with pytest.raises(NotFoundError):
            other.resolve("v1")
        other.untag("v2")
        assert take(store.fetch(manifest.descriptor)) == manifest.raw
        assert take(store.fetch(manifest.layers[0])) == b"weights"

    def test_a_tag_that_is_not_there_can_not_be_taken_away(self, store: Store) -> None:
        store.tag(put_artifact(store, b"weights").descriptor, "v1")
        with pytest.raises(NotFoundError):
            store.untag("v2")
        assert tags(store) == ["v1"]

    def test_deleting_removes_a_manifest_and_its_tags(self, store: Store) -> None:
        one = put_artifact(store, b"shared", b"one")
        two = put_artifact(store, b"shared", b"two")
        for name in ("v1", "v1.0"):
            store.tag(one.descriptor, name)
        store.tag(two.descriptor, "v2")
        freed = store.delete(one.descriptor)
        other = self.reopen(store)
        assert tags(other) == ["v2"]
        assert not other.exists(one.descriptor)
        with pytest.raises(NotFoundError):
            other.resolve(str(one.descriptor.digest))
        for child in two.children:
            check(other.fetch(child), child)
        if self.frees_at_once:
            assert freed == len(one.raw) + len(b"one")
            assert not other.exists(one.layers[1])

    def test_deleting_what_is_not_there_is_an_error(self, store: Store) -> None:
        put_artifact(store, b"weights")
        with pytest.raises(NotFoundError):
            store.delete(Descriptor.of(b"absent", mediatypes.OCI_MANIFEST))

    @pytest.mark.parametrize("missing", ["layer", "config"])
    def test_a_manifest_whose_content_is_missing_is_refused(
        self, store: Store, missing: str
    ) -> None:
        parts = put_artifact(store, b"weights")
        absent = Descriptor.of(b"absent", WEIGHT)
        manifest = (
            manifests.build(parts.config, [*parts.layers, absent])
            if missing == "layer"
            else manifests.build(absent, parts.layers)
        )
        with pytest.raises(NotFoundError):
            store.push(manifest.descriptor, BytesBlob(manifest.raw))
        assert not self.reopen(store).exists(manifest.descriptor)
        with pytest.raises(NotFoundError):
            store.resolve(str(manifest.descriptor.digest))

    def test_an_index_whose_manifest_is_missing_is_refused(self, store: Store) -> None:
        one = put_artifact(store, b"one").descriptor
        raw = index_of(one, Descriptor.of(b"absent", mediatypes.OCI_MANIFEST))
        with pytest.raises(NotFoundError):
            put(store, raw, mediatypes.OCI_INDEX)
        assert not store.exists(Descriptor.of(raw, mediatypes.OCI_INDEX))

    def test_the_same_blob_is_pushed_many_times_at_once(self, store: Store) -> None:
        desc = Descriptor.of(LARGE, WEIGHT)
        at_once(*[partial(store.push, desc, BytesBlob(LARGE))] * 8)
        assert take(self.reopen(store).fetch(desc)) == LARGE

    def test_different_blobs_are_pushed_at_once(self, store: Store) -> None:
        contents = [bytes([number]) * (1000 * number) for number in range(24)]
        at_once(*(partial(put, store, each) for each in contents))
        for content in contents:
            assert take(store.fetch(Descriptor.of(content, WEIGHT))) == content

    def test_tags_are_set_at_once(self, store: Store) -> None:
        desc = put_artifact(store, b"weights").descriptor
        names = [f"v{number}" for number in range(12)]
        at_once(*(partial(store.tag, desc, name) for name in names))
        assert tags(self.reopen(store)) == sorted(names)

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, 1),
            (0, len(LARGE)),
            (8, CHUNK + 1),
            (len(LARGE) - 3, 3),
            (len(LARGE) - 3, 100),
            (len(LARGE), 1),
            (5, 0),
        ],
    )
    def test_a_part_is_read(self, store: Store, offset: int, length: int) -> None:
        desc = put(store, LARGE)
        assert read_part(store, desc, offset, length) == LARGE[offset : offset + length]

    def test_a_part_of_what_is_not_there_is_not_found(self, store: Store) -> None:
        put(store, b"weights")
        with pytest.raises(NotFoundError):
            read_part(store, Descriptor.of(b"absent", WEIGHT), 0, 1)

    def test_a_blob_under_a_sha512_digest(self, store: Store) -> None:
        content = b"weights"
        digest = Digest.parse(f"sha512:{hashlib.sha512(content).hexdigest()}")
        desc = Descriptor(WEIGHT, digest, len(content))
        with pytest.raises(IntegrityError):
            store.push(desc, BytesBlob(b"WEIGHTS"))
        store.push(desc, BytesBlob(content))
        other = self.reopen(store)
        assert other.exists(desc)
        assert take(other.fetch(desc)) == content

    def test_a_manifest_under_a_sha512_digest(self, store: Store) -> None:
        raw = put_artifact(store, b"weights").raw
        digest = Digest.parse(f"sha512:{hashlib.sha512(raw).hexdigest()}")
        desc = Descriptor(mediatypes.OCI_MANIFEST, digest, len(raw))
        store.push(desc, BytesBlob(raw))
        assert self.reopen(store).resolve(str(digest)) == desc
        assert take(store.fetch(desc)) == raw


class ReferrersContract:
    """What every store that lists referrers keeps to, beside the rest."""

    def test_what_refers_to_a_manifest_is_listed(self, store: Store) -> None:
        model = put_artifact(store, b"weights").descriptor
        other = put_artifact(store, b"other").descriptor
        signed = [
            put_artifact(store, layer, subject=model, annotations={"n": str(layer)}).descriptor
            for layer in (b"signature", b"bill of materials")
        ]
        assert isinstance(store, ReferrerLister)
        found = store.referrers(model)
        assert {each.digest for each in found} == {each.digest for each in signed}
        assert {each.artifact_type for each in found} == {"application/vnd.example.model"}
        assert store.referrers(other) == []


def index_of(*listed: Descriptor) -> bytes:
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [each.to_json() for each in listed],
        }
    )
