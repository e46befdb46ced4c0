from __future__ import annotations

from ocimlpack.app.transfers import Pulled
from tests.cli.conftest import DIGEST, App, Run


def test_durable_is_handed_on_where_it_is_given(app: App, run: Run) -> None:
    app.answers["pull"] = Pulled("m", f"localhost:5000/m@{DIGEST}", DIGEST, 1, 1, 1, 0)
    assert run("pull", "localhost:5000/m", "--durable").code == 0
    assert run("pull", "localhost:5000/m").code == 0
    first, second = app.calls
    assert first.options["durable"] is True
    assert "durable" not in second.options


def test_durable_does_not_go_with_standard_output(app: App, run: Run) -> None:
    ran = run("pull", "localhost:5000/m", "-o", "-", "--durable")
    assert ran.code == 2
    assert "--durable" in ran.stderr
    assert app.calls == []
