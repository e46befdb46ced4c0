"""Imports from a hub that is a server here, and what the hub's own client makes of that server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

import ocimlpack
from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnreachableError,
    UnsupportedError,
)
from ocimlpack.model.options import Form
from ocimlpack.model.pack import Options, pack
from ocimlpack.progress import Event, Retried, Warned
from ocimlpack.spec.digest import Digest
from ocimlpack.stores import hub as hub_store
from ocimlpack.stores.hub import POLICY
from tests.app.test_image_base import put
from tests.model.weights import model, safetensors, write
from tests.scripted.fixtures import QUICK
from tests.scripted.hub import COMMIT, TOKEN, Hub, sha256
from tests.scripted.registry import ScriptedRegistry

NAME = "team/tiny"
SOURCE = f"hf:{NAME}"
MIB = 1024 * 1024
BIG = safetensors({"w": ("F32", (MIB,))})
"""Four megabytes with a header that says so."""

OTHER = "f" * 40


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    server.add(NAME, {**model(), "big.safetensors": BIG, ".gitattributes": "*.bin filter=lfs\n"})
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr("ocimlpack.stores.hub.POLICY", QUICK)
    with server:
        yield server


@pytest.fixture
def place(scripted: ScriptedRegistry) -> str:
    return f"{scripted.host}/team/tiny"


def told(events: list[Event], kind: type[Warned | Retried] = Warned) -> str:
    return "\n".join(
        each.message if isinstance(each, Warned) else each.reason
        for each in events
        if isinstance(each, (Warned, Retried)) and isinstance(each, kind)
    )


def files_of(reference: str) -> dict[str, str]:
    return {each.path: each.kind for each in ocimlpack.inspect(reference).files}


# The server is what the hub's own client takes for a hub. Else the other tests would prove nothing.


def test_the_hubs_client_reads_the_listing(hub: Hub) -> None:
    info = huggingface_hub.HfApi(endpoint=hub.url).model_info(
        NAME, revision="v1.0", files_metadata=True
    )
    assert info.sha == COMMIT
    assert info.siblings is not None
    found = {each.rfilename: each for each in info.siblings}
    assert set(found) == set(hub.models[NAME].files)
    large, small = found["big.safetensors"], found["config.json"]
    assert large.lfs is not None
    assert large.lfs.size == large.size == len(BIG)
    assert (small.lfs, small.size) == (None, len(hub.models[NAME].files["config.json"]))


def test_the_hubs_client_downloads_what_is_packed_alike(
    hub: Hub, place: str, tmp_path: Path
) -> None:
    folder = tmp_path / "snapshot"
    huggingface_hub.snapshot_download(NAME, local_dir=folder, endpoint=hub.url)
    imported = ocimlpack.import_model(SOURCE, place)
    origin = tmp_path / "origin.yaml"
    origin.write_text(f"sourceURL: {hub.url}/{NAME}\nrevision: '{COMMIT}'\n")
    assert pack(folder, Options(file=origin)).root.digest == Digest.parse(imported.digest)
    assert pack(folder).root.digest != Digest.parse(imported.digest)


@pytest.mark.parametrize(
    ("change", "revision", "error"),
    [
        ({"private": True}, None, hub_errors.RepositoryNotFoundError),
        ({"gated": True}, None, hub_errors.GatedRepoError),
        ({}, "absent", hub_errors.RevisionNotFoundError),
    ],
)
def test_the_hubs_client_understands_refusals(
    hub: Hub, tmp_path: Path, change: dict[str, Any], revision: str | None, error: type[Exception]
) -> None:
    hub.add("team/other", model(), **change)
    with pytest.raises(error):
        huggingface_hub.hf_hub_download(
            "team/other",
            "config.json",
            revision=revision,
            local_dir=tmp_path,
            endpoint=hub.url,
            token=False,
        )


def test_where_it_came_from_is_recorded(hub: Hub, place: str) -> None:
    done = ocimlpack.import_model(f"{SOURCE}@v1.0", f"{place}:1.0", tags=["latest"])
    assert (done.source, done.revision) == (f"{hub.url}/{NAME}", COMMIT)
    assert done.tags == ("1.0", "latest")
    found = ocimlpack.inspect(f"{place}:latest")
    assert found.digest == done.digest
    assert found.model["sourceURL"] == f"{hub.url}/{NAME}"
    assert found.model["revision"] == COMMIT
    assert found.model["paramSize"] == "77.9K"  # by the headers, which were read where they are


def test_what_is_imported_is_pulled(hub: Hub, place: str, tmp_path: Path) -> None:
    done = ocimlpack.import_model(SOURCE, place)
    folder = Path(ocimlpack.pull(done.reference, tmp_path / "out").path)
    for path, content in hub.models[NAME].files.items():
        assert (folder / path).read_bytes() == content


@pytest.mark.parametrize("destination", ["oci:{0}/layout:1", "oci-archive:{0}/x.tar:1", "tiny:1"])
def test_it_goes_to_any_place(hub: Hub, tmp_path: Path, place: str, destination: str) -> None:
    there = destination.format(tmp_path)
    assert (
        ocimlpack.import_model(SOURCE, there).digest
        == ocimlpack.import_model(SOURCE, place).digest
        == ocimlpack.inspect(there).digest
    )


def test_large_files_are_not_laid_down_on_the_way(
    hub: Hub, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ocimlpack.import_model(SOURCE, place)
    written = [each.stat().st_size for each in Path.home().rglob("*") if each.is_file()]
    assert sum(written) < len(BIG) // 4
    assert list(tmp_path.iterdir()) == []


def test_a_second_import_moves_nothing(hub: Hub, place: str) -> None:
    first = ocimlpack.import_model(SOURCE, place)
    hub.cdn.forget()
    second = ocimlpack.import_model(SOURCE, place)
    assert (second.digest, second.moved) == (first.digest, 0)
    assert second.skipped == first.moved
    assert hub.cdn.sent < 200_000  # their beginnings, of four files


def test_only_what_changed_moves(hub: Hub, place: str) -> None:
    ocimlpack.import_model(SOURCE, place)
    repository = hub.models[NAME]
    repository.commits["main"] = OTHER
    repository.files = {**repository.files, "README.md": b"# New\n"}
    hub.cdn.forget()
    again = ocimlpack.import_model(SOURCE, place)
    config = json.loads(ocimlpack.inspect(again.reference).manifest)["config"]["size"]
    assert again.revision == OTHER
    assert again.moved == len(b"# New\n") + config
    assert hub.cdn.sent < 200_000


def test_a_dry_run_fetches_no_large_file(hub: Hub, place: str) -> None:
    planned = ocimlpack.import_model(SOURCE, place, dry_run=True)
    assert {each.fate for each in planned.plan} == {"upload"}
    assert hub.cdn.sent < 200_000
    with pytest.raises(NotFoundError):
        ocimlpack.inspect(place)
    assert ocimlpack.import_model(SOURCE, place).digest == planned.digest


def test_of_a_long_header_only_that_moves(hub: Hub, place: str) -> None:
    many = {f"layer.{number}.weight": ("F32", (64,)) for number in range(4000)}
    hub.add("team/long", {"model.safetensors": safetensors({**many, "big": ("F32", (2 * MIB,))})})
    planned = ocimlpack.import_model("hf:team/long", place, dry_run=True)
    assert planned.size > 8 * MIB
    assert hub.cdn.sent < MIB


def test_files_are_chosen_as_in_a_folder(hub: Hub, place: str, tmp_path: Path) -> None:
    files = {
        **model(),
        ".ocimlpackignore": "*.log\n/private/\n!keep.log\n",
        "sub/.ocimlpackignore": "!x.log\n",
        "a.log": "x",
        "keep.log": "x",
        "sub/x.log": "x",
        "private/key": "x",
        "private/keep.log": "x",
        "__pycache__/x.pyc": "x",
        "sub/.DS_Store": "x",
        "e\u0301.txt": "decomposed",
    }
    hub.add("team/other", files)
    done = ocimlpack.import_model("hf:team/other", place, exclude=["convert.sh"])
    folder = write(tmp_path / "m", files)
    packed = pack(folder, Options(exclude=("convert.sh",)))
    assert files_of(done.reference) == {each.path: each.kind for each in packed.files}
    assert "\u00e9.txt" in files_of(done.reference)


def test_a_metadata_file_in_the_repository_is_read(hub: Hub, place: str) -> None:
    hub.add("team/kit", {**model(), "Kitfile": "package: {name: kit}\ndocs: [{path: README.md}]\n"})
    events: list[Event] = []
    done = ocimlpack.import_model("hf:team/kit", place, report=events.append)
    assert files_of(done.reference) == {"README.md": "doc"}
    assert "Kitfile is read in place of a model.yaml" in told(events)
    said = ocimlpack.inspect(done.reference).model
    assert (said["name"], said["revision"]) == ("kit", COMMIT)


def test_a_kitignore_in_the_repository_holds_whatever_is_chosen(hub: Hub, place: str) -> None:
    more = {"Kitfile": "code: [{path: .}]\n", ".kitignore": "secret.json\n", "secret.json": "x"}
    hub.add("team/kit", {**model(), **more})
    done = ocimlpack.import_model("hf:team/kit", place, include=["*.json"])
    assert "config.json" in files_of(done.reference)
    assert not {".kitignore", "secret.json"} & files_of(done.reference).keys()


def test_a_metadata_file_of_ones_own_counts_more(hub: Hub, place: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nrevision: null\n")
    done = ocimlpack.import_model(SOURCE, place, file=mine, version="2")
    said = ocimlpack.inspect(done.reference).model
    assert (said["name"], said["version"]) == ("mine", "2")
    assert "revision" not in said


def test_very_many_files_are_bundled_as_from_a_folder(hub: Hub, place: str, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"w.safetensors": BIG}
    files |= {f"data/{number}.json": f"{number}" for number in range(1100)}
    hub.add("team/many", files)
    done = ocimlpack.import_model("hf:team/many", place, jobs=8)
    origin = tmp_path / "origin.yaml"
    origin.write_text(f"sourceURL: {hub.url}/team/many\nrevision: '{COMMIT}'\n")
    packed = pack(write(tmp_path / "m", files), Options(file=origin))
    assert str(packed.root.digest) == done.digest
    assert len(packed.manifest.layers) < 1100


def test_small_files_for_which_there_is_no_room_are_fetched_again(
    hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ocimlpack.import_model(SOURCE, f"{place}:1")
    monkeypatch.setattr(hub_store, "_MAX_KEPT", 100)
    hub.forget()
    again = ocimlpack.import_model(SOURCE, f"{place.replace('tiny', 'other')}:1")
    assert again.digest == first.digest
    assert hub.count("GET", "resolve-cache.*README.md") > 1


def test_what_the_hub_keeps_in_git_though_it_is_large_is_hashed_while_it_is_sent(
    hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = ocimlpack.import_model(SOURCE, place).digest
    hub.keeps_beside = False
    monkeypatch.setattr(hub_store, "MAX_INLINE", MIB)
    hub.forget()
    again = ocimlpack.import_model(SOURCE, f"{place.replace('tiny', 'other')}:2")
    assert again.digest == digest
    assert hub.sent < 1.5 * len(BIG)


def test_an_image_is_made_of_it_as_well(hub: Hub, place: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {"format": "image", "platforms": ["linux/amd64"]}
    done = ocimlpack.import_model(SOURCE, place, **how)
    assert hub.cdn.sent < 1.5 * len(BIG)
    origin = tmp_path / "origin.yaml"
    origin.write_text(f"sourceURL: {hub.url}/{NAME}\nrevision: '{COMMIT}'\n")
    folder = write(tmp_path / "m", hub.models[NAME].files)
    assert ocimlpack.push(folder, f"{place}:2", file=origin, **how).digest == done.digest
    there = ocimlpack.import_model(SOURCE, f"oci:{tmp_path}/layout", **how)
    assert there.digest == done.digest


def test_an_image_is_put_on_another_one(hub: Hub, place: str, tmp_path: Path) -> None:
    put(tmp_path / "shells", "amd64")
    how: dict[str, Any] = {"format": "image", "platforms": ["linux/amd64"]}
    how["image_base"] = f"oci:{tmp_path}/shells:amd64"
    done = ocimlpack.import_model(SOURCE, place, **how)
    origin = tmp_path / "origin.yaml"
    origin.write_text(f"sourceURL: {hub.url}/{NAME}\nrevision: '{COMMIT}'\n")
    folder = write(tmp_path / "m", hub.models[NAME].files)
    assert ocimlpack.push(folder, f"{place}:2", file=origin, **how).digest == done.digest
    with pytest.raises(InputError, match="a base image is for an image"):
        ocimlpack.import_model(SOURCE, place, image_base="x:1")


def test_bytes_in_an_image_are_held_against_the_hubs_digests(hub: Hub, place: str) -> None:
    hub.says["big.safetensors"] = "0" * 64
    with pytest.raises(IntegrityError):
        ocimlpack.import_model(SOURCE, place, format="image")


@pytest.mark.parametrize("name", ["../x.json", "a\\b.json", "aux.json", "x:y.json", ".git/config"])
def test_names_that_no_folder_can_have_are_refused(hub: Hub, place: str, name: str) -> None:
    hub.add("team/evil", {**model(), name: "x"})
    if name == ".git/config":  # what belongs to tools is left out, as from a folder
        ocimlpack.import_model("hf:team/evil", place)
        return
    with pytest.raises(InputError, match="unsafe file name"):
        ocimlpack.import_model("hf:team/evil", place)


def test_names_that_clash_are_refused(hub: Hub, place: str) -> None:
    hub.add("team/evil", {"a.bin": "x", "A.bin": "y"})
    with pytest.raises(InputError, match="can't be in one folder on every system"):
        ocimlpack.import_model("hf:team/evil", place)
    hub.add("team/evil", {"\u00e9.bin": "x", "e\u0301.bin": "y"})
    with pytest.raises(InputError, match="can't be in one folder on every system"):
        ocimlpack.import_model("hf:team/evil", place)


def test_a_name_that_is_no_unicode_is_refused(hub: Hub, place: str) -> None:
    body = b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "\\ud800", "size": 1}]}'
    hub.fault("GET", "/api/models", status=200, body=body % COMMIT.encode())
    with pytest.raises(InputError, match="is not valid Unicode"):
        ocimlpack.import_model(SOURCE, place)


# Who may.


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Hub, place: str, scripted: ScriptedRegistry, logged_in: str
) -> None:
    hub.models[NAME].private = True
    done = ocimlpack.import_model(SOURCE, place)
    assert all(each.header("authorization") == f"Bearer {TOKEN}" for each in hub.requests)
    assert not any(each.carries_credentials for each in (*hub.cdn.requests, *scripted.requests))
    assert TOKEN not in repr(done)
    assert TOKEN not in ocimlpack.inspect(done.reference).config


def test_the_token_of_the_hubs_file_is_used(
    hub: Hub, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(path))
    hub.models[NAME].private = True
    assert ocimlpack.import_model(SOURCE, place).revision == COMMIT


def test_a_private_model_is_not_there_for_strangers(hub: Hub, place: str) -> None:
    hub.models[NAME].private = True
    with pytest.raises(NotFoundError, match=f"has no hf:{NAME}") as caught:
        ocimlpack.import_model(SOURCE, place)
    assert "set HF_TOKEN" in str(caught.value.hint)


def test_a_gated_model_says_what_to_do(
    hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models[NAME].gated = True
    with pytest.raises(NotAllowedError, match="only to those whose access was granted") as caught:
        ocimlpack.import_model(SOURCE, place)
    assert "ask for access" in str(caught.value.hint)
    assert "HF_TOKEN" in str(caught.value.hint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ocimlpack.import_model(SOURCE, place)


def test_a_token_that_is_refused_is_never_shown(
    hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_WrongSecret")
    with pytest.raises(NotAllowedError, match="refuses the token") as caught:
        ocimlpack.import_model(SOURCE, place)
    assert "hf_WrongSecret" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("token", ["hf_a b", "hf_\u00e9", "hf_\x01"])
def test_a_token_that_no_header_takes_is_refused(
    hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match="has characters that none has") as caught:
        ocimlpack.import_model(SOURCE, place)
    assert token not in caught.value.message


def test_no_token_is_sent_in_the_clear(logged_in: str, place: str) -> None:
    with pytest.raises(InputError, match="without encryption"):
        ocimlpack.import_model(SOURCE, place, endpoint="http://hub.example.com")


def test_a_refusal_is_passed_on(hub: Hub, place: str) -> None:
    headers = {"X-Error-Message": "Access to this resource is disabled."}
    hub.fault("GET", "/api/models", status=403, headers=headers)
    with pytest.raises(NotAllowedError, match=r"does not allow .*is disabled"):
        ocimlpack.import_model(SOURCE, place)


# What is not there, or no name at all.


def test_a_revision_that_is_not_there(hub: Hub, place: str) -> None:
    with pytest.raises(NotFoundError, match=f"has no hf:{NAME}@v9"):
        ocimlpack.import_model(f"{SOURCE}@v9", place)


def test_a_branch_may_have_slashes(hub: Hub, place: str) -> None:
    hub.models[NAME].commits["refs/pr/1"] = OTHER
    assert ocimlpack.import_model(f"{SOURCE}@refs/pr/1", place).revision == OTHER


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (NAME, "not a model at a hub"),
        ("https://huggingface.co/team/tiny", "not a model at a hub"),
        ("hf://team/tiny", "not a model at a hub"),
        ("hf:", "not a model's name"),
        ("hf:a/b/c", "not a model's name"),
        ("hf:../x", "not a model's name"),
        ("hf:team/x?y", "not a model's name"),
        ("hf:team/tiny@", "names no revision"),
    ],
)
def test_what_is_no_name_is_refused(hub: Hub, place: str, source: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ocimlpack.import_model(source, place)
    assert hub.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "hub.example.com",
        "ftp://x",
        "https://",
        "http://u:p@h/",
        "https://:u:p@h",
        "https://[::1",
        "http://\u2100.example.com",
    ],
)
def test_what_is_no_address_is_refused(hub: Hub, place: str, address: str) -> None:
    with pytest.raises(InputError, match="not a hub's address") as caught:
        ocimlpack.import_model(SOURCE, place, endpoint=address)
    assert "u:p" not in caught.value.message


def test_a_bad_destination_is_said_before_anything_is_asked(hub: Hub) -> None:
    with pytest.raises(InputError):
        ocimlpack.import_model(SOURCE, "./folder")
    assert hub.requests == []


def test_without_the_library_it_says_how_to_get_it(
    hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnsupportedError, match="which is not installed") as caught:
        ocimlpack.import_model(SOURCE, place)
    assert caught.value.hint == "pip install 'ocimlpack[hf]'"


def test_offline_is_offline(hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        ocimlpack.import_model(SOURCE, place)


def test_an_empty_repository_is_refused(hub: Hub, place: str) -> None:
    hub.add("team/empty", {})
    with pytest.raises(InputError, match="hf:team/empty has no files to pack"):
        ocimlpack.import_model("hf:team/empty", place)


# What goes wrong on the way.


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"RateLimit": '"api";r=0;t=0'}},
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 500},
        {"status": 503},
        {"drop": "before"},
        {"drop": "after"},
    ],
)
@pytest.mark.parametrize("path", ["/api/models", "resolve/.*README", "resolve/.*big"])
def test_what_passes_is_tried_again(hub: Hub, place: str, path: str, fault: dict[str, Any]) -> None:
    hub.fault("GET", path, **fault)
    events: list[Event] = []
    done = ocimlpack.import_model(SOURCE, place, report=events.append)
    assert done.revision == COMMIT
    assert told(events, Retried)


@pytest.mark.parametrize("headers", [{"RateLimit": '"api";r=0;t=2'}, {"Retry-After": "2"}])
def test_the_hub_says_when_to_come_back(
    hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("ocimlpack.retry.time.sleep", waited.append)
    monkeypatch.setattr("ocimlpack.stores.hub.POLICY", POLICY)
    hub.fault("GET", "/api/models", status=429, headers=headers)
    ocimlpack.import_model(SOURCE, place)
    assert waited == [2.0]


def test_a_limit_of_the_hub_is_waited_for_until_it_ends(
    hub: Hub, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("ocimlpack.retry.time.sleep", waited.append)
    monkeypatch.setattr("ocimlpack.stores.hub.POLICY", POLICY)
    headers = {"RateLimit": '"resolvers";r=0;t=299', "RateLimit-Policy": '"fixed window";w=300'}
    hub.fault("GET", "resolve/.*README", status=429, headers=headers)
    assert ocimlpack.import_model(SOURCE, place).revision == COMMIT
    assert waited == [299.0]


def test_a_hub_that_keeps_failing_is_given_up(hub: Hub, place: str) -> None:
    hub.fault("GET", "/api/models", status=503, times=None)
    with pytest.raises(UnavailableError, match="keeps failing"):
        ocimlpack.import_model(SOURCE, place)


@pytest.mark.parametrize("format", ["modelpack", "image"])
def test_a_hub_that_fails_on_the_way_is_no_reason_for_the_fallback(
    hub: Hub, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Form
) -> None:
    monkeypatch.setattr(hub_store, "_MAX_KEPT", 0)
    hub.fault("GET", "resolve/.*README", nth=5, status=503, times=None)
    with pytest.raises(UnavailableError) as caught:
        ocimlpack.import_model(SOURCE, place, format=format, fallback=f"oci:{tmp_path}/other")
    assert caught.value.side == "source"
    assert not (tmp_path / "other").exists()


def test_a_transfer_that_breaks_goes_on_where_it_was(hub: Hub, place: str) -> None:
    hub.cdn.fault("GET", sha256(BIG), cut=1000)  # while its beginning is looked at
    hub.cdn.fault("GET", sha256(BIG), nth=2, cut=3 * MIB)  # of those that the first one leaves
    ocimlpack.import_model(SOURCE, place)
    ranges = [each.header("range") for each in hub.cdn.asked("GET", sha256(BIG))]
    assert [each.endswith("-32767") for each in ranges] == [True, True, False, False]
    assert int(ranges[3].removeprefix("bytes=").removesuffix("-")) > MIB
    assert hub.cdn.sent < len(BIG) + MIB


def test_an_address_that_has_expired_is_asked_for_anew(hub: Hub, place: str) -> None:
    hub.cdn.fault("GET", sha256(BIG), nth=2, status=403)
    assert ocimlpack.import_model(SOURCE, place).revision == COMMIT


def test_bytes_that_are_not_what_the_hub_says_are_never_tagged(hub: Hub, place: str) -> None:
    hub.says["big.safetensors"] = "0" * 64
    with pytest.raises(IntegrityError) as caught:
        ocimlpack.import_model(SOURCE, f"{place}:1")
    assert caught.value.side == "source"
    with pytest.raises(NotFoundError):
        ocimlpack.inspect(f"{place}:1")


def test_small_files_are_held_against_git(hub: Hub, place: str) -> None:
    hub.says["config.json"] = "0" * 40
    with pytest.raises(IntegrityError, match=r"config\.json of .* is not what git has") as caught:
        ocimlpack.import_model(SOURCE, place)
    assert caught.value.side == "source"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id": "a/b", "sha": null, "siblings": []}',
        b'{"id": "a/b", "sha": "../../x", "siblings": []}',
        b'{"id": "a/b", "sha": "%s", "siblings": 5}' % COMMIT.encode(),
        b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "a", "size": -1}]}'
        % COMMIT.encode(),
        b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "a", "size": 3, "lfs": '
        b'{"sha256": "x", "size": 3, "pointerSize": 1}}]}' % COMMIT.encode(),
        b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "a", "size": null, "lfs": '
        b'{"sha256": "%s", "size": null, "pointerSize": 1}}]}' % (COMMIT.encode(), b"0" * 64),
        b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "a", "size": 1, "blobId": 5}]}'
        % COMMIT.encode(),
        b'{"id": "a/b", "sha": "%s", "siblings": []}' % (b"a" * 1000),
        b'{"id": "a/b", "sha": "%s", "siblings": []}' % ("\u0661" * 40).encode(),
        b"<html>" * 10,
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(hub: Hub, place: str, body: bytes) -> None:
    hub.fault("GET", "/api/models", status=200, body=body)
    with pytest.raises(OcimlpackError) as caught:
        ocimlpack.import_model(SOURCE, place)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    "location", ["http://[::1", "file:///etc/passwd", "http://127.0.0.3\\@{0}/x"]
)
def test_redirects_to_what_is_no_address_are_not_followed(
    hub: Hub, place: str, location: str, logged_in: str
) -> None:
    # The last one leads to one host by some readers of addresses, to another one by others.
    where = location.format(hub.url.removeprefix("http://"))
    hub.fault("GET", "/api/models", status=307, headers={"Location": where})
    with pytest.raises(UnreachableError, match="gave an unusable Location for hf:team/tiny"):
        ocimlpack.import_model(SOURCE, place)
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"cardData": {"ignore_metadata_errors": True}},
        {"lastModified": "a while ago"},
        {"safetensors": 5},
        {"self": 1},
    ],
)
def test_what_the_hub_says_beside_the_files_does_not_matter(
    hub: Hub, place: str, more: dict[str, Any]
) -> None:
    size = len(hub.models[NAME].files["config.json"])
    listing = {"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": "config.json", "size": size}]}
    hub.fault("GET", "/api/models", status=200, body=json.dumps({**listing, **more}).encode())
    assert files_of(ocimlpack.import_model(SOURCE, place).reference) == {
        "config.json": "weight.config"
    }


def test_a_name_without_end_is_refused_at_once(hub: Hub, place: str) -> None:
    hub.add("team/deep", {**model(), "a/" * 20_000 + "x": "x"})
    began = time.process_time()
    with pytest.raises(InputError, match=r"unsafe file name .*bytes, more than"):
        ocimlpack.import_model("hf:team/deep", place)
    assert time.process_time() - began < 5


def test_a_destination_with_another_digest_is_a_conflict(hub: Hub, place: str) -> None:
    with pytest.raises(ConflictError, match="the destination names"):
        ocimlpack.import_model(SOURCE, f"{place}@sha256:{'0' * 64}")


def test_it_is_written_down(hub: Hub, place: str) -> None:
    done = ocimlpack.import_model(SOURCE, f"{place}:1.0")
    (record,) = ocimlpack.audit().records
    assert (record.action, record.digest, record.tags) == ("import", done.digest, ("1.0",))


def test_nothing_is_printed(hub: Hub, place: str, capfd: pytest.CaptureFixture[str]) -> None:
    ocimlpack.import_model(SOURCE, place)
    assert capfd.readouterr() == ("", "")
