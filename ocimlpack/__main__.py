"""`python -m ocimlpack`, and the entry point of the `ocimlpack` command."""

from __future__ import annotations

from ocimlpack.cli.main import run

if __name__ == "__main__":
    run()
