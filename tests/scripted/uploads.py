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
    if request.method == "DELETE":
        if quirks.cancel != 204:
            return refusal(quirks.cancel, "UNSUPPORTED")
        del content.uploads[session]
        return Reply(204)
    fits = request.arguments().get("_state") == f"{session}-{len(received)}"
    if request.method == "GET":
        if quirks.forgetful and not fits:
            return refusal(404, "BLOB_UPLOAD_UNKNOWN")
        return _progress(content, quirks, repository, session, 204)
    if request.method not in ("PATCH", "PUT"):
        return refusal(405, "UNSUPPORTED")
    if not fits:
        return refusal(404, "BLOB_UPLOAD_INVALID", "this address was not the last one given")
    if quirks.chunk_maximum and len(body) > quirks.chunk_maximum:
        return refusal(413, "SIZE_INVALID", "too large")
    if request.method == "PATCH":
        return _append(content, quirks, request, body, repository, session)
    received += body
    return _finish(content, quirks, wanted(request), repository, session)


def _append(
    content: Content, quirks: Quirks, request: Request, body: bytes, repository: str, session: str
) -> Reply:
    received = content.uploads[session]
    announced = request.header("content-length")
    status = quirks.patch if announced else quirks.stream
    if status not in (200, 201, 202, 204):
        return refusal(status, "UNSUPPORTED")
    whole = not announced or len(body) == int(announced)
    sent = re.fullmatch(r"(\d+)-(\d+)", request.header("content-range"))
    if sent and int(sent[1]) != len(received):
        return refusal(416, "BLOB_UPLOAD_INVALID", "not where the last part ended")
    if sent and whole and int(sent[2]) - int(sent[1]) + 1 != len(body):
        return refusal(400, "SIZE_INVALID")
    if received and not sent:
        return refusal(400, "BLOB_UPLOAD_INVALID", "which part is it?")
    received += body[: quirks.takes] if quirks.takes else body
    return _progress(content, quirks, repository, session, status)


def _begin(
    content: Content, quirks: Quirks, request: Request, body: bytes, repository: str
) -> Reply | None:
    if request.method != "POST":
        return refusal(405, "UNSUPPORTED")
    if quirks.begin != 202:
        return refusal(quirks.begin, "UNSUPPORTED", "nothing is taken here")
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
        return _finish(content, quirks, asked["digest"], repository, session)
    return _progress(content, quirks, repository, session, 202)


def _progress(
    content: Content, quirks: Quirks, repository: str, session: str, status: int
) -> Reply:
    size = len(content.uploads[session])
    place = f"/v2/{repository}/blobs/uploads/{session}?_state={session}-{size}"
    headers = {
        "Location": quirks.location + place,
        "Docker-Upload-UUID": session,
    }
    if quirks.progress:
        headers["Range"] = f"0-{max(size - 1, 0)}"
    if quirks.chunk_minimum:
        headers["OCI-Chunk-Min-Length"] = str(quirks.chunk_minimum)
    return Reply(status, headers)


def _finish(
    content: Content, quirks: Quirks, digest: str, repository: str, session: str
) -> Reply | None:
    received = bytes(content.uploads.pop(session))
    if quirks.verifies and not matches(received, digest):
        return refusal(400, "DIGEST_INVALID", "the content has another digest")
    content[repository].blobs[digest] = received
    return None
