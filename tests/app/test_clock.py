"""A clock that is wrong, or is put right while we work: nothing hangs on what it says."""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.errors import NotAllowedError
from ocimlpack.progress import Event, Moved, Reporter, Retried
from ocimlpack.stores._oras import Session
from tests.live.forwarder import forwarded
from tests.scripted.auth import PASSWORD, USERNAME
from tests.scripted.fixtures import QUICK, REPOSITORY
from tests.scripted.registry import ScriptedRegistry

MIB = 1024 * 1024
LARGE = bytes(range(256)) * (64 * 4096)
DAY = 24 * 3600.0
JUMPS = pytest.mark.parametrize("jump", [-4000 * DAY, 4000 * DAY])

Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Puts the clock of this process forward, or back."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    seconds, nanoseconds = time.time, time.time_ns

    def put(by: float) -> None:
        monkeypatch.setattr(time, "time", lambda: seconds() + by)
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(by) * 1_000_000_000)

    return put


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Session.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "policy", QUICK)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.bin").write_bytes(LARGE)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


@pytest.fixture
def target(scripted: ScriptedRegistry) -> str:
    return f"{scripted.host}/{REPOSITORY}:v1"


@JUMPS
def test_a_date_to_come_back_at_is_no_reason_to_wait_for_years(
    scripted: ScriptedRegistry, clock: Clock, model: Path, target: str, jump: float
) -> None:
    events: list[Event] = []
    date = email.utils.formatdate(time.time() + 1, usegmt=True)
    scripted.fault("POST", times=2, status=429, headers={"Retry-After": date})
    clock(jump)
    ocimlpack.push(model, target, report=events.append)
    delays = [each.delay for each in events if isinstance(each, Retried)]
    assert len(delays) == 2
    assert all(0 <= delay <= QUICK.cap for delay in delays)


@JUMPS
def test_a_token_is_good_for_as_long_as_it_was_given_for(
    scripted: ScriptedRegistry, clock: Clock, model: Path, target: str, jump: float
) -> None:
    scripted.auth.mode = "bearer"
    ocimlpack.login(scripted.host, username=USERNAME, password=PASSWORD)
    scripted.auth.issued = 0
    ocimlpack.push(model, target.replace(":v1", ":before"))
    usual, scripted.auth.issued = scripted.auth.issued, 0
    scripted.content.repositories.clear()

    def jumping(event: Event) -> None:
        if isinstance(event, Moved) and event.offset > len(LARGE) // 2:
            clock(jump)

    ocimlpack.push(model, target, report=jumping)
    assert scripted.auth.issued == usual


class EnoughError(Exception):
    """Somebody does not want to wait any longer."""


def enough_at(offset: int) -> Reporter:
    """Ends a transfer when so many bytes of one file have moved."""

    def report(event: Event) -> None:
        if isinstance(event, Moved) and event.offset >= offset:
            raise EnoughError

    return report


@JUMPS
def test_a_pull_goes_on_however_long_ago_it_seems_to_have_begun(
    scripted: ScriptedRegistry,
    clock: Clock,
    model: Path,
    target: str,
    tmp_path: Path,
    jump: float,
) -> None:
    ocimlpack.push(model, target)
    with pytest.raises(EnoughError):
        ocimlpack.pull(target, tmp_path / "out", jobs=1, report=enough_at(len(LARGE) // 2))
    clock(jump)
    with forwarded(scripted.host) as link:
        ocimlpack.pull(target.replace(scripted.host, link.host), tmp_path / "out", jobs=1)
        assert link.received < len(LARGE) - 12 * MIB
    assert (tmp_path / "out" / "model.bin").read_bytes() == LARGE


@JUMPS
def test_a_push_goes_on_however_long_ago_it_seems_to_have_begun(
    scripted: ScriptedRegistry, clock: Clock, model: Path, target: str, jump: float
) -> None:
    scripted.fault("PATCH", "/uploads/", swallow=40 * MIB, keep=True)
    scripted.fault("PATCH", "/uploads/", nth=1, status=403)
    with pytest.raises(NotAllowedError):
        ocimlpack.push(model, target)
    scripted.faults.clear()
    scripted.forget()
    clock(jump)
    ocimlpack.push(model, target)
    assert sum(each.length for each in scripted.uploads) < len(LARGE) - 39 * MIB
    stored = scripted.content[REPOSITORY].blobs.values()
    assert LARGE in stored


@JUMPS
def test_a_file_that_changed_is_read_again_whatever_the_clock_says(
    scripted: ScriptedRegistry, clock: Clock, model: Path, target: str, jump: float
) -> None:
    weights = model / "model.bin"
    status = weights.stat()
    first = ocimlpack.push(model, target).digest
    clock(jump)
    assert ocimlpack.push(model, target).digest == first
    weights.write_bytes(LARGE[:-1] + b"\0")
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    clock(-jump)
    assert ocimlpack.push(model, target).digest != first


@JUMPS
def test_nothing_of_a_pull_that_goes_on_is_pruned(
    scripted: ScriptedRegistry,
    clock: Clock,
    model: Path,
    target: str,
    tmp_path: Path,
    jump: float,
) -> None:
    ocimlpack.push(model, target)
    pruned: list[tuple[str, ...]] = []

    def pruning(event: Event) -> None:
        if isinstance(event, Moved) and not pruned:
            clock(jump)
            pruned.append(ocimlpack.prune(str(tmp_path / "out")).removed)

    ocimlpack.pull(target, tmp_path / "out", report=pruning)
    assert set(pruned) == {()}  # from one thread, or from several
    assert (tmp_path / "out" / "model.bin").read_bytes() == LARGE
