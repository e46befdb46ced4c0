from __future__ import annotations

import pytest

from ocimlpack.errors import InvalidReferenceError
from ocimlpack.spec.digest import Digest
from ocimlpack.spec.reference import Kind, Reference, check_host, check_repository, check_tag

DIGEST = Digest.of(b"manifest")
WIDE = Digest.parse("sha512:" + "ab" * 64)


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("localhost:5000/team/minilm:1.0", "localhost:5000", "team/minilm", "1.0", None),
        ("localhost/minilm", "localhost", "minilm", None, None),
        ("registry.example/a", "registry.example", "a", None, None),
        ("registry:5000/a", "registry:5000", "a", None, None),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000", "a/b/c", "x", None),
        ("[::1]:5000/a:1", "[::1]:5000", "a", "1", None),
        ("[::1]/a", "[::1]", "a", None, None),
        ("r.io/a.b_c__d-e---f/g0:v1.2.3-rc_1", "r.io", "a.b_c__d-e---f/g0", "v1.2.3-rc_1", None),
        (f"r.io/a@{DIGEST}", "r.io", "a", None, DIGEST),
        (f"r.io/a@{WIDE}", "r.io", "a", None, WIDE),
        (f"r.io/a:1@{DIGEST}", "r.io", "a", "1", DIGEST),
        ("r.io/a:_" + "x" * 127, "r.io", "a", "_" + "x" * 127, None),
        ("r.io/" + "a" * 255, "r.io", "a" * 255, None, None),
    ],
)
def test_a_registry(
    text: str, host: str, repository: str, tag: str | None, digest: Digest | None
) -> None:
    parsed = Reference.parse(text)
    assert parsed == Reference(Kind.REGISTRY, host, repository, tag, digest)
    assert str(parsed) == text
    assert Reference.parse(f"oci://{text}") == parsed


def test_a_host_without_a_dot_is_a_registry_when_the_scheme_says_so() -> None:
    assert Reference.parse("oci://registry/a").host == "registry"
    assert Reference.parse("registry/a").kind is Kind.LOCAL


def test_hosts_are_the_same_in_any_case() -> None:
    assert Reference.parse("Registry.Example:5000/a").host == "registry.example:5000"


@pytest.mark.parametrize(
    ("text", "path", "tag", "digest"),
    [
        ("dir", "dir", None, None),
        ("./dir:1.0", "./dir", "1.0", None),
        ("/abs/dir:1.0", "/abs/dir", "1.0", None),
        ("../a/b", "../a/b", None, None),
        (".", ".", None, None),
        ("a:b/c", "a:b/c", None, None),
        ("a:b/c:1", "a:b/c", "1", None),
        ("a@b:1", "a@b", "1", None),
        ("My Models/Größe:v1", "My Models/Größe", "v1", None),
        (f"dir@{DIGEST}", "dir", None, DIGEST),
        (f"dir:1@{DIGEST}", "dir", "1", DIGEST),
        (f"a@b@{DIGEST}", "a@b", None, DIGEST),
        (r"C:\models\a", r"C:\models\a", None, None),
        (r"C:\models\a:1", r"C:\models\a", "1", None),
        ("C:/models/a:1", "C:/models/a", "1", None),
    ],
)
@pytest.mark.parametrize(
    ("prefix", "kind"), [("oci:", Kind.LAYOUT), ("oci-archive:", Kind.ARCHIVE)]
)
def test_a_layout_and_its_archive(
    prefix: str, kind: Kind, text: str, path: str, tag: str | None, digest: Digest | None
) -> None:
    parsed = Reference.parse(prefix + text)
    assert parsed == Reference(kind, "", path, tag, digest)
    assert str(parsed) == prefix + text


@pytest.mark.parametrize(
    ("prefix", "kind", "host"),
    [
        ("ocios://", Kind.BUCKET, "models@axaxnpcrorw5"),
        ("s3://", Kind.S3, "models.example"),
        ("ocir://", Kind.OCIR, "eu-frankfurt-1"),
    ],
)
@pytest.mark.parametrize(
    ("rest", "repository", "tag", "digest"),
    [
        ("a/b", "a/b", None, None),
        ("a:1", "a", "1", None),
        (f"a@{DIGEST}", "a", None, DIGEST),
        (f"a/b:1@{DIGEST}", "a/b", "1", DIGEST),
    ],
)
def test_the_places_in_a_cloud(
    prefix: str,
    kind: Kind,
    host: str,
    rest: str,
    repository: str,
    tag: str | None,
    digest: Digest | None,
) -> None:
    parsed = Reference.parse(f"{prefix}{host}/{rest}")
    assert parsed == Reference(kind, host, repository, tag, digest)
    assert str(parsed) == f"{prefix}{host}/{rest}"


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest"),
    [
        ("minilm", "minilm", None, None),
        ("minilm:1.0", "minilm", "1.0", None),
        ("team/minilm:1", "team/minilm", "1", None),
        (f"minilm@{DIGEST}", "minilm", None, DIGEST),
        (f"minilm:1@{DIGEST}", "minilm", "1", DIGEST),
        ("model.v2", "model.v2", None, None),
    ],
)
def test_a_name_in_the_local_store(
    text: str, name: str, tag: str | None, digest: Digest | None
) -> None:
    parsed = Reference.parse(text)
    assert parsed == Reference(Kind.LOCAL, "", name, tag, digest)
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        ".",
        "..",
        "./model",
        "./model:1",
        "../a",
        "/models/a",
        "~/a",
        "./A b",
        r".\a",
        r"C:\a",
        "C:/a",
    ],
)
def test_a_path_that_looks_like_one_is_a_folder(text: str) -> None:
    parsed = Reference.parse(text)
    assert parsed == Reference(Kind.FOLDER, "", text)
    assert str(parsed) == text


@pytest.mark.parametrize("text", ["models/Mini LM", "a/b", "registry.example/a", r"a\b"])
def test_a_path_with_a_separator_is_a_folder_when_it_exists(text: str) -> None:
    asked = []

    def exists(path: str) -> bool:
        asked.append(path)
        return True

    assert Reference.parse(text, exists) == Reference(Kind.FOLDER, "", text)
    assert asked == [text]


def test_a_bare_name_is_never_a_folder() -> None:
    assert Reference.parse("minilm", lambda _: True).kind is Kind.LOCAL


@pytest.mark.parametrize("text", ["oci:dir", "oci://r.io/a", "s3://b/a"])
def test_a_scheme_wins_over_a_path_of_that_name(text: str) -> None:
    assert Reference.parse(text, lambda _: True).kind is not Kind.FOLDER


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" r.io/a", "space"),
        ("r.io/a\n", "space"),
        ("r.io/a\x00b", "control"),
        ("./a\x1b[31m", "control"),
        ("r.io/", "no repository"),
        ("r.io/:1", "no repository"),
        (f"r.io/@{DIGEST}", "no repository"),
        ("oci://r.io", "no repository"),
        ("r.io/Team/model", "not a repository"),
        ("r.io//a", "not a repository"),
        ("r.io/a//b", "not a repository"),
        ("r.io/a/", "not a repository"),
        ("r.io/a..b", "not a repository"),
        ("r.io/a/../b", "not a repository"),
        ("r.io/_a", "not a repository"),
        ("r.io/a___b", "not a repository"),
        ("r.io/-a", "not a repository"),
        ("r.io/a b", "not a repository"),
        ("r.io/a?n=1", "not a repository"),
        ("r.io/a#b", "not a repository"),
        ("r.io/a%2fb", "not a repository"),
        ("r.io/größe", "not a repository"),
        ("r.io/" + "a" * 256, "longer than 255"),
        ("r.io/a:", "not a tag"),
        ("r.io/a:.x", "not a tag"),
        ("r.io/a:-x", "not a tag"),
        ("r.io/a:x y", "not a tag"),
        ("r.io/a:ü", "not a tag"),
        ("r.io/a:" + "x" * 129, "not a tag"),
        ("r.io/a:1:2", "not a repository"),
        ("r.io/a@", "not a digest"),
        ("r.io/a@latest", "not a digest"),
        ("r.io/a@sha256:abc", "not a digest"),
        (f"r.io/a@{str(DIGEST).upper()}", "not a digest"),
        (f"r.io/a@{DIGEST}:1", "not a digest"),
        (f"r.io/a@{DIGEST}@{DIGEST}", "not a digest"),
        ("-r.io/a", "not a registry's host"),
        ("r_x.io/a", "not a registry's host"),
        ("r.io./a", "not a registry's host"),
        ("r.io:/a", "not a registry's host"),
        ("r.io:http/a", "not a registry's host"),
        ("r.io:0/a", "not a port"),
        ("r.io:65536/a", "not a port"),
        ("[::1/a", "not a registry's host"),
        ("größe.io/a", "not a registry's host"),
        ("oci:", "no path"),
        ("oci-archive:", "no path"),
        (f"oci:@{DIGEST}", "no path"),
        ("oci:dir:", "not a tag"),
        ("oci:dir:a b", "not a tag"),
        ("oci:dir@sha256:abc", "not a digest"),
        ("ocios://bucket/a", "ocios://BUCKET@NAMESPACE/"),
        ("ocios://bucket@ns", "ocios://BUCKET@NAMESPACE/"),
        ("ocios://@ns/a", "ocios://BUCKET@NAMESPACE/"),
        ("ocios://bucket@/a", "ocios://BUCKET@NAMESPACE/"),
        ("ocios://b@c@d/a", "ocios://BUCKET@NAMESPACE/"),
        ("ocios://bucket@ns/", "no repository"),
        ("s3://bucket", "s3://BUCKET/"),
        ("s3:///a", "s3://BUCKET/"),
        ("s3://bucket/A", "not a repository"),
        ("ocir://iad", "ocir://REGION/"),
        ("ocir:///a", "ocir://REGION/"),
        ("gs://bucket/a", "gs:// is no kind of location"),
        ("Minilm", "not a repository"),
        ("a..b", "not a repository"),
        ("minilm:", "not a tag"),
        ("minilm@sha256:abc", "not a digest"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse(text)
    assert said in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("rest", ["", "/a", "/a:1", f"/a@{DIGEST}"])
def test_a_scheme_that_could_mean_a_registry_or_a_bucket_is_refused(rest: str) -> None:
    with pytest.raises(InvalidReferenceError, match="registry or a bucket") as caught:
        Reference.parse(f"oci://models@axaxnpcrorw5{rest}")
    assert caught.value.hint
    assert "ocios://models@axaxnpcrorw5/" in caught.value.hint


@pytest.mark.parametrize("text", ["mia:secret@r.io/a", "oci://mia:secret@r.io/a:1"])
def test_a_password_in_a_location_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse(text)
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"
    assert "ocios://" not in str(caught.value.hint)


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS", "docker"])
def test_an_address_from_elsewhere_gets_a_hint(scheme: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse(f"{scheme}://r.io/a")
    assert "HOST/REPOSITORY" in str(caught.value.hint)


def test_capitals_get_the_hint_to_write_them_small() -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        Reference.parse("r.io/Team/Model:1")
    assert "team/model" in str(caught.value.hint)


def test_the_digest_decides_what_is_asked_for() -> None:
    assert Reference.parse(f"r.io/a:1@{DIGEST}").name == str(DIGEST)
    assert Reference.parse("r.io/a:1").name == "1"
    assert Reference.parse("r.io/a").name == "latest"


@pytest.mark.parametrize("place", ["r.io/a", "oci:./dir", "s3://b/a", "minilm"])
def test_a_reference_can_be_pinned_and_tagged(place: str) -> None:
    reference = Reference.parse(f"{place}:1")
    assert reference.place == place
    assert str(reference.at(DIGEST)) == f"{place}@{DIGEST}"
    assert str(reference.at(DIGEST).tagged("2")) == f"{place}:2"
    with pytest.raises(InvalidReferenceError, match="not a tag"):
        reference.tagged("no tag")


def test_the_checks_return_what_is_right() -> None:
    assert check_tag("v1.0_rc-2") == "v1.0_rc-2"
    assert check_repository("a/b", "r.io/a/b") == "a/b"
    assert check_host("R.io:5000", "R.io:5000/a") == "r.io:5000"


def test_long_input_is_not_repeated_whole() -> None:
    for text in ("r.io/" + "A" * 100_000, "r.io/a:" + "x" * 100_000):
        with pytest.raises(InvalidReferenceError) as caught:
            Reference.parse(text)
        assert len(caught.value.message) < 1000


def test_a_model_at_a_hub_is_no_location_and_says_how_to_get_it() -> None:
    with pytest.raises(InvalidReferenceError, match="at the Hugging Face Hub") as caught:
        Reference.parse("hf:team/tiny@v1")
    assert caught.value.hint == "ocimlpack import hf:team/tiny@v1 DEST"
