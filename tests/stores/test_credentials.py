from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

from ocimlpack.errors import InputError, NotAllowedError, OcimlpackError, UnavailableError
from ocimlpack.stores import credentials, docker_config
from ocimlpack.stores.credentials import Credential, erase, find, store

HUB = "https://index.docker.io/v1/"
Config = Callable[..., Path]
Helper = Callable[[str, str], None]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Writes the config file, of which every test has its own."""
    path = tmp_path / "docker" / "config.json"
    monkeypatch.setenv("DOCKER_CONFIG", str(path.parent))

    def write(content: Any = None, mode: int = 0o600) -> Path:
        if content is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            path.chmod(mode)
        return path

    return write


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """Makes a credential helper of a shell script; it finds its folder in $HERE."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("HERE", str(folder))

    def write(name: str, script: str) -> None:
        path = folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


MEMORY = """
read -r line; echo "$1 $line" >> "$HERE/asked"
case "$1" in
  get) if [ -f "$HERE/kept" ]; then cat "$HERE/kept"
       else echo "credentials not found in native keychain"; exit 1; fi ;;
  store) echo "$line" > "$HERE/kept" ;;
  erase) rm "$HERE/kept" ;;
esac
"""


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def basic(credential: Credential | None) -> tuple[str, str] | None:
    return (credential.username, credential.secret) if credential else None


def test_no_config_file_means_no_credentials(config: Config) -> None:
    config()
    assert find("r.example") is None
    assert erase("r.example") is False


def test_no_home_folder_means_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setattr(Path, "home", homeless)
    assert find("r.example") is None
    assert erase("r.example") is False
    with pytest.raises(InputError, match="no home folder"):
        store("r.example", "ann", "secret")


def test_the_file_lies_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store("r.example", "ann", "secret") == str(tmp_path / ".docker" / "config.json")
    assert basic(find("r.example")) == ("ann", "secret")


@pytest.mark.parametrize(
    "key",
    [
        "r.example:5000",
        "R.Example:5000",
        "https://r.example:5000",
        "https://r.example:5000/",
        "https://r.example:5000/v1/",
        "http://r.example:5000",
        "http://r.example:5000/v2",
        "r.example:5000/v2/",
    ],
)
def test_an_entry_is_found_by_any_spelling_of_its_host(config: Config, key: str) -> None:
    path = config({"auths": {"other": {"auth": "x"}, key: {"auth": encoded("ann:a:b:c")}}})
    found = find("r.example:5000")
    assert basic(found) == ("ann", "a:b:c")
    assert found is not None
    assert found.source == str(path)


@pytest.mark.parametrize(
    "key", ["r.example", "r.example:5001", "r.example:5000/team", "x.r.example:5000", ""]
)
def test_another_registrys_entry_is_not_taken(config: Config, key: str) -> None:
    config({"auths": {key: {"auth": encoded("ann:secret")}}})
    assert find("r.example:5000") is None


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize("key", [HUB, "docker.io", "https://index.docker.io/v2/"])
def test_docker_hub_is_one_registry_under_its_names(config: Config, host: str, key: str) -> None:
    special = {"https://index.docker.io/v1/access-token": {"auth": encoded("no:no")}}
    config({"auths": special | {key: {"auth": encoded("ann:secret")}}})
    assert basic(find(host)) == ("ann", "secret")


def test_the_spelling_that_docker_writes_comes_first(config: Config) -> None:
    old, new = {"auth": encoded("old:old")}, {"auth": encoded("new:new")}
    config({"auths": {"https://r.example/v1/": old, "r.example": new}})
    assert basic(find("r.example")) == ("new", "new")


def test_an_empty_entry_gives_way_to_another_spelling(config: Config) -> None:
    config({"auths": {"r.example": {}, "https://r.example": {"auth": encoded("ann:secret")}}})
    assert basic(find("r.example")) == ("ann", "secret")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"username": "ann", "password": "secret"}, Credential("ann", "secret")),
        ({"auth": "", "username": "ann", "password": "s"}, Credential("ann", "s")),
        ({"auth": encoded("ann:secret\n")}, Credential("ann", "secret")),
        ({"auth": encoded("ann:secret\0\0")}, Credential("ann", "secret")),
        ({"auth": encoded(":secret")}, Credential("", "secret")),
        ({"auth": encoded("ann:"), "identitytoken": "t"}, Credential("ann", "", "t")),
        ({"identitytoken": "t\n"}, Credential("", "", "t")),
        ({"auth": encoded("<token>:t")}, Credential("", "", "t")),
        ({"registrytoken": "t"}, Credential("", "", None, "t")),
        ({"auth": encoded("ann:")}, None),
        ({"email": "ann@example.com"}, None),
        ({"auth": None}, None),
        (None, None),
    ],
)
def test_an_entry_is_read_in_each_of_its_forms(
    config: Config, entry: Any, expected: Credential | None
) -> None:
    path = config({"auths": {"r.example": entry}})
    found = find("r.example")
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.source == str(path)
        for name in ("username", "secret", "identity_token", "registry_token"):
            assert getattr(found, name) == getattr(expected, name)


@pytest.mark.parametrize(
    "entry",
    [
        "hunter2",
        {"auth": encoded("ann:hunter2") + "!"},
        {"auth": encoded("hunter2")},
        {"auth": "/w=="},
        {"auth": ["hunter2"]},
        {"identitytoken": 7},
    ],
)
def test_a_malformed_entry_stops_only_who_asks_for_it(config: Config, entry: Any) -> None:
    path = config({"auths": {"r.example": entry, "b.example": {"auth": encoded("ann:secret")}}})
    with pytest.raises(InputError) as caught:
        find("r.example")
    assert str(path) in caught.value.message
    assert "r.example" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert basic(find("b.example")) == ("ann", "secret")


@pytest.mark.parametrize(
    "content",
    [
        '{"auths": {"hunter2"',
        "[" * 100_000,
        '["hunter2"]',
        '{"auths": ["hunter2"]}',
        '{"credHelpers": "hunter2"}',
        '{"credsStore": "hunter2/../evil"}',
        '{"credsStore": ["hunter2"]}',
        '{"credHelpers": {"r.example": "hunter2; rm"}}',
        '{"credHelpers": {"r.example": "hunter2\\n"}}',
    ],
)
def test_a_malformed_file_is_named_but_not_quoted_nor_changed(config: Config, content: str) -> None:
    path = config(content)
    actions: list[Callable[[], object]] = [
        lambda: find("r.example"),
        lambda: store("r.example", "ann", "secret"),
        lambda: erase("r.example"),
    ]
    for action in actions:
        with pytest.raises(InputError) as caught:
            action()
        assert str(path) in caught.value.message
        assert "hunter2" not in caught.value.message
    assert path.read_text() == content


@pytest.mark.parametrize("content", ["", " \n", "{}", '{"auths": null, "credHelpers": null}'])
def test_an_empty_file_is_no_error(config: Config, content: str) -> None:
    config(content)
    assert find("r.example") is None
    store("r.example", "ann", "secret")
    assert basic(find("r.example")) == ("ann", "secret")


def test_a_file_that_is_no_file_is_said(config: Config) -> None:
    config().mkdir(parents=True)
    with pytest.raises(InputError, match=r"can't read .*config\.json: Is a directory"):
        find("r.example")


def test_no_secret_shows_in_a_credentials_text() -> None:
    text = repr(Credential("ann", "hunter2", "hunter3", "hunter4", "a file"))
    assert "hunter" not in text
    assert "ann" in text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_open_to_others_is_warned_about(config: Config, mode: int) -> None:
    path = config({"auths": {"r.example": {"auth": encoded("ann:secret")}}}, mode)
    found = find("r.example")
    assert found is not None
    assert found.warning is not None
    assert str(path) in found.warning


def test_a_file_closed_to_others_is_not_warned_about(config: Config) -> None:
    config({"auths": {"r.example": {"auth": encoded("ann:secret")}}}, 0o600)
    found = find("r.example")
    assert found is not None
    assert found.warning is None


def test_a_new_file_and_its_folder_are_closed_to_others(config: Config) -> None:
    path = config()
    old = os.umask(0)
    try:
        assert store("r.example", "ann", "pass:word\r\n") == str(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert basic(find("r.example")) == ("ann", "pass:word")
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "config.json",
        "config.json.lock",
    ]
    assert not (path.parent / "config.json.lock").stat().st_mode & 0o077


def test_storing_keeps_all_else_in_the_file_and_its_order(config: Config) -> None:
    before = {
        "zeta": [1, 2.5, {"é\ud800": None}],
        "auths": {
            "z.example": {"auth": "eA=="},
            "r.example": {"email": "a@b", "auth": "eA==", "identitytoken": "old"},
            "a.example": {},
        },
        "HttpHeaders": {"User-Agent": "x"},
        "big": 12345678901234567890,
    }
    path = config(before, 0o644)
    store("r.example", "ann", "pässword")
    after = json.loads(path.read_text())
    before["auths"]["r.example"] = {"email": "a@b", "auth": encoded("ann:pässword")}  # type: ignore[index]
    assert json.dumps(after) == json.dumps(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_docker_hub_is_stored_as_docker_does(config: Config) -> None:
    path = config()
    store("docker.io", "ann", "secret")
    assert list(json.loads(path.read_text())["auths"]) == [HUB]


def test_an_identity_token_is_stored_as_one(config: Config) -> None:
    path = config()
    store("r.example", "<token>", "refresh")
    assert json.loads(path.read_text())["auths"] == {"r.example": {"identitytoken": "refresh"}}
    found = find("r.example")
    assert found is not None
    assert found.identity_token == "refresh"


def test_a_key_of_several_lines_is_a_password(config: Config) -> None:
    config()
    key = '{\n  "type": "service_account"\n}'
    store("r.example", "_json_key", key + "\n")
    assert basic(find("r.example")) == ("_json_key", key)


@pytest.mark.parametrize(
    ("username", "secret"),
    [
        ("", "secret"),
        ("ann", ""),
        ("ann", "\n"),
        ("an:n", "secret"),
        ("an\nn", "secret"),
        ("ann", "\udcff"),
        ("ann", "x" * 20_000),
    ],
)
def test_what_no_registry_can_be_sent_is_refused(
    config: Config, username: str, secret: str
) -> None:
    path = config()
    with pytest.raises(InputError):
        store("r.example", username, secret)
    assert not path.parent.exists()


@pytest.mark.parametrize("host", ["", "r.example/team", "https://r.example/x/", "a b", "a\nb"])
def test_what_is_no_host_is_refused(config: Config, host: str) -> None:
    config()
    for action in (find, erase, lambda host: store(host, "ann", "secret")):
        with pytest.raises(InputError, match="not a registry's host"):
            action(host)


def test_a_linked_file_is_written_through_the_link(config: Config, tmp_path: Path) -> None:
    target = tmp_path / "synced" / "docker.json"
    target.parent.mkdir()
    target.write_text('{"keep": 1}')
    path = config()
    path.parent.mkdir()
    path.symlink_to(os.path.relpath(target, path.parent))
    assert store("r.example", "ann", "secret") == str(path)
    assert path.is_symlink()
    assert json.loads(target.read_text())["keep"] == 1
    assert basic(find("r.example")) == ("ann", "secret")
    assert erase("r.example") is True
    assert path.is_symlink()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config({"keep": 1})
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OcimlpackError, match="No space left"):
        store("r.example", "ann", "secret")
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} <= {"config.json", "config.json.lock"}


def test_a_folder_that_cannot_be_made_is_said(config: Config) -> None:
    config().parent.write_text("a file is in the way")
    with pytest.raises(InputError, match=r"config\.json"):
        store("r.example", "ann", "secret")


def test_a_lock_that_is_never_released_is_said(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config({})
    monkeypatch.setattr(docker_config, "_LOCK_TIMEOUT", 0.1)
    with (
        filelock.FileLock(f"{path}.lock"),
        pytest.raises(UnavailableError, match="another process has kept"),
    ):
        store("r.example", "ann", "secret")


def test_logins_at_once_from_many_processes_lose_nothing(config: Config) -> None:
    path = config()
    script = (
        "import sys; from ocimlpack.stores.credentials import store\n"
        "for n in range(10): store(f'r{n}-{sys.argv[1]}.example', 'ann', 'secret')"
    )
    root = Path(credentials.__file__).parents[2]
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(number)], cwd=root)
        for number in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    assert len(json.loads(path.read_text())["auths"]) == 40


def test_erasing_removes_every_spelling_and_nothing_else(config: Config) -> None:
    entry = {"auth": encoded("ann:secret")}
    path = config(
        {"auths": {"r.example": entry, "https://r.example/v1/": entry, "b.example": entry}, "k": 1}
    )
    assert erase("r.example") is True
    assert json.loads(path.read_text()) == {"auths": {"b.example": entry}, "k": 1}
    assert erase("r.example") is False


def test_a_helper_keeps_and_forgets_credentials(
    config: Config, helper: Helper, tmp_path: Path
) -> None:
    before = {"credsStore": "memory", "auths": {"r.example:5000": {}}}
    path = config(before)
    helper("memory", MEMORY)
    assert find("r.example:5000") is None
    assert store("r.example:5000", "ann", 'se"cret\n') == "docker-credential-memory"
    found = find("r.example:5000")
    assert basic(found) == ("ann", 'se"cret')
    assert found is not None
    assert (found.source, found.warning) == ("docker-credential-memory", None)
    assert erase("r.example:5000") is True
    assert erase("r.example:5000") is False
    asked = (tmp_path / "bin" / "asked").read_text().splitlines()
    assert asked[0] == "get r.example:5000"
    assert json.loads(asked[1].removeprefix("store ")) == {
        "ServerURL": "r.example:5000",
        "Username": "ann",
        "Secret": 'se"cret',
    }
    assert asked[-2] == "erase r.example:5000"
    assert json.loads(path.read_text()) == before


def test_a_helper_is_asked_for_docker_hub_by_its_url(
    config: Config, helper: Helper, tmp_path: Path
) -> None:
    config({"credHelpers": {"docker.io": "memory"}})
    helper("memory", MEMORY)
    find("registry-1.docker.io")
    assert (tmp_path / "bin" / "asked").read_text() == f"get {HUB}\n"


def answer(username: str, secret: str) -> str:
    return "echo '" + json.dumps({"ServerURL": "x", "Username": username, "Secret": secret}) + "'"


def test_the_hosts_own_helper_comes_before_the_general_one_and_the_file(
    config: Config, helper: Helper
) -> None:
    entry = {"auth": encoded("file:file")}
    config(
        {
            "auths": dict.fromkeys(("own.example", "any.example", "none.example"), entry),
            "credsStore": "general",
            "credHelpers": {"https://own.example": "own", "none.example": ""},
        }
    )
    helper("own", answer("own", "own"))
    helper("general", answer("general", "general"))
    assert basic(find("own.example")) == ("own", "own")
    assert basic(find("any.example")) == ("general", "general")
    assert basic(find("none.example")) == ("file", "file")


@pytest.mark.parametrize(
    "script", ["echo 'credentials not found in native keychain'; exit 1", answer("", "")]
)
def test_what_a_helper_does_not_have_is_looked_up_in_the_file(
    config: Config, helper: Helper, script: str
) -> None:
    config({"auths": {"r.example": {"auth": encoded("ann:secret")}}, "credsStore": "empty"})
    helper("empty", script)
    assert basic(find("r.example")) == ("ann", "secret")


def test_a_helpers_token_user_means_an_identity_token(config: Config, helper: Helper) -> None:
    config({"credsStore": "token"})
    helper("token", answer("<token>", "refresh"))
    found = find("r.example")
    assert found is not None
    assert (found.username, found.secret, found.identity_token) == ("", "", "refresh")


def test_a_helper_takes_over_what_the_file_had_in_clear(config: Config, helper: Helper) -> None:
    entry = {"auth": encoded("ann:old")}
    path = config({"auths": {"r.example": entry, "b.example": entry}, "credsStore": "memory"})
    helper("memory", MEMORY)
    store("r.example", "ann", "new")
    assert json.loads(path.read_text())["auths"] == {"b.example": entry}


def test_a_missing_helper_is_named_with_the_file_that_names_it(
    config: Config, helper: Helper
) -> None:
    path = config({"credsStore": "nowhere"})
    with pytest.raises(NotAllowedError) as caught:
        find("r.example")
    assert "docker-credential-nowhere" in caught.value.message
    assert str(path) in caught.value.message
    with pytest.raises(NotAllowedError):
        store("r.example", "ann", "secret")
    with pytest.raises(NotAllowedError):
        erase("r.example")


def test_a_helper_in_the_current_folder_is_not_run(
    config: Config, helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config({"credsStore": "planted"})
    helper("planted", answer("ann", "secret"))
    monkeypatch.chdir(tmp_path / "bin")
    monkeypatch.setenv("PATH", f":{os.pathsep}.")
    with pytest.raises(NotAllowedError, match="not on the PATH"):
        find("r.example")


@pytest.mark.parametrize(
    "script",
    [
        "echo hunter2; echo hunter2 >&2; exit 3",
        "echo hunter2 >&2; kill -9 $$",
        "echo hunter2",
        "echo '[\"hunter2\"]'",
        'echo \'{"Username": "hunter2"}\'',
        'echo \'{"Username": "ann", "Secret": ["hunter2"]}\'',
        ": ",
        "yes hunter2",
        "printf '\\377\\376'",
    ],
)
def test_a_failing_helper_is_named_and_not_quoted(
    config: Config, helper: Helper, script: str, capfd: pytest.CaptureFixture[str]
) -> None:
    config({"credsStore": "broken"})
    helper("broken", script)
    with pytest.raises(NotAllowedError, match="docker-credential-broken failed to get") as caught:
        find("r.example")
    assert "hunter2" not in caught.value.message + str(caught.value.hint)
    assert "hunter2" not in "".join(capfd.readouterr())


def test_a_helper_that_can_only_look_up_says_so(config: Config, helper: Helper) -> None:
    config({"credsStore": "readonly"})
    helper("readonly", f'[ "$1" = get ] || exit 2; {answer("ann", "secret")}')
    with pytest.raises(NotAllowedError, match=r"failed to store .*\(exit code 2\)"):
        store("r.example", "ann", "secret")
    with pytest.raises(NotAllowedError, match=r"failed to erase .*\(exit code 2\)"):
        erase("r.example")


def test_a_helper_that_cannot_be_run_is_said(
    config: Config, helper: Helper, tmp_path: Path
) -> None:
    config({"credsStore": "binary"})
    helper("binary", "")
    (tmp_path / "bin" / "docker-credential-binary").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(NotAllowedError, match="docker-credential-binary failed to get"):
        find("r.example")


@pytest.mark.parametrize("script", ["exec sleep 60", "exec >&-; exec sleep 60"])
def test_a_helper_that_hangs_is_given_up(
    config: Config, helper: Helper, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(credentials, "_HELPER_TIMEOUT", 0.3)
    config({"credsStore": "slow"})
    helper("slow", script)
    start = time.monotonic()
    with pytest.raises(NotAllowedError, match="no answer within"):
        find("r.example")
    assert time.monotonic() - start < 10


def test_a_helper_need_not_read_what_it_is_given(config: Config, helper: Helper) -> None:
    config({"credsStore": "deaf"})
    helper("deaf", f"exec <&-; {answer('ann', 'secret')}")
    assert basic(find("r.example")) == ("ann", "secret")
    assert store("r.example", "ann", "x" * 16_000) == "docker-credential-deaf"


def test_root_leaves_the_file_to_its_owner(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config({})
    owner = (path.stat().st_uid, path.stat().st_gid)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    store("r.example", "ann", "secret")
    assert given == [owner]
