from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import ConflictError, IntegrityError
from ocimlpack.model.source import Seen, SourceBlob
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import duplicate
from ocimlpack.stores.base import Blob, BytesBlob, FileBlob
from ocimlpack.transfer.watched import Watched

MEBI = 1024 * 1024
CONTENT = random.Random(4).randbytes(2 * MEBI + 4711)
FICLONE = 0x40049409
LINK = os.link


def desc_of(content: bytes) -> Descriptor:
    return Descriptor.of(content, "application/octet-stream")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o640)
    return path


@dataclass
class System:
    """What a file system can do, instead of what the one does that the tests run on."""

    patch: pytest.MonkeyPatch
    clones: int = 0
    links: int = 0
    copied: int = 0

    def clone(self, works: bool, seen: bytes | None = None) -> None:
        def ioctl(target: int, request: int, source: int) -> int:
            assert request == FICLONE
            if not works:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            self.clones += 1
            content = os.pread(source, os.fstat(source).st_size, 0) if seen is None else seen
            os.pwrite(target, content, 0)
            return 0

        self.patch.setattr(fcntl, "ioctl", ioctl)

    def link(self, works: bool) -> None:
        def link(source: Path, target: Path) -> None:
            if not works:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            self.links += 1
            LINK(source, target)

        self.patch.setattr(os, "link", link)

    def ranges(
        self, error: int | None = None, *, at_most: int = 2**40, before_end: int = 0
    ) -> None:
        """Copies pieces of a size, and after so many bytes none any more."""

        def copy(source: int, target: int, count: int, offset: int, at: int) -> int:
            if error:
                raise OSError(error, os.strerror(error))
            if before_end and at >= before_end:
                return 0
            chunk = os.pread(source, min(count, at_most), offset)
            self.copied += len(chunk)
            return os.pwrite(target, chunk, at)

        self.patch.setattr(os, "copy_file_range", copy, raising=False)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """A Linux file system that can do nothing but read and write."""
    monkeypatch.setattr("sys.platform", "linux")
    found = System(monkeypatch)
    found.clone(False)
    found.link(False)
    found.ranges(errno.EXDEV)
    return found


Setup = Callable[[System], None]
WAYS: dict[str, Setup] = {
    "clone": lambda system: system.clone(True),
    "link": lambda system: system.link(True),
    "ranges": lambda system: system.ranges(),
    "bytes": lambda _: None,
}
ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return written(tmp_path / "target", b"")


def fill(target: Path, blob: Blob, desc: Descriptor, *, is_store: bool = False) -> None:
    with target.open("w+b", buffering=0) as stream:
        duplicate.fill(stream, blob, desc, name=target if is_store else None)


@ways
@pytest.mark.parametrize("size", [0, 1, MEBI, len(CONTENT)])
def test_content_arrives_whichever_way_the_system_has(
    tmp_path: Path, target: Path, system: System, way: str, size: int
) -> None:
    WAYS[way](system)
    content = CONTENT[:size]
    source = written(tmp_path / "source", content)
    fill(target, FileBlob(source, immutable=True), desc_of(content), is_store=True)
    assert target.read_bytes() == source.read_bytes() == content
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source", "target"]
    used = {
        "clone": system.clones,
        "link": system.links,
        "ranges": system.copied,
        "bytes": system.clones + system.links + system.copied == 0,
    }
    assert used[way] or not size
    assert (source.stat().st_ino == target.stat().st_ino) == (way == "link" and size > 0)


def test_the_cheapest_way_is_taken(tmp_path: Path, target: Path, system: System) -> None:
    system.clone(True)
    system.link(True)
    system.ranges()
    blob = FileBlob(written(tmp_path / "source", CONTENT), immutable=True)
    for expected in ((1, 0, 0), (0, 1, 0), (0, 0, len(CONTENT))):
        system.clones = system.links = system.copied = 0
        fill(written(target, b""), blob, desc_of(CONTENT), is_store=True)
        assert (system.clones, system.links, system.copied) == expected
        target.unlink()
        if expected[0]:
            system.clone(False)
        elif expected[1]:
            system.link(False)


@ways
@pytest.mark.parametrize(
    "spoiled",
    [
        CONTENT[:MEBI] + b"?" + CONTENT[MEBI + 1 :],
        CONTENT[:-1],
        CONTENT + b"x",
        CONTENT[:MEBI],
        b"",
    ],
    ids=["one byte", "shorter", "longer", "much shorter", "empty"],
)
def test_content_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, target: Path, system: System, way: str, spoiled: bytes
) -> None:
    WAYS[way](system)
    blob = FileBlob(written(tmp_path / "source", spoiled), immutable=True)
    with pytest.raises(IntegrityError):
        fill(target, blob, desc_of(CONTENT), is_store=True)


def test_a_clone_is_verified_itself_and_not_its_source(
    tmp_path: Path, target: Path, system: System
) -> None:
    # The source was something else for the moment in which it was cloned.
    system.clone(True, seen=b"x" + CONTENT[1:])
    with pytest.raises(IntegrityError):
        fill(target, FileBlob(written(tmp_path / "source", CONTENT)), desc_of(CONTENT))


@ways
def test_a_source_that_changes_meanwhile_is_what_is_named(
    tmp_path: Path, target: Path, system: System, way: str
) -> None:
    WAYS[way](system)
    source = written(tmp_path / "source", CONTENT)
    seen = Seen.of(source.stat())

    def change(offset: int) -> None:
        if offset == MEBI:
            with source.open("r+b") as stream:
                stream.write(b"changed")
            os.utime(source, ns=(0, seen.modified + 1_000_000))

    blob = Watched(SourceBlob(source, seen), change)
    with pytest.raises(ConflictError, match="changed while it was being read"):
        fill(target, blob, desc_of(CONTENT))


@pytest.mark.parametrize("error", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_what_the_system_does_not_copy_is_read_and_written(
    tmp_path: Path, target: Path, system: System, error: int
) -> None:
    system.ranges(error)
    fill(target, FileBlob(written(tmp_path / "source", CONTENT)), desc_of(CONTENT))
    assert target.read_bytes() == CONTENT


def test_short_copies_are_gone_on_with_and_one_of_nothing_is_no_end(
    tmp_path: Path, target: Path, system: System
) -> None:
    blob = FileBlob(written(tmp_path / "source", CONTENT))
    system.ranges(at_most=1000)
    fill(target, blob, desc_of(CONTENT))
    assert target.read_bytes() == CONTENT
    assert system.copied == len(CONTENT)
    system.ranges(before_end=MEBI + 5000, at_most=5000)
    fill(target, blob, desc_of(CONTENT))
    assert target.read_bytes() == CONTENT


def test_only_a_blob_of_a_store_is_linked_and_only_into_a_store(
    tmp_path: Path, target: Path, system: System
) -> None:
    system.link(True)
    source = written(tmp_path / "source", CONTENT)
    fill(target, FileBlob(source), desc_of(CONTENT), is_store=True)
    fill(target, SourceBlob(source, Seen.of(source.stat())), desc_of(CONTENT), is_store=True)
    fill(target, FileBlob(source, immutable=True), desc_of(CONTENT), is_store=False)
    assert system.links == 0
    fill(target, FileBlob(source, immutable=True), desc_of(CONTENT), is_store=True)
    assert system.links == 1
    assert source.stat().st_nlink == 2


def test_a_blob_that_others_may_write_to_is_not_linked(
    tmp_path: Path, target: Path, system: System
) -> None:
    system.link(True)
    source = written(tmp_path / "source", CONTENT)
    source.chmod(0o666)
    fill(target, FileBlob(source, immutable=True), desc_of(CONTENT), is_store=True)
    assert system.links == 0
    source.chmod(0o640)
    real = os.fstat

    def fstat(handle: int) -> Any:
        found = real(handle)
        if not os.path.samestat(found, source.stat()):
            return found
        return os.stat_result((*found[:4], found.st_uid + 1, *found[5:10]))

    system.patch.setattr(os, "fstat", fstat)
    fill(target, FileBlob(source, immutable=True), desc_of(CONTENT), is_store=True)
    assert system.links == 0


def test_a_file_that_took_the_place_of_a_blob_is_not_linked(
    tmp_path: Path, target: Path, system: System
) -> None:
    system.link(True)
    source = written(tmp_path / "source", CONTENT)

    def swap(offset: int) -> None:
        if offset <= MEBI:
            source.unlink()
            written(source, b"something else")

    fill(target, Watched(FileBlob(source, immutable=True), swap), desc_of(CONTENT), is_store=True)
    assert target.read_bytes() == CONTENT
    assert target.stat().st_nlink == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source", "target"]


def test_a_blob_that_is_not_sure_to_be_on_disk_is_not_linked(
    tmp_path: Path, target: Path, system: System
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    system.link(True)
    system.patch.setattr(os, "fsync", fail)
    source = written(tmp_path / "source", CONTENT)
    fill(target, FileBlob(source, immutable=True), desc_of(CONTENT), is_store=True)
    assert target.read_bytes() == CONTENT
    assert target.stat().st_nlink == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source", "target"]


@ways
def test_whoever_watches_is_told_of_every_piece(
    tmp_path: Path, target: Path, system: System, way: str
) -> None:
    WAYS[way](system)
    told: list[int] = []
    source = written(tmp_path / "source", CONTENT)
    blob = Watched(FileBlob(source, immutable=True), told.append)
    fill(target, blob, desc_of(CONTENT), is_store=True)
    assert told == [MEBI, 2 * MEBI, len(CONTENT)]


def test_content_that_is_no_file_is_written_and_verified(target: Path, system: System) -> None:
    fill(target, BytesBlob(CONTENT), desc_of(CONTENT), is_store=True)
    assert target.read_bytes() == CONTENT
    with pytest.raises(IntegrityError):
        fill(target, BytesBlob(CONTENT[1:]), desc_of(CONTENT))


def test_a_failing_disk_is_not_taken_for_one_that_can_not_copy(
    tmp_path: Path, target: Path, system: System
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    system.ranges(errno.ENOSPC)
    system.patch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        fill(target, FileBlob(written(tmp_path / "source", CONTENT)), desc_of(CONTENT))


def test_holes_stay_holes(tmp_path: Path, target: Path) -> None:
    size = 64 * MEBI
    source = tmp_path / "source"
    with source.open("wb") as stream:
        stream.truncate(size)
        stream.seek(20 * MEBI + 100)
        stream.write(b"data")
    if source.stat().st_blocks * 512 > MEBI:
        pytest.skip("this file system knows no holes")
    content = source.read_bytes()
    fill(target, FileBlob(source), desc_of(content))
    assert target.read_bytes() == content
    assert target.stat().st_blocks * 512 <= 4 * MEBI


def test_memory_does_not_grow_with_the_file(tmp_path: Path, target: Path) -> None:
    import tracemalloc

    content = bytes(32 * MEBI)
    source = written(tmp_path / "source", content)
    desc = desc_of(content)
    del content
    tracemalloc.start()
    try:
        fill(target, FileBlob(source), desc)
        assert tracemalloc.get_traced_memory()[1] < 2 * MEBI
    finally:
        tracemalloc.stop()


# On a file system that shares what files hold


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a file system with shared extents: where the tests run, or one made for them."""
    place = tmp_path_factory.mktemp("sharing")
    sample = written(place / "sample", b"x" * 8192)
    handle = os.open(place, os.O_RDONLY)
    try:
        here = duplicate.can_clone(sample, handle)
    finally:
        os.close(handle)
    if here:
        yield place
        return
    image = place / "image"
    with image.open("wb") as stream:
        stream.truncate(512 * MEBI)
    mounted = place / "mounted"
    mounted.mkdir()
    try:
        _run("mkfs.xfs", "-q", "-m", "reflink=1", image)
        _run("mount", "-o", "loop", image, mounted)
        _run("chmod", "1777", mounted)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no file system with shared extents can be made here: {error}")
    try:
        yield mounted
    finally:
        _run("umount", mounted)
        image.unlink()


def _run(*command: str | Path) -> None:
    # Neither is on an ordinary user's path everywhere.
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    program = shutil.which(command[0], path=path)
    if program is None:
        raise FileNotFoundError(f"no {command[0]}")
    # On a machine for tests only. On a person's, nothing is mounted without being asked for.
    as_root = os.environ.get("CI") == "true" and os.geteuid() != 0
    run = ["sudo", "-n", program] if as_root else [program]
    subprocess.run([*run, *command[1:]], check=True, capture_output=True, timeout=60)


def free(place: Path) -> int:
    os.sync()
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def test_a_clone_takes_no_room_and_is_a_file_of_its_own(sharing: Path) -> None:
    content = random.Random(5).randbytes(32 * MEBI)
    source = written(sharing / "original", content)
    target = written(sharing / "clone", b"")
    before = free(sharing)
    fill(target, FileBlob(source), desc_of(content))
    assert before - free(sharing) < 2 * MEBI
    with source.open("r+b") as stream:
        stream.write(b"changed")
    assert target.read_bytes() == content
    assert target.stat().st_nlink == 1


def test_it_is_known_beforehand_where_copies_take_no_room(
    sharing: Path, tmp_path: Path, system: System
) -> None:
    system.patch.undo()
    source = written(sharing / "known", CONTENT)
    before = sorted(each.name for each in sharing.iterdir())
    handle = os.open(sharing, os.O_RDONLY)
    try:
        assert duplicate.can_clone(source, handle)
        assert not duplicate.can_clone(written(Path("/dev/shm") / tmp_path.name, b"x"), handle)
        assert not duplicate.can_clone(sharing / "absent", handle)
    finally:
        os.close(handle)
        (Path("/dev/shm") / tmp_path.name).unlink(missing_ok=True)
    assert sorted(each.name for each in sharing.iterdir()) == before
