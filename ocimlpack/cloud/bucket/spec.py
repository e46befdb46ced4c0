"""What a bucket for models is to be. No I/O, and no SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

MARK: Final = "ocimlpack"
MARK_VALUE: Final = "bucket provision"
"""A freeform tag on everything that was made here. Rules and pre-authenticated requests have no
tags; their names begin with it."""

PUBLIC_ACCESS: Final = "NoPublicAccess"
STORAGE_TIER: Final = "Standard"
ENABLED: Final = "Enabled"
DISABLED: Final = "Disabled"
VERSIONING: Final = (ENABLED, "Suspended", DISABLED)
AUTO_TIERING: Final = ("InfrequentAccess", DISABLED)

OBJECTS: Final = "objects"
PREVIOUS: Final = "previous-object-versions"
UPLOADS: Final = "multipart-uploads"
ACTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        OBJECTS: ("ARCHIVE", "INFREQUENT_ACCESS", "DELETE"),
        PREVIOUS: ("ARCHIVE", "INFREQUENT_ACCESS", "DELETE"),
        UPLOADS: ("ABORT",),
    }
)
UNITS: Final = ("DAYS", "YEARS")
ASIDE: Final = ("old/", "expired/")
"""The parts of a bucket in which no model is that is to be read at once."""

PREFIX: Final = f"{MARK}-"


@dataclass(frozen=True, slots=True)
class Rule:
    """A lifecycle rule of ours.

    Attributes:
        name: as it stands in the policy; it begins with `ocimlpack-`.
        action: what is done.
        amount: after how many units.
        target: with what.
        unit: `DAYS` or `YEARS`.
        include: globs of the names that it is for; none means all.
        exclude: globs of the names that it is not for.
        enabled: whether it is in force.
    """

    name: str
    action: str
    amount: int
    target: str = OBJECTS
    unit: str = "DAYS"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    enabled: bool = True

    def __str__(self) -> str:
        """`ARCHIVE objects old/* after 30 days`."""
        globs = f" {', '.join(self.include)}" if self.include else ""
        without = f" but {', '.join(self.exclude)}" if self.exclude else ""
        unit = self.unit.lower().removesuffix("s" if self.amount == 1 else "")
        off = "" if self.enabled else " (off)"
        return f"{self.action} {self.target}{globs}{without} after {self.amount} {unit}{off}"


DEFAULT_RULES: Final = (
    Rule(f"{PREFIX}archive-old", "ARCHIVE", 30, include=("old/*",)),
    Rule(f"{PREFIX}delete-expired", "DELETE", 365, include=("expired/*",)),
    Rule(f"{PREFIX}delete-previous", "DELETE", 365, PREVIOUS),
    Rule(f"{PREFIX}abort-uploads", "ABORT", 7, UPLOADS),
)
"""Models that are in use are in none of them: a fallback that has to be restored for an hour before
it can be read is none."""


@dataclass(frozen=True, slots=True)
class Logs:
    """Access logs.

    Attributes:
        read, write: which there are to be.
        group: the log group's name; it is made if it isn't there.
        retention: days that entries are kept.
    """

    read: bool = True
    write: bool = True
    group: str = MARK
    retention: int = 30

    @property
    def categories(self) -> tuple[str, ...]:
        """Those that there are to be."""
        return tuple(name for name in ("read", "write") if getattr(self, name))


@dataclass(frozen=True, slots=True)
class ReadUrl:
    """An address under which everybody who knows it may read.

    Attributes:
        expires: until when.
        name: what it is called in lists; it begins with `ocimlpack-`.
    """

    expires: datetime
    name: str = f"{MARK}-read"


@dataclass(frozen=True, slots=True)
class Spec:
    """A bucket as it is to be: private and in the standard tier, with all else below.

    Attributes:
        name: the bucket's.
        compartment: OCID of the compartment, or of the tenancy for its root.
        region: the region's identifier.
        versioning: `Enabled`, `Suspended` or `Disabled`.
        auto_tiering: `InfrequentAccess` or `Disabled`.
        kms_key: OCID of the master key; None for Oracle's, or for what stands.
        tags: freeform tags, beside those that others set.
        defined_tags: by namespace and key.
        object_events: whether changes of objects are events.
        rules: lifecycle rules of ours, beside those that others wrote.
        logs: access logs.
        iam_policy: whether the policy is looked after that the service needs for lifecycles.
        read_url: a pre-authenticated address to read by, if one is wanted.
        places: where each key was given, for what can only be said later.
    """

    name: str
    compartment: str
    region: str
    versioning: str = ENABLED
    auto_tiering: str = "InfrequentAccess"
    kms_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    defined_tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    object_events: bool = True
    rules: tuple[Rule, ...] = DEFAULT_RULES
    logs: Logs = Logs()
    iam_policy: bool = True
    read_url: ReadUrl | None = None
    places: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def policy_name(self) -> str:
        """What the policy is called that permits the service what it needs."""
        return policy_name(self.name)

    @property
    def service(self) -> str:
        """The service principal of object storage in the region."""
        return f"objectstorage-{self.region}"

    @property
    def statements(self) -> tuple[str, ...]:
        """What has to be permitted to the service.

        https://docs.oracle.com/iaas/Content/Object/Tasks/usinglifecyclepolicies.htm#permissions
        """
        root = self.compartment.startswith("ocid1.tenancy.")
        where = "tenancy" if root else f"compartment id {self.compartment}"
        found = []
        if self.rules:
            found.append(
                f"Allow service {self.service} to manage object-family in {where} "
                f"where target.bucket.name = '{self.name}'"
            )
        if self.kms_key:
            found.append(
                f"Allow service {self.service} to use keys in {where} "
                f"where target.key.id = '{self.kms_key}'"
            )
        return tuple(found)

    def at(self, *keys: str) -> str:
        """`bucket.yaml, line 3: ` where the first of these keys that was given is, else nothing."""
        place = next((self.places[key] for key in keys if key in self.places), None)
        return f"{place}: " if place else ""


def policy_name(bucket: str) -> str:
    """What the policy for a bucket is called; a policy's name has 100 characters at most."""
    return f"{PREFIX}{bucket}"[:100]


def is_ours(name: str) -> bool:
    """Whether a lifecycle rule or a pre-authenticated request of that name was made here."""
    return name.startswith(PREFIX)
