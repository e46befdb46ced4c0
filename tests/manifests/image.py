"""The image that the Dockerfile makes, on a base that is made here."""

from __future__ import annotations

import re
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from docker.errors import BuildError, ImageNotFound

from scripts.trim_sdk import NEEDED, USED
from tests.manifests import base_image, wheels

ROOT = Path(__file__).parents[2]

TO_BE_TRIMMED = {"budget", "email"}
"""What is there to be removed. All 180 services would take as long as everything else."""


@dataclass(frozen=True)
class Image:
    """An image, and the daemon that has it."""

    client: docker.DockerClient
    name: str

    def python(self, code: str) -> str:
        """What a program prints in it."""
        said: bytes = self.client.containers.run(
            self.name, ["-c", code], entrypoint="python", remove=True, network_mode="none"
        )
        return said.decode()


@contextmanager
def build(client: docker.DockerClient, folder: Path) -> Iterator[Image]:
    """The image, with nothing of it left afterwards. `folder`: an empty one."""
    with _base(client, folder) as base, _built(client, base) as name:
        yield Image(client, name)


@contextmanager
def _base(client: docker.DockerClient, folder: Path) -> Iterator[str]:
    """The image to build on, with what is to be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = wheels.required(
        [
            *project["build-system"]["requires"],
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["oci"],
        ]
    )
    files = [file for each in needed for file in each.files or ()]
    services = {file.parts[1] for file in files if re.match("oci/[a-z_]+/models/", str(file))}
    unwanted = services - USED.keys() - NEEDED - TO_BE_TRIMMED
    (folder / "wheels").mkdir()
    for each in needed:
        wheels.write(
            each,
            folder / "wheels",
            lambda file: not (file.parts[0] == "oci" and file.parts[1] in unwanted),
        )
    extensions = [Path(str(file.locate())) for file in files if file.suffix == ".so"]
    base_image.write(folder / "base.tar", folder / "wheels", extensions)
    repository, tag = "ocimlpack-tests-python", uuid.uuid4().hex[:12]
    client.api.import_image_from_file(str(folder / "base.tar"), repository, tag)
    try:
        yield f"{repository}:{tag}"
    finally:
        client.images.remove(f"{repository}:{tag}")


@contextmanager
def _built(client: docker.DockerClient, base: str) -> Iterator[str]:
    """The Dockerfile's image, by its name."""
    names = []
    try:
        # The first stage gets a name too, as what has none would be left behind.
        for stage in ("build", None):
            names.append(f"ocimlpack-tests:{uuid.uuid4().hex[:12]}")
            client.images.build(
                path=str(ROOT),
                tag=names[-1],
                target=stage,
                buildargs={"PYTHON": base},
                network_mode="none",
                rm=True,
                forcerm=True,
            )
        yield names[-1]
    except BuildError as error:
        said = "".join(line.get("stream", "") for line in error.build_log)
        pytest.fail(f"the image can't be built: {error}\n{said[-4000:]}", pytrace=False)
    finally:
        for name in reversed(names):
            with suppress(ImageNotFound):
                client.images.remove(name)
