from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ocimlpack.errors import InputError
from ocimlpack.stores import settings
from ocimlpack.stores.settings import Bucket, FallbackEntry, Mirror, Settings

ROOT = Path(__file__).parents[2]
SCHEMA: Any = json.loads((ROOT / "manifests/schema/config.schema.json").read_text("utf-8"))
HOST = "registry.example.com"

MALFORMED = [
    ("mirors = 1", "mirors"),
    ("mirrors = 1", "mirrors is not a table"),
    (f'[mirrors]\n"{HOST}" = "http://127.0.0.1:5000"', f'mirrors."{HOST}" is not a list'),
    (f'[mirrors]\n"{HOST}" = [7]', "entry 1 is neither an address nor a table"),
    (f'[mirrors]\n"{HOST}" = ["http://a.example", "b.example"]', "entry 2: not a mirror's address"),
    (f'[mirrors]\n"{HOST}" = [{{ ca-file = "ca.pem" }}]', "entry 1 has no url"),
    (f'[mirrors]\n"{HOST}" = [{{ url = 7 }}]', "entry 1: url is not text"),
    (f'[mirrors]\n"{HOST}" = [{{ url = "http://a.example", ca_file = "x" }}]', "'ca_file'"),
    ('[mirrors]\n"https://registry.example.com" = []', "not a registry's host"),
    ("s3 = 1", "s3 is not a table"),
    ('[s3]\nmodels = "https://s3.example.com"', 's3."models" is not a table'),
    ('[s3.models]\nendpiont = "x"', "'endpiont'"),
    ("[s3.models]\nregion = 7", 's3."models": region is not text'),
    ('[s3.models]\naddressing = "sideways"', "addressing is neither path nor virtual"),
    ('[s3."a/b"]\nregion = "x"', "not a bucket's name"),
]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file, which is not there yet."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(path))
    return path


def refused(text: bytes, config: Path) -> InputError:
    config.write_bytes(text)
    with pytest.raises(InputError) as caught:
        settings.load()
    assert str(config) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


# The file


def test_it_is_in_the_users_configuration_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings.path() == tmp_path / "ocimlpack/config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert settings.path() == Path.home() / ".config/ocimlpack/config.toml"
    monkeypatch.setenv("OCIMLPACK_CONFIG", "~/mine.toml")
    assert settings.path() == Path.home() / "mine.toml"


def test_there_need_not_be_one() -> None:
    assert settings.load() == Settings()


def test_one_that_was_named_has_to_be_there(config: Path) -> None:
    with pytest.raises(InputError, match="OCIMLPACK_CONFIG"):
        settings.load()


@pytest.mark.parametrize("content", [b"", b"# nothing yet\n", b"[mirrors]\n", b"\xef\xbb\xbf"])
def test_one_that_says_nothing_is_fine(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    assert not settings.load().mirrors


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"mirrors = \n", "line 1"), (b'a = "\xff"', "TOML"), (b"a = " + b"[" * 9999, "TOML")],
    ids=["no value", "no text", "too deep"],
)
def test_what_is_no_toml_is_one_sentence(config: Path, content: bytes, said: str) -> None:
    assert said in refused(content, config).message


def test_what_can_not_be_read_is_one_sentence(config: Path) -> None:
    config.mkdir()
    with pytest.raises(InputError, match="can't read"):
        settings.load()


@pytest.mark.parametrize(("text", "said"), MALFORMED)
def test_what_is_not_understood_is_named(config: Path, text: str, said: str) -> None:
    assert said in refused(text.encode(), config).message


def test_unknown_keys_come_with_those_that_are_known(config: Path) -> None:
    assert refused(b"[nonsense]", config).hint == "known are: fallback, mirrors, oci, s3"


def test_what_is_settled_for_oracle_cloud(config: Path) -> None:
    config.write_text('[oci]\nprofile = "PROD"\nregion = "fra"\n')
    assert settings.load().oci == {"profile": "PROD", "region": "fra"}
    assert "oci is not a table" in refused(b"oci = 1", config).message
    assert "oci: profile is not text" in refused(b"[oci]\nprofile = 1", config).message
    assert "unknown key: 'regoin'" in refused(b'[oci]\nregoin = "x"', config).message


# Fallback


def test_the_longest_beginning_of_a_name_decides(config: Path) -> None:
    config.write_text(
        f"""
        [fallback]
        "{HOST}" = "oci:/all/"
        "{HOST}/team" = {{ location = "oci:/team", mode = "mirror" }}
        """
    )
    found = settings.load()
    assert found.fallback_of(HOST, "other/a") == FallbackEntry("oci:/all/other/a")
    assert found.fallback_of(HOST, "team/a/b") == FallbackEntry("oci:/team/a/b", "mirror")
    assert found.fallback_of(HOST, "team") == FallbackEntry("oci:/team", "mirror")
    assert found.fallback_of(HOST, "teams/a") == FallbackEntry("oci:/all/teams/a")
    assert found.fallback_of("other.example.com", "team/a") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fallback = 1", "fallback is not a table"),
        ('[fallback]\n"a.b" = 1', "neither a location nor a table"),
        ('[fallback]\n"a.b" = {mode = "mirror"}', "neither a location nor a table"),
        ('[fallback]\n"a.b" = {location = "oci:x", mode = "always"}', "no mode is called 'always'"),
        ('[fallback]\n"a.b" = {location = "oci:x", when = "x"}', "unknown key: 'when'"),
        ('[fallback]\n"a b" = "oci:x"', "in fallback"),
        ('[fallback]\n"a.b/UPPER" = "oci:x"', "in fallback"),
    ],
)
def test_a_fallback_that_is_none(config: Path, text: str, said: str) -> None:
    assert said in refused(text.encode(), config).message


# Mirrors


def test_mirrors_are_kept_in_order(config: Path) -> None:
    config.write_text(
        f"""
        [mirrors]
        "{HOST}" = [
            "http://127.0.0.1:5000",
            "https://Mirror.example.com/cache/models/",
            {{ url = "https://[::1]:8443", ca-file = "ca.pem" }},
        ]
        "localhost:5000" = []
        "*" = ["http://127.0.0.1:30020"]
        """
    )
    found = settings.load()
    assert found.mirrors_of(HOST) == (
        Mirror("http://127.0.0.1:5000", "127.0.0.1:5000", plain_http=True),
        Mirror(
            "https://Mirror.example.com/cache/models/", "mirror.example.com", "cache/models/", False
        ),
        Mirror("https://[::1]:8443", "[::1]:8443", ca_file=str(config.parent / "ca.pem")),
    )
    assert found.mirrors_of("localhost:5000") == ()
    assert [each.host for each in found.mirrors_of("other.example.com")] == ["127.0.0.1:30020"]


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("https://a.example", ""),
        ("https://a.example/", ""),
        ("https://a.example/v2", ""),
        ("https://a.example/v2/", ""),
        ("https://a.example/cache", "cache/"),
        ("https://a.example/v2/cache/hub/", "cache/hub/"),
        ("https://a.example/v2cache", "v2cache/"),
    ],
)
def test_a_path_stands_before_the_repository(url: str, prefix: str) -> None:
    assert Mirror.parse(url).prefix == prefix


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "ftp://a.example",
        "http://",
        "http:///cache",
        "https://a.example:port",
        "https://a.example:70000",
        "https://a b.example",
        "https://a.example/Cache",
        "https://a.example/../x",
        "https://a.example/a//b",
        "https://a.example?ns=b.example",
        "https://a.example/cache?ns=b.example",
        "https://a.example/#x",
        "https://a.example\n",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="mirror's address"):
        Mirror.parse(url)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        Mirror.parse("https://mia:open-sesame@a.example/cache")
    assert "sesame" not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint == "ocimlpack login a.example"


# The schema


@pytest.mark.parametrize(("text", "said"), MALFORMED)
def test_the_schema_refuses_what_is_not_understood(text: str, said: str) -> None:
    assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(tomllib.loads(text))), said


def test_the_example_is_accepted_and_fits_the_schema(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    example = ROOT / "manifests/config.toml"
    jsonschema.Draft202012Validator(SCHEMA).validate(tomllib.loads(example.read_text("utf-8")))
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(example))
    found = settings.load()
    assert len(found.mirrors_of(HOST)) == 2
    assert found.mirrors_of("any.example.com")
    assert found.oci["compartment"].startswith("ocid1.compartment.")


def test_the_schema_has_all_keys() -> None:
    assert SCHEMA["properties"].keys() == settings._TABLES.keys()
    assert tuple(SCHEMA["properties"]["oci"]["properties"]) == settings._OCI_KEYS
    entry = SCHEMA["properties"]["fallback"]["additionalProperties"]["oneOf"][1]
    assert tuple(entry["properties"]) == settings._FALLBACK_KEYS
    table = SCHEMA["$defs"]["mirror"]["oneOf"][1]
    assert tuple(table["properties"]) == settings._MIRROR_KEYS
    assert tuple(SCHEMA["$defs"]["bucket"]["properties"]) == settings._BUCKET_KEYS


# Buckets


def test_a_bucket_is_where_it_is_said_to_be(config: Path) -> None:
    config.write_text(
        """
        [s3.models]
        endpoint = "https://s3.example.com"
        profile = "work"

        [s3."*"]
        region = "eu-1"
        addressing = "virtual"
        """
    )
    found = settings.load()
    assert found.bucket("models") == Bucket("https://s3.example.com", profile="work")
    assert found.bucket("others") == Bucket(region="eu-1", addressing="virtual")
    assert Settings().bucket("models") == Bucket()
