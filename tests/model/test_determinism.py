from __future__ import annotations

import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from ocimlpack.model.options import Form
from ocimlpack.model.pack import Options, pack
from ocimlpack.spec.digest import Digest
from tests.model.weights import model, write

ROOT = Path(__file__).parents[2]

PACK = """
import sys
from pathlib import Path
from ocimlpack.model.pack import Options, pack
print(pack(Path(sys.argv[1]), Options(form=sys.argv[3]), jobs=int(sys.argv[2])).root.digest)
"""


def tree() -> dict[str, bytes | str]:
    return {
        **model(),
        "LICENSE": "mine",
        "ä/ö.json": "{}",
        "ä/z.json": "{}",
        "ä/Z.txt": "",
        "é.md": "composed",
        "x.bin": bytes(1000),
        "y.bin": bytes(1000),
        "İ.json": "{}",
        "model.yaml": "name: tiny\nannotations: {b: '2', a: '1'}\n",
        ".ocimlpackignore": "*.log\n",
        "train.log": "noise",
    }


def large_tree() -> dict[str, bytes | str]:
    """So many files that most of them are bundled."""
    names = (f"data/{at % 11}/{'é' if at % 5 else 'e'}-{at:04d}.csv" for at in range(2500))
    return {**tree(), **{name: f"{name}\n" * (at % 40) for at, name in enumerate(names)}}


def shuffled(folder: Path, seed: int, files: Mapping[str, bytes | str]) -> Path:
    """The same files: made in another order, with other times, modes, owners and neighbours."""
    chance = random.Random(seed)
    paths = sorted(files)
    chance.shuffle(paths)
    form: Literal["NFC", "NFD"] = "NFD" if seed % 2 else "NFC"  # some systems decompose names
    for path in paths:
        write(folder, {unicodedata.normalize(form, path): files[path]})
    write(folder, {".DS_Store": f"{seed}", "__pycache__/a.pyc": f"{seed}", "other.log": f"{seed}"})
    for found in folder.rglob("*"):
        if found.is_file():
            found.chmod(chance.choice((0o400, 0o600, 0o644, 0o755, 0o777)))
            if os.geteuid() == 0:
                os.chown(found, chance.randrange(60_000), chance.randrange(60_000))
        when = chance.randrange(2**33) * 10**9
        os.utime(found, ns=(when, when))
    return folder


def test_the_same_bytes_and_paths_give_the_same_digest_whatever_else_differs(
    tmp_path: Path,
) -> None:
    expected = pack(write(tmp_path / "plain", tree())).root
    for seed in range(5):
        folder = shuffled(tmp_path / f"copy-{seed}/and a long name", seed, tree())
        assert pack(folder, jobs=seed + 1).root == expected


def test_bundles_are_the_same_whatever_else_differs(tmp_path: Path) -> None:
    expected = pack(write(tmp_path / "plain", large_tree()))
    assert 2 < sum(each.media_type.endswith(".tar") for each in expected.manifest.layers) < 30
    for seed in range(2):
        folder = shuffled(tmp_path / f"copy-{seed}", seed, large_tree())
        assert pack(folder, jobs=seed + 1).root == expected.root
    for environment in ENVIRONMENTS[1::2]:
        assert packed_elsewhere(tmp_path / "plain", environment, 0o077) == expected.root.digest


ENVIRONMENTS = [
    {"LC_ALL": "C", "PYTHONHASHSEED": "1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "2"},
    {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "3", "TZ": "Asia/Kathmandu"},
    {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "4", "HOME": "/"},
]


def packed_elsewhere(
    folder: Path, environment: Mapping[str, str], mask: int, form: Form = "modelpack"
) -> Digest:
    """The digest that another process finds."""
    ran = subprocess.run(
        [sys.executable, "-c", PACK, folder, "3", form],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        cwd=folder.parent,
        umask=mask,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stderr == ""
    return Digest.parse(ran.stdout.strip())


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda each: each["LC_ALL"])
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_another_process_gives_the_same_digest(
    tmp_path: Path, environment: dict[str, str], mask: int
) -> None:
    folder = write(tmp_path / "m", tree())
    assert packed_elsewhere(folder, environment, mask) == pack(folder).root.digest


@pytest.mark.parametrize("form", ["image", "both"])
def test_images_are_the_same_whatever_else_differs(tmp_path: Path, form: Form) -> None:
    files = {**large_tree(), "large.bin": bytes(2_000_000)}
    expected = pack(write(tmp_path / "plain", files), Options(form=form)).root
    folder = shuffled(tmp_path / "copy", 7, files)
    assert pack(folder, Options(form=form), jobs=2).root == expected
    found = packed_elsewhere(tmp_path / "plain", ENVIRONMENTS[3], 0o077, form)
    assert found == expected.digest


def test_a_link_gives_the_digest_of_what_it_points_to(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", {"a.bin": "x", "b.bin": "x", "d/c.json": "{}"})
    linked = write(tmp_path / "linked", {"a.bin": "x"})
    write(tmp_path, {"elsewhere/c.json": "{}"})
    (linked / "b.bin").symlink_to("a.bin")
    assert pack(linked, Options(exclude=("d",))).root == pack(plain, Options(exclude=("d",))).root
    (linked / "d").symlink_to(tmp_path / "elsewhere")
    assert pack(linked, Options(dereference=True)).root == pack(plain).root


@pytest.mark.parametrize(
    "change",
    [
        {"x.bin": b"other"},
        {"x.bin": b""},
        {"new.bin": b""},
        {"convert.sh": b"# no longer run\n"},
        {"README.md": b"---\nlicense: mit\n---\n"},
        {"model.yaml": b"name: small\n"},
    ],
)
def test_another_byte_or_path_gives_another_digest(
    tmp_path: Path, change: dict[str, bytes]
) -> None:
    folder = write(tmp_path, tree())
    before = pack(folder).root
    assert pack(write(folder, change)).root != before


def test_the_name_of_a_file_is_part_of_the_digest(tmp_path: Path) -> None:
    before = pack(write(tmp_path, tree())).root
    (tmp_path / "x.bin").rename(tmp_path / "w.bin")
    assert pack(tmp_path).root != before
