from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ocimlpack.errors import (
    NotAllowedError,
    NotFoundError,
    UnavailableError,
)
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores._oras import Session
from ocimlpack.stores.registry import RegistryStore
from tests.contract import (
    LARGE,
    WEIGHT,
    put,
    put_artifact,
    take,
)
from tests.scripted.fixtures import REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

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
