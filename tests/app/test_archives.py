"""Several artifacts as one tar archive, out and in."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    InvalidContentError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnsupportedError,
)
from ocimlpack.progress import Event, Warned
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.mediatypes import IMAGE_NAME, REF_NAME
from ocimlpack.stores import open as stores
from ocimlpack.stores.archive import ArchiveReader
from ocimlpack.stores.graph import read_manifest
from tests.app.conftest import FILES
from tests.app.test_moving import add_referrer, store_of
from tests.scripted.registry import ScriptedRegistry

EPOCH = 0


@pytest.fixture
def saved(model: Path, tmp_path: Path) -> Path:
    """An archive of two models in the local store, the first of which has a note about it."""
    ocimlpack.pack(model, "team/tiny:1.0")
    (model / "README.md").write_text("# Another\n")
    ocimlpack.pack(model, "team/tiny:2.0")
    local = stores.local_store("team/tiny")
    note = add_referrer(f"oci:{local.path}", local.resolve("1.0"), b"first")
    add_referrer(f"oci:{local.path}", note, b"about the first")
    path = tmp_path / "models.tar"
    ocimlpack.save(["team/tiny:2.0", "team/tiny:1.0"], path)
    return path


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {
            each.name: stream.read()
            for each in archive
            if (stream := archive.extractfile(each)) is not None
        }


def index_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(members(path)["index.json"])["manifests"]
    return found


def digest_of(reference: str) -> str:
    return ocimlpack.inspect(reference).digest


def test_what_is_saved_is_loaded(saved: Path, scripted: ScriptedRegistry, tmp_path: Path) -> None:
    first, second = digest_of("team/tiny:1.0"), digest_of("team/tiny:2.0")
    loaded = ocimlpack.load(saved, scripted.host)
    there = f"{scripted.host}/team/tiny"
    assert [each.reference for each in loaded.artifacts] == [
        f"{there}@{first}",
        f"{there}@{second}",
    ]
    # Behind them are those that stand in for a list of referrers.
    assert ocimlpack.tags(there)[:2] == ("1.0", "2.0")
    pulled = ocimlpack.pull(f"{there}:1.0", tmp_path / "out")
    assert pulled.digest == first
    assert (tmp_path / "out/README.md").read_bytes() == FILES["README.md"]
    # And what refers to it, and to that.
    notes = scripted.content["team/tiny"].referrers(first)
    assert len(notes) == 1
    assert len(scripted.content["team/tiny"].referrers(str(notes[0]["digest"]))) == 1


def test_it_is_loaded_into_the_local_store(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = digest_of("team/tiny:1.0")
    monkeypatch.setenv("OCIMLPACK_HOME", str(tmp_path / "elsewhere"))
    loaded = ocimlpack.load(saved)
    assert {each.tags for each in loaded.artifacts} == {("1.0",), ("2.0",)}
    assert digest_of("team/tiny:1.0") == first
    local = stores.local_store("team/tiny")
    assert len(local.referrers(local.resolve("1.0"))) == 1
    again = ocimlpack.load(saved)
    assert {each.moved for each in again.artifacts} == {0}


@pytest.mark.parametrize("prefix", ["oci:{0}/layouts", "oci:{0}/layouts/"])
def test_a_layout_is_made_for_each_repository(saved: Path, tmp_path: Path, prefix: str) -> None:
    ocimlpack.load(saved, prefix.format(tmp_path))
    assert ocimlpack.tags(f"oci:{tmp_path}/layouts/team/tiny") == ("1.0", "2.0")


def test_names_in_a_registry_lose_the_registry(
    model: Path, scripted: ScriptedRegistry, foreign: ScriptedRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "x.tar"
    pushed = ocimlpack.push(model, f"{scripted.host}/a/b:1")
    found = ocimlpack.save([f"{scripted.host}/a/b:1", pushed.reference], path)
    assert [each.name for each in found.artifacts] == [
        f"{scripted.host}/a/b:1",
        f"{scripted.host}/a/b@{pushed.digest}",
    ]
    loaded = ocimlpack.load(path, f"{foreign.host}/mirrored")
    assert {each.reference for each in loaded.artifacts} == {
        f"{foreign.host}/mirrored/a/b@{pushed.digest}"
    }
    assert ocimlpack.tags(f"{foreign.host}/mirrored/a/b") == ("1",)


def test_the_same_artifacts_give_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tar"
    ocimlpack.save(["team/tiny:1.0", "team/tiny:2.0", "team/tiny:1.0"], other)
    assert other.read_bytes() == saved.read_bytes()
    with tarfile.open(other) as archive:
        for each in archive:
            assert (each.mtime, each.uid, each.gid, each.mode) == (EPOCH, 0, 0, 0o644)
            assert (each.uname, each.gname) == ("", "")


def test_the_index_says_names_as_others_look_for_them(saved: Path) -> None:
    assert [each.get("annotations") for each in index_of(saved)] == [
        {IMAGE_NAME: "team/tiny:1.0", REF_NAME: "1.0"},
        {IMAGE_NAME: "team/tiny:2.0", REF_NAME: "2.0"},
        None,
        None,
    ]
    assert ocimlpack.inspect(f"oci-archive:{saved}:2.0").digest == digest_of("team/tiny:2.0")


def test_where_a_tag_would_be_two_names_are_whole(model: Path, tmp_path: Path) -> None:
    for name in ("a:1", "b:1", "b:2"):
        ocimlpack.pack(model, name)
    ocimlpack.save(["a:1", "b:1", "b:2"], tmp_path / "x.tar")
    found = [each["annotations"] for each in index_of(tmp_path / "x.tar")]
    assert [each[REF_NAME] for each in found] == ["a:1", "b:1", "2"]
    assert [each[IMAGE_NAME] for each in found] == ["a:1", "b:1", "b:2"]


def test_referrers_can_be_left_out(saved: Path, tmp_path: Path) -> None:
    found = ocimlpack.save(["team/tiny:1.0"], tmp_path / "x.tar", referrers=False)
    assert [each.referrers for each in found.artifacts] == [0]
    assert len(index_of(tmp_path / "x.tar")) == 1
    assert ocimlpack.load(tmp_path / "x.tar", f"oci:{tmp_path}/l").artifacts


def test_what_refers_to_a_part_of_an_index_is_saved_with_it(
    model: Path, layout: str, tmp_path: Path
) -> None:
    ocimlpack.pack(model, f"{layout}:1", format="both")
    store = store_of(layout)
    index = read_manifest(store, store.resolve("1"))
    part = index.children[0].plain
    note = add_referrer(layout, part, b"about a part")
    found = ocimlpack.save([f"{layout}:1"], tmp_path / "x.tar")
    assert [each.referrers for each in found.artifacts] == [1]
    ocimlpack.load(tmp_path / "x.tar", f"oci:{tmp_path}/l")
    loaded = store_of(f"{tmp_path}/l")
    assert [each.digest for each in loaded.referrers(part)] == [note.digest]
    assert loaded.resolve("1") == store.resolve("1")


def test_an_archive_is_written_to_a_stream_and_read_from_one(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pipe(io.RawIOBase):
        """What can only be written to, or read from, from front to back."""

        def __init__(self, content: bytes = b"") -> None:
            self.written = io.BytesIO(content)

        def writable(self) -> bool:
            return True

        def readable(self) -> bool:
            return True

        def write(self, piece: Any) -> int:
            return self.written.write(piece)

        def read(self, size: int = -1) -> bytes:
            return self.written.read(size)

    pipe = Pipe()
    found = ocimlpack.save(["team/tiny:1.0", "team/tiny:2.0"], pipe)  # type: ignore[arg-type]
    assert found.path == "-"
    assert pipe.written.getvalue() == saved.read_bytes()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    source = Pipe(saved.read_bytes())
    assert len(ocimlpack.load(source, f"oci:{tmp_path}/l").artifacts) == 2  # type: ignore[arg-type]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_dry_run_changes_nothing(saved: Path, tmp_path: Path) -> None:
    planned = ocimlpack.load(saved, f"oci:{tmp_path}/l", dry_run=True)
    assert all(each.dry_run for each in planned.artifacts)
    assert {item.fate for each in planned.artifacts for item in each.plan} == {"upload"}
    assert not (tmp_path / "l").exists()


def test_a_layout_with_only_tags_needs_a_name(model: Path, layout: str, tmp_path: Path) -> None:
    ocimlpack.pack(model, f"{layout}:1.0")
    found = ocimlpack.save([layout], tmp_path / "x.tar")
    assert [each.name for each in found.artifacts] == ["1.0"]
    with pytest.raises(InputError, match=r"has only a tag for sha256:.*: 1\.0") as caught:
        ocimlpack.load(tmp_path / "x.tar")
    assert "ocimlpack load FILE NAME" in str(caught.value.hint)
    (loaded,) = ocimlpack.load(tmp_path / "x.tar", "tiny").artifacts
    assert loaded.reference == f"tiny@{digest_of('tiny:1.0')}"


def test_what_has_no_name_is_left_out_and_said(model: Path, layout: str, tmp_path: Path) -> None:
    packed = ocimlpack.pack(model, f"{layout}:1.0")
    archive = tmp_path / "x.tar"
    ocimlpack.copy(f"{layout}:1.0", f"oci-archive:{archive}:1.0")
    (model / "README.md").write_text("# Another\n")
    other = ocimlpack.pack(model, f"{layout}:2.0")
    ocimlpack.copy(f"{layout}:2.0", f"oci-archive:{archive}@{other.digest}")
    events: list[Event] = []
    loaded = ocimlpack.load(archive, "tiny", report=events.append)
    assert [each.digest for each in loaded.artifacts] == [packed.digest]
    assert loaded.left == (other.digest,)
    assert any(isinstance(each, Warned) and "has no name" in each.message for each in events)


def test_two_artifacts_of_one_name_are_refused(
    model: Path, scripted: ScriptedRegistry, foreign: ScriptedRegistry, tmp_path: Path
) -> None:
    ocimlpack.push(model, f"{scripted.host}/t:1")
    (model / "README.md").write_text("# Another\n")
    ocimlpack.push(model, f"{scripted.host}/t:2")
    first, second = f"oci:{tmp_path}/a", f"oci:{tmp_path}/b"
    ocimlpack.copy(f"{scripted.host}/t:1", f"{first}:1")
    ocimlpack.copy(f"{scripted.host}/t:2", f"{second}:1")
    with pytest.raises(InputError, match="would be called 1"):
        ocimlpack.save([f"{first}:1", f"{second}:1"], tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()


def test_names_that_would_become_one_are_a_conflict(
    saved: Path, tmp_path: Path, scripted: ScriptedRegistry
) -> None:
    path = tmp_path / "y.tar"
    ocimlpack.copy("team/tiny:1.0", f"{scripted.host}/team/tiny:2.0")
    ocimlpack.save(["team/tiny:2.0", f"{scripted.host}/team/tiny:2.0"], path)
    with pytest.raises(ConflictError, match="would both be"):
        ocimlpack.load(path, f"oci:{tmp_path}/l")
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize("destination", ["./x", "oci-archive:x.tar", "/tmp/x"])
def test_a_destination_that_holds_no_artifacts_is_refused(saved: Path, destination: str) -> None:
    with pytest.raises(InputError, match="is no place for several artifacts"):
        ocimlpack.load(saved, destination)


def test_a_layout_with_a_tag_is_no_place_for_several(saved: Path) -> None:
    with pytest.raises(InputError, match="names one artifact"):
        ocimlpack.load(saved, "oci:x:1.0")


def test_nothing_and_nowhere(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to save"):
        ocimlpack.save([], tmp_path / "x.tar")
    with pytest.raises(InputError, match="is a folder"):
        ocimlpack.save(["team/tiny:1.0"], tmp_path)
    with pytest.raises(NotFoundError):
        ocimlpack.save(["team/absent:1"], tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()
    with pytest.raises(NotFoundError, match="no archive at"):
        ocimlpack.load(tmp_path / "absent.tar")
    with pytest.raises(InputError, match="is a folder"):
        ocimlpack.load(tmp_path)


def test_what_is_wrong_at_the_source_leaves_no_archive(
    saved: Path, tmp_path: Path, model: Path
) -> None:
    local = stores.local_store("team/tiny")
    digest = Digest.of(FILES["weights/a.bin"])
    blob = local.path / "blobs" / digest.algorithm / digest.hex
    blob.chmod(0o644)
    blob.write_bytes(b"b" * blob.stat().st_size)
    before = saved.read_bytes()
    with pytest.raises(IntegrityError):
        ocimlpack.save(["team/tiny:1.0"], saved)
    assert saved.read_bytes() == before
    stream = io.BytesIO()
    with pytest.raises(IntegrityError):
        ocimlpack.save(["team/tiny:1.0"], stream)
    (tmp_path / "cut.tar").write_bytes(stream.getvalue())
    with pytest.raises(InvalidContentError):
        ocimlpack.load(tmp_path / "cut.tar", f"oci:{tmp_path}/l")


def test_pipes_and_devices_are_written_to_and_not_replaced(saved: Path, tmp_path: Path) -> None:
    pipe, copy = tmp_path / "pipe", tmp_path / "copy.tar"
    os.mkfifo(pipe)
    with copy.open("wb") as target, subprocess.Popen(["cat", pipe], stdout=target) as reader:
        ocimlpack.save(["team/tiny:1.0", "team/tiny:2.0"], pipe)
        assert reader.wait(10) == 0
    assert pipe.is_fifo()
    assert copy.read_bytes() == saved.read_bytes()
    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # by a link, so that no device is lost if this is wrong one day
    with pytest.raises(UnavailableError):
        ocimlpack.save(["team/tiny:1.0"], full)
    assert full.is_symlink()


def test_a_link_to_a_file_stays_and_the_file_is_replaced(saved: Path, tmp_path: Path) -> None:
    # As /dev/stdout is one, wherever that leads.
    target, link = tmp_path / "target.tar", tmp_path / "link.tar"
    target.write_bytes(b"before")
    link.symlink_to(target.name)
    ocimlpack.save(["team/tiny:1.0", "team/tiny:2.0"], link)
    assert link.is_symlink()
    assert target.read_bytes() == saved.read_bytes()


def test_what_can_not_be_read_from_is_said_to_be_that(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: Any) -> int:
            raise IsADirectoryError(21, "Is a directory")

    with pytest.raises(InputError, match="can't read the archive that was piped in: Is a dir"):
        ocimlpack.load(Broken())  # type: ignore[arg-type]


def test_an_artifact_of_another_algorithm_is_saved(
    model: Path, layout: str, tmp_path: Path
) -> None:
    ocimlpack.pack(model, f"{layout}:1")
    path = store_of(layout).path
    index = json.loads((path / "index.json").read_bytes())
    (entry,) = index["manifests"]
    raw = (path / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_bytes()
    entry["digest"] = str(Digest("sha512", hashlib.sha512(raw).hexdigest()))
    (path / "blobs/sha512").mkdir()
    (path / "blobs/sha512" / entry["digest"].removeprefix("sha512:")).write_bytes(raw)
    (path / "index.json").write_text(json.dumps(index))
    assert ocimlpack.copy(f"{layout}:1", f"oci:{tmp_path}/c:1").digest == entry["digest"]
    assert store_of(f"oci:{tmp_path}/c").resolve("1").digest.algorithm == "sha512"
    ocimlpack.save([f"{layout}:1"], tmp_path / "x.tar")
    assert index_of(tmp_path / "x.tar")[0]["digest"] == entry["digest"]
    assert ocimlpack.verify(f"oci-archive:{tmp_path}/x.tar:1")
    (loaded,) = ocimlpack.load(tmp_path / "x.tar", f"oci:{tmp_path}/l").artifacts
    assert loaded.digest == entry["digest"]


def test_a_repository_within_another_one_gets_its_layout(model: Path, tmp_path: Path) -> None:
    for name in ("a/b:1", "a:1"):
        ocimlpack.pack(model, name)
    ocimlpack.save(["a:1", "a/b:1"], tmp_path / "x.tar")
    ocimlpack.load(tmp_path / "x.tar", f"oci:{tmp_path}/l")
    assert ocimlpack.tags(f"oci:{tmp_path}/l/a") == ("1",)
    assert ocimlpack.tags(f"oci:{tmp_path}/l/a/b") == ("1",)


def test_what_is_piped_in_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(InvalidContentError, match="the archive that was piped in is no tar"):
        ocimlpack.load(io.BytesIO(b"garbage"))


# What strangers may write.


def forged(path: Path, change: Callable[[dict[str, bytes]], None], *more: tarfile.TarInfo) -> Path:
    """The archive with other members, and more behind them."""
    content = members(path)
    change(content)
    target = path.with_name("forged.tar")
    with tarfile.open(target, "w") as archive:
        for name, raw in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
        for each in more:
            archive.addfile(each, io.BytesIO(bytes(each.size)))
    return target


def nothing(_: dict[str, bytes]) -> None:
    pass


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    for field, value in fields.items():
        setattr(found, field, value)
    return found


BLOB = f"blobs/sha256/{'0' * 64}"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (member("/etc/passwd", size=1), "outside of itself"),
        (member("../x", size=1), "outside of itself"),
        (member("blobs/../../x", size=1), "outside of itself"),
        (member(BLOB, tarfile.SYMTYPE, linkname="/etc/passwd"), "something else than a file"),
        (member(BLOB, tarfile.LNKTYPE, linkname="index.json"), "something else than a file"),
        (member(BLOB, tarfile.CHRTYPE), "something else than a file"),
        (member(BLOB, tarfile.FIFOTYPE), "something else than a file"),
        (member("index.json", size=2), r"has index\.json twice"),
        (member("./oci-layout", size=2), "has oci-layout twice"),
    ],
)
def test_hostile_members_are_refused(
    saved: Path, tmp_path: Path, more: tarfile.TarInfo, reason: str
) -> None:
    with pytest.raises(InvalidContentError, match=reason):
        ocimlpack.load(forged(saved, nothing, more), f"oci:{tmp_path}/l")
    assert not (tmp_path / "l").exists()


def test_what_other_programs_put_beside_a_layout_is_passed_over(
    saved: Path, tmp_path: Path
) -> None:
    path = forged(saved, nothing, member("manifest.json", size=2), member("repositories", size=2))
    assert len(ocimlpack.load(path, f"oci:{tmp_path}/l").artifacts) == 2


def test_a_blob_that_is_not_what_its_name_says_is_never_tagged(saved: Path, tmp_path: Path) -> None:
    digest = Digest.of(FILES["weights/a.bin"])

    def spoil(content: dict[str, bytes]) -> None:
        content[f"blobs/sha256/{digest.hex}"] = b"b" * 5000

    with pytest.raises(IntegrityError):
        ocimlpack.load(forged(saved, spoil), f"oci:{tmp_path}/l")
    assert ocimlpack.tags(f"oci:{tmp_path}/l/team/tiny") == ()


def renamed(name: str | None, tag: str = "1.0") -> Callable[[dict[str, bytes]], None]:
    def change(content: dict[str, bytes]) -> None:
        index = json.loads(content["index.json"])
        entry = index["manifests"][0]
        entry["annotations"] = {REF_NAME: tag} if name is None else {IMAGE_NAME: name}
        index["manifests"] = [entry]
        content["index.json"] = json.dumps(index).encode()

    return change


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/x:1",
        "/etc/x",
        "oci:/tmp/x:1",
        "s3://bucket/x:1",
        "example.com/A:1",
        "a b",
        "x\n:1",
        f"example.com/x@sha256:{'0' * 64}",
        "user:secret@example.com/x",
    ],
)
def test_names_that_are_none_are_refused(saved: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidContentError, match="which is no name"):
        ocimlpack.load(forged(saved, renamed(name)), f"oci:{tmp_path}/l")
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize(
    ("name", "tag", "reference"),
    [
        ("docker.io/library/x:1", "", "library/x:1"),
        ("example.com:5000/x", "", "x:latest"),
        (None, "registry.example.com/team/x:2", "team/x:2"),
    ],
)
def test_names_of_other_programs_are_understood(
    saved: Path, tmp_path: Path, name: str | None, tag: str, reference: str
) -> None:
    ocimlpack.load(forged(saved, renamed(name, tag)), f"oci:{tmp_path}/l")
    assert ocimlpack.inspect(f"oci:{tmp_path}/l/{reference}").digest == digest_of("team/tiny:1.0")


@pytest.mark.parametrize(
    "change",
    [
        {"index.json": b""},
        {"index.json": b"[]"},
        {"index.json": b'{"manifests": 5}'},
        {"index.json": b'{"manifests": [{"digest": "x"}]}'},
        {"oci-layout": None},
        {"index.json": None},
        {"index.json": b'{"manifests": []}'},
    ],
)
def test_an_archive_of_no_layout_is_refused(
    saved: Path, tmp_path: Path, change: Mapping[str, bytes | None]
) -> None:
    def apply(content: dict[str, bytes]) -> None:
        for name, raw in change.items():
            if raw is None:
                del content[name]
            else:
                content[name] = raw

    with pytest.raises(OcimlpackError) as caught:
        ocimlpack.load(forged(saved, apply), f"oci:{tmp_path}/l")
    assert caught.value.exit_code in {2, 5}


@pytest.mark.parametrize("keep", [0, 100, 511, 512, 700, 5000, -1025])
def test_an_archive_that_breaks_off_is_refused(saved: Path, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.tar"
    path.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(InvalidContentError):
        ocimlpack.load(path, f"oci:{tmp_path}/l")


def test_a_header_without_end_is_not_read(tmp_path: Path) -> None:
    bomb = member("x", tarfile.XHDTYPE, size=2**40).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "bomb.tar"
    path.write_bytes(bomb + bytes(10_000))
    with pytest.raises(InvalidContentError, match="a header of"):
        ocimlpack.load(path)


def pax(text: bytes) -> bytes:
    """A header that says something of the next member."""
    line = next(line for size in range(999) if len(line := b"%d %s\n" % (size, text)) == size)
    block = line + bytes(-len(line) % 512)
    return member("x", tarfile.XHDTYPE, size=len(line)).tobuf(tarfile.GNU_FORMAT) + block


def sized(size: int) -> bytes:
    """The header of a member, its size in the form for large ones."""
    raw = bytearray(member("x").tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 256**11).to_bytes(11, "big")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


LINK = member("x", tarfile.GNUTYPE_LONGNAME, size=1).tobuf(tarfile.GNU_FORMAT) + bytes(512)


@pytest.mark.parametrize(
    "raw",
    [
        LINK * 3000,
        pax(b"a=b") * 3000,
        sized(2**80),
        sized(-(2**80)),
        sized(-1024),
        pax(b"GNU.sparse.map=a,b"),
        pax(b"GNU.sparse.size=a"),
    ],
    ids=["links", "chain", "large", "below zero", "back", "map", "size"],
)
def test_headers_that_python_stumbles_over_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "bad.tar"
    path.write_bytes(raw + member("y").tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(InvalidContentError, match="is no tar archive that can be read"):
        ocimlpack.load(path)


@pytest.mark.parametrize(
    ("marker", "error"),
    [
        (b'{"imageLayoutVersion":"2.0.0"}', UnsupportedError),
        (b"{}", UnsupportedError),
        (b"garbage", InvalidContentError),
        (b" " * 5000, InvalidContentError),
    ],
)
def test_a_layout_of_another_version_is_refused(
    saved: Path, tmp_path: Path, marker: bytes, error: type[OcimlpackError]
) -> None:
    path = forged(saved, lambda content: content.update({"oci-layout": marker}))
    with pytest.raises(error):
        ocimlpack.load(path, f"oci:{tmp_path}/l")
    with pytest.raises(error):
        ocimlpack.pack(tmp_path / "tiny", f"oci-archive:{path}:3")


def test_a_compressed_archive_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(UnsupportedError, match="is compressed"):
        ocimlpack.load(path)


def test_of_many_models_each_manifest_is_looked_at_once_for_what_it_refers_to(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Digest] = []

    def look(store: Any, desc: Descriptor) -> Any:
        looked.append(desc.digest)
        return read_manifest(store, desc)

    monkeypatch.setattr("ocimlpack.stores.layout_reader.read_manifest", look)
    reader = ArchiveReader(saved)
    found = [reader.referrers(each.desc) for each in reader.entries()]
    assert sum(map(len, found)) == 2
    assert len(looked) == len(set(looked)) == len(reader.entries())


def test_loading_is_written_down(saved: Path, scripted: ScriptedRegistry) -> None:
    ocimlpack.load(saved, scripted.host)
    assert [(each.action, each.tags) for each in ocimlpack.audit().records] == [
        ("load", ("1.0",)),
        ("load", ("2.0",)),
    ]


def test_one_of_several_can_be_copied_out_of_an_archive(saved: Path, layout: str) -> None:
    ocimlpack.copy(f"oci-archive:{saved}:1.0", f"{layout}:1.0")
    root: Descriptor = store_of(layout).resolve("1.0")
    assert str(root.digest) == digest_of("team/tiny:1.0")
