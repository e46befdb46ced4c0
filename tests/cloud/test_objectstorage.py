"""The local object storage, as the real SDK meets it."""

from __future__ import annotations

import base64
import datetime
import hashlib
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import keys
from tests.cloud.cloud import NAMESPACE, make_profile
from tests.cloud.conftest import client
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import oci
    from oci.object_storage import models

BUCKET = "models"


def refusal(call: Callable[..., Any], *args: Any, **options: Any) -> tuple[int, str]:
    """Status and code of a call that is refused."""
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        call(*args, **options)
    return caught.value.status, caught.value.code


def make_bucket(storage: Any, name: str = BUCKET, **details: Any) -> Any:
    wanted = {"name": name, "compartment_id": COMPARTMENT, **details}
    return storage.create_bucket(NAMESPACE, models.CreateBucketDetails(**wanted)).data


def put(storage: Any, name: str, body: bytes, **options: Any) -> Any:
    return storage.put_object(NAMESPACE, BUCKET, name, body, **options)


def get(storage: Any, name: str, **options: Any) -> bytes:
    content: bytes = storage.get_object(NAMESPACE, BUCKET, name, **options).data.content
    return content


def names(storage: Any, **options: Any) -> list[str]:
    found = storage.list_objects(NAMESPACE, BUCKET, **options).data
    return [each.name for each in found.objects]


class TestBuckets:
    def test_is_made_with_what_was_asked_for(self, storage: Any) -> None:
        made = make_bucket(
            storage,
            versioning="Enabled",
            auto_tiering="InfrequentAccess",
            object_events_enabled=True,
            freeform_tags={"team": "ml"},
        )
        assert made.id.startswith("ocid1.bucket.")
        assert (made.public_access_type, made.storage_tier) == ("NoPublicAccess", "Standard")
        found = storage.get_bucket(NAMESPACE, BUCKET).data
        assert (found.versioning, found.object_events_enabled) == ("Enabled", True)
        assert found.freeform_tags == {"team": "ml"}
        assert found.auto_tiering is None, "it is told only to those who ask for it"
        asked = storage.get_bucket(NAMESPACE, BUCKET, fields=["autoTiering", "approximateCount"])
        assert asked.data.auto_tiering == "InfrequentAccess"
        assert asked.data.approximate_count == 0

    @pytest.mark.parametrize(
        "details", [{"auto_tiering": "Enabled"}, {"name": "a bucket"}, {"name": "a/b"}]
    )
    def test_wrong_values_are_refused(self, storage: Any, details: dict[str, str]) -> None:
        wanted = {"name": BUCKET, "compartment_id": COMPARTMENT, **details}
        call = storage.create_bucket, NAMESPACE, models.CreateBucketDetails(**wanted)
        assert refusal(*call)[0] == 400

    def test_a_name_is_taken_in_the_whole_namespace(self, storage: Any) -> None:
        make_bucket(storage)
        again = models.CreateBucketDetails(name=BUCKET, compartment_id=OTHER_COMPARTMENT)
        assert refusal(storage.create_bucket, NAMESPACE, again) == (409, "BucketAlreadyExists")

    def test_others_do_not_see_it(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage)
        alone.alice.compartments = frozenset({OTHER_COMPARTMENT})
        assert refusal(storage.get_bucket, NAMESPACE, BUCKET) == (404, "BucketNotFound")
        again = models.CreateBucketDetails(name=BUCKET, compartment_id=OTHER_COMPARTMENT)
        assert refusal(storage.create_bucket, NAMESPACE, again) == (409, "BucketAlreadyExists")

    def test_is_changed_where_it_is_what_was_seen(self, storage: Any) -> None:
        etag = make_bucket(storage).etag
        change = models.UpdateBucketDetails(versioning="Enabled")
        storage.update_bucket(NAMESPACE, BUCKET, change, if_match=etag)
        late = (storage.update_bucket, NAMESPACE, BUCKET, change)
        assert refusal(*late, if_match=etag) == (412, "IfMatchFailed")
        assert storage.get_bucket(NAMESPACE, BUCKET).data.versioning == "Enabled"

    def test_goes_only_when_it_is_empty(self, storage: Any) -> None:
        make_bucket(storage, versioning="Enabled")
        put(storage, "a", b"1")
        storage.delete_object(NAMESPACE, BUCKET, "a")
        assert names(storage) == []
        assert refusal(storage.delete_bucket, NAMESPACE, BUCKET) == (409, "BucketNotEmpty")
        for each in storage.list_object_versions(NAMESPACE, BUCKET).data.items:
            storage.delete_object(NAMESPACE, BUCKET, each.name, version_id=each.version_id)
        upload = storage.create_multipart_upload(
            NAMESPACE, BUCKET, models.CreateMultipartUploadDetails(object="b")
        ).data
        assert refusal(storage.delete_bucket, NAMESPACE, BUCKET)[0] == 409
        storage.abort_multipart_upload(NAMESPACE, BUCKET, "b", upload.upload_id)
        par = make_par(storage)
        code = (409, "PreauthenticatedRequestStillExists")
        assert refusal(storage.delete_bucket, NAMESPACE, BUCKET) == code
        storage.delete_preauthenticated_request(NAMESPACE, BUCKET, par.id)
        storage.delete_bucket(NAMESPACE, BUCKET)
        assert refusal(storage.get_bucket, NAMESPACE, BUCKET)[0] == 404


class TestObjects:
    @pytest.fixture(autouse=True)
    def bucket(self, storage: Any) -> None:
        make_bucket(storage)

    @pytest.mark.parametrize(
        "name", ["a", "a/b/c", "a/", "ü ü~c?.txt", ".", "../x", "a%2Fb", "a+b&c=d;e", "#", "a\tb"]
    )
    def test_any_name_comes_back(self, storage: Any, name: str) -> None:
        put(storage, name, name.encode(), content_type="text/plain")
        assert get(storage, name) == name.encode()
        assert names(storage) == [name]
        storage.delete_object(NAMESPACE, BUCKET, name)
        assert names(storage) == []

    def test_the_sdk_encodes_slashes_and_plain_ones_do_as_well(
        self, alone: LocalCloud, storage: Any
    ) -> None:
        put(storage, "a/b", b"1")
        assert alone.server.asked("PUT")[-1].raw.endswith("/o/a%2Fb")
        assert get(storage, "a/b", enable_strict_url_encoding=False) == b"1"
        assert alone.server.asked("GET")[-1].raw.endswith("/o/a/b")

    def test_what_is_said_of_it_is_kept(self, storage: Any) -> None:
        done = put(
            storage,
            "a",
            b"content",
            content_type="text/plain",
            cache_control="no-store",
            opc_meta={"oci-digest": "sha256:1"},
        )
        md5 = base64.b64encode(hashlib.md5(b"content").digest()).decode()
        assert done.headers["opc-content-md5"] == md5
        head = storage.head_object(NAMESPACE, BUCKET, "a")
        assert head.headers["etag"] == done.headers["etag"]
        assert head.headers["content-length"] == "7"
        assert head.headers["content-md5"] == md5
        assert head.headers["content-type"] == "text/plain"
        assert head.headers["cache-control"] == "no-store"
        assert head.headers["opc-meta-oci-digest"] == "sha256:1"
        assert "version-id" not in head.headers

    def test_ranges(self, storage: Any) -> None:
        put(storage, "a", b"0123456789")
        assert get(storage, "a", range="bytes=0-3") == b"0123"
        assert get(storage, "a", range="bytes=8-15") == b"89"
        assert get(storage, "a", range="bytes=4-") == b"456789"
        assert get(storage, "a", range="bytes=-4") == b"6789"
        found = storage.get_object(NAMESPACE, BUCKET, "a", range="bytes=5-5")
        assert (found.status, found.data.content) == (206, b"5")
        assert found.headers["content-range"] == "bytes 5-5/10"
        for wrong in ("bytes=10-", "bytes=5-4", "bytes=0-1,4-5", "0-4"):
            call = storage.get_object, NAMESPACE, BUCKET, "a"
            assert refusal(*call, range=wrong) == (416, "InvalidRange")

    def test_conditions(self, storage: Any) -> None:
        first = put(storage, "a", b"1", if_none_match="*").headers["etag"]
        again = (put, storage, "a", b"2")
        assert refusal(*again, if_none_match="*") == (412, "IfNoneMatchFailed")
        second = put(storage, "a", b"2", if_match=first).headers["etag"]
        assert refusal(*again, if_match=first) == (412, "IfMatchFailed")
        assert refusal(put, storage, "b", b"2", if_match=first) == (412, "IfMatchFailed")
        gone = storage.delete_object, NAMESPACE, BUCKET, "a"
        assert refusal(*gone, if_match=first) == (412, "IfMatchFailed")
        assert get(storage, "a", if_match=second) == b"2"
        read = storage.get_object, NAMESPACE, BUCKET, "a"
        assert refusal(*read, if_match=first)[0] == 412
        assert refusal(*read, if_none_match=second)[0] == 304
        storage.delete_object(NAMESPACE, BUCKET, "a", if_match=second)

    def test_checksums_are_looked_at(self, storage: Any) -> None:
        right = base64.b64encode(hashlib.md5(b"1").digest()).decode()
        put(storage, "a", b"1", content_md5=right)
        wrong = (put, storage, "b", b"2")
        assert refusal(*wrong, content_md5=right) == (400, "UnmatchedContentMD5")
        sha256 = base64.b64encode(hashlib.sha256(b"1").digest()).decode()
        options: dict[str, Any] = {
            "opc_checksum_algorithm": "SHA256",
            "opc_content_sha256": sha256,
        }
        kept = put(storage, "c", b"1", **options)
        assert kept.headers["opc-content-sha256"] == sha256
        assert refusal(*wrong, **options) == (400, "UnmatchedContentSHA256")
        crc: dict[str, Any] = {"opc_checksum_algorithm": "CRC32C", "opc_content_crc32c": "AAAAAA=="}
        assert refusal(*wrong, **crc) == (400, "UnmatchedContentCRC32C")
        assert names(storage) == ["a", "c"]

    def test_lists(self, storage: Any) -> None:
        for name in ("a", "b/1", "b/2", "b/c/3", "d", "é"):
            put(storage, name, name.encode())
        assert names(storage) == ["a", "b/1", "b/2", "b/c/3", "d", "é"]
        assert names(storage, prefix="b/") == ["b/1", "b/2", "b/c/3"]
        assert names(storage, start="b/2", end="d") == ["b/2", "b/c/3"]
        assert names(storage, start_after="b/2") == ["b/c/3", "d", "é"]
        found = storage.list_objects(NAMESPACE, BUCKET, delimiter="/").data
        assert ([each.name for each in found.objects], found.prefixes) == (["a", "d", "é"], ["b/"])
        found = storage.list_objects(NAMESPACE, BUCKET, prefix="b/", delimiter="/").data
        assert ([each.name for each in found.objects], found.prefixes) == (
            ["b/1", "b/2"],
            ["b/c/"],
        )
        seen: list[list[str]] = []
        start: Any = ""
        while start is not None:
            found = storage.list_objects(NAMESPACE, BUCKET, limit=2, start=start).data
            seen.append([each.name for each in found.objects])
            start = found.next_start_with
        assert seen == [["a", "b/1"], ["b/2", "b/c/3"], ["d", "é"]]
        row = storage.list_objects(NAMESPACE, BUCKET).data.objects[0]
        assert (row.size, row.etag, row.md5) == (None, None, None)
        found = storage.list_objects(NAMESPACE, BUCKET, fields="size,etag,storageTier").data
        row = found.objects[0]
        assert (row.size, row.storage_tier, row.md5) == (1, "Standard", None)

    def test_what_is_not_there(self, storage: Any) -> None:
        missing = (404, "ObjectNotFound")
        assert refusal(get, storage, "a") == missing
        assert refusal(storage.delete_object, NAMESPACE, BUCKET, "a") == missing
        assert refusal(storage.head_object, NAMESPACE, BUCKET, "a")[0] == 404
        other = storage.get_object, NAMESPACE, "other", "a"
        assert refusal(*other) == (404, "BucketNotFound")
        assert refusal(storage.get_object, "othernamespace", BUCKET, "a")[0] == 404

    def test_renamed_and_copied(self, storage: Any) -> None:
        put(storage, "a", b"1", opc_meta={"k": "v"})
        put(storage, "b", b"2")
        taken = models.RenameObjectDetails(
            source_name="a", new_name="b", new_obj_if_none_match_e_tag="*"
        )
        assert refusal(storage.rename_object, NAMESPACE, BUCKET, taken)[0] == 412
        details = models.RenameObjectDetails(source_name="a", new_name="old/a")
        storage.rename_object(NAMESPACE, BUCKET, details)
        assert names(storage) == ["b", "old/a"]
        head = storage.head_object(NAMESPACE, BUCKET, "old/a")
        assert head.headers["opc-meta-k"] == "v"
        done = storage.copy_object(
            NAMESPACE,
            BUCKET,
            models.CopyObjectDetails(
                source_object_name="old/a",
                destination_region="us-ashburn-1",
                destination_namespace=NAMESPACE,
                destination_bucket=BUCKET,
                destination_object_name="c",
            ),
        )
        request = storage.get_work_request(done.headers["opc-work-request-id"]).data
        assert request.status == "COMPLETED"
        assert get(storage, "c") == get(storage, "old/a") == b"1"


class TestVersions:
    @pytest.fixture(autouse=True)
    def bucket(self, storage: Any) -> None:
        make_bucket(storage, versioning="Enabled")

    def versions(self, storage: Any, **options: Any) -> list[Any]:
        listed = oci.pagination.list_call_get_all_results(
            storage.list_object_versions, NAMESPACE, BUCKET, **options
        )
        return list(listed.data)

    def test_what_was_there_stays(self, storage: Any) -> None:
        first = put(storage, "a", b"1").headers["version-id"]
        second = put(storage, "a", b"22").headers["version-id"]
        assert get(storage, "a") == b"22"
        assert get(storage, "a", version_id=first) == b"1"
        assert [each.version_id for each in self.versions(storage, limit=1)] == [second, first]
        assert names(storage) == ["a"]

    def test_a_deletion_leaves_a_marker_and_can_be_undone(self, storage: Any) -> None:
        first = put(storage, "a", b"1").headers["version-id"]
        gone = storage.delete_object(NAMESPACE, BUCKET, "a")
        assert gone.headers["is-delete-marker"] == "true"
        assert refusal(get, storage, "a") == (404, "ObjectNotFound")
        assert names(storage) == []
        marks = [(each.is_delete_marker, each.version_id) for each in self.versions(storage)]
        marker = gone.headers["version-id"]
        assert marks == [(True, marker), (False, first)]
        assert put(storage, "b", b"", if_none_match="*").status == 200
        storage.delete_object(NAMESPACE, BUCKET, "a", version_id=marker)
        assert get(storage, "a") == b"1"

    def test_with_its_id_a_version_is_gone_for_good(self, storage: Any) -> None:
        first = put(storage, "a", b"1").headers["version-id"]
        second = put(storage, "a", b"2").headers["version-id"]
        storage.delete_object(NAMESPACE, BUCKET, "a", version_id=second)
        assert get(storage, "a") == b"1"
        storage.delete_object(NAMESPACE, BUCKET, "a", version_id=first)
        assert self.versions(storage) == []
        again = storage.delete_object, NAMESPACE, BUCKET, "a"
        assert refusal(*again, version_id=first) == (404, "ObjectNotFound")

    def test_cannot_be_turned_off_but_suspended(self, storage: Any) -> None:
        first = put(storage, "a", b"1").headers["version-id"]
        put(storage, "a", b"2")
        details = models.UpdateBucketDetails(versioning="Suspended")
        storage.update_bucket(NAMESPACE, BUCKET, details)
        put(storage, "a", b"3")
        assert get(storage, "a") == b"3"
        assert get(storage, "a", version_id=first) == b"1"
        assert len(self.versions(storage)) == 2


def make_par(storage: Any, **details: Any) -> Any:
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=7)
    wanted = {"name": "read", "access_type": "AnyObjectRead", "time_expires": expires, **details}
    made = models.CreatePreauthenticatedRequestDetails(**wanted)
    return storage.create_preauthenticated_request(NAMESPACE, BUCKET, made).data


def fetch(address: str, method: str = "GET", body: bytes | None = None) -> bytes:
    request = urllib.request.Request(address, body, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        content: bytes = answer.read()
    return content


class TestPreauthenticated:
    @pytest.fixture(autouse=True)
    def bucket(self, storage: Any) -> None:
        make_bucket(storage)
        put(storage, "old/a b", b"1")

    def test_whoever_knows_the_address_reads(self, alone: LocalCloud, storage: Any) -> None:
        par = make_par(storage)
        assert par.full_path == alone.url + par.access_uri
        assert fetch(f"{par.full_path}old/a%20b") == b"1"
        for method, path in (("GET", "b"), ("PUT", "b"), ("GET", "")):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                fetch(par.full_path + path, method, b"2" if method == "PUT" else None)

    def test_one_object_for_one_kind_of_access(self, storage: Any) -> None:
        par = make_par(storage, access_type="ObjectWrite", object_name="new")
        fetch(par.full_path, "PUT", b"2")
        assert get(storage, "new") == b"2"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(par.full_path)

    def test_expires(self, alone: LocalCloud, storage: Any) -> None:
        par = make_par(storage)
        alone.wait(days=8)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{par.full_path}old/a%20b")

    def test_is_listed_without_its_address_and_deleted(self, storage: Any) -> None:
        par = make_par(storage, bucket_listing_action="ListObjects")
        assert b'"old/a b"' in fetch(par.full_path)
        listed = storage.list_preauthenticated_requests(NAMESPACE, BUCKET).data
        assert [(each.id, each.name) for each in listed] == [(par.id, "read")]
        assert not hasattr(listed[0], "access_uri")
        storage.delete_preauthenticated_request(NAMESPACE, BUCKET, par.id)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{par.full_path}old/a%20b")


class TestSignatures:
    def test_another_key_is_refused(self, alone: LocalCloud, home: Path) -> None:
        config = oci.config.from_file()
        signer = oci.signer.Signer(
            config["tenancy"],
            config["user"],
            config["fingerprint"],
            None,
            private_key_content=keys.pem(keys.make("mallory")),
        )
        storage = oci.object_storage.ObjectStorageClient(
            config,
            signer=signer,
            service_endpoint=alone.url,
            retry_strategy=oci.retry.NoneRetryStrategy(),
        )
        assert refusal(storage.get_namespace) == (401, "NotAuthenticated")
        assert refusal(put, storage, "a", b"1") == (401, "NotAuthenticated")

    def test_a_body_that_was_changed_is_refused(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage)
        signed = alone.server.asked("POST")[-1]
        body = b"x" * signed.length
        request = urllib.request.Request(
            alone.url + signed.raw, body, dict(signed.headers), method="POST"
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=10)

    def test_a_clock_that_is_off(self, alone: LocalCloud, storage: Any) -> None:
        alone.skew = 600
        assert refusal(storage.get_namespace)[0] == 401
        alone.skew = 0
        alone.wait(days=365)
        assert storage.get_namespace().data == NAMESPACE

    def test_permissions(self, alone: LocalCloud, storage: Any) -> None:
        make_bucket(storage)
        put(storage, "a", b"1")
        alone.alice.may_manage = frozenset()
        assert get(storage, "a") == b"1"
        assert refusal(put, storage, "b", b"2") == (404, "BucketNotFound")
        alone.alice.may_read = frozenset()
        assert refusal(get, storage, "a") == (404, "BucketNotFound")


def test_a_profile_keeps_its_key(alone: LocalCloud, home: Path) -> None:
    before = (home / ".oci" / "key.pem").read_text()
    make_profile(home, alone)
    assert (home / ".oci" / "key.pem").read_text() == before
    assert client(alone, "object_storage.ObjectStorageClient").get_namespace().data == NAMESPACE
