from __future__ import annotations

import pytest

from ocimlpack.errors import (
    IntegrityError,
    InvalidContentError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import MAX_SIZE
from ocimlpack.spec.reference import Reference
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import BytesBlob, Store
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.transfer.copy import copy
from tests.contract import (
    LARGE,
    WEIGHT,
    ReferrersContract,
    StoreContract,
    put,
    put_artifact,
    take,
)
from tests.scripted.fixtures import REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry


class TestContract(ReferrersContract, StoreContract):
    frees_at_once = False

    @pytest.fixture(params=[False, True], ids=["tag of referrers", "Referrers API"])
    def store(
        self, scripted: ScriptedRegistry, session: Session, request: pytest.FixtureRequest
    ) -> Store:
        scripted.quirks.referrers = request.param
        return RegistryStore(session, REPOSITORY)

    def reopen(self, store: Store) -> Store:
        assert isinstance(store, RegistryStore)
        return RegistryStore(store.session, store.repository)


# Resolving


def test_a_tag_is_resolved_by_one_request_without_a_body(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, b"weights")
    assert store.resolve("v1") == manifest.descriptor
    assert [each.method for each in scripted.requests] == ["HEAD"]
    accepted = scripted.requests[0].header("accept")
    for media_type in mediatypes.MANIFESTS | mediatypes.INDEXES:
        assert media_type in accepted


@pytest.mark.parametrize("name", ["tag", "digest"])
@pytest.mark.parametrize("digest_header", [True, False], ids=["digest sent", "no digest sent"])
@pytest.mark.parametrize("manifest_type", ["", "text/plain", "application/json; charset=utf-8"])
def test_a_manifest_is_resolved_whatever_headers_come_with_it(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    name: str,
    digest_header: bool,
    manifest_type: str,
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, b"weights")
    scripted.quirks.digest_header = digest_header
    scripted.quirks.manifest_type = manifest_type
    asked = "v1" if name == "tag" else str(manifest.descriptor.digest)
    assert store.resolve(asked) == manifest.descriptor
    assert take(store.fetch(manifest.descriptor)) == manifest.raw


def test_a_registry_that_knows_no_head_is_asked_for_the_manifest(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, b"weights")
    scripted.fault("HEAD", "/manifests/", times=None, status=405)
    assert store.resolve("v1") == manifest.descriptor


def test_a_manifest_is_read_once_to_be_resolved_and_fetched(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.content.add_artifact(REPOSITORY, b"weights")
    scripted.quirks.digest_header = False
    read_manifest(store, store.resolve("v1"))
    assert scripted.count("GET", "/manifests/") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Docker-Content-Digest": "sha256:../../x"},
        {"Docker-Content-Digest": "latest"},
        {"Content-Length": "many"},
        {"Content-Length": "-1"},
    ],
    ids=str,
)
def test_malformed_headers_are_never_believed(
    scripted: ScriptedRegistry, store: RegistryStore, headers: dict[str, str]
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, b"weights")
    good = {
        "Content-Type": mediatypes.OCI_MANIFEST,
        "Content-Length": str(len(manifest.raw)),
        "Docker-Content-Digest": str(manifest.descriptor.digest),
    }
    scripted.fault("HEAD", "/manifests/v1", times=None, status=200, headers={**good, **headers})
    try:
        found = store.resolve("v1")
    except (IntegrityError, UnavailableError):
        return
    assert found == manifest.descriptor


# Digest pins


@pytest.mark.parametrize("digest_header", [True, False], ids=["digest claimed", "nothing claimed"])
def test_another_manifest_than_the_pinned_one_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, digest_header: bool
) -> None:
    pinned = str(scripted.content.add_artifact(REPOSITORY, b"weights").descriptor.digest)
    other = scripted.content.add_artifact(REPOSITORY, b"other weights", tag="other")
    scripted.quirks.digest_header = digest_header
    scripted.quirks.manifests = {pinned: other.raw}
    into = MemoryStore()
    with pytest.raises(IntegrityError):
        copy(store, store.resolve(pinned), into, ["v1"])
    assert into.tags() == []
    assert not into.exists(other.descriptor)


def test_a_registry_that_names_another_digest_than_the_pinned_one_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    pinned = str(scripted.content.add_artifact(REPOSITORY, b"weights").descriptor.digest)
    other = scripted.content.add_artifact(REPOSITORY, b"other weights", tag="other").descriptor
    headers = {
        "Content-Type": other.media_type,
        "Content-Length": str(other.size),
        "Docker-Content-Digest": str(other.digest),
    }
    scripted.fault("HEAD", pinned, times=None, status=200, headers=headers)
    with pytest.raises(IntegrityError) as caught:
        store.resolve(pinned)
    assert caught.value.digest == pinned


def test_with_a_tag_and_a_digest_the_digest_decides(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    first = scripted.content.add_artifact(REPOSITORY, b"weights", tag="v1")
    scripted.content.add_artifact(REPOSITORY, b"other weights", tag="v1")
    reference = Reference.parse(f"{scripted.host}/{REPOSITORY}:v1@{first.descriptor.digest}")
    assert store.resolve(reference.name) == first.descriptor
    assert scripted.count("", "/manifests/v1") == 0


# Size


@pytest.mark.parametrize("digest_header", [True, False], ids=["digest sent", "no digest sent"])
def test_a_manifest_that_is_too_large_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, digest_header: bool
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, b"weights")
    scripted.quirks.digest_header = digest_header
    scripted.quirks.manifests = {"v1": manifest.raw + b" " * MAX_SIZE}
    with pytest.raises(IntegrityError):
        read_manifest(store, store.resolve("v1"))


def test_a_manifest_that_says_it_is_too_large_is_not_even_asked_for(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.content.add_text(REPOSITORY, b" " * (MAX_SIZE + 1), "v1")
    with pytest.raises(InvalidContentError):
        read_manifest(store, store.resolve("v1"))
    assert scripted.count("GET") == 0


# Uploads


@pytest.mark.parametrize("location", ["relative", "absolute", "foreign"])
def test_an_upload_goes_where_the_registry_says(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    foreign: ScriptedRegistry,
    location: str,
) -> None:
    scripted.quirks.location = {
        "relative": "",
        "absolute": scripted.url,
        "foreign": foreign.url,
    }[location]
    desc = put(store, LARGE)
    assert scripted.content[REPOSITORY].blobs[str(desc.digest)] == LARGE
    assert len(foreign.uploads) == (location == "foreign")


def test_the_query_of_an_upload_is_kept_as_it_was_given(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    signed = "X-Sig=a%2Fb%3D&b=c+d%20e&empty="
    scripted.fault(
        "POST", status=202, headers={"Location": f"/v2/{REPOSITORY}/blobs/uploads/u?{signed}"}
    )
    scripted.fault("PUT", "/uploads/u", status=201)
    desc = put(store, b"weights")
    assert scripted.asked("PUT")[0].query.startswith(f"{signed}&digest=")
    assert scripted.asked("PUT")[0].arguments()["digest"] == str(desc.digest)


def test_an_upload_is_three_requests(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    put(store, LARGE)
    assert [each.method for each in scripted.requests] == ["HEAD", "POST", "PUT"]
    assert [each.length for each in scripted.requests] == [0, 0, len(LARGE)]


def test_connections_are_kept(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    for number in range(20):
        put(store, b"%d" % number)
    with pytest.raises(NotFoundError):
        store.resolve("absent")
    put_artifact(store, LARGE)
    assert scripted.connections == 1


@pytest.mark.parametrize("headers", [{}, {"Location": "gopher://x/"}], ids=["none", "unusable"])
def test_an_upload_without_an_address_is_an_error(
    scripted: ScriptedRegistry, store: RegistryStore, headers: dict[str, str]
) -> None:
    scripted.fault("POST", times=None, status=202, headers=headers)
    with pytest.raises(UnavailableError, match="Location"):
        put(store, b"weights")
    assert scripted.uploads == []


def test_a_registry_that_stores_a_manifest_under_another_digest_is_an_error(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    put(store, b"{}", mediatypes.OCI_EMPTY)
    other = Descriptor.of(b"other", WEIGHT).digest
    scripted.fault("PUT", "/manifests/", status=201, headers={"Docker-Content-Digest": str(other)})
    with pytest.raises(IntegrityError):
        put_artifact(store)


def test_a_manifest_is_pushed_under_its_own_media_type(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    put_artifact(store, b"weights")
    assert [each.header("content-type") for each in scripted.asked("PUT", "/manifests/")] == [
        mediatypes.OCI_MANIFEST
    ]


def test_tagging_moves_no_blob(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, LARGE)
    store.tag(store.resolve("v1"), "v2")
    assert scripted.content[REPOSITORY].tags["v2"] == str(manifest.descriptor.digest)
    assert scripted.count("", "/blobs/") == 0


def test_a_blob_is_pushed_from_the_middle_of_nothing_else(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    """A blob that is offered under the digest of another one changes neither."""
    desc = put(store, b"weights")
    with pytest.raises(IntegrityError):
        store.push(Descriptor.of(b"other", WEIGHT), BytesBlob(b"weights"))
    assert take(store.fetch(desc)) == b"weights"


# Mounting


@pytest.fixture
def neighbour(scripted: ScriptedRegistry, session: Session) -> RegistryStore:
    """Another repository of the same registry, where an artifact lies."""
    return RegistryStore(session, "team/neighbour")


def test_a_blob_is_mounted_without_its_bytes(
    scripted: ScriptedRegistry, store: RegistryStore, neighbour: RegistryStore
) -> None:
    desc = put(neighbour, LARGE)
    scripted.forget()
    assert store.mount(desc, neighbour)
    assert store.exists(desc)
    assert [str(each.method) for each in scripted.requests] == ["POST", "HEAD"]
    assert scripted.requests[0].arguments() == {
        "mount": str(desc.digest),
        "from": "team/neighbour",
    }


@pytest.mark.parametrize("status", [202, 400, 401, 403, 404, 405])
def test_where_a_mount_is_denied_the_bytes_go_over(
    scripted: ScriptedRegistry, store: RegistryStore, neighbour: RegistryStore, status: int
) -> None:
    artifact = put_artifact(neighbour, LARGE)
    scripted.quirks.mount = status
    scripted.forget()
    summary = copy(neighbour, artifact.descriptor, store, ["v1"])
    assert (summary.moved, summary.mounted) == (len(LARGE) + 2, 0)
    assert take(store.fetch(artifact.layers[0])) == LARGE
    # With 202 the registry has begun an upload session, which is used.
    assert scripted.count("POST") == (2 if status == 202 else 4)


def test_nothing_is_mounted_from_elsewhere(
    scripted: ScriptedRegistry, store: RegistryStore, foreign: ScriptedRegistry
) -> None:
    elsewhere = RegistryStore(connect(foreign), "team/neighbour")
    desc = put(elsewhere, LARGE)
    scripted.forget()
    assert not store.mount(desc, elsewhere)
    assert not store.mount(desc, MemoryStore())
    assert not store.mount(desc, RegistryStore(store.session, REPOSITORY))
    assert scripted.requests == []
    elsewhere.close()


# Deletion


@pytest.mark.parametrize("status", [400, 405])
def test_a_registry_without_tag_deletion_says_so(
    scripted: ScriptedRegistry, store: RegistryStore, status: int
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, b"weights")
    scripted.quirks.untag = status
    with pytest.raises(UnsupportedError) as caught:
        store.untag("v1")
    assert caught.value.hint
    assert store.resolve("v1") == manifest.descriptor


def test_a_registry_without_deletion_says_so(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, b"weights")
    scripted.quirks.deletion = 405
    with pytest.raises(UnsupportedError) as caught:
        store.delete(manifest.descriptor)
    assert caught.value.hint
    assert store.exists(manifest.descriptor)


def test_what_was_deleted_is_not_remembered(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    desc = put_artifact(store, b"weights").descriptor
    store.delete(desc)
    with pytest.raises(NotFoundError):
        take(store.fetch(desc))


# Asking, or sending without


def blob_heads(scripted: ScriptedRegistry) -> int:
    return sum("/blobs/" in each.path for each in scripted.asked("HEAD"))


def test_many_small_blobs_of_a_new_model_are_sent_without_asking_for_each(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    source = MemoryStore()
    manifest = put_artifact(source, *(f"file {number}".encode() for number in range(300)))
    done = copy(source, manifest.descriptor, store, ["v1"], jobs=1)
    # 32 to be convinced, and one of 16 of the other 269 thereafter.
    assert blob_heads(scripted) == 32 + 269 // 16
    assert done.skipped == 0
    assert len(scripted.content[REPOSITORY].blobs) == 301


def test_where_most_is_there_that_is_noticed(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    source = MemoryStore()
    # Content of one length is moved in the manifest's order.
    layers = [f"file {number:03}".encode() for number in range(300)]
    manifest = put_artifact(source, *layers)
    for layer in layers[60:]:
        scripted.content.add_blob(REPOSITORY, layer)
    copy(source, manifest.descriptor, store, ["v1"], jobs=1)
    # What was sent in vain is no more than what lies between two samples.
    assert len(scripted.asked("PUT")) - 2 < 61 + 16
    assert blob_heads(scripted) > 220


def test_large_blobs_are_always_asked_for(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    source = MemoryStore()
    layers = [f"file {number}".encode() for number in range(40)]
    put_artifact(source, *layers)
    for layer in layers:
        put(store, layer)
        store.exists(Descriptor.of(f"no {layer!r}".encode(), WEIGHT))
    assert store.presume_absent(Descriptor.of(b"x", WEIGHT))
    assert not store.presume_absent(Descriptor.of(LARGE, WEIGHT))
