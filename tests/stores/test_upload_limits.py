"""Registries differ in what they take; it is found out, and remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import NotAllowedError, UnsupportedError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores import home, sessions
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.learned import FLOOR, Host, Limits
from ocimlpack.stores.registry import RegistryStore
from tests.contract import LARGE, WEIGHT, put, take
from tests.scripted.fixtures import REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * (6 * MIB // 256)
DESC = Descriptor.of(CONTENT, WEIGHT)


@pytest.fixture(params=["whole", "in parts", "digest not known"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the content would go if the registry took it: small blobs go whole."""
    if request.param != "whole":
        monkeypatch.setattr(sessions, "WORTHWHILE", 1)
    return str(request.param)


@pytest.fixture
def another(scripted: ScriptedRegistry) -> Iterator[RegistryStore]:
    """The same registry, as a later run sees it."""
    session = connect(scripted)
    yield RegistryStore(session, "team/another")
    session.close()


def send(store: RegistryStore, way: str = "", content: bytes = CONTENT) -> None:
    desc = Descriptor.of(content, WEIGHT)
    if way == "digest not known":
        ingest = store.begin(len(content), "one")
        ingest.write(BytesBlob(content))
        ingest.commit(desc)
    else:
        store.push(desc, BytesBlob(content))
    assert take(store.fetch(desc)) == content


def refused(scripted: ScriptedRegistry) -> list[int]:
    return [each.length for each in scripted.uploads if each.status >= 400]


def taken(scripted: ScriptedRegistry) -> list[int]:
    return [each.length for each in scripted.uploads if each.status < 400]


def remembered(scripted: ScriptedRegistry) -> dict[str, Any]:
    (path,) = home.hosts().iterdir()
    assert scripted.host.replace(":", "%3A") in path.name
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


# The size of a request


@pytest.mark.parametrize("limit", [5 * MIB, 4 * MIB, 2 * MIB, FLOOR])
def test_parts_become_smaller_until_they_fit(
    scripted: ScriptedRegistry, store: RegistryStore, way: str, limit: int
) -> None:
    scripted.quirks.chunk_maximum = limit
    send(store, way)
    assert sum(taken(scripted)) == len(CONTENT)
    assert all(length <= limit for length in taken(scripted))
    assert len(refused(scripted)) <= 3


def test_what_fits_is_remembered(
    scripted: ScriptedRegistry, store: RegistryStore, another: RegistryStore, way: str
) -> None:
    scripted.quirks.chunk_maximum = 2 * MIB
    send(store, way)
    assert remembered(scripted)["largest"] == 3 * MIB // 2
    scripted.forget()
    send(another, way)
    assert refused(scripted) == []
    assert taken(scripted) == [3 * MIB // 2] * 4


def test_each_part_says_where_it_belongs(
    scripted: ScriptedRegistry, store: RegistryStore, way: str
) -> None:
    scripted.quirks.chunk_maximum = 3 * MIB
    send(store, way)
    ranges = [each.header("content-range") for each in scripted.asked("PATCH") if each.status < 400]
    assert ranges == [f"0-{3 * MIB - 1}", f"{3 * MIB}-{6 * MIB - 1}"]


def test_a_registry_that_takes_not_even_small_parts_is_given_up(
    scripted: ScriptedRegistry, store: RegistryStore, way: str
) -> None:
    scripted.quirks.chunk_maximum = FLOOR - 1
    with pytest.raises(UnsupportedError) as caught:
        send(store, way)
    assert caught.value.status == 413
    assert len(scripted.uploads) <= 4
    assert not home.hosts().exists()


def test_a_refusal_before_the_end_of_the_body_is_understood(
    scripted: ScriptedRegistry, store: RegistryStore, way: str
) -> None:
    fault = scripted.fault("", r"/uploads/\w", status=413, unread=True)
    send(store, way)
    assert fault.hits == 1
    assert taken(scripted) == [3 * MIB, 3 * MIB]


def test_parts_go_on_after_a_break(
    scripted: ScriptedRegistry, store: RegistryStore, way: str
) -> None:
    scripted.quirks.chunk_maximum = 2 * MIB
    scripted.fault("PATCH", "/uploads/", nth=3, swallow=MIB, keep=True)
    send(store, way)
    assert sum(taken(scripted)) == len(CONTENT)  # what was swallowed has no status


def test_a_limit_does_not_concern_what_is_smaller(
    scripted: ScriptedRegistry, store: RegistryStore, another: RegistryStore
) -> None:
    scripted.quirks.chunk_maximum = 2 * MIB
    send(store)
    scripted.forget()
    put(another, LARGE)
    assert [each.method for each in scripted.requests] == ["HEAD", "POST", "PUT"]


@pytest.mark.parametrize("least", [MIB, 7 * MIB // 4])
def test_the_least_that_a_part_may_have_is_kept(
    scripted: ScriptedRegistry, store: RegistryStore, least: int
) -> None:
    scripted.quirks.chunk_maximum = 2 * MIB
    scripted.quirks.chunk_minimum = least
    content = CONTENT + b"the rest"[:7]
    send(store, "digest not known", content)
    *parts, last = taken(scripted)
    assert sum(parts) + last == len(content)
    assert all(least <= length <= 2 * MIB for length in parts)


@pytest.mark.parametrize("said", ["", "many", "-1", "1.5", "9" * 5000, "0"])
def test_nonsense_about_the_least_does_no_harm(
    scripted: ScriptedRegistry, store: RegistryStore, way: str, said: str
) -> None:
    upload = "upload0"
    scripted.content.uploads[upload] = bytearray()
    headers = {
        "Location": f"/v2/{REPOSITORY}/blobs/uploads/{upload}?_state={upload}-0",
        "OCI-Chunk-Min-Length": said,
    }
    scripted.fault("POST", status=202, headers=headers)
    send(store, way)


# The way of a request


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_part_is_taken_in_more_than_one_way(
    scripted: ScriptedRegistry, store: RegistryStore, way: str, status: int
) -> None:
    scripted.quirks.patch = status
    scripted.quirks.chunk_maximum = 4 * MIB
    send(store, way)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_where_no_parts_are_known_it_goes_whole(
    scripted: ScriptedRegistry,
    store: RegistryStore,
    another: RegistryStore,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(sessions, "WORTHWHILE", 1)
    scripted.quirks.patch = status
    send(store, "digest not known")
    assert scripted.count("PATCH") == (2 if status == 404 else 1)
    assert remembered(scripted)["whole"] is True
    scripted.forget()
    send(another, "digest not known", LARGE)
    send(another, "digest known")
    assert scripted.count("PATCH") == 0
    assert taken(scripted) == [len(LARGE), len(CONTENT)]


def test_where_no_parts_are_known_nothing_is_sent_that_is_there(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.quirks.patch = 405
    scripted.content.add_blob(REPOSITORY, CONTENT)
    ingest = store.begin(len(CONTENT), "one")
    ingest.write(BytesBlob(CONTENT))
    scripted.forget()
    ingest.commit(DESC)
    assert scripted.uploads == []


@pytest.mark.parametrize("location", ["", "absolute", "foreign"])
@pytest.mark.parametrize("progress", [True, False], ids=["with Range", "without Range"])
def test_a_session_is_followed_wherever_it_leads(
    scripted: ScriptedRegistry,
    foreign: ScriptedRegistry,
    mia: RegistryStore,
    way: str,
    location: str,
    progress: bool,
) -> None:
    scripted.auth.mode = "basic"
    for each in (scripted, foreign):
        each.quirks.location = {"": "", "absolute": scripted.url, "foreign": foreign.url}[location]
        each.quirks.progress = progress
        each.quirks.chunk_maximum = 4 * MIB
    send(mia, way)
    assert bool(foreign.requests) == (location == "foreign")
    assert not any(each.carries_credentials for each in foreign.requests)


def test_without_a_range_what_broke_off_is_sent_again(
    scripted: ScriptedRegistry, store: RegistryStore, way: str
) -> None:
    scripted.quirks.progress = False
    scripted.fault("PATCH", "/uploads/", swallow=MIB, keep=True)
    send(store, way)


def test_an_address_elsewhere_that_has_expired_is_asked_for_again(
    scripted: ScriptedRegistry,
    foreign: ScriptedRegistry,
    store: RegistryStore,
) -> None:
    for each in (scripted, foreign):
        each.quirks.location = foreign.url
        each.quirks.chunk_maximum = 4 * MIB
    fault = foreign.fault("PATCH", "/uploads/", nth=3, status=403, body=b"<html>expired</html>")
    send(store, "digest not known")
    assert fault.hits == 1
    assert scripted.count("POST") >= 2


def test_an_address_elsewhere_that_is_refused_from_the_start_is_an_error(
    scripted: ScriptedRegistry, foreign: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.quirks.location = foreign.url
    fault = foreign.fault("PATCH", "/uploads/", times=None, status=403)
    with pytest.raises(NotAllowedError):
        send(store, "digest not known")
    assert fault.hits == 1


@pytest.mark.parametrize("status", [409, 416])
def test_a_registry_that_is_elsewhere_in_the_blob_is_asked(
    scripted: ScriptedRegistry, store: RegistryStore, status: int
) -> None:
    scripted.quirks.chunk_maximum = 4 * MIB
    fault = scripted.fault("PATCH", "/uploads/", nth=3, status=status)
    send(store, "digest not known")
    assert fault.hits == 1
    assert sum(taken(scripted)) == len(CONTENT)


@pytest.mark.parametrize("status", [400, 404])
def test_a_session_that_is_no_longer_known_is_begun_again(
    scripted: ScriptedRegistry, store: RegistryStore, status: int
) -> None:
    scripted.quirks.chunk_maximum = 4 * MIB
    fault = scripted.fault("PATCH", "/uploads/", nth=3, status=status)
    send(store, "digest not known")
    assert fault.hits == 1
    assert sum(taken(scripted)) == len(CONTENT) + 3 * MIB


def test_an_answer_without_an_address_leaves_the_one_before(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.fault("PATCH", "/uploads/", status=202, keep=True)
    send(store, "digest not known")


def test_a_part_that_was_kept_in_part_goes_on(
    scripted: ScriptedRegistry, store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "WORTHWHILE", 1)
    scripted.quirks.takes = MIB
    send(store)
    assert scripted.count("PATCH") == 6


# What is remembered


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b'{"learned": "today"}',
        b'{"learned": 1, "whole": true, "largest": 0, "smallest": 0}',
        b'{"learned": 99999999999, "whole": true, "largest": 0, "smallest": 0}',
        b'{"learned": NOW, "whole": true, "largest": -1, "smallest": 0}',
        b'{"learned": NOW, "whole": true, "largest": null, "smallest": 0}',
        b'{"learned": NOW, "whole": true, "largest": Infinity, "smallest": 0}',
        b'{"learned": NOW, "whole": true}',
    ],
)
def test_what_can_not_be_believed_is_unknown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.example.json").write_bytes(content.replace(b"NOW", b"%d" % time.time()))
    assert Host(tmp_path, "r.example").limits == Limits()


@pytest.mark.parametrize(("days", "known"), [(29, True), (31, False)])
def test_what_was_learned_long_ago_is_forgotten(tmp_path: Path, days: int, known: bool) -> None:
    said = {"learned": int(time.time()) - days * 86400, "whole": False, "largest": 5, "smallest": 3}
    (tmp_path / "r.example.json").write_text(json.dumps(said))
    assert (Host(tmp_path, "r.example").limits == Limits(False, 5, 3)) == known


def test_each_host_has_its_own(tmp_path: Path) -> None:
    host = Host(tmp_path, "r.example:5000")
    assert host.refused(300 * MIB)
    assert host.limits == Limits(largest=100 * MIB)
    host.confirm()
    assert Host(tmp_path, "r.example:5000").limits == host.limits
    assert Host(tmp_path, "r.example").limits == Limits()


def test_a_limit_that_was_found_never_grows(tmp_path: Path) -> None:
    host = Host(tmp_path, "r.example")
    for length in (64 * MIB, 16 * MIB, 512 * MIB):
        assert host.refused(length)
    assert host.limits.largest == 8 * MIB


def test_what_can_not_be_remembered_is_learned_again(
    scripted: ScriptedRegistry, session: Session
) -> None:
    home.hosts().parent.parent.mkdir(parents=True)
    home.hosts().parent.write_text("in the way")
    scripted.quirks.chunk_maximum = 2 * MIB
    send(RegistryStore(session, REPOSITORY))


@pytest.mark.parametrize(
    ("limits", "left", "part"),
    [
        (Limits(), 10**12, 10**12),
        (Limits(largest=100), 100, 100),
        (Limits(largest=100), 101, 100),
        (Limits(largest=100, smallest=20), 110, 90),
        (Limits(largest=100, smallest=20), 120, 100),
        (Limits(largest=100, smallest=200), 150, 150),
        (Limits(largest=100, smallest=200), 500, 200),
        (Limits(largest=100, smallest=100), 150, 100),
    ],
)
def test_how_much_one_request_carries(limits: Limits, left: int, part: int) -> None:
    assert limits.part(left) == part
