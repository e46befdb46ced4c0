"""Images: layers over one another, and only what is below /models."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model import listing, receipt
from ocimlpack.model.readers import understand
from ocimlpack.model.unpack import Folder
from ocimlpack.spec import mediatypes
from ocimlpack.stores.memory import MemoryStore
from tests.model.artifacts import member, tar, tree
from tests.model.readers.artifacts import LAYER, Blob, image, pull

FOLDER = member("models/", type=tarfile.DIRTYPE)
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> Blob:
    return Blob(tar(*members), LAYER)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def seen(tmp_path: Path, *layers: Blob, **options: Any) -> dict[str, bytes]:
    """What is pulled, which is also what is listed."""
    store = MemoryStore()
    manifest = image(store, layers)
    assert pull(store, manifest, tmp_path / "out", **options).format == "image"
    found = tree(tmp_path / "out")
    listed = {
        e.path: e.size for _, e in listing.tree(understand(store, manifest).members, store.fetch)
    }
    if not options:
        assert listed == {path: len(content) for path, content in found.items()}
    assert receipt.verify(tmp_path / "out").extra == ()
    return found


def refused(tmp_path: Path, *layers: Blob) -> str:
    """The sentence of a pull that ends in nothing."""
    store = MemoryStore()
    manifest = image(store, layers)
    with pytest.raises(InvalidContentError) as caught:
        pull(store, manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidContentError):
        list(listing.tree(understand(store, manifest).members, store.fetch))
    return caught.value.message


@pytest.mark.parametrize("start", ["", "./", "/"])
def test_only_what_is_below_models_is_there_and_without_that_name(
    tmp_path: Path, start: str
) -> None:
    system = layer(
        member("etc/", type=tarfile.DIRTYPE),
        member("etc/passwd", b"root"),
        member("dev/null", type=tarfile.CHRTYPE),
        link("bin/sh", "/bin/busybox"),
        link("bin/ls", "bin/busybox", tarfile.LNKTYPE),
        member("modelsofar/x", b"no"),
        member("../outside", b"no"),
        member("bad\\name:", b"no"),
    )
    model = layer(
        FOLDER, member(f"{start}models/a/w.bin", b"w", mode=0o755), member("models/x", b"x")
    )
    assert seen(tmp_path, system, model) == {"a/w.bin": b"w", "x": b"x"}
    assert (tmp_path / "out/a/w.bin").stat().st_mode & 0o100


def test_names_elsewhere_need_not_be_utf8(tmp_path: Path) -> None:
    info = tarfile.TarInfo("etc/caf\udce9")
    archive = tar((info, b""), member("models/x", b"x"), format=tarfile.GNU_FORMAT)
    assert seen(tmp_path, Blob(archive, LAYER)) == {"x": b"x"}


def test_a_docker_image_is_an_image_too(tmp_path: Path) -> None:
    store = MemoryStore()
    found = Blob(tar(member("models/x", b"x"), gz=True), DOCKER_LAYER)
    manifest = image(store, [found])
    assert pull(store, manifest, tmp_path / "out").format == "image"
    assert tree(tmp_path / "out") == {"x": b"x"}


def test_later_layers_cover_earlier_ones(tmp_path: Path) -> None:
    assert seen(
        tmp_path,
        layer(member("models/a", b"1"), member("models/b", b"1"), member("models/d/x", b"1")),
        layer(member("models/a", b"2"), member("models/d", b"2")),
        layer(member("models/b/c", b"3")),
    ) == {"a": b"2", "d": b"2", "b/c": b"3"}


def test_what_a_layer_takes_away_is_gone_but_not_what_it_adds(tmp_path: Path) -> None:
    assert seen(
        tmp_path,
        layer(member("models/a", b"1"), member("models/d/x", b"1"), member("models/e/x", b"1")),
        layer(member("models/f", b"1")),
        layer(
            member("models/.wh.a"),
            member("models/.wh.d"),
            member("models/e/y", b"3"),
            member("models/e/.wh..wh..opq"),
            member("models/.wh..wh.plnk", b"union"),
        ),
    ) == {"f": b"1", "e/y": b"3"}


@pytest.mark.parametrize("what", [".wh.models", ".wh..wh..opq"])
def test_the_whole_folder_can_be_taken_away(tmp_path: Path, what: str) -> None:
    assert seen(
        tmp_path,
        layer(member("models/a", b"1")),
        layer(member(what)),
        layer(member("models/b", b"2")),
    ) == {"b": b"2"}


def test_a_link_in_place_of_the_folder_covers_it(tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = image(store, [layer(member("models/a", b"1")), layer(link("models", "/mnt"))])
    with pytest.raises(InputError, match="no files below /models"):
        pull(store, manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_layer_that_is_there_twice_counts_where_it_is_last(tmp_path: Path) -> None:
    one = layer(member("models/a", b"1"))
    two = layer(member("models/a", b"2"), member("models/b", b"2"))
    assert seen(tmp_path, one, two, one) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("target", ["blobs/x", "./blobs/../blobs/x", "/models/blobs/x"])
def test_links_within_are_files(tmp_path: Path, target: str) -> None:
    found = seen(
        tmp_path, layer(member("models/blobs/x", b"x", mode=0o755), link("models/y", target))
    )
    assert found == {"blobs/x": b"x", "y": b"x"}
    assert not (tmp_path / "out/y").is_symlink()
    assert (tmp_path / "out/y").stat().st_mode & 0o100


def test_links_lead_to_what_is_seen_in_the_end_and_hard_links_to_what_was(tmp_path: Path) -> None:
    assert seen(
        tmp_path,
        layer(
            member("models/a", b"1"),
            link("models/soft", "a"),
            link("models/hard", "models/a", tarfile.LNKTYPE),
            link("models/chain", "soft"),
        ),
        layer(member("models/a", b"2")),
    ) == {"a": b"2", "soft": b"2", "hard": b"1", "chain": b"2"}


def test_long_targets_of_links_are_read(tmp_path: Path) -> None:
    long = "/".join(["folder" * 10] * 3) + "/x"
    for number, kind in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        archive = tar(member(f"models/{long}", b"x"), link("models/y", long), format=kind)
        found = seen(tmp_path / str(number), Blob(archive, LAYER))
        assert found == {long: b"x", "y": b"x"}


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("../etc/passwd", tarfile.SYMTYPE),
        ("/etc/passwd", tarfile.SYMTYPE),
        ("../modelsofar/x", tarfile.SYMTYPE),
        ("../../../../etc/passwd", tarfile.SYMTYPE),
        ("..", tarfile.SYMTYPE),
        ("etc/passwd", tarfile.LNKTYPE),
        ("../models/../etc/passwd", tarfile.LNKTYPE),
    ],
)
def test_links_out_of_the_folder_are_refused(tmp_path: Path, target: str, kind: bytes) -> None:
    message = refused(tmp_path, layer(member("etc/passwd", b"x"), link("models/y", target, kind)))
    assert "out of /models" in message


def test_links_to_nothing_to_a_folder_or_in_a_circle_are_refused(tmp_path: Path) -> None:
    assert "where nothing is" in refused(tmp_path / "1", layer(link("models/y", "x")))
    folder = layer(member("models/d/x", b"x"), link("models/y", "d"))
    assert "where a folder is" in refused(tmp_path / "2", folder)
    circle = layer(link("models/x", "y"), link("models/y", "x"))
    assert "circle" in refused(tmp_path / "3", circle)
    early = layer(link("models/y", "models/x", tarfile.LNKTYPE), member("models/x", b"x"))
    assert "which is not in it" in refused(tmp_path / "4", early)


@pytest.mark.parametrize(
    "other",
    [
        member("models/x/", type=tarfile.DIRTYPE),
        member("models/.wh.x"),
        member("models/.wh..wh..opq"),
    ],
    ids=lambda other: other[0].name,
)
def test_hard_links_to_what_is_no_file_are_refused(
    tmp_path: Path, other: tuple[tarfile.TarInfo, bytes]
) -> None:
    hard = link("models/y", other[0].name, tarfile.LNKTYPE)
    assert "which is not in it" in refused(tmp_path, layer(other, hard))


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "b"),
        (tarfile.LNKTYPE, "models/b"),
        (tarfile.LNKTYPE, ".wh..wh.aufs"),
        (tarfile.SYMTYPE, "/dev/null"),
    ],
)
def test_a_link_of_such_a_name_takes_away_like_a_file(
    tmp_path: Path, kind: bytes, target: str
) -> None:
    first = layer(member("models/a", b"1"), member("models/c", b"1"))
    assert seen(
        tmp_path, first, layer(member("models/b", b"2"), link("models/.wh.a", target, kind))
    ) == {"b": b"2", "c": b"1"}


@pytest.mark.parametrize(
    "path",
    [
        "etc/../models/a",
        "../models/a",
        "a/../models/.wh.a",
        "a/../.wh.models",
        "models/../models/a",
    ],
)
def test_a_detour_into_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    message = refused(tmp_path, layer(member("models/a", b"1")), layer(member(path, b"2")))
    assert "by a detour" in message


def test_links_to_out_of_proportion_much_are_refused(tmp_path: Path) -> None:
    large = member("models/x", bytes(4 * 1024 * 1024))
    for number, (kind, prefix) in enumerate(((tarfile.LNKTYPE, "models/"), (tarfile.SYMTYPE, ""))):
        links = [link(f"models/{n}", f"{prefix}x", kind) for n in range(20)]
        archive = tar(large, *links, gz=True)
        store = MemoryStore()
        manifest = image(store, [Blob(archive, f"{LAYER}+gzip")])
        with pytest.raises(InvalidContentError, match="links are to more than"):
            pull(store, manifest, tmp_path / str(number))
        assert not (tmp_path / str(number)).exists()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (member("models/../etc/x", b""), "no name"),
        (member("models/dev", type=tarfile.CHRTYPE), "a device"),
        (member("models/pipe", type=tarfile.FIFOTYPE), "a named pipe"),
        (member("models/x", type=tarfile.GNUTYPE_SPARSE), "a sparse file"),
        (member("models/x", pax_headers={"GNU.sparse.major": "1"}), "a sparse file"),
        (member(f"models/{'x' * 256}", b""), "more than 255"),
        (member("models/a\\b", b""), "backslash"),
        (member("models/.git/config", b""), "reserved"),
        (member("models//x", b""), "absolute"),
        (member("models/a//x", b""), "empty"),
    ],
)
def test_what_is_unsafe_below_models_is_refused(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], words: str
) -> None:
    assert words in refused(tmp_path, layer(bad))


def test_a_path_twice_in_one_layer_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = image(store, [layer(member("models/x", b"1"), member("models/X", b"2"))])
    with pytest.raises(InvalidContentError, match="side by side"):
        pull(store, manifest, tmp_path / "out")


def test_files_of_different_layers_that_can_not_be_side_by_side_are_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = image(store, [layer(member("models/x", b"1")), layer(member("models/X", b"2"))])
    with pytest.raises(InvalidContentError, match="side by side"):
        pull(store, manifest, tmp_path / "out")


def test_patterns_select_files_of_an_image(tmp_path: Path) -> None:
    below = layer(member("models/a.bin", b"a"), member("models/b.txt", b"b"))
    over = layer(member("models/c.bin", b"c"))
    assert seen(tmp_path, below, over, include=["*.bin"]) == {"a.bin": b"a", "c.bin": b"c"}
    with pytest.raises(InputError, match="that the patterns select"):
        seen(tmp_path / "none", below, over, include=["*.onnx"])


class TestAgain:
    """A folder of an image that stands already."""

    def test_nothing_is_read_again_where_all_is_there(self, tmp_path: Path) -> None:
        store = MemoryStore()
        layers = [layer(member("etc/x", b"x")), layer(member("models/a", b"1"))]
        manifest = image(store, [*layers, layer(member("models/a", b"2"))])
        pull(store, manifest, tmp_path / "out")
        content = understand(store, manifest)

        with Folder(tmp_path / "out", manifest, content.members, reference="r") as folder:
            assert all(folder.exists(each.desc) for each in content.members)
            folder.commit()
        assert tree(tmp_path / "out") == {"a": b"2"}

    def test_a_new_version_brings_only_what_is_new(self, tmp_path: Path) -> None:
        store = MemoryStore()
        base, weights = layer(member("etc/x", b"x")), layer(member("models/w", b"w"))
        pull(store, image(store, [base, weights]), tmp_path / "out")
        new = image(store, [base, weights, layer(member("models/v", b"v"))])
        content = understand(store, new)
        with Folder(tmp_path / "out", new, content.members, reference="r") as folder:
            there = [folder.exists(each.desc) for each in content.members]
        assert there == [True, True, False]
        pull(store, new, tmp_path / "out")
        assert tree(tmp_path / "out") == {"w": b"w", "v": b"v"}

    def test_what_a_new_version_covers_or_takes_away_changes(self, tmp_path: Path) -> None:
        store = MemoryStore()
        first = layer(member("models/a", b"1"), member("models/b", b"1"))
        pull(store, image(store, [first]), tmp_path / "out")
        new = image(store, [first, layer(member("models/a", b"2"), member("models/.wh.b"))])
        pull(store, new, tmp_path / "out")
        assert tree(tmp_path / "out") == {"a": b"2"}
        pull(store, image(store, [first]), tmp_path / "out")
        assert tree(tmp_path / "out") == {"a": b"1", "b": b"1"}

    def test_a_changed_file_is_brought_back(self, tmp_path: Path) -> None:
        store = MemoryStore()
        manifest = image(store, [layer(member("models/a", b"1")), layer(member("models/a", b"2"))])
        pull(store, manifest, tmp_path / "out")
        (tmp_path / "out/a").write_bytes(b"!")
        pull(store, manifest, tmp_path / "out", force=True)
        assert tree(tmp_path / "out") == {"a": b"2"}

    def test_layers_that_were_read_before_an_interruption_are_not_read_again(
        self, tmp_path: Path
    ) -> None:
        store = MemoryStore()
        first = layer(
            member("models/a", b"1"), member("models/b", b"1"), link("models/l", "b"), FOLDER
        )
        second = layer(member("models/.wh.a"))
        manifest = image(store, [first, second])
        content = understand(store, manifest)
        for number in range(2):
            with Folder(tmp_path / "out", manifest, content.members, reference="r") as folder:
                there = [folder.exists(each.desc) for each in content.members]
                assert there == [at < number for at in range(2)]
                desc = content.members[number].desc
                folder.push(desc, store.fetch(desc))
        with Folder(tmp_path / "out", manifest, content.members, reference="r") as folder:
            assert all(folder.exists(each.desc) for each in content.members)
            folder.commit()
        assert tree(tmp_path / "out") == {"b": b"1", "l": b"1"}

    def test_a_selection_is_completed_by_a_later_pull(self, tmp_path: Path) -> None:
        store = MemoryStore()
        manifest = image(store, [layer(member("models/a", b"1"), member("models/b", b"1"))])
        pull(store, manifest, tmp_path / "out", include=["a"])
        pull(store, manifest, tmp_path / "out")
        assert tree(tmp_path / "out") == {"a": b"1", "b": b"1"}


def test_labels_and_annotations_say_what_the_model_is() -> None:
    store = MemoryStore()
    about = mediatypes.TITLE.removesuffix("title")
    config = {"Labels": {f"{about}title": "tiny", f"{about}licenses": "MIT", "other": "x"}}
    manifest = image(
        store, [layer(member("models/a", b"1"))], config=config, created="2026-01-01T00:00:00Z"
    )
    assert dict(understand(store, manifest).fields) == {"title": "tiny", "licenses": ["MIT"]}
    described = image(
        store,
        [layer(member("models/a", b"1"))],
        config={"paramSize": "7B"},
        descriptor={"name": "tiny"},
        modelfs={"type": "layers"},
    )
    assert dict(understand(store, described).fields) == {"name": "tiny", "paramSize": "7B"}
