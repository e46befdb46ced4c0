"""Registering: one model a digest, whatever goes wrong and whoever else is at it."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.app import oracle
from ocimlpack.cloud import _sdk
from ocimlpack.errors import ConflictError, NotAllowedError, UnavailableError
from ocimlpack.progress import Event, Warned
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import CARD
from tests.cloud.datascience import API, MAX_METADATA, OTHER_PROJECT, PROJECT, size_of
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, EVERYTHING, OTHER_COMPARTMENT

CREATED = f"{API}/models$"
LATER = {
    "status": 500,
    "body": b'{"code": "InternalServerError", "message": "later"}',
    "headers": {"Content-Type": "application/json"},
}


def only(cloud: LocalCloud) -> dict[str, Any]:
    """The only model in the catalog."""
    (found,) = [
        each for each in cloud.datascience.models.values() if each["lifecycleState"] != "DELETED"
    ]
    return found


def metadata(model: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in model["customMetadataList"]}


def metrics(model: dict[str, Any]) -> dict[str, str]:
    return {
        key.removeprefix("metric."): value
        for key, value in metadata(model).items()
        if key.startswith("metric.")
    }


def somebody() -> Any:
    """The SDK's client, for what other people do in the Console or by other programs."""
    return oracle.identity({}).client("data_science.DataScienceClient")


def details(**fields: Any) -> Any:
    from oci.data_science.models import UpdateModelDetails

    return UpdateModelDetails(**fields)


def at_once(*calls: Callable[[], str]) -> list[str]:
    """What several calls return that run at the same time."""
    found: list[str] = []
    threads = [threading.Thread(target=lambda call=call: found.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == len(calls)
    return found


def warnings(into: list[str]) -> Callable[[Event], None]:
    def report(event: Event) -> None:
        if isinstance(event, Warned):
            into.append(event.message)

    return report


def test_a_model_is_registered_with_all_that_is_known_of_it(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT, metrics={"latency_ms": "12"})
    assert found.is_new
    digest = ocimlpack.inspect(pushed).digest
    assert (found.name, found.digest) == ("minilm:1.0", digest)
    assert found.reference == f"{pushed.rpartition(':')[0]}@{digest}"
    assert (found.series, found.label) == (f"{NAMESPACE}/team/minilm", "1.0")
    assert found.description == "A small model."
    stored = only(alice)
    assert (stored["compartmentId"], stored["projectId"]) == (COMPARTMENT, PROJECT)
    said = metadata(stored)
    assert said["ociArtifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert said["ociTags"] == "1.0,stable"
    assert said["ociSizeInBytes"] == str(ocimlpack.inspect(pushed).size)
    assert said["ocimlpackVersion"] == ocimlpack.__version__
    expected = {"squad/f1": "0.91", "squad/exact": "0.8", "accuracy": "0.99", "latency_ms": "12"}
    assert metrics(stored) == expected
    assert {each["key"]: each["value"] for each in stored["definedMetadataList"]} == {
        "Framework": "transformers",
        "UseCaseType": "image_classification",
    }
    assert alice.datascience.provenance[found.ocid] == {
        "repositoryUrl": "https://git.example.com/team/minilm",
        "gitCommit": "0123abcd",
    }


def test_what_the_model_is_known_by_is_kept_beside_it(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    kept = zipfile.ZipFile(io.BytesIO(alice.datascience.artifacts[found.ocid]))
    assert kept.namelist() == ["README.md", "config.json", "manifest.json"]
    assert kept.read("README.md") == CARD.encode()
    inspected = ocimlpack.inspect(pushed)
    assert kept.read("manifest.json").decode() == inspected.manifest
    assert kept.read("config.json").decode() == inspected.config
    assert {each.external_attr >> 16 for each in kept.infolist()} == {0o100644}


def test_what_the_artifact_does_not_say_can_be_said(
    alice: LocalCloud, model: Path, tmp_path: Path
) -> None:
    (model / "model.yaml").write_text(
        "sourceURL: https://git.example.com/other\nrevision: ffff0000\ndescription: |\n"
        f"  It is {'very ' * 100}small.\n"
    )
    place = f"{alice.host}/{NAMESPACE}/team/plain:1.0"
    ocimlpack.push(model, place)
    found = ocimlpack.catalog_register(place, PROJECT, revision="0000ffff")
    assert alice.datascience.provenance[found.ocid] == {
        "repositoryUrl": "https://git.example.com/other",
        "gitCommit": "0000ffff",
    }
    assert found.description is not None
    assert found.description.startswith("It is very very")
    assert found.description.endswith("ver…")
    assert len(found.description) == 255
    assert only(alice)["definedMetadataList"] == []


def test_of_an_index_its_model_says_what_it_is(
    alice: LocalCloud, model: Path, tmp_path: Path
) -> None:
    (model / "model.yaml").write_text("name: tiny\ndescription: In both forms.\n")
    place = f"{alice.host}/{NAMESPACE}/team/both:1.0"
    ocimlpack.push(model, place, format="both")
    found = ocimlpack.catalog_register(place, PROJECT)
    assert found.description == "In both forms."
    kept = zipfile.ZipFile(io.BytesIO(alice.datascience.artifacts[found.ocid]))
    assert json.loads(kept.read("config.json"))["descriptor"]["name"] == "tiny"


def test_the_model_is_where_its_project_is(
    alice: LocalCloud, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The variable is about repositories: machines that differ in it must not make two models.
    found = ocimlpack.catalog_register(pushed, OTHER_PROJECT)
    assert found.compartment == OTHER_COMPARTMENT
    monkeypatch.delenv("OCIMLPACK_COMPARTMENT")
    again = ocimlpack.catalog_register(pushed, OTHER_PROJECT)
    assert again.ocid == found.ocid
    assert [each.ocid for each in ocimlpack.catalog_list(OTHER_PROJECT)] == [found.ocid]
    alice.server.forget()
    ocimlpack.catalog_register(pushed, PROJECT, compartment=COMPARTMENT, version_set="x")
    assert alice.server.count("GET", "/projects") == 0
    assert len(alice.datascience.models) == 2


# Never twice.


def test_registering_the_same_digest_again_leaves_one_model(alice: LocalCloud, pushed: str) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    alice.server.forget()
    second = ocimlpack.catalog_register(pushed.replace(":1.0", ":stable"), PROJECT)
    assert second.label == "stable"
    third = ocimlpack.catalog_register(pushed, PROJECT)
    assert first.ocid == second.ocid == third.ocid
    assert (first.is_new, second.is_new) == (True, False)
    assert alice.server.count("POST", API) == 0
    assert len(alice.datascience.models) == 1
    assert len(alice.datascience.sets) == 1


def test_nothing_is_written_where_nothing_has_changed(alice: LocalCloud, pushed: str) -> None:
    ocimlpack.catalog_register(pushed, PROJECT, metrics={"f1": "0.9"})
    for given in ({"f1": "0.9"}, None):
        alice.server.forget()
        ocimlpack.catalog_register(pushed, PROJECT, metrics=given)
        assert alice.server.count("POST", API) == 0
        assert alice.server.count("PUT", API) == 0


def test_it_is_found_again_among_many(alice: LocalCloud, pushed: str) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    for number in range(250):
        other = {
            **alice.datascience.models[first.ocid],
            "id": f"ocid1.datasciencemodel.oc1.iad.{number}",
        }
        alice.datascience.models[other["id"]] = {**other, "freeformTags": {}, "versionLabel": None}
    alice.server.forget()
    assert ocimlpack.catalog_register(pushed, PROJECT).ocid == first.ocid
    assert alice.server.count("GET", "/models.*page=") == 2
    assert len(ocimlpack.catalog_list(PROJECT)) == 251


@pytest.mark.parametrize("second", [None, {"f1": "0.9"}], ids=["alike", "with other metrics"])
@pytest.mark.parametrize("is_lenient", [False, True])
def test_two_at_once_leave_one_model(
    alice: LocalCloud, pushed: str, second: dict[str, str] | None, is_lenient: bool
) -> None:
    alice.datascience.is_lenient = is_lenient
    gate = threading.Event()
    alice.server.fault("POST", CREATED, times=2, hold=gate)

    def open_it() -> str:
        while alice.server.count("POST", CREATED) < 2:  # both have found none
            time.sleep(0.01)
        gate.set()
        return ""

    found = at_once(
        open_it,
        lambda: ocimlpack.catalog_register(pushed, PROJECT).ocid,
        lambda: ocimlpack.catalog_register(pushed, PROJECT, metrics=second).ocid,
    )
    assert set(found) == {"", only(alice)["id"]}
    assert metrics(only(alice)).get("f1") == (second or {}).get("f1")
    assert len(alice.datascience.sets) == 1
    assert only(alice)["id"] in alice.datascience.artifacts


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/projects/"),
        ("GET", "/models\\?"),
        ("GET", "/models/"),
        ("POST", "/modelVersionSets"),
        ("POST", "/models$"),
        ("HEAD", "/artifact"),
        ("POST", "/artifact"),
        ("POST", "/provenance"),
    ],
)
@pytest.mark.parametrize(
    "fault",
    [{"drop": "before"}, {"drop": "after"}, LATER, {**LATER, "status": 429}],
    ids=["cut", "lost", "500", "429"],
)
def test_what_fails_in_passing_leaves_one_model(
    alice: LocalCloud, pushed: str, method: str, path: str, fault: dict[str, Any]
) -> None:
    struck = alice.server.fault(method, f"{API}.*{path}", **fault)
    found = ocimlpack.catalog_register(pushed, PROJECT)
    assert struck.hits == 1
    assert found.ocid == only(alice)["id"]
    assert found.is_new
    assert found.label == "1.0"
    assert len(alice.datascience.sets) == 1
    assert found.ocid in alice.datascience.artifacts
    assert found.ocid in alice.datascience.provenance


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "path", ["/modelVersionSets", "/models$", "/artifact$", "/provenance"], ids=lambda path: path
)
@pytest.mark.parametrize("fault", [{"drop": "after"}, LATER], ids=["lost", "500"])
def test_what_fails_for_good_is_finished_by_the_next(
    alice: LocalCloud,
    pushed: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    fault: dict[str, Any],
) -> None:
    monkeypatch.setattr(_sdk, "_TRIES", 2)
    alice.server.fault("POST", f"{API}.*{path}", times=2, **fault)
    with pytest.raises(UnavailableError):
        ocimlpack.catalog_register(pushed, PROJECT)
    found = ocimlpack.catalog_register(pushed, PROJECT)
    assert found.ocid == only(alice)["id"]
    assert found.label == "1.0"
    assert len(alice.datascience.sets) == 1
    assert found.ocid in alice.datascience.artifacts
    assert found.ocid in alice.datascience.provenance


def test_a_list_that_is_behind_makes_no_second_model(alice: LocalCloud, pushed: str) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    empty = {"status": 200, "body": b"[]", "headers": {"Content-Type": "application/json"}}
    alice.server.fault("GET", f"{API}/models\\?", **empty)
    assert ocimlpack.catalog_register(pushed, PROJECT).ocid == first.ocid
    ocimlpack.catalog_register(pushed, PROJECT, metrics={"f1": "0.9"})  # uses the token up
    alice.server.fault("GET", f"{API}/models\\?", **empty)
    assert ocimlpack.catalog_register(pushed, PROJECT, metrics={"f1": "1"}).ocid == first.ocid
    assert len(alice.datascience.models) == 1


def test_a_day_later_it_is_still_one(alice: LocalCloud, pushed: str) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    alice.datascience.forget_tokens()
    assert ocimlpack.catalog_register(pushed, PROJECT).ocid == first.ocid
    assert len(alice.datascience.models) == 1


@pytest.mark.parametrize("purged", [False, True])
def test_a_model_that_was_deleted_is_registered_anew(
    alice: LocalCloud, pushed: str, purged: bool
) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    somebody().delete_model(first.ocid)
    if purged:
        alice.datascience.purge()
    second = ocimlpack.catalog_register(pushed, PROJECT)
    assert second.is_new
    assert second.ocid != first.ocid
    assert second.series == first.series
    assert [each.ocid for each in ocimlpack.catalog_list(PROJECT)] == [second.ocid]


def test_a_version_set_that_was_deleted_is_made_anew(alice: LocalCloud, pushed: str) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    somebody().delete_model(first.ocid)
    somebody().delete_model_version_set(next(iter(alice.datascience.sets)))
    second = ocimlpack.catalog_register(pushed, PROJECT)
    assert second.series == first.series
    assert len(alice.datascience.sets) == 2


def test_of_several_everybody_finds_the_oldest(alice: LocalCloud, pushed: str) -> None:
    """Somebody has copied a model with its tags."""
    first = ocimlpack.catalog_register(pushed, PROJECT)
    copy = {**only(alice), "id": "ocid1.datasciencemodel.oc1.iad.aaaa", "timeCreated": "2099-01-01"}
    alice.datascience.models[copy["id"]] = copy
    assert ocimlpack.catalog_register(pushed, PROJECT).ocid == first.ocid


# What is changed of a model that is there, and what never.


def test_what_others_have_added_stays(alice: LocalCloud, pushed: str) -> None:
    from oci.data_science.models import Metadata

    found = ocimlpack.catalog_register(pushed, PROJECT, metrics={"old": "1"})
    now = somebody().get_model(found.ocid).data
    reviewed = Metadata(key="reviewed", value="yes", category="Reports", description="by Bob")
    somebody().update_model(
        found.ocid,
        details(
            display_name="Our best",
            description="Theirs.",
            freeform_tags={**now.freeform_tags, "team": "search"},
            custom_metadata_list=[*now.custom_metadata_list, reviewed],
            defined_metadata_list=[Metadata(key="UseCaseType", value="ner")],
        ),
    )
    ocimlpack.catalog_register(pushed, PROJECT)
    stored = only(alice)
    assert (stored["displayName"], stored["description"]) == ("Our best", "Theirs.")
    assert stored["freeformTags"]["team"] == "search"
    assert metrics(stored)["old"] == "1"
    kept = next(each for each in stored["customMetadataList"] if each["key"] == "reviewed")
    assert (kept["value"], kept["category"], kept["description"]) == ("yes", "Reports", "by Bob")
    assert {each["key"]: each["value"] for each in stored["definedMetadataList"]} == {
        "UseCaseType": "ner",
        "Framework": "transformers",
    }


def test_what_is_asked_for_is_changed(alice: LocalCloud, pushed: str) -> None:
    ocimlpack.catalog_register(pushed, PROJECT, metrics={"old": "1"})
    again = ocimlpack.catalog_register(
        pushed, PROJECT, metrics={"new": "2"}, name="better", description="Ours.", revision="ffff"
    )
    assert (again.name, again.description) == ("better", "Ours.")
    stored = only(alice)
    assert "old" not in metrics(stored)
    assert metrics(stored)["new"] == "2"
    assert metrics(stored)["accuracy"] == "0.99"
    assert alice.datascience.provenance[again.ocid]["gitCommit"] == "ffff"
    assert alice.datascience.provenance[again.ocid]["repositoryUrl"].endswith("/team/minilm")


def test_a_change_that_comes_in_between_is_not_lost(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    gate = threading.Event()
    alice.server.fault("PUT", f"{API}/models/", hold=gate)

    def change() -> str:
        while alice.server.count("PUT", f"{API}/models/") < 1:
            time.sleep(0.01)
        now = somebody().get_model(found.ocid).data
        tags = {**now.freeform_tags, "team": "search"}
        somebody().update_model(found.ocid, details(freeform_tags=tags))
        gate.set()
        return ""

    at_once(change, lambda: ocimlpack.catalog_register(pushed, PROJECT, metrics={"f1": "0.9"}).ocid)
    assert only(alice)["freeformTags"]["team"] == "search"
    assert metrics(only(alice))["f1"] == "0.9"


def test_a_model_that_is_not_active_stays_so(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    somebody().deactivate_model(found.ocid)
    said: list[str] = []
    again = ocimlpack.catalog_register(pushed, PROJECT, report=warnings(said))
    assert (again.ocid, again.state) == (found.ocid, "INACTIVE")
    assert said == ["minilm:1.0 is not active in the catalog: somebody has deactivated it"]


# Version sets, from repositories and tags.


def test_a_tag_that_has_moved_labels_the_new_version(
    alice: LocalCloud, pushed: str, model: Path
) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    (model / "config.json").write_text("{}")
    ocimlpack.push(model, pushed)
    second = ocimlpack.catalog_register(pushed, PROJECT)
    assert first.ocid != second.ocid
    assert first.series == second.series
    assert second.label == "1.0"
    assert first.digest is not None
    old = ocimlpack.catalog_show(first.ocid)
    assert old.label == f"1.0-{first.digest[7:19]}"
    assert (old.name, second.name) == (f"minilm:1.0-{first.digest[7:19]}", "minilm:1.0")
    assert old.metadata["ociTags"] == "stable"
    # By its digest it can be registered again, and takes no label from anybody.
    third = ocimlpack.catalog_register(f"{pushed}@{first.digest}", PROJECT)
    assert third.ocid == first.ocid
    assert third.label == "stable"
    assert ocimlpack.catalog_show(second.ocid).label == "1.0"


def test_the_tag_that_was_named_is_the_label_among_however_many(
    alice: LocalCloud, pushed: str
) -> None:
    # A repository of its own: the registry behind the cloud outlives the test, with all its tags.
    place = pushed.replace("/minilm:", "/often-tagged:")
    ocimlpack.copy(pushed, place)
    ocimlpack.tag(place, *(f"build-{number}" for number in range(70)))
    found = ocimlpack.catalog_register(place, PROJECT)
    assert (found.name, found.label) == ("often-tagged:1.0", "1.0")
    assert found.metadata["ociTags"] == "1.0"


def test_the_same_digest_from_another_repository(alice: LocalCloud, pushed: str) -> None:
    """It is the same model; that it is in a version set can't be changed."""
    first = ocimlpack.catalog_register(pushed, PROJECT)
    copied = f"{alice.host}/{NAMESPACE}/prod/minilm:9"
    ocimlpack.copy(pushed, copied)
    second = ocimlpack.catalog_register(copied, PROJECT)
    assert second.ocid == first.ocid
    assert second.reference == f"{copied.rpartition(':')[0]}@{first.digest}"
    assert (second.series, second.label) == (first.series, "1.0")


def test_other_peoples_models_keep_their_labels(alice: LocalCloud, pushed: str) -> None:
    from oci.data_science.models import CreateModelDetails

    first = ocimlpack.catalog_register(pushed, PROJECT)
    somebody().delete_model(first.ocid)
    theirs = somebody().create_model(
        CreateModelDetails(
            compartment_id=COMPARTMENT,
            project_id=PROJECT,
            model_version_set_id=next(iter(alice.datascience.sets)),
            version_label="1.0",
        )
    )
    ocimlpack.catalog_register(pushed, PROJECT)
    assert somebody().get_model(theirs.data.id).data.version_label == "1.0"


def test_a_model_that_is_in_no_set_comes_into_one(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    for field in ("modelVersionSetId", "modelVersionSetName", "versionLabel"):
        del alice.datascience.models[found.ocid][field]
    again = ocimlpack.catalog_register(pushed, PROJECT)
    assert (again.series, again.label) == (found.series, "1.0")


def test_a_version_set_of_that_name_in_another_project(alice: LocalCloud, pushed: str) -> None:
    ocimlpack.catalog_register(pushed, OTHER_PROJECT)
    with pytest.raises(ConflictError, match="already, in another project or compartment") as caught:
        ocimlpack.catalog_register(pushed, PROJECT)
    assert caught.value.hint == "choose another with --version-set NAME"
    assert len(alice.datascience.models) == 1
    found = ocimlpack.catalog_register(pushed, PROJECT, version_set="minilm of ours")
    assert found.series == "minilm of ours"


# What does not fit, and who may not.


def test_a_card_with_more_results_than_there_is_room_for(alice: LocalCloud, model: Path) -> None:
    """Cards of embedding models have thousands."""
    results = "".join(
        f"  - dataset: {{type: mteb/dataset_{number}, config: en}}\n"
        f"    metrics: [{{type: accuracy, value: 0.{number}}}, {{type: f1, value: 0.{number}}}]\n"
        for number in range(800)
    )
    (model / "README.md").write_text(f"---\nmodel-index:\n- results:\n{results}---\n")
    place = f"{alice.host}/{NAMESPACE}/team/embedding:1.0"
    ocimlpack.push(model, place)
    said: list[str] = []
    found = ocimlpack.catalog_register(place, PROJECT, metrics={"ours": "1"}, report=warnings(said))
    kept = metrics(only(alice))
    assert kept["ours"] == "1"
    assert kept["mteb/dataset_0/en/accuracy"] == "0.0"
    assert MAX_METADATA - 500 < sum(map(size_of, only(alice)["customMetadataList"])) <= MAX_METADATA
    assert said == [f"no room for {1601 - len(kept)} of the results in the model's card"]
    again = ocimlpack.catalog_register(place, PROJECT)
    assert again.ocid == found.ocid
    assert metrics(only(alice)) == kept


def test_a_reference_is_never_cut(alice: LocalCloud, model: Path, tmp_path: Path) -> None:
    place = f"{alice.host}/{NAMESPACE}/{'/'.join(['long'] * 44)}:{'t' * 128}"
    ocimlpack.push(model, place, tags=[letter * 128 for letter in "abc"])
    found = ocimlpack.catalog_register(place, PROJECT)
    assert found.reference == f"{place.rpartition(':')[0]}@{found.digest}"
    assert len(found.reference) > 256
    assert found.metadata["ociTags"] == "t" * 128
    (listed,) = ocimlpack.catalog_list(PROJECT)
    assert (listed.digest, listed.reference) == (found.digest, None)
    assert ocimlpack.catalog_pull(found.ocid, tmp_path / "out").digest == found.digest


def test_tags_are_full(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    now = somebody().get_model(found.ocid).data
    digest = {"ocimlpack-digest": now.freeform_tags["ocimlpack-digest"]}
    others = {f"tag{number}": "x" for number in range(9)}
    somebody().update_model(found.ocid, details(freeform_tags={**digest, **others}))
    assert ocimlpack.catalog_register(pushed, PROJECT, name="other").ocid == found.ocid
    assert only(alice)["freeformTags"] == {**digest, **others}


@pytest.mark.parametrize("lacking", ["models", "version-sets", "projects"])
def test_no_permission(alice: LocalCloud, pushed: str, lacking: str) -> None:
    alice.alice.may_manage = alice.alice.may_read = EVERYTHING - {lacking}
    with pytest.raises(NotAllowedError, match="is not there, or not allowed to this identity"):
        ocimlpack.catalog_register(pushed, PROJECT)
    assert len(alice.datascience.models) == 0
    (record,) = [each for each in ocimlpack.audit().records if "catalog" in each.action]
    assert (record.result, record.digest) == ("not_allowed", ocimlpack.inspect(pushed).digest)


def test_a_service_that_keeps_failing_is_given_up(alice: LocalCloud, pushed: str) -> None:
    alice.server.fault("GET", f"{API}/models", times=None, **{**LATER, "status": 429})
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="keeps failing at the list of models in"):
        ocimlpack.catalog_register(pushed, PROJECT)
    assert time.monotonic() - began < 40
