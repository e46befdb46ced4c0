"""--image-base: a model on an image that has what a server runs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor, Platform
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.layout import LayoutStore
from tests.model.artifacts import member, tar
from tests.model.weights import write

SHELL = {
    architecture: tar(member("bin/sh", architecture.encode()))
    for architecture in ("amd64", "arm64")
}
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
RUNS = {
    "Env": ["PATH=/bin"],
    "Cmd": ["sh"],
    "Labels": {"a": "1", "org.opencontainers.image.title": "sh"},
}


def put(
    layout: Path, architecture: str, layer_type: str = DOCKER_LAYER, **changes: Any
) -> Descriptor:
    """An image of one layer for one architecture."""
    store = LayoutStore(layout, create=True)
    content = gzip.compress(SHELL[architecture], mtime=0)
    layer = Descriptor.of(content, layer_type)
    about = {
        "architecture": architecture,
        "os": "linux",
        "config": RUNS,
        "rootfs": {
            "type": "layers",
            "diff_ids": [str(Descriptor.of(SHELL[architecture], "a/b").digest)],
        },
        **changes,
    }
    raw = json.dumps(about).encode()
    config = Descriptor.of(raw, mediatypes.DOCKER_CONFIG)
    store.push(layer, BytesBlob(content))
    store.push(config, BytesBlob(raw))
    manifest = manifests.build(config, [layer])
    store.push(manifest.descriptor, BytesBlob(manifest.raw))
    store.tag(manifest.descriptor, architecture)
    return manifest.descriptor


@pytest.fixture
def shells(tmp_path: Path) -> str:
    """The location of an image for two platforms."""
    layout = tmp_path / "shells"
    listed = []
    for architecture in SHELL:
        desc = put(layout, architecture)
        variant = "v8" if architecture == "arm64" else ""
        listed.append(
            Descriptor(
                desc.media_type,
                desc.digest,
                desc.size,
                platform=Platform(architecture, "linux", variant),
            )
        )
    index = manifests.build_index(listed)
    store = LayoutStore(layout)
    store.push(index.descriptor, BytesBlob(index.raw))
    store.tag(index.descriptor, "1")
    return f"oci:{layout}:1"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model", {"m.bin": bytes(2_000_000), "config.json": "{}"})


def image_of(layout: Path, tag: str, number: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and config of one image in an index."""
    blobs = layout / "blobs/sha256"

    def load(digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((blobs / digest.removeprefix("sha256:")).read_bytes())
        return found

    root = load(str(LayoutStore(layout).resolve(tag).digest))
    manifest = load(root["manifests"][number]["digest"]) if "manifests" in root else root
    return manifest, load(manifest["config"]["digest"])


def test_the_model_lies_on_the_image_for_each_platform(
    model: Path, shells: str, tmp_path: Path
) -> None:
    target = f"oci:{tmp_path / 'layout'}:1"
    done = ocimlpack.pack(model, target, format="both", name="tiny", image_base=shells)
    for number, architecture in enumerate(("amd64", "arm64")):
        manifest, config = image_of(tmp_path / "layout", "1", number)
        below, *layers = manifest["layers"]
        # No manifest of OCI's may hold a layer of Docker's type.
        assert below["mediaType"] == f"{mediatypes.OCI_LAYER}+gzip"
        assert below["size"] == len(gzip.compress(SHELL[architecture], mtime=0))
        assert len(layers) == 2
        assert config["architecture"] == architecture
        assert len(config["rootfs"]["diff_ids"]) == 3
        assert config["modelfs"]["diffIds"] == config["rootfs"]["diff_ids"][1:]
        assert config["config"]["Env"] == ["PATH=/bin"]
        assert config["config"]["Labels"] == {"a": "1", "org.opencontainers.image.title": "tiny"}
    # The artifact beside it has nothing of that.
    assert len(image_of(tmp_path / "layout", "1", 2)[0]["layers"]) == 2
    ocimlpack.pull(target, tmp_path / "out")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        ".ocimlpack",
        "config.json",
        "m.bin",
    ]
    again = ocimlpack.pack(model, f"{target}-2", format="both", name="tiny", image_base=shells)
    assert again.digest == done.digest


def test_a_packed_model_is_put_on_an_image_and_taken_off(
    model: Path, shells: str, tmp_path: Path
) -> None:
    layout = f"oci:{tmp_path / 'layout'}"
    raw = ocimlpack.pack(model, f"{layout}:raw")
    expected = ocimlpack.pack(model, f"{layout}:packed", format="image", image_base=shells)
    done = ocimlpack.copy(raw.reference, f"{layout}:1", format="image", image_base=shells)
    assert done.digest == expected.digest
    pushed = ocimlpack.push(raw.reference, f"{layout}:2", format="image", image_base=shells)
    assert pushed.digest == expected.digest
    bare = ocimlpack.copy(done.reference, f"{layout}:3", format="image")
    assert bare.digest == ocimlpack.pack(model, f"{layout}:4", format="image").digest
    back = ocimlpack.copy(done.reference, f"{layout}:5", format="modelpack")
    assert back.digest == raw.digest


def test_an_image_for_one_platform_is_enough_for_that_one(
    model: Path, shells: str, tmp_path: Path
) -> None:
    target = f"oci:{tmp_path / 'layout'}:1"
    one = shells.replace(":1", ":arm64")
    ocimlpack.pack(model, target, format="image", image_base=one, platforms=["linux/arm64"])
    assert image_of(tmp_path / "layout", "1")[1]["architecture"] == "arm64"
    with pytest.raises(InputError, match="is not for linux/amd64") as caught:
        ocimlpack.pack(model, target, format="image", image_base=one)
    assert "--platform" in str(caught.value.hint)


def test_a_variant_matters_if_it_is_asked_for(model: Path, shells: str, tmp_path: Path) -> None:
    target = f"oci:{tmp_path / 'layout'}:1"
    with pytest.raises(InputError, match="is not for linux/arm64/v9"):
        ocimlpack.pack(
            model, target, format="image", image_base=shells, platforms=["linux/arm64/v9"]
        )


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"os": "windows"}, InputError, "is not for linux/amd64"),
        ({"os": None}, InputError, "is not for linux/amd64"),
        ({"rootfs": {"diff_ids": []}}, InvalidContentError, "other layers than its config says"),
        ({"rootfs": {"diff_ids": [1]}}, InvalidContentError, "other layers than its config says"),
        ({"rootfs": {"diff_ids": ["a" * 64]}}, InvalidContentError, "other layers than its config"),
        ({"rootfs": None}, InvalidContentError, "other layers than its config says"),
        ({"layer_type": "application/x-thing"}, InputError, "is no container image"),
    ],
)
def test_what_is_no_base_is_refused(
    model: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    put(tmp_path / "base", "amd64", **changes)
    base = f"oci:{tmp_path / 'base'}:amd64"
    target = f"oci:{tmp_path / 'layout'}:1"
    with pytest.raises(error, match=said):
        ocimlpack.pack(model, target, format="image", image_base=base, platforms=["linux/amd64"])
    assert not (tmp_path / "layout").exists()


def test_what_a_base_says_of_its_own_model_is_not_said_of_this_one(tmp_path: Path) -> None:
    write(tmp_path / "below", {"m.gguf": b"GGUF"})
    write(tmp_path / "model", {"notes.txt": "words"})
    layout = f"oci:{tmp_path / 'layout'}"
    platforms = ["linux/amd64"]
    ocimlpack.pack(tmp_path / "below", f"{layout}:base", format="image", platforms=platforms)
    assert image_of(tmp_path / "layout", "base")[1]["config"]["format"] == "gguf"
    ocimlpack.pack(
        tmp_path / "model",
        f"{layout}:1",
        format="image",
        image_base=f"{layout}:base",
        platforms=platforms,
    )
    assert "format" not in image_of(tmp_path / "layout", "1")[1]["config"]


def test_odd_configs_of_a_base_do_no_harm(model: Path, tmp_path: Path) -> None:
    put(tmp_path / "base", "amd64", config={"Labels": {"a": 1, "b": "2"}, "User": "1000"})
    base, target = f"oci:{tmp_path / 'base'}:amd64", f"oci:{tmp_path / 'layout'}:1"
    ocimlpack.pack(model, target, format="image", image_base=base, platforms=["linux/amd64"])
    config = image_of(tmp_path / "layout", "1")[1]["config"]
    assert (config["Labels"], config["User"]) == ({"b": "2"}, "1000")
    put(tmp_path / "other", "amd64", config=None)
    base = f"oci:{tmp_path / 'other'}:amd64"
    ocimlpack.pack(model, target, format="image", image_base=base, platforms=["linux/amd64"])
    assert "Labels" not in image_of(tmp_path / "layout", "1")[1]["config"]


def test_it_is_for_images_alone(model: Path, shells: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a base image is for an image"):
        ocimlpack.pack(model, f"oci:{tmp_path / 'layout'}:1", image_base=shells)
    with pytest.raises(ocimlpack.NotFoundError):
        ocimlpack.pack(model, f"oci:{tmp_path / 'x'}:1", format="image", image_base=f"{shells}2")
