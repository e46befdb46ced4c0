from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.progress import Event, Warned
from ocimlpack.spec import manifest as manifests
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.gojson import encode
from ocimlpack.spec.mediatypes import OCI_EMPTY, OCI_INDEX
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.layout import LayoutStore
from tests.app.conftest import FILES
from tests.scripted.registry import ScriptedRegistry


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".ocimlpack" not in path.parts
    }


def store_of(layout: str) -> LayoutStore:
    return LayoutStore(Path(layout.removeprefix("oci:")))


def test_what_is_packed_is_pulled(model: Path, layout: str, tmp_path: Path) -> None:
    packed = ocimlpack.pack(model, f"{layout}:1.0", tags=["stable"])
    pulled = ocimlpack.pull(packed.reference, tmp_path / "out")
    assert packed.tags == ("1.0", "stable")
    assert packed.files == len(FILES)
    assert contents(tmp_path / "out") == FILES
    assert pulled.digest == packed.digest
    assert pulled.files == len(FILES)


def test_nothing_is_printed(
    model: Path, layout: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    packed = ocimlpack.pack(model, layout)
    ocimlpack.pull(packed.reference, tmp_path / "out")
    ocimlpack.verify(str(tmp_path / "out"))
    ocimlpack.inspect(layout)
    assert capfd.readouterr() == ("", "")


def test_the_digest_is_the_same_wherever_it_goes(model: Path, layout: str, tmp_path: Path) -> None:
    places = [layout, f"oci-archive:{tmp_path / 'x.tar'}:1", "tiny:1"]
    digests = {ocimlpack.push(model, place).digest for place in places}
    digests.add(ocimlpack.inspect(str(model)).digest)
    digests.add(ocimlpack.push(model, f"{layout}:dry", dry_run=True).digest)
    assert len(digests) == 1


def test_without_a_tag_it_is_latest(model: Path, layout: str) -> None:
    assert ocimlpack.pack(model, layout).tags == ("latest",)
    assert ocimlpack.tags(layout) == ("latest",)


def test_a_second_pack_moves_nothing(model: Path, layout: str) -> None:
    first = ocimlpack.pack(model, layout)
    second = ocimlpack.pack(model, layout)
    assert (first.skipped, second.moved) == (0, 0)
    assert second.skipped == first.moved


def test_a_dry_run_says_what_would_move_and_makes_nothing(model: Path, layout: str) -> None:
    planned = ocimlpack.pack(model, layout, dry_run=True)
    assert planned.dry_run
    assert {each.fate for each in planned.plan} == {"upload"}
    assert {each.path for each in planned.plan} >= {"config", "config.json", "weights/b.bin"}
    assert not Path(layout.removeprefix("oci:")).exists()
    ocimlpack.pack(model, layout)
    planned = ocimlpack.pack(model, f"{layout}:2", dry_run=True)
    assert {each.fate for each in planned.plan} == {"skip"}
    assert ocimlpack.tags(layout) == ("latest",)


def test_a_destination_with_a_digest_takes_only_that(model: Path, layout: str) -> None:
    digest = ocimlpack.inspect(str(model)).digest
    pushed = ocimlpack.push(model, f"{layout}@{digest}")
    assert pushed.tags == ()
    assert ocimlpack.inspect(f"{layout}@{digest}").tags == ()
    with pytest.raises(ocimlpack.ConflictError, match="names sha256:000"):
        ocimlpack.push(model, f"{layout}@sha256:{'0' * 64}")


def test_the_digest_decides_and_a_tag_beside_it_is_only_checked(
    model: Path, layout: str, tmp_path: Path
) -> None:
    old = ocimlpack.pack(model, f"{layout}:1.0")
    (model / "README.md").write_bytes(b"# Changed\n")
    ocimlpack.pack(model, f"{layout}:1.0")
    events: list[Event] = []
    pulled = ocimlpack.pull(f"{layout}:1.0@{old.digest}", tmp_path / "out", report=events.append)
    assert pulled.digest == old.digest
    assert (tmp_path / "out/README.md").read_bytes() == FILES["README.md"]
    [warning] = [event for event in events if isinstance(event, Warned)]
    assert "the digest decides" in warning.message


@pytest.mark.parametrize("name", ["1.0", "nope"])
def test_a_matching_tag_is_no_warning_and_a_missing_one_is(
    model: Path, layout: str, tmp_path: Path, name: str
) -> None:
    digest = ocimlpack.pack(model, f"{layout}:1.0").digest
    events: list[Event] = []
    ocimlpack.pull(f"{layout}:{name}@{digest}", tmp_path / "out", report=events.append)
    warned = [event for event in events if isinstance(event, Warned)]
    assert bool(warned) == (name == "nope")


def test_a_layout_with_one_manifest_needs_no_tag(model: Path, layout: str, tmp_path: Path) -> None:
    ocimlpack.pack(model, f"{layout}:odd")
    ocimlpack.pull(layout, tmp_path / "out")
    (model / "README.md").unlink()
    ocimlpack.pack(model, f"{layout}:other")
    with pytest.raises(ocimlpack.NotFoundError, match=r"no tag latest.*odd, other"):
        ocimlpack.pull(layout, tmp_path / "out2")


def test_a_copy_keeps_the_tag_of_its_source(model: Path, layout: str, tmp_path: Path) -> None:
    ocimlpack.pack(model, f"{layout}:1.0")
    copied = ocimlpack.copy(f"{layout}:1.0", f"oci:{tmp_path / 'second'}")
    assert copied.tags == ("1.0",)
    assert ocimlpack.copy(f"{layout}:1.0", "tiny:2", tags=["3"]).tags == ("2", "3")


def test_an_archive_holds_several_models(model: Path, tmp_path: Path) -> None:
    archive = f"oci-archive:{tmp_path / 'x.tar'}"
    first = ocimlpack.pack(model, f"{archive}:1")
    (model / "README.md").write_bytes(b"# Second\n")
    second = ocimlpack.pack(model, f"{archive}:2")
    assert ocimlpack.tags(archive) == ("1", "2")
    for packed, name in ((first, "one"), (second, "two")):
        assert ocimlpack.pull(f"{archive}@{packed.digest}", tmp_path / name).files == len(FILES)
    assert [path.name for path in tmp_path.glob(".ocimlpack*")] == []


def test_a_failed_change_leaves_the_archive_as_it_was(model: Path, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    ocimlpack.pack(model, f"oci-archive:{archive}:1")
    before = archive.read_bytes()
    with pytest.raises(ocimlpack.NotFoundError):
        ocimlpack.copy(f"oci:{tmp_path / 'nowhere'}:1", f"oci-archive:{archive}:2")
    with pytest.raises(ocimlpack.NotFoundError):
        ocimlpack.rm(f"oci-archive:{archive}:2")
    assert archive.read_bytes() == before
    assert [path.name for path in tmp_path.glob(".ocimlpack*")] == []


@pytest.mark.parametrize("content", [b"", b"no tar", b"\x1f\x8b\x08compressed", bytes(2048)])
def test_what_is_no_archive_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises((ocimlpack.InvalidContentError, ocimlpack.UnsupportedError)):
        ocimlpack.pull(f"oci-archive:{tmp_path / 'x.tar'}", tmp_path / "out")


def add_referrer(layout: str, subject: Descriptor, text: bytes) -> Descriptor:
    store = store_of(layout)
    for content in (b"{}", text):
        store.push(Descriptor.of(content, OCI_EMPTY), BytesBlob(content))
    node = manifests.build(
        Descriptor.of(b"{}", OCI_EMPTY),
        [Descriptor.of(text, "text/plain")],
        artifact_type="application/vnd.example.note",
        subject=subject,
    )
    store.push(node.descriptor, BytesBlob(node.raw))
    return node.descriptor


def test_referrers_are_copied_when_asked_for(model: Path, layout: str, tmp_path: Path) -> None:
    ocimlpack.pack(model, f"{layout}:1.0")
    subject = store_of(layout).resolve("1.0")
    note = add_referrer(layout, subject, b"first")
    of_note = add_referrer(layout, note, b"about the first")
    without, within = f"oci:{tmp_path / 'without'}", f"oci:{tmp_path / 'within'}"
    ocimlpack.copy(f"{layout}:1.0", without)
    ocimlpack.copy(f"{layout}:1.0", within, referrers=True)
    assert store_of(without).referrers(subject) == []
    assert [each.digest for each in store_of(within).referrers(subject)] == [note.digest]
    assert [each.digest for each in store_of(within).referrers(note)] == [of_note.digest]


def put_index(layout: str, listed: list[Descriptor]) -> None:
    store = store_of(layout)
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [each.to_json() for each in listed],
        }
    )
    desc = Descriptor.of(raw, OCI_INDEX)
    store.push(desc, BytesBlob(raw))
    store.tag(desc, "index")


def test_an_index_of_one_is_pulled_and_of_two_is_a_question(
    model: Path, layout: str, tmp_path: Path
) -> None:
    ocimlpack.pack(model, f"{layout}:1")
    (model / "README.md").unlink()
    ocimlpack.pack(model, f"{layout}:2")
    first, second = store_of(layout).resolve("1"), store_of(layout).resolve("2")
    put_index(layout, [first])
    assert ocimlpack.pull(f"{layout}:index", tmp_path / "one").files == len(FILES)
    put_index(layout, [first, second])
    with pytest.raises(ocimlpack.InputError, match="index of 2 artifacts") as caught:
        ocimlpack.pull(f"{layout}:index", tmp_path / "two")
    assert str(second.digest) in str(caught.value.hint)
    assert not (tmp_path / "two").exists()
    assert ocimlpack.copy(f"{layout}:index", f"oci:{tmp_path / 'copy'}").files == 2 * len(FILES) - 1


def test_one_file_goes_to_a_stream(model: Path, layout: str) -> None:
    ocimlpack.pack(model, layout)
    stream = io.BytesIO()
    ocimlpack.read_file(layout, stream, include=["weights/a.bin"])
    assert stream.getvalue() == FILES["weights/a.bin"]
    with pytest.raises(ocimlpack.InputError, match="3 are selected"):
        ocimlpack.read_file(layout, stream, include=["weights/*"])
    with pytest.raises(ocimlpack.InputError, match="0 are selected"):
        ocimlpack.read_file(layout, stream, include=["nothing"])


def test_a_stream_of_wrong_bytes_ends_early(model: Path, layout: str) -> None:
    (model / "large.bin").write_bytes(bytes(3_000_000))
    packed = ocimlpack.pack(model, layout)
    [digest] = [f.digest for f in ocimlpack.inspect(layout).files if f.path == "large.bin"]
    blob = store_of(layout).path / "blobs" / digest.replace(":", "/")
    blob.write_bytes(bytes(2_999_999) + b"x")
    stream = io.BytesIO()
    with pytest.raises(ocimlpack.IntegrityError):
        ocimlpack.read_file(packed.reference, stream, include=["large.bin"])
    assert len(stream.getvalue()) < 3_000_000


def test_a_resolved_model_is_fetched_once(model: Path, layout: str, tmp_path: Path) -> None:
    packed = ocimlpack.pack(model, f"{layout}:1")
    first = ocimlpack.resolve(f"{layout}:1")
    assert contents(first) == FILES
    (Path(layout.removeprefix("oci:")) / "index.json").unlink()
    assert ocimlpack.resolve(packed.reference) == first
    with pytest.raises(ocimlpack.OcimlpackError):
        ocimlpack.resolve(f"{layout}:1")
    assert ocimlpack.resolve(packed.reference, cache=first.parent.parent) == first


def test_packing_options_are_refused_for_what_is_packed(model: Path, layout: str) -> None:
    ocimlpack.pack(model, layout)
    with pytest.raises(ocimlpack.InputError, match="name: only for a folder"):
        ocimlpack.push(layout, "tiny", name="other")


def test_a_layout_given_as_a_folder_is_explained(model: Path, layout: str) -> None:
    ocimlpack.pack(model, layout)
    with pytest.raises(ocimlpack.InputError) as caught:
        ocimlpack.push(Path(layout.removeprefix("oci:")), "tiny")
    assert caught.value.hint == f"write {layout}"


@pytest.mark.parametrize("target", ["reg.example/team/a:1", "ocios://b@n/a", "s3://b/a"])
def test_pack_writes_to_places_on_disk(model: Path, target: str) -> None:
    with pytest.raises(ocimlpack.InputError, match="is neither"):
        ocimlpack.pack(model, target)


def test_a_folder_is_no_destination(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ocimlpack.InputError, match="not a place for artifacts"):
        ocimlpack.push(model, str(tmp_path))


def test_a_name_of_the_local_store_that_is_a_folder_here(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    with pytest.raises(ocimlpack.NotFoundError, match="no tiny in the local store") as caught:
        ocimlpack.push("tiny", "other")
    assert caught.value.hint == "to mean the folder of that name, write ./tiny"
    assert ocimlpack.push("./tiny", "tiny:1").tags == ("1",)
    assert ocimlpack.push("tiny:1", "other:1").tags == ("1",)


def test_jobs_have_to_be_a_positive_number(model: Path, layout: str) -> None:
    with pytest.raises(ocimlpack.InputError, match="jobs is 0"):
        ocimlpack.pack(model, layout, jobs=0)


def test_a_custom_artifact_is_pulled_like_any_other(
    model: Path, layout: str, tmp_path: Path
) -> None:
    config = tmp_path / "custom.json"
    config.write_text('{"mine": true}')
    ocimlpack.pack(
        model,
        layout,
        artifact_type="application/vnd.example.model",
        config=f"{config}:application/vnd.example.config+json",
    )
    found = ocimlpack.inspect(layout)
    assert found.artifact_type == "application/vnd.example.model"
    assert json.loads(found.config) == {"mine": True}
    assert found.model == {}
    ocimlpack.pull(layout, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


IMAGES = r"application/vnd\.oci\.image\.config|.*\.v1\.raw$"


@pytest.mark.parametrize("types", [IMAGES, "policy"])
def test_a_registry_that_takes_images_alone_is_said_to(
    model: Path, scripted: ScriptedRegistry, types: str
) -> None:
    reference = f"{scripted.host}/team/model:1.0"
    if types == "policy":
        body = b'{"errors": [{"code": "DENIED", "message": "images only"}]}'
        fault = scripted.fault("PUT", "/manifests/", status=403, body=body)
        assert fault.hits == 0
    else:
        scripted.quirks.types = types
    with pytest.raises(ocimlpack.OcimlpackError) as caught:
        ocimlpack.push(model, reference)
    assert "push with --image-config" in str(caught.value.hint)
    assert f"ocimlpack doctor {scripted.host}/team/model " in str(caught.value.hint)
    scripted.forget()
    pushed = ocimlpack.push(model, reference, image_config=True)
    assert pushed.tags == ("1.0",)
    assert pushed.skipped > 8000  # the files are there


def test_the_refusal_of_an_image_has_no_such_hint(model: Path, scripted: ScriptedRegistry) -> None:
    scripted.quirks.types = "application/x"
    with pytest.raises(ocimlpack.UnsupportedError) as caught:
        ocimlpack.push(
            model, f"{scripted.host}/team/model", image_config=True, artifact_type="none"
        )
    assert caught.value.hint is None
