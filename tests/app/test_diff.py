from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

import ocimlpack
from ocimlpack.cli import render
from ocimlpack.model import layers
from ocimlpack.progress import Event, Warned
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from tests.app.test_tensors import layer
from tests.model.torch_files import checkpoint, dictionary, tensor
from tests.model.weights import framed, gguf, safetensors, write

Tensors = Mapping[str, tuple[str, tuple[int, ...], bytes]]


def weights(tensors: Tensors) -> bytes:
    """A safetensors file with these bytes in it."""
    shapes = {name: (kind, shape) for name, (kind, shape, _) in tensors.items()}
    (length,) = struct.unpack("<Q", (raw := safetensors(shapes))[:8])
    return raw[: 8 + length] + b"".join(data for _, _, data in tensors.values())


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


A: Tensors = {
    "kept": ("F32", (2,), floats(1, 2)),
    "changed": ("F32", (4,), floats(1, 2, 3, 4)),
    "shaped": ("F32", (1,), floats(1)),
    "typed": ("F32", (2,), floats(1, 2)),
    "gone": ("F32", (), floats(1)),
}
B: Tensors = {
    "kept": ("F32", (2,), floats(1, 2)),
    "changed": ("F32", (4,), floats(1, 2, 5, 4)),
    "shaped": ("F32", (2,), floats(1, 1)),
    "typed": ("F16", (2,), struct.pack("<2e", 1, 3)),
    "new": ("F32", (), floats(1)),
}


def write_image(folder: Path, *layers: bytes) -> str:
    """An image of these layers, in a layout; where that is."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, type: str) -> dict[str, Any]:
        digest = Digest.of(content)
        (blobs / digest.hex).write_bytes(content)
        return {"mediaType": type, "digest": str(digest), "size": len(content)}

    content = [
        put(each, f"{OCI_LAYER}+gzip" if each.startswith(b"\x1f\x8b") else OCI_LAYER)
        for each in layers
    ]
    config = {"rootfs": {"type": "layers", "diff_ids": [each["digest"] for each in content]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": put(json.dumps(config).encode(), OCI_CONFIG),
        "layers": content,
    }
    root = put(json.dumps(manifest).encode(), OCI_MANIFEST)
    root["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [root]}
    (folder / "index.json").write_text(json.dumps(index))
    return f"oci:{folder}:x"


@pytest.fixture
def a(tmp_path: Path) -> Path:
    files: dict[str, bytes | str] = {
        "model.safetensors": weights(A),
        "config.json": '{"model_type": "bert"}',
        "old.txt": "the same words",
        "README.md": "---\nlicense: mit\n---\n",
    }
    return write(tmp_path / "a", files)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    files: dict[str, bytes | str] = {
        "model.safetensors": weights(B),
        "config.json": '{"model_type": "bert"}',
        "new.txt": "the same words",
        "README.md": "---\nlicense: apache-2.0\n---\n",
        "serve.py": "print()\n",
    }
    return write(tmp_path / "b", files)


def states(found: ocimlpack.Difference) -> dict[str, str]:
    return {each.path: each.state for each in found.files}


def tensors(found: ocimlpack.Difference) -> dict[str, str]:
    return {each.name: each.state for each in found.tensors}


def check(found: ocimlpack.Difference) -> None:
    """That it is the difference between the two models above."""
    assert found.differs
    assert states(found) == {
        "README.md": "changed",
        "model.safetensors": "changed",
        "new.txt": "renamed",
        "serve.py": "added",
    }
    assert found.same_files == 1
    licenses = next(each for each in found.metadata if each.name == "licenses")
    assert (licenses.state, licenses.a, licenses.b) == ("changed", ("MIT",), ("Apache-2.0",))
    assert tensors(found) == {
        "changed": "changed",
        "shaped": "reshaped",
        "typed": "retyped",
        "gone": "removed",
        "new": "added",
    }
    assert found.same_tensors == 1


def test_folders_are_compared_as_what_they_would_be(a: Path, b: Path) -> None:
    found = ocimlpack.diff(a, b)
    check(found)
    assert (found.a, found.b) == (str(a), str(b))
    assert found.notes == ()


@pytest.mark.parametrize("place", ["oci:{}/layout:{}", "oci-archive:{}/{}.tar:x", "model:{}"])
def test_models_are_compared_where_they_are(a: Path, b: Path, tmp_path: Path, place: str) -> None:
    names = [place.format(tmp_path, name) if "{}/" in place else f"model:{name}" for name in "ab"]
    packed = [ocimlpack.pack(folder, name) for folder, name in zip((a, b), names, strict=True)]
    found = ocimlpack.diff(*names)
    check(found)
    assert [found.a, found.b] == [each.reference for each in packed]
    check(ocimlpack.diff(str(a), names[1]))


def test_what_the_second_has_of_the_first_need_not_be_sent(a: Path, b: Path, layout: str) -> None:
    ocimlpack.pack(a, f"{layout}:a")
    packed = ocimlpack.pack(b, f"{layout}:b")
    found = ocimlpack.diff(f"{layout}:a", f"{layout}:b")
    assert found.shared == len('{"model_type": "bert"}') + len("the same words")
    assert found.size_b == packed.size


def test_the_other_way_round_it_is_the_other_way_round(a: Path, b: Path) -> None:
    found = ocimlpack.diff(b, a)
    assert states(found)["serve.py"] == "removed"
    assert tensors(found)["gone"] == "added"
    renamed = next(each for each in found.files if each.state == "renamed")
    assert renamed.a is not None
    assert (renamed.a.path, renamed.path) == ("new.txt", "old.txt")


def test_a_model_is_no_different_from_itself(a: Path, layout: str, tmp_path: Path) -> None:
    ocimlpack.pack(a, f"{layout}:1")
    for other in (str(a), f"{layout}:1"):
        found = ocimlpack.diff(f"{layout}:1", other)
        assert not found.differs
        assert found.digest_a == found.digest_b
        assert found.same_files == 4
        assert found.shared == found.size_b
    ocimlpack.pull(f"{layout}:1", tmp_path / "out")
    assert not ocimlpack.diff(f"{layout}:1", tmp_path / "out").differs


def test_statistics_say_how_far_the_numbers_are_apart(a: Path, b: Path) -> None:
    found = {each.name: each for each in ocimlpack.diff(a, b, stats=True).tensors}
    changed, typed = found["changed"].values, found["typed"].values
    assert changed is not None
    assert (changed.mean, changed.max, changed.share) == (0.5, 2, 0.25)
    assert typed is not None
    assert (typed.mean, typed.max, typed.share) == (0.5, 1, 0.5)
    assert found["shaped"].values is None


def test_a_zero_with_another_sign_is_a_change_of_no_size(tmp_path: Path) -> None:
    for name, number in (("a", 0.0), ("b", -0.0)):
        raw = weights({"x": ("F32", (1,), floats(number))})
        write(tmp_path / name, {"model.safetensors": raw})
    (found,) = ocimlpack.diff(tmp_path / "a", tmp_path / "b", stats=True).tensors
    assert found.state == "changed"
    assert found.values is not None
    assert found.values.share == 0


def test_a_model_that_is_sharded_anew_has_the_same_tensors(a: Path, tmp_path: Path) -> None:
    names = list(A)
    shards = {
        f"model-0000{number}-of-00002.safetensors": weights({name: A[name] for name in part})
        for number, part in enumerate((names[:2], names[2:]), 1)
    }
    found = ocimlpack.diff(a, write(tmp_path / "shards", shards))
    assert found.tensors == ()
    assert found.same_tensors == len(A)


def test_quantised_tensors_have_bytes_but_no_numbers(tmp_path: Path) -> None:
    for name, filling in (("a", b"\0"), ("b", b"\1")):
        raw = gguf({"general.architecture": "llama"}, [("x", 12, (256,))])
        write(tmp_path / name, {"model.gguf": raw[:-100] + filling * 100})
    (found,) = ocimlpack.diff(tmp_path / "a", tmp_path / "b", stats=True).tensors
    assert (found.state, found.values) == ("changed", None)


def test_numbers_the_other_way_round_are_no_numbers_here(tmp_path: Path) -> None:
    for name, filling in (("a", b"\0"), ("b", b"\1")):
        raw = gguf({"general.architecture": "llama"}, [("x", 0, (32,))], order=">")
        write(tmp_path / name, {"model.gguf": raw[:-128] + filling * 128})
    (found,) = ocimlpack.diff(tmp_path / "a", tmp_path / "b", stats=True).tensors
    assert (found.state, found.values) == ("changed", None)


def test_a_damaged_header_is_a_note(a: Path, b: Path) -> None:
    (b / "model.safetensors").write_bytes(framed(b'{"x": 1}'))
    found = ocimlpack.diff(a, b)
    assert states(found)["model.safetensors"] == "changed"
    (note,) = found.notes
    assert note.startswith("B: nothing is known of the tensors in model.safetensors: tensor 'x'")


def test_annotations_are_compared(a: Path, layout: str) -> None:
    ocimlpack.pack(a, f"{layout}:1", annotations={"x": "1", "y": "1"})
    ocimlpack.pack(a, f"{layout}:2", annotations={"x": "2", "z": "1"})
    found = ocimlpack.diff(f"{layout}:1", f"{layout}:2")
    assert found.differs
    assert found.files == ()
    assert [(each.name, each.state) for each in found.annotations] == [
        ("x", "changed"),
        ("y", "removed"),
        ("z", "added"),
    ]


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """Two models with small files in archives, one of which differs."""
    monkeypatch.setattr(layers, "MAX_FILES", 4)
    monkeypatch.setattr(layers, "MAX_SINGLE", 1)
    files: dict[str, Any] = {f"data/{number}.txt": f"{number}" for number in range(8)}
    files |= {f"src/{number}.py": "#" for number in range(8)}
    one = write(tmp_path / "one", files)
    return one, write(tmp_path / "two", {**files, "data/3.txt": "three", "data/9.txt": "nine"})


def test_files_in_archives_are_compared_one_by_one(bundled: tuple[Path, Path], layout: str) -> None:
    for number, folder in enumerate(bundled):
        ocimlpack.pack(folder, f"{layout}:{number}")
    for pair in (bundled, (f"{layout}:0", f"{layout}:1"), (bundled[0], f"{layout}:1")):
        found = ocimlpack.diff(*pair)
        assert states(found) == {"data/3.txt": "changed", "data/9.txt": "added"}
        assert not any(file.archive for each in found.files for file in (each.a, each.b) if file)


def test_a_file_against_one_in_an_archive(tmp_path: Path, layout: str) -> None:
    folder = write(tmp_path / "m", {f"{number}.txt": str(number) for number in range(8)})
    ocimlpack.pack(folder, f"{layout}:1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "MAX_FILES", 4)
        patch.setattr(layers, "MAX_SINGLE", 1)
        ocimlpack.pack(folder, f"{layout}:2")
    found = ocimlpack.diff(f"{layout}:1", f"{layout}:2")
    assert found.digest_a != found.digest_b
    assert not found.differs


def test_much_work_without_numpy_is_said_beforehand(
    a: Path, b: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocimlpack.model.values.PLAIN_PACE", 0.001)
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    events: list[Event] = []
    ocimlpack.diff(a, b, stats=True, report=events.append)
    (warning,) = [each.message for each in events if isinstance(each, Warned)]
    assert warning == (
        "comparing 8 numbers takes some 133 minutes; with numpy (pip install 'ocimlpack[stats]') "
        "it takes a tenth of that"
    )


def test_the_result_is_json(a: Path, b: Path) -> None:
    found = json.loads(render.document(ocimlpack.diff(a, b, stats=True)))
    changed = next(each for each in found["files"] if each["path"] == "README.md")
    assert changed["a"]["digest"].startswith("sha256:")
    tensor = next(each for each in found["tensors"] if each["name"] == "shaped")
    assert (tensor["a"]["tensor"]["shape"], tensor["b"]["tensor"]["shape"]) == ([1], [2])


def test_links_of_an_image_lead_into_layers_below(tmp_path: Path) -> None:
    def image(name: str, base: float, top: float) -> str:
        return write_image(
            tmp_path / name,
            layer({"models/base.safetensors": weights({"w": ("F32", (1,), floats(base))})}),
            layer(
                {"models/top.safetensors": weights({"w": ("F32", (1,), floats(top))})},
                {"models/linked.safetensors": "base.safetensors"},
            ),
        )

    one = image("one", 1, 1)
    found = ocimlpack.diff(one, image("two", 1, 2))
    assert states(found) == {"top.safetensors": "changed"}
    assert tensors(found) == {"w": "changed"}
    found = ocimlpack.diff(one, image("three", 2, 1))
    assert states(found) == {"base.safetensors": "changed", "linked.safetensors": "changed"}
    assert [(each.name, each.state) for each in found.tensors] == [("w", "changed")] * 2


def test_links_into_a_compressed_layer_lead_nowhere_that_is_known(tmp_path: Path) -> None:
    def image(name: str, number: float) -> str:
        raw = weights({"w": ("F32", (1,), floats(number))})
        links = {"models/linked.safetensors": "base.safetensors"}
        return write_image(
            tmp_path / name,
            gzip.compress(layer({"models/base.safetensors": raw})),
            layer({"models/top.safetensors": raw}, links),
        )

    one = image("one", 1)
    found = ocimlpack.inspect(one, tensors=True)
    assert [each.path for each in found.weights or ()] == ["top.safetensors"]
    assert [note.endswith("so weights in it are not looked at") for note in found.notes] == [True]
    difference = ocimlpack.diff(one, image("two", 2))
    assert set(states(difference)) == {f"{n}.safetensors" for n in ("base", "linked", "top")}
    assert [each.a.path for each in difference.tensors if each.a] == ["top.safetensors"]
    assert [note[:2] for note in difference.notes] == ["A:", "B:"]


def test_what_is_not_there_is_not_found(a: Path) -> None:
    with pytest.raises(ocimlpack.NotFoundError, match="no nothing"):
        ocimlpack.diff(a, "nothing:1")
    with pytest.raises(ocimlpack.InputError):
        ocimlpack.diff(a, "./nothing")


def test_a_checkpoint_is_compared_with_the_safetensors_made_of_it(tmp_path: Path) -> None:
    one, other = floats(1, 2, 3), floats(1, 2, 4)
    value = dictionary({"x": tensor("0", [3]), "y": tensor("1", [3])})
    write(tmp_path / "a", {"model.pt": checkpoint(value, {"0": one, "1": one})[:]})
    raw = weights({"x": ("F32", (3,), one), "y": ("F32", (3,), other)})
    write(tmp_path / "b", {"model.safetensors": raw})
    found = ocimlpack.diff(tmp_path / "a", tmp_path / "b", stats=True)
    assert states(found) == {"model.pt": "removed", "model.safetensors": "added"}
    (changed,) = found.tensors
    assert (changed.name, changed.state) == ("y", "changed")
    assert changed.values is not None
    assert changed.values.max == 1
    assert found.same_tensors == 1


@pytest.mark.parametrize("form", ["image", "both"])
def test_images_are_compared_by_what_is_in_them(
    a: Path, b: Path, layout: str, form: Literal["image", "both"]
) -> None:
    ocimlpack.pack(a, f"{layout}:a", format=form)
    ocimlpack.pack(b, f"{layout}:b", format=form)
    check(ocimlpack.diff(f"{layout}:a", f"{layout}:b"))
    check(ocimlpack.diff(a, f"{layout}:b"))
    assert not ocimlpack.diff(a, f"{layout}:a").differs
