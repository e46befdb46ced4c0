"""What other programs make of what we write: each with the answer that is expected of it."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import ocimlpack
from tests.live.interop import tools
from tests.live.interop.bench import (
    BELOW,
    BELOW_UNPACKED,
    FORMS,
    NONE,
    PLAIN,
    SAME,
    TAG,
    UNPACKED,
    Bench,
    Written,
    compare,
)
from tests.live.interop.tools import Done, Tool

KEPT = "digest kept"
OTHER = "same files, another digest"
REFUSED = "refused"

HARMLESS = {SAME, PLAIN, UNPACKED, BELOW, BELOW_UNPACKED, NONE, KEPT, OTHER, REFUSED}
"""What a version that is not on the page may do: anything but to leave wrong files."""

ANY_POLICY = "--insecure-policy"  # skopeo: no signature policy where none is installed
PULL_WITH_ORAS_PY = """
import sys, oras.client
oras.client.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])
"""


class RefusedError(Exception):
    """A program ended without having done what it was asked for."""

    def __init__(self, done: Done) -> None:
        super().__init__(f"exit code {done.code}: …{done.said[-500:]}")
        self.said = done.said


@dataclass(frozen=True)
class Reader:
    """A command of another program that reads what we write: a row of the page.

    Attributes:
        command: how the page shows it; no two of a tool are the same.
        tool: the program.
        read: tries it and says what came of it.
        expected: that, by the names of the forms.
        refusal: what it says when it refuses, as a pattern.
        notes: what is to be done about it, by the names of the forms.
        copies: whether it copies the artifact instead of giving its files.
        remembers: whether it matters to it what it copied before, so that it needs a model of its
            own: skopeo compresses no layer that it knows to be there as it is.
    """

    command: str
    tool: Tool
    read: Callable[[Bench, Written, Path], str]
    expected: Mapping[str, str]
    refusal: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    copies: bool = False
    remembers: bool = False

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.tool.name}: `{self.command}`"


def observe(reader: Reader, bench: Bench, written: Written) -> str:
    """What the reader makes of it, by the bytes that are there then."""
    reader.tool.demand()
    try:
        return reader.read(bench, written, bench.scratch() / "out")
    except RefusedError as error:
        if reader.tool.is_known and not re.search(reader.refusal or "(?!)", error.said):
            raise
        return REFUSED


def _heed(done: Done) -> Done:
    if done.code:
        raise RefusedError(done)
    return done


def _copied(location: str, written: Written, bench: Bench) -> str:
    """Whether what is at a location now is still what was written."""
    digest = ocimlpack.inspect(location).digest
    found = compare(Path(ocimlpack.pull(location, bench.scratch() / "pulled").path), written)
    assert found == SAME, found
    return KEPT if digest == written.digest else OTHER


# Pulling


def _oras_pull(bench: Bench, written: Written, out: Path) -> str:
    _heed(tools.ORAS.run("pull", "--plain-http", written.reference, "-o", out))
    return compare(out, written)


def _oras_py_pull(bench: Bench, written: Written, out: Path) -> str:
    _heed(tools.ORAS_PY.run("-c", PULL_WITH_ORAS_PY, written.reference, out))
    return compare(out, written)


def _modelpack_pull(bench: Bench, written: Written, out: Path) -> str:
    _heed(tools.MODELPACK_CLIENT.run("--insecure", "pull", written.reference, out))
    return compare(out, written)


def _modelpack_pull_by_digest(bench: Bench, written: Written, out: Path) -> str:
    manifest = json.loads(tools.CRANE("manifest", "--insecure", written.reference))
    digests = [
        entry["digest"]
        for entry in manifest.get("manifests", ())
        if entry["platform"]["os"] == "unknown"
    ]
    reference = f"{written.repository}@{(*digests, written.digest)[0]}"
    _heed(tools.MODELPACK_CLIENT.run("--insecure", "pull", reference, out))
    return compare(out, written)


def _omlmd_pull(bench: Bench, written: Written, out: Path) -> str:
    _heed(tools.OMLMD.run("pull", "--plain-http", written.reference, "-o", out))
    return compare(out, written)


def _modctl_pull(bench: Bench, written: Written, out: Path) -> str:
    given = ("--extract-dir", out, "--extract-from-remote")
    storage = ("--storage-dir", bench.scratch(), "--log-dir", bench.scratch())
    _heed(tools.MODCTL.run("pull", "--plain-http", written.reference, *given, *storage))
    return compare(out, written)


def _kit_unpack(bench: Bench, written: Written, out: Path) -> str:
    own = ("--config", bench.scratch())
    _heed(tools.KIT.run("unpack", "--plain-http", written.reference, "--dir", out, *own))
    return compare(out, written)


def _regctl_get(bench: Bench, written: Written, out: Path) -> str:
    out.mkdir()
    host = f"reg={bench.source.host},tls=disabled"
    _heed(tools.REGCTL.run("--host", host, "artifact", "get", written.reference, "-o", out))
    return compare(out, written)


def _crane_export(bench: Bench, written: Written, out: Path) -> str:
    archive = out.parent / "exported.tar"
    _heed(tools.CRANE.run("export", "--insecure", written.reference, archive))
    out.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    return compare(out / "models", written)


def _ctr_mount(bench: Bench, written: Written, out: Path) -> str:
    ctr, reference = bench.containerd(), written.reference
    how = ("--snapshotter", ctr.snapshotter, "--plain-http")
    _heed(ctr.run("images", "pull", *how, reference))
    out.mkdir()
    _heed(ctr.run("images", "mount", *how, reference, out))
    try:
        return compare(out / "models", written)
    finally:
        ctr("images", "unmount", "--snapshotter", ctr.snapshotter, "--rm", out)


# Copying


def _oras_cp(bench: Bench, written: Written, out: Path) -> str:
    target = f"{bench.target.repository()}:{TAG}"
    plain = ("--from-plain-http", "--to-plain-http")
    _heed(tools.ORAS.run("cp", *plain, written.reference, target))
    return _copied(target, written, bench)


def _crane_copy(bench: Bench, written: Written, out: Path) -> str:
    target = f"{bench.target.repository()}:{TAG}"
    _heed(tools.CRANE.run("copy", "--insecure", written.reference, target))
    return _copied(target, written, bench)


def _crane_pull(bench: Bench, written: Written, out: Path) -> str:
    _heed(tools.CRANE.run("pull", "--insecure", "--format=oci", written.reference, out))
    # It annotates the whole reference instead of a tag, so the digest is the way in.
    return _copied(f"oci:{out}@{written.digest}", written, bench)


def _regctl_copy(bench: Bench, written: Written, out: Path) -> str:
    target = f"{bench.target.repository()}:{TAG}"
    hosts = [f"--host=reg={place.host},tls=disabled" for place in (bench.source, bench.target)]
    _heed(tools.REGCTL.run(*hosts, "image", "copy", written.reference, target))
    return _copied(target, written, bench)


def _skopeo_copy(*options: str) -> Callable[[Bench, Written, Path], str]:
    def copy(bench: Bench, written: Written, out: Path) -> str:
        target = f"{bench.target.repository()}:{TAG}"
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        places = (f"docker://{written.reference}", f"docker://{target}")
        _heed(tools.SKOPEO.run(ANY_POLICY, "copy", *plain, *options, *places))
        return _copied(target, written, bench)

    return copy


def _skopeo_layout(*options: str) -> Callable[[Bench, Written, Path], str]:
    def copy(bench: Bench, written: Written, out: Path) -> str:
        places = (f"docker://{written.reference}", f"oci:{out}:{TAG}")
        _heed(tools.SKOPEO.run(ANY_POLICY, "copy", "--src-tls-verify=false", *options, *places))
        return _copied(f"oci:{out}:{TAG}", written, bench)

    return copy


def _ctr_fetch(bench: Bench, written: Written, out: Path) -> str:
    ctr, reference = bench.containerd(), written.reference
    _heed(ctr.run("content", "fetch", "--plain-http", "--all-platforms", reference))
    ctr("images", "export", "--all-platforms", out, reference)
    return _copied(f"oci-archive:{out}:{TAG}", written, bench)


def _everywhere(outcome: str, **others: str) -> dict[str, str]:
    """One outcome for all forms but those that are named."""
    return {form.name: others.get(form.name.replace(" ", "_"), outcome) for form in FORMS}


MODELS_ONLY = "This command reads ModelPack only. `oras pull` gets the files of any artifact."
FOR_CLUSTERS = (
    "An image is for what mounts images. `ocimlpack copy REF OTHER --format modelpack` makes an "
    "artifact of it that this command reads."
)
IN_PLACE = (
    "`for each in *.tar; do tar -xf $each && rm $each; done` in the folder completes the model. "
    "`ocimlpack pull` needs no such step."
)
UNPACK_ALL = "`tar -xf` in the folder, for each file that came, makes `models/` of them."
BY_DIGEST = (
    "The tag names an index, and this command reads manifests. `REPO@DIGEST` with the ModelPack "
    "manifest's digest works: `oras manifest fetch REF` lists it for the platform "
    "`unknown/unknown`. Or `ocimlpack copy REF OTHER --format modelpack` makes an artifact of it."
)
NO_INDEX = (
    "The tag names an index, and this command reads manifests. `ocimlpack copy REF OTHER --format "
    "modelpack` makes an artifact that it reads."
)
IMAGES_ONLY = "This command is for images. `--format image` writes one, `--format both` too."
LATER_KIT = "This version reads ModelKits. KitOps reads files of ModelPack as of 1.15."
ALL = (
    "`skopeo copy --all --preserve-digests` keeps the digest. Without `--all`, the image for this "
    "machine's platform is copied alone; without `--preserve-digests`, layers are compressed."
)
NOT_EMPTY = (
    "containerd stores no content of no bytes. `--exclude` leaves such a file out; in an image it "
    "is no matter."
)

NO_IMAGES = tuple(form.name for form in FORMS if form.options.get("format") is None)


READERS = (
    Reader(
        "oras pull",
        tools.ORAS,
        _oras_pull,
        _everywhere(PLAIN, with_bundles=UNPACKED, image=NONE, both=BELOW_UNPACKED),
        notes={"with bundles": IN_PLACE, "image": FOR_CLUSTERS, "both": UNPACK_ALL},
    ),
    Reader(
        "OrasClient.pull",
        tools.ORAS_PY,
        _oras_py_pull,
        _everywhere(PLAIN, with_bundles=UNPACKED, image=NONE, both=NONE),
        notes={"with bundles": IN_PLACE, "image": FOR_CLUSTERS, "both": NO_INDEX},
    ),
    Reader(
        "modelpack pull REF",
        tools.MODELPACK_CLIENT,
        _modelpack_pull,
        _everywhere(
            SAME, custom_artifact=REFUSED, image_config=REFUSED, image=REFUSED, both=REFUSED
        ),
        refusal="not a CNCF ModelPack|no ModelPack config|not an OCI image manifest",
        notes={
            "custom artifact": MODELS_ONLY,
            "image config": MODELS_ONLY,
            "image": FOR_CLUSTERS,
            "both": BY_DIGEST,
        },
    ),
    Reader(
        "modelpack pull REPO@DIGEST",
        tools.MODELPACK_CLIENT,
        _modelpack_pull_by_digest,
        _everywhere(SAME, custom_artifact=REFUSED, image_config=REFUSED, image=REFUSED, both=BELOW),
        refusal="not a CNCF ModelPack|no ModelPack config|not an OCI image manifest",
        notes={
            "custom artifact": MODELS_ONLY,
            "image config": MODELS_ONLY,
            "image": FOR_CLUSTERS,
            "both": BY_DIGEST,
        },
    ),
    Reader(
        "omlmd pull",
        tools.OMLMD,
        _omlmd_pull,
        _everywhere(PLAIN, with_bundles=UNPACKED, image=NONE, both=NONE),
        notes={"with bundles": IN_PLACE, "image": FOR_CLUSTERS, "both": NO_INDEX},
    ),
    Reader(
        "regctl artifact get",
        tools.REGCTL,
        _regctl_get,
        _everywhere(PLAIN, with_bundles=UNPACKED, image=BELOW_UNPACKED, both=BELOW_UNPACKED),
        notes={"with bundles": IN_PLACE, "image": UNPACK_ALL, "both": UNPACK_ALL},
    ),
    Reader(
        "modctl pull --extract-from-remote",
        tools.MODCTL,
        _modctl_pull,
        _everywhere(SAME, image=NONE, both=NONE),
        notes={"image": FOR_CLUSTERS, "both": NO_INDEX},
    ),
    Reader(
        "kit unpack",
        tools.KIT,
        _kit_unpack,
        _everywhere(REFUSED),
        refusal="modelkit",
        notes={form.name: LATER_KIT for form in FORMS},
    ),
    Reader(
        "crane export",
        tools.CRANE,
        _crane_export,
        _everywhere(REFUSED, image=SAME, both=SAME),
        refusal="reading tar: unexpected EOF",
        notes=dict.fromkeys(NO_IMAGES, IMAGES_ONLY),
    ),
    Reader(
        "ctr images mount",
        tools.CONTAINERD,
        _ctr_mount,
        _everywhere(REFUSED, image=SAME, both=SAME),
        refusal="mismatched image rootfs|no processor for media-type|content size of zero",
        notes=dict.fromkeys(NO_IMAGES, IMAGES_ONLY),
    ),
    Reader("oras cp", tools.ORAS, _oras_cp, _everywhere(KEPT), copies=True),
    Reader("crane copy", tools.CRANE, _crane_copy, _everywhere(KEPT), copies=True),
    Reader("crane pull --format=oci", tools.CRANE, _crane_pull, _everywhere(KEPT), copies=True),
    Reader("regctl image copy", tools.REGCTL, _regctl_copy, _everywhere(KEPT), copies=True),
    Reader(
        "skopeo copy",
        tools.SKOPEO,
        _skopeo_copy(),
        _everywhere(KEPT, image=OTHER, both=OTHER),
        copies=True,
        notes={"image": ALL, "both": ALL},
    ),
    Reader(
        "skopeo copy --all",
        tools.SKOPEO,
        _skopeo_copy("--all"),
        _everywhere(KEPT, image=OTHER, both=OTHER),
        copies=True,
        remembers=True,
        notes={"image": ALL, "both": ALL},
    ),
    Reader(
        "skopeo copy --all --preserve-digests",
        tools.SKOPEO,
        _skopeo_copy("--all", "--preserve-digests"),
        _everywhere(KEPT),
        copies=True,
    ),
    Reader(
        "skopeo copy --all … oci:DIR",
        tools.SKOPEO,
        _skopeo_layout("--all"),
        _everywhere(KEPT, image=OTHER, both=OTHER),
        copies=True,
        notes={"image": ALL, "both": ALL},
    ),
    Reader(
        "skopeo copy --all --preserve-digests … oci:DIR",
        tools.SKOPEO,
        _skopeo_layout("--all", "--preserve-digests"),
        _everywhere(KEPT),
        copies=True,
    ),
    Reader(
        "ctr content fetch --all-platforms",
        tools.CONTAINERD,
        _ctr_fetch,
        _everywhere(KEPT, with_an_empty_file=REFUSED),
        copies=True,
        refusal="content size of zero",
        notes={"with an empty file": NOT_EMPTY},
    ),
)
