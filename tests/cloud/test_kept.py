"""What the local cloud keeps on disk outlives the process, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.cloud import NAMESPACE, make_profile
from tests.cloud.conftest import NO_REGISTRY, client
from tests.cloud.local import LocalCloud
from tests.cloud.records import Table
from tests.cloud.test_lifecycle import permit, put_policy, rule
from tests.cloud.test_multipart import add, begin, commit
from tests.cloud.test_objectstorage import BUCKET, get, make_bucket, make_par, names, put

SERVE = """
import sys, pathlib
from tests.cloud.cloud import make_profile
from tests.cloud.local import LocalCloud
cloud = LocalCloud("127.0.0.1:9", pathlib.Path(sys.argv[1]), int(sys.argv[2]))
make_profile(pathlib.Path.home(), cloud)
print(cloud.url, flush=True)
sys.stdin.read()
"""


def storage_of(cloud: LocalCloud) -> Any:
    make_profile(Path.home(), cloud)
    return client(cloud, "object_storage.ObjectStorageClient")


def test_everything_is_there_again(tmp_path: Path) -> None:
    with LocalCloud(NO_REGISTRY, tmp_path) as cloud:
        storage = storage_of(cloud)
        make_bucket(storage, versioning="Enabled")
        permit(cloud)
        put_policy(storage, rule("d", "DELETE", 30))
        first = put(storage, "a", b"1", opc_meta={"k": "v"}).headers
        put(storage, "a", b"2")
        put(storage, "gone", b"3")
        storage.delete_object(NAMESPACE, BUCKET, "gone")
        upload = begin(storage)
        parts = [add(storage, upload, 1, b"4")]
        make_par(storage)
        cloud.wait(days=20)
    with LocalCloud(NO_REGISTRY, tmp_path) as cloud:
        storage = storage_of(cloud)
        assert names(storage) == ["a"]
        assert get(storage, "a") == b"2"
        assert get(storage, "a", version_id=first["version-id"]) == b"1"
        listed = storage.list_object_versions(NAMESPACE, BUCKET).data.items
        assert [each.is_delete_marker for each in listed] == [False, False, True, False]
        commit(storage, upload, [*parts, add(storage, upload, 2, b"5")])
        assert get(storage, "w") == b"45"
        assert len(storage.list_preauthenticated_requests(NAMESPACE, BUCKET).data) == 1
        cloud.wait(days=11)
        assert cloud.storage.run_lifecycle() == ["DELETE a"]


def test_a_process_is_killed_and_another_goes_on_at_its_address(tmp_path: Path) -> None:
    def start(port: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(tmp_path / "cloud"), port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=dict(os.environ),
        )
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def end(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    process, url = start("0")
    try:
        storage = client_at(url)
        make_bucket(storage)
        put(storage, "a", b"1")
    finally:
        end(process)
    with pytest.raises(Exception, match=r"refused|aborted|reset"):
        get(storage, "a")
    process, again = start(url.rpartition(":")[2])
    try:
        assert again == url
        assert get(storage, "a") == b"1"  # the same client, with the same key
    finally:
        end(process)


def client_at(url: str) -> Any:
    import oci

    return oci.object_storage.ObjectStorageClient(
        oci.config.from_file(),
        service_endpoint=url,
        retry_strategy=oci.retry.NoneRetryStrategy(),
        circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
    )


def test_half_a_line_is_not_read_and_what_is_overtaken_goes(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    table = Table(path)
    for number in range(3):
        table["a"] = {"number": number}
    table["b"] = {"number": 9}
    del table["b"]
    table.close()
    with path.open("a") as journal:
        journal.write('["c", {"num')
    table = Table(path)
    assert dict(table) == {"a": {"number": 2}}
    table.close()
    assert path.read_text() == '["a", {"number": 2}]\n'


def test_bodies_that_nothing_refers_to_are_removed(tmp_path: Path) -> None:
    with LocalCloud(NO_REGISTRY, tmp_path) as cloud:
        storage = storage_of(cloud)
        make_bucket(storage)
        put(storage, "a", b"1")
        put(storage, "a", b"2")
        bodies = tmp_path / "bodies"
        assert len(list(bodies.iterdir())) == 1
        (bodies / "left-by-a-kill").write_bytes(b"3")
    with LocalCloud(NO_REGISTRY, tmp_path):
        assert len(list(bodies.iterdir())) == 1
