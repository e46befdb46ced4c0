from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ocimlpack.cloud.bucket import apply
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting moves the cloud's calendar instead of the clock on the wall."""
    if "alone" in request.fixturenames:
        cloud: LocalCloud = request.getfixturevalue("alone")
        monkeypatch.setattr(apply, "sleep", lambda seconds: cloud.wait(seconds=seconds))


@pytest.fixture(autouse=True)
def compartment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMLPACK_COMPARTMENT", COMPARTMENT)


class KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Ends what runs after so many requests that change something; None for never."""
    import oci

    real = oci.base_client.BaseClient.request
    left: list[int | None] = [None]

    def request(self: Any, request: Any, *rest: Any, **more: Any) -> Any:
        done = real(self, request, *rest, **more)
        if request.method not in ("GET", "HEAD") and left[0] is not None:
            left[0] -= 1
            if left[0] == 0:
                raise KilledError
        return done

    monkeypatch.setattr(oci.base_client.BaseClient, "request", request)

    def after(count: int | None) -> None:
        left[0] = count

    return after
