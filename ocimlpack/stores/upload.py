"""Bringing a blob into a registry: whole, in parts, or by a mount from another repository."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ocimlpack.errors import IntegrityError, UnsupportedError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.stores import sessions
from ocimlpack.stores.base import Blob, identity
from ocimlpack.stores.learned import Host
from ocimlpack.stores.resumable import ResumableUpload, send_whole
from ocimlpack.stores.upload_api import UploadApi

if TYPE_CHECKING:
    from ocimlpack.stores._oras import Session


class Upload:
    """Uploads into one repository."""

    def __init__(
        self,
        session: Session,
        repository: str,
        host: Host,
        has: Callable[[Descriptor], bool],
        stored: Callable[[Descriptor], None],
    ) -> None:
        """Prepare.

        Args:
            session: the registry.
            repository: the repository's name there.
            host: what the registry takes.
            has: asks whether the repository has a blob.
            stored: is told of each blob that it has from now on by an upload that began before
                its digest was known.
        """
        self._api = UploadApi(session, repository, has)
        self._host = host
        self._stored = stored
        self._started: dict[Digest, str] = {}

    def begin(self, size: int, identity: str) -> ResumableUpload:
        """An upload of content whose digest isn't known yet."""
        return ResumableUpload(self._api, self._host, size, identity, stored=self._stored)

    def send(self, desc: Descriptor, blob: Blob) -> None:
        """Upload a blob: a small one in a single request, a large one so that it can go on.

        Raises:
            IntegrityError: the blob's bytes are not what the descriptor says; the registry keeps
                nothing of them.
            UnavailableError: the registry kept failing.
            UnsupportedError: it takes no requests of even one MiB.
        """
        location = self._started.pop(desc.digest, None)
        limits = self._host.limits
        small = desc.size < sessions.WORTHWHILE and limits.allows(desc.size)
        if small or limits.whole:
            try:
                send_whole(self._api, desc, blob, location)
                return
            except UnsupportedError as error:
                refused = error.status == 413 and error.side != "source"
                if not refused or (limits.whole and not self._host.doubts_whole()):
                    raise
                if not self._host.refused(desc.size):
                    raise
            location = None
        self._send_parts(desc, blob, location)

    def mount(self, desc: Descriptor, source: str) -> bool:
        """Ask the registry to take the blob over from another repository; False if it declines."""
        answer = self._api.mount(desc, source)
        if isinstance(answer, bool):
            return answer
        # Declined, with an upload session begun instead: the push that follows uses it.
        self._started[desc.digest] = answer
        return False

    def _send_parts(self, desc: Descriptor, blob: Blob, location: str | None) -> None:
        key = identity(blob) or str(desc.digest)
        first = ResumableUpload(self._api, self._host, desc.size, key, desc=desc, location=location)
        try:
            first.write(blob)
            first.commit(desc)
        except IntegrityError as error:
            if error.side == "source" or not first.resumed:
                raise
            # Once: what is wrong then is not what an earlier run, or a broken request, has left.
            first.abandon()
            self._api.tries().warn(f"{desc.digest} is sent again from its start: {error.message}")
            again = ResumableUpload(self._api, self._host, desc.size, key, desc=desc)
            again.write(blob)
            again.commit(desc)
