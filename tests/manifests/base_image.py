"""An image like `python:3.13-slim`, made of the Python that runs the tests.

No hub is needed, and no index: the wheels that an installation needs are in it. As in the published
image the standard library is not compiled, and there is a shell with a few commands.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pip

COMMANDS = ("sh", "mkdir")
LEFT_OUT = {"__pycache__", "ensurepip", "idlelib", "site-packages", "test", "tests", "tkinter"}
PIP_SETTINGS = "[global]\nno-index = true\nfind-links = /wheels\n"


def write(path: Path, wheels: Path, extensions: Iterable[Path]) -> None:
    """The root file system, as a tar.

    Args:
        path: the tar's.
        wheels: a folder of wheels, which becomes `/wheels`.
        extensions: shared objects in them, whose libraries are to be there.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib"))
    interpreter = Path(sys.executable).resolve()
    programs = [Path(shutil.which(name) or name).resolve() for name in COMMANDS]
    extensions = (*extensions, *(library / "lib-dynload").glob("*.so"))
    with tarfile.open(path, "w", dereference=True) as tar:
        for name, program in zip(COMMANDS, programs, strict=True):
            tar.add(program, f"bin/{name}")
        for each in sorted(_linked([*programs, interpreter, *extensions])):
            tar.add(each, each.lstrip("/"))
        tar.add(interpreter, f"usr/local/bin/{version}")
        _link(tar, "usr/local/bin/python", version)
        # A Python finds its library beside its own place, wherever it was built for.
        tar.add(library, f"usr/local/lib/{version}", filter=_wanted)
        # In the library's folder every Python finds it, also those that distributions have changed.
        tar.add(Path(pip.__file__).parent, f"usr/local/lib/{version}/pip", filter=_wanted)
        tar.add(wheels, "wheels")
        _file(tar, "etc/pip.conf", PIP_SETTINGS)
        _file(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        _folder(tar, "tmp", 0o1777)


def _linked(programs: Iterable[Path]) -> set[str]:
    """The libraries that they need, by the paths under which they look for them."""
    done = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, check=False, timeout=60
    )
    found = set(re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", done.stdout, re.M))
    # What lies in this environment comes with the wheels.
    return {path for path in found if not Path(path).is_relative_to(sys.prefix)}


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if os.path.basename(entry.name) in LEFT_OUT else entry


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _file(tar: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text), 0o644
    tar.addfile(entry, io.BytesIO(text.encode()))


def _folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)
