"""How large the pieces should be in which bytes are moved: `python -m benchmarks.pieces`.

Bytes go from a connection on loopback through SHA-256 into a file, as in a pull; the other end is
a thread that sends them with sendfile. Prints a Markdown table of the receiver's CPU time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import BinaryIO

from benchmarks.figures import MIB, Spread
from benchmarks.ground import MEMORY
from benchmarks.report import table

SIZES = (16 * 1024, 64 * 1024, 256 * 1024, MIB, 4 * MIB)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pieces", description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="bytes that are moved each time")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="ocimlpack-bench-", dir=place) as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.write_bytes(os.urandom(MIB) * args.mib)
        seconds: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(args.rounds):
            for size in SIZES:
                seconds[size].append(receive(source, target, size))
                target.unlink()
    rows = []
    for size, values in seconds.items():
        spread = Spread.of([value / args.mib * 1024 for value in values])
        rows.append([f"{size // 1024:,} KiB", f"{spread.median:.2f}", f"{spread.least:.2f}"])
    print(*table(("piece", "CPU s a GiB", "least"), rows, numbers=True), sep="\n")


def receive(source: Path, target: Path, size: int) -> float:
    """CPU seconds of the receiving side, which moves `size` bytes at a time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = socket.create_connection(server.getsockname())
        there, _ = server.accept()
    with here, source.open("rb") as content:
        sender = threading.Thread(target=_send, args=(there, content))
        sender.start()
        digest, buffer = hashlib.sha256(), memoryview(bytearray(size))
        began = time.thread_time()
        with target.open("wb", buffering=0) as file:
            while count := here.recv_into(buffer):
                digest.update(buffer[:count])
                file.write(buffer[:count])
        used = time.thread_time() - began
        sender.join()
    return used


def _send(there: socket.socket, content: BinaryIO) -> None:
    with there:
        there.sendfile(content)


if __name__ == "__main__":
    main()
