from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable

import pytest

from ocimlpack.errors import InvalidContentError
from ocimlpack.model.headers.zip_archive import ZipArchive

FILES = {"a/data.pkl": b"abc", "b.bin": bytes(range(256)) * 40, "empty": b"", "é.txt": b"x"}


def zipped(files: dict[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return content.getvalue()


def opened(content: bytes) -> ZipArchive:
    return ZipArchive(io.BytesIO(content), len(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_what_was_put_in(method: int) -> None:
    archive = opened(zipped(method=method))
    assert {
        name: archive.content(member, 20_000) for name, member in archive.members.items()
    } == FILES
    big = archive.members["b.bin"]
    assert archive.head(big, 300) == FILES["b.bin"][:300]
    assert big.is_stored == (method == zipfile.ZIP_STORED)
    if big.is_stored:
        assert archive.opened(big).read() == FILES["b.bin"]


def test_archives_with_wide_numbers_are_read() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, archive.open("big", "w", force_zip64=True) as to:
        to.write(b"12345")
    raw = content.getvalue()
    # As if there were too many bytes for the narrow fields, which the extra field then has.
    at = raw.rindex(b"PK\x01\x02")
    extra = struct.pack("<HHQQ", 1, 16, 5, 5)
    entry = bytearray(raw[at : at + 46])
    entry[20:28] = b"\xff" * 8
    entry[30:32] = struct.pack("<H", len(extra))
    directory = bytes(entry) + b"big" + extra
    wide = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(directory), at)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at + len(directory), 1)
    end = b"PK\x05\x06" + b"\0" * 4 + b"\xff" * 12 + b"\0\0"
    found = opened(raw[:at] + directory + wide + locator + end)
    assert found.content(found.members["big"], 10) == b"12345"


def test_an_archive_cut_anywhere_is_refused() -> None:
    raw = zipped()
    for length in range(len(raw)):
        with pytest.raises(InvalidContentError):
            opened(raw[:length])


def changed(at: Callable[[bytes], int], value: bytes) -> bytes:
    raw = bytearray(zipped({"a": b"aaaa", "b": b"bbbb"}, zipfile.ZIP_STORED))
    place = at(bytes(raw))
    raw[place : place + len(value)] = value
    return bytes(raw)


def entry(field: int) -> Callable[[bytes], int]:
    return lambda raw: raw.rindex(b"PK\x01\x02") + field


def ending(field: int) -> Callable[[bytes], int]:
    return lambda raw: raw.rindex(b"PK\x05\x06") + field


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no directory"),
        (b"PK\x03\x04" + bytes(100), "no directory"),
        (changed(entry(46), b"a"), "names a member twice"),
        (changed(entry(42), struct.pack("<I", 10)), "its members overlap"),
        (changed(entry(20), struct.pack("<II", 500, 500)), "lie beyond its directory"),
        (changed(entry(42), struct.pack("<I", 2**31)), "lie beyond its directory"),
        (changed(entry(28), struct.pack("<H", 60_000)), "its directory is damaged"),
        (changed(entry(0), b"XX"), "its directory is damaged"),
        (changed(ending(12), struct.pack("<I", 2**31)), "lies beyond its end"),
        (changed(ending(16), struct.pack("<I", 2**31)), "lies beyond its end"),
        (changed(ending(10), struct.pack("<H", 3)), "its directory is damaged"),
    ],
)
def test_archives_that_are_wrong_are_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidContentError, match=reason):
        opened(raw)


def test_a_stored_member_has_one_size() -> None:
    raw = bytearray(zipped({"a": b"12345"}, zipfile.ZIP_STORED))
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 6)
    with pytest.raises(InvalidContentError, match="has 5 bytes, and is said to have 6"):
        opened(bytes(raw))


def test_a_directory_out_of_proportion_is_not_read() -> None:
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 9, 9, 2**25 + 1, 0, 0)
    with pytest.raises(InvalidContentError, match="9 members, 33,554,433 bytes"):
        opened(bytes(2**25 + 2**20) + end)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (changed(entry(8), struct.pack("<H", 1)), "encrypted or compressed in an unusual way"),
        (changed(entry(10), struct.pack("<H", 12)), "encrypted or compressed in an unusual way"),
        (changed(entry(16), struct.pack("<I", 1)), "'b' is damaged"),
        (changed(lambda raw: raw.index(b"PK\x03\x04", 4), b"XX"), "'b' is damaged"),
        (changed(entry(10), struct.pack("<H", 8)), "'b' is damaged"),
    ],
)
def test_members_that_are_wrong_are_refused(raw: bytes, reason: str) -> None:
    archive = opened(raw)
    with pytest.raises(InvalidContentError, match=reason):
        archive.content(archive.members["b"], 100)


def test_a_member_that_unpacks_to_more_than_it_says_does_not_fill_memory() -> None:
    raw = bytearray(zipped({"bomb": bytes(20_000_000)}))
    at = raw.rindex(b"PK\x01\x02")
    archive = opened(bytes(raw))
    with pytest.raises(InvalidContentError, match="has 20,000,000 bytes; no more than 1,000 are"):
        archive.content(archive.members["bomb"], 1000)
    raw[at + 24 : at + 28] = struct.pack("<I", 500)
    archive = opened(bytes(raw))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidContentError, match="'bomb' is damaged"):
            archive.content(archive.members["bomb"], 1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_member_s_checksum_is_held_against_it() -> None:
    raw = zipped({"a": b"hello"}, zipfile.ZIP_STORED)
    assert zlib.crc32(b"hello") != zlib.crc32(b"hullo")
    archive = opened(raw.replace(b"hello", b"hullo"))
    with pytest.raises(InvalidContentError, match="'a' is damaged"):
        archive.content(archive.members["a"], 100)
