"""One push or pull by oras-py's own client, for a process of its own.

`oras_py.py push REFERENCE FILE…` with the files in the working folder, or
`oras_py.py pull REFERENCE FOLDER`.
"""

import sys

from oras.client import OrasClient


def main() -> None:
    job, reference, *rest = sys.argv[1:]
    client = OrasClient(insecure=True)
    if job == "push":
        client.push(target=reference, files=rest, quiet=True)
    else:
        client.pull(target=reference, outdir=rest[0])


if __name__ == "__main__":
    main()
