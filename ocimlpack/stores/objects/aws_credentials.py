"""Whose name requests to S3 services are signed in: looked for where the AWS tools look.

The environment; a web identity (Kubernetes); a profile, also one that a program or the AWS CLI
answers for (single sign-on, roles); a container's agent; on Amazon's machines, the machine's own.

https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ocimlpack.errors import InputError, NotAllowedError, UnavailableError
from ocimlpack.stores.challenge import is_loopback
from ocimlpack.stores.objects.aws import Profile, endpoint, is_set, region
from ocimlpack.stores.objects.refusals import WHERE_CREDENTIALS, element
from ocimlpack.stores.objects.signature import Credentials, encode_query

Post = Callable[[str, bytes], tuple[int, bytes]]
"""Sends a form to an address and returns the answer's status and body."""

_EARLY: Final = 300.0
"""Seconds before they expire that credentials are renewed: a part may be long on its way."""

_SECONDS: Final = 10.0
_MACHINE_SECONDS: Final = 1.0
_PROGRAM_SECONDS: Final = 60.0
_MAX_ANSWER: Final = 256 * 1024
_AGENTS: Final = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
"""Where the agents of Amazon's containers are: nobody else on the network gets their token."""

_ANSWERED_BY_CLI: Final = ("sso_session", "sso_start_url", "role_arn", "login_session")


class Chain:
    """Credentials, renewed before they expire. Safe to use from many threads."""

    def __init__(self, profile: Profile, post: Post, *, chosen: bool, on_amazon: bool) -> None:
        """Nothing is looked for yet.

        Args:
            profile: what the AWS tools' files say.
            post: sends a form.
            chosen: whether the profile was chosen for this bucket: then the environment's keys,
                which are for another one, do not count.
            on_amazon: whether the service is Amazon's: only then this machine may have credentials
                of its own.
        """
        self._profile = profile
        self._post = post
        self._chosen = chosen
        self._on_amazon = on_amazon
        self._found: Credentials | None = None

    def get(self) -> Credentials:
        """The credentials.

        Raises:
            NotAllowedError: there are none.
        """
        found = self._found
        if found is None or (found.until is not None and found.until - time.time() < _EARLY):
            self._found = found = self._find()
        return found

    def _find(self) -> Credentials:
        found = (
            (None if self._chosen else _from_environment() or self._from_web_identity())
            or self._from_profile()
            or _from_container()
            or (_from_machine() if self._on_amazon else None)
        )
        if found is None:
            raise NotAllowedError(
                "there are no credentials for S3",
                hint=f"{WHERE_CREDENTIALS}; AWS_SKIP_SIGNATURE=true asks without any",
            )
        return found

    def _from_web_identity(self) -> Credentials | None:
        file = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") or self._profile.get(
            "web_identity_token_file"
        )
        role = os.environ.get("AWS_ROLE_ARN") or self._profile.get("role_arn")
        if not file or not role:
            return None
        try:
            token = Path(file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"can't read the web identity in {file}") from error
        place = region(self._profile)
        host = f"sts.{place}.amazonaws.com" if place else "sts.amazonaws.com"
        url = endpoint("sts", self._profile) or f"https://{host}"
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "RoleArn": role,
            "RoleSessionName": os.environ.get("AWS_ROLE_SESSION_NAME") or "ocimlpack",
            "Version": "2011-06-15",
            "WebIdentityToken": token,
        }
        status, body = self._post(f"{url.rstrip('/')}/", encode_query(form).encode())
        answer = body.decode("utf-8", "replace")
        key = element(answer, "AccessKeyId")
        if status != 200 or not key:
            said = element(answer, "Message") or f"status {status}"
            raise NotAllowedError(f"the role {role} was not given to this workload: {said:.200}")
        return Credentials(
            key,
            element(answer, "SecretAccessKey"),
            element(answer, "SessionToken"),
            _seconds(element(answer, "Expiration")),
        )

    def _from_profile(self) -> Credentials | None:
        profile = self._profile
        key, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
        if key and secret:
            return Credentials(key, secret, profile.get("aws_session_token"))
        if command := profile.get("credential_process"):
            return _from_program(shlex.split(command), f"credential_process of {profile.name}")
        if not any(profile.get(name) for name in _ANSWERED_BY_CLI):
            return None
        program = shutil.which("aws")
        if program is None:
            raise NotAllowedError(
                f"the AWS profile {profile.name} is answered for by the AWS CLI, which is not here",
                hint="where it is: aws configure export-credentials --format env",
            )
        asking = ["configure", "export-credentials", "--profile", profile.name]
        return _from_program([program, *asking, "--format", "process"], "the AWS CLI")


def _from_environment() -> Credentials | None:
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not key and not secret:
        return None
    if not key or not secret:
        missing = "AWS_SECRET_ACCESS_KEY" if key else "AWS_ACCESS_KEY_ID"
        raise InputError(f"{missing} is not set, but its counterpart is")
    return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN", ""))


def _from_program(command: list[str], what: str) -> Credentials:
    try:
        done = subprocess.run(  # noqa: S603 - the user's own settings name it
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROGRAM_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAllowedError(f"{what} gave no credentials: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said[-1] if said else f"exit code {done.returncode}"
        raise NotAllowedError(f"{what} gave no credentials: {reason:.200}")
    return _parse(done.stdout, what)


def _from_container() -> Credentials | None:
    relative = os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if relative:
        url = f"http://169.254.170.2{relative}"
    if not url:
        return None
    host = urllib.parse.urlsplit(url).hostname or ""
    if not url.startswith("https:") and host not in _AGENTS and not is_loopback(host):
        raise InputError(f"AWS_CONTAINER_CREDENTIALS_FULL_URI names a host without TLS: {host}")
    token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if file := os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        try:
            token = Path(file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"can't read the token in {file}") from error
    headers = {"Authorization": token} if token else {}
    status, body = _ask("GET", url, headers, _SECONDS)
    if status != 200:
        raise NotAllowedError(f"the container's agent gave no credentials: status {status}")
    return _parse(body, "the container's agent")


def _from_machine() -> Credentials | None:
    """The role of a virtual machine of Amazon's, by the second version of its service."""
    if is_set("AWS_EC2_METADATA_DISABLED"):
        return None
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    base = base.rstrip("/")
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    try:
        status, token = _ask("PUT", f"{base}/latest/api/token", lifetime, _MACHINE_SECONDS)
        if status != 200:
            return None
        headers = {"X-aws-ec2-metadata-token": token.decode("ascii", "replace")}
        roles = f"{base}/latest/meta-data/iam/security-credentials/"
        status, body = _ask("GET", roles, headers, _MACHINE_SECONDS)
        role = body.decode("utf-8", "replace").strip()
        if status != 200 or not role:
            return None
        status, body = _ask("GET", roles + urllib.parse.quote(role), headers, _MACHINE_SECONDS)
    except UnavailableError:
        return None  # this is no such machine
    return _parse(body, "this machine's role") if status == 200 else None


def _ask(method: str, url: str, headers: Mapping[str, str], seconds: float) -> tuple[int, bytes]:
    """One request that never goes by way of a proxy: what is asked is on this machine."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(f"not an address to get credentials from: {url!r:.200}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    try:
        connection = kind(parts.hostname, parts.port, timeout=seconds)
        try:
            connection.request(method, target, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_ANSWER)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnavailableError(f"no credentials from {parts.netloc}: {error}") from error


def _parse(content: bytes, what: str) -> Credentials:
    try:
        said: Any = json.loads(content)
        key, value = said["AccessKeyId"], said["SecretAccessKey"]
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError
        until = _seconds(str(said.get("Expiration") or ""))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise NotAllowedError(f"{what} gave no credentials that can be understood") from None
    # Programs name the token by one key, agents by the other.
    return Credentials(key, value, str(said.get("SessionToken") or said.get("Token") or ""), until)


def _seconds(text: str) -> float | None:
    """A time that is written by RFC 3339, in seconds since 1970."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
