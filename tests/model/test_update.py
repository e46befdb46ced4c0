from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    InvalidContentError,
)
from ocimlpack.model import beneath, receipt, unpack
from ocimlpack.spec.digest import Digest
from ocimlpack.stores.base import BytesBlob
from tests.model.artifacts import (
    CONTENT,
    SIZE,
    Artifact,
    Layer,
    artifact,
    copy,
    everything,
    files,
    folder_at,
    metadata,
    pull,
    tree,
)


class TestLeftovers:
    """Of a run that died; and of somebody who lays a trap."""

    def left(self, tmp_path: Path, source: Artifact) -> Path:
        path = tmp_path / f".out.ocimlpack-{source.digest.hex[:12]}"
        path.mkdir(mode=0o755)
        return path

    def test_that_are_right_are_taken_over_and_others_are_not(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        left = self.left(tmp_path, source)
        (left / "config.json").write_bytes(b"{}")
        (left / "model.safetensors").write_bytes(b"W" * 7000)
        (left / "not-in-it").write_bytes(b"x")
        (left / "old/folder").mkdir(parents=True)
        (left / ".ocimlpack/scratch").mkdir(parents=True)
        (left / ".ocimlpack/scratch/part").write_bytes(b"x")
        (left / ".ocimlpack/receipt.json").write_bytes(b"x")
        done = pull(source, tmp_path / "out")
        assert (done.moved, done.kept) == (SIZE - 2, 2)
        assert tree(tmp_path / "out") == CONTENT
        assert everything(tmp_path / "out") == {
            *CONTENT,
            "sub",
            ".ocimlpack",
            ".ocimlpack/receipt.json",
        }

    def test_with_links_in_them_lead_nowhere(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        left = self.left(tmp_path, source)
        (tmp_path / "elsewhere").mkdir()
        (left / "sub").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InvalidContentError, match="side by side"):
            pull(source, tmp_path / "out")
        (left / "sub").unlink()
        (tmp_path / "elsewhere/config.json").write_bytes(b"{}")
        (left / "config.json").unlink()
        (left / "config.json").symlink_to(tmp_path / "elsewhere/config.json")
        pull(source, tmp_path / "out")
        assert not (tmp_path / "out/config.json").is_symlink()
        assert tree(tmp_path / "elsewhere") == {"config.json": b"{}"}

    def test_that_others_can_write_to_are_not_used(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        left = self.left(tmp_path, source)
        left.chmod(0o777)
        (left / "config.json").write_bytes(b"{}")
        done = pull(source, tmp_path / "out")
        assert (done.kept, tree(tmp_path / "out")) == (0, CONTENT)
        assert sorted(os.listdir(tmp_path)) == [left.name, "out"]

    def test_that_are_a_link_are_not_followed(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        (tmp_path / "elsewhere").mkdir()
        left = tmp_path / f".out.ocimlpack-{source.digest.hex[:12]}"
        left.symlink_to("elsewhere")
        pull(source, tmp_path / "out")
        assert tree(tmp_path / "out") == CONTENT
        assert os.listdir(tmp_path / "elsewhere") == []

    def test_that_their_owner_puts_in_place_this_moment_are_not_taken_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = files(CONTENT)
        left = self.left(tmp_path, source)
        real = fcntl.flock

        def late(fd: int, operation: int) -> None:
            if left.exists() and not (tmp_path / "theirs").exists():
                left.rename(tmp_path / "theirs")
            real(fd, operation)

        monkeypatch.setattr(fcntl, "flock", late)
        pull(source, tmp_path / "out")
        assert tree(tmp_path / "out") == CONTENT
        assert os.listdir(tmp_path / "theirs") == []

    def test_are_found_and_removed_when_asked_for(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        left = self.left(tmp_path, source)
        (left / "config.json").write_bytes(b"{}")
        out = pull(source, tmp_path / "out").path
        partial = out / ".ocimlpack/partial-0123"
        (partial / "sub").mkdir(parents=True)
        (partial / "sub/x").write_bytes(b"xyz")
        assert not left.exists()
        left = self.left(tmp_path, source)
        (left / "config.json").write_bytes(b"{}")
        found = [(str(left), 2), (str(partial), 3)]
        assert unpack.prune(out, dry_run=True) == found
        assert left.exists()
        assert unpack.prune(out, dry_run=False) == found
        assert not left.exists()
        assert not partial.exists()
        assert tree(out) == CONTENT
        assert unpack.prune(tmp_path / "absent/out", dry_run=False) == []

    def test_in_use_are_not_removed(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        with folder_at(tmp_path / "out", source) as folder:
            copy(source, folder)
            assert unpack.prune(tmp_path / "out", dry_run=False) == []
            folder.commit()
        assert tree(tmp_path / "out") == CONTENT


class TestTwoAtOnce:
    @pytest.mark.parametrize("stands", [False, True])
    def test_both_succeed_with_the_same_artifact(self, tmp_path: Path, stands: bool) -> None:
        out = tmp_path / "out"
        if stands:
            pull(files({"config.json": b"old", "gone": b"x"}), out)
        source = files(CONTENT)
        with (
            folder_at(out, source) as one,
            folder_at(out, source) as other,
        ):
            copy(source, one)
            copy(source, other)
            assert one.commit() == out
            assert tree(out) == CONTENT
            assert other.commit() == out
        assert tree(out) == CONTENT
        assert os.listdir(tmp_path) == ["out"]
        assert os.listdir(out / ".ocimlpack") == ["receipt.json"]

    @pytest.mark.parametrize("stands", [False, True])
    def test_the_later_is_refused_with_another_artifact(self, tmp_path: Path, stands: bool) -> None:
        out = tmp_path / "out"
        if stands:
            pull(files({"config.json": b"old"}), out)
        source, rival = files(CONTENT), files(CONTENT | {"config.json": b"[]"})
        with (
            folder_at(out, source) as one,
            folder_at(out, rival) as other,
        ):
            copy(source, one)
            copy(rival, other)
            one.commit()
            with pytest.raises(ConflictError, match=r"meanwhile|same time"):
                other.commit()
        assert tree(out) == CONTENT

    def test_what_the_earlier_left_damaged_is_not_taken_for_done(self, tmp_path: Path) -> None:
        source = files(CONTENT)
        with folder_at(tmp_path / "out", source) as folder:
            copy(source, folder)
            pull(source, tmp_path / "out")
            (tmp_path / "out/config.json").write_bytes(b"x")
            with pytest.raises(IntegrityError, match=r"config.json is changed"):
                folder.commit()


class TestThePlace:
    def test_may_not_be_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        for target in ("real", "nowhere"):
            (tmp_path / "out").symlink_to(target)
            for force in (False, True):
                with pytest.raises(InputError, match="is a link"):
                    pull(files(CONTENT), tmp_path / "out", force=force)
            (tmp_path / "out").unlink()
        assert os.listdir(tmp_path / "real") == []

    def test_may_not_be_a_file_nor_below_one(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(InputError, match="not a folder"):
            pull(files(CONTENT), tmp_path / "out", force=True)
        with pytest.raises(InputError, match=r"can't (read|write)"):
            pull(files(CONTENT), tmp_path / "out/below")
        assert (tmp_path / "out").read_text() == "mine"

    def test_with_something_else_in_it_is_refused_and_untouched(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").write_text("x")
        with pytest.raises(ConflictError, match="not empty") as caught:
            pull(files(CONTENT), tmp_path / "out")
        assert "--force" in str(caught.value.hint)
        assert everything(tmp_path) == {"out", "out/mine"}

    @pytest.mark.parametrize("inside", [False, True])
    def test_is_replaced_by_force_once_all_is_verified(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
    ) -> None:
        out = tmp_path / "out"
        (out / "sub").mkdir(parents=True)
        (out / "mine").write_text("x")
        (out / "config.json").write_text("mine")
        (out / "empty/deep").mkdir(parents=True)
        (out / "sub/README.md").symlink_to("/etc/passwd")
        if inside:
            monkeypatch.chdir(out)
        source = files(CONTENT)
        before = out.stat().st_ino
        with folder_at(out, source, force=True) as folder:
            copy(source, folder)
            assert (out / "mine").exists()
            folder.commit()
        assert everything(out) == {*CONTENT, "sub", ".ocimlpack", ".ocimlpack/receipt.json"}
        assert tree(out) == CONTENT
        assert (out.stat().st_ino == before) == inside
        assert os.listdir(tmp_path) == ["out"]

    @pytest.mark.parametrize("inside", [False, True])
    def test_is_as_it_was_if_forcing_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
    ) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "mine").write_text("x")
        if inside:
            monkeypatch.chdir(out)
        source = files({"a": b"1"})
        with (
            pytest.raises(IntegrityError),
            folder_at(out, source, force=True) as folder,
        ):
            copy(source, folder, {Digest.of(b"1"): BytesBlob(b"2")})
        assert everything(tmp_path) == {"out", "out/mine"}

    def test_that_nobody_means_to_lose_is_not_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path / "users/me"
        (home / "work").mkdir(parents=True)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.chdir(home / "work")
        for place in (home, tmp_path, Path("/"), Path("..")):
            with pytest.raises(InputError, match="not replaced"):
                pull(files(CONTENT), place, force=True)

    def test_with_a_receipt_that_can_not_be_used_is_refused_or_replaced(
        self, tmp_path: Path
    ) -> None:
        out = pull(files(CONTENT), tmp_path / "out").path
        (out / receipt.PATH).write_text("{}")
        with pytest.raises(InvalidContentError, match="can't be used") as caught:
            pull(files(CONTENT), out)
        assert "--force" in str(caught.value.hint)
        pull(files(CONTENT), out, force=True)
        assert receipt.verify(out).checked == 3

    @pytest.mark.parametrize("path", [".ocimlpack", ".ocimlpack/receipt.json"])
    def test_whose_receipt_is_a_link_has_none(self, tmp_path: Path, path: str) -> None:
        elsewhere = pull(files(CONTENT), tmp_path / "elsewhere").path
        out = tmp_path / "out"
        (out / path).parent.mkdir(parents=True)
        (out / path).symlink_to(elsewhere / path)
        (out / "x").write_text("x")
        with pytest.raises(ConflictError):
            pull(files(CONTENT), out)
        pull(files({"a": b"1"}), out, force=True)
        assert tree(elsewhere) == CONTENT
        assert receipt.verify(elsewhere).checked == 3
        assert tree(out) == {"a": b"1"}


class TestAPulledFolder:
    @pytest.fixture
    def out(self, tmp_path: Path) -> Path:
        return pull(files(CONTENT), tmp_path / "out").path

    def test_that_is_complete_is_left_as_it_is(self, out: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
        done = pull(files(CONTENT), out)
        assert (done.moved, done.kept) == (0, SIZE)
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before

    def test_gets_back_what_is_missing(self, out: Path) -> None:
        (out / "model.safetensors").unlink()
        done = pull(files(CONTENT), out)
        assert (done.moved, done.kept) == (7000, SIZE - 7000)
        assert tree(out) == CONTENT

    def test_becomes_the_new_version_and_keeps_what_is_right_and_what_is_the_users(
        self, out: Path
    ) -> None:
        (out / "mine").mkdir()
        (out / "mine/notes").write_text("x")
        inode = (out / "model.safetensors").stat().st_ino
        new = {
            "config.json": b"[1]",
            "model.safetensors": CONTENT["model.safetensors"],
            "n/m": b"2",
        }
        done = pull(files(new), out)
        assert tree(out) == new | {"mine/notes": b"x"}
        assert not (out / "sub").exists()
        assert (done.moved, done.kept) == (4, 7000)
        assert (out / "model.safetensors").stat().st_ino == inode
        assert receipt.verify(out).extra == ("mine/notes",)
        assert os.listdir(out / ".ocimlpack") == ["receipt.json"]

    def test_shows_the_new_version_only_after_the_commit(self, out: Path) -> None:
        source = files({"config.json": b"new"})
        with folder_at(out, source) as folder:
            copy(source, folder)
            assert tree(out) == CONTENT
        assert tree(out) == CONTENT
        assert receipt.verify(out).extra == ()
        assert pull(source, out).kept == 3

    def test_may_get_a_folder_for_a_file_and_a_file_for_a_folder(self, out: Path) -> None:
        new = {"config.json/deep": b"1", "sub": b"2"}
        pull(files(new), out)
        assert tree(out) == new
        pull(files(CONTENT), out)
        assert tree(out) == CONTENT

    def test_has_content_that_only_moved_copied(self, out: Path) -> None:
        done = pull(files({"weights/model.safetensors": CONTENT["model.safetensors"]}), out)
        assert (done.moved, done.kept) == (0, 7000)
        assert tree(out) == {"weights/model.safetensors": CONTENT["model.safetensors"]}

    def test_gets_a_changed_permission(self, out: Path) -> None:
        pull(artifact(Layer("config.json", b"{}", annotations=metadata(0o755))), out)
        assert (out / "config.json").stat().st_mode & 0o111

    @pytest.mark.parametrize("new", [CONTENT, {"config.json": b"new"}, {"other": b"x"}])
    def test_with_a_changed_file_is_refused_before_any_byte_moves(
        self, out: Path, new: dict[str, bytes]
    ) -> None:
        (out / "config.json").write_text("my own")
        source = files(new)
        with (
            pytest.raises(ConflictError, match=r"config.json") as caught,
            folder_at(out, source),
        ):
            pytest.fail("it was entered")
        assert "--force" in str(caught.value.hint)
        assert tree(out) == CONTENT | {"config.json": b"my own"}
        pull(source, out, force=True)
        assert tree(out) == new

    @pytest.mark.parametrize(
        "path", ["new", "new/deep", "sub/mine", "config.json/x"], ids=lambda p: p.replace("/", "-")
    )
    def test_with_the_users_file_in_the_way_is_refused(self, out: Path, path: str) -> None:
        target = {"config.json/x": "config.json"}.get(path, path)
        mine = {"new": "new/mine", "new/deep": "new", "config.json/x": "config.json"}.get(
            path, path
        )
        (out / target).unlink(missing_ok=True)
        (out / mine).parent.mkdir(exist_ok=True)
        (out / mine).write_text("mine")
        before = tree(out)
        source = files({path: b"theirs"})
        with pytest.raises(ConflictError, match=mine.split("/")[0]):
            pull(source, out)
        assert tree(out) == before
        pull(source, out, force=True)
        assert tree(out)[path] == b"theirs"

    def test_takes_the_users_file_that_is_what_it_has_to_be(self, out: Path) -> None:
        (out / "new").write_bytes(b"theirs")
        done = pull(files(CONTENT | {"new": b"theirs"}), out)
        assert (done.moved, done.kept) == (0, SIZE + 6)

    @pytest.mark.parametrize("force", [False, True])
    def test_is_not_written_to_through_links(self, out: Path, tmp_path: Path, force: bool) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "README.md").write_bytes(b"words")
        (elsewhere / "config.json").write_bytes(b"{}")
        (out / "sub/README.md").unlink()
        (out / "sub").rmdir()
        (out / "sub").symlink_to(elsewhere)
        (out / "config.json").unlink()
        (out / "config.json").symlink_to(elsewhere / "config.json")
        (out / "more").symlink_to(elsewhere)
        source = files(CONTENT | {"sub/README.md": b"new", "more/x": b"y", "config.json": b"[]"})
        if force:
            pull(source, out, force=True)
            assert tree(out)["sub/README.md"] == b"new"
            assert not (out / "more").is_symlink()
        else:
            with pytest.raises(ConflictError, match=r"config.json, more, sub"):
                pull(source, out)
        assert tree(elsewhere) == {"README.md": b"words", "config.json": b"{}"}

    def test_that_a_link_was_put_into_while_pulling_is_not_left(
        self, out: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        source = files(CONTENT | {"new/x": b"y"})
        with folder_at(out, source) as folder:
            copy(source, folder)
            (out / "new").symlink_to(tmp_path / "elsewhere")
            with pytest.raises(ConflictError, match="new"):
                folder.commit()
        assert os.listdir(tmp_path / "elsewhere") == []

    def test_that_was_changed_while_pulling_is_refused(self, out: Path) -> None:
        source = files({"config.json": b"new"})
        with folder_at(out, source) as folder:
            copy(source, folder)
            (out / "config.json").write_text("mine")
            with pytest.raises(ConflictError, match="while the pull was running"):
                folder.commit()
        assert tree(out) == CONTENT | {"config.json": b"mine"}

    def test_whose_update_was_interrupted_is_brought_to_an_end_or_to_another(
        self, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new = {"config.json": b"new", "model.safetensors": b"w2", "sub/README.md": b"r2"}
        real = os.rename

        def fail_late(old: Any, name: Any, **where: Any) -> None:
            if name == "model.safetensors" and (out / "config.json").read_bytes() == b"new":
                raise KeyboardInterrupt
            real(old, name, **where)

        monkeypatch.setattr(os, "rename", fail_late)
        with pytest.raises(KeyboardInterrupt):
            pull(files(new), out)
        monkeypatch.setattr(os, "rename", real)
        assert tree(out) == CONTENT | {"config.json": b"new"}
        with pytest.raises(IntegrityError, match="interrupted"):
            receipt.verify(out)
        third = {"config.json": b"3", "model.safetensors": b"w2"}
        pull(files(third), out)
        assert tree(out) == third
        assert receipt.verify(out).extra == ()

    def test_of_a_pull_of_some_files_keeps_the_others_of_the_same_artifact(self, out: Path) -> None:
        done = pull(files(CONTENT), out, include=["*.json"])
        assert (done.moved, tree(out)) == (0, CONTENT)
        assert receipt.verify(out).checked == 3

    def test_of_a_pull_of_some_files_loses_the_others_of_the_older_artifact(
        self, out: Path
    ) -> None:
        new = CONTENT | {"config.json": b"2", "model.safetensors": b"3"}
        done = pull(files(new), out, include=["*.json"])
        assert tree(out) == {"config.json": b"2", "sub/README.md": b"words"}
        assert [path for path, _ in done.files] == ["config.json", "sub/README.md"]
        assert receipt.verify(out).extra == ()

    def test_remembers_the_newest_reference(self, out: Path) -> None:
        pull(files(CONTENT), out, reference="other.example/m:2")
        assert receipt.verify(out).reference == "other.example/m:2"

    def test_that_can_not_be_written_to_is_fine_if_it_is_complete(
        self, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(30, "Read-only file system")

        for name in ("create", "move", "remove"):
            monkeypatch.setattr(beneath.Root, name, refuse)
        assert pull(files(CONTENT), out).kept == SIZE
        with pytest.raises(InputError, match="Read-only file system"):
            pull(files(CONTENT | {"new": b"x"}), out)
