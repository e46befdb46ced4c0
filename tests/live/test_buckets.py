"""Buckets of a real S3 server, by the command and by the library."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ocimlpack.spec.reference import Kind
from ocimlpack.stores import open as stores
from ocimlpack.stores.base import Store
from ocimlpack.stores.bucket import BucketStore
from tests.contract import ReferrersContract, StoreContract
from tests.live.conftest import Program, read_tree
from tests.live.forwarder import Forwarder, forwarded
from tests.live.interruptions import (
    GRAIN,
    PART,
    SMALL_THINGS,
    cache,
    digests,
    left_behind,
    make_model,
    settle,
    start,
)
from tests.live.registries import Registry
from tests.live.s3 import REGION, S3Server
from tests.live.test_everyday import COMMAND, MEASURE, MIB, digest_of, run

NOT_FOUND, NOT_ALLOWED, UNAVAILABLE, UNSUPPORTED = 3, 4, 6, 8


class TestContract(ReferrersContract, StoreContract):
    frees_at_once = False

    @pytest.fixture
    def store(self, s3: S3Server) -> Iterator[Store]:
        self.server, self.bucket = s3, s3.bucket()
        with stores.bucket(Kind.S3, self.bucket, stores.Access()) as objects:
            self.objects = objects
            store = BucketStore(objects, "team/minilm")
            yield store
            store.close()

    def reopen(self, store: Store) -> Store:
        return BucketStore(self.objects, "team/minilm")

    def leftovers(self, store: Store) -> set[str]:
        return self.server.objects(self.bucket)


def pushed(s3: S3Server, model: Path, name: str = "team/minilm:1.0") -> tuple[str, str]:
    """A new bucket with a model in it, and the model's digest."""
    bucket = s3.bucket()
    printed = run("push", model, f"s3://{bucket}/{name}").stdout.strip()
    return bucket, printed.partition("@")[2]


def test_a_model_goes_round(s3: S3Server, model: Path, tmp_path: Path) -> None:
    bucket = s3.bucket()
    place = f"s3://{bucket}/team/minilm"
    printed = run("push", model, f"{place}:1.0", "-t", "stable").stdout.strip()
    digest = printed.removeprefix(f"{place}@")
    assert digest.startswith("sha256:")
    assert run("tags", place).stdout.split() == ["1.0", "stable"]
    assert run("repos", f"s3://{bucket}").stdout.split() == ["team/minilm"]
    for number, name in enumerate((":stable", f"@{digest}", f":1.0@{digest}")):
        out = tmp_path / f"out{number}"
        run("pull", f"{place}{name}", "-o", out)
        assert read_tree(out) == read_tree(model)
        run("verify", out)
    found = run("inspect", f"{place}:1.0", "--json").json
    assert found["digest"] == digest
    assert found["tags"] == ["1.0", "stable"]
    run("verify", f"{place}:stable")
    run("tag", f"{place}:1.0", "2.0")
    assert digest_of(f"{place}:2.0") == digest
    assert run("push", model, f"{place}:1.0", "--json").json["moved"] == 0


def test_the_digest_is_that_of_any_other_place(s3: S3Server, model: Path, tmp_path: Path) -> None:
    layout = f"oci:{tmp_path / 'layout'}:1.0"
    run("pack", model, "-t", layout)
    bucket, digest = pushed(s3, model)
    assert digest == digest_of(layout)
    run("copy", f"s3://{bucket}/team/minilm:1.0", f"s3://{bucket}/other/minilm")
    assert digest_of(f"s3://{bucket}/other/minilm:1.0") == digest


def test_copies_change_no_digest(
    s3: S3Server, registry: Registry, model: Path, tmp_path: Path
) -> None:
    repository = registry.repository()
    digest = run("push", model, f"{repository}:1.0").stdout.strip().partition("@")[2]
    stations = [
        f"{repository}:1.0",
        f"s3://{s3.bucket()}/minilm:1.0",
        f"oci:{tmp_path / 'layout'}:1.0",
        f"s3://{s3.bucket()}/a/b/c:1.0",
        f"oci-archive:{tmp_path / 'archive.tar'}:1.0",
        f"s3://{s3.bucket()}/minilm:1.0",
        f"{registry.repository()}:1.0",
    ]
    for source, target in itertools.pairwise(stations):
        run("copy", source, target)
        assert digest_of(target) == digest
    run("pull", stations[-1], "-o", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)


def test_repositories_share_blobs(s3: S3Server, model: Path) -> None:
    bucket, _ = pushed(s3, model, "one:1.0")
    before = s3.objects(bucket)
    again = run("push", model, f"s3://{bucket}/two:1.0", "--json").json
    assert again["moved"] == 0
    assert s3.objects(bucket) - before == {"two/index.json", "two/oci-layout"}


def test_removing_and_cleaning_up(s3: S3Server, model: Path) -> None:
    bucket, digest = pushed(s3, model)
    place = f"s3://{bucket}/team/minilm"
    run("copy", f"{place}:1.0", f"s3://{bucket}/kept:1.0")
    (model / "model-00001-of-00002.safetensors").unlink()
    run("push", model, f"{place}:2.0")
    run("rm", f"{place}:2.0")
    assert run("tags", place).stdout.split() == ["1.0"]
    run("rm", f"{place}@{digest}")
    assert run("tags", place).stdout.split() == []
    run("pull", f"{place}:1.0", "-o", model.parent / "out", expect=NOT_FOUND)
    before = s3.objects(bucket)
    assert run("prune", f"s3://{bucket}").stdout == "freed 0 B\n"
    assert s3.objects(bucket) == before
    s3.age(bucket, 2 * 24 * 3600)
    tried = run("prune", f"s3://{bucket}", "--dry-run", "--json").json
    assert s3.objects(bucket) == before
    done = run("prune", f"s3://{bucket}", "--json").json
    # The second version's manifest and config; its other files are those of the first.
    assert len(done["removed"]) == 2
    assert {**tried, "dry_run": False} == done
    assert run("verify", f"s3://{bucket}/kept:1.0").stdout
    run("rm", f"s3://{bucket}/kept:1.0")
    run("prune", f"{place}")
    assert not any(key.startswith("blobs/") for key in s3.objects(bucket))


def test_other_programs_read_what_lies_there(
    s3: S3Server, model: Path, skopeo: Program, tmp_path: Path
) -> None:
    """A mirrored bucket is a set of layouts with one folder of blobs."""
    bucket, digest = pushed(s3, model)
    folder = s3.folder / bucket
    copied = tmp_path / "copied"
    copied.mkdir()
    skopeo(
        "copy",
        "--src-shared-blob-dir",
        folder / "blobs",
        "--preserve-digests",
        f"oci:{folder / 'team/minilm'}:1.0",
        f"oci:{copied}:1.0",
    )
    assert digest_of(f"oci:{copied}:1.0") == digest


def test_of_many_writers_nobody_loses_a_tag(s3: S3Server, model: Path) -> None:
    bucket, digest = pushed(s3, model)
    place = f"s3://{bucket}/team/minilm"
    names = [f"v{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda name: run("tag", f"{place}:1.0", name), names))
    assert run("tags", place).stdout.split() == ["1.0", *names]
    assert {digest_of(f"{place}:{name}") for name in names} == {digest}


def test_of_many_who_push_different_models_each_is_whole(s3: S3Server, tmp_path: Path) -> None:
    place = f"s3://{s3.bucket()}/team/minilm"
    expected = [make_model(tmp_path / str(n), n, {"weights.bin": 2}) for n in range(8)]
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda n: run("push", tmp_path / str(n), f"{place}:v{n}"), range(8)))
    assert len(run("tags", place).stdout.split()) == 8
    for number, files in enumerate(expected):
        run("pull", f"{place}:v{number}", "-o", tmp_path / f"out{number}")
        assert digests(tmp_path / f"out{number}") == files


class TestInterruptions:
    @pytest.fixture
    def link(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forwarder]:
        with forwarded(s3.host) as forwarder:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{forwarder.host}")
            yield forwarder

    @staticmethod
    def kill(link: Forwarder, log: Path, after: int, *arguments: str | Path) -> int:
        """Run the command and kill it after so many bytes; returns how many passed."""
        before = link.passed
        with log.open("wb") as output, start(*arguments, log=output) as process:
            assert link.wait(before + after, 60), log.read_text()
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        settle(link)
        return link.passed - before

    def test_a_push_that_is_killed_twice_goes_on(
        self, s3: S3Server, link: Forwarder, tmp_path: Path
    ) -> None:
        size = 160 * MIB
        expected = make_model(tmp_path / "model", 1, {"one.bin": 160})
        time.sleep(GRAIN)  # from now on it is worth remembering what was hashed
        bucket = s3.bucket()
        target = f"s3://{bucket}/team/minilm:1.0"
        pushing = ("push", tmp_path / "model", target, "-j", "2")
        passed = self.kill(link, tmp_path / "log", 70 * MIB, *pushing)
        passed += self.kill(link, tmp_path / "log", 50 * MIB, *pushing)
        assert f"blobs/sha256/{expected['one.bin']}" not in s3.objects(bucket)
        assert "team/minilm/index.json" not in s3.objects(bucket)
        before = link.passed
        run(*pushing)
        settle(link)
        passed += link.passed - before
        # Of each kill, the parts that were under way.
        assert passed <= size + 2 * 2 * PART + SMALL_THINGS
        run("pull", target, "-o", tmp_path / "out")
        assert digests(tmp_path / "out") == expected
        assert left_behind(cache(), "digests.sqlite", "hosts") == []

    def test_a_pull_that_is_killed_goes_on(
        self, s3: S3Server, link: Forwarder, tmp_path: Path
    ) -> None:
        size = 160 * MIB
        expected = make_model(tmp_path / "model", 1, {"one.bin": 160})
        bucket, _ = pushed(s3, tmp_path / "model")
        pulling = ("pull", f"s3://{bucket}/team/minilm:1.0", "-o", tmp_path / "out", "-j", "2")
        passed = self.kill(link, tmp_path / "log", 80 * MIB, *pulling)
        assert not (tmp_path / "out").exists()
        before = link.passed
        run(*pulling)
        settle(link)
        passed += link.passed - before
        assert passed <= size + 16 * PART
        assert link.passed - before < 0.75 * size
        assert digests(tmp_path / "out") == expected

    def test_a_connection_that_breaks_again_and_again_is_no_matter(
        self, s3: S3Server, link: Forwarder, tmp_path: Path
    ) -> None:
        expected = make_model(tmp_path / "model", 1, {"one.bin": 96})
        target = f"s3://{s3.bucket()}/team/minilm:1.0"
        with (tmp_path / "log").open("wb") as log:
            for arguments in (
                ("push", tmp_path / "model", target),
                ("pull", target, "-o", tmp_path / "out"),
            ):
                before = link.passed
                with start(*arguments, log=log) as process:
                    for moment in (20, 50, 80):
                        assert link.wait(before + moment * MIB, 60)
                        link.break_off()
                    assert process.wait(120) == 0, (tmp_path / "log").read_text()
        assert digests(tmp_path / "out") == expected


@pytest.mark.parametrize("jobs", ["1", "4", "16"])
def test_little_memory_is_enough(s3: S3Server, tmp_path: Path, jobs: str) -> None:
    make_model(tmp_path / "model", 1, {"one.bin": 200, "two.bin": 150, "three.bin": 100})
    target = f"s3://{s3.bucket()}/team/minilm:1.0"
    for arguments in (
        ("push", tmp_path / "model", target, "-j", jobs),
        ("pull", target, "-o", tmp_path / "out", "-j", jobs),
    ):
        command = [sys.executable, "-c", MEASURE, *COMMAND, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        peak = int(done.stdout.rpartition("peak ")[2])
        print(arguments[0], jobs, f"{peak / MIB:.0f} MiB")
        assert peak <= 150 * MIB


class TestTls:
    @pytest.fixture
    def place(self, encrypted_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
        for name, value in encrypted_s3.environment().items():
            monkeypatch.setenv(name, value)
        return f"s3://{encrypted_s3.bucket()}/team/minilm"

    def test_with_an_authority_of_one_s_own(
        self, encrypted_s3: S3Server, place: str, tmp_path: Path
    ) -> None:
        expected = make_model(tmp_path / "model", 1, {"one.bin": 40})
        trusting = ("--ca-file", str(encrypted_s3.ca_file))
        run("push", tmp_path / "model", f"{place}:1.0", *trusting)
        run("pull", f"{place}:1.0", "-o", tmp_path / "out", *trusting)
        assert digests(tmp_path / "out") == expected

    @pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "SSL_CERT_FILE"])
    def test_with_one_that_the_environment_names(
        self,
        encrypted_s3: S3Server,
        place: str,
        tmp_path: Path,
        variable: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(variable, str(encrypted_s3.ca_file))
        make_model(tmp_path / "model", 1, {"one.bin": 20})
        run("push", tmp_path / "model", f"{place}:1.0")

    def test_with_nobody_s_word_it_is_refused(self, place: str, tmp_path: Path) -> None:
        make_model(tmp_path / "model", 1, {"one.bin": 1})
        refused = run("push", tmp_path / "model", f"{place}:1.0", expect=UNAVAILABLE)
        assert "its certificate is signed by nobody who is trusted" in refused.stderr
        assert "--ca-file" in refused.stderr

    def test_unless_one_insists(self, place: str, tmp_path: Path) -> None:
        make_model(tmp_path / "model", 1, {"one.bin": 20})
        done = run("push", tmp_path / "model", f"{place}:1.0", "--insecure")
        assert "TLS certificates are not verified" in done.stderr


class TestRefusals:
    """One sentence each, the right exit code, and nothing tried again in vain."""

    @pytest.mark.parametrize(
        ("variables", "code", "said"),
        [
            ({"AWS_SECRET_ACCESS_KEY": "wrong"}, NOT_ALLOWED, "the secret access key does not"),
            ({"AWS_ACCESS_KEY_ID": "nobody"}, NOT_ALLOWED, "the access key is not known there"),
            ({"AWS_REGION": "eu-nowhere-1"}, 2, f"is in another region ({REGION})"),
            ({"AWS_SKIP_SIGNATURE": "true"}, NOT_ALLOWED, "does not allow"),
            ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, UNAVAILABLE, "can't connect to"),
            ({"AWS_ACCESS_KEY_ID": ""}, 2, "AWS_ACCESS_KEY_ID is not set"),
        ],
        ids=["secret", "key", "region", "anonymous", "nobody there", "half of it"],
    )
    @pytest.mark.parametrize("command", ["push", "pull", "tags", "prune"])
    def test_of_a_service(
        self,
        s3: S3Server,
        model: Path,
        monkeypatch: pytest.MonkeyPatch,
        command: str,
        variables: dict[str, str],
        code: int,
        said: str,
    ) -> None:
        place = f"s3://{s3.bucket()}/team/minilm"
        arguments: dict[str, tuple[str | Path, ...]] = {
            "push": ("push", model, place),
            "pull": ("pull", place, "-o", model.parent / "out"),
            "tags": ("tags", place),
            "prune": ("prune", place),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        began = time.monotonic()
        refused = run(*arguments[command], expect=code)
        assert said in refused.stderr
        assert len(refused.stderr.strip().splitlines()) <= 2 + (command in {"push", "pull"}) * 20
        assert time.monotonic() - began < 10

    def test_of_a_bucket_that_is_not_there(self, s3: S3Server, model: Path) -> None:
        place = "s3://models-nowhere/team/minilm"
        for arguments in (
            ("push", model, place),
            ("pull", place, "-o", model.parent / "out"),
            ("tags", place),
            ("prune", "s3://models-nowhere"),
            ("repos", "s3://models-nowhere"),
            ("rm", f"{place}:1.0"),
        ):
            refused = run(*arguments, expect=NOT_FOUND)
            assert "there is no bucket s3://models-nowhere" in refused.stderr

    def test_with_json(self, s3: S3Server) -> None:
        refused = run("tags", f"s3://{s3.bucket()}/team/minilm", "--json", expect=NOT_FOUND)
        assert json.loads(refused.stdout)["error"]["kind"] == "not_found"


WITHOUT = """
import sys
sys.modules["obstore"] = None
from ocimlpack.__main__ import run
run()
"""


@pytest.mark.parametrize("arguments", [["tags", "s3://models/minilm"], ["prune", "s3://models"]])
def test_without_the_library_it_is_said_how_to_get_it(arguments: list[str]) -> None:
    command = [sys.executable, "-c", WITHOUT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == UNSUPPORTED
    assert done.stderr.splitlines() == [
        "ocimlpack: S3 buckets need the library obstore, which is not installed",
        "hint: pip install 'ocimlpack[s3]'",
    ]


def test_two_services_at_once(
    s3: S3Server,
    encrypted_s3: S3Server,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The configuration file says where a bucket is, and the environment where all others are."""
    here, there = s3.bucket(), encrypted_s3.bucket()
    config = tmp_path / "config.toml"
    config.write_text(f'[s3."{there}"]\nendpoint = "{encrypted_s3.endpoint}"\n')
    monkeypatch.setenv("OCIMLPACK_CONFIG", str(config))
    trusting = ("--ca-file", str(encrypted_s3.ca_file))
    digest = run("push", model, f"s3://{here}/a:1").stdout.strip().partition("@")[2]
    run("copy", f"s3://{here}/a:1", f"s3://{there}/b:1", *trusting)
    assert digest_of(f"s3://{there}/b:1", *trusting) == digest
    assert "b/index.json" in encrypted_s3.objects(there)


def test_by_the_library(s3: S3Server, model: Path, tmp_path: Path) -> None:
    import ocimlpack

    place = f"s3://{s3.bucket()}/team/minilm"
    done = ocimlpack.push(model, f"{place}:1.0")
    assert ocimlpack.tags(place) == ("1.0",)
    ocimlpack.pull(f"{place}@{done.digest}", tmp_path / "out")
    assert read_tree(tmp_path / "out") == read_tree(model)
    resolved = ocimlpack.resolve(f"{place}:1.0")
    assert read_tree(Path(resolved)) == read_tree(model)
