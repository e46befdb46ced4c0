from __future__ import annotations

import time

import pytest

from ocimlpack.errors import NotAllowedError
from ocimlpack.stores.challenge import (
    allowed_realms,
    check_realm,
    is_loopback,
    merge_scopes,
    parse,
    repository_scope,
)


def plain(header: str) -> list[tuple[str, dict[str, str]]]:
    return [(challenge.scheme, dict(challenge.params)) for challenge in parse(header)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('BASIC REALM="the registry"', [("basic", {"realm": "the registry"})]),
        (
            'Bearer realm="https://a.test/token",service="a.test",scope="repository:x:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://a.test/token",
                        "service": "a.test",
                        "scope": "repository:x:pull,push",
                    },
                )
            ],
        ),
        ('Bearer realm="r",scope=""', [("bearer", {"realm": "r", "scope": ""})]),
        ('Bearer realm="r",service=a.test', [("bearer", {"realm": "r", "service": "a.test"})]),
        (
            "Bearer realm=https://a.test/token?x=1, service=a.test",
            [("bearer", {"realm": "https://a.test/token?x=1", "service": "a.test"})],
        ),
        (
            'Basic realm="a", Bearer realm="b",service="c"',
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "c"})],
        ),
        (
            'Negotiate, NTLM abc==, Bearer realm="b"',
            [("negotiate", {}), ("ntlm", {"token68": "abc=="}), ("bearer", {"realm": "b"})],
        ),
        (
            'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
            [
                ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
                ("basic", {"realm": "simple"}),
            ],
        ),
        ('Basic realm = "a" , charset="UTF-8"', [("basic", {"realm": "a", "charset": "UTF-8"})]),
        (", ,\t Basic ,,", [("basic", {})]),
        ('Basic realm="a, Bearer realm=b"', [("basic", {"realm": "a, Bearer realm=b"})]),
        ('Bearer realm="a", REALM="b"', [("bearer", {"realm": "a"})]),
    ],
)
def test_headers_are_taken_apart(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert plain(header) == expected


@pytest.mark.parametrize(
    "garbage",
    [
        'realm="x"',
        '"',
        "=",
        "==,",
        '"Bearer realm=x"',
        "\x00\xff",
        "a=b=c",
        "(Bearer)",
        'x="\\',
        "é",
    ],
)
def test_garbage_neither_crashes_nor_hides_the_challenge_after_it(garbage: str) -> None:
    parse(garbage)
    if garbage.count('"') % 2 == 0:
        assert ("bearer", {"realm": "r"}) in plain(f'{garbage}, Bearer realm="r"')


def test_an_unclosed_quote_gives_no_value() -> None:
    assert plain('Bearer service="s",realm="https://a.test') == [("bearer", {"service": "s"})]


def test_a_quoted_challenge_in_garbage_is_no_challenge() -> None:
    assert plain('"Bearer realm=x"') == []


@pytest.mark.parametrize("part", ['a="', "a ", "a=", '\\"', "=", "a" * 10, 'a="\\"', "~/"])
def test_a_long_hostile_header_takes_linear_time(part: str) -> None:
    start = time.perf_counter()
    parse(part * (200_000 // len(part)))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ((), ""),
        (("", ""), ""),
        (("repository:a:pull repository:a:push,pull",), "repository:a:pull,push"),
        (("repository:b:pull", "repository:a:pull"), "repository:a:pull repository:b:pull"),
        (("repository:h:5000/a:push", "repository:h:5000/a:pull"), "repository:h:5000/a:pull,push"),
        (("registry:catalog:*",), "registry:catalog:*"),
        (("openid", "repository:a:pull", "openid"), "openid repository:a:pull"),
        (("repository:a:",), "repository:a:"),
        (("repository:a:", "repository:a:pull"), "repository:a:pull"),
        (("a:c", "a:b"), "a:b a:c"),
    ],
)
def test_scopes_are_merged_into_one_form(scopes: tuple[str, ...], expected: str) -> None:
    assert merge_scopes(*scopes) == expected


def test_a_repository_scope_is_written_as_it_is_merged() -> None:
    scope = repository_scope("team/model", "push", "pull")
    assert scope == "repository:team/model:pull,push"
    assert merge_scopes(scope) == scope


REALM_ACCEPTED = [
    ("https://r.test/token", "https://r.test"),
    ("https://R.Test.:8443/token?x=1", "https://r.test:5000"),
    ("https://auth.r.test/token", "https://registry.r.test"),
    ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com"),
    ("https://auth.docker.io/token", "https://registry-1.docker.io"),
    ("https://auth.docker.io/token", "https://registry.hub.docker.com"),
    ("https://authn.nvidia.com/token", "https://nvcr.io"),
    ("https://auth.firm.co.uk/token", "https://registry.firm.co.uk"),
    ("https://auth.r.test/token", "http://registry.r.test:5000"),
    ("http://r.test:5001/token", "http://r.test:5000"),
    ("http://localhost:5001/token", "http://127.0.0.1:5000"),
    ("https://127.0.0.1:5001/token", "http://localhost:5000"),
    ("http://[::1]:5001/token", "http://registry.localhost:5000"),
    ("https://10.0.0.7:5001/token", "https://10.0.0.7"),
    ("https://[2001:db8:0:0::1]/token", "https://[2001:db8::1]:5000"),
]


@pytest.mark.parametrize(("realm", "registry"), REALM_ACCEPTED)
def test_credentials_may_go_to_the_registrys_own_token_server(realm: str, registry: str) -> None:
    check_realm(realm, registry)


REALM_ELSEWHERE = [
    ("https://evil.test/token", "https://r.example"),
    ("https://r.example.evil.test/token", "https://r.example"),
    ("https://notr.example/token", "https://registry.r-example.com"),
    ("https://auth.other.co.uk/token", "https://registry.firm.co.uk"),
    ("https://auth.other.com.au/token", "https://registry.firm.com.au"),
    ("https://other.azurecr.io/token", "https://mine.azurecr.io"),
    ("https://x.s3.eu-west-1.amazonaws.com/", "https://1.dkr.ecr.eu-west-1.amazonaws.com"),
    ("https://auth.docker.io/token", "https://r.example"),
    ("https://auth.docker.io:8443/token", "https://registry.hub.docker.com"),
    ("https://169.254.169.254/latest/meta-data", "https://r.example"),
    ("https://10.1.2.3/token", "https://10.9.2.3"),
    ("https://0x7f.2.3/token", "https://a.2.3"),
    ("https://2130706433/token", "https://r.example"),
    ("https://localhost/token", "https://r.example"),
    ("https://127.0.0.1/token", "https://r.example"),
    ("https://[::ffff:127.0.0.1]/token", "https://localhost"),
    ("https://r.example/token", "https://localhost:5000"),
    ("https://[::ffff:9.9.3.4]/token", "https://[::ffff:1.2.3.4]"),
    ("http://localhost/token", "http://r.example:5000"),
    ("http://auth.r.example/token", "http://registry.r.example"),
    ("https://internal/token", "https://registry"),
]


@pytest.mark.parametrize(("realm", "registry"), REALM_ELSEWHERE)
def test_credentials_go_nowhere_else_unless_the_user_says_so(realm: str, registry: str) -> None:
    with pytest.raises(NotAllowedError) as caught:
        check_realm(realm, registry)
    assert caught.value.hint is not None
    variable, _, host = caught.value.hint.split()[-1].partition("=")
    assert variable == "OCIMLPACK_AUTH_REALMS"
    assert f"sent to {host};" in caught.value.message
    check_realm(realm, registry, {host})


@pytest.mark.parametrize("realm", ["http://r.example/token", "http://auth.r.example/"])
def test_credentials_never_go_from_https_down_to_http(realm: str) -> None:
    with pytest.raises(NotAllowedError, match="unencrypted"):
        check_realm(realm, "https://r.example", {"r.example", "auth.r.example"})


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "token",
        "/token",
        "//r.example/token",
        "ftp://r.example/token",
        "file:///etc/passwd",
        "https://",
        "https:///token",
        "https://user:password@r.example/token",
        "https://r.example@evil.test/token",
        "https://evil.test\\@r.example/token",
        "https://evil.test\t.r.example/token",
        " https://r.example/token",
        "https://r.example/token\n",
        "https://r.example:port/token",
        "https://r.example:99999/token",
        "https://r.example:/token",
        "https://r.exämple/token",
        "https://r%2eexample/token",
        "https://[::1/token",
        "https://[r.example]/token",
        "https://[1.2.3.4]x/token",
        "https://r.example/token#@evil.test",
    ],
)
def test_a_realm_that_clients_could_read_differently_is_refused(realm: str) -> None:
    with pytest.raises(
        NotAllowedError, match=r"^r\.example names a token server without"
    ) as caught:
        check_realm(realm, "https://r.example")
    assert "password" not in str(caught.value)


def test_an_allowed_host_may_be_tied_to_a_port() -> None:
    check_realm("https://auth.test:8443/t", "https://r.example", {"auth.test:8443"})
    check_realm("https://auth.test/t", "https://r.example", {"auth.test:443"})
    with pytest.raises(NotAllowedError):
        check_realm("https://auth.test/t", "https://r.example", {"auth.test:8443"})


def test_allowed_hosts_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowed_realms() == frozenset()
    monkeypatch.setenv("OCIMLPACK_AUTH_REALMS", " Auth.Test, other.test:8443,,")
    assert allowed_realms() == {"auth.test", "other.test:8443"}


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "a.localhost"],
)
def test_loopback_hosts_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["r.example", "localhost.example", "10.0.0.1", "0.0.0.0:80", "", "a b"]
)
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
