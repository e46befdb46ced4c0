"""Whole pushes and pulls against a registry that fails: each ends, and leaves nothing visible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.errors import NotAllowedError, OcimlpackError, UnavailableError
from ocimlpack.retry import RETRYABLE_STATUSES, Policy
from ocimlpack.stores._oras import Session
from tests.scripted.auth import PASSWORD, USERNAME
from tests.scripted.fixtures import QUICK, REPOSITORY
from tests.scripted.registry import ScriptedRegistry

# Large enough to be sent while it is hashed; and to be fetched in parts.
FILES = {
    "model.bin": bytes(range(256)) * (6 * 4096),
    "config.json": b'{"model_type": "bert"}',
}
LARGE = bytes(range(256)) * (48 * 4096)

PUSH = {
    "is the blob there": ("HEAD", "/blobs/sha256"),
    "begin an upload": ("POST", "/blobs/uploads/"),
    "send bytes": ("PATCH", "/blobs/uploads/"),
    "end the upload": ("PUT", "/blobs/uploads/"),
    "is the manifest there": ("HEAD", "/manifests/sha256"),
    "put the manifest": ("PUT", "/manifests/sha256"),
    "set the tag": ("PUT", "/manifests/v1"),
    "read the tag back": ("HEAD", "/manifests/v1"),
}
PULL = {
    "resolve": ("HEAD", "/manifests/v1"),
    "get the manifest": ("GET", "/manifests/"),
    "get a blob": ("GET", "/blobs/sha256"),
}
EVERY_STATUS = pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))

# Four files at a time and the parts of one may each use up their tries before the first of them
# has stopped the others; and what failed may be looked at before it is tried again.
MOST = 8 * QUICK.attempts


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tries as ever, and next to no time between them."""
    defaults = Session.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "policy", QUICK)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def target(scripted: ScriptedRegistry) -> str:
    return f"{scripted.host}/{REPOSITORY}:v1"


@pytest.fixture
def pushed(scripted: ScriptedRegistry, model: Path, target: str) -> str:
    """Where the model is."""
    ocimlpack.push(model, target)
    scripted.forget()
    return target


@pytest.fixture
def large(scripted: ScriptedRegistry, model: Path, target: str) -> str:
    """Where the model is with large weights."""
    (model / "model.bin").write_bytes(LARGE)
    ocimlpack.push(model, target)
    scripted.forget()
    return target


def fails(call: Callable[[], object]) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("step", PUSH)
@EVERY_STATUS
def test_a_push_to_a_registry_that_never_recovers_ends(
    scripted: ScriptedRegistry, model: Path, target: str, step: str, status: int
) -> None:
    fault = scripted.fault(*PUSH[step], times=None, status=status)
    error = fails(lambda: ocimlpack.push(model, target))
    assert scripted.host in error.message
    assert QUICK.attempts <= fault.hits <= MOST
    assert scripted.count() <= 2 * MOST
    if step != "read the tag back":
        assert scripted.content[REPOSITORY].tags == {}


@EVERY_STATUS
def test_a_push_that_can_not_learn_how_far_it_is_ends(
    scripted: ScriptedRegistry, model: Path, target: str, status: int
) -> None:
    scripted.fault("PATCH", "/uploads/", times=None, swallow=1024 * 1024, keep=True)
    fault = scripted.fault("GET", "/uploads/", times=None, status=status)
    fails(lambda: ocimlpack.push(model, target))
    assert QUICK.attempts <= fault.hits <= MOST
    assert scripted.content[REPOSITORY].tags == {}


@pytest.mark.parametrize("step", PULL)
@EVERY_STATUS
def test_a_pull_from_a_registry_that_never_recovers_ends(
    scripted: ScriptedRegistry, pushed: str, tmp_path: Path, step: str, status: int
) -> None:
    fault = scripted.fault(*PULL[step], times=None, status=status)
    error = fails(lambda: ocimlpack.pull(pushed, tmp_path / "out"))
    assert scripted.host in error.message
    assert QUICK.attempts <= fault.hits <= MOST
    assert scripted.count() <= 2 * MOST
    assert not (tmp_path / "out").exists()


@EVERY_STATUS
def test_a_pull_whose_parts_stop_coming_ends(
    scripted: ScriptedRegistry, large: str, tmp_path: Path, status: int
) -> None:
    fault = scripted.fault("GET", "/blobs/sha256", nth=5, times=None, status=status)
    fails(lambda: ocimlpack.pull(large, tmp_path / "out"))
    assert QUICK.attempts <= fault.hits <= MOST
    assert not (tmp_path / "out").exists()


def test_a_registry_that_takes_little_at_a_time_is_given_up(
    scripted: ScriptedRegistry, model: Path, target: str
) -> None:
    fault = scripted.fault("PATCH", "/uploads/", times=2000, swallow=1000, keep=True)
    fails(lambda: ocimlpack.push(model, target))
    assert fault.hits <= MOST


@pytest.mark.parametrize("model_is", ["pushed", "large"])
def test_a_registry_that_gives_little_at_a_time_is_given_up(
    scripted: ScriptedRegistry, request: pytest.FixtureRequest, tmp_path: Path, model_is: str
) -> None:
    target: str = request.getfixturevalue(model_is)
    fault = scripted.fault("GET", "/blobs/sha256", times=2000, cut=1)
    fails(lambda: ocimlpack.pull(target, tmp_path / "out"))
    assert fault.hits <= 4 * MOST


def test_storms_of_refusals_are_sat_out(
    scripted: ScriptedRegistry, model: Path, target: str, tmp_path: Path
) -> None:
    """One storm after the other, in which requests of every kind are refused again and again."""
    waiting = {"Retry-After": "0.001"}
    storms = [
        scripted.fault(method, nth=nth, times=QUICK.attempts - 1, status=429, headers=waiting)
        for method in ("HEAD", "POST", "PATCH", "PUT", "GET")
        for nth in (1, QUICK.attempts + 1)
    ]
    # One at a time: of several, one might meet the refusals that are meant for another.
    ocimlpack.push(model, target, jobs=1)
    ocimlpack.pull(target, tmp_path / "out", jobs=1)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES
    assert sum(each.hits for each in storms) > 5 * QUICK.attempts


def test_a_storm_without_end_is_given_up(
    scripted: ScriptedRegistry, model: Path, target: str
) -> None:
    scripted.fault(times=None, status=429, headers={"Retry-After": "0"})
    error = fails(lambda: ocimlpack.push(model, target))
    assert error.status == 429
    assert scripted.count() <= MOST


@pytest.mark.parametrize("status", [400, 403, 404, 405])
@pytest.mark.parametrize("step", ["begin an upload", "put the manifest", "set the tag"])
def test_what_is_hopeless_ends_a_push_at_once(
    scripted: ScriptedRegistry, model: Path, target: str, step: str, status: int
) -> None:
    fault = scripted.fault(*PUSH[step], times=None, status=status)
    with pytest.raises(OcimlpackError) as caught:
        ocimlpack.push(model, target)
    assert not isinstance(caught.value, UnavailableError)
    assert fault.hits <= 4  # as many as are sent at a time
    assert scripted.content[REPOSITORY].tags == {}


@pytest.fixture
def logged_in(scripted: ScriptedRegistry) -> None:
    scripted.auth.mode = "bearer"
    ocimlpack.login(scripted.host, username=USERNAME, password=PASSWORD)
    scripted.forget()


@pytest.mark.parametrize("uses", range(1, 7))
def test_tokens_that_expire_after_a_few_requests_stop_nothing(
    scripted: ScriptedRegistry,
    logged_in: None,
    model: Path,
    target: str,
    tmp_path: Path,
    uses: int,
) -> None:
    scripted.auth.uses = uses
    # One at a time: of several, one would use up the token that another was given.
    ocimlpack.push(model, target, jobs=1)
    assert all(each.status in (200, 201, 202, 204, 401, 404) for each in scripted.requests)
    taken = [each.length for each in scripted.asked("PATCH") if each.status == 202]
    whole = [each.length for each in scripted.asked("PUT", "/uploads/") if each.status == 201]
    config = sum(whole) + sum(taken) - sum(map(len, FILES.values()))
    assert 0 < config < 4096
    scripted.forget()
    ocimlpack.pull(target, tmp_path / "out", jobs=1)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES


def test_a_token_that_is_never_good_is_given_up(
    scripted: ScriptedRegistry, logged_in: None, model: Path, target: str
) -> None:
    scripted.auth.uses = 0
    with pytest.raises(NotAllowedError):
        ocimlpack.push(model, target)
    assert scripted.auth.issued <= MOST
    assert scripted.count() <= 2 * MOST


def test_the_policy_of_these_tests_differs_in_time_only() -> None:
    assert QUICK.attempts <= Policy().attempts
