from __future__ import annotations

from pathlib import Path

import pytest

from ocimlpack.errors import (
    IntegrityError,
    NotAllowedError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.stores.verify import check
from ocimlpack.transfer.copy import copy
from tests.contract import (
    LARGE,
    take,
)
from tests.scripted.blobs import BlobServer
from tests.scripted.fixtures import REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

# Blobs


@pytest.mark.parametrize(
    "served",
    [LARGE[:-1] + b"\x00", LARGE[:-1], b"", LARGE + b"x", LARGE * 2, b"<html>sign in</html>"],
    ids=["wrong", "short", "nothing", "long", "twice", "a page"],
)
def test_another_blob_than_asked_for_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, served: bytes
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, LARGE)
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
    manifest = scripted.content.add_artifact(REPOSITORY, b"weights")
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
