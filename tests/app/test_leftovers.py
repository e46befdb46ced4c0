"""What an interrupted pull has left behind is believed in nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.errors import OcimlpackError
from ocimlpack.progress import Reporter, ignore
from tests.app.test_clock import EnoughError, enough_at
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

LARGE = bytes(range(256)) * (48 * 4096)
FILES = {
    "model.bin": LARGE,
    "small.bin": b"small" * 100_000,
    "config.json": b'{"model_type": "bert"}',
}


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def flip_first(path: Path) -> None:
    if path.stat().st_size:
        flip(path, 0)


def flip_middle(path: Path) -> None:
    if path.stat().st_size:
        flip(path, path.stat().st_size // 2)


def flip_and_complete(path: Path) -> None:
    """All but one byte is there, and the first one is wrong."""
    flip_first(path)
    if path.stat().st_size > len(LARGE) // 8:
        with path.open("r+b") as file:
            file.truncate(len(LARGE) - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(len(LARGE) + 1))


def shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def fill(path: Path) -> None:
    """As many bytes as the file has in the end, none of them right."""
    path.write_bytes(b"\xff" * len(LARGE))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def kept(path: Path) -> bool:
    return "blobs" not in path.parts and path.name not in ("oci-layout", "index.json")


DAMAGE: list[Callable[[Path], None]] = [
    flip_first,
    flip_middle,
    flip_and_complete,
    lengthen,
    shorten,
    fill,
    empty,
    Path.unlink,
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", ["folder", "layout"])
def test_damaged_leftovers_are_noticed_and_brought_anew(
    scripted: ScriptedRegistry,
    model: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    kind: str,
) -> None:
    source = f"{scripted.host}/{REPOSITORY}:v1"
    digest = ocimlpack.push(model, source).digest
    place = tmp_path / "place"
    place.mkdir()

    def bring(report: Reporter = ignore) -> None:
        if kind == "folder":
            ocimlpack.pull(source, place / "out", jobs=1, report=report)
        else:
            ocimlpack.copy(source, f"oci:{place / 'out'}:v1", jobs=1, report=report)

    with pytest.raises(EnoughError):
        bring(enough_at(len(LARGE) // 2))
    # What has its final name in a layout is no leftover: `verify` looks after that.
    leftovers = [path for path in place.rglob("*") if path.is_file() and kept(path)]
    assert leftovers
    for path in leftovers:
        damage(path)
    try:
        bring()
    except OcimlpackError:
        bring()  # a run may end because of it, but not the next one
    ocimlpack.verify(f"oci:{place / 'out'}" if kind == "layout" else str(place / "out"))
    if kind == "layout":
        ocimlpack.pull(f"oci:{place / 'out'}:v1", tmp_path / "out")
        assert ocimlpack.inspect(f"oci:{place / 'out'}:v1").digest == digest
    else:
        (place / "out").rename(tmp_path / "out")
        assert not list(place.iterdir())
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES


def test_wrong_bytes_end_every_run_and_spoil_no_other(
    scripted: ScriptedRegistry, model: Path, tmp_path: Path
) -> None:
    """One run with wrong bytes from the registry never ends well, nor does it spoil the next."""
    source = f"{scripted.host}/{REPOSITORY}:v1"
    ocimlpack.push(model, source)
    place = scripted.content[REPOSITORY]
    large = next(digest for digest, content in place.blobs.items() if content == LARGE)
    scripted.quirks.blobs = {large: LARGE[:-1] + b"\0"}
    for _ in range(2):
        with pytest.raises(OcimlpackError, match=large[7:19]):
            ocimlpack.pull(source, tmp_path / "place" / "out")
        assert not (tmp_path / "place" / "out").exists()
    scripted.quirks.blobs = {}
    ocimlpack.pull(source, tmp_path / "place" / "out")
    assert (tmp_path / "place" / "out" / "model.bin").read_bytes() == LARGE
    assert [each.name for each in (tmp_path / "place").iterdir()] == ["out"]
