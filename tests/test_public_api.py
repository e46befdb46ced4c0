from __future__ import annotations

import inspect
import json
import subprocess
import sys
import types
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

import ocimlpack

ROOT = Path(ocimlpack.__file__).parents[1]
EXPECTED = {
    *("pack", "push", "pull", "resolve", "tag", "tags", "ls", "repos", "inspect", "copy", "rm"),
    *("prune", "login", "logout", "verify", "read_file", "__version__"),
}
# Named unions and callables: neither class nor function, so they have no docstring of their own.
ALIASES = {"Event", "Reporter"}

names = pytest.mark.parametrize("name", sorted(ocimlpack.__all__))


def classes(module: str) -> set[str]:
    """The names of the public classes that a module defines."""
    return {
        name
        for name, value in vars(import_module(module)).items()
        if isinstance(value, type) and value.__module__ == module and not name.startswith("_")
    }


def loaded(arguments: Sequence[str]) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after doing this."""
    # The interpreter writes its own record, so it holds also what an exit handler would load.
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines())
    return {module.partition(".")[0] for module in modules}


def test_the_public_names_are_sorted_and_each_is_there_once() -> None:
    assert list(ocimlpack.__all__) == sorted(set(ocimlpack.__all__))


def test_every_command_has_its_function() -> None:
    assert set(ocimlpack.__all__) >= EXPECTED


@pytest.mark.parametrize("module", ["errors", "progress", "app.results", "app.transfers"])
def test_what_functions_raise_report_and_return_is_public(module: str) -> None:
    wanted = classes(f"ocimlpack.{module}")
    assert wanted
    assert wanted <= set(ocimlpack.__all__)


@names
def test_a_public_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(ocimlpack, name)
    home = getattr(value, "__module__", None)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == value.__qualname__ == name
        assert home is not None
        assert home.startswith("ocimlpack.")
        assert getattr(sys.modules[home], name) is value
        assert not any(part.startswith("_") for part in home.split("."))
    else:
        assert name in ALIASES | {"__version__"}


@names
def test_a_public_name_is_documented(name: str) -> None:
    value = getattr(ocimlpack, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        text = value.__doc__ or ""  # its own, not one that it inherits
        # A dataclass without a docstring gets its signature for one.
        assert text.strip()
        assert not text.startswith(f"{name}(")


@names
def test_a_public_function_says_all_its_types(name: str) -> None:
    value = getattr(ocimlpack, name)
    if inspect.isfunction(value):
        signature = inspect.signature(value)
        assert signature.return_annotation is not inspect.Signature.empty
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, parameter


def test_nothing_else_is_public() -> None:
    for name in ocimlpack.__all__:
        getattr(ocimlpack, name)
    others = {
        name
        for name, value in vars(ocimlpack).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    # What the package needs to define itself is not an offer.
    plumbing = {"annotations", "TYPE_CHECKING", "Any", "import_module"}
    assert others - plumbing <= set(ocimlpack.__all__)


def test_dir_and_star_offer_the_public_names() -> None:
    assert set(dir(ocimlpack)) >= set(ocimlpack.__all__)
    space: dict[str, object] = {}
    exec("from ocimlpack import *", space)
    assert set(space) - {"__builtins__"} == set(ocimlpack.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'ocimlpack' has no attribute 'nothing'"):
        ocimlpack.nothing  # noqa: B018 - the access is the test


def test_importing_the_package_loads_no_library() -> None:
    heavy = {"requests", "urllib3", "oras", "click", "rich", "yaml", "oci"}
    assert loaded(["-c", "import ocimlpack"]) & (heavy | {"ocimlpack"}) == {"ocimlpack"}


def test_asking_for_the_version_loads_no_network_library() -> None:
    modules = loaded(["-m", "ocimlpack", "--version"])
    assert "ocimlpack" in modules
    assert modules & {"requests", "urllib3", "oras", "oci"} == set()


def test_a_library_that_is_loaded_would_be_seen() -> None:
    assert "requests" in loaded(["-c", "import requests"])


def test_the_version_is_the_one_of_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ocimlpack", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ocimlpack.__version__ in done.stdout.split()


def test_names_resolve_in_a_fresh_interpreter() -> None:
    script = (
        "import json, ocimlpack\n"
        "print(json.dumps([n for n in ocimlpack.__all__ if not hasattr(ocimlpack, n)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
