from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ocimlpack.errors import InputError, UnavailableError
from ocimlpack.stores import chain
from ocimlpack.stores.chain import Line, append, read

WRITER = """
import sys
from pathlib import Path
from ocimlpack.stores.chain import append
for number in range(int(sys.argv[3])):
    append(Path(sys.argv[1]), {"writer": sys.argv[2], "number": number})
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "state" / "log.jsonl"


def fill(log: Path, count: int = 4) -> list[bytes]:
    for number in range(count):
        append(log, {"number": number})
    return log.read_bytes().splitlines(keepends=True)


def faults(log: Path) -> list[tuple[int, str]]:
    return [(line.number, line.fault) for line in read(log) if line.fault]


def test_each_line_has_the_hash_of_the_one_before(log: Path) -> None:
    lines = fill(log)
    records = [json.loads(line) for line in lines]
    assert [record["number"] for record in records] == [0, 1, 2, 3]
    assert [record["seq"] for record in records] == [1, 2, 3, 4]
    assert records[0]["prev"] == "0" * 64
    for before, record in zip(lines, records[1:], strict=False):
        assert record["prev"] == hashlib.sha256(before.rstrip(b"\n")).hexdigest()
    assert faults(log) == []


def test_no_log_has_no_lines(log: Path) -> None:
    assert list(read(log)) == []


def test_many_writers_lose_nothing(log: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, log, str(number), "50"])
        for number in range(8)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 8
    found = [(line.record or {}) for line in read(log)]
    assert len(found) == 400
    assert len({(record["writer"], record["number"]) for record in found}) == 400
    assert [record["seq"] for record in found] == list(range(1, 401))
    assert faults(log) == []


def test_many_threads_lose_nothing(log: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: append(log, {"number": number}), range(80)))
    assert {(line.record or {})["number"] for line in read(log)} == set(range(80))
    assert faults(log) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from ocimlpack.stores import chain
real = os.write
def write(handle, content):
    real(handle, bytes(content)[:20])
    os.kill(os.getpid(), signal.SIGKILL)
os.write = write
chain.append(Path(sys.argv[1]), {"text": "what a killed process was about to write"})
"""


def test_a_writer_that_is_killed_half_way_leaves_a_line_that_is_named(log: Path) -> None:
    before = fill(log, 2)
    killed = subprocess.run([sys.executable, "-c", KILLED, log], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    torn = log.read_bytes().splitlines(keepends=True)[2]
    assert len(torn) == 20
    assert faults(log) == [(3, "incomplete")]
    append(log, {"number": 2})  # the lock went with the process
    append(log, {"number": 3})
    assert faults(log) == [(3, "incomplete")]
    after = log.read_bytes().splitlines(keepends=True)
    assert after[:3] == [*before, torn + b"\n"]
    assert [json.loads(line)["seq"] for line in after[3:]] == [3, 4]


def test_a_line_without_its_end_is_whole_when_the_next_is_there(log: Path) -> None:
    lines = fill(log)
    log.write_bytes(b"".join(lines).removesuffix(b"\n"))
    assert faults(log) == [(4, "incomplete")]
    append(log, {"number": 4})
    assert faults(log) == []
    assert [(line.record or {})["seq"] for line in read(log)] == [1, 2, 3, 4, 5]


Lines = list[bytes]
CHANGES: dict[str, tuple[Callable[[Lines], Lines], list[tuple[int, str]]]] = {
    "changed": (lambda a: [a[0], a[1].replace(b"1", b"7", 1), *a[2:]], [(2, "changed")]),
    "the first changed": (lambda a: [a[0].replace(b"0", b"7", 1), *a[1:]], [(1, "changed")]),
    "the first's link changed": (lambda a: [a[0].replace(b"0" * 64, b"1" * 64)], [(1, "changed")]),
    "its number changed": (
        lambda a: [a[0], a[1].replace(b'"seq":2', b'"seq":9'), *a[2:]],
        [(2, "changed")],
    ),
    "made a list": (lambda a: [a[0], b"[]\n", *a[2:]], [(2, "changed")]),
    "made junk": (lambda a: [a[0], b"junk\n", *a[2:]], [(2, "changed")]),
    "made long": (lambda a: [a[0], b"x" * 200_000 + b"\n", *a[2:]], [(2, "changed")]),
    "cut": (lambda a: [a[0], a[1][:9] + b"\n", *a[2:]], [(2, "changed")]),
    "the last made junk": (lambda a: [*a[:3], b"junk\n"], [(4, "changed")]),
    "the last cut": (lambda a: [*a[:3], a[3][:9]], [(4, "incomplete")]),
    "the last made long": (lambda a: [*a[:3], b"x" * 200_000], [(4, "changed")]),
    "number made a list": (
        lambda a: [a[0], a[1].replace(b'"seq":2', b'"seq":[]'), *a[2:]],
        [(2, "changed")],
    ),
    "taken out": (lambda a: [a[0], *a[2:]], [(2, "removed")]),
    "two taken out": (lambda a: [a[0], a[3]], [(2, "removed")]),
    "the first taken out": (lambda a: a[1:], [(1, "removed")]),
    "put in": (lambda a: [*a[:2], a[1], *a[2:]], [(3, "misplaced")]),
    "moved up": (lambda a: [a[0], a[3], a[1], a[2]], [(2, "removed"), (3, "misplaced")]),
    "swapped": (
        lambda a: [a[0], a[2], a[1], a[3]],
        [(2, "removed"), (3, "misplaced"), (4, "removed")],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_named(log: Path, name: str) -> None:
    change, expected = CHANGES[name]
    log.parent.mkdir()
    log.write_bytes(b"".join(change(fill(log))))
    assert faults(log) == expected


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_line_hides_no_change(log: Path, name: str) -> None:
    change, expected = CHANGES[name]
    log.parent.mkdir()
    log.write_bytes(b"".join(change(fill(log))))
    append(log, {"number": 4})
    append(log, {"number": 5})
    found = faults(log)
    assert found[: len(expected) - 1] == expected[:-1]
    assert found
    # Junk that somebody wrote on behind is what a stopped writer leaves, for all one can tell.
    if name != "the last made junk":
        assert expected[-1] in found


def test_what_is_written_behind_a_changed_number_is_sound(log: Path) -> None:
    lines = fill(log)
    log.write_bytes(b"".join(lines).replace(b'"seq":4', b'"seq":9'))
    fill(log)
    assert faults(log) == [(4, "changed")]


def test_lines_of_which_some_have_no_number_are_still_a_chain(log: Path) -> None:
    log.parent.mkdir()
    log.write_text(f'{{"number":0,"prev":"{"0" * 64}"}}\n')
    fill(log, 3)
    assert faults(log) == []
    content = log.read_bytes()
    log.write_bytes(content.replace(b'"number":0', b'"number":7', 1))
    assert faults(log) == [(1, "changed")]


def test_an_incomplete_line_is_kept_and_the_next_writer_goes_on(log: Path) -> None:
    lines = fill(log)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:10])
    assert faults(log) == [(4, "incomplete")]
    append(log, {"number": 4})
    assert faults(log) == [(4, "incomplete")]
    assert [line.record["number"] for line in read(log) if line.record] == [0, 1, 2, 4]
    assert log.read_bytes().splitlines()[3] == lines[3][:10]


def test_only_its_owner_reads_it(log: Path) -> None:
    old = os.umask(0)
    try:
        append(log, {})
        assert log.stat().st_mode & 0o777 == 0o600
        log.chmod(0o644)
        append(log, {})
        assert log.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(old)


def test_a_log_without_room_for_the_whole_line_is_left_as_it_was(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = fill(log)
    real = os.write
    calls = []

    def write(handle: int, content: bytes) -> int:
        calls.append(content)
        if len(calls) == 1:
            return real(handle, bytes(content)[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(UnavailableError, match="no room left"):
        append(log, {"number": 4})
    assert log.read_bytes() == b"".join(lines)


def test_without_locks_nothing_of_others_is_cut_off(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = fill(log)
    real = os.write

    def write(handle: int, content: bytes) -> int:
        if log.stat().st_size == len(b"".join(lines)):
            return real(handle, bytes(content)[:5])
        with log.open("ab") as other:
            other.write(b"another writer's\n")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(UnavailableError, match="no room left"):
        append(log, {"number": 4})
    assert log.read_bytes().startswith(b"".join(lines))
    assert log.read_bytes().endswith(b"another writer's\n")


def test_a_file_system_without_locks(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_: int, __: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    fill(log)
    assert faults(log) == []


def test_a_place_that_cannot_be_written_to(log: Path) -> None:
    log.parent.mkdir()
    log.mkdir()
    with pytest.raises(InputError):
        append(log, {})
    with pytest.raises(InputError, match="is no file"):
        list(read(log))


def test_what_is_no_file_is_left_alone(log: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    log.parent.mkdir()
    log.symlink_to(pipe)
    with pytest.raises(InputError, match="is no file"):
        append(log, {})
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o666
    with pytest.raises(InputError, match="is no file"):
        list(read(log))


def test_a_clock_that_goes_backwards_breaks_nothing(log: Path) -> None:
    for moment in (30, 20, 10):
        append(log, {"time": time.gmtime(moment).tm_sec})
    assert faults(log) == []


def test_a_line_that_is_too_long_is_refused(log: Path) -> None:
    with pytest.raises(InputError, match="too long"):
        append(log, {"text": "x" * 70_000})
    assert list(read(log)) == []


def test_a_log_that_others_keep_locked(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    fill(log, 1)
    monkeypatch.setattr(chain, "_LOCK_SECONDS", 0.05)
    with log.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="locked"):
            append(log, {"number": 1})
    append(log, {"number": 1})
    assert list(read(log))[1] == Line(2, list(read(log))[1].record, None)
