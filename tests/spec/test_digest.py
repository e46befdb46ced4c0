from __future__ import annotations

import hashlib

import pytest

from ocimlpack.errors import InvalidDigestError
from ocimlpack.spec.digest import Digest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_a_digest_writes_itself_as_it_was_read(text: str) -> None:
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha1:{HEX[:40]}",
        f"md5:{HEX[:32]}",
        f"sha512:{HEX}",
        f"sha256:{HEX}{HEX}",
        f" sha256:{HEX}",
        f"sha256:{HEX}\n",
        f"sha256: {HEX[1:]}",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX[:-1]}٣",  # a digit in Unicode, but not in hex
        f"sha256:0x{HEX[2:]}",
        "sha256:" + "../" * 21 + "a",
        f"sha256:sha256:{HEX[7:]}",
        f"blake3:{HEX}",
    ],
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(InvalidDigestError, match="not a digest"):
        Digest.parse(text)


def test_a_long_text_that_is_no_digest_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidDigestError) as caught:
        Digest.parse("x" * 100_000)
    assert len(caught.value.message) < 300


def test_control_bytes_in_a_bad_digest_do_not_reach_the_message_raw() -> None:
    with pytest.raises(InvalidDigestError) as caught:
        Digest.parse("sha256:\x1b[31m")
    assert "\x1b" not in caught.value.message


def test_the_digest_of_bytes_is_their_sha256() -> None:
    assert str(Digest.of(b"")) == (
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert Digest.of(b"a") == Digest.parse(f"sha256:{hashlib.sha256(b'a').hexdigest()}")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_digest_hashes_with_its_own_algorithm(algorithm: str) -> None:
    expected = hashlib.new(algorithm, b"content").hexdigest()
    hasher = Digest.parse(f"{algorithm}:{expected}").hasher()
    hasher.update(b"content")
    assert hasher.hexdigest() == expected


def test_equal_digests_are_one_key() -> None:
    assert len({Digest.of(b"a"), Digest.of(b"a"), Digest.of(b"b")}) == 2
