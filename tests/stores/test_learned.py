"""What was learned of a host saves requests, and is unlearned where it is no longer so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.manifest import Manifest, build
from ocimlpack.spec.mediatypes import OCI_EMPTY
from ocimlpack.stores import home, sessions
from ocimlpack.stores._oras import Session
from ocimlpack.stores.base import BytesBlob, RangeIgnoredError
from ocimlpack.stores.download import RegistryBlob
from ocimlpack.stores.learned import Host, Limits
from ocimlpack.stores.probe import probe
from ocimlpack.stores.registry import RegistryStore
from tests.contract import WEIGHT, put, take
from tests.scripted.fixtures import REPOSITORY, connect
from tests.scripted.registry import ScriptedRegistry

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * (3 * MIB // 256)


@pytest.fixture
def host(scripted: ScriptedRegistry) -> Callable[[], Host]:
    """What a run that begins now knows of the registry."""
    return lambda: Host(home.hosts(), scripted.host)


@contextmanager
def opened(scripted: ScriptedRegistry) -> Any:
    """A store, as a run of its own sees it."""
    session = connect(scripted)
    try:
        yield RegistryStore(session, REPOSITORY)
    finally:
        session.close()


def referring(store: RegistryStore, subject: Descriptor) -> Manifest:
    config = Descriptor.of(b"{}", OCI_EMPTY)
    put(store, b"{}", OCI_EMPTY)
    manifest = build(config, [], artifact_type="application/x.note", subject=subject)
    store.push(manifest.descriptor, BytesBlob(manifest.raw))
    return manifest


# Parts of blobs


def read_in_parts(store: RegistryStore, desc: Descriptor) -> bytes:
    blob = store.fetch(desc)
    assert isinstance(blob, RegistryBlob)
    try:
        with blob.part(0, desc.size) as stream:
            return b"".join(iter(lambda: stream.read(MIB), b""))
    except RangeIgnoredError:
        return take(blob)


@pytest.mark.parametrize("ranges", ["ignored", "refused"])
def test_where_parts_are_not_to_be_had_the_next_blob_is_asked_for_as_a_whole(
    scripted: ScriptedRegistry, host: Callable[[], Host], ranges: Any
) -> None:
    scripted.quirks.ranges = ranges
    desc = scripted.content.add_blob(REPOSITORY, CONTENT)
    with opened(scripted) as store:
        assert read_in_parts(store, desc) == CONTENT
    assert scripted.count("GET", "/blobs/") == 2
    assert not host().limits.ranges
    scripted.forget()
    with opened(scripted) as store:
        assert read_in_parts(store, desc) == CONTENT
    # A registry that refuses ranges has to be asked once more, where one that ignores them hasn't.
    assert scripted.count("GET", "/blobs/") == (1 if ranges == "ignored" else 2)


def test_a_registry_that_sends_parts_again_is_noticed(
    scripted: ScriptedRegistry, host: Callable[[], Host]
) -> None:
    host().learn(ranges=False)
    desc = scripted.content.add_blob(REPOSITORY, CONTENT)
    with opened(scripted) as store:
        assert read_in_parts(store, desc) == CONTENT
        assert scripted.count("GET", "/blobs/") == 1
        assert host().limits.ranges
        scripted.forget()
        assert read_in_parts(store, desc) == CONTENT
    assert [each.header("range") for each in scripted.asked("GET", "/blobs/")] == [
        f"bytes=0-{len(CONTENT) - 1}"
    ]


def test_a_download_that_breaks_off_goes_on_whatever_was_learned(
    scripted: ScriptedRegistry, host: Callable[[], Host]
) -> None:
    host().learn(ranges=False)
    desc = scripted.content.add_blob(REPOSITORY, CONTENT)
    scripted.fault("GET", "/blobs/", cut=MIB)
    with opened(scripted) as store:
        assert read_in_parts(store, desc) == CONTENT
    assert scripted.sent < len(CONTENT) + MIB // 2


# Referrers


def test_a_registry_without_a_list_of_referrers_is_not_asked_for_one_again(
    scripted: ScriptedRegistry, host: Callable[[], Host]
) -> None:
    subject = scripted.content.add_artifact(REPOSITORY, b"weights").descriptor
    with opened(scripted) as store:
        note = referring(store, subject)
        assert [each.digest for each in store.referrers(subject)] == [note.descriptor.digest]
    assert not host().limits.referrers
    scripted.forget()
    with opened(scripted) as store:
        assert [each.digest for each in store.referrers(subject)] == [note.descriptor.digest]
    assert scripted.count("GET", "/referrers/") == 0


def test_nothing_to_list_teaches_nothing(
    scripted: ScriptedRegistry, host: Callable[[], Host]
) -> None:
    subject = scripted.content.add_artifact(REPOSITORY, b"weights").descriptor
    with opened(scripted) as store:
        assert store.referrers(subject) == []
    assert host().limits == Limits()


def test_who_knows_of_no_list_looks_for_one_before_saying_that_there_is_nothing(
    scripted: ScriptedRegistry, host: Callable[[], Host]
) -> None:
    scripted.quirks.referrers = True
    subject = scripted.content.add_artifact(REPOSITORY, b"weights").descriptor
    with opened(scripted) as store:
        note = referring(store, subject)
    host().learn(referrers=False)
    with opened(scripted) as store:
        assert [each.digest for each in store.referrers(subject)] == [note.descriptor.digest]
    assert host().limits.referrers


def test_a_registry_that_says_that_it_lists_a_referrer_is_believed(
    scripted: ScriptedRegistry, host: Callable[[], Host]
) -> None:
    host().learn(referrers=False)
    scripted.quirks.referrers = True
    subject = scripted.content.add_artifact(REPOSITORY, b"weights").descriptor
    with opened(scripted) as store:
        referring(store, subject)
    assert host().limits.referrers


# Whole uploads


@pytest.mark.parametrize("known", [True, False], ids=["digest known", "digest not known"])
def test_a_registry_that_no_longer_takes_a_whole_blob_is_tried_with_parts(
    scripted: ScriptedRegistry,
    host: Callable[[], Host],
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
) -> None:
    monkeypatch.setattr(sessions, "WORTHWHILE", 1)
    host().learn(whole=True)
    scripted.quirks.chunk_maximum = 2 * MIB
    desc = Descriptor.of(CONTENT, WEIGHT)
    with opened(scripted) as store:
        if known:
            store.push(desc, BytesBlob(CONTENT))
        else:
            ingest = store.begin(len(CONTENT), "one")
            ingest.write(BytesBlob(CONTENT))
            ingest.commit(desc)
        assert take(store.fetch(desc)) == CONTENT
    assert host().limits == Limits(largest=3 * MIB // 2)


def test_where_neither_the_whole_nor_parts_are_taken_that_is_the_error(
    scripted: ScriptedRegistry, host: Callable[[], Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocimlpack.errors import UnsupportedError

    monkeypatch.setattr(sessions, "WORTHWHILE", 1)
    host().learn(whole=True)
    scripted.quirks.chunk_maximum = 2 * MIB
    scripted.quirks.patch = 405
    with opened(scripted) as store, pytest.raises(UnsupportedError):
        store.push(Descriptor.of(CONTENT, WEIGHT), BytesBlob(CONTENT))
    assert len(scripted.uploads) < 5


# What doctor has found


def test_a_push_and_a_pull_go_by_what_was_found_on_purpose(
    scripted: ScriptedRegistry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "WORTHWHILE", 1)
    scripted.quirks.patch = 405
    scripted.quirks.ranges = "ignored"
    subject = scripted.content.add_artifact(REPOSITORY, b"some weights").descriptor
    probe(session, REPOSITORY)
    scripted.forget()
    with opened(scripted) as store:
        desc = put(store, CONTENT, WEIGHT)
        assert scripted.count("PATCH") == 0
        assert read_in_parts(store, desc) == CONTENT
        assert scripted.count("GET", "/blobs/") == 1
        note = referring(store, subject)
        assert [each.digest for each in store.referrers(subject)] == [note.descriptor.digest]
        assert scripted.count("GET", "/referrers/") == 0


# For how long


def test_what_is_added_makes_nothing_else_younger(tmp_path: Path) -> None:
    then = int(time.time()) - 20 * 86400
    path = tmp_path / "r.example.json"
    said = {"learned": then, "whole": True, "largest": 0, "smallest": 0}
    path.write_text(json.dumps(said))
    host = Host(tmp_path, "r.example")
    host.sends_parts(False)
    assert json.loads(path.read_bytes())["learned"] == then
    assert Host(tmp_path, "r.example").limits == Limits(whole=True, ranges=False)
    host.learn(whole=False)
    assert json.loads(path.read_bytes())["learned"] > then


def test_a_host_of_which_nothing_is_known_has_no_time(tmp_path: Path) -> None:
    host = Host(tmp_path, "r.example")
    host.sends_parts(True)
    assert not list(tmp_path.iterdir())
    host.sends_parts(False)
    host.sends_parts(True)
    assert Host(tmp_path, "r.example").limits == Limits()
