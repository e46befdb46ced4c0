"""The commands, read as a user reads them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import ocimlpack
from tests.cloud.cloud import NAMESPACE
from tests.cloud.conftest import Cli
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT, OTHER_COMPARTMENT
from tests.cloud.test_lifecycle import put_policy, rule
from tests.cloud.test_objectstorage import BUCKET, make_bucket, put

PLAN = f"""\
The bucket models in us-ashburn-1:

  + policy     ocimlpack-models
      Allow service objectstorage-us-ashburn-1 to manage object-family in compartment id \
{COMPARTMENT} where target.bucket.name = 'models'
  + bucket     models
      compartment: {COMPARTMENT}
      region: us-ashburn-1
      public_access: NoPublicAccess
      storage_tier: Standard
      versioning: Enabled
      auto_tiering: InfrequentAccess
      kms_key: Oracle's
      object_events: yes
      tag ocimlpack: bucket provision
  + lifecycle  models
      ocimlpack-archive-old: ARCHIVE objects old/* after 30 days
      ocimlpack-delete-expired: DELETE objects expired/* after 365 days
      ocimlpack-delete-previous: DELETE previous-object-versions after 365 days
      ocimlpack-abort-uploads: ABORT multipart-uploads after 7 days
  + log group  ocimlpack
  + log        models-read
      retention: 30 days
  + log        models-write
      retention: 30 days

6 to create, 0 to change, 0 to keep
"""
MADE = """\
made the policy ocimlpack-models
made the bucket models
set the lifecycle of models: 4 rules
made the log group ocimlpack
made the log models-read
made the log models-write
"""


def test_a_dry_run_prints_the_plan(alone: LocalCloud, cli: Cli) -> None:
    ran = cli("bucket", "provision", "--bucket", BUCKET, "--dry-run")
    assert (ran.code, ran.stdout, ran.stderr) == (0, PLAN, "")
    assert alone.storage.store.buckets == {}


def test_what_is_done_is_said_and_the_result_is_name_and_ocid(alone: LocalCloud, cli: Cli) -> None:
    ran = cli("bucket", "provision", "--bucket", BUCKET, "--yes")
    ocid = alone.storage.store.buckets[BUCKET]["id"]
    result = f"Bucket:    models\nOCID:      {ocid}\nNamespace: {NAMESPACE}\n"
    assert (ran.code, ran.stdout, ran.stderr) == (0, result, PLAN + MADE)
    ran = cli("bucket", "provision", "--bucket", BUCKET)
    said = "nothing to do: the bucket models is as it is to be\n"
    assert (ran.code, ran.stdout, ran.stderr) == (0, result, said)


def test_json(alone: LocalCloud, cli: Cli) -> None:
    ran = cli("bucket", "provision", "--bucket", BUCKET, "--json")
    assert ran.code == 2
    assert json.loads(ran.stdout)["error"]["hint"] == "add --yes"
    options = ("--read-url-expires", "2099-01-01", "--json")
    ran = cli("bucket", "provision", "--bucket", BUCKET, "--yes", *options)
    assert ran.stderr == ""
    found = json.loads(ran.stdout)
    assert (found["name"], found["changed"]) == (BUCKET, True)
    assert found["ocid"] == alone.storage.store.buckets[BUCKET]["id"]
    assert found["read_url"].startswith(f"{alone.url}/p/")
    assert [step["fate"] for step in found["plan"]] == ["create"] * 7
    status = json.loads(cli("bucket", "status", "--bucket", BUCKET, "--json").stdout)
    assert (status["drift"], status["ocid"]) == (False, found["ocid"])
    code = json.loads(cli("bucket", "export", "--pulumi", "--bucket", BUCKET, "--json").stdout)
    assert code["language"] == "pulumi"
    ran = cli("bucket", "destroy", "--bucket", BUCKET, "--confirm", BUCKET, "--json")
    assert "the bucket models" in json.loads(ran.stdout)["removed"]


def test_the_address_is_told_once_with_a_word_of_warning(alone: LocalCloud, cli: Cli) -> None:
    options = ("--bucket", BUCKET, "--read-url-expires", "2099-01-01", "--yes")
    ran = cli("bucket", "provision", *options)
    assert re.search(rf"^Read URL:  {alone.url}/p/\S+$", ran.stdout, re.M)
    assert ran.stderr.splitlines()[-1].startswith("the read URL is told only now")
    assert "Read URL" not in cli("bucket", "provision", *options).stdout


def test_drift_is_shown_and_is_an_exit_code(alone: LocalCloud, storage: Any, cli: Cli) -> None:
    ran = cli("bucket", "status", "--bucket", BUCKET)
    assert (ran.code, ran.stderr) == (7, "")
    assert "OCID:      there is none\n" in ran.stdout
    cli("bucket", "provision", "--bucket", BUCKET, "--yes")
    put(storage, "a", b"x" * 2048)
    ran = cli("bucket", "status", "--bucket", BUCKET)
    assert ran.code == 0
    assert ran.stdout.splitlines()[4:] == [
        "Content:   about 1 objects, 2.0 KiB",
        "Drift:     none",
        "",
        "  = policy     ocimlpack-models",
        "  = bucket     models",
        "  = lifecycle  models",
        "  = log group  ocimlpack",
        "  = log        models-read",
        "  = log        models-write",
    ]
    put_policy(storage, rule("theirs", "DELETE", 9))
    ran = cli("bucket", "status", "--bucket", BUCKET, "--auto-tiering", "Disabled")
    assert ran.code == 7
    assert ran.stdout.splitlines()[5:] == [
        "Drift:     yes",
        "",
        "  = policy     ocimlpack-models",
        "  ~ bucket     models",
        "      auto_tiering: InfrequentAccess → Disabled",
        "  ~ lifecycle  models",
        "      ocimlpack-archive-old: ARCHIVE objects old/* after 30 days",
        "      ocimlpack-delete-expired: DELETE objects expired/* after 365 days",
        "      ocimlpack-delete-previous: DELETE previous-object-versions after 365 days",
        "      ocimlpack-abort-uploads: ABORT multipart-uploads after 7 days",
        "      1 rule of others: kept",
        "  = log group  ocimlpack",
        "  = log        models-read",
        "  = log        models-write",
    ]


def test_what_is_refused_is_one_sentence(alone: LocalCloud, storage: Any, cli: Cli) -> None:
    make_bucket(storage, compartment_id=OTHER_COMPARTMENT)
    ran = cli("bucket", "provision", "--bucket", BUCKET, "--dry-run")
    assert ran.code == 7
    assert ran.stdout.splitlines()[2].startswith("  ! bucket  models")
    assert ran.stdout.splitlines()[-1].endswith("1 that can't be changed")
    ran = cli("bucket", "provision", "--bucket", BUCKET, "--yes")
    assert ran.code == 7
    assert ran.stderr.splitlines()[-1] == (
        "ocimlpack: --bucket: the name models is taken by a bucket in another compartment: choose "
        f"another name, or that compartment, {OTHER_COMPARTMENT}"
    )


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("provision",), 2, "which bucket?"),
        (("provision", "--bucket", "a b", "--yes"), 2, "--bucket: a name is of letters"),
        (("provision", "--bucket", "a", "--auto-tiering", "Enabled"), 2, "InfrequentAccess or"),
        (("provision", "--bucket", "a"), 2, "there is no terminal to ask on"),
        (("provision", "--bucket", "a", "--tag", "x"), 2, "'x' is not KEY=VALUE"),
        (("provision", "--file", "none.yaml", "--yes"), 2, "none.yaml can't be read"),
        (("destroy", "--bucket", "a", "--confirm", "a"), 3, "there is no bucket a"),
        (("provision", "--bucket", "a", "-q"), 2, "nobody sees what is asked about"),
        (("destroy", "--confirm", "a"), 2, "which bucket?"),
        (("export", "--bucket", "a"), 2, "add --terraform or --pulumi"),
        (("--nonsense",), 2, "No such option"),
    ],
)
def test_mistakes(
    alone: LocalCloud, cli: Cli, options: tuple[str, ...], code: int, said: str
) -> None:
    ran = cli("bucket", *options)
    assert (ran.code, ran.stdout) == (code, "")
    assert said in ran.stderr.splitlines()[-2 if "hint: " in ran.stderr else -1]
    assert all(each.method == "GET" for each in alone.server.asked())


def test_a_file_and_options_go_together(alone: LocalCloud, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bucket.yaml"
    path.write_text(f"name: {BUCKET}\ntags: {{team: ml}}\nversioning: Disabled\n")
    ran = cli(
        "bucket", "provision", "--file", path, "--versioning", "Enabled", "--tag", "a=b", "--yes"
    )
    assert ran.code == 0
    bucket = alone.storage.store.buckets[BUCKET]
    assert bucket["versioning"] == "Enabled"
    tags = {"team": "ml", "a": "b", "ocimlpack": "bucket provision"}
    assert bucket["freeformTags"] == tags
    assert cli("bucket", "destroy", "--file", path, "--confirm", BUCKET).code == 0


def test_export_is_code_and_nothing_else(alone: LocalCloud, cli: Cli) -> None:
    ran = cli("bucket", "export", "--terraform", "--bucket", BUCKET)
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout == ocimlpack.bucket_export("terraform", BUCKET).text
    assert alone.server.count() == 0


def test_destroying_says_what_goes(alone: LocalCloud, storage: Any, cli: Cli) -> None:
    cli("bucket", "provision", "--bucket", BUCKET, "--yes")
    put(storage, "a", b"1")
    ran = cli("bucket", "destroy", "--bucket", BUCKET, "--confirm", BUCKET)
    assert (ran.code, ran.stdout) == (7, "")
    assert ran.stderr.splitlines() == [
        "ocimlpack: the bucket models has 1 version of objects in it",
        "hint: add --force to delete that as well; nothing brings it back",
    ]
    ran = cli("bucket", "destroy", "--bucket", BUCKET, "--confirm", BUCKET, "--force")
    assert (ran.code, ran.stdout) == (0, "removed the bucket models\n")
    assert ran.stderr.splitlines() == [
        "removed 1 version of objects",
        "removed the log models-read",
        "removed the log models-write",
        "removed the log group ocimlpack",
        "removed the bucket models",
        "removed the policy ocimlpack-models",
    ]


def start(*arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ocimlpack", "--no-progress", "bucket", *arguments],
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(ocimlpack.__file__).parents[1],
        env=dict(os.environ),
    )


@pytest.mark.parametrize(
    ("command", "typed", "code", "said"),
    [
        ("provision", "y", 0, "Do that? [y/N] "),
        ("provision", "", 1, "nothing was changed: the plan was not approved"),
        ("provision", "no", 1, "nothing was changed: the plan was not approved"),
        ("destroy", "models", 0, "Type the bucket's name to remove that for good: models? "),
        ("destroy", "y", 2, "nothing was removed: it was not confirmed"),
    ],
)
def test_on_a_terminal_it_asks(
    alone: LocalCloud, command: str, typed: str, code: int, said: str
) -> None:
    if command == "destroy":
        ocimlpack.bucket_provision(BUCKET)
    there = BUCKET in alone.storage.store.buckets
    terminal, keyboard = pty.openpty()
    try:
        process = start(command, "--bucket", BUCKET, stdin=keyboard)
        os.write(terminal, f"{typed}\n".encode())
        out, err = process.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(keyboard)
    assert process.returncode == code
    assert said in err
    assert (BUCKET in alone.storage.store.buckets) is (there if code else not there)
    assert bool(out) is (code == 0)


@pytest.mark.parametrize("method_path", ["POST /n/axlocalcloud/b$", "PUT /l$", "POST /logGroups$"])
def test_killed_for_real_in_the_middle_of_a_request_it_converges(
    alone: LocalCloud, method_path: str
) -> None:
    method, _, path = method_path.partition(" ")
    arrived, never = threading.Event(), threading.Event()
    fault = alone.server.fault(method, path, hold=never)
    strikes = fault.strikes

    def notice(request: Any) -> bool:
        found = strikes(request)
        if found:
            arrived.set()
        return found

    fault.strikes = notice  # type: ignore[method-assign]
    process = start("provision", "--bucket", BUCKET, "--yes")
    try:
        assert arrived.wait(60)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        never.set()
        process.kill()
    time.sleep(0.1)  # what was under way when it was killed may still be done
    ocimlpack.bucket_provision(BUCKET)
    assert not ocimlpack.bucket_status(BUCKET).drift
    assert len(alone.policies.policies) == len(alone.logging.groups) == 1
