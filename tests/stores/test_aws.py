"""S3 services and credentials for them: of the environment and of the AWS tools' files."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocimlpack.errors import InputError, NotAllowedError
from ocimlpack.stores.objects import aws, s3_service
from ocimlpack.stores.objects.aws_credentials import Chain
from ocimlpack.stores.objects.s3_service import Service, authorities
from ocimlpack.stores.objects.signature import Credentials
from ocimlpack.stores.settings import Bucket
from tests.scripted.exchange import Reply, Request
from tests.scripted.server import Server


def write(name: str, text: str) -> Path:
    path = Path(os.environ["HOME"]) / ".aws" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def found(
    *, chosen: bool = False, profile: str | None = None, on_amazon: bool = False
) -> Credentials:
    chain = Chain(
        aws.load_profile(profile), lambda *_: (500, b""), chosen=chosen, on_amazon=on_amazon
    )
    return chain.get()


def place(**preference: str) -> Service:
    return s3_service.find("models", Bucket(**preference), None)


class TestProfiles:
    def test_without_files_there_is_nothing(self) -> None:
        profile = aws.load_profile()
        assert profile.name == "default"
        assert profile.get("region") == ""

    def test_both_files_are_read_and_credentials_come_first(self) -> None:
        write("config", "[default]\nregion = eu-1\naws_access_key_id = other\n")
        write("credentials", "[default]\naws_access_key_id = key\naws_secret_access_key = s%cret\n")
        profile = aws.load_profile()
        assert profile.get("region") == "eu-1"
        assert profile.get("aws_access_key_id") == "key"
        assert profile.get("aws_secret_access_key") == "s%cret"

    @pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
    def test_the_environment_names_another(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        write("config", "[default]\nregion = eu-1\n[profile work]\nregion = eu-2\n")
        monkeypatch.setenv(variable, "work")
        assert aws.load_profile().get("region") == "eu-2"
        with pytest.raises(InputError, match="there is no AWS profile play"):
            aws.load_profile("play")

    def test_files_can_be_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "c").write_text("[default]\nregion = eu-3\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "c"))
        assert aws.load_profile().get("region") == "eu-3"

    def test_sections_within_are_understood(self) -> None:
        write(
            "config",
            "[default]\nservices = mine\ns3 =\n  max_concurrent_requests = 3\n"
            "  addressing_style = virtual\nregion = eu-1\n"
            "[services mine]\ns3 =\n  endpoint_url = https://s3.example.com\n"
            "sts =\n  endpoint_url = https://sts.example.com\n",
        )
        profile = aws.load_profile()
        assert profile.addressing == "virtual"
        assert profile.get("region") == "eu-1"
        assert aws.endpoint("s3", profile) == "https://s3.example.com"
        assert aws.endpoint("sts", profile) == "https://sts.example.com"

    def test_a_file_that_is_none_is_said_to_be_so_without_its_content(self) -> None:
        path = write("credentials", "secret-without-a-section\n")
        with pytest.raises(InputError) as caught:
            aws.load_profile()
        assert str(path) in caught.value.message
        assert "secret" not in caught.value.message


class TestServices:
    def test_amazon_is_meant_where_nobody_else_is_named(self) -> None:
        service = place()
        assert service.endpoint == "https://s3.us-east-1.amazonaws.com"
        assert service.url("a/b") == "https://models.s3.us-east-1.amazonaws.com/a/b"
        assert service.on_amazon

    def test_its_region_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-1")
        assert place().endpoint == "https://s3.eu-1.amazonaws.com"
        monkeypatch.setenv("AWS_REGION", "cn-north-1")
        assert place().endpoint == "https://s3.cn-north-1.amazonaws.com.cn"
        assert place(region="eu-2").region == "eu-2"

    def test_a_name_with_a_dot_stays_out_of_the_host_s(self) -> None:
        service = s3_service.find("my.models", Bucket(), None)
        assert service.url("x") == "https://s3.us-east-1.amazonaws.com/my.models/x"

    def test_who_names_an_endpoint_comes_in_this_order(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("config", "[default]\nendpoint_url = https://profile.example.com\n")
        assert place().endpoint == "https://profile.example.com"
        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://all.example.com")
        assert place().endpoint == "https://all.example.com"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.com")
        assert place().endpoint == "https://s3.example.com"
        settled = place(endpoint="https://settled.example.com")
        assert settled.endpoint == "https://settled.example.com"
        monkeypatch.setenv("OCIMLPACK_S3_ENDPOINT", "https://ours.example.com")
        assert place(endpoint="https://settled.example.com").endpoint == "https://ours.example.com"
        assert not place().on_amazon

    def test_others_have_the_bucket_in_the_path_unless_told(self) -> None:
        service = place(endpoint="https://s3.example.com/")
        assert service.url("x") == "https://s3.example.com/models/x"
        service = place(endpoint="https://s3.example.com", addressing="virtual")
        assert service.url("x") == "https://models.s3.example.com/x"

    def test_a_port_that_goes_without_saying_is_left_out(self) -> None:
        """The signature is of the host as clients send it."""
        assert place(endpoint="https://s3.example.com:443").endpoint == "https://s3.example.com"
        assert place(endpoint="https://s3.example.com:80").endpoint == "https://s3.example.com:80"
        assert place(endpoint="s3.example.com").endpoint == "https://s3.example.com"

    @pytest.mark.parametrize(
        ("endpoint", "said"),
        [
            ("http://s3.example.com", "is not encrypted"),
            ("https://user:secret@s3.example.com", "has more in it than it should"),
            ("https://s3.example.com?x=secret", "has more in it than it should"),
            ("ftp://s3.example.com", "is http or https"),
            ("https://", "not a registry's host"),
            ("https://a b", "not a registry's host"),
        ],
    )
    def test_an_endpoint_that_can_not_be_used(self, endpoint: str, said: str) -> None:
        with pytest.raises(InputError, match=said) as caught:
            place(endpoint=endpoint)
        assert "secret" not in caught.value.message

    def test_http_is_for_this_machine_or_where_it_is_asked_for(self) -> None:
        assert place(endpoint="http://localhost:9000").endpoint == "http://localhost:9000"
        far = Bucket(endpoint="http://s3.example.com")
        assert s3_service.find("models", far, True).endpoint == "http://s3.example.com"
        with pytest.raises(InputError, match="is not encrypted"):
            s3_service.find("models", Bucket(endpoint="http://localhost:9000"), False)

    def test_an_unknown_style_is_refused(self) -> None:
        write("config", "[default]\ns3 =\n  addressing_style = sideways\n")
        with pytest.raises(InputError, match="sideways"):
            place()

    def test_authorities(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert authorities(None) is None
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
        assert authorities(None) is None  # a folder is for others
        (tmp_path / "ca.pem").write_text("")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        assert authorities(None) == str(tmp_path / "ca.pem")
        assert authorities("given") == "given"


class TestCredentials:
    def test_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write("credentials", "[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
        assert found() == Credentials("a", "b")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
        assert found() == Credentials("key", "secret", "token")

    def test_a_profile_that_was_chosen_for_the_bucket_comes_before(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("credentials", "[work]\naws_access_key_id = a\naws_secret_access_key = b\n")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        assert found(profile="work", chosen=True) == Credentials("a", "b")

    @pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_half_of_them_is_a_mistake(self, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
        for name in {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} - {missing}:
            monkeypatch.setenv(name, "x")
        with pytest.raises(InputError, match=f"{missing} is not set"):
            found()

    def test_none_at_all(self) -> None:
        with pytest.raises(NotAllowedError, match="there are no credentials for S3"):
            found()

    def test_of_a_program(self, tmp_path: Path) -> None:
        program = tmp_path / "give.py"
        program.write_text(
            "import json; print(json.dumps({'Version': 1, 'AccessKeyId': 'key', "
            "'SecretAccessKey': 'secret', 'SessionToken': 'token', "
            "'Expiration': '2100-01-01T00:00:00Z'}))"
        )
        write("config", f"[default]\ncredential_process = {sys.executable} '{program}'\n")
        assert found() == Credentials("key", "secret", "token", 4102444800.0)

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("import sys; sys.exit('your session has ended')", "your session has ended"),
            ("print('hello')", "can be understood"),
            ("print('{}')", "can be understood"),
            ("print('[]')", "can be understood"),
        ],
    )
    def test_a_program_that_gives_none(self, tmp_path: Path, code: str, said: str) -> None:
        (tmp_path / "give.py").write_text(code)
        write("config", f"[default]\ncredential_process = {sys.executable} {tmp_path}/give.py\n")
        with pytest.raises(NotAllowedError, match=said):
            found()

    def test_a_program_that_is_not_there(self) -> None:
        write("config", "[default]\ncredential_process = /nowhere/at/all\n")
        with pytest.raises(NotAllowedError, match="gave no credentials"):
            found()

    @pytest.mark.parametrize("key", ["sso_session", "role_arn"])
    def test_of_the_aws_cli_for_what_only_it_knows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        write("config", f"[profile work]\n{key} = something\n")
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(NotAllowedError, match="answered for by the AWS CLI") as caught:
            found(profile="work")
        assert "export-credentials" in str(caught.value.hint)
        program = tmp_path / "aws"
        program.write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            "print(json.dumps({'AccessKeyId': ' '.join(sys.argv[1:]), 'SecretAccessKey': 's'}))\n"
        )
        program.chmod(0o755)
        said = "configure export-credentials --profile work --format process"
        assert found(profile="work").key == said

    def test_they_are_looked_for_again_before_they_expire(self, tmp_path: Path) -> None:
        program = tmp_path / "give.py"
        program.write_text(
            "import json, pathlib\n"
            f"counter = pathlib.Path({str(tmp_path / 'count')!r})\n"
            "count = int(counter.read_text()) + 1 if counter.exists() else 1\n"
            "counter.write_text(str(count))\n"
            "print(json.dumps({'AccessKeyId': f'key {count}', 'SecretAccessKey': 's', "
            "'Expiration': '2020-01-01T00:00:00Z' if count == 1 else '2100-01-01T00:00:00Z'}))\n"
        )
        write("config", f"[default]\ncredential_process = {sys.executable} {program}\n")
        chain = Chain(aws.load_profile(), lambda *_: (500, b""), chosen=False, on_amazon=False)
        assert [chain.get().key for _ in range(3)] == ["key 1", "key 2", "key 2"]


GIVEN = {"AccessKeyId": "key", "SecretAccessKey": "secret", "Token": "token"}


class TestServicesOfCredentials:
    """Those that run beside a workload, played on loopback."""

    @pytest.fixture
    def agent(self) -> Iterator[Server]:
        def handle(request: Request, body: bytes) -> Reply:
            self.requests.append((request, body))
            return self.answers.get(request.path, Reply(404))

        self.requests: list[tuple[Request, bytes]] = []
        self.answers: dict[str, Reply] = {}
        with Server(handle) as server:
            yield server

    def test_of_a_container(
        self, agent: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = {**GIVEN, "Expiration": "2100-01-01T00:00:00Z"}
        self.answers["/v2/credentials"] = Reply(200, {}, json.dumps(said).encode())
        (tmp_path / "token").write_text("let me in\n")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.url}/v2/credentials?x=1")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # which is not asked
        assert found() == Credentials("key", "secret", "token", 4102444800.0)
        assert self.requests[0][0].headers["authorization"] == "let me in"
        assert self.requests[0][0].query == "x=1"

    def test_of_a_container_that_gives_none(
        self, agent: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.url}/none")
        with pytest.raises(NotAllowedError, match="status 404"):
            found()

    def test_a_token_goes_to_no_other_host_in_the_clear(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/x")
        with pytest.raises(InputError, match="names a host without TLS: example"):
            found()

    def machine(self, agent: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", agent.url)
        roles = "/latest/meta-data/iam/security-credentials/"
        self.answers["/latest/api/token"] = Reply(200, {}, b"session")
        self.answers[roles] = Reply(200, {}, b"my-role")
        self.answers[f"{roles}my-role"] = Reply(200, {}, json.dumps(GIVEN).encode())

    def test_of_a_machine_of_amazon_s(self, agent: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine(agent, monkeypatch)
        assert found(on_amazon=True) == Credentials("key", "secret", "token")
        assert self.requests[0][0].method == "PUT"
        assert self.requests[2][0].headers["x-aws-ec2-metadata-token"] == "session"

    def test_that_is_asked_for_amazon_s_service_alone(
        self, agent: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.machine(agent, monkeypatch)
        with pytest.raises(NotAllowedError):
            found(on_amazon=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(NotAllowedError):
            found(on_amazon=True)
        assert self.requests == []

    def test_where_there_is_none_it_is_soon_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
        began = time.monotonic()
        with pytest.raises(NotAllowedError, match="there are no credentials"):
            found(on_amazon=True)
        assert time.monotonic() - began < 3

    def web_identity(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "token").write_text("who I am\n")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/pusher")

    def test_of_a_web_identity(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.web_identity(tmp_path, monkeypatch)
        monkeypatch.setenv("AWS_REGION", "eu-1")
        asked = []

        def post(url: str, form: bytes) -> tuple[int, bytes]:
            asked.append((url, form))
            return 200, (
                b"<R><Credentials><AccessKeyId>key</AccessKeyId><SecretAccessKey>a+b/c"
                b"</SecretAccessKey><SessionToken>t</SessionToken>"
                b"<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></R>"
            )

        chain = Chain(aws.load_profile(), post, chosen=False, on_amazon=False)
        assert chain.get() == Credentials("key", "a+b/c", "t", 4102444800.0)
        ((url, form),) = asked
        assert url == "https://sts.eu-1.amazonaws.com/"
        assert b"WebIdentityToken=who%20I%20am" in form
        assert b"RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fpusher" in form

    def test_of_a_web_identity_that_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.web_identity(tmp_path, monkeypatch)
        answer = b"<E><Error><Message>Not authorized</Message></Error></E>"
        chain = Chain(aws.load_profile(), lambda *_: (403, answer), chosen=False, on_amazon=False)
        with pytest.raises(NotAllowedError, match="Not authorized"):
            chain.get()

    def test_of_a_web_identity_whose_file_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.web_identity(tmp_path, monkeypatch)
        (tmp_path / "token").unlink()
        with pytest.raises(InputError, match="can't read the web identity"):
            found()
