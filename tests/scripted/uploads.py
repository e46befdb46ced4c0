from __future__ import annotations

import re

from tests.scripted.content import Content, matches
from tests.scripted.exchange import Reply, Request, refusal
from tests.scripted.quirks import Quirks


def wanted(request: Request) -> str:
    """The digest that an upload is to have in the end."""
    arguments = request.arguments()
    return arguments.get("digest") or arguments.get("mount", "")


def answer(
    content: Content, quirks: Quirks, request: Request, body: bytes, repository: str, session: str
) -> Reply | None:
    """The answer to a request about an upload; None if the blob that it wants is now there."""
    if not session:
        return _begin(content, quirks, request, body, repository)
    received = content.uploads.get(session)
    if received is None:
        return refusal(404, "BLOB_UPLOAD_UNKNOWN")
    if request.method == "GET":
        return _progress(content, quirks, repository, session, 204)
    if request.method == "DELETE":
        del content.uploads[session]
        return Reply(204)
    if request.method not in ("PATCH", "PUT"):
        return refusal(405, "UNSUPPORTED")
    if request.arguments().get("_state") != f"{session}-{len(received)}":
        return refusal(404, "BLOB_UPLOAD_INVALID", "this address was not the last one given")
    sent = re.fullmatch(r"(\d+)-(\d+)", request.header("content-range"))
    if sent and (int(sent[1]) != len(received) or int(sent[2]) - int(sent[1]) + 1 != len(body)):
        return refusal(416, "BLOB_UPLOAD_INVALID", "not where the last part ended")
    if request.method == "PATCH" and len(body) < quirks.chunk_minimum:
        return refusal(416, "SIZE_INVALID", "too small a part")
    received += body
    if request.method == "PATCH":
        return _progress(content, quirks, repository, session, 202)
    return _finish(content, wanted(request), repository, session)


def _begin(
    content: Content, quirks: Quirks, request: Request, body: bytes, repository: str
) -> Reply | None:
    if request.method != "POST":
        return refusal(405, "UNSUPPORTED")
    asked = request.arguments()
    if "mount" in asked and quirks.mount not in (201, 202):
        return refusal(quirks.mount, "DENIED", "no mounting here")
    if "mount" in asked and quirks.mount == 201:
        source = content.repositories.get(asked.get("from", ""))
        blob = source.blobs.get(asked["mount"]) if source else None
        if blob is not None:
            content[repository].blobs[asked["mount"]] = blob
            return None
    session = f"upload{next(content.sessions)}"
    content.uploads[session] = bytearray()
    if "digest" in asked:
        content.uploads[session] += body
        return _finish(content, asked["digest"], repository, session)
    return _progress(content, quirks, repository, session, 202)


def _progress(
    content: Content, quirks: Quirks, repository: str, session: str, status: int
) -> Reply:
    size = len(content.uploads[session])
    place = f"/v2/{repository}/blobs/uploads/{session}?_state={session}-{size}"
    headers = {
        "Location": quirks.location + place,
        "Range": f"0-{max(size - 1, 0)}",
        "Docker-Upload-UUID": session,
    }
    if quirks.chunk_minimum:
        headers["OCI-Chunk-Min-Length"] = str(quirks.chunk_minimum)
    return Reply(status, headers)


def _finish(content: Content, digest: str, repository: str, session: str) -> Reply | None:
    received = bytes(content.uploads.pop(session))
    if not matches(received, digest):
        return refusal(400, "DIGEST_INVALID", "the content has another digest")
    content[repository].blobs[digest] = received
    return None
