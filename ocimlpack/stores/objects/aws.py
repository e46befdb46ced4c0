"""What the environment and the AWS tools' own files say: profile, region, endpoint.

https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ocimlpack.errors import InputError

_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Profile:
    """What the AWS tools' files say of one profile.

    Attributes:
        name: its name.
        values: its keys and values; credentials come from the credentials file first.
        services: endpoints of single services: `s3`, `sts`.
        addressing: how S3 addresses are formed: `path`, `virtual`, or empty.
    """

    name: str
    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    services: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    addressing: str = ""

    def get(self, key: str) -> str:
        """A value; empty where there is none."""
        return self.values.get(key, "")


def load_profile(name: str | None = None) -> Profile:
    """Read a profile: that name's, else the one that the environment names, else `default`.

    Raises:
        InputError: a file is not what it should be, or a named profile is not there.
    """
    named = name or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    chosen = named or _DEFAULT
    config = _read("AWS_CONFIG_FILE", "config")
    section = chosen if chosen == _DEFAULT else f"profile {chosen}"
    found = dict(config[section]) if config.has_section(section) else {}
    credentials = _read("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    secret = dict(credentials[chosen]) if credentials.has_section(chosen) else {}
    if named and not found and not secret:
        raise InputError(
            f"there is no AWS profile {chosen}",
            hint=f"profiles are in {_path('AWS_CONFIG_FILE', 'config')} and the file credentials",
        )
    services = f"services {found.get('services', '')}"
    endpoints = {
        service: url
        for service, text in (config[services].items() if config.has_section(services) else ())
        if (url := _nested(text).get("endpoint_url"))
    }
    addressing = _nested(found.get("s3", "")).get("addressing_style", "")
    return Profile(chosen, {**found, **secret}, endpoints, addressing)


def region(profile: Profile) -> str:
    """The region that the environment or the profile names; empty where neither does."""
    return (
        os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
        or profile.get("region")
    )


def endpoint(service: str, profile: Profile) -> str:
    """The address of a service, where the environment or the profile names one; else empty."""
    return (
        os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}")
        or os.environ.get("AWS_ENDPOINT_URL")
        or profile.services.get(service)
        or profile.get("endpoint_url")
    )


def is_set(variable: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").lower() in {"1", "true", "yes", "on"}


def _read(variable: str, name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(
        default_section="", interpolation=None, strict=False, delimiters=("=",)
    )
    path = _path(variable, name)
    try:
        parser.read_string(path.read_text("utf-8-sig"), str(path))
    except FileNotFoundError:
        return parser
    except (OSError, ValueError, configparser.Error) as error:
        # The library's own account may show a line, and a line may hold a secret.
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise InputError(f"can't read {path}: {reason}") from None
    return parser


def _path(variable: str, name: str) -> Path:
    return Path(os.path.expanduser(os.environ.get(variable) or f"~/.aws/{name}"))


def _nested(text: str) -> dict[str, str]:
    """The keys of a section within a section: indented lines."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key.strip().lower()] = value.strip()
    return found
