"""What a person, or a machine's administrator, has settled in the configuration file."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from ocimlpack.errors import InputError, InvalidReferenceError
from ocimlpack.spec.reference import check_host, check_repository, is_bucket

VARIABLE: Final = "OCIMLPACK_CONFIG"
ANY_HOST: Final = "*"
"""Stands for every registry, or every bucket, that is not named itself."""

_MIRROR_KEYS: Final = ("url", "kind", "ca-file")
_LAYOUT: Final = "layout+"
"""What an address begins with where no table says the kind."""
_OCI_KEYS: Final = ("auth", "profile", "region", "compartment")
_BUCKET_KEYS: Final = ("endpoint", "region", "profile", "addressing")
_ADDRESSINGS: Final = ("path", "virtual")


MirrorKind = Literal["registry", "layout"]
"""What a mirror speaks: the distribution API, or nothing but HTTP."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Another place that may have what a registry has.

    Attributes:
        url: what it is called in messages: as it was written; without its path where that may be
            a secret.
        host: its `host[:port]`.
        prefix: what stands before a repository's name there, with a slash behind it; may be empty.
        plain_http: whether it speaks http.
        ca_file: a PEM file of authorities to trust for it, or None for those of all registries.
        kind: `registry`, or `layout` for an image layout that a web server has.
    """

    url: str
    host: str
    prefix: str = ""
    plain_http: bool = False
    ca_file: str | None = None
    kind: MirrorKind = "registry"

    @classmethod
    def parse(cls, url: str, ca_file: str | None = None, kind: str = "") -> Mirror:
        """Take `http[s]://HOST[:PORT][/PREFIX]` apart; `layout+` before it says that kind.

        Raises:
            InputError: it has not that form.
        """
        if url.startswith(_LAYOUT):
            url, kind = url.removeprefix(_LAYOUT), kind or "layout"
        if (kind or "registry") not in get_args(MirrorKind):
            raise InputError(
                f"no kind of mirror is called {kind!r}",
                hint=f"known are: {', '.join(get_args(MirrorKind))}",
            )
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url, re.IGNORECASE):
            raise InputError(
                f"not a mirror's address: {url!r:.200}",
                hint="write http://HOST[:PORT] or https://HOST[:PORT], and what stands before the "
                "repository's name there as a path",
            )
        parts = urllib.parse.urlsplit(url)
        if "@" in parts.netloc:
            # Nothing of it is shown: what stands before the '@' may be a password.
            host = parts.netloc.rpartition("@")[2]
            raise InputError(
                "credentials do not belong in a mirror's address", hint=f"ocimlpack login {host}"
            )
        if parts.query or parts.fragment:
            raise InputError(
                f"a mirror's address ends with its path: {url!r:.200}",
                hint="which registry is meant is told to each mirror in any case",
            )
        if kind == "layout":
            return cls._parse_layout(parts, ca_file)
        # `https://HOST/v2/PREFIX` is how containerd's hosts.toml writes it, with override_path.
        path = parts.path.strip("/")
        prefix = path.removeprefix("v2").removeprefix("/") if re.match(r"v2(/|$)", path) else path
        try:
            host = check_host(parts.netloc, url)
            if prefix:
                check_repository(prefix, url)
        except InvalidReferenceError as error:
            raise InputError(f"in a mirror's address: {error.message}", hint=error.hint) from error
        return cls(url, host, f"{prefix}/" if prefix else "", parts.scheme == "http", ca_file)

    @classmethod
    def _parse_layout(cls, parts: urllib.parse.SplitResult, ca_file: str | None) -> Mirror:
        host = check_host(parts.netloc, parts.netloc)
        base = f"/{parts.path.strip('/')}/".replace("//", "/")
        # The path of an address by which a bucket lets itself be read is as good as a password.
        name = f"{parts.scheme}://{host}" + ("/…" if base != "/" else "")
        return cls(name, host, base, parts.scheme == "http", ca_file, "layout")


FallbackMode = Literal["on-failure", "mirror"]
"""When something is pushed to a fallback: only if the registry fails, or always."""

ON_FAILURE: Final[FallbackMode] = "on-failure"
_FALLBACK_KEYS: Final = ("location", "mode")


@dataclass(frozen=True, slots=True)
class FallbackEntry:
    """A registry's second place, as the file has it.

    Attributes:
        location: the place, without tag and digest.
        mode: when it is pushed to.
    """

    location: str
    mode: FallbackMode = ON_FAILURE


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where an S3 bucket is; empty is what the environment and the AWS profile say.

    Attributes:
        endpoint: the service's address.
        region: where the bucket is.
        profile: the AWS profile whose credentials are used.
        addressing: `path` or `virtual`: where the bucket's name is in addresses.
    """

    endpoint: str = ""
    region: str = ""
    profile: str = ""
    addressing: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration file's content.

    Attributes:
        mirrors: registry → its mirrors, in the order in which they are asked.
        fallback: registry, or the beginning of a repository's name there → its second place.
        oci: what is settled for Oracle Cloud: `auth`, `profile`, `region`, `compartment`.
        s3: bucket → where it is.
    """

    mirrors: Mapping[str, tuple[Mirror, ...]] = field(default_factory=lambda: MappingProxyType({}))
    fallback: Mapping[str, FallbackEntry] = field(default_factory=lambda: MappingProxyType({}))
    oci: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    s3: Mapping[str, Bucket] = field(default_factory=lambda: MappingProxyType({}))

    def bucket(self, name: str) -> Bucket:
        """What is said of an S3 bucket: under its name, else of every bucket."""
        return self.s3.get(name) or self.s3.get(ANY_HOST) or Bucket()

    def mirrors_of(self, host: str) -> tuple[Mirror, ...]:
        """The mirrors of a registry: those under its name, else those of every registry."""
        found = self.mirrors.get(host)
        return self.mirrors.get(ANY_HOST, ()) if found is None else found

    def fallback_of(self, host: str, repository: str) -> FallbackEntry | None:
        """A repository's second place: the one under the longest beginning of its name.

        What follows that beginning is appended to the location.
        """
        parts = [host, *repository.split("/")]
        for length in range(len(parts), 0, -1):
            entry = self.fallback.get("/".join(parts[:length]))
            if entry is not None:
                location = "/".join([entry.location, *parts[length:]])
                return FallbackEntry(location, entry.mode)
        return None


def path() -> Path | None:
    """Where the file is: `$OCIMLPACK_CONFIG`, else in the user's configuration folder, if any.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    if chosen := os.environ.get(VARIABLE):
        return Path(os.path.expanduser(chosen)).absolute()
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification: a relative path there is invalid and to be ignored.
    try:
        root = Path(base) if os.path.isabs(base) else Path.home() / ".config"
    except RuntimeError:
        return None
    return root / "ocimlpack" / "config.toml"


def load() -> Settings:
    """Read the file. There need not be one, unless `$OCIMLPACK_CONFIG` names it.

    Raises:
        InputError: it can't be read, is no TOML, or says what is not understood.
    """
    file = path()
    if file is None:
        return Settings()
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        if os.environ.get(VARIABLE):
            raise InputError(f"${VARIABLE} names {file}, which is not there") from error
        return Settings()
    except OSError as error:
        raise InputError(f"can't read {file}: {error.strerror}") from error
    import tomllib  # most users have no such file

    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not TOML: {error}") from error
    try:
        _check_keys(document, "the file", tuple(_TABLES))
        return Settings(
            **{
                key: read(document[key], file.parent)
                for key, read in _TABLES.items()
                if key in document
            }
        )
    except InputError as error:
        raise InputError(f"{file}: {error.message}", hint=error.hint) from error


def _read_mirrors(table: object, folder: Path) -> Mapping[str, tuple[Mirror, ...]]:
    if not isinstance(table, dict):
        raise InputError("mirrors is not a table", hint='write [mirrors], then "HOST" = ["URL"]')
    found = {}
    for host, entries in table.items():
        place = f'mirrors."{host}"'
        if not isinstance(entries, list):
            raise InputError(f"{place} is not a list", hint=f'write "{host}" = ["URL"]')
        try:
            name = host if host == ANY_HOST else check_host(host, host)
        except InvalidReferenceError as error:
            raise InputError(f"in mirrors: {error.message}") from error
        found[name] = tuple(
            _read_mirror(entry, f"{place}, entry {number}", folder)
            for number, entry in enumerate(entries, 1)
        )
    return MappingProxyType(found)


def _read_mirror(entry: object, place: str, folder: Path) -> Mirror:
    table = {"url": entry} if isinstance(entry, str) else entry
    if not isinstance(table, dict):
        raise InputError(f"{place} is neither an address nor a table with url = an address")
    _check_keys(table, place, _MIRROR_KEYS)
    for key in _MIRROR_KEYS:
        if not isinstance(table.get(key, ""), str):
            raise InputError(f"{place}: {key} is not text")
    if "url" not in table:
        raise InputError(f"{place} has no url")
    # Relative to the file, so that both can be mounted or copied together.
    ca_file = folder / Path(table["ca-file"]).expanduser() if "ca-file" in table else None
    try:
        return Mirror.parse(table["url"], str(ca_file) if ca_file else None, table.get("kind", ""))
    except InputError as error:
        raise InputError(f"{place}: {error.message}", hint=error.hint) from error


def _read_fallback(table: object, _: Path) -> Mapping[str, FallbackEntry]:
    if not isinstance(table, dict):
        raise InputError(
            "fallback is not a table", hint='write [fallback], then "HOST" = "LOCATION"'
        )
    found = {}
    for name, entry in table.items():
        place = f'fallback."{name}"'
        values = {"location": entry} if isinstance(entry, str) else entry
        if not isinstance(values, dict) or not isinstance(values.get("location"), str):
            raise InputError(
                f"{place} is neither a location nor a table with location = a location"
            )
        _check_keys(values, place, _FALLBACK_KEYS)
        mode = values.get("mode", ON_FAILURE)
        if mode not in get_args(FallbackMode):
            raise InputError(
                f"{place}: no mode is called {mode!r}",
                hint=f"known are: {', '.join(get_args(FallbackMode))}",
            )
        host, slash, prefix = name.partition("/")
        try:
            check_host(host, name)
            if slash:
                check_repository(prefix, name)
        except InvalidReferenceError as error:
            raise InputError(f"in fallback: {error.message}") from error
        found[name] = FallbackEntry(values["location"].rstrip("/"), mode)
    return MappingProxyType(found)


def _read_oci(table: object, _: Path) -> Mapping[str, str]:
    if not isinstance(table, dict):
        raise InputError("oci is not a table", hint='write [oci], then compartment = "OCID"')
    _check_keys(table, "oci", _OCI_KEYS)
    for key, value in table.items():
        if not isinstance(value, str):
            raise InputError(f"oci: {key} is not text")
    return MappingProxyType(table)


def _read_buckets(table: object, _: Path) -> Mapping[str, Bucket]:
    if not isinstance(table, dict):
        raise InputError("s3 is not a table", hint='write [s3."BUCKET"], then endpoint = "URL"')
    found = {}
    for name, entry in table.items():
        place = f's3."{name}"'
        if name != ANY_HOST and not is_bucket(name):
            raise InputError(f"not a bucket's name: {name!r:.200}")
        if not isinstance(entry, dict):
            raise InputError(
                f"{place} is not a table", hint=f'write [{place}], then endpoint = "…"'
            )
        _check_keys(entry, place, _BUCKET_KEYS)
        for key, value in entry.items():
            if not isinstance(value, str):
                raise InputError(f"{place}: {key} is not text")
        bucket = Bucket(**entry)
        if bucket.addressing and bucket.addressing not in _ADDRESSINGS:
            raise InputError(f"{place}: addressing is neither path nor virtual")
        found[name] = bucket
    return MappingProxyType(found)


def _check_keys(table: Mapping[str, Any], place: str, known: tuple[str, ...]) -> None:
    unknown = sorted(table.keys() - set(known))
    if unknown:
        raise InputError(
            f"{place} has an unknown key: {unknown[0]!r}", hint=f"known are: {', '.join(known)}"
        )


_TABLES: Final[Mapping[str, Callable[[object, Path], Any]]] = MappingProxyType(
    {
        "fallback": _read_fallback,
        "mirrors": _read_mirrors,
        "oci": _read_oci,
        "s3": _read_buckets,
    }
)
"""The file's tables: each is a field of `Settings`, and what reads it."""
