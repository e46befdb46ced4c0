from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ocimlpack.errors import (
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
)
from ocimlpack.progress import Event, Warned
from ocimlpack.retry import Policy
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores import mirrors
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import (
    Blob,
    Divisible,
    RangeReader,
    Store,
    capability,
    doubt,
)
from ocimlpack.stores.credentials import Credential
from ocimlpack.stores.memory import MemoryStore
from ocimlpack.stores.mirrors import MirroredStore, MirrorSession, Place
from ocimlpack.stores.registry import RegistryStore
from ocimlpack.stores.verify import check, read_all
from ocimlpack.transfer.copy import copy
from tests.contract import WEIGHT, ReferrersContract, StoreContract, at_once, put, take
from tests.scripted.auth import PASSWORD, USERNAME
from tests.scripted.blobs import BlobServer
from tests.scripted.fixtures import REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

HUGE = bytes(range(251)) * (2 * mirrors._SMALL // 251)
"""More than is verified before anybody sees it."""
PATIENCE = mirrors.POLICY

pytestmark = pytest.mark.usefixtures("impatient")

Open = Callable[..., MirroredStore]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(attempts=mirrors.POLICY.attempts, base=0.001, cap=0.01, total=60.0, stall=0.3)
    monkeypatch.setattr(mirrors, "POLICY", policy)


class Warnings(list[str]):
    def __call__(self, event: Event) -> None:
        if isinstance(event, Warned):
            self.append(event.message)


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


@pytest.fixture
def mirror() -> Iterator[ScriptedRegistry]:
    """A mirror, which has nothing yet."""
    registry = ScriptedRegistry("127.0.0.2")
    with registry:
        yield registry


@pytest.fixture
def second() -> Iterator[ScriptedRegistry]:
    """Another one."""
    registry = ScriptedRegistry("127.0.0.3")
    with registry:
        yield registry


@pytest.fixture
def mirrored(session: Session, warnings: Warnings) -> Iterator[Open]:
    """A store of `scripted` with the given mirrors."""
    with ExitStack() as stack:

        def opened(
            *registries: ScriptedRegistry,
            prefix: str = "",
            credential: Callable[[str], Credential | None] = lambda _: None,
        ) -> MirroredStore:
            places = []
            for each in registries:
                asked = MirrorSession(
                    each.host, registry=session, plain_http=True, credential=credential
                )
                places.append(Place(each.url, RegistryStore(asked, prefix + REPOSITORY), warnings))
            store = MirroredStore(session, REPOSITORY, places, warnings)
            stack.callback(store.close)
            return store

        yield opened


def share(*registries: ScriptedRegistry, layers: tuple[bytes, ...] = (HUGE,)) -> Manifest:
    """The same artifact in all of them."""
    for each in registries:
        manifest = each.content.add_artifact(REPOSITORY, *layers)
    return manifest


def pulled(store: MirroredStore, manifest: Manifest, name: str = "") -> MemoryStore:
    into = MemoryStore()
    copy(store, store.resolve(name or str(manifest.descriptor.digest)), into)
    for layer in (*manifest.layers, manifest.config):
        assert into.exists(layer)
    return into


def stop(registry: ScriptedRegistry) -> None:
    """Answer everything with a status that may pass."""
    registry.fault(times=None, status=503)


# What is asked of whom


def test_content_comes_from_the_mirror(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open, warnings: Warnings
) -> None:
    manifest = share(scripted, mirror, layers=(HUGE, b"small"))
    pulled(mirrored(mirror), manifest)
    assert scripted.requests == []
    assert mirror.count("GET", "/manifests/") == 1
    assert mirror.count("GET", "/blobs/") == 3
    assert warnings == []


def test_the_first_mirror_that_has_it_is_enough(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, second: ScriptedRegistry, mirrored: Open
) -> None:
    manifest = share(scripted, mirror, second)
    pulled(mirrored(mirror, second), manifest)
    assert second.requests == []


def test_a_mirror_is_told_which_registry_is_meant(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    pulled(mirrored(mirror), share(scripted, mirror))
    assert {each.arguments().get("ns") for each in mirror.requests} == {scripted.host}
    assert {each.header("x-dragonfly-registry") for each in mirror.requests} == {scripted.url}


def test_an_address_that_a_mirror_gives_is_asked_as_it_is(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    # It may be signed: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    (layer,) = share(scripted, mirror).layers
    signed = f"/v2/{REPOSITORY}/blobs/{layer.digest}?signature=x"
    mirror.fault("GET", "/blobs/", status=307, headers={"Location": signed})
    store = mirrored(mirror)
    check(store.fetch(layer), layer)
    assert mirror.requests[-1].query == "signature=x"
    (place,) = store._places
    assert isinstance(place.store, RegistryStore)
    place.store.session.request("GET", mirror.url + signed, what="a blob").close()
    assert mirror.requests[-1].query == "signature=x"


def test_where_a_mirror_leads_is_remembered(mirror: ScriptedRegistry, mirrored: Open) -> None:
    (layer,) = share(mirror).layers
    with BlobServer(mirror.content) as server:
        mirror.quirks.redirect = server.url + "/{digest}"
        blob = capability(mirrored(mirror).fetch(layer), Divisible)
        assert blob
        for offset in range(0, 3000, 1000):
            with blob.part(offset, 1000) as stream:
                assert stream.read(1) == HUGE[offset : offset + 1]
        assert {each.query for each in server.requests} == {""}
        assert len(server.requests) == 3
    assert mirror.count() == 1


def test_the_registry_is_asked_without_ns(scripted: ScriptedRegistry, mirrored: Open) -> None:
    pulled(mirrored(), share(scripted))
    assert scripted.count("", r"\?") == 0


def test_a_prefix_stands_before_the_repository(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, HUGE)
    mirror.content.add_artifact(f"cache/{REPOSITORY}", HUGE)
    pulled(mirrored(mirror, prefix="cache/"), manifest)
    assert mirror.count("GET", f"^/v2/cache/{REPOSITORY}/") == len(mirror.requests)
    assert scripted.requests == []


def test_a_tag_is_the_registrys_to_resolve(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    manifest = share(scripted, mirror)
    mirror.content.add_artifact(REPOSITORY, b"out of date", tag="v1")
    store = mirrored(mirror)
    assert store.resolve("v1") == manifest.descriptor
    assert mirror.requests == []
    with pytest.raises(NotFoundError):
        store.resolve("v2")
    assert mirror.requests == []


@pytest.mark.parametrize("stopped", [True, False], ids=["failing", "closed"])
def test_a_mirror_resolves_a_tag_where_the_registry_does_not_answer(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    mirrored: Open,
    warnings: Warnings,
    stopped: bool,
) -> None:
    manifest = share(mirror)
    store = mirrored(mirror)
    stop(scripted) if stopped else scripted.close()
    pulled(store, manifest, "v1")
    (said,) = warnings
    assert "tag v1" in said
    assert mirror.url in said


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_registry_that_refuses_has_answered(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open, status: int
) -> None:
    share(mirror)
    scripted.fault(times=None, status=status)
    with pytest.raises((NotAllowedError, NotFoundError)):
        mirrored(mirror).resolve("v1")
    assert mirror.requests == []


def test_a_tag_that_nobody_resolves_is_the_registrys_failure(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    stop(scripted)
    with pytest.raises(UnavailableError) as caught:
        mirrored(mirror).resolve("v1")
    assert scripted.host in caught.value.message
    assert mirror.count("HEAD", "/manifests/v1") == 1


def test_what_a_mirror_claims_of_a_manifest_does_not_count(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    manifest = share(scripted, mirror)
    mirror.quirks.manifest_type = "application/vnd.docker.distribution.manifest.v2+json"
    assert mirrored(mirror).resolve(str(manifest.descriptor.digest)) == manifest.descriptor


def test_lists_and_what_is_there_are_the_registrys(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    manifest = share(scripted)
    share(mirror, layers=(b"another",))
    store = mirrored(mirror)
    assert store.tags() == ["v1"]
    assert store.referrers(manifest.descriptor) == []
    assert not store.exists(Descriptor.of(b"another", WEIGHT))
    assert mirror.requests == []


def test_a_part_that_nobody_can_verify_is_the_registrys(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    (layer,) = share(scripted, mirror).layers
    reader = capability(mirrored(mirror), RangeReader)
    assert reader
    assert reader.read(layer, 1000, 5) == HUGE[1000:1005]
    assert mirror.requests == []


def test_writing_goes_to_the_registry(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    desc = put(mirrored(mirror), b"weights")
    assert scripted.content.blob(str(desc.digest)) == b"weights"
    assert mirror.requests == []


def test_content_is_mounted_from_a_registry_with_mirrors(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, session: Session, mirrored: Open
) -> None:
    manifest = share(scripted, mirror)
    done = copy(mirrored(mirror), manifest.descriptor, RegistryStore(session, "team/other"))
    assert done.mounted == done.plan.size
    assert scripted.uploads == []


# Mirrors that fail


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500, 503])
@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
def test_a_mirror_that_refuses_is_passed_over(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    second: ScriptedRegistry,
    mirrored: Open,
    warnings: Warnings,
    path: str,
    status: int,
) -> None:
    manifest = share(scripted, mirror, second, layers=(HUGE, b"small"))
    mirror.fault("", path, times=None, status=status, headers={"Retry-After": "3600"})
    pulled(mirrored(mirror, second), manifest)
    assert scripted.requests == []
    (said,) = warnings
    assert mirror.url in said


def test_a_mirror_that_nobody_reaches_is_asked_once(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open, warnings: Warnings
) -> None:
    manifest = share(scripted, mirror, layers=(HUGE, b"one", b"two", b"three"))
    store = mirrored(mirror)
    mirror.close()
    pulled(store, manifest)
    assert len(warnings) == 1
    assert not store._places[0].usable


def test_a_mirror_that_keeps_failing_is_asked_no_more(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    layers = tuple(b"%d" % number for number in range(20))
    manifest = share(scripted, mirror, layers=layers)
    stop(mirror)
    store = mirrored(mirror)
    for layer in manifest.layers:
        check(store.fetch(layer), layer)
    assert len(mirror.requests) == mirrors._MAX_FAILURES * mirrors.POLICY.attempts


def test_a_mirror_that_lacks_something_is_asked_for_the_rest(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open, warnings: Warnings
) -> None:
    layers = tuple(b"%d" % number for number in range(8))
    manifest = share(scripted, layers=layers)
    for layer in layers[::2]:
        mirror.content.add_blob(REPOSITORY, layer)
    pulled(mirrored(mirror), manifest)
    assert scripted.count("GET", "/blobs/") == len(layers) // 2 + 1
    assert len(warnings) == 1


@pytest.mark.parametrize("cut", [0, 1, mirrors._SMALL, len(HUGE) - 1])
def test_a_read_that_breaks_off_goes_on_elsewhere(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    second: ScriptedRegistry,
    mirrored: Open,
    cut: int,
) -> None:
    (layer,) = share(mirror, second).layers
    mirror.fault("GET", "/blobs/", cut=cut)
    mirror.fault("GET", "/blobs/", times=None, status=503)
    check(mirrored(mirror, second).fetch(layer), layer)
    (request,) = second.requests
    assert request.header("range") == (f"bytes={cut}-" if cut else "")
    assert scripted.requests == []


def test_an_answer_that_is_too_short_goes_on_elsewhere(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    (layer,) = share(scripted, mirror).layers
    mirror.quirks.blobs = {str(layer.digest): HUGE[:-1000]}
    check(mirrored(mirror).fetch(layer), layer)
    assert scripted.requests[-1].header("range") == f"bytes={len(HUGE) - 1000}-"


def test_a_mirror_that_says_nothing_is_passed_over(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    mirrored: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirrors, "_ANSWER_SECONDS", 0.1)
    (layer,) = share(scripted, mirror).layers
    mirror.fault(times=None, hold=threading.Event())
    check(mirrored(mirror).fetch(layer), layer)
    assert len(mirror.requests) == mirrors.POLICY.attempts


def test_the_registry_is_the_last_that_is_asked(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, second: ScriptedRegistry, mirrored: Open
) -> None:
    share(mirror)
    mirror.fault("GET", "/blobs/", times=None, status=500)
    for content in (HUGE, b"small"):
        blob = mirrored(mirror, second).fetch(Descriptor.of(content, WEIGHT))
        with pytest.raises(NotFoundError, match=scripted.host):
            take(blob)


def test_threads_that_fail_together_warn_once(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open, warnings: Warnings
) -> None:
    layers = tuple(b"%d" % number for number in range(16))
    manifest = share(scripted, layers=layers)
    store = mirrored(mirror)
    at_once(*[lambda layer=layer: check(store.fetch(layer), layer) for layer in manifest.layers])
    assert len(warnings) == 1


def test_failures_that_pass_do_not_add_up(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    layers = tuple(b"%d" % number for number in range(2 * mirrors._MAX_FAILURES))
    manifest = share(scripted, mirror, layers=(*layers, HUGE))
    store = mirrored(mirror)
    for layer in (*manifest.layers, manifest.layers[-1], manifest.layers[-1]):
        mirror.fault("GET", str(layer.digest), times=mirrors.POLICY.attempts, status=503)
        check(store.fetch(layer), layer)
        check(store.fetch(layer), layer)
    assert store._places[0].usable


# Mirrors that lie


@pytest.mark.parametrize("layers", [(b"small",), (b"small", b"one", b"two")], ids=len)
def test_wrong_bytes_of_a_small_blob_are_seen_by_nobody(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    mirrored: Open,
    warnings: Warnings,
    layers: tuple[bytes, ...],
) -> None:
    manifest = share(scripted, mirror, layers=layers)
    mirror.quirks.blobs = {str(manifest.layers[0].digest): b"SMALL"}
    store = mirrored(mirror)
    for layer, content in zip(manifest.layers, layers, strict=True):
        assert read_all(store.fetch(layer), layer) == content
    assert mirror.count("GET", "/blobs/") == 1
    (said,) = warnings
    assert "wrong bytes" in said


def test_a_wrong_manifest_is_seen_by_nobody(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open, warnings: Warnings
) -> None:
    manifest = share(scripted, mirror)
    other = mirror.content.add_artifact(REPOSITORY, b"another").raw
    mirror.quirks.manifests = {str(manifest.descriptor.digest): other}
    pulled(mirrored(mirror), manifest)
    assert mirror.count() == 1
    assert len(warnings) == 1


@pytest.mark.parametrize(
    "served",
    [HUGE[:-1] + b"\xff", HUGE + b"x", b"<html>" + HUGE[6:]],
    ids=["wrong end", "long", "wrong start"],
)
def test_wrong_bytes_of_a_large_blob_are_read_again_elsewhere(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    mirrored: Open,
    warnings: Warnings,
    served: bytes,
) -> None:
    (layer,) = share(scripted, mirror).layers
    mirror.quirks.blobs = {str(layer.digest): served}
    blob = mirrored(mirror).fetch(layer)
    with pytest.raises(IntegrityError):
        check(blob, layer)
    assert doubt(blob)
    check(blob, layer)
    assert mirror.count("GET") == 1
    (said,) = warnings
    assert mirror.url in said
    assert str(layer.digest) in said


def test_only_who_sent_wrong_bytes_is_left_out(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, second: ScriptedRegistry, mirrored: Open
) -> None:
    (layer,) = share(scripted, second).layers
    second.quirks.blobs = {str(layer.digest): HUGE[:-1] + b"\xff"}
    store = mirrored(mirror, second)
    blob = store.fetch(layer)
    with pytest.raises(IntegrityError):
        check(blob, layer)
    assert doubt(blob)
    assert [place.usable for place in store._places] == [True, False]


def test_who_sent_something_earlier_that_was_read_again_is_not_to_blame(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, second: ScriptedRegistry, mirrored: Open
) -> None:
    (layer,) = share(scripted, mirror, second).layers
    second.quirks.blobs = {str(layer.digest): HUGE[:-1] + b"\xff"}
    store = mirrored(mirror, second)
    blob = store.fetch(layer)
    with blob.open() as stream:
        assert stream.read(1000)
    mirror.fault("GET", "/blobs/", times=None, status=404)
    with pytest.raises(IntegrityError):
        check(blob, layer)
    assert doubt(blob)
    assert [place.usable for place in store._places] == [True, False]


def test_wrong_bytes_of_the_registry_itself_leave_nobody_to_ask(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    (layer,) = share(scripted).layers
    scripted.quirks.blobs = {str(layer.digest): HUGE[:-1] + b"\xff"}
    blob = mirrored(mirror).fetch(layer)
    with pytest.raises(IntegrityError):
        check(blob, layer)
    assert not doubt(blob)


# Credentials


def test_a_mirror_gets_no_credentials_but_its_own(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open, session: Session
) -> None:
    manifest = share(scripted, mirror)
    scripted.auth.mode = mirror.auth.mode = "basic"
    known = {scripted.host: Credential(USERNAME, PASSWORD, source="a test")}
    store = mirrored(mirror, credential=known.get)
    origin = connect(scripted, username=USERNAME, secret=PASSWORD)
    store = MirroredStore(origin, REPOSITORY, store._places)
    pulled(store, manifest)
    origin.close()
    assert mirror.requests
    assert not any(each.carries_credentials for each in mirror.requests)


def test_a_mirror_gets_its_own_credentials(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    manifest = share(scripted, mirror)
    mirror.auth.mode = "bearer"
    known = {mirror.host: Credential(USERNAME, PASSWORD, source="a test")}
    pulled(mirrored(mirror, credential=known.get), manifest)
    assert scripted.requests == []


def test_a_token_for_a_mirror_is_for_its_own_repository(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, mirrored: Open
) -> None:
    manifest = scripted.content.add_artifact(REPOSITORY, HUGE)
    mirror.content.add_artifact(f"cache/{REPOSITORY}", HUGE)
    mirror.auth.mode = "bearer"
    known = {mirror.host: Credential(USERNAME, PASSWORD, source="a test")}
    pulled(mirrored(mirror, prefix="cache/", credential=known.get), manifest)
    assert scripted.requests == []


# A registry with mirrors is a store like any other


class TestContractWithEmptyMirror(ReferrersContract, StoreContract):
    frees_at_once = False

    @pytest.fixture
    def store(self, mirrored: Open, mirror: ScriptedRegistry) -> Store:
        return mirrored(mirror)


@pytest.mark.parametrize("content", [HUGE, b"small"], ids=len)
@pytest.mark.parametrize("offset", [0, 3, -1])
def test_content_of_a_mirror_is_opened_further_on(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    mirrored: Open,
    content: bytes,
    offset: int,
) -> None:
    (layer,) = share(mirror, layers=(content,)).layers
    assert take(mirrored(mirror).fetch(layer), offset % len(content)) == content[offset:]
    assert scripted.requests == []


def test_no_connection_outlives_the_store(
    mirror: ScriptedRegistry, mirrored: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    store = mirrored(mirror)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "close", lambda session: closed.append(session.host))
        store.close()
    assert sorted(closed) == sorted([mirror.host, store.session.host])


def fail_while_reading(blob: Blob) -> None:
    with blob.open() as stream:
        stream.read(1)
        raise OcimlpackError("no room")


@pytest.mark.parametrize("content", [HUGE, b"small"], ids=len)
def test_an_error_of_the_reader_is_no_mirrors_failure(
    mirror: ScriptedRegistry, mirrored: Open, warnings: Warnings, content: bytes
) -> None:
    (layer,) = share(mirror, layers=(content,)).layers
    with pytest.raises(OcimlpackError, match="no room"):
        fail_while_reading(mirrored(mirror).fetch(layer))
    assert warnings == []


def test_with_a_mirror_nobody_waits_long() -> None:
    assert PATIENCE.attempts <= 2
    assert PATIENCE.total <= 10
    assert PATIENCE.delay(1, "3600") <= 2
