from __future__ import annotations

import base64
import http.client
import socket
import ssl

import pytest

from tests.live.conftest import Program
from tests.live.registries import Registry, Request


def ask(registry: Registry, path: str, credentials: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection(registry.host, timeout=5)
    if registry.ca_file is not None:
        context = ssl.create_default_context(cafile=str(registry.ca_file))
        connection = http.client.HTTPSConnection(registry.host, timeout=5, context=context)
    headers = {}
    if credentials:
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_registry_answers_and_counts_what_it_is_asked(registry: Registry) -> None:
    repository = registry.repository()
    path = f"/v2/{repository.partition('/')[2]}/manifests/none"
    assert registry.requests(repository) == []
    for _ in range(3):
        assert ask(registry, path)[0] == 404
    assert registry.requests(repository) == [Request("GET", path, 404)] * 3


def test_an_authenticated_registry_lets_in_only_who_knows_the_password(
    authenticated: Registry,
) -> None:
    right = f"{authenticated.username}:{authenticated.password}"
    assert ask(authenticated, "/v2/")[0] == 401
    assert ask(authenticated, "/v2/", right + "x")[0] == 401
    assert ask(authenticated, "/v2/", right)[0] == 200


def test_an_encrypted_registry_is_trusted_only_through_its_authority(encrypted: Registry) -> None:
    right = f"{encrypted.username}:{encrypted.password}"
    assert ask(encrypted, "/v2/", right)[0] == 200
    host, _, port = encrypted.host.partition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def test_a_registry_with_tokens_lets_in_who_brings_one(
    with_tokens: Registry, oras: Program
) -> None:
    repository = with_tokens.repository()
    push = ("push", "--plain-http", f"{repository}:1.0", "--username", with_tokens.username)
    with pytest.raises(pytest.fail.Exception, match="401"):
        oras(*push, "--password", "wrong")
    oras(*push, "--password", with_tokens.password)
