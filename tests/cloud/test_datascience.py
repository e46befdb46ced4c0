"""The local catalog refuses what the real one does, by the real SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cloud.datascience import OTHER_PROJECT, PROJECT
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.cloud.test_catalog import details, somebody

Create = Callable[..., Any]


@pytest.fixture
def create(alice: LocalCloud) -> Create:
    from oci.data_science.models import CreateModelDetails

    def make(token: str | None = None, retry_strategy: Any = None, **fields: Any) -> Any:
        wanted = {"compartment_id": COMPARTMENT, "project_id": PROJECT, **fields}
        more = {"opc_retry_token": token} if token else {}
        return somebody().create_model(CreateModelDetails(**wanted), **more).data

    return make


def metadatum(key: str, value: str | None, **more: str) -> Any:
    from oci.data_science.models import Metadata

    return Metadata(key=key, value=value, **more)


def refused(
    status: int, code: str | None, work: Callable[..., Any], *args: Any, **options: Any
) -> None:
    from oci.exceptions import ServiceError
    from oci.retry import NoneRetryStrategy

    with pytest.raises(ServiceError) as caught:
        work(*args, **options, retry_strategy=NoneRetryStrategy())
    assert (caught.value.status, caught.value.code) == (status, code)


def version_set(name: str, retry_strategy: Any = None) -> Any:
    from oci.data_science.models import CreateModelVersionSetDetails

    wanted = CreateModelVersionSetDetails(compartment_id=COMPARTMENT, project_id=PROJECT, name=name)
    return somebody().create_model_version_set(wanted, retry_strategy=retry_strategy).data


def test_a_model_stays_in_its_version_set(create: Create) -> None:
    one, other = version_set("one"), version_set("other")
    made = create(model_version_set_id=one.id, version_label="1")
    assert (made.model_version_set_name, made.version_id) == ("one", 1)
    for again in (one, other):
        wanted = details(model_version_set_id=again.id)
        refused(400, "InvalidParameter", somebody().update_model, made.id, wanted)
    changed = somebody().update_model(made.id, details(version_label="2")).data
    assert (changed.model_version_set_id, changed.version_label) == (one.id, "2")
    joined = somebody().update_model(create().id, details(model_version_set_id=one.id)).data
    assert (joined.model_version_set_name, joined.version_id) == ("one", 2)
    refused(409, "Conflict", version_set, "one")
    refused(409, "IncorrectState", somebody().delete_model_version_set, one.id)
    somebody().delete_model_version_set(other.id)
    refused(404, "NotAuthorizedOrNotFound", somebody().get_model_version_set, other.id)


def test_an_artifact_is_written_once(create: Create) -> None:
    made = create()
    name = 'attachment; filename="x.zip"'
    refused(404, None, somebody().head_model_artifact, made.id)  # there is no body to say more
    somebody().create_model_artifact(made.id, b"one", content_disposition=name)
    assert somebody().get_model_artifact_content(made.id).data.content == b"one"
    assert somebody().head_model_artifact(made.id).headers["content-length"] == "3"
    refused(409, "Conflict", somebody().create_model_artifact, made.id, b"two")


def test_a_retry_token_makes_nothing_twice(alice: LocalCloud, create: Create) -> None:
    made = create("token", display_name="a")
    assert create("token", display_name="a").id == made.id
    refused(409, "InvalidatedRetryToken", create, "token", display_name="b")
    somebody().update_model(made.id, details(display_name="c"))
    refused(409, "InvalidatedRetryToken", create, "token", display_name="a")
    alice.datascience.forget_tokens()
    assert create("token", display_name="a").id != made.id
    assert create().id != create().id


def test_what_was_changed_since_is_not_written_over(create: Create) -> None:
    made = create()
    etag = somebody().get_model(made.id).headers["etag"]
    somebody().update_model(made.id, details(display_name="a"), if_match=etag)
    wanted = details(display_name="b")
    refused(412, "NoEtagMatch", somebody().update_model, made.id, wanted, if_match=etag)
    assert somebody().get_model(made.id).data.display_name == "a"


def test_models_are_turned_off_and_deleted(create: Create) -> None:
    made = create()
    assert somebody().deactivate_model(made.id).data.lifecycle_state == "INACTIVE"
    assert somebody().activate_model(made.id).data.lifecycle_state == "ACTIVE"
    somebody().delete_model(made.id)
    assert somebody().get_model(made.id).data.lifecycle_state == "DELETED"
    assert somebody().list_models(COMPARTMENT, lifecycle_state="ACTIVE").data == []
    refused(409, "IncorrectState", somebody().update_model, made.id, details(display_name="x"))


def test_files_are_attached_to_metadata(create: Create) -> None:
    made = create(custom_metadata_list=[metadatum("card", "README.md")])
    attach = somebody().create_model_custom_metadatum_artifact
    refused(404, "NotAuthorizedOrNotFound", attach, made.id, "other", b"x")
    attach(made.id, "card", b"# One")
    refused(409, "Conflict", attach, made.id, "card", b"# Two")
    somebody().update_model_custom_metadatum_artifact(made.id, "card", b"# Three")
    read = somebody().get_model_custom_metadatum_artifact_content
    assert read(made.id, "card").data.content == b"# Three"
    assert somebody().get_model(made.id).data.custom_metadata_list[0].has_artifact
    somebody().delete_model_custom_metadatum_artifact(made.id, "card")
    refused(404, "NotAuthorizedOrNotFound", read, made.id, "card")


@pytest.mark.parametrize(
    "fields",
    [
        {"display_name": "x" * 256},
        {"freeform_tags": {f"tag{number}": "" for number in range(11)}},
        {"freeform_tags": {"tag": "x" * 257}},
        {"custom_metadata_list": [("a", "x" * 16_001)]},
        {"custom_metadata_list": [(f"key{number}", "x" * 8000) for number in range(3)]},
        {"custom_metadata_list": [("a", "1"), ("a", "2")]},
        {"custom_metadata_list": [("a", "1", "Nonsense")]},
        {"defined_metadata_list": [("Framework", "nonsense")]},
        {"defined_metadata_list": [("Nonsense", "x")]},
        {"defined_metadata_list": [("UseCaseType", "ner", "Other")]},
    ],
)
def test_what_has_no_room_or_no_sense(create: Create, fields: dict[str, Any]) -> None:
    for name in ("custom_metadata_list", "defined_metadata_list"):
        fields = {
            key: [
                metadatum(*each[:2], **({"category": each[2]} if len(each) > 2 else {}))
                for each in value
            ]
            if key == name
            else value
            for key, value in fields.items()
        }
    refused(400, "InvalidParameter", create, **fields)


def test_places_that_are_not_there(create: Create) -> None:
    code = "RelatedResourceNotAuthorizedOrNotFound"
    refused(400, code, create, project_id=PROJECT + "x")
    refused(400, code, create, compartment_id=COMPARTMENT + "x")
    refused(404, "NotAuthorizedOrNotFound", somebody().list_models, COMPARTMENT + "x")
    refused(404, "NotAuthorizedOrNotFound", somebody().get_project, PROJECT + "x")
    assert somebody().get_project(OTHER_PROJECT).data.id == OTHER_PROJECT
    assert [each.id for each in somebody().list_projects(COMPARTMENT).data] == [PROJECT]
