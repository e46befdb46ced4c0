from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks import ground, models
from benchmarks.__main__ import play
from benchmarks.contenders import ORAS, ORAS_PY, OURS, Command, Contender, Job
from benchmarks.figures import MIB, Figures
from benchmarks.ground import FailedError
from benchmarks.scenarios import AGAIN, COMPLETE, FIRST, PULL, SCENARIOS, Sizes
from benchmarks.stage import Stage, Turn
from tests.live.registries import Registry, find_distribution, find_program, lack
from tests.live.toxiproxy import find_toxiproxy

SIZE = MIB


@pytest.fixture
def figures() -> Figures:
    """Empty ones, where everything is there that a scenario needs."""
    for name, found in (
        ("distribution 3", find_distribution(3)),
        ("oras CLI", find_program("oras")),
        ("toxiproxy", find_toxiproxy()),
    ):
        if found is None:
            lack(f"there is no {name}: benchmarks/README.md says how to get it")
    return Figures()


@pytest.mark.live
def test_a_scenario_times_everybody_and_counts_what_went_over_the_wire(figures: Figures) -> None:
    play("large", Sizes(shards=2, shard=SIZE, rounds=1), figures)
    steps = figures.scenarios["large"]
    ways = {OURS, ORAS_PY, f"{ORAS}, 3 at a time", f"{ORAS}, 8 at a time"}
    assert ways - {f"{ORAS}, 8 at a time"} <= steps[PULL].usages.keys()
    assert steps[FIRST].usages.keys() >= {OURS, ORAS, ORAS_PY}
    for name in (OURS, ORAS):
        assert steps[FIRST].wires[name].sent > 2 * SIZE
        assert steps[AGAIN].wires[name].sent < SIZE
    assert steps[PULL].wires[OURS].received > 2 * SIZE
    assert steps[COMPLETE].wires[OURS].received < SIZE
    assert steps[COMPLETE].usages.keys() == {OURS}
    assert all(used.wall > 0 and used.cpu > 0 for used in steps[FIRST].usages[OURS].values())


@pytest.mark.live
def test_a_second_version_sends_one_file(figures: Figures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "REST", 0.0)
    play("second", Sizes(shards=3, shard=SIZE, rounds=1), figures)
    (step,) = figures.scenarios["second"].values()
    for name in (OURS, ORAS):
        assert SIZE < step.wires[name].sent < 2 * SIZE


class Idle:
    """Does nothing, or fails."""

    version = "0"

    def __init__(self, name: str, status: int = 0) -> None:
        self.name = name
        self._command = [sys.executable, "-I", "-c", f"raise SystemExit({status})"]

    def push(self, job: Job) -> list[Command]:
        return [self._command]

    def pull(self, job: Job, folder: Path) -> dict[str, list[Command]]:
        return {self.name: [self._command]}


def set_up(folder: Path, contenders: list[Contender], figures: Figures) -> Stage:
    place = ground.Ground(Registry("127.0.0.1:1", str), folder, (False, False))
    return Stage("x", place, contenders, figures, rounds=5, guest_rounds=2, say=lambda _: None)


def test_everybody_begins_in_turn_and_guests_leave_earlier(tmp_path: Path) -> None:
    stage = set_up(tmp_path, [Idle(OURS), Idle(ORAS), Idle("guest")], Figures())
    assert [[each.name for each in stage.order(turn)] for turn in range(5)] == [
        [OURS, ORAS, "guest"],
        [ORAS, "guest", OURS],
        ["guest", OURS, ORAS],
        [ORAS, OURS],
        [OURS, ORAS],
    ]


def test_a_guest_that_fails_is_left_out_and_we_are_not(tmp_path: Path) -> None:
    model = models.write_pieces(tmp_path / "model", 1, 10)
    figures = Figures()
    stage = set_up(tmp_path, [Idle(OURS), Idle(ORAS, status=1), Idle("guest", status=1)], figures)
    turn = Turn(1, "127.0.0.1:1", None, timed=True)

    def push(contender: Contender) -> None:
        with stage.attempt(contender):
            stage.push(turn, FIRST, contender, stage.job(contender, turn.host, model))

    ours, oras, guest = stage.order(0)
    push(ours)
    push(guest)
    assert [each.name for each in stage.order(0)] == [OURS, ORAS]
    assert figures.step("x", FIRST).contenders == [OURS]
    assert figures.notes["x"] == ["guest did not finish, and is left out."]
    with pytest.raises(FailedError):
        push(oras)


def test_a_pull_that_brings_something_else_is_no_result(tmp_path: Path) -> None:
    model = models.write_pieces(tmp_path / "model", 1, 10)
    stage = set_up(tmp_path, [Idle(OURS)], Figures())
    turn = Turn(1, "127.0.0.1:1", None, timed=True)
    (ours,) = stage.order(0)
    with pytest.raises(FailedError, match="missing"):
        next(stage.pull(turn, PULL, ours, stage.job(ours, turn.host, model)))


def test_every_scenario_says_what_it_is_and_how_much_room_it_needs() -> None:
    for scenario in SCENARIOS.values():
        assert scenario.title(Sizes())
        assert all(room > 0 for room in scenario.room(Sizes()))


def test_memory_and_cpu_are_those_of_the_program_alone(tmp_path: Path) -> None:
    held = bytearray(os.urandom(1)) * (200 * MIB)  # must not count towards the program's peak
    idle, _ = ground.run([[sys.executable, "-I", "-c", ""]], tmp_path, tmp_path)
    busy, said = ground.run(
        [[sys.executable, "-I", "-c", f"held = bytes([1]) * {80 * MIB}; print(len(held))"]],
        tmp_path,
        tmp_path,
    )
    assert len(held) == 200 * MIB
    assert said == f"{80 * MIB}\n"
    assert idle.peak < 60 * MIB < 80 * MIB < busy.peak < 150 * MIB
    assert busy.wall > 0


def test_a_program_that_fails_is_no_result(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    with pytest.raises(FailedError, match="no such thing"):
        ground.run([command], tmp_path, tmp_path)


def test_contenders_see_a_home_of_their_own_and_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OCIMLPACK_HOME", "https_proxy", "PYTHONDONTWRITEBYTECODE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "x")
    seen = ground.environment(tmp_path)
    assert seen["HOME"] == str(tmp_path)
    assert seen["PATH"] == os.environ["PATH"]
    assert "x" not in seen.values()


def test_shards_have_the_size_that_was_asked_and_content_of_their_own(tmp_path: Path) -> None:
    model = models.write_shards(tmp_path / "model", 2, 100_000)
    first, second = sorted(model.iterdir())
    assert first.stat().st_size == second.stat().st_size == 100_000
    assert first.read_bytes() != second.read_bytes()
    sparse = models.write_shards(tmp_path / "sparse", 1, 64 * MIB, sparse=True)
    (only,) = sparse.iterdir()
    assert only.stat().st_size == 64 * MIB
    assert only.stat().st_blocks * 512 < MIB
    with pytest.raises(ValueError, match="4096 bytes"):
        models.write_shards(tmp_path / "tiny", 1, 4095)


def test_a_difference_is_seen(tmp_path: Path) -> None:
    model = models.write_pieces(tmp_path / "model", 3, 100)
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    assert models.difference(model, pulled, thorough=False).endswith("is missing")
    for path in model.iterdir():
        (pulled / path.name).write_bytes(path.read_bytes())
    assert models.difference(model, pulled, thorough=True) == ""
    changed = pulled / "sample-00001.txt"
    changed.write_bytes(bytes(100))
    assert models.difference(model, pulled, thorough=False) == ""
    assert models.difference(model, pulled, thorough=True) == "sample-00001.txt has other content"
    changed.write_bytes(bytes(99))
    assert models.difference(model, pulled, thorough=False) == "sample-00001.txt has another size"


def test_a_changed_file_is_another_file_of_the_same_size(tmp_path: Path) -> None:
    (shard,) = models.write_shards(tmp_path / "model", 1, 9_000).iterdir()
    before = shard.read_bytes()
    models.change(shard)
    assert len(shard.read_bytes()) == len(before)
    assert shard.read_bytes()[: models.BLOCK] == before[: models.BLOCK]
    assert shard.read_bytes() != before
