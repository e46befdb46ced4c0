"""What we make of what other programs write: each with the answer that is expected of us."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import ocimlpack
from tests.live.conftest import read_tree
from tests.live.interop import tools
from tests.live.interop.bench import PLAIN, SAME, TAG, Bench, Written, compare, executables
from tests.live.interop.tools import Tool
from tests.scripted.hub import Hub, HubRepository

ANY_POLICY = "--insecure-policy"  # skopeo: no signature policy where none is installed
KIND = "application/vnd.example.model.v1"
PUSH_WITH_ORAS_PY = """
import sys, oras.client
oras.client.OrasClient(insecure=True).push(target=sys.argv[1], files=sys.argv[2:])
"""


@dataclass(frozen=True)
class Writer:
    """A command of another program that writes what we read: a row of the page.

    Attributes:
        command: how the page shows it; no two of a tool are the same.
        tool: the program.
        write: writes a folder's model under a reference; returns which of the files it holds.
        format: what `inspect` takes it for.
        expected: what `pull` makes of it.
        note: what is to be known about it.
        needs: further programs.
    """

    command: str
    tool: Tool
    write: Callable[[Bench, Path, str], Mapping[str, bytes]]
    format: str
    expected: str
    note: str = ""
    needs: tuple[Tool, ...] = ()

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.tool.name}: {self.command}"


def observe(writer: Writer, bench: Bench) -> tuple[str, str]:
    """What we take for what it writes, and what we make of it, by the bytes that are there then."""
    for tool in (writer.tool, *writer.needs):
        tool.demand()
    folder, repository = bench.model(), bench.source.repository()
    reference = f"{repository}:{TAG}"
    files = writer.write(bench, folder, reference)
    found = ocimlpack.inspect(reference)
    digest = found.digest
    written = Written(repository, files, executables(folder) & files.keys(), digest)
    target = f"{bench.target.repository()}:{TAG}"
    ocimlpack.copy(reference, target)
    assert ocimlpack.inspect(target).digest == digest
    out = Path(ocimlpack.pull(target, bench.scratch() / "out").path)
    return found.format, compare(out, written)


def _some(folder: Path, *paths: str) -> dict[str, bytes]:
    """Those of a folder's files that are one of these paths, or below one."""
    return {
        name: data
        for name, data in read_tree(folder).items()
        if any(name == path or name.startswith(f"{path}/") for path in paths)
    }


# Plain artifacts


def _oras_files(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
    files = read_tree(folder)
    tools.ORAS(
        "push", "--plain-http", "--artifact-type", KIND, reference, *sorted(files), cwd=folder
    )
    return files


def _oras_folder(spec: str) -> Callable[[Bench, Path, str], Mapping[str, bytes]]:
    def write(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
        how = ("--plain-http", "--image-spec", spec, "--artifact-type", KIND)
        tools.ORAS("push", *how, reference, "config.json", "1_Pooling", cwd=folder)
        return _some(folder, "config.json", "1_Pooling")

    return write


def _oras_py_files(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
    # It gives each file its last name, so those in folders could not be told apart.
    files = {name: data for name, data in read_tree(folder).items() if "/" not in name}
    tools.ORAS_PY("-c", PUSH_WITH_ORAS_PY, reference, *sorted(files), cwd=folder)
    return files


def _oras_py_folder(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
    tools.ORAS_PY("-c", PUSH_WITH_ORAS_PY, reference, "config.json", "1_Pooling", cwd=folder)
    return _some(folder, "config.json", "1_Pooling")


def _regctl_put(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
    files = read_tree(folder)
    named = [word for name in sorted(files) for word in ("--file", name, "--file-media-type", KIND)]
    host = f"--host=reg={bench.source.host},tls=disabled"
    how = ("artifact", "put", "--artifact-type", KIND, "--file-title")
    tools.REGCTL(host, *how, *named, reference, cwd=folder)
    return files


# Models


def _modelpack_files(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
    names = ("model-00001-of-00002.safetensors", "config.json")
    files = _some(folder, *names)
    config = folder.parent / "config.json"
    digests = [f"sha256:{sha256(files[name]).hexdigest()}" for name in names]
    config.write_text(
        json.dumps(
            {
                "descriptor": {"name": "tiny"},
                "config": {"format": "safetensors"},
                "modelfs": {"type": "layers", "diffIds": digests},
            }
        )
    )
    layers = [
        word
        for name, kind in zip(names, ("weight", "weight.config"), strict=True)
        for word in ("--layer", f"{folder / name}:application/vnd.cncf.model.{kind}.v1.raw")
    ]
    tools.MODELPACK_CLIENT("--insecure", "push", "--config", config, *layers, reference)
    return files


PUSH_WITH_MODELPACK = """
import sys
from modelpack_client import ModelLayer, ModelPackClient, ModelPackConfig
folder, reference, media_type = sys.argv[1:]
layers = [
    ModelLayer(f"{folder}/model-00001-of-00002.safetensors",
               media_type="application/vnd.cncf.model.weight.v1.raw"),
    ModelLayer(f"{folder}/1_Pooling", media_type=media_type),
]
ModelPackClient(insecure=True).push(reference, layers, ModelPackConfig())
"""


def _modelpack_folder(encoding: str) -> Callable[[Bench, Path, str], Mapping[str, bytes]]:
    def write(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
        media_type = f"application/vnd.cncf.model.weight.config.v1.{encoding}"
        tools.MODELPACK_LIBRARY("-c", PUSH_WITH_MODELPACK, folder, reference, media_type)
        return _some(folder, "model-00001-of-00002.safetensors", "1_Pooling")

    return write


def _omlmd_push(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
    name = "model-00001-of-00002.safetensors"
    described = folder.parent / "described.json"
    described.write_text(json.dumps({"name": "tiny", "accuracy": 0.9}))
    tools.OMLMD("push", "--plain-http", reference, name, "--metadata", described, cwd=folder)
    metadata = ("model_metadata.omlmd.json", "model_metadata.omlmd.yaml")
    # It writes these beside the model, sends them along, and removes them again.
    sent = bench.scratch()
    tools.ORAS("pull", "--plain-http", reference, "-o", sent)
    return _some(folder, name) | _some(sent, *metadata)


def _modctl_build(encoding: str) -> Callable[[Bench, Path, str], Mapping[str, bytes]]:
    def write(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
        described, own = bench.scratch(), bench.scratch()
        state = ("--storage-dir", own / "storage", "--log-dir", own / "log")
        tools.MODCTL("modelfile", "generate", folder, "--output", described, *state)
        build = ("build", "--modelfile", described / "Modelfile", "--target", reference)
        tools.MODCTL(*build, f"--raw={str(encoding == 'raw').lower()}", folder, *state)
        tools.MODCTL("push", "--plain-http", reference, *state)
        return read_tree(folder)

    return write


KITFILE = """\
manifestVersion: "1.0"
package: {name: tiny}
model:
  name: tiny
  path: model-00001-of-00002.safetensors
  parts: [{path: model-00002-of-00002.safetensors}, {path: config.json}]
code: [{path: serve.py}]
datasets: [{path: 1_Pooling}]
docs: [{path: README.md}]
"""


def _kit_pack(compression: str) -> Callable[[Bench, Path, str], Mapping[str, bytes]]:
    def write(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
        described, own = bench.scratch() / "Kitfile", ("--config", bench.scratch())
        described.write_text(KITFILE)
        how = ("--file", described, "--compression", compression)
        tools.KIT("pack", folder, *how, "--tag", reference, *own)
        tools.KIT("push", "--plain-http", reference, *own)
        parts = ("config.json", "serve.py", "README.md", "1_Pooling")
        return _some(folder, *(f"model-0000{at}-of-00002.safetensors" for at in (1, 2)), *parts)

    return write


# Images


def _below_models(bench: Bench, folder: Path) -> Path:
    """A tar of an image's layer that has the model."""
    archive = bench.scratch() / "layer.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, "models")
    return archive


def _crane_append(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
    tools.CRANE("append", "--insecure", "-f", _below_models(bench, folder), "-t", reference)
    return read_tree(folder)


def _modelcar_push(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
    with Hub() as hub:
        hub.models["example/tiny"] = HubRepository.of_folder(folder)
        host, _, path = reference.partition("/")
        repository, _, tag = path.partition(":")
        from_hub = ("--hf-repo", "example/tiny", "--hf-endpoint", hub.url)
        to = ("--registry", host, "--target-repo", repository, "--target-tag", tag)
        allowed = ("--allow-patterns", "*", "--spool-dir", bench.scratch())
        tools.MODELCAR("push", *from_hub, *to, *allowed)
    return read_tree(folder)


def _olot(*options: str) -> Callable[[Bench, Path, str], Mapping[str, bytes]]:
    def write(bench: Bench, folder: Path, reference: str) -> Mapping[str, bytes]:
        files, base = read_tree(folder), bench.scratch()
        system = base / "system"
        system.mkdir()
        (system / "os-release").write_text("NAME=tiny")
        with tarfile.open(base / "system.tar", "w") as tar:
            tar.add(system, "etc")
        image = f"{bench.source.repository()}:base"
        append = ("append", "--insecure", "--oci-empty-base", "-f", base / "system.tar")
        tools.CRANE(*append, "-t", f"{image}-amd64")
        tools.CRANE("index", "append", "--insecure", "-m", f"{image}-amd64", "-t", image)
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        copy = (ANY_POLICY, "copy", "--all", *plain)
        tools.SKOPEO(*copy, f"docker://{image}", f"oci:{base / 'layout'}:latest")
        paths = [folder / name for name in sorted(files)]
        tools.OLOT(*options, "--root-dir", folder, base / "layout", *paths)
        tools.SKOPEO(*copy, f"oci:{base / 'layout'}:latest", f"docker://{reference}")
        return files

    return write


WRITERS = (
    Writer("`oras push FILE…`", tools.ORAS, _oras_files, "files", PLAIN),
    Writer("`oras push FOLDER`", tools.ORAS, _oras_folder("v1.1"), "files", SAME),
    Writer("`oras push --image-spec v1.0 FOLDER`", tools.ORAS, _oras_folder("v1.0"), "files", SAME),
    Writer("`OrasClient.push`, files", tools.ORAS_PY, _oras_py_files, "files", PLAIN),
    Writer("`OrasClient.push`, a folder", tools.ORAS_PY, _oras_py_folder, "files", SAME),
    Writer("`regctl artifact put --file-title`", tools.REGCTL, _regctl_put, "files", PLAIN),
    Writer(
        "`modelpack push --layer FILE`", tools.MODELPACK_CLIENT, _modelpack_files, "modelpack", SAME
    ),
    Writer(
        "`ModelPackClient.push`, a folder as tar",
        tools.MODELPACK_LIBRARY,
        _modelpack_folder("tar"),
        "modelpack",
        SAME,
    ),
    Writer(
        "`ModelPackClient.push`, a folder as tar+gzip",
        tools.MODELPACK_LIBRARY,
        _modelpack_folder("tar+gzip"),
        "modelpack",
        SAME,
    ),
    Writer("`omlmd push`", tools.OMLMD, _omlmd_push, "omlmd", SAME, needs=(tools.ORAS,)),
    Writer("`modctl build`", tools.MODCTL, _modctl_build("raw"), "modelpack", SAME),
    Writer("`modctl build --raw=false`", tools.MODCTL, _modctl_build("tar"), "modelpack", SAME),
    Writer("`kit pack`", tools.KIT, _kit_pack("none"), "modelkit", SAME),
    Writer("`kit pack --compression gzip`", tools.KIT, _kit_pack("gzip"), "modelkit", SAME),
    Writer("`crane append`, an image with `/models`", tools.CRANE, _crane_append, "image", SAME),
    Writer("`oci-modelcar push`", tools.MODELCAR, _modelcar_push, "image", PLAIN),
    Writer(
        "`olot`, an image", tools.OLOT, _olot(), "image", PLAIN, needs=(tools.CRANE, tools.SKOPEO)
    ),
    Writer(
        "`olot --add-modelpack`",
        tools.OLOT,
        _olot("--add-modelpack"),
        "modelpack",
        PLAIN,
        needs=(tools.CRANE, tools.SKOPEO),
    ),
)
