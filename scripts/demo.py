"""The main job, on a real model: pack or push, tag, inspect, pull by digest, verify, compare.

Every command is shown as a person would type it. The registry's part runs when REGISTRY names one,
as host:port; OPTIONS holds what its commands need beyond that, such as --plain-http.
"""

from __future__ import annotations

import filecmp
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

MODEL = Path(".cache/demo/model")
DEMO = Path("demo")
RECEIPT = ".ocimlpack"
PROGRAM = Path(sys.executable).with_name("ocimlpack")


def say(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"{bold}{text}{plain}", flush=True)


def run(*arguments: str) -> str:
    """Shows a command, runs it, shows its stdout and returns that; ends the demo if it fails."""
    say(f"\n$ ocimlpack {shlex.join(arguments)}")
    done = subprocess.run([PROGRAM, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(f"\nThe demo failed: ocimlpack {arguments[0]} exited {done.returncode}.")
    return done.stdout.strip()


def take_digest(printed: str) -> str:
    """The digest of the `LOCATION@sha256:…` that pack and push print."""
    _, separator, digest = printed.rpartition("@")
    if not separator:
        sys.exit(f"\nThe demo failed: no digest in {printed!r}.")
    return digest


def list_files(folder: Path) -> list[str]:
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if RECEIPT not in path.parts)


def compare(pulled: Path) -> None:
    """Every byte of every file, and no file more or less."""
    say(f"\n# Comparing every byte of {MODEL} with {pulled}")
    names = list_files(MODEL)
    if list_files(pulled) != names:
        sys.exit(f"The demo failed: {MODEL} and {pulled} do not hold the same files.")
    _, different, unreadable = filecmp.cmpfiles(MODEL, pulled, names, shallow=False)
    if different or unreadable:
        sys.exit(f"The demo failed: these differ or can't be read: {different + unreadable}.")
    size = sum((MODEL / name).stat().st_size for name in names)
    print(f"no difference: {len(names)} files, {size:,} bytes, each the same")


def show_layout() -> str:
    """Packs into an image layout, an ordinary folder, and pulls from it. Returns the digest."""
    say("# In a folder: an OCI image layout, no server needed")
    place, pulled = f"oci:{DEMO}/models", DEMO / "pulled"
    digest = take_digest(run("pack", str(MODEL), "-t", f"{place}:1.0"))
    run("tag", f"{place}:1.0", "stable", "latest")
    run("tags", place)
    run("inspect", f"{place}:1.0")
    run("pull", f"{place}@{digest}", "-o", str(pulled))
    run("verify", str(pulled))
    compare(pulled)
    return digest


def show_registry(host: str, options: list[str], packed: str) -> None:
    """The same against a registry, straight from the model's folder."""
    say(f"\n# In the registry at {host}: straight from the folder, no local copy")
    place, pulled = f"{host}/demo/minilm", DEMO / "pulled-from-registry"
    digest = take_digest(run("push", str(MODEL), place, "-t", "1.0", *options))
    if digest != packed:
        sys.exit(f"The demo failed: packed as {packed}, pushed as {digest}.")
    run("tag", f"{place}:1.0", "stable", "latest", *options)
    run("tags", place, *options)
    run("inspect", f"{place}:1.0", *options)
    run("pull", f"{place}@{digest}", "-o", str(pulled), *options)
    run("verify", str(pulled))
    compare(pulled)


def main() -> None:
    started = time.monotonic()
    DEMO.mkdir(exist_ok=True)
    for name in ("models", "pulled", "pulled-from-registry"):
        # What an earlier demo left would make this one prove less.
        shutil.rmtree(DEMO / name, ignore_errors=True)
    digest = show_layout()
    registry = os.environ.get("REGISTRY", "")
    if registry:
        show_registry(registry, shlex.split(os.environ.get("OPTIONS", "")), digest)
    say(f"\nDone in {time.monotonic() - started:.1f} s. The model's digest, here and anywhere:")
    print(digest)
    say("\nTo try next:")
    if not registry:
        print("  docker run -d -p 127.0.0.1:5000:5000 registry:2")
        print("  make demo REGISTRY=localhost:5000")
    print(f"  . {os.path.relpath(PROGRAM.parent)}/activate")
    print(f"  ocimlpack inspect oci:{DEMO}/models:1.0 --files")
    print(f"  ocimlpack pull oci:{DEMO}/models:1.0 -o tokenizer --include 'tokenizer*'")
    print("  ocimlpack --help")


if __name__ == "__main__":
    main()
