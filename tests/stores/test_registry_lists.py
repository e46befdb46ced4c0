from __future__ import annotations

import pytest

from ocimlpack.errors import (
    InvalidContentError,
    NotAllowedError,
    NotFoundError,
    UnsupportedError,
)
from ocimlpack.stores._oras import Session
from ocimlpack.stores.registry import RegistryStore, list_repositories
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry


@pytest.mark.parametrize("page", [1, 2, 7, 1000])
def test_tags_come_in_pages(scripted: ScriptedRegistry, store: RegistryStore, page: int) -> None:
    names = [f"v{number}" for number in range(7)]
    for name in names:
        scripted.content.add_artifact(REPOSITORY, b"weights", tag=name)
    scripted.quirks.page = page
    assert store.tags() == sorted(names)


def test_a_list_of_tags_that_names_itself_as_the_next_page_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore
) -> None:
    scripted.content.add_artifact(REPOSITORY, b"weights")
    scripted.quirks.endless = "itself"
    with pytest.raises(InvalidContentError):
        store.tags()
    assert scripted.count("GET") <= 3


def test_a_list_of_tags_without_an_end_is_refused(
    scripted: ScriptedRegistry, store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocimlpack.stores.registry._MAX_PAGES", 25)
    scripted.content.add_artifact(REPOSITORY, b"weights")
    scripted.quirks.endless = "new"
    with pytest.raises(InvalidContentError):
        store.tags()
    assert scripted.count("GET") == 25


def test_the_next_page_of_a_list_is_not_looked_for_elsewhere(
    scripted: ScriptedRegistry, store: RegistryStore, foreign: ScriptedRegistry
) -> None:
    link = f'<{foreign.url}/v2/{REPOSITORY}/tags/list?last=a>; rel="next"'
    scripted.fault("GET", "/tags/list", status=200, headers={"Link": link}, body=b'{"tags":["a"]}')
    with pytest.raises(InvalidContentError):
        store.tags()
    assert foreign.requests == []


@pytest.mark.parametrize("body", [b'{"tags":null}', b"{}", b'{"tags":[]}'])
def test_a_repository_without_tags_has_an_empty_list(
    scripted: ScriptedRegistry, store: RegistryStore, body: bytes
) -> None:
    scripted.fault("GET", "/tags/list", status=200, body=body)
    assert store.tags() == []


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"tags":[1]}', b'{"tags":{"a":1}}', b"\xff"])
def test_a_list_that_can_not_be_read_is_an_error(
    scripted: ScriptedRegistry, store: RegistryStore, body: bytes
) -> None:
    scripted.fault("GET", "/tags/list", times=None, status=200, body=body)
    with pytest.raises(InvalidContentError):
        store.tags()


def test_the_tags_of_a_repository_that_is_not_there_are_not_found(store: RegistryStore) -> None:
    with pytest.raises(NotFoundError):
        store.tags()


def test_repositories_come_in_pages(scripted: ScriptedRegistry, session: Session) -> None:
    names = ["a", "team/b", "team/c/d", "z"]
    for name in names:
        scripted.content.add_blob(name, b"weights")
    scripted.quirks.page = 3
    assert list_repositories(session) == names


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, NotAllowedError), (403, NotAllowedError), (404, NotFoundError), (405, UnsupportedError)],
)
def test_a_registry_that_lists_no_repositories_says_so(
    scripted: ScriptedRegistry, session: Session, status: int, error: type[Exception]
) -> None:
    scripted.quirks.catalog = status
    with pytest.raises(error):
        list_repositories(session)
    assert scripted.count() == 1
