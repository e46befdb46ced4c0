"""As much of an S3 service as is asked for here, over HTTP, erring as its script says."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import re
import time
from email.utils import formatdate
from urllib.parse import parse_qs

from tests.scripted.exchange import Reply, Request
from tests.scripted.server import Server

BUCKET = "models"


def document(code: str, message: str = "", more: str = "") -> bytes:
    """An error document."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        f"<Message>{html.escape(message)}</Message>{more}</Error>"
    ).encode()


class Service(Server):
    """A bucket behind HTTP.

    Attributes:
        objects: by key: content and headers.
        uploads: by name: key and parts.
        page: how many items a list has.
        checksums: whether a SHA-256 of parts is known.
    """

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self.page = 1000
        self.checksums = True
        self._numbers = itertools.count(1)
        super().__init__(self._answer)

    def _answer(self, request: Request, body: bytes) -> Reply:
        query = {name: values[0] for name, values in parse_qs(request.query, True).items()}
        path = request.path.removeprefix("/")
        bucket, _, key = path.partition("/")
        if bucket != BUCKET:
            return Reply(404, {}, document("NoSuchBucket", "The bucket does not exist"))
        if request.headers.get("x-amz-content-sha256") not in (
            None,
            hashlib.sha256(body).hexdigest(),
        ):
            return Reply(400, {}, document("XAmzContentSHA256Mismatch"))
        if not self.checksums and any("checksum" in name for name in request.headers):
            return Reply(501, {}, document("NotImplemented", "A header implies something"))
        if "uploads" in query or "uploadId" in query:
            return self._upload(request, key, query, body)
        method = {
            "GET": self._get if key else self._list,
            "HEAD": self._get,
            "PUT": self._put,
            "DELETE": self._delete,
            "POST": self._delete_many,
        }[request.method]
        return method(request, key, query, body)

    def _get(self, request: Request, key: str, _: dict[str, str], __: bytes) -> Reply:
        if key not in self.objects:
            return Reply(404, {}, document("NoSuchKey"))
        content, headers = self.objects[key]
        answer = {
            "ETag": f'"{hashlib.md5(content).hexdigest()}"',
            "Last-Modified": formatdate(time.time(), usegmt=True),
            **headers,
        }
        found = re.match(r"bytes=(\d+)-(\d*)\Z", request.headers.get("range", ""))
        if not found:
            return Reply(200, {**answer, "Content-Length": str(len(content))}, content)
        start, end = int(found[1]), int(found[2] or len(content) - 1)
        if start >= len(content):
            return Reply(416, {}, document("InvalidRange"))
        part = content[start : end + 1]
        span = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        return Reply(206, {**answer, "Content-Range": span}, part)

    def _put(self, request: Request, key: str, _: dict[str, str], body: bytes) -> Reply:
        if refused := self._condition(request, key):
            return refused
        kept = {
            name: value
            for name, value in request.headers.items()
            if name.startswith("x-amz-meta-") or name == "content-type"
        }
        self.objects[key] = body, kept
        return Reply(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _condition(self, request: Request, key: str) -> Reply | None:
        there = self.objects.get(key)
        if request.headers.get("if-none-match") == "*" and there is not None:
            return Reply(412, {}, document("PreconditionFailed"))
        wanted = request.headers.get("if-match")
        if wanted is not None:
            if there is None:
                return Reply(404, {}, document("NoSuchKey"))
            if wanted != f'"{hashlib.md5(there[0]).hexdigest()}"':
                return Reply(412, {}, document("PreconditionFailed"))
        return None

    def _delete(self, request: Request, key: str, _: dict[str, str], __: bytes) -> Reply:
        self.objects.pop(key, None)
        return Reply(204)

    def _delete_many(self, request: Request, _: str, __: dict[str, str], body: bytes) -> Reply:
        keys = re.findall(r"<Key>([^<]*)</Key>", body.decode())
        for key in keys:
            self.objects.pop(html.unescape(key), None)
        gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        return Reply(200, {}, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def _list(self, request: Request, _: str, query: dict[str, str], __: bytes) -> Reply:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        folders = set()
        if delimiter:
            folders = {
                prefix + key.removeprefix(prefix).partition("/")[0] + "/"
                for key in keys
                if "/" in key.removeprefix(prefix)
            }
            keys = [key for key in keys if "/" not in key.removeprefix(prefix)]
        page, rest = keys[: self.page], keys[self.page :]
        items = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            f"<ETag>x</ETag><Size>{len(self.objects[key][0])}</Size></Contents>"
            for key in page
        )
        common = "".join(
            f"<CommonPrefixes><Prefix>{each}</Prefix></CommonPrefixes>" for each in sorted(folders)
        )
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if rest else ""
        truncated = "true" if rest else "false"
        return Reply(
            200,
            {},
            f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{items}{common}"
            "</ListBucketResult>".encode(),
        )

    def _upload(self, request: Request, key: str, query: dict[str, str], body: bytes) -> Reply:
        if request.method == "POST" and "uploads" in query:
            name = f"upload-{next(self._numbers)}"
            self.uploads[name] = key, {}
            answer = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId>"
            return Reply(200, {}, f"{answer}</InitiateMultipartUploadResult>".encode())
        if "uploads" in query:
            return self._list_uploads(query)
        found = self.uploads.get(query["uploadId"])
        if found is None:
            return Reply(404, {}, document("NoSuchUpload"))
        parts = found[1]
        if request.method == "PUT":
            parts[int(query["partNumber"])] = body
            return Reply(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
        if request.method == "DELETE":
            del self.uploads[query["uploadId"]]
            return Reply(204)
        if request.method == "GET":
            return self._list_parts(parts, int(query.get("part-number-marker", 0)))
        if refused := self._condition(request, key):
            return refused
        named = [int(each) for each in re.findall(r"<PartNumber>(\d+)<", body.decode())]
        self.objects[key] = b"".join(parts[number] for number in named), {}
        del self.uploads[query["uploadId"]]
        return Reply(200, {}, b"<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")

    def _list_parts(self, parts: dict[int, bytes], after: int) -> Reply:
        numbers = sorted(number for number in parts if number > after)
        page, rest = numbers[: self.page], numbers[self.page :]
        items = ""
        for number in page:
            sha256 = base64.b64encode(hashlib.sha256(parts[number]).digest()).decode()
            items += (
                f"<Part><PartNumber>{number}</PartNumber><Size>{len(parts[number])}</Size>"
                f"<ETag>&quot;{hashlib.md5(parts[number]).hexdigest()}&quot;</ETag>"
                + (f"<ChecksumSHA256>{sha256}</ChecksumSHA256>" if self.checksums else "")
                + "</Part>"
            )
        more = f"<NextPartNumberMarker>{page[-1]}</NextPartNumberMarker>" if page else ""
        truncated = "true" if rest else "false"
        return Reply(
            200,
            {},
            f"<ListPartsResult>{more}<IsTruncated>{truncated}</IsTruncated>{items}"
            "</ListPartsResult>".encode(),
        )

    def _list_uploads(self, query: dict[str, str]) -> Reply:
        names = sorted(
            name
            for name, (key, _) in self.uploads.items()
            if key.startswith(query.get("prefix", "")) and name > query.get("upload-id-marker", "")
        )
        page, rest = names[: self.page], names[self.page :]
        items = "".join(
            f"<Upload><Key>{self.uploads[name][0]}</Key><UploadId>{name}</UploadId>"
            "<Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>"
            for name in page
        )
        more = ""
        if rest:
            key = self.uploads[page[-1]][0]
            more = (
                f"<NextKeyMarker>{key}</NextKeyMarker>"
                f"<NextUploadIdMarker>{page[-1]}</NextUploadIdMarker>"
            )
        truncated = "true" if rest else "false"
        return Reply(
            200,
            {},
            f"<ListMultipartUploadsResult>{more}<IsTruncated>{truncated}</IsTruncated>{items}"
            "</ListMultipartUploadsResult>".encode(),
        )
