from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Quirks:
    """How a registry may differ from the next one; by default it follows the specification.

    Attributes:
        location: what the Location of an upload begins with: nothing, or a scheme and a host.
        digest_header: whether answers carry Docker-Content-Digest.
        manifest_type: the Content-Type of every manifest, "" for its own.
        mount: the status that answers a mount.
        untag: the status that answers the deletion of a tag; only 202 deletes it.
        deletion: the status that answers the deletion of a manifest; only 202 deletes it.
        ranges: what becomes of a request for a part of a blob.
        redirect: where a GET of a blob is sent, `{digest}` filled in; "" to answer it.
        gzip: whether blobs are sent with Content-Encoding gzip.
        page: how many tags or repositories one page has at most.
        endless: whether each page of tags names a next one: always a new one, or itself.
        moves_tags: whether a tag that is there is moved when it is told to.
        referrers: whether there is a Referrers API.
        catalog: the status that answers a listing of repositories.
        checks_children: whether a manifest is refused when what it names is not there.
        artifact_type: whether a manifest may have an artifactType.
        types: what the types of a manifest's config and layers match, as a regular expression.
        begin: the status that answers the beginning of an upload; only 202 begins one.
        cancel: the status that answers the end of an unfinished upload; only 204 ends it.
        stream: the status that answers a part of no announced length; only 2xx takes it.
        chunk_minimum: OCI-Chunk-Min-Length, 0 for none.
        chunk_maximum: the most bytes that one request may carry, 0 for any number.
        patch: the status that answers a part of a blob; only 2xx takes it.
        progress: whether answers about an upload carry a Range.
        forgetful: whether an upload whose connection broke is gone.
        takes: the most bytes that are kept of a part, 0 for all.
        verifies: whether the digest of what was uploaded is compared.
        blobs: digest → what is sent in place of that blob.
        manifests: tag or digest → what is sent in place of that manifest.
    """

    location: str = ""
    digest_header: bool = True
    manifest_type: str = ""
    mount: int = 201
    untag: int = 202
    deletion: int = 202
    ranges: Literal["honoured", "ignored", "wrong offset", "short", "refused", "multipart"] = (
        "honoured"
    )
    redirect: str = ""
    gzip: bool = False
    page: int = 1000
    endless: Literal["", "new", "itself"] = ""
    moves_tags: bool = True
    referrers: bool = False
    catalog: int = 200
    checks_children: bool = True
    artifact_type: bool = True
    types: str = ""
    begin: int = 202
    cancel: int = 204
    stream: int = 202
    chunk_minimum: int = 0
    chunk_maximum: int = 0
    patch: int = 202
    progress: bool = True
    forgetful: bool = False
    takes: int = 0
    verifies: bool = True
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    manifests: Mapping[str, bytes] = field(default_factory=dict)
