"""From what was given, in a file or on the command line, to what a bucket is to be.

A value that makes no sense here is refused here, with where it was given: the SDK hands some wrong
ones on, and the service's answer names neither the file nor the line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from ocimlpack.cloud.bucket.spec import (
    ACTIONS,
    ASIDE,
    AUTO_TIERING,
    DEFAULT_RULES,
    DISABLED,
    MARK,
    OBJECTS,
    PREFIX,
    PREVIOUS,
    PUBLIC_ACCESS,
    STORAGE_TIER,
    UNITS,
    UPLOADS,
    VERSIONING,
    Logs,
    ReadUrl,
    Rule,
    Spec,
)
from ocimlpack.errors import InputError

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,256}\Z")
_RULE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")
_REGION: Final = re.compile(r"[a-z]{2,3}-[a-z]+(-[a-z]+)*-[0-9]+\Z|[a-z]{3}\Z")
_OCID: Final = re.compile(r"ocid1\.([a-z]+)\.[a-z0-9]+\.[a-z0-9-]*\.[A-Za-z0-9._-]+\Z")
_SWITCHES: Final = {
    "enabled": True,
    "true": True,
    "on": True,
    "yes": True,
    "false": False,
    "off": False,
}
"""What people write for a setting whose values are others: the first of them, or the last."""

_MAX_TAGS: Final = 9
"""Ten freeform tags a resource, of which one is ours:
https://docs.oracle.com/en-us/iaas/Content/Tagging/Concepts/taggingoverview.htm"""

_RETENTIONS: Final = tuple(range(30, 181, 30))
"""https://docs.oracle.com/en-us/iaas/Content/Logging/Concepts/loggingoverview.htm"""


@dataclass(frozen=True, slots=True)
class Given:
    """A value with where it was given.

    Attributes:
        value: text, true or false, a list or a mapping.
        place: `bucket.yaml, line 3` or `--auto-tiering`.
    """

    value: Any
    place: str

    def wrong(self, message: str, hint: str | None = None) -> InputError:
        """What to raise of the value."""
        return InputError(f"{self.place}: {message}", hint=hint)


KEYS: Final = (
    "name",
    "compartment",
    "region",
    "public_access",
    "storage_tier",
    "versioning",
    "auto_tiering",
    "kms_key",
    "tags",
    "defined_tags",
    "object_events",
    "lifecycle",
    "access_logs",
    "iam_policy",
    "read_url",
)
RULE_KEYS: Final = (
    "name",
    "action",
    "target",
    "time_amount",
    "time_unit",
    "include",
    "exclude",
    "enabled",
)
LOG_KEYS: Final = ("read", "write", "group", "retention_days")
URL_KEYS: Final = ("name", "expires")


def settle(given: Mapping[str, Given]) -> Spec:
    """The bucket that these values describe; what is left out is as it is by default.

    Args:
        given: by the keys of the file.

    Raises:
        InputError: a value makes no sense here, or one is missing.
    """
    if "name" not in given:
        raise InputError("which bucket?", hint="add --bucket NAME, or name: in the file")
    if "compartment" not in given:
        raise InputError(
            "in which compartment is the bucket to be?",
            hint="add --compartment OCID, or compartment: in the file",
        )
    if "region" not in given:
        raise InputError("no region is known", hint="add --region, or region: in the file")
    _check_fixed(given)
    fields: dict[str, Any] = {
        "name": _name(given["name"]),
        "compartment": _ocid(given["compartment"], "compartment", ("compartment", "tenancy")),
        "region": _region(given["region"]),
        "places": MappingProxyType({key: each.place for key, each in given.items()}),
    }
    if each := given.get("versioning"):
        fields["versioning"] = _one_of(each, "versioning", VERSIONING)
    if each := given.get("auto_tiering"):
        fields["auto_tiering"] = _one_of(each, "auto_tiering", AUTO_TIERING)
    if each := given.get("kms_key"):
        fields["kms_key"] = _ocid(each, "kms_key", ("key",))
    for key in ("tags", "defined_tags"):
        if each := given.get(key):
            fields[key] = _tags(each, key)
    for key in ("object_events", "iam_policy"):
        if each := given.get(key):
            fields[key] = each.value
    for key, name in (("access_logs", "logs"), ("read_url", "read_url"), ("lifecycle", "rules")):
        if key in given:
            fields[name] = given[key].value
    return _consistent(Spec(**fields), given)


def make_rule(given: Mapping[str, Given], place: Given) -> Rule:
    """A lifecycle rule.

    Args:
        given: by the keys of the file.
        place: where the rule begins.

    Raises:
        InputError: a value makes no sense, or one is missing.
    """
    for key in ("name", "action", "time_amount"):
        if key not in given:
            raise place.wrong(f"the rule has no {key}", f"a rule has {', '.join(RULE_KEYS[:4])}")
    name = str(given["name"].value).removeprefix(PREFIX)
    if not _RULE_NAME.match(name):
        raise given["name"].wrong(
            f"a rule's name is of letters, digits, '-', '_' and '.', not {name!r}"
        )
    target = OBJECTS
    if "target" in given:
        target = _one_of(given["target"], "target", tuple(ACTIONS))
    action = _action(given["action"], target)
    unit = _unit(given["time_unit"], given["time_amount"]) if "time_unit" in given else "DAYS"
    include, exclude = (
        tuple(given[key].value) if key in given else () for key in ("include", "exclude")
    )
    if target == UPLOADS and (include or exclude):
        raise given["include" if include else "exclude"].wrong(
            "a rule for unfinished uploads goes for all of them: leave include and exclude out"
        )
    rule = Rule(
        name=f"{PREFIX}{name}",
        action=action,
        amount=number(given["time_amount"], "time_amount", 1, 100_000),
        target=target,
        unit=unit,
        include=include,
        exclude=exclude,
        enabled=given["enabled"].value if "enabled" in given else True,
    )
    _keep_readable(rule, given.get("include") or place)
    return rule


def make_logs(given: Mapping[str, Given]) -> Logs:
    """Access logs.

    Raises:
        InputError: a value makes no sense.
    """
    fields: dict[str, Any] = {key: given[key].value for key in ("read", "write") if key in given}
    if each := given.get("group"):
        fields["group"] = _name(each)
    if each := given.get("retention_days"):
        days = number(each, "retention_days", 1, 10_000)
        if days not in _RETENTIONS:
            raise each.wrong(
                f"retention_days is one of {', '.join(map(str, _RETENTIONS))}, not {days}"
            )
        fields["retention"] = days
    return Logs(**fields)


def make_read_url(given: Mapping[str, Given], place: Given) -> ReadUrl:
    """An address to read by.

    Raises:
        InputError: it has no time, or one that makes no sense.
    """
    if "expires" not in given:
        raise place.wrong("the read_url has no expires", "expires: 2027-06-30")
    fields: dict[str, Any] = {"expires": moment(given["expires"])}
    if each := given.get("name"):
        fields["name"] = PREFIX + _name(each).removeprefix(PREFIX)
    return ReadUrl(**fields)


def add_options(fields: dict[str, Given], options: Mapping[str, object]) -> None:
    """Add options that stand for a part of what a key of the file says.

    Args:
        fields: by the keys of the file; what the options change is replaced.
        options: `archive_after`, `delete_after`, `access_logs`, `log_group`, `read_url_expires`.

    Raises:
        InputError: a value makes no sense.
    """
    days = {
        DEFAULT_RULES[0].name: ("archive_after", "--archive-after"),
        DEFAULT_RULES[1].name: ("delete_after", "--delete-after"),
        DEFAULT_RULES[2].name: ("delete_after", "--delete-after"),
    }
    asked = {
        name: Given(options[key], place)
        for name, (key, place) in days.items()
        if options.get(key) is not None
    }
    if asked:
        first = next(iter(asked.values()))
        if "lifecycle" in fields:
            raise first.wrong("the file says what the lifecycle is", "change it there")
        rules = tuple(
            replace(rule, amount=number(asked[rule.name], "the number of days", 1, 100_000))
            if rule.name in asked
            else rule
            for rule in DEFAULT_RULES
            if rule.target != PREVIOUS or not _is_disabled(fields.get("versioning"))
        )
        fields["lifecycle"] = Given(rules, first.place)
    logs: Logs = fields["access_logs"].value if "access_logs" in fields else Logs()
    if (wanted := options.get("access_logs")) is not None:
        logs = replace(logs, read=bool(wanted), write=bool(wanted))
        fields["access_logs"] = Given(logs, "--access-logs")
    if (group := options.get("log_group")) is not None:
        name = make_logs({"group": Given(group, "--log-group")}).group
        fields["access_logs"] = Given(replace(logs, group=name), "--log-group")
    if (expires := options.get("read_url_expires")) is not None:
        here = Given(expires, "--read-url-expires")
        fields["read_url"] = Given(make_read_url({"expires": here}, here), here.place)


def _is_disabled(versioning: Given | None) -> bool:
    return versioning is not None and versioning.value == DISABLED


def moment(given: Given) -> datetime:
    """A time, to the second; a date is its first moment in UTC.

    Raises:
        InputError: it is none.
    """
    try:
        found = datetime.fromisoformat(str(given.value))
    except ValueError as error:
        raise given.wrong(
            f"expires is a date or a time, not {str(given.value)!r:.60}",
            "2027-06-30 or 2027-06-30T12:00:00Z",
        ) from error
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(microsecond=0)


def number(given: Given, what: str, least: int, most: int) -> int:
    """A whole number.

    Raises:
        InputError: it is none, or out of bounds.
    """
    text = str(given.value)
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise given.wrong(f"{what} is a whole number from {least} to {most:,}, not {text!r:.60}")
    return int(text)


def _check_fixed(given: Mapping[str, Given]) -> None:
    each = given.get("public_access")
    if each is not None and each.value != PUBLIC_ACCESS:
        raise each.wrong(
            f"public_access is {PUBLIC_ACCESS}, not {each.value!r:.60}: models are for those who "
            "may have them",
            "read_url: gives readers an address that expires",
        )
    each = given.get("storage_tier")
    if each is not None and each.value != STORAGE_TIER:
        raise each.wrong(
            f"storage_tier is {STORAGE_TIER}, not {each.value!r:.60}: what is archived can't be "
            "read for an hour, and a bucket's tier can't be changed later",
            "lifecycle: archives what is in old/",
        )


def _consistent(spec: Spec, given: Mapping[str, Given]) -> Spec:
    rules = spec.rules
    if spec.versioning == DISABLED and "lifecycle" not in given:
        rules = tuple(rule for rule in rules if rule.target != PREVIOUS)
    for rule in rules:
        place = given.get("lifecycle") or Given(None, "lifecycle")
        if rule.action == "INFREQUENT_ACCESS" and spec.auto_tiering != DISABLED:
            raise place.wrong(
                f"the rule {rule.name} moves objects to infrequent access, which auto-tiering does "
                "already",
                "auto_tiering: Disabled, or leave the rule out",
            )
        if rule.target == PREVIOUS and spec.versioning == DISABLED:
            raise place.wrong(
                f"the rule {rule.name} is for previous versions, which there are none of",
                "versioning: Enabled, or leave the rule out",
            )
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise given["lifecycle"].wrong(f"two rules are named {name}")
    return replace(spec, rules=rules)


def _keep_readable(rule: Rule, place: Given) -> None:
    """Refuse a rule that would archive models that are in use."""
    if rule.action != "ARCHIVE" or rule.target != OBJECTS:
        return
    if not rule.include or not all(glob.startswith(ASIDE) for glob in rule.include):
        raise place.wrong(
            f"the rule {rule.name} would archive models in use, which then can't be read for an "
            "hour",
            "include: [old/*]",
        )


def _action(given: Given, target: str) -> str:
    value = str(given.value)
    if value in ACTIONS[target]:
        return value
    fitting = [each for each, actions in ACTIONS.items() if value in actions]
    if fitting:
        raise given.wrong(f"{value} is for the target {' or '.join(fitting)}, not for {target}")
    return _one_of(given, "action", ACTIONS[target])


def _unit(given: Given, amount: Given) -> str:
    value = str(given.value)
    if value in UNITS:
        return value
    days = {"MONTHS": 30, "WEEKS": 7}.get(value.upper())
    count = str(amount.value)
    hint = None
    if days and count.isdigit():
        hint = f"time_amount: {int(count) * days} with time_unit: DAYS"
    elif value.upper() in UNITS:
        hint = f"time_unit: {value.upper()}"
    raise given.wrong(f"time_unit is DAYS or YEARS, not {value!r:.60}", hint)


def _one_of(given: Given, what: str, values: tuple[str, ...]) -> str:
    value = str(given.value)
    if value in values:
        return value
    same = next((each for each in values if each.lower() == value.lower()), None)
    if same is None and value.lower() in _SWITCHES:
        same = values[0] if _SWITCHES[value.lower()] else values[-1]
    *first, last = values
    said = f"{', '.join(first)} or {last}" if first else last
    raise given.wrong(f"{what} is {said}, not {value!r:.60}", f"{what}: {same}" if same else None)


def _name(given: Given) -> str:
    value = str(given.value)
    if not _NAME.match(value):
        raise given.wrong(
            f"a name is of letters, digits, '-', '_' and '.', at most 256, not {value!r:.60}"
        )
    return value


def _region(given: Given) -> str:
    value = str(given.value).lower()
    if not _REGION.match(value):
        raise given.wrong(f"{value!r:.60} is no region", "us-ashburn-1, or its key iad")
    return value


def _ocid(given: Given, what: str, kinds: tuple[str, ...]) -> str:
    value = str(given.value)
    found = _OCID.match(value)
    if found is None or found[1] not in kinds:
        raise given.wrong(
            f"{what} is the OCID of a {' or a '.join(kinds)}, not {value!r:.80}",
            f"ocid1.{kinds[0]}.oc1..…",
        )
    return value


def _tags(given: Given, key: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = given.value
    if key == "tags":
        if len(value) > _MAX_TAGS:
            raise given.wrong(f"there may be {_MAX_TAGS} tags, not {len(value)}")
        if MARK in value:
            raise given.wrong(f"the tag {MARK} says what was made here: choose another key")
        texts, longest = dict(value), 100
    else:
        longest = 201  # a namespace, a dot and a key
        texts = {
            f"{space}.{name}": text for space, of in value.items() for name, text in of.items()
        }
    for name, text in texts.items():
        if not 0 < len(name) <= longest or len(text) > 256:
            raise given.wrong(
                f"the tag {name!r:.60} is longer than 100 characters, or its value than 256"
            )
    return value
