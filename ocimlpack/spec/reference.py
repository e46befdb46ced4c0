"""Locations as people write them: `HOST/REPO:TAG@DIGEST`, `oci:DIR:TAG` and the other forms.

Tags and repository names follow
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ocimlpack.errors import InvalidDigestError, InvalidReferenceError
from ocimlpack.spec.digest import Digest

DEFAULT_TAG: Final = "latest"

_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_REPOSITORY: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z"
)
_HOST: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?\Z"
)
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,256}\Z")
_MAX_REPOSITORY: Final = 255
_MAX_TEXT: Final = 4096
"""Characters in a location: more than a path may have."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Kind(StrEnum):
    """What sort of place a location is. The value is how errors name it."""

    REGISTRY = "registry"
    LAYOUT = "image layout"
    ARCHIVE = "image-layout archive"
    LOCAL = "local store"
    FOLDER = "folder"
    BUCKET = "OCI bucket"
    S3 = "S3 bucket"
    OCIR = "OCIR repository"


_PREFIX: Final = {
    Kind.LAYOUT: "oci:",
    Kind.ARCHIVE: "oci-archive:",
    Kind.BUCKET: "ocios://",
    Kind.S3: "s3://",
    Kind.OCIR: "ocir://",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A location, taken apart. `str()` writes it again.

    Attributes:
        kind: what sort of place it is.
        host: the registry's `host[:port]`, `bucket@namespace`, the S3 bucket, OCIR's region; empty
            for places on disk.
        repository: the repository; for a layout, an archive or a folder its path; in the local
            store the model's name.
        tag: the tag, if one was written.
        digest: the digest, if one was written; it decides, whatever the tag says.
    """

    kind: Kind
    host: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, exists: Callable[[str], bool] = lambda _: False) -> Reference:
        """Take a location apart.

        Args:
            text: what the person wrote.
            exists: asked whether a path exists, for text that could be either a path or a name.

        Raises:
            InvalidReferenceError: says what is wrong with it.
        """
        if len(text) > _MAX_TEXT:
            raise InvalidReferenceError(f"a location of {len(text):,} characters: {text[:60]!r}…")
        if not text or text != text.strip():
            raise InvalidReferenceError("a location can't be empty or begin or end with a space")
        if _CONTROL.search(text):
            raise InvalidReferenceError(f"control characters in {text!r}")
        if secret := re.match(
            r"(?:[a-z][a-z0-9+.-]*://)?[^/@]*:[^/@]*@([^/@]+)/", text, re.IGNORECASE
        ):
            # Nothing of it is shown: what stands before the '@' may be a password.
            raise InvalidReferenceError(
                "credentials do not belong in a location",
                hint=f"ocimlpack login {secret.group(1)}",
            )
        if text.startswith("hf:"):
            raise InvalidReferenceError(
                f"{text!r} is a model at the Hugging Face Hub, not a location",
                hint=f"ocimlpack import {text} DEST",
            )
        if text.startswith("oci://"):
            return _registry(text.removeprefix("oci://"), text)
        for prefix, parse in _SCHEMES.items():
            if text.startswith(prefix):
                return parse(text.removeprefix(prefix), text)
        if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text):
            raise _unknown_scheme(scheme.group(1), text)
        if _is_path(text) or (_has_separator(text) and exists(text)):
            return cls(Kind.FOLDER, "", text)
        first, slash, _ = text.partition("/")
        if slash and (first == "localhost" or "." in first or ":" in first or first[:1] == "["):
            return _registry(text, text)
        if re.fullmatch(r"(localhost|[^/:@]*\.[^/:@]*):[0-9]+", text):
            raise InvalidReferenceError(
                f"{text!r} names no repository (expected HOST/REPOSITORY[:TAG])"
            )
        return _local(text)

    @property
    def name(self) -> str:
        """What a store is asked to resolve: the digest, else the tag, else `latest`."""
        return str(self.digest) if self.digest else self.tag or DEFAULT_TAG

    @property
    def place(self) -> str:
        """The location without tag and digest."""
        return str(replace(self, tag=None, digest=None))

    def at(self, digest: Digest) -> Reference:
        """The same location pinned to a digest, the tag left out."""
        return replace(self, tag=None, digest=digest)

    def tagged(self, tag: str) -> Reference:
        """The same location with another tag and no digest.

        Raises:
            InvalidReferenceError: no tag by the specification's grammar.
        """
        return replace(self, tag=check_tag(tag), digest=None)

    def __str__(self) -> str:
        text = _PREFIX.get(self.kind, "")
        text += f"{self.host}/{self.repository}" if self.host else self.repository
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text


def check_tag(tag: str) -> str:
    """The tag, if it is one.

    Raises:
        InvalidReferenceError: says which characters a tag may have.
    """
    if not _TAG.match(tag):
        raise InvalidReferenceError(
            f"not a tag: {tag!r:.150} (1 to 128 letters, digits, '_', '.' and '-', "
            "not beginning with '.' or '-')"
        )
    return tag


def is_bucket(text: str) -> bool:
    """Whether the text can be a bucket's name; each service has narrower rules of its own."""
    return _BUCKET.match(text) is not None


def check_repository(name: str, text: str) -> str:
    """The repository's name, if it is one.

    Args:
        name: the name.
        text: the whole of what the person wrote, for the message.

    Raises:
        InvalidReferenceError: says what is wrong with it.
    """
    if not name:
        raise InvalidReferenceError(
            f"{text!r} names no repository (expected HOST/REPOSITORY[:TAG])"
        )
    if len(name) > _MAX_REPOSITORY:
        raise InvalidReferenceError(
            f"the repository's name is longer than {_MAX_REPOSITORY}: {name[:60]!r}…"
        )
    if not _REPOSITORY.match(name):
        hint = None
        if _REPOSITORY.match(name.lower()):
            hint = f"repositories are lower-case: {name.lower()}"
        raise InvalidReferenceError(
            f"not a repository: {name!r} (parts of lower-case letters and digits, separated by "
            "'/', joined by '.', '_', '__' or '-')",
            hint=hint,
        )
    return name


def check_host(host: str, text: str) -> str:
    """The registry's `host[:port]`, if it is one.

    Args:
        host: the host.
        text: the whole of what the person wrote, for the message.

    Raises:
        InvalidReferenceError: says what is wrong with it.
    """
    if not _HOST.match(host):
        raise InvalidReferenceError(f"not a registry's host: {host!r} in {text!r}")
    port = host.rpartition(":")[2] if not host.endswith("]") and ":" in host else ""
    if port and not 0 < int(port) < 65536:
        raise InvalidReferenceError(f"not a port: {port} in {text!r}")
    return host.lower()


def _has_separator(text: str) -> bool:
    return "/" in text or "\\" in text


def _is_path(text: str) -> bool:
    return (
        text in {".", ".."}
        or text.startswith(("./", "../", "/", "~/", ".\\", "..\\"))
        or bool(re.match(r"[A-Za-z]:[\\/]", text))
    )


def _split_digest(text: str, whole: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    if not at:
        return rest, None
    try:
        return rest, Digest.parse(digest)
    except InvalidDigestError as error:
        raise InvalidReferenceError(f"in {whole!r}: {error.message}") from error


def _split_tag(text: str, whole: str) -> tuple[str, str | None]:
    """Cut `:TAG` off, where the colon is not a port's."""
    head, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        return text, None
    try:
        return head, check_tag(tag)
    except InvalidReferenceError as error:
        raise InvalidReferenceError(f"in {whole!r}: {error.message}") from error


def _registry(text: str, whole: str) -> Reference:
    host, slash, rest = text.partition("/")
    if "@" in host:
        bucket = text.partition(":")[0].partition("/")[0]
        raise InvalidReferenceError(
            f"{whole!r} could mean a registry or a bucket",
            hint=f"write ocios://{bucket}/… for the bucket; leave the '@' out for a registry",
        )
    if not slash:
        raise InvalidReferenceError(
            f"{whole!r} names no repository (expected HOST/REPOSITORY[:TAG])"
        )
    rest, digest = _split_digest(rest, whole)
    rest, tag = _split_tag(rest, whole)
    host = check_host(host, whole)
    return Reference(Kind.REGISTRY, host, check_repository(rest, whole), tag, digest)


def _path(kind: Kind, text: str, whole: str) -> Reference:
    digest = None
    head, at, tail = text.rpartition("@")
    if at and re.match(r"sha(256|512):", tail):
        text, digest = head, _split_digest(f"@{tail}", whole)[1]
    head, colon, tag = text.rpartition(":")
    if colon and "/" not in tag and "\\" not in tag:
        # What follows the last colon is always a tag: a bad one is said, never taken as a path.
        text, found = _split_tag(text, whole)
    else:
        found = None
    if not text:
        raise InvalidReferenceError(f"{whole!r} names no path")
    return Reference(kind, "", text, found, digest)


def _layout(text: str, whole: str) -> Reference:
    return _path(Kind.LAYOUT, text, whole)


def _archive(text: str, whole: str) -> Reference:
    return _path(Kind.ARCHIVE, text, whole)


def _local(text: str) -> Reference:
    rest, digest = _split_digest(text, text)
    rest, tag = _split_tag(rest, text)
    if not _REPOSITORY.match(rest):
        check_repository(rest, text)
    return Reference(Kind.LOCAL, "", rest, tag, digest)


def _bucket(text: str, whole: str) -> Reference:
    host = text.partition("/")[0]
    bucket, at, namespace = host.partition("@")
    known = at and _BUCKET.match(bucket) and _BUCKET.match(namespace)
    return _hosted(Kind.BUCKET, text, whole, bool(known), "bucket", "BUCKET@NAMESPACE")


def _s3(text: str, whole: str) -> Reference:
    known = is_bucket(text.partition("/")[0])
    return _hosted(Kind.S3, text, whole, known, "bucket", "BUCKET")


def _ocir(text: str, whole: str) -> Reference:
    known = _HOST.match(text.partition("/")[0])
    return _hosted(Kind.OCIR, text, whole, bool(known), "region", "REGION")


def _hosted(kind: Kind, text: str, whole: str, known: bool, what: str, form: str) -> Reference:
    host, slash, rest = text.partition("/")
    if not slash or not known:
        raise InvalidReferenceError(
            f"{whole!r} names no {'repository' if known else what} "
            f"(expected {_PREFIX[kind]}{form}/REPOSITORY[:TAG])"
        )
    rest, digest = _split_digest(rest, whole)
    rest, tag = _split_tag(rest, whole)
    return Reference(kind, host, check_repository(rest, whole), tag, digest)


def _unknown_scheme(scheme: str, whole: str) -> InvalidReferenceError:
    hints = {
        "http": "write HOST/REPOSITORY without http://, and --plain-http where it is not loopback",
        "https": "write HOST/REPOSITORY without https://",
        "docker": "write HOST/REPOSITORY without docker://",
        "file": "write the path: ./DIR",
    }
    return InvalidReferenceError(
        f"{scheme}:// is no kind of location that is known: {whole!r}",
        hint=hints.get(scheme.lower()),
    )


_SCHEMES: Final[dict[str, Callable[[str, str], Reference]]] = {
    "oci-archive:": _archive,
    "ocios://": _bucket,
    "ocir://": _ocir,
    "s3://": _s3,
    "oci:": _layout,
}
