"""Modules that a library imports for what nobody here asks of it: loaded if somebody does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands in for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred(name: str) -> Iterator[None]:
    """Let what is imported in the block get a stand-in for a module that it imports itself.

    Afterwards nobody else sees the stand-in, which finds the real module when it is asked for
    anything. A module that is loaded already is left as it is.

    Args:
        name: a top-level module.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = standin = _Deferred(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is standin:
            del sys.modules[name]
