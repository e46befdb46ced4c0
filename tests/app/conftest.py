from __future__ import annotations

from pathlib import Path

import pytest

FILES = {
    "config.json": b'{"model_type": "bert"}',
    "README.md": b"# Tiny\n",
    "weights/a.bin": b"a" * 5000,
    "weights/b.bin": b"b" * 3000,
    "weights/twin.bin": b"a" * 5000,
    "empty.txt": b"",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def layout(tmp_path: Path) -> str:
    return f"oci:{tmp_path / 'layout'}"
