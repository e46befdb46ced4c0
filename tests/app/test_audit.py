"""What the commands write into the audit log."""

from __future__ import annotations

import base64
import getpass
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ocimlpack
from ocimlpack.cli.main import main
from ocimlpack.errors import InputError, OcimlpackError, UnreachableError
from ocimlpack.progress import Event, Warned
from ocimlpack.stores import chain, home
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry


@pytest.fixture
def place(scripted: ScriptedRegistry) -> str:
    return f"{scripted.host}/{REPOSITORY}"


def test_a_push_is_a_line(place: str, model: Path) -> None:
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
    assert record.user == getpass.getuser()
    age = datetime.now(UTC) - datetime.fromisoformat(record.time)
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert (trail.lines, trail.broken, trail.incomplete) == (1, (), ())


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
    scripted.auth.mode = "basic"
    username, password = scripted.auth.username, scripted.auth.password
    docker = Path(os.environ["DOCKER_CONFIG"])
    docker.mkdir(parents=True)
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    config = {"auths": {scripted.host: {"auth": auth}}}
    (docker / "config.json").write_text(json.dumps(config))
    ocimlpack.push(model, f"{place}:1.0")
    (record,) = ocimlpack.audit().records
    assert (record.identity, record.account) == ("docker-config", username)
    text = home.audit().read_text()
    for secret in (password, auth):
        assert secret not in text


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


def test_a_log_that_cannot_be_written_fails_no_push(place: str, model: Path) -> None:
    home.audit().mkdir(parents=True)
    events: list[Event] = []
    ocimlpack.push(model, f"{place}:1.0", report=events.append)
    (said,) = [event.message for event in events if isinstance(event, Warned)]
    assert said.startswith("this is not in the audit log: ")


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
    for nonsense in ("yesterday", "5y", "-1d", ""):
        if nonsense:
            with pytest.raises(InputError, match="neither a time nor an age"):
                ocimlpack.audit(nonsense)


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
    log = home.audit()
    log.write_bytes(log.read_bytes().replace(b'"push"', b'"pull"'))
    assert main(["audit", "--json"]) == 5
    out, err = capfd.readouterr()
    assert "line 2 does not follow from the one before" in err
    assert '"broken": [\n    2\n  ]' in out
