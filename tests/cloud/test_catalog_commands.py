"""What the catalog has: listed, shown, and pulled by the digest that stands there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.errors import (
    InputError,
    InvalidContentError,
    NotAllowedError,
    NotFoundError,
    UnsupportedError,
)
from tests.cloud.cloud import NAMESPACE, REGION
from tests.cloud.conftest import Cli, read_tree
from tests.cloud.datascience import API, PROJECT
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, EVERYTHING
from tests.cloud.test_catalog import details, only, somebody, warnings


def change(cloud: LocalCloud, key: str, value: str | None) -> None:
    """Somebody writes over a piece of the only model's metadata, or removes it."""
    from oci.data_science.models import Metadata

    now = somebody().get_model(only(cloud)["id"]).data
    kept = [each for each in now.custom_metadata_list if each.key != key]
    if value is not None:
        kept.append(Metadata(key=key, value=value, category="Other"))
    somebody().update_model(now.id, details(custom_metadata_list=kept))


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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ociDigest", f"sha256:{'0' * 64}", "names two digests"),
        ("ociReference", "{pushed}", "names two digests"),
        ("ociReference", "{pushed}@sha256:" + "0" * 64, "names two digests"),
        ("ociReference", "oci:/etc@{digest}", "names no registry"),
        ("ociReference", "./folder", "names no registry"),
        ("ociReference", "https://example.com/x", "names no registry"),
        ("ociReference", "a b", "names no registry"),
    ],
)
def test_metadata_that_somebody_has_changed_is_not_believed(
    alice: LocalCloud, pushed: str, tmp_path: Path, key: str, value: str, message: str
) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    change(alice, key, value.format(pushed=pushed, digest=found.digest))
    with pytest.raises(InvalidContentError, match=message):
        ocimlpack.catalog_pull(found.ocid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["ociDigest", "ociReference"])
def test_a_model_of_others_points_nowhere(
    alice: LocalCloud, pushed: str, cli: Cli, key: str
) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    change(alice, key, None)
    ran = cli("catalog", "pull", found.ocid)
    assert ran.code == 2
    assert ran.stderr.splitlines() == [
        "ocimlpack: the model minilm:1.0 points at no registry: it was not registered by ocimlpack",
        "hint: ocimlpack catalog list shows those that were",
    ]


def test_a_model_without_any_metadata(alice: LocalCloud, cli: Cli) -> None:
    from oci.data_science.models import CreateModelDetails

    made = somebody().create_model(
        CreateModelDetails(compartment_id=COMPARTMENT, project_id=PROJECT, display_name="theirs")
    )
    shown = cli("catalog", "show", made.data.id).stdout
    assert "Reference: none: it was not registered by ocimlpack" in " ".join(shown.split())
    listed = cli("catalog", "list", "--project", PROJECT).stdout.splitlines()
    assert listed[1].split()[:4] == ["theirs", "-", "-", "active"]


def test_a_model_that_is_not_active_is_pulled_with_a_warning(
    alice: LocalCloud, pushed: str, tmp_path: Path
) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    somebody().deactivate_model(found.ocid)
    said: list[str] = []
    ocimlpack.catalog_pull(found.ocid, tmp_path / "out", report=warnings(said))
    assert said == ["minilm:1.0 is not active in the catalog: somebody has deactivated it"]


def test_a_model_that_was_deleted_is_not_there(
    alice: LocalCloud, pushed: str, tmp_path: Path
) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    somebody().delete_model(found.ocid)
    assert ocimlpack.catalog_list(PROJECT) == ()
    for work in (ocimlpack.catalog_show, ocimlpack.catalog_pull):
        with pytest.raises(NotFoundError, match="was deleted"):
            work(found.ocid)
    alice.datascience.purge()
    with pytest.raises(NotFoundError, match="is not there, or not allowed to this identity"):
        ocimlpack.catalog_show(found.ocid)


def test_a_list_takes_one_request_a_page(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    alice.server.forget()
    (listed,) = ocimlpack.catalog_list(compartment=COMPARTMENT)
    assert (listed.ocid, listed.digest) == (found.ocid, found.digest)
    assert (listed.reference, listed.label) == (found.reference, "1.0")
    assert alice.server.count("", API) == 1
    assert [each.ocid for each in ocimlpack.catalog_list()] == [found.ocid]
    assert ocimlpack.catalog_list(PROJECT)[0] == listed


def test_the_newest_is_first(alice: LocalCloud, pushed: str, model: Path) -> None:
    found = []
    for number in range(3):
        (model / "config.json").write_text(json.dumps(number))
        ocimlpack.push(model, pushed)
        found.append(ocimlpack.catalog_register(pushed, PROJECT).ocid)
        stored = alice.datascience.models[found[-1]]
        stored["timeCreated"] = f"2026-01-0{number + 1}T00:00:00.000Z"
    assert [each.ocid for each in ocimlpack.catalog_list(PROJECT)] == found[::-1]


def test_the_commands(
    alice: LocalCloud, pushed: str, cli: Cli, tmp_path: Path, model: Path
) -> None:
    ran = cli("catalog", "register", f"ocir://{REGION}/team/minilm:1.0", "--project", PROJECT,
              "--metric", "f1=0.9", "--source", "https://git.example.com/x")  # fmt: skip
    assert ran.code == 0, ran.stderr
    ocid = ran.stdout.strip()
    assert ran.stderr == "registered: minilm:1.0\n"
    again = cli("catalog", "register", pushed, "--project", PROJECT)
    assert again.stdout.strip() == ocid
    assert again.stderr == "brought up to date: minilm:1.0\n"
    listed = cli("catalog", "list", "--project", PROJECT).stdout.splitlines()
    assert listed[0].split() == ["NAME", "LABEL", "DIGEST", "STATE", "OCID"]
    assert ocid in listed[1]
    assert len(listed) == 2
    shown = cli("catalog", "show", ocid).stdout
    assert f"Reference: {pushed.rpartition(':')[0]}@sha256:" in " ".join(shown.split())
    document = json.loads(cli("catalog", "show", ocid, "--json").stdout)
    assert (document["label"], document["metadata"]["metric.f1"]) == ("1.0", "0.9")
    pulled = cli("catalog", "pull", ocid, "-o", tmp_path / "out", "--include", "*.json")
    assert pulled.stdout.strip() == str(tmp_path / "out")
    assert list(read_tree(tmp_path / "out")) == ["config.json"]
    actions = [(each.action, each.identity) for each in ocimlpack.audit().records]
    assert actions.count(("catalog register", "api_key")) == 2


def test_an_empty_catalog(alice: LocalCloud, cli: Cli) -> None:
    ran = cli("catalog", "list", "--project", PROJECT)
    assert (ran.code, ran.stdout) == (0, "")
    assert ran.stderr == "no models that this identity may see\n"
    assert json.loads(cli("catalog", "list", "--project", PROJECT, "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "ocimlpack: Missing command.\nhint: see `ocimlpack catalog --help`\n"),
        (("register", "{pushed}"), 2, "Missing option '--project'"),
        (("register", "{pushed}", "--project", PROJECT, "--metric", "f1"), 2, "KEY=VALUE"),
        (("register", "{pushed}", "--project", PROJECT, "--metric", "f1= "), 2, "a name and a"),
        (
            ("register", "{pushed}", "--project", PROJECT, "--metric", f"f1={'9' * 256}"),
            2,
            "the metric f1 is too long: the catalog takes 255 characters",
        ),
        (
            ("register", "{pushed}", "--project", PROJECT, "--name", "n" * 256),
            2,
            "the name has 256 characters; the catalog takes 255",
        ),
        (
            ("register", "{pushed}", "--project", PROJECT, "--version-set", "n" * 256),
            2,
            "the version set's name has 256 characters",
        ),
        (("register", "{pushed}", "--project", COMPARTMENT), 2, "not the OCID of a Data Science p"),
        (("register", "{pushed}x", "--project", PROJECT), 3, "1.0x"),
        (("register", "{layout}", "--project", PROJECT), 2, "is in no registry"),
        (("register", "{folder}", "--project", PROJECT), 2, "is in no registry"),
        (("list", "--project", "x"), 2, "not the OCID of a Data Science project: 'x'"),
        (("list", "--compartment", "x"), 2, "not the OCID of a compartment: 'x'"),
        (("list", "--compartment", f"{COMPARTMENT}x"), 4, "is not there, or not allowed"),
        (("show", PROJECT), 2, "not the OCID of a Data Science model"),
        (("pull", "minilm:1.0"), 2, "not the OCID of a Data Science model: 'minilm:1.0'"),
        (("show", "ocid1.datasciencemodel.oc1.iad.x"), 3, "is not there, or not allowed"),
    ],
)
def test_what_makes_no_sense(
    alice: LocalCloud,
    pushed: str,
    tmp_path: Path,
    model: Path,
    cli: Cli,
    arguments: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    layout = f"oci:{tmp_path / 'layout'}:1.0"
    ocimlpack.pack(model, layout)
    places = {"pushed": pushed, "layout": layout, "folder": str(model)}
    ran = cli("catalog", *(each.format(**places) for each in arguments))
    assert ran.code == code, ran.stderr
    assert sentence in ran.stderr
    assert ran.stdout == ""
    assert len(alice.datascience.models) == 0
    assert len(alice.datascience.sets) == 0


def test_metrics_that_are_too_many(alice: LocalCloud, pushed: str) -> None:
    many = {f"name{number:0100}": "9" * 200 for number in range(200)}
    with pytest.raises(InputError, match=r"the metadata is [\d,]+ bytes more than the catalog"):
        ocimlpack.catalog_register(pushed, PROJECT, metrics=many)
    assert len(alice.datascience.models) == 0


def test_without_a_project_a_compartment_has_to_be_settled(
    alice: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="in which project or compartment"):
        ocimlpack.catalog_list()
    monkeypatch.setenv("OCIMLPACK_COMPARTMENT", COMPARTMENT)
    assert ocimlpack.catalog_list() == ()


def test_who_may_not_read(alice: LocalCloud, pushed: str) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    alice.alice.may_manage = alice.alice.may_read = EVERYTHING - {"models"}
    with pytest.raises(NotAllowedError, match=f"the list of models in {COMPARTMENT} is not there"):
        ocimlpack.catalog_list(PROJECT)
    with pytest.raises(NotFoundError, match="not there, or not allowed"):
        ocimlpack.catalog_show(found.ocid)


@pytest.mark.parametrize(
    "command",
    [
        ("list", "--compartment", COMPARTMENT),
        ("show", "ocid1.datasciencemodel.oc1.iad.x"),
        ("pull", "ocid1.datasciencemodel.oc1.iad.x"),
        ("register", "{host}/team/minilm:1.0", "--project", PROJECT),
    ],
    ids=lambda command: command[0],
)
def test_without_the_sdk_one_line_says_how_to_get_it(
    alice: LocalCloud,
    pushed: str,
    monkeypatch: pytest.MonkeyPatch,
    cli: Cli,
    command: tuple[str, ...],
) -> None:
    for name in [name for name in sys.modules if name == "oci" or name.startswith("oci.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "oci", None)
    ran = cli("catalog", *(each.format(host=f"{alice.host}/{NAMESPACE}") for each in command))
    assert ran.code == UnsupportedError.exit_code
    assert ran.stderr.splitlines() == [
        "ocimlpack: this needs Oracle's SDK, which is not installed",
        "hint: pip install 'ocimlpack[oci]'",
    ]


def test_the_region_is_the_one_that_the_ocid_names(
    alice: LocalCloud, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocimlpack.cloud.signers import Identity

    asked: list[str | None] = []
    real = Identity.client

    def client(self: Identity, path: str, region: str | None = None) -> Any:
        asked.append(region)
        return real(self, path, region)

    monkeypatch.setattr(Identity, "client", client)
    for ocid in (
        "ocid1.datasciencemodel.oc1.phx.x",
        "ocid1.datasciencemodel.oc1.eu-madrid-1.x",
        "ocid1.datasciencemodel.oc1..x",
        "ocid1.datasciencemodel.oc1.nowhere.x",
    ):
        with pytest.raises(NotFoundError):
            ocimlpack.catalog_show(ocid)
    with pytest.raises(NotFoundError):
        ocimlpack.catalog_show("ocid1.datasciencemodel.oc1.phx.x", region="eu-frankfurt-1")
    assert asked == ["us-phoenix-1", "eu-madrid-1", None, None, "eu-frankfurt-1"]
