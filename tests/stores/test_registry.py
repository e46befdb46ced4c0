from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ocimlpack.errors import (
    IntegrityError,
    InvalidContentError,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import MAX_SIZE, Manifest, build
from ocimlpack.spec.reference import Reference
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import BytesBlob, Store
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.registry import RegistryStore, list_repositories
from ocimlpack.stores.verify import check
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
from tests.scripted.blobs import BlobServer
from tests.scripted.fixtures import (
    authority,
    blob_server,
    ca_file,
    connect,
    encrypted,
    foreign,
    scripted,
    session,
    store,
)
from tests.scripted.registry import ScriptedRegistry

__all__ = [
    "authority",
    "blob_server",
    "ca_file",
    "encrypted",
    "foreign",
    "scripted",
    "session",
    "store",
]

REPOSITORY = "team/model"


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


def seed(scripted: ScriptedRegistry, *layers: bytes, tag: str = "v1") -> Manifest:
    """An artifact that the registry holds, brought there by nobody."""
    config = scripted.content.add_blob(REPOSITORY, b"{}", mediatypes.OCI_EMPTY)
    described = [scripted.content.add_blob(REPOSITORY, layer, WEIGHT) for layer in layers]
    manifest = build(config, described)
    scripted.content.add_manifest(REPOSITORY, manifest, tag)
    return manifest


# Resolving


def test_a_tag_is_resolved_by_one_request_without_a_body(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    manifest = seed(scripted, b"weights")
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
    manifest = seed(scripted, b"weights")
    scripted.quirks.digest_header = digest_header
    scripted.quirks.manifest_type = manifest_type
    asked = "v1" if name == "tag" else str(manifest.descriptor.digest)
    assert store.resolve(asked) == manifest.descriptor
    assert take(store.fetch(manifest.descriptor)) == manifest.raw


def test_a_registry_that_knows_no_head_is_asked_for_the_manifest(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    manifest = seed(scripted, b"weights")
    scripted.fault("HEAD", "/manifests/", times=None, status=405)
    assert store.resolve("v1") == manifest.descriptor


def test_a_manifest_is_read_once_to_be_resolved_and_fetched(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    seed(scripted, b"weights")
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
    manifest = seed(scripted, b"weights")
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
    pinned = str(seed(scripted, b"weights").descriptor.digest)
    other = seed(scripted, b"other weights", tag="other")
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
    pinned = str(seed(scripted, b"weights").descriptor.digest)
    other = seed(scripted, b"other weights", tag="other").descriptor
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
    first = seed(scripted, b"weights", tag="v1")
    seed(scripted, b"other weights", tag="v1")
    reference = Reference.parse(f"{scripted.host}/{REPOSITORY}:v1@{first.descriptor.digest}")
    assert store.resolve(reference.name) == first.descriptor
    assert scripted.count("", "/manifests/v1") == 0


# Size


@pytest.mark.parametrize("digest_header", [True, False], ids=["digest sent", "no digest sent"])
def test_a_manifest_that_is_too_large_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, digest_header: bool
) -> None:
    manifest = seed(scripted, b"weights")
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


@pytest.mark.parametrize(
    "served",
    [LARGE[:-1] + b"\x00", LARGE[:-1], b"", LARGE + b"x", LARGE * 2, b"<html>sign in</html>"],
    ids=["wrong", "short", "nothing", "long", "twice", "a page"],
)
def test_another_blob_than_asked_for_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, served: bytes
) -> None:
    manifest = seed(scripted, LARGE)
    scripted.quirks.blobs = {str(manifest.layers[0].digest): served}
    into = MemoryStore()
    with pytest.raises(IntegrityError) as caught:
        copy(store, manifest.descriptor, into, ["v1"])
    assert caught.value.digest == str(manifest.layers[0].digest)
    assert not into.exists(manifest.layers[0])
    assert into.tags() == []


def test_a_wrong_blob_is_not_asked_for_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    manifest = seed(scripted, b"weights")
    scripted.quirks.blobs = {str(manifest.layers[0].digest): b"WEIGHTS"}
    with pytest.raises(IntegrityError):
        check(store.fetch(manifest.layers[0]), manifest.layers[0])
    assert scripted.count("GET", "/blobs/") == 1


# Ranges and encodings


def test_a_part_is_asked_for_by_a_range(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    assert store.read(desc, 10, 20) == LARGE[10:30]
    assert scripted.requests[-1].header("range") == "bytes=10-29"


@pytest.mark.parametrize("offset", [0, 1000, len(LARGE) - 5])
def test_a_registry_that_ignores_ranges_is_read_up_to_the_part(
    scripted: ScriptedRegistry, store: RegistryStore, offset: int
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.ranges = "ignored"
    assert store.read(desc, offset, 5) == LARGE[offset : offset + 5]
    assert take(store.fetch(desc), offset) == LARGE[offset:]


def test_a_part_from_elsewhere_is_refused(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.ranges = "wrong offset"
    with pytest.raises(IntegrityError):
        store.read(desc, 1000, 5)
    with pytest.raises(IntegrityError):
        take(store.fetch(desc), 1000)


def test_a_part_that_is_shorter_than_asked_for_is_completed(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    # A server may answer with less: https://www.rfc-editor.org/rfc/rfc9110#section-15.3.7
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.ranges = "short"
    assert store.read(desc, 1000, 500) == LARGE[1000:1500]
    assert take(store.fetch(desc), 1000) == LARGE[1000:]


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes 1000-1004", "bytes */9", "bytes 1000-1004/7", "pages 1000-1004/*", "bytes x-y/z"],
)
def test_a_part_without_a_proper_range_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, content_range: str
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.fault(
        "GET",
        "/blobs/",
        times=None,
        status=206,
        headers={"Content-Range": content_range} if content_range else {},
        body=LARGE[:5],
    )
    with pytest.raises(IntegrityError):
        store.read(desc, 1000, 5)


def test_a_blob_in_another_encoding_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.gzip = True
    with pytest.raises((UnsupportedError, IntegrityError)):
        check(store.fetch(desc), desc)
    assert scripted.requests[-1].header("accept-encoding") == "identity"


# Redirects


def test_a_blob_is_read_from_where_the_registry_leads(
    scripted: ScriptedRegistry, store: RegistryStore, blob_server: BlobServer
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.redirect = blob_server.url + "/{digest}"
    check(store.fetch(desc), desc)
    assert store.read(desc, 1000, 5) == LARGE[1000:1005]
    assert blob_server.requests[-1].header("range") == "bytes=1000-1004"


def test_an_address_that_has_expired_is_asked_for_again(
    scripted: ScriptedRegistry, store: RegistryStore, blob_server: BlobServer
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.redirect = blob_server.url + "/{digest}"
    blob_server.fault("GET", nth=1, status=403, body=b"<Error>expired</Error>")
    check(store.fetch(desc), desc)
    assert scripted.count("GET", "/blobs/") == 2


def test_a_broken_download_goes_on_by_way_of_the_registry(
    scripted: ScriptedRegistry, store: RegistryStore, blob_server: BlobServer
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.redirect = blob_server.url + "/{digest}"
    blob_server.fault("GET", cut=100_000)
    check(store.fetch(desc), desc)
    assert [each.header("range") for each in blob_server.requests] == ["", "bytes=100000-"]
    assert scripted.count("GET", "/blobs/") == 2


def test_redirects_that_never_end_are_given_up(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.redirect = f"/v2/{REPOSITORY}/blobs/{{digest}}"
    with pytest.raises(UnavailableError, match="redirects"):
        check(store.fetch(desc), desc)
    assert scripted.count("GET") <= 6


def test_a_redirect_from_https_to_http_is_refused(
    encrypted: ScriptedRegistry, blob_server: BlobServer, ca_file: Path
) -> None:
    desc = encrypted.content.add_blob(REPOSITORY, LARGE)
    encrypted.quirks.redirect = "http://127.0.0.3:1/{digest}"
    opened = connect(encrypted, ca_file=ca_file)
    with pytest.raises(NotAllowedError, match="from https to http"):
        check(RegistryStore(opened, REPOSITORY).fetch(desc), desc)
    opened.close()


@pytest.mark.parametrize(
    "location", ["", "file:///etc/passwd", "gopher://127.0.0.1/", "//", "http://"]
)
def test_a_redirect_to_nowhere_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, location: str
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    headers = {"Location": location} if location else {}
    fault = scripted.fault("GET", "/blobs/", times=None, status=307, headers=headers)
    with pytest.raises(UnavailableError):
        check(store.fetch(desc), desc)
    assert fault.hits <= 24


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


# Lists


@pytest.mark.parametrize("page", [1, 2, 7, 1000])
def test_tags_come_in_pages(scripted: ScriptedRegistry, store: RegistryStore, page: int) -> None:
    names = [f"v{number}" for number in range(7)]
    for name in names:
        seed(scripted, b"weights", tag=name)
    scripted.quirks.page = page
    assert store.tags() == sorted(names)


def test_a_list_of_tags_that_names_itself_as_the_next_page_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    seed(scripted, b"weights")
    scripted.quirks.endless = "itself"
    with pytest.raises(InvalidContentError):
        store.tags()
    assert scripted.count("GET") <= 3


def test_a_list_of_tags_without_an_end_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocimlpack.stores.registry._MAX_PAGES", 25)
    seed(scripted, b"weights")
    scripted.quirks.endless = "new"
    with pytest.raises(InvalidContentError):
        store.tags()
    assert scripted.count("GET") == 25


def test_the_next_page_of_a_list_is_not_looked_for_elsewhere(
    scripted: ScriptedRegistry, store: RegistryStore, foreign: ScriptedRegistry
) -> None:
    link = f'<{foreign.url}/v2/{REPOSITORY}/tags/list?last=a>; rel="next"'
    scripted.fault("GET", "/tags/list", status=200, headers={"Link": link}, body=b'{"tags":["a"]}')
    with pytest.raises(InvalidContentError):
        store.tags()
    assert foreign.requests == []


@pytest.mark.parametrize("body", [b'{"tags":null}', b"{}", b'{"tags":[]}'])
def test_a_repository_without_tags_has_an_empty_list(
    scripted: ScriptedRegistry, store: RegistryStore, body: bytes
) -> None:
    scripted.fault("GET", "/tags/list", status=200, body=body)
    assert store.tags() == []


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"tags":[1]}', b'{"tags":{"a":1}}', b"\xff"])
def test_a_list_that_can_not_be_read_is_an_error(
    scripted: ScriptedRegistry, store: RegistryStore, body: bytes
) -> None:
    scripted.fault("GET", "/tags/list", times=None, status=200, body=body)
    with pytest.raises(InvalidContentError):
        store.tags()


def test_the_tags_of_a_repository_that_is_not_there_are_not_found(store: RegistryStore) -> None:
    with pytest.raises(NotFoundError):
        store.tags()


def test_repositories_come_in_pages(scripted: ScriptedRegistry, session: Session) -> None:
    names = ["a", "team/b", "team/c/d", "z"]
    for name in names:
        scripted.content.add_blob(name, b"weights")
    scripted.quirks.page = 3
    assert list_repositories(session) == names


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, NotAllowedError), (403, NotAllowedError), (404, NotFoundError), (405, UnsupportedError)],
)
def test_a_registry_that_lists_no_repositories_says_so(
    scripted: ScriptedRegistry, session: Session, status: int, error: type[Exception]
) -> None:
    scripted.quirks.catalog = status
    with pytest.raises(error):
        list_repositories(session)
    assert scripted.count() == 1


# Deletion


@pytest.mark.parametrize("status", [400, 405])
def test_a_registry_without_tag_deletion_says_so(
    scripted: ScriptedRegistry, store: RegistryStore, status: int
) -> None:
    manifest = seed(scripted, b"weights")
    scripted.quirks.untag = status
    with pytest.raises(UnsupportedError) as caught:
        store.untag("v1")
    assert caught.value.hint
    assert store.resolve("v1") == manifest.descriptor


def test_a_registry_without_deletion_says_so(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    manifest = seed(scripted, b"weights")
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


# What a registry says


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b"<html>not here</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"errors":null}',
        b'{"errors":[]}',
        b'{"errors":[null]}',
        b'{"errors":["gone"]}',
        b'{"errors":[{}]}',
        b'{"errors":[{"code":1,"message":[]}]}',
        b'{"errors":{"code":"X"}}',
        b"[" * 50_000,
        b"x" * 5_000_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_an_error_is_understood_by_its_status_whatever_the_body(
    scripted: ScriptedRegistry, store: RegistryStore, body: bytes
) -> None:
    desc = Descriptor.of(b"absent", WEIGHT)
    scripted.fault("GET", status=404, body=body)
    with pytest.raises(NotFoundError) as caught:
        take(store.fetch(desc))
    assert caught.value.status == 404
    assert len(caught.value.message) < 1000
    put(store, b"weights")  # and the connection, if it was kept, is in order


def test_what_the_registry_says_is_passed_on(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    said = {"errors": [{"code": "DENIED", "message": "quota of 10 GB is used up"}]}
    scripted.fault("POST", status=403, body=json.dumps(said).encode())
    with pytest.raises(NotAllowedError, match="quota of 10 GB is used up"):
        put(store, b"weights")


# Connections


@pytest.mark.parametrize(
    ("host", "plain_http", "origin"),
    [
        ("registry.example", None, "https://registry.example"),
        ("registry.example:5000", None, "https://registry.example:5000"),
        ("registry.example:80", True, "http://registry.example:80"),
        ("localhost:5000", None, "http://localhost:5000"),
        ("127.0.0.1", None, "http://127.0.0.1"),
        ("127.8.9.1:5000", None, "http://127.8.9.1:5000"),
        ("[::1]:5000", None, "http://[::1]:5000"),
        ("localhost:5000", False, "https://localhost:5000"),
        ("localhost.example", None, "https://localhost.example"),
        ("127.0.0.1.example", None, "https://127.0.0.1.example"),
        ("10.0.0.1:5000", None, "https://10.0.0.1:5000"),
    ],
)
def test_plain_http_is_for_this_machine_or_on_demand(
    host: str, plain_http: bool | None, origin: str
) -> None:
    opened = Session(host, plain_http=plain_http)
    assert opened.origin == origin
    opened.close()


def test_a_certificate_is_trusted_through_its_authority(
    encrypted: ScriptedRegistry, ca_file: Path
) -> None:
    opened = connect(encrypted, ca_file=ca_file)
    assert opened.origin.startswith("https://")
    put_artifact(RegistryStore(opened, REPOSITORY), LARGE)
    opened.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(encrypted: ScriptedRegistry) -> None:
    opened = Session(encrypted.host, plain_http=False, credential=lambda _: None)
    with pytest.raises(UnavailableError) as caught:
        put(RegistryStore(opened, REPOSITORY), b"weights")
    assert "--ca-file" in str(caught.value.hint)
    assert encrypted.requests == []
    opened.close()


def test_a_certificate_is_not_looked_at_on_demand(encrypted: ScriptedRegistry) -> None:
    opened = Session(encrypted.host, insecure=True, credential=lambda _: None)
    put_artifact(RegistryStore(opened, REPOSITORY), b"weights")
    opened.close()


def test_a_registry_without_tls_gets_the_hint_to_say_so(scripted: ScriptedRegistry) -> None:
    opened = Session(scripted.host, plain_http=False, credential=lambda _: None)
    with pytest.raises(UnavailableError) as caught:
        put(RegistryStore(opened, REPOSITORY), b"weights")
    assert "--plain-http" in str(caught.value.hint)
    opened.close()


def test_requests_tell_nothing_of_this_machine(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    put_artifact(store, b"weights")
    sent = {name for each in scripted.requests for name in each.headers}
    assert sent <= {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    }
    for each in scripted.requests:
        assert each.header("user-agent").startswith("ocimlpack/")
        assert socket.gethostname() not in each.header("user-agent")


def test_a_manifest_is_pushed_under_its_own_media_type(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    put_artifact(store, b"weights")
    assert [each.header("content-type") for each in scripted.asked("PUT", "/manifests/")] == [
        mediatypes.OCI_MANIFEST
    ]


def test_tagging_moves_no_blob(scripted: ScriptedRegistry, store: RegistryStore) -> None:
    manifest = seed(scripted, LARGE)
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
