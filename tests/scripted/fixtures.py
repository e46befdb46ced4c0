"""Fixtures around the scripted registry. A test module imports those that it needs."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from ocimlpack.progress import Reporter, ignore
from ocimlpack.retry import Policy
from ocimlpack.stores._oras import Session
from ocimlpack.stores.credentials import Credential
from ocimlpack.stores.registry import RegistryStore
from tests.scripted.auth import PASSWORD, USERNAME
from tests.scripted.blobs import BlobServer
from tests.scripted.registry import ScriptedRegistry

REPOSITORY = "team/model"
QUICK = Policy(attempts=4, base=0.001, cap=0.01, total=60.0)
"""Tries as often as it should, and waits for next to nothing between."""


def connect(
    registry: ScriptedRegistry,
    *,
    policy: Policy = QUICK,
    report: Reporter = ignore,
    ca_file: Path | None = None,
    username: str = "",
    secret: str = "",
    identity_token: str | None = None,
    registry_token: str | None = None,
) -> Session:
    """A session with these credentials, or with none."""
    given = Credential(username, secret, identity_token, registry_token, source="a test")
    known = given if given.is_useful else None
    return Session(
        registry.host,
        policy=policy,
        report=report,
        ca_file=str(ca_file) if ca_file else None,
        credential=lambda _: known,
    )


@pytest.fixture
def scripted() -> Iterator[ScriptedRegistry]:
    """A registry at 127.0.0.1."""
    registry = ScriptedRegistry()
    with registry:
        yield registry


@pytest.fixture
def foreign(scripted: ScriptedRegistry) -> Iterator[ScriptedRegistry]:
    """Another host that stands before the same content, and that asks for nothing."""
    registry = ScriptedRegistry("127.0.0.2", content=scripted.content)
    with registry:
        yield registry


@pytest.fixture
def blob_server(scripted: ScriptedRegistry) -> Iterator[BlobServer]:
    """Where redirects of `scripted` may lead: the same content at another port."""
    server = BlobServer(scripted.content)
    with server:
        yield server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def encrypted(authority: trustme.CA) -> Iterator[ScriptedRegistry]:
    """A registry that speaks TLS, by an authority that only `ca_file` knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    registry = ScriptedRegistry(tls=context)
    with registry:
        yield registry


@pytest.fixture
def session(scripted: ScriptedRegistry) -> Iterator[Session]:
    """What asks `scripted`, without credentials."""
    opened = connect(scripted)
    yield opened
    opened.close()


@pytest.fixture
def store(session: Session) -> RegistryStore:
    return RegistryStore(session, REPOSITORY)


@pytest.fixture
def open_store(scripted: ScriptedRegistry) -> Iterator[Callable[..., RegistryStore]]:
    """A store of `scripted`, with the given credentials or with none."""
    sessions: list[Session] = []

    def opened(**credential: Any) -> RegistryStore:
        sessions.append(connect(scripted, **credential))
        return RegistryStore(sessions[-1], REPOSITORY)

    yield opened
    for each in sessions:
        each.close()


@pytest.fixture
def mia(open_store: Callable[..., RegistryStore]) -> RegistryStore:
    """A store of `scripted` that knows the password."""
    return open_store(username=USERNAME, secret=PASSWORD)
