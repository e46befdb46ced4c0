from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ocimlpack.errors import ConflictError, IntegrityError
from ocimlpack.model import archive, layers
from ocimlpack.model.bundle import BundleBlob, Part
from ocimlpack.model.layers import PlannedBundle, PlannedFile, arrange
from ocimlpack.model.listing import contents
from ocimlpack.model.pack import pack, plan
from ocimlpack.model.readers import named
from ocimlpack.model.receipt import verify
from ocimlpack.model.source import Seen, SourceBlob
from ocimlpack.model.unpack import Folder
from ocimlpack.progress import Event, Planned
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.verify import chunks
from ocimlpack.transfer.copy import copy
from tests.model.artifacts import tree
from tests.model.weights import write

MEBI = 1024 * 1024

# Paths at the borders of ustar's fields: 100 bytes of a name, 155 of a prefix.
PATHS = [
    "a",
    "data/" + "n" * 95,
    "data/" + "n" * 96,
    "p" * 155 + "/" + "n" * 100,
    "p" * 156 + "/" + "n" * 99,
    "p" * 80 + "/" + "q" * 74 + "/" + "n" * 100,
    "x" * 101,
    "p/" * 150 + "n",
    "p/" * 77 + "p/" + "n" * 101,
    "größe/ünï.json",
    "漢字/" + "字" * 60,
    "d/" + "e" * 98 + "/f",
    "é" + "n" * 89,  # whose record has 101 bytes, and would have 98 without its own length
]


def blob(path: Path) -> SourceBlob:
    return SourceBlob(path, Seen.of(path.stat()))


def part(path: str, mode: int, content: SourceBlob) -> Part:
    return Part(path, mode, content.seen.size, content)


def bundle(folder: Path, *paths: str, content: bytes = b"content") -> BundleBlob:
    write(folder, {f"{at}": content for at in range(len(paths))})
    modes = (0o644, 0o755)
    return BundleBlob(
        [
            Part(path, modes[at % 2], len(content), blob(folder / str(at)))
            for at, path in enumerate(paths)
        ]
    )


def read(blob: BundleBlob, offset: int = 0, size: int = 64 * 1024) -> bytes:
    with blob.open(offset) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


# The archive's bytes


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 70_000])
def test_other_programs_read_the_archive(tmp_path: Path, length: int) -> None:
    content = random.Random(length).randbytes(length)
    packed = read(bundle(tmp_path, *PATHS, content=content))
    with tarfile.open(fileobj=io.BytesIO(packed)) as found:
        members = found.getmembers()
        assert [each.name for each in members] == PATHS
        for at, each in enumerate(members):
            opened = found.extractfile(each)
            assert opened
            assert opened.read() == content
            assert each.isreg()
            assert each.mode == (0o755 if at % 2 else 0o644)
            assert (each.uid, each.gid, each.mtime, each.uname, each.gname) == (0, 0, 0, "", "")


def test_we_read_the_archive(tmp_path: Path) -> None:
    packed = read(bundle(tmp_path, *PATHS))
    items = archive.read(io.BytesIO(packed), Descriptor.of(packed, "a/b"), "tar")
    assert [(item.path, b"".join(pieces), item.executable) for item, pieces in items] == [
        (path, b"content", at % 2 == 1) for at, path in enumerate(PATHS)
    ]


def header(name: bytes, mode: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    fields = [name.ljust(100, b"\0"), mode, b"0000000\0" * 2, size, b"00000000000\0", b" " * 8]
    fields += [kind, bytes(100), b"ustar\x0000", bytes(64), b"0000000\0" * 2, bytes(167)]
    fields[5] = f"{sum(b''.join(fields)):06o}\0 ".encode()
    return b"".join(fields)


def test_its_bytes_are_those_that_are_documented(tmp_path: Path) -> None:
    content = b"content".ljust(512, b"\0")
    assert read(bundle(tmp_path, "data/a.json", "b.sh")) == (
        header(b"data/a.json", b"0000644\0", b"00000000007\0")
        + content
        + header(b"b.sh", b"0000755\0", b"00000000007\0")
        + content
        + bytes(1024)
    )
    assert read(bundle(tmp_path, "größe")) == (
        header(b"././@PaxHeader", b"0000000\0", b"00000000020\0", b"x")
        + "16 path=größe\n".encode().ljust(512, b"\0")
        + header(b"gr??e", b"0000644\0", b"00000000007\0")
        + content
        + bytes(1024)
    )


def test_a_prefix_is_as_long_as_it_can_be(tmp_path: Path) -> None:
    begin = read(bundle(tmp_path, "a/" * 60 + "b"))[:512]
    assert begin[:100].rstrip(b"\0") == b"b"
    assert begin[345:500].rstrip(b"\0") == b"/".join([b"a"] * 60)
    begin = read(bundle(tmp_path, "p" * 155 + "/" + "n" * 100))[:512]
    assert (begin[:100], begin[345:500]) == (b"n" * 100, b"p" * 155)


def test_reading_begins_anywhere(tmp_path: Path) -> None:
    subject = bundle(tmp_path, *PATHS, content=b"c" * 700)
    whole = read(subject)
    assert subject.size == len(whole)
    for offset in (*range(0, 3000, 61), 512, 1024, 1536, len(whole) - 1025, len(whole) - 1):
        assert read(subject, offset) == whole[offset:]
    assert read(subject, len(whole)) == b""
    for size in (1, 7, 512, 100_000):
        assert read(subject, size=size) == whole
    with subject.open() as stream:
        assert stream.read() == whole


def test_an_empty_file_is_a_header(tmp_path: Path) -> None:
    subject = bundle(tmp_path, "a", content=b"")
    assert subject.size == len(read(subject)) == 512 + 1024


def test_files_are_closed_when_somebody_stops_reading(tmp_path: Path) -> None:
    subject = bundle(tmp_path, "a", "b", content=bytes(MEBI))
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else None
    with subject.open() as stream:
        stream.read(1000)
    if before is not None:
        assert os.listdir("/proc/self/fd") == before


def test_it_is_known_again_as_long_as_no_file_changes(tmp_path: Path) -> None:
    subject = bundle(tmp_path, "a", "b")

    def now(*names: str, mode: int = 0o644) -> BundleBlob:
        return BundleBlob([part(name, mode, blob(tmp_path / name)) for name in names])

    first = now("0", "1")
    assert first.identity == now("0", "1").identity
    assert (first.source, first.seen) == (now("0", "1").source, now("0", "1").seen)
    others = [subject, now("1", "0"), now("0"), now("0", "1", mode=0o755)]
    (tmp_path / "1").write_bytes(b"changed")
    os.utime(tmp_path / "1", ns=(0, 1))
    others.append(now("0", "1"))
    assert len({each.identity for each in (first, *others)}) == 1 + len(others)
    assert len({each.source for each in (first, *others)}) == 1 + len(others)
    assert first.seen.size == first.size


def test_it_is_not_settled_before_its_youngest_file_is(tmp_path: Path) -> None:
    bundle(tmp_path, "a", "b")
    os.utime(tmp_path / "0", ns=(0, 2**62))
    parts = [part("a", 0o644, blob(tmp_path / "0")), part("b", 0o644, blob(tmp_path / "1"))]
    seen = BundleBlob(parts).seen
    assert seen.modified == BundleBlob(parts[::-1]).seen.modified == 2**62
    assert seen.changed == max((tmp_path / name).stat().st_ctime_ns for name in "01")


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize("change", [append, touch, Path.unlink])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_file_that_changes_before_it_is_read_is_refused(
    tmp_path: Path, change: Callable[[Path], None], place: int
) -> None:
    subject = bundle(tmp_path, "a", "b", "c")
    change(tmp_path / str(place))
    with pytest.raises(ConflictError, match="changed while it was being read"):
        read(subject)


@pytest.mark.parametrize("change", [append, touch])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    subject = bundle(tmp_path, "a", "b", content=bytes(MEBI))

    def reading() -> None:
        with subject.open() as stream:
            stream.read(MEBI // 2)
            change(tmp_path / "0")
            while stream.read(MEBI):
                pass

    with pytest.raises(ConflictError, match="changed while it was being read"):
        reading()


def test_a_wrong_digest_is_the_fault_of_the_file_that_changed(tmp_path: Path) -> None:
    subject = bundle(tmp_path, "a", "b")
    desc = Descriptor("a/b", Digest.of(b"what it was"), subject.size)

    def reading(change: Callable[[], None]) -> None:
        with subject.open() as stream:
            for _ in chunks(stream, desc):
                change()

    with pytest.raises(IntegrityError):
        reading(lambda: None)
    with pytest.raises(ConflictError, match="changed while it was being read"):
        reading(lambda: touch(tmp_path / "1"))


def test_a_file_whose_size_is_a_lie_is_refused(tmp_path: Path) -> None:
    # As in /proc, where files have content and no size.
    source = Path("/proc/version")
    if not source.exists():
        pytest.skip("no /proc here")
    with pytest.raises(ConflictError, match="has 0 bytes by its size, but other ones were read"):
        read(BundleBlob([part("version", 0o644, blob(source))]))


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    import tracemalloc

    subject = bundle(tmp_path, *(f"{number}" for number in range(40)), content=bytes(MEBI - 1))
    tracemalloc.start()
    try:
        with subject.open() as stream:
            while stream.read(256 * 1024):
                pass
        assert tracemalloc.get_traced_memory()[1] < 3 * MEBI
    finally:
        tracemalloc.stop()


# Which files are bundled


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of a small world, so that a few files are very many."""
    monkeypatch.setattr(layers, "MAX_FILES", 20)
    monkeypatch.setattr(layers, "MAX_SINGLE", 5)
    monkeypatch.setattr(layers, "_MEAN_PARTS", 8)


NOTHING = Path("/nothing")


def planned(path: str, size: int = 100, kind: mediatypes.Kind = "dataset") -> PlannedFile:
    seen = Seen(1, 2, size, 3, 4, 1)
    return PlannedFile(path, kind, size, 0o644, SourceBlob(NOTHING, seen))


def many(count: int, folder: str = "data/", **about: object) -> list[PlannedFile]:
    return [planned(f"{folder}{at:06d}", **about) for at in range(count)]  # type: ignore[arg-type]


def names(found: tuple[layers.PlannedLayer, ...]) -> list[list[str]]:
    return [[file.path for file in each.files] for each in found]


def test_up_to_the_limit_each_file_is_a_layer() -> None:
    files = many(layers.MAX_FILES)
    assert arrange(files) == tuple(files)
    more = arrange([*files, planned("data/x")])
    assert len(more) < 50
    assert all(isinstance(each, PlannedBundle) or len(each.files) == 1 for each in more)


def test_weights_and_large_files_stay_layers_of_their_own() -> None:
    weights = many(3000, "a/", kind="weight")
    large = many(10, "b/", size=layers.SMALL)
    small = many(3000, "c/", size=layers.SMALL - 1)
    found = arrange([*weights, *large, *small])
    assert found[:3010] == (*weights, *large)
    assert len(found) < 3300


def test_the_few_files_of_a_kind_stay_layers_and_so_do_the_few_at_the_top() -> None:
    top = [planned(f"{at}.json", kind="weight.config") for at in range(layers.MAX_SINGLE)]
    few = many(layers.MAX_SINGLE, "code/", kind="code")
    below = many(3000, kind="weight.config")
    found = arrange([*top, *below, *few])
    assert found[: len(top)] == tuple(top)
    assert found[-len(few) :] == tuple(few)
    assert len(found) < len(top) + len(few) + 30
    crowded = [planned(f"{at:03d}.json", kind="weight.config") for at in range(300)]
    assert len(arrange([*crowded, *below])) < 40


def test_no_archive_holds_two_kinds_and_files_stay_in_order() -> None:
    files = [
        *many(2000, "b/", kind="weight.config"),
        *many(2000, "a/", kind="code"),
        *many(2000, "c/", kind="dataset"),
    ]
    found = arrange(files)
    assert [file for each in found for file in each.files] == files
    for each in found:
        assert len({file.kind for file in each.files}) == 1


def test_an_archive_has_bounds() -> None:
    for size in (0, 100, 100_000, layers.SMALL - 1):
        found = arrange(many(30_000, size=size))
        assert max(len(each.files) for each in found) <= layers.MAX_PARTS
        sizes = [sum(file.size for file in each.files) for each in found]
        assert max(sizes) <= layers.MAX_BYTES
        assert all(len(each.files) > 1 for each in found if isinstance(each, PlannedBundle))
        mean = max(size * 30_000 / 2**24, 30_000 / 1024)
        assert mean / 1.5 < len(found) < mean * 1.5


def test_runs_without_an_end_by_themselves_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_MEAN_PARTS", 2**24)
    assert list(map(len, names(arrange(many(10_000, size=0))))) == [4096, 4096, 1808]
    monkeypatch.setattr(layers, "MAX_BYTES", 1000)
    monkeypatch.setattr(layers, "_MEAN_BYTES", 1)
    assert set(map(len, names(arrange(many(10_000, size=1))))) == {1000}


@pytest.mark.parametrize("size", [10, 2000, 500_000])
def test_one_file_more_or_less_changes_one_archive(size: int) -> None:
    files = many(20_000, size=size)
    before = {tuple(each) for each in names(arrange(files))}
    for at in range(0, 20_000, 4999):
        fewer = {tuple(each) for each in names(arrange(files[:at] + files[at + 1 :]))}
        # It may have been the one that its archive began with: then two become one.
        assert len(before - fewer) <= 2
        assert len(fewer - before) <= 1


def test_where_archives_end_depends_on_paths_and_sizes_alone(low_limits: None) -> None:
    """The rule as it is documented, written down once more."""
    files = many(40, size=0) + many(40, "e/", size=2**20)
    cuts = [each[0] for each in names(arrange(files))]
    expected = [
        file.path
        for at, file in enumerate(files)
        if at == 0
        or int(hashlib.sha256(file.path.encode()).hexdigest()[:6], 16) < 2**24 // 8
        or file.size == 2**20
    ]
    assert cuts == expected


def test_a_bundle_is_named_for_the_folder_that_all_its_files_are_in() -> None:
    def folder(*paths: str) -> str:
        return PlannedBundle.of([planned(path) for path in paths]).folder

    assert folder("data/a", "data/b") == "data"
    assert folder("data/a/x", "data/b/y") == "data"
    assert folder("data/a/b/x", "data/a/b/y") == "data/a/b"
    assert folder("data/a/x", "data/a/x.d/y") == "data/a"
    assert folder("data/a", "datb/a") == folder("a", "data/b") == folder("a", "b") == "."


def test_a_bundle_says_what_it_is() -> None:
    subject = PlannedBundle.of([planned("data/a"), planned("data/b"), planned("data/c")])
    digest = Digest.of(b"x")
    layer = subject.layer(digest)
    assert layer == Descriptor(
        "application/vnd.cncf.model.dataset.v1.tar",
        digest,
        3 * 1024 + 1024,
        {
            "org.cncf.model.filepath": "data",
            "org.cncf.model.file.metadata+json": '{"name":"data","mode":493,"uid":0,"gid":0,'
            '"size":4096,"mtime":"1970-01-01T00:00:00Z","typeflag":5}',
            "org.opencontainers.image.title": f"dataset-{digest.hex[:12]}.tar",
        },
    )
    assert subject.name == "dataset: data/a and 2 more"


def test_a_bundle_of_files_from_all_over_has_a_path_that_every_reader_takes() -> None:
    layer = PlannedBundle.of([planned("a"), planned("data/b")]).layer(Digest.of(b"x"))
    assert layer.annotations["org.cncf.model.filepath"] == layer.annotations[mediatypes.TITLE]


# From a folder, and back

TWENTY_THOUSAND = "sha256:ff78f4b7670cfb988a390c022a2331263ef018af579666ae7ffb31b54bffc4ec"
"""Digest of the model of so many files: it is the same on every machine and with every Python."""


def model(folder: Path, count: int, seed: int = 1) -> dict[str, bytes]:
    chance = random.Random(seed)
    files = {
        f"data/{at % 40:02d}/{'größe ' if at % 7 == 0 else ''}{at:06d}.json": chance.randbytes(
            chance.randrange(300)
        )
        for at in range(count)
    }
    files |= {"config.json": b"{}", "model.bin": bytes(1000), "run.sh": b"#!/bin/sh\n"}
    files["data/00/run.sh"] = b"#!/bin/sh\n"
    write(folder, files)
    return files


def test_twenty_thousand_files_come_back_as_they_were(tmp_path: Path) -> None:
    files = model(tmp_path / "model", 20_000)
    packed = pack(tmp_path / "model", jobs=1)
    assert str(packed.root.digest) == TWENTY_THOUSAND
    assert len(packed.manifest.raw) < MEBI
    assert len(packed.files) == len(files)
    store = LayoutStore(tmp_path / "layout", create=True)
    copy(packed, packed.root, store, ["1.0"], jobs=1)
    out = tmp_path / "out"
    with Folder(out, packed.manifest, named(packed.manifest), reference="m:1.0") as target:
        copy(store, packed.root, target, jobs=1)
        target.commit()
    assert tree(out) == files
    assert len(target.files) == len(files)
    for path in ("run.sh", "data/00/run.sh"):
        assert os.access(out / path, os.X_OK)


def test_a_new_file_needs_one_new_archive(low_limits: None, tmp_path: Path) -> None:
    model(tmp_path, 200)
    before = pack(tmp_path)
    write(tmp_path, {"data/17/000500.json": b"new"})
    after = pack(tmp_path)
    old = {layer.digest for layer in before.manifest.layers}
    assert sum(layer.digest not in old for layer in after.manifest.layers) == 1
    assert len(old) > 20


def test_packing_shows_archives_with_names_and_warns(low_limits: None, tmp_path: Path) -> None:
    model(tmp_path, 100)
    events: list[Event] = []
    packed = pack(tmp_path, report=events.append)
    bundles = [each for each in packed.manifest.layers if each.media_type.endswith(".tar")]
    assert any(f"bundled into {len(bundles)} archives" in each for each in packed.warnings)
    assert isinstance(events[0], Planned)
    assert events[0].items == len(packed.manifest.layers)
    sources = plan(tmp_path).sources
    assert len({source.name for source in sources}) == len(sources)


def test_a_file_of_a_bundle_that_changes_is_refused(low_limits: None, tmp_path: Path) -> None:
    model(tmp_path, 100)
    packed = pack(tmp_path)
    touch(tmp_path / "data/05/000005.json")
    layout = LayoutStore(tmp_path.parent / f"{tmp_path.name}-layout", create=True)
    with pytest.raises(ConflictError, match=r"000005\.json changed while it was being read"):
        copy(packed, packed.root, layout, ["1.0"])
    assert layout.tags() == []


def test_a_bundle_is_listed_file_by_file(low_limits: None, tmp_path: Path) -> None:
    files = model(tmp_path, 100)
    packed = pack(tmp_path)
    bundles = [each for each in named(packed.manifest) if each.encoding == "tar"]
    listed = [entry for each in bundles for entry in contents(each, packed.fetch(each.desc))]
    assert len(listed) > 90
    for entry in listed:
        assert entry.digest == Digest.of(files[entry.path])
        assert entry.size == len(files[entry.path])
        assert entry.mode == (0o755 if entry.path.endswith(".sh") else 0o644)
    with pytest.raises(IntegrityError):
        contents(bundles[0], packed.fetch(bundles[1].desc))


def test_a_folder_is_brought_up_to_date(low_limits: None, tmp_path: Path) -> None:
    files = model(tmp_path / "model", 150)
    out = tmp_path / "out"

    def pull() -> int:
        packed = pack(tmp_path / "model")
        with Folder(out, packed.manifest, named(packed.manifest), reference="m") as target:
            moved = copy(packed, packed.root, target, wanted=target.wants).moved
            target.commit()
        return moved

    whole = pull()
    for at in range(0, 150, 30):
        name = next(path for path in sorted(files) if f"{at:06d}" in path)
        (tmp_path / "model" / name).unlink()
        del files[name]
    new = {"data/05/new.json": b"new", "data/39/000039.json": b"changed"}
    files |= new
    write(tmp_path / "model", new)
    assert pull() < whole * 0.9
    assert tree(out) == files
    assert pull() == 0
    assert verify(out).extra == ()


def test_some_files_of_a_bundle_can_be_pulled(low_limits: None, tmp_path: Path) -> None:
    files = model(tmp_path / "model", 100)
    packed = pack(tmp_path / "model")
    out = tmp_path / "out"
    wanted = ("data/03/*", "config.json")
    with Folder(
        out, packed.manifest, named(packed.manifest), reference="m", include=wanted
    ) as target:
        copy(packed, packed.root, target, wanted=target.wants)
        target.commit()
    assert tree(out) == {
        path: content
        for path, content in files.items()
        if path.startswith("data/03/") or path == "config.json"
    }
