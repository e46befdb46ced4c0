"""A registry in memory that errs as a test tells it to.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable
from typing import Any, Final

from ocimlpack.spec.mediatypes import OCI_INDEX
from tests.scripted import uploads
from tests.scripted.auth import Auth
from tests.scripted.blobs import answer_blob
from tests.scripted.content import Content, digest_of, matches
from tests.scripted.exchange import Reply, Request, as_json, refusal
from tests.scripted.quirks import Quirks
from tests.scripted.server import Server

Endpoint = Callable[["ScriptedRegistry", Request, bytes, str, str], Reply]

MAX_MANIFEST: Final = 4 * 1024 * 1024


class ScriptedRegistry(Server):
    """The registry.

    Attributes:
        content: what it holds.
        auth: who may do what.
        quirks: in what it differs from the specification.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        *,
        content: Content | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.content = content or Content()
        self.auth = Auth()
        self.quirks = Quirks()
        super().__init__(self._answer, address, tls)

    @property
    def uploads(self) -> list[Request]:
        """The requests that carried bytes of blobs."""
        return [each for each in self.asked("", "/blobs/uploads/") if each.length]

    def _answer(self, request: Request, body: bytes) -> Reply:
        if request.path == "/token":
            return self.auth.issue(request, body)
        if not request.path.startswith("/v2/"):
            return refusal(404, "NOT_FOUND")
        refused = self.auth.refuse(request, _scope(request), self.url)
        if refused:
            return refused
        if request.path == "/v2/":
            return as_json(200, {})
        if request.path == "/v2/_catalog":
            return _answer_catalog(self, request)
        for pattern, endpoint in _ENDPOINTS:
            if found := pattern.fullmatch(request.path):
                with self.content.lock:
                    return endpoint(self, request, body, found["name"], found["rest"])
        return refusal(404, "NOT_FOUND")


def _scope(request: Request) -> str:
    if request.path == "/v2/_catalog":
        return "registry:catalog:*"
    found = re.match(r"/v2/(.+?)/(?:blobs|manifests|tags|referrers)/", request.path)
    if not found:
        return ""
    actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "pull,push")
    scope = f"repository:{found[1]}:{actions}"
    source = request.arguments().get("from")
    return f"{scope} repository:{source}:pull" if source else scope


def _answer_manifest(
    registry: ScriptedRegistry, request: Request, body: bytes, repository: str, name: str
) -> Reply:
    if request.method == "PUT":
        return _put_manifest(registry, request, body, repository, name)
    if request.method == "DELETE":
        return _delete_manifest(registry, repository, name)
    if request.method not in ("GET", "HEAD"):
        return refusal(405, "UNSUPPORTED")
    found = registry.content[repository].find(name)
    if found is None:
        return refusal(404, "MANIFEST_UNKNOWN")
    digest, kind, content = found
    content = registry.quirks.manifests.get(name, content)
    headers = {"Content-Type": registry.quirks.manifest_type or kind}
    if registry.quirks.digest_header:
        headers["Docker-Content-Digest"] = digest if ":" in name else digest_of(content)
    return Reply(200, headers, content)


def _put_manifest(
    registry: ScriptedRegistry, request: Request, body: bytes, repository: str, name: str
) -> Reply:
    place = registry.content[repository]
    if len(body) > MAX_MANIFEST:
        return refusal(413, "SIZE_INVALID")
    if ":" in name and not matches(body, name):
        return refusal(400, "DIGEST_INVALID")
    if not _takes(registry.quirks, json.loads(body)):
        return refusal(400, "MANIFEST_INVALID", "not an image")
    missing = place.missing(body)
    if missing and registry.quirks.checks_children:
        return refusal(400, "MANIFEST_BLOB_UNKNOWN", f"unknown blob {missing}")
    digest = name if ":" in name else digest_of(body)
    place.manifests[digest] = (request.header("content-type"), body)
    if ":" not in name and (registry.quirks.moves_tags or name not in place.tags):
        place.tags[name] = digest
    reply = _created(registry, f"/v2/{repository}/manifests/{digest}", digest)
    subject = json.loads(body).get("subject")
    if subject and registry.quirks.referrers:
        reply.headers["OCI-Subject"] = subject["digest"]
    return reply


def _takes(quirks: Quirks, manifest: dict[str, Any]) -> bool:
    parts = [manifest.get("config", {}), *manifest.get("layers", [])]
    types = (part.get("mediaType", "") for part in parts)
    fits = all(re.match(quirks.types, each) for each in types)
    return fits and (quirks.artifact_type or "artifactType" not in manifest)


def _delete_manifest(registry: ScriptedRegistry, repository: str, name: str) -> Reply:
    place = registry.content[repository]
    status = registry.quirks.deletion if ":" in name else registry.quirks.untag
    if status != 202:
        # distribution 2 takes the tag for a digest that is wrong.
        return refusal(status, "DIGEST_INVALID" if status == 400 else "UNSUPPORTED")
    if place.find(name) is None:
        return refusal(404, "MANIFEST_UNKNOWN")
    if ":" in name:
        del place.manifests[name]
        place.tags = {tag: digest for tag, digest in place.tags.items() if digest != name}
    else:
        del place.tags[name]
    return Reply(202)


def _answer_tags(
    registry: ScriptedRegistry, request: Request, _: bytes, repository: str, __: str
) -> Reply:
    if repository not in registry.content.repositories:
        return refusal(404, "NAME_UNKNOWN")
    if registry.quirks.endless:
        last = int(request.arguments().get("last", "t0").removeprefix("t"))
        tags = [f"t{last + (registry.quirks.endless == 'new')}"]
        more = True
    else:
        tags, more = _page(registry, request, sorted(registry.content[repository].tags))
    reply = as_json(200, {"name": repository, "tags": tags})
    if more:
        reply.headers["Link"] = f'<{request.path}?n={len(tags)}&last={tags[-1]}>; rel="next"'
    return reply


def _answer_catalog(registry: ScriptedRegistry, request: Request) -> Reply:
    if registry.quirks.catalog != 200:
        return refusal(registry.quirks.catalog, "DENIED")
    with registry.content.lock:
        names, more = _page(registry, request, sorted(registry.content.repositories))
    reply = as_json(200, {"repositories": names})
    if more:
        reply.headers["Link"] = f'<{request.path}?n={len(names)}&last={names[-1]}>; rel="next"'
    return reply


def _page(registry: ScriptedRegistry, request: Request, names: list[str]) -> tuple[list[str], bool]:
    asked = request.arguments()
    size = min(int(asked.get("n") or registry.quirks.page), registry.quirks.page)
    rest = [name for name in names if name > asked.get("last", "")]
    return rest[:size], len(rest) > size


def _answer_referrers(
    registry: ScriptedRegistry, _: Request, __: bytes, repository: str, digest: str
) -> Reply:
    if not registry.quirks.referrers:
        return refusal(404, "NOT_FOUND")
    return as_json(
        200,
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": registry.content[repository].referrers(digest),
        },
        {"Content-Type": OCI_INDEX},
    )


def _created(registry: ScriptedRegistry, location: str, digest: str) -> Reply:
    headers = {"Location": registry.quirks.location + location}
    if registry.quirks.digest_header:
        headers["Docker-Content-Digest"] = digest
    return Reply(201, headers)


def _answer_uploads(
    registry: ScriptedRegistry, request: Request, body: bytes, repository: str, session: str
) -> Reply:
    return uploads.answer(
        registry.content, registry.quirks, request, body, repository, session
    ) or _created(
        registry,
        f"/v2/{repository}/blobs/{uploads.wanted(request)}",
        uploads.wanted(request),
    )


def _answer_blobs(
    registry: ScriptedRegistry, request: Request, _: bytes, repository: str, digest: str
) -> Reply:
    return answer_blob(registry.content[repository], registry.quirks, request, digest)


_ENDPOINTS: Final[tuple[tuple[re.Pattern[str], Endpoint], ...]] = (
    (re.compile(r"/v2/(?P<name>.+?)/blobs/uploads/(?P<rest>[^/]*)"), _answer_uploads),
    (re.compile(r"/v2/(?P<name>.+?)/blobs/(?P<rest>[^/]+)"), _answer_blobs),
    (re.compile(r"/v2/(?P<name>.+?)/manifests/(?P<rest>[^/]+)"), _answer_manifest),
    (re.compile(r"/v2/(?P<name>.+?)/tags/(?P<rest>list)"), _answer_tags),
    (re.compile(r"/v2/(?P<name>.+?)/referrers/(?P<rest>[^/]+)"), _answer_referrers),
)
