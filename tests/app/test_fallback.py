"""A second place for a registry's models. Here it is a layout; a bucket goes the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

import ocimlpack
from ocimlpack import retry
from ocimlpack.app import fallback as policy
from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
)
from ocimlpack.progress import Event, Warned
from tests.app.conftest import FILES
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

DEAD = "127.0.0.1:9"
"""Nobody listens there."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience that suits a test."""
    monkeypatch.setattr(policy, "_PATIENCE", 0.2)
    monkeypatch.setattr(retry.Policy, "delay", lambda *_: 0.05)


@pytest.fixture
def place(scripted: ScriptedRegistry) -> str:
    return f"{scripted.host}/{REPOSITORY}"


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def check(folder: Path) -> None:
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content


# Pushing


def test_a_push_goes_to_the_fallback_when_nobody_answers(model: Path, layout: str) -> None:
    events: list[Event] = []
    done = ocimlpack.push(model, f"{DEAD}/a/b:1.0", fallback=layout, report=events.append)
    assert done.reference == done.fallback == f"{layout}@{done.digest}"
    assert done.reason is not None
    assert DEAD in done.reason
    assert ocimlpack.inspect(f"{layout}:1.0").digest == done.digest
    assert [text for text in warnings(events) if f"pushing to the fallback {layout}" in text]


@pytest.mark.parametrize("status", [500, 503, 405])
def test_a_push_goes_to_the_fallback_when_the_registry_fails_or_refuses_the_kind(
    status: int, scripted: ScriptedRegistry, place: str, model: Path, layout: str
) -> None:
    scripted.fault("PUT", "/manifests/", status=status, times=None)
    done = ocimlpack.push(model, f"{place}:1.0", fallback=layout)
    assert done.fallback == f"{layout}@{done.digest}"
    assert ocimlpack.inspect(f"{layout}:1.0").digest == done.digest


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_credentials_stays_one(
    status: int, scripted: ScriptedRegistry, place: str, model: Path, layout: str
) -> None:
    scripted.fault(status=status, times=None)
    with pytest.raises(NotAllowedError):
        ocimlpack.push(model, f"{place}:1.0", fallback=layout)
    assert not Path(layout.removeprefix("oci:")).exists()


def test_a_healthy_registry_is_all_that_is_pushed_to(place: str, model: Path, layout: str) -> None:
    done = ocimlpack.push(model, f"{place}:1.0", fallback=layout)
    assert (done.fallback, done.reason) == (None, None)
    assert not Path(layout.removeprefix("oci:")).exists()


def test_in_mirror_mode_it_goes_to_both(place: str, model: Path, layout: str) -> None:
    done = ocimlpack.push(
        model, f"{place}:1.0", tags=["stable"], fallback=layout, fallback_mode="mirror"
    )
    assert done.reference == f"{place}@{done.digest}"
    assert done.fallback == f"{layout}@{done.digest}"
    assert done.reason is None
    assert ocimlpack.tags(layout) == ocimlpack.tags(place) == ("1.0", "stable")


def test_in_mirror_mode_a_fallback_that_fails_is_an_error_that_says_what_is_there(
    place: str, model: Path
) -> None:
    with pytest.raises(UnreachableError) as caught:
        ocimlpack.push(model, f"{place}:1.0", fallback=f"{DEAD}/b", fallback_mode="mirror")
    assert f"{place}@sha256:" in str(caught.value.hint)
    assert ocimlpack.tags(place) == ("1.0",)


def test_where_both_fail_the_registry_is_what_is_said(model: Path) -> None:
    with pytest.raises(UnreachableError, match=DEAD) as caught:
        ocimlpack.push(model, f"{DEAD}/a:1", fallback="127.0.0.2:9/b")
    assert "nor does the fallback take it" in str(caught.value.hint)
    assert "127.0.0.2:9" in str(caught.value.hint)


def test_a_packed_model_goes_there_too(model: Path, layout: str, tmp_path: Path) -> None:
    packed = ocimlpack.pack(model, f"oci:{tmp_path / 'packed'}:1.0")
    done = ocimlpack.push(packed.reference, f"{DEAD}/a/b:1.0", fallback=layout)
    assert done.digest == packed.digest
    assert ocimlpack.tags(layout) == ("1.0",)


# Pulling


@pytest.fixture
def both(place: str, model: Path, layout: str) -> str:
    """The model in both places; its reference, pinned."""
    return ocimlpack.push(model, f"{place}:1.0", fallback=layout, fallback_mode="mirror").reference


def test_a_pull_comes_from_the_fallback_when_the_registry_is_gone(
    both: str, scripted: ScriptedRegistry, layout: str, tmp_path: Path
) -> None:
    scripted.fault(status=503, times=None)
    events: list[Event] = []
    done = ocimlpack.pull(both, tmp_path / "out", fallback=layout, report=events.append)
    assert done.fallback
    assert done.reference.startswith(layout)
    check(tmp_path / "out")
    (said,) = warnings(events)
    assert "older" not in said


def test_a_tag_that_only_the_fallback_could_resolve_is_said_to_be(
    both: str, place: str, scripted: ScriptedRegistry, layout: str, tmp_path: Path
) -> None:
    scripted.fault(status=503, times=None)
    events: list[Event] = []
    ocimlpack.pull(f"{place}:1.0", tmp_path / "out", fallback=layout, report=events.append)
    (said,) = warnings(events)
    assert "whose tag may stand for something older" in said
    assert ocimlpack.inspect(f"{place}:1.0", fallback=layout).digest == both.partition("@")[2]
    found = ocimlpack.resolve(f"{place}:1.0", fallback=layout)
    check(found)


def test_a_pull_that_loses_the_registry_goes_on_without_moving_anything_again(
    both: str, place: str, scripted: ScriptedRegistry, layout: str, tmp_path: Path
) -> None:
    blobs = scripted.fault("GET", "/blobs/", status=503, nth=3, times=None)
    events: list[Event] = []
    done = ocimlpack.pull(
        f"{place}:1.0", tmp_path / "out", fallback=layout, jobs=1, report=events.append
    )
    assert blobs.hits > 0
    assert done.fallback
    check(tmp_path / "out")
    # The digest was known by then, so the fallback's tag is not asked for.
    (said,) = [text for text in warnings(events) if "going on with the fallback" in text]
    assert f"{layout}@sha256:" in said or "@sha256:" in said
    assert 0 < done.moved < done.size


def test_what_only_the_fallback_has_is_found(
    scripted: ScriptedRegistry, place: str, model: Path, layout: str, tmp_path: Path
) -> None:
    ocimlpack.pack(model, f"{layout}:2.0")
    done = ocimlpack.pull(f"{place}:2.0", tmp_path / "out", fallback=layout)
    assert done.fallback
    check(tmp_path / "out")


def test_what_nobody_has_is_not_found(place: str, layout: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"\b3\.0") as caught:
        ocimlpack.pull(f"{place}:3.0", tmp_path / "out", fallback=layout)
    assert "nor does the fallback help" in str(caught.value.hint)


def test_wrong_bytes_are_no_reason_to_look_elsewhere(
    both: str, scripted: ScriptedRegistry, layout: str, tmp_path: Path
) -> None:
    scripted.fault("GET", "/blobs/", flip=0, times=None)
    with pytest.raises(IntegrityError):
        ocimlpack.pull(both, tmp_path / "out", fallback=layout)
    assert not (tmp_path / "out").exists()


def test_without_a_fallback_nothing_changes(
    both: str, scripted: ScriptedRegistry, tmp_path: Path
) -> None:
    scripted.fault(status=503, times=None)
    with pytest.raises(UnavailableError):
        ocimlpack.pull(both, tmp_path / "out", patience=0.2)


# Which place


def test_the_configuration_file_names_it(
    place: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[fallback]\n"{DEAD}/team" = {{ location = "oci:{tmp_path}/second", mode = "mirror" }}\n'
    )
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(config))
    done = ocimlpack.push(model, f"{DEAD}/team/minilm:1.0")
    assert done.fallback == f"oci:{tmp_path}/second/minilm@{done.digest}"
    with pytest.raises(UnreachableError):
        ocimlpack.push(model, f"{DEAD}/others/minilm:1.0")


@pytest.mark.parametrize("location", ["oci:x:1.0", "./folder", "oci-archive:x.tar", "a b"])
def test_what_can_be_none_is_refused_before_anything_is_sent(
    location: str, scripted: ScriptedRegistry, place: str, model: Path
) -> None:
    with pytest.raises(InputError):
        ocimlpack.push(model, f"{place}:1.0", fallback=location)
    assert scripted.requests == []


def test_only_a_registry_has_one(model: Path, layout: str) -> None:
    with pytest.raises(InputError, match="for a registry"):
        ocimlpack.push(model, f"{layout}:1.0", fallback=layout)
    with pytest.raises(InputError, match="no fallback is known"):
        ocimlpack.push(model, "localhost:1/a:1", fallback_mode="mirror")


# Bringing both level


def change(model: Path) -> None:
    (model / "config.json").write_bytes(b'{"model_type": "other"}')


def test_sync_brings_each_what_only_the_other_has(place: str, model: Path, layout: str) -> None:
    ocimlpack.push(model, f"{place}:both", fallback=layout, fallback_mode="mirror")
    here = ocimlpack.push(model, f"{place}:here").digest
    change(model)
    there = ocimlpack.pack(model, f"{layout}:there").digest
    rehearsed = ocimlpack.sync(place, fallback=layout, dry_run=True)
    assert (rehearsed.to_registry, rehearsed.to_fallback) == (("there",), ("here",))
    assert ocimlpack.tags(place) == ("both", "here")
    done = ocimlpack.sync(place, fallback=layout)
    assert (done.to_registry, done.to_fallback, done.same) == (("there",), ("here",), 1)
    assert ocimlpack.inspect(f"{place}:there").digest == there
    assert ocimlpack.inspect(f"{layout}:here").digest == here
    again = ocimlpack.sync(place, fallback=layout)
    assert (again.to_registry, again.to_fallback, again.same) == ((), (), 3)


def test_sync_leaves_a_tag_alone_that_stands_for_different_things(
    place: str, model: Path, layout: str
) -> None:
    first = ocimlpack.push(model, f"{place}:latest").digest
    change(model)
    second = ocimlpack.pack(model, f"{layout}:latest", tags=["new"]).digest
    with pytest.raises(ConflictError, match="latest") as caught:
        ocimlpack.sync(place, fallback=layout)
    assert "--prefer" in str(caught.value.hint)
    assert ocimlpack.inspect(f"{place}:latest").digest == first
    assert ocimlpack.tags(place) == ("latest", "new")  # what is clear was done
    ocimlpack.sync(place, fallback=layout, prefer="fallback")
    assert ocimlpack.inspect(f"{place}:latest").digest == second


def test_sync_needs_two_places(place: str, layout: str) -> None:
    with pytest.raises(InputError, match="no fallback is known"):
        ocimlpack.sync(place)
    with pytest.raises(InputError, match="names one artifact"):
        ocimlpack.sync(f"{place}:1.0", fallback=layout)
    with pytest.raises(InputError, match="prefer"):
        ocimlpack.sync(place, fallback=layout, prefer="newest")
