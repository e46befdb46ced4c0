from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from ocimlpack.stores.objects.signature import Credentials, encode_path, encode_query, sign

# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
CREDENTIALS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
HOST = "https://examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {"Range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {
                "Date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            {},
            b"",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_examples_of_the_specification(
    method: str, target: str, headers: dict[str, str], body: bytes, signature: str
) -> None:
    payload = hashlib.sha256(body).hexdigest()
    signed = sign(method, HOST + target, headers, payload, CREDENTIALS, "us-east-1", NOW)
    assert signed["Authorization"].endswith(f"Signature={signature}")
    assert signed["Host"] == "examplebucket.s3.amazonaws.com"
    assert headers.items() <= signed.items()


def test_a_token_is_sent_and_signed() -> None:
    signed = sign("GET", HOST, {}, "0", Credentials("key", "secret", "token"), "eu-1", NOW)
    assert signed["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in signed["Authorization"]
    assert "Credential=key/20130524/eu-1/s3/aws4_request" in signed["Authorization"]


def test_what_is_special_in_an_address_is_encoded() -> None:
    assert encode_path("a b/ü+c~d.e") == "a%20b/%C3%BC%2Bc~d.e"
    assert encode_query({"b": "x y/z", "a": 1, "uploads": ""}) == "a=1&b=x%20y%2Fz&uploads="


def test_secrets_are_not_shown() -> None:
    assert repr(Credentials("key", "hidden", "hidden")) == "Credentials('key')"
