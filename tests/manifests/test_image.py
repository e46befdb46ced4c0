"""The image: that what the Dockerfile takes out of the SDK is what the program never uses."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.trim_sdk import USED

ROOT = Path(__file__).parents[2]


def test_every_client_that_is_used_is_kept() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "ocimlpack").rglob("*.py"))
    clients = set(re.findall(r'"([a-z_]+)\.([A-Z]\w+Client)"', source))
    assert clients
    assert clients <= set(USED.items())
    modules = set(re.findall(r'_sdk\.module\("(\w+)\.models"\)', source))
    assert modules
    assert modules <= USED.keys()


def test_the_build_has_what_it_copies() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    sources = [word for line in copied for word in line.split()[:-1]]
    assert "ocimlpack" in sources
    for source in sources:
        assert (ROOT / source).exists()
        assert source in allowed
