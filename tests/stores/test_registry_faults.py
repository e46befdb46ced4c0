from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from ocimlpack.errors import (
    IntegrityError,
    InvalidContentError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.progress import Event, Retried
from ocimlpack.retry import RETRYABLE_STATUSES, Policy
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import CHUNK
from ocimlpack.stores.graph import read_manifest
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.stores.verify import check
from ocimlpack.transfer.copy import copy
from tests.contract import LARGE, WEIGHT, WatchedBlob, put, put_artifact, take
from tests.scripted.exchange import refusal
from tests.scripted.fixtures import QUICK, REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

# Each request of a push, and of a pull: method and path.
PUSH = {
    "is the blob there": ("HEAD", "/blobs/sha256"),
    "begin an upload": ("POST", "/blobs/uploads/"),
    "upload": ("PUT", "/blobs/uploads/"),
    "is the manifest there": ("HEAD", "/manifests/sha256"),
    "put the manifest": ("PUT", "/manifests/sha256"),
    "set the tag": ("PUT", "/manifests/v1"),
    "read the tag back": ("HEAD", "/manifests/v1"),
}
PULL = {
    "resolve": ("HEAD", "/manifests/v1"),
    "get the manifest": ("GET", "/manifests/"),
    "get a blob": ("GET", "/blobs/"),
}
STEPS = {**{f"push: {key}": each for key, each in PUSH.items()}, **PULL}
OTHER_DIGEST = refusal(400, "DIGEST_INVALID", "provided digest did not match").body
EVERY_STEP = pytest.mark.parametrize("step", STEPS)


@pytest.fixture
def artifact() -> tuple[MemoryStore, Manifest]:
    source = MemoryStore()
    return source, put_artifact(source, LARGE, b"small", b"")


def run(step: str, store: RegistryStore, artifact: tuple[MemoryStore, Manifest]) -> None:
    """Push, or pull what is there, and see that all of it arrived."""
    source, manifest = artifact
    if step in PULL:
        into = MemoryStore()
        copy(store, store.resolve("v1"), into, ["v1"], jobs=1)
        assert into.resolve("v1") == manifest.descriptor
        return
    copy(source, manifest.descriptor, store, ["v1"], jobs=1)
    for child in manifest.children:
        check(store.fetch(child), child)
    assert read_manifest(store, store.resolve("v1")) == manifest


def prepare(step: str, scripted: ScriptedRegistry, artifact: tuple[MemoryStore, Manifest]) -> None:
    """What a pull needs to be there."""
    if step in PULL:
        source, manifest = artifact
        for child in manifest.children:
            scripted.content.add_blob(REPOSITORY, take(source.fetch(child)))
        scripted.content.add_manifest(REPOSITORY, manifest, "v1")


def broken(call: Callable[[], object]) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        call()
    return caught.value


# Each retryable status, at each step


@EVERY_STEP
@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
def test_a_failure_that_passes_is_not_noticed(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    artifact: tuple[MemoryStore, Manifest],
    step: str,
    status: int,
) -> None:
    prepare(step, scripted, artifact)
    fault = scripted.fault(*STEPS[step], status=status, body=b"<html>busy</html>")
    run(step, store, artifact)
    assert fault.hits == 1


@EVERY_STEP
@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
def test_a_failure_that_does_not_pass_is_given_up(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    artifact: tuple[MemoryStore, Manifest],
    step: str,
    status: int,
) -> None:
    prepare(step, scripted, artifact)
    fault = scripted.fault(*STEPS[step], times=None, status=status)
    error = broken(lambda: run(step, store, artifact))
    assert fault.hits == QUICK.attempts
    assert error.status in (status, None)
    assert scripted.host in error.message
    if step not in PULL and step != "push: read the tag back":
        assert scripted.content[REPOSITORY].tags == {}


@EVERY_STEP
def test_no_try_begins_after_the_total_time(
    scripted: ScriptedRegistry, artifact: tuple[MemoryStore, Manifest], step: str
) -> None:
    prepare(step, scripted, artifact)
    # 500 tries would take more than two seconds.
    session = connect(scripted, policy=Policy(attempts=500, base=0.01, cap=0.01, total=0.1))
    fault = scripted.fault(*STEPS[step], times=None, status=503)
    broken(lambda: run(step, RegistryStore(session, REPOSITORY), artifact))
    assert 1 < fault.hits < 400
    session.close()


# What is hopeless

ERRORS: dict[int, type[OcimlpackError]] = {
    400: UnsupportedError,
    403: NotAllowedError,
    404: NotFoundError,
    405: UnsupportedError,
    413: UnsupportedError,
}
NO_FAILURES = {
    ("push: is the blob there", 404),
    ("push: is the manifest there", 404),
    ("push: upload", 404),  # the upload session is gone: there is a test of its own
    ("push: read the tag back", 405),  # then it is read by a GET
    ("resolve", 405),
}


@pytest.mark.parametrize(
    ("step", "status"),
    [(step, status) for step in STEPS for status in ERRORS if (step, status) not in NO_FAILURES],
)
def test_what_is_hopeless_is_tried_once(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    artifact: tuple[MemoryStore, Manifest],
    step: str,
    status: int,
) -> None:
    prepare(step, scripted, artifact)
    fault = scripted.fault(*STEPS[step], times=None, status=status)
    with pytest.raises(ERRORS[status]) as caught:
        run(step, store, artifact)
    assert fault.hits == 1
    assert caught.value.status == status


def test_content_that_the_registry_finds_wrong_is_not_sent_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    fault = scripted.fault("PUT", times=None, status=400, body=OTHER_DIGEST)
    with pytest.raises(IntegrityError):
        put(store, b"weights")
    assert fault.hits == 1


@pytest.mark.parametrize("step", ["put the manifest", "set the tag"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_manifest_refused_while_another_writes_the_same_is_sent_again(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    artifact: tuple[MemoryStore, Manifest],
    step: str,
    times: int,
) -> None:
    fault = scripted.fault(*PUSH[step], times=times, status=400, body=OTHER_DIGEST)
    run(step, store, artifact)
    assert fault.hits == times


@pytest.mark.parametrize("step", ["put the manifest", "set the tag"])
@pytest.mark.parametrize(("attempts", "hits"), [(1, 1), (2, 2), (3, 3), (6, 3)])
def test_a_manifest_that_stays_refused_is_given_up_soon(
    scripted: ScriptedRegistry,
    artifact: tuple[MemoryStore, Manifest],
    step: str,
    attempts: int,
    hits: int,
) -> None:
    fault = scripted.fault(*PUSH[step], times=None, status=400, body=OTHER_DIGEST)
    session = connect(scripted, policy=replace(QUICK, attempts=attempts))
    with (
        closing(RegistryStore(session, REPOSITORY)) as store,
        pytest.raises(IntegrityError) as caught,
    ):
        run(step, store, artifact)
    assert caught.value.status == 400
    assert fault.hits == hits


# Connections that break


@EVERY_STEP
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_connection_that_breaks_is_not_noticed(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    artifact: tuple[MemoryStore, Manifest],
    step: str,
    drop: str,
) -> None:
    prepare(step, scripted, artifact)
    fault = scripted.fault(*STEPS[step], drop=drop)
    run(step, store, artifact)
    assert fault.hits == 1


@EVERY_STEP
def test_connections_that_keep_breaking_are_given_up(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    artifact: tuple[MemoryStore, Manifest],
    step: str,
) -> None:
    prepare(step, scripted, artifact)
    fault = scripted.fault(*STEPS[step], times=None, drop="before")
    broken(lambda: run(step, store, artifact))
    assert fault.hits == QUICK.attempts


def test_a_blob_whose_answer_got_lost_is_not_sent_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.fault("PUT", "/blobs/uploads/", drop="after")
    desc = put(store, LARGE)
    assert [each.length for each in scripted.uploads] == [len(LARGE)]
    assert take(store.fetch(desc)) == LARGE


@pytest.mark.parametrize("taken", [0, 1, CHUNK, len(LARGE) - 1])
def test_an_upload_that_breaks_off_is_sent_again_from_its_start(
    scripted: ScriptedRegistry, store: RegistryStore, taken: int
) -> None:
    scripted.fault("PUT", "/blobs/uploads/", swallow=taken)
    desc = put(store, LARGE)
    assert scripted.content[REPOSITORY].blobs[str(desc.digest)] == LARGE
    assert scripted.count("POST") == 2


def test_an_upload_session_that_is_gone_is_begun_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    fault = scripted.fault("PUT", "/blobs/uploads/", status=404, body=b'{"errors":[]}')
    desc = put(store, LARGE)
    assert fault.hits == 1
    assert scripted.count("POST") == 2
    assert take(store.fetch(desc)) == LARGE


def test_an_upload_session_that_is_always_gone_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    fault = scripted.fault("PUT", "/blobs/uploads/", times=None, status=404)
    with pytest.raises((UnavailableError, NotFoundError)):
        put(store, b"weights")
    assert fault.hits == QUICK.attempts


def test_an_early_refusal_is_understood_while_the_body_is_still_sent(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    fault = scripted.fault("PUT", "/blobs/uploads/", times=None, status=403, unread=True)
    with pytest.raises(NotAllowedError) as caught:
        put(store, LARGE * 4)
    assert caught.value.status == 403
    assert fault.hits == 1


def test_an_error_of_the_source_is_not_tried_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    blob = WatchedBlob(LARGE, fail_at=CHUNK)
    with pytest.raises(UnavailableError, match="the source is gone"):
        store.push(Descriptor.of(LARGE, WEIGHT), blob)
    assert blob.opened == 1
    assert scripted.count("POST") == 1


def test_a_source_that_changed_is_not_read_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    blob = WatchedBlob(LARGE[:-1] + b"\x00")
    with pytest.raises(IntegrityError):
        store.push(Descriptor.of(LARGE, WEIGHT), blob)
    assert blob.opened == 1


# Downloads that break off


@pytest.mark.parametrize("at", [0, 1, CHUNK, len(LARGE) - 1])
def test_a_download_that_breaks_off_goes_on_where_it_was(
    scripted: ScriptedRegistry, store: RegistryStore, at: int
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.fault("GET", "/blobs/", cut=at)
    check(store.fetch(desc), desc)
    ranges = [each.header("range") for each in scripted.asked("GET")]
    assert ranges == ["", f"bytes={at}-" if at else ""]


def test_a_download_that_breaks_off_again_and_again_is_finished_while_bytes_flow(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    fault = scripted.fault("GET", "/blobs/", times=30, cut=20_000)
    check(store.fetch(desc), desc)
    assert fault.hits == 30
    assert scripted.asked("GET")[-1].header("range") == "bytes=600000-"


def test_a_download_from_a_registry_without_ranges_goes_on_too(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.ranges = "ignored"
    scripted.fault("GET", "/blobs/", times=2, cut=len(LARGE) // 2)
    check(store.fetch(desc), desc)


def test_a_download_that_goes_on_elsewhere_in_the_blob_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.quirks.ranges = "wrong offset"
    scripted.fault("GET", "/blobs/", cut=100_000)
    with pytest.raises(IntegrityError):
        check(store.fetch(desc), desc)


def test_a_download_that_brings_nothing_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    fault = scripted.fault("GET", "/blobs/", times=None, cut=0)
    broken(lambda: check(store.fetch(desc), desc))
    assert fault.hits == QUICK.attempts


def test_a_part_whose_answer_breaks_off_is_read_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    scripted.fault("GET", "/blobs/", cut=10)
    assert store.read(desc, 1000, 500) == LARGE[1000:1500]


@pytest.mark.parametrize("digest_header", [True, False], ids=["fetched", "resolved"])
def test_a_manifest_whose_answer_breaks_off_is_read_again(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    artifact: tuple[MemoryStore, Manifest],
    digest_header: bool,
) -> None:
    prepare("resolve", scripted, artifact)
    scripted.quirks.digest_header = digest_header
    scripted.fault("GET", "/manifests/", cut=100)
    assert read_manifest(store, store.resolve("v1")) == artifact[1]


def test_a_list_whose_answer_breaks_off_is_read_again(
    scripted: ScriptedRegistry, store: RegistryStore, artifact: tuple[MemoryStore, Manifest]
) -> None:
    prepare("resolve", scripted, artifact)
    scripted.fault("GET", "/tags/list", cut=5)
    assert store.tags() == ["v1"]


def test_an_error_whose_document_breaks_off_is_still_that_error(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.fault("GET", times=None, status=404, body=b'{"errors":[{"code":"X"}]}', cut=5)
    with pytest.raises(NotFoundError):
        take(store.fetch(Descriptor.of(b"absent", WEIGHT)))


# Waiting


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("0", 0.0, 0.0),
        ("0.004", 0.004, 0.004),
        ("3600", 0.01, 0.01),
        (email.utils.formatdate(time.time() - 60, usegmt=True), 0.0, 0.0),
        (email.utils.formatdate(time.time() + 86400, usegmt=True), 0.01, 0.01),
        ("soon", 0.0005, 0.001),
    ],
)
def test_what_the_registry_asks_to_wait_is_waited(
    scripted: ScriptedRegistry, asked: str, least: float, most: float
) -> None:
    events: list[Event] = []
    session = connect(scripted, report=events.append)
    scripted.fault("POST", status=429, headers={"Retry-After": asked})
    put(RegistryStore(session, REPOSITORY), b"weights")
    (retried,) = [each for each in events if isinstance(each, Retried)]
    assert least <= retried.delay <= most
    session.close()


def test_an_upload_too_is_waited_for_as_the_registry_asks(scripted: ScriptedRegistry) -> None:
    events: list[Event] = []
    session = connect(scripted, report=events.append)
    scripted.fault("PUT", "/uploads/", status=503, headers={"Retry-After": "0.004"})
    put(RegistryStore(session, REPOSITORY), b"weights")
    assert [each.delay for each in events if isinstance(each, Retried)] == [0.004]
    session.close()


def test_every_retry_is_reported_with_its_reason(scripted: ScriptedRegistry) -> None:
    events: list[Event] = []
    session = connect(scripted, report=events.append)
    scripted.fault("HEAD", "/blobs/", times=2, status=503)
    scripted.fault("POST", drop="before")
    put(RegistryStore(session, REPOSITORY), b"weights")
    reasons = [each.reason for each in events if isinstance(each, Retried)]
    assert len(reasons) == 3
    assert all(scripted.host in reason for reason in reasons)
    session.close()


def test_a_server_that_stalls_is_asked_again(scripted: ScriptedRegistry, session: Session) -> None:
    fault = scripted.fault("GET", "/v2/", hold=threading.Event())
    session.request("GET", "/v2/", what="the registry", timeout=0.2).close()
    assert fault.hits == 1
    assert scripted.count("GET") == 2


# Registries that are not there


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("do", ["push", "pull"])
def test_a_registry_that_is_not_there_is_said_to_be_so_soon(closed_port: int, do: str) -> None:
    session = Session(f"127.0.0.1:{closed_port}", credential=lambda _: None)
    store = RegistryStore(session, REPOSITORY)
    began = time.monotonic()
    error = broken(lambda: put(store, b"weights") if do == "push" else store.resolve("v1"))
    assert time.monotonic() - began < 10
    assert f"127.0.0.1:{closed_port}" in error.message
    assert "refused" in error.message
    assert error.hint
    session.close()


def test_a_host_that_does_not_exist_is_said_to_be_so_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    session = Session("registry.invalid", credential=lambda _: None)
    began = time.monotonic()
    error = broken(lambda: RegistryStore(session, REPOSITORY).resolve("v1"))
    assert time.monotonic() - began < 10
    assert "registry.invalid" in error.message
    assert error.hint
    session.close()


def test_a_registry_that_goes_away_on_the_way_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    put(store, b"weights")
    with ScriptedRegistry() as gone:
        session = connect(gone)
        other = RegistryStore(session, REPOSITORY)
        put(other, b"weights")
    error = broken(lambda: put(other, b"more weights"))
    assert gone.host in error.message
    session.close()


def test_a_server_that_speaks_something_else_is_given_up(encrypted: ScriptedRegistry) -> None:
    session = Session(encrypted.host, plain_http=True, policy=QUICK, credential=lambda _: None)
    broken(lambda: RegistryStore(session, REPOSITORY).resolve("v1"))
    session.close()


def test_a_connection_that_was_closed_while_idle_is_replaced(
    scripted: ScriptedRegistry, session: Session, store: RegistryStore
) -> None:
    """Registries close idle connections; the next request must not fail for it."""
    put(store, b"weights")
    scripted.hang_up()
    desc = put(store, LARGE)
    assert take(store.fetch(desc)) == LARGE


def test_a_manifest_that_is_malformed_is_not_asked_for_again(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    digest = scripted.content.add_text(REPOSITORY, b'{"schemaVersion":1}', "v1")
    with pytest.raises(InvalidContentError):
        read_manifest(store, store.resolve("v1"))
    assert scripted.count("GET", digest) == 1
