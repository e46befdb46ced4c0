"""An image layout behind a web server, to read from: no registry, and no cloud's own software.

Any server of files will do, or an address by which a bucket lets itself be read. A bucket's blobs
lie once for all repositories, those of a single layout beside its index; both places are looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocimlpack.errors import NotFoundError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.manifest import MAX_SIZE
from ocimlpack.spec.mediatypes import is_manifest
from ocimlpack.stores import home
from ocimlpack.stores.base import Blob, BytesBlob
from ocimlpack.stores.download import RegistryBlob
from ocimlpack.stores.layout_reader import MAX_INDEX, LayoutReader
from ocimlpack.stores.learned import Host

if TYPE_CHECKING:
    from ocimlpack.stores._oras import Session

_FOUND: Final = (200,)


class WebLayout(LayoutReader):
    """A `ReadableStore` of the repository of that name.

    Attributes:
        place: the server, without the path: that may be a secret.
    """

    def __init__(self, session: Session, base: str, repository: str) -> None:
        """Prepare; nothing is asked.

        Args:
            session: the server.
            base: what the paths there begin with; ends with a slash.
            repository: the repository. Its layout is at its name below the base, at what follows
                the name's first part, or at the base itself.
        """
        super().__init__(session.host)
        self._session = session
        self._repository = repository
        self._host = Host(home.hosts(), session.host)
        inner = repository.partition("/")[2]  # in OCIR, the first part is the tenancy's namespace
        self._roots = [f"{base}{name}/" if name else base for name in (repository, inner, "")]
        self._blobs = dict.fromkeys([base, *self._roots])  # the likeliest first

    def fetch(self, desc: Descriptor) -> Blob:
        """The content: a manifest at once, a blob when it is opened."""
        if is_manifest(desc.media_type):
            return BytesBlob(self._read_manifest(desc.digest))
        return self._blob(desc)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _index_content(self) -> bytes:
        for root in self._roots:
            try:
                return self._read(f"{root}index.json", MAX_INDEX)
            except NotFoundError:
                continue
        raise NotFoundError(f"{self.place} has no image layout for {self._repository}")

    def _find(self, digest: Digest) -> tuple[Blob, int] | None:
        try:
            raw = self._read_manifest(digest)
        except NotFoundError:
            return None
        return BytesBlob(raw), len(raw)

    def _read_manifest(self, digest: Digest) -> bytes:
        for root in list(self._blobs):
            try:
                raw = self._read(_path(root, digest), MAX_SIZE)
            except NotFoundError:
                continue
            self._prefer(root)
            return raw
        raise NotFoundError(f"{self.place} has no {digest}", digest=str(digest))

    def _blob(self, desc: Descriptor) -> Blob:
        """A blob where it lies; whoever has brought something is asked first the next time."""
        for root in list(self._blobs):
            path = _path(root, desc.digest)
            answer = self._session.request(
                "HEAD", path, what=f"the blob {desc.digest}", expect=(200, 404, 405)
            )
            answer.close()
            if answer.status != 404:
                self._prefer(root)
                return RegistryBlob(self._session, self._repository, desc, self._host, path)
        raise NotFoundError(f"{self.place} has no {desc.digest}", digest=str(desc.digest))

    def _prefer(self, root: str) -> None:
        self._blobs = dict.fromkeys([root, *self._blobs])

    def _read(self, path: str, limit: int) -> bytes:
        name = path.rpartition("/")[2]
        return self._session.read(path, what=name, scope="", limit=limit, expect=_FOUND)[1]


def _path(root: str, digest: Digest) -> str:
    return f"{root}blobs/{digest.algorithm}/{digest.hex}"
