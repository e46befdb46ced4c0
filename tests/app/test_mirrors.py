from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.app.options import Connection
from ocimlpack.errors import InputError, UnavailableError
from ocimlpack.progress import Event, Warned
from ocimlpack.transfer import ranges
from tests.app.conftest import FILES
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

LARGE = bytes(range(251)) * 10_000  # more than is verified before anybody sees it

Configure = Callable[[str], None]


@pytest.fixture
def mirror(foreign: ScriptedRegistry) -> ScriptedRegistry:
    """A mirror of `scripted` that has all that it has."""
    return foreign


@pytest.fixture
def configure(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Configure:
    path = tmp_path_factory.mktemp("config") / "config.toml"

    def write(text: str) -> None:
        path.write_text(text)
        monkeypatch.setenv("OCIMLPACK_CONFIG", str(path))

    return write


@pytest.fixture
def pushed(scripted: ScriptedRegistry, mirror: ScriptedRegistry, model: Path) -> str:
    """The model at `scripted`; what was asked until then is forgotten."""
    (model / "weights/large.bin").write_bytes(LARGE)
    moved = ocimlpack.push(model, f"{scripted.host}/{REPOSITORY}:1.0")
    scripted.forget()
    mirror.forget()
    return moved.reference


def tagged(pinned: str) -> str:
    return f"{pinned.partition('@')[0]}:1.0"


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def check(folder: Path) -> None:
    assert (folder / "weights/large.bin").read_bytes() == LARGE
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content
    assert ocimlpack.verify(str(folder)).extra == ()


def test_a_pull_by_digest_is_the_mirrors_alone(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[mirror.url])
    check(tmp_path / "out")
    assert scripted.requests == []


def test_a_pull_by_tag_asks_the_registry_for_the_tag(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    ocimlpack.pull(tagged(pushed), tmp_path / "out", mirrors=[mirror.url])
    check(tmp_path / "out")
    assert [each.path for each in scripted.requests] == [f"/v2/{REPOSITORY}/manifests/1.0"]


def test_mirrors_stand_in_the_configuration_file(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    pushed: str,
    tmp_path: Path,
    configure: Configure,
) -> None:
    configure(f'[mirrors]\n"{scripted.host}" = ["{mirror.url}"]\n"*" = []\n')
    ocimlpack.pull(pushed, tmp_path / "out")
    check(tmp_path / "out")
    assert scripted.requests == []


def test_a_path_in_the_address_stands_before_the_repository(
    scripted: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    with ScriptedRegistry("127.0.0.3") as other:
        other.content.repositories[f"cache/models/{REPOSITORY}"] = scripted.content[REPOSITORY]
        ocimlpack.pull(pushed, tmp_path / "out", mirrors=[f"{other.url}/cache/models"])
    check(tmp_path / "out")
    assert scripted.requests == []


def test_a_mirror_may_have_an_authority_of_its_own(
    encrypted: ScriptedRegistry,
    scripted: ScriptedRegistry,
    ca_file: Path,
    pushed: str,
    tmp_path: Path,
    configure: Configure,
) -> None:
    encrypted.content.repositories.update(scripted.content.repositories)
    table = f'{{ url = "{encrypted.url}", ca-file = "{ca_file}" }}'
    configure(f'[mirrors]\n"{scripted.host}" = [{table}]')
    ocimlpack.pull(pushed, tmp_path / "out")
    check(tmp_path / "out")
    assert scripted.requests == []


def test_a_mirror_with_an_authority_that_nobody_knows_is_passed_over(
    encrypted: ScriptedRegistry, scripted: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    events: list[Event] = []
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[encrypted.url], report=events.append)
    check(tmp_path / "out")
    assert encrypted.requests == []
    (said,) = warnings(events)
    assert "secure connection" in said


def test_a_mirror_may_speak_http_where_the_registry_does_not(
    encrypted: ScriptedRegistry,
    scripted: ScriptedRegistry,
    ca_file: Path,
    pushed: str,
    tmp_path: Path,
) -> None:
    reference = pushed.replace(scripted.host, encrypted.host)
    ocimlpack.pull(reference, tmp_path / "out", ca_file=ca_file, mirrors=[scripted.url])
    check(tmp_path / "out")
    assert encrypted.requests == []


def test_those_that_are_given_come_first(
    scripted: ScriptedRegistry,
    mirror: ScriptedRegistry,
    pushed: str,
    tmp_path: Path,
    configure: Configure,
) -> None:
    configure(f'[mirrors]\n"*" = ["{mirror.url}"]')
    with ScriptedRegistry("127.0.0.3", content=scripted.content) as first:
        ocimlpack.pull(pushed, tmp_path / "out", mirrors=[first.url])
        assert first.requests
    assert mirror.requests == []


def test_a_registry_is_no_mirror_of_itself(
    scripted: ScriptedRegistry, pushed: str, tmp_path: Path, configure: Configure
) -> None:
    configure(f'[mirrors]\n"*" = ["{scripted.url}"]')
    ocimlpack.pull(pushed, tmp_path / "out")
    assert scripted.count("", "ns=") == 0


def test_a_pull_survives_the_registry(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    scripted.close()
    events: list[Event] = []
    ocimlpack.pull(tagged(pushed), tmp_path / "out", mirrors=[mirror.url], report=events.append)
    check(tmp_path / "out")
    (said,) = warnings(events)
    assert "1.0" in said
    assert mirror.url in said


def test_what_a_mirror_has_can_be_looked_at_while_the_registry_is_down(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str
) -> None:
    scripted.close()
    events: list[Event] = []
    found = ocimlpack.inspect(pushed, mirrors=[mirror.url], report=events.append)
    assert len(found.files) == len(FILES) + 1
    assert found.tags == ()
    assert any("tags are not known" in said for said in warnings(events))


def test_a_tag_beside_a_digest_need_not_be_checked(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    scripted.close()
    mirror.fault("HEAD", "/manifests/1.0", times=None, status=404)
    events: list[Event] = []
    place, _, digest = pushed.partition("@")
    ocimlpack.pull(
        f"{place}:1.0@{digest}", tmp_path / "out", mirrors=[mirror.url], report=events.append
    )
    check(tmp_path / "out")
    assert any("can't be checked" in said for said in warnings(events))


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_mirror_that_fails_costs_a_warning(
    mirror: ScriptedRegistry, pushed: str, tmp_path: Path, status: int
) -> None:
    mirror.fault(times=None, status=status)
    events: list[Event] = []
    ocimlpack.pull(tagged(pushed), tmp_path / "out", mirrors=[mirror.url], report=events.append)
    check(tmp_path / "out")
    assert len(warnings(events)) == 1


def test_a_mirror_that_dies_in_mid_pull_costs_a_warning(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    mirror.fault("GET", "/blobs/", cut=100_000)  # of the large one, which comes first
    mirror.fault("GET", "/blobs/", times=None, drop="before")
    events: list[Event] = []
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[mirror.url], jobs=1, report=events.append)
    check(tmp_path / "out")
    assert len(warnings(events)) == 1
    assert "bytes=100000-" in {each.header("range") for each in scripted.asked("GET", "/blobs/")}


def test_wrong_bytes_of_a_mirror_are_fetched_again(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    (digest,) = [name for name, blob in scripted.content[REPOSITORY].blobs.items() if blob == LARGE]
    mirror.quirks.blobs = {digest: LARGE[:-1] + b"\x00"}
    events: list[Event] = []
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[mirror.url], report=events.append)
    check(tmp_path / "out")
    assert any("wrong bytes" in said and mirror.url in said for said in warnings(events))
    assert mirror.count("GET", digest) == scripted.count("GET", digest) == 1


def test_wrong_bytes_in_one_part_of_many_are_fetched_again(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, model: Path, tmp_path: Path
) -> None:
    content = LARGE * (ranges.WORTHWHILE // len(LARGE) + 1)
    (model / "weights/large.bin").write_bytes(content)
    pushed = ocimlpack.push(model, f"{scripted.host}/{REPOSITORY}:1.0").reference
    (digest,) = [
        name for name, blob in scripted.content[REPOSITORY].blobs.items() if blob == content
    ]
    mirror.quirks.blobs = {digest: content[:-1000] + b"\xff" + content[-999:]}
    events: list[Event] = []
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[mirror.url], report=events.append)
    assert (tmp_path / "out/weights/large.bin").read_bytes() == content
    assert any("wrong bytes" in said and mirror.url in said for said in warnings(events))
    assert scripted.count("GET", digest)


def test_parts_of_a_blob_go_on_where_the_mirror_ends(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, model: Path, tmp_path: Path
) -> None:
    content = LARGE * (ranges.WORTHWHILE // len(LARGE) + 1)
    (model / "weights/large.bin").write_bytes(content)
    pushed = ocimlpack.push(model, f"{scripted.host}/{REPOSITORY}:1.0").reference
    mirror.fault("GET", "/blobs/", cut=5_000_000)
    mirror.fault("GET", "/blobs/", nth=2, times=None, drop="before")
    events: list[Event] = []
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[mirror.url], report=events.append)
    assert (tmp_path / "out/weights/large.bin").read_bytes() == content
    assert len(warnings(events)) == 1


def test_nobody_left_is_the_registrys_failure(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    mirror.fault(times=None, status=404)
    scripted.close()
    with pytest.raises(UnavailableError, match=scripted.host):
        ocimlpack.pull(pushed, tmp_path / "out", mirrors=[mirror.url])
    assert not (tmp_path / "out").exists()


def test_everything_that_reads_asks_the_mirror(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    out = io.BytesIO()
    options: Connection = {"mirrors": [mirror.url]}
    ocimlpack.read_file(pushed, out, include=["README.md"], **options)
    assert out.getvalue() == FILES["README.md"]
    check(ocimlpack.resolve(pushed, **options))
    ocimlpack.copy(pushed, f"oci:{tmp_path / 'layout'}:1", **options)
    assert scripted.requests == []
    ocimlpack.inspect(pushed, **options)
    assert {each.path for each in scripted.requests} <= {
        f"/v2/{REPOSITORY}/tags/list",
        f"/v2/{REPOSITORY}/manifests/1.0",
    }


def test_what_is_stored_at_the_registry_is_verified_there(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, configure: Configure
) -> None:
    configure(f'[mirrors]\n"*" = ["{mirror.url}"]')
    assert ocimlpack.verify(pushed).checked > len(FILES)
    assert scripted.count("GET", "/blobs/")
    assert mirror.requests == []


def test_a_copy_reads_from_the_mirror_and_writes_to_the_registry(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str
) -> None:
    with ScriptedRegistry("127.0.0.3") as other:
        ocimlpack.copy(pushed, f"{other.host}/{REPOSITORY}:1.0", mirrors=[mirror.url])
        assert other.content[REPOSITORY].tags
    assert scripted.requests == []
    assert {each.method for each in mirror.requests} == {"GET"}


def test_a_copy_within_a_registry_still_mounts(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str
) -> None:
    done = ocimlpack.copy(pushed, f"{scripted.host}/team/other:1.0", mirrors=[mirror.url])
    assert done.moved == 0
    assert done.mounted
    assert scripted.uploads == []


def test_a_push_neither_reads_the_configuration_nor_asks_mirrors(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, model: Path, configure: Configure
) -> None:
    configure(f'[mirrors]\n"{scripted.host}" = ["{mirror.url}"]')
    ocimlpack.push(model, f"{scripted.host}/{REPOSITORY}:1.0")
    planned = ocimlpack.push(model, f"{scripted.host}/{REPOSITORY}:1.0", dry_run=True)
    assert {each.fate for each in planned.plan} == {"skip"}
    assert mirror.requests == []


def test_a_password_for_the_registry_stays_there(
    scripted: ScriptedRegistry, mirror: ScriptedRegistry, pushed: str, tmp_path: Path
) -> None:
    scripted.auth.mode = mirror.auth.mode = "basic"
    ocimlpack.login(scripted.host, scripted.auth.username, scripted.auth.password)
    ocimlpack.pull(pushed, tmp_path / "out", mirrors=[mirror.url])
    check(tmp_path / "out")
    assert mirror.requests
    assert not any(each.carries_credentials for each in mirror.requests)


@pytest.mark.parametrize("text", ["mirrors = [", "[mirror]", '[mirrors]\n"*" = ["nowhere"]'])
def test_a_configuration_that_is_not_understood_stops_before_anything_is_asked(
    scripted: ScriptedRegistry, pushed: str, tmp_path: Path, configure: Configure, text: str
) -> None:
    configure(text)
    with pytest.raises(InputError, match=r"config\.toml"):
        ocimlpack.pull(pushed, tmp_path / "out")
    assert scripted.requests == []
    assert not (tmp_path / "out").exists()


def test_what_is_no_mirror_is_refused(scripted: ScriptedRegistry, pushed: str) -> None:
    with pytest.raises(InputError, match="mirror"):
        ocimlpack.inspect(pushed, mirrors=["cache.example.com"])
    assert scripted.requests == []
