from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocimlpack.errors import ConflictError, InputError, UnsafeSourceError
from ocimlpack.model.names import selector
from ocimlpack.model.source import Seen, SourceBlob
from ocimlpack.model.tree import walk
from tests.model.weights import write


def paths(
    folder: Path,
    *,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    dereference: bool = False,
) -> list[str]:
    found = walk(folder, selector(include, exclude), dereference=dereference)
    return [entry.path for entry in found]


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others than its owner may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in folder.rglob("*"):
            path.chmod(0o755)


def test_files_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    write(tmp_path, {"b/z": "", "a": "", "b.txt": "", "Z": "", "é": "", "b/a": ""})
    assert paths(tmp_path) == ["Z", "a", "b.txt", "b/a", "b/z", "é"]


def test_decomposed_names_are_composed(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "modèle.json")
    write(tmp_path, {name: "x"})
    (entry,) = walk(tmp_path, selector((), ()))
    assert entry.path == unicodedata.normalize("NFC", name)
    assert entry.blob.head(10) == b"x"


def test_tools_leftovers_are_ignored_in_every_folder(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "keep.bin": "",
            ".git/config": "",
            "sub/.git": "gitdir: elsewhere",
            ".hg/x": "",
            ".svn/x": "",
            ".ocimlpack/receipt.json": "",
            ".DS_Store": "",
            "sub/Thumbs.db": "",
            "sub/__pycache__/a.txt": "",
            "old.pyc": "",
            ".ipynb_checkpoints/x": "",
            ".cache/huggingface/download/x.lock": "",
            "sub/.cache/huggingface/x": "",
            ".cache/other": "",
            ".gitattributes": "",
        },
    )
    assert paths(tmp_path) == [".cache/other", ".gitattributes", "keep.bin"]


def test_the_ignore_file_works_like_a_gitignore(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".ocimlpackignore": "# a comment\r\n*.log\r\n!keep.log\r\n/top.txt\r\n"
            "build/\r\nsub/**/x\n",
            "a.log": "",
            "keep.log": "",
            "d/b.log": "",
            "top.txt": "",
            "d/top.txt": "",
            "build/x": "",
            "d/build/y": "",
            "d/build.txt": "",
            "sub/deep/er/x": "",
            "sub/deep/er/y": "",
        },
    )
    assert paths(tmp_path) == ["d/build.txt", "d/top.txt", "keep.log", "sub/deep/er/y"]


def test_an_ignore_file_in_a_subfolder_counts_there_and_more(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".ocimlpackignore": "*.tmp\n",
            "sub/.ocimlpackignore": "!wanted.tmp\n/local\n",
            "wanted.tmp": "",
            "local": "",
            "sub/wanted.tmp": "",
            "sub/other.tmp": "",
            "sub/local": "",
            "sub/deep/local": "",
        },
    )
    assert paths(tmp_path) == ["local", "sub/deep/local", "sub/wanted.tmp"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("*.json",), (), ["a.json", "d/b.json", "d/e/c.json"]),
        (("/*.json",), (), ["a.json"]),
        (("d/*.json",), (), ["d/b.json"]),
        (("d/**/*.json",), (), ["d/b.json", "d/e/c.json"]),
        (("d/",), (), ["d/b.json", "d/e/c.json", "d/w.bin"]),
        ((), ("*.json",), ["d/w.bin"]),
        (("d",), ("e",), ["d/b.json", "d/w.bin"]),
    ],
)
def test_patterns_choose_files(
    tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    write(tmp_path, {"a.json": "", "d/b.json": "", "d/e/c.json": "", "d/w.bin": ""})
    assert paths(tmp_path, include=include, exclude=exclude) == expected


def test_a_link_to_a_file_inside_is_packed_as_that_file(tmp_path: Path) -> None:
    write(tmp_path / "m", {"a": "content"})
    (tmp_path / "m/b").symlink_to("a")
    (tmp_path / "alias").symlink_to("m")
    entries = walk(tmp_path / "alias", selector((), ()))
    assert [(entry.path, entry.blob.head(9)) for entry in entries] == [
        ("a", b"content"),
        ("b", b"content"),
    ]


def link_out(folder: Path) -> None:
    write(folder.parent, {"secret": "x"})
    (folder / "link").symlink_to("../secret")


def link_out_absolute(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")


def link_dangling(folder: Path) -> None:
    (folder / "link").symlink_to("nowhere")


def link_to_itself(folder: Path) -> None:
    (folder / "link").symlink_to("link")


def link_to_folder(folder: Path) -> None:
    write(folder, {"real/x": ""})
    (folder / "link").symlink_to("real")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "link")


def unix_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)  # a socket's path is short
        try:
            server.bind("link")
        finally:
            os.fchdir(here)
            os.close(here)


@pytest.mark.parametrize(
    ("make", "reason", "hint"),
    [
        (link_out, "out of the model's folder", "--dereference"),
        (link_out_absolute, "out of the model's folder: /etc/passwd", "--dereference"),
        (link_dangling, "a link to nothing: nowhere", "leave it out"),
        (link_to_itself, "a link to nothing", "leave it out"),
        (link_to_folder, "a link to a folder", "--dereference"),
        (fifo, "is a fifo, not a file", "leave it out"),
        (unix_socket, "is a socket, not a file", "leave it out"),
    ],
)
def test_what_is_no_file_of_the_folder_is_refused_unless_left_out(
    tmp_path: Path, make: Callable[[Path], None], reason: str, hint: str
) -> None:
    folder = write(tmp_path / "m", {"a": ""})
    make(folder)
    with pytest.raises(UnsafeSourceError, match="^link .*" + reason) as caught:
        paths(folder)
    assert hint in str(caught.value.hint)
    assert "link" not in paths(folder, exclude=("link",))
    write(folder, {".ocimlpackignore": "link\n"})
    assert "link" not in paths(folder)


def test_links_are_followed_anywhere_when_asked_to(tmp_path: Path) -> None:
    write(tmp_path, {"blobs/1": "one", "more/x": "two", "more/deep/y": "three"})
    folder = write(tmp_path / "m", {"a": ""})
    (folder / "w").symlink_to("../blobs/1")
    (folder / "d").symlink_to("../more")
    (folder / "again").symlink_to("../more")
    assert paths(folder, dereference=True) == [
        "a",
        "again/deep/y",
        "again/x",
        "d/deep/y",
        "d/x",
        "w",
    ]


def test_a_link_to_a_folder_above_it_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a/b/file": ""})
    (tmp_path / "a/b/up").symlink_to("..")
    with pytest.raises(UnsafeSourceError, match="a/b/up is a link to a folder that it lies in"):
        paths(tmp_path, dereference=True)


@pytest.mark.parametrize(
    "name", ["a\\b", "a\nb", "a\x7f", "dot.", "space ", "NUL", "con.txt", "a:b", "\u202eevil"]
)
def test_names_that_another_system_can_not_have_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, {f"d/{name}": ""})
    with pytest.raises(UnsafeSourceError, match="unsafe file name") as caught:
        paths(tmp_path)
    assert "rename" in str(caught.value.hint)


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).touch()
    with pytest.raises(UnsafeSourceError, match=r"b'caf\\xe9' is not UTF-8"):
        paths(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"), [("Model.bin", "model.bin"), ("straße", "STRASSE"), ("x/a", "X/A")]
)
def test_names_that_differ_in_case_alone_are_refused(tmp_path: Path, one: str, other: str) -> None:
    write(tmp_path, {one: "", other: ""})
    with pytest.raises(UnsafeSourceError, match="can't be in one folder on every system"):
        paths(tmp_path)


def test_names_that_are_spelled_twice_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {unicodedata.normalize(form, "é"): "" for form in ("NFC", "NFD")})
    with pytest.raises(UnsafeSourceError, match="can't be in one folder on every system"):
        paths(tmp_path)


def test_a_file_that_is_also_a_folder_in_another_case_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"data": "", "DATA/x": ""})
    with pytest.raises(UnsafeSourceError, match="can't be in one folder on every system"):
        paths(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"there is no folder {tmp_path / 'gone'}"):
        paths(tmp_path / "gone")


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a": ""})
    with pytest.raises(InputError, match="is not a folder"):
        paths(tmp_path / "a")


def test_a_folder_that_can_not_be_read_is_named(open_folder: Path) -> None:
    write(open_folder, {"a": "", "sub/locked/b": ""})
    (open_folder / "sub/locked").chmod(0)
    with (
        nobody(),
        pytest.raises(UnsafeSourceError, match="can't read sub/locked: Permission denied"),
    ):
        paths(open_folder)


def test_a_file_that_can_not_be_read_is_named(open_folder: Path) -> None:
    write(open_folder, {"a": "x"})
    (open_folder / "a").chmod(0)
    (entry,) = walk(open_folder, selector((), ()))
    with nobody(), pytest.raises(UnsafeSourceError, match=r"can't read .*/a: Permission denied"):
        entry.blob.head(1)


def test_paths_nested_deeper_than_pythons_stack_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    depth = 1100
    try:
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("x").touch()
        with pytest.raises(UnsafeSourceError, match="1,101 parts, more than 256"):
            paths(tmp_path)
    finally:
        # Python's own removal of folders, which pytest uses, does not get that deep.
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def blob_of(path: Path) -> SourceBlob:
    return SourceBlob(path, Seen.of(path.stat()))


def later(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def rewrite_and_hide_it(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_for_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [later, grow, replace, rewrite_and_hide_it, Path.unlink, swap_for_fifo]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_is_not_opened(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = write(tmp_path, {"a": "content"}) / "a"
    blob = blob_of(path)
    change(path)
    with pytest.raises(ConflictError, match="changed while it was being read"), blob.open():
        pass
    with pytest.raises(ConflictError, match="changed while it was being read"):
        _ = blob.path


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_while_reading_is_noticed_on_leaving(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = write(tmp_path, {"a": "content"}) / "a"
    blob = blob_of(path)

    def read() -> None:
        with blob.open() as stream:
            assert stream.read(3) == b"con"
            change(path)

    with pytest.raises(ConflictError, match="changed while it was being read"):
        read()


def test_the_change_is_blamed_for_the_error_that_it_caused(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": "content"}) / "a"
    blob = blob_of(path)

    def verify() -> None:
        with blob.open():
            grow(path)
            raise InputError("the digest is wrong")

    with pytest.raises(ConflictError):
        verify()


def test_errors_of_the_reader_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": "content"}) / "a"
    with pytest.raises(InputError, match="mine"), blob_of(path).open():
        raise InputError("mine")


def test_a_new_hard_link_is_no_change(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": "content"}) / "a"
    blob = blob_of(path)
    with blob.open(3) as stream:
        (tmp_path / "b").hardlink_to(path)
        assert stream.read() == b"tent"
    assert blob.path == path
