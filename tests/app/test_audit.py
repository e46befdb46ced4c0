"""What the commands write into the audit log."""

from __future__ import annotations

import base64
import errno
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ocimlpack
from ocimlpack.app import audit as log
from ocimlpack.cli.main import main
from ocimlpack.errors import ConflictError, InputError, OcimlpackError, UnreachableError
from ocimlpack.progress import Event
from ocimlpack.stores import chain, home
from tests.scripted.blobs import BlobServer
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

DEAD = "127.0.0.1:9"
"""Nobody listens there."""


@pytest.fixture
def place(scripted: ScriptedRegistry) -> str:
    return f"{scripted.host}/{REPOSITORY}"


def log_in(registry: ScriptedRegistry) -> tuple[str, ...]:
    """Make a registry want credentials, and store them; returns what of them is secret."""
    registry.auth.mode = "basic"
    username, password = registry.auth.username, registry.auth.password
    docker = Path(os.environ["DOCKER_CONFIG"])
    docker.mkdir(parents=True)
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    return password, auth


def recorded() -> ocimlpack.AuditRecord:
    """The only line."""
    (record,) = ocimlpack.audit().records
    return record


def test_a_push_is_a_line(place: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "mallory")
    done = ocimlpack.push(model, f"{place}:1.0", tags=["stable"])
    trail = ocimlpack.audit()
    (record,) = trail.records
    assert record.action == "push"
    assert record.reference == f"{place}:1.0"
    assert record.digest == done.digest
    assert record.tags == ("1.0", "stable")
    assert (record.result, record.reason) == ("ok", None)
    assert record.size == done.moved > 0
    assert record.identity == "anonymous"
    assert record.user == pwd.getpwuid(os.getuid()).pw_name != "mallory"
    age = datetime.now(UTC) - datetime.fromisoformat(record.time)
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert (trail.lines, trail.breaks, trail.incomplete) == (1, (), ())


def test_a_push_that_only_sets_a_tag_is_a_line(place: str, model: Path) -> None:
    ocimlpack.push(model, f"{place}:1.0")
    ocimlpack.push(model, f"{place}:1.1")
    first, second = ocimlpack.audit().records
    assert (second.tags, second.size) == (("1.1",), 0)
    assert second.digest == first.digest


def test_tag_copy_and_rm_are_lines_each(place: str, model: Path) -> None:
    ocimlpack.push(model, f"{place}:1.0")
    ocimlpack.tag(f"{place}:1.0", "a", "b")
    ocimlpack.copy(f"{place}:1.0", f"{place}-copy:2.0")
    ocimlpack.rm(f"{place}:a")
    records = ocimlpack.audit().records
    assert [record.action for record in records] == ["push", "tag", "copy", "rm"]
    assert records[1].tags == ("a", "b")
    assert records[2].reference == f"{place}-copy:2.0"
    assert {record.digest for record in records} == {records[0].digest}


def test_what_changes_nothing_far_away_is_no_line(
    place: str, model: Path, layout: str, tmp_path: Path
) -> None:
    ocimlpack.pack(model, f"{layout}:1.0")
    ocimlpack.push(model, f"{layout}:1.1")
    ocimlpack.copy(f"{layout}:1.0", f"oci:{tmp_path / 'other'}:1.0")
    ocimlpack.tag(f"{layout}:1.0", "x")
    ocimlpack.rm(f"{layout}:x")
    ocimlpack.push(model, f"{place}:1.0", dry_run=True)
    assert ocimlpack.audit().lines == 0
    ocimlpack.push(model, f"{place}:1.0")
    ocimlpack.pull(f"{place}:1.0", tmp_path / "out")
    ocimlpack.inspect(f"{place}:1.0")
    assert ocimlpack.audit().lines == 1


def test_a_failure_is_a_line_too(model: Path) -> None:
    with pytest.raises(UnreachableError):
        ocimlpack.push(model, "127.0.0.1:9/a/b:1.0")
    (record,) = ocimlpack.audit().records
    assert (record.result, record.digest, record.size) == ("unreachable", None, 0)
    assert record.reason is not None
    assert "127.0.0.1:9" in record.reason


def test_who_one_was_is_in_it_and_no_secret(
    scripted: ScriptedRegistry, place: str, model: Path
) -> None:
    secrets = log_in(scripted)
    ocimlpack.push(model, f"{place}:1.0")
    record = recorded()
    assert (record.identity, record.account) == ("docker-config", scripted.auth.username)
    text = home.audit().read_text()
    for secret in secrets:
        assert secret not in text


def test_who_one_is_at_the_source_or_the_fallback_is_not_who_changed_something(
    scripted: ScriptedRegistry, foreign: ScriptedRegistry, place: str, model: Path, layout: str
) -> None:
    log_in(scripted)
    other = f"{foreign.host}/other"
    ocimlpack.pack(model, f"{layout}:1.0")
    ocimlpack.push(model, f"{place}:1.0")
    ocimlpack.copy(f"{place}:1.0", f"{other}/copy:1.0")
    ocimlpack.push(model, f"{other}/push:1.0", fallback=f"{place}-2", fallback_mode="mirror")
    ocimlpack.push(model, f"{DEAD}/push:1.0", fallback=f"{place}-3")
    anonymous, alice = ("anonymous", None), ("docker-config", scripted.auth.username)
    records = ocimlpack.audit().records
    who = [(record.identity, record.account) for record in records]
    assert who == [alice, anonymous, anonymous, alice]


def test_where_it_went_instead_and_why(
    model: Path, layout: str, capfd: pytest.CaptureFixture[str]
) -> None:
    done = ocimlpack.push(model, f"{DEAD}/a/b:1.0", fallback=layout)
    record = recorded()
    assert (record.result, record.fallback, record.reason) == ("ok", done.fallback, done.reason)
    assert main(["audit"]) == 0
    assert f" instead in {layout} " in capfd.readouterr().out


def test_where_it_went_as_well(
    place: str, model: Path, layout: str, capfd: pytest.CaptureFixture[str]
) -> None:
    done = ocimlpack.push(model, f"{place}:1.0", fallback=layout, fallback_mode="mirror")
    record = recorded()
    assert (record.fallback, record.reason) == (done.fallback, None)
    assert record.size == 2 * done.moved
    assert main(["audit"]) == 0
    assert f" also in {layout} " in capfd.readouterr().out


def test_what_a_push_has_changed_before_it_failed_is_in_its_line(place: str, model: Path) -> None:
    with pytest.raises(UnreachableError):
        ocimlpack.push(model, f"{place}:1.0", fallback=f"{DEAD}/b", fallback_mode="mirror")
    record = recorded()
    assert record.result == "unreachable"
    assert record.digest == ocimlpack.inspect(f"{place}:1.0").digest
    assert record.tags == ("1.0",)
    assert record.size > 0


def test_bytes_that_went_over_are_counted_though_the_push_failed(
    scripted: ScriptedRegistry, place: str, model: Path
) -> None:
    scripted.fault("PUT", "/manifests/", status=403, times=None)
    with pytest.raises(OcimlpackError):
        ocimlpack.push(model, f"{place}:1.0")
    assert recorded().size == sum(each.length for each in scripted.uploads) > 0


def test_a_sync_that_leaves_conflicts_says_so(place: str, model: Path, layout: str) -> None:
    ocimlpack.push(model, f"{place}:1.0")
    ocimlpack.push(model, f"{place}:only-here")
    (model / "new.txt").write_text("new")
    ocimlpack.push(model, f"{layout}:1.0")
    with pytest.raises(ConflictError):
        ocimlpack.sync(place, fallback=layout)
    record = ocimlpack.audit().records[-1]
    assert (record.action, record.result, record.tags) == (
        "bucket sync",
        "conflict",
        ("only-here",),
    )
    assert record.fallback == layout


def test_a_sync_that_fails_names_no_tag_that_it_did_not_bring(
    scripted: ScriptedRegistry, place: str, model: Path, layout: str
) -> None:
    ocimlpack.push(model, f"{layout}:1.0")
    scripted.fault("PUT", "/manifests/", status=403, times=None)
    with pytest.raises(OcimlpackError):
        ocimlpack.sync(place, fallback=layout)
    record = recorded()
    assert (record.action, record.result, record.tags) == ("bucket sync", "not_allowed", ())


def test_an_interruption_is_a_line(place: str, model: Path) -> None:
    def interrupt(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ocimlpack.push(model, f"{place}:1.0", report=interrupt)
    assert (recorded().result, recorded().reason) == ("interrupted", None)


def test_more_tags_than_a_line_should_have(place: str, model: Path) -> None:
    ocimlpack.push(model, f"{place}:1.0")
    names = [f"{number}-{'x' * 100}" for number in range(1000)]
    ocimlpack.tag(f"{place}:1.0", *names)
    record = ocimlpack.audit().records[-1]
    assert record.tags == (*names[:100], "and 900 more")


def test_no_query_string_and_no_user_in_an_address(
    scripted: ScriptedRegistry, place: str, model: Path
) -> None:
    said = "see https://alice:secret@store.example.com/a?sig=SIGNATURE&x=1 and http://b?token=T"
    body = json.dumps({"errors": [{"code": "DENIED", "message": said}]}).encode()
    scripted.fault("PUT", "/manifests/", status=403, body=body, times=None)
    with pytest.raises(OcimlpackError, match="SIGNATURE"):
        ocimlpack.push(model, f"{place}:1.0")
    (record,) = ocimlpack.audit().records
    assert record.reason is not None
    assert "https://store.example.com/a and http://b" in record.reason
    text = home.audit().read_text()
    for secret in ("SIGNATURE", "secret", "token=T"):
        assert secret not in text


def test_nothing_of_a_signed_address_that_a_registry_redirects_to(
    scripted: ScriptedRegistry, blob_server: BlobServer, place: str, model: Path
) -> None:
    secrets = log_in(scripted)
    ocimlpack.push(model, f"{place}:1.0")
    home.audit().unlink()
    scripted.quirks.redirect = f"{blob_server.url}/{{digest}}?X-Amz-Signature=SIGNATURE&x=1"
    said = f"<Error>{blob_server.url}/a?X-Amz-Signature=SIGNATURE expired</Error>"
    blob_server.fault(status=403, body=said.encode(), times=None)
    with ScriptedRegistry("127.0.0.3") as empty, pytest.raises(OcimlpackError):
        ocimlpack.copy(f"{place}:1.0", f"{empty.host}/copy:1.0", patience=1)
    assert any("SIGNATURE" in request.target for request in blob_server.asked("GET", "/"))
    record = recorded()
    assert (record.action, record.size) == ("copy", 0)
    assert record.reason
    text = home.audit().read_text()
    for secret in (*secrets, "SIGNATURE", "X-Amz"):
        assert secret not in text


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("GET /v2/a?sig=S3CRET: no", "GET /v2/a no"),
        ("see //h/p#access_token=S3CRET", "see //h/p"),
        ("https://u:S3CRET@h/p?S3CRET", "https://h/p"),
        ("HTTPS://u:S3CRET@h", "HTTPS://h"),
        ("refused Authorization: Bearer S3CRET.aaaaaaaaaaaaaa", "refused Authorization: Bearer …"),
        ("no https://h/p/S3CRET-0123456789abcdef/n/ns/b/o", "no https://h/p/…/n/ns/b/o"),
        ("Basic authentication is needed", "Basic authentication is needed"),
        ("is it there? try x=1", "is it there? try x=1"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_what_could_be_secret_is_cut_out(said: str, left: str) -> None:
    options: Any = {}
    with (
        pytest.raises(OcimlpackError),
        log.recording("test", "somewhere", options),
    ):
        raise OcimlpackError(said)
    assert recorded().reason == left
    assert "S3CRET" not in home.audit().read_text()


def directory(monkeypatch: pytest.MonkeyPatch) -> None:
    home.audit().mkdir(parents=True)


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(chain, "_write", full)


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(chain, "_opened", refuse)


def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(home, "audit", homeless)


@pytest.mark.parametrize(
    ("breakage", "why"),
    [
        (directory, "Is a directory"),
        (full_disk, "no room left"),
        (read_only, "Read-only file system"),
        (no_home, "home directory"),
    ],
)
def test_a_log_that_cannot_be_written_fails_no_push(
    breakage: Callable[[pytest.MonkeyPatch], None],
    why: str,
    place: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    breakage(monkeypatch)
    assert main(["push", str(model), f"{place}:1.0"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"{place}@sha256:")
    (said,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert said.startswith("warning: this is not in the audit log: ")
    assert why in said


def test_a_log_that_cannot_be_written_hides_no_error(model: Path) -> None:
    home.audit().mkdir(parents=True)
    with pytest.raises(UnreachableError, match=DEAD):
        ocimlpack.push(model, f"{DEAD}/a/b:1.0")


def test_a_pull_loads_nothing_of_it() -> None:
    modules = "import sys, ocimlpack.app.pulling; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", modules], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "ocimlpack.app.fallback" in loaded
    assert loaded.isdisjoint({"ocimlpack.app.audit", "ocimlpack.stores.chain"})


def test_since(place: str, model: Path) -> None:
    ocimlpack.push(model, f"{place}:1.0")
    old = {"time": "2020-01-01T00:00:00.000+00:00", "action": "rm", "reference": "x"}
    chain.append(home.audit(), old)
    assert len(ocimlpack.audit().records) == 2
    for since in ("1h", "30m", "2d", "1w", "2024-05-01", "2024-05-01T10:00+02:00"):
        trail = ocimlpack.audit(since)
        assert [record.action for record in trail.records] == ["push"], since
        assert trail.lines == 2
    assert ocimlpack.audit("0s").records == ()


@pytest.mark.parametrize(
    "nonsense",
    [
        "yesterday",
        "5y",
        "-1d",
        "",
        "\u0661h",
        "999999d",
        "99999999999999w",
        "0001-01-01T00:00+14:00",
    ],
)
def test_what_is_neither_a_time_nor_an_age(nonsense: str) -> None:
    with pytest.raises(InputError, match="neither a time nor an age"):
        ocimlpack.audit(nonsense)


def test_a_clock_that_goes_backwards_breaks_nothing(
    place: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ocimlpack.push(model, f"{place}:1.0")

    earlier = SimpleNamespace(now=lambda zone: datetime.now(zone) - timedelta(days=3))
    with monkeypatch.context() as patch:
        patch.setattr(log, "datetime", earlier)
        ocimlpack.tag(f"{place}:1.0", "stable")
    trail = ocimlpack.audit()
    assert [record.action for record in trail.records] == ["push", "tag"]
    assert trail.records[1].time < trail.records[0].time
    assert trail.breaks == ()
    assert [record.action for record in ocimlpack.audit("1d").records] == ["push"]


def test_the_command_prints_and_checks(
    place: str, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "nothing was changed from here yet" in err
    digest = ocimlpack.push(model, f"{place}:1.0").digest
    ocimlpack.tag(f"{place}:1.0", "stable")
    assert main(["audit"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("TIME (UTC)")
    assert f"{place}:1.0@{digest[:19]}" in lines[1]
    assert "(stable)" in lines[2]


def test_the_command_names_what_was_changed_and_still_prints_the_rest(
    place: str, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ocimlpack.push(model, f"{place}:1.0")
    for name in ("a", "b"):
        ocimlpack.tag(f"{place}:1.0", name)
    path = home.audit()
    path.write_bytes(path.read_bytes().replace(b'"push"', b'"pull"'))
    assert main(["audit"]) == 5
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 4
    assert err == f"ocimlpack: {path} is not as it was written: line 1 was changed\n"
    assert main(["audit", "--json"]) == 5
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert found["breaks"] == [{"line": 1, "how": "changed"}]
    assert [record["action"] for record in found["records"]] == ["pull", "tag", "tag"]
    assert "line 1 was changed" in err
    assert main(["audit", "--since", "1h", "-q"]) == 5


def test_one_sentence_names_many_lines(
    place: str, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        chain.append(home.audit(), {"number": number})
    path = home.audit()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[1:3], lines[1], *lines[4::2]]))
    assert main(["audit"]) == 5
    (said,) = capfd.readouterr().err.splitlines()
    assert said.endswith(
        "what was before line 1 is gone; line 3 was put there later; what was before line 4 is "
        "gone; what was before line 5 is gone; what was before line 6 is gone; and 1 more"
    )


def test_a_line_that_nobody_finished_is_a_warning(
    place: str, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ocimlpack.push(model, f"{place}:1.0")
    with home.audit().open("ab") as stream:
        stream.write(b'{"time":"2026-')
    assert main(["audit"]) == 0
    assert "warning: line 2 is incomplete: the writer was stopped\n" in capfd.readouterr().err
    assert main(["audit", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["incomplete"] == [2]
    ocimlpack.tag(f"{place}:1.0", "stable")
    assert [record.line for record in ocimlpack.audit().records] == [1, 3]


def test_what_is_in_the_log_harms_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    chain.append(home.audit(), {"time": 3, "action": "\x1b[2J", "tags": {}, "bytes": "x"})
    assert main(["audit"]) == 0
    assert "\x1b" not in capfd.readouterr().out
