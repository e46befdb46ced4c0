"""What a reader reads from: the manifest, and the small content that it names."""

from __future__ import annotations

from typing import Any

from ocimlpack.errors import InvalidContentError, NotFoundError
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.gojson import decode
from ocimlpack.spec.manifest import MAX_SIZE, Manifest
from ocimlpack.stores.base import Blob, ReadableStore
from ocimlpack.stores.verify import read_all


class Source:
    """An artifact that is to be understood.

    Attributes:
        manifest: it.
    """

    def __init__(self, manifest: Manifest, store: ReadableStore) -> None:
        """Nothing is read yet."""
        self.manifest = manifest
        self._store = store
        self._config: bytes | None = None

    def config(self) -> bytes:
        """The config's bytes, read once.

        Raises:
            InvalidContentError: it is too large for one.
            NotFoundError: it is not there.
            IntegrityError: it is not what the manifest says.
        """
        if self._config is None:
            desc = self.manifest.config
            if desc.size > MAX_SIZE:
                raise InvalidContentError(
                    f"the config {desc.digest} has {desc.size:,} bytes; "
                    f"no more than {MAX_SIZE:,} are read",
                    digest=str(desc.digest),
                )
            self._config = read_all(self._store.fetch(desc), desc)
        return self._config

    def document(self) -> dict[str, Any]:
        """The config, which has to be a JSON object.

        Raises:
            InvalidContentError: it is something else.
            OcimlpackError: as `config` says.
        """
        value = decode(self.config(), "the config")
        if not isinstance(value, dict):
            raise InvalidContentError("the config is not a JSON object")
        return value


class Nowhere:
    """A store that has nothing: what is understood from it, the manifest alone says."""

    def resolve(self, name: str) -> Descriptor:
        """Nothing has a name here.

        Raises:
            NotFoundError: always.
        """
        raise NotFoundError(f"{name} is not here")

    def exists(self, desc: Descriptor) -> bool:
        """Nothing does."""
        return False

    def fetch(self, desc: Descriptor) -> Blob:
        """Nothing is here.

        Raises:
            NotFoundError: always.
        """
        raise NotFoundError(f"{desc.digest} is not here", digest=str(desc.digest))

    def close(self) -> None:
        """There is nothing to let go of."""
