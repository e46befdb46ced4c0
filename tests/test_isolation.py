from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


def test_every_test_has_a_home_of_its_own(tmp_path: Path) -> None:
    assert Path.home().is_dir()
    assert list(tmp_path.iterdir()) == []
    assert os.environ["DOCKER_CONFIG"].startswith(str(Path.home()))
    assert "SOURCE_DATE_EPOCH" not in os.environ


def test_no_test_leaves_this_machine() -> None:
    # 192.0.2.0/24 is for documentation and routed nowhere (RFC 5737).
    said = r"tried to reach 192\.0\.2\.1:443"
    with socket.socket() as outward, pytest.raises(pytest.fail.Exception, match=said):
        outward.connect(("192.0.2.1", 443))
