"""Uploads in parts to an S3 service, by requests that are signed here.

obstore has uploads in parts, but does not say what the service calls them, so that no other process
could go on with one; nor does it complete one on a condition. So these five requests are our own.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Final
from xml.sax.saxutils import escape

from ocimlpack.errors import IntegrityError, InvalidContentError, UnsupportedError
from ocimlpack.stores._http import Adapter, Attempt, Body, Pieces, Response, tls_context
from ocimlpack.stores.base import CHUNK
from ocimlpack.stores.objects.base import GoneError, Label, Piece, Unfinished
from ocimlpack.stores.objects.refusals import Refusal, element, elements
from ocimlpack.stores.objects.s3_service import Connecting, Service
from ocimlpack.stores.objects.signature import encode_query, sign

_SECONDS: Final = 60.0
_COMPLETE_SECONDS: Final = 600.0
"""Completing a large object takes some services minutes."""

_MAX_ANSWER: Final = 16 * 1024 * 1024
_MAX_PAGES: Final = 10_000
_EMPTY: Final = hashlib.sha256(b"").hexdigest()
_MD5_LENGTH: Final = 32
_NOT_IMPLEMENTED: Final = frozenset({400, 501})


class S3Uploads:
    """Uploads in parts into one bucket. Safe to use from many threads; each request is one try."""

    def __init__(self, service: Service, connecting: Connecting, place: str) -> None:
        """Prepare; nothing is sent.

        Args:
            service: the bucket.
            connecting: how connections are made.
            place: the bucket, as errors name it.
        """
        self._service = service
        self._credentials = connecting.credentials
        self._place = place
        self._adapter = Adapter(partial(tls_context, connecting.ca_file, connecting.insecure))
        # Whether the service computes a SHA-256 of each part and tells it: most do.
        self._checksums = True

    def begin(self, key: str, label: Label) -> str:
        """Begin an upload; returns its name."""
        headers = {
            "Content-Type": label.media_type,
            **{f"x-amz-meta-{name}": value for name, value in label.metadata.items()},
        }
        what = f"an upload of {key}"
        if self._checksums:
            asking = {**headers, "x-amz-checksum-algorithm": "SHA256"}
            try:
                return self._begin(key, asking, what)
            except UnsupportedError as error:
                if error.status not in _NOT_IMPLEMENTED:
                    raise
                self._checksums = False
        return self._begin(key, headers, what)

    def _begin(self, key: str, headers: Mapping[str, str], what: str) -> str:
        answer = self._read("POST", key, {"uploads": ""}, what, headers=headers)
        upload = element(answer, "UploadId")
        if not upload:
            raise InvalidContentError(f"{self._place} gave no name to {what}")
        return upload

    def put_part(
        self, key: str, upload: str, number: int, content: bytes | memoryview, sha256: bytes
    ) -> Piece:
        """Bring a part, whose digest the service compares."""
        if self._checksums:
            try:
                return self._put_part(key, upload, number, content, sha256, checksum=True)
            except UnsupportedError as error:
                if error.status not in _NOT_IMPLEMENTED:
                    raise
                self._checksums = False
        return self._put_part(key, upload, number, content, sha256, checksum=False)

    def _put_part(
        self,
        key: str,
        upload: str,
        number: int,
        content: bytes | memoryview,
        sha256: bytes,
        *,
        checksum: bool,
    ) -> Piece:
        headers = {"Content-Length": str(len(content))}
        if checksum:
            headers["x-amz-checksum-sha256"] = base64.b64encode(sha256).decode()
        response = self._send(
            "PUT",
            key,
            {"partNumber": number, "uploadId": upload},
            f"part {number} of {key}",
            headers=headers,
            body=_body(content),
            payload=sha256.hex(),
        )
        response.read_all(_MAX_ANSWER)
        etag = response.headers.get("ETag", "")
        if not etag:
            raise InvalidContentError(f"{self._place} gave no tag to part {number} of {key}")
        return Piece(number, len(content), etag, sha256.hex() if checksum else "")

    def pieces(self, key: str, upload: str) -> Sequence[Piece] | None:
        """The parts that are there, or None where there is no such upload any more."""
        found: list[Piece] = []
        marker = ""
        for _ in range(_MAX_PAGES):
            query: dict[str, str | int] = {"uploadId": upload, "max-parts": 1000}
            if marker:
                query["part-number-marker"] = marker
            try:
                answer = self._read("GET", key, query, f"the parts of {key}")
            except GoneError:
                return None
            found += map(_piece, elements(answer, "Part"))
            following = element(answer, "NextPartNumberMarker")
            if element(answer, "IsTruncated") != "true" or not following or following == marker:
                return found
            marker = following
        raise InvalidContentError(f"the list of the parts of {key} has no end")

    def complete(
        self, key: str, upload: str, pieces: Sequence[Piece], condition: str | None
    ) -> None:
        """Make an object of the parts."""
        parts = "".join(map(_named, pieces))
        content = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        headers = {"Content-Type": "application/xml"}
        if condition is not None:
            headers["If-None-Match" if condition == "*" else "If-Match"] = condition
        answer = self._read(
            "POST",
            key,
            {"uploadId": upload},
            f"the completion of {key}",
            headers=headers,
            content=content,
            timeout=_COMPLETE_SECONDS,
        )
        if element(answer, "Code") and "<Error>" in answer:
            # The status was sent before the work was done: the answer has the last word.
            raise Refusal.read(self._place, f"the completion of {key}", 500, answer).error()

    def cancel(self, key: str, upload: str) -> None:
        """Throw an upload's parts away."""
        what = f"the end of an upload of {key}"
        try:
            self._read("DELETE", key, {"uploadId": upload}, what, expect=(200, 204))
        except GoneError:
            return

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Uploads that are not finished."""
        query: dict[str, str | int] = {"uploads": "", "prefix": prefix, "max-uploads": 1000}
        for _ in range(_MAX_PAGES):
            answer = self._read("GET", "", query, "unfinished uploads")
            for item in elements(answer, "Upload"):
                yield Unfinished(
                    element(item, "Key"), element(item, "UploadId"), _moment(item, "Initiated")
                )
            after = element(answer, "NextKeyMarker"), element(answer, "NextUploadIdMarker")
            if element(answer, "IsTruncated") != "true" or not any(after):
                return
            query["key-marker"], query["upload-id-marker"] = after
        raise InvalidContentError(f"the list of uploads to {self._place} has no end")

    def post_form(self, url: str, form: bytes) -> tuple[int, bytes]:
        """Send a form, unsigned, as services that give credentials take it."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        attempt = Attempt("POST", url, headers, form, "", _SECONDS)
        response = self._adapter.exchange(attempt, url, attempt.all_headers(None))
        return response.status, response.read_all(_MAX_ANSWER)

    def close(self) -> None:
        """Close every idle connection."""
        self._adapter.close()

    def _read(
        self,
        method: str,
        key: str,
        query: Mapping[str, str | int],
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        expect: Collection[int] = (200,),
        timeout: float = _SECONDS,
    ) -> str:
        response = self._send(
            method,
            key,
            query,
            what,
            headers=headers,
            body=content if method == "POST" else None,
            payload=hashlib.sha256(content).hexdigest() if content else _EMPTY,
            expect=expect,
            timeout=timeout,
        )
        return response.read_all(_MAX_ANSWER).decode("utf-8", "replace")

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str | int],
        what: str,
        *,
        headers: Mapping[str, str] | None,
        body: Body | bytes | None,
        payload: str,
        expect: Collection[int] = (200,),
        timeout: float = _SECONDS,
    ) -> Response:
        address = self._service.url(key) if key else f"{self._service.base}"
        if not key and self._service.virtual:
            address += "/"
        url = f"{address}?{encode_query(query)}"
        sent = dict(headers or {})
        if self._credentials is not None:
            signed = sign(
                method,
                url,
                {name: value for name, value in sent.items() if name != "Content-Length"},
                payload,
                self._credentials(),
                self._service.region,
                time.time(),
            )
            sent.update(signed)
        attempt = Attempt(method, url, sent, body, "", timeout)
        response = self._adapter.exchange(attempt, url, attempt.all_headers(None))
        if response.status in expect:
            return response
        try:
            document = response.read_all(_MAX_ANSWER).decode("utf-8", "replace")
        except IntegrityError:
            document = ""  # the status alone says enough
        raise Refusal.read(
            self._place, what, response.status, document, response.headers.get("Retry-After")
        ).error()


def _body(content: bytes | memoryview) -> Body:
    @contextmanager
    def body() -> Iterator[Pieces]:
        view = memoryview(content)
        yield (view[at : at + CHUNK] for at in range(0, len(view), CHUNK))  # type: ignore[misc]

    return body


def _piece(item: str) -> Piece:
    etag = element(item, "ETag")
    bare = etag.strip('"').lower()
    number, size = element(item, "PartNumber"), element(item, "Size")
    checksum = element(item, "ChecksumSHA256")
    try:
        sha256 = base64.b64decode(checksum, validate=True).hex()
    except ValueError:
        sha256 = ""
    return Piece(
        int(number) if number.isdigit() else 0,
        int(size) if size.isdigit() else -1,
        etag,
        sha256,
        bare if len(bare) == _MD5_LENGTH else "",
    )


def _named(piece: Piece) -> str:
    checksum = ""
    if piece.sha256:
        encoded = base64.b64encode(bytes.fromhex(piece.sha256)).decode()
        checksum = f"<ChecksumSHA256>{encoded}</ChecksumSHA256>"
    return (
        f"<Part><PartNumber>{piece.number}</PartNumber><ETag>{escape(piece.etag)}</ETag>"
        f"{checksum}</Part>"
    )


def _moment(item: str, name: str) -> float:
    try:
        return datetime.fromisoformat(element(item, name)).timestamp()
    except (ValueError, OverflowError):
        return time.time()  # a time that can't be read is no reason to end an upload
