"""Objects in parts, as the real SDK's managers meet them."""

from __future__ import annotations

import base64
import gc
import hashlib
import io
import threading
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import client
from tests.cloud.local import LocalCloud
from tests.cloud.test_objectstorage import BUCKET, get, make_bucket, names, put, refusal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import oci
    from oci.object_storage import MultipartObjectAssembler, UploadManager, models
    from oci.object_storage.transfer.internal.download.DownloadConfiguration import (
        DownloadConfiguration,
    )
    from oci.object_storage.transfer.internal.download.DownloadManager import DownloadManager

# The SDK's managers leave pools and connections open when something fails.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

PART = 1024 * 1024
SIZE = 5 * PART + 17


@pytest.fixture(autouse=True)
def bucket(storage: Any) -> None:
    make_bucket(storage)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What is left open is collected here, and not in another test, which would be warned."""
    yield
    gc.collect()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(251)) * (SIZE // 251 + 1))
    with path.open("r+b") as opened:
        opened.truncate(SIZE)
    return path


def assembler(storage: Any, **options: Any) -> Any:
    return MultipartObjectAssembler(storage, NAMESPACE, BUCKET, "w", part_size=PART, **options)


def begin(storage: Any, name: str = "w", **options: Any) -> str:
    details = models.CreateMultipartUploadDetails(object=name)
    made = storage.create_multipart_upload(NAMESPACE, BUCKET, details, **options)
    return str(made.data.upload_id)


def add(storage: Any, upload: str, number: int, body: bytes, **options: Any) -> Any:
    done = storage.upload_part(NAMESPACE, BUCKET, "w", upload, number, body, **options)
    return models.CommitMultipartUploadPartDetails(part_num=number, etag=done.headers["etag"])


def commit(storage: Any, upload: str, parts: list[Any], **options: Any) -> Any:
    exclude = options.pop("exclude", [])
    details = models.CommitMultipartUploadDetails(parts_to_commit=parts, parts_to_exclude=exclude)
    return storage.commit_multipart_upload(NAMESPACE, BUCKET, "w", upload, details, **options)


def test_upload_manager_sends_a_file_and_a_stream(storage: Any, file: Path) -> None:
    manager = UploadManager(storage, allow_parallel_uploads=True, parallel_process_count=3)
    done = manager.upload_file(
        NAMESPACE, BUCKET, "w", str(file), part_size=PART, metadata={"k": "v"}
    )
    assert done.headers["opc-multipart-md5"].endswith("-6")
    head = storage.head_object(NAMESPACE, BUCKET, "w").headers
    assert (head["content-length"], head["opc-meta-k"]) == (str(SIZE), "v")
    assert "content-md5" not in head
    assert get(storage, "w") == file.read_bytes()
    with file.open("rb") as stream:
        manager.upload_stream(NAMESPACE, BUCKET, "s", stream, part_size=PART)
    assert get(storage, "s") == file.read_bytes()


@pytest.mark.parametrize("algorithm", ["CRC32C", "SHA256", "SHA384"])
def test_download_manager_finds_the_checksums_right(
    storage: Any, file: Path, tmp_path: Path, algorithm: str
) -> None:
    manager = UploadManager(storage)
    manager.upload_file(
        NAMESPACE, BUCKET, "w", str(file), part_size=PART, opc_checksum_algorithm=algorithm
    )
    manager.upload_file(
        NAMESPACE, BUCKET, "one", str(file), part_size=SIZE, opc_checksum_algorithm=algorithm
    )
    config = DownloadConfiguration(
        part_size_in_bytes=PART,
        num_download_threads=3 if algorithm == "CRC32C" else 1,
        is_enforce_data_integrity_for_download=True,
    )
    down = DownloadManager(config, storage)
    target = tmp_path / "back"
    down.get_object_to_path(NAMESPACE, BUCKET, "one", str(target))
    assert target.read_bytes() == file.read_bytes()
    if algorithm == "CRC32C":  # the only one that is known of the whole
        down.get_object_to_path(NAMESPACE, BUCKET, "w", str(target))
        assert target.read_bytes() == file.read_bytes()
    else:
        head = storage.head_object(NAMESPACE, BUCKET, "w").headers
        assert head[f"opc-multipart-{algorithm.lower()}"].endswith("-6")


def test_an_assembler_goes_on_where_it_broke_off(
    alone: LocalCloud, storage: Any, file: Path
) -> None:
    broken = assembler(storage, allow_parallel_uploads=False)
    broken.max_retries = 1
    broken.new_upload()
    broken.add_parts_from_file(str(file))
    alone.server.fault("PUT", "uploadPartNum=4", drop="before", times=None)
    with pytest.raises(oci.exceptions.RequestException):
        broken.upload()
    upload = broken.manifest["uploadId"]
    listed = storage.list_multipart_upload_parts(NAMESPACE, BUCKET, "w", upload, limit=2)
    assert [(part.part_number, part.size) for part in listed.data] == [(1, PART), (2, PART)]
    alone.server.faults.clear()
    alone.server.forget()
    resumed = assembler(storage)
    resumed.add_parts_from_file(str(file))
    resumed.resume(upload_id=upload)
    resumed.commit()
    assert get(storage, "w") == file.read_bytes()
    sent = {request.arguments()["uploadPartNum"] for request in alone.server.asked("PUT")}
    assert not sent & {"1", "2", "3"}


def test_parts_come_in_any_order_and_are_replaced_or_left_out(storage: Any) -> None:
    upload = begin(storage)
    third = add(storage, upload, 3, b"3")
    old = add(storage, upload, 1, b"1")
    first = add(storage, upload, 1, b"one")
    second = add(storage, upload, 2, b"2")
    wrong = (commit, storage, upload)
    assert refusal(*wrong, []) == (400, "InvalidUploadPart")
    assert refusal(*wrong, [old, second, third]) == (400, "InvalidUploadPart")
    assert refusal(*wrong, [second, first, third]) == (400, "InvalidUploadPartOrder")
    assert refusal(*wrong, [first, third]) == (400, "InvalidUploadPart")
    commit(storage, upload, [first, third], exclude=[2])
    assert get(storage, "w") == b"one3"
    assert get(storage, "w", range="bytes=2-3") == b"e3"
    assert refusal(*wrong, [first, third]) == (404, "UploadNotFound")


def test_conditions_hold_at_the_beginning_and_at_the_end(storage: Any) -> None:
    upload = begin(storage, if_none_match="*")
    part = add(storage, upload, 1, b"1")
    put(storage, "w", b"somebody was faster")
    assert refusal(begin, storage, if_none_match="*") == (412, "IfNoneMatchFailed")
    late = (commit, storage, upload, [part])
    assert refusal(*late, if_none_match="*") == (412, "IfNoneMatchFailed")
    etag = storage.head_object(NAMESPACE, BUCKET, "w").headers["etag"]
    commit(storage, upload, [part], if_match=etag)
    assert get(storage, "w") == b"1"


def test_checksums_of_parts_are_looked_at(storage: Any) -> None:
    upload = begin(storage)
    md5 = base64.b64encode(hashlib.md5(b"1").digest()).decode()
    add(storage, upload, 1, b"1", content_md5=md5)
    wrong = (add, storage, upload, 2, b"2")
    assert refusal(*wrong, content_md5=md5) == (400, "UnmatchedContentMD5")
    assert refusal(add, storage, upload, 10_001, b"2") == (400, "InvalidUploadPartNumber")


def test_an_upload_is_listed_until_it_is_aborted(storage: Any) -> None:
    upload = begin(storage)
    add(storage, upload, 1, b"1")
    listed = storage.list_multipart_uploads(NAMESPACE, BUCKET).data
    assert [(each.object, each.upload_id) for each in listed] == [("w", upload)]
    assert names(storage) == []
    storage.abort_multipart_upload(NAMESPACE, BUCKET, "w", upload)
    assert storage.list_multipart_uploads(NAMESPACE, BUCKET).data == []
    assert refusal(add, storage, upload, 2, b"2") == (404, "UploadNotFound")


def test_one_of_many_wins_a_race_to_be_first(alone: LocalCloud) -> None:
    outcomes: list[str] = []
    # The SDK begins a new session after such a refusal, so each has a client of its own.
    clients = [client(alone, "object_storage.ObjectStorageClient") for _ in range(12)]

    def race(number: int) -> None:
        try:
            put(clients[number], "flag", str(number).encode(), if_none_match="*")
        except oci.exceptions.ServiceError as error:
            outcomes.append(error.code)
        else:
            outcomes.append("won")

    racing = [threading.Thread(target=race, args=(number,)) for number in range(12)]
    for each in racing:
        each.start()
    for each in racing:
        each.join()
    assert sorted(outcomes) == ["IfNoneMatchFailed"] * 11 + ["won"]


def test_a_large_object_is_in_memory_by_its_parts_only(storage: Any, tmp_path: Path) -> None:
    size, part = 48 * PART, 4 * PART
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        upload = begin(storage)
        parts = [add(storage, upload, number, bytes(part)) for number in range(1, size // part + 1)]
        commit(storage, upload, parts)
        stream = storage.get_object(NAMESPACE, BUCKET, "w").data
        digest, length = hashlib.sha256(), 0
        for piece in stream.iter_content(PART):
            digest.update(piece)
            length += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == size
    assert digest.digest() == hashlib.sha256(bytes(size)).digest()
    # The client's copy of a part, the server's, and what is around them.
    assert peak - before < 6 * part


def test_a_stream_without_a_length(storage: Any) -> None:
    put(storage, "a", io.BytesIO(b"12345"))  # type: ignore[arg-type]
    assert get(storage, "a") == b"12345"
