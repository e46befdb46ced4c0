"""The OCI CLI's configuration: its file and its environment variables.

https://docs.oracle.com/en-us/iaas/Content/API/Concepts/sdkconfig.htm
https://docs.oracle.com/en-us/iaas/Content/API/SDKDocs/clienvironmentvariables.htm
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ocimlpack.errors import InputError

DEFAULT: Final = "DEFAULT"

_VARIABLES: Final = MappingProxyType(
    {
        "user": "OCI_CLI_USER",
        "tenancy": "OCI_CLI_TENANCY",
        "fingerprint": "OCI_CLI_FINGERPRINT",
        "key_file": "OCI_CLI_KEY_FILE",
        "key_content": "OCI_CLI_KEY_CONTENT",
        "pass_phrase": "OCI_CLI_PASSPHRASE",
        "security_token_file": "OCI_CLI_SECURITY_TOKEN_FILE",
        "region": "OCI_CLI_REGION",
    }
)
"""Each replaces a value of the file."""

_NEEDED: Final = ("user", "tenancy", "fingerprint")
_OCID: Final = re.compile(
    r"ocid1\.[a-z0-9]+\.[a-z0-9-]+\.[a-z0-9-]*(\.[a-z0-9-]*)?\.[A-Za-z0-9_-]+\Z"
)
_FINGERPRINT: Final = re.compile(r"([0-9a-f]{2}:){15}[0-9a-f]{2}\Z")


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile, with the environment's values over the file's.

    Attributes:
        name: its name in the file.
        path: the file, or None where the environment has all that there is.
        values: what is set, by the file's keys.
        places: for each, where it is set, in words.
    """

    name: str
    path: Path | None
    values: Mapping[str, str]
    places: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Profile({self.title})"  # the values may be a key's text or its pass phrase

    @property
    def title(self) -> str:
        """What it is, for a person."""
        return f"profile {self.name} of {self.path}" if self.path else "the environment's OCI_CLI_*"

    @property
    def is_complete(self) -> bool:
        """Whether it has what an API key needs."""
        return all(self.values.get(key) for key in _NEEDED) and bool(
            self.values.get("key_file") or self.values.get("key_content")
        )

    def get(self, key: str) -> str | None:
        """A value, or None where it isn't set."""
        return self.values.get(key) or None

    def require(self, key: str) -> str:
        """A value that can't be done without.

        Raises:
            InputError: it is not set.
        """
        if value := self.get(key):
            return value
        raise InputError(
            f"there is no {key} in {self.title}",
            hint=f"set it there, or set {_VARIABLES[key]}" if key in _VARIABLES else None,
        )

    def ocid(self, key: str) -> str:
        """A value that is an OCID.

        Raises:
            InputError: it is not set, or is none.
        """
        value = self.require(key)
        if not _OCID.match(value):
            raise InputError(f"{key} is not an OCID: {value!r:.120}, {self.places[key]}")
        return value

    def fingerprint(self) -> str:
        """The key's fingerprint.

        Raises:
            InputError: it is not set, or is none.
        """
        value = self.require("fingerprint").lower()
        if not _FINGERPRINT.match(value):
            raise InputError(
                f"fingerprint is not 16 pairs of hex digits: {value!r:.60}, "
                f"{self.places['fingerprint']}"
            )
        return value

    def file(self, key: str) -> Path:
        """A value that is the path of a file which is there.

        Raises:
            InputError: it is not set, or no file.
        """
        path = Path(os.path.expanduser(self.require(key)))
        if not path.is_file():
            raise InputError(f"the {key} is not there: {path}, {self.places[key]}")
        return path


def find(environ: Mapping[str, str]) -> Path | None:
    """The configuration file that there is, in the order in which the SDK looks for it."""
    if chosen := environ.get("OCI_CLI_CONFIG_FILE"):
        return Path(os.path.expanduser(chosen))
    usual = Path(os.path.expanduser("~/.oci/config"))
    if usual.is_file():
        return usual
    if other := environ.get("OCI_CONFIG_FILE"):
        return Path(os.path.expanduser(other))
    old = Path(os.path.expanduser("~/.oraclebmc/config"))
    return old if old.is_file() else None


def read(name: str | None, environ: Mapping[str, str]) -> Profile | None:
    """A profile of the configuration file, with the environment's values over it.

    Args:
        name: the profile; None for the default one, which may be absent.
        environ: the environment.

    Returns:
        None where nothing is configured.

    Raises:
        InputError: the file can't be read or understood, or has no such profile.
    """
    path = find(environ)
    values: dict[str, str] = {}
    places: dict[str, str] = {}
    title = name or DEFAULT
    if path is not None:
        found = _read_file(path, title, required=name is not None)
        values.update({key: value for key, (value, _) in found.items()})
        places.update({key: place for key, (_, place) in found.items()})
    elif name is not None:
        raise InputError(f"there is no profile {name}: no ~/.oci/config", hint="oci setup config")
    for key, variable in _VARIABLES.items():
        if value := environ.get(variable):
            values[key] = value
            places[key] = f"in ${variable}"
    if not values:
        return None
    return Profile(title, path, MappingProxyType(values), MappingProxyType(places))


def _read_file(path: Path, name: str, *, required: bool) -> dict[str, tuple[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        text = path.read_text("utf-8")
        parser.read_string(text)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(
            f"{path} is no configuration file" + (f": see line {line}" if line else "")
        ) from error
    if name != DEFAULT and name not in parser:
        if not required:
            return {}
        known = ", ".join([DEFAULT, *parser.sections()])
        raise InputError(f"{path} has no profile {name}", hint=f"it has {known}")
    lines = _lines(text)
    found = {}
    for key, value in parser[name].items():
        line = lines.get((name, key)) or lines.get((DEFAULT, key))
        found[key] = (value, f"in {path}, line {line}" if line else f"in {path}")
    if "key_content" in found:
        raise InputError(
            f"key_content doesn't belong into a file: {path}", hint="set key_file to a path there"
        )
    return found


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Where each profile's values stand, counted from 1."""
    section = DEFAULT
    found: dict[tuple[str, str], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1]
        elif match := re.match(r"([A-Za-z_]+)\s*[=:]", stripped):
            found.setdefault((section, match[1].lower()), number)
    return found
