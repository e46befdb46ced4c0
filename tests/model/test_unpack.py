from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import pytest

from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    InvalidContentError,
    UnavailableError,
)
from ocimlpack.model import beneath, receipt, unpack
from ocimlpack.model.readers import named
from ocimlpack.spec import mediatypes
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import BytesBlob
from tests.model.artifacts import (
    CONTENT,
    SIZE,
    TAR,
    Layer,
    artifact,
    copy,
    everything,
    files,
    folder_at,
    member,
    metadata,
    pull,
    tar,
    tree,
)


class BrokenBlob:
    """Content that can't be read to its end."""

    def __init__(self, content: bytes, error: Exception) -> None:
        self._content = content
        self._error = error

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        content, error = [self._content], self._error

        class Stream:
            def read(self, size: int = -1) -> bytes:
                if content:
                    return content.pop()
                raise error

        yield Stream()  # type: ignore[misc]


class TestANewFolder:
    def test_gets_all_files_and_a_receipt_and_nothing_else(self, tmp_path: Path) -> None:
        done = pull(files(CONTENT), tmp_path / "out")
        assert tree(tmp_path / "out") == CONTENT
        assert everything(tmp_path) == {
            "out",
            "out/.ocimlpack",
            "out/.ocimlpack/receipt.json",
            "out/sub",
            *(f"out/{path}" for path in CONTENT),
        }
        assert (done.path, done.moved, done.kept) == (tmp_path / "out", SIZE, 0)
        assert done.files == [(path, len(content)) for path, content in CONTENT.items()]

    def test_comes_with_the_folders_above_it(self, tmp_path: Path) -> None:
        pull(files(CONTENT), tmp_path / "a/b/c")
        assert tree(tmp_path / "a/b/c") == CONTENT

    def test_is_not_there_before_the_commit(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        with folder_at(tmp_path / "out", source) as folder:
            copy(source, folder)
            assert not (tmp_path / "out").exists()

    def test_has_ordinary_permissions_whatever_the_artifact_asks_for(self, tmp_path: Path) -> None:
        modes = {"plain": 0o600, "none": 0o000, "run": 0o711, "root": 0o6755, "open": 0o1777}
        source = artifact(
            *(
                Layer(path, path.encode(), annotations=metadata(mode))
                for path, mode in modes.items()
            ),
            Layer("tar", tar(member("in/tar", b"x", mode=0o4755)), TAR),
        )
        mask = os.umask(0o022)
        try:
            pull(source, tmp_path / "out")
        finally:
            os.umask(mask)
        found = {
            path.relative_to(tmp_path / "out").as_posix(): stat.S_IMODE(path.stat().st_mode)
            for path in (tmp_path / "out").rglob("*")
            if ".ocimlpack" not in path.parts
        }
        run = dict.fromkeys(["run", "root", "open", "in", "in/tar"], 0o755)
        assert found == run | dict.fromkeys(["plain", "none"], 0o644)
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755

    def test_obeys_the_umask(self, tmp_path: Path) -> None:
        mask = os.umask(0o077)
        try:
            pull(artifact(Layer("a/run", b"x", annotations=metadata(0o755))), tmp_path / "out")
        finally:
            os.umask(mask)
        paths = [tmp_path / "out" / each for each in ("", "a", "a/run", ".ocimlpack")]
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o700}

    def test_has_files_of_their_own_where_one_content_has_several_names(
        self, tmp_path: Path
    ) -> None:
        source = files({"a": b"same", "b/c": b"same", "d": b"same"})
        done = pull(source, tmp_path / "out")
        assert done.moved == 4
        assert tree(tmp_path / "out") == {"a": b"same", "b/c": b"same", "d": b"same"}
        assert {path.stat().st_nlink for path in (tmp_path / "out").rglob("?")} >= {1}
        assert (tmp_path / "out/a").stat().st_nlink == 1

    def test_may_have_empty_files_and_any_ordinary_name(self, tmp_path: Path) -> None:
        content = {"leer": b"", "größe/模 型.bin": b"1", "-rf": b"2", " x": b"3", "a" * 255: b"4"}
        pull(files(content), tmp_path / "out")
        assert tree(tmp_path / "out") == content

    def test_may_itself_have_the_longest_name(self, tmp_path: Path) -> None:
        pull(files(CONTENT), tmp_path / ("ö" * 127))
        assert tree(tmp_path / ("ö" * 127)) == CONTENT

    def test_may_be_called_relatively(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert pull(files(CONTENT), Path("out")).path == Path("out")
        (tmp_path / "in").mkdir()
        monkeypatch.chdir(tmp_path / "in")
        pull(files(CONTENT), Path("../other"))
        assert tree(tmp_path / "other") == CONTENT

    def test_may_be_reached_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        pull(files(CONTENT), tmp_path / "link/out")
        assert tree(tmp_path / "real/out") == CONTENT


class TestAnEmptyFolder:
    def test_is_replaced_and_keeps_its_permissions(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir(mode=0o700)
        pull(files(CONTENT), tmp_path / "out")
        assert tree(tmp_path / "out") == CONTENT
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
        assert os.listdir(tmp_path) == ["out"]

    def test_that_somebody_is_in_stays_the_same_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        before = tmp_path.stat().st_ino
        pull(files(CONTENT), Path())
        assert (tmp_path.stat().st_ino, tree(tmp_path)) == (before, CONTENT)
        assert os.listdir(".ocimlpack") == ["receipt.json"]

    def test_is_empty_again_after_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        source = files(CONTENT)
        with folder_at(Path(), source):
            assert os.listdir(tmp_path) == [".ocimlpack"]
        assert os.listdir(tmp_path) == []

    def test_in_which_a_pull_was_begun_is_filled_from_anywhere(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        partial = tmp_path / f"out/.ocimlpack/partial-{source.digest.hex[:12]}"
        partial.mkdir(parents=True, mode=0o755)
        (partial / "config.json").write_bytes(b"{}")
        assert pull(source, tmp_path / "out").kept == 2
        assert tree(tmp_path / "out") == CONTENT
        assert os.listdir(tmp_path / "out/.ocimlpack") == ["receipt.json"]


class TestWrongContent:
    @pytest.mark.parametrize("wrong", [b"", b"short", b"weights" * 1000 + b"x", b"Weights" * 1000])
    def test_is_refused_and_leaves_nothing(self, tmp_path: Path, wrong: bytes) -> None:
        source = files({"model.safetensors": CONTENT["model.safetensors"]})
        (desc,) = source.manifest.layers
        with (
            pytest.raises(IntegrityError),
            folder_at(tmp_path / "a/out", source) as folder,
        ):
            folder.push(desc, BytesBlob(wrong))
        assert everything(tmp_path) == set()

    def test_keeps_what_was_right_for_the_next_time_hidden(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        bad = {Digest.of(CONTENT["model.safetensors"]): BytesBlob(b"x")}
        with (
            pytest.raises(IntegrityError),
            folder_at(tmp_path / "out", source) as folder,
        ):
            copy(source, folder, bad)
        assert not (tmp_path / "out").exists()
        (left,) = tmp_path.iterdir()
        assert left.name == f".out.ocimlpack-{source.digest.hex[:12]}"
        assert everything(left) - {".ocimlpack"} == {"config.json"}
        done = pull(source, tmp_path / "out")
        assert (done.moved, done.kept) == (SIZE - 2, 2)
        assert os.listdir(tmp_path) == ["out"]

    def test_that_is_not_delivered_is_noticed(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        with (
            pytest.raises(IntegrityError, match=r"config.json was not delivered"),
            folder_at(tmp_path / "out", source) as folder,
        ):
            folder.commit()
        assert everything(tmp_path) == set()

    @pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:evil"])
    def test_of_a_name_is_refused_before_anything_is_touched(
        self, tmp_path: Path, path: str
    ) -> None:
        with pytest.raises(InvalidContentError, match="unsafe file name"):
            pull(files({"fine": b"x", path: b"y"}), tmp_path / "in/out")
        assert everything(tmp_path) == set()


class TestSelection:
    def test_takes_only_what_is_wanted(self, tmp_path: Path) -> None:
        done = pull(
            files(CONTENT), tmp_path / "out", include=["*.json", "sub"], exclude=["README*"]
        )
        assert (tree(tmp_path / "out"), done.moved) == ({"config.json": b"{}"}, 2)
        assert pull(files(CONTENT), tmp_path / "out").moved == SIZE - 2
        assert tree(tmp_path / "out") == CONTENT

    def test_never_wants_the_config_nor_what_is_unknown(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        with folder_at(tmp_path / "out", source) as folder:
            for desc in (source.manifest.config, source.manifest.descriptor):
                assert not folder.wants(desc)
                assert not folder.exists(desc)
                folder.push(desc, BytesBlob(source.blobs.get(desc.digest, source.manifest.raw)))
            copy(source, folder)
            folder.commit()
        assert tree(tmp_path / "out") == CONTENT

    def test_of_nothing_names_what_there_is(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"there are config.json, model.safetensors, sub/READ"):
            pull(files(CONTENT), tmp_path / "a/out", include=["*.gguf"])
        many = files({f"{n:02}": bytes([n]) for n in range(13)})
        with pytest.raises(InputError, match="09 and 3 more"):
            pull(many, tmp_path / "a/out", exclude=["*"])
        assert everything(tmp_path) == set()

    def test_reaches_into_archives(self, tmp_path: Path) -> None:
        packed = tar(member("d/a.json", b"1"), member("d/b.bin", b"2"))
        source = artifact(Layer("d", packed, TAR), Layer("x.bin", b"3"))
        pull(source, tmp_path / "out", include=["*.json"])
        assert tree(tmp_path / "out") == {"d/a.json": b"1"}
        assert pull(source, tmp_path / "out").moved == len(packed) + 1
        assert tree(tmp_path / "out") == {"d/a.json": b"1", "d/b.bin": b"2", "x.bin": b"3"}
        assert pull(source, tmp_path / "out").moved == 0

    def test_leaves_out_an_archive_of_which_nothing_is_wanted(self, tmp_path: Path) -> None:
        packed = tar(member("d/a.json", b"1"))
        one = tar(member("w.bin", b"2"))
        attributes = {mediatypes.FILE_METADATA: '{"typeflag":0}'}
        source = artifact(
            Layer("d", packed, TAR), Layer("w.bin", one, TAR, attributes), Layer("x", b"3")
        )
        assert pull(source, tmp_path / "a", exclude=["d/", "w.bin"]).moved == 1
        assert pull(source, tmp_path / "b", include=["w.*"], exclude=["d"]).moved == len(one)
        with pytest.raises(InputError, match="select none"):
            pull(source, tmp_path / "c", include=["*.txt"])
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]


class TestArchives:
    PACKED = tar(
        member("a/b", b"x" * 5000),
        member("c", b"y", mode=0o755),
        member("empty/deep", type=b"5"),
        member("a", type=b"5"),
        gz=True,
    )
    SOURCE = artifact(
        Layer("data", PACKED, mediatypes.model_layer("dataset", "tar+gzip")), Layer("r", b"raw")
    )
    TREE = {"a/b": b"x" * 5000, "c": b"y", "r": b"raw"}  # noqa: RUF012

    def test_are_unpacked_with_their_empty_folders(self, tmp_path: Path) -> None:
        done = pull(self.SOURCE, tmp_path / "out")
        assert tree(tmp_path / "out") == self.TREE
        assert (tmp_path / "out/empty/deep").is_dir()
        assert [size for _, size in done.files] == [5000, 1, 3]
        assert os.listdir(tmp_path / "out/.ocimlpack") == ["receipt.json"]

    def test_are_not_read_again_when_all_their_files_are_there(self, tmp_path: Path) -> None:
        pull(self.SOURCE, tmp_path / "out")
        assert pull(self.SOURCE, tmp_path / "out").moved == 0
        (tmp_path / "out/c").unlink()
        assert pull(self.SOURCE, tmp_path / "out").moved == len(self.PACKED)
        assert tree(tmp_path / "out") == self.TREE

    def test_with_a_file_missing_are_not_taken_for_whole_after_a_pull_of_others(
        self, tmp_path: Path
    ) -> None:
        out = pull(self.SOURCE, tmp_path / "out").path
        (out / "c").unlink()
        pull(self.SOURCE, out, include=["r"], exclude=["data/"])
        assert receipt.verify(out).checked == 2
        pull(self.SOURCE, out)
        assert tree(out) == self.TREE

    def test_are_kept_from_an_earlier_try(self, tmp_path: Path) -> None:
        broken = {Digest.of(b"raw"): BrokenBlob(b"r", UnavailableError("gone"))}
        with (
            pytest.raises(UnavailableError),
            folder_at(tmp_path / "out", self.SOURCE) as folder,
        ):
            copy(self.SOURCE, folder, broken)
        done = pull(self.SOURCE, tmp_path / "out")
        assert (done.moved, done.kept) == (3, 5001)
        assert tree(tmp_path / "out") == self.TREE
        assert (tmp_path / "out/empty/deep").is_dir()
        assert os.listdir(tmp_path / "out/.ocimlpack") == ["receipt.json"]

    def test_that_are_wrong_leave_nothing(self, tmp_path: Path) -> None:
        (desc, _) = self.SOURCE.manifest.layers
        wrong = self.PACKED[:-1] + bytes([self.PACKED[-1] ^ 1])
        with (
            pytest.raises(IntegrityError, match="has the digest"),
            folder_at(tmp_path / "out", self.SOURCE) as folder,
        ):
            folder.push(desc, BytesBlob(wrong))
        assert everything(tmp_path) == set()

    @pytest.mark.parametrize(
        "bad",
        [
            tar(member("ok", b"x"), member("../evil", b"y")),
            tar(member("l", type=b"2", linkname=".."), member("l/evil", b"y")),
            tar(member("a", b"1"), member("a", b"2")),
            tar(member("a", b"1"), member("A", b"2")),
            tar(member("a", b"1"), member("a/b", b"2")),
            tar(member("raw/x", b"1")),
            tar(member("RAW", b"1")),
            tar(member("raw", type=b"5")),
        ],
        ids=[
            "parent",
            "link",
            "twice",
            "case",
            "file-folder",
            "below-raw",
            "raw-twin",
            "folder-raw",
        ],
    )
    def test_that_are_unsafe_are_refused_and_leave_nothing_visible(
        self, tmp_path: Path, bad: bytes
    ) -> None:
        with pytest.raises(InvalidContentError):
            pull(artifact(Layer("raw", b"1"), Layer("x", bad, TAR)), tmp_path / "deep/out")
        assert not (tmp_path / "deep/out").exists()
        assert not list(tmp_path.rglob("evil"))

    def test_whose_files_clash_with_another_archives_are_refused(self, tmp_path: Path) -> None:
        one, other = tar(member("f/a", b"1")), tar(member("f", b"2"))
        for layers in ((one, other), (other, one)):
            source = artifact(*(Layer(str(n), each, TAR) for n, each in enumerate(layers)))
            with pytest.raises(InvalidContentError, match="side by side"):
                pull(source, tmp_path / "out")
        twin = artifact(Layer("1", one, TAR), Layer("2", tar(member("F/A", b"2")), TAR))
        with pytest.raises(InvalidContentError, match="side by side"):
            pull(twin, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_of_oras_stay_in_the_folder_that_they_are_of(self, tmp_path: Path) -> None:
        marks = {mediatypes.TITLE: "tree", mediatypes.ORAS_UNPACK: "true"}
        good = tar(member("tree", type=b"5"), member("tree/a", b"1"), gz=True)
        pull(artifact(Layer(None, good, "a/b", marks)), tmp_path / "good")
        assert tree(tmp_path / "good") == {"tree/a": b"1"}
        for name in ("a", "trees/a", "tree2"):
            bad = tar(member(name, b"1"), gz=True)
            with pytest.raises(InvalidContentError, match="not in the folder 'tree'"):
                pull(artifact(Layer(None, bad, "a/b", marks)), tmp_path / "bad")

    def test_may_be_brought_up_to_date_in_place(self, tmp_path: Path) -> None:
        out = pull(self.SOURCE, tmp_path / "out").path
        new = tar(member("a/b", b"new"), member("d", b"z"), member("e", type=b"5"))
        pull(artifact(Layer("data", new, TAR)), out)
        assert tree(out) == {"a/b": b"new", "d": b"z"}
        assert (out / "e").is_dir()
        (out / "f").write_text("mine")
        for bad in (member("f", b"theirs"), member("f/g", b"theirs"), member("f", type=b"5")):
            with pytest.raises(ConflictError, match="f"):
                pull(artifact(Layer("data", tar(bad), TAR)), out)
        assert tree(out) == {"a/b": b"new", "d": b"z", "f": b"mine"}


class TestRoom:
    def lack(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        real = os.fstatvfs

        def scarce(fd: int) -> os.statvfs_result:
            found = list(real(fd))
            found[0], found[1], found[4] = 4096, 1, free
            return os.statvfs_result(found)

        monkeypatch.setattr(os, "fstatvfs", scarce)

    def test_is_looked_for_before_anything_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.lack(monkeypatch, SIZE - 10)
        source = files(CONTENT)
        with (
            pytest.raises(UnavailableError, match="10 are missing") as caught,
            folder_at(tmp_path / "a/out", source),
        ):
            pytest.fail("it was entered")
        assert "free space" in str(caught.value.hint)
        assert everything(tmp_path) == set()

    @pytest.mark.parametrize("clones", [True, False])
    def test_clones_take_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clones: bool
    ) -> None:
        self.lack(monkeypatch, 0)
        monkeypatch.setattr(unpack, "can_clone", lambda *_: clones)
        source = files(CONTENT)
        near = tmp_path / "index.json"
        folder = unpack.Folder(
            tmp_path / "out", source.manifest, named(source.manifest), reference="x", near=near
        )
        refused = nullcontext() if clones else pytest.raises(UnavailableError, match="missing")
        with refused, folder:
            pass

    def test_that_is_taken_already_need_not_be_free(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = pull(
            files({"model.safetensors": CONTENT["model.safetensors"]}), tmp_path / "out"
        ).path
        self.lack(monkeypatch, SIZE - 7000)
        pull(files(CONTENT), out)
        assert tree(out) == CONTENT

    def test_for_what_an_archive_holds_is_looked_for_when_it_is_known(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packed = tar(member("zeros", bytes(100_000)), gz=True)
        self.lack(monkeypatch, 50_000)
        with pytest.raises(UnavailableError, match="50,000 are missing"):
            pull(artifact(Layer("d", packed, mediatypes.model_layer("doc", "tar+gzip"))), tmp_path)
        assert everything(tmp_path) == set()

    @pytest.mark.parametrize("stands", [False, True])
    def test_that_ends_while_writing_is_one_clear_error_and_leaves_no_part(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stands: bool
    ) -> None:
        out = tmp_path / "out"
        if stands:
            pull(files({"config.json": b"old"}), out)
        before = tree(out) if stands else {}
        real = beneath.write_all

        def full(file: BinaryIO, content: bytes) -> None:
            if len(content) > 1000:
                real(file, content[:1000])
                raise OSError(28, "No space left on device")
            real(file, content)

        monkeypatch.setattr("ocimlpack.model.staging.write_all", full)
        with pytest.raises(UnavailableError, match=r"model.safetensors: No space left") as caught:
            pull(files(CONTENT), out)
        assert caught.value.hint
        assert (tree(out) if stands else {}) == before
        assert out.exists() == stands
        monkeypatch.setattr("ocimlpack.model.staging.write_all", real)
        assert pull(files(CONTENT), out).kept == 2
        assert tree(out) == CONTENT


class TestASystemThatRefuses:
    def test_a_name_that_is_too_long_for_it_is_an_input_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"can't (read|write)"):
            pull(files(CONTENT), tmp_path / ("x" * 256))
        with pytest.raises(InputError, match="not a path"):
            pull(files(CONTENT), Path("a\0b/c"))

    def test_missing_permissions_are_an_input_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "mkdir", refuse)
        with pytest.raises(InputError, match=r"can't write .*: Permission denied"):
            pull(files(CONTENT), tmp_path / "out")
        assert everything(tmp_path) == set()


def test_no_file_stays_open(tmp_path: Path) -> None:
    def opened() -> int:
        return len(os.listdir("/dev/fd"))

    source = files(CONTENT)
    before = opened()
    pull(source, tmp_path / "out")
    (tmp_path / "out/config.json").unlink()
    pull(source, tmp_path / "out")
    with pytest.raises(IntegrityError), folder_at(tmp_path / "failed", source) as folder:
        folder.commit()
    with pytest.raises(ConflictError):
        pull(source, tmp_path)
    receipt.verify(tmp_path / "out")
    unpack.prune(tmp_path / "out", dry_run=False)
    assert opened() == before
