"""What we write, written once for all that read it, and the places where that happens."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import ocimlpack
from tests.live.conftest import read_tree, write_model
from tests.live.interop.tools import CONTAINERD, Done
from tests.live.registries import Registry, lack

TAG = "1.0"
PARTS = 1030
CUSTOM = "application/vnd.example.model.v1"
CONFIG = "application/vnd.example.config.v1+json"

AS_ROOT = () if os.geteuid() == 0 else ("sudo", "-n")

SAME = "same files"
PLAIN = "same files, none executable"
UNPACKED = "same files after `tar -xf`"
BELOW = "same files below `models/`"
BELOW_UNPACKED = f"{BELOW}, after `tar -xf`"
NONE = "no files"


@dataclass(frozen=True)
class Form:
    """A form in which we write a model: a column of the page.

    Attributes:
        name: of the column.
        command: what makes it, for the page.
        options: the same in Python.
        fill: makes of the small model the one that this form is for.
    """

    name: str
    command: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fill: Callable[[Path], None] = lambda folder: None


def _empty(folder: Path) -> None:
    (folder / "added_tokens.json").touch()


def _many(folder: Path) -> None:
    (folder / "parts").mkdir()
    for number in range(PARTS):
        (folder / "parts" / f"{number:04}.json").write_text(f'{{"part": {number}}}\n')


FORMS = (
    Form("ModelPack", "`push DIR REF`"),
    Form("with an empty file", "the same, of a model in which a file has no bytes", fill=_empty),
    Form("with bundles", "the same, of more than 1,024 files", fill=_many),
    Form(
        "custom artifact",
        "`push --artifact-type TYPE --config FILE:TYPE`",
        {"artifact_type": CUSTOM},
    ),
    Form("image config", "`push --image-config`", {"image_config": True}),
    Form("image", "`push --format image`", {"format": "image"}),
    Form("both", "`push --format both`", {"format": "both"}),
)


@dataclass(frozen=True)
class Written:
    """A model in a registry, and what it has to be wherever it goes.

    Attributes:
        repository: where it is.
        files: its bytes by their paths.
        executable: the paths of those that can be executed.
        digest: of its manifest.
    """

    repository: str
    files: Mapping[str, bytes]
    executable: frozenset[str]
    digest: str

    @property
    def reference(self) -> str:
        """Where it is, by its tag."""
        return f"{self.repository}:{TAG}"


@dataclass(frozen=True)
class Bench:
    """Where the tools work.

    Attributes:
        source: the registry that what we write is in.
        target: the one that it is copied to.
        folder: where all else goes.
        containerd: starts one when it is first needed.
    """

    source: Registry
    target: Registry
    folder: Path
    containerd: Callable[[], Containerd]
    _written: dict[tuple[str, str], Written] = field(default_factory=dict)

    def scratch(self) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def model(self) -> Path:
        """A new folder with the small model; no file in it is empty."""
        folder = self.scratch() / "model"
        folder.mkdir()
        write_model(folder)
        (folder / "added_tokens.json").unlink()
        return folder

    def written(self, form: Form, alone: str = "") -> Written:
        """The model in that form, pushed when it is first asked for.

        Args:
            form: which.
            alone: whose own it is to be, with a layer that nobody else has; else everybody's.
        """
        if (form.name, alone) not in self._written:
            folder = self.model()
            form.fill(folder)
            if alone:
                (folder / "NOTICE").write_text(f"{alone}, {uuid.uuid4()}\n")
            options = dict(form.options)
            if form.options.get("artifact_type"):
                config = folder.parent / "config.json"
                config.write_text("{}")
                options["config"] = f"{config}:{CONFIG}"
            repository = self.source.repository()
            done = ocimlpack.push(folder, repository, tags=[TAG], **options)
            self._written[form.name, alone] = Written(
                repository, read_tree(folder), executables(folder), done.digest
            )
        return self._written[form.name, alone]


def executables(folder: Path) -> frozenset[str]:
    """The paths of the files there that can be executed."""
    return frozenset(path for path in read_tree(folder) if os.access(folder / path, os.X_OK))


def compare(folder: Path, written: Written) -> str:
    """What a folder has of what was written; whatever has no name is described."""
    found = read_tree(folder) if folder.is_dir() else {}
    if not found:
        return NONE
    if found == written.files:
        can_run = executables(folder)
        if can_run == written.executable:
            return SAME
        return f"{SAME}, but {sorted(can_run)} executable" if can_run else PLAIN
    if found == _below(written.files):
        return BELOW
    unpacked = _unpacked(found, written.files.keys())
    if unpacked == written.files:
        return UNPACKED
    if unpacked == _below(written.files):
        return BELOW_UNPACKED
    missing, further = written.files.keys() - found.keys(), found.keys() - written.files.keys()
    other = [path for path in found.keys() & written.files if found[path] != written.files[path]]
    return f"without {sorted(missing)}, and {sorted(further)}, and other bytes in {sorted(other)}"


def _below(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"models/{path}": data for path, data in files.items()}


def _unpacked(found: Mapping[str, bytes], known: Collection[str]) -> dict[str, bytes]:
    """The files when the archives that are among them are unpacked where they lie."""
    files: dict[str, bytes] = {}
    for path, data in found.items():
        if path in known or not tarfile.is_tarfile(io.BytesIO(data)):
            files[path] = data
            continue
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if (stream := archive.extractfile(member)) is not None:
                    files[member.name] = stream.read()
    return files


@dataclass(frozen=True)
class Containerd:
    """A containerd of our own, with nobody else's images."""

    address: Path

    @cached_property
    def snapshotter(self) -> str:
        """What mounts: overlayfs as in clusters, where the file system here can do that."""
        works = re.search(r"snapshotter\S*\s+overlayfs\s.*\sok\s", self("plugins", "ls"))
        return "overlayfs" if works else "native"

    def run(self, *arguments: str | Path) -> Done:
        """A command of `ctr`."""
        return CONTAINERD.run("--address", self.address, *arguments, before=AS_ROOT)

    def __call__(self, *arguments: str | Path) -> str:
        """A command of `ctr` that has to succeed; its stdout."""
        done = self.run(*arguments)
        assert done.code == 0, f"ctr {arguments} exited {done.code}:\n…{done.said[-500:]}"
        return done.stdout


@contextlib.contextmanager
def run_containerd() -> Iterator[Containerd]:
    """Start one, and stop it."""
    if AS_ROOT and subprocess.run([*AS_ROOT, "true"], capture_output=True, check=False).returncode:
        lack("containerd needs root, or sudo without a password")
    # A socket's path must be short, which pytest's folders are not.
    folder = Path(tempfile.mkdtemp(prefix="ocimlpack-"))
    address, settings = folder / "containerd.sock", folder / "config.toml"
    settings.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{address}"\n'
    )
    with (folder / "log").open("w") as log:
        command = [*AS_ROOT, "containerd", "--config", settings]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        subject = Containerd(address)
        deadline = time.monotonic() + 30
        while not address.exists() or subject.run("version").code:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield subject
    finally:
        subprocess.run([*AS_ROOT, "kill", str(process.pid)], check=True)
        process.wait(30)
        subprocess.run([*AS_ROOT, "rm", "-rf", folder], check=True)
