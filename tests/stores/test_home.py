from __future__ import annotations

import pwd
from pathlib import Path
from typing import NoReturn

import pytest

from ocimlpack.cli.main import main
from ocimlpack.errors import InputError
from ocimlpack.stores import home, settings


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a name, as containers have them, and nobody says where the home is."""

    def nobody(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    names = ("DATA", "STATE", "CACHE", "CONFIG")
    for name in ("HOME", "OCIMLPACK_HOME", *(f"XDG_{each}_HOME" for each in names)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("place", [home.store, home.digests, home.uploads, home.audit])
def test_without_a_home_it_is_said_what_to_set(place: object) -> None:
    assert callable(place)
    with pytest.raises(InputError, match="no home folder") as caught:
        place()
    assert "OCIMLPACK_HOME" in str(caught.value.hint)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_there_is_no_configuration_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.VARIABLE, raising=False)
    assert settings.path() is None
    assert settings.load() == settings.Settings()


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("arguments", [("ls",), ("audit",), ("doctor",)])
def test_commands_without_a_home_end_with_a_sentence(
    arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments]) == InputError.exit_code
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.usefixtures("homeless")
def test_a_folder_of_one_s_choice_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIMLPACK_HOME", str(tmp_path / "chosen"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.bin").write_bytes(b"weights")
    assert main(["pack", str(tmp_path / "model"), "-t", "minilm:1.0"]) == 0
    assert main(["doctor"]) == 0
