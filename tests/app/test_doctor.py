"""The page that doctor makes: what is on it, what never is, and when the exit code is not 0."""

from __future__ import annotations

import base64
import email.utils
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from ocimlpack.app.diagnosis import Diagnosis, Fact
from ocimlpack.cli import render
from ocimlpack.errors import InputError, InvalidReferenceError
from ocimlpack.stores import credentials
from tests.scripted.auth import IDENTITY, PASSWORD, SECRETS, USERNAME
from tests.scripted.exchange import Reply, Request
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry
from tests.scripted.server import Server

PROXY_SECRET = "proxy-open-sesame"


def facts(page: Diagnosis, section: str) -> dict[str, Fact]:
    (found,) = [each for each in page.sections if each.name == section]
    return {fact.name: fact for fact in found.facts}


def names(page: Diagnosis) -> list[str]:
    return [section.name for section in page.sections]


def texts(page: Diagnosis) -> tuple[str, str]:
    """The page as a person and as a program sees it."""
    return "\n".join(render.diagnosis(page)), render.document(page)


def problems(page: Diagnosis) -> str:
    return "\n".join(f"{finding.problem} | {finding.help}" for finding in page.findings)


@pytest.fixture
def able(scripted: ScriptedRegistry) -> ScriptedRegistry:
    scripted.quirks.referrers = True
    scripted.content.add_artifact(REPOSITORY, b"some weights of a model")
    return scripted


# What is on it


def test_without_a_reference_it_is_about_this_machine() -> None:
    page = ocimlpack.doctor()
    assert names(page)[:3] == ["versions", "configuration", "folders"]
    assert "connection" not in names(page)
    assert facts(page, "versions")["ocimlpack"].value == ocimlpack.__version__
    assert (page.exit_code, page.findings, page.reference) == (0, (), "")
    assert abs(time.time() - _moment(page.made)) < 60


def _moment(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_a_host_alone_is_asked_for_what_needs_no_repository(able: ScriptedRegistry) -> None:
    for reference in (able.host, f"oci://{able.host}", f"{able.host}/"):
        page = ocimlpack.doctor(reference)
        assert facts(page, "abilities").keys() == {"list of repositories"}
        assert facts(page, "connection")["address"].state == "ok"
    assert {each.path for each in able.requests} == {"/v2/", "/v2/_catalog"}


def test_a_model_shows_all_that_a_registry_can_do(able: ScriptedRegistry) -> None:
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    assert (page.exit_code, page.findings) == (0, ())
    states = {fact.state for name, fact in facts(page, "abilities").items()}
    assert states == {"ok", ""}
    assert facts(page, "connection")["login"].value == "not asked for"


def test_what_is_missing_has_something_instead(able: ScriptedRegistry) -> None:
    able.quirks.referrers = False
    able.quirks.patch = 405
    able.quirks.types = r"application/vnd\.oci\.image\."
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    found = facts(page, "abilities")
    assert found["list of referrers"].instead == "a tag lists them, sha256-DIGEST"
    assert found["uploads in parts"].instead.startswith("each file goes in one request")
    assert "--image-config" in problems(page)
    assert page.exit_code == 0


def test_a_limit_that_an_upload_has_found_is_shown(able: ScriptedRegistry, tmp_path: Path) -> None:
    able.quirks.chunk_maximum = 2 * 1024**2
    model = tmp_path / "model"
    model.mkdir()
    (model / "a.bin").write_bytes(bytes(range(256)) * 4096 * 4)
    ocimlpack.push(model, f"{able.host}/{REPOSITORY}:v2")
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    assert facts(page, "abilities")["largest request"].value.startswith("2,097,152 bytes")


def test_the_same_page_again_differs_only_in_time(able: ScriptedRegistry) -> None:
    def page() -> list[str]:
        lines = render.diagnosis(ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1"))
        return [line for line in lines[1:] if " ms" not in line and "GiB free" not in line]

    assert page() == page()


def test_every_line_can_be_pasted(able: ScriptedRegistry) -> None:
    able.quirks.deletion = able.quirks.untag = 405
    able.fault("GET", "^/v2/$", status=418, headers={"Server": "\x1b[31m" + "x" * 200})
    lines = render.diagnosis(ocimlpack.doctor(f"{able.host}/nobody/here"))
    assert max(map(len, lines)) <= 100
    assert all(line.isprintable() and line.isascii() for line in lines)


@pytest.mark.parametrize(
    "reference", [".", "./model", "oci:layout", "oci-archive:a.tar", "/tmp", "team/minilm"]
)
def test_what_is_no_registry_is_refused(reference: str) -> None:
    with pytest.raises(InputError) as caught:
        ocimlpack.doctor(reference)
    assert "doctor HOST" in str(caught.value.hint)


@pytest.mark.parametrize("reference", ["", " ", "a b", "-x", "host:99999", "h.example/UPPER"])
def test_nonsense_is_refused(reference: str) -> None:
    with pytest.raises(InvalidReferenceError):
        ocimlpack.doctor(reference)


# What is never on it


def test_no_secret_is_on_the_page(able: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    able.auth.mode = "bearer"
    credentials.store(able.host, USERNAME, PASSWORD)
    monkeypatch.setenv("HTTPS_PROXY", f"http://mia:{PROXY_SECRET}@proxy.example:3128")
    monkeypatch.setenv("OCIMLPACK_SECRET", PROXY_SECRET)
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    assert page.exit_code == 0
    assert facts(page, "connection")["login"].state == "ok"
    tokens = list(able.auth.tokens)
    assert tokens
    for text in texts(page):
        assert not any(secret in text for secret in (*SECRETS, *tokens, PROXY_SECRET))
        assert USERNAME in text
        assert "HTTPS_PROXY" in text


@pytest.mark.parametrize("wrong", [True, False])
def test_nor_of_credentials_that_are_refused(able: ScriptedRegistry, wrong: bool) -> None:
    able.auth.mode = "basic"
    able.auth.password = "another one" if wrong else PASSWORD
    credentials.store(able.host, USERNAME, PASSWORD)
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    assert page.exit_code == (4 if wrong else 0)
    for text in texts(page):
        assert not any(secret in text for secret in SECRETS)


def test_nor_an_identity_token(able: ScriptedRegistry) -> None:
    able.auth.mode = "bearer"
    able.auth.identity_token = IDENTITY
    credentials.store(able.host, "<token>", IDENTITY)
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    assert facts(page, "connection")["credentials"].value.startswith("a token, from ")
    assert page.exit_code == 0
    assert all(IDENTITY not in text for text in texts(page))


def test_nor_what_a_docker_config_holds_that_can_not_be_read(able: ScriptedRegistry) -> None:
    path = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    path.parent.mkdir()
    path.write_text('{"auths": {"x": {"auth": "' + PASSWORD)
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    assert page.exit_code == 2
    assert "is not valid JSON" in problems(page)
    assert all(PASSWORD not in text for text in texts(page))
    assert facts(page, "abilities")["parts of blobs"].state == "ok"  # it goes on without


def test_nor_the_user_s_name_in_a_path() -> None:
    home = str(Path.home())
    for text in texts(ocimlpack.doctor()):
        assert home not in text
        assert "~/" in text


@pytest.mark.parametrize("form", ["http://mia:{}@127.0.0.1:1", "mia:{}@127.0.0.1:1"])
def test_a_proxy_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", form.format(PROXY_SECRET))
    page = ocimlpack.doctor("registry.example/team/minilm")
    shown = facts(page, "connection")["proxy"].value
    assert shown == "http://127.0.0.1:1 (with a password, not shown)"
    assert page.exit_code == 6
    assert all(PROXY_SECRET not in text for text in texts(page))


# Credentials, proxies, trust


def test_a_host_that_is_exempt_from_the_proxy_is_said_to_be(
    able: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    page = ocimlpack.doctor(able.host)
    assert facts(page, "connection")["proxy"].value.startswith("none: the environment's")


def test_where_credentials_come_from_is_said(able: ScriptedRegistry) -> None:
    credentials.store(able.host, USERNAME, PASSWORD)
    path = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    path.chmod(0o644)
    page = ocimlpack.doctor(able.host)
    said = facts(page, "connection")["credentials"].value
    assert said == f"password of {USERNAME}, from ~/.docker/config.json"
    assert "chmod 600" in problems(page)
    assert page.exit_code == 0


def test_a_helper_that_is_missing_stops_every_transfer(able: ScriptedRegistry) -> None:
    path = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"credHelpers": {able.host: "nowhere"}}))
    page = ocimlpack.doctor(able.host)
    assert page.exit_code == 4
    assert "docker-credential-nowhere" in problems(page)


def test_without_credentials_where_some_are_wanted(able: ScriptedRegistry) -> None:
    able.auth.mode = "basic"
    for reference in (able.host, f"{able.host}/{REPOSITORY}", f"{able.host}/{REPOSITORY}:v1"):
        page = ocimlpack.doctor(reference)
        assert page.exit_code == 4
        assert f"ocimlpack login {able.host}" in problems(page)
        assert facts(page, "connection")["login"].state == "no"


def test_content_that_everybody_may_read_needs_no_credentials(able: ScriptedRegistry) -> None:
    able.auth.mode = "bearer"
    able.auth.anonymous = frozenset({"pull"})
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    assert page.exit_code == 0
    found = facts(page, "abilities")
    assert found["parts of blobs"].state == "ok"
    assert found["uploads"].state == "unknown"


def test_an_encrypted_connection_is_described(encrypted: ScriptedRegistry, ca_file: Path) -> None:
    encrypted.content.add_artifact(REPOSITORY, b"some weights of a model")
    reference = f"{encrypted.host}/{REPOSITORY}:v1"
    page = ocimlpack.doctor(reference, ca_file=ca_file)
    found = facts(page, "connection")
    assert found["encryption"].value.startswith("TLSv1.")
    assert "certificate by trustme" in found["encryption"].value
    assert found["authorities"].value.startswith("--ca-file: ")
    assert page.exit_code == 0


def test_a_certificate_that_nobody_trusts(encrypted: ScriptedRegistry) -> None:
    page = ocimlpack.doctor(f"{encrypted.host}/{REPOSITORY}", plain_http=False)
    assert page.exit_code == 6
    assert "--ca-file" in problems(page)
    assert facts(page, "connection")["address"].state == "no"
    assert "abilities" not in names(page)


def test_a_certificate_that_is_not_looked_at(encrypted: ScriptedRegistry) -> None:
    page = ocimlpack.doctor(encrypted.host, insecure=True)
    found = facts(page, "connection")
    assert "--insecure" in found["authorities"].value
    assert found["encryption"].value.startswith("TLSv1.")
    assert page.exit_code == 0


def test_a_certificate_that_ends_soon(
    encrypted: ScriptedRegistry, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocimlpack.app.connection._SOON", 10**11)
    page = ocimlpack.doctor(encrypted.host, ca_file=ca_file)
    assert facts(page, "connection")["encryption"].state == "no"
    assert "ends on" in problems(page)


def test_authorities_that_can_not_be_used(tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("nothing of use")
    page = ocimlpack.doctor("registry.example", ca_file=broken)
    assert page.exit_code == 2
    assert str(broken) in problems(page)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_authorities_that_the_environment_names(
    encrypted: ScriptedRegistry,
    ca_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, str(ca_file))
    page = ocimlpack.doctor(encrypted.host, plain_http=False)
    assert facts(page, "connection")["authorities"].value.startswith(variable)
    assert page.exit_code == 0


# The clock


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        (0, "ok", "in step"),
        (30, "ok", "30 s ahead of"),
        (-30, "ok", "s behind"),
        (90, "no", "90 s ahead of"),
        (-4000, "no", "Oracle Cloud"),
    ],
)
def test_a_clock_that_is_wrong(able: ScriptedRegistry, ahead: int, state: str, words: str) -> None:
    date = email.utils.formatdate(time.time() - ahead, usegmt=True)
    able.fault("GET", "^/v2/$", status=200, headers={"Date": date}, body=b"{}")
    page = ocimlpack.doctor(able.host)
    fact = facts(page, "connection")["clock"]
    assert fact.state == state
    assert words in fact.value + problems(page)
    assert bool(page.findings) == (state == "no")
    assert page.exit_code == 0


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Nov 2026 11:41:39 GMT"])
def test_a_registry_that_tells_no_time(able: ScriptedRegistry, date: str) -> None:
    able.fault("GET", "^/v2/$", status=200, headers={"Date": date}, body=b"{}")
    assert facts(ocimlpack.doctor(able.host), "connection")["clock"].state == "unknown"


# The registry is not there, or is none


def test_a_registry_that_is_not_there_is_said_soon() -> None:
    began = time.monotonic()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        page = ocimlpack.doctor(f"127.0.0.1:{closed.getsockname()[1]}/{REPOSITORY}")
    assert page.exit_code == 6
    assert "can't connect" in problems(page)
    assert time.monotonic() - began < 5


@pytest.fixture
def silent() -> Iterator[str]:
    """Somebody who takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_registry_that_says_nothing_is_not_waited_for(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocimlpack.app import connection

    assert connection._WAIT < 10
    monkeypatch.setattr(connection, "_WAIT", 0.3)
    began = time.monotonic()
    page = ocimlpack.doctor(f"{silent}/{REPOSITORY}")
    assert page.exit_code == 6
    assert time.monotonic() - began < 3


def test_something_else_than_a_registry() -> None:
    def answer(_: Request, __: bytes) -> Reply:
        return Reply(404, {"Content-Type": "text/html", "Server": "teapot/1"}, b"<html>")

    with Server(answer) as server:
        page = ocimlpack.doctor(f"{server.host}/{REPOSITORY}")
    assert "a registry answers 200 or 401" in problems(page)
    assert "teapot/1" in facts(page, "connection")["address"].value
    assert not {fact.state for fact in facts(page, "abilities").values()} & {"ok"}


def test_a_registry_that_dies_on_the_way(able: ScriptedRegistry) -> None:
    able.fault(nth=2, times=None, drop="before")
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")
    assert page.exit_code == 6
    assert facts(page, "connection")["address"].state == "ok"


def test_a_model_that_is_not_there(able: ScriptedRegistry) -> None:
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v9")
    assert page.exit_code == 0
    assert f"there is no v9 in {able.host}/{REPOSITORY}" in problems(page)


def test_a_repository_that_is_not_there_is_not_made(able: ScriptedRegistry) -> None:
    page = ocimlpack.doctor(f"{able.host}/nobody/here")
    assert page.exit_code == 0
    assert "--write" in problems(page)
    assert {each.method for each in able.requests} <= {"GET", "HEAD"}


def test_nothing_is_written_where_that_is_not_wanted(able: ScriptedRegistry) -> None:
    page = ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1", write=False)
    assert page.findings == ()
    assert {each.method for each in able.requests} <= {"GET", "HEAD"}


# This machine


def test_a_configuration_file_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("mirrors = 1\n")
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(path))
    page = ocimlpack.doctor()
    assert page.exit_code == 2
    assert "mirrors is not a table" in problems(page)
    assert facts(page, "configuration")["file"].state == "no"


def test_mirrors_are_shown(
    able: ScriptedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[mirrors]\n"{able.host}" = ["http://127.0.0.1:7/b"]\n')
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(path))
    page = ocimlpack.doctor(able.host, mirrors=["http://127.0.0.1:6/a"])
    shown = facts(page, "configuration")["mirrors"].value
    assert shown == "http://127.0.0.1:6/a, http://127.0.0.1:7/b"


def test_a_second_place_is_shown(
    able: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[fallback]\n"{able.host}" = "oci:{tmp_path}/second"\n')
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(path))
    found = facts(ocimlpack.doctor(f"{able.host}/{REPOSITORY}"), "configuration")
    assert found["fallback"].value == f"oci:{tmp_path}/second/{REPOSITORY}, on-failure"
    monkeypatch.delenv("OCIMLPACK_CONFIG")
    found = facts(ocimlpack.doctor(f"{able.host}/{REPOSITORY}"), "configuration")
    assert found["fallback"].value == "none"


def test_a_folder_that_can_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # for tests are also run by root
    page = ocimlpack.doctor()
    assert facts(page, "folders")["store"].state == "no"
    assert "can't be written" in problems(page)


def test_a_folder_whose_place_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    monkeypatch.setenv("OCIMLPACK_HOME", str(place))
    page = ocimlpack.doctor()
    assert facts(page, "folders")["store"].state == "no"


def test_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocimlpack.app.machine._SCARCE", 2**60)
    page = ocimlpack.doctor()
    assert "little room" in problems(page)
    assert page.exit_code == 0


def test_the_page_is_json_as_it_is(able: ScriptedRegistry) -> None:
    page: Any = json.loads(render.document(ocimlpack.doctor(f"{able.host}/{REPOSITORY}:v1")))
    assert page.keys() == {"reference", "made", "sections", "findings", "exit_code"}
    found = {section["name"]: section["facts"] for section in page["sections"]}
    assert {"name": "uploads", "value": "", "state": "ok", "instead": ""} in found["abilities"]


def test_the_password_that_a_test_looks_for_is_the_one_that_is_sent(
    able: ScriptedRegistry,
) -> None:
    able.auth.mode = "basic"
    credentials.store(able.host, USERNAME, PASSWORD)
    ocimlpack.doctor(able.host)
    sent = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    assert any(sent in each.header("authorization") for each in able.requests)


# Oracle Cloud


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A profile of an API key, with a pass phrase."""
    path = Path.home() / ".oci" / "config"
    path.parent.mkdir()
    path.write_text(
        "[DEFAULT]\n"
        "user=ocid1.user.oc1..aaaaaaaauser00000000000000000000000000\n"
        "tenancy=ocid1.tenancy.oc1..aaaaaaaatenancy000000000000000123456\n"
        "fingerprint=00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff\n"
        f"key_file={tmp_path / 'key.pem'}\n"
        f"pass_phrase={PROXY_SECRET}\n"
        "region=us-ashburn-1\n"
    )
    path.chmod(0o600)
    return path


def test_who_one_is_at_oracle_cloud_and_why(profile: Path) -> None:
    page = ocimlpack.doctor()
    found = {name: fact.value for name, fact in facts(page, "identity").items()}
    assert found == {
        "kind": "api_key",
        "why": "profile DEFAULT of ~/.oci/config",
        "region": "us-ashburn-1",
        "tenancy": "ocid1.tenancy.oc1..aaa123456".replace("aaa", "..."),
    }
    for text in texts(page):
        assert PROXY_SECRET not in text
        assert "aaaaaaaa" not in text


def test_at_another_registry_that_is_no_matter(able: ScriptedRegistry, profile: Path) -> None:
    assert profile.exists()
    assert "identity" not in names(ocimlpack.doctor(able.host))


def test_without_one_a_location_in_oracle_cloud_leads_nowhere() -> None:
    page = ocimlpack.doctor("ocir://us-ashburn-1/team/minilm")
    assert page.exit_code == 4
    assert facts(page, "identity")["kind"].state == "unknown"
    assert "no identity for Oracle Cloud" in problems(page)
    assert "connection" not in names(page)


def test_a_wrong_profile_stops_nothing_but_oracle_cloud(
    profile: Path, able: ScriptedRegistry
) -> None:
    profile.write_text("nonsense")
    assert ocimlpack.doctor(able.host).exit_code == 0
    page = ocimlpack.doctor()
    assert page.exit_code == 0
    assert facts(page, "identity")["kind"].state == "no"
    assert page.findings
    assert ocimlpack.doctor("ocir://us-ashburn-1/team/minilm").exit_code == 2
