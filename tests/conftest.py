"""What every test gets: a home of its own, and no way out to the network."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

pytest_plugins = ["tests.scripted.fixtures"]

# What a developer's or a CI machine's environment could change about a result. Certificates are
# here because every test's traffic is loopback: whoever needs a CA says so.
FOREIGN_PREFIXES = (
    "AWS_",
    "OCIMLPACK_",
    "OCI_",
    "XDG_",
    "DOCKER_",
    "REGISTRY_",
    "HF_",
    "HUGGING",
    "KUBERNETES_",
    "ACTIONS_",
)
FOREIGN = {
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NETRC",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SOURCE_DATE_EPOCH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
}


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does what that starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the home, the settings or the credentials of who runs it.

    The home lies beside `tmp_path`, not in it, so that a test may list or pack all of `tmp_path`.
    """
    for name in list(os.environ):
        if name.upper() in FOREIGN or name.startswith(FOREIGN_PREFIXES):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OCIMLPACK_HOME", str(home / "ocimlpack"))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / ".docker"))
    for kind in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / f"xdg-{kind.lower()}"))
    runtime = home / "xdg-runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    """A connection to anything but this machine fails the test, whatever the code catches."""
    real = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}

    def guard(name: str) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                pytest.fail(f"a test tried to reach {address[0]}:{address[1]}; only loopback is")
            return real[name](self, address)

        return connect

    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(socket.socket, name, guard(name))
        yield


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
