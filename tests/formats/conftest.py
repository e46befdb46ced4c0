"""Models that the formats' own libraries wrote, and what these say of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.registries import lack

ROOT = Path(__file__).parents[2]
DEMO = Path(os.environ.get("OCIMLPACK_DEMO_MODEL") or ROOT / ".cache/demo/model")
MODELS = Path(os.environ.get("OCIMLPACK_REAL_MODELS") or ROOT / ".cache/models")
LIBRARIES = ("gguf", "h5py", "joblib", "keras", "numpy", "onnx", "safetensors", "sklearn")


@dataclass(frozen=True)
class Written:
    """Files of models.

    Attributes:
        folder: those that were written here.
        said: what the libraries say of each file, by its name.
    """

    folder: Path
    said: dict[str, Any]

    def path(self, name: str) -> Path:
        for folder in (self.folder, MODELS, DEMO):
            if (folder / name).exists():
                return folder / name
        raise AssertionError(f"nobody wrote {name}")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    for folder, target in ((DEMO, "make demo-model"), (MODELS, "scripts/real_models.py")):
        if not folder.is_dir():
            lack(f"there are no models in {folder}: run `{target}`")
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        lack(f"there is no {missing[0]}: pip install 'ocimlpack[formats]'")
    folder = tmp_path_factory.mktemp("formats")
    command = [sys.executable, "-m", "tests.formats.writer", *map(str, (folder, MODELS, DEMO))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.fail(f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return Written(folder, json.loads((folder / "said.json").read_text()))
