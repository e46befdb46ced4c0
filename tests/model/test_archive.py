from __future__ import annotations

import gzip
import io
import random
import tarfile

import pytest

from ocimlpack.errors import IntegrityError, InvalidContentError
from ocimlpack.model import archive
from ocimlpack.spec.descriptor import Descriptor
from ocimlpack.spec.mediatypes import Encoding
from ocimlpack.stores.base import CHUNK
from tests.model.artifacts import member, tar


def read(
    content: bytes, encoding: Encoding = "tar", desc: Descriptor | None = None
) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    stream = io.BytesIO(content)
    desc = desc or Descriptor.of(content, "a/b")
    for item, pieces in archive.read(stream, desc, encoding):
        found[item.path] = None if item.is_folder else b"".join(pieces)
    assert not stream.read(1)
    return found


FOLDER = {"type": tarfile.DIRTYPE}
LONG = "/".join(["folder" * 10] * 9) + "/" + "n" * 200


@pytest.mark.parametrize(
    "format",
    [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT],
    ids=["ustar", "gnu", "pax"],
)
@pytest.mark.parametrize("encoding", ["tar", "tar+gzip"])
def test_files_and_folders_are_read_in_every_format(format: int, encoding: Encoding) -> None:
    large = random.Random(1).randbytes(3 * CHUNK + 17)
    packed = tar(
        member("sub", **FOLDER),
        member("sub/größe.bin", b"x" * 512),
        member("empty"),
        member("large", large),
        member("sub/leaf/" + "p" * 90, b"prefix"),
        format=format,
    )
    if encoding == "tar+gzip":
        packed = gzip.compress(packed)
    assert read(packed, encoding) == {
        "sub": None,
        "sub/größe.bin": b"x" * 512,
        "empty": b"",
        "large": large,
        "sub/leaf/" + "p" * 90: b"prefix",
    }


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(format: int) -> None:
    assert read(tar(member(LONG, b"x"), member("b"), format=format)) == {LONG: b"x", "b": b""}


def test_names_lose_a_dot_at_their_beginning_and_a_slash_at_their_end() -> None:
    packed = tar(member("./", **FOLDER), member("./a", b"1"), member("b/", **FOLDER))
    assert read(packed) == {"a": b"1", "b": None}


def test_a_content_that_is_not_read_is_passed_over() -> None:
    packed = tar(member("a", b"x" * 5000), member("b", b"y"))
    items = archive.read(io.BytesIO(packed), Descriptor.of(packed, "a/b"), "tar")
    assert [item.path for item, _ in items] == ["a", "b"]


@pytest.mark.parametrize("mode", [0o755, 0o6711, 0o001])
def test_only_the_executable_bits_of_a_mode_count(mode: int) -> None:
    packed = tar(member("a", mode=mode), member("b", mode=0o6666))
    found = archive.read(io.BytesIO(packed), Descriptor.of(packed, "a/b"), "tar")
    assert [item.executable for item, _ in found] == [True, False]


def test_padding_of_any_length_after_the_end_is_read_and_verified() -> None:
    short = tar(member("a", b"1"))[: 1024 + 1024]
    for packed in (short[:1024], short, short + bytes(300_000)):
        assert read(packed) == {"a": b"1"}
    zipped = gzip.compress(short[:700]) + gzip.compress(short[700:]) + bytes(100)
    assert read(zipped, "tar+gzip") == {"a": b"1"}
    assert read(b"") == {}


def test_what_comes_after_the_end_counts_for_the_digest() -> None:
    packed = tar(member("a", b"1"))
    with pytest.raises(IntegrityError, match="has the digest"):
        read(packed[:-1] + b"x", desc=Descriptor.of(packed, "a/b"))


@pytest.mark.parametrize(
    ("info", "what"),
    [
        (member("l", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "'l' is a symbolic link"),
        (member("l", type=tarfile.SYMTYPE, linkname="x" * 300), "is a "),
        (member("h", type=tarfile.LNKTYPE, linkname="a"), "'h' is a hard link"),
        (member("p", type=tarfile.FIFOTYPE), "'p' is a named pipe"),
        (member("c", type=tarfile.CHRTYPE), "'c' is a device"),
        (member("b", type=tarfile.BLKTYPE), "'b' is a device"),
        (member("s", type=tarfile.GNUTYPE_SPARSE), "'s' is a sparse file"),
        (member("?", type=b"Q"), "an entry of type b'Q'"),
        (member("s", b"x", pax_headers={"GNU.sparse.major": "1"}), "sparse"),
    ],
)
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_nothing_but_files_and_folders_is_accepted(
    info: tuple[tarfile.TarInfo, bytes], what: str, format: int
) -> None:
    if info[0].pax_headers and format != tarfile.PAX_FORMAT:
        format = tarfile.PAX_FORMAT
    with pytest.raises(InvalidContentError, match=what):
        read(tar(member("a", b"1"), info, format=format))


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "a\\b", "C:x", ".git/config", "NUL"]
)
@pytest.mark.parametrize("is_folder", [True, False])
def test_unsafe_names_are_refused(name: str, is_folder: bool) -> None:
    with pytest.raises(InvalidContentError, match="unsafe file name"):
        read(tar(member(name, **(FOLDER if is_folder else {}))))


@pytest.mark.parametrize("name", ["", ".", "..", "./.."])
def test_a_file_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidContentError, match="unsafe file name"):
        read(tar(member(name, b"x")))


def test_a_name_that_is_not_utf8_is_refused() -> None:
    info, content = member("caf\udce9", b"x")
    with pytest.raises(InvalidContentError, match="not UTF-8"):
        read(tar((info, content), format=tarfile.GNU_FORMAT))


def test_an_archive_that_was_damaged_on_its_way_is_said_to_be_that() -> None:
    packed = tar(member("a", b"x" * 3000), gz=True)
    desc = Descriptor.of(packed, "a/b")
    damaged = packed[:20] + bytes([packed[20] ^ 0xFF]) + packed[21:]
    for wrong in (damaged, packed[:-9], packed[:30], b"", b"x" * len(packed)):
        with pytest.raises(IntegrityError) as caught:
            read(wrong, "tar+gzip", desc)
        assert not isinstance(caught.value, InvalidContentError)


@pytest.mark.parametrize("encoding", ["tar", "tar+gzip"])
def test_what_is_no_archive_is_refused(encoding: Encoding) -> None:
    with pytest.raises(InvalidContentError, match="archive sha256:"):
        read(b"not an archive" * 100, encoding)


@pytest.mark.parametrize("cut", [100, 512, 600, 1300])
def test_an_archive_that_breaks_off_is_refused(cut: int) -> None:
    packed = tar(member("a", b"x" * 1000), member("b", b"y"))
    whole = {512: "file", 100: "header", 600: "file", 1300: "file"}
    with pytest.raises(InvalidContentError, match=f"breaks off in the middle of a.*{whole[cut]}"):
        read(packed[:cut])


def test_a_gzip_stream_that_breaks_off_is_refused() -> None:
    packed = tar(member("a", random.Random(2).randbytes(5000)), gz=True)
    with pytest.raises(InvalidContentError, match="breaks off"):
        read(packed[:2000], "tar+gzip")
    with pytest.raises(InvalidContentError, match="breaks off"):
        read(packed[:-4], "tar+gzip")


def test_headers_are_checked() -> None:
    packed = bytearray(tar(member("a", b"1")))
    packed[0] ^= 1
    with pytest.raises(InvalidContentError, match="checksum"):
        read(bytes(packed))


def raw_header(size: bytes = b"00000000001\0", kind: bytes = b"0", name: bytes = b"a") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.parametrize(
    "size",
    [b"0000000000x\0", b"-0000000001\0", b"\xff" * 12, b"00000000009\0", b"1 1\0" + b"\0" * 8],
)
def test_numbers_that_can_not_be_read_are_refused(size: bytes) -> None:
    with pytest.raises(InvalidContentError, match="number"):
        read(raw_header(size) + bytes(1024))


def test_a_size_in_binary_is_read() -> None:
    block = raw_header(b"\x80" + bytes(10) + b"\x05")
    assert read(block + b"hello" + bytes(507 + 1024)) == {"a": b"hello"}


def test_a_size_beyond_the_archives_end_is_refused_and_takes_no_memory() -> None:
    with pytest.raises(InvalidContentError, match="breaks off"):
        read(raw_header(b"\x80\0\0\0\x7f" + b"\xff" * 7) + bytes(512))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L"])
def test_a_header_of_enormous_size_is_refused(kind: bytes) -> None:
    with pytest.raises(InvalidContentError, match="extended header has"):
        read(raw_header(b"77777777777\0", kind) + bytes(4096))


@pytest.mark.parametrize(
    "records",
    [
        b"x",
        b"5 a=1\n",
        b"99 path=x\n",
        b"8 path=x",
        b"9 pathxx\n",
        b"0 \n",
        b"12 size=1e9\n",
        b"10 size=-1\n",
    ],
)
def test_extended_headers_that_can_not_be_read_are_refused(records: bytes) -> None:
    header = raw_header(f"{len(records):011o}\0".encode(), b"x") + records.ljust(512, b"\0")
    with pytest.raises(InvalidContentError, match="can't be read"):
        read(header + raw_header() + b"1".ljust(512, b"\0") + bytes(1024))


def test_one_name_for_all_files_is_refused_and_a_comment_is_not() -> None:
    def with_global(record: bytes) -> bytes:
        header = raw_header(f"{len(record):011o}\0".encode(), b"g") + record.ljust(512, b"\0")
        return header + tar(member("a", b"1"))

    assert read(with_global(b"13 comment=x\n")) == {"a": b"1"}
    with pytest.raises(InvalidContentError, match="to all files"):
        read(with_global(b"10 path=b\n"))


def test_a_block_of_zeros_between_files_is_refused() -> None:
    one, other = tar(member("a", b"1")), tar(member("b", b"2"))
    with pytest.raises(InvalidContentError, match="goes on"):
        read(one[:1024] + bytes(512) + other)


def test_a_folder_with_content_is_refused() -> None:
    with pytest.raises(InvalidContentError, match="has content"):
        read(raw_header(kind=b"5") + bytes(2048))


def test_an_archive_that_unpacks_to_out_of_proportion_much_is_refused() -> None:
    bomb = gzip.compress(tar(member("zeros", bytes(70 * 1024 * 1024))), 1)
    with pytest.raises(InvalidContentError, match="unpack to more than 67,108,864"):
        read(bomb, "tar+gzip")


def test_what_unpacks_to_much_in_proportion_is_not() -> None:
    assert archive.unpacked_limit(10) == 64 * 1024 * 1024
    assert archive.unpacked_limit(10**9) == 10**11


@pytest.mark.parametrize("seed", range(30))
def test_damage_anywhere_ends_in_an_error_of_ours_or_in_the_same_files(seed: int) -> None:
    chance = random.Random(seed)
    packed = bytearray(tar(member("a/b", b"x" * 700), member(LONG, b"y"), member("c", b"z")))
    for _ in range(chance.randint(1, 4)):
        packed[chance.randrange(len(packed))] = chance.randrange(256)
    try:
        found = read(bytes(packed))
    except InvalidContentError:
        return
    assert set(map(len, found)) <= {len(LONG), 3, 1}
