"""The bucket as code: the same as the plan makes, parsed and run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hcl2
import pytest

import ocimlpack
from ocimlpack.cloud.bucket import file, given, pulumi, terraform
from ocimlpack.cloud.bucket.plan import Part, compare
from ocimlpack.cloud.bucket.spec import DEFAULT_RULES, Logs, ReadUrl, Rule, Spec
from ocimlpack.cloud.bucket.standing import Standing
from ocimlpack.errors import InputError

FOLDER = Path(__file__).parents[3] / "manifests/bucket"
HERE = "ocid1.compartment.oc1..here"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
EXAMPLE = given.settle(file.read(FOLDER / "bucket.yaml"))
FULL = Spec(
    name="models",
    compartment=HERE,
    region="eu-frankfurt-1",
    versioning="Disabled",
    auto_tiering="Disabled",
    kms_key="ocid1.key.oc1.iad.vault.key",
    tags={"a b": 'c"${x}%{y}\\ \n"""', "é": "😀 '"},
    defined_tags={"finance": {"cost centre": "7"}},
    object_events=False,
    rules=(
        Rule("ocimlpack-a", "DELETE", 2, "objects", "YEARS", ("x'*", "old/*"), ("x?y",), False),
        Rule("ocimlpack-b", "ABORT", 1, "multipart-uploads"),
    ),
    logs=Logs(read=False, group="team", retention=60),
    read_url=ReadUrl(datetime(2027, 6, 30, 12, tzinfo=UTC)),
)
BARE = Spec("models", HERE, "us-ashburn-1", rules=(), logs=Logs(False, False), iam_policy=False)
specs = pytest.mark.parametrize("spec", [EXAMPLE, FULL, BARE], ids=["example", "full", "bare"])

NAMES = {
    "compartment": "compartment_id",
    "public_access": "access_type",
    "storage_tier": "storage_tier",
    "versioning": "versioning",
    "auto_tiering": "auto_tiering",
}
"""What the plan calls each, and what the providers call it."""

RUN = """
import json, sys, types
import pulumi

made = []

class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        made.append({"type": args.typ, "name": args.name, "inputs": args.inputs})
        more = {"bucketId": "ocid1.bucket.x"} if args.typ.endswith(":Bucket") else {}
        return f"{args.name}_id", {**args.inputs, **more}

    def call(self, args):
        made.append({"type": args.token, "inputs": args.args})
        return {"namespace": "axexample"}

pulumi.runtime.set_mocks(Mocks(), preview=False)
exported = {}
pulumi.export = lambda name, value: exported.__setitem__(name, value)
program = types.ModuleType("program")

@pulumi.runtime.test
def run():
    exec(compile(sys.stdin.read(), "__main__.py", "exec"), program.__dict__)
    return pulumi.Output.all(**exported).apply(lambda found: made.append({"exported": found}))

run()
print(json.dumps(made))
"""


def planned(spec: Spec) -> dict[Part, list[Any]]:
    """The steps of a plan from nothing, by what they are about."""
    steps = compare(spec, Standing(), NOW).steps
    return {part: [step for step in steps if step.part is part] for part in Part}


def details(spec: Spec) -> dict[str, str]:
    """The bucket's settings, as the plan shows them."""
    (step,) = planned(spec)[Part.BUCKET]
    return dict(line.split(": ", 1) for line in step.details)


def plain(value: Any) -> Any:
    """What the parser has found, without its quotes and marks."""
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str) and value.startswith('"'):
        text: str = json.loads(value)
        return text.replace("$${", "${").replace("%%{", "%{")
    return value


def parsed(spec: Spec) -> dict[str, dict[str, Any]]:
    """The resources, by kind and name."""
    document = plain(hcl2.loads(terraform.export(spec)))
    found: dict[str, dict[str, Any]] = {}
    for each in document["resource"]:
        for kind, named in each.items():
            for name, arguments in named.items():
                found[f"{kind}.{name}"] = arguments
    return found


class TestTerraform:
    @specs
    def test_the_bucket_is_the_plan_s(self, spec: Spec) -> None:
        bucket = parsed(spec)["oci_objectstorage_bucket.models"]
        shown = details(spec)
        for ours, theirs in NAMES.items():
            assert bucket[theirs] == shown[ours]
        assert bucket["name"] == spec.name
        assert bucket["namespace"] == "${data.oci_objectstorage_namespace.models.namespace}"
        assert bucket["object_events_enabled"] is spec.object_events
        assert bucket.get("kms_key_id") == spec.kms_key
        assert bucket.get("freeform_tags", {}) == spec.tags
        tags = {f"{s}.{k}": v for s, of in spec.defined_tags.items() for k, v in of.items()}
        assert bucket.get("defined_tags", {}) == tags

    @specs
    def test_the_lifecycle_is_a_resource_of_its_own(self, spec: Spec) -> None:
        found = parsed(spec).get("oci_objectstorage_object_lifecycle_policy.models", {})
        rules = found.get("rules", [])
        assert [
            Rule(
                each["name"],
                each["action"],
                int(each["time_amount"]),
                each["target"],
                each["time_unit"],
                tuple((each.get("object_name_filter") or [{}])[0].get("inclusion_patterns", ())),
                tuple((each.get("object_name_filter") or [{}])[0].get("exclusion_patterns", ())),
                each["is_enabled"],
            )
            for each in rules
        ] == list(spec.rules)
        if rules:
            assert found["depends_on"] == ["${oci_identity_policy.service}"]
            assert found["bucket"] == "${oci_objectstorage_bucket.models.name}"

    @specs
    def test_policy_logs_and_address(self, spec: Spec) -> None:
        found, steps = parsed(spec), planned(spec)
        policy = found.get("oci_identity_policy.service", {})
        assert policy.get("statements", []) == [
            line for step in steps[Part.POLICY] for line in step.details
        ]
        logs = [name for name in found if name.startswith("oci_logging_log.")]
        assert [found[name]["display_name"] for name in logs] == [
            step.name for step in steps[Part.LOG]
        ]
        for name in logs:
            (configuration,) = found[name]["configuration"]
            (source,) = configuration["source"]
            assert (source["service"], source["category"]) == ("objectstorage", name[16:])
            assert found[name]["retention_duration"] == spec.logs.retention
        assert ("oci_objectstorage_preauthrequest.read" in found) is bool(spec.read_url)

    def test_outputs_and_provider(self) -> None:
        document = plain(hcl2.loads(terraform.export(FULL)))
        outputs = {name: each[name]["value"] for each in document["output"] for name in each}
        assert outputs == {
            "bucket_name": "${oci_objectstorage_bucket.models.name}",
            "bucket_id": "${oci_objectstorage_bucket.models.bucket_id}",
        }
        assert document["provider"][0]["oci"]["region"] == "eu-frankfurt-1"


@pytest.fixture(scope="module")
def engine() -> None:
    """Pulumi's SDK, which is an extra of its own: it takes 330 MB and a minute to install."""
    if importlib.util.find_spec("pulumi_oci") is None:
        if os.environ.get("CI"):
            pytest.fail("pulumi-oci is not installed: pip install -e '.[pulumi]'")
        pytest.skip("pulumi-oci is not installed: pip install -e '.[pulumi]'")


def run_program(text: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=text, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.usefixtures("engine")
class TestPulumi:
    @specs
    def test_the_program_makes_what_the_plan_makes(self, spec: Spec) -> None:
        found = run_program(pulumi.export(spec))
        exported = next(each["exported"] for each in found if "exported" in each)
        assert exported == {"bucket_name": spec.name, "bucket_id": "ocid1.bucket.x"}
        made = {each["type"]: [] for each in found if "name" in each}  # type: ignore[var-annotated]
        for each in found:
            if "name" in each:
                made[each["type"]].append(each["inputs"])
        (bucket,) = made["oci:ObjectStorage/bucket:Bucket"]
        shown = details(spec)
        camel = {"compartment_id": "compartmentId", "access_type": "accessType",
                 "storage_tier": "storageTier", "auto_tiering": "autoTiering"}  # fmt: skip
        for ours, theirs in NAMES.items():
            assert bucket[camel.get(theirs, theirs)] == shown[ours]
        assert (bucket["namespace"], bucket["name"]) == ("axexample", spec.name)
        assert bucket["objectEventsEnabled"] is spec.object_events
        assert bucket.get("kmsKeyId") == spec.kms_key
        assert bucket.get("freeformTags", {}) == spec.tags
        self.check_rest(spec, made)

    def check_rest(self, spec: Spec, made: dict[str, list[Any]]) -> None:
        steps = planned(spec)
        policies = made.get("oci:Identity/policy:Policy", [])
        assert [line for each in policies for line in each["statements"]] == [
            line for step in steps[Part.POLICY] for line in step.details
        ]
        lifecycles = made.get("oci:ObjectStorage/objectLifecyclePolicy:ObjectLifecyclePolicy", [])
        rules = [
            Rule(
                each["name"],
                each["action"],
                int(each["timeAmount"]),
                each["target"],
                each["timeUnit"],
                tuple(each.get("objectNameFilter", {}).get("inclusionPatterns", ())),
                tuple(each.get("objectNameFilter", {}).get("exclusionPatterns", ())),
                each["isEnabled"],
            )
            for lifecycle in lifecycles
            for each in lifecycle["rules"]
        ]
        assert rules == list(spec.rules)
        logs = made.get("oci:Logging/log:Log", [])
        # Pulumi makes at once what waits for nothing, so in no order that means anything.
        named = sorted(each["displayName"] for each in logs)
        assert named == sorted(step.name for step in steps[Part.LOG])
        for each in logs:
            assert each["configuration"]["source"]["resource"] == spec.name
        requests = made.get("oci:ObjectStorage/preauthrequest:Preauthrequest", [])
        named = sorted(each["name"] for each in requests)
        assert named == sorted(step.name for step in steps[Part.READ_URL])

    def test_a_program_with_a_wrong_argument_is_seen(self) -> None:
        text = pulumi.export(EXAMPLE).replace("access_type=", "public_access_type=")
        with pytest.raises(AssertionError, match="public_access_type"):
            run_program(text)


@specs
def test_the_program_is_python(spec: Spec) -> None:
    compile(pulumi.export(spec), "__main__.py", "exec")


@pytest.mark.parametrize(
    ("name", "language"), [("main.tf", "terraform"), ("__main__.py", "pulumi")]
)
def test_the_manifests_are_what_is_exported(name: str, language: Any) -> None:
    code = ocimlpack.bucket_export(language, file=FOLDER / "bucket.yaml")
    assert code.text == (FOLDER / name).read_text("utf-8")


def test_nobody_is_asked_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    code = ocimlpack.bucket_export(
        "terraform", "models", compartment=HERE, region="us-ashburn-1", archive_after=60
    )
    assert 'time_amount = "60"' in code.text
    with pytest.raises(InputError, match="no region is known"):
        ocimlpack.bucket_export("terraform", "models", compartment=HERE)
    code = ocimlpack.bucket_export("pulumi", "models", compartment=HERE, region="fra")
    assert "eu-frankfurt-1" in code.text


def test_the_default_rules_are_the_example_s() -> None:
    assert EXAMPLE.rules == DEFAULT_RULES
    assert replace(EXAMPLE, places={}) == EXAMPLE
