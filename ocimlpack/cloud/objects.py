"""A bucket of OCI Object Storage as what a bucket store needs, through the SDK's client.

https://docs.oracle.com/en-us/iaas/api/#/en/objectstorage/20160918/

Each call is a single try: what is tried again is decided by `stores.objects.persistent`, for all
object stores alike, so the client's own retries are off.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from ocimlpack.cloud import _sdk
from ocimlpack.cloud.signers import Identity, full_region
from ocimlpack.errors import (
    IntegrityError,
    InvalidContentError,
    NotFoundError,
    OcimlpackError,
    UnavailableError,
)
from ocimlpack.stores.bucket_names import stage_of
from ocimlpack.stores.bucket_stages import State, Version
from ocimlpack.stores.objects.base import (
    ABSENT,
    ConditionError,
    GoneError,
    Label,
    ObjectStream,
    Piece,
    Stat,
    Unfinished,
)

_CLIENT: Final = "object_storage.ObjectStorageClient"
_META: Final = "opc-meta-"
_PAGE: Final = 1000
_FIELDS: Final = "name,size,etag,timeModified"
_STALL: Final = 30.0
"""Seconds after which a body that comes in drops is given up."""

_COPY_SECONDS: Final = 3600.0
_COPY_PAUSE: Final = 1.0

_NO_BUCKET: Final = "BucketNotFound"
_NOT_RESTORED: Final = "NotRestored"
_CONCURRENT: Final = frozenset({"ConcurrentObjectUpdate", "ConcurrentObjectWrite"})


class OciObjects:
    """A bucket of OCI Object Storage: an `Objects`, each call a single try.

    Attributes:
        place: how errors name it.
        origin: tells it from every bucket of every other tenancy or region.
    """

    def __init__(
        self, identity: Identity, bucket: str, namespace: str, region: str | None = None
    ) -> None:
        """Prepare; nothing is asked.

        Args:
            identity: who signs.
            bucket: its name.
            namespace: the tenancy's namespace.
            region: where it is, if elsewhere than the identity's.

        Raises:
            InputError: no region is known.
        """
        self.place = f"ocios://{bucket}@{namespace}"
        self._client = identity.client(_CLIENT, region, retries=False)
        self._models = _sdk.module("object_storage.models")
        self._where = (namespace, bucket)
        self._region = full_region(region) or identity.region
        self.origin = f"{self._client.base_client.endpoint}/n/{namespace}/b/{bucket}"

    def stat(self, key: str) -> Stat | None:
        """What there is under that name."""
        try:
            with self._asking(key):
                found = self._client.head_object(*self._where, key)
        except NotFoundError:
            return None  # also for a bucket that isn't there: an answer to HEAD says no more
        return _stat(key, found.headers)

    def read(self, key: str, limit: int) -> tuple[bytes, Stat] | None:
        """A small object, all of it."""
        with self._asking(key):
            try:
                found = self._client.get_object(*self._where, key)
            except self._service_error as error:
                if error.status == 404 and error.code != _NO_BUCKET:
                    return None
                raise
        stat = _stat(key, found.headers)
        stream = _Stream(found, self._asking, key)
        try:
            if stat.size > limit:
                raise InvalidContentError(f"{key} in {self.place} is larger than {limit:,} bytes")
            content = b"".join(iter(lambda: stream.read(limit + 1), b""))
        finally:
            stream.close()
        return content, stat

    def stream(self, key: str, start: int, end: int, *, lasting: bool) -> ObjectStream:
        """An object's bytes from `start` up to `end`."""
        if end <= start:
            with self._asking(key):
                self._client.head_object(*self._where, key)
            return _Nothing()
        with self._asking(key):
            found = self._client.get_object(*self._where, key, range=f"bytes={start}-{end - 1}")
        stream = _Stream(found, self._asking, key)
        come = int(found.headers.get("content-length") or 0)
        if found.status == 200:
            stream.skip(start)
        elif come < end - start:
            stream.close()
            raise IntegrityError(
                f"{key} in {self.place} has {start + come:,} bytes, fewer than the {end:,} expected"
            )
        return stream

    def put(self, key: str, content: bytes, label: Label, condition: str | None = None) -> str:
        """Write a small object, whose SHA-256 the service compares."""
        with self._asking(key):
            done = self._client.put_object(
                *self._where,
                key,
                content,
                content_type=label.media_type,
                opc_meta=dict(label.metadata),
                opc_checksum_algorithm="SHA256",
                opc_content_sha256=_base64(hashlib.sha256(content).digest()),
                **_condition(condition),
            )
        return str(done.headers["etag"])

    def list(self, prefix: str) -> Iterator[Stat]:
        """All objects below a prefix, in order."""
        start: str | None = None
        while True:
            more = {"start": start} if start else {}
            with self._asking(prefix or "its objects"):
                page = self._client.list_objects(
                    *self._where, prefix=prefix, fields=_FIELDS, limit=_PAGE, **more
                ).data
            for found in page.objects:
                yield Stat(found.name, found.size, found.etag, found.time_modified.timestamp())
            start = page.next_start_with
            if start is None:
                return

    def folders(self, prefix: str = "") -> Sequence[str]:
        """What follows a prefix up to the next slash, the slash included."""
        found: list[str] = []
        start: str | None = None
        while True:
            more = {"start": start} if start else {}
            with self._asking(prefix or "its folders"):
                page = self._client.list_objects(
                    *self._where, prefix=prefix, delimiter="/", limit=_PAGE, **more
                ).data
            found += [each.removeprefix(prefix) for each in page.prefixes or ()]
            start = page.next_start_with
            if start is None:
                return found

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; the bucket's versioning keeps what they were for a while."""
        for key in keys:
            with self._asking(key), _ignoring(self._service_error, _is_absent):
                self._client.delete_object(*self._where, key)

    def begin(self, key: str, label: Label) -> str:
        """Begin an upload in parts; returns its name."""
        details = self._models.CreateMultipartUploadDetails(
            object=key,
            content_type=label.media_type,
            metadata={f"{_META}{name}": value for name, value in label.metadata.items()},
        )
        with self._asking(key):
            done = self._client.create_multipart_upload(*self._where, details)
        return str(done.data.upload_id)

    def put_part(
        self, key: str, upload: str, number: int, content: bytes | memoryview, sha256: bytes
    ) -> Piece:
        """Bring a part, whose SHA-256 the service compares."""
        with self._asking(key, GoneError):
            done = self._client.upload_part(
                *self._where,
                key,
                upload,
                number,
                bytes(content),
                opc_checksum_algorithm="SHA256",
                opc_content_sha256=_base64(sha256),
            )
        return Piece(number, len(content), str(done.headers["etag"]), sha256.hex())

    def pieces(self, key: str, upload: str) -> Sequence[Piece] | None:
        """The parts that are there, or None where there is no such upload any more."""
        try:
            with self._asking(key, GoneError):
                rows = _sdk.every(
                    self._client.list_multipart_upload_parts, *self._where, key, upload
                )
        except GoneError:
            return None
        return [
            Piece(row.part_number, row.size, row.etag, md5=base64.b64decode(row.md5).hex())
            for row in rows
        ]

    def complete(
        self, key: str, upload: str, pieces: Sequence[Piece], condition: str | None = None
    ) -> None:
        """Make an object of the parts."""
        details = self._models.CommitMultipartUploadDetails(
            parts_to_commit=[
                self._models.CommitMultipartUploadPartDetails(part_num=each.number, etag=each.etag)
                for each in pieces
            ]
        )
        with self._asking(key, GoneError):
            self._client.commit_multipart_upload(
                *self._where, key, upload, details, **_condition(condition)
            )

    def cancel(self, key: str, upload: str) -> None:
        """Throw an upload's parts away."""
        with self._asking(key), _ignoring(self._service_error, _is_absent):
            self._client.abort_multipart_upload(*self._where, key, upload)

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Uploads in parts that are not finished; the service lists those of the whole bucket."""
        with self._asking("its unfinished uploads"):
            rows = _sdk.every(self._client.list_multipart_uploads, *self._where)
        for row in rows:
            if row.object.startswith(prefix):
                yield Unfinished(row.object, row.upload_id, row.time_created.timestamp())

    def move(self, key: str, new: str) -> None:
        """Give an object another name; out of the archive it becomes an ordinary one again."""
        with self._asking(key):
            found = self._client.head_object(*self._where, key)
            if found.headers.get("storage-tier") == "Archive" and not _is_cold(new):
                # Under another name it would be archived again when the restore ends.
                self._copy(key, new)
                self._client.delete_object(*self._where, key)
                return
            self._client.rename_object(
                *self._where,
                self._models.RenameObjectDetails(
                    source_name=key, new_name=new, new_obj_if_none_match_e_tag=ABSENT
                ),
            )

    def state(self, key: str) -> State:
        """Whether an object can be read now."""
        try:
            with self._asking(key):
                found = self._client.head_object(*self._where, key)
        except NotFoundError:
            return "missing"
        said = (found.headers.get("archival-state") or "").lower()
        return {"archived": "archived", "restoring": "restoring"}.get(said, "available")  # type: ignore[return-value]

    def restore(self, key: str, hours: int) -> None:
        """Begin to bring an object back from the archive."""
        details = self._models.RestoreObjectsDetails(object_name=key, hours=hours)
        with self._asking(key), _ignoring(self._service_error, _is_on_its_way):
            self._client.restore_objects(*self._where, details)

    def versions(self, prefix: str) -> Iterator[Version]:
        """All versions of the objects below a prefix, those of one name newest first."""
        page: str | None = None
        seen: set[str] = set()
        while True:
            more = {"page": page} if page else {}
            with self._asking(prefix):
                answer = self._client.list_object_versions(
                    *self._where, prefix=prefix, fields="name,timeModified", limit=_PAGE, **more
                )
            for row in answer.data.items:
                when = row.time_modified.timestamp() if row.time_modified else 0.0
                latest = row.name not in seen
                seen.add(row.name)
                yield Version(row.name, row.version_id, bool(row.is_delete_marker), latest, when)
            page = answer.next_page
            if not answer.has_next_page:
                return

    def read_version(self, version: Version, limit: int) -> bytes:
        """A small object as it was."""
        with self._asking(version.key):
            found = self._client.get_object(*self._where, version.key, version_id=version.id)
        stream = _Stream(found, self._asking, version.key)
        try:
            return b"".join(iter(lambda: stream.read(limit), b""))
        finally:
            stream.close()

    def remove_version(self, version: Version) -> None:
        """Remove a version for good; of a deletion's mark, that brings the object back."""
        with self._asking(version.key), _ignoring(self._service_error, _is_absent):
            self._client.delete_object(*self._where, version.key, version_id=version.id)

    def _copy(self, key: str, new: str) -> None:
        """A copy in the standard tier, waited for: the service makes it in its own time."""
        namespace, bucket = self._where
        region = self._region
        done = self._client.copy_object(
            namespace,
            bucket,
            self._models.CopyObjectDetails(
                source_object_name=key,
                destination_region=region,
                destination_namespace=namespace,
                destination_bucket=bucket,
                destination_object_name=new,
                destination_object_storage_tier="Standard",
            ),
        )
        request = done.headers["opc-work-request-id"]
        deadline = time.monotonic() + _COPY_SECONDS
        while time.monotonic() < deadline:
            status = self._client.get_work_request(request).data.status
            if status == "COMPLETED":
                return
            if status in {"FAILED", "CANCELED"}:
                break
            time.sleep(_COPY_PAUSE)
        raise UnavailableError(
            f"{key} in {self.place} was not copied: work request {request}", hint="try again later"
        )

    def close(self) -> None:
        """Close every idle connection."""
        self._client.base_client.session.close()

    @property
    def _service_error(self) -> Any:
        return _sdk.module("exceptions").ServiceError

    @contextmanager
    def _asking(self, what: str, absent: type[OcimlpackError] = NotFoundError) -> Iterator[None]:
        """Map the service's refusals to our errors.

        Args:
            what: what is asked for: a key, or words.
            absent: what a 404 becomes.
        """
        with _sdk.explained(f"{what} in {self.place}"):
            try:
                yield
            except self._service_error as error:
                if meaning := self._meaning(error, what, absent):
                    raise meaning from error
                raise

    def _meaning(
        self, error: Any, what: str, absent: type[OcimlpackError]
    ) -> OcimlpackError | None:
        """What a refusal means to a bucket store; None where it means what it always does."""
        status, code = error.status, error.code
        if status == 412:
            return ConditionError(f"{what} in {self.place} was changed meanwhile", status=status)
        if status == 404 and code == _NO_BUCKET:
            return NotFoundError(
                f"there is no bucket {self._where[1]}, or it is not allowed to this identity",
                hint=f"ocimlpack bucket provision --bucket {self._where[1]}",
                status=status,
            )
        if status == 404:
            return absent(f"no {what} in {self.place}", status=status)
        if code == _NOT_RESTORED:
            # Tried again a second later it would be no different.
            return UnavailableError(
                f"{what} in {self.place} is archived, and not restored yet",
                hint="ocimlpack bucket restore REF brings it back, in about an hour",
                status=status,
                final=True,
            )
        if status == 409 and code in _CONCURRENT:
            return UnavailableError(
                f"others write {what} in {self.place} at the same time", status=status
            )
        if status == 400 and str(code).startswith("Unmatched"):
            return UnavailableError(f"{what} was damaged on its way to {self.place}", status=status)
        if status == 416:
            return IntegrityError(f"{what} in {self.place} is shorter than expected")
        return None


class _Stream:
    """An object's bytes as the SDK's answer brings them."""

    def __init__(self, answer: Any, asking: Callable[[str], Any], key: str) -> None:
        self._raw = answer.data.raw
        self._asking = asking
        self._key = key

    def read(self, size: int) -> bytes:
        """The next bytes as they come, at most `size`; none at the end."""
        try:
            with self._asking(self._key):
                return bytes(self._raw.read1(size))
        except OcimlpackError:
            raise
        except Exception as error:
            # The library behind the SDK has errors of its own, and an answer that breaks off is
            # one of them.
            raise UnavailableError(f"the connection broke: {error}") from error

    def skip(self, size: int) -> None:
        """Leave out the first bytes of an answer that has all of them."""
        while size > 0:
            piece = self.read(min(size, 1024 * 1024))
            if not piece:
                raise IntegrityError(f"{self._key} is shorter than expected")
            size -= len(piece)

    def abort(self) -> None:
        """End a `read` that waits, from any thread."""
        try:
            self._raw.shutdown()
        except (ValueError, RuntimeError, OSError, AttributeError):
            return  # it has ended by itself

    def close(self) -> None:
        """Give the connection back if all was read, else close it."""
        if self._raw.length_remaining:
            self._raw.close()
        self._raw.release_conn()


class _Nothing:
    """No bytes at all, of an object that is there."""

    def read(self, size: int) -> bytes:
        return b""

    def abort(self) -> None:
        return

    def close(self) -> None:
        return


@contextmanager
def _ignoring(kind: Any, is_fine: Callable[[Any], bool]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        if not is_fine(error):
            raise


def _is_cold(key: str) -> bool:
    return stage_of(key) not in {None, "active"}


def _is_on_its_way(error: Any) -> bool:
    return error.code in {"RestoreInProgress", "AlreadyRestored"}


def _is_absent(error: Any) -> bool:
    return bool(error.status == 404 and error.code != _NO_BUCKET)


def _condition(condition: str | None) -> dict[str, str]:
    if condition is None:
        return {}
    return {"if_none_match": ABSENT} if condition == ABSENT else {"if_match": condition}


def _stat(key: str, headers: Mapping[str, str]) -> Stat:
    modified = headers.get("last-modified")
    when = email.utils.parsedate_to_datetime(modified) if modified else datetime.fromtimestamp(0)
    return Stat(key, int(headers["content-length"]), headers["etag"], when.timestamp())


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
