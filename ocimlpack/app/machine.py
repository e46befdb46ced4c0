"""What of this machine matters to transfers: versions, configuration, folders."""

from __future__ import annotations

import os
import platform
import re
import shutil
import ssl
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from ocimlpack._version import __version__
from ocimlpack.app.diagnosis import Fact, Finding, Section, State
from ocimlpack.errors import InputError
from ocimlpack.stores import docker_config, duplicate, home, settings

_PARTS: Final = ("oras", "requests", "urllib3", "oci", "zstandard")

_VARIABLES: Final = (
    *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
    *("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
    *("DOCKER_CONFIG", "SOURCE_DATE_EPOCH"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
)
_PREFIXES: Final = ("OCIMLPACK_", "OCI_")
_SCARCE: Final = 1024**3
"""Bytes. With fewer free, hardly a model fits."""


def versions() -> Section:
    """What runs here. Nothing of it is imported for that."""
    facts = [
        Fact("ocimlpack", __version__),
        Fact("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Fact("platform", platform.platform()),
        Fact("OpenSSL", ssl.OPENSSL_VERSION),
    ]
    facts += [Fact(name, _installed(name)) for name in _PARTS if _is_of_use(name)]
    return Section("versions", tuple(facts))


def configuration(
    host: str, repository: str, mirrors: tuple[str, ...]
) -> tuple[Section, InputError | None]:
    """The configuration file and the variables that are set: their names, as values may be secret.

    Args:
        host: the registry that is asked about; may be empty.
        repository: a repository there; may be empty.
        mirrors: those that come before the file's.

    Returns:
        The section, and why the file can't be used.
    """
    failure = None
    file = settings.path()
    shown = str(file or "none, as there is no home folder")
    fallback = "none"
    try:
        found = settings.load()
        if entry := found.fallback_of(host, repository):
            fallback = f"{entry.location}, {entry.mode}"
        mirrors = (*mirrors, *(each.url for each in found.mirrors_of(host)))
        state: State = "ok"
        shown += "" if file is None or os.path.exists(file) else " (there is none, and need not be)"
    except InputError as error:
        failure, state = error, "no"
    facts = [Fact("file", shown, state)]
    if host:
        facts.append(Fact("mirrors", ", ".join(mirrors) or "none"))
    if repository:
        facts.append(Fact("fallback", fallback))
    accounts = docker_config.default_path()
    if accounts is not None:
        there = "" if os.path.exists(accounts) else " (there is none)"
        facts.append(Fact("accounts", f"{accounts}{there}"))
    names = sorted(
        name
        for name in os.environ
        if name.upper() in _VARIABLES or name.upper().startswith(_PREFIXES)
    )
    facts.append(Fact("variables", ", ".join(names) or "none that matter are set"))
    return Section("configuration", tuple(facts)), failure


def folders() -> tuple[Section, list[Finding]]:
    """Where things are kept, and how much room there is."""
    findings: list[Finding] = []
    facts = [
        _folder(name, path, findings)
        for name, path in (
            ("store", home.store()),
            ("models", home.models()),
            ("digests", home.digests()),
            ("uploads", home.uploads()),
            ("registries", home.hosts()),
            ("audit", home.audit()),
        )
    ]
    shares = duplicate.shares(_existing(home.store()))
    facts.append(
        Fact("copies", "take no room in the store" if shares else "take their room in the store")
    )
    return Section("folders", tuple(facts)), findings


def tidy(text: str) -> str:
    """The text with the user's home folder as `~`, so that it does not show who that is."""
    try:
        own = str(Path.home())
    except RuntimeError:
        return text
    if own == os.sep:
        return text
    # Not in the middle of another path or of an address, and not in quotes, which a shell keeps.
    return re.sub(rf"(?<![\w./~'-]){re.escape(own)}(?=$|[\s/,;:)])", "~", text)


def _folder(name: str, path: Path, findings: list[Finding]) -> Fact:
    place = _existing(path)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Fact(name, f"{path}: {error.strerror}", "unknown")
    value = f"{path}, {free / 1024**3:,.1f} GiB free"
    # What exists may be a file: the cache of digests is one, and its folder is written to as well.
    if not (os.path.isdir(place) or place == path) or not os.access(place, os.W_OK):
        findings.append(Finding(f"{place} can't be written to"))
        return Fact(name, f"{value}, but can't be written to", "no")
    if free < _SCARCE:
        problem = f"little room is left in {place}: {free / 1024**2:,.0f} MiB"
        findings.append(Finding(problem, "ocimlpack prune"))
        return Fact(name, value, "no")
    return Fact(name, value, "ok")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    return path


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _is_of_use(name: str) -> bool:
    # From 3.14 on, Python has it itself.
    return name != "zstandard" or sys.version_info < (3, 14)
