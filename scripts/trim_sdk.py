"""Removes from the running environment the services of Oracle's SDK that ocimlpack never uses.

For images: the whole SDK has 220 MB. What is kept is imported afterwards in a fresh interpreter, so
that a build fails rather than an image at its first use.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
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

NEEDED = {"dns", "work_requests"}
"""What the SDK itself imports."""

CHECK = """
import importlib, sys
for path in sys.argv[1:]:
    module, _, name = path.rpartition(".")
    getattr(importlib.import_module(f"oci.{module}"), name)
for module in ("auth.signers", "pagination", "regions", "retry"):
    importlib.import_module(f"oci.{module}")
"""


def main() -> int:
    # Not imported: it is not compiled yet, and would be twice.
    spec = importlib.util.find_spec("oci")
    if spec is None or spec.origin is None:
        print("the SDK is not installed here", file=sys.stderr)
        return 1
    home = Path(spec.origin).parent
    services = [folder.parent.name for folder in home.glob("*/models")]
    for name in services:
        if name not in USED and name not in NEEDED:
            shutil.rmtree(home / name)
    clients = [f"{service}.{client}" for service, client in USED.items()]
    subprocess.run([sys.executable, "-c", CHECK, *clients], check=True)
    print(f"kept {len(USED) + len(NEEDED)} of {len(services)} services")
    return 0


if __name__ == "__main__":
    sys.exit(main())
