"""What is tried again while a blob is sent in parts, what is not, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ocimlpack.errors import (
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.progress import Event, Retried
from ocimlpack.retry import RETRYABLE_STATUSES, Policy
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import sessions, upload_api
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.registry import RegistryStore
from tests.contract import LARGE, WEIGHT, WatchedBlob
from tests.scripted.fixtures import QUICK, REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

DESC = Descriptor.of(LARGE, WEIGHT)
SIZE = len(LARGE)
HALF = 300_001
METHODS = ("POST", "PATCH", "PUT")


@pytest.fixture(autouse=True)
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small content goes the way of large content."""
    monkeypatch.setattr(sessions, "WORTHWHILE", 1)


@pytest.fixture(params=[True, False], ids=["digest known", "digest not known"])
def known(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def send(store: RegistryStore, known: bool) -> None:
    if known:
        store.push(DESC, BytesBlob(LARGE))
        return
    ingest = store.begin(SIZE, "one")
    ingest.write(BytesBlob(LARGE))
    ingest.commit(DESC)


def stored(scripted: ScriptedRegistry) -> bytes | None:
    return scripted.content[REPOSITORY].blobs.get(str(DESC.digest))


def sent(scripted: ScriptedRegistry) -> list[int]:
    return [each.length for each in scripted.uploads]


# What may pass


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
def test_a_failure_that_passes_is_not_noticed(
    scripted: ScriptedRegistry, store: RegistryStore, known: bool, method: str, status: int
) -> None:
    fault = scripted.fault(method, "/uploads/", status=status, body=b"<html>busy</html>")
    send(store, known)
    assert fault.hits == 1
    assert stored(scripted) == LARGE


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
def test_a_failure_that_does_not_pass_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore, known: bool, method: str, status: int
) -> None:
    fault = scripted.fault(method, "/uploads/", times=None, status=status)
    with pytest.raises(UnavailableError) as caught:
        send(store, known)
    assert fault.hits == QUICK.attempts
    assert caught.value.status == status
    assert stored(scripted) is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_connection_that_breaks_is_not_noticed(
    scripted: ScriptedRegistry, store: RegistryStore, known: bool, method: str, drop: str
) -> None:
    scripted.fault(method, "/uploads/", drop=drop)
    send(store, known)
    assert stored(scripted) == LARGE


@pytest.mark.parametrize("method", METHODS)
def test_connections_that_keep_breaking_are_given_up(
    scripted: ScriptedRegistry, store: RegistryStore, known: bool, method: str
) -> None:
    fault = scripted.fault(method, "/uploads/", times=None, drop="before")
    with pytest.raises(UnavailableError):
        send(store, known)
    assert fault.hits == QUICK.attempts


def test_a_registry_that_says_nothing_after_the_bytes_is_asked_what_it_has(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    known: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upload_api, "_PART_SECONDS", 0.2)
    fault = scripted.fault("PATCH", "/uploads/", hold=threading.Event())
    send(store, known)
    assert fault.hits == 1
    assert stored(scripted) == LARGE


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_the_registry_says_how_long_to_wait(scripted: ScriptedRegistry, method: str) -> None:
    events: list[Event] = []
    session = connect(scripted, report=events.append)
    scripted.fault(method, "/uploads/", status=503, headers={"Retry-After": "0.004"})
    send(RegistryStore(session, REPOSITORY), known=True)
    assert [each.delay for each in events if isinstance(each, Retried)] == [0.004]
    session.close()


# What does not


@pytest.mark.parametrize(
    ("method", "status", "kind"),
    [
        ("POST", 400, UnsupportedError),
        ("POST", 403, NotAllowedError),
        ("POST", 404, NotFoundError),
        ("POST", 413, UnsupportedError),
        ("PATCH", 400, UnsupportedError),
        ("PATCH", 401, NotAllowedError),
        ("PATCH", 403, NotAllowedError),
        ("PATCH", 413, UnsupportedError),  # of less than a MiB
        ("PUT", 400, UnsupportedError),
        ("PUT", 403, NotAllowedError),
        ("PUT", 405, UnsupportedError),
        ("PUT", 413, UnsupportedError),
    ],
)
def test_what_is_hopeless_is_tried_once(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    known: bool,
    method: str,
    status: int,
    kind: type[OcimlpackError],
) -> None:
    fault = scripted.fault(method, "/uploads/", times=None, status=status)
    with pytest.raises(kind) as caught:
        send(store, known)
    assert fault.hits == 1
    assert caught.value.status == status


def test_an_error_of_the_source_is_not_tried_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    blob = WatchedBlob(LARGE, fail_at=HALF)
    with pytest.raises(UnavailableError, match="the source is gone"):
        store.push(DESC, blob)
    assert blob.opened == 1
    assert scripted.count("POST") == 1


# For how long


def test_a_registry_that_takes_one_byte_at_a_time_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore, known: bool
) -> None:
    scripted.quirks.takes = 1
    with pytest.raises(UnavailableError):
        send(store, known)
    assert scripted.count("PATCH") <= 2 * QUICK.attempts


def test_a_registry_that_keeps_one_byte_of_each_broken_request_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore, known: bool
) -> None:
    scripted.quirks.takes = 1
    scripted.fault("PATCH", "/uploads/", times=None, drop="after")
    with pytest.raises(UnavailableError):
        send(store, known)
    assert scripted.count("PATCH") <= 2 * QUICK.attempts


def test_a_registry_that_always_loses_what_it_has_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.quirks.forgetful = True
    fault = scripted.fault("PATCH", "/uploads/", times=None, swallow=HALF, keep=True)
    with pytest.raises(UnavailableError):
        send(store, known=False)
    assert fault.hits <= 2 * QUICK.attempts


def test_progress_does_not_make_the_waiting_endless(scripted: ScriptedRegistry) -> None:
    policy = Policy(attempts=500, base=0.01, cap=0.01, patience=0.03)
    session = connect(scripted, policy=policy)
    fault = scripted.fault("PATCH", "/uploads/", times=None, swallow=70_000, keep=True)
    with pytest.raises(UnavailableError):
        send(RegistryStore(session, REPOSITORY), known=True)
    assert fault.hits < 8
    session.close()


def test_no_try_begins_after_the_total_time(scripted: ScriptedRegistry) -> None:
    # 500 tries would take more than two seconds.
    session = connect(scripted, policy=Policy(attempts=500, base=0.01, cap=0.01, total=0.1))
    fault = scripted.fault("PATCH", "/uploads/", times=None, status=503)
    with pytest.raises(UnavailableError):
        send(RegistryStore(session, REPOSITORY), known=True)
    assert 1 < fault.hits < 200
    session.close()


def test_time_in_which_bytes_flowed_was_not_spent_in_vain(
    scripted: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed, clock = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed[0])

    class Slow(WatchedBlob):
        def count(self, size: int, position: int) -> None:
            passed[0] += 1000.0

    session = connect(scripted, policy=Policy(base=0.001, cap=0.001, total=900.0))
    scripted.fault("PATCH", "/uploads/", times=2, status=503)
    RegistryStore(session, REPOSITORY).push(DESC, Slow(LARGE))
    assert stored(scripted) == LARGE
    session.close()


# Tokens


@pytest.fixture
def expiring(scripted: ScriptedRegistry, mia: RegistryStore) -> Iterator[RegistryStore]:
    """A store of a registry with tokens, one of which is held."""
    scripted.auth.mode = "bearer"
    assert not mia.exists(DESC)
    scripted.forget()
    yield mia
    # Of what arrived with a good token nothing was sent twice.
    assert sum(each.length for each in scripted.uploads if each.status < 400) == SIZE


@pytest.mark.parametrize("uses", range(1, 7))
def test_a_token_that_expires_on_the_way_is_renewed(
    scripted: ScriptedRegistry, expiring: RegistryStore, known: bool, uses: int
) -> None:
    scripted.auth.uses = uses
    scripted.auth.expire()
    send(expiring, known)
    assert stored(scripted) == LARGE


@pytest.mark.parametrize("uses", range(1, 7))
def test_a_token_that_expires_while_connections_break_is_renewed(
    scripted: ScriptedRegistry, mia: RegistryStore, uses: int
) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.uses = uses
    fault = scripted.fault("PATCH", "/uploads/", times=3, swallow=0)
    send(mia, known=True)
    assert fault.hits == 3
    assert stored(scripted) == LARGE


def test_after_a_token_expired_only_the_rest_is_sent(
    scripted: ScriptedRegistry, expiring: RegistryStore
) -> None:
    challenge = f'Bearer realm="{scripted.url}/token",service="scripted.example"'
    scripted.fault("PATCH", "/uploads/", swallow=HALF, keep=True)
    scripted.fault(
        "PATCH",
        "/uploads/",
        status=401,
        headers={"WWW-Authenticate": f'{challenge},error="invalid_token"'},
    )
    scripted.fault("GET", "/uploads/", status=401, headers={"WWW-Authenticate": challenge})
    send(expiring, known=True)
    assert stored(scripted) == LARGE
    assert sent(scripted) == [HALF, SIZE - HALF, SIZE - HALF]


def test_what_was_taken_before_a_token_expired_is_not_sent_again(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    challenge = f'Bearer realm="{scripted.url}/token",service="scripted.example"'
    headers = {"WWW-Authenticate": f'{challenge},error="invalid_token"'}
    scripted.fault("PATCH", "/uploads/", keep=True, status=401, headers=headers)
    send(mia, known=True)
    assert stored(scripted) == LARGE
    assert sent(scripted) == [SIZE]


def test_a_token_that_never_suffices_is_not_fetched_for_ever(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    challenge = f'Bearer realm="{scripted.url}/token",service="scripted.example"'
    fault = scripted.fault(
        "PATCH", "/uploads/", times=None, status=401, headers={"WWW-Authenticate": challenge}
    )
    with pytest.raises(NotAllowedError):
        send(mia, known=True)
    assert fault.hits <= 5
