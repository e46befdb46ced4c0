"""That the local cloud is as strict as the real one: each rule is tried with a breach."""

from __future__ import annotations

import email.utils
import http.client
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import keys
from tests.cloud.cloud import Cloud, make_profile
from tests.cloud.tenancy import Tenancy

oci = pytest.importorskip("oci", reason="Oracle's SDK is not installed: pip install '.[test]'")


@pytest.fixture
def bare(tmp_path: Path) -> Any:
    """A cloud with no registry behind it, and a signer of its user."""
    with Cloud() as cloud:
        cloud.principals.add_user()
        Tenancy(cloud)
        config = oci.config.from_file(str(make_profile(tmp_path, cloud)))
        yield cloud, oci.signer.Signer.from_config(config)


def send(cloud: Cloud, headers: dict[str, str], method: str = "GET", body: bytes = b"") -> int:
    connection = http.client.HTTPConnection(cloud.host)
    try:
        connection.request(method, "/n", body or None, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def signed(cloud: Cloud, signer: Any, method: str = "GET", body: bytes = b"") -> dict[str, str]:
    requests = oci._vendor.requests
    prepared = signer(requests.Request(method, f"{cloud.url}/n", data=body or None).prepare())
    return dict(prepared.headers)


def test_a_right_signature_passes(bare: Any) -> None:
    cloud, signer = bare
    assert send(cloud, signed(cloud, signer)) == 200


def test_no_signature_does_not(bare: Any) -> None:
    cloud, _ = bare
    assert send(cloud, {}) == 401


@pytest.mark.parametrize("seconds", [-301, 301])
def test_an_old_or_early_one_does_not(bare: Any, seconds: int) -> None:
    cloud, signer = bare
    cloud.skew = -seconds
    assert send(cloud, signed(cloud, signer)) == 401
    cloud.skew = -seconds * 0.9
    assert send(cloud, signed(cloud, signer)) == 200


def test_one_for_another_date_or_path_does_not(bare: Any) -> None:
    cloud, signer = bare
    headers = signed(cloud, signer)
    headers["date"] = email.utils.formatdate(time.time() - 5, usegmt=True)
    assert send(cloud, headers) == 401
    headers = signed(cloud, signer)
    headers["authorization"] = headers["authorization"].replace(" (request-target)", "")
    assert send(cloud, headers) == 401


def test_one_by_another_key_does_not(bare: Any) -> None:
    cloud, signer = bare
    signer._basic_signer._rsa_private = keys.make("another")
    assert send(cloud, signed(cloud, signer)) == 401


def test_a_body_that_was_changed_does_not(bare: Any) -> None:
    cloud, signer = bare
    headers = signed(cloud, signer, "POST", b'{"a": 1}')
    assert send(cloud, dict(headers), "POST", b'{"a": 1}') == 404  # understood, but no such call
    assert send(cloud, dict(headers), "POST", b'{"a": 2}') == 401


def test_a_session_token_holds_for_its_time(bare: Any) -> None:
    cloud, _ = bare
    key = keys.make("session")
    person = cloud.principals.everybody[0]
    token = cloud.principals.issue(person, key.public_key(), cloud.now(), 30)
    signer = oci.auth.signers.SecurityTokenSigner(token, key)
    assert send(cloud, signed(cloud, signer)) == 200
    forged = keys.make_token(keys.make("another"), {"jti": "x", "exp": cloud.now() + 60})
    assert send(cloud, signed(cloud, oci.auth.signers.SecurityTokenSigner(forged, key))) == 401
    cloud.skew = 60
    assert send(cloud, signed(cloud, signer)) == 401
