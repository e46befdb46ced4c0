"""Taking away what `bucket provision` made, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ocimlpack.cloud import _sdk
from ocimlpack.cloud.bucket import standing as reading
from ocimlpack.cloud.bucket.services import Services
from ocimlpack.cloud.bucket.spec import MARK, Logs, is_ours, policy_name
from ocimlpack.cloud.bucket.standing import LogGroup, Policy, Standing, Url
from ocimlpack.errors import ConflictError, NotAllowedError, NotFoundError
from ocimlpack.progress import Noted, Reporter, Warned
from ocimlpack.transfer import pool

_JOBS: Final = 8
_PAGE: Final = 1_000
_MAY_BE_FORBIDDEN: Final = {"BucketNotFound", "NotAuthorizedOrNotFound", ""}
_ROUNDS: Final = 20
"""Somebody may go on writing while a bucket is emptied; not for ever."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is in a bucket.

    Attributes:
        versions: versions of objects, delete markers among them.
        size: bytes of them.
        uploads: unfinished uploads.
        urls: pre-authenticated requests that were not made here.
    """

    versions: int
    size: int
    uploads: int
    urls: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing of others would be lost."""
        return not (self.versions or self.uploads or self.urls)

    def __str__(self) -> str:
        """`12 versions of objects, 1 unfinished upload`."""
        counted = (
            (self.versions, "version", " of objects"),
            (self.uploads, "unfinished upload", ""),
            (self.urls, "pre-authenticated request", ""),
        )
        said = [_counted(*each) for each in counted if each[0]]
        return ", ".join(said) or "nothing"


def find(
    services: Services, name: str, compartment: str | None, group: str, report: Reporter
) -> tuple[str, Standing]:
    """The compartment of a bucket that is to go, and what stands of it and was made with it.

    Raises:
        ConflictError: the bucket was not made here.
        NotFoundError: there is no bucket, and no compartment to look for the rest.
    """
    bucket = reading.read_bucket(services, name)
    if bucket is not None and not bucket.is_ours:
        raise ConflictError(
            f"the bucket {name} was not made by ocimlpack bucket provision",
            hint=f"it has no tag {MARK}; delete it with the tool that made it",
        )
    where = bucket.compartment if bucket else compartment
    if where is None:
        raise nothing_left(name)
    try:
        return where, reading.read(services, name, where, logs=Logs(group=group))
    except NotAllowedError as error:
        report(Warned(f"logs are left alone: {error.message}"))
        return where, reading.read(services, name, where, logs=None)


def look_into(services: Services, standing: Standing) -> Holdings:
    """What is in the bucket."""
    if standing.bucket is None:
        return Holdings(0, 0, 0, 0)
    name = standing.bucket.name
    with _sdk.explained(f"the content of the bucket {name}", NotAllowedError):
        versions = _sdk.every(
            services.storage.list_object_versions,
            services.namespace,
            name,
            fields="size",
            limit=_PAGE,
        )
        uploads = _sdk.every(services.storage.list_multipart_uploads, services.namespace, name)
    others = [url for url in standing.urls if not is_ours(url.name)]
    size = sum(each.size or 0 for each in versions)
    return Holdings(len(versions), size, len(uploads), len(others))


def remove(
    services: Services, name: str, compartment: str, standing: Standing, report: Reporter
) -> list[str]:
    """Take it all away: content, logs, bucket, policy; what was not made here stays.

    Args:
        services: where it is.
        name: the bucket's.
        compartment: where its logs and its policy are.
        standing: what there is.
        report: told what has gone.

    Returns:
        What went, a line each.
    """
    done: list[str] = []

    def say(line: str) -> None:
        done.append(line)
        report(Noted(f"removed {line}"))

    if standing.bucket is not None:
        _remove_urls(services, name, standing.urls, say)
        _empty(services, name, report, say)
    _remove_logs(services, name, compartment, standing, say)
    if standing.bucket is not None:
        with (
            _sdk.explained(f"the deletion of the bucket {name}", NotAllowedError),
            _gone(lambda: reading.read_bucket(services, name) is None),
        ):
            services.storage.delete_bucket(services.namespace, name)
        say(f"the bucket {name}")
    for policy in _policies(name, standing.policies or ()):
        with (
            _sdk.explained(f"the deletion of the policy {policy.name}", NotAllowedError),
            _gone(lambda: not _policies(name, reading.read_policies(services, compartment) or ())),
        ):
            services.policies.delete_policy(policy.ocid)
        say(f"the policy {policy.name}")
    return done


def beside(name: str, standing: Standing) -> tuple[str, ...]:
    """What was made with the bucket, and goes with it."""
    return (
        *(f"the log {log.name}" for log in standing.logs if log.is_ours),
        *(f"the policy {policy.name}" for policy in _policies(name, standing.policies or ())),
    )


def nothing_left(name: str) -> NotFoundError:
    """What to raise where there is nothing to take away."""
    return NotFoundError(
        f"there is no bucket {name}, or this identity may not see it",
        hint="to take away what is left of one, add --compartment OCID",
    )


def _policies(name: str, policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(each for each in policies if each.is_ours and each.name == policy_name(name))


def _remove_urls(
    services: Services, name: str, urls: tuple[Url, ...], say: Callable[[str], None]
) -> None:
    for url in urls:
        with _sdk.explained(f"the address {url.name}", NotAllowedError), _gone():
            services.storage.delete_preauthenticated_request(services.namespace, name, url.ocid)
        say(f"the address {url.name}")


def _empty(services: Services, name: str, report: Reporter, say: Callable[[str], None]) -> None:
    client, namespace = services.storage, services.namespace
    with _sdk.explained(f"the content of the bucket {name}", NotAllowedError):
        uploads = _sdk.every(client.list_multipart_uploads, namespace, name)
        for each in uploads:
            with _gone():
                client.abort_multipart_upload(namespace, name, each.object, each.upload_id)
        count = 0
        for _ in range(_ROUNDS):
            found = client.list_object_versions(namespace, name, limit=_PAGE).data.items
            if not found:
                break
            pool.run([_deletion(client, namespace, name, each) for each in found], _JOBS)
            count += len(found)
            if len(found) == _PAGE:
                report(Noted(f"removed {count:,} versions of objects so far"))
        else:
            raise ConflictError(
                f"the bucket {name} doesn't get empty: somebody goes on writing to it",
                hint="stop that, and run the command again",
            )
    if uploads:
        say(_counted(len(uploads), "unfinished upload"))
    if count:
        say(_counted(count, "version", " of objects"))


def _deletion(client: Any, namespace: str, bucket: str, version: Any) -> Callable[[Any], None]:
    def delete(stop: pool.Stop) -> None:
        stop.check()
        with _gone():
            client.delete_object(namespace, bucket, version.name, version_id=version.version_id)

    return delete


def _remove_logs(
    services: Services,
    name: str,
    compartment: str,
    standing: Standing,
    say: Callable[[str], None],
) -> None:
    group = standing.group
    if group is None:
        return
    with _sdk.explained(f"the logs of the group {group.name}", NotAllowedError):
        for log in (log for log in standing.logs if log.is_ours):
            _remove_log(services, name, group, log.ocid)
            say(f"the log {log.name}")
        if not group.is_ours or _sdk.every(services.logging.list_logs, group.ocid):
            return  # others log there as well
        with _gone(lambda: reading.read_group(services, compartment, group.name) is None):
            services.logging.delete_log_group(group.ocid)
    say(f"the log group {group.name}")


def _remove_log(services: Services, bucket: str, group: LogGroup, ocid: str) -> None:
    def is_gone() -> bool:
        return ocid not in {log.ocid for log in reading.read_logs(services, group, bucket)}

    with _gone(is_gone):
        services.logging.delete_log(group.ocid, ocid)


def _counted(count: int, noun: str, rest: str = "") -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}{rest}"


@contextmanager
def _gone(is_gone: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Go on where what was to go is gone already: an answer was lost, or somebody was faster.

    Args:
        is_gone: looks again where the service's answer may also mean that it is not allowed.
    """
    try:
        yield
    except Exception as error:
        status, code = _sdk.refusal(error)
        if status != 404 or (code in _MAY_BE_FORBIDDEN and not is_gone()):
            raise
