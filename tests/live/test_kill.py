"""kill -9 at random moments: nothing false is ever to be seen, and little is moved twice."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.forwarder import Forwarder, forwarded
from tests.live.interruptions import (
    GRAIN,
    PART,
    SMALL_THINGS,
    UNDERWAY,
    Interrupted,
    Moment,
    age,
    cache,
    chance_of,
    check_whole,
    digests,
    has_blob,
    left_behind,
    make_model,
    manifest_of,
    settle,
    start,
    through,
)
from tests.live.registries import Registry
from tests.live.test_everyday import MIB, push, run

KILLS = 20
SIZES = {"large.bin": 80, "middle.bin": 40, "small.bin": 16, "tiny.bin": 8}
SIZE = sum(SIZES.values()) * MIB
# Most runs get further than what a kill may cost; else nothing would show.
FURTHEST = 48 * MIB


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return chance_of(request)


@pytest.fixture
def link(distribution3: Registry) -> Iterator[Forwarder]:
    with forwarded(distribution3.host) as forwarder:
        yield forwarder


def aim(chance: random.Random, kills: int) -> Moment | None:
    """When to kill the next run; None when it has been done often enough."""
    if kills == KILLS:
        return None
    return Moment(int(chance.uniform(0, FURTHEST)), chance.uniform(0, 0.02))


def test_a_push_that_is_killed_shows_nothing_and_goes_on(
    distribution3: Registry, link: Forwarder, chance: random.Random, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    expected = make_model(model, 1, SIZES)
    time.sleep(GRAIN)  # from now on it is worth remembering what was hashed
    kills = 0
    while kills < KILLS:
        repository = distribution3.repository()
        pushing = ("push", model, f"{through(link, distribution3, repository)}:1.0", "-j", "2")
        pushes = Interrupted(link, tmp_path / "log", UNDERWAY)
        while not pushes.run(*pushing, kill=aim(chance, kills)):
            kills += 1
            check_whole(distribution3.host, repository, "1.0")
        print(*pushes.said, sep="\n")
        assert pushes.moved <= SIZE + pushes.allowed
        assert manifest_of(distribution3.host, repository, "1.0")
        check_whole(distribution3.host, repository, "1.0")
        # In the next round no digest is known; each is, after the first run of a round.
        (cache() / "digests.sqlite").unlink()
    run("pull", f"{repository}:1.0", "-o", tmp_path / "out")
    assert digests(tmp_path / "out") == expected
    # Journals of sessions whose content came there in another way, at most.
    age(cache())
    run("prune")
    assert left_behind(cache(), "digests.sqlite", "hosts") == []


def test_a_pull_that_is_killed_shows_nothing_and_goes_on(
    distribution3: Registry, link: Forwarder, chance: random.Random, tmp_path: Path
) -> None:
    repository = distribution3.repository()
    versions = []
    for number in (1, 2):
        versions.append(make_model(tmp_path / "models" / str(number), number, SIZES))
        push(tmp_path / "models" / str(number), repository, str(number))
    allowed = {name: {version[name] for version in versions} for name in versions[0]}
    place = tmp_path / "place"
    out = place / "out"
    place.mkdir()
    kills = rounds = 0
    while kills < KILLS:
        version = rounds % 2
        rounds += 1
        source = f"{through(link, distribution3, repository)}:{version + 1}"
        pulls = Interrupted(link, tmp_path / "log", PART)
        pulling = ("pull", source, "-o", out, "-j", "2")
        while not pulls.run(*pulling, kill=aim(chance, kills)):
            kills += 1
            found = digests(out) if out.exists() else {}
            assert found.keys() <= allowed.keys()
            assert all(digest in allowed[name] for name, digest in found.items())
        print(*pulls.said, sep="\n")
        assert pulls.moved <= SIZE + pulls.allowed
        assert digests(out) == versions[version]
        run("verify", out)
    # What a kill has left is known to `prune`, and it leaves nothing.
    age(place)
    named = [Path(each) for each in json.loads(run("prune", out, "--json").stdout)["removed"]]
    assert all(each.is_relative_to(place) for each in named)
    assert left_behind(place, *(f"out/{name}" for name in allowed)) == [
        out / ".ocimlpack/receipt.json"
    ]
    assert digests(out) == versions[version]


def test_a_pull_that_was_interrupted_at_half_moves_little_more_than_the_other_half(
    distribution3: Registry, link: Forwarder, tmp_path: Path
) -> None:
    size = 256 * MIB
    expected = make_model(tmp_path / "model", 1, {"one.bin": 160, "two.bin": 96})
    repository = distribution3.repository()
    push(tmp_path / "model", repository, "1.0")
    source = f"{through(link, distribution3, repository)}:1.0"
    pulling = ("pull", source, "-o", tmp_path / "out")
    with (tmp_path / "log").open("wb") as log, start(*pulling, log=log) as process:
        assert link.wait(size // 2, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    settle(link)
    before = link.received
    assert before < 0.6 * size
    assert not (tmp_path / "out").exists()
    run(*pulling)
    assert link.received - before <= 0.55 * size
    assert digests(tmp_path / "out") == expected


def test_a_push_goes_on_with_a_registry_that_has_lost_the_session(
    registry2: Registry, tmp_path: Path
) -> None:
    """Where a cut upload leaves nothing at the registry, it begins anew, and nothing else does."""
    sizes = {"first.bin": 48, "second.bin": 32, "third.bin": 48}
    expected = make_model(tmp_path / "model", 1, sizes)
    time.sleep(GRAIN)
    repository = registry2.repository()
    with forwarded(registry2.host) as link:
        target = f"{through(link, registry2, repository)}:1.0"
        pushes = Interrupted(link, tmp_path / "log", UNDERWAY)
        pushing = ("push", tmp_path / "model", target, "-j", "1")
        assert not pushes.run(*pushing, kill=Moment(100 * MIB))
        assert manifest_of(registry2.host, repository, "1.0") is None
        there = [name for name in sizes if has_blob(registry2.host, repository, expected[name])]
        assert there
        before = pushes.moved
        assert pushes.run(*pushing)
        missing = sum(size * MIB for name, size in sizes.items() if name not in there)
        assert pushes.moved - before <= missing + SMALL_THINGS
    check_whole(registry2.host, repository, "1.0")
    assert manifest_of(registry2.host, repository, "1.0")
