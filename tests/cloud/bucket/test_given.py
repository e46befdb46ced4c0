"""What `bucket.yaml` and options may say, and the sentences about what they may not."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ocimlpack.cloud.bucket import file, given
from ocimlpack.cloud.bucket.given import KEYS, LOG_KEYS, RULE_KEYS, URL_KEYS, Given
from ocimlpack.cloud.bucket.spec import DEFAULT_RULES, UPLOADS, Rule, Spec
from ocimlpack.errors import InputError

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "manifests/bucket/bucket.yaml"
SCHEMA: Any = json.loads((ROOT / "manifests/schema/bucket.schema.json").read_text("utf-8"))
OCID = "ocid1.compartment.oc1..aaaa"
BASE = f"name: models\ncompartment: {OCID}\nregion: us-ashburn-1\n"

# What each says, and what comes as a hint. The line is that of the mistake.
WRONG = [
    ("autotiering: Disabled", 4, "'autotiering' is not known", "did you mean auto_tiering?"),
    ("bucket: x", 4, "'bucket' is not known", "known are name, compartment, region"),
    (
        "auto_tiering: Enabled",
        4,
        "auto_tiering is InfrequentAccess or Disabled, not 'Enabled'",
        "auto_tiering: InfrequentAccess",
    ),
    (
        "versioning: true",
        4,
        "versioning is Enabled, Suspended or Disabled, not 'true'",
        "versioning: Enabled",
    ),
    ("storage_tier: Archive", 4, "storage_tier is Standard, not 'Archive'", "old/"),
    ("versioning: Enabled\nstorage_tier: Archive", 5, "storage_tier is Standard", "old/"),
    ("public_access: ObjectRead", 4, "public_access is NoPublicAccess, not", "read_url"),
    ("kms_key: abc", 4, "kms_key is the OCID of a key, not 'abc'", "ocid1.key.oc1"),
    ("kms_key: ocid1.vault.oc1.iad.a.b", 4, "kms_key is the OCID of a key", "ocid1.key"),
    ("tags: [a]", 4, "tags is not made of keys with values", ""),
    ("tags: {ocimlpack: x}", 4, "the tag ocimlpack says what was made here", ""),
    ("object_events: maybe", 4, "object_events is true or false, not 'maybe'", ""),
    ("access_logs: {all: true}", 4, "'all' is not known", "known are read, write"),
    ("access_logs:\n  retention_days: 31", 5, "retention_days is one of 30, 60", ""),
    ("read_url: {}", 4, "the read_url has no expires", "expires: 2027-06-30"),
    ("read_url: {expires: soon}", 4, "expires is a date or a time, not 'soon'", "2027-06-30"),
    ("name: again", 4, "'name' is given twice", ""),
]
WRONG_RULES = [
    ("action: SHRED", "action is ARCHIVE, INFREQUENT_ACCESS or DELETE, not 'SHRED'", ""),
    ("action: archive", "action is ARCHIVE, INFREQUENT_ACCESS or DELETE", "action: ARCHIVE"),
    ("action: ABORT", "ABORT is for the target multipart-uploads, not for objects", ""),
    ("time_unit: MONTHS", "time_unit is DAYS or YEARS, not 'MONTHS'", "time_amount: 90 with time"),
    ("time_unit: days", "time_unit is DAYS or YEARS, not 'days'", "time_unit: DAYS"),
    ("tag: stage=old", "'tag': objects have no tags", "include: [old/*]"),
    ("time_amount: 0", "time_amount is a whole number from 1", ""),
    ("time_amount: a year", "time_amount is a whole number from 1", ""),
    ("target: tags", "target is objects, previous-object-versions or multipart-uploads", ""),
    ("name: a b", "a rule's name is of letters, digits", ""),
    ("prefix: old/", "'prefix' is not known", ""),
]


def settle(text: str) -> Spec:
    return given.settle(file.parse(Path("bucket.yaml"), text.encode()))


def refuse(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        settle(text)
    return caught.value


def is_valid(text: str) -> bool:
    """Whether the schema takes it; a key that is there twice is no matter of a schema."""
    document = yaml.load(text, Loader=yaml.BaseLoader)
    loaded = yaml.safe_load(text)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return document is None or validator.is_valid(json.loads(json.dumps(loaded, default=str)))


@pytest.mark.parametrize(("text", "line", "said", "hint"), WRONG)
def test_a_wrong_file_is_told_its_line_and_the_right_value(
    text: str, line: int, said: str, hint: str
) -> None:
    error = refuse(BASE + text)
    assert error.message.startswith(f"bucket.yaml, line {line}: {said}")
    assert hint in (error.hint or "")
    assert "again" in text or not is_valid(BASE + text)


@pytest.mark.parametrize(("text", "said", "hint"), WRONG_RULES)
def test_a_wrong_rule_is_told_its_line_and_the_right_value(text: str, said: str, hint: str) -> None:
    key = text.partition(":")[0]
    fields = {"name": "a", "action": "DELETE", "time_amount": "3"}
    fields.pop(key, None)
    lines = [f"    {name}: {value}" for name, value in fields.items()]
    rule = BASE + "lifecycle:\n  -\n" + "\n".join([*lines, f"    {text}"]) + "\n"
    error = refuse(rule)
    assert error.message.startswith(f"bucket.yaml, line {6 + len(fields)}: {said}")
    assert hint in (error.hint or "")
    assert not is_valid(rule)


@pytest.mark.parametrize(
    "include", ["", "    include: [active/*]\n", "    include: ['*', old/*]\n"]
)
def test_models_in_use_are_never_archived(include: str) -> None:
    rule = "lifecycle:\n  - name: a\n    action: ARCHIVE\n    time_amount: 30\n"
    error = refuse(BASE + rule + include)
    assert "would archive models in use" in error.message
    assert error.hint == "include: [old/*]"
    assert not is_valid(BASE + rule + include)
    settle(BASE + rule + "    include: [old/*, expired/a*]\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- name", "bucket.yaml, line 1: the file is not made of keys with values"),
        ("{", "bucket.yaml is not YAML: line 1"),
        ("", "which bucket?"),
        ("name: models", "in which compartment"),
        (f"name: models\ncompartment: {OCID}", "no region is known"),
        ("name: a b\ncompartment: x\nregion: r", "bucket.yaml, line 1: a name is of letters"),
        ("name: a\ncompartment: x\nregion: r", "bucket.yaml, line 2: compartment is the OCID"),
        (f"name: a\ncompartment: {OCID}\nregion: here", "bucket.yaml, line 3: 'here' is no reg"),
        (BASE + "versioning: Disabled\nlifecycle:\n- {name: a, action: DELETE, time_amount: 1, "
         "target: previous-object-versions}", "bucket.yaml, line 5: the rule ocimlpack-a is for"),
        (BASE + "lifecycle:\n- {name: a, action: INFREQUENT_ACCESS, time_amount: 1}",
         "bucket.yaml, line 4: the rule ocimlpack-a moves objects to infrequent access"),
        (BASE + "lifecycle:\n- {name: a, action: DELETE, time_amount: 1}\n"
         "- {name: ocimlpack-a, action: DELETE, time_amount: 1}", "two rules are named"),
        (BASE + "lifecycle:\n- {name: a, action: DELETE}", "the rule has no time_amount"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(text: str, said: str) -> None:
    assert said in refuse(text).message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read: No such file"):
        file.read(tmp_path / "none")
    (tmp_path / "large").write_bytes(b"#" * 2_000_000)
    with pytest.raises(InputError, match="larger than"):
        file.read(tmp_path / "large")


def test_defaults() -> None:
    spec = settle(BASE)
    assert (spec.versioning, spec.auto_tiering) == ("Enabled", "InfrequentAccess")
    assert spec.object_events
    assert spec.logs.categories == ("read", "write")
    assert spec.read_url is None
    said = [str(rule) for rule in spec.rules]
    assert said == [
        "ARCHIVE objects old/* after 30 days",
        "DELETE objects expired/* after 365 days",
        "DELETE previous-object-versions after 365 days",
        "ABORT multipart-uploads after 7 days",
    ]
    assert spec.statements == (
        "Allow service objectstorage-us-ashburn-1 to manage object-family in compartment id "
        f"{OCID} where target.bucket.name = 'models'",
    )


def test_without_versioning_there_is_no_rule_for_previous_versions() -> None:
    targets = [rule.target for rule in settle(BASE + "versioning: Disabled").rules]
    assert targets == ["objects", "objects", "multipart-uploads"]


def test_what_has_to_be_permitted() -> None:
    key = "ocid1.key.oc1.iad.vault.key"
    spec = settle(BASE.replace("compartment.oc1", "tenancy.oc1") + f"kms_key: {key}")
    assert spec.statements == (
        "Allow service objectstorage-us-ashburn-1 to manage object-family in tenancy where "
        "target.bucket.name = 'models'",
        "Allow service objectstorage-us-ashburn-1 to use keys in tenancy where "
        f"target.key.id = '{key}'",
    )
    assert settle(BASE + "lifecycle: []").statements == ()


def test_the_example_says_the_defaults() -> None:
    text = EXAMPLE.read_text("utf-8")
    spec = settle(text)
    assert is_valid(text)
    assert spec.rules == DEFAULT_RULES
    assert spec.tags == {"team": "ml", "purpose": "models"}
    assert spec.read_url is not None
    assert spec.read_url.expires == datetime(2027, 6, 30, tzinfo=UTC)
    plain = settle(f"name: {spec.name}\ncompartment: {spec.compartment}\nregion: {spec.region}")
    assert (spec.logs, spec.iam_policy, spec.versioning) == (
        plain.logs,
        plain.iam_policy,
        plain.versioning,
    )


def test_schema_and_parser_know_the_same_keys() -> None:
    properties = SCHEMA["properties"]
    assert tuple(properties) == KEYS
    assert tuple(SCHEMA["$defs"]["rule"]["properties"]) == RULE_KEYS
    assert tuple(properties["access_logs"]["anyOf"][1]["properties"]) == LOG_KEYS
    assert tuple(properties["read_url"]["anyOf"][1]["properties"]) == URL_KEYS


@pytest.mark.parametrize(
    "text",
    [
        "tags: {version: 1.10, is: yes}",
        "defined_tags: {finance: {cost: '7'}}",
        "kms_key:\nlifecycle:\naccess_logs:",
        "lifecycle: []",
        "read_url: {name: team, expires: 2027-06-30T12:00:00+02:00}",
        "lifecycle: [{name: a, action: DELETE, time_amount: 2, time_unit: YEARS, include: x*, "
        "exclude: [xy*], enabled: false}]",
    ],
)
def test_what_is_right_for_the_parser_is_right_for_the_schema(text: str) -> None:
    settle(BASE + text)
    assert is_valid(BASE + text)


def test_values_are_taken_as_they_are_written() -> None:
    spec = settle(
        BASE
        + "tags: {version: 1.10}\nread_url: {name: team, expires: 2027-06-30T12:00:00+02:00}\n"
        + "lifecycle: [{name: ocimlpack-a, action: DELETE, time_amount: 2, time_unit: YEARS, "
        + "include: x*, exclude: [xy*], enabled: false}]"
    )
    assert spec.tags == {"version": "1.10"}
    assert spec.read_url is not None
    assert spec.read_url.name == "ocimlpack-team"
    assert spec.read_url.expires == datetime(2027, 6, 30, 10, tzinfo=UTC)
    rule = Rule("ocimlpack-a", "DELETE", 2, "objects", "YEARS", ("x*",), ("xy*",), False)
    assert spec.rules == (rule,)
    assert str(rule) == "DELETE objects x* but xy* after 2 years (off)"


class TestOptions:
    def options(self, text: str = "", **options: object) -> Spec:
        fields = dict(file.parse(Path("bucket.yaml"), (BASE + text).encode()))
        given.add_options(fields, options)
        return given.settle(fields)

    def test_days_are_those_of_the_default_rules(self) -> None:
        spec = self.options(archive_after=60, delete_after=90)
        assert [rule.amount for rule in spec.rules] == [60, 90, 90, 7]
        spec = self.options("versioning: Disabled", delete_after=90)
        assert [rule.amount for rule in spec.rules] == [30, 90, 7]

    def test_days_do_not_go_with_a_lifecycle_in_the_file(self) -> None:
        with pytest.raises(InputError, match=r"--archive-after: the file says"):
            self.options("lifecycle: []", archive_after=60)

    def test_logs_and_address(self) -> None:
        spec = self.options("access_logs: {retention_days: 60}", log_group="team")
        assert (spec.logs.group, spec.logs.retention) == ("team", 60)
        assert self.options(access_logs=False).logs.categories == ()
        spec = self.options("access_logs: {read: false}", access_logs=True)
        assert spec.logs.categories == ("read", "write")
        spec = self.options(read_url_expires="2027-01-01")
        assert spec.read_url is not None
        with pytest.raises(InputError, match="--read-url-expires: expires is a date"):
            self.options(read_url_expires="soon")

    def test_where_a_value_was_given_is_said(self) -> None:
        fields = {
            "name": Given("models", "--bucket"),
            "compartment": Given(OCID, "--compartment"),
            "region": Given("fra", "--region"),
            "auto_tiering": Given("Enabled", "--auto-tiering"),
        }
        with pytest.raises(InputError, match=re.escape("--auto-tiering: auto_tiering is Infr")):
            given.settle(fields)


def test_uploads_have_no_names() -> None:
    rule = f"lifecycle: [{{name: a, action: ABORT, target: {UPLOADS}, time_amount: 1, include: x}}]"
    assert "goes for all of them" in refuse(BASE + rule).message
    assert not is_valid(BASE + rule)
