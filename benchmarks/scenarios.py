"""What is played: each scenario takes a `Stage`, and prepares what it needs on its ground."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import models
from benchmarks.contenders import OURS, Job
from benchmarks.figures import MIB
from benchmarks.stage import Stage, Turn
from ocimlpack.model.layers import MAX_FILES
from tests.live.toxiproxy import find_toxiproxy, shaped

FIRST, AGAIN, PULL, PUSH = "first push", "push again", "pull", "push"
COMPLETE = "pull into a complete folder"
SECOND = "push of the second version"
KILOBYTES_PER_SECOND, LATENCY_MS = 50_000, 10
JOBS = 4
"""Files at a time where there are many of them: for ours and the oras CLI."""

PIECE = 2_000
"""Bytes of a small file."""


@dataclass(frozen=True)
class Sizes:
    """How large everything is, in bytes or files, and how many rounds are timed."""

    shards: int = 4
    shard: int = 256 * MIB
    single: int = 1024 * MIB
    shaped: int = 512 * MIB
    few_pieces: int = 1_000
    pieces: int = 2_000
    more_pieces: int = 20_000
    lesser: int = 512 * MIB
    greater: int = 8192 * MIB
    rounds: int = 5


QUICK = Sizes(
    shard=8 * MIB,
    single=32 * MIB,
    shaped=16 * MIB,
    few_pieces=50,
    pieces=100,
    more_pieces=3_000,
    lesser=8 * MIB,
    greater=128 * MIB,
    rounds=2,
)


@dataclass(frozen=True)
class Scenario:
    """One of those that can be asked for by name.

    Attributes:
        title: how the results call it, for those sizes.
        room: bytes that it puts at the most into its scratch folder, and into the registry.
        play: does it.
        jobs: files at a time, if all are to have the same number.
        alone: whether only ours takes part.
        guest_rounds: rounds of those that no target names; few where each takes long.
    """

    title: Callable[[Sizes], str]
    room: Callable[[Sizes], tuple[int, int]]
    play: Callable[[Stage, Sizes], None]
    jobs: int | None = None
    alone: bool = False
    guest_rounds: int = 3


def play_large(stage: Stage, sizes: Sizes) -> None:
    """Everything for the first time, then again, then back."""
    model = models.write_shards(stage.ground.scratch / "model", sizes.shards, sizes.shard)
    models.rest(model)
    for turn in stage.turns():
        for contender in stage.order(turn.number):
            job = stage.job(contender, turn.host, model)
            with stage.attempt(contender):
                stage.push(turn, FIRST, contender, job)
                stage.push(turn, AGAIN, contender, job)
                for folder in stage.pull(turn, PULL, contender, job):
                    if contender.name == OURS:
                        again = Job(model, job.reference, stage.ground.scratch / "elsewhere")
                        ((name, commands),) = contender.pull(again, folder).items()
                        stage.measure(turn, COMPLETE, name, commands, again)
            stage.ground.wipe()


def play_single(stage: Stage, sizes: Sizes) -> None:
    """One file, which the registry has: whoever pushed it pushes it again."""
    model = models.write_shards(stage.ground.scratch / "model", 1, sizes.single)
    models.rest(model)
    jobs: dict[str, Job] = {}
    for turn in stage.turns():
        for contender in stage.order(turn.number):
            with stage.attempt(contender):
                if contender.name not in jobs:
                    jobs[contender.name] = stage.prepare(contender, model)
                job = jobs[contender.name].at(turn.host)
                stage.push(turn, AGAIN, contender, job)


def play_shaped(stage: Stage, sizes: Sizes) -> None:
    """One file over a link like that to object storage: each connection by itself is slow.

    The push is for the record, once: a registry takes one blob over one connection.
    """
    if find_toxiproxy() is None:
        stage.note("Not run: there is no toxiproxy.")
        return
    model = models.write_shards(stage.ground.scratch / "model", 1, sizes.shaped)
    jobs: dict[str, Job] = {}
    for contender in stage.order(0):
        with stage.attempt(contender):
            jobs[contender.name] = stage.prepare(contender, model)
    with shaped(stage.ground.registry.host, KILOBYTES_PER_SECOND, LATENCY_MS) as link:
        for number in range(1, stage.rounds + 1):
            turn = Turn(number, link.host, None, timed=True)
            for contender in stage.order(number):
                with stage.attempt(contender):
                    job = jobs[contender.name].at(link.host)
                    for _ in stage.pull(turn, PULL, contender, job):
                        pass
        stage.ground.wipe()
        for contender in stage.order(0):
            with stage.attempt(contender):
                stage.push(
                    Turn(1, link.host, None, timed=True),
                    PUSH,
                    contender,
                    stage.job(contender, link.host, model),
                )
            stage.ground.wipe()


def play_many(stage: Stage, sizes: Sizes) -> None:
    """Requests count here, not bytes."""
    _play_pieces(stage, sizes.pieces)
    stage.note(f"ocimlpack bundles small files where there are more than {MAX_FILES:,}.")


def play_each(stage: Stage, sizes: Sizes) -> None:
    """So few files that everybody makes each a layer of its own."""
    _play_pieces(stage, sizes.few_pieces)


def _play_pieces(stage: Stage, count: int) -> None:
    model = models.write_pieces(stage.ground.scratch / "model", count, PIECE)
    for turn in stage.turns():
        for contender in stage.order(turn.number):
            job = stage.job(contender, turn.host, model)
            with stage.attempt(contender):
                stage.push(turn, PUSH, contender, job)
                for _ in stage.pull(turn, PULL, contender, job):
                    pass
            stage.ground.wipe()


def play_more(stage: Stage, sizes: Sizes) -> None:
    """More files than a manifest should list: pushed twice, to see that the digest stays."""
    model = models.write_pieces(stage.ground.scratch / "model", sizes.more_pieces, PIECE)
    (ours,) = stage.order(0)
    digests = set()
    for number in (1, 2):
        turn = Turn(number, stage.ground.registry.host, None, timed=True)
        job = stage.job(ours, turn.host, model)
        digests.add(stage.measure(turn, PUSH, ours.name, ours.push(job), job).split()[-1])
        size = stage.ground.manifest_size(job.reference)
        for _ in stage.pull(turn, PULL, ours, job):
            pass
        stage.ground.wipe()
    same = "the same digest both times" if len(digests) == 1 else "ANOTHER DIGEST each time"
    stage.note(f"The manifest has {size:,} bytes; {same}.")


def play_second(stage: Stage, sizes: Sizes) -> None:
    """One file of the model has changed since it was pushed."""
    model = models.write_shards(stage.ground.scratch / "model", sizes.shards, sizes.shard)
    models.rest(model)
    changed = sorted(model.iterdir())[1]
    jobs: dict[str, Job] = {}
    for contender in stage.order(0):
        with stage.attempt(contender):
            jobs[contender.name] = stage.prepare(contender, model)
    for turn in stage.turns():
        for contender in stage.order(turn.number):
            # Changed for each of them, so that the registry has it from nobody.
            models.change(changed)
            with stage.attempt(contender), stage.ground.forgetting():
                stage.push(turn, SECOND, contender, jobs[contender.name].at(turn.host, "2"))


def play_memory(stage: Stage, sizes: Sizes) -> None:
    """Files without content of their own, which take no room where they come from."""
    (ours,) = stage.order(0)
    for size in (sizes.lesser, sizes.greater):
        label = describe_size(size)
        folder = stage.ground.scratch / label.replace(" ", "-")
        model = models.write_shards(folder, 1, size, sparse=True)
        models.rest(model)
        job = stage.job(ours, stage.ground.registry.host, model)
        for number in (1, 2, 3):
            turn = Turn(number, stage.ground.registry.host, None, timed=True)
            if number == 1:
                stage.push(turn, f"{FIRST}, {label}", ours, job)
            stage.push(turn, f"{AGAIN}, {label}", ours, job)
            if number == 1:
                for _ in stage.pull(turn, f"{PULL}, {label}", ours, job):
                    pass
        stage.ground.wipe()
        shutil.rmtree(model)


def describe_size(size: int) -> str:
    """In MiB or GiB."""
    return f"{size / MIB / 1024:g} GiB" if size >= 1024 * MIB else f"{size / MIB:g} MiB"


SCENARIOS = {
    "large": Scenario(
        lambda sizes: f"{sizes.shards} files of {describe_size(sizes.shard)}",
        lambda sizes: (4 * sizes.shards * sizes.shard, sizes.shards * sizes.shard),
        play_large,
    ),
    "single": Scenario(
        lambda sizes: f"One file of {describe_size(sizes.single)}",
        lambda sizes: (2 * sizes.single, 2 * sizes.single),
        play_single,
    ),
    "shaped": Scenario(
        lambda sizes: (
            f"One file of {describe_size(sizes.shaped)}, {KILOBYTES_PER_SECOND // 1000} MB/s for "
            f"each connection and {LATENCY_MS} ms each way"
        ),
        lambda sizes: (4 * sizes.shaped, 2 * sizes.shaped),
        play_shaped,
        guest_rounds=1,
    ),
    "each": Scenario(
        lambda sizes: f"{sizes.few_pieces:,} files of {PIECE // 1000} kB, {JOBS} at a time",
        lambda sizes: (4 * sizes.few_pieces * PIECE, sizes.few_pieces * PIECE),
        play_each,
        jobs=JOBS,
        guest_rounds=1,
    ),
    "many": Scenario(
        lambda sizes: f"{sizes.pieces:,} files of {PIECE // 1000} kB, {JOBS} at a time",
        lambda sizes: (4 * sizes.pieces * PIECE, sizes.pieces * PIECE),
        play_many,
        jobs=JOBS,
        guest_rounds=1,
    ),
    "more": Scenario(
        lambda sizes: f"{sizes.more_pieces:,} files of {PIECE // 1000} kB",
        lambda sizes: (4 * sizes.more_pieces * PIECE, sizes.more_pieces * PIECE),
        play_more,
        alone=True,
    ),
    "second": Scenario(
        lambda sizes: (
            f"{sizes.shards} files of {describe_size(sizes.shard)}, one of them changed since"
        ),
        lambda sizes: (2 * sizes.shards * sizes.shard, 2 * sizes.shards * sizes.shard),
        play_second,
    ),
    "memory": Scenario(
        lambda sizes: (
            f"Memory: one file of {describe_size(sizes.lesser)}, and of "
            f"{describe_size(sizes.greater)}"
        ),
        lambda sizes: (sizes.greater, sizes.greater),
        play_memory,
        alone=True,
    ),
}
