"""Checksums: those that a client sends are checked, those that it asks for are kept.

The SDK's docstrings of `put_object` and `upload_part` describe the headers and the texts of the
refusals. The code of the first was seen in public code that talks to the real service
(`UnmatchedContentMD5`); the others are formed like it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

import crc32c

from tests.cloud.answers import RefusedError
from tests.scripted.exchange import Request

ALGORITHMS = ("CRC32C", "SHA256", "SHA384")


def check(request: Request, body: bytes) -> dict[str, str]:
    """Compare a body with what its headers say of it.

    Returns:
        What is to be kept: `md5` and, where one was asked for, the checksum of that algorithm.

    Raises:
        RefusedError: they differ.
    """
    found = {"md5": md5(body)}
    _compare("MD5", found["md5"], request.header("content-md5"), "Content-MD5")
    algorithm = request.header("opc-checksum-algorithm").upper()
    if not algorithm:
        return found
    if algorithm not in ALGORITHMS:
        raise RefusedError(
            400, "InvalidChecksumAlgorithm", f"{algorithm} is not a known checksum algorithm"
        )
    header = f"opc-content-{algorithm.lower()}"
    found[algorithm] = of(algorithm, [body])
    _compare(algorithm, found[algorithm], request.header(header), header)
    return found


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def of(algorithm: str, pieces: Iterable[bytes]) -> str:
    """A checksum over all of the pieces."""
    hasher: Any
    if algorithm == "CRC32C":
        value = 0
        for piece in pieces:
            value = crc32c.crc32c(piece, value)
        return base64.b64encode(value.to_bytes(4)).decode()
    hasher = hashlib.new(algorithm.lower())
    for piece in pieces:
        hasher.update(piece)
    return base64.b64encode(hasher.digest()).decode()


def combined(algorithm: str, checksums: Iterable[str]) -> str:
    """What stands for an object of several parts: the checksum of the parts' checksums.

    The SDK calls it `opc-multipart-md5`, `opc-multipart-sha256`; the number of parts behind a dash
    is as in Oracle's "Using Multipart Uploads".
    """
    each = list(checksums)
    joined = b"".join(base64.b64decode(one) for one in each)
    whole = md5(joined) if algorithm == "md5" else of(algorithm, [joined])
    return f"{whole}-{len(each)}"


def headers(kept: dict[str, str], *, multipart: bool) -> dict[str, str]:
    """The headers that tell an object's checksums."""
    told = {"opc-multipart-md5" if multipart else "Content-MD5": kept["md5"]}
    for algorithm in ALGORITHMS:
        if algorithm in kept:
            # CRC32C is that of the whole object, also in parts: the SDK's DownloadManager.
            whole = algorithm == "CRC32C" or not multipart
            told[f"opc-{'content' if whole else 'multipart'}-{algorithm.lower()}"] = kept[algorithm]
    return told


def _compare(kind: str, computed: str, sent: str, header: str) -> None:
    if sent and sent != computed:
        raise RefusedError(
            400,
            f"UnmatchedContent{kind}",
            f"The computed {kind} of the request body ({computed}) does not match the {header} "
            f"header ({sent})",
        )
