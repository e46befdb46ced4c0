"""`python -m benchmarks.bucket`: a bucket of the local cloud, asked two questions.

Does a large push that is killed twice go on where it was, and in how much memory? And how fast is a
pull beside the SDK's own `DownloadManager`, which verifies nothing, for the same object?
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import models
from benchmarks.ground import MEMORY, environment
from tests.cloud.cloud import NAMESPACE, make_profile
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT

MIB = 2**20
SIZE = 3 * 2**30
ROUNDS = 5
LAUNCH = Path(__file__).with_name("launch.py")
PROGRAM = Path(sys.executable).with_name("ocimlpack")
PLACE = f"ocios://models@{NAMESPACE}/m:1"

DOWNLOAD = """
import sys
import oci
from oci.object_storage.transfer.internal.download.DownloadConfiguration import (
    DownloadConfiguration,
)
from oci.object_storage.transfer.internal.download.DownloadManager import DownloadManager

config, url, namespace, name, path = sys.argv[1:]
client = oci.object_storage.ObjectStorageClient(oci.config.from_file(config), service_endpoint=url)
DownloadManager(DownloadConfiguration(), client).get_object_to_path(namespace, "models", name, path)
"""


def main() -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        place = Path(folder)
        for name in ("state", "home"):
            (place / name).mkdir()
        models.write_shards(place / "model", 1, SIZE)
        with LocalCloud("127.0.0.1:9", place / "state") as cloud:
            Bench(place, cloud).run()


class Bench:
    """Both questions, one after the other."""

    def __init__(self, place: Path, cloud: LocalCloud) -> None:
        self._place = place
        self._cloud = cloud
        self._config = make_profile(place / "home", cloud)
        self._env = environment(place / "home") | {
            "OCIMLPACK_OCI_ENDPOINT": cloud.url,
            "OCI_CLI_CONFIG_FILE": str(self._config),
        }

    def run(self) -> None:
        provision = ["bucket", "provision", "--bucket", "models", "--compartment", COMPARTMENT]
        self._do(PROGRAM, *provision, "--yes")
        self._push()
        self._pull()

    def _push(self) -> None:
        report = self._place / "report"
        command = [sys.executable, "-I", "-S", str(LAUNCH), str(report), str(PROGRAM)]
        command += ["--no-progress", "push", str(self._place / "model"), PLACE]
        for third in (1, 2, None):
            before = self._sent()
            process = subprocess.Popen(
                command,
                env=self._env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            while third and self._sent() < third * SIZE // 3 and process.poll() is None:
                time.sleep(0.02)
            if third:
                os.killpg(process.pid, signal.SIGKILL)
            elif process.wait():
                sys.exit("the last push failed")
            process.wait()
            how = "killed" if third else "done"
            print(f"push {how} after {(self._sent() - before) / MIB:,.0f} MiB", flush=True)
        peak = int(report.read_text().split()[2]) / 1024
        print(f"sent {self._sent() / SIZE:.3f} of the file in all; peak memory {peak:.0f} MiB")

    def _pull(self) -> None:
        (name,) = self._objects()
        ratios = []
        self._time_manager(name)  # a warm-up
        for turn in range(ROUNDS):
            if turn % 2:
                theirs, ours = self._time_manager(name), self._time_pull()
            else:
                ours, theirs = self._time_pull(), self._time_manager(name)
            ratios.append(theirs / ours)
            print(f"pull {ours:.2f} s, DownloadManager {theirs:.2f} s", flush=True)
        print(f"speed of a pull, times DownloadManager's: {statistics.median(ratios):.2f}")

    def _sent(self) -> int:
        """Bytes of parts that the service was sent so far."""
        return sum(
            int(each.headers.get("content-length") or 0)
            for each in list(self._cloud.server.requests)
            if each.method == "PUT" and "/u/" in each.path
        )

    def _objects(self) -> list[str]:
        import oci

        oci_client: Any = oci.object_storage.ObjectStorageClient
        config: Any = oci.config
        client = oci_client(config.from_file(str(self._config)), service_endpoint=self._cloud.url)
        found = client.list_objects(NAMESPACE, "models", prefix="blobs/", fields="name,size").data
        return [each.name for each in found.objects if each.size > MIB]

    def _time_pull(self) -> float:
        out = self._place / "out"
        took = self._do(PROGRAM, "--no-progress", "pull", PLACE, "-o", out)
        subprocess.run(["rm", "-r", out], check=True)
        return took

    def _time_manager(self, name: str) -> float:
        out = self._place / "object"
        given = (self._config, self._cloud.url, NAMESPACE, name, out)
        took = self._do(sys.executable, "-c", DOWNLOAD, *given)
        out.unlink()
        return took

    def _do(self, *command: object) -> float:
        began = time.monotonic()
        done = subprocess.run(
            [str(each) for each in command], env=self._env, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"{command[0]} failed: {done.stderr}")
        return time.monotonic() - began


if __name__ == "__main__":
    main()
