from __future__ import annotations

from collections.abc import Callable

import pytest

from ocimlpack.errors import OcimlpackError, UnavailableError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.registry import RegistryStore, list_repositories
from ocimlpack.stores.verify import check
from ocimlpack.transfer import pool
from ocimlpack.transfer.copy import copy
from tests.contract import LARGE, WEIGHT, put, put_artifact, take
from tests.scripted.auth import IDENTITY, refuses
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

Open = Callable[..., RegistryStore]


# Nobody in particular


def test_nothing_is_sent_to_a_registry_that_asks_for_nothing(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    put_artifact(mia, b"weights")
    assert not any(each.carries_credentials for each in scripted.requests)


def test_without_credentials_a_public_repository_is_read(
    scripted: ScriptedRegistry, open_store: Open
) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.anonymous = frozenset({"pull"})
    desc = scripted.content.add_blob(REPOSITORY, LARGE)
    check(open_store().fetch(desc), desc)
    assert "authorization" not in scripted.asked("GET", "/token")[0].headers


@pytest.mark.parametrize("mode", ["basic", "bearer"])
def test_without_credentials_nothing_is_written(
    scripted: ScriptedRegistry, open_store: Open, mode: str
) -> None:
    scripted.auth.mode = mode  # type: ignore[assignment]
    scripted.auth.anonymous = frozenset({"pull"})
    store = open_store()
    error = refuses(lambda: put(store, b"weights"))
    assert f"ocimlpack login {scripted.host}" in str(error.hint)
    assert scripted.uploads == []
    assert scripted.count() <= 9


# Basic


def test_the_password_is_sent_once_it_was_asked_for_and_with_every_request_then(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "basic"
    put_artifact(mia, b"weights")
    first, *others = scripted.requests
    assert not first.carries_credentials
    assert {each.header("authorization") for each in others} == {scripted.auth.basic}
    assert [each.status for each in scripted.requests].count(401) == 1


def test_letters_beyond_ascii_are_sent_as_utf8(
    scripted: ScriptedRegistry, open_store: Open
) -> None:
    scripted.auth.mode = "basic"
    scripted.auth.username, scripted.auth.password = "mía", "öffne:dich €"
    put_artifact(open_store(username="mía", secret="öffne:dich €"), b"weights")


@pytest.mark.parametrize("mode", ["basic", "bearer"])
def test_a_wrong_password_is_refused_without_trying_it_again(
    scripted: ScriptedRegistry, open_store: Open, mode: str
) -> None:
    scripted.auth.mode = mode  # type: ignore[assignment]
    store = open_store(username="mia", secret="open barley")
    error = refuses(lambda: put(store, b"weights"))
    assert "mia" in error.message
    assert f"ocimlpack login {scripted.host}" in str(error.hint)
    assert scripted.count() == 2


def test_a_challenge_that_nobody_can_answer_is_an_error(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    headers = {"WWW-Authenticate": 'Negotiate, Digest realm="x"'}
    scripted.fault(times=None, status=401, headers=headers)
    refuses(lambda: put(mia, b"weights"))
    assert scripted.count() == 1
    assert not scripted.requests[0].carries_credentials


def test_a_refusal_without_a_challenge_is_an_error(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.fault(times=None, status=401)
    refuses(lambda: put(mia, b"weights"))
    assert scripted.count() == 1


@pytest.mark.parametrize("mode", ["basic", "bearer"])
def test_what_is_forbidden_is_not_tried_again(
    scripted: ScriptedRegistry, mia: RegistryStore, mode: str
) -> None:
    scripted.auth.mode = mode  # type: ignore[assignment]
    fault = scripted.fault("POST", "/blobs/uploads/", times=None, status=403)
    error = refuses(lambda: put(mia, b"weights"))
    assert error.status == 403
    assert fault.hits == 1


# Bearer


def test_a_token_is_fetched_with_the_password_which_nobody_else_sees(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    put_artifact(mia, b"weights")
    for each in scripted.requests:
        sent = each.header("authorization")
        assert (
            sent == scripted.auth.basic if each.path == "/token" else not sent.startswith("Basic")
        )
    asked = scripted.asked("GET", "/token")[0]
    assert asked.arguments()["service"] == "scripted.example"
    assert f"repository:{REPOSITORY}:" in asked.arguments()["scope"]


def test_few_tokens_do_for_many_requests(scripted: ScriptedRegistry, mia: RegistryStore) -> None:
    scripted.auth.mode = "bearer"
    put_artifact(mia, *(b"%d" % number for number in range(20)))
    # One to read, one to read and write.
    assert scripted.auth.issued <= 2


def test_many_threads_share_a_token(scripted: ScriptedRegistry, mia: RegistryStore) -> None:
    scripted.auth.mode = "bearer"
    descs = [scripted.content.add_blob(REPOSITORY, b"%d" % number) for number in range(24)]

    def task(desc: Descriptor) -> pool.Task[None]:
        return lambda _: check(mia.fetch(desc), desc)

    pool.run(map(task, descs), 8)
    assert scripted.auth.issued == 1


def test_an_identity_token_is_exchanged(scripted: ScriptedRegistry, open_store: Open) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.identity_token = IDENTITY
    put_artifact(open_store(identity_token=IDENTITY), b"weights")
    assert scripted.count("GET", "/token") == 0
    assert scripted.count("POST", "/token") == scripted.auth.issued <= 2
    assert not any(each.header("authorization").startswith("Basic") for each in scripted.requests)
    assert not any(IDENTITY in each.target for each in scripted.requests)


def test_a_wrong_identity_token_is_refused_without_trying_it_again(
    scripted: ScriptedRegistry, open_store: Open
) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.identity_token = "another"
    store = open_store(identity_token=IDENTITY)
    refuses(lambda: put(store, b"weights"))
    assert scripted.count() == 2


def test_a_bearer_token_from_the_config_is_sent_as_it_is(
    scripted: ScriptedRegistry, open_store: Open
) -> None:
    scripted.auth.mode = "bearer"
    scripted.fault("HEAD", nth=2, status=200, headers={"Content-Length": "7"})
    store = open_store(registry_token="given")
    assert store.exists(Descriptor.of(b"weights", WEIGHT))
    assert [each.header("authorization") for each in scripted.requests] == ["", "Bearer given"]


def test_a_bearer_token_from_the_config_that_is_refused_is_an_error(
    scripted: ScriptedRegistry, open_store: Open
) -> None:
    scripted.auth.mode = "bearer"
    store = open_store(registry_token="given")
    refuses(lambda: put(store, b"weights"))
    assert scripted.count() <= 3


@pytest.mark.parametrize("uses", range(1, 7))
def test_a_token_that_expires_on_the_way_is_renewed(
    scripted: ScriptedRegistry, mia: RegistryStore, uses: int
) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.uses = uses
    layers = [LARGE, b"one", b"two", b""]
    source = RegistryStore(mia.session, "team/source")
    artifact = put_artifact(source, *layers)
    scripted.quirks.mount = 403
    copy(source, artifact.descriptor, mia, ["v1", "v2"], jobs=1)
    assert scripted.content[REPOSITORY].tags == dict.fromkeys(
        ("v1", "v2"), str(artifact.descriptor.digest)
    )
    for layer, content in zip(artifact.layers, layers, strict=True):
        assert scripted.content[REPOSITORY].blobs[str(layer.digest)] == content


@pytest.mark.parametrize("uses", range(1, 7))
def test_a_pull_survives_tokens_that_expire(
    scripted: ScriptedRegistry, mia: RegistryStore, uses: int
) -> None:
    scripted.auth.mode = "bearer"
    artifact = put_artifact(mia, LARGE, b"one", b"two")
    mia.tag(artifact.descriptor, "v1")
    scripted.auth.uses = uses
    scripted.auth.expire()
    scripted.fault("GET", "/blobs/", cut=1_000_000)
    assert mia.resolve("v1") == artifact.descriptor
    for child in artifact.children:
        check(mia.fetch(child), child)


def test_the_body_is_sent_again_whole_after_a_token_expired(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    put(mia, b"first")
    scripted.fault(
        "PUT",
        "/blobs/uploads/",
        status=401,
        headers={
            "WWW-Authenticate": f'Bearer realm="{scripted.url}/token",service="scripted.example",'
            f'scope="repository:{REPOSITORY}:pull,push",error="invalid_token"'
        },
    )
    desc = put(mia, LARGE)
    assert [each.length for each in scripted.uploads[-2:]] == [len(LARGE), len(LARGE)]
    assert scripted.content[REPOSITORY].blobs[str(desc.digest)] == LARGE


@pytest.mark.parametrize("expires_in", [None, 0, 1, 3600])
def test_how_long_a_token_holds_may_be_left_open(
    scripted: ScriptedRegistry, mia: RegistryStore, expires_in: int | None
) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.expires_in = expires_in
    put_artifact(mia, b"weights")


def test_a_token_that_never_suffices_is_not_fetched_for_ever(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.grants = frozenset({"pull"})
    error = refuses(lambda: put(mia, b"weights"))
    assert error.hint
    assert scripted.count("POST", "/blobs/uploads/") <= 3
    assert scripted.count("", "/token") <= 4
    assert scripted.uploads == []


def test_a_token_that_is_refused_at_once_is_not_fetched_for_ever(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    scripted.auth.uses = 0
    refuses(lambda: put(mia, b"weights"))
    assert scripted.count() <= 6


def test_a_mount_without_a_right_to_the_source_falls_back(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    source = RegistryStore(mia.session, "team/source")
    artifact = put_artifact(source, LARGE)
    scripted.auth.mode = "bearer"
    challenge = (
        f'Bearer realm="{scripted.url}/token",service="scripted.example",'
        'scope="repository:team/source:pull"'
    )
    scripted.fault(
        "POST", "mount=", times=None, status=401, headers={"WWW-Authenticate": challenge}
    )
    summary = copy(source, artifact.descriptor, mia)
    assert summary.mounted == 0
    assert take(mia.fetch(artifact.layers[0])) == LARGE


def test_the_list_of_repositories_has_a_scope_of_its_own(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    scripted.content.add_blob("team/model", b"weights")
    assert list_repositories(mia.session) == ["team/model"]


# The token endpoint's own failures


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_token_endpoint_that_fails_once_is_asked_again(
    scripted: ScriptedRegistry, mia: RegistryStore, status: int
) -> None:
    scripted.auth.mode = "bearer"
    scripted.fault("GET", "/token", status=status, headers={"Retry-After": "0"})
    put_artifact(mia, b"weights")


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_token_endpoint_that_hangs_up_is_asked_again(
    scripted: ScriptedRegistry, mia: RegistryStore, drop: str
) -> None:
    scripted.auth.mode = "bearer"
    scripted.fault("GET", "/token", drop=drop)
    put_artifact(mia, b"weights")


def test_a_token_answer_that_breaks_off_is_asked_for_again(
    scripted: ScriptedRegistry, mia: RegistryStore
) -> None:
    scripted.auth.mode = "bearer"
    scripted.fault("GET", "/token", cut=10)
    put_artifact(mia, b"weights")


@pytest.mark.parametrize("status", [500, 503, 404, 302])
def test_a_token_endpoint_that_keeps_failing_is_given_up(
    scripted: ScriptedRegistry, mia: RegistryStore, status: int
) -> None:
    scripted.auth.mode = "bearer"
    fault = scripted.fault("GET", "/token", times=None, status=status)
    with pytest.raises(UnavailableError):
        put(mia, b"weights")
    assert fault.hits == (4 if status >= 500 else 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"token":""}',
        b'{"token":5}',
        b'{"token":"a\\r\\nX-Evil: 1"}',
        b'{"token":"a","expires_in":"soon"}',
        b"[" * 100_000,
        b"x" * 2_000_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_an_answer_without_a_token_is_an_error(
    scripted: ScriptedRegistry, mia: RegistryStore, body: bytes
) -> None:
    scripted.auth.mode = "bearer"
    scripted.fault("GET", "/token", times=None, status=200, body=body)
    with pytest.raises(OcimlpackError):
        put(mia, b"weights")
    assert not any("x-evil" in each.headers for each in scripted.requests)
