"""Push and pull of a few large files, ocimlpack and the oras CLI in turn, on one loopback registry.

Prints a Markdown table: medians of wall-clock seconds and of the command's own CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.live.registries import Registry, find_distribution, find_program, run_distribution

MIB = 1 << 20


def measure(command: list[str], cwd: Path) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one command; ends the benchmark if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_model(folder: Path, files: int, mib: int) -> None:
    """Files of random bytes, so that nothing on the way can compress or share them."""
    generator = random.Random(0)
    for number in range(files):
        with (folder / f"model-{number + 1:05}-of-{files:05}.bin").open("wb") as file:
            for _ in range(mib):
                file.write(generator.randbytes(MIB))


def run_round(
    registry: Registry, model: Path, scratch: Path, oras: str, turn: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """One push and one pull by each, each into a repository and a folder of its own."""
    ours = str(Path(sys.executable).with_name("ocimlpack"))
    names = sorted(path.name for path in model.iterdir())
    found = {}
    contenders = ["ocimlpack", "oras"]
    # Who goes first changes, so that neither always finds the caches warm.
    for contender in contenders if turn % 2 else contenders[::-1]:
        reference = f"{registry.repository()}:1"
        out = scratch / "out"
        if contender == "ocimlpack":
            push = [ours, "push", str(model), reference, "--quiet"]
            pull = [ours, "pull", reference, "-o", str(out), "--quiet"]
        else:
            push = [oras, "push", "--plain-http", "--no-tty", reference, *names]
            pull = [oras, "pull", "--plain-http", "--no-tty", reference, "-o", str(out)]
        found[contender, "push"] = measure(push, model)
        found[contender, "pull"] = measure(pull, scratch)
        for name in names:
            if (out / name).stat().st_size != (model / name).stat().st_size:
                sys.exit(f"{contender} pulled another {name} than was pushed")
        shutil.rmtree(out)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--mib", type=int, default=128, help="size of each file")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    server, oras = find_distribution(3), find_program("oras")
    if server is None or oras is None:
        sys.exit("benchmarks/README.md says how to install distribution 3 and oras.")
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="ocimlpack-bench-") as root:
        scratch = Path(root)
        model, served = scratch / "model", scratch / "registry"
        model.mkdir()
        served.mkdir()
        write_model(model, args.files, args.mib)
        with run_distribution(server, served) as registry:
            for turn in range(args.rounds):
                for key, value in run_round(registry, model, scratch, oras, turn).items():
                    seconds[key].append(value)
    print(
        f"{args.files} files of {args.mib} MiB, {args.rounds} rounds, {os.cpu_count()} cores, "
        f"Python {sys.version.split()[0]}, distribution 3 on loopback\n"
    )
    print("| | wall s (median) | range | CPU s (median) |\n|---|---|---|---|")
    for job in ("push", "pull"):
        for contender in ("ocimlpack", "oras"):
            walls, cpus = zip(*seconds[contender, job], strict=True)
            print(
                f"| {contender} {job} | {statistics.median(walls):.2f} "
                f"| {min(walls):.2f} to {max(walls):.2f} | {statistics.median(cpus):.2f} |"
            )


if __name__ == "__main__":
    main()
