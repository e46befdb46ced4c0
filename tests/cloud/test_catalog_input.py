"""What people give to `catalog register` and `catalog list`, and what is done where it can't be."""

from __future__ import annotations

from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.errors import InputError
from ocimlpack.progress import Event, Warned
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import Cli
from tests.cloud.datascience import PROJECT
from tests.cloud.local import LocalCloud


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("--name", "name"),
        ("--description", "description"),
        ("--version-set", "version set"),
        ("--source", "source"),
        ("--revision", "revision"),
    ],
)
def test_what_is_empty_is_not_left_out(
    alice: LocalCloud, pushed: str, cli: Cli, option: str, what: str
) -> None:
    ran = cli("catalog", "register", pushed, "--project", PROJECT, option, " ")
    assert ran.code == 2
    assert ran.sentence == f"ocimlpack: the {what} is empty"
    assert len(alice.datascience.models) == 0


@pytest.mark.parametrize("command", [("register",), ("list",), ("list", "--project", PROJECT)])
def test_a_compartment_that_is_none(
    alice: LocalCloud, pushed: str, cli: Cli, command: tuple[str, ...]
) -> None:
    alice.server.forget()
    more = (pushed, "--project", PROJECT) if command[0] == "register" else ()
    ran = cli("catalog", *command, *more, "--compartment", "models")
    assert ran.code == 2
    assert ran.sentence == "ocimlpack: not the OCID of a compartment: 'models'"
    assert alice.server.count("GET", "/20190101/") == 0


def test_a_compartment_of_the_environment_that_is_none(
    alice: LocalCloud, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIMLPACK_COMPARTMENT", "models")
    with pytest.raises(InputError, match="not the OCID of a compartment: 'models'"):
        ocimlpack.catalog_list()


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("https://oauth2:s3cret@git.example.com/team/m", "https://git.example.com/team/m"),
        ("HTTPS://s3cret@git.example.com/team/m", "HTTPS://git.example.com/team/m"),
        ("https://git.example.com/@team/m", "https://git.example.com/@team/m"),
        ("ssh://git@git.example.com/team/m", "ssh://git@git.example.com/team/m"),
        ("git@git.example.com:team/m", "git@git.example.com:team/m"),
    ],
)
def test_a_token_in_the_sources_address_is_left_out(
    alice: LocalCloud, pushed: str, source: str, kept: str
) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT, source=source)
    assert alice.datascience.provenance[found.ocid]["repositoryUrl"] == kept


def test_a_token_that_the_artifact_has_is_left_out_as_well(
    alice: LocalCloud, pushed: str, model: Path
) -> None:
    place = pushed.replace(":1.0", ":2.0")
    ocimlpack.push(
        model,
        place,
        annotations={"org.opencontainers.image.source": "https://s3cret@git.example.com/team/m"},
    )
    found = ocimlpack.catalog_register(place, PROJECT)
    provenance = alice.datascience.provenance[found.ocid]
    assert provenance["repositoryUrl"] == "https://git.example.com/team/m"


def test_a_model_that_stays_in_its_version_set_says_so(
    alice: LocalCloud, pushed: str, cli: Cli
) -> None:
    """And no set is made that nothing would be in."""
    found = ocimlpack.catalog_register(pushed, PROJECT)
    ran = cli("catalog", "register", pushed, "--project", PROJECT, "--version-set", "ours")
    assert ran.code == 0
    assert ran.sentence == (
        f"warning: minilm:1.0 stays in the version set {found.series}, which a model can't leave"
    )
    assert [each["name"] for each in alice.datascience.sets.values()] == [found.series]


def test_a_model_that_another_repository_has_too_keeps_label_and_set(
    alice: LocalCloud, pushed: str
) -> None:
    found = ocimlpack.catalog_register(pushed, PROJECT)
    copied = f"{alice.host}/{NAMESPACE}/prod/minilm:9"
    ocimlpack.copy(pushed, copied)
    events: list[Event] = []
    again = ocimlpack.catalog_register(copied, PROJECT, report=events.append)
    assert (again.series, again.label) == (found.series, "1.0")
    assert any(
        "stays in the version set" in each.message for each in events if isinstance(each, Warned)
    )
    assert len(alice.datascience.sets) == 1
