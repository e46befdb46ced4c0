"""Starts the local cloud for a person: `python -m tests.cloud [FOLDER]`."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from tests.cloud.cloud import NAMESPACE, REGION, make_profile
from tests.cloud.datascience import PROJECT
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.live.registries import find_distribution, run_distribution


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".cache/cloud").absolute()
    binary = find_distribution(3) or find_distribution(2)
    if binary is None:
        print(
            "no registry program: go install "
            "github.com/distribution/distribution/v3/cmd/registry@v3.1.2, "
            "or install docker-registry",
            file=sys.stderr,
        )
        return 1
    for name in ("home", "registry", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (
        run_distribution(binary, folder / "registry") as registry,
        LocalCloud(registry.host, folder / "state") as cloud,
    ):
        config = make_profile(folder / "home", cloud)
        print(f"A tenancy with the namespace {NAMESPACE} in {REGION}. In another shell:\n")
        print(f"  export OCIMLPACK_OCI_ENDPOINT={cloud.url} OCI_CLI_CONFIG_FILE={config}")
        print(f"  export OCIMLPACK_COMPARTMENT={COMPARTMENT}\n")
        print("  ocimlpack ocir create team/minilm")
        print(f"  ocimlpack push .cache/demo/model ocir://{REGION}/team/minilm:1.0")
        print(f"  ocimlpack pull ocir://{REGION}/team/minilm:1.0 -o demo")
        print(f"  ocimlpack catalog register ocir://{REGION}/team/minilm:1.0 --project {PROJECT}\n")
        print(
            "  curl -X POST $OCIMLPACK_OCI_ENDPOINT/local-cloud/wait?days=31  # runs lifecycles\n"
        )
        print("Ctrl-C ends it.", flush=True)
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        signal.signal(signal.SIGINT, lambda *_: ended.set())
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
