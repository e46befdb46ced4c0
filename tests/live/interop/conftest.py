from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.live.interop.bench import Bench, Containerd, run_containerd
from tests.live.interop.cells import Cells
from tests.live.registries import Registry


@pytest.fixture(scope="session")
def bench(
    distribution3: Registry, registry2: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Two registries of different versions, and whatever was written to them before."""
    with ExitStack() as stack:

        @cache
        def containerd() -> Containerd:
            return stack.enter_context(run_containerd())

        folder = tmp_path_factory.mktemp("interop")
        yield Bench(distribution3, registry2, folder, containerd)


@pytest.fixture(scope="session")
def cells(bench: Bench) -> Iterator[Cells]:
    """What is seen in this run, which is kept for the page when it ends."""
    cells = Cells(bench)
    yield cells
    cells.results().save()
