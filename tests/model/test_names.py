from __future__ import annotations

import pytest

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model.names import check_path, collisions, selector


@pytest.mark.parametrize(
    "path",
    [
        "model.safetensors",
        "onnx/model.onnx",
        ".gitattributes",
        ".gitignore",
        "a/.hidden/b",
        "with space.txt",
        " leading",
        "Größe/模型.bin",
        "cafe\u0301",
        "console.log",
        "com.txt",
        "nul1",
        "..a",
        "a..b",
        "...a",
        "👩\u200d🔬.png",
        "a" * 255,
        "/".join(["é" * 127] * 16),
        "/".join(["a"] * 256),
        "a*b?.txt",
        "~",
        "-rf",
    ],
)
def test_ordinary_names_are_let_through_unchanged(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        (".", "no name"),
        ("..", "no name"),
        ("../x", "no name"),
        ("a/../../x", "no name"),
        ("./a", "no name"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("/etc/passwd", "absolute"),
        ("//server/share", "absolute"),
        ("C:/x", "drive"),
        ("c:x", "drive"),
        ("ab:c", "colon"),
        ("file.txt:stream", "colon"),
        ("a\\b", "backslash"),
        ("..\\x", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x1b[2Jb", "control"),
        ("a\x7f", "control"),
        ("a\x85b", "control"),
        ("a\u202egnp.exe", "turns around"),
        ("a\u2028b", "hides"),
        ("a\udc80", "Unicode"),
        ("CON", "device"),
        ("nul", "device"),
        ("a/NUL.txt", "device"),
        ("Com1.tar.gz", "device"),
        ("lpt9", "device"),
        ("COM\u00b9", "device"),
        ("aux .txt", "device"),
        ("conin$", "device"),
        ("a.", "ends"),
        ("a ", "ends"),
        ("a. /b", "ends"),
        ("a" * 256, "256 bytes"),
        ("é" * 128, "256 bytes"),
        ("a/" * 2048 + "b", "4,097 bytes"),
        ("a/" * 256 + "b", "257 parts"),
        (".git/hooks/post-checkout", "reserved"),
        ("sub/.GIT/config", "reserved"),
        (".g\u200cit/config", "reserved"),
        ("GIT~1/config", "reserved"),
        (".ocimlpack/receipt.json", "reserved"),
        (".OCIMLPACK", "reserved"),
    ],
)
def test_names_that_are_unsafe_somewhere_are_refused(path: str, reason: str) -> None:
    with pytest.raises(InvalidContentError, match=f"unsafe file name .*{reason}"):
        check_path(path)


def test_a_refusal_shows_control_characters_escaped_and_long_names_cut() -> None:
    with pytest.raises(InvalidContentError) as escape:
        check_path("\x1b[31mred")
    with pytest.raises(InvalidContentError) as long:
        check_path("x" * 5000)
    assert "\x1b" not in escape.value.message
    assert len(long.value.message) < 250


@pytest.mark.parametrize(
    ("paths", "pairs"),
    [
        (["a", "b", "a/b".replace("/", "_")], []),
        (["a", "a"], [("a", "a")]),
        (["F", "f"], [("F", "f")]),
        (["x/Readme", "X/README"], [("x/Readme", "X/README")]),
        (["caf\u00e9", "cafe\u0301"], [("caf\u00e9", "cafe\u0301")]),
        (["straße", "STRASSE"], [("straße", "STRASSE")]),
        (["a", "a/b"], [("a", "a/b")]),
        (["a/b/c", "A"], [("A", "a/b/c")]),
        (["ab", "a/b"], []),
        (["Data/a", "data/b"], []),
        (["a/b", "a/c", "a"], [("a", "a/b")]),
        (["q", "q", "q"], [("q", "q"), ("q", "q")]),
    ],
)
def test_files_that_can_not_be_side_by_side_are_found(
    paths: list[str], pairs: list[tuple[str, str]]
) -> None:
    assert collisions(paths) == pairs


FILES = ["config.json", "onnx/config.json", "onnx/model.onnx", "model.safetensors", "#odd"]


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        ([], [], FILES),
        (["*.json"], [], ["config.json", "onnx/config.json"]),
        (["/*.json"], [], ["config.json"]),
        (["onnx/*"], [], ["onnx/config.json", "onnx/model.onnx"]),
        (["onnx"], ["*.onnx"], ["onnx/config.json"]),
        ([], ["onnx/"], ["config.json", "model.safetensors", "#odd"]),
        (["**/model.*"], [], ["onnx/model.onnx", "model.safetensors"]),
        (["#odd"], [], ["#odd"]),
        (["*.JSON"], [], []),
    ],
)
def test_patterns_select_files_as_gitignore_does(
    include: list[str], exclude: list[str], left: list[str]
) -> None:
    assert list(filter(selector(include, exclude), FILES)) == left


@pytest.mark.parametrize("pattern", ["", " ", "!"])
def test_a_pattern_that_says_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="pattern"):
        selector([], [pattern])
