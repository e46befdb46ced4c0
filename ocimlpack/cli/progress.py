"""Progress made visible: bars on a terminal, plain lines when piped, nothing where not wanted.

Events come from many threads at once. No lock guards what is kept of them: a name is one thread's
at a time, and what is done to a dict here is one atomic operation each. The bars are drawn from it
a few times a second, so an event costs next to nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from ocimlpack.cli import render
from ocimlpack.cli.output import Output, eprint
from ocimlpack.progress import (
    Began,
    Ended,
    Event,
    Moved,
    Noted,
    Outcome,
    Planned,
    Reporter,
    Retried,
    Warned,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

_INTERVAL: Final = 10.0
"""Seconds between two interim lines."""
_FRAMES: Final = 8
"""Drawings a second."""
_WINDOW: Final = 10.0
"""Seconds over which the speed is taken."""
_VISIBLE: Final = 1024 * 1024
"""Smaller files get no bar of their own: it would be gone before it is read."""
_NAME: Final = 40
"""Cells that a file's name gets."""

_VERBS: Final = {
    "pushing": "uploaded",
    "uploading": "uploaded",
    "pulling": "downloaded",
    "downloading": "downloaded",
    "packing": "packed",
    "copying": "copied",
    "copying referrers": "copied",
    "importing": "imported",
    "saving": "saved",
    "saving referrers": "saved",
    "loading": "loaded",
    "verifying": "verified",
}
_SPARED: Final[dict[Outcome, str]] = {"skipped": "exists", "mounted": "mounted"}


@contextmanager
def reporting(output: Output) -> Iterator[Reporter]:
    """A reporter that suits where standard error goes and what the user asked for."""
    terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if output.quiet or not output.progress or (output.json and not terminal):
        yield Silent(output)
    elif terminal:
        with Bars(output) as bars:
            yield bars
    else:
        yield Lines(output)


class Silent:
    """Shows no progress, but the warnings, and with --verbose what is tried again."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __call__(self, event: Event) -> None:
        """Take an event, from any thread."""
        if isinstance(event, Warned):
            self._output.warn(event.message)
        elif isinstance(event, Noted):
            self._output.note(event.message)
        elif isinstance(event, Retried) and self._output.verbose:
            eprint(f"trying again in {event.delay:.1f} s: {event.reason}")


class Extent(NamedTuple):
    """How far a phase is, in bytes.

    Attributes:
        done: bytes that need no more work.
        moved: those of them that were worked on, rather than found at the destination.
    """

    done: int
    moved: int


class Phase:
    """How far one phase is: what its events said last."""

    def __init__(self, planned: Planned) -> None:
        self.planned = planned
        self.running: dict[str, int] = {}
        self.offsets: dict[str, int] = {}
        self.spared: dict[str, int] = {}
        self.ended: dict[str, int] = {}

    def take(self, event: Began | Moved | Ended) -> None:
        """Remember what an event says."""
        if isinstance(event, Began):
            self.running[event.name] = event.size
        elif isinstance(event, Moved):
            self.offsets[event.name] = event.offset
        else:
            self.offsets[event.name] = event.size
            self.ended[event.name] = event.size
            if event.outcome in _SPARED:
                self.spared[event.name] = event.size
            self.running.pop(event.name, None)

    def extent(self) -> Extent:
        """How far all of it is."""
        done = sum(self.offsets.copy().values())
        return Extent(done, done - sum(self.spared.copy().values()))


class Lines(Silent):
    """A line for each phase and each piece of content; for long ones one every ten seconds."""

    def __init__(self, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(output)
        self._clock = clock
        self._phase = Phase(Planned("working", 0, 0))
        # The time of the next interim line. Whoever takes it out may print that line.
        self._due = deque([clock() + _INTERVAL])

    def __call__(self, event: Event) -> None:
        """Take an event, from any thread."""
        super().__call__(event)
        if isinstance(event, Planned):
            self._phase = Phase(event)
            if event.items:
                eprint(f"{event.action} {_extent(event)}")
        elif isinstance(event, (Began, Moved, Ended)):
            self._phase.take(event)
            if isinstance(event, Ended):
                self._ended(event)
            else:
                self._interim()

    def _ended(self, event: Ended) -> None:
        if event.outcome == "hashed":
            return
        verb = _SPARED.get(event.outcome) or _VERBS.get(self._phase.planned.action, "done")
        eprint(f"{verb} {event.name} {render.size(event.size)}")

    def _interim(self) -> None:
        try:
            due = self._due.pop()
        except IndexError:
            return
        now = self._clock()
        if now >= due:
            planned, extent = self._phase.planned, self._phase.extent()
            percent = 100 * extent.done // planned.size if planned.size else 100
            eprint(
                f"{planned.action}: {render.size(extent.done)} of {render.size(planned.size)} "
                f"({percent}%)"
            )
            due = now + _INTERVAL
        self._due.append(due)


class Bars(Silent):
    """A bar for each large file under way, and one for the whole phase."""

    def __init__(
        self,
        output: Output,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(output)
        self._console = console
        self._clock = clock
        self._phase: Phase | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._live: Live | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._phase = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, event: Event) -> None:
        """Take an event, from any thread."""
        super().__call__(event)
        if isinstance(event, Planned):
            self._begin(event)
        elif self._phase is not None and isinstance(event, (Began, Moved, Ended)):
            self._phase.take(event)

    def _begin(self, planned: Planned) -> None:
        """Show another phase. What only looks something up never gets here, and imports no rich."""
        self._samples.clear()
        self._phase = Phase(planned)
        if self._live is None and planned.items:
            from rich.console import Console
            from rich.live import Live

            console = self._console or Console(stderr=True, force_terminal=True, highlight=False)
            self._console = console
            self._live = Live(
                console=console,
                get_renderable=self.draw,
                refresh_per_second=_FRAMES,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()

    def draw(self) -> RenderableType:
        """The bars as they are now."""
        from rich.table import Column, Table

        table = Table.grid(
            Column(no_wrap=True, overflow="ellipsis"),
            Column(ratio=1, max_width=_NAME),
            Column(no_wrap=True, justify="right"),
            Column(no_wrap=True, justify="right"),
            padding=(0, 1),
        )
        phase = self._phase
        if phase is None:
            return table
        height = self._console.height if self._console else 24
        visible = [item for item in phase.running.copy().items() if item[1] >= _VISIBLE]
        for name, size in visible[: max(1, height - 3)]:
            _add_bar(table, shorten(render.escape(name)), phase.offsets.get(name, 0), size, "")
        planned, extent = phase.planned, phase.extent()
        title = f"{planned.action} {len(phase.ended):,}/{planned.items:,}"
        _add_bar(table, title, extent.done, planned.size, self._pace(extent, planned.size))
        return table

    def _pace(self, extent: Extent, size: int) -> str:
        """The speed of the last seconds, and how long the rest takes at that speed."""
        now = self._clock()
        self._samples.append((now, extent.moved))
        while self._samples[0][0] < now - _WINDOW:
            self._samples.popleft()
        before, moved = self._samples[0]
        speed = (extent.moved - moved) / (now - before) if now > before else 0.0
        if speed <= 0:
            return ""
        return f"{render.size(int(speed))}/s  {_duration((size - extent.done) / speed)}"


def _add_bar(table: Table, title: str, done: int, size: int, pace: str) -> None:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    amount = f"{render.size(done)} of {render.size(size)}"
    # An empty file is whole from the start.
    bar = ProgressBar(
        total=max(size, 1),
        completed=done if size else 1,
        complete_style="cyan",
        finished_style="green",
    )
    table.add_row(Text(title), bar, Text(amount), Text(pace))


def shorten(name: str) -> str:
    """A path cut at its front: its end says more."""
    while render.width(name) > _NAME:
        name = "…" + name[2:]
    return name


def _extent(planned: Planned) -> str:
    noun = "file" if planned.action == "hashing" else "blob"
    return f"{render.plural(planned.items, noun)}, {render.size(planned.size)}"


def _duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
