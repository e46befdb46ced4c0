from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ocimlpack.model.digests import DigestCache
from ocimlpack.model.pack import pack
from ocimlpack.model.source import Seen
from ocimlpack.progress import Event, Planned
from ocimlpack.spec.digest import Digest

DIGEST = Digest.of(b"content")
NOW = time.time_ns()
LONG_AGO = NOW - 3600 * 10**9


@pytest.fixture
def cache(tmp_path: Path) -> DigestCache:
    return DigestCache(tmp_path / "folder/digests.sqlite")


def seen(modified: int = LONG_AGO, changed: int = LONG_AGO, inode: int = 7, size: int = 7) -> Seen:
    return Seen(1, inode, size, modified, changed, 1)


def age(path: Path) -> None:
    """Makes a file one that was written long ago, as far as a program can: not its change time."""
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def test_what_was_remembered_is_found(cache: DigestCache) -> None:
    path = Path("/models/a")
    cache.remember([(path, seen(), DIGEST)], NOW)
    assert cache.find([(path, seen()), (Path("/models/b"), seen())]) == {path: DIGEST}


@pytest.mark.parametrize(
    "now",
    [
        seen(modified=LONG_AGO + 1),
        seen(changed=LONG_AGO + 1),
        seen(inode=8),
        seen(size=8),
        Seen(2, 7, 7, LONG_AGO, LONG_AGO, 1),
    ],
)
def test_another_file_under_the_same_path_is_not_known(cache: DigestCache, now: Seen) -> None:
    cache.remember([(Path("/a"), seen(), DIGEST)], NOW)
    assert cache.find([(Path("/a"), now)]) == {}
    other = Digest.of(b"other")
    cache.remember([(Path("/a"), now, other)], NOW)
    assert cache.find([(Path("/a"), now)]) == {Path("/a"): other}


def test_another_name_of_a_file_is_nothing_to_go_by(cache: DigestCache) -> None:
    cache.remember([(Path("/a"), seen(), DIGEST)], NOW)
    assert cache.find([(Path("/b"), seen())]) == {}


@pytest.mark.parametrize("field", ["modified", "changed"])
@pytest.mark.parametrize("when", [NOW - 10**9, NOW, NOW + 10**12])
def test_a_file_that_changed_just_now_is_not_remembered(
    cache: DigestCache, field: str, when: int
) -> None:
    young = seen(**{field: when})
    cache.remember([(Path("/a"), young, DIGEST)], NOW)
    assert cache.find([(Path("/a"), young)]) == {}
    assert not cache.path.exists()


def test_links_to_a_file_do_not_make_it_unknown(cache: DigestCache) -> None:
    cache.remember([(Path("/a"), seen(), DIGEST)], NOW)
    assert cache.find([(Path("/a"), Seen(1, 7, 7, LONG_AGO, LONG_AGO, 2))]) != {}


def test_large_numbers_and_odd_names_are_no_trouble(cache: DigestCache) -> None:
    path = Path(os.fsdecode(b"/models/\xff\n'; DROP TABLE digests"))
    big = Seen(2**64 - 1, 2**64 - 1, 2**62, LONG_AGO, LONG_AGO, 1)
    cache.remember([(path, big, DIGEST)], NOW)
    assert cache.find([(path, big)]) == {path: DIGEST}


@pytest.mark.parametrize("content", [b"", b"no database" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_damaged_cache_is_begun_anew(cache: DigestCache, content: bytes) -> None:
    cache.path.parent.mkdir()
    cache.path.write_bytes(content)
    assert cache.find([(Path("/a"), seen())]) == {}
    cache.remember([(Path("/a"), seen(), DIGEST)], NOW)
    assert cache.find([(Path("/a"), seen())]) == {Path("/a"): DIGEST}


def test_a_digest_that_is_none_is_not_believed(cache: DigestCache) -> None:
    cache.remember([(Path("/a"), seen(), DIGEST)], NOW)
    database = sqlite3.connect(cache.path)
    with database:
        database.execute("UPDATE digests SET digest = 'sha256:../../etc'")
    database.close()
    assert cache.find([(Path("/a"), seen())]) == {}


def test_a_cache_that_can_not_be_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    cache = DigestCache(tmp_path / "file/digests.sqlite")
    cache.remember([(Path("/a"), seen(), DIGEST)], NOW)
    assert cache.find([(Path("/a"), seen())]) == {}


def test_a_cache_that_is_locked_is_done_without(
    cache: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocimlpack.model.digests._WAIT", 0.01)
    cache.remember([(Path("/a"), seen(), DIGEST)], NOW)
    other = sqlite3.connect(cache.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    cache.remember([(Path("/b"), seen(), DIGEST)], NOW)
    assert cache.find([(Path("/a"), seen())]) == {}
    other.close()
    assert cache.find([(Path("/a"), seen())]) == {Path("/a"): DIGEST}


def test_old_digests_are_forgotten(cache: DigestCache) -> None:
    year = 365 * 24 * 3600 * 10**9
    old = seen(modified=NOW - 2 * year, changed=NOW - 2 * year)
    cache.remember([(Path("/old"), old, DIGEST)], NOW - year)
    cache.remember([(Path("/new"), seen(), DIGEST)], NOW)
    assert set(cache.find([(Path("/old"), old), (Path("/new"), seen())])) == {Path("/new")}


def test_many_processes_remember_at_once(cache: DigestCache) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from ocimlpack.model.digests import DigestCache\n"
        "from tests.model.test_digests import DIGEST, NOW, seen\n"
        "names = [Path(f'/{sys.argv[2]}/{n}') for n in range(20)]\n"
        f"[DigestCache(Path(sys.argv[1])).remember([(p, seen({LONG_AGO}, {LONG_AGO}), DIGEST)],"
        f" {NOW}) for p in names]\n"
    )
    arguments = [sys.executable, "-c", program, str(cache.path)]
    running = [subprocess.Popen([*arguments, str(number)]) for number in range(4)]
    assert [process.wait() for process in running] == [0, 0, 0, 0]
    wanted = [(Path(f"/{who}/{n}"), seen()) for who in range(4) for n in range(20)]
    assert len(cache.find(wanted)) == 80


def hashed(folder: Path, cache: DigestCache | None) -> int:
    events: list[Event] = []
    pack(folder, report=events.append, cache=cache)
    return sum(event.items for event in events if isinstance(event, Planned))


def test_unchanged_files_are_read_once(
    tmp_path: Path, cache: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.bin").write_text(name)
        age(folder / f"{name}.bin")
    # The change time can't be set back: let the grain be none instead.
    monkeypatch.setattr("ocimlpack.model.digests._GRAIN", -(10**12))
    first = pack(folder, cache=cache).root
    assert hashed(folder, cache) == 0
    assert pack(folder, cache=cache).root == first
    assert hashed(folder, None) == 3
    (folder / "b.bin").write_text("B")
    age(folder / "b.bin")
    assert pack(folder, cache=cache).root != first
    (folder / "d.bin").write_text("d")
    assert hashed(folder, cache) == 1


def test_files_written_just_now_are_read_each_time(tmp_path: Path, cache: DigestCache) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.bin").write_text("a")
    assert [hashed(folder, cache) for _ in range(3)] == [1, 1, 1]
