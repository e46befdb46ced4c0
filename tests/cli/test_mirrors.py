from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocimlpack.app.transfers import Pulled
from tests.cli.conftest import DIGEST, App, Run
from tests.scripted.fixtures import REPOSITORY
from tests.scripted.registry import ScriptedRegistry

READERS = ("pull", "copy", "push", "inspect")
URLS = ("http://127.0.0.1:5000", "https://cache.example.com/models")


@pytest.mark.parametrize("name", READERS)
def test_what_reads_takes_mirrors(run: Run, name: str) -> None:
    assert "--mirror URL" in run(name, "--help").stdout


@pytest.mark.parametrize("name", ["tag", "tags", "rm", "login", "repos", "verify"])
def test_what_reads_no_content_takes_none(run: Run, name: str) -> None:
    ran = run(name, "localhost:5000/m", "--mirror", URLS[0])
    assert ran.code == 2
    assert "--mirror" in ran.stderr


def test_mirrors_are_handed_on_in_order(app: App, run: Run) -> None:
    app.answers["pull"] = Pulled("m", f"localhost:5000/m@{DIGEST}", DIGEST, 1, 1, 1, 0)
    assert run("pull", "localhost:5000/m", "--mirror", URLS[0], "--mirror", URLS[1]).code == 0
    assert app.call.options["mirrors"] == URLS


def test_a_read_through_a_mirror_says_what_it_passes_over(
    scripted: ScriptedRegistry, foreign: ScriptedRegistry, run: Run, tmp_path: Path
) -> None:
    scripted.content.add_artifact(REPOSITORY, b"weights")
    foreign.fault(times=None, status=404)
    place = f"{scripted.host}/{REPOSITORY}:v1"
    ran = run("copy", place, f"oci:{tmp_path / 'layout'}", "--mirror", foreign.url)
    assert ran.code == 0, ran.stderr
    assert ran.stderr.count("warning: ") == 1
    assert f"warning: the mirror {foreign.url} is passed over" in ran.stderr


@pytest.mark.parametrize("text", ["mirrors = [", "[mirror]\n"])
def test_a_configuration_that_is_not_understood_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(config))
    ran = run("inspect", "localhost:5000/team/model:1.0")
    assert ran.code == 2
    assert str(config) in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_bad_address_is_one_sentence(run: Run) -> None:
    ran = run("inspect", "localhost:5000/m", "--mirror", "cache.example.com", "--json")
    assert ran.code == 2
    assert json.loads(ran.stdout)["error"]["kind"] == "bad_input"
