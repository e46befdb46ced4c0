from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocimlpack.errors import NotAllowedError, OcimlpackError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores._oras import Session
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.stores.verify import check
from tests.contract import LARGE, WEIGHT, WatchedBlob, put, put_artifact
from tests.scripted.auth import IDENTITY, PASSWORD, refuses
from tests.scripted.blobs import BlobServer
from tests.scripted.exchange import Request
from tests.scripted.fixtures import REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry
from tests.scripted.server import Server

Open = Callable[..., RegistryStore]


# Where credentials may not go


@pytest.mark.parametrize(
    "realm",
    [
        "https://tokens.elsewhere.example/token",
        "http://tokens.elsewhere.example/token",
        "http://192.0.2.1/token",
        "https://127.0.0.1@tokens.elsewhere.example/token",
        "https://127.0.0.1.elsewhere.example/token",
        "file:///etc/passwd",
        "//tokens.elsewhere.example/token",
        "/token",
        "",
    ],
)
@pytest.mark.parametrize("credential", ["password", "identity token", "none"])
def test_a_foreign_token_endpoint_is_told_nothing(
    scripted: ScriptedRegistry, open_store: Open, realm: str, credential: str
) -> None:
    # That nobody was asked is seen to by the guard that keeps every test on this machine.
    store = open_store(
        **{
            "password": {"username": "mia", "secret": PASSWORD},
            "identity token": {"identity_token": IDENTITY},
            "none": {},
        }[credential]
    )
    headers = {"WWW-Authenticate": f'Bearer realm="{realm}",service="scripted.example"'}
    scripted.fault(times=None, status=401, headers=headers)
    refuses(lambda: put(store, b"weights"))
    assert scripted.count() == 1


def test_a_token_endpoint_without_tls_is_refused_by_a_registry_with_it(
    encrypted: ScriptedRegistry, scripted: ScriptedRegistry, ca_file: Path
) -> None:
    encrypted.auth.mode = "bearer"
    encrypted.auth.realm = f"{scripted.url}/token"
    session = connect(encrypted, ca_file=ca_file, username="mia", secret=PASSWORD)
    error = refuses(lambda: put(RegistryStore(session, REPOSITORY), b"weights"))
    assert "unencrypted" in error.message
    assert scripted.requests == []
    session.close()


def test_a_token_endpoint_on_the_same_machine_is_asked(
    scripted: ScriptedRegistry, foreign: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.realm = f"{foreign.url}/token?tenant=a"
    foreign.auth = scripted.auth
    scripted.content.add_blob(REPOSITORY, b"weights")
    assert mia.exists(Descriptor.of(b"weights", WEIGHT))
    assert foreign.asked("GET", "/token")[0].arguments()["tenant"] == "a"


def test_a_token_endpoint_that_leads_elsewhere_is_not_followed(
    scripted: ScriptedRegistry, foreign: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    headers = {"Location": f"{foreign.url}/token"}
    scripted.fault("GET", "/token", times=None, status=307, headers=headers)
    with pytest.raises(OcimlpackError):
        put(mia, b"weights")
    assert foreign.requests == []


@pytest.mark.parametrize("mode", ["basic", "bearer"])
def test_where_a_redirect_leads_no_credentials_arrive(
    scripted: ScriptedRegistry, mia: RegistryStore, blob_server: BlobServer, mode: str
) -> None:
    scripted.auth.mode = mode  # type: ignore[assignment]
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.redirect = blob_server.url + "/{digest}"
    check(mia.fetch(desc), desc)
    assert mia.read(desc, 5, 5) == LARGE[5:10]
    assert len(blob_server.requests) == 2
    assert not any(each.carries_credentials for each in blob_server.requests)


@pytest.mark.parametrize("challenge", ['Basic realm="x"', 'Bearer realm="{}/token",service="x"'])
def test_where_a_redirect_leads_a_challenge_is_not_answered(
    scripted: ScriptedRegistry, mia: RegistryStore, blob_server: BlobServer, challenge: str
) -> None:
    scripted.auth.mode = "basic"
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.redirect = blob_server.url + "/{digest}"
    headers = {"WWW-Authenticate": challenge.format(blob_server.url)}
    blob_server.fault(times=None, status=401, headers=headers)
    with pytest.raises(OcimlpackError):
        check(mia.fetch(desc), desc)
    assert blob_server.count("", "/token") == 0
    assert not any(each.carries_credentials for each in blob_server.requests)


@pytest.mark.parametrize("mode", ["basic", "bearer"])
def test_where_an_upload_leads_elsewhere_no_credentials_arrive(
    scripted: ScriptedRegistry, mia: RegistryStore, foreign: ScriptedRegistry, mode: str
) -> None:
    scripted.auth.mode = mode  # type: ignore[assignment]
    scripted.quirks.location = foreign.url
    desc = put(mia, LARGE)
    assert len(foreign.uploads) == 1
    assert not any(each.carries_credentials for each in foreign.requests)
    assert scripted.content[REPOSITORY].blobs[str(desc.digest)] == LARGE


def test_where_an_upload_leads_elsewhere_a_challenge_is_not_answered(
    scripted: ScriptedRegistry, mia: RegistryStore, foreign: ScriptedRegistry
) -> None:
    scripted.auth.mode = foreign.auth.mode = "basic"
    scripted.quirks.location = foreign.url
    blob = WatchedBlob(LARGE)
    refuses(lambda: mia.push(Descriptor.of(LARGE, WEIGHT), blob))
    assert not any(each.carries_credentials for each in foreign.requests)
    assert blob.opened == 1


def test_the_credentials_of_one_registry_are_not_for_another(
    scripted: ScriptedRegistry, foreign: ScriptedRegistry
) -> None:
    asked: list[str] = []

    def find(host: str) -> None:
        asked.append(host)

    for registry in (scripted, foreign):
        registry.auth.mode = "basic"
        session = Session(registry.host, credential=find)
        with pytest.raises(NotAllowedError):
            RegistryStore(session, REPOSITORY).resolve("v1")
        session.close()
    assert asked == [scripted.host, foreign.host]


def test_cookies_are_not_kept(scripted: ScriptedRegistry, mia: RegistryStore) -> None:
    headers = {"Set-Cookie": "session=1; Path=/", "Location": "/v2/x/blobs/uploads/y"}
    scripted.fault("POST", status=202, headers=headers)
    scripted.fault("PUT", "/uploads/y", status=201)
    put(mia, b"weights")
    assert not any("cookie" in each.headers for each in scripted.requests)


# Where credentials come from


def test_what_netrc_knows_is_not_used(scripted: ScriptedRegistry, mia: RegistryStore) -> None:
    netrc = Path.home() / ".netrc"
    netrc.write_text("machine 127.0.0.1 login eve password other\n")
    netrc.chmod(0o600)
    scripted.auth.mode = "bearer"
    put_artifact(mia, b"weights")
    eve = base64.b64encode(b"eve:other").decode()
    assert not any(eve in each.header("authorization") for each in scripted.requests)


def test_what_docker_login_has_stored_is_used(scripted: ScriptedRegistry) -> None:
    pair = base64.b64encode(f"mia:{PASSWORD}".encode()).decode()
    config = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"auths": {scripted.host: {"auth": pair}}}))
    config.chmod(0o600)
    scripted.auth.mode = "basic"
    session = Session(scripted.host)
    put_artifact(RegistryStore(session, REPOSITORY), b"weights")
    session.close()


def test_a_registry_that_asks_for_nothing_makes_nobody_look_for_credentials(
    scripted: ScriptedRegistry,
) -> None:
    def find(_: str) -> None:
        raise AssertionError("nobody asked for credentials")

    session = Session(scripted.host, credential=find)
    put_artifact(RegistryStore(session, REPOSITORY), b"weights")
    session.close()


def test_proxies_from_the_environment_are_used_and_excepted(
    scripted: ScriptedRegistry, foreign: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxied: list[Request] = []
    with Server(lambda request, _: foreign.handle(request, b"")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        session = Session("registry.example", plain_http=True, credential=lambda _: None)
        assert not RegistryStore(session, REPOSITORY).exists(Descriptor.of(b"absent", WEIGHT))
        session.close()
        proxied += proxy.requests
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        session = connect(scripted)
        put_artifact(RegistryStore(session, REPOSITORY), b"weights")
        session.close()
        assert len(proxy.requests) == len(proxied)
    assert [each.header("host") for each in proxied] == ["registry.example"]
