"""copy --format: whatever a model was, it becomes what pack would have made of its files."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.errors import InputError, IntegrityError, InvalidContentError
from ocimlpack.model import conversion, readers
from ocimlpack.model.hashing import hash_sources
from ocimlpack.model.options import FORMS, Form
from ocimlpack.model.pack import seal
from ocimlpack.progress import ignore
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.layout import LayoutStore
from ocimlpack.stores.verify import check
from tests.model.weights import model, write

MEBI = 1024 * 1024
WEIGHTS = random.Random(1).randbytes(3 * MEBI + 5)
FILES: dict[str, bytes | str] = {
    **model(),
    "large/a.bin": WEIGHTS,
    "large/b.bin": WEIGHTS,
    "large/é.gguf": b"GGUF" + WEIGHTS,
    "data/rows.csv": "1,2\n" * MEBI,
    "data/small.csv": "1,2\n",
    "run.sh": "#!/bin/sh\n",
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ocimlpack.Transferred]:
    """The model in one layout, in each form."""
    folder = tmp_path_factory.mktemp("packed")
    write(folder / "model", FILES)
    return {
        form: ocimlpack.pack(
            folder / "model",
            f"oci:{folder / 'layout'}:{form}",
            format=form,
            name="tiny",
            annotations={"org.example": "<1>"},
        )
        for form in FORMS
    }


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".ocimlpack" not in path.parts
    }


EXPECTED = {
    path: content if isinstance(content, bytes) else content.encode()
    for path, content in FILES.items()
}


@pytest.mark.parametrize("origin", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_a_converted_model_is_what_pack_makes_of_its_files(
    packed: Mapping[str, ocimlpack.Transferred], origin: Form, form: Form, tmp_path: Path
) -> None:
    target = f"oci:{tmp_path / 'layout'}:1"
    done = ocimlpack.copy(packed[origin].reference, target, format=form)
    assert done.digest == packed[form].digest
    assert done.files == len(FILES)
    assert ocimlpack.inspect(target).model["name"] == "tiny"


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_pulled_as_the_same_files(
    packed: Mapping[str, ocimlpack.Transferred], form: Form, tmp_path: Path
) -> None:
    pulled = ocimlpack.pull(packed[form].reference, tmp_path / "out")
    assert tree(tmp_path / "out") == EXPECTED
    assert pulled.files == len(FILES)
    assert (tmp_path / "out/run.sh").stat().st_mode & 0o100
    ocimlpack.verify(str(tmp_path / "out"))


def test_the_kinds_that_somebody_gave_survive_the_image(tmp_path: Path) -> None:
    write(
        tmp_path / "model",
        {"notes.txt": "x", "b.json": "{}", "model.yaml": "files: {dataset: ['*.txt']}\n"},
    )
    layout = f"oci:{tmp_path / 'layout'}"
    raw = ocimlpack.pack(tmp_path / "model", f"{layout}:raw")
    image = ocimlpack.pack(tmp_path / "model", f"{layout}:image", format="image")
    back = ocimlpack.copy(image.reference, f"{layout}:back", format="modelpack")
    assert back.digest == raw.digest


def test_very_many_files_are_bundled_again_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / "model", {f"data/{at:04}.csv": f"{at}\n" for at in range(1500)})
    write(tmp_path / "model", {"m.bin": WEIGHTS})
    layout = f"oci:{tmp_path / 'layout'}"
    raw = ocimlpack.pack(tmp_path / "model", f"{layout}:raw")
    image = ocimlpack.pack(tmp_path / "model", f"{layout}:image", format="image")
    assert ocimlpack.copy(raw.reference, f"{layout}:1", format="image").digest == image.digest
    assert ocimlpack.copy(image.reference, f"{layout}:2", format="modelpack").digest == raw.digest
    again = ocimlpack.copy(raw.reference, f"{layout}:3", format="modelpack")
    assert again.digest == raw.digest


# What others made


def image_layer(files: Mapping[str, bytes], compress: bool = True) -> tuple[bytes, bytes]:
    """A layer as a builder of images makes it, and what it unpacks to."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime, member.uname = len(content), 1_700_000_000, "somebody"
            archive.addfile(member, io.BytesIO(content))
    content = raw.getvalue()
    return (gzip.compress(content, 1) if compress else content), content


def put_image(
    layout: Path, *layers: tuple[bytes, bytes], media_type: str = "tar+gzip"
) -> tuple[str, list[Descriptor]]:
    store = LayoutStore(layout, create=True)
    described = []
    for content, _ in layers:
        desc = Descriptor.of(content, f"{mediatypes.OCI_LAYER_PREFIX}{media_type}")
        store.push(desc, BytesBlob(content))
        described.append(desc)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["x"]}}
    ).encode()
    about = Descriptor.of(config, mediatypes.OCI_CONFIG)
    store.push(about, BytesBlob(config))
    manifest = manifests.build(about, described)
    store.push(manifest.descriptor, BytesBlob(manifest.raw))
    store.tag(manifest.descriptor, "1")
    return f"oci:{layout}:1", described


@pytest.mark.parametrize("compress", [True, False])
def test_an_image_that_somebody_built_becomes_the_model_in_it(
    tmp_path: Path, compress: bool
) -> None:
    large = random.Random(2).randbytes(2 * MEBI)
    layers = (
        image_layer({"etc/passwd": b"root", "models/old.json": b"{}"}, compress),
        image_layer({"models/config.json": b"{}", "models/m/a.bin": large}, compress),
        image_layer({"models/m/b.bin": large[::-1], "models/.wh.old.json": b""}, compress),
    )
    kind = "tar+gzip" if compress else "tar"
    source, _ = put_image(tmp_path / "theirs", *layers, media_type=kind)
    content: dict[str, bytes | str] = {
        "config.json": b"{}",
        "m/a.bin": large,
        "m/b.bin": large[::-1],
    }
    write(tmp_path / "model", content)
    for form in FORMS:
        target = f"oci:{tmp_path / 'ours'}:{form}"
        done = ocimlpack.copy(source, target, format=form)
        expected = ocimlpack.pack(tmp_path / "model", f"oci:{tmp_path / 'packed'}:1", format=form)
        assert done.digest == expected.digest
        ocimlpack.pull(target, tmp_path / form)
        assert tree(tmp_path / form) == content


def test_more_small_files_than_are_kept_in_memory_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocimlpack.model import contained

    monkeypatch.setattr(contained, "_KEPT", 5000)
    files = {f"models/{at:02}.json": f'"{at}"'.encode() * 300 for at in range(30)}
    for compress in (True, False):
        kind = "tar+gzip" if compress else "tar"
        place = tmp_path / kind
        source, _ = put_image(place / "theirs", image_layer(files, compress), media_type=kind)
        ocimlpack.copy(source, f"oci:{place / 'ours'}:1", format="modelpack")
        ocimlpack.pull(f"oci:{place / 'ours'}:1", place / "out")
        assert tree(place / "out") == {path[7:]: content for path, content in files.items()}


# What is wrong is not taken over


def spoil(layout: Path, digest: str, at: int) -> None:
    path = layout / "blobs/sha256" / digest.removeprefix("sha256:")
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("origin", FORMS)
@pytest.mark.parametrize("form", ["modelpack", "image"])
def test_a_blob_that_has_rotted_is_found(
    tmp_path: Path, origin: Form, form: Form, own_home: None
) -> None:
    write(tmp_path / "model", {"m.bin": WEIGHTS, "config.json": "{}"})
    layout = tmp_path / "layout"
    ocimlpack.pack(tmp_path / "model", f"oci:{layout}:1", format=origin)
    content = json.loads(ocimlpack.inspect(f"oci:{layout}:1").manifest)
    if "manifests" in content:
        name = content["manifests"][0]["digest"].removeprefix("sha256:")
        content = json.loads((layout / "blobs/sha256" / name).read_bytes())
    layer = content["layers"][0]
    places = (600, layer["size"] // 2, layer["size"] - 1) if origin != "modelpack" else (0, 5000)
    for at in places:
        # The header, the content, and what is neither: zeros at the end.
        spoil(layout, layer["digest"], at)
        with pytest.raises((IntegrityError, InvalidContentError)):
            ocimlpack.copy(f"oci:{layout}:1", f"oci:{tmp_path / 'out'}:1", format=form)
        with pytest.raises(ocimlpack.NotFoundError):
            ocimlpack.inspect(f"oci:{tmp_path / 'out'}:1")
        spoil(layout, layer["digest"], at)
    ocimlpack.copy(f"oci:{layout}:1", f"oci:{tmp_path / 'out'}:1", format=form)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_that_is_cut_in_its_file_is_damaged_and_not_changed(
    tmp_path: Path, form: Form, own_home: None
) -> None:
    write(tmp_path / "model", {"m.bin": WEIGHTS})
    layout = tmp_path / "layout"
    ocimlpack.pack(tmp_path / "model", f"oci:{layout}:1", format="image")
    store = LayoutStore(layout)
    (layer,) = readers.manifest_in(store, store.resolve("1")).layers
    blob = layout / "blobs/sha256" / layer.digest.hex
    blob.chmod(0o644)
    os.truncate(blob, layer.size // 2)
    with pytest.raises(IntegrityError):
        ocimlpack.copy(f"oci:{layout}:1", f"oci:{tmp_path / 'out'}:1", format=form)


def test_what_makes_no_sense_is_refused(
    packed: Mapping[str, ocimlpack.Transferred], tmp_path: Path
) -> None:
    source, target = packed["image"].reference, f"oci:{tmp_path}/x:1"
    with pytest.raises(InputError, match="another digest"):
        ocimlpack.copy(source, target, format="image", referrers=True)
    with pytest.raises(InputError, match="a platform is for an image"):
        ocimlpack.copy(source, target, platforms=["linux/amd64"])
    with pytest.raises(InputError, match="the format is 'tar'"):
        ocimlpack.copy(source, target, format="tar")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="name: only for a folder"):
        ocimlpack.push(source, target, format="image", name="x")
    assert not (tmp_path / "x").exists()


def test_a_tag_is_not_taken_away_by_a_conversion_unless_it_is_named(tmp_path: Path) -> None:
    write(tmp_path / "model", {"m.bin": b"x"})
    layout = f"oci:{tmp_path / 'layout'}"
    raw = ocimlpack.pack(tmp_path / "model", f"{layout}:1")
    with pytest.raises(InputError, match="take the tag 1 away") as caught:
        ocimlpack.copy(f"{layout}:1", layout, format="image")
    assert str(caught.value.hint).endswith(":1-image")
    assert ocimlpack.inspect(f"{layout}:1").digest == raw.digest
    assert ocimlpack.copy(f"{layout}:1", f"{layout}:1", format="image").tags == ("1",)


def test_a_dry_run_changes_nothing_and_says_the_digest(
    packed: Mapping[str, ocimlpack.Transferred], tmp_path: Path
) -> None:
    source, target = packed["modelpack"].reference, f"oci:{tmp_path}/x:1"
    done = ocimlpack.copy(source, target, format="image", dry_run=True)
    assert done.digest == packed["image"].digest
    assert {each.fate for each in done.plan} == {"upload"}
    assert not (tmp_path / "x").exists()


def test_a_packed_model_is_pushed_in_another_form(
    packed: Mapping[str, ocimlpack.Transferred], tmp_path: Path
) -> None:
    done = ocimlpack.push(packed["modelpack"].reference, f"oci:{tmp_path}/x:1", format="both")
    assert done.digest == packed["both"].digest


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize(("origin", "form"), [("modelpack", "image"), ("image", "modelpack")])
def test_memory_does_not_grow_with_the_model(
    tmp_path: Path, origin: Form, form: Form, traced: None
) -> None:
    write(tmp_path / "model", {})
    (tmp_path / "model").mkdir(exist_ok=True)
    with (tmp_path / "model/m.bin").open("wb") as file:
        file.truncate(48 * MEBI)
    ocimlpack.pack(tmp_path / "model", f"oci:{tmp_path / 'a'}:1", format=origin)
    store = LayoutStore(tmp_path / "a")
    manifest = readers.manifest_in(store, store.resolve("1"))
    content = readers.understand(store, manifest)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    planned = conversion.plan(store, manifest, content, form)
    hashed = hash_sources(planned.sources, jobs=2, report=ignore, cache=None)
    packed = seal(planned, hashed.digests, store)
    for layer in packed.manifest.layers:
        check(packed.fetch(layer), layer)
    assert packed.manifest.layers[0].size >= 48 * MEBI
    assert tracemalloc.get_traced_memory()[1] - before < 4 * MEBI


def test_an_image_is_listed_with_all_its_bytes_and_goes_with_its_last_tag(tmp_path: Path) -> None:
    write(tmp_path / "model", {"m.bin": WEIGHTS})
    layout = f"oci:{tmp_path / 'layout'}"
    done = ocimlpack.pack(tmp_path / "model", f"{layout}:1", tags=["2"], format="both")
    for listed in ocimlpack.ls(layout):
        assert listed.size == done.size > len(WEIGHTS)
    assert ocimlpack.inspect(f"{layout}:1").size == done.size
    assert ocimlpack.rm(f"{layout}:1").freed == 0
    # Three manifests, three configs, the index and the layer.
    assert ocimlpack.rm(f"{layout}:2").freed == done.size
    assert not any((tmp_path / "layout/blobs/sha256").iterdir())
