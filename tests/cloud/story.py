"""The whole story of a fallback bucket, as commands: `python -m tests.cloud.story [FOLDER]`.

A bucket is made, the registry goes and comes back, versions grow old. A person sees each command
with what it prints; a test goes through the same ones.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.cloud.cloud import NAMESPACE, REGION, make_profile
from tests.cloud.conftest import Ran, read_tree
from tests.cloud.local import LocalCloud
from tests.cloud.principals import COMPARTMENT
from tests.live.registries import find_distribution, run_distribution

BUCKET: Final = "models"
ROOT: Final = f"ocios://{BUCKET}@{NAMESPACE}"
PLACE: Final = f"{ROOT}/team/minilm"
MODEL: Final = Path(".cache/demo/model")


def write_config(path: Path, cloud: LocalCloud) -> None:
    """The configuration file: the bucket is pushed to as well."""
    path.write_text(
        f'[oci]\ncompartment = "{COMPARTMENT}"\n'
        f'[fallback]\n"{cloud.host}/{NAMESPACE}" = {{ location = "{ROOT}", mode = "mirror" }}\n'
    )


def tell(
    cloud: LocalCloud,
    model: Path,
    folder: Path,
    run: Callable[..., Ran],
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Everything from the bucket's making to the end of its first version.

    Args:
        cloud: with an empty storage.
        model: a folder of the narrator's, in which a file is changed.
        folder: an empty one.
        run: runs a command.
        say: gets what happens between the commands.

    Raises:
        AssertionError: something is not as it is told.
    """

    def done(*arguments: str | Path, code: int = 0) -> Ran:
        ran = run(*arguments)
        assert ran.code == code, f"{arguments}: {ran.code}\n{ran.stderr}"
        return ran

    repository = f"{cloud.host}/{NAMESPACE}/team/minilm"
    say("The bucket: what would be done, doing it, and once more.")
    provision = ("bucket", "provision", "--bucket", BUCKET, "--compartment", COMPARTMENT)
    done(*provision, "--dry-run")
    assert not cloud.storage.store.buckets
    assert "\nOCID:      ocid1.bucket." in done(*provision, "--yes").stdout
    assert "nothing to do" in done(*provision).stderr

    say("Both the registry and the bucket get the first version.")
    first = done("push", model, f"ocir://{REGION}/team/minilm:1.0")
    assert f"also in the fallback: {PLACE}@sha256:" in first.stderr
    digest = first.stdout.strip().rpartition("@")[2]
    old = f"{PLACE}@{digest}"
    done("inspect", old)

    say("The registry is down: pushes and pulls go on.")
    cloud.server.fault(path="/v2/", status=503, times=None)
    (model / "config.json").write_text('{"version": 2}')
    second = done("push", model, f"{repository}:2.0")
    assert second.stdout.startswith(f"{PLACE}@sha256:")
    assert "only in the fallback" in second.stderr
    new = second.stdout.strip()
    for name, version in (("by-tag", ":2.0"), ("by-digest", f"@{digest}")):
        pulled = done("pull", f"{repository}{version}", "-o", folder / name)
        assert "going on with the fallback" in pulled.stderr
    assert read_tree(folder / "by-tag") == read_tree(model)

    say("It is back, and gets what it has missed.")
    cloud.server.faults.clear()
    done("bucket", "sync", repository)
    back = done("pull", f"{repository}@{new.rpartition('@')[2]}", "-o", folder / "back")
    assert "fallback" not in back.stderr

    say("The first version grows old; 31 days later it is archived.")
    done("bucket", "stage", old, "old")
    cloud.wait(days=31)
    cloud.storage.run_lifecycle()
    archived = done("pull", old, "-o", folder / "archived", code=6)
    assert "ocimlpack bucket restore" in archived.stderr
    done("bucket", "restore", old)
    say("Two hours later it is restored.")
    cloud.wait(hours=2)
    done("pull", old, "-o", folder / "restored")
    assert read_tree(folder / "restored") == read_tree(folder / "by-digest")

    say("It expires; 366 days later it is gone, and what the second one shares with it is not.")
    done("bucket", "stage", old, "expired")
    cloud.wait(days=366)
    cloud.storage.run_lifecycle()
    done("pull", old, "-o", folder / "expired", code=3)
    done("pull", new, "-o", folder / "shared")
    assert read_tree(folder / "shared") == read_tree(model)
    done("bucket", "du", ROOT)
    assert f"{PLACE}@sha256:" in done("audit").stdout


def _say(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}# {text}{plain}", flush=True)


def _run(*arguments: str | Path) -> Ran:
    texts = [str(each) for each in arguments]
    print(f"\n$ ocimlpack {shlex.join(texts)}", flush=True)
    began = time.monotonic()
    command = [str(Path(sys.executable).with_name("ocimlpack")), "--no-progress", *texts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stderr, done.stdout, sep="", end="", flush=True)
    code = f"exit code {done.returncode}, " if done.returncode else ""
    print(f"({code}{time.monotonic() - began:.1f} s)", flush=True)
    return Ran(done.returncode, done.stdout, done.stderr)


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".cache/story").absolute()
    binary = find_distribution(3) or find_distribution(2)
    if binary is None:
        print("no registry program: install docker-registry", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("home", "registry", "pulled"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(MODEL, folder / "model")
    with (
        run_distribution(binary, folder / "registry") as registry,
        LocalCloud(registry.host) as cloud,
    ):
        os.environ |= {
            "OCIMLPACK_OCI_ENDPOINT": cloud.url,
            "OCI_CLI_CONFIG_FILE": str(make_profile(folder / "home", cloud)),
            "OCIMLPACK_CONFIG": str(folder / "config.toml"),
            "OCIMLPACK_HOME": str(folder / "home"),
        }
        write_config(folder / "config.toml", cloud)
        tell(cloud, folder / "model", folder / "pulled", _run, _say)
    _say("That was the whole story.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
