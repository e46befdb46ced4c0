"""The order of play: rounds, whose turn it is, and what is written down of each job."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import models
from benchmarks.contenders import ORAS, OURS, Command, Contender, Job
from benchmarks.figures import Figures, Wire
from benchmarks.ground import FailedError, Ground, run
from tests.live.forwarder import Forwarder, forwarded

WARM_UP = 0
_REST_SECONDS = 5.0
"""For how long the last bytes of a program that has ended may be on their way."""


@dataclass(frozen=True)
class Turn:
    """One round of everybody.

    Attributes:
        number: from 1; the warm-up is 0.
        host: where the registry is now.
        link: what counts the bytes on the way, if something does.
        timed: whether what is used counts.
    """

    number: int
    host: str
    link: Forwarder | None
    timed: bool

    @property
    def is_thorough(self) -> bool:
        """Whether pulled files are read and compared: in each contender's first round."""
        return self.number <= 1


class Stage:
    """One scenario while it is played.

    Args:
        scenario: its name.
        ground: where.
        contenders: who.
        figures: where the results go.
        rounds: how many are timed.
        guest_rounds: how many of them those play that no target names.
        say: told what happens, a few words at a time.
    """

    def __init__(
        self,
        scenario: str,
        ground: Ground,
        contenders: Sequence[Contender],
        figures: Figures,
        *,
        rounds: int,
        guest_rounds: int,
        say: Callable[[str], None],
    ) -> None:
        self.scenario = scenario
        self.ground = ground
        self.rounds = rounds
        self._guest_rounds = guest_rounds
        self._contenders = list(contenders)
        self._figures = figures
        self._say = say

    def turns(self) -> Iterator[Turn]:
        """A warm-up through a link that counts bytes, then the timed rounds.

        The warm-up fills caches, compiles Python, and is where traffic is taken from: counting
        costs CPU, which the timed rounds therefore don't do.
        """
        with forwarded(self.ground.registry.host) as counting:
            yield Turn(WARM_UP, counting.host, counting, timed=False)
        for number in range(1, self.rounds + 1):
            yield Turn(number, self.ground.registry.host, None, timed=True)

    def order(self, turn: int) -> list[Contender]:
        """Everybody who plays this round. Who begins changes, so that caches favour nobody."""
        players = [
            each
            for each in self._contenders
            if turn <= self._guest_rounds or each.name in (OURS, ORAS)
        ]
        first = turn % len(players)
        return players[first:] + players[:first]

    def job(self, contender: Contender, host: str, model: Path) -> Job:
        """A push of that model, by somebody who never did it before, to a repository of its own."""
        home = self.ground.fresh(f"home-{_slug(contender.name)}")
        return Job(model, f"{host}/bench/{_slug(contender.name)}:1", home)

    def prepare(self, contender: Contender, model: Path) -> Job:
        """The same, and it has been pushed.

        Raises:
            FailedError: that did not work.
        """
        job = self.job(contender, self.ground.registry.host, model)
        self._say(f"preparing, {contender.name}")
        run(contender.push(job), model, job.home)
        return job

    @contextmanager
    def attempt(self, contender: Contender) -> Iterator[None]:
        """Who fails is out of this scenario, which is noted; without us or oras there is none.

        Raises:
            FailedError: it was one of these.
        """
        try:
            yield
        except FailedError as error:
            if contender.name in (OURS, ORAS):
                raise
            print(f"\n{error}", file=sys.stderr)
            self._contenders.remove(contender)
            self._figures.drop(self.scenario, contender.name)
            self._figures.note(self.scenario, f"{contender.name} did not finish, and is left out.")

    def measure(self, turn: Turn, step: str, name: str, commands: list[Command], job: Job) -> str:
        """Run the commands in the model's folder; returns what they printed to stdout.

        Raises:
            FailedError: one of them failed.
        """
        self._say(f"{turn.number} of {self.rounds}: {step}, {name}")
        entry = self._figures.step(self.scenario, step)
        before = (turn.link.sent, turn.link.received) if turn.link else (0, 0)
        used, said = run(commands, job.model, job.home)
        if turn.link:
            turn.link.rest(_REST_SECONDS)
            entry.wires[name] = Wire(turn.link.sent - before[0], turn.link.received - before[1])
        if turn.timed:
            entry.usages.setdefault(name, {})[turn.number] = used
        return said

    def push(self, turn: Turn, step: str, contender: Contender, job: Job) -> None:
        """The same as `measure`, for a push."""
        self.measure(turn, step, contender.name, contender.push(job), job)

    def pull(self, turn: Turn, step: str, contender: Contender, job: Job) -> Iterator[Path]:
        """Pull in each way that the contender knows; yields the checked folder before it goes.

        Raises:
            FailedError: a pull failed, or brought something else than was pushed.
        """
        folder = self.ground.scratch / "pulled"
        elsewhere = Job(job.model, job.reference, self.ground.fresh("elsewhere"))
        for name, commands in contender.pull(elsewhere, folder).items():
            self.measure(turn, step, name, commands, elsewhere)
            wrong = models.difference(job.model, folder, thorough=turn.is_thorough)
            if wrong:
                raise FailedError(f"{step}, {name}: {wrong}")
            yield folder
            shutil.rmtree(folder)
            self.ground.fresh("elsewhere")

    def note(self, sentence: str) -> None:
        """To be printed below the scenario."""
        self._figures.note(self.scenario, sentence)


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")
