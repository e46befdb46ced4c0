from __future__ import annotations

import contextlib
import io
import os
import pty
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ocimlpack.cli.output import Output
from ocimlpack.cli.progress import Bars, Lines, Silent, reporting, shorten
from ocimlpack.progress import Began, Ended, Moved, Outcome, Planned, Retried, Warned
from ocimlpack.transfer import pool

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bars(clock: Clock, height: int = 25) -> Bars:
    console = Console(
        file=io.StringIO(), width=120, height=height, force_terminal=True, color_system=None
    )
    return Bars(Output(), console, clock)


def drawn(reporter: Bars) -> list[str]:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    with console.capture() as capture:
        console.print(reporter.draw())
    return [" ".join(line.replace("━", "").split()) for line in capture.get().splitlines()]


@pytest.mark.parametrize(
    ("action", "outcome", "line"),
    [
        ("pushing", "moved", "uploaded a.bin 12 B"),
        ("pulling", "moved", "downloaded a.bin 12 B"),
        ("copying", "moved", "copied a.bin 12 B"),
        ("packing", "moved", "packed a.bin 12 B"),
        ("pushing", "skipped", "exists a.bin 12 B"),
        ("pushing", "mounted", "mounted a.bin 12 B"),
    ],
)
def test_a_line_says_what_became_of_each_file(
    capfd: pytest.CaptureFixture[str], action: str, outcome: Outcome, line: str
) -> None:
    lines = Lines(Output())
    lines(Planned(action, 1, 12))
    lines(Began("a.bin", 12))
    lines(Ended("a.bin", 12, outcome))
    assert capfd.readouterr().err.splitlines() == [f"{action} 1 blob, 12 B", line]


def test_hashing_is_not_listed_file_by_file(capfd: pytest.CaptureFixture[str]) -> None:
    lines = Lines(Output())
    lines(Planned("hashing", 2, 24))
    lines(Ended("a", 12, "hashed"))
    lines(Ended("b", 12, "hashed"))
    assert capfd.readouterr().err == "hashing 2 files, 24 B\n"


def test_long_files_get_one_interim_line_every_ten_seconds(
    capfd: pytest.CaptureFixture[str], clock: Clock
) -> None:
    lines = Lines(Output(), clock)
    lines(Planned("pushing", 2, 8 * MIB))
    lines(Began("a", 4 * MIB))
    lines(Began("b", 4 * MIB))
    capfd.readouterr()
    for second in range(25):
        clock.now = 100.0 + second
        lines(Moved("a", second * 1024))
        lines(Moved("b", second * 1024))
    assert capfd.readouterr().err.splitlines() == [
        "pushing: 19.0 KiB of 8.0 MiB (0%)",
        "pushing: 39.0 KiB of 8.0 MiB (0%)",
    ]


def test_lines_escape_names(capfd: pytest.CaptureFixture[str]) -> None:
    Lines(Output())(Ended("\x1b[2J", 1, "moved"))
    assert "\x1b" not in capfd.readouterr().err


def test_an_empty_phase_is_not_announced(capfd: pytest.CaptureFixture[str]) -> None:
    Lines(Output())(Planned("pushing", 0, 0))
    assert capfd.readouterr().err == ""


def test_lines_of_many_threads_neither_mix_nor_go_missing(
    capfd: pytest.CaptureFixture[str], clock: Clock
) -> None:
    lines = Lines(Output(), clock)
    lines(Planned("pushing", 200, 200 * 1000))

    def task(number: int) -> pool.Task[None]:
        def work(_: pool.Stop) -> None:
            name = f"file-{number:03}"
            lines(Began(name, 1000))
            for offset in range(0, 1001, 100):
                lines(Moved(name, offset))
            lines(Ended(name, 1000, "moved"))

        return work

    pool.run([task(number) for number in range(200)], 16)
    printed = capfd.readouterr().err.splitlines()[1:]
    assert sorted(printed) == [f"uploaded file-{number:03} 1000 B" for number in range(200)]


def test_bars_show_each_large_file_and_the_whole(clock: Clock) -> None:
    with bars(clock) as reporter:
        reporter(Planned("pushing", 3, 20 * MIB))
        reporter(Began("model-1.bin", 10 * MIB))
        reporter(Began("model-2.bin", 10 * MIB))
        reporter(Began("tiny.json", 100))
        reporter(Moved("model-1.bin", 4 * MIB))
        reporter(Moved("model-2.bin", 1 * MIB))
        assert drawn(reporter) == [
            "model-1.bin 4.0 MiB of 10.0 MiB",
            "model-2.bin 1.0 MiB of 10.0 MiB",
            "pushing 0/3 5.0 MiB of 20.0 MiB",
        ]
        reporter(Ended("model-1.bin", 10 * MIB, "moved"))
        assert drawn(reporter) == [
            "model-2.bin 1.0 MiB of 10.0 MiB",
            "pushing 1/3 11.0 MiB of 20.0 MiB",
        ]


def test_a_rewind_is_shown_as_it_is(clock: Clock) -> None:
    with bars(clock) as reporter:
        reporter(Planned("pushing", 1, 10 * MIB))
        reporter(Began("m", 10 * MIB))
        reporter(Moved("m", 8 * MIB))
        reporter(Moved("m", 2 * MIB))
        assert drawn(reporter) == ["m 2.0 MiB of 10.0 MiB", "pushing 0/1 2.0 MiB of 10.0 MiB"]


def test_speed_and_the_time_left_count_only_what_moves(clock: Clock) -> None:
    with bars(clock) as reporter:
        reporter(Planned("pushing", 2, 100 * MIB))
        drawn(reporter)
        reporter(Began("there", 60 * MIB))
        reporter(Ended("there", 60 * MIB, "skipped"))
        reporter(Began("new", 40 * MIB))
        reporter(Moved("new", 10 * MIB))
        clock.now += 2
        assert drawn(reporter)[-1] == "pushing 1/2 70.0 MiB of 100.0 MiB 5.0 MiB/s 0:06"


def test_a_phase_begins_again_from_nothing(clock: Clock) -> None:
    with bars(clock) as reporter:
        reporter(Planned("hashing", 1, 10 * MIB))
        reporter(Ended("m", 10 * MIB, "hashed"))
        reporter(Planned("pushing", 1, 10 * MIB))
        assert drawn(reporter) == ["pushing 0/1 0 B of 10.0 MiB"]


def test_names_are_neither_markup_nor_escape_sequences(clock: Clock) -> None:
    with bars(clock) as reporter:
        reporter(Planned("pushing", 1, MIB))
        reporter(Began("[red]x[/red]\x1b[2J", MIB))
        assert drawn(reporter)[0].startswith(r"[red]x[/red]\x1b[2J ")


def test_more_files_than_lines_keep_the_total_in_sight(clock: Clock) -> None:
    with bars(clock, height=6) as reporter:
        reporter(Planned("pushing", 64, 64 * MIB))
        for number in range(64):
            reporter(Began(f"f{number}", MIB))
        lines = drawn(reporter)
        assert len(lines) == 4
        assert lines[-1].startswith("pushing 0/64")


def test_bars_count_right_from_many_threads(clock: Clock) -> None:
    sizes = [random.randrange(1, 5000) for _ in range(300)]
    with bars(clock) as reporter:
        reporter(Planned("pushing", len(sizes), sum(sizes)))

        def task(number: int) -> pool.Task[None]:
            def work(_: pool.Stop) -> None:
                name = f"f{number}"
                reporter(Began(name, sizes[number]))
                for offset in (100, 50, sizes[number]):
                    reporter(Moved(name, offset))
                reporter.draw()
                reporter(Ended(name, sizes[number], "moved"))

            return work

        pool.run([task(number) for number in range(len(sizes))], 16)
        assert drawn(reporter)[-1].startswith("pushing 300/300")
        phase = reporter._phase
        assert phase is not None
        assert phase.extent().done == sum(sizes)
        assert phase.running == {}


def test_what_is_long_is_cut_at_its_front() -> None:
    assert shorten("short") == "short"
    cut = shorten("a-folder/" * 10 + "model-00001-of-00005.safetensors")
    assert cut.startswith("…")
    assert cut.endswith("/model-00001-of-00005.safetensors")
    assert len(cut) == 40


@pytest.mark.parametrize(
    ("terminal", "output", "kind"),
    [
        (True, Output(), Bars),
        (True, Output(json=True), Bars),
        (True, Output(quiet=True), Silent),
        (True, Output(progress=False), Silent),
        (False, Output(), Lines),
        (False, Output(json=True), Silent),
        (False, Output(quiet=True), Silent),
        (False, Output(progress=False), Silent),
    ],
)
def test_the_reporter_suits_the_place(
    on_terminal: Callable[[list[str]], None], terminal: bool, output: Output, kind: type
) -> None:
    if terminal:
        on_terminal(["stderr"])
    with reporting(output) as report:
        assert type(report) is kind


def test_a_dumb_terminal_gets_lines(
    on_terminal: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(["stderr"])
    monkeypatch.setenv("TERM", "dumb")
    with reporting(Output()) as report:
        assert type(report) is Lines


def test_a_reporter_that_shows_nothing_still_warns(capfd: pytest.CaptureFixture[str]) -> None:
    silent = Silent(Output(verbose=True))
    silent(Planned("pushing", 1, 1))
    silent(Warned("odd"))
    silent(Warned("odd"))
    silent(Retried("reset", 0.5))
    assert capfd.readouterr().err == "warning: odd\ntrying again in 0.5 s: reset\n"


def test_a_standard_error_that_is_gone_stops_no_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with reporting(Output()) as report:
        report(Planned("pushing", 1, 1))
        report(Warned("odd"))


def test_on_a_real_terminal_bars_leave_the_result_and_a_visible_cursor() -> None:
    script = """
import sys, time, types
import ocimlpack.app
from ocimlpack.app.transfers import Transferred
from ocimlpack.cli.main import main
from ocimlpack.progress import Began, Moved, Planned, Warned
def push(*args, report, **options):
    report(Planned("pushing", 1, 1 << 22))
    report(Began("model.bin", 1 << 22))
    report(Moved("model.bin", 1 << 21))
    report(Warned("odd"))
    time.sleep(0.5)  # some frames
    return Transferred("h/r@sha256:x", "sha256:x", 1 << 22, 1)
fake = types.ModuleType("ocimlpack.app.moving")
fake.push = push
sys.modules[fake.__name__] = ocimlpack.app.moving = fake
sys.exit(main(["push", "./m", "h/r"]))
"""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(follower)
    seen = b""
    with contextlib.suppress(OSError):  # Linux says EIO where the other end has closed
        while chunk := os.read(leader, 65536):
            seen += chunk
    os.close(leader)
    text = seen.decode()
    assert process.wait(20) == 0
    assert "pushing 0/1" in text
    assert "2.0 MiB of 4.0 MiB" in text
    assert text.count("warning: odd\r\n") == 1
    after = text.rpartition("\x1b[?25h")[2]
    assert after.strip().splitlines() == ["h/r@sha256:x", "pushed 1 file, 4.0 MiB"]
