"""Modules that a library imports for what nobody here asks of it: loaded if somebody does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands in for a module until something of it is asked for, or one of its functions called."""

    def __init__(self, name: str, functions: Collection[str]) -> None:
        super().__init__(name)
        self._functions = functions

    def __getattr__(self, name: str) -> Any:
        if name in self._functions:
            return partial(self._call, name)
        module = importlib.import_module(self.__name__)
        if module is self:  # asked while it stands in, for what only the import system asks
            raise AttributeError(name)
        return getattr(module, name)

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(self.__name__), name)(*args, **kwargs)


@contextmanager
def deferred(name: str, *functions: str) -> Iterator[None]:
    """Let what is imported in the block get a stand-in for a module that it imports itself.

    Afterwards nobody else sees the stand-in, which finds the real module when it is asked for
    anything. A module that is loaded already is left as it is.

    Args:
        name: a module.
        functions: those of it that are taken out of it by name, to be called later or never.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = standin = _Deferred(name, functions)
    try:
        yield
    finally:
        if sys.modules.get(name) is standin:
            del sys.modules[name]
