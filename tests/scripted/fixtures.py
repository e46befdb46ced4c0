"""Fixtures around the scripted registry. A test module imports those that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ocimlpack.retry import Policy
from ocimlpack.stores._oras import Session
from ocimlpack.stores.credentials import Credential
from tests.scripted.blobs import BlobServer
from tests.scripted.registry import ScriptedRegistry

QUICK = Policy(attempts=4, base=0.001, cap=0.01, total=60.0)
"""Tries as often as it should, and waits for next to nothing between."""


def connect(registry: ScriptedRegistry, *, policy: Policy = QUICK, **credential: str) -> Session:
    """A session with these credentials, or with none."""
    known = (
        Credential(
            credential.get("username", ""),
            credential.get("secret", ""),
            identity_token=credential.get("identity_token"),
            registry_token=credential.get("registry_token"),
            source="a test",
        )
        if credential
        else None
    )
    return Session(registry.host, policy=policy, credential=lambda _: known)


@pytest.fixture
def session(scripted: ScriptedRegistry) -> Iterator[Session]:
    """What asks `scripted`, without credentials."""
    opened = connect(scripted)
    yield opened
    opened.close()


@pytest.fixture
def scripted() -> Iterator[ScriptedRegistry]:
    """A registry at 127.0.0.1."""
    registry = ScriptedRegistry()
    with registry:
        yield registry


@pytest.fixture
def foreign() -> Iterator[ScriptedRegistry]:
    """Another registry, whose address no one may take for the first one's."""
    registry = ScriptedRegistry("127.0.0.2")
    with registry:
        yield registry


@pytest.fixture
def blob_server(scripted: ScriptedRegistry) -> Iterator[BlobServer]:
    """Where redirects of `scripted` may lead: the same content at another port."""
    server = BlobServer(scripted.content)
    with server:
        yield server


@pytest.fixture
def start_registry() -> Iterator[Callable[[ScriptedRegistry], ScriptedRegistry]]:
    """Closes, at the end of the test, the registries that it is given."""
    with ExitStack() as stack:

        def keep(registry: ScriptedRegistry) -> ScriptedRegistry:
            stack.enter_context(registry)
            return registry

        yield keep
