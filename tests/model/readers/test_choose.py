"""Which manifest of an index is the model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest

from ocimlpack.errors import InputError, InvalidContentError
from ocimlpack.model.readers import choose, manifest_in
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Descriptor, Platform
from ocimlpack.spec.manifest import Index, Manifest, parse
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.memory import MemoryStore
from tests.model.artifacts import member, tar
from tests.model.readers.artifacts import LAYER, OLLAMA, Blob, image, stored


def listing(
    store: MemoryStore, *entries: Mapping[str, Any], media_type: str = mediatypes.OCI_INDEX
) -> Index:
    value = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries)}
    raw = json.dumps(value).encode()
    found = parse(raw)
    assert isinstance(found, Index)
    store.push(found.descriptor, BytesBlob(raw))
    return found


def entry(manifest: Manifest, machine: str = "", **more: Any) -> dict[str, Any]:
    value = manifest.descriptor.to_json() | more
    if machine:
        value["platform"] = {"os": "linux", "architecture": machine}
    return value


def model(store: MemoryStore, content: bytes = b"w", **options: Any) -> Manifest:
    layer = Blob(content, mediatypes.model_layer("weight"), {mediatypes.FILEPATH: "w"})
    return stored(store, [layer], config_type=mediatypes.MODEL_CONFIG, **options)


def modelcar(store: MemoryStore, content: bytes) -> Manifest:
    return image(store, [Blob(tar(member("models/w", content)), LAYER)])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(autouse=True)
def _on_an_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uname:
        machine = "aarch64"

    monkeypatch.setattr(os, "uname", Uname)


def test_one_that_is_listed_twice_is_one(store: MemoryStore) -> None:
    only = model(store)
    index = listing(store, entry(only, "amd64"), entry(only, "arm64"))
    assert choose(store, index).digest == only.descriptor.digest


def test_what_was_never_brought_here_is_not_needed(store: MemoryStore) -> None:
    elsewhere = modelcar(MemoryStore(), b"1")
    here = modelcar(store, b"2")
    # As Docker saves an image of which it has one platform; our own stores take no such index.
    listed = [entry(elsewhere, "amd64"), entry(here, "arm64")]
    raw = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": listed}
    index = parse(json.dumps(raw).encode())
    assert isinstance(index, Index)
    assert choose(store, index).digest == here.descriptor.digest


def test_the_only_one_is_it(store: MemoryStore) -> None:
    only = modelcar(store, b"1")
    index = listing(store, entry(only, "s390x"))
    assert choose(store, index).digest == only.descriptor.digest
    assert manifest_in(store, index.descriptor) == only
    assert manifest_in(store, only.descriptor) == only


@pytest.mark.parametrize("said", [True, False])
def test_a_model_comes_before_images(store: MemoryStore, said: bool) -> None:
    kind = {"artifactType": mediatypes.MODEL_MANIFEST} if said else {}
    found = model(store)
    index = listing(
        store,
        entry(modelcar(store, b"1"), "amd64"),
        entry(modelcar(store, b"2"), "arm64"),
        entry(found, "unknown", **kind),
    )
    assert choose(store, index).digest == found.descriptor.digest


def test_among_images_it_is_the_one_for_this_machine(store: MemoryStore) -> None:
    one, two = modelcar(store, b"1"), modelcar(store, b"2")
    index = listing(store, entry(one, "amd64"), entry(two, "arm64"))
    chosen = choose(store, index)
    assert chosen.digest == two.descriptor.digest
    assert chosen.platform == Platform("arm64", "linux")


def test_a_model_is_the_same_on_all_machines_so_another_one_s_image_will_do(
    store: MemoryStore,
) -> None:
    one, two = modelcar(store, b"1"), modelcar(store, b"2")
    index = listing(store, entry(one, "ppc64le"), entry(two, "s390x"))
    assert choose(store, index).digest == one.descriptor.digest


def test_what_tells_how_an_image_was_built_is_none(store: MemoryStore) -> None:
    car, attested = modelcar(store, b"1"), modelcar(store, b"2")
    digest = {"vnd.docker.reference.digest": str(car.descriptor.digest)}
    index = listing(store, entry(attested, "unknown", annotations=digest), entry(car, "amd64"))
    assert choose(store, index).digest == car.descriptor.digest


def test_of_a_list_of_a_vendor_s_own_it_is_the_first(store: MemoryStore) -> None:
    found = [
        stored(store, [Blob(content, f"{OLLAMA}.model")], media_type=mediatypes.DOCKER_MANIFEST)
        for content in (b"GGUF1", b"GGUF2")
    ]
    index = listing(store, *map(entry, found), media_type=mediatypes.OLLAMA_LIST)
    assert choose(store, index).digest == found[0].descriptor.digest


@pytest.mark.parametrize("machines", [("", ""), ("unknown", "")])
def test_several_that_nothing_tells_apart_are_not_chosen_from(
    store: MemoryStore, machines: tuple[str, str]
) -> None:
    found = [modelcar(store, b"1"), modelcar(store, b"2")]
    index = listing(store, *(entry(*each) for each in zip(found, machines, strict=True)))
    with pytest.raises(InputError, match="an index of 2 artifacts") as caught:
        choose(store, index)
    assert str(found[0].descriptor.digest) in str(caught.value.hint)


def test_two_models_are_not_chosen_from(store: MemoryStore) -> None:
    index = listing(store, entry(model(store, b"1")), entry(model(store, b"2")))
    with pytest.raises(InputError, match="an index of 2 artifacts"):
        choose(store, index)


def test_an_index_of_nothing_has_no_model(store: MemoryStore) -> None:
    blob = Descriptor.of(b"x", "text/plain")
    store.push(blob, BytesBlob(b"x"))
    for index in (listing(store), listing(store, blob.to_json())):
        with pytest.raises(InputError, match="an index of 0 artifacts"):
            choose(store, index)


def test_an_index_of_indexes_is_refused(store: MemoryStore) -> None:
    inner = listing(store, entry(model(store)))
    outer = listing(store, inner.descriptor.to_json())
    with pytest.raises(InvalidContentError, match="index of indexes"):
        manifest_in(store, outer.descriptor)
