from __future__ import annotations

from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.model import layers
from ocimlpack.spec.digest import Digest


def test_a_folder_is_inspected_as_what_it_would_be(model: Path, layout: str) -> None:
    seen = ocimlpack.inspect(str(model))
    packed = ocimlpack.pack(model, layout)
    assert seen.digest == packed.digest
    assert seen.size == packed.size
    assert seen.model["family"] == "bert"
    assert [f.path for f in seen.files] == [f.path for f in ocimlpack.inspect(layout).files]


def test_what_it_shows_is_what_is_stored(model: Path, layout: str) -> None:
    ocimlpack.pack(model, f"{layout}:1", tags=["2"])
    seen = ocimlpack.inspect(f"{layout}:1")
    path = Path(layout.removeprefix("oci:")) / "blobs" / seen.digest.replace(":", "/")
    assert seen.manifest.encode() == path.read_bytes()
    assert seen.tags == ("1", "2")
    assert seen.artifact_type == "application/vnd.cncf.model.manifest.v1+json"


def test_what_an_image_s_config_says_of_a_model_is_shown(
    model: Path, layout: str, tmp_path: Path
) -> None:
    ocimlpack.pack(model, layout, image_config=True, artifact_type="none", name="tiny")
    seen = ocimlpack.inspect(layout)
    assert seen.artifact_type == "application/vnd.oci.image.config.v1+json"
    assert (seen.model["family"], seen.model["name"]) == ("bert", "tiny")
    ocimlpack.pull(layout, tmp_path / "out")
    assert ocimlpack.verify(str(tmp_path / "out")).checked == 6


def test_the_config_of_an_image_says_nothing_of_a_model(
    model: Path, layout: str, tmp_path: Path
) -> None:
    (tmp_path / "c.json").write_text('{"architecture": "amd64", "os": "linux", "config": {"a": 1}}')
    kind = "application/vnd.oci.image.config.v1+json"
    ocimlpack.pack(model, layout, config=f"{tmp_path / 'c.json'}:{kind}")
    assert ocimlpack.inspect(layout).model == {}


def test_a_pulled_folder_is_held_against_its_receipt(
    model: Path, layout: str, tmp_path: Path
) -> None:
    packed = ocimlpack.pack(model, layout)
    ocimlpack.pull(layout, tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("mine")
    checked = ocimlpack.verify(str(tmp_path / "out"))
    assert (checked.digest, checked.checked, checked.extra) == (packed.digest, 6, ("notes.txt",))
    (tmp_path / "out/config.json").write_bytes(b"!")
    with pytest.raises(ocimlpack.IntegrityError, match=r"config\.json"):
        ocimlpack.verify(str(tmp_path / "out"))


def test_a_pulled_folder_may_be_named_without_a_slash(
    model: Path, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ocimlpack.pack(model, layout)
    monkeypatch.chdir(tmp_path)
    ocimlpack.pull(layout, "out")
    assert ocimlpack.verify("out").checked == 6
    with pytest.raises(ocimlpack.NotFoundError) as caught:
        ocimlpack.verify("tiny")
    assert caught.value.hint == "to mean the folder of that name, write ./tiny"


@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_blob_is_found(model: Path, layout: str, whole: bool) -> None:
    ocimlpack.pack(model, f"{layout}:1")
    assert ocimlpack.verify(layout if whole else f"{layout}:1").checked > 6
    [digest] = [f.digest for f in ocimlpack.inspect(layout).files if f.path == "weights/b.bin"]
    path = Path(layout.removeprefix("oci:")) / "blobs" / digest.replace(":", "/")
    path.write_bytes(b"x" * 3000)
    with pytest.raises(ocimlpack.IntegrityError, match=digest):
        ocimlpack.verify(layout if whole else f"{layout}:1")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ocimlpack.InputError, match="there is no folder"):
        ocimlpack.inspect(str(tmp_path / "nowhere"))
    with pytest.raises(ocimlpack.NotFoundError, match="no image layout"):
        ocimlpack.inspect(f"oci:{tmp_path / 'nowhere'}:1")
    with pytest.raises(ocimlpack.NotFoundError, match="no archive"):
        ocimlpack.inspect(f"oci-archive:{tmp_path / 'nowhere.tar'}:1")


def test_files_in_archives_are_listed_on_request(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "MAX_FILES", 3)
    monkeypatch.setattr(layers, "MAX_SINGLE", 1)
    model = tmp_path / "many"
    (model / "data").mkdir(parents=True)
    for name in ("a.json", "b.json", "data/c.json", "data/d.json"):
        (model / name).write_text(f'{{"name": "{name}"}}')
    ocimlpack.pack(model, layout)
    stored = ocimlpack.inspect(layout)
    assert {file.media_type.rpartition(".")[2] for file in stored.files} == {"tar"}
    for place in (layout, str(model)):
        listed = ocimlpack.inspect(place, archives=True)
        assert sorted(file.path for file in listed.files) == [
            "a.json",
            "b.json",
            "data/c.json",
            "data/d.json",
        ]
        digests = {file.path: file.digest for file in listed.files}
        assert digests["a.json"] == str(Digest.of((model / "a.json").read_bytes()))
