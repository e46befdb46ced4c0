from __future__ import annotations

import json
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.spec.mediatypes import BASE_DIGEST, BASE_NAME
from tests.model.weights import safetensors
from tests.scripted.registry import ScriptedRegistry

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def tuned(model: Path) -> Path:
    """The model, once it has been packed: another one that is made from it."""
    (model / "config.json").write_text('{"model_type": "roberta"}')
    return model


def base(reference: str) -> tuple[str | None, str | None]:
    annotations = ocimlpack.inspect(reference).annotations
    return annotations.get(BASE_NAME), annotations.get(BASE_DIGEST)


def test_of_a_base_on_this_machine_the_digest_is_recorded(model: Path, layout: str) -> None:
    for place in ("one:1", f"{layout}:1"):
        packed = ocimlpack.pack(model, place)
        ocimlpack.pack(model, "two:1", base=place)
        assert base("two:1") == (None, packed.digest)
        assert ocimlpack.inspect("two:1").base == packed.digest


def test_of_a_base_in_a_registry_the_name_is_recorded_as_well(
    model: Path, scripted: ScriptedRegistry
) -> None:
    place = f"{scripted.host}/team/model"
    pushed = ocimlpack.push(model, f"{place}:1", tags=["latest"])
    for name, recorded in (("", ":latest"), (":1", ":1"), (f":1@{pushed.digest}", ":1")):
        ocimlpack.pack(model, "tuned:1", base=place + name)
        assert base("tuned:1") == (f"{place}{recorded}", pushed.digest)
    assert ocimlpack.inspect("tuned:1").base == f"{place}:1@{pushed.digest}"


def test_a_digest_needs_nobody(model: Path) -> None:
    ocimlpack.pack(model, "tuned:1", base=f"registry.invalid/team/model@{DIGEST}")
    assert base("tuned:1") == ("registry.invalid/team/model", DIGEST)


def test_a_base_in_the_metadata_file(model: Path) -> None:
    (model / "model.yaml").write_text(f"base: one@{DIGEST}\n")
    ocimlpack.pack(model, "two:1")
    assert base("two:1") == (None, DIGEST)
    other = DIGEST.replace("0", "f")
    ocimlpack.pack(model, "two:1", base=f"one@{other}")
    assert base("two:1") == (None, other)
    (model / "model.yaml").write_text("base: null\n")
    ocimlpack.pack(model, "two:1")
    assert base("two:1") == (None, None)


def test_an_annotation_that_is_asked_for_stays(model: Path) -> None:
    ocimlpack.pack(model, "two:1", base=f"one@{DIGEST}", annotations={BASE_NAME: "mine"})
    assert base("two:1") == ("mine", DIGEST)
    assert ocimlpack.inspect("two:1").base == f"mine@{DIGEST}"


def test_what_is_no_packed_model_is_no_base(model: Path) -> None:
    with pytest.raises(ocimlpack.InputError, match="the base is a packed model") as caught:
        ocimlpack.pack(model, "two:1", base=str(model))
    assert "pack it first" in str(caught.value.hint)
    with pytest.raises(ocimlpack.NotFoundError):
        ocimlpack.pack(model, "two:1", base="one:1")
    with pytest.raises(ocimlpack.InvalidReferenceError):
        ocimlpack.pack(model, "two:1", base="one:not a tag")
    assert ocimlpack.ls() == ()


def test_only_a_folder_gets_a_base(model: Path, layout: str) -> None:
    ocimlpack.pack(model, f"{layout}:1")
    with pytest.raises(ocimlpack.InputError, match="base: only for a folder"):
        ocimlpack.push(f"{layout}:1", "two:1", base=f"one@{DIGEST}")


def test_one_model_is_compared_with_its_base(
    model: Path, scripted: ScriptedRegistry, layout: str
) -> None:
    place = f"{scripted.host}/team/model:1"
    pushed = ocimlpack.push(model, place)
    ocimlpack.pack(model, f"{layout}:0")
    (model / "config.json").write_text('{"model_type": "roberta"}')
    ocimlpack.pack(model, f"{layout}:1", base=place)
    ocimlpack.pack(model, f"{layout}:2", base=f"{layout}:0")
    (model / "model.yaml").write_text(f"base: {place}\n")
    for name in (f"{layout}:1", f"{layout}:2", model):
        found = ocimlpack.diff(name)
        assert found.digest_a == pushed.digest
        assert [each.path for each in found.files] == ["config.json"]


def test_without_a_base_there_have_to_be_two(model: Path) -> None:
    ocimlpack.pack(model, "one:1")
    with pytest.raises(ocimlpack.InputError, match="one:1 has no base recorded") as caught:
        ocimlpack.diff("one:1")
    assert "--base REF" in str(caught.value.hint)
    (model / "model.yaml").write_text(f"base: one@{DIGEST}\n")
    with pytest.raises(ocimlpack.InputError, match="is not known"):
        ocimlpack.diff(model)
    ocimlpack.pack(model, "one:1", annotations={BASE_DIGEST: "none"}, file="/dev/null")
    with pytest.raises(ocimlpack.InvalidContentError, match="the recorded base"):
        ocimlpack.diff("one:1")


@pytest.mark.parametrize("name", ["{}", "./tiny", "oci:{}/layout:1", "minilm:1", "hf:a/b", "?"])
def test_a_base_is_not_looked_for_where_a_stranger_s_model_says(
    model: Path, layout: str, name: str
) -> None:
    said = {BASE_NAME: name.format(model), BASE_DIGEST: DIGEST}
    ocimlpack.pack(model, f"{layout}:1", annotations=said)
    with pytest.raises(ocimlpack.InvalidContentError, match="recorded base"):
        ocimlpack.diff(f"{layout}:1")


def test_a_base_that_is_gone_is_not_found(model: Path) -> None:
    ocimlpack.pack(model, "two:1", base=f"one@{DIGEST}")
    with pytest.raises(ocimlpack.NotFoundError):
        ocimlpack.diff("two:1")


def test_facts_and_how_they_are_known_are_shown(model: Path) -> None:
    ocimlpack.pack(model, "one:1", name="tiny")
    found = ocimlpack.inspect("one:1")
    assert found.origins == {"name": "given", "family": "found"}
    (model / "weights.safetensors").write_bytes(safetensors({"x": ("F32", (100,))}))
    ocimlpack.pack(model, "one:1")
    found = ocimlpack.inspect("one:1")
    assert found.facts == {"parameters": "100", "tensors": "1"}
    assert {found.origins[name] for name in ("family", "format", *found.facts)} == {"found"}
    (model / "config.json").write_text('{"model_type": "bert", "n_heads": 1}')
    assert ocimlpack.inspect(str(model)).origins["architecture"] == "guessed"


def test_the_manifest_tells_it_to_everybody(model: Path) -> None:
    ocimlpack.pack(model, "one:1", name="tiny")
    found = ocimlpack.inspect("one:1")
    assert json.loads(found.manifest)["annotations"]["ocimlpack.given"] == "name"


def test_what_was_given_is_not_missing_from_a_folder(model: Path) -> None:
    ocimlpack.pack(model, "one:1", name="tiny", annotations={"org.example.a": "1"})
    for pair in (("one:1", model), (model, "one:1")):
        assert not ocimlpack.diff(*pair).differs
    (model / "model.yaml").write_text("name: other\nannotations: {org.example.a: '2'}\n")
    found = ocimlpack.diff("one:1", model)
    assert [(each.name, each.a, each.b) for each in found.metadata] == [("name", "tiny", "other")]
    assert [(each.name, each.b) for each in found.annotations] == [("org.example.a", "2")]
