"""An image like `python:3.13-slim`, made of the Python that runs the tests.

It needs no hub, and what is built on it no index: the wheels lie in it. As in the published image
the standard library is not compiled, and there are a shell and little else.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePath

import pip

COMMANDS = ("sh", "mkdir")
LEFT_OUT = {"__pycache__", "ensurepip", "idlelib", "site-packages", "test", "tests", "tkinter"}
PIP_SETTINGS = "[global]\nno-index = true\nfind-links = /wheels\n"


def write(path: Path, wheels: Path, extensions: Iterable[Path]) -> None:
    """The root file system, as a tar.

    Args:
        path: the tar's.
        wheels: a folder that becomes `/wheels`.
        extensions: shared objects in the wheels, whose libraries are to be there.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    standard = Path(sysconfig.get_path("stdlib"))
    interpreter = Path(sys.executable).resolve()
    commands = {name: Path(shutil.which(name) or name).resolve() for name in COMMANDS}
    own = (standard / "lib-dynload").glob("*.so")
    library = f"usr/local/lib/{version}"
    with tarfile.open(path, "w", dereference=True) as tar:
        for name, command in commands.items():
            tar.add(command, f"bin/{name}")
        for each in sorted(_linked([*commands.values(), interpreter, *own, *extensions])):
            tar.add(each, each.lstrip("/"))
        # A Python looks for its library beside its own place, wherever it was built for.
        tar.add(interpreter, f"usr/local/bin/{version}")
        _link(tar, "usr/local/bin/python", version)
        tar.add(standard, library, filter=_wanted)
        tar.add(Path(pip.__file__).parent, f"{library}/site-packages/pip", filter=_wanted)
        _link(tar, f"{library}/dist-packages", "site-packages")  # as Debian's Python calls it
        tar.add(wheels, "wheels")
        _file(tar, "etc/pip.conf", PIP_SETTINGS)
        _folder(tar, "tmp", 0o1777)


def _linked(programs: Iterable[Path]) -> set[str]:
    """The libraries that they need, by the paths under which they look for them."""
    command = ["ldd", *map(str, programs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = set(re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", done.stdout, re.M))
    # What lies in this environment comes with the wheels.
    return {path for path in found if not Path(path).is_relative_to(sys.prefix)}


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if PurePath(entry.name).name in LEFT_OUT else entry


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _file(tar: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text)
    tar.addfile(entry, io.BytesIO(text.encode()))


def _folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)
