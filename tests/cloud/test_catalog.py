"""The model catalog: one model a digest, whatever goes wrong, and pulled by that digest."""

from __future__ import annotations

import io
import json
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.cloud.registration import archive
from ocimlpack.errors import (
    InputError,
    InvalidContentError,
    NotAllowedError,
    NotFoundError,
    UnsupportedError,
)
from tests.cloud.cloud import NAMESPACE, REGION
from tests.cloud.conftest import Cli, read_tree
from tests.cloud.datascience import PROJECT
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT

CARD = """---
license: apache-2.0
model-index:
- name: minilm
  results:
  - dataset: {type: squad}
    metrics:
    - {type: f1, value: 0.91}
    - {type: exact, value: 0.8}
  - metrics:
    - {name: accuracy, value: 0.99}
---
# MiniLM
"""


@pytest.fixture
def pushed(alice: LocalCloud, model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model in the registry; its reference by tag."""
    monkeypatch.setenv("OCIMLPACK_COMPARTMENT", COMPARTMENT)
    (model / "README.md").write_text(CARD)
    place = f"{alice.host}/{NAMESPACE}/team/minilm:1.0"
    ocimlpack.push(
        model,
        place,
        tags=["stable"],
        annotations={
            "org.opencontainers.image.source": "https://git.example.com/team/minilm",
            "org.opencontainers.image.revision": "0123abcd",
            "org.opencontainers.image.description": "A small model.",
        },
    )
    return place


def only(cloud: LocalCloud) -> dict[str, Any]:
    """The only model in the catalog."""
    (found,) = [
        each for each in cloud.datascience.models.values() if each["lifecycleState"] != "DELETED"
    ]
    return found


def metadata(model: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in model["customMetadataList"]}


def test_a_model_is_registered_with_all_that_is_known_of_it(
    alice: LocalCloud, pushed: str, model: Path
) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT, metrics={"latency_ms": "12"})
    assert found.is_new
    digest = ocimlpack.inspect(pushed).digest
    assert (found.name, found.digest) == ("minilm:1.0", digest)
    assert found.reference == f"{pushed.rpartition(':')[0]}@{digest}"
    assert (found.series, found.label) == (f"{NAMESPACE}/team/minilm", "1.0")
    stored = only(alice)
    assert (stored["compartmentId"], stored["projectId"]) == (COMPARTMENT, PROJECT)
    assert stored["description"] == "A small model."
    said = metadata(stored)
    assert said["ociArtifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert said["ociTags"] == "1.0,stable"
    assert int(said["ociSizeInBytes"]) > 3_000_000
    assert {key: value for key, value in said.items() if key.startswith("metric.")} == {
        "metric.squad/f1": "0.91",
        "metric.squad/exact": "0.8",
        "metric.accuracy": "0.99",
        "metric.latency_ms": "12",
    }
    assert alice.datascience.provenance[found.ocid]["gitCommit"] == "0123abcd"
    kept = zipfile.ZipFile(io.BytesIO(alice.datascience.artifacts[found.ocid]))
    assert sorted(kept.namelist()) == ["README.md", "config.json", "manifest.json"]
    assert kept.read("README.md") == CARD.encode()
    assert json.loads(kept.read("manifest.json"))["artifactType"] == said["ociArtifactType"]


def test_registering_the_same_digest_again_leaves_one_model(alice: LocalCloud, pushed: str) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    alice.server.forget()
    second = ocimlpack.catalog_register(pushed.replace(":1.0", ":stable"), PROJECT)
    third = ocimlpack.catalog_register(pushed, PROJECT)
    assert first.ocid == second.ocid == third.ocid
    assert (first.is_new, second.is_new) == (True, False)
    assert alice.server.count("POST", "/models$") == 0
    assert len(alice.datascience.models) == 1
    assert len(alice.datascience.sets) == 1


def test_nothing_is_written_where_nothing_has_changed(alice: LocalCloud, pushed: str) -> None:
    ocimlpack.catalog_register(pushed, PROJECT)
    alice.server.forget()
    ocimlpack.catalog_register(pushed, PROJECT)
    assert alice.server.count("POST", "/20190101/") == 0
    assert alice.server.count("PUT", "/20190101/") == 0


def test_two_at_once_leave_one_model(alice: LocalCloud, pushed: str) -> None:
    found: list[str] = []
    gate = threading.Barrier(2)

    def register() -> None:
        gate.wait()
        found.append(ocimlpack.catalog_register(pushed, PROJECT).ocid)

    threads = [threading.Thread(target=register) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert set(found) == {only(alice)["id"]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models$"),
        ("POST", "/modelVersionSets"),
        ("PUT", "/models/"),
        ("POST", "/artifact"),
        ("POST", "/provenance"),
        ("GET", "/models"),
    ],
)
@pytest.mark.parametrize("fault", [{"drop": "after"}, {"status": 500}, {"status": 429}])
def test_what_fails_in_passing_leaves_one_model(
    alice: LocalCloud, pushed: str, method: str, path: str, fault: dict[str, Any]
) -> None:
    body = b'{"code": "InternalServerError", "message": "later"}'
    headers = {"Content-Type": "application/json"} if "status" in fault else {}
    alice.server.fault(
        method, f"/20190101.*{path}", **fault, body=body if headers else b"", headers=headers
    )
    ocimlpack.catalog_register(pushed, PROJECT)
    model = only(alice)
    assert len(alice.datascience.sets) == 1
    assert model["versionLabel"] == "1.0"
    assert model["id"] in alice.datascience.artifacts
    assert model["id"] in alice.datascience.provenance


def test_what_others_have_added_stays(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT, metrics={"old": "1"})
    stored = only(alice)
    stored["freeformTags"]["team"] = "search"
    stored["customMetadataList"].append({"key": "reviewed", "value": "yes", "category": "Other"})
    ocimlpack.catalog_register(pushed, PROJECT, metrics={"new": "2"}, name="better")
    stored = only(alice)
    assert stored["id"] == found.ocid
    assert stored["displayName"] == "better"
    assert stored["freeformTags"]["team"] == "search"
    said = metadata(stored)
    assert said["reviewed"] == "yes"
    assert "metric.old" not in said
    assert said["metric.new"] == "2"


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


def test_a_model_that_was_deleted_can_be_registered_anew(alice: LocalCloud, pushed: str) -> None:
    first = ocimlpack.catalog_register(pushed, PROJECT)
    alice.datascience.models[first.ocid]["lifecycleState"] = "DELETED"
    second = ocimlpack.catalog_register(pushed, PROJECT)
    assert second.is_new
    assert second.ocid != first.ocid
    assert [each.ocid for each in ocimlpack.catalog_list()] == [second.ocid]
    with pytest.raises(NotFoundError, match="deleted"):
        ocimlpack.catalog_show(first.ocid)


def test_a_model_is_pulled_by_the_digest_that_stands_there(
    alice: LocalCloud, pushed: str, model: Path, tmp_path: Path
) -> None:
    before = read_tree(model)
    found = ocimlpack.catalog_register(pushed, PROJECT)
    (model / "config.json").write_text("{}")
    ocimlpack.push(model, pushed)  # the tag has moved since
    pulled = ocimlpack.catalog_pull(found.ocid, tmp_path / "out")
    assert pulled.digest == found.digest
    assert read_tree(tmp_path / "out") == before


def test_metadata_that_somebody_has_changed_is_not_believed(
    alice: LocalCloud, pushed: str, tmp_path: Path
) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    for each in only(alice)["customMetadataList"]:
        if each["key"] == "ociDigest":
            each["value"] = f"sha256:{'0' * 64}"
    with pytest.raises(InvalidContentError, match="two digests"):
        ocimlpack.catalog_pull(found.ocid, tmp_path / "out")


def test_a_model_of_others_points_nowhere(alice: LocalCloud, pushed: str, cli: Cli) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    only(alice)["customMetadataList"] = []
    ran = cli("catalog", "pull", found.ocid)
    assert ran.code == 2
    assert "was not registered by ocimlpack" in ran.sentence
    shown = cli("catalog", "show", found.ocid)
    assert "none: it was not registered by ocimlpack" in shown.stdout


def test_the_commands(
    alice: LocalCloud, pushed: str, cli: Cli, tmp_path: Path, model: Path
) -> None:
    ran = cli("catalog", "register", f"ocir://{REGION}/team/minilm:1.0", "--project", PROJECT,
              "--metric", "f1=0.9")  # fmt: skip
    assert ran.code == 0, ran.stderr
    ocid = ran.stdout.strip()
    assert "registered: minilm:1.0" in ran.stderr
    again = cli("catalog", "register", pushed, "--project", PROJECT)
    assert again.stdout.strip() == ocid
    assert "brought up to date" in again.stderr
    listed = cli("catalog", "list", "--project", PROJECT).stdout.splitlines()
    assert len(listed) == 2
    assert ocid in listed[1]
    shown = cli("catalog", "show", ocid).stdout
    assert pushed.rpartition(":")[0] in shown
    assert json.loads(cli("catalog", "show", ocid, "--json").stdout)["label"] == "1.0"
    pulled = cli("catalog", "pull", ocid, "-o", tmp_path / "out")
    assert pulled.stdout.strip() == str(tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)
    actions = [(each.action, each.identity) for each in ocimlpack.audit().records]
    assert ("catalog register", "api_key") in actions


def test_a_project_that_is_not_there(alice: LocalCloud, pushed: str) -> None:
    absent = PROJECT.replace("local", "other")
    with pytest.raises(NotAllowedError, match=f"the project {absent} is not there, or not allowed"):
        ocimlpack.catalog_register(pushed, absent)
    with pytest.raises(NotAllowedError, match="not there, or not allowed"):
        ocimlpack.catalog_register(pushed, absent, compartment=COMPARTMENT)
    with pytest.raises(InputError, match="not the OCID of a Data Science project: 'nonsense'"):
        ocimlpack.catalog_register(pushed, "nonsense")


def test_no_permission(alice: LocalCloud, pushed: str) -> None:
    alice.alice.may_manage = frozenset({"repos"})
    with pytest.raises(NotAllowedError):
        ocimlpack.catalog_register(pushed, PROJECT)
    assert len(alice.datascience.models) == 0
    (record,) = [each for each in ocimlpack.audit().records if "catalog" in each.action]
    assert record.result == "not_allowed"


def test_what_makes_no_sense(
    alice: LocalCloud, pushed: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ocimlpack.pack(model, f"oci:{tmp_path / 'layout'}:1.0")
    with pytest.raises(InputError, match="is in no registry"):
        ocimlpack.catalog_register(f"oci:{tmp_path / 'layout'}:1.0", PROJECT)
    with pytest.raises(InputError, match="not the OCID of a Data Science model"):
        ocimlpack.catalog_show("ocid1.user.oc1..x")
    with pytest.raises(InputError, match="metadata"):
        ocimlpack.catalog_register(
            pushed, PROJECT, metrics={f"name{number:0100}": "9" * 200 for number in range(200)}
        )
    monkeypatch.delenv("OCIMLPACK_COMPARTMENT")
    with pytest.raises(InputError, match="in which project or compartment"):
        ocimlpack.catalog_list()


def test_without_the_sdk_one_line_says_how_to_get_it(
    alice: LocalCloud, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    for name in [name for name in sys.modules if name == "oci" or name.startswith("oci.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "oci", None)
    with pytest.raises(UnsupportedError, match="which is not installed"):
        ocimlpack.catalog_list(compartment=COMPARTMENT)
    ran = cli("ocir", "list")
    assert ran.code == 8
    assert ran.stderr.splitlines()[1] == "hint: pip install 'ocimlpack[oci]'"


def test_the_same_content_makes_the_same_archive() -> None:
    files = {"b": b"2", "a": b"1" * 1000}
    assert archive(files) == archive(dict(reversed(files.items())))
