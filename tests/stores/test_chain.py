from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
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
    assert records[0]["prev"] == "0" * 64
    for before, record in zip(lines, records[1:], strict=False):
        assert record["prev"] == hashlib.sha256(before.rstrip(b"\n")).hexdigest()
    assert faults(log) == []


def test_no_log_has_no_lines(log: Path) -> None:
    assert list(read(log)) == []


def test_many_writers_lose_nothing(log: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, log, str(number), "40"])
        for number in range(8)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 8
    found = [(line.record or {}) for line in read(log)]
    assert len(found) == 320
    assert len({(record["writer"], record["number"]) for record in found}) == 320
    assert faults(log) == []


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"1", b"7", 1), *lines[2:]], [3]),
        (lambda lines: [lines[0], *lines[2:]], [2]),
        (lambda lines: lines[1:], [1]),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], [2, 3, 4]),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], [3]),
    ],
    ids=["changed", "taken out", "first taken out", "swapped", "put in"],
)
def test_what_was_changed_is_noticed(log: Path, change: object, broken: list[int]) -> None:
    log.write_bytes(b"") if log.exists() else None
    lines = fill(log)
    assert callable(change)
    log.write_bytes(b"".join(change(lines)))
    assert faults(log) == [(number, "broken") for number in broken]


def test_an_incomplete_line_is_kept_and_the_next_writer_goes_on(log: Path) -> None:
    lines = fill(log)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:10])
    assert faults(log) == [(4, "incomplete")]
    append(log, {"number": 4})
    assert faults(log) == [(4, "incomplete")]
    assert [line.record["number"] for line in read(log) if line.record] == [0, 1, 2, 4]
    assert log.read_bytes().splitlines()[3] == lines[3][:10]


@pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"[1]\n", b"{\n", b"\n", b"x" * 100_000 + b"\n"])
def test_junk_is_no_crash(log: Path, junk: bytes) -> None:
    fill(log, 1)
    with log.open("ab") as stream:
        stream.write(junk)
    append(log, {"number": 1})
    assert {fault for _, fault in faults(log)} <= {"incomplete", "broken"}
    assert next(line.record["number"] for line in read(log) if line.record) == 0


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


def test_a_place_that_cannot_be_written_to(log: Path) -> None:
    log.parent.mkdir()
    log.mkdir()
    with pytest.raises(InputError):
        append(log, {})


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
