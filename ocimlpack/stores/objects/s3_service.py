"""Where an S3 bucket is, and how it is reached: settings, environment and profile together."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ocimlpack.errors import InputError, InvalidReferenceError
from ocimlpack.spec.reference import check_host
from ocimlpack.stores.challenge import is_loopback
from ocimlpack.stores.objects import aws
from ocimlpack.stores.objects.aws import Profile
from ocimlpack.stores.objects.signature import Credentials, encode_path
from ocimlpack.stores.settings import Bucket

ENDPOINT: Final = "OCIMLPACK_S3_ENDPOINT"
_AMAZON: Final = re.compile(r"amazonaws\.com(\.cn)?\Z")
_DEFAULT_REGION: Final = "us-east-1"
_STYLES: Final = ("", "auto", "path", "virtual")


@dataclass(frozen=True, slots=True)
class Service:
    """A bucket of an S3 service.

    Attributes:
        bucket: its name.
        endpoint: the service's address, without a slash at its end.
        region: where the bucket is, as requests are signed.
        virtual: whether the bucket's name is part of the host's, and not of the path.
        profile: what the AWS tools' files say.
        anonymous: whether requests are not signed at all.
    """

    bucket: str
    endpoint: str
    region: str
    virtual: bool
    profile: Profile
    anonymous: bool

    @property
    def base(self) -> str:
        """The address below which the bucket's objects are."""
        if not self.virtual:
            return f"{self.endpoint}/{self.bucket}"
        scheme, _, rest = self.endpoint.partition("://")
        return f"{scheme}://{self.bucket}.{rest}"

    @property
    def on_amazon(self) -> bool:
        """Whether it is Amazon's own service."""
        return _AMAZON.search(urllib.parse.urlsplit(self.endpoint).hostname or "") is not None

    def url(self, key: str) -> str:
        """The address of an object."""
        return f"{self.base}/{encode_path(key)}"


@dataclass(frozen=True, slots=True)
class Connecting:
    """How connections to the service are made.

    Attributes:
        insecure: do not verify TLS certificates.
        ca_file: a PEM file of authorities to trust, or None for the system's.
        credentials: whose name requests are signed in; None for nobody's.
    """

    insecure: bool
    ca_file: str | None
    credentials: Callable[[], Credentials] | None


def find(bucket: str, preference: Bucket, plain_http: bool | None) -> Service:
    """Where a bucket is.

    Args:
        bucket: its name.
        preference: what the configuration file says of it.
        plain_http: whether http is allowed; None means to loopback hosts only.

    Raises:
        InputError: what names the service can't be used.
    """
    profile = aws.load_profile(preference.profile or None)
    region = preference.region or aws.region(profile) or _DEFAULT_REGION
    named = os.environ.get(ENDPOINT) or preference.endpoint or aws.endpoint("s3", profile)
    endpoint = _check_endpoint(named, plain_http) if named else _amazon(region)
    style = preference.addressing or profile.addressing
    if style not in _STYLES:
        raise InputError(f"addressing_style is {style!r:.40}", hint="it is path or virtual")
    # Amazon wants the bucket in the host's name; others mostly know it in the path. A dot in it
    # would make a host that no certificate is for.
    virtual = style == "virtual" or (style in {"", "auto"} and not named and "." not in bucket)
    anonymous = aws.is_set("AWS_SKIP_SIGNATURE")
    return Service(bucket, endpoint, region, virtual, profile, anonymous)


def authorities(ca_file: str | None) -> str | None:
    """The PEM file of the authorities to trust: the given one, else what the environment names."""
    named = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    found = ca_file or next((os.environ[name] for name in named if os.environ.get(name)), None)
    return found if ca_file or not found or os.path.isfile(found) else None


def _amazon(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{suffix}"


def _check_endpoint(text: str, plain_http: bool | None) -> str:
    parts = urllib.parse.urlsplit(text if "://" in text else f"https://{text}")
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Nothing but the host of it is shown: the rest may be a secret.
        raise InputError(
            f"the address of an S3 service has more in it than it should: {shown}",
            hint="write https://HOST[:PORT]; credentials come from the environment or a profile",
        )
    try:
        host = check_host(parts.netloc, shown)
    except InvalidReferenceError as error:
        raise InputError(f"in the address of an S3 service: {error.message}") from error
    if parts.scheme not in {"http", "https"}:
        raise InputError(f"the address of an S3 service is http or https, not {shown:.100}")
    if parts.scheme == "http" and not (is_loopback(host) if plain_http is None else plain_http):
        raise InputError(
            f"{shown} is not encrypted, and what is sent there could be read on the way",
            hint="write https://, or allow it with --plain-http",
        )
    for scheme, port in (("http", ":80"), ("https", ":443")):
        if parts.scheme == scheme:
            host = host.removesuffix(port)  # which clients leave out, and a signature is of it
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
