from __future__ import annotations

import gzip
import re

from tests.scripted.content import Content, Repository
from tests.scripted.exchange import Reply, Request, refusal
from tests.scripted.quirks import Quirks
from tests.scripted.server import Server


def answer_blob(place: Repository, quirks: Quirks, request: Request, digest: str) -> Reply:
    if request.method == "DELETE":
        known = place.blobs.pop(digest, None) is not None
        return Reply(202) if known else refusal(404, "BLOB_UNKNOWN")
    if request.method not in ("GET", "HEAD"):
        return refusal(405, "UNSUPPORTED")
    if digest not in place.blobs:
        return refusal(404, "BLOB_UNKNOWN")
    if request.method == "GET" and quirks.redirect:
        return Reply(307, {"Location": quirks.redirect.format(digest=digest)})
    content = quirks.blobs.get(digest, place.blobs[digest])
    reply = slice_of(content, request, quirks)
    if quirks.digest_header:
        reply.headers["Docker-Content-Digest"] = digest
    return reply


def slice_of(content: bytes, request: Request, quirks: Quirks) -> Reply:
    """All of the content, or the part that a Range header asks for."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    if quirks.gzip and request.method == "GET":
        headers["Content-Encoding"] = "gzip"
        return Reply(200, headers, gzip.compress(content, mtime=0))
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range"))
    if not asked or quirks.ranges == "ignored" or request.method == "HEAD":
        return Reply(200, headers, content)
    start = int(asked[1])
    end = min(int(asked[2] or len(content) - 1), len(content) - 1)
    if start > end or quirks.ranges == "refused":
        return Reply(416, {"Content-Range": f"bytes */{len(content)}"})
    if quirks.ranges == "wrong offset":
        start, end = 0, end - start
    if quirks.ranges == "short":
        end = start + (end - start) // 2
    place = f"bytes {start}-{end}/{len(content)}"
    if quirks.ranges == "multipart":
        headers["Content-Type"] = "multipart/byteranges; boundary=x"
        part = f"--x\r\nContent-Range: {place}\r\n\r\n".encode() + content[start : end + 1]
        return Reply(206, headers, part + b"\r\n--x--\r\n")
    headers["Content-Range"] = place
    return Reply(206, headers, content[start : end + 1])


class BlobServer(Server):
    """The place that a registry's redirects lead to: blobs by digest, and no authentication.

    Like an object store behind a signed address, it refuses a request that carries credentials:
    https://github.com/distribution/distribution/issues/1600
    """

    def __init__(self, content: Content, address: str = "127.0.0.1") -> None:
        self.content = content
        self.quirks = Quirks()
        super().__init__(self._answer, address)

    def _answer(self, request: Request, _: bytes) -> Reply:
        if request.header("authorization"):
            return Reply(400, {}, b"only one way to authenticate is allowed")
        content = self.content.blob(request.path.removeprefix("/"))
        if content is None:
            return Reply(404)
        return slice_of(content, request, self.quirks)
