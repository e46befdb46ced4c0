"""ocimlpack: machine-learning models as OCI artifacts.

    import ocimlpack

    pushed = ocimlpack.push("./model", "registry.example/team/minilm", tags=["1.0"])
    folder = ocimlpack.pull(f"registry.example/team/minilm@{pushed.digest}", "./out").path

Each function takes plain arguments, returns a frozen result, raises an `OcimlpackError` and prints
nothing. They are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ocimlpack._version import __version__

if TYPE_CHECKING:
    from ocimlpack.app.accounts import login, login_oci, logout, ocir_token
    from ocimlpack.app.archives import Loaded, Saved, SavedArtifact, load, save
    from ocimlpack.app.audit import AuditBreak, AuditRecord, AuditTrail, audit
    from ocimlpack.app.bucket import (
        BucketCode,
        BucketContent,
        BucketPlan,
        BucketStatus,
        BucketStep,
        ProvisionedBucket,
        RemovedBucket,
        bucket_destroy,
        bucket_export,
        bucket_provision,
        bucket_status,
    )
    from ocimlpack.app.catalog import (
        CatalogModel,
        catalog_list,
        catalog_pull,
        catalog_register,
        catalog_show,
    )
    from ocimlpack.app.diagnosis import Diagnosis
    from ocimlpack.app.diff import Difference, diff
    from ocimlpack.app.doctor import doctor
    from ocimlpack.app.fallback import sync
    from ocimlpack.app.importing import Imported, import_model
    from ocimlpack.app.looking import inspect, verify
    from ocimlpack.app.moving import copy, pack, push
    from ocimlpack.app.naming import ls, prune, repos, rm, tag, tags
    from ocimlpack.app.ocir import (
        OcirImage,
        OcirRepository,
        ocir_create,
        ocir_images,
        ocir_list,
        ocir_show,
    )
    from ocimlpack.app.pulling import pull, read_file, resolve
    from ocimlpack.app.results import (
        Inspected,
        InspectedFile,
        InspectedTensor,
        InspectedWeights,
        Listed,
        LoggedIn,
        RegistryToken,
        Removed,
        Tagged,
        Verified,
    )
    from ocimlpack.app.stages import (
        BucketUse,
        Restored,
        Staged,
        bucket_du,
        bucket_restore,
        bucket_stage,
        bucket_undelete,
    )
    from ocimlpack.app.transfers import Content, Pulled, Synced, Transferred
    from ocimlpack.errors import (
        ConflictError,
        InputError,
        IntegrityError,
        InvalidContentError,
        InvalidDigestError,
        InvalidReferenceError,
        NotAllowedError,
        NotFoundError,
        OcimlpackError,
        RefusedError,
        UnavailableError,
        UnreachableError,
        UnsafeSourceError,
        UnsupportedError,
    )
    from ocimlpack.model.difference import FieldDifference, FileDifference
    from ocimlpack.model.tensor_difference import TensorDifference
    from ocimlpack.progress import (
        Began,
        Ended,
        Event,
        Moved,
        Noted,
        Planned,
        Reporter,
        Retried,
        Warned,
    )

_HOMES = {
    "ocimlpack.app.accounts": ("login", "login_oci", "logout", "ocir_token"),
    "ocimlpack.app.diagnosis": ("Diagnosis",),
    "ocimlpack.app.diff": ("Difference", "diff"),
    "ocimlpack.model.difference": ("FieldDifference", "FileDifference"),
    "ocimlpack.model.tensor_difference": ("TensorDifference",),
    "ocimlpack.app.doctor": ("doctor",),
    "ocimlpack.app.ocir": (
        "OcirImage",
        "OcirRepository",
        "ocir_create",
        "ocir_images",
        "ocir_list",
        "ocir_show",
    ),
    "ocimlpack.app.bucket": (
        "BucketCode",
        "BucketContent",
        "BucketPlan",
        "BucketStatus",
        "BucketStep",
        "ProvisionedBucket",
        "RemovedBucket",
        "bucket_destroy",
        "bucket_export",
        "bucket_provision",
        "bucket_status",
    ),
    "ocimlpack.app.archives": ("Loaded", "Saved", "SavedArtifact", "load", "save"),
    "ocimlpack.app.audit": ("AuditBreak", "AuditRecord", "AuditTrail", "audit"),
    "ocimlpack.app.catalog": (
        "CatalogModel",
        "catalog_list",
        "catalog_pull",
        "catalog_register",
        "catalog_show",
    ),
    "ocimlpack.app.fallback": ("sync",),
    "ocimlpack.app.importing": ("Imported", "import_model"),
    "ocimlpack.app.looking": ("inspect", "verify"),
    "ocimlpack.app.moving": ("copy", "pack", "push"),
    "ocimlpack.app.pulling": ("pull", "read_file", "resolve"),
    "ocimlpack.app.naming": ("ls", "prune", "repos", "rm", "tag", "tags"),
    "ocimlpack.app.results": (
        "Inspected",
        "InspectedFile",
        "InspectedTensor",
        "InspectedWeights",
        "Listed",
        "LoggedIn",
        "RegistryToken",
        "Removed",
        "Tagged",
        "Verified",
    ),
    "ocimlpack.app.stages": (
        "BucketUse",
        "Restored",
        "Staged",
        "bucket_du",
        "bucket_restore",
        "bucket_stage",
        "bucket_undelete",
    ),
    "ocimlpack.app.transfers": ("Content", "Pulled", "Synced", "Transferred"),
    "ocimlpack.errors": (
        "ConflictError",
        "InputError",
        "IntegrityError",
        "InvalidContentError",
        "InvalidDigestError",
        "InvalidReferenceError",
        "NotAllowedError",
        "NotFoundError",
        "OcimlpackError",
        "RefusedError",
        "UnavailableError",
        "UnreachableError",
        "UnsafeSourceError",
        "UnsupportedError",
    ),
    "ocimlpack.progress": (
        "Began",
        "Ended",
        "Event",
        "Identified",
        "Moved",
        "Noted",
        "Planned",
        "Reporter",
        "Retried",
        "Warned",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AuditBreak",
    "AuditRecord",
    "AuditTrail",
    "Began",
    "BucketCode",
    "BucketContent",
    "BucketPlan",
    "BucketStatus",
    "BucketStep",
    "BucketUse",
    "CatalogModel",
    "ConflictError",
    "Content",
    "Diagnosis",
    "Difference",
    "Ended",
    "Event",
    "FieldDifference",
    "FileDifference",
    "Identified",
    "Imported",
    "InputError",
    "Inspected",
    "InspectedFile",
    "InspectedTensor",
    "InspectedWeights",
    "IntegrityError",
    "InvalidContentError",
    "InvalidDigestError",
    "InvalidReferenceError",
    "Listed",
    "Loaded",
    "LoggedIn",
    "Moved",
    "NotAllowedError",
    "NotFoundError",
    "Noted",
    "OcimlpackError",
    "OcirImage",
    "OcirRepository",
    "Planned",
    "ProvisionedBucket",
    "Pulled",
    "RefusedError",
    "RegistryToken",
    "Removed",
    "RemovedBucket",
    "Reporter",
    "Restored",
    "Retried",
    "Saved",
    "SavedArtifact",
    "Staged",
    "Synced",
    "Tagged",
    "TensorDifference",
    "Transferred",
    "UnavailableError",
    "UnreachableError",
    "UnsafeSourceError",
    "UnsupportedError",
    "Verified",
    "Warned",
    "__version__",
    "audit",
    "bucket_destroy",
    "bucket_du",
    "bucket_export",
    "bucket_provision",
    "bucket_restore",
    "bucket_stage",
    "bucket_status",
    "bucket_undelete",
    "catalog_list",
    "catalog_pull",
    "catalog_register",
    "catalog_show",
    "copy",
    "diff",
    "doctor",
    "import_model",
    "inspect",
    "load",
    "login",
    "login_oci",
    "logout",
    "ls",
    "ocir_create",
    "ocir_images",
    "ocir_list",
    "ocir_show",
    "ocir_token",
    "pack",
    "prune",
    "pull",
    "push",
    "read_file",
    "repos",
    "resolve",
    "rm",
    "save",
    "sync",
    "tag",
    "tags",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ocimlpack' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
