"""Digests: `algorithm:hex`, checked on the way in so that one is safe in a path or a URL.

Grammar: https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests,
narrowed to the two registered algorithms.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ocimlpack.errors import InvalidDigestError

if TYPE_CHECKING:
    from hashlib import _Hash

_HEX_LENGTH: Final = {"sha256": 64, "sha512": 128}
_HEX: Final = re.compile(r"[0-9a-f]+\Z")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content digest. `str()` gives `sha256:…`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """The only way from text.

        Raises:
            InvalidDigestError: another algorithm, another length, or anything but lower-case hex.
        """
        algorithm, colon, hexes = text.partition(":")
        length = _HEX_LENGTH.get(algorithm)
        if not colon or length is None:
            raise InvalidDigestError(
                f"not a digest: {_shown(text)} (expected sha256: and 64 hex digits)"
            )
        if len(hexes) != length or not _HEX.match(hexes):
            raise InvalidDigestError(
                f"not a digest: {_shown(text)} ({algorithm} takes {length} lower-case hex digits, "
                f"this has {len(hexes)} characters)"
            )
        return cls(algorithm, hexes)

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The SHA-256 digest of some bytes."""
        return cls("sha256", hashlib.sha256(content).hexdigest())

    def hasher(self) -> _Hash:
        """A fresh hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
