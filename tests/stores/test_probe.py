"""What a registry can do is found out by trying it, and nothing of that stays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ocimlpack.spec.manifest import Manifest
from ocimlpack.stores import home, trials
from ocimlpack.stores._oras import Session
from ocimlpack.stores.learned import Host, Limits
from ocimlpack.stores.probe import Probed, probe, probe_host
from tests.scripted.auth import PASSWORD, USERNAME
from tests.scripted.fixtures import REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

ALL = {
    "list of tags": "yes",
    "parts of blobs": "yes",
    "list of referrers": "yes",
    "uploads": "yes",
    "uploads in parts": "yes",
    "uploads that go on": "yes",
    "uploads of unknown length": "yes",
    "mounts of blobs": "yes",
    "deletion of manifests": "yes",
    "deletion of tags": "yes",
    "artifactType": "yes",
    "configs of models": "yes",
    "layers of models": "yes",
}
WRITING = list(ALL)[3:]
IMAGES = r"application/vnd\.oci\.image\."


@pytest.fixture
def able(scripted: ScriptedRegistry) -> ScriptedRegistry:
    """A registry that can do all of it, with a model."""
    scripted.quirks.referrers = True
    scripted.content.add_artifact(REPOSITORY, b"some weights of a model")
    return scripted


@pytest.fixture
def before(able: ScriptedRegistry) -> Callable[[], bool]:
    """Tells whether the registry holds what it held."""
    held = copy.deepcopy(able.content.repositories)

    def is_as_it_was() -> bool:
        return able.content.repositories == held and able.content.uploads == {}

    return is_as_it_was


def answers(probed: Probed) -> dict[str, str]:
    return {ability.name: ability.answer for ability in probed.abilities}


def detail(probed: Probed, name: str) -> str:
    return next(each.detail for each in probed.abilities if each.name == name)


def limits(registry: ScriptedRegistry) -> Limits:
    return Host(home.hosts(), registry.host).limits


def test_what_can_be_done_is_found_and_nothing_stays(
    able: ScriptedRegistry, session: Session, before: Callable[[], bool]
) -> None:
    probed = probe(session, REPOSITORY, "v1")
    assert answers(probed) == ALL
    assert probed.exists
    assert (probed.absent, probed.left, probed.errors) == ("", (), ())
    assert before()


@pytest.mark.parametrize(
    ("quirks", "missing"),
    [
        ({"ranges": "ignored"}, {"parts of blobs"}),
        ({"ranges": "refused"}, {"parts of blobs"}),
        ({"ranges": "wrong offset"}, {"parts of blobs"}),
        ({"ranges": "multipart"}, {"parts of blobs"}),
        ({"referrers": False}, {"list of referrers"}),
        ({"patch": 405}, {"uploads in parts"}),
        ({"patch": 501}, {"uploads in parts"}),
        ({"patch": 404}, {"uploads in parts"}),
        ({"stream": 411}, {"uploads of unknown length"}),
        ({"progress": False}, {"uploads that go on"}),
        ({"takes": 5}, {"uploads that go on", "uploads in parts"}),
        ({"mount": 202}, {"mounts of blobs"}),
        ({"mount": 405}, {"mounts of blobs"}),
        ({"deletion": 405, "untag": 405}, {"deletion of manifests", "deletion of tags"}),
        ({"untag": 400}, {"deletion of tags"}),
        ({"artifact_type": False}, {"artifactType"}),
        ({"types": IMAGES}, {"configs of models", "layers of models"}),
        ({"types": rf"{IMAGES}|.*\.config\."}, {"layers of models"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_missing_is_found_and_nothing_stays(
    able: ScriptedRegistry,
    session: Session,
    before: Callable[[], bool],
    quirks: dict[str, Any],
    missing: set[str],
) -> None:
    for name, value in quirks.items():
        setattr(able.quirks, name, value)
    found = answers(probe(session, REPOSITORY, "v1"))
    assert {name for name, answer in found.items() if answer == "no"} == missing
    # That an upload goes on can't be seen where no part is taken.
    unknown = {name for name, answer in found.items() if answer == "unknown"}
    assert unknown == ({"uploads that go on"} if "patch" in quirks else set())
    assert before()


def test_a_registry_that_takes_nothing_is_one_to_read_from(
    able: ScriptedRegistry, session: Session
) -> None:
    able.quirks.begin = 405
    found = answers(probe(session, REPOSITORY))
    assert found["uploads"] == "no"
    assert {found[name] for name in WRITING[1:5]} == {"unknown"}
    assert found["parts of blobs"] == "yes"


def test_the_least_that_a_part_may_have_is_found(
    able: ScriptedRegistry, session: Session, before: Callable[[], bool]
) -> None:
    able.quirks.chunk_minimum = 20
    probed = probe(session, REPOSITORY)
    assert detail(probed, "uploads in parts") == "of 20 bytes or more"
    assert limits(able).smallest == 20
    able.quirks.chunk_minimum = 10**6
    probed = probe(session, REPOSITORY)
    assert detail(probed, "uploads in parts") == "of 1,000,000 bytes or more; only one was tried"
    assert limits(able).smallest == 10**6
    able.quirks.chunk_minimum = 0
    probe(session, REPOSITORY)
    assert limits(able).smallest == 0
    assert before()


# What there is to try it with


def test_any_model_will_do(able: ScriptedRegistry, session: Session) -> None:
    assert answers(probe(session, REPOSITORY)) == ALL


def test_a_tag_that_is_not_there_is_said_and_another_one_taken(
    able: ScriptedRegistry, session: Session, before: Callable[[], bool]
) -> None:
    probed = probe(session, REPOSITORY, "v2")
    assert answers(probed) == ALL
    assert probed.absent == "v2"
    assert before()


def test_a_digest_names_a_model_too(able: ScriptedRegistry, session: Session) -> None:
    digest = able.content[REPOSITORY].tags["v1"]
    assert answers(probe(session, REPOSITORY, digest)) == ALL


def test_without_a_model_uploads_are_cancelled(
    scripted: ScriptedRegistry, session: Session
) -> None:
    assert scripted.content[REPOSITORY] is not None  # so that it is there
    probed = probe(session, REPOSITORY)
    found = answers(probed)
    assert {name for name, answer in found.items() if answer == "unknown"} == {
        "parts of blobs",
        "mounts of blobs",
    }
    assert scripted.content.uploads == {}
    assert scripted.count("DELETE", "/uploads/") == 2
    assert probed.left == ()


def test_an_upload_that_can_not_be_cancelled_is_the_only_one(
    scripted: ScriptedRegistry, session: Session
) -> None:
    assert scripted.content[REPOSITORY] is not None
    scripted.quirks.cancel = 405
    probed = probe(session, REPOSITORY)
    assert len(scripted.content.uploads) == 1
    assert len(probed.left) == 1
    assert "can't be cancelled" in probed.left[0]
    assert answers(probed)["uploads of unknown length"] == "unknown"
    # Nothing else is stored either, which then might be left as well.
    assert answers(probed)["artifactType"] == "unknown"


def test_where_there_is_no_repository_nothing_is_written(
    scripted: ScriptedRegistry, session: Session
) -> None:
    probed = probe(session, "nobody/here")
    assert probed.exists is False
    assert {answers(probed)[name] for name in WRITING} == {"unknown"}
    assert {each.method for each in scripted.requests} == {"GET"}


def test_unless_that_is_wanted(scripted: ScriptedRegistry, session: Session) -> None:
    found = answers(probe(session, "nobody/here", write=True))
    assert found["uploads in parts"] == "yes"
    assert found["artifactType"] == "yes"
    assert scripted.content.uploads == {}


def test_nothing_is_written_where_that_is_not_wanted(
    able: ScriptedRegistry, session: Session
) -> None:
    found = answers(probe(session, REPOSITORY, write=False))
    assert {found[name] for name in WRITING} == {"unknown"}
    assert found["parts of blobs"] == found["list of referrers"] == "yes"
    assert {each.method for each in able.requests} <= {"GET", "HEAD"}


# Manifests that nobody needs


def test_a_manifest_that_is_stored_all_the_same_is_deleted_again(
    able: ScriptedRegistry, session: Session, before: Callable[[], bool]
) -> None:
    able.quirks.checks_children = False
    probed = probe(session, REPOSITORY)
    assert answers(probed) == ALL
    assert detail(probed, "artifactType") == "though content is missing"
    assert probed.left == ()
    assert before()


def test_one_that_can_not_be_deleted_is_the_only_one(
    able: ScriptedRegistry, session: Session
) -> None:
    able.quirks.checks_children = False
    able.quirks.deletion = 405
    probed = probe(session, REPOSITORY)
    assert len(able.content[REPOSITORY].manifests) == 2
    assert len(probed.left) == 1
    (left,) = able.content[REPOSITORY].manifests.keys() - {able.content[REPOSITORY].tags["v1"]}
    assert left in probed.left[0]
    assert {answers(probed)[name] for name in WRITING[-3:]} == {"unknown"}


def test_a_refusal_that_an_image_gets_too_says_nothing(
    able: ScriptedRegistry, session: Session
) -> None:
    able.fault("PUT", "/manifests/", times=None, status=400, body=b"no")
    found = answers(probe(session, REPOSITORY))
    assert {found[name] for name in WRITING[-3:]} == {"unknown"}


# Who may not


def test_who_may_not_push_learns_what_can_be_read(
    able: ScriptedRegistry, before: Callable[[], bool]
) -> None:
    able.auth.mode = "bearer"
    able.auth.grants = frozenset({"pull"})
    session = connect(able, username=USERNAME, secret=PASSWORD)
    probed = probe(session, REPOSITORY)
    session.close()
    found = answers(probed)
    assert found["parts of blobs"] == found["list of referrers"] == "yes"
    assert {found[name] for name in WRITING} == {"unknown"}
    assert probed.exists
    assert {type(error).kind for error in probed.errors} == {"not_allowed"}
    assert before()


def test_who_may_not_even_read_learns_nothing(able: ScriptedRegistry) -> None:
    able.auth.mode = "basic"
    session = connect(able)
    probed = probe(session, REPOSITORY, "v1")
    session.close()
    assert set(answers(probed).values()) == {"unknown"}
    assert probed.exists is None
    assert probed.errors
    assert limits(able) == Limits()


def test_a_policy_against_a_type_is_no_lack_of_permission(
    able: ScriptedRegistry, session: Session
) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "images only"}]}'
    able.fault("PUT", "/manifests/", nth=3, status=403, body=body)
    probed = probe(session, REPOSITORY)
    assert answers(probed)["configs of models"] == "no"
    assert detail(probed, "configs of models") == "DENIED: images only"


# Failures


@pytest.mark.parametrize("nth", range(1, 24))
def test_one_failure_is_one_answer(able: ScriptedRegistry, session: Session, nth: int) -> None:
    able.fault(nth=nth, status=418, body=b"tea")
    found = answers(probe(session, REPOSITORY, "v1"))
    assert list(found) == list(ALL)
    # Without a first upload, four things of uploads can't be tried.
    assert list(found.values()).count("yes") >= len(ALL) - 5
    assert able.content.uploads == {}


def test_a_registry_that_stops_answering_is_not_waited_for(
    able: ScriptedRegistry, session: Session
) -> None:
    able.fault("POST", times=None, drop="before")
    able.fault("DELETE", times=None, drop="before")
    probed = probe(session, REPOSITORY)
    assert detail(probed, "layers of models") == "not tried: the registry has stopped answering"
    assert answers(probed)["parts of blobs"] == "yes"


def test_when_the_time_is_up_nothing_more_is_tried(
    able: ScriptedRegistry, session: Session
) -> None:
    probed = probe(session, REPOSITORY, seconds=0)
    assert set(answers(probed).values()) == {"unknown"}
    assert able.requests == []


def test_an_upload_is_not_left_by_who_interrupts(
    able: ScriptedRegistry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trials._Uploads, "_ask_standing", interrupt)
    with pytest.raises(KeyboardInterrupt):
        probe(session, REPOSITORY)
    assert able.content.uploads == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tags/list", b"<html>"),
        ("/tags/list", b'{"tags": 7}'),
        ("/referrers/", b"<html>"),
        ("/manifests/", b"[" * 9),
    ],
)
def test_nonsense_is_no_answer(
    able: ScriptedRegistry, session: Session, path: str, body: bytes
) -> None:
    able.fault("GET", path, status=200, body=body)
    found = answers(probe(session, REPOSITORY))
    assert list(found) == list(ALL)
    assert "yes" in found.values()


def test_where_blobs_come_from_is_said(
    able: ScriptedRegistry, session: Session, blob_server: Any
) -> None:
    able.quirks.redirect = blob_server.url + "/{digest}?signature=secret"
    probed = probe(session, REPOSITORY)
    assert answers(probed) == ALL
    assert detail(probed, "parts of blobs") == f"blobs come from {blob_server.host}"
    assert "secret" not in repr(probed)


# What transfers go by


def test_what_was_found_is_remembered(able: ScriptedRegistry, session: Session) -> None:
    able.quirks.ranges = "ignored"
    able.quirks.referrers = False
    able.quirks.patch = 405
    probe(session, REPOSITORY)
    assert limits(able) == Limits(whole=True, ranges=False, referrers=False)


def test_what_is_no_longer_so_is_unlearned(able: ScriptedRegistry, session: Session) -> None:
    Host(home.hosts(), able.host).learn(
        whole=True, smallest=5, ranges=False, referrers=False, largest=7
    )
    probe(session, REPOSITORY)
    assert limits(able) == Limits(largest=7)  # of which nothing was found out


def test_what_could_not_be_tried_stays_as_it_was(able: ScriptedRegistry, session: Session) -> None:
    known = Limits(whole=True, smallest=5, ranges=False)
    Host(home.hosts(), able.host).learn(whole=True, smallest=5, ranges=False)
    able.fault("GET", "/blobs/", times=None, status=403)
    probe(session, REPOSITORY, write=False)
    assert limits(able) == known


def test_an_index_leads_to_a_model(able: ScriptedRegistry, session: Session) -> None:
    from ocimlpack.spec import manifest as manifests
    from ocimlpack.spec.gojson import encode
    from ocimlpack.spec.mediatypes import OCI_INDEX

    model = able.content[REPOSITORY].find("v1")
    assert model is not None
    manifest = manifests.parse(model[2])
    assert isinstance(manifest, Manifest)
    raw = encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [manifest.descriptor.to_json()],
        }
    )
    index = manifests.parse(raw, OCI_INDEX)
    able.content.add_manifest(REPOSITORY, index, "all")
    assert answers(probe(session, REPOSITORY, "all")) == ALL


@pytest.mark.parametrize(
    ("status", "answer"), [(200, "yes"), (404, "no"), (405, "no"), (403, "unknown")]
)
def test_a_list_of_repositories_needs_none(
    able: ScriptedRegistry, session: Session, status: int, answer: str
) -> None:
    able.quirks.catalog = status
    assert probe_host(session).answer == answer
