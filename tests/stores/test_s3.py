"""What an S3 service says, and what of ours it becomes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ocimlpack.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    InvalidContentError,
    NotAllowedError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
    UnreachableError,
    UnsupportedError,
)
from ocimlpack.retry import Policy
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.stores.base import BytesBlob
from ocimlpack.stores.bucket import BucketStore
from ocimlpack.stores.objects import s3, s3_service
from ocimlpack.stores.objects.base import (
    ABSENT,
    ConditionError,
    GoneError,
    Label,
    ObjectStream,
    Stat,
)
from ocimlpack.stores.objects.persistent import PersistentObjects
from ocimlpack.stores.objects.s3 import S3Objects
from ocimlpack.stores.settings import Bucket
from tests.contract import LARGE, WEIGHT, put, put_artifact, take
from tests.objects.service import BUCKET, Service, document

FAST = Policy(attempts=3, base=0.001, cap=0.01, total=5.0)
LABEL = Label("text/plain", {"oci-digest": "sha256:x"})
KEY = "team/minilm/index.json"


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def connect(endpoint: str, bucket: str = BUCKET, **preference: str) -> S3Objects:
    return S3Objects(s3_service.find(bucket, Bucket(endpoint=endpoint, **preference), None))


@pytest.fixture
def objects(service: Service) -> S3Objects:
    return connect(service.url)


def read_on(stream: ObjectStream) -> None:
    while stream.read(100_000):
        pass


def read(objects: S3Objects, start: int, end: int, *, lasting: bool) -> bytes:
    stream = objects.stream(KEY, start, end, lasting=lasting)
    parts = []
    try:
        while chunk := stream.read(100_000):
            assert len(chunk) <= 100_000
            parts.append(chunk)
    finally:
        stream.close()
    return b"".join(parts)


class TestObjects:
    def test_what_is_put_is_there(self, objects: S3Objects, service: Service) -> None:
        assert objects.stat(KEY) is None
        assert objects.read(KEY, 100) is None
        etag = objects.put(KEY, b"hello", LABEL)
        stat = objects.stat(KEY)
        assert stat is not None
        assert (stat.key, stat.size, stat.etag) == (KEY, 5, etag)
        assert abs(stat.modified - time.time()) < 5
        assert objects.read(KEY, 5) == (b"hello", stat)
        _, headers = service.objects[KEY]
        assert headers == {"content-type": "text/plain", "x-amz-meta-oci-digest": "sha256:x"}

    def test_every_request_says_what_its_body_is(
        self, objects: S3Objects, service: Service
    ) -> None:
        objects.put(KEY, b"hello", LABEL)
        (request,) = service.asked("PUT")
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(b"hello").hexdigest()
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")

    def test_conditions(self, objects: S3Objects) -> None:
        etag = objects.put(KEY, b"one", LABEL, ABSENT)
        with pytest.raises(ConditionError):
            objects.put(KEY, b"two", LABEL, ABSENT)
        second = objects.put(KEY, b"two", LABEL, etag)
        with pytest.raises(ConditionError):
            objects.put(KEY, b"three", LABEL, etag)
        with pytest.raises(ConditionError):
            objects.put("elsewhere", b"three", LABEL, etag)
        found = objects.read(KEY, 10)
        assert found is not None
        assert found[0] == b"two"
        assert found[1].etag == second

    def test_too_much_is_not_read(self, objects: S3Objects) -> None:
        objects.put(KEY, b"hello", LABEL)
        with pytest.raises(InvalidContentError):
            objects.read(KEY, 4)

    def test_lists_go_on_over_pages(self, objects: S3Objects, service: Service) -> None:
        service.page = 3
        for number in range(8):
            objects.put(f"a/{number}", b"x" * number, LABEL)
        objects.put("b/c/d", b"", LABEL)
        objects.put("top", b"", LABEL)
        found = list(objects.list("a/"))
        assert [(each.key, each.size) for each in found] == [(f"a/{n}", n) for n in range(8)]
        assert isinstance(found[0], Stat)
        assert objects.folders() == ["a/", "b/"]
        assert objects.folders("b/") == ["c/"]
        assert len(list(objects.list(""))) == 10

    def test_removing(self, objects: S3Objects, service: Service) -> None:
        for name in "abc":
            objects.put(name, b"", LABEL)
        objects.delete(["a", "b", "never"])
        assert set(service.objects) == {"c"}

    @pytest.mark.parametrize("lasting", [False, True])
    @pytest.mark.parametrize(("start", "end"), [(0, len(LARGE)), (1, 2), (300_000, 500_000)])
    def test_a_part_is_read(self, objects: S3Objects, lasting: bool, start: int, end: int) -> None:
        objects.put(KEY, LARGE, LABEL)
        assert read(objects, start, end, lasting=lasting) == LARGE[start:end]

    @pytest.mark.parametrize("lasting", [False, True])
    def test_a_part_of_nothing(self, objects: S3Objects, lasting: bool) -> None:
        with pytest.raises(NotFoundError):
            read(objects, 0, 10, lasting=lasting)
        objects.put(KEY, b"", LABEL)
        assert read(objects, 0, 0, lasting=lasting) == b""
        with pytest.raises(IntegrityError, match="has less of"):
            read(objects, 5, 10, lasting=lasting)

    @pytest.mark.parametrize("lasting", [False, True])
    def test_a_connection_that_breaks(
        self, objects: S3Objects, service: Service, lasting: bool
    ) -> None:
        objects.put(KEY, LARGE, LABEL)
        service.fault("GET", cut=200_000)
        with pytest.raises(UnavailableError, match="the connection broke"):
            read(objects, 0, len(LARGE), lasting=lasting)

    @pytest.mark.parametrize("lasting", [False, True])
    def test_another_part_than_asked_for_is_refused(
        self, objects: S3Objects, service: Service, lasting: bool
    ) -> None:
        service.fault(
            "GET",
            status=206,
            body=b"abc",
            headers={
                "Content-Range": "bytes 0-2/9",
                "ETag": '"x"',
                "Last-Modified": "Wed, 25 Nov 2026 12:00:00 GMT",
            },
        )
        with pytest.raises(IntegrityError, match="another part"):
            read(objects, 4, 7, lasting=lasting)

    def test_nothing_is_asked_for_before_a_lasting_stream_is_read(
        self, objects: S3Objects, service: Service
    ) -> None:
        stream = objects.stream(KEY, 0, 10, lasting=True)
        stream.close()
        assert service.count() == 0

    @pytest.mark.parametrize("moment", ["answer", "body"])
    def test_who_waits_can_be_released(
        self, objects: S3Objects, service: Service, moment: str
    ) -> None:
        objects.put(KEY, LARGE, LABEL)
        held = threading.Event()
        if moment == "answer":
            service.fault("GET", hold=held)
        else:
            service.fault("GET", rate=0)
        stream = objects.stream(KEY, 0, len(LARGE), lasting=True)
        threading.Timer(0.3, stream.abort).start()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="nobody waits"):
            read_on(stream)
        assert 0.2 < time.monotonic() - began < 5
        held.set()
        stream.close()

    def test_one_that_was_aborted_before_asks_for_nothing(
        self, objects: S3Objects, service: Service
    ) -> None:
        stream = objects.stream(KEY, 0, 10, lasting=True)
        stream.abort()
        with pytest.raises(UnavailableError, match="nobody waits"):
            stream.read(10)
        stream.close()
        stream.abort()
        assert service.count() == 0

    @pytest.mark.parametrize("lasting", [False, True])
    def test_a_server_that_says_nothing_is_given_up(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, lasting: bool
    ) -> None:
        monkeypatch.setattr(s3, "_STALL", timedelta(seconds=0.5))
        objects = connect(service.url)
        objects.put(KEY, LARGE, LABEL)
        service.fault("GET", rate=0)
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="nothing came for too long"):
            read(objects, 0, len(LARGE), lasting=lasting)
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("lasting", [False, True])
    def test_one_that_brings_a_byte_now_and_then_too(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, lasting: bool
    ) -> None:
        monkeypatch.setattr(s3, "_STALL", timedelta(seconds=0.5))
        objects = connect(service.url)
        objects.put(KEY, LARGE, LABEL)
        service.fault("GET", rate=100)
        with pytest.raises(UnavailableError, match="the connection stalled"):
            read(objects, 0, len(LARGE), lasting=lasting)


class TestUploads:
    PARTS = (b"a" * 1000, b"b" * 1000, b"c")

    def bring(self, objects: S3Objects, upload: str) -> list[Any]:
        return [
            objects.put_part(KEY, upload, number, part, hashlib.sha256(part).digest())
            for number, part in enumerate(self.PARTS, 1)
        ]

    def test_an_object_comes_of_its_parts(self, objects: S3Objects, service: Service) -> None:
        upload = objects.begin(KEY, LABEL)
        pieces = self.bring(objects, upload)
        objects.complete(KEY, upload, pieces, ABSENT)
        assert service.objects[KEY][0] == b"".join(self.PARTS)
        (begun,) = service.asked("POST", "uploads")
        assert begun.headers["x-amz-meta-oci-digest"] == "sha256:x"
        assert begun.headers["x-amz-checksum-algorithm"] == "SHA256"
        assert all("x-amz-checksum-sha256" in each.headers for each in service.asked("PUT"))

    @pytest.mark.parametrize("checksums", [True, False])
    def test_parts_are_listed_over_pages(
        self, objects: S3Objects, service: Service, checksums: bool
    ) -> None:
        service.checksums, service.page = checksums, 2
        upload = objects.begin(KEY, LABEL)
        self.bring(objects, upload)
        found = objects.pieces(KEY, upload)
        assert found is not None
        assert [each.number for each in found] == [1, 2, 3]
        for piece, part in zip(found, self.PARTS, strict=True):
            assert piece.size == len(part)
            assert piece.md5 == hashlib.md5(part).hexdigest()
            assert piece.sha256 == (hashlib.sha256(part).hexdigest() if checksums else "")
            assert piece.etag == f'"{piece.md5}"'
        objects.complete(KEY, upload, found)
        assert service.objects[KEY][0] == b"".join(self.PARTS)

    def test_where_no_checksums_are_known_they_are_left_out(
        self, objects: S3Objects, service: Service
    ) -> None:
        service.checksums = False
        upload = objects.begin(KEY, LABEL)
        objects.complete(KEY, upload, self.bring(objects, upload))
        assert service.count("POST", "uploads") == 2
        assert service.count("PUT") == 3  # found out once
        # Another process goes on with that upload, and finds it out by a part.
        second = connect(service.url)
        upload = objects.begin(KEY, LABEL)
        second.complete(KEY, upload, self.bring(second, upload))

    def test_a_part_that_was_damaged_on_the_way_is_not_taken(
        self, objects: S3Objects, service: Service
    ) -> None:
        upload = objects.begin(KEY, LABEL)
        with pytest.raises(UnavailableError, match="XAmzContentSHA256Mismatch"):
            objects.put_part(KEY, upload, 1, b"damaged", hashlib.sha256(b"whole").digest())
        assert service.uploads[upload][1] == {}

    def test_one_that_is_gone(self, objects: S3Objects) -> None:
        upload = objects.begin(KEY, LABEL)
        pieces = self.bring(objects, upload)
        objects.cancel(KEY, upload)
        objects.cancel(KEY, upload)
        assert objects.pieces(KEY, upload) is None
        with pytest.raises(GoneError):
            self.bring(objects, upload)
        with pytest.raises(GoneError):
            objects.complete(KEY, upload, pieces)

    def test_a_condition_that_does_not_hold(self, objects: S3Objects) -> None:
        objects.put(KEY, b"there", LABEL)
        upload = objects.begin(KEY, LABEL)
        with pytest.raises(ConditionError):
            objects.complete(KEY, upload, self.bring(objects, upload), ABSENT)

    def test_an_error_after_the_status_is_heard(self, objects: S3Objects, service: Service) -> None:
        upload = objects.begin(KEY, LABEL)
        pieces = self.bring(objects, upload)
        service.fault("POST", "uploadId", status=200, body=document("InternalError", "we failed"))
        with pytest.raises(UnavailableError, match="we failed"):
            objects.complete(KEY, upload, pieces)
        objects.complete(KEY, upload, pieces)
        assert service.objects[KEY][0] == b"".join(self.PARTS)

    def test_unfinished_ones_are_listed_over_pages(
        self, objects: S3Objects, service: Service
    ) -> None:
        service.page = 2
        begun = [objects.begin(f"blobs/{number}", LABEL) for number in range(5)]
        objects.begin("elsewhere", LABEL)
        found = list(objects.uploads("blobs/"))
        assert [(each.key, each.upload) for each in found] == [
            (f"blobs/{number}", upload) for number, upload in enumerate(begun)
        ]
        assert found[0].began == 1767323045.0

    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            ({"status": 503, "body": document("SlowDown", "reduce")}, "SlowDown"),
            ({"status": 500}, "status 500"),
            ({"status": 400, "body": document("RequestTimeout")}, "RequestTimeout"),
            ({"drop": "after"}, "the connection broke"),
            ({"swallow": 100}, "the connection broke"),
        ],
    )
    def test_what_may_pass(
        self, objects: S3Objects, service: Service, rule: dict[str, Any], said: str
    ) -> None:
        upload = objects.begin(KEY, LABEL)
        service.fault("PUT", **rule)
        with pytest.raises(UnavailableError, match=said):
            self.bring(objects, upload)

    def test_what_the_service_asks_to_wait_is_known(
        self, objects: S3Objects, service: Service
    ) -> None:
        upload = objects.begin(KEY, LABEL)
        service.fault("PUT", status=503, headers={"Retry-After": "7"})
        with pytest.raises(UnavailableError) as caught:
            self.bring(objects, upload)
        assert caught.value.retry_after == "7"


REFUSALS: list[tuple[int, bytes, type[OcimlpackError], str]] = [
    (403, document("AccessDenied", "Access Denied"), NotAllowedError, "does not allow"),
    (403, b"", NotAllowedError, "does not allow"),
    (401, b"", NotAllowedError, "does not allow"),
    (403, document("InvalidAccessKeyId"), NotAllowedError, "the access key is not known"),
    (404, document("XAdminUserNotFound"), NotAllowedError, "the access key is not known"),
    (403, document("SignatureDoesNotMatch"), NotAllowedError, "the secret access key does not"),
    (400, document("ExpiredToken", "long ago"), NotAllowedError, "have expired"),
    (403, document("RequestTimeTooSkewed"), NotAllowedError, "clock"),
    (
        400,
        document("AuthorizationHeaderMalformed", "", "<Region>eu-1</Region>"),
        InputError,
        r"another region \(eu-1\)",
    ),
    (301, document("PermanentRedirect"), InputError, "another region"),
    (301, b"", InputError, "another region"),
    (404, document("NoSuchBucket"), NotFoundError, "there is no bucket s3://models"),
    (400, document("InvalidBucketName"), InputError, "takes no bucket of that name"),
    (403, document("InvalidObjectState", "archived"), ConflictError, "in cold storage"),
    (409, document("OperationAborted"), UnavailableError, "OperationAborted"),
    (409, document("BucketNotEmpty"), ConflictError, "refuses"),
    (429, b"", UnavailableError, "status 429"),
    (500, document("InternalError"), UnavailableError, "InternalError"),
    (503, document("SlowDown", "reduce your rate"), UnavailableError, "reduce your rate"),
    (503, b"<html>busy</html>", UnavailableError, "status 503"),
    (501, document("NotImplemented"), UnsupportedError, "can't do"),
    (400, document("EntityTooLarge"), UnsupportedError, "does not accept"),
    (405, b"", UnsupportedError, "does not accept"),
    (418, document("Teapot"), UnsupportedError, "Teapot"),
]


@pytest.mark.parametrize(
    "call",
    [
        partial(S3Objects.read, key=KEY, limit=10),
        partial(S3Objects.put, key=KEY, content=b"x", label=LABEL),
        lambda objects: list(objects.list("a/")),
        partial(S3Objects.begin, key=KEY, label=LABEL),
        lambda objects: objects.stream(KEY, 0, 3, lasting=False),
        lambda objects: read(objects, 0, 3, lasting=True),
        lambda objects: list(objects.uploads("blobs/")),
        lambda objects: objects.stat(KEY),
        lambda objects: objects.folders(),
    ],
    ids=["read", "put", "list", "begin", "stream", "lasting", "uploads", "stat", "folders"],
)
@pytest.mark.parametrize(("status", "body", "kind", "said"), REFUSALS)
def test_refusals_become_errors_of_ours(
    objects: S3Objects,
    service: Service,
    call: Callable[[S3Objects], object],
    status: int,
    body: bytes,
    kind: type[OcimlpackError],
    said: str,
    request: pytest.FixtureRequest,
) -> None:
    service.fault(status=status, body=body, times=None)
    if request.node.callspec.id.endswith("-stat") and kind is not UnavailableError:
        # An answer to HEAD has no body, so it is asked again by GET what is wrong, unless it is
        # said that there is no such object.
        if status == 404:
            assert call(objects) is None
            return
    elif request.node.callspec.id.endswith("-stat"):
        said = "keeps failing at"
    with pytest.raises(kind, match=said) as caught:
        call(objects)
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


class TestConnections:
    def test_nobody_there(self) -> None:
        objects = connect("http://127.0.0.1:9")
        for call in (
            partial(objects.stat, KEY),
            partial(objects.read, KEY, 1),
            partial(objects.put, KEY, b"", LABEL),
            partial(objects.begin, KEY, LABEL),
        ):
            with pytest.raises(
                UnreachableError, match=r"can't connect to http://127\.0\.0\.1:9: Con"
            ):
                call()

    def test_no_such_host(self) -> None:
        objects = connect("https://nowhere.invalid")
        with pytest.raises(UnreachableError, match="no such host"):
            objects.stat(KEY)

    def test_no_tls_there(self, service: Service) -> None:
        objects = connect(service.url.replace("http:", "https:"))
        with pytest.raises(UnreachableError, match="does not speak TLS"):
            objects.stat(KEY)

    @pytest.mark.parametrize("body", [b"<html>", b"", b"nonsense"])
    def test_a_list_that_is_none(self, objects: S3Objects, service: Service, body: bytes) -> None:
        service.fault("GET", status=200, body=body)
        with pytest.raises(UnavailableError, match="can't be understood"):
            list(objects.list("a/"))

    def test_an_upload_without_a_name(self, objects: S3Objects, service: Service) -> None:
        service.fault("POST", status=200, body=b"<html>welcome</html>")
        with pytest.raises(InvalidContentError, match="gave no name"):
            objects.begin(KEY, LABEL)

    def test_objects_that_could_not_be_removed(self, objects: S3Objects, service: Service) -> None:
        answer = "<Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        service.fault("POST", status=200, body=f"<DeleteResult>{answer}</DeleteResult>".encode())
        with pytest.raises(NotAllowedError, match="does not allow"):
            objects.delete(["a"])

    def test_a_ca_file_that_is_not_there(self, service: Service, tmp_path: Path) -> None:
        found = s3_service.find(BUCKET, Bucket(endpoint=service.url), None)
        with pytest.raises(InputError, match="can't use the certificate authorities"):
            S3Objects(found, ca_file=str(tmp_path / "absent.pem"))

    def test_a_setting_of_the_library_that_is_wrong(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CHECKSUM_ALGORITHM", "rot13")
        with pytest.raises(InputError, match="with these settings"):
            connect(service.url)

    def test_the_environment_names_no_other_service(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """obstore reads the environment, too: what was chosen comes first."""
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_BUCKET", "another")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
        objects = connect(service.url)
        objects.put(KEY, b"x", LABEL)
        upload = objects.begin(KEY, LABEL)
        objects.cancel(KEY, upload)
        assert set(service.objects) == {KEY}

    def test_nothing_of_a_secret_is_shown(self, objects: S3Objects, service: Service) -> None:
        more = "<StringToSign>AWS4 secret-string</StringToSign>"
        service.fault(status=403, body=document("SignatureDoesNotMatch", "", more), times=None)
        for call in (partial(objects.read, KEY, 1), partial(objects.begin, KEY, LABEL)):
            with pytest.raises(NotAllowedError) as caught:
                call()
            assert "secret-string" not in str(caught.value)

    def test_without_credentials_it_is_said_what_is_missing(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        objects = connect(service.url)
        for call in (partial(objects.stat, KEY), partial(objects.begin, KEY, LABEL)):
            with pytest.raises(NotAllowedError, match="there are no credentials for S3") as caught:
                call()
            assert "AWS_PROFILE" in str(caught.value.hint)
        assert service.count() == 0

    def test_without_a_signature_where_that_is_asked_for(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        objects = connect(service.url)
        objects.put(KEY, b"x", LABEL)
        objects.begin(KEY, LABEL)
        assert all("authorization" not in each.headers for each in service.requests)


class TestAStore:
    """The whole of it: a store over a service that fails now and then."""

    @pytest.mark.parametrize(
        "rule",
        [{"status": 503}, {"drop": "before"}, {"drop": "after"}, {"status": 429}],
        ids=["503", "dropped", "answer lost", "429"],
    )
    @pytest.mark.parametrize(
        ("method", "path"),
        [("HEAD", ""), ("PUT", "blobs"), ("PUT", "index.json"), ("GET", "index.json"), ("GET", "")],
    )
    def test_failures_that_pass_are_not_noticed(
        self, objects: S3Objects, service: Service, method: str, path: str, rule: dict[str, Any]
    ) -> None:
        fault = service.fault(method, path, **rule)
        store = BucketStore(PersistentObjects(objects, FAST), "team/minilm")
        manifest = put_artifact(store, b"weights").descriptor
        store.tag(manifest, "1.0")
        desc = put(store, LARGE)
        assert take(store.fetch(desc)) == LARGE
        assert store.tags() == ["1.0"]
        assert fault.hits == 1

    def test_an_upload_in_parts(
        self, objects: S3Objects, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = bytes(range(251)) * (9 * 1024 * 1024 // 251)
        desc = Descriptor.of(content, WEIGHT)
        service.fault("PUT", "partNumber=1", drop="after")
        service.fault("POST", "uploadId", drop="after")
        store = BucketStore(PersistentObjects(objects, FAST), "team/minilm")
        store.push(desc, BytesBlob(content))
        assert service.objects[f"blobs/sha256/{desc.digest.hex}"][0] == content
        assert service.uploads == {}
        assert take(store.fetch(desc)) == content
        store.close()
