"""Removes from the running environment the services of Oracle's SDK that ocimlpack never uses.

For images: the whole SDK has 220 MB. What is kept is imported afterwards, so that a build fails
rather than an image at its first use.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

USED = {
    "artifacts": "ArtifactsClient",
    "data_science": "DataScienceClient",
    "identity": "IdentityClient",
    "logging": "LoggingManagementClient",
    "object_storage": "ObjectStorageClient",
}
"""Each service with the client that stands for it."""


def main() -> int:
    import oci

    home = Path(oci.__file__).parent
    services = [name for name in oci.__all__ if (home / name / "models").is_dir()]
    for name in services:
        if name not in USED:
            shutil.rmtree(home / name)
    for service, client in USED.items():
        getattr(importlib.import_module(f"oci.{service}"), client)
    importlib.import_module("oci.auth.signers")
    importlib.import_module("oci.regions")
    importlib.import_module("oci.retry")
    print(f"kept {len(USED)} of {len(services)} services")
    return 0


if __name__ == "__main__":
    sys.exit(main())
